/*-------------------------------------------------------------------------
 *
 * stats_leases.c
 *	  Which session has leased how much, in shared memory.
 *
 * A lease belongs to nobody: whoever has the receipt may ack it, in another
 * session, too.  So the index does not tell who has asked for it.  This does: each
 * backend shows, for the queues that it has leased from last, how many of these
 * messages it has not ended itself, and until when the last lease goes on.  That
 * is for people who search for a consumer that is stuck, and nothing else
 * depends on it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "miscadmin.h"
#include "once_shmem.h"
#include "stats/stats.h"
#include "stats/stats_leases.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

#define LEASES_NAME			"pg_once leases"

/* What a backend shows.  Only the backend itself changes it. */
typedef struct LeasesShown
{
	slock_t		mutex;
	int			pid;			/* 0: nothing was ever shown */
	OnceLeases	leases[ONCE_LEASES_SHOWN];
} LeasesShown;

static LeasesShown *shown = NULL;
static OnceLeases *last = NULL; /* the one used last */
static bool exit_registered = false;

static Size shown_size(void);
static void attach(void *memory, LWLock *lock, bool made);
static OnceLeases *find_mine(Oid relid, bool make);
static void show_none(int code, Datum arg);

/*
 * once_stats_leases_init has the memory made when the server starts.
 */
void
once_stats_leases_init(void)
{
	static const OnceShmem piece = {
		.name = LEASES_NAME,.size = shown_size,.attach = attach
	};

	once_shmem_add(&piece);
}

/*
 * once_stats_add_leases notes that this backend has leased n messages of a queue;
 * see once_stats_leased.
 */
void
once_stats_add_leases(Oid relid, int n, TimestampTz until)
{
	LeasesShown *mine = &shown[once_my_procno()];
	TimestampTz now = GetCurrentTimestamp();
	OnceLeases *leases;

	if (!exit_registered)
	{
		on_shmem_exit(show_none, (Datum) 0);
		exit_registered = true;
	}
	leases = find_mine(relid, true);
	SpinLockAcquire(&mine->mutex);
	mine->pid = MyProcPid;
	if (leases->relid != relid || leases->database != MyDatabaseId || leases->until <= now)
		leases->n = 0;
	leases->database = MyDatabaseId;
	leases->relid = relid;
	if (leases->n == 0)
	{
		leases->since = now;
		leases->until = until;
	}
	leases->n += n;
	leases->until = Max(leases->until, until);
	SpinLockRelease(&mine->mutex);
}

/*
 * once_stats_end_lease notes that this backend has ended the lease of a message,
 * which it may have leased itself; see once_stats_lease_ended.
 */
void
once_stats_end_lease(Oid relid)
{
	LeasesShown *mine = &shown[once_my_procno()];
	OnceLeases *leases = find_mine(relid, false);

	if (leases == NULL)
		return;
	SpinLockAcquire(&mine->mutex);
	if (leases->n > 0)
		leases->n--;
	SpinLockRelease(&mine->mutex);
}

/*
 * once_stats_leases_read calls "each" for each backend that has leased messages
 * of a queue of this database.
 */
void
once_stats_leases_read(Oid relid, void (*each) (void *arg, int pid, const OnceLeases *leases),
					   void *arg)
{
	TimestampTz now = GetCurrentTimestamp();
	int			b;
	int			i;

	for (b = 0; shown != NULL && b < MaxBackends; b++)
	{
		LeasesShown copy;

		SpinLockAcquire(&shown[b].mutex);
		copy = shown[b];
		SpinLockRelease(&shown[b].mutex);
		for (i = 0; i < ONCE_LEASES_SHOWN && copy.pid != 0; i++)
		{
			const OnceLeases *leases = &copy.leases[i];

			if (leases->relid == relid && leases->database == MyDatabaseId &&
				leases->n > 0 && leases->until > now)
				each(arg, copy.pid, leases);
		}
	}
}

/* Each backend has a place, by the number of its PGPROC. */
static Size
shown_size(void)
{
	return mul_size(MaxBackends, sizeof(LeasesShown));
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
 * find_mine returns what this backend shows of a queue; NULL, or if "make" is
 * true a place for it, if it shows nothing.  That place is the one whose leases
 * end first.
 */
static OnceLeases *
find_mine(Oid relid, bool make)
{
	LeasesShown *mine = &shown[once_my_procno()];
	OnceLeases *first = &mine->leases[0];
	int			i;

	if (last != NULL && last->relid == relid && last->database == MyDatabaseId)
		return last;
	for (i = 0; i < ONCE_LEASES_SHOWN; i++)
	{
		OnceLeases *leases = &mine->leases[i];

		if (leases->relid == relid && leases->database == MyDatabaseId)
			return last = leases;
		if (leases->n == 0 || (first->n > 0 && leases->until < first->until))
			first = leases;
	}
	return make ? first : NULL;
}

/*
 * show_none is called when the backend ends.
 */
static void
show_none(int code, Datum arg)
{
	LeasesShown *mine = &shown[once_my_procno()];

	SpinLockAcquire(&mine->mutex);
	mine->pid = 0;
	memset(mine->leases, 0, sizeof(mine->leases));
	SpinLockRelease(&mine->mutex);
}
