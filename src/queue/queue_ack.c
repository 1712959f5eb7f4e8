/*-------------------------------------------------------------------------
 *
 * queue_ack.c
 *	  ack, ack_all, try_ack and try_ack_all; and the rejection of a message.
 *
 * An ack deletes the message's row in the caller's transaction.  The receipt
 * leads to the slot, and the slot leads to the row.  The row's page stays
 * pinned, so its line pointer cannot be used for another row.  Hence the row
 * deleted is that of the message that was claimed.
 *
 * Nobody can take away a claim by transaction while that transaction runs.
 * So the ack of such a message need not check the slot.  But the claim does
 * not lock the row: another transaction may UPDATE it meanwhile, and then the
 * ack would delete a version that was never delivered.  We know which version
 * was delivered, so such an ack is refused, unless the UPDATE was made by this
 * transaction.  (For a lease we know neither the version nor who made the
 * UPDATE.)
 *
 * A lease can be lost until the row's deletion keeps everybody else away from
 * the row.  So the claim of a lease is checked again after the deletion.  If
 * the claim was lost, ack raises an error, and the transaction rolls back.
 * try_ack has to go on without the deletion, so it deletes in a
 * subtransaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "funcapi.h"
#include "meta/meta_cache.h"
#include "miscadmin.h"
#include "once_debug.h"
#include "once_error.h"
#include "qam/qam.h"
#include "queue/queue_ack.h"
#include "queue/queue_args.h"
#include "queue/queue_dead.h"
#include "queue/queue_open.h"
#include "queue/queue_receipt.h"
#include "queue/queue_row.h"
#include "queue/queue_spi.h"
#include "queue/queue_try.h"
#include "queue/queue_unacked.h"
#include "stats/stats.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

typedef enum AckOutcome
{
	ACK_DONE,					/* deleted, and the claim was ours all along */
	ACK_GONE,					/* the row had been deleted before */
	ACK_LOST,					/* the claim is no longer ours */
	ACK_CHANGED,				/* another transaction has updated the row */
	ACK_OVERTAKEN				/* deleted, but meanwhile the claim was lost
								 * or the row was updated: the deletion must
								 * be rolled back */
} AckOutcome;

/* Some receipts of one queue, for try_ack and try_ack_all */
typedef struct TryRun
{
	OnceQueue	queue;
	const pg_uuid_t *receipts;
	int			n;
	bool	   *given_up;		/* got ACK_OVERTAKEN in an earlier round */
	bool	   *acked;			/* out */
} TryRun;

PG_FUNCTION_INFO_V1(once_ack);
PG_FUNCTION_INFO_V1(once_ack_all);
PG_FUNCTION_INFO_V1(once_try_ack);
PG_FUNCTION_INFO_V1(once_try_ack_all);

static void ack_run(const pg_uuid_t *receipts, int n, const char *verb);
static void try_ack_run(const pg_uuid_t *receipts, int n, bool *acked, const char *verb);
static bool try_ack_round(TryRun *run);
static void try_ack_in_subxact(TryRun *run);
static int	run_length(const pg_uuid_t *receipts, int n, OnceReceipt *first);
static AckOutcome ack_one(OnceQueue *queue, const pg_uuid_t *uuid, Datum rejected);
static void raise_unless_done(const OnceQueue *queue, const pg_uuid_t *uuid,
							  AckOutcome outcome);
static void bury(OnceQueue *queue, QamClaimed *message, Datum error);
static bool changed_since_received(OnceQueue *queue, const pg_uuid_t *uuid);
static void raise_changed(const OnceQueue *queue);
static void check_order(OnceQueue *queue, const QamRef *ref, QamLocated *located);
static bool ack_received(const pg_uuid_t *uuid, Oid relid);
static bool row_is_there(Buffer buffer, const OnceReceivedRow *row);
static TM_Result ack_row(OnceQueue *queue, QamLocated *located);
static TM_Result ack_row_spi(OnceQueue *queue, QamLocated *located);

/*
 * once.ack: deletes the message, or raises an error.
 */
