/*-------------------------------------------------------------------------
 *
 * queue_nack.c
 *	  nack, release and extend: what can be done with a claim besides ack.
 *
 * All three change the index, at once and for good, whatever becomes of the
 * caller's transaction.  An error text given to nack is stored as a row of
 * once.failure, and that row is part of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "meta/meta_cache.h"
#include "meta/meta_dead.h"
#include "qam/qam.h"
#include "queue/queue_args.h"
#include "queue/queue_open.h"
#include "queue/queue_receipt.h"
#include "queue/queue_row.h"
#include "queue/queue_unacked.h"
#include "stats/stats.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(once_nack);
PG_FUNCTION_INFO_V1(once_release);
PG_FUNCTION_INFO_V1(once_extend_lease);

static TimestampTz give_back(const pg_uuid_t *uuid, QamGiveBack how, int64 delay,
							 Datum error, const char *verb);
static bool find_message(OnceQueue *queue, const QamRef *ref, OnceMessageKey *key,
						 int *attempt);
static void forget_claim(void *relid, const QamRef *ref);

/*
 * once.nack: delivers a message again later.
 */
Datum
once_nack(PG_FUNCTION_ARGS)
{
	pg_uuid_t	receipt;
	int64		delay = -1;

	once_queue_arg_receipt(fcinfo, 0, &receipt);
	if (!PG_ARGISNULL(1))
		delay = once_queue_arg_delay(fcinfo, 1, "delay", ONCE_MAX_DELAY_DAYS);
	(void) give_back(&receipt, QAM_NACK, delay,
					 PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2),
					 "once.nack()");
	PG_RETURN_VOID();
}

/*
 * once.release: makes a message available again at once, and does not count
 * the attempt.
 */
Datum
once_release(PG_FUNCTION_ARGS)
{
	pg_uuid_t	receipt;

	once_queue_arg_receipt(fcinfo, 0, &receipt);
	(void) give_back(&receipt, QAM_RELEASE, 0, (Datum) 0, "once.release()");
	PG_RETURN_VOID();
}

/*
 * once.extend: gives a lease more time.
 */
Datum
once_extend_lease(PG_FUNCTION_ARGS)
{
	pg_uuid_t	receipt;
	int64		lease;

	once_queue_arg_receipt(fcinfo, 0, &receipt);
	lease = once_queue_arg_lease(fcinfo, 1);
	PG_RETURN_TIMESTAMPTZ(give_back(&receipt, QAM_EXTEND, lease, (Datum) 0, "once.extend()"));
}

/*
 * give_back changes a claim, or raises an error if that is not possible.
 * error: a text to be stored, or 0.  Returns when the message is ready again.
 */
static TimestampTz
give_back(const pg_uuid_t *uuid, QamGiveBack how, int64 delay, Datum error,
		  const char *verb)
{
	OnceReceipt receipt;
	OnceQueue	queue;
	TimestampTz when = 0;
	OnceMessageKey key;
	int			attempt;
	bool		known = false;

	once_receipt_decode(uuid, &receipt);
	once_queue_open_receipt(&queue, receipt.relid, verb);
	if (queue.shard_left)
		once_queue_raise_lost(&queue);

	/* Before the claim ends, since the receipt leads nowhere afterwards */
	if (error != (Datum) 0)
	{
		once_queue_check_column(&queue, ONCE_COL_ID);
		known = find_message(&queue, &receipt.ref, &key, &attempt);
	}

	switch (qam_give_back(queue.heap, queue.index, &receipt.ref, how, delay,
						  &queue.meta.retry, &when, forget_claim, &receipt.relid))
	{
		case QAM_REF_HELD:
		case QAM_REF_LAPSED:
		case QAM_REF_BUSY:
			break;
		case QAM_REF_LOST:
			once_queue_raise_lost(&queue);
			break;
		case QAM_REF_GONE:
			once_queue_raise_already_acked(&queue);
			break;
	}

	if (how == QAM_EXTEND && TIMESTAMP_IS_NOBEGIN(when))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("only leases can be extended"),
				 errdetail("A message from once.receive is claimed until the transaction ends.")));
	if (how == QAM_NACK)
		once_stats_count(receipt.relid, ONCE_COUNT_NACKED, 1);
	if (how == QAM_EXTEND)
		once_stats_leased(once_queue_whole(&queue), 0, when);
	else
	{
		if (!once_unacked_has(uuid))
			once_stats_lease_ended(once_queue_whole(&queue));
		once_unacked_forget(uuid);
	}
	if (known)
		once_failure_write(once_queue_name(&queue), &key, attempt, error, true);

	once_queue_close(&queue);
	return when;
}

/*
 * find_message finds the message of a claim and the number of the delivery.
 * False: the claim is lost or the row is gone.
 */
static bool
find_message(OnceQueue *queue, const QamRef *ref, OnceMessageKey *key, int *attempt)
{
	QamLocated	located;
	HeapTuple	tuple;

	qam_locate(queue->heap, queue->index, ref, &located);
	if (located.state == QAM_REF_GONE || located.state == QAM_REF_LOST)
		return false;
	tuple = once_row_copy(queue, &located.tid, located.heap_pin);
	ReleaseBuffer(located.heap_pin);
	*key = once_row_key(queue, tuple);
	*attempt = located.attempt;
	heap_freetuple(tuple);
	return true;
}

/*
 * forget_claim removes a message that was given back along with another one from
 * the list of those that the transaction has to ack.
 */
static void
forget_claim(void *relid, const QamRef *ref)
{
	OnceReceipt receipt = {.relid = *(Oid *) relid,.ref = *ref};
	pg_uuid_t	uuid;

	once_receipt_encode(&receipt, &uuid);
	once_unacked_forget(&uuid);
}
