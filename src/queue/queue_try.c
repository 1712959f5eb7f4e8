/*-------------------------------------------------------------------------
 *
 * queue_try.c
 *	  Work on many rows, some of which may refuse.
 *
 * What keeps a row from being stored or deleted is the trouble of that row: a
 * constraint, now or at the commit, a trigger, a rule, a value that cannot be
 * read.  So the work is done in subtransactions, of as many rows as will go; if
 * one fails, it is divided, until the row is known that must be left out.
 *
 * Some trouble waits for the commit.  So messages that triggers have received must
 * have been acked when a subtransaction ends, and the commit can be rehearsed:
 * deferred triggers are fired in another subtransaction, which is rolled back in any
 * case, so that they fire when they should, and what is deferred stays deferred.
 * This fires those of the caller, too, and is dear if he has many.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "once_limit.h"
#include "queue/queue_open.h"
#include "queue/queue_try.h"
#include "queue/queue_unacked.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* Rows that are named in warnings, of one call */
#define REFUSALS_NAMED		10

static ErrorData *try_some(OnceTry *try, int from, int to);
static ErrorData *rehearse_commit(void);
static bool error_is_a_rows(const ErrorData *error);

/*
 * once_try does try->work for the rows from .. to - 1, and calls try->refused
 * for each one that it cannot be done for, after everything done for it has been
 * rolled back.  An error that is no row's is raised.
 */
void
once_try(OnceTry *try, int from, int to)
{
	check_stack_depth();
	while (from < to)
	{
		ErrorData  *error = try_some(try, from, to);
		int			middle;

		if (error == NULL)
			return;
		if (to - from == 1 || try->row == from)
		{
			try->refused(try->arg, from++, error);
			FreeErrorData(error);
			continue;
		}
		FreeErrorData(error);

		/* All before the one that it failed at will go; or else, who knows */
		middle = try->row > from && try->row < to ? try->row : from + (to - from) / 2;
		once_try(try, from, middle);
		from = middle;
	}
}

/*
 * once_try_failed rolls back the subtransaction that has raised an error, and
 * returns that.  The context and the resource owner are those around it.
 */
ErrorData *
once_try_failed(MemoryContext context, ResourceOwner owner)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/*
 * once_try_set_immediate has triggers fired that have been deferred to the commit, and
 * those at once that would be from now on in the transaction.
 */
void
once_try_set_immediate(void)
{
	ConstraintsSetStmt *all_immediate = makeNode(ConstraintsSetStmt);

	all_immediate->constraints = NIL;
	all_immediate->deferred = false;
	AfterTriggerSetState(all_immediate);
}

/*
 * once_try_has_written tells whether the transaction may have deferred something: then
 * it has an id.
 */
bool
once_try_has_written(void)
{
	return TransactionIdIsValid(GetTopTransactionIdIfAny());
}

/*
 * once_refusals_add says that a message was left out: each of the first ones, the
 * others at the end (once_refusals_warn).  what: "... was not <what>".
 */
void
once_refusals_add(OnceRefusals *refusals, int64 id, const ErrorData *error)
{
	if (++refusals->n > REFUSALS_NAMED)
		return;
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("message " INT64_FORMAT " of queue \"%s\" was not %s: %s",
					id, once_queue_name(refusals->queue), refusals->what, error->message),
			 error->detail != NULL ? errdetail_internal("%s", error->detail) : 0,
			 error->hint != NULL ? errhint("%s", error->hint) : 0));
}

/*
 * once_refusals_warn tells how many messages have not been named.
 */
void
once_refusals_warn(const OnceRefusals *refusals)
{
	int64		more = refusals->n - REFUSALS_NAMED;

	if (more > 0)
		ereport(WARNING,
				(errmsg_plural(INT64_FORMAT " more message of queue \"%s\" was not %s",
							   INT64_FORMAT " more messages of queue \"%s\" were not %s",
							   (unsigned long) more, more,
							   once_queue_name(refusals->queue), refusals->what)));
}

/*
 * try_some does the work for some rows in a subtransaction.  Returns its error,
 * or NULL.
 */
static ErrorData *
try_some(OnceTry *try, int from, int to)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	CHECK_FOR_INTERRUPTS();
	try->row = -1;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		try->work(try->arg, from, to);
		once_unacked_settle();
		if (try->rehearse)
			error = rehearse_commit();
		if (error == NULL)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *edata = once_try_failed(context, owner);

		if (!error_is_a_rows(edata))
			ReThrowError(edata);
		return edata;
	}
	PG_END_TRY();

	/* What the caller has deferred may be what cannot be done: no use to ask */
	if (error != NULL && !try->caller_good)
	{
		ErrorData  *callers = rehearse_commit();

		try->caller_good = callers == NULL;
		if (callers != NULL)
		{
			FreeErrorData(callers);
			FreeErrorData(error);
			try->rehearse = false;
			return try_some(try, from, to);
		}
	}
	return error;
}

/*
 * rehearse_commit fires the deferred triggers of the transaction, and takes back
 * what they do.  Returns their error, or NULL.
 */
static ErrorData *
rehearse_commit(void)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		once_try_set_immediate();
		once_unacked_settle();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error = once_try_failed(context, owner);

		if (!error_is_a_rows(error))
			ReThrowError(error);
		return error;
	}
	PG_END_TRY();
	return NULL;
}

/*
 * error_is_a_rows tells whether an error may be the doing of the row that was
 * worked on, and not of somebody who cancels, of the server, or of a transaction
 * that cannot go on as it is.
 */
static bool
error_is_a_rows(const ErrorData *error)
{
	int			category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	if (category == ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK))
		return !IsolationUsesXactSnapshot();
	return !once_limit_is_cancel(error) &&
		category != ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) &&
		category != ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR);
}
