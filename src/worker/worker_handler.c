/*-------------------------------------------------------------------------
 *
 * worker_handler.c
 *	  The function that a consumer loop calls with each message.
 *
 * A handler is a function or procedure with one argument, once.message or
 * once.message[].  It is called through SPI, as the user at hand, who must have the
 * right to execute it; so it may have been replaced since the last call.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
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

static void raise_no_handler(Oid oid, const char *detail);
static Oid	argument_type(const OnceHandler *handler);

/*
 * once_handler_look_up sees whether a function can be called with messages, by the
 * current user, as of now.  Raises an error if not.
 */
void
once_handler_look_up(OnceHandler *handler, Oid oid)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
	Form_pg_proc proc;
	Oid			message = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
										  CStringGetDatum("message"),
										  ObjectIdGetDatum(once_schema_oid(false)));

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("the handler does not exist"),
				 errdetail("There is no function with OID %u.", oid)));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prokind != PROKIND_FUNCTION && proc->prokind != PROKIND_PROCEDURE)
		raise_no_handler(oid, "A handler is a function or a procedure.");
	if (proc->pronargs != 1 ||
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
	ReleaseSysCache(tuple);
}

/*
 * once_handler_find returns the function of a signature with all its schemas, as
 * format_procedure_qualified() writes it, or InvalidOid.
 */
Oid
once_handler_find(const char *signature)
{
	const char *arguments = strrchr(signature, '(');
	Oid			message = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
										  CStringGetDatum("message"),
										  ObjectIdGetDatum(once_schema_oid(false)));
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
 * once_handler_call calls a handler that has been looked up with some messages: one,
 * unless it takes a batch.
 */
void
once_handler_call(OnceHandler *handler, const Datum *messages, int n)
{
	Datum		argument = messages[0];
	int			rc;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (handler->plan == NULL)
	{
		Oid			type = argument_type(handler);
		char	   *name = quote_qualified_identifier(get_namespace_name(get_func_namespace(handler->oid)),
													  get_func_name(handler->oid));
		char	   *sql = psprintf(get_func_prokind(handler->oid) == PROKIND_PROCEDURE ?
								   "CALL %s($1)" : "SELECT %s($1)", name);

		handler->plan = SPI_prepare(sql, 1, &type);
		if (handler->plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(handler->plan);
	}

	if (handler->takes_batch)
		argument = PointerGetDatum(construct_array((Datum *) messages, n, handler->message_type,
												   -1, false, TYPALIGN_DOUBLE));
	rc = SPI_execute_plan(handler->plan, &argument, NULL, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
	SPI_freetuptable(SPI_tuptable);
	PopActiveSnapshot();
}

static Oid
argument_type(const OnceHandler *handler)
{
	return handler->takes_batch ? get_array_type(handler->message_type) : handler->message_type;
}

/*
 * once_handler_forget lets go of what the calls have needed.
 */
void
once_handler_forget(OnceHandler *handler)
{
	if (handler->plan != NULL)
		SPI_freeplan(handler->plan);
	handler->plan = NULL;
}
