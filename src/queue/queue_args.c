/*-------------------------------------------------------------------------
 *
 * queue_args.c
 *	  Reading and checking the arguments of the verbs.
 *
 * A bad argument raises an error that names it and tells what is allowed.
 * Arguments are counted from zero, as PG_GETARG_* does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "once_args.h"
#include "once_error.h"
#include "qam/qam.h"
#include "queue/queue_args.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/*
 * once_queue_arg_name returns argument "queue", a valid name, palloc'd.
 */
char *
once_queue_arg_name(FunctionCallInfo fcinfo, int argno)
{
	char	   *name;

	if (PG_ARGISNULL(argno))
		once_arg_refuse_null("queue");
	name = text_to_cstring(PG_GETARG_TEXT_PP(argno));
	once_check_name("queue", name);
	return name;
}

/*
 * once_queue_arg_max_messages returns argument "max_messages".
 */
int
once_queue_arg_max_messages(FunctionCallInfo fcinfo, int argno)
{
	return once_arg_int(fcinfo, argno, "max_messages", 1, ONCE_MAX_MESSAGES);
}

/*
 * once_queue_arg_priority returns argument "priority".
 */
int
once_queue_arg_priority(FunctionCallInfo fcinfo, int argno)
{
	return once_arg_int(fcinfo, argno, "priority", 0, QAM_MAX_PRIORITY);
}

/*
 * once_queue_arg_lease returns argument "lease" in microseconds.
 */
int64
once_queue_arg_lease(FunctionCallInfo fcinfo, int argno)
{
	int64		lease;

	if (PG_ARGISNULL(argno))
		once_arg_refuse_null("lease");
	lease = once_arg_interval(fcinfo, argno);
	if (lease <= 0 || lease > ONCE_MAX_LEASE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("lease must be greater than zero and at most 365 days"),
				 once_arg_errdetail_interval(fcinfo, argno)));
	return lease;
}

/*
 * once_queue_arg_delay returns an interval argument of the given name, which
 * may be zero, in microseconds.  The argument must not be NULL.
 */
int64
once_queue_arg_delay(FunctionCallInfo fcinfo, int argno, const char *name, int max_days)
{
	int64		delay = once_arg_interval(fcinfo, argno);

	if (delay < 0 || delay > max_days * USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between zero and %d days", name, max_days),
				 once_arg_errdetail_interval(fcinfo, argno)));
	return delay;
}

/*
 * once_queue_arg_check_group raises an error unless a message may have this
 * group_id and this priority.  The index refuses the same, but its messages
 * speak of columns.
 */
void
once_queue_arg_check_group(Datum group_id, int priority)
{
	Size		length = VARSIZE_ANY_EXHDR(PG_DETOAST_DATUM_PACKED(group_id));

	if (length < 1 || length > QAM_MAX_GROUP_ID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("group_id must be between 1 and %d bytes long", QAM_MAX_GROUP_ID),
				 errdetail("The value given is %zu bytes long.", length)));
	if (priority != QAM_DEFAULT_PRIORITY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("priority must be %d for a message with a group_id", QAM_DEFAULT_PRIORITY),
				 errdetail("The messages of a group are delivered strictly in order; groups have no priority.")));
}

/*
 * once_queue_arg_wait returns argument "wait" in microseconds, or -1 if it is
 * NULL.
 *
 * A call that waits tries again with new snapshots.  A transaction with one
 * snapshot for all its statements cannot do so.
 */
int64
once_queue_arg_wait(FunctionCallInfo fcinfo, int argno)
{
	int64		wait;

	if (PG_ARGISNULL(argno))
		return -1;
	wait = once_arg_interval(fcinfo, argno);
	if (wait < 0 || wait > ONCE_MAX_WAIT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("wait must be between zero and 60 seconds"),
				 once_arg_errdetail_interval(fcinfo, argno)));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("wait cannot be used in a REPEATABLE READ or SERIALIZABLE transaction"),
				 errdetail("Messages that are sent while it waits would not be visible to the transaction."),
				 errhint("Wait in a READ COMMITTED transaction, or poll.")));
	return wait;
}

/*
 * once_queue_arg_receipt returns argument "receipt".
 */
void
once_queue_arg_receipt(FunctionCallInfo fcinfo, int argno, pg_uuid_t *uuid)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_INVALID_RECEIPT),
				 errmsg("receipt must not be null"),
				 errhint("Messages of once.pop have no receipt: they are acknowledged already.")));
	*uuid = *PG_GETARG_UUID_P(argno);
}

/*
 * once_queue_arg_receipts returns argument "receipts" as a palloc'd array.
 */
pg_uuid_t *
once_queue_arg_receipts(FunctionCallInfo fcinfo, int argno, int *nreceipts)
{
	Datum	   *elems;
	bool	   *isnull;
	pg_uuid_t  *receipts;
	int			n;
	int			i;

	deconstruct_array(once_arg_array(fcinfo, argno, "receipts", UUIDOID), UUIDOID, UUID_LEN,
					  false, TYPALIGN_CHAR, &elems, &isnull, &n);

	receipts = palloc(sizeof(pg_uuid_t) * Max(n, 1));
	for (i = 0; i < n; i++)
	{
		if (isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_ONCE_INVALID_RECEIPT),
					 errmsg("receipts must not contain nulls"),
					 errhint("Messages of once.pop have no receipt: they are acknowledged already.")));
		receipts[i] = *DatumGetUUIDP(elems[i]);
	}
	*nreceipts = n;
	return receipts;
}

/*
 * once_queue_arg_ids returns argument "ids", an array of bigint without nulls.
 */
ArrayType *
once_queue_arg_ids(FunctionCallInfo fcinfo, int argno)
{
	ArrayType  *ids = once_arg_array(fcinfo, argno, "ids", INT8OID);

	if (array_contains_nulls(ids))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("ids must not contain nulls")));
	return ids;
}
