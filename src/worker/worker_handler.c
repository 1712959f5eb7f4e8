/*-------------------------------------------------------------------------
 *
 * worker_handler.c
 *	  The function that a consumer loop calls with each message.
 *
 * A handler is a function or procedure with one argument, of type once.message or
 * once.message[].  It is called through SPI, as the current user, who needs EXECUTE on
 * it.  So it may be replaced between two calls.
 *
 * A handler is identified by its oid, but the call names it.  So the plan of the call
 * is made again when the name has changed.  Otherwise the call would find no function,
 * or another one that has the name now.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "meta/meta_catalog.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "worker/worker_handler.h"

static Oid	message_type(void);
static bool takes_one_argument(HeapTuple tuple);
static void raise_no_handler(Oid oid, const char *detail);
static void remember_name(OnceHandler *handler, Form_pg_proc proc);
static void plan_call(OnceHandler *handler);

/*
 * once_handler_look_up checks that a function can be called with messages, by the
 * current user, as of now.  It raises an error if not.
 */
void
once_handler_look_up(OnceHandler *handler, Oid oid)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
	Form_pg_proc proc;
	Oid			message = message_type();

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("the handler does not exist"),
				 errdetail("There is no function with OID %u.", oid)));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prokind != PROKIND_FUNCTION && proc->prokind != PROKIND_PROCEDURE)
		raise_no_handler(oid, "A handler is a function or a procedure.");
	if (!takes_one_argument(tuple) ||
		(proc->proargtypes.values[0] != message &&
		 proc->proargtypes.values[0] != get_array_type(message)))
		raise_no_handler(oid, "A handler has one argument, of type once.message or once.message[].");
	if (!once_may_execute(oid, GetUserId()))
		aclcheck_error(ACLCHECK_NO_PRIV,
					   proc->prokind == PROKIND_PROCEDURE ? OBJECT_PROCEDURE : OBJECT_FUNCTION,
					   NameStr(proc->proname));
	handler->oid = oid;
	handler->message_type = message;
	handler->takes_batch = proc->proargtypes.values[0] != message;
	handler->is_procedure = proc->prokind == PROKIND_PROCEDURE;
	handler->is_variadic = OidIsValid(proc->provariadic);
	remember_name(handler, proc);
	ReleaseSysCache(tuple);
}

static Oid
message_type(void)
{
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("message"),
						   ObjectIdGetDatum(once_schema_oid(false)));
}

/*
 * takes_one_argument tells whether a call has one argument.  CALL also takes the OUT
 * arguments of a procedure.
 */
static bool
takes_one_argument(HeapTuple tuple)
{
	Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);
	Oid		   *types;
	char	  **names;
	char	   *modes;

	return proc->pronargs == 1 &&
		(proc->prokind != PROKIND_PROCEDURE ||
		 get_func_arg_info(tuple, &types, &names, &modes) == 1);
}

/*
 * remember_name notes the name of the function.  It frees the plan of the call if the
 * plan is for another function or another name.
 */
static void
remember_name(OnceHandler *handler, Form_pg_proc proc)
{
	char	   *schema = get_namespace_name(proc->pronamespace);

	if (schema == NULL)
		elog(ERROR, "cache lookup failed for namespace %u", proc->pronamespace);
	if (handler->plan != NULL &&
		(handler->planned_for != proc->oid ||
		 strcmp(NameStr(handler->schema), schema) != 0 ||
		 strcmp(NameStr(handler->name), NameStr(proc->proname)) != 0))
		once_handler_forget(handler);
	handler->planned_for = proc->oid;
	namestrcpy(&handler->schema, schema);
	handler->name = proc->proname;
}

/*
 * once_handler_find returns the function with a signature, as
 * format_procedure_qualified() writes it, or InvalidOid.
 */
Oid
once_handler_find(const char *signature)
{
	const char *arguments = strrchr(signature, '(');
	Oid			message = message_type();
	List	   *names;

	if (arguments == NULL)
		return InvalidOid;
	if (strstr(arguments, "[]") != NULL)
		message = get_array_type(message);
	names = once_qualified_names(pnstrdup(signature, arguments - signature));
	if (list_length(names) != 2 ||
		!OidIsValid(get_namespace_oid(strVal(linitial(names)), true)))
		return InvalidOid;
	return LookupFuncName(names, 1, &message, true);
}

static void
raise_no_handler(Oid oid, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s cannot handle messages", format_procedure(oid)),
			 errdetail("%s", detail)));
}

/*
 * once_handler_call calls a handler that has been looked up with n messages.  n is 1
 * unless the handler takes a batch.
 */
void
once_handler_call(OnceHandler *handler, const Datum *messages, int n)
{
	Datum		argument = messages[0];
	int			rc;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (handler->plan == NULL)
		plan_call(handler);
	if (handler->takes_batch)
		argument = PointerGetDatum(construct_array((Datum *) messages, n, handler->message_type,
												   -1, false, TYPALIGN_DOUBLE));
	rc = SPI_execute_plan(handler->plan, &argument, NULL, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
	SPI_freetuptable(SPI_tuptable);
	PopActiveSnapshot();
}

/*
 * plan_call makes the plan of the call.  It is kept until once_handler_forget.
 */
static void
plan_call(OnceHandler *handler)
{
	Oid			type = handler->takes_batch ? get_array_type(handler->message_type) :
		handler->message_type;
	char	   *sql = psprintf("%s %s(%s$1)", handler->is_procedure ? "CALL" : "SELECT",
							   quote_qualified_identifier(NameStr(handler->schema),
														  NameStr(handler->name)),
							   handler->is_variadic ? "VARIADIC " : "");

	handler->plan = SPI_prepare(sql, 1, &type);
	if (handler->plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	SPI_keepplan(handler->plan);
}

/*
 * once_handler_forget frees the plan of the call.
 */
void
once_handler_forget(OnceHandler *handler)
{
	if (handler->plan != NULL)
		SPI_freeplan(handler->plan);
	handler->plan = NULL;
}
