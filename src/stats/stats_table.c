/*-------------------------------------------------------------------------
 *
 * stats_table.c
 *	  The counters of all queues, in shared memory, and in a file while the
 *	  server is down.
 *
 * See src/stats/README for the rules of locking.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include <unistd.h>

#include "miscadmin.h"
#include "once_debug.h"
#include "once_shmem.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "stats/stats_table.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#define STATS_NAME			"pg_once statistics"
#define STATS_FILE			PGSTAT_STAT_PERMANENT_DIRECTORY "/pg_once.stat"
#define STATS_MAGIC			0x4f4e4353	/* "SCNO" */
#define STATS_VERSION		1

typedef struct StatsKey
{
	Oid			database;		/* InvalidOid: the entry is not in use */
	Oid			relid;
} StatsKey;

struct OnceStatsEntry
{
	StatsKey	key;
	pg_atomic_uint64 counts[ONCE_NCOUNTERS];
	pg_atomic_uint64 buckets[ONCE_NBUCKETS];
	TimestampTz since;
};

/* What is shared, besides the entries */
typedef struct StatsShared
{
	LWLock	   *lock;			/* of the hash table */
	TimestampTz since;			/* when the server began to count */
	pg_atomic_flag told_full;	/* has the log been told that there is no
								 * room? */
} StatsShared;

/* The file: a head, the queues, and a checksum of both */
typedef struct StatsHead
{
	uint32		magic;
	uint32		version;
	TimestampTz since;
	uint32		nentries;
	uint32		unused;
} StatsHead;

typedef struct StatsStored
{
	StatsKey	key;
	OnceStats	stats;
} StatsStored;

StaticAssertDecl(sizeof(StatsHead) == 24 &&
				 sizeof(StatsStored) == 8 + 8 * (ONCE_NCOUNTERS + ONCE_NBUCKETS + 1),
				 "the file has no padding");

bool		once_stats_on = false;
int			once_stats_max_queues = ONCE_STATS_MAX_QUEUES;

static StatsShared *shared = NULL;
static HTAB *entries = NULL;

static Size shared_size(void);
static Size entries_size(void);
static void attach(void *memory, LWLock *lock, bool made);
static OnceStatsEntry *find(Oid database, Oid relid);
static OnceStatsEntry *find_or_make(Oid relid, bool make);
static void remove_entry(OnceStatsEntry *entry);
static void init_entry(OnceStatsEntry *entry, TimestampTz since);
static void read_entry(OnceStatsEntry *entry, OnceStats *stats);
static void tell_full(void);
static void forget_all(void);
static void restore_counters(void);
static bool read_file(FILE *file);
static void store_counters(int code, Datum arg);
static bool write_file(FILE *file);
static bool write_part(FILE *file, const void *data, size_t size, pg_crc32c *crc);
static bool read_part(FILE *file, void *data, size_t size, pg_crc32c *crc);

/*
 * once_stats_table_init has the table made when the server starts, if that is
 * now.
 */
void
once_stats_table_init(void)
{
	static const OnceShmem piece = {
		.name = STATS_NAME,.size = shared_size,.more = entries_size,.lock = true,.attach = attach
	};

	once_shmem_add(&piece);
}

/*
 * once_stats_table_add adds to the counters of a queue.
 *
 * counts: by OnceCounter.  *known: the queue's entry if the caller remembers it,
 * or NULL; it is set for the next time.  make: if the queue has no entry, it gets
 * one; that is for tables that are known to exist.
 *
 * An entry is removed only when the queue is dropped.  The caller has, or had a
 * moment ago, a lock on the queue's table that keeps it from being dropped.  So
 * the entry is used without a lock.  In the worst case it was given to another
 * queue just now, and that one's counters are a little too high.
 *
 * Called at the end of a transaction, so it raises no error.  If there is no
 * room for the queue, nothing is counted.
 */
