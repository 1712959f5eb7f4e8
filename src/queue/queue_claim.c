/*-------------------------------------------------------------------------
 *
 * queue_claim.c
 *	  Claiming messages, and removing the rows of some.
 *
 * receive and lease leave the rows of the messages that they claim; pop,
 * cancel and purge delete them.  receive, lease and pop also meet messages
 * that are not to be delivered any more.  They take these away: see
 * queue_dead.c.
 *
 * Rows are removed without waiting for anybody who has them locked.  On the
 * fast path (OnceMeta.fast_delete), pop, cancel and purge delete rows during the
 * walk.  Otherwise rows are deleted after the walk, because code of users may
 * run, which may use the queue and may refuse the deletion.  Dead messages are
 * always taken away after the walk.
 *
 * A row that cannot be removed affects its own message (queue_try.c), and in
 * its group the messages that come after it, but no others.  The claims of all
 * these are undone without counting an attempt, and the walk goes on to claim
 * others in their place.
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

/* Dead messages moved in one subtransaction, if no error occurs */
#define REMOVE_CHUNK		1000

/* What happened to a row that was to be removed */
typedef enum Fate
{
	FATE_LEFT,					/* locked by others, gone, or not tried */
	FATE_REFUSED,				/* its deletion raised an error */
	FATE_REMOVED
} Fate;

/*
 * Some claims whose rows are to be removed after the walk: those of dead
 * messages, or of pop, or else of purge or cancel
 */
typedef struct Removal
{
	OnceHold   *hold;
	QamClaimed *rows;
	int			n;
	bool		dead;			/* the messages become dead letters */
	bool		pop;			/* the messages are handed out */
	OnceRefusals *refusals;		/* gets rows that were refused; NULL: these
								 * are noted as stuck */
	int			may_refuse;		/* how many may yet be refused; at 0, no more
								 * rows are tried */
	Fate	   *fates;
	OnceTry		try;

	/*
	 * For each group, the first message that was not removed.  Those after it
	 * are not removed either.
	 */
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
static bool pop_at_once(void *arg, QamClaimed *claimed);
static bool remove_at_once(void *arg, QamClaimed *claimed);

/*
 * once_claim_rows claims messages, and moves dead messages that it meets to
 * the dead letters, at most max_dead.  The caller has set up hold->req, except
 * for the fields about dead messages.  On return, hold->req.claims.dead has those
 * that were moved.
 */
void
once_claim_rows(OnceHold *hold, int max_dead)
{
	claim(hold, max_dead, false);
}

/*
 * once_claim_pop does the same and deletes the rows that it claims.  A row
 * that cannot be deleted is left out.  The messages can still be read.
 */
void
once_claim_pop(OnceHold *hold, int max_dead)
{
	claim(hold, max_dead, true);
}

/*
 * once_claim_remove claims messages, dead or not, and deletes their rows,
 * whose values are not read.  Returns how many were deleted.  The claims of
 * the others are left in hold->req.claims.claimed.
 *
 * refusals: gets the rows that something keeps.  NULL: such a row is an error.
 */
int
once_claim_remove(OnceHold *hold, OnceRefusals *refusals)
{
	QamClaimRequest *req = &hold->req;
	QamClaims  *claims = &req->claims;
	bool		fast = hold->queue->meta.fast_delete;
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
 * once_claim_look tells whether there is anything for a consumer to do:
 * messages to deliver, or dead ones to take away.  It claims nothing.
 * *earliest: when the next message that is known to wait for a time becomes
 * ready.
 */
bool
once_claim_look(OnceQueue *queue, Snapshot snapshot, TimestampTz *earliest)
{
	QamClaimRequest req = {0};
	QamSelection *selection = &req.selection;

	req.heap = queue->heap;
	req.index = queue->index;
	selection->purpose = QAM_TO_DELIVER;
	selection->max = 1;
	selection->snapshot = snapshot;
	selection->delivery.kind = QAM_CLAIM_LEASE;
	selection->delivery.look = true;
	selection->delivery.retry = queue->meta.retry;
	selection->delivery.max_dead = 1;
	selection->delivery.expired = once_claim_is_expired;
	selection->delivery.expired_arg = queue;
	qam_claim(&req);
	*earliest = req.earliest;
	return req.claims.nclaimed > 0 || (req.claims.ndead > 0 && once_dead_letter_lock());
}

/*
 * once_claim_is_dead tells whether a message will not be delivered any more:
 * the next consumer takes it away.
 */
bool
once_claim_is_dead(OnceQueue *queue, const QamPeeked *peeked)
{
	return peeked->state == QAM_PEEK_READY &&
		(peeked->attempts >= queue->meta.retry.max_attempts ||
		 once_claim_is_expired(queue, peeked->tuple, GetCurrentTimestamp()));
}

/*
 * once_claim_since returns when a message could first be delivered: when it was
 * enqueued, or when it was due if that was later.  DT_NOEND: not known.
 */
TimestampTz
once_claim_since(void *arg, HeapTuple tuple)
{
	const OnceQueue *queue = arg;
	const OnceMeta *meta = &queue->meta;
	TupleDesc	desc = RelationGetDescr(queue->heap);
	TimestampTz since;
	TimestampTz deliver_at;

	since = once_heap_int64(tuple, meta->column[ONCE_COL_ENQUEUED_AT], desc, DT_NOEND);
	if (since == DT_NOEND)
		return DT_NOEND;
	deliver_at = once_heap_int64(tuple, meta->column[ONCE_COL_DELIVER_AT], desc, DT_NOBEGIN);
	since = Max(since, deliver_at);
	return TIMESTAMP_NOT_FINITE(since) ? DT_NOEND : since;
}

/*
 * once_claim_is_expired tells whether a message has expired.  If the row has no
 * expires_at, the message expires when the queue's ttl has passed since it
 * could first be delivered.
 */
bool
once_claim_is_expired(void *arg, HeapTuple tuple, TimestampTz now)
{
	const OnceQueue *queue = arg;
	const OnceMeta *meta = &queue->meta;
	TimestampTz expires_at;
	bool		isnull;
	Datum		value;

	value = heap_getattr(tuple, meta->column[ONCE_COL_EXPIRES_AT],
						 RelationGetDescr(queue->heap), &isnull);
	if (!isnull)
		return DatumGetTimestampTz(value) <= now;
	if (meta->ttl == 0)
		return false;

	expires_at = once_claim_since(arg, tuple);
	return expires_at != DT_NOEND &&
		!pg_add_s64_overflow(expires_at, meta->ttl, &expires_at) &&
		expires_at <= now;
}

/*
 * claim claims messages until there are enough of them or no others are
 * available.
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
	delivery->expired = once_claim_is_expired;
	delivery->expired_arg = hold->queue;
	if (pop && hold->queue->meta.fast_delete)
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
		 * Try again in place of those that could not be removed.  The dead
		 * messages have been dealt with.
		 */
		delivery->max_dead = delivery->max_dead_alone = 0;
	} while (claims->nclaimed < Min(found, req->selection.max) && may_refuse > 0);
}

