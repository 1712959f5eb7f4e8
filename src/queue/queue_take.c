/*-------------------------------------------------------------------------
 *
 * queue_take.c
 *	  Claiming messages, and taking their rows away with the claim.
 *
 * receive and lease leave the rows of what they claim; pop, cancel and purge
 * delete them.  All but the last two also meet messages that are not to be
 * delivered any more: those are taken away in any case, see queue_dead.c.
 *
 * Rows are taken while the walk goes on, without waiting for anybody.  Through
 * SPI, user code may run, and it may use the queue.  So it runs when the walk
 * is over; the walk only locks the rows, which the DELETEs then need not wait
 * for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "common/int.h"
#include "miscadmin.h"
#include "once_error.h"
#include "queue/queue.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* What the callbacks need */
typedef struct TakeState
{
	OnceQueue  *queue;
	bool		flatten;		/* those that are not dead as well? */
	bool		storing;		/* is the writer open? */
	OnceDeadWriter writer;
} TakeState;

static void claim(OnceQueue *queue, QamClaimRequest *req, bool flatten);
static void store_dead(TakeState *state, QamClaimed *dead);
static void delete_rows(OnceQueue *queue, QamClaimRequest *req, bool flatten);
static bool delete_row(OnceQueue *queue, QamClaimed *claimed, bool flatten);
static bool is_expired(void *arg, HeapTuple tuple, TimestampTz now);
static bool take_row(void *arg, QamClaimed *claimed);
static bool take_dead(void *arg, QamClaimed *dead);
static bool take_by_delete(OnceQueue *queue, QamClaimed *claimed);
static bool take_by_lock(OnceQueue *queue, QamClaimed *claimed);

/*
 * once_rows_claim claims messages, and does away with dead ones that it meets,
 * at most max_dead.  The request must be complete but for what concerns the
 * dead.  Returns the number of those claimed.
 */
int
once_rows_claim(OnceQueue *queue, QamClaimRequest *req, int max_dead)
{
	req->max_dead = max_dead;
	req->max_dead_alone = max_dead == ONCE_MAX_DEAD ? ONCE_MAX_DEAD_ALONE : 0;
	req->expired = is_expired;
	req->expired_arg = queue;
	claim(queue, req, false);
	return req->nclaimed;
}

/*
 * once_rows_pop is once_rows_claim that deletes what it claims, leaving out
 * what cannot be had without waiting.  The rows can be read.
 */
int
once_rows_pop(OnceQueue *queue, QamClaimRequest *req, int max_dead)
{
	req->max_dead = max_dead;
	req->max_dead_alone = max_dead == ONCE_MAX_DEAD ? ONCE_MAX_DEAD_ALONE : 0;
	req->expired = is_expired;
	req->expired_arg = queue;
	req->take = take_row;
	claim(queue, req, true);
	delete_rows(queue, req, true);
	return req->nclaimed;
}

/*
 * once_rows_remove claims and deletes, dead or not, and reads nothing.
 */
int
once_rows_remove(OnceQueue *queue, QamClaimRequest *req)
{
	req->take = take_row;
	claim(queue, req, false);
	delete_rows(queue, req, false);
	return req->nclaimed;
}

/*
 * once_row_expired tells whether a row is past its time: the one in the row,
 * or else the queue's time to live, from when it could first be delivered.
 */
bool
once_row_expired(const OnceQueue *queue, HeapTuple tuple, TimestampTz now)
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
 * once_raise_suppressed raises once_ack_suppressed.
 */
void
once_raise_suppressed(const OnceQueue *queue)
{
	ereport(ERROR,
			(errcode(ERRCODE_ONCE_ACK_SUPPRESSED),
			 errmsg("message of queue \"%s\" was not deleted", once_queue_name(queue)),
			 errdetail("A trigger or rule of the table kept the row."),
			 errhint("Let the trigger return OLD for a DELETE.")));
}

/*
 * claim walks, and makes dead letters of the dead: as they are met, so that not
 * all of them must be in memory at a time, or if user code may run, afterwards.
 */