Datum
once_ack(PG_FUNCTION_ARGS)
{
	pg_uuid_t	receipt;

	once_queue_arg_receipt(fcinfo, 0, &receipt);
	ack_run(&receipt, 1, "once.ack()");
	PG_RETURN_VOID();
}

/*
 * once.ack_all: deletes all of the messages, or raises an error.
 */
Datum
once_ack_all(PG_FUNCTION_ARGS)
{
	int			n;
	pg_uuid_t  *receipts = once_queue_arg_receipts(fcinfo, 0, &n);

	ack_run(receipts, n, "once.ack_all()");
	PG_RETURN_INT64(n);
}

/*
 * once.try_ack: as ack, but returns false if the claim is lost or the message
 * is already acked.
 */
Datum
once_try_ack(PG_FUNCTION_ARGS)
{
	pg_uuid_t	receipt;
	bool		acked;

	once_queue_arg_receipt(fcinfo, 0, &receipt);
	try_ack_run(&receipt, 1, &acked, "once.try_ack()");
	PG_RETURN_BOOL(acked);
}

/*
 * once.try_ack_all: returns the receipts of the messages that could be acked.
 */
Datum
once_try_ack_all(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			n;
	pg_uuid_t  *receipts = once_queue_arg_receipts(fcinfo, 0, &n);
	bool	   *acked = palloc(sizeof(bool) * Max(n, 1));
	int			i;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	try_ack_run(receipts, n, acked, "once.try_ack_all()");
	for (i = 0; i < n; i++)
	{
		Datum		value = UUIDPGetDatum(&receipts[i]);
		bool		isnull = false;

		if (acked[i])
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}

/*
 * ack_run acks receipts in order.  It opens a queue once for each run of
 * receipts of the same queue.
 */
static void
ack_run(const pg_uuid_t *receipts, int n, const char *verb)
{
	int			done = 0;

	while (done < n)
	{
		OnceReceipt first;
		OnceQueue	queue;
		int			end = done + run_length(receipts + done, n - done, &first);

		while (done < end && ack_received(&receipts[done], first.relid))
			done++;
		if (done == end)
			continue;

		once_queue_open_receipt(&queue, first.relid, verb);
		once_queue_check_column(&queue, ONCE_COL_ID);
		for (; done < end; done++)
			raise_unless_done(&queue, &receipts[done],
							  ack_one(&queue, &receipts[done], (Datum) 0));
		once_queue_close(&queue);
	}
}

/*
 * raise_unless_done raises the error that says why a message was not acked.
 */
static void
raise_unless_done(const OnceQueue *queue, const pg_uuid_t *uuid, AckOutcome outcome)
{
	if (outcome == ACK_CHANGED ||
		(outcome == ACK_OVERTAKEN && once_unacked_has(uuid)))
		raise_changed(queue);
	if (outcome == ACK_LOST || outcome == ACK_OVERTAKEN)
		once_queue_raise_lost(queue);
	if (outcome == ACK_GONE)
		once_queue_raise_already_acked(queue);
}

/*
 * once_ack_reject deletes a message and makes a dead letter of it, in the same
 * transaction.  It raises the errors of once.ack.  error: a text to store with
 * the message.
 */
void
once_ack_reject(const pg_uuid_t *receipt, Datum error, const char *verb)
{
	OnceReceipt decoded;
	OnceQueue	queue;

	once_receipt_decode(receipt, &decoded);
	once_queue_open_receipt(&queue, decoded.relid, verb);
	once_queue_check_column(&queue, ONCE_COL_ID);
	raise_unless_done(&queue, receipt, ack_one(&queue, receipt, error));
	once_queue_close(&queue);
}

/*
 * bury makes a dead letter of a message whose row has just been deleted.
 */
static void
bury(OnceQueue *queue, QamClaimed *message, Datum error)
{
	OnceMessageKey key = once_row_key(queue, message->tuple);
	OnceDeadWriter writer;

	message->death = QAM_DEAD_REJECTED;
	once_failure_write(once_queue_name(queue), &key, message->attempt, error, true);
	once_dead_letter_begin(&writer);
	once_dead_store(queue, &writer, message);
	once_dead_letter_end(&writer);
}

/*
 * try_ack_run acks receipts, and reports in *acked which of them were acked.
 */
static void
try_ack_run(const pg_uuid_t *receipts, int n, bool *acked, const char *verb)
{
	int			done = 0;

	while (done < n)
	{
		OnceReceipt first;
		TryRun		run;
		bool		all_own = true;
		int			i;

		run.receipts = receipts + done;
		run.n = run_length(run.receipts, n - done, &first);
		run.acked = acked + done;
		run.given_up = palloc0(sizeof(bool) * run.n);

		once_queue_open_receipt(&run.queue, first.relid, verb);
		once_queue_check_column(&run.queue, ONCE_COL_ID);
		for (i = 0; i < run.n && all_own; i++)
			all_own = once_unacked_has(&run.receipts[i]);

		/* On the fast path, claims of this transaction cannot be overtaken */
		if (all_own && run.queue.meta.fast_delete)
		{
			if (!try_ack_round(&run))
				elog(ERROR, "claim of the current transaction was lost");
		}
		else
			try_ack_in_subxact(&run);
		once_queue_close(&run.queue);

		pfree(run.given_up);
		done += run.n;
	}
}

/*
 * try_ack_round acks what it can.  False: a receipt was overtaken and is given
 * up from now on.  The caller must roll back what this round has done.
 */
static bool
try_ack_round(TryRun *run)
{
	int			lost = 0;
	int			i;

	for (i = 0; i < run->n; i++)
	{
		AckOutcome	outcome = ACK_LOST;

		if (!run->given_up[i])
			outcome = ack_one(&run->queue, &run->receipts[i], (Datum) 0);
		if (outcome == ACK_OVERTAKEN)
		{
			run->given_up[i] = true;
			return false;
		}
		run->acked[i] = outcome == ACK_DONE;
		lost += outcome == ACK_LOST || outcome == ACK_CHANGED;
	}
	once_stats_count(RelationGetRelid(run->queue.heap), ONCE_COUNT_LEASE_LOST, lost);
	return true;
}

/*
 * try_ack_in_subxact acks what it can in a subtransaction.  It starts again
 * each time a receipt is overtaken, which hardly ever happens.
 */
static void
try_ack_in_subxact(TryRun *run)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool good = false;

	while (!good)
	{
		BeginInternalSubTransaction(NULL);
		MemoryContextSwitchTo(context);
		PG_TRY();
		{
			good = try_ack_round(run);
			if (good)
				ReleaseCurrentSubTransaction();
			else
				RollbackAndReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(context);
			CurrentResourceOwner = owner;
		}
		PG_CATCH();
		{
			ReThrowError(once_try_failed(context, owner));
		}
		PG_END_TRY();
	}
}

