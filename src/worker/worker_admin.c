/*-------------------------------------------------------------------------
 *
 * worker_admin.c
 *	  create_worker, drop_worker, pause_worker, resume_worker; and the figures for the
 *	  view once.workers.
 *
 * These functions write the table once.worker, and make a pass due when they commit.  The
 * pass then starts and stops processes (worker_workers.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "meta/meta_catalog.h"
#include "miscadmin.h"
#include "once_args.h"
#include "once_error.h"
#include "postmaster/bgworker_internals.h"
#include "queue/queue_args.h"
#include "queue/queue_open.h"
#include "queue/queue_parts.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "worker/worker_handler.h"
#include "worker/worker_shared.h"
#include "worker/worker_table.h"
#include "worker/worker_workers.h"

/* The launcher and a pass */
#define OTHER_PROCESSES		2

#define Natts_figures		7

PG_FUNCTION_INFO_V1(once_create_worker);
PG_FUNCTION_INFO_V1(once_drop_worker);
PG_FUNCTION_INFO_V1(once_pause_worker);
PG_FUNCTION_INFO_V1(once_resume_worker);
PG_FUNCTION_INFO_V1(once_worker_figures);

static char *arg_name(FunctionCallInfo fcinfo);
static void check_role(void);
static void check_room(Relation rel, int concurrency);
static Relation open_locked(const char *name, const char *verb);
static HeapTuple find_own(Relation rel, const char *name);
static void set_paused(FunctionCallInfo fcinfo, bool paused, const char *verb);
static void put_figures(ReturnSetInfo *rsinfo, const OnceRecord *record);
static Datum pids_of(const OnceRecord *record);

/*
 * once.create_worker: has background workers consume from now on.
 */
Datum
once_create_worker(PG_FUNCTION_ARGS)
{
	char	   *name = arg_name(fcinfo);
	char	   *queue_name = once_queue_arg_name(fcinfo, 1);
	int			concurrency;
	int			max_messages;
	OnceHandler handler = {0};
	Datum		values[Natts_worker] = {0};
	bool		isnull[Natts_worker] = {0};
	NameData	role;
	OnceQueue	queue;
	Relation	rel;

	if (PG_ARGISNULL(2))
		once_arg_refuse_null("handler");
	concurrency = once_arg_int(fcinfo, 3, "concurrency", 1, MAX_PARALLEL_WORKER_LIMIT);
	max_messages = once_queue_arg_max_messages(fcinfo, 4);
	once_handler_look_up(&handler, PG_GETARG_OID(2));
	once_queue_open_whole(&queue, queue_name, ONCE_TO_CONSUME, "once.create_worker()");
	once_parts_require(&queue);
	once_queue_close(&queue);
	check_role();

	once_options_lock(ONCE_WORKER_LOCK, name);
	rel = once_schema_open(ONCE_WORKER_TABLE, Natts_worker, RowExclusiveLock);
	if (once_table_find(rel, name) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("worker \"%s\" already exists", name)));
	check_room(rel, concurrency);

	namestrcpy(&role, GetUserNameFromId(GetUserId(), false));
	values[Anum_worker_name - 1] = CStringGetTextDatum(name);
	values[Anum_worker_queue - 1] = CStringGetTextDatum(queue_name);
	values[Anum_worker_handler - 1] =
		CStringGetTextDatum(format_procedure_qualified(handler.oid));
	values[Anum_worker_concurrency - 1] = Int32GetDatum(concurrency);
	values[Anum_worker_max_messages - 1] = Int32GetDatum(max_messages);
	values[Anum_worker_role - 1] = NameGetDatum(&role);
	values[Anum_worker_role_id - 1] = CStringGetTextDatum(once_table_role_id(GetUserId()));
	values[Anum_worker_paused - 1] = BoolGetDatum(false);
	values[Anum_worker_created_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	once_table_write(rel, NULL, values, isnull, NULL);
	table_close(rel, NoLock);

	if (once_shared == NULL)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("worker \"%s\" does not run yet", name),
				 errdetail("The server can start background workers only if the library was loaded at its start."),
				 errhint("Add pg_once to shared_preload_libraries and restart the server.")));
	once_shared_poke_at_commit();
	PG_RETURN_VOID();
}

/*
 * once.drop_worker: makes its processes end after the transaction that they are in.
 */
Datum
once_drop_worker(PG_FUNCTION_ARGS)
{
	char	   *name = arg_name(fcinfo);
	Relation	rel = open_locked(name, "once.drop_worker()");

	once_table_delete(rel, find_own(rel, name));
	table_close(rel, NoLock);
	once_shared_poke_at_commit();
	PG_RETURN_VOID();
}

/*
 * once.pause_worker: the same, until the worker is resumed.
 */
Datum
once_pause_worker(PG_FUNCTION_ARGS)
{
	set_paused(fcinfo, true, "once.pause_worker()");
	PG_RETURN_VOID();
}

/*
 * once.resume_worker: starts processes again.
 */
Datum
once_resume_worker(PG_FUNCTION_ARGS)
{
	set_paused(fcinfo, false, "once.resume_worker()");
	PG_RETURN_VOID();
}

static char *
arg_name(FunctionCallInfo fcinfo)
{
	char	   *name;

	if (PG_ARGISNULL(0))
		once_arg_refuse_null("name");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	once_check_name("worker", name);
	return name;
}

/*
 * check_role raises an error if the current role may not have sessions.
 */
