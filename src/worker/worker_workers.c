/*-------------------------------------------------------------------------
 *
 * worker_workers.c
 *	  Starting and stopping the processes of workers.
 *
 * The table once.worker says which workers there are, and shared memory knows their
 * processes.  A pass (worker_pass.c) brings the processes in line with the table.  There
 * is one pass at a time in a database, so no other process starts any there meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "meta/meta_catalog.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "worker/worker_handler.h"
#include "worker/worker_shared.h"
#include "worker/worker_table.h"
#include "worker/worker_workers.h"

/* A process that has not begun by then is given up; microseconds */
#define NOT_STARTED			(60 * USECS_PER_SEC)

/* When to try again to start a process; microseconds */
#define TRY_AGAIN			(10 * USECS_PER_SEC)

/* A row of once.worker, as it is to be run */
typedef struct Worker
{
	OnceConsumer like;			/* the model of its processes */
	int			concurrency;	/* 0: it is paused, or cannot run */
	bool		paused;
	TimestampTz made_at;
	const char *obstacle;		/* NULL, or why it cannot run */
} Worker;

static List *read_workers(void);
static Worker *read_worker(Relation rel, HeapTuple tuple);
static const char *find_obstacle(const Worker *worker, const char *role, const char *handler);
static void stop_unwanted(List *workers);
static bool is_wanted(const OnceConsumer *consumer, List *workers);
static void forget_records(List *workers);
static TimestampTz start_wanted(const Worker *worker);
static bool is_there(const Worker *worker, int nth);
static int	take_slot(const Worker *worker, int nth);
static bool start(const Worker *worker, int slot);
static bool is_held(void);
static void note(const Worker *worker, const char *error);

/*
 * once_workers_reconcile stops processes that must not run, and starts those that are
 * missing.  Returns when it must be called again, or DT_NOEND.  *any: are there workers?
 */
TimestampTz
once_workers_reconcile(bool *any)
{
	List	   *workers = read_workers();
	TimestampTz next = DT_NOEND;
	ListCell   *lc;

	*any = workers != NIL;
	stop_unwanted(workers);
	forget_records(workers);
	foreach(lc, workers)
		next = Min(next, start_wanted(lfirst(lc)));
	return next;
}

static List *
read_workers(void)
{
	Relation	rel = once_schema_open(ONCE_WORKER_TABLE, Natts_worker, AccessShareLock);
	List	   *workers = NIL;
	ListCell   *lc;

	foreach(lc, once_table_rows(rel))
		workers = lappend(workers, read_worker(rel, lfirst(lc)));
	table_close(rel, AccessShareLock);
	return workers;
}

static Worker *
read_worker(Relation rel, HeapTuple tuple)
{
	Worker	   *worker = palloc0(sizeof(Worker));
	Datum		values[Natts_worker];
	bool		isnull[Natts_worker];
	char	   *role;
	char	   *handler;

	heap_deform_tuple(tuple, RelationGetDescr(rel), values, isnull);
	role = NameStr(*DatumGetName(values[Anum_worker_role - 1]));
	handler = TextDatumGetCString(values[Anum_worker_handler - 1]);
	worker->like.database = MyDatabaseId;
	namestrcpy(&worker->like.name, TextDatumGetCString(values[Anum_worker_name - 1]));
	namestrcpy(&worker->like.queue, TextDatumGetCString(values[Anum_worker_queue - 1]));
	worker->like.role = once_table_role(role, isnull[Anum_worker_role_id - 1] ? NULL :
										TextDatumGetCString(values[Anum_worker_role_id - 1]));
	worker->like.handler = once_handler_find(handler);
	worker->like.max_messages = DatumGetInt32(values[Anum_worker_max_messages - 1]);
	worker->paused = DatumGetBool(values[Anum_worker_paused - 1]);
	worker->concurrency = worker->paused ? 0 :
		DatumGetInt32(values[Anum_worker_concurrency - 1]);
	worker->made_at = DatumGetTimestampTz(values[Anum_worker_created_at - 1]);
	if (worker->concurrency > 0)
		worker->obstacle = find_obstacle(worker, role, handler);
	if (worker->obstacle != NULL)
		worker->concurrency = 0;
	return worker;
}

