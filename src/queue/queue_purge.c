/*-------------------------------------------------------------------------
 *
 * queue_purge.c
 *	  purge and cancel: deleting messages that nobody is to get.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "meta/meta_cache.h"
#include "meta/meta_dead.h"
#include "meta/meta_index.h"
#include "meta/meta_role.h"
#include "miscadmin.h"
#include "once_args.h"
#include "once_debug.h"
#include "qam/qam.h"
#include "queue/queue_args.h"
#include "queue/queue_claim.h"
#include "queue/queue_hold.h"
#include "queue/queue_open.h"
#include "queue/queue_own.h"
#include "queue/queue_parts.h"
#include "queue/queue_row.h"
#include "queue/queue_try.h"
#include "queue/queue_unacked.h"
#include "stats/stats.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Messages that purge deletes at a time */
#define PURGE_ROUND			10000

/* One call of purge that deletes row by row */
typedef struct Purge
{
	bool		has_written;	/* had the transaction, before this call? */
	int64		removed;
	OnceRefusals refusals;
} Purge;

/* One call of cancel */
typedef struct Cancel
{
	int64		id;
	bool		found;			/* in the part that was searched last */
	bool		cancelled;
	OnceMessageKey key;			/* of the message found */
} Cancel;

PG_FUNCTION_INFO_V1(once_purge);
PG_FUNCTION_INFO_V1(once_cancel);

static bool can_truncate(OnceQueue *queue);
static int64 count_rows(OnceQueue *queue);
static void truncate_table(const char *relname);
static int64 purge_parts(OnceQueue *queue);
static void purge_rows(Purge *purge, OnceQueue *queue);
static void purge_all(OnceHold *hold);
static void cancel_in(Cancel *cancel, OnceQueue *queue);
static void require_id_index(const OnceQueue *queue);
static void cancel_one(OnceHold *hold);
static bool find_row(OnceQueue *queue, int64 id, Snapshot snapshot, QamClaimRequest *req,
					 OnceMessageKey *message, ItemPointer own);

/*
 * once.purge: deletes all messages except those in open transactions of
 * others.
 */
Datum
once_purge(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);
	OnceQueue	queue;
	int64		removed;

	once_queue_open_whole(&queue, name, ONCE_TO_PURGE, "once.purge()");
	once_queue_check_column(&queue, ONCE_COL_ID);
	if (can_truncate(&queue))
	{
		char	   *relname = pstrdup(RelationGetRelationName(queue.heap));

		removed = count_rows(&queue);
		once_queue_close(&queue);
		truncate_table(relname);
	}
	else
	{
		removed = purge_parts(&queue);
		once_queue_close(&queue);
	}
	PG_RETURN_INT64(removed);
}

/*
 * once.cancel: deletes one message, unless somebody has claimed it.  It may be
 * one that this transaction has sent or updated.
 */
Datum
once_cancel(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);
	OnceQueue	queue;
	Cancel		cancel = {0};
	OnceParts	parts;
	OnceQueue	room;
	OnceQueue  *part;

	if (PG_ARGISNULL(1))
		once_arg_refuse_null("id");
	cancel.id = PG_GETARG_INT64(1);

	once_queue_open_whole(&queue, name, ONCE_TO_CONSUME, "once.cancel()");
	require_id_index(&queue);
	once_parts_begin(&parts, &queue, ONCE_TO_CONSUME);
	while (!cancel.cancelled && (part = once_parts_next(&parts, &room, true)) != NULL)
	{
		if (part != &queue)
			require_id_index(part);
		cancel_in(&cancel, part);
		if (cancel.found)
			once_parts_close(&parts, part);
		else
			once_parts_leave(&parts, part);
	}
	once_parts_end(&parts);
	if (cancel.cancelled)
		once_failure_forget(once_queue_name(&queue), &cancel.key);
	once_queue_close(&queue);
	PG_RETURN_BOOL(cancel.cancelled);
}

/*
 * cancel_in cancels the message if it is in this part of the queue.
 */