/*
 * move_dead makes dead letters of the dead messages that were claimed.  If one
 * of them cannot be moved, its claim is undone, and so are those of all
 * messages that come after it in its group.
 *
 * If somebody has the table of dead letters locked, all of them stay this
 * time.
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
 * pop_rows deletes the rows of the claims that begin at index "from", unless
 * the walk has deleted them.  It leaves out those that could not be deleted.
 * Returns how many messages have become stuck.
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
 * undo_after undoes the claims of messages to be delivered that come, in their
 * group, after one that was not removed.
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
 * remove_all removes all rows that can be removed.
 *
 * Dead messages must not make the commit fail for a caller that has come for
 * other messages.  So for them the commit is always rehearsed.
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
 * settle undoes the claims whose rows were not removed, and leaves them out.
 * Returns how many of their messages are stuck.
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
 * remove_some removes the rows from .. to - 1.
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
 * refuse notes that a row stays because its deletion has raised an error.
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
 * leave notes that a message was not removed, so that those after it in its
 * group are not removed either.  For purge and cancel that does not matter:
 * they deliver nothing.
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
 * remove_one deletes a row, and stores a dead letter if that was asked for.
 * False: the row could not be deleted without waiting, or it is no longer
 * there, perhaps because of what triggers did when another row was deleted.
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
	removed = queue->meta.fast_delete ? once_heap_try_delete(queue->heap, &tid) :
		once_heap_try_lock(queue->heap, &tid);
	ReleaseBuffer(buffer);
	if (removed && !queue->meta.fast_delete)
		removed = once_spi_remove(queue, &tid, once_row_id(queue, row->tuple));
	if (removed && removal->dead)
		once_dead_store(queue, writer, &flat);

	if (flat.tuple != row->tuple)
		heap_freetuple(flat.tuple);
	return removed;
}

/*
 * pop_at_once deletes a claimed row during the walk.  It puts this off if the
 * message may have to wait for a dead message of its group, since those are
 * moved after the walk.
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
 * remove_at_once deletes a claimed row during the walk for purge and cancel.
 */
static bool
remove_at_once(void *arg, QamClaimed *claimed)
{
	OnceHold   *hold = arg;

	claimed->removed = once_heap_try_delete(hold->queue->heap, &claimed->tuple->t_self);
	return claimed->removed;
}