/*
 * find_obstacle returns why no session of a worker's role can be started, or why there is
 * no handler; or NULL.  Its processes find all other obstacles themselves.
 */
static const char *
find_obstacle(const Worker *worker, const char *role, const char *handler)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(worker->like.role));
	bool		may_log_in;

	if (!HeapTupleIsValid(tuple))
		return psprintf("role \"%s\", which created the worker, does not exist", role);
	may_log_in = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	if (!may_log_in)
		return psprintf("role \"%s\" is not permitted to log in", role);
	if (!once_may_connect(MyDatabaseId, worker->like.role) &&
		!superuser_arg(worker->like.role))
		return psprintf("role \"%s\" has no CONNECT privilege on the database", role);
	if (!OidIsValid(worker->like.handler))
		return psprintf("handler %s does not exist", handler);
	return NULL;
}

/*
 * stop_unwanted makes processes end that must not run, after their transaction.
 */
static void
stop_unwanted(List *workers)
{
	int			i;

	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < once_shared->nconsumers; i++)
	{
		OnceConsumer *consumer = &once_shared->consumers[i];

		if (!consumer->used || consumer->database != MyDatabaseId)
			continue;
		if (consumer->pid == 0 && GetCurrentTimestamp() - consumer->started_at > NOT_STARTED)
			consumer->used = false;
		else if (!consumer->stop && !is_wanted(consumer, workers))
			once_shared_stop(consumer);
	}
	LWLockRelease(once_shared->lock);
}

/*
 * is_wanted tells whether a process is one that its worker should have now.
 */
static bool
is_wanted(const OnceConsumer *consumer, List *workers)
{
	ListCell   *lc;

	foreach(lc, workers)
	{
		const Worker *worker = lfirst(lc);

		if (strcmp(NameStr(worker->like.name), NameStr(consumer->name)) == 0)
			return consumer->nth < worker->concurrency &&
				consumer->role == worker->like.role &&
				strcmp(NameStr(consumer->queue), NameStr(worker->like.queue)) == 0 &&
				consumer->handler == worker->like.handler &&
				consumer->max_messages == worker->like.max_messages;
	}
	return false;
}

/*
 * forget_records frees the records of workers that do not exist any more, and makes one
 * for each that exists.  A worker that was dropped and created again gets a new one.
 * After a pause, a worker starts without waiting for errors from before.
 */
static void
forget_records(List *workers)
{
	ListCell   *lc;
	int			i;

	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < ONCE_MAX_RECORDS; i++)
	{
		OnceRecord *record = &once_shared->records[i];
		bool		found = false;

		if (record->database != MyDatabaseId)
			continue;
		foreach(lc, workers)
		{
			const Worker *worker = lfirst(lc);

			found |= strcmp(NameStr(worker->like.name), NameStr(record->name)) == 0 &&
				worker->made_at == record->made_at;
		}
		if (!found)
			record->database = InvalidOid;
	}
	foreach(lc, workers)
	{
		const Worker *worker = lfirst(lc);
		OnceRecord *record = once_shared_record(MyDatabaseId, NameStr(worker->like.name), true);

		if (record != NULL)
		{
			record->made_at = worker->made_at;
			record->role = worker->like.role;
			if (worker->paused)
			{
				record->ended = 0;
				record->restart_at = 0;
			}
		}
	}
	LWLockRelease(once_shared->lock);
}

/*
 * start_wanted starts the processes of a worker that are missing, unless they have to
 * wait.  Returns when to try again, or DT_NOEND.
 */