static void
cancel_in(Cancel *cancel, OnceQueue *queue)
{
	OnceHold	hold;
	ItemPointerData own;

	once_hold_begin(&hold, queue, GetActiveSnapshot());
	hold.arg = &cancel->cancelled;
	cancel->found = find_row(queue, cancel->id, GetActiveSnapshot(), &hold.req, &cancel->key, &own);

	/* The same statement may have changed it, or cancelled it already */
	CommandCounterIncrement();
	if (cancel->found && ItemPointerIsValid(&own))
		cancel->found = find_row(queue, cancel->id, SnapshotSelf, &hold.req, &cancel->key, &own);
	if (!cancel->found)
		return;
	hold.req.selection.max = 1;
	if (ItemPointerIsValid(&own))
		cancel->cancelled = once_own_delete(queue, &own, cancel->key.id);
	else
		once_hold(&hold, cancel_one);
}

/*
 * require_id_index raises an error if messages cannot be found by their ids.
 */
static void
require_id_index(const OnceQueue *queue)
{
	once_queue_check_column(queue, ONCE_COL_ID);
	once_queue_check_column(queue, ONCE_COL_PRIORITY);
	once_queue_check_column(queue, ONCE_COL_DELIVER_AT);
	if (OidIsValid(queue->meta.id_index))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("queue \"%s\" has no index on id", once_queue_name(queue)),
			 errhint("Create queues with id_index => true, or use ALTER TABLE %s ADD PRIMARY KEY (id), as a role that may create in the schema.",
					 quote_qualified_identifier(ONCE_SCHEMA,
												RelationGetRelationName(queue->heap)))));
}

/*
 * can_truncate tells whether the table may be emptied as a whole.  If so, it
 * takes the lock for that.  The table must not be emptied in these cases: the
 * caller may not TRUNCATE it; somebody else uses it, or an index of it; this
 * transaction uses it, in a cursor, with messages that it has yet to ack or with
 * triggers that have yet to fire, such as the check of a deferred key; the deletion of
 * rows would set something off; the queue is distributed, so that TRUNCATE would also
 * delete the messages of other nodes, or a shard, on which Citus allows no commands; or
 * there is a second queue index, invalid, which TRUNCATE would try to build and fail.
 */
static bool
can_truncate(OnceQueue *queue)
{
	Oid			relid = RelationGetRelid(queue->heap);

	return queue->meta.fast_delete &&
		!queue->meta.distributed &&
		!OidIsValid(queue->meta.shard_of) &&
		!OidIsValid(queue->meta.invalid_index) &&
		queue->heap->rd_refcnt == 1 &&
		!once_unacked_any(relid) &&
		!AfterTriggerPendingOnRel(relid) &&
		pg_class_aclcheck(relid, GetUserId(), ACL_TRUNCATE) == ACLCHECK_OK &&
		once_index_all_free(queue->heap, AccessExclusiveLock) &&
		ConditionalLockRelationOid(relid, AccessExclusiveLock);
}

/*
 * count_rows counts the messages of a table that the caller has locked against
 * everybody.
 */
static int64
count_rows(OnceQueue *queue)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = once_beginscan(queue->heap, snapshot, 0, NULL);
	int64		n = 0;

	while (heap_getnext(scan, ForwardScanDirection) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		n++;
	}
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	return n;
}

static void
truncate_table(const char *relname)
{
	char	   *sql = psprintf("TRUNCATE ONLY %s",
							   quote_qualified_identifier(ONCE_SCHEMA, relname));

	SPI_connect();
	once_role_run(sql, 0, NULL, NULL);
	SPI_finish();
}

/*
 * purge_parts deletes the rows of all parts of a queue.  Returns how many were
 * deleted.
 */
static int64
purge_parts(OnceQueue *queue)
{
	Purge		purge = {.refusals = {.queue = queue,.what = "removed"}};
	OnceParts	parts;
	OnceQueue	room;
	OnceQueue  *part;

	purge.has_written = once_try_has_written();
	once_parts_begin(&parts, queue, ONCE_TO_PURGE);
	while ((part = once_parts_next(&parts, &room, true)) != NULL)
	{
		once_queue_check_column(part, ONCE_COL_ID);
		purge_rows(&purge, part);
		once_parts_close(&parts, part);
	}
	once_parts_end(&parts);
	once_refusals_warn(&purge.refusals);
	return purge.removed;
}

