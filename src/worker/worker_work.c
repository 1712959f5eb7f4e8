/*-------------------------------------------------------------------------
 *
 * worker_work.c
 *	  The consumer loop: once.work, and what background workers run.
 *
 * Each turn of the loop is a transaction.  It receives messages, calls the handler
 * with each of them in a subtransaction, acks it there, and commits.  Between two
 * turns the loop holds neither a snapshot nor a lock.  Messages are received, not
 * leased.  So if a turn ends in an error, or the backend is gone, the messages are
 * delivered again without further work.
 *
 * If the handler fails, its effects are rolled back, and the message is given back
 * with the error.  The handler may choose by the error's code what is done with the
 * message instead.
 *
 * If the commit fails, we do not know which message is to blame.  So if there were
 * several, all are given back as if they had not been delivered, and the next turns
 * take as many messages one by one.  The same is done if a handler that takes
 * several messages at a time fails.
 *
 * If the handler ends the backend, or crashes the server, all messages of the turn
 * count a delivery, and nobody is left to take them one by one.  So a message that
 * was delivered before gets a turn of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "once_args.h"
#include "once_debug.h"
#include "once_error.h"
#include "once_limit.h"
#include "queue/queue_ack.h"
#include "queue/queue_args.h"
#include "queue/queue_open.h"
#include "queue/queue_parts.h"
#include "queue/queue_receipt.h"
#include "queue/queue_try.h"
#include "queue/queue_unacked.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker/worker_work.h"

#define VERB			"once.work()"

/* A wait for messages is begun anew after this time at the latest */
#define LONGEST_WAIT	USECS_PER_HOUR

/* The loop looks again after this time if there is something that it has not got; milliseconds */
#define SOON			10

/* What is done by SQL, with the rights of any caller */
typedef enum Statement
{
	RECEIVE,
	ACK,
	NACK,
	RELEASE
} Statement;

static const struct
{
	const char *sql;
	int			nargs;
	Oid			types[3];
}			statements[] = {
	[RECEIVE] = {"SELECT m.receipt, m, m.attempt FROM once.receive($1, $2) AS m", 2, {TEXTOID, INT4OID}},
	[ACK] = {"SELECT once.ack($1)", 1, {UUIDOID}},
	[NACK] = {"SELECT once.nack($1, $2, $3)", 3, {UUIDOID, INTERVALOID, TEXTOID}},
	[RELEASE] = {"SELECT once.release($1)", 1, {UUIDOID}}
};

/* Their plans, which are kept until the session ends */
static SPIPlanPtr plans[lengthof(statements)];

/* The messages of one turn */
typedef struct Turn
{
	int			n;
	Datum	   *messages;
	pg_uuid_t  *receipts;
	Oid			taken;			/* a table that they come from */
	bool	   *handled;		/* has the handler succeeded? */
	int			nhandled;		/* how often it has */
} Turn;

/* Messages that were handled in a transaction whose commit has failed */
typedef struct Undone
{
	int			n;
	pg_uuid_t  *receipts;
	char	   *error;
} Undone;

PG_FUNCTION_INFO_V1(once_work);

static bool take_turn(OnceWork *work);
static void begin_wait(OnceWork *work, const OnceWait *life);
static bool is_paused(OnceWork *work);
static void look_ahead(OnceWork *work);
static void receive(OnceWork *work, Turn *turn);
static void read_messages(Turn *turn, int *attempts);
static int	turn_size(const int *attempts, int n);
static void handle(OnceWork *work, Turn *turn, int from, int to);
static void ack(Turn *turn, int from, int to);
static void failed(OnceWork *work, Turn *turn, int from, int to, const ErrorData *error);
static void give_back(OnceWork *work, Turn *turn, int i, const ErrorData *error);
static void give_back_as_told(const pg_uuid_t *receipt, const ErrorData *error);
static void nack_later(const pg_uuid_t *receipt, const ErrorData *error);
static void release_owed(Turn *turn, int from, int to);
static void try_commit(OnceWork *work, Turn *turn);
static void commit_failed(OnceWork *work, Turn *turn, const ErrorData *error);
static void give_back_undone(void *arg, int from, int to);
static void leave_to_others(void *arg, int row, const ErrorData *error);
static void execute(Statement statement, Datum *values, const char *nulls);
static char *error_text(const ErrorData *error);

