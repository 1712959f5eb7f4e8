/*-------------------------------------------------------------------------
 *
 * queue_claim.c
 *	  Claiming messages, and removing the rows of some.
 *
 * receive and lease leave the rows of what they claim; pop, cancel and purge
 * delete them.  All but the last two also meet messages that are not to be
 * delivered any more: those are taken away in any case, see queue_dead.c.
 *
 * Rows are removed without waiting for anybody who holds them.  pop does so while
 * the walk goes on, if nothing but itself has to do with it.  All others are removed
 * when the walk is over, since user code may run, which may use the queue, and may
 * refuse.  A row that cannot be had costs nobody but its own message (queue_try.c),
 * and in its group those that come after it: their claims are undone, uncounted,
 * and the walk goes on in their place.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "common/int.h"
#include "meta/meta_cache.h"
#include "meta/meta_dead.h"
#include "miscadmin.h"
#include "once_debug.h"
#include "once_heap.h"
#include "qam/qam.h"
#include "queue/queue_claim.h"
#include "queue/queue_dead.h"
#include "queue/queue_hold.h"
#include "queue/queue_open.h"
#include "queue/queue_row.h"
#include "queue/queue_spi.h"
#include "queue/queue_try.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* Dead messages that are moved in one subtransaction, if all goes well */
#define REMOVE_CHUNK		1000

/* What has become of a row that was to be removed */
typedef enum Fate
{
	FATE_LEFT,					/* locked, gone, or not tried */
	FATE_REFUSED,				/* kept by something */
	FATE_REMOVED
} Fate;

/* Some claims whose rows are to be removed, now that the walk is over */
typedef struct Removal
{
	OnceHold   *hold;
	QamClaimed *rows;
	int			n;
	bool		dead;			/* they go to the dead letters, */
	bool		pop;			/* or are returned, */
	OnceRefusals *refusals;		/* or, neither, are forgotten */
	int			may_refuse;		/* with none left, the others are not tried */
	Fate	   *fates;
	OnceTry		try;

	/* The first one of each group that was not had: none after it is */
	int			nleft;
	struct
	{
		uint32		group;
		uint32		nth;
	}		   *left;
} Removal;

static void claim(OnceHold *hold, int max_dead, bool pop);
static void move_dead(OnceHold *hold, int may_refuse);
static int	pop_rows(OnceHold *hold, int from, int may_refuse);
static void undo_after(OnceHold *hold, const Removal *removal);
static void begin_removal(Removal *removal);
static void remove_all(Removal *removal);
static int	settle(Removal *removal);
static void end_removal(Removal *removal);
static void remove_some(void *arg, int from, int to);
static void refuse(void *arg, int row, const ErrorData *error);
static void leave(Removal *removal, const QamClaimed *row);
static bool is_after_left(const Removal *removal, const QamClaimed *row);
static bool remove_one(Removal *removal, QamClaimed *row, OnceDeadWriter *writer);
static bool is_expired(void *arg, HeapTuple tuple, TimestampTz now);
static bool pop_at_once(void *arg, QamClaimed *claimed);
static bool remove_at_once(void *arg, QamClaimed *claimed);

/*
 * once_claim_rows claims messages, and does away with dead ones that it meets,
 * at most max_dead.  The request must be complete but for what concerns the
 * dead.  Afterwards, hold->req.claims.dead are those that were moved.
 */
void
once_claim_rows(OnceHold *hold, int max_dead)
{
	claim(hold, max_dead, false);
}

/*
 * once_claim_pop is once_claim_rows that deletes what it claims, leaving out
 * what cannot be had.  The rows can be read.
 */
void
once_claim_pop(OnceHold *hold, int max_dead)
{
	claim(hold, max_dead, true);
}

/*
 * once_claim_remove claims and deletes, dead or not, and reads nothing.  Returns
 * how many were deleted; those that could not be had are left in hold->req.claims.claimed.
 *
 * refusals: for those that are kept by something; NULL: that is an error.
 */
