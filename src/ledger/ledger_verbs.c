/*-------------------------------------------------------------------------
 *
 * ledger_verbs.c
 *	  mark_processed, is_processed, get_result, forget_processed, process and
 *	  set_result.
 *
 * Every verb does the same things in the same order.  It reads and checks its
 * arguments, finds the ledger and checks rights (before it takes any lock), advances
 * the ledger if it writes, and does its work through ledger.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "ledger/ledger.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "once_args.h"
#include "once_error.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(once_mark_processed);
PG_FUNCTION_INFO_V1(once_mark_processed_all);
PG_FUNCTION_INFO_V1(once_is_processed);
PG_FUNCTION_INFO_V1(once_get_result);
PG_FUNCTION_INFO_V1(once_forget_processed);
PG_FUNCTION_INFO_V1(once_process);
PG_FUNCTION_INFO_V1(once_set_result);

static char *arg_ledger(FunctionCallInfo fcinfo);
static void arg_id(FunctionCallInfo fcinfo, int argno, OnceMark *mark);
static void open_ledger(OnceLedger *ledger, const char *name, AclMode rights,
						const char *rights_text);
static void open_to_write(OnceLedger *ledger, const char *name, AclMode rights,
						  const char *rights_text, const char *verb);

/*
 * once.mark_processed: marks an id, and tells whether it was new.
 */
Datum
once_mark_processed(PG_FUNCTION_ARGS)
{
	char	   *name = arg_ledger(fcinfo);
	OnceLedger	ledger;
	OnceMark	mark;

	arg_id(fcinfo, 1, &mark);
	open_to_write(&ledger, name, ACL_SELECT | ACL_INSERT, "SELECT and INSERT",
				  "once.mark_processed()");
	(void) once_ledger_advance(&ledger, false);
	once_ledger_mark(&ledger, &mark, 1, false);
	PG_RETURN_BOOL(mark.is_new);
}

/*
 * once.mark_processed_all: marks many ids, and returns those that were new, in the
 * order given.
 */
Datum
once_mark_processed_all(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = arg_ledger(fcinfo);
	OnceLedger	ledger;
	OnceMark   *marks;
	Datum	   *elems;
	bool	   *isnull;
	int			n;
	int			i;

	deconstruct_array(once_arg_array(fcinfo, 1, "ids", TEXTOID), TEXTOID, -1, false,
					  TYPALIGN_INT, &elems, &isnull, &n);
	marks = palloc_extended(sizeof(OnceMark) * Max(n, 1), MCXT_ALLOC_HUGE);
	for (i = 0; i < n; i++)
	{
		if (isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("ids must not contain nulls")));
		once_ledger_check_id(elems[i], "ids", &marks[i]);
		marks[i].value = (Datum) 0;
		marks[i].value_null = true;
	}

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	open_to_write(&ledger, name, ACL_SELECT | ACL_INSERT, "SELECT and INSERT",
				  "once.mark_processed_all()");
	(void) once_ledger_advance(&ledger, false);
	once_ledger_mark(&ledger, marks, n, false);
	for (i = 0; i < n; i++)
	{
		bool		null = false;

		if (marks[i].is_new)
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &elems[i], &null);
	}
	return (Datum) 0;
}

/*
 * once.is_processed: is an id remembered?
 */
Datum
once_is_processed(PG_FUNCTION_ARGS)
{
	char	   *name = arg_ledger(fcinfo);
	OnceLedger	ledger;
	OnceMark	mark;

	arg_id(fcinfo, 1, &mark);
	open_ledger(&ledger, name, ACL_SELECT, "SELECT");
	PG_RETURN_BOOL(once_ledger_search(&ledger, &mark, NULL));
}

/*
 * once.get_result: what is kept with an id, if it is remembered.
 */
Datum
once_get_result(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = arg_ledger(fcinfo);
	OnceLedger	ledger;
	OnceMark	mark;
	TimestampTz marked_at;

	arg_id(fcinfo, 1, &mark);
	InitMaterializedSRF(fcinfo, 0);
	open_ledger(&ledger, name, ACL_SELECT, "SELECT");
	if (once_ledger_search(&ledger, &mark, &marked_at))
	{
		Datum		values[2] = {TimestampTzGetDatum(marked_at), mark.value};
		bool		isnull[2] = {false, mark.value_null};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
	}
	return (Datum) 0;
}

