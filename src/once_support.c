/*-------------------------------------------------------------------------
 *
 * once_support.c
 *	  A hint for callers who may not create a queue, ledger, schedule or worker.
 *
 * PUBLIC may not execute the functions that create these.  The server's error for
 * that names the function and nothing else; it is raised when the execution of a
 * statement begins.  Just before, the planner asks a function's support function
 * whether the call can be simplified.  Here the support function raises the same
 * error, with a hint.
 *
 * Usually a statement is planned by the role that executes it, right before it is
 * executed.  If another role uses the plan again, or if there is no plan (as with
 * the protocol's function call), the server's own error is raised.  The server
 * always checks again, so nothing is ever allowed here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "nodes/supportnodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(once_execute_support);

static void require_execute(Oid function);

/*
 * once.execute_support: raises the error if it is due, and simplifies nothing.
 */
Datum
once_execute_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);

	if (IsA(request, SupportRequestSimplify))
		require_execute(((SupportRequestSimplify *) request)->fcall->funcid);
	PG_RETURN_POINTER(NULL);
}

static void
require_execute(Oid function)
{
	const char *name = get_func_name(function);

	if (once_may_execute(function, GetUserId()) || name == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for function %s", name),
			 errhint("A superuser or a role with the grant option can grant it: GRANT EXECUTE ON FUNCTION %s TO %s.",
					 quote_qualified_identifier(ONCE_SCHEMA, name),
					 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}
