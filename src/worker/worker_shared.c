/*-------------------------------------------------------------------------
 *
 * worker_shared.c
 *	  What the launcher, its workers and sessions know of each other.
 *
 * This is in shared memory, if the library is one of shared_preload_libraries.  One lock
 * protects all of it, and is held for a short time only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "once_rest.h"
#include "once_shmem.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "worker/worker_shared.h"

OnceShared *once_shared = NULL;

static bool poke_at_commit = false;

static Size shared_size(void);
static void attach(void *memory, LWLock *lock, bool made);
static void at_end_of_transaction(XactEvent event, void *arg);

/*
 * once_shared_init requests the memory, if the library is preloaded.
 */
void
once_shared_init(void)
{
	static const OnceShmem piece = {
		.name = "pg_once workers",.size = shared_size,.lock = true,.attach = attach
	};

	if (once_shmem_add(&piece))
		RegisterXactCallback(at_end_of_transaction, NULL);
}

static Size
shared_size(void)
{
	return add_size(offsetof(OnceShared, consumers),
					mul_size(sizeof(OnceConsumer), max_worker_processes));
}

static void
attach(void *memory, LWLock *lock, bool made)
{
	once_shared = memory;
	if (!made)
		return;
	once_shared->nconsumers = max_worker_processes;
	once_shared->lock = lock;
	once_shared->started_at = GetCurrentTimestamp();
}

/*
 * once_shared_database returns the entry of a database.  make: if there is none, make
 * one.  NULL: there is no entry, or no room for one.  The caller holds the lock, and
 * exclusively if make is true.
 */
OnceDatabase *
once_shared_database(Oid oid, bool make)
{
	OnceDatabase *room = NULL;
	int			i;

	for (i = 0; i < ONCE_MAX_DATABASES; i++)
	{
		OnceDatabase *database = &once_shared->databases[i];

		if (database->oid == oid)
			return database;
		if (room == NULL && !OidIsValid(database->oid))
			room = database;
	}
	if (!make || room == NULL)
		return NULL;
	memset(room, 0, sizeof(OnceDatabase));
	room->oid = oid;
	return room;
}

/*
 * once_shared_record returns the record of a worker.  make: if there is none, make one.
 * NULL: there is no record, or no room for one.  The caller holds the lock, and
 * exclusively if make is true.
 */
OnceRecord *
once_shared_record(Oid database, const char *name, bool make)
{
	OnceRecord *room = NULL;
	int			i;

	for (i = 0; i < ONCE_MAX_RECORDS; i++)
	{
		OnceRecord *record = &once_shared->records[i];

		if (record->database == database && strcmp(NameStr(record->name), name) == 0)
			return record;
		if (room == NULL && !OidIsValid(record->database))
			room = record;
	}
	if (!make || room == NULL)
		return NULL;
	memset(room, 0, sizeof(OnceRecord));
	room->database = database;
	namestrcpy(&room->name, name);
	return room;
}

/*
 * once_shared_wake_launcher makes the launcher check which passes are due.  The caller
 * holds the lock.
 */
void
once_shared_wake_launcher(void)
{
	if (once_shared->launcher != 0)
		SetLatch(once_shared->launcher_latch);
}

/*
 * once_shared_stop makes a process of a worker end after its transaction.  The caller
 * holds the lock exclusively.
 */
void
once_shared_stop(OnceConsumer *consumer)
{
	consumer->stop = true;
	if (consumer->pid != 0)
		SetLatch(consumer->latch);
}

/*
 * once_shared_poke makes a pass in a database due at a time, unless one is due earlier.
 */
void
once_shared_poke(Oid oid, TimestampTz at)
{
	OnceDatabase *database;

	if (once_shared == NULL)
		return;
	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	database = once_shared_database(oid, true);
	if (database != NULL)
	{
		database->asked_at = Min(database->asked_at, at);
		database->absent = 0;
	}
	once_shared_wake_launcher();
	LWLockRelease(once_shared->lock);
}

/*
 * once_shared_poke_at_commit makes a pass in this database due when the current
 * transaction has committed.
 */
void
once_shared_poke_at_commit(void)
{
	poke_at_commit = once_shared != NULL;
}

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (!poke_at_commit)
		return;
	if (event == XACT_EVENT_COMMIT)
	{
		/* If the pass fails, the next one is not to be left out */
		once_rest_end(InvalidOid);
		once_shared_poke(MyDatabaseId, GetCurrentTimestamp());
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		poke_at_commit = false;
}