/*
 * run_length returns how many receipts at the start of an array are of the
 * same queue.  *first: the first of them.
 */
static int
run_length(const pg_uuid_t *receipts, int n, OnceReceipt *first)
{
	OnceReceipt next;
	int			length;

	once_receipt_decode(&receipts[0], first);
	for (length = 1; length < n; length++)
	{
		once_receipt_decode(&receipts[length], &next);
		if (next.relid != first->relid)
			break;
	}
	return length;
}

/*
 * ack_one acks a receipt of an open queue.  Like any DELETE, it waits for
 * transactions that have the row locked.  It raises an error if another
 * message of the group comes first: the claim is not lost then, but the caller
 * acks in the wrong order.  rejected: 0, or an error text; with a text, the
 * message becomes a dead letter instead of counting as processed.
 */
static AckOutcome
ack_one(OnceQueue *queue, const pg_uuid_t *uuid, Datum rejected)
{
	OnceReceipt receipt;

	if (queue->shard_left)
		return ACK_LOST;
	once_receipt_decode(uuid, &receipt);
	for (;;)
	{
		QamLocated	located;
		QamClaimed	message = {0};
		TimestampTz enqueued_at = DT_NOBEGIN;
		bool		safe;

		CHECK_FOR_INTERRUPTS();
		qam_locate(queue->heap, queue->index, &receipt.ref, &located);
		if (located.state == QAM_REF_GONE)
			return ACK_GONE;
		if (located.state == QAM_REF_LOST)
			return ACK_LOST;

		if (changed_since_received(queue, uuid))
		{
			ReleaseBuffer(located.heap_pin);
			return ACK_CHANGED;
		}
		check_order(queue, &receipt.ref, &located);
		if (once_stats_on)
			enqueued_at = once_row_enqueued_at(queue, &located.tid, located.heap_pin);
		if (located.attempt > 1 || queue->meta.archive != 0 || rejected != (Datum) 0)
		{
			message.attempt = located.attempt;
			message.tuple = once_row_copy(queue, &located.tid, located.heap_pin);
			if (queue->meta.archive != 0 || rejected != (Datum) 0)
				once_row_flatten(queue, &message.tuple);
		}

		/* If this fails, somebody else was faster: locate the row again */
		safe = located.state == QAM_REF_HELD && located.kind == QAM_CLAIM_XID;
		once_debug_point("ack_before_delete");
		if (ack_row(queue, &located) != TM_Ok)
			continue;
		once_debug_point("ack_before_confirm");

		if (!safe && !qam_confirm_ack(queue->index, &receipt.ref))
			return ACK_OVERTAKEN;

		/*
		 * If the executor waited for an UPDATE, it has deleted the new
		 * version
		 */
		if (!queue->meta.fast_delete && changed_since_received(queue, uuid))
			return ACK_OVERTAKEN;
		if (message.tuple != NULL)
		{
			if (rejected != (Datum) 0)
				bury(queue, &message, rejected);
			else
				once_done_messages(queue, &message, 1, NULL);
			heap_freetuple(message.tuple);
		}
		once_unacked_ack(uuid);
		once_stats_acked(RelationGetRelid(queue->heap), enqueued_at);
		if (located.kind == QAM_CLAIM_LEASE)
			once_stats_lease_ended(once_queue_whole(queue));
		return ACK_DONE;
	}
}

