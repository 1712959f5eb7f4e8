/*-------------------------------------------------------------------------
 *
 * worker_pass.c
 *	  One pass through a database, in a background worker that the launcher has started.
 *
 * A pass starts and stops the processes of workers, and does what CALL once.maintain()
 * does.  It runs as the bootstrap superuser.  It is short, and its process ends with it.
 * So commands that need the database for themselves do not wait long.
 *
 * Only a full pass looks at every message.  At most every sixth pass is full, and full
 * passes take at most a hundredth of the time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "meta/meta_catalog.h"
#include "miscadmin.h"
#include "once_rest.h"
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

/* Time until the next pass if the extension is not there, and how often it is doubled */
#define ABSENT_INTERVAL		(10 * USECS_PER_SEC)
#define ABSENT_DOUBLED		6

extern PGDLLEXPORT void once_pass_main(Datum arg);

static void begin(Oid oid);
static void adjust_settings(void);
static void at_exit(int code, Datum arg);
static void begin_transaction(void);
static void end_transaction(void);
static bool is_installed(void);
static void report_absent(Oid oid);
static bool maintain(Oid oid);
static TimestampTz run_workers(bool *any);
static void report_next(Oid oid, TimestampTz next);

/*
 * once_pass_main is the main function of a pass.  arg: the oid of the database.
 */
void
once_pass_main(Datum arg)
{
	Oid			oid = DatumGetObjectId(arg);
	bool		installed;
	bool		any;
	TimestampTz next;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	begin(oid);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(oid, InvalidOid, 0);
	adjust_settings();
	pgstat_report_activity(STATE_RUNNING, "pg_once maintenance");

	begin_transaction();
	installed = is_installed();
	end_transaction();
	if (!installed)
		report_absent(oid);
	else
	{
		once_rest_begin(InvalidOid);
		next = run_workers(&any);

		/* Roles and handlers of workers come and go, and nobody tells */
		if (once_launcher_interval > 0 && maintain(oid) && !any)
			once_rest_settle(InvalidOid);
		report_next(oid, next);
	}
}

/*
 * begin notes that the pass has begun.  If a command needs the database for itself, or
 * another pass is there as this one was given up, it ends the process instead.
 */
static void
begin(Oid oid)
{
	OnceDatabase *database;
	bool		unwanted;

	before_shmem_exit(at_exit, ObjectIdGetDatum(oid));
	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	database = once_shared_database(oid, false);
	unwanted = database == NULL || database->held_by != 0 || database->pid != 0;
	if (!unwanted)
	{
		database->busy = true;
		database->pid = MyProcPid;
	}
	LWLockRelease(once_shared->lock);
	if (unwanted)
		proc_exit(0);
}

/*
 * adjust_settings overrides settings that the owner of the database may have made for it
 * (ALTER DATABASE SET), and that would keep the pass from doing its work.  Like
 * autovacuum, a pass does not wait for synchronous standbys.
 */
static void
adjust_settings(void)
{
	static const struct
	{
		const char *name;
		const char *value;
	}			overrides[] = {
		{"role", "none"},
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"transaction_timeout", "0"},	/* since 17 */
		{"row_security", "on"}
	};
	int			i;

	for (i = 0; i < lengthof(overrides); i++)
		if (GetConfigOption(overrides[i].name, true, false) != NULL)
			SetConfigOption(overrides[i].name, overrides[i].value, PGC_SUSET, PGC_S_OVERRIDE);
	if (synchronous_commit > SYNCHRONOUS_COMMIT_LOCAL_FLUSH)
		SetConfigOption("synchronous_commit", "local", PGC_SUSET, PGC_S_OVERRIDE);
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
 * maintain does what CALL once.maintain() does, and all of it if a full pass is due.
 * Returns whether all that is maintained rests.
 */
static bool
maintain(Oid oid)
{
	TimestampTz begun_at = GetCurrentTimestamp();
	OnceDatabase *database;
	bool		full = false;
	bool		rests;

	LWLockAcquire(once_shared->lock, LW_SHARED);
	database = once_shared_database(oid, false);
	if (database != NULL)
		full = once_launcher_full_is_due(database, begun_at);
	LWLockRelease(once_shared->lock);

	rests = once_maintenance_run(full);

	if (!full)
		return rests;
	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	database = once_shared_database(oid, false);
	if (database != NULL)
	{
		database->full_at = database->busy_since;
		database->full_took = GetCurrentTimestamp() - begun_at;
	}
	LWLockRelease(once_shared->lock);
	return rests;
}

/*
 * run_workers starts and stops the processes of workers.  Returns when this must be done
 * again.  *any: are there workers?
 */
static TimestampTz
run_workers(bool *any)
{
	TimestampTz next = DT_NOEND;

	*any = false;
	begin_transaction();
	if (is_installed())
		next = once_workers_reconcile(any);
	end_transaction();
	return next;
}

/*
 * report_next tells the launcher when the next pass is due: at the next due time of a
 * schedule, or when a worker must be started, if that is before the interval ends.
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
