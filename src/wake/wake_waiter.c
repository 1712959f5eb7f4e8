/*-------------------------------------------------------------------------
 *
 * wake_waiter.c
 *	  A backend that waits: for which queues, what it was woken for, and who gets
 *	  the wake-up if it takes nothing.
 *
 * A wait ends by a call that says what came of it, or by an error.  After an
 * error, the rollback of the (sub)transaction in which the wait began ends it.
 * So no entry is left in the table, however the wait ends.  Waits can be nested:
 * code of users that runs while a message is taken may itself wait.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "wake/wake.h"
#include "wake/wake_table.h"
#include "wake/wake_waiter.h"

/* once.wake */
bool		once_wake_enabled = true;

/* A queue that it waits for */
typedef struct WakeWish
{
	Oid			relid;
	int			entry;

	/* What the current look is for, taken over from the entry */
	WakeUp		woken;
	TimestampTz look_at;
} WakeWish;

struct OnceWaiter
{
	int			nest_level;		/* of subtransactions, when it began */
	OnceWaiter *outer;			/* the wait that this one is nested in */
	int			n;
	WakeWish	wishes[FLEXIBLE_ARRAY_MEMBER];
};

/*
 * once.wait takes nothing: its session is about to.  Until then, this is the
 * wake-up that the backend has used and not earned.
 */
typedef struct WakeDebt
{
	Oid			relid;
	WakeUp		woken;
} WakeDebt;

static OnceWaiter *innermost = NULL;
static WakeDebt debt = {InvalidOid, {WAKE_NONE, 0}};

static void tell_of_polling(void);
static int	find_wish(const OnceWaiter *waiter, Oid relid);
static void leave(OnceWaiter *waiter, int served);
static void end_of_backend(int code, Datum arg);

/*
 * once_wake_join makes this backend a waiter of n queues.  Returns NULL if it
 * cannot be woken, so that it has to poll.
 */
OnceWaiter *
once_wake_join(const Oid *relids, int n)
{
	static bool registered = false;
	OnceWaiter *waiter;

	Assert(n <= ONCE_WAKE_MAX_QUEUES);
	if (!once_wake_enabled)
		return NULL;
	if (!once_wake_table_attach())
	{
		tell_of_polling();
		return NULL;
	}
	if (!registered)
	{
		before_shmem_exit(end_of_backend, (Datum) 0);
		registered = true;
	}
	waiter = MemoryContextAlloc(TopMemoryContext,
								offsetof(OnceWaiter, wishes) + n * sizeof(WakeWish));
	waiter->nest_level = GetCurrentTransactionNestLevel();
	waiter->outer = innermost;
	innermost = waiter;
	for (waiter->n = 0; waiter->n < n; waiter->n++)
	{
		WakeWish   *wish = &waiter->wishes[waiter->n];

		wish->relid = relids[waiter->n];
		wish->woken = once_wake_nothing;
		wish->look_at = DT_NOEND;
		wish->entry = once_wake_entry_add(wish->relid);
		if (wish->entry < 0)
		{
			leave(waiter, -1);
			return NULL;
		}
	}
	return waiter;
}

/*
 * tell_of_polling tells, once in a session, why nobody can wake it.
 */
static void
tell_of_polling(void)
{
	static bool told = false;

	if (told)
		return;
	told = true;
	ereport(NOTICE,
			(errmsg("waiting for messages is polling"),
			 ONCE_HAS_NAMED_SEGMENTS ?
			 errdetail("The table of waiters could not be made in shared memory.") :
			 errdetail("Consumers can be woken if the library was loaded when the server started, or if the server is PostgreSQL 17 or later."),
			 errhint("Add \"pg_once\" to shared_preload_libraries, and restart the server.")));
}

/*
 * once_wake_is_for tells whether a waiter waits for exactly these queues.
 */
bool
once_wake_is_for(const OnceWaiter *waiter, const Oid *relids, int n)
{
	int			i;

	if (waiter->n != n)
		return false;
	for (i = 0; i < n && waiter->wishes[i].relid == relids[i]; i++)
		 /* go on */ ;
	return i == n;
}

/*
 * once_wake_before_look takes over what the waiter was woken for.  Messages that
 * become ready from now on wake it again.  So the snapshot of the look must be
 * taken later than this.
 */
void
once_wake_before_look(OnceWaiter *waiter)
{
	int			i;

	for (i = 0; i < waiter->n; i++)
	{
		WakeWish   *wish = &waiter->wishes[i];
		TimestampTz look_at;
		WakeUp		woken = once_wake_entry_take(wish->entry, &look_at);

		if (woken.kind == wish->woken.kind)
			wish->woken.messages += woken.messages;
		else if (woken.kind > wish->woken.kind)
			wish->woken = woken;
		wish->look_at = Min(wish->look_at, look_at);
	}
}

/*
 * once_wake_before_sleep is called when the waiter has looked and found nothing.
 * times: when a message becomes ready in each queue, or DT_NOEND.  room: until the next
 * look, up to so many messages of a queue wake nobody else.
 */