void
once_stats_table_add(Oid relid, OnceStatsEntry **known, const int64 *counts,
					 const OnceLatencies *latencies, bool make)
{
	OnceStatsEntry *entry = *known;
	int			i;

	if (entry == NULL || entry->key.relid != relid || entry->key.database != MyDatabaseId)
		entry = *known = find_or_make(relid, make);
	if (entry == NULL)
		return;
	for (i = 0; i < ONCE_NCOUNTERS; i++)
	{
		if (counts[i] > 0)
			pg_atomic_fetch_add_u64(&entry->counts[i], counts[i]);
	}
	for (i = latencies->low; i <= latencies->high; i++)
	{
		if (latencies->buckets[i] > 0)
			pg_atomic_fetch_add_u64(&entry->buckets[i], latencies->buckets[i]);
	}
}

/*
 * once_stats_table_read reads the counters of a queue of this database.  False:
 * it is not counted, because there is no table, or no room in it.
 */
bool
once_stats_table_read(Oid relid, OnceStats *stats)
{
	OnceStatsEntry *entry;
	bool		counted = true;

	memset(stats, 0, sizeof(OnceStats));
	if (shared == NULL)
		return false;
	LWLockAcquire(shared->lock, LW_SHARED);
	entry = find(MyDatabaseId, relid);
	if (entry != NULL)
		read_entry(entry, stats);
	else
	{
		stats->since = shared->since;
		counted = hash_get_num_entries(entries) < once_stats_max_queues;
	}
	LWLockRelease(shared->lock);
	return counted;
}

/*
 * once_stats_table_has tells whether anything has been counted for a table; or,
 * if relid is InvalidOid, whether there is a table at all.
 */
bool
once_stats_table_has(Oid database, Oid relid)
{
	bool		has;

	if (shared == NULL || !OidIsValid(relid))
		return shared != NULL;
	LWLockAcquire(shared->lock, LW_SHARED);
	has = find(database, relid) != NULL;
	LWLockRelease(shared->lock);
	return has;
}

/*
 * once_stats_table_reset sets the counters of a queue of this database to zero.
 */
void
once_stats_table_reset(Oid relid)
{
	OnceStatsEntry *entry = find_or_make(relid, true);

	if (entry == NULL)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	entry = find(MyDatabaseId, relid);
	if (entry != NULL)
		init_entry(entry, GetCurrentTimestamp());
	LWLockRelease(shared->lock);
}

/*
 * once_stats_table_remove removes the entry of a table that is dropped; or, if
 * relid is InvalidOid, all entries of a database.
 */
void
once_stats_table_remove(Oid database, Oid relid)
{
	HASH_SEQ_STATUS status;
	OnceStatsEntry *entry;

	if (shared == NULL)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (OidIsValid(relid))
		remove_entry(find(database, relid));
	else
	{
		hash_seq_init(&status, entries);
		while ((entry = hash_seq_search(&status)) != NULL)
		{
			if (entry->key.database == database)
				remove_entry(entry);
		}
	}
	LWLockRelease(shared->lock);
}

/*
 * once_stats_table_list returns the tables of this database that have entries.
 */
Oid *
once_stats_table_list(int *n)
{
	Oid		   *relids;
	HASH_SEQ_STATUS status;
	OnceStatsEntry *entry;

	*n = 0;
	if (shared == NULL)
		return NULL;
	relids = palloc(sizeof(Oid) * once_stats_max_queues);
	LWLockAcquire(shared->lock, LW_SHARED);
	hash_seq_init(&status, entries);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->key.database == MyDatabaseId)
			relids[(*n)++] = entry->key.relid;
	}
	LWLockRelease(shared->lock);
	return relids;
}

static Size
shared_size(void)
{
	return sizeof(StatsShared);
}

static Size
entries_size(void)
{
	return hash_estimate_size(once_stats_max_queues, sizeof(OnceStatsEntry));
}

/*
 * attach makes the table, or finds it.  The postmaster also loads the file and
 * sees to it that one is written at the end.
 */