/*
 * changed_since_received tells whether this transaction received a message
 * that another transaction has updated since.
 */
static bool
changed_since_received(OnceQueue *queue, const pg_uuid_t *uuid)
{
	const OnceReceivedRow *row = once_unacked_row(uuid, false);

	return row != NULL && once_row_replaced(queue->heap, &row->tid, row->xmin);
}

/*
 * raise_changed raises once_lease_lost for a message that another transaction
 * has updated since it was received.
 */
static void
raise_changed(const OnceQueue *queue)
{
	once_stats_count(RelationGetRelid(queue->heap), ONCE_COUNT_LEASE_LOST, 1);
	ereport(ERROR,
			(errcode(ERRCODE_ONCE_LEASE_LOST),
			 errmsg("claim on a message of queue \"%s\" is lost", once_queue_name(queue)),
			 errdetail("Another transaction has updated the message since it was received."),
			 errhint("Roll back: the message will be delivered again, as it is now.")));
}

/*
 * check_order raises once_group_order if another message of the group must be
 * acked before the one that was located.
 */
static void
check_order(OnceQueue *queue, const QamRef *ref, QamLocated *located)
{
	if (located->group == 0 ||
		qam_first_in_group(queue->heap, queue->index, ref))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_ONCE_GROUP_ORDER),
			 errmsg("message of queue \"%s\" cannot be acknowledged yet", once_queue_name(queue)),
			 errdetail("An earlier message of its group is not acknowledged."),
			 errhint("Acknowledge the messages of a group in the order of their delivery.")));
}