int
once_claim_remove(OnceHold *hold, OnceRefusals *refusals)
{
	QamClaimRequest *req = &hold->req;
	QamClaims  *claims = &req->claims;
	bool		fast = hold->queue->meta.fast;
	int			from = claims->nclaimed;
	Removal		removal = {.hold = hold,.refusals = refusals,.may_refuse = PG_INT32_MAX};
	int			kept = 0;
	int			i;

	req->remove = fast ? remove_at_once : NULL;
	req->remove_arg = hold;
	qam_claim(req);
	removal.rows = &claims->claimed[from];
	removal.n = claims->nclaimed - from;
	if (removal.n == 0)
		return 0;

	begin_removal(&removal);
	if (fast || refusals == NULL)
		remove_some(&removal, 0, removal.n);
	else
		remove_all(&removal);
	for (i = 0; i < removal.n; i++)
	{
		if (removal.fates[i] != FATE_REMOVED)
			removal.rows[kept++] = removal.rows[i];
	}
	claims->nclaimed = from + kept;
	end_removal(&removal);
	return removal.n - kept;
}

/*
 * once_claim_is_expired tells whether a row is past its time: the one in the row,
 * or else the queue's time to live, from when it could first be delivered.
 */
bool
once_claim_is_expired(const OnceQueue *queue, HeapTuple tuple, TimestampTz now)
{
	const OnceMeta *meta = &queue->meta;
	TupleDesc	desc = RelationGetDescr(queue->heap);
	TimestampTz expires_at;
	TimestampTz deliver_at;
	bool		isnull;

	expires_at = DatumGetTimestampTz(heap_getattr(tuple, meta->column[ONCE_COL_EXPIRES_AT],
												  desc, &isnull));
	if (!isnull)
		return expires_at <= now;
	if (meta->ttl == 0)
		return false;

	expires_at = DatumGetTimestampTz(heap_getattr(tuple, meta->column[ONCE_COL_ENQUEUED_AT],
												  desc, &isnull));
	if (isnull)
		return false;
	deliver_at = DatumGetTimestampTz(heap_getattr(tuple, meta->column[ONCE_COL_DELIVER_AT],
												  desc, &isnull));
	if (!isnull)
		expires_at = Max(expires_at, deliver_at);
	return !TIMESTAMP_NOT_FINITE(expires_at) &&
		!pg_add_s64_overflow(expires_at, meta->ttl, &expires_at) &&
		expires_at <= now;
}

/*
 * claim claims messages until there are enough of them, or no more to be had.
 */
static void
claim(OnceHold *hold, int max_dead, bool pop)
{
	QamClaimRequest *req = &hold->req;
	QamDelivery *delivery = &req->selection.delivery;
	QamClaims  *claims = &req->claims;
	int			may_refuse = ONCE_MAX_STUCK;
	int			found;

	delivery->max_dead = max_dead;
	delivery->max_dead_alone = max_dead == ONCE_MAX_DEAD ? ONCE_MAX_DEAD_ALONE : 0;
	delivery->expired = is_expired;
	delivery->expired_arg = hold->queue;
	if (pop && hold->queue->meta.fast)
	{
		req->remove = pop_at_once;
		req->remove_arg = hold;
	}
	do
	{
		int			had = claims->nclaimed;

		CHECK_FOR_INTERRUPTS();
		qam_claim(req);
		found = claims->nclaimed;
		if (hold->dead_met < claims->ndead)
			move_dead(hold, Max(max_dead, ONCE_MAX_STUCK));
		if (pop)
			may_refuse -= pop_rows(hold, had, may_refuse);

		/*
		 * Once more, in the place of those that are not to be had; dead ones
		 * are done
		 */
		delivery->max_dead = delivery->max_dead_alone = 0;
	} while (claims->nclaimed < Min(found, req->selection.max) && may_refuse > 0);
}

/*
 * move_dead makes dead letters of the dead messages that were claimed, and undoes
 * the claims of those that cannot go, and of all that come after them in their
 * groups.
 *
 * If somebody has the table of dead letters locked, they stay for this time.
 */
static void
move_dead(OnceHold *hold, int may_refuse)
{
	QamClaims  *claims = &hold->req.claims;
	Removal		removal = {.hold = hold,.rows = claims->dead,.n = claims->ndead,.dead = true};
	int			refused;
	int			i;

	hold->dead_met = claims->ndead;
	removal.may_refuse = once_dead_letter_lock() ? may_refuse : 0;
	begin_removal(&removal);
	remove_all(&removal);
	undo_after(hold, &removal);
	refused = settle(&removal);
	end_removal(&removal);
	claims->ndead = removal.n;
	hold->dead_settled = removal.n + refused;
	for (i = 0; i < claims->ndead; i++)
	{
		heap_freetuple(claims->dead[i].tuple);
		claims->dead[i].tuple = NULL;
	}
}

