/*-------------------------------------------------------------------------
 *
 * worker_schedule_admin.c
 *	  create_schedule, drop_schedule, next_runs; and what views and dumps need.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "funcapi.h"
#include "meta/meta_catalog.h"
#include "miscadmin.h"
#include "once_args.h"
#include "once_error.h"
#include "qam/qam.h"
#include "queue/queue_args.h"
#include "queue/queue_dump.h"
#include "queue/queue_insert.h"
#include "queue/queue_open.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"
#include "worker/worker_schedule.h"
#include "worker/worker_shared.h"
#include "worker/worker_table.h"

/* The arguments of create_schedule are the first columns of the row, in this order */
#define ARG(anum)			((anum) - 1)
#define NARGS				9

#define MIN_EVERY			USECS_PER_SEC
#define MAX_RUNS			1000

PG_FUNCTION_INFO_V1(once_create_schedule);
PG_FUNCTION_INFO_V1(once_drop_schedule);
PG_FUNCTION_INFO_V1(once_next_runs);
PG_FUNCTION_INFO_V1(once_next_due);
PG_FUNCTION_INFO_V1(once_is_own_schedule);
PG_FUNCTION_INFO_V1(once_dump_schedules);

static char *arg_name(FunctionCallInfo fcinfo);
static void check_due(FunctionCallInfo fcinfo);
static void check_message(FunctionCallInfo fcinfo);
static void check_choice(FunctionCallInfo fcinfo);
static char *arg_text(FunctionCallInfo fcinfo, int argno, const char *name);
static bool is_own(const char *role_name, const char *role_id);
static bool sees_row(void *arg, TupleTableSlot *slot);

/*
 * once.create_schedule: has a message sent at each due time from now on.
 */
Datum
once_create_schedule(PG_FUNCTION_ARGS)
{
	char	   *name = arg_name(fcinfo);
	char	   *queue_name = once_queue_arg_name(fcinfo, ARG(Anum_schedule_queue));
	Datum		values[Natts_schedule] = {0};
	bool		isnull[Natts_schedule] = {0};
	NameData	role;
	OnceNewRow	row = {0};
	OnceNewRows batch = {.rows = &row,.nrows = 1};
	OnceQueue	queue;
	Relation	rel;
	int			i;

	check_due(fcinfo);
	check_message(fcinfo);
	check_choice(fcinfo);
	once_queue_open(&queue, queue_name, ONCE_TO_SEND, "once.create_schedule()");
	row.group_id_null = PG_ARGISNULL(ARG(Anum_schedule_group_id));
	once_insert_check_new(&queue, &batch);
	once_queue_close(&queue);

	once_options_lock(ONCE_SCHEDULE_LOCK, name);
	rel = once_schema_open(ONCE_SCHEDULE_TABLE, Natts_schedule, RowExclusiveLock);
	if (once_table_find(rel, name) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("schedule \"%s\" already exists", name)));

	for (i = 0; i < NARGS; i++)
	{
		isnull[i] = PG_ARGISNULL(i);
		values[i] = PG_GETARG_DATUM(i);
	}
	namestrcpy(&role, GetUserNameFromId(GetUserId(), false));
	values[Anum_schedule_role - 1] = NameGetDatum(&role);
	values[Anum_schedule_role_id - 1] = CStringGetTextDatum(once_table_role_id(GetUserId()));
	values[Anum_schedule_created_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[Anum_schedule_begins_at - 1] = values[Anum_schedule_created_at - 1];
	isnull[Anum_schedule_last_due - 1] = true;
	isnull[Anum_schedule_last_error - 1] = true;
	isnull[Anum_schedule_last_error_at - 1] = true;
	once_table_write(rel, NULL, values, isnull, NULL);
	table_close(rel, NoLock);

	once_shared_poke_at_commit();
	if (once_shared == NULL)
		ereport(NOTICE,
				(errmsg("schedule \"%s\" runs when once.maintain() is called", name),
				 errdetail("The server runs schedules by itself only if the library was loaded at its start."),
				 errhint("Call once.maintain() regularly, or add pg_once to shared_preload_libraries and restart the server.")));
	PG_RETURN_VOID();
}

/*
 * once.drop_schedule: sends no more messages.
 */
Datum
once_drop_schedule(PG_FUNCTION_ARGS)
{
	char	   *name = arg_name(fcinfo);
	Relation	rel;
	HeapTuple	tuple;
	Datum		values[Natts_schedule];
	bool		isnull[Natts_schedule];

	PreventCommandDuringRecovery("once.drop_schedule()");
	PreventCommandIfReadOnly("once.drop_schedule()");
	once_options_lock(ONCE_SCHEDULE_LOCK, name);
	rel = once_schema_open(ONCE_SCHEDULE_TABLE, Natts_schedule, RowExclusiveLock);
	tuple = once_table_find(rel, name);
	if (tuple == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_SCHEDULE_NOT_FOUND),
				 errmsg("schedule \"%s\" does not exist", name),
				 errhint("once.list_schedules() lists the schedules of this database.")));

	heap_deform_tuple(tuple, RelationGetDescr(rel), values, isnull);
	if (!is_own(NameStr(*DatumGetName(values[Anum_schedule_role - 1])),
				isnull[Anum_schedule_role_id - 1] ? NULL :
				TextDatumGetCString(values[Anum_schedule_role_id - 1])))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for schedule \"%s\"", name),
				 errdetail("Only members of the role that created it can drop it.")));
	once_table_delete(rel, tuple);
	table_close(rel, NoLock);
	PG_RETURN_VOID();
}

/*
 * once.next_runs: the next due times of a cron expression.
 */