/*
 * purge_rows deletes rows as pop would, and also those of messages that are
 * leased or not ready, until no more are available.  Like TRUNCATE, it also
 * deletes those that this transaction has sent.
 */
static void
purge_rows(Purge *purge, OnceQueue *queue)
{
	OnceHold	hold;

	if (purge->has_written)
		purge->removed += once_own_delete_all(queue, &purge->refusals);
	once_hold_begin(&hold, queue, GetActiveSnapshot());
	hold.req.selection.purpose = QAM_TO_TAKE_ALL;
	hold.arg = purge;
	once_stats_progress_begin(once_queue_whole(queue), "purge", -1);
	once_stats_progress(purge->removed);
	once_hold(&hold, purge_all);
	once_stats_progress_end();
}

/*
 * purge_all does the work of purge_rows within once_hold.  If a row cannot be
 * deleted, its claim is kept until the end, so that the walk does not meet it
 * again.
 */
static void
purge_all(OnceHold *hold)
{
	Purge	   *purge = hold->arg;
	MemoryContext round = AllocSetContextCreate(CurrentMemoryContext,
												"pg_once purge",
												ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(round);
	int			left;
	int			found;
	int			i;

	do
	{
		int			n;

		CHECK_FOR_INTERRUPTS();
		left = hold->req.claims.nclaimed;
		hold->req.selection.max = left + PURGE_ROUND;
		n = once_claim_remove(hold, &purge->refusals);
		purge->removed += n;
		once_stats_progress(purge->removed);
		once_debug_point("purge_round");
		found = n + hold->req.claims.nclaimed - left;
		MemoryContextReset(round);
	} while (found > 0);

	for (i = 0; i < hold->req.claims.nclaimed; i++)
		qam_undo_claim(hold->req.index, &hold->req.claims.claimed[i], false);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(round);
}

/*
 * cancel_one deletes the message that the request asks for.
 */
static void
cancel_one(OnceHold *hold)
{
	bool	   *cancelled = hold->arg;

	*cancelled = once_claim_remove(hold, NULL) == 1;
	if (hold->req.claims.nclaimed > 0)
		qam_undo_claim(hold->req.index, &hold->req.claims.claimed[0], false);
}

/*
 * find_row finds the row of an id as a snapshot sees it.  It makes *req ask
 * for this message: at what place the queue index knows it, in which lane, and
 * when due.  *own: the place of the row if this transaction has sent the
 * message, else invalid.
 */
static bool
find_row(OnceQueue *queue, int64 id, Snapshot snapshot, QamClaimRequest *req,
		 OnceMessageKey *message, ItemPointer own)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;
	bool		isnull;

	ScanKeyInit(&key, queue->meta.column[ONCE_COL_ID], BTEqualStrategyNumber,
				F_INT8EQ, Int64GetDatum(id));
	scan = systable_beginscan(queue->heap, queue->meta.id_index, true,
							  snapshot, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		TupleDesc	desc = RelationGetDescr(queue->heap);
		Datum		priority;
		Datum		deliver_at;

		*message = once_row_key(queue, tuple);
		req->selection.purpose = QAM_TO_TAKE_ONE;
		req->selection.one.tid = tuple->t_self;
		priority = heap_getattr(tuple, queue->meta.column[ONCE_COL_PRIORITY],
								desc, &isnull);
		req->selection.one.lane = isnull ? QAM_DEFAULT_PRIORITY : DatumGetInt16(priority);
		deliver_at = heap_getattr(tuple, queue->meta.column[ONCE_COL_DELIVER_AT],
								  desc, &isnull);
		req->selection.one.ready_at = isnull ? 0 : DatumGetTimestampTz(deliver_at);
		if (HeapTupleIsHeapOnly(tuple))
			once_row_find_root(queue, &req->selection.one.tid);
		ItemPointerSetInvalid(own);
		if (once_own_sent(queue, tuple, &req->selection.one.tid))
			*own = tuple->t_self;
	}
	systable_endscan(scan);
	return found;
}
