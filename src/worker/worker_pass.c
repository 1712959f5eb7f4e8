/*-------------------------------------------------------------------------
 *
 * worker_pass.c
 *	  One pass through a database, in a background worker that the launcher has started.
 *
 * It is short, and then the worker is gone: so nobody who wants to have the database
 * for himself waits for it long.  It runs as the superuser that the server was made
 * with, and does what CALL once.maintain() of a superuser does.
 *
 * Only a full pass looks at every message.  Every sixth is one, or fewer, so that they
 * take a hundredth of the time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "meta/meta_catalog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "queue/queue_maintain.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker/worker_launcher.h"
#include "worker/worker_schedule.h"
#include "worker/worker_shared.h"
#include "worker/worker_workers.h"

/* One of so many passes is full, */
#define FULL_PASSES			6

/* if that takes no more than one of so many parts of the time */
#define FULL_SHARE			100

/* Without the extension, the wait is doubled each time, up to ten minutes */
#define ABSENT_INTERVAL		(10 * USECS_PER_SEC)
#define ABSENT_DOUBLED		6

extern PGDLLEXPORT void once_pass_main(Datum arg);

static void begin(Oid oid);
static void at_exit(int code, Datum arg);
static void begin_transaction(void);
static void end_transaction(void);
static bool is_installed(void);
static void report_absent(Oid oid);
static void maintain(Oid oid);
static TimestampTz see_to_workers(void);
static void report_next(Oid oid, TimestampTz next);

/*
 * once_pass_main is the worker.  arg: the oid of the database.
 */
void
once_pass_main(Datum arg)
{
	Oid			oid = DatumGetObjectId(arg);
	bool		installed;
	TimestampTz next;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	begin(oid);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(oid, InvalidOid, 0);
	pgstat_report_activity(STATE_RUNNING, "pg_once maintenance");

	begin_transaction();
	installed = is_installed();
	end_transaction();
	if (!installed)
		report_absent(oid);
	else
	{
		next = see_to_workers();
		if (once_launcher_interval > 0)
			maintain(oid);
		report_next(oid, next);
	}
}

/*
 * begin tells that it has begun, unless nobody is to be in the database any more.
 */
static void
begin(Oid oid)
{
	OnceDatabase *database;
	bool		unwanted;

	before_shmem_exit(at_exit, ObjectIdGetDatum(oid));
	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	database = once_shared_database(oid, false);
	unwanted = database == NULL || database->held_by != 0;
	if (!unwanted)
	{
		database->busy = true;
		database->pid = MyProcPid;
	}
	LWLockRelease(once_shared->lock);
	if (unwanted)
		proc_exit(0);
}

static void
at_exit(int code, Datum arg)
{
	OnceDatabase *database;

	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	database = once_shared_database(DatumGetObjectId(arg), false);
	if (database != NULL && (database->pid == MyProcPid || database->pid == 0))
	{
		database->busy = false;
		database->pid = 0;
	}
	once_shared_wake_launcher();
	LWLockRelease(once_shared->lock);
}

static void
begin_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
end_transaction(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

static bool
is_installed(void)
{
	return OidIsValid(get_extension_oid("pg_once", true)) &&
		OidIsValid(once_schema_oid(true));
}

static void
report_absent(Oid oid)
{
	OnceDatabase *database;

	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	database = once_shared_database(oid, false);
	if (database != NULL)
	{
		int			doubled = Min(database->absent, ABSENT_DOUBLED);

		database->next_at = GetCurrentTimestamp() + (ABSENT_INTERVAL << doubled);
		database->absent++;
	}
	LWLockRelease(once_shared->lock);
}

/*
 * maintain does what CALL once.maintain() does; all of it, if it is time for that.
 */
static void
maintain(Oid oid)
{
	TimestampTz begun_at = GetCurrentTimestamp();
	OnceDatabase *database;
	bool		full = false;

	LWLockAcquire(once_shared->lock, LW_SHARED);
	database = once_shared_database(oid, false);
	if (database != NULL)
		full = begun_at - database->full_at >=
			Max(once_launcher_interval * USECS_PER_SEC * FULL_PASSES,
				database->full_took * FULL_SHARE);
	LWLockRelease(once_shared->lock);

	once_maintenance_run(full);

	if (!full)
		return;
	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	database = once_shared_database(oid, false);
	if (database != NULL)
	{
		database->full_at = begun_at;
		database->full_took = GetCurrentTimestamp() - begun_at;
	}
	LWLockRelease(once_shared->lock);
}

/*
 * see_to_workers starts and stops what consumes.  Returns when that is to be done again.
 */
static TimestampTz
see_to_workers(void)
{
	TimestampTz next = DT_NOEND;

	begin_transaction();
	if (is_installed())
		next = once_workers_reconcile();
	end_transaction();
	return next;
}

/*
 * report_next tells when the next pass is due: after the interval, when a schedule is, or
 * when a worker is to be started.
 */
static void
report_next(Oid oid, TimestampTz next)
{
	if (once_launcher_interval > 0)
	{
		begin_transaction();
		if (is_installed())
			next = Min(next, once_schedule_earliest());
		end_transaction();
	}
	once_shared_poke(oid, next);
}
