/*-------------------------------------------------------------------------
 *
 * worker_launcher.c
 *	  The launcher: it has every database maintained that has the extension.
 *
 * The launcher is not connected to a database, and holds no lock on any.  Every
 * once.maintenance_interval it starts a background worker in each database, which makes
 * a pass (worker_pass.c).  It does so earlier if a schedule is due, or if a session asks
 * for it (once_shared_poke).  There is one pass at a time in a database, and there are
 * MAX_PASSES in all.  A database in which a pass does not find the extension is visited
 * less and less often.
 *
 * Databases that only superusers may connect to (CONNECTION LIMIT 0) are left alone.  So a
 * dump can be restored before its schedules and workers run.
 *
 * The postmaster starts the launcher when recovery has ended.  So there is none on a
 * standby, and a promotion starts it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "once_rest.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker/worker_launcher.h"
#include "worker/worker_shared.h"

/* Time between two looks for databases; milliseconds */
#define LOOK_AGAIN			10000

/* Time between two passes that only start workers, if the interval is 0; seconds */
#define WITHOUT_INTERVAL	60

/* Passes at a time; autovacuum has as many workers by default */
#define MAX_PASSES			3

/* A pass that has not begun by then is given up; microseconds */
#define NOT_STARTED			(60 * USECS_PER_SEC)

/* A full pass is due after so many intervals, */
#define FULL_PASSES			6

/* and after so many times the duration of the last one */
#define FULL_SHARE			100

/* once.maintenance_interval */
int			once_launcher_interval = ONCE_MAINTENANCE_INTERVAL;

extern PGDLLEXPORT void once_launcher_main(Datum arg);

static void at_exit(int code, Datum arg);
static void shorten_pauses(void);
static void look_for_databases(void);
static bool has_unseen(void);
static List *databases_there(void);
static int	count_passes(void);
static long start_passes(void);
static bool may_start(OnceDatabase *database, TimestampTz now);
static bool may_rest(const OnceDatabase *database, TimestampTz now);
static bool start_pass(Oid oid);

/*
 * once_launcher_init makes the postmaster start the launcher, if the library is
 * preloaded.
 */
void
once_launcher_init(void)
{
	BackgroundWorker worker = {0};

	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name), "pg_once");
	snprintf(worker.bgw_function_name, sizeof(worker.bgw_function_name), "once_launcher_main");
	snprintf(worker.bgw_name, BGW_MAXLEN, "pg_once launcher");
	snprintf(worker.bgw_type, BGW_MAXLEN, "pg_once launcher");
	RegisterBackgroundWorker(&worker);
}

/*
 * once_launcher_main is the main function of the launcher.
 */
void
once_launcher_main(Datum arg)
{
	TimestampTz looked_at = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	before_shmem_exit(at_exit, (Datum) 0);
	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	once_shared->launcher = MyProcPid;
	once_shared->launcher_latch = MyLatch;
	LWLockRelease(once_shared->lock);

	while (!ShutdownRequestPending)
	{
		TimestampTz now = GetCurrentTimestamp();
		long		timeout;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			shorten_pauses();
		}
		if (TimestampDifferenceExceeds(looked_at, now, LOOK_AGAIN) || has_unseen())
		{
			look_for_databases();
			looked_at = now;
		}
		timeout = start_passes();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}

	/* With 0, the postmaster would not start it again */
	proc_exit(1);
}

static void
at_exit(int code, Datum arg)
{
	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	once_shared->launcher = 0;
	LWLockRelease(once_shared->lock);
}

/*
 * shorten_pauses makes the next passes due after the interval, which may have become
 * shorter.
 */
static void
shorten_pauses(void)
{
	TimestampTz latest = GetCurrentTimestamp() + once_launcher_interval * USECS_PER_SEC;
	int			i;

	if (once_launcher_interval == 0)
		return;
	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < ONCE_MAX_DATABASES; i++)
	{
		OnceDatabase *database = &once_shared->databases[i];

		if (database->absent == 0)
			database->next_at = Min(database->next_at, latest);
	}
	LWLockRelease(once_shared->lock);
}

/*
 * look_for_databases brings the list of databases up to date, forgets passes,
 * sessions and records that are gone, and stops the workers of databases that are closed.
 */
static void
look_for_databases(void)
{
	static bool told = false;
	List	   *oids = databases_there();
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;
	bool		room = true;
	int			i;

	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < ONCE_MAX_DATABASES; i++)
		once_shared->databases[i].seen = false;
	foreach(lc, oids)
	{
		OnceDatabase *database = once_shared_database(lfirst_oid(lc), true);

		if (database == NULL)
			room = false;
		else
			database->seen = true;
	}
	for (i = 0; i < ONCE_MAX_DATABASES; i++)
	{
		OnceDatabase *database = &once_shared->databases[i];

		if (!database->seen && !database->busy && database->held_by == 0)
			database->oid = InvalidOid;

		/* The pass may have ended before it could say that it had begun */
		if (database->busy && database->pid == 0 &&
			now - database->busy_since > NOT_STARTED)
			database->busy = false;
		if (database->held_by != 0 && BackendPidGetProc(database->held_by) == NULL)
			database->held_by = 0;
	}
	for (i = 0; i < ONCE_MAX_RECORDS; i++)
		if (OidIsValid(once_shared->records[i].database) &&
			once_shared_database(once_shared->records[i].database, false) == NULL)
			once_shared->records[i].database = InvalidOid;

	/* No pass comes to a closed database, so it cannot stop them there */
	for (i = 0; i < once_shared->nconsumers; i++)
	{
		OnceConsumer *consumer = &once_shared->consumers[i];

		if (consumer->used && !consumer->stop && !list_member_oid(oids, consumer->database))
			once_shared_stop(consumer);
	}
	LWLockRelease(once_shared->lock);
	list_free(oids);

	if (!room && !told)
	{
		told = true;
		ereport(WARNING,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("pg_once maintains %d databases and no more", ONCE_MAX_DATABASES)));
	}
}

