/*-------------------------------------------------------------------------
 *
 * worker_consumer.c
 *	  A process of a worker.
 *
 * It is a session of the role that created the worker, in which the consumer loop runs
 * (worker_work.c).  It ends between two transactions when it is told to (stop, in shared
 * memory), with an error if the loop raises one, and at once if it is terminated.  Its end
 * wakes the launcher, and a pass starts what should run instead.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "qam/qam.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/worker_shared.h"
#include "worker/worker_work.h"

/* Time between an error and the next process, and how often it is doubled */
#define RESTART_DELAY		USECS_PER_SEC
#define RESTART_DOUBLED		8

/*
 * For this time after the start of the server, or its restart after a crash, claims are
 * flushed before the handler is called.  Otherwise a handler that crashes the server at
 * once could do so for ever, because the attempts would be lost in the crash.
 */
#define FLUSH_CLAIMS		(5 * USECS_PER_MINUTE)

extern PGDLLEXPORT void once_consumer_main(Datum arg);

static OnceConsumer *slot;
static OnceConsumer self;		/* a copy, made at the beginning */
static bool ended_well;
static char end_error[ONCE_ERROR_SIZE];
static bool flushes_claims;

static void begin(int nth);
static void at_exit(int code, Datum arg);
static void consume(void);
static void commit(void);
static bool go_on(void);
static void tell(int done, int failed, const char *error);

/*
 * once_consumer_main is the main function of the process.  arg: its place in shared
 * memory.
 */
void
once_consumer_main(Datum arg)
{
	MemoryContext context = CurrentMemoryContext;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	begin(DatumGetInt32(arg));
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(self.database, self.role, 0);
	pgstat_report_appname(NameStr(self.name));
	pgstat_report_activity(STATE_RUNNING, "once.work()");
	if (!qam_flush_claims)
	{
		SetConfigOption("once.flush_claims", "on", PGC_USERSET, PGC_S_SESSION);
		flushes_claims = true;
	}

	PG_TRY();
	{
		consume();
		ended_well = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		strlcpy(end_error, error->message, ONCE_ERROR_SIZE);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * begin notes that the process has begun.  If it is not wanted any more, it ends it.
 */
static void
begin(int nth)
{
	OnceDatabase *database;
	bool		unwanted;

	slot = &once_shared->consumers[nth];
	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	self = *slot;
	database = once_shared_database(self.database, false);
	unwanted = !self.used || self.pid != 0 || self.stop ||
		database == NULL || database->held_by != 0;
	if (!unwanted)
	{
		slot->pid = MyProcPid;
		slot->latch = MyLatch;
	}
	else if (self.used && self.pid == 0)
		slot->used = false;
	LWLockRelease(once_shared->lock);
	if (unwanted)
		proc_exit(0);
	strlcpy(end_error, "the process could not start or was terminated, see the server log", ONCE_ERROR_SIZE);
	before_shmem_exit(at_exit, (Datum) 0);
}

/*
 * at_exit frees the place, and makes a pass due that starts another process, after a
 * pause if this one has ended in an error.
 */
static void
at_exit(int code, Datum arg)
{
	TimestampTz now = GetCurrentTimestamp();
	OnceRecord *record;
	OnceDatabase *database;
	TimestampTz restart_at = now;

	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	slot->used = false;
	record = once_shared_record(self.database, NameStr(self.name), false);
	if (record != NULL && !ended_well && !slot->stop)
	{
		strlcpy(record->last_error, end_error, ONCE_ERROR_SIZE);
		record->last_error_at = now;
		restart_at = now + (RESTART_DELAY << Min(record->ended, RESTART_DOUBLED));
		record->restart_at = restart_at;
		record->ended++;
	}
	database = once_shared_database(self.database, false);
	if (database != NULL)
		database->asked_at = Min(database->asked_at, restart_at);
	once_shared_wake_launcher();
	LWLockRelease(once_shared->lock);
}

/*
 * consume runs the consumer loop.
 */
static void
consume(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "pg_once worker",
												  ALLOCSET_DEFAULT_SIZES);
	OnceWork	work = {
		.queue = NameStr(self.queue),.handler = self.handler,
		.max_messages = self.max_messages,.until = -1,
		.commit = commit,.go_on = go_on,.tell = tell
	};

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	MemoryContextSwitchTo(context);
	once_work_loop(&work);
	SPI_finish();
	CommitTransactionCommand();
}

/*
 * commit ends a transaction and begins the next one (see OnceWork).  It also reports the
 * statistics that autovacuum needs, and reads changed settings.
 */
static void
commit(void)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		SPI_finish();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();

	pgstat_report_stat(false);
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	MemoryContextSwitchTo(context);
	if (error != NULL)
		ReThrowError(error);
}

/*
 * go_on tells whether the process is to go on.
 */
static bool
go_on(void)
{
	if (flushes_claims && GetCurrentTimestamp() - once_shared->started_at > FLUSH_CLAIMS)
	{
		SetConfigOption("once.flush_claims", "off", PGC_USERSET, PGC_S_SESSION);
		flushes_claims = false;
	}
	return !*(volatile bool *) &slot->stop;
}

/*
 * tell counts messages that were handled or have failed, and stores the error.
 */
static void
tell(int done, int failed, const char *error)
{
	OnceRecord *record;

	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	record = once_shared_record(self.database, NameStr(self.name), false);
	if (record != NULL)
	{
		record->processed += done;
		record->failed += failed;
		record->ended = 0;
		if (error != NULL)
		{
			strlcpy(record->last_error, error, ONCE_ERROR_SIZE);
			record->last_error_at = GetCurrentTimestamp();
		}
	}
	LWLockRelease(once_shared->lock);
}