/*
 * once.work: a consumer loop.
 */
Datum
once_work(PG_FUNCTION_ARGS)
{
	OnceWork	work = {.until = -1,.commit = SPI_commit};

	work.queue = once_queue_arg_name(fcinfo, 0);
	if (PG_ARGISNULL(1))
		once_arg_refuse_null("handler");
	work.handler = PG_GETARG_OID(1);
	work.max_messages = once_queue_arg_max_messages(fcinfo, 2);
	if (!PG_ARGISNULL(3))
		work.until = once_queue_arg_delay(fcinfo, 3, "until", ONCE_MAX_DAYS);

	PreventCommandDuringRecovery(VERB);
	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic || IsSubTransaction())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot be called within a transaction block, a function or an EXCEPTION block", VERB),
				 errdetail("It commits after each message or batch."),
				 errhint("Call it as a statement of its own.  If a driver begins transactions by itself, turn autocommit on.")));

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	SPI_commit();
	once_work_loop(&work);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * once_work_loop consumes until it is told to stop.
 *
 * The caller has begun a transaction that has done nothing yet, and has connected
 * SPI.  It is the same on return.  The current memory context must outlive
 * transactions.
 *
 * When the time is up, the loop takes no more messages.  With a time of zero it ends
 * when it finds none.
 */
void
once_work_loop(OnceWork *work)
{
	OnceWait	life;

	work->context = AllocSetContextCreate(CurrentMemoryContext, "pg_once work",
										  ALLOCSET_DEFAULT_SIZES);
	once_parts_outlook_init(&work->outlook, CurrentMemoryContext);
	once_wait_begin(&life, work->until);
	PG_TRY();
	{
		bool		waiting = false;

		while ((work->until <= 0 || !once_wait_is_up(&life)) &&
			   (work->go_on == NULL || work->go_on()))
		{
			bool		found;

			if (waiting && once_wait_is_up(&work->wait))
			{
				once_wait_end(&work->wait, InvalidOid);
				waiting = false;
			}
			if (!waiting)
			{
				begin_wait(work, &life);
				if (work->outlook.n == 1)
					once_wait_expect(&work->wait, work->outlook.relids[0]);
			}
			once_wait_before_look(&work->wait);
			once_wait_check(&work->wait);
			found = take_turn(work);
			if (!found && work->until == 0)
				break;
			if (!found)
				once_wait_pause(&work->wait, work->outlook.relids, work->outlook.times,
								work->outlook.n);
			waiting = !found;

			/* What is handled next should not be younger than its transaction */
			if (waiting && work->wait.slept)
				work->commit();
		}
		if (waiting)
			once_wait_end(&work->wait, InvalidOid);
	}
	PG_FINALLY();
	{
		once_handler_forget(&work->function);
	}
	PG_END_TRY();
	MemoryContextDelete(work->context);
}

/*
 * begin_wait begins to wait for messages.
 */
static void
begin_wait(OnceWork *work, const OnceWait *life)
{
	once_wait_begin(&work->wait, work->until < 0 ? LONGEST_WAIT :
					Min(LONGEST_WAIT, once_wait_left(life)));

	work->wait.most = work->alone > 0 ? 1 : work->max_messages;

	/* A process that is told to stop has its latch set */
	work->wait.light = work->go_on != NULL;
}

/*
 * take_turn receives some messages, handles them, and commits.  Returns whether there
 * were any.
 */