/*
 * has_unseen tells whether a session has asked for a pass in a database that is not known
 * yet.
 */
static bool
has_unseen(void)
{
	bool		found = false;
	int			i;

	LWLockAcquire(once_shared->lock, LW_SHARED);
	for (i = 0; i < ONCE_MAX_DATABASES && !found; i++)
	{
		const OnceDatabase *database = &once_shared->databases[i];

		found = OidIsValid(database->oid) && !database->seen && !database->busy &&
			database->held_by == 0;
	}
	LWLockRelease(once_shared->lock);
	return found;
}

/*
 * databases_there returns the oids of all databases that accept connections.
 */
static List *
databases_there(void)
{
	List	   *oids = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;
	MemoryContext context = TopMemoryContext;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old;

		/* -2: dropping the database was interrupted */
		if (!database->datallowconn || database->datconnlimit == -2 ||
			database->datconnlimit == 0)
			continue;
		old = MemoryContextSwitchTo(context);
		oids = lappend_oid(oids, database->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	return oids;
}

static int
count_passes(void)
{
	int			n = 0;
	int			i;

	LWLockAcquire(once_shared->lock, LW_SHARED);
	for (i = 0; i < ONCE_MAX_DATABASES; i++)
		n += once_shared->databases[i].busy;
	LWLockRelease(once_shared->lock);
	return n;
}

/*
 * start_passes starts the passes that are due.  Returns how long to sleep, in
 * milliseconds.
 */
static long
start_passes(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = now + LOOK_AGAIN * INT64CONST(1000);
	int			running = count_passes();
	int			i;

	for (i = 0; i < ONCE_MAX_DATABASES; i++)
	{
		OnceDatabase *database = &once_shared->databases[i];
		Oid			oid;

		LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
		oid = database->oid;
		if (OidIsValid(oid) && database->seen && !database->busy && database->held_by == 0)
		{
			if (running < MAX_PASSES && may_start(database, now))
				running++;
			else
			{
				if (running < MAX_PASSES)
					next = Min(next, Min(database->next_at, database->asked_at));
				oid = InvalidOid;
			}
		}
		else
			oid = InvalidOid;
		LWLockRelease(once_shared->lock);

		if (OidIsValid(oid) && !start_pass(oid))
			break;
	}

	/* The end of a pass sets the latch as well */
	return Max(10, TimestampDifferenceMilliseconds(now, next));
}

/*
 * may_start tells whether a pass is due in a database and has anything to do, and if so
 * marks the database as busy.  The caller holds the lock.
 */
static bool
may_start(OnceDatabase *database, TimestampTz now)
{
	if (Min(database->next_at, database->asked_at) > now)
		return false;
	database->next_at = now + (once_launcher_interval > 0 ? once_launcher_interval :
							   WITHOUT_INTERVAL) * USECS_PER_SEC;
	if (may_rest(database, now))
		return false;
	database->busy = true;
	database->busy_since = now;
	database->pid = 0;
	database->asked_at = DT_NOEND;
	return true;
}

/*
 * may_rest tells whether a pass would find nothing to do in a database.  The caller holds
 * the lock.
 */
static bool
may_rest(const OnceDatabase *database, TimestampTz now)
{
	return once_launcher_interval > 0 && database->asked_at > now &&
		once_rest_is(database->oid, InvalidOid) &&
		!once_launcher_full_is_due(database, now);
}

/*
 * once_launcher_full_is_due tells whether the next pass in a database is to be a full
 * one.  The caller holds the lock.
 */
bool
once_launcher_full_is_due(const OnceDatabase *database, TimestampTz now)
{
	return now - database->full_at >=
		Max(once_launcher_interval * USECS_PER_SEC * FULL_PASSES,
			database->full_took * FULL_SHARE);
}

/*
 * start_pass starts a pass.  False: no background worker is free.
 */
static bool
start_pass(Oid oid)
{
	static bool told = false;
	BackgroundWorker worker = {0};
	OnceDatabase *database;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(oid);
	snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name), "pg_once");
	snprintf(worker.bgw_function_name, sizeof(worker.bgw_function_name), "once_pass_main");
	snprintf(worker.bgw_name, BGW_MAXLEN, "pg_once maintenance of database %u", oid);
	snprintf(worker.bgw_type, BGW_MAXLEN, "pg_once maintenance");
	if (RegisterDynamicBackgroundWorker(&worker, NULL))
	{
		told = false;
		return true;
	}

	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	database = once_shared_database(oid, false);
	if (database != NULL)
		database->busy = false;
	LWLockRelease(once_shared->lock);
	if (!told)
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("pg_once could not start a background worker"),
				 errhint("You might need to increase max_worker_processes.")));
	told = true;
	return false;
}