/*
 * pop_rows deletes the rows of claims, from one on, unless that was done in the
 * walk.  Those that are not had are left out.  Returns how many have become
 * stuck.
 */
static int
pop_rows(OnceHold *hold, int from, int may_refuse)
{
	QamClaims  *claims = &hold->req.claims;
	Removal		removal = {.hold = hold,.pop = true,.may_refuse = may_refuse};
	bool		all = true;
	int			refused;
	int			i;

	for (i = from; i < claims->nclaimed && all; i++)
		all = claims->claimed[i].removed;
	if (all)
		return 0;

	removal.rows = &claims->claimed[from];
	removal.n = claims->nclaimed - from;
	begin_removal(&removal);
	remove_all(&removal);
	refused = settle(&removal);
	end_removal(&removal);
	claims->nclaimed = from + removal.n;
	return refused;
}

/*
 * undo_after undoes the claims of messages to be delivered that come after one in
 * their group that was not had.
 */
static void
undo_after(OnceHold *hold, const Removal *removal)
{
	QamClaimRequest *req = &hold->req;
	QamClaims  *claims = &req->claims;
	int			kept = 0;
	int			i;

	for (i = 0; i < claims->nclaimed && removal->nleft > 0; i++)
	{
		if (is_after_left(removal, &claims->claimed[i]))
			qam_undo_claim(req->index, &claims->claimed[i], false);
		else
			claims->claimed[kept++] = claims->claimed[i];
	}
	if (removal->nleft > 0)
		claims->nclaimed = kept;
}

static void
begin_removal(Removal *removal)
{
	removal->fates = palloc0(removal->n * sizeof(Fate));
	removal->left = palloc(removal->n * sizeof(*removal->left));
	removal->nleft = 0;
}

/*
 * remove_all removes the rows, each that can be had.
 *
 * What is dead must not fail the commit of somebody who has come for other
 * messages, so that is always rehearsed.
 */
static void
remove_all(Removal *removal)
{
	int			chunk = removal->dead ? REMOVE_CHUNK : removal->n;
	int			from;

	removal->try.work = remove_some;
	removal->try.refused = refuse;
	removal->try.arg = removal;
	removal->try.rehearse = removal->dead || removal->hold->first;
	if (removal->n > 0)
		once_debug_point("walk_before_take");
	for (from = 0; from < removal->n; from += chunk)
		once_try(&removal->try, from, Min(from + chunk, removal->n));
}

/*
 * settle undoes the claims of rows that were not had, and leaves them out.  Returns
 * how many are stuck.
 */
static int
settle(Removal *removal)
{
	int			kept = 0;
	int			refused = 0;
	int			i;

	for (i = 0; i < removal->n; i++)
	{
		bool		stuck = removal->fates[i] == FATE_REFUSED;

		Assert(!removal->rows[i].removed || removal->fates[i] == FATE_REMOVED);
		if (removal->fates[i] == FATE_REMOVED)
			removal->rows[kept++] = removal->rows[i];
		else
			qam_undo_claim(removal->hold->req.index, &removal->rows[i], stuck);
		refused += stuck;
	}
	removal->n = kept;
	return refused;
}

static void
end_removal(Removal *removal)
{
	pfree(removal->fates);
	pfree(removal->left);
}

/*
 * remove_some removes some of the rows.
 */
static void
remove_some(void *arg, int from, int to)
{
	Removal    *removal = arg;
	OnceHold   *hold = removal->hold;
	OnceDeadWriter writer;
	int			i;

	if (removal->dead && removal->may_refuse > 0)
		once_dead_letter_begin(&writer);
	for (i = from; i < to; i++)
	{
		QamClaimed *row = &removal->rows[i];

		CHECK_FOR_INTERRUPTS();
		removal->try.row = i;
		removal->fates[i] = row->removed ? FATE_REMOVED : FATE_LEFT;
		if (!row->removed && removal->may_refuse > 0 && !is_after_left(removal, row))
		{
			if (removal->dead || removal->pop)
				hold->at = row->nth;
			if (remove_one(removal, row, &writer))
				removal->fates[i] = FATE_REMOVED;
			hold->at = ONCE_AT_NONE;
		}
		if (removal->fates[i] == FATE_LEFT)
			leave(removal, row);
	}
	removal->try.row = -1;
	if (removal->dead && removal->may_refuse > 0)
		once_dead_letter_end(&writer);
}