static bool
take_turn(OnceWork *work)
{
	MemoryContext caller = CurrentMemoryContext;
	Turn		turn = {0};
	int			i;

	MemoryContextReset(work->context);
	MemoryContextSwitchTo(work->context);
	PushActiveSnapshot(GetTransactionSnapshot());
	once_handler_look_up(&work->function, work->handler);
	if (!is_paused(work))
	{
		receive(work, &turn);
		if (turn.n == 0 && work->until != 0)
			look_ahead(work);
	}
	PopActiveSnapshot();

	/* Handlers may wait, too */
	if (turn.n > 0)
		once_wait_end(&work->wait, turn.taken);

	if (work->function.takes_batch && turn.n > 0)
		handle(work, &turn, 0, turn.n);
	else
		for (i = 0; i < turn.n; i++)
			handle(work, &turn, i, i + 1);
	try_commit(work, &turn);
	MemoryContextSwitchTo(caller);
	return turn.n > 0;
}

/*
 * is_paused tells whether consumption from the queue is paused.  The loop waits then.
 */
static bool
is_paused(OnceWork *work)
{
	OnceQueue	queue;
	OnceParts	parts;
	bool		paused;

	once_queue_open_whole(&queue, work->queue, ONCE_TO_CONSUME, VERB);
	work->outlook.n = 0;
	once_parts_begin(&parts, &queue, ONCE_TO_CONSUME);
	once_parts_outlook(&work->outlook, &parts);
	once_parts_end(&parts);
	paused = queue.meta.consume_paused;
	once_queue_close(&queue);
	return paused;
}

/*
 * look_ahead finds out when the next message becomes ready, for a turn that has
 * received nothing.  If there is something by now, the loop looks again soon.
 */
static void
look_ahead(OnceWork *work)
{
	OnceQueue	queue;
	Oid			found;

	once_queue_open_whole(&queue, work->queue, ONCE_TO_CONSUME, VERB);
	work->outlook.n = 0;
	found = once_parts_look(&queue, GetActiveSnapshot(), &work->outlook);
	if (OidIsValid(found))
		once_parts_outlook_time(&work->outlook, found,
								TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SOON));
	once_queue_close(&queue);
}

/*
 * receive receives the messages of a turn.  It gives back, as if they had not been
 * delivered, those that need a turn of their own and those that come after them.
 */
static void
receive(OnceWork *work, Turn *turn)
{
	Datum		values[] = {
		CStringGetTextDatum(work->queue),
		Int32GetDatum(work->alone > 0 ? 1 : work->max_messages)
	};
	int		   *attempts;
	int			n;

	execute(RECEIVE, values, NULL);
	n = (int) SPI_processed;
	attempts = palloc_array(int, n);
	read_messages(turn, attempts);
	turn->n = turn_size(attempts, n);
	release_owed(turn, turn->n, n);

	if (turn->n < n)
		work->alone = n - turn->n;
	else if (work->alone > 0)
		work->alone = n > 0 ? work->alone - 1 : 0;
}

/*
 * read_messages copies the result of RECEIVE.
 */
static void
read_messages(Turn *turn, int *attempts)
{
	SPITupleTable *table = SPI_tuptable;
	int			n = (int) SPI_processed;
	int			i;

	turn->messages = palloc_array(Datum, n);
	turn->receipts = palloc_array(pg_uuid_t, n);
	turn->handled = palloc0_array(bool, n);
	for (i = 0; i < n; i++)
	{
		HeapTuple	tuple = table->vals[i];
		bool		isnull;

		turn->receipts[i] = *DatumGetUUIDP(SPI_getbinval(tuple, table->tupdesc, 1, &isnull));
		turn->messages[i] = datumCopy(SPI_getbinval(tuple, table->tupdesc, 2, &isnull),
									  false, -1);
		attempts[i] = DatumGetInt32(SPI_getbinval(tuple, table->tupdesc, 3, &isnull));
	}
	SPI_freetuptable(table);
	if (n > 0)
	{
		OnceReceipt receipt;

		once_receipt_decode(&turn->receipts[0], &receipt);
		turn->taken = receipt.relid;
	}
}

/*
 * turn_size returns how many of the messages received make a turn: the first one, if it
 * was delivered before, or else all that come before such a message.
 */
