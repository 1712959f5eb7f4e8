/*-------------------------------------------------------------------------
 *
 * wake_waiter.c
 *	  A backend that waits: for which queues, what it has been woken for, and what
 *	  becomes of that if it takes nothing.
 *
 * A wait ends by one of two calls that say what has come of it, or by an error.  Then
 * it is ended by the rollback of the (sub)transaction that it has begun in, so that
 * no way out leaves an entry in the table.  A wait may have another one in it: code
 * that runs while a message is taken may itself wait.
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

	/* What it has been woken for, or which time, and looks after now */
	WakeKind	woken;
	TimestampTz look_at;
} WakeWish;

struct OnceWaiter
{
	int			nest_level;
	OnceWaiter *outer;
	int			n;
	WakeWish	wishes[FLEXIBLE_ARRAY_MEMBER];
};

/* What once.wait was woken for, when it has said so to its caller */
typedef struct WakeDebt
{
	Oid			relid;
	WakeKind	woken;
} WakeDebt;

static OnceWaiter *innermost = NULL;
static WakeDebt debt = {InvalidOid, WAKE_NONE};

static void leave(OnceWaiter *waiter, int served);
static void hand_on_debt(void);
static void end_of_backend(int code, Datum arg);

/*
 * once_wake_join makes this backend wait for some queues, or returns NULL if it has
 * to poll.
 */
OnceWaiter *
once_wake_join(const Oid *relids, int n)
{
	OnceWaiter *waiter;

	Assert(n <= ONCE_WAKE_MAX_QUEUES);
	if (!once_wake_enabled || !once_wake_table_attach())
		return NULL;
	hand_on_debt();
	waiter = MemoryContextAlloc(TopMemoryContext,
								offsetof(OnceWaiter, wishes) + n * sizeof(WakeWish));
	waiter->nest_level = GetCurrentTransactionNestLevel();
	waiter->outer = innermost;
	innermost = waiter;
	for (waiter->n = 0; waiter->n < n; waiter->n++)
	{
		WakeWish   *wish = &waiter->wishes[waiter->n];

		wish->relid = relids[waiter->n];
		wish->woken = WAKE_NONE;
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
 * once_wake_is_for tells whether these are the queues that it waits for.
 */
bool
once_wake_is_for(const OnceWaiter *waiter, const Oid *relids, int n)
{
	int			i;

	if (waiter->n != n)
		return false;
	for (i = 0; i < n && waiter->wishes[i].relid == relids[i]; i++)
		 /* the same */ ;
	return i == n;
}

/*
 * once_wake_before_look takes over what it has been woken for.  Whoever makes
 * something ready from then on wakes it again.
 */
void
once_wake_before_look(OnceWaiter *waiter)
{
	int			i;

	for (i = 0; i < waiter->n; i++)
	{
		WakeWish   *wish = &waiter->wishes[i];
		TimestampTz look_at;
		WakeKind	woken = once_wake_entry_take(wish->entry, &look_at);

		wish->woken = Max(wish->woken, woken);
		wish->look_at = Min(wish->look_at, look_at);
	}
}

/*
 * once_wake_before_sleep is called when it has looked and found nothing.  times: when
 * it knows of something in each queue, or DT_NOEND.
 */
void
once_wake_before_sleep(OnceWaiter *waiter, const TimestampTz *times)
{
	TimestampTz horizon = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													  once_wake_fallback);
	int			i;

	for (i = 0; i < waiter->n; i++)
	{
		waiter->wishes[i].woken = WAKE_NONE;
		waiter->wishes[i].look_at = DT_NOEND;
		once_wake_entry_set_time(waiter->wishes[i].entry,
								 times[i] < horizon ? times[i] : DT_NOEND);
	}
}

/*
 * once_wake_is_woken tells whether it has been woken, and if not, *look_at is when it
 * is to look by itself, or DT_NOEND.
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
 * once_wake_leave ends a wait.  taken: the queue, by its place, from which it has got
 * something; -1: none.
 *
 * Who has got something that nobody has counted has the next one look for more.
 */
void
once_wake_leave(OnceWaiter *waiter, int taken)
{
	Oid			more = InvalidOid;

	if (taken >= 0 && waiter->wishes[taken].woken != WAKE_FOR_ONE)
		more = waiter->wishes[taken].relid;
	leave(waiter, taken);
	if (OidIsValid(more))
		once_wake_look(more);
}

/*
 * once_wake_leave_owing ends a wait that has found something, and has left it there
 * for its caller.
 */
void
once_wake_leave_owing(OnceWaiter *waiter, int found)
{
	static bool registered = false;

	if (!registered)
	{
		before_shmem_exit(end_of_backend, (Datum) 0);
		registered = true;
	}
	debt.relid = waiter->wishes[found].relid;
	debt.woken = waiter->wishes[found].woken == WAKE_FOR_ONE ? WAKE_FOR_ONE : WAKE_TO_LOOK;
	leave(waiter, found);
}

/*
 * once_wake_pay is called when this backend has claimed, or has found nothing to
 * claim: what it owed to others is done.
 */
void
once_wake_pay(Oid relid, bool taken)
{
	WakeKind	woken = debt.woken;

	if (debt.relid != relid || woken == WAKE_NONE)
		return;
	debt.woken = WAKE_NONE;
	if (taken && woken == WAKE_TO_LOOK)
		once_wake_look(relid);
}

/*
 * once_wake_waiter_abort ends the waits that were begun at this nesting level, or a
 * deeper one, and have failed.
 */
void
once_wake_waiter_abort(int nest_level)
{
	while (innermost != NULL && innermost->nest_level >= nest_level)
		leave(innermost, -1);
}

/*
 * leave takes the waiter out of the table, and hands on what it was woken for and
 * what times it knew, but for the queue in which it has been served.
 *
 * It may be called while a transaction is rolled back.
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
		WakeKind	woken;
		TimestampTz look_at;

		once_wake_entry_remove(wish->entry, &woken, &look_at);

		/* Woken twice, it was woken for two */
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
 * hand_on_debt is for who waits again, or ends, without having claimed.
 */
static void
hand_on_debt(void)
{
	WakeKind	woken = debt.woken;

	debt.woken = WAKE_NONE;
	once_wake_next(debt.relid, woken);
}

static void
end_of_backend(int code, Datum arg)
{
	hand_on_debt();
}
