/*-------------------------------------------------------------------------
 *
 * queue_try.c
 *	  Work on many rows, some of which may raise errors.
 *
 * If a row cannot be stored or deleted, only that row should be affected,
 * whatever the cause: a constraint, checked now or at the commit, a trigger, a
 * rule, a value that cannot be read.  So the work is done in subtransactions,
 * with as many rows as possible in each.  If one fails, its rows are divided,
 * until the row that must be left out is known.
 *
 * Some errors come only at the commit.  So messages that triggers have
 * received must have been acked when a subtransaction ends, and the commit can
 * be rehearsed: deferred triggers are fired in another subtransaction, which
 * is always rolled back.  So they still fire at the commit, and what is
 * deferred stays deferred.  Triggers that the caller has deferred fire in the
 * rehearsal as well, which takes long if there are many.
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

/* Rows that one call names in warnings */
#define REFUSALS_NAMED		10

static ErrorData *try_some(OnceTry *try, int from, int to);
static ErrorData *rehearse_commit(void);
static bool error_is_a_rows(const ErrorData *error);

/*
 * once_try calls try->work for the rows from .. to - 1.  If that is not
 * possible for a row, everything done for it is rolled back, and try->refused
 * is called for it.  An error that is not the doing of a row is raised.
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

		/*
		 * If the row that failed is known, those before it can be done; else
		 * divide
		 */
		middle = try->row > from && try->row < to ? try->row : from + (to - from) / 2;
		once_try(try, from, middle);
		from = middle;
	}
}

/*
 * once_try_failed rolls back the subtransaction that has raised an error, and
 * returns a copy of the error.  It restores the memory context and the
 * resource owner, which are those from before the subtransaction.
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
 * once_try_set_immediate fires the triggers that were deferred to the commit.
 * From now on, triggers of this transaction are not deferred any more.
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
 * once_try_has_written tells whether the transaction may have deferred
 * triggers.  It cannot have if it has no transaction id.
 */
bool
once_try_has_written(void)
{
	return TransactionIdIsValid(GetTopTransactionIdIfAny());
}

/*
 * once_refusals_add warns that a message was left out.  It names the first
 * ones; once_refusals_warn reports the number of the others.  The text of the
 * warning is "message ... was not <what>".
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
 * once_refusals_warn warns of the messages that were left out and not named.
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
 * try_some does the work for some rows in a subtransaction.  Returns the error
 * if one of the rows is to blame for it, or NULL.
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

	/*
	 * If triggers that the caller deferred fail by themselves, a rehearsal
	 * tells nothing
	 */
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
 * rehearse_commit fires the deferred triggers of the transaction and rolls
 * back what they do.  Returns their error, or NULL.
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
 * worked on.  Otherwise it is a cancellation, or a fault of the server, or the
 * transaction cannot go on.
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