static int
turn_size(const int *attempts, int n)
{
	int			i;

	for (i = 0; i < n && attempts[i] == 1; i++)
		;
	return i == 0 ? Min(n, 1) : i;
}

/*
 * handle calls the handler with some messages of a turn, and acks them.
 *
 * It skips messages that have been given back meanwhile, along with an earlier message
 * of their group.  It does not ack what the handler has acked or given back itself.
 */
static void
handle(OnceWork *work, Turn *turn, int from, int to)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	if (!once_unacked_owed(&turn->receipts[from]))
		return;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		once_handler_call(&work->function, &turn->messages[from], to - from);
		ack(turn, from, to);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		memset(turn->handled + from, true, to - from);
		turn->nhandled += to - from;
	}
	PG_CATCH();
	{
		ErrorData  *error = once_try_failed(context, owner);

		if (once_limit_is_cancel(error))
		{
			/* Others may have the messages that the handler has not seen */
			release_owed(turn, to, turn->n);
			ReThrowError(error);
		}
		failed(work, turn, from, to, error);
		FreeErrorData(error);
	}
	PG_END_TRY();
}

static void
ack(Turn *turn, int from, int to)
{
	int			i;

	for (i = from; i < to; i++)
	{
		Datum		receipt = UUIDPGetDatum(&turn->receipts[i]);

		if (once_unacked_owed(&turn->receipts[i]))
			execute(ACK, &receipt, NULL);
	}
}

/*
 * failed gives messages back after an error of the handler, in the way that the error's
 * code asks for.
 */
static void
failed(OnceWork *work, Turn *turn, int from, int to, const ErrorData *error)
{
	bool		told = error->sqlerrcode == ERRCODE_ONCE_RELEASE ||
		error->sqlerrcode == ERRCODE_ONCE_RETRY_IN ||
		error->sqlerrcode == ERRCODE_ONCE_REJECT;
	int			i;

	if (to - from > 1 && !told)
	{
		work->alone = to - from;
		release_owed(turn, from, to);
		return;
	}
	for (i = from; i < to; i++)
		if (once_unacked_owed(&turn->receipts[i]))
			give_back(work, turn, i, error);
	if (work->tell != NULL && error->sqlerrcode != ERRCODE_ONCE_RELEASE)
		work->tell(0, to - from, error_text(error));
}

/*
 * give_back gives a message back as the error's code asks for.  If that fails, it gives
 * it back as after any other error, and warns.
 */
static void
give_back(OnceWork *work, Turn *turn, int i, const ErrorData *error)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile second = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		give_back_as_told(&turn->receipts[i], error);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		second = once_try_failed(context, owner);
		if (once_limit_is_cancel(second))
			ReThrowError(second);
	}
	PG_END_TRY();

	if (second != NULL)
	{
		ereport(WARNING,
				(errcode(second->sqlerrcode),
				 errmsg("could not give back a message of queue \"%s\" as its handler asks for: %s",
						work->queue, second->message),
				 second->detail != NULL ? errdetail_internal("%s", second->detail) : 0));
		if (once_unacked_owed(&turn->receipts[i]))
		{
			Datum		values[] = {
				UUIDPGetDatum(&turn->receipts[i]), (Datum) 0,
				CStringGetTextDatum(error_text(error))
			};

			execute(NACK, values, " n ");
		}
	}
}

static void
give_back_as_told(const pg_uuid_t *receipt, const ErrorData *error)
{
	Datum		values[] = {
		UUIDPGetDatum(receipt), (Datum) 0, CStringGetTextDatum(error_text(error))
	};

	switch (error->sqlerrcode)
	{
		case ERRCODE_ONCE_RELEASE:
			execute(RELEASE, values, NULL);
			break;
		case ERRCODE_ONCE_RETRY_IN:
			nack_later(receipt, error);
			break;
		case ERRCODE_ONCE_REJECT:
			PushActiveSnapshot(GetTransactionSnapshot());
			once_ack_reject(receipt, values[2], VERB);
			PopActiveSnapshot();
			break;
		default:
			execute(NACK, values, " n ");
			break;
	}
}