static void
claim(OnceQueue *queue, QamClaimRequest *req, bool flatten)
{
	TakeState	state;
	int			i;

	state.queue = queue;
	state.flatten = flatten;
	state.storing = false;
	req->take_dead = take_dead;
	req->take_arg = &state;
	qam_claim(req);
	req->take_arg = NULL;

	for (i = 0; i < req->ndead && !queue->meta.fast; i++)
	{
		if (delete_row(queue, &req->dead[i], true))
			store_dead(&state, &req->dead[i]);
	}
	if (state.storing)
		once_dead_end(&state.writer);
}

/*
 * store_dead makes a dead letter of a message whose row has been deleted, and
 * frees the tuple, which is flat.
 */
static void
store_dead(TakeState *state, QamClaimed *dead)
{
	CHECK_FOR_INTERRUPTS();
	if (!state->storing)
		once_dead_begin(&state->writer);
	state->storing = true;
	once_dead_store(state->queue, &state->writer, dead);
	heap_freetuple(dead->tuple);
	dead->tuple = NULL;
}

/*
 * delete_rows deletes the rows claimed that were locked during the walk, unless
 * they were deleted there.  Those that are not there any more are left out.
 */
static void
delete_rows(OnceQueue *queue, QamClaimRequest *req, bool flatten)
{
	int			kept = 0;
	int			i;

	if (queue->meta.fast)
		return;
	for (i = 0; i < req->nclaimed; i++)
	{
		if (delete_row(queue, &req->claimed[i], flatten))
			req->claimed[kept++] = req->claimed[i];
	}
	req->nclaimed = kept;
}

/*
 * delete_row deletes one of them.  False: what the table's triggers do when
 * another one is deleted has deleted it before, or changed it.
 */
static bool
delete_row(OnceQueue *queue, QamClaimed *claimed, bool flatten)
{
	ItemPointerData tid = claimed->tuple->t_self;
	int64		id = once_row_id(queue, claimed->tuple);

	if (flatten)
		once_row_flatten(queue, &claimed->tuple);
	if (once_row_delete_spi(queue, &tid, id))
		return true;
	if (once_row_is_there(queue, &tid, id))
		once_raise_suppressed(queue);
	return false;
}

static bool
is_expired(void *arg, HeapTuple tuple, TimestampTz now)
{
	return once_row_expired(arg, tuple, now);
}

/*
 * take_row deletes a claimed row, or locks it if user code may have a say in
 * its deletion.
 */
static bool
take_row(void *arg, QamClaimed *claimed)
{
	TakeState  *state = arg;

	if (!state->queue->meta.fast)
		return take_by_lock(state->queue, claimed);
	if (state->flatten)
		once_row_flatten(state->queue, &claimed->tuple);
	return take_by_delete(state->queue, claimed);
}

/*
 * take_dead does that for a dead message, and makes it a dead letter.
 */
static bool
take_dead(void *arg, QamClaimed *dead)
{
	TakeState  *state = arg;

	if (!state->queue->meta.fast)
		return take_by_lock(state->queue, dead);
	once_row_flatten(state->queue, &dead->tuple);
	if (!take_by_delete(state->queue, dead))
		return false;
	store_dead(state, dead);
	return true;
}

/*
 * take_by_delete deletes a claimed row, without waiting.
 */
static bool
take_by_delete(OnceQueue *queue, QamClaimed *claimed)
{
	ItemPointerData tid = claimed->tuple->t_self;
	TM_FailureData tmfd;
	TM_Result	result;

	result = heap_delete(queue->heap, &tid, GetCurrentCommandId(true),
						 InvalidSnapshot, false, &tmfd, false);

	/* It says so too if nobody but this transaction has the row locked. */
	if (result == TM_BeingModified && take_by_lock(queue, claimed))
		result = heap_delete(queue->heap, &tid, GetCurrentCommandId(true),
							 InvalidSnapshot, true, &tmfd, false);
	return result == TM_Ok;
}

/*
 * take_by_lock locks a claimed row as a DELETE would, without waiting.
 */
static bool
take_by_lock(OnceQueue *queue, QamClaimed *claimed)
{
	HeapTupleData tuple;
	Buffer		buffer;
	TM_FailureData tmfd;
	TM_Result	result;

	tuple.t_self = claimed->tuple->t_self;
	result = heap_lock_tuple(queue->heap, &tuple, GetCurrentCommandId(true),
							 LockTupleExclusive, LockWaitSkip, false, &buffer, &tmfd);
	ReleaseBuffer(buffer);
	return result == TM_Ok;
}