static TimestampTz
start_wanted(const Worker *worker)
{
	TimestampTz restart_at = 0;
	OnceRecord *record;
	int			nth;

	if (worker->obstacle != NULL)
		note(worker, worker->obstacle);
	LWLockAcquire(once_shared->lock, LW_SHARED);
	record = once_shared_record(MyDatabaseId, NameStr(worker->like.name), false);
	if (record != NULL)
		restart_at = record->restart_at;
	LWLockRelease(once_shared->lock);

	for (nth = 0; nth < worker->concurrency; nth++)
	{
		int			slot;

		if (is_there(worker, nth))
			continue;
		if (restart_at > GetCurrentTimestamp())
			return restart_at;

		/* The command that holds the database wakes the launcher at its end */
		if (is_held())
			return DT_NOEND;
		slot = take_slot(worker, nth);
		if (slot < 0 || !start(worker, slot))
		{
			note(worker, "no background worker is free; you might need to increase max_worker_processes");
			return GetCurrentTimestamp() + TRY_AGAIN;
		}
	}
	return DT_NOEND;
}

static bool
is_there(const Worker *worker, int nth)
{
	bool		found = false;
	int			i;

	LWLockAcquire(once_shared->lock, LW_SHARED);
	for (i = 0; i < once_shared->nconsumers && !found; i++)
	{
		const OnceConsumer *consumer = &once_shared->consumers[i];

		found = consumer->used && consumer->database == MyDatabaseId &&
			consumer->nth == nth &&
			strcmp(NameStr(consumer->name), NameStr(worker->like.name)) == 0;
	}
	LWLockRelease(once_shared->lock);
	return found;
}

/*
 * take_slot takes a place in shared memory for a process.  -1: there is none.
 */
static int
take_slot(const Worker *worker, int nth)
{
	int			slot;

	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	for (slot = 0; slot < once_shared->nconsumers; slot++)
		if (!once_shared->consumers[slot].used)
			break;
	if (slot < once_shared->nconsumers)
	{
		once_shared->consumers[slot] = worker->like;
		once_shared->consumers[slot].used = true;
		once_shared->consumers[slot].nth = nth;
		once_shared->consumers[slot].started_at = GetCurrentTimestamp();
	}
	else
		slot = -1;
	LWLockRelease(once_shared->lock);
	return slot;
}

/*
 * start starts the process that has a place in shared memory.  False: there are too many
 * background workers, and the place is free again.
 */
static bool
start(const Worker *worker, int slot)
{
	BackgroundWorker process = {0};

	process.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	process.bgw_start_time = BgWorkerStart_RecoveryFinished;
	process.bgw_restart_time = BGW_NEVER_RESTART;
	process.bgw_main_arg = Int32GetDatum(slot);
	snprintf(process.bgw_library_name, sizeof(process.bgw_library_name), "pg_once");
	snprintf(process.bgw_function_name, sizeof(process.bgw_function_name), "once_consumer_main");
	snprintf(process.bgw_name, BGW_MAXLEN, "pg_once worker %s", NameStr(worker->like.name));
	snprintf(process.bgw_type, BGW_MAXLEN, "pg_once worker");
	if (RegisterDynamicBackgroundWorker(&process, NULL))
		return true;

	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	once_shared->consumers[slot].used = false;
	LWLockRelease(once_shared->lock);
	return false;
}

/*
 * is_held tells whether a command needs the database for itself.
 */
static bool
is_held(void)
{
	const OnceDatabase *database;
	bool		held;

	LWLockAcquire(once_shared->lock, LW_SHARED);
	database = once_shared_database(MyDatabaseId, false);
	held = database == NULL || database->held_by != 0;
	LWLockRelease(once_shared->lock);
	return held;
}

/*
 * note stores why a worker cannot run, and warns if the reason is a new one.
 */
static void
note(const Worker *worker, const char *error)
{
	OnceRecord *record;
	bool		news = false;

	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	record = once_shared_record(MyDatabaseId, NameStr(worker->like.name), false);
	if (record != NULL)
	{
		news = strncmp(record->last_error, error, ONCE_ERROR_SIZE - 1) != 0;
		strlcpy(record->last_error, error, ONCE_ERROR_SIZE);
		record->last_error_at = GetCurrentTimestamp();
	}
	LWLockRelease(once_shared->lock);
	if (news)
		ereport(WARNING,
				(errmsg("worker \"%s\" cannot run: %s", NameStr(worker->like.name), error)));
}