/*
 * nack_later gives a message back for the time in the error's detail.
 */
static void
nack_later(const pg_uuid_t *receipt, const ErrorData *error)
{
	Datum		values[] = {
		UUIDPGetDatum(receipt), (Datum) 0, CStringGetTextDatum(error_text(error))
	};

	if (error->detail == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("error %s (once_retry_in) of a handler has no detail",
						unpack_sql_state(error->sqlerrcode)),
				 errdetail("The detail is the interval after which to deliver the message again.")));
	values[1] = DirectFunctionCall3(interval_in, CStringGetDatum(error->detail),
									ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	execute(NACK, values, NULL);
}

/*
 * release_owed gives messages back as if they had not been delivered.
 */
static void
release_owed(Turn *turn, int from, int to)
{
	int			i;

	for (i = from; i < to; i++)
	{
		Datum		receipt = UUIDPGetDatum(&turn->receipts[i]);

		if (once_unacked_owed(&turn->receipts[i]))
			execute(RELEASE, &receipt, NULL);
	}
}

/*
 * try_commit commits a turn.  If the commit fails, the messages that were handled are
 * given back in another transaction.
 */
static void
try_commit(OnceWork *work, Turn *turn)
{
	MemoryContext context = CurrentMemoryContext;

	once_debug_point("work_before_commit");
	PG_TRY();
	{
		work->commit();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (once_limit_is_cancel(error) || turn->nhandled == 0)
			ReThrowError(error);
		commit_failed(work, turn, error);
		FreeErrorData(error);
		work->commit();
		turn->nhandled = 0;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (work->tell != NULL && turn->nhandled > 0)
		work->tell(turn->nhandled, 0, NULL);
}

/*
 * commit_failed gives back the messages of a turn whose commit has failed.  Messages that
 * another consumer has received by now are left to it.
 */
static void
commit_failed(OnceWork *work, Turn *turn, const ErrorData *error)
{
	Undone		undone = {.receipts = palloc_array(pg_uuid_t, turn->n),.error = error_text(error)};
	OnceTry		try = {.work = give_back_undone,.refused = leave_to_others,.arg = &undone};
	int			i;

	for (i = 0; i < turn->n; i++)
		if (turn->handled[i])
			undone.receipts[undone.n++] = turn->receipts[i];
	if (undone.n > 1)
		work->alone = undone.n;
	once_try(&try, 0, undone.n);
	if (work->tell != NULL && undone.n == 1)
		work->tell(0, 1, undone.error);
}

static void
give_back_undone(void *arg, int from, int to)
{
	Undone	   *undone = arg;
	int			i;

	for (i = from; i < to; i++)
	{
		Datum		values[] = {
			UUIDPGetDatum(&undone->receipts[i]), (Datum) 0, CStringGetTextDatum(undone->error)
		};

		execute(undone->n > 1 ? RELEASE : NACK, values, " n ");
	}
}

static void
leave_to_others(void *arg, int row, const ErrorData *error)
{
	ereport(DEBUG1,
			(errcode(error->sqlerrcode),
			 errmsg_internal("message not given back: %s", error->message)));
}

/*
 * execute runs one of the statements.  Its result is in SPI_tuptable.
 */
static void
execute(Statement statement, Datum *values, const char *nulls)
{
	int			rc;

	if (plans[statement] == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(statements[statement].sql, statements[statement].nargs,
									   (Oid *) statements[statement].types);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		plans[statement] = plan;
	}

	/* SPI needs an active snapshot, and a background worker has no portal */
	PushActiveSnapshot(GetTransactionSnapshot());
	rc = SPI_execute_plan(plans[statement], values, nulls, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
	PopActiveSnapshot();
	if (statement != RECEIVE)
		SPI_freetuptable(SPI_tuptable);
}

/*
 * error_text returns the text of an error for once.failures.
 */
static char *
error_text(const ErrorData *error)
{
	return psprintf("%s: %s", unpack_sql_state(error->sqlerrcode), error->message);
}