/*
 * once.forget_processed: makes an id new again.
 */
Datum
once_forget_processed(PG_FUNCTION_ARGS)
{
	char	   *name = arg_ledger(fcinfo);
	OnceLedger	ledger;
	OnceMark	mark;

	arg_id(fcinfo, 1, &mark);
	open_to_write(&ledger, name, ACL_SELECT | ACL_DELETE, "SELECT and DELETE",
				  "once.forget_processed()");
	(void) once_ledger_advance(&ledger, false);
	PG_RETURN_BOOL(once_ledger_forget(&ledger, &mark));
}

/*
 * once.process: marks an id, or returns the result that is kept with it.
 */
Datum
once_process(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = arg_ledger(fcinfo);
	OnceLedger	ledger;
	OnceMark	mark;
	Datum		values[2];
	bool		isnull[2] = {false, false};

	arg_id(fcinfo, 1, &mark);
	InitMaterializedSRF(fcinfo, 0);
	open_to_write(&ledger, name, ACL_SELECT | ACL_INSERT, "SELECT and INSERT",
				  "once.process()");
	(void) once_ledger_advance(&ledger, false);
	once_ledger_mark(&ledger, &mark, 1, true);
	values[0] = BoolGetDatum(mark.is_new);
	values[1] = mark.value;
	isnull[1] = mark.is_new || mark.value_null;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
	return (Datum) 0;
}

/*
 * once.set_result: keeps a result, which process returns for the same id later.
 */
Datum
once_set_result(PG_FUNCTION_ARGS)
{
	char	   *name = arg_ledger(fcinfo);
	OnceLedger	ledger;
	OnceMark	mark;

	arg_id(fcinfo, 1, &mark);
	mark.value_null = PG_ARGISNULL(2);
	mark.value = mark.value_null ? (Datum) 0 : PG_GETARG_DATUM(2);
	open_to_write(&ledger, name, ACL_SELECT | ACL_UPDATE, "SELECT and UPDATE",
				  "once.set_result()");
	if (!once_ledger_set_value(&ledger, &mark))
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_NOT_PROCESSED),
				 errmsg("id was not marked in ledger \"%s\" by this transaction", name),
				 errdetail("A result belongs to the transaction that has processed the id."),
				 errhint("Call once.process or once.mark_processed before, in the same transaction, and set a result only if the id was new.")));
	PG_RETURN_VOID();
}

static char *
arg_ledger(FunctionCallInfo fcinfo)
{
	char	   *name;

	if (PG_ARGISNULL(0))
		once_arg_refuse_null("ledger");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	once_check_name("ledger", name);
	return name;
}

static void
arg_id(FunctionCallInfo fcinfo, int argno, OnceMark *mark)
{
	if (PG_ARGISNULL(argno))
		once_arg_refuse_null("id");
	once_ledger_check_id(PG_GETARG_DATUM(argno), "id", mark);
	mark->value = (Datum) 0;
	mark->value_null = true;
}

/*
 * open_ledger finds a ledger and checks the caller's rights on its tables, or raises
 * an error.  It reads only catalogs.
 */
static void
open_ledger(OnceLedger *ledger, const char *name, AclMode rights,
			const char *rights_text)
{
	if (!once_ledger_find(ledger, ONCE_LEDGER_OWN, name, 0))
		once_ledger_raise_not_found(ONCE_LEDGER_OWN, name);
	if (!once_ledger_permits(ledger, rights))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for ledger \"%s\"", name),
				 errdetail("This requires %s on tables %s.", rights_text,
						   once_ledger_tables(ONCE_LEDGER_OWN, name)),
				 errhint("Its owner can call once.grant_ledger.")));
}

/*
 * open_to_write is open_ledger for a verb that writes.  It raises an error where
 * writing is not possible.
 */
static void
open_to_write(OnceLedger *ledger, const char *name, AclMode rights,
			  const char *rights_text, const char *verb)
{
	PreventCommandDuringRecovery(verb);
	PreventCommandIfReadOnly(verb);
	PreventCommandIfParallelMode(verb);
	open_ledger(ledger, name, rights, rights_text);
}