static void
check_role(void)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	bool		may_log_in = HeapTupleIsValid(tuple) &&
		((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!may_log_in)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" is not permitted to log in",
						GetUserNameFromId(GetUserId(), false)),
				 errdetail("A worker is a session of the role that creates it."),
				 errhint("Create it as another role, or use ALTER ROLE ... LOGIN.")));
}

/*
 * check_room raises an error if the server can never have so many processes together with
 * those of the other workers of this database.
 */
static void
check_room(Relation rel, int concurrency)
{
	int			others = 0;
	ListCell   *lc;

	foreach(lc, once_table_rows(rel))
	{
		bool		isnull;

		others += DatumGetInt32(heap_getattr(lfirst(lc), Anum_worker_concurrency,
											 RelationGetDescr(rel), &isnull));
	}
	if (concurrency + others + OTHER_PROCESSES > max_worker_processes)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many background workers"),
				 errdetail("The worker needs %d, the other workers of this database need %d, and the launcher needs %d; max_worker_processes is %d.",
						   concurrency, others, OTHER_PROCESSES, max_worker_processes),
				 errhint("Increase max_worker_processes, or lower concurrency.")));
}

/*
 * open_locked locks a worker against other changes, and opens the table.
 */
static Relation
open_locked(const char *name, const char *verb)
{
	PreventCommandDuringRecovery(verb);
	PreventCommandIfReadOnly(verb);
	once_options_lock(ONCE_WORKER_LOCK, name);
	return once_schema_open(ONCE_WORKER_TABLE, Natts_worker, RowExclusiveLock);
}

/*
 * find_own returns the row of a worker that the caller may change, or raises an error.
 */
static HeapTuple
find_own(Relation rel, const char *name)
{
	HeapTuple	tuple = once_table_find(rel, name);
	Datum		values[Natts_worker];
	bool		isnull[Natts_worker];
	Oid			role;

	if (tuple == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_WORKER_NOT_FOUND),
				 errmsg("worker \"%s\" does not exist", name),
				 errhint("The view once.workers has the workers of this database.")));
	heap_deform_tuple(tuple, RelationGetDescr(rel), values, isnull);
	role = once_table_role(NameStr(*DatumGetName(values[Anum_worker_role - 1])),
						   isnull[Anum_worker_role_id - 1] ? NULL :
						   TextDatumGetCString(values[Anum_worker_role_id - 1]));
	if (OidIsValid(role) ? !has_privs_of_role(GetUserId(), role) : !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for worker \"%s\"", name),
				 errdetail("Only members of the role that created it can change it.")));
	return tuple;
}

static void
set_paused(FunctionCallInfo fcinfo, bool paused, const char *verb)
{
	char	   *name = arg_name(fcinfo);
	Datum		values[Natts_worker] = {0};
	bool		isnull[Natts_worker] = {0};
	bool		replace[Natts_worker] = {0};
	Relation	rel = open_locked(name, verb);

	values[Anum_worker_paused - 1] = BoolGetDatum(paused);
	replace[Anum_worker_paused - 1] = true;
	once_table_write(rel, find_own(rel, name), values, isnull, replace);
	table_close(rel, NoLock);
	once_shared_poke_at_commit();
}

/*
 * once.worker_figures: what shared memory knows of the workers of this database.
 */
Datum
once_worker_figures(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			i;

	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; once_shared != NULL && i < ONCE_MAX_RECORDS; i++)
	{
		OnceRecord	record;

		LWLockAcquire(once_shared->lock, LW_SHARED);
		record = once_shared->records[i];
		LWLockRelease(once_shared->lock);
		if (record.database == MyDatabaseId)
			put_figures(rsinfo, &record);
	}
	return (Datum) 0;
}

/*
 * put_figures adds a worker to the result.  The error may quote messages, so it is shown
 * to members of the worker's role only.
 */
static void
put_figures(ReturnSetInfo *rsinfo, const OnceRecord *record)
{
	Datum		values[Natts_figures] = {0};
	bool		isnull[Natts_figures] = {0};
	bool		shown = record->last_error[0] != '\0' &&
		(superuser() || (OidIsValid(record->role) &&
						 has_privs_of_role(GetUserId(), record->role)));
	int			length = strlen(record->last_error);

	values[0] = CStringGetTextDatum(NameStr(record->name));
	values[1] = pids_of(record);
	values[2] = Int64GetDatum(record->processed);
	values[3] = Int64GetDatum(record->failed);
	isnull[4] = !shown;

	/* The last character may have been cut */
	if (shown)
		values[4] = PointerGetDatum(cstring_to_text_with_len(record->last_error,
															 pg_mbcliplen(record->last_error, length, length)));
	isnull[5] = record->last_error_at == 0;
	values[5] = TimestampTzGetDatum(record->last_error_at);
	isnull[6] = record->restart_at <= GetCurrentTimestamp();
	values[6] = TimestampTzGetDatum(record->restart_at);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
}

static Datum
pids_of(const OnceRecord *record)
{
	Datum	   *pids = palloc(sizeof(Datum) * once_shared->nconsumers);
	int			n = 0;
	int			i;

	LWLockAcquire(once_shared->lock, LW_SHARED);
	for (i = 0; i < once_shared->nconsumers; i++)
	{
		const OnceConsumer *consumer = &once_shared->consumers[i];

		if (consumer->used && consumer->pid != 0 && consumer->database == record->database &&
			strcmp(NameStr(consumer->name), NameStr(record->name)) == 0)
			pids[n++] = Int32GetDatum(consumer->pid);
	}
	LWLockRelease(once_shared->lock);
	return PointerGetDatum(construct_array(pids, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}