static void
attach(void *memory, LWLock *lock, bool made)
{
	HASHCTL		ctl = {.keysize = sizeof(StatsKey),.entrysize = sizeof(OnceStatsEntry)};

	shared = memory;
	entries = once_shmem_hash("pg_once statistics of queues", once_stats_max_queues,
							  &ctl, HASH_ELEM | HASH_BLOBS);
	once_stats_on = true;
	if (!IsUnderPostmaster)
		on_shmem_exit(store_counters, (Datum) 0);
	if (!made)
		return;
	shared->lock = lock;
	shared->since = GetCurrentTimestamp();
	pg_atomic_init_flag(&shared->told_full);
	restore_counters();
}

/*
 * find returns the entry of a queue, or NULL.  The table is locked.
 */
static OnceStatsEntry *
find(Oid database, Oid relid)
{
	StatsKey	key = {database, relid};

	return hash_search(entries, &key, HASH_FIND, NULL);
}

/*
 * find_or_make returns the entry of a queue of this database, or NULL if there
 * is none, and it is not to be made or there is no room for it.
 */
static OnceStatsEntry *
find_or_make(Oid relid, bool make)
{
	StatsKey	key = {MyDatabaseId, relid};
	OnceStatsEntry *entry;
	bool		found;

	LWLockAcquire(shared->lock, LW_SHARED);
	entry = find(MyDatabaseId, relid);
	LWLockRelease(shared->lock);
	if (entry != NULL || !make)
		return entry;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	found = true;
	if (hash_get_num_entries(entries) < once_stats_max_queues ||
		find(MyDatabaseId, relid) != NULL)
		entry = hash_search(entries, &key, HASH_ENTER_NULL, &found);
	if (entry != NULL && !found)
		init_entry(entry, shared->since);
	LWLockRelease(shared->lock);
	if (entry == NULL)
		tell_full();
	return entry;
}

/*
 * remove_entry removes an entry, if there is one.  Its memory stays, and whoever
 * remembers the entry sees that it is not in use any more.  The table is locked
 * exclusively.
 */
static void
remove_entry(OnceStatsEntry *entry)
{
	StatsKey	key;

	if (entry == NULL)
		return;
	key = entry->key;
	hash_search(entries, &key, HASH_REMOVE, NULL);
	entry->key.database = InvalidOid;
}

static void
init_entry(OnceStatsEntry *entry, TimestampTz since)
{
	int			i;

	for (i = 0; i < ONCE_NCOUNTERS; i++)
		pg_atomic_init_u64(&entry->counts[i], 0);
	for (i = 0; i < ONCE_NBUCKETS; i++)
		pg_atomic_init_u64(&entry->buckets[i], 0);
	entry->since = since;
}

static void
read_entry(OnceStatsEntry *entry, OnceStats *stats)
{
	int			i;

	for (i = 0; i < ONCE_NCOUNTERS; i++)
		stats->counts[i] = pg_atomic_read_u64(&entry->counts[i]);
	for (i = 0; i < ONCE_NBUCKETS; i++)
		stats->buckets[i] = pg_atomic_read_u64(&entry->buckets[i]);
	stats->since = entry->since;
}

/*
 * tell_full tells the server's log, once, that queues are not counted.
 */
static void
tell_full(void)
{
	if (pg_atomic_test_set_flag(&shared->told_full))
		ereport(LOG,
				(errmsg("statistics of some queues are not counted"),
				 errdetail("There is room for %d queues.", once_stats_max_queues),
				 errhint("Increase once.stat_max_queues, and restart the server.")));
}

static void
forget_all(void)
{
	HASH_SEQ_STATUS status;
	OnceStatsEntry *entry;

	hash_seq_init(&status, entries);
	while ((entry = hash_seq_search(&status)) != NULL)
		remove_entry(entry);
}

/*
 * restore_counters loads the counters that were stored when the server was shut down.
 * The file is removed then.  So after a crash there is none, and the counters,
 * of which nobody knows what they were, begin anew.
 */
