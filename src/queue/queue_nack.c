/*-------------------------------------------------------------------------
 *
 * queue_nack.c
 *	  nack, release and extend: what can be done with a claim but ack it.
 *
 * All three act on the index, at once and for good, whatever becomes of the
 * caller's transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "once_error.h"
#include "queue/once_unacked.h"
#include "queue/queue.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(once_nack);
PG_FUNCTION_INFO_V1(once_release);
PG_FUNCTION_INFO_V1(once_extend_lease);

static TimestampTz give_back(const pg_uuid_t *uuid, QamGiveBack how, int64 delay,
							 const char *verb);

/*
 * once.nack: not done; again later.
 */
Datum
once_nack(PG_FUNCTION_ARGS)
{
	pg_uuid_t	receipt;
	int64		delay = -1;

	once_arg_receipt(fcinfo, 0, &receipt);
	if (!PG_ARGISNULL(1))
		delay = once_arg_delay(fcinfo, 1, "delay", ONCE_MAX_DELAY_DAYS);
	(void) give_back(&receipt, QAM_NACK, delay, "once.nack()");
	PG_RETURN_VOID();
}

/*
 * once.release: not tried; again now.
 */
Datum
once_release(PG_FUNCTION_ARGS)
{
	pg_uuid_t	receipt;

	once_arg_receipt(fcinfo, 0, &receipt);
	(void) give_back(&receipt, QAM_RELEASE, 0, "once.release()");
	PG_RETURN_VOID();
}

/*
 * once.extend: some more time for a lease.
 */
Datum
once_extend_lease(PG_FUNCTION_ARGS)
{
	pg_uuid_t	receipt;
	int64		lease;

	once_arg_receipt(fcinfo, 0, &receipt);
	lease = once_arg_lease(fcinfo, 1);
	PG_RETURN_TIMESTAMPTZ(give_back(&receipt, QAM_EXTEND, lease, "once.extend()"));
}

/*
 * give_back changes a claim, or raises an error if it cannot.  Returns when
 * the message is ready again.
 */
static TimestampTz
give_back(const pg_uuid_t *uuid, QamGiveBack how, int64 delay, const char *verb)
{
	OnceReceipt receipt;
	OnceQueue	queue;
	TimestampTz when = 0;
	QamRef	   *mates;
	int			nmates;

	once_receipt_decode(uuid, &receipt);
	once_queue_open_receipt(&queue, receipt.relid, verb);

	switch (qam_give_back(queue.heap, queue.index, &receipt.ref, how, delay,
						  &queue.meta.retry, &when, &mates, &nmates))
	{
		case QAM_REF_HELD:
		case QAM_REF_LAPSED:
		case QAM_REF_BUSY:
			break;
		case QAM_REF_LOST:
			once_raise_lost(&queue);
			break;
		case QAM_REF_GONE:
			once_raise_already_acked(&queue);
			break;
	}

	if (how == QAM_EXTEND && TIMESTAMP_IS_NOBEGIN(when))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("only leases can be extended"),
				 errdetail("A message from once.receive is claimed until the transaction ends.")));
	if (how != QAM_EXTEND)
		once_unacked_forget(uuid);

	once_queue_close(&queue);
	return when;
}
