/*-------------------------------------------------------------------------
 *
 * stats_progress.c
 *	  How far long work has come, in shared memory: purge, redrive, replay,
 *	  maintain.
 *
 * PostgreSQL's own progress views are for the commands that it knows, and an
 * extension cannot add one.  (Building an index is such a command; see
 * qam_build.c.)  So each backend shows here what it is at.  Work that ends with an
 * error is removed when its transaction is rolled back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "once_shmem.h"
#include "stats/stats.h"
#include "stats/stats_progress.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

#define PROGRESS_NAME		"pg_once progress"

typedef struct ProgressShown
{
	slock_t		mutex;
	OnceProgress progress;
} ProgressShown;

static ProgressShown *shown = NULL;
static bool showing = false;
static int	nest_level;			/* of the transaction in which that began */
static bool callbacks_registered = false;

static Size shown_size(void);
static void attach(void *memory, LWLock *lock, bool made);
static void progress_xact_callback(XactEvent event, void *arg);
static void progress_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
									  SubTransactionId parentSubid, void *arg);
static void show_none(int code, Datum arg);

/*
 * once_stats_progress_init has the memory made when the server starts.
 */
void
once_stats_progress_init(void)
{
	static const OnceShmem piece = {
		.name = PROGRESS_NAME,.size = shown_size,.attach = attach
	};

	once_shmem_add(&piece);
}

/*
 * once_stats_progress_begin shows that this backend begins some work on a queue.
 * total: how much there is to be done, or -1 if that is not known.
 */
void
once_stats_progress_begin(Oid relid, const char *work, int64 total)
{
	ProgressShown *mine;

	if (shown == NULL)
		return;
	if (!callbacks_registered)
	{
		RegisterXactCallback(progress_xact_callback, NULL);
		RegisterSubXactCallback(progress_subxact_callback, NULL);
		on_shmem_exit(show_none, (Datum) 0);
		callbacks_registered = true;
	}
	mine = &shown[once_my_procno()];
	showing = true;
	nest_level = GetCurrentTransactionNestLevel();
	SpinLockAcquire(&mine->mutex);
	mine->progress.pid = MyProcPid;
	mine->progress.database = MyDatabaseId;
	mine->progress.relid = relid;
	strlcpy(mine->progress.work, work, sizeof(mine->progress.work));
	mine->progress.since = GetCurrentTimestamp();
	mine->progress.done = 0;
	mine->progress.total = total;
	SpinLockRelease(&mine->mutex);
}

/*
 * once_stats_progress shows how much of it has been done.
 */
void
once_stats_progress(int64 done)
{
	ProgressShown *mine;

	if (!showing)
		return;
	mine = &shown[once_my_procno()];
	SpinLockAcquire(&mine->mutex);
	mine->progress.done = done;
	SpinLockRelease(&mine->mutex);
}

/*
 * once_stats_progress_end shows that the work is done.
 */
void
once_stats_progress_end(void)
{
	if (showing)
		show_none(0, (Datum) 0);
}

/*
 * once_stats_progress_read calls "each" for all work on queues of this database.
 */
void
once_stats_progress_read(void (*each) (void *arg, const OnceProgress *progress), void *arg)
{
	int			b;

	for (b = 0; shown != NULL && b < MaxBackends; b++)
	{
		OnceProgress copy;

		SpinLockAcquire(&shown[b].mutex);
		copy = shown[b].progress;
		SpinLockRelease(&shown[b].mutex);
		if (copy.pid != 0 && copy.database == MyDatabaseId)
			each(arg, &copy);
	}
}

/* Each backend has a place, by the number of its PGPROC. */
static Size
shown_size(void)
{
	return mul_size(MaxBackends, sizeof(ProgressShown));
}

static void
attach(void *memory, LWLock *lock, bool made)
{
	int			b;

	shown = memory;
	for (b = 0; made && b < MaxBackends; b++)
		SpinLockInit(&shown[b].mutex);
}

/*
 * maintain commits on its way, so only a rollback ends what is shown.
 */
static void
progress_xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT && showing)
		show_none(0, (Datum) 0);
}

static void
progress_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
						  SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && showing &&
		nest_level >= GetCurrentTransactionNestLevel())
		show_none(0, (Datum) 0);
}

static void
show_none(int code, Datum arg)
{
	ProgressShown *mine = &shown[once_my_procno()];

	SpinLockAcquire(&mine->mutex);
	mine->progress.pid = 0;
	SpinLockRelease(&mine->mutex);
	showing = false;
}
