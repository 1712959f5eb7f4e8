/*-------------------------------------------------------------------------
 *
 * queue_await.c
 *	  wait: a procedure that waits for several queues and takes nothing.
 *
 * Before it sleeps, it ends the transaction in which it has looked.  So while
 * it sleeps, it holds no lock on a queue, and no snapshot, which would keep
 * VACUUM from removing rows.  That is why it may wait for longer than a
 * function.  A function cannot end the transaction, and the statement that
 * calls it keeps its snapshot until the function returns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "once_args.h"
#include "once_debug.h"
#include "queue/queue_args.h"
#include "queue/queue_open.h"
#include "queue/queue_parts.h"
#include "queue/queue_wait.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "wake/wake.h"

#define VERB	"once.wait()"

/* One call */
typedef struct Await
{
	int			n;
	char	  **names;
	OnceOutlook outlook;		/* of the last look */
	Oid			found;			/* the table in which it has found something */
	MemoryContext look_mcxt;
} Await;

PG_FUNCTION_INFO_V1(once_wait);

static void refuse_atomic(FunctionCallInfo fcinfo);
static void arg_queues(FunctionCallInfo fcinfo, int argno, Await *call);
static void refuse_twice(const Await *call, int n);
static int64 arg_timeout(FunctionCallInfo fcinfo, int argno);
static int	wait_for_any(Await *call, int64 timeout);
static int	look_for_any(Await *call);
static bool look_at(Await *call, const char *name);
static Datum make_result(FunctionCallInfo fcinfo, const char *ready);

/*
 * once.wait: sleeps until one of the queues has something for a consumer.
 */
Datum
once_wait(PG_FUNCTION_ARGS)
{
	Await		call = {0};
	int64		timeout;
	int			found;

	arg_queues(fcinfo, 0, &call);
	timeout = arg_timeout(fcinfo, 1);
	refuse_atomic(fcinfo);

	once_parts_outlook_init(&call.outlook, CurrentMemoryContext);

	/* SPI is needed to end transactions, and for nothing else */
	call.look_mcxt = AllocSetContextCreate(CurrentMemoryContext, "once.wait",
										   ALLOCSET_DEFAULT_SIZES);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	SPI_commit();
	found = wait_for_any(&call, timeout);
	SPI_finish();
	MemoryContextDelete(call.look_mcxt);
	return make_result(fcinfo, found >= 0 ? call.names[found] : NULL);
}

/*
 * refuse_atomic raises an error if the procedure cannot end the transaction.
 */
static void
refuse_atomic(FunctionCallInfo fcinfo)
{
	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic || IsSubTransaction())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot be called within a transaction block, a function or an EXCEPTION block", VERB),
				 errdetail("It ends the transaction, so that it holds no snapshot while it waits."),
				 errhint("Call it before the transaction begins, or use argument wait of once.receive, once.lease or once.pop.  If a driver begins transactions by itself, turn autocommit on.")));
}

/*
 * arg_queues reads argument "queues": names, none of them twice.
 */
static void
arg_queues(FunctionCallInfo fcinfo, int argno, Await *call)
{
	Datum	   *elems;
	bool	   *isnull;
	int			i;

	deconstruct_array(once_arg_array(fcinfo, argno, "queues", TEXTOID), TEXTOID, -1, false,
					  TYPALIGN_INT, &elems, &isnull, &call->n);
	if (call->n < 1 || call->n > ONCE_WAKE_MAX_QUEUES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("queues must have between 1 and %d elements", ONCE_WAKE_MAX_QUEUES),
				 errdetail("The array given has %d.", call->n)));

	call->names = palloc(sizeof(char *) * call->n);
	for (i = 0; i < call->n; i++)
	{
		if (isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("queues must not contain nulls")));
		call->names[i] = TextDatumGetCString(elems[i]);
		once_check_name("queue", call->names[i]);
		refuse_twice(call, i);
	}
}

/*
 * refuse_twice raises an error if a name is among those before it.
 */
static void
refuse_twice(const Await *call, int n)
{
	int			i;

	for (i = 0; i < n; i++)
	{
		if (strcmp(call->names[i], call->names[n]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("queues must not contain the same queue twice"),
					 errdetail("Queue \"%s\" is there twice.", call->names[n])));
	}
}

/*
 * arg_timeout returns argument "timeout" in microseconds.
 */
static int64
arg_timeout(FunctionCallInfo fcinfo, int argno)
{
	int64		timeout;

	if (PG_ARGISNULL(argno))
		once_arg_refuse_null("timeout");
	timeout = once_arg_interval(fcinfo, argno);
	if (timeout < 0 || timeout > USECS_PER_HOUR)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must be between zero and 1 hour"),
				 once_arg_errdetail_interval(fcinfo, argno)));
	return timeout;
}

/*
 * wait_for_any returns the number of a queue that has something, or -1 if none
 * has within the time.
 */
static int
wait_for_any(Await *call, int64 timeout)
{
	OnceWait	wait;

	once_wake_hand_on();
	once_wait_begin(&wait, timeout);
	for (;;)
	{
		int			found;

		once_wait_before_look(&wait);
		once_wait_check(&wait);
		found = look_for_any(call);
		if (found >= 0)
		{
			once_wait_end_owing(&wait, call->found);
			return found;
		}
		if (once_wait_is_up(&wait))
		{
			once_wait_end(&wait, InvalidOid);
			return -1;
		}

		/* This releases the snapshot of the look, and its locks */
		SPI_commit();
		once_wait_pause(&wait, call->outlook.relids, call->outlook.times, call->outlook.n);
	}
}

/*
 * look_for_any returns the number of the first queue, in the order given, that
 * has something, or -1.
 */
static int
look_for_any(Await *call)
{
	MemoryContext caller = MemoryContextSwitchTo(call->look_mcxt);
	int			found = -1;
	int			i;

	call->outlook.n = 0;
	for (i = 0; i < call->n && found < 0; i++)
	{
		if (look_at(call, call->names[i]))
			found = i;
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(call->look_mcxt);
	return found;
}

/*
 * look_at tells whether a queue has something.  A queue whose consumers are
 * paused has nothing.
 */
static bool
look_at(Await *call, const char *name)
{
	OnceQueue	queue;

	once_queue_open_whole(&queue, name, ONCE_TO_CONSUME, VERB);
	PushActiveSnapshot(GetLatestSnapshot());
	call->found = once_parts_look(&queue, GetActiveSnapshot(), &call->outlook);
	PopActiveSnapshot();
	once_queue_leave(&queue);
	return OidIsValid(call->found);
}

/*
 * make_result returns the row of INOUT arguments, which CALL shows.
 */
static Datum
make_result(FunctionCallInfo fcinfo, const char *ready)
{
	TupleDesc	desc;
	Datum		value = (Datum) 0;
	bool		isnull = ready == NULL;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!isnull)
		value = CStringGetTextDatum(ready);
	return HeapTupleGetDatum(heap_form_tuple(desc, &value, &isnull));
}