/*
 * ack_received acks a message that this transaction has received, by the place
 * of its row.  It does not read the index again, since such a claim cannot be
 * lost while the transaction runs.
 *
 * It does not open the queue again either.  When the message was received, the
 * rights of the same user were checked, and whether rows may be deleted, and
 * the table has been locked since.  If this backend has heard of any change to
 * the catalogs meanwhile, these checks do not count, and the caller must
 * repeat them.
 *
 * False: nothing was done, and the caller must locate the row through the
 * index.  Either the message was not received by this transaction in this way,
 * or this transaction may have changed the table or the index, or the row was
 * locked, changed or deleted meanwhile, perhaps by this transaction.
 */
static bool
ack_received(const pg_uuid_t *uuid, Oid relid)
{
	const OnceReceivedRow *known = once_unacked_row(uuid, true);
	OnceReceivedRow row;
	TM_FailureData tmfd;
	Relation	heap;
	Buffer		buffer;
	bool		deleted;

	if (known == NULL || known->epoch != once_meta_epoch() ||
		known->user != GetUserId() || XactReadOnly || IsInParallelMode())
		return false;
	row = *known;
	CHECK_FOR_INTERRUPTS();

	heap = relation_open(relid, NoLock);
	buffer = ReadBuffer(heap, ItemPointerGetBlockNumber(&row.tid));
	once_debug_point("ack_before_delete");
	deleted = row_is_there(buffer, &row) &&
		once_delete_row(heap, &row.tid, true, &tmfd) == TM_Ok;
	ReleaseBuffer(buffer);
	relation_close(heap, NoLock);
	if (deleted)
	{
		once_unacked_ack(uuid);
		once_stats_acked(relid, row.enqueued_at);
	}
	return deleted;
}

/*
 * row_is_there tells whether a row is still in its place, and neither locked
 * nor changed.  The caller has pinned the page, so the row keeps its place
 * from now on.
 */
static bool
row_is_there(Buffer buffer, const OnceReceivedRow *row)
{
	HeapTupleData tuple;
	bool		there;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	tuple.t_self = row->tid;
	there = once_row_at(BufferGetPage(buffer), &tuple) &&
		HeapTupleHeaderGetRawXmin(tuple.t_data) == row->xmin &&
		(tuple.t_data->t_infomask & HEAP_XMAX_INVALID) != 0;
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return there;
}

/*
 * ack_row deletes the row that was located, and unpins its page.
 */
static TM_Result
ack_row(OnceQueue *queue, QamLocated *located)
{
	TM_FailureData tmfd;
	TM_Result	result;

	if (!queue->meta.fast_delete)
		return ack_row_spi(queue, located);

	/* The same statement may have updated it */
	if (located->updated_by_us)
		CommandCounterIncrement();
	result = once_delete_row(queue->heap, &located->tid, true, &tmfd);
	ReleaseBuffer(located->heap_pin);
	return result;
}

/*
 * ack_row_spi is ack_row for tables that need the executor.  The DELETE
 * identifies the row by its id as well as by its place.  So the page is
 * unpinned once the id is read, before any code of users runs.
 *
 * When the DELETE finds nothing, the state of the row tells why.  If the row
 * is gone or has been replaced by another version, the caller locates it
 * again.  If it is still there, a trigger or rule kept it, or this
 * transaction's snapshot does not see it; both are errors.
 */
static TM_Result
ack_row_spi(OnceQueue *queue, QamLocated *located)
{
	HeapTuple	copy = once_row_copy(queue, &located->tid, located->heap_pin);
	int64		id = once_row_id(queue, copy);
	HeapTupleData tuple;
	Buffer		buffer;

	ReleaseBuffer(located->heap_pin);
	heap_freetuple(copy);

	if (once_spi_delete(queue, &located->tid, id))
		return TM_Ok;
	if (!once_spi_is_there(queue, &located->tid, id))
		return TM_Deleted;

	if (IsolationUsesXactSnapshot())
	{
		tuple.t_self = located->tid;
		if (!heap_fetch(queue->heap, GetTransactionSnapshot(), &tuple, &buffer, false))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to a message newer than the transaction's snapshot")));
		ReleaseBuffer(buffer);
	}
	once_spi_raise_suppressed(queue);
	return TM_Ok;				/* keep compiler quiet */
}