/*
 * refuse leaves a row where it is, as something keeps it.
 */
static void
refuse(void *arg, int row, const ErrorData *error)
{
	Removal    *removal = arg;
	OnceHold   *hold = removal->hold;

	hold->at = ONCE_AT_NONE;
	removal->fates[row] = FATE_REFUSED;
	removal->may_refuse--;
	leave(removal, &removal->rows[row]);
	if (removal->refusals != NULL)
		once_refusals_add(removal->refusals,
						  once_row_id(hold->queue, removal->rows[row].tuple), error);
	else
		once_dead_note_stuck(hold->queue, &removal->rows[row], error);
}

/*
 * leave notes that a message is not had, so that those after it in its group are
 * not either; unless they are all just to be removed.
 */
static void
leave(Removal *removal, const QamClaimed *row)
{
	int			i = 0;

	if (row->group == 0 || !(removal->dead || removal->pop))
		return;
	while (i < removal->nleft && removal->left[i].group != row->group)
		i++;
	if (i < removal->nleft && removal->left[i].nth <= row->nth)
		return;
	removal->left[i].group = row->group;
	removal->left[i].nth = row->nth;
	removal->nleft = Max(removal->nleft, i + 1);
}

static bool
is_after_left(const Removal *removal, const QamClaimed *row)
{
	int			i;

	for (i = 0; i < removal->nleft; i++)
	{
		if (removal->left[i].group == row->group && removal->left[i].nth < row->nth)
			return true;
	}
	return false;
}

/*
 * remove_one deletes a row, and makes a dead letter of it if that is wanted.  False:
 * it is not to be had without waiting, or not there any more, perhaps because of
 * what triggers have done when another one was deleted.
 */
static bool
remove_one(Removal *removal, QamClaimed *row, OnceDeadWriter *writer)
{
	OnceQueue  *queue = removal->hold->queue;
	Buffer		buffer = once_row_pin(queue, row->tuple);
	ItemPointerData tid = row->tuple->t_self;
	QamClaimed	flat = *row;
	bool		removed;

	if (!BufferIsValid(buffer))
		return false;
	if (removal->dead && !once_dead_is_dropped(queue, row))
		once_row_flatten(queue, &flat.tuple);
	removed = queue->meta.fast ? once_heap_try_delete(queue->heap, &tid) :
		once_heap_try_lock(queue->heap, &tid);
	ReleaseBuffer(buffer);
	if (removed && !queue->meta.fast)
		removed = once_spi_remove(queue, &tid, once_row_id(queue, row->tuple));
	if (removed && removal->dead)
		once_dead_store(queue, writer, &flat);

	if (flat.tuple != row->tuple)
		heap_freetuple(flat.tuple);
	return removed;
}

static bool
is_expired(void *arg, HeapTuple tuple, TimestampTz now)
{
	return once_claim_is_expired(arg, tuple, now);
}

/*
 * pop_at_once deletes a claimed row as the walk comes by.  Not yet, if it may have
 * to wait for a dead message of its group, which is moved when the walk is over.
 */
static bool
pop_at_once(void *arg, QamClaimed *claimed)
{
	OnceHold   *hold = arg;

	if (claimed->group != 0 && hold->req.claims.ndead > 0)
		return true;
	hold->at = claimed->nth;
	claimed->removed = once_heap_try_delete(hold->queue->heap, &claimed->tuple->t_self);
	hold->at = ONCE_AT_NONE;
	return claimed->removed;
}

/*
 * remove_at_once does that for a row that nobody is going to read.
 */
static bool
remove_at_once(void *arg, QamClaimed *claimed)
{
	OnceHold   *hold = arg;

	claimed->removed = once_heap_try_delete(hold->queue->heap, &claimed->tuple->t_self);
	return claimed->removed;
}