void
once_wake_before_sleep(OnceWaiter *waiter, const TimestampTz *times, int room)
{
	TimestampTz horizon = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													  once_wake_fallback);
	int			i;

	for (i = 0; i < waiter->n; i++)
	{
		waiter->wishes[i].woken = once_wake_nothing;
		waiter->wishes[i].look_at = DT_NOEND;
		if (room > 1)
			once_wake_entry_set_room(waiter->wishes[i].entry, room);
		once_wake_entry_set_time(waiter->wishes[i].entry,
								 times[i] < horizon ? times[i] : DT_NOEND);
	}
}

/*
 * once_wake_is_woken tells whether a waiter has been woken.  If not, *look_at is
 * the time when it has to look by itself, or DT_NOEND.
 */
bool
once_wake_is_woken(const OnceWaiter *waiter, TimestampTz *look_at)
{
	bool		woken = false;
	int			i;

	*look_at = DT_NOEND;
	for (i = 0; i < waiter->n && !woken; i++)
	{
		TimestampTz when;

		woken = once_wake_entry_read(waiter->wishes[i].entry, &when) != WAKE_NONE;
		*look_at = Min(*look_at, when);
	}
	return woken;
}

/*
 * once_wake_has_room tells whether a waiter has been woken for messages that were
 * counted, and can be woken for more of them.
 */
bool
once_wake_has_room(const OnceWaiter *waiter)
{
	return waiter->n == 1 && once_wake_entry_has_room(waiter->wishes[0].entry);
}

/*
 * once_wake_leave ends a wait.  taken: the queue from which messages were taken,
 * or InvalidOid.
 *
 * If it has slept, and was not woken for messages that somebody counted, there may
 * be more, so the next waiter has to look.  The same goes for one that was woken to
 * look before it slept.
 */
void
once_wake_leave(OnceWaiter *waiter, Oid taken, bool slept)
{
	int			i = find_wish(waiter, taken);
	Oid			more = InvalidOid;

	if (i >= 0 && waiter->wishes[i].woken.kind != WAKE_COUNTED &&
		(slept || waiter->wishes[i].woken.kind != WAKE_NONE))
		more = taken;
	leave(waiter, i);
	if (OidIsValid(more))
		once_wake_look(more);
}

/*
 * once_wake_leave_owing ends a wait that has found something in a queue and has
 * left it there, for its session to take.
 */
void
once_wake_leave_owing(OnceWaiter *waiter, Oid found)
{
	int			i = find_wish(waiter, found);

	once_wake_hand_on();
	debt.relid = found;
	debt.woken = i >= 0 ? waiter->wishes[i].woken : once_wake_nothing;
	if (debt.woken.kind == WAKE_NONE)
		debt.woken.kind = WAKE_TO_LOOK;
	leave(waiter, i);
}

/*
 * find_wish returns the number of a queue among those that it waits for, or -1.
 */
static int
find_wish(const OnceWaiter *waiter, Oid relid)
{
	int			i;

	for (i = 0; i < waiter->n; i++)
	{
		if (waiter->wishes[i].relid == relid)
			return i;
	}
	return -1;
}

/*
 * once_wake_pay is called when this backend has tried to claim messages of a
 * queue, whether or not there were any.  That settles its debt.
 */
void
once_wake_pay(Oid relid, bool taken)
{
	WakeKind	kind = debt.woken.kind;

	if (debt.relid != relid || kind == WAKE_NONE)
		return;
	debt.woken = once_wake_nothing;
	if (taken && kind == WAKE_TO_LOOK)
		once_wake_look(relid);
}

/*
 * once_wake_hand_on hands the debt on to the next waiter, because the session
 * waits again, or ends, without having tried to claim.
 */
void
once_wake_hand_on(void)
{
	WakeUp		woken = debt.woken;

	debt.woken = once_wake_nothing;
	once_wake_next(debt.relid, woken);
}

/*
 * once_wake_waiter_abort ends the waits that began at this nesting level or a
 * deeper one.  They have failed.
 */
void
once_wake_waiter_abort(int nest_level)
{
	while (innermost != NULL && innermost->nest_level >= nest_level)
		leave(innermost, -1);
}

/*
 * leave removes a waiter from the table.  It hands on what the waiter was woken
 * for, except in the queue where that was used, and the times that it knew.
 *
 * It may be called while a transaction is being rolled back.
 */
static void
leave(OnceWaiter *waiter, int served)
{
	int			i;

	Assert(waiter == innermost);
	innermost = waiter->outer;
	for (i = 0; i < waiter->n; i++)
	{
		WakeWish   *wish = &waiter->wishes[i];
		WakeUp		woken;
		TimestampTz look_at;

		once_wake_entry_remove(wish->entry, &woken, &look_at);

		/* If it was woken again during its look, that was for other messages */
		once_wake_next(wish->relid, woken);
		if (i != served)
			once_wake_next(wish->relid, wish->woken);
		look_at = Min(look_at, wish->look_at);
		if (look_at != DT_NOEND)
			once_wake_at(wish->relid, look_at);
	}
	pfree(waiter);
}

/*
 * end_of_backend hands on all that this backend was woken for.
 */
static void
end_of_backend(int code, Datum arg)
{
	once_wake_waiter_abort(0);
	once_wake_hand_on();
}