Datum
once_next_runs(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	OnceDue		due = {.by_clock = true};
	TimestampTz at = GetCurrentTimestamp();
	int			n;

	once_cron_parse(&due.cron, arg_text(fcinfo, 0, "cron"));
	due.timezone = once_cron_timezone(arg_text(fcinfo, 1, "timezone"));
	n = once_arg_int(fcinfo, 2, "n", 0, MAX_RUNS);
	if (!PG_ARGISNULL(3))
		at = PG_GETARG_TIMESTAMPTZ(3);
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("after must be finite")));

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	while (n-- > 0 && once_schedule_next(&due, at, &at))
	{
		Datum		value = TimestampTzGetDatum(at);
		bool		isnull = false;

		CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}

/*
 * once.next_due: the next due time of a row of once.schedule.
 */
Datum
once_next_due(PG_FUNCTION_ARGS)
{
	OnceDue		due = {.by_clock = !PG_ARGISNULL(0)};
	TimestampTz next;

	if (PG_ARGISNULL(3) || PG_ARGISNULL(due.by_clock ? 2 : 1))
		PG_RETURN_NULL();
	due.begins_at = PG_GETARG_TIMESTAMPTZ(3);
	if (due.by_clock)
	{
		once_cron_parse(&due.cron, arg_text(fcinfo, 0, "cron"));
		due.timezone = once_cron_timezone(arg_text(fcinfo, 2, "timezone"));
	}
	else
		due.every = once_arg_span(fcinfo, 1, "every", MIN_EVERY, "1 second");
	if (!once_schedule_next(&due, PG_ARGISNULL(4) ? due.begins_at : PG_GETARG_TIMESTAMPTZ(4),
							&next))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(next);
}

/*
 * once.is_own_schedule: tells whether a schedule is the caller's, by two columns of its
 * row.
 */
Datum
once_is_own_schedule(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!PG_ARGISNULL(0) &&
				   is_own(NameStr(*PG_GETARG_NAME(0)),
						  PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1))));
}

/*
 * once.dump_schedules: the rows of once.schedule that the caller may see.
 */
Datum
once_dump_schedules(PG_FUNCTION_ARGS)
{
	once_dump_visible(fcinfo, sees_row, NULL);
	return (Datum) 0;
}

static bool
sees_row(void *arg, TupleTableSlot *slot)
{
	bool		role_isnull;
	bool		id_isnull;
	Datum		role = slot_getattr(slot, Anum_schedule_role, &role_isnull);
	Datum		id = slot_getattr(slot, Anum_schedule_role_id, &id_isnull);

	return !role_isnull &&
		is_own(NameStr(*DatumGetName(role)), id_isnull ? NULL : TextDatumGetCString(id));
}

/*
 * is_own tells whether the caller is a member of the role of a schedule.  The schedule of
 * a role that does not exist belongs to superusers.
 */
static bool
is_own(const char *role_name, const char *role_id)
{
	Oid			role = once_table_role(role_name, role_id);

	return OidIsValid(role) ? has_privs_of_role(GetUserId(), role) : superuser();
}

static char *
arg_name(FunctionCallInfo fcinfo)
{
	char	   *name = arg_text(fcinfo, 0, "name");

	once_check_name("schedule", name);
	return name;
}

/*
 * check_due checks the arguments that say when messages are due.
 */
static void
check_due(FunctionCallInfo fcinfo)
{
	OnceDue		due = {.by_clock = true};
	TimestampTz next;

	if (PG_ARGISNULL(ARG(Anum_schedule_cron)) == PG_ARGISNULL(ARG(Anum_schedule_every)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("exactly one of cron and every must be given")));
	due.timezone = once_cron_timezone(arg_text(fcinfo, ARG(Anum_schedule_timezone), "timezone"));
	if (PG_ARGISNULL(ARG(Anum_schedule_cron)))
	{
		once_arg_span(fcinfo, ARG(Anum_schedule_every), "every", MIN_EVERY, "1 second");
		return;
	}
	once_cron_parse(&due.cron, arg_text(fcinfo, ARG(Anum_schedule_cron), "cron"));
	if (!once_schedule_next(&due, GetCurrentTimestamp(), &next))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cron expression \"%s\" has no due time",
						text_to_cstring(PG_GETARG_TEXT_PP(ARG(Anum_schedule_cron)))),
				 errdetail("Field 3 (day of the month) has no day that occurs in a month of field 4.")));
}

/*
 * check_message checks the arguments that say what is sent.
 */
static void
check_message(FunctionCallInfo fcinfo)
{
	if (!PG_ARGISNULL(ARG(Anum_schedule_headers)) &&
		!JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(ARG(Anum_schedule_headers))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers must be an object"),
				 errdetail("The name of the schedule and the due time are added to it.")));
	if (!PG_ARGISNULL(ARG(Anum_schedule_group_id)))
		once_queue_arg_check_group(PG_GETARG_DATUM(ARG(Anum_schedule_group_id)),
								   QAM_DEFAULT_PRIORITY);
}

static void
check_choice(FunctionCallInfo fcinfo)
{
	char	   *choice = arg_text(fcinfo, ARG(Anum_schedule_catch_up), "catch_up");

	if (strcmp(choice, "one") != 0 && strcmp(choice, "all") != 0 && strcmp(choice, "skip") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("catch_up must be \"one\", \"all\" or \"skip\""),
				 errdetail("The value given is \"%s\".", choice)));
}

static char *
arg_text(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		once_arg_refuse_null(name);
	return text_to_cstring(PG_GETARG_TEXT_PP(argno));
}