static void
restore_counters(void)
{
	FILE	   *file = AllocateFile(STATS_FILE, PG_BINARY_R);

	if (file == NULL)
	{
		if (errno != ENOENT)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not open file \"%s\": %m", STATS_FILE)));
		return;
	}
	if (!read_file(file))
	{
		ereport(LOG,
				(errmsg("ignored the statistics of queues in file \"%s\"", STATS_FILE),
				 errdetail("It is damaged, or of another version.")));
		forget_all();
	}
	FreeFile(file);
	unlink(STATS_FILE);
}

/*
 * read_file reads the queues of the file, as far as there is room.  The
 * checksum comes last, so if the result is false, what was read means nothing.
 */
static bool
read_file(FILE *file)
{
	StatsHead	head;
	StatsStored stored;
	pg_crc32c	crc;
	pg_crc32c	expected;
	uint32		i;

	INIT_CRC32C(crc);
	if (!read_part(file, &head, sizeof(head), &crc) ||
		head.magic != STATS_MAGIC || head.version != STATS_VERSION)
		return false;
	for (i = 0; i < head.nentries; i++)
	{
		OnceStatsEntry *entry;
		int			c;

		if (!read_part(file, &stored, sizeof(stored), &crc))
			return false;
		if (hash_get_num_entries(entries) >= once_stats_max_queues)
			continue;
		entry = hash_search(entries, &stored.key, HASH_ENTER_NULL, NULL);
		if (entry == NULL)
			continue;
		init_entry(entry, stored.stats.since);
		for (c = 0; c < ONCE_NCOUNTERS; c++)
			pg_atomic_write_u64(&entry->counts[c], stored.stats.counts[c]);
		for (c = 0; c < ONCE_NBUCKETS; c++)
			pg_atomic_write_u64(&entry->buckets[c], stored.stats.buckets[c]);
	}
	FIN_CRC32C(crc);
	if (fread(&expected, sizeof(expected), 1, file) != 1 || !EQ_CRC32C(crc, expected))
		return false;
	shared->since = head.since;
	return true;
}

/*
 * store_counters stores the counters when the server is shut down, unless it has
 * crashed.
 */
static void
store_counters(int code, Datum arg)
{
	FILE	   *file;
	bool		written;

	if (code != 0 || shared == NULL || entries == NULL)
		return;
	file = AllocateFile(STATS_FILE ".tmp", PG_BINARY_W);
	written = file != NULL && write_file(file);
	if (file != NULL && FreeFile(file) != 0)
		written = false;
	if (!written)
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", STATS_FILE ".tmp")));
		unlink(STATS_FILE ".tmp");
		return;
	}
	(void) durable_rename(STATS_FILE ".tmp", STATS_FILE, LOG);
}

static bool
write_file(FILE *file)
{
	StatsHead	head = {STATS_MAGIC, STATS_VERSION, shared->since, 0, 0};
	HASH_SEQ_STATUS status;
	OnceStatsEntry *entry;
	pg_crc32c	crc;
	bool		good;

	INIT_CRC32C(crc);
	head.nentries = hash_get_num_entries(entries);
	good = write_part(file, &head, sizeof(head), &crc);
	hash_seq_init(&status, entries);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		StatsStored stored;

		memset(&stored, 0, sizeof(stored));
		stored.key = entry->key;
		read_entry(entry, &stored.stats);
		good = good && write_part(file, &stored, sizeof(stored), &crc);
	}
	FIN_CRC32C(crc);
	return good && fwrite(&crc, sizeof(crc), 1, file) == 1;
}

static bool
write_part(FILE *file, const void *data, size_t size, pg_crc32c *crc)
{
	COMP_CRC32C(*crc, data, size);
	return fwrite(data, size, 1, file) == 1;
}

static bool
read_part(FILE *file, void *data, size_t size, pg_crc32c *crc)
{
	if (fread(data, size, 1, file) != 1)
		return false;
	COMP_CRC32C(*crc, data, size);
	return true;
}
