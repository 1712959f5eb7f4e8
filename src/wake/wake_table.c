/*-------------------------------------------------------------------------
 *
 * wake_table.c
 *	  The table of waiters, in shared memory.
 *
 * The lock of a partition protects its entries.  The count of a partition is
 * also read without the lock.  free_lock protects the entries that are not used.
 * src/wake/README tells what a backend may do while it holds one of these.
 *
 * The table may have another address in each backend, so entries are known by
 * their numbers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "once_debug.h"
#include "once_shmem.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/spin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "wake/wake.h"
#include "wake/wake_table.h"

#define WAKE_NAME			"pg_once waiters"
#define WAKE_PARTITIONS		128
#define WAKE_NOBODY			(-1)

/* Number of entries: so many for each backend, and so many more */
#define WAKE_ENTRIES_EACH	32
#define WAKE_ENTRIES_MORE	1000

/* Waiters that are woken each time a partition is locked */
#define WAKE_BATCH			32

typedef struct WakeEntry
{
	Oid			database;
	Oid			relid;
	int			procno;			/* of the waiter, whose latch wakes it */
	WakeUp		woken;
	int			room;			/* messages that it can be woken for */
	TimestampTz look_at;		/* when it looks by itself, or DT_NOEND */
	TimestampTz since;			/* when it began to wait */
	int			older;			/* neighbours in its partition */
	int			younger;		/* or, if not in use, the next free one */
} WakeEntry;

typedef struct WakePartition
{
	LWLock		lock;
	pg_atomic_uint32 count;
	int			oldest;
	int			youngest;
} WakePartition;

typedef union WakePartitionPadded
{
	WakePartition p;
	char		pad[PG_CACHE_LINE_SIZE];
} WakePartitionPadded;

typedef struct WakeTable
{
	int			tranche;
	slock_t		free_lock;
	int			free;
	int			nprepared;
	int			next_prepared;	/* the next to be replaced, if all are in use */
	LWLock		prepared_lock;
	WakePartitionPadded partitions[WAKE_PARTITIONS];
	WakeEntry	entries[FLEXIBLE_ARRAY_MEMBER];

	/* followed by nprepared structs of type WakePrepared */
} WakeTable;

/* once.debug_fallback; milliseconds */
int			once_wake_fallback = ONCE_WAKE_FALLBACK;

static WakeTable *table = NULL;

const WakeUp once_wake_nothing = {WAKE_NONE, 0};

static int	count_entries(void);
static Size prepared_offset(void);
static Size table_size(void);
static void init_table(void *memory);
static void attach(void *memory, LWLock *lock, bool made);
static WakeTable *attach_segment(void);
static WakePrepared *prepared_array(void);
static WakePartition *partition_of(Oid database, Oid relid);
static bool is_empty(WakePartition *partition);
static void wake_some(Oid relid, int64 n, WakeKind kind, bool pending_will_do);
static int64 wake_entry(WakeEntry *entry, int64 n, WakeKind kind, bool *rouse);
static bool is_look_pending(const WakePartition *partition, Oid relid);
static void tell_time(Oid relid, TimestampTz when);
static void set_latch_of(int procno);

static inline bool
waits_for(const WakeEntry *entry, Oid relid)
{
	return entry->relid == relid && entry->database == MyDatabaseId;
}

/*
 * once_wake_table_init arranges for the table to be made at the start of the
 * server, if the library is loaded then.
 */
void
once_wake_table_init(void)
{
	static const OnceShmem piece = {
		.name = WAKE_NAME,.size = table_size,.attach = attach
	};

	once_shmem_add(&piece);
}

/*
 * once_wake_table_attach tells whether there is a table.  It makes the table if
 * there is none and the server can give shared memory now.  If that fails, no
 * error is raised: this backend does without, and does not try again.
 */
bool
once_wake_table_attach(void)
{
	static bool tried = false;
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	if (table != NULL || tried || !ONCE_HAS_NAMED_SEGMENTS || IsInParallelMode())
		return table != NULL;
	tried = true;

	/* If it fails, a subtransaction cleans up */
	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		WakeTable  *found = attach_segment();

		ReleaseCurrentSubTransaction();
		table = found;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (table != NULL)
		once_register_tranche(table->tranche, WAKE_NAME);
	return table != NULL;
}

/*
 * once_wake_table_exists tells whether this backend has the table.
 */
bool
once_wake_table_exists(void)
{
	return table != NULL;
}

/*
 * once_wake_by_note wakes those who wait for what a transaction has done.  The
 * transaction has ended.
 */
void
once_wake_by_note(const WakeNote *note, bool committed)
{
	if (note->look & (committed ? ONCE_WAKE_AT_COMMIT : ONCE_WAKE_AT_ABORT))
		once_wake_look(note->relid);
	if (!committed)
		return;
	if (note->all)
		wake_some(note->relid, PG_INT32_MAX, WAKE_TO_LOOK, false);
	if (note->sent > 0)
		wake_some(note->relid, note->sent, WAKE_COUNTED, false);
	if (note->due != DT_NOEND)
		once_wake_at(note->relid, note->due);
}

/*
 * once_wake_look makes one waiter look, because messages may be ready.
 */
void
once_wake_look(Oid relid)
{
	wake_some(relid, 1, WAKE_TO_LOOK, true);
}

/*
 * once_wake_at makes one waiter look at the time when a message becomes ready.
 */
void
once_wake_at(Oid relid, TimestampTz when)
{
	TimestampTz now;

	if (table == NULL || is_empty(partition_of(MyDatabaseId, relid)))
		return;
	now = GetCurrentTimestamp();
	if (when <= now)
		once_wake_look(relid);
	else if (when < TimestampTzPlusMilliseconds(now, once_wake_fallback))
		tell_time(relid, when);
}

/*
 * once_wake_next hands on a wake-up to the next waiters.
 */
void
once_wake_next(Oid relid, WakeUp woken)
{
	if (woken.kind == WAKE_COUNTED)
		wake_some(relid, woken.messages, WAKE_COUNTED, false);
	else if (woken.kind == WAKE_TO_LOOK)
		once_wake_look(relid);
}

/*
 * once_wake_database wakes all waiters of this database, for a transaction that
 * has used too many queues to note each of them.
 */
void
once_wake_database(void)
{
	int			procs[WAKE_BATCH];
	int			i;

	if (table == NULL)
		return;
	for (i = 0; i < WAKE_PARTITIONS; i++)
	{
		WakePartition *partition = &table->partitions[i].p;
		int			nprocs;

		do
		{
			int			e;

			nprocs = 0;
			if (is_empty(partition))
				break;
			LWLockAcquire(&partition->lock, LW_EXCLUSIVE);
			for (e = partition->oldest; e != WAKE_NOBODY && nprocs < WAKE_BATCH;
				 e = table->entries[e].younger)
			{
				WakeEntry  *entry = &table->entries[e];

				if (entry->database == MyDatabaseId && entry->woken.kind == WAKE_NONE)
				{
					entry->woken.kind = WAKE_TO_LOOK;
					procs[nprocs++] = entry->procno;
				}
			}
			LWLockRelease(&partition->lock);
			for (e = 0; e < nprocs; e++)
				set_latch_of(procs[e]);
		} while (nprocs == WAKE_BATCH);
	}
}

/*
 * once_wake_anybody tells whether anybody waits for a queue.  It may return true
 * because of another queue in the same partition.
 */
bool
once_wake_anybody(Oid relid)
{
	return table != NULL && !is_empty(partition_of(MyDatabaseId, relid));
}

/*
 * once_wake_waiting tells who waits for a queue, oldest first.  *waiting:
 * palloc'd.  Returns false if there is no table.
 */
bool
once_wake_waiting(Oid relid, OnceWaiting **waiting, int *n)
{
	WakePartition *partition;
	int			room;
	int			e;

	*waiting = NULL;
	*n = 0;
	if (!once_wake_table_attach())
		return false;
	partition = partition_of(MyDatabaseId, relid);

	/* More may come before the partition is locked: those are left out */
	room = (int) pg_atomic_read_u32(&partition->count);
	if (room == 0)
		return true;
	*waiting = palloc_array(OnceWaiting, room);
	LWLockAcquire(&partition->lock, LW_SHARED);
	for (e = partition->oldest; e != WAKE_NOBODY && *n < room; e = table->entries[e].younger)
	{
		WakeEntry  *entry = &table->entries[e];

		if (!waits_for(entry, relid))
			continue;
		(*waiting)[*n].pid = GetPGProcByNumber(entry->procno)->pid;
		(*waiting)[*n].since = entry->since;
		(*n)++;
	}
	LWLockRelease(&partition->lock);
	return true;
}

/*
 * once_wake_entry_add adds an entry for this backend, as the youngest of those
 * who wait for a queue.  Whatever commits from now on wakes it: incrementing the
 * count is a memory barrier.
 */
int
once_wake_entry_add(Oid relid)
{
	WakePartition *partition = partition_of(MyDatabaseId, relid);
	WakeEntry  *entry;
	int			e;

	if (once_debug_is("wake_full"))
		return WAKE_NOBODY;
	SpinLockAcquire(&table->free_lock);
	e = table->free;
	if (e != WAKE_NOBODY)
		table->free = table->entries[e].younger;
	SpinLockRelease(&table->free_lock);
	if (e == WAKE_NOBODY)
		return e;

	entry = &table->entries[e];
	entry->database = MyDatabaseId;
	entry->relid = relid;
	entry->procno = once_my_procno();
	entry->woken = once_wake_nothing;
	entry->room = 1;
	entry->look_at = DT_NOEND;
	entry->since = GetCurrentTimestamp();
	entry->younger = WAKE_NOBODY;

	LWLockAcquire(&partition->lock, LW_EXCLUSIVE);
	entry->older = partition->youngest;
	if (entry->older == WAKE_NOBODY)
		partition->oldest = e;
	else
		table->entries[entry->older].younger = e;
	partition->youngest = e;
	pg_atomic_fetch_add_u32(&partition->count, 1);
	LWLockRelease(&partition->lock);
	return e;
}

/*
 * once_wake_entry_remove removes an entry.  *woken: what it was woken for and
 * has not taken over; *look_at: when it would have looked.  The caller hands
 * these on.
 */
void
once_wake_entry_remove(int e, WakeUp *woken, TimestampTz *look_at)
{
	WakeEntry  *entry = &table->entries[e];
	WakePartition *partition = partition_of(entry->database, entry->relid);

	LWLockAcquire(&partition->lock, LW_EXCLUSIVE);
	*woken = entry->woken;
	*look_at = entry->look_at;
	if (entry->older == WAKE_NOBODY)
		partition->oldest = entry->younger;
	else
		table->entries[entry->older].younger = entry->younger;
	if (entry->younger == WAKE_NOBODY)
		partition->youngest = entry->older;
	else
		table->entries[entry->younger].older = entry->older;
	pg_atomic_fetch_sub_u32(&partition->count, 1);
	LWLockRelease(&partition->lock);

	SpinLockAcquire(&table->free_lock);
	entry->younger = table->free;
	table->free = e;
	SpinLockRelease(&table->free_lock);
}

/*
 * once_wake_entry_take takes over from an entry what it was woken for, and when
 * it would have looked, because its owner is about to look.
 */
WakeUp
once_wake_entry_take(int e, TimestampTz *look_at)
{
	WakeEntry  *entry = &table->entries[e];
	WakePartition *partition = partition_of(entry->database, entry->relid);
	WakeUp		woken;

	LWLockAcquire(&partition->lock, LW_EXCLUSIVE);
	woken = entry->woken;
	*look_at = entry->look_at;
	entry->woken = once_wake_nothing;
	entry->room = 1;
	entry->look_at = DT_NOEND;
	LWLockRelease(&partition->lock);
	return woken;
}

/*
 * once_wake_entry_set_room lets an entry be woken once for so many messages, until its
 * owner takes over what it was woken for.
 */
void
once_wake_entry_set_room(int e, int room)
{
	WakeEntry  *entry = &table->entries[e];
	WakePartition *partition = partition_of(entry->database, entry->relid);

	LWLockAcquire(&partition->lock, LW_EXCLUSIVE);
	entry->room = room;
	LWLockRelease(&partition->lock);
}

/*
 * once_wake_entry_set_time notes when the owner of the entry will look, unless
 * another waiter of that queue will have looked by then.
 */
void
once_wake_entry_set_time(int e, TimestampTz look_at)
{
	WakeEntry  *entry = &table->entries[e];
	WakePartition *partition = partition_of(entry->database, entry->relid);
	int			o;

	if (look_at == DT_NOEND)
		return;
	LWLockAcquire(&partition->lock, LW_EXCLUSIVE);
	for (o = partition->oldest; o != WAKE_NOBODY; o = table->entries[o].younger)
	{
		if (waits_for(&table->entries[o], entry->relid) &&
			table->entries[o].look_at <= look_at)
			break;
	}
	if (o == WAKE_NOBODY)
		entry->look_at = look_at;
	LWLockRelease(&partition->lock);
}

/*
 * once_wake_entry_read tells what an entry has been woken for, and when its
 * owner has to look.  Others may have set that time.
 */
WakeKind
once_wake_entry_read(int e, TimestampTz *look_at)
{
	WakeEntry  *entry = &table->entries[e];
	WakePartition *partition = partition_of(entry->database, entry->relid);
	WakeKind	woken;

	LWLockAcquire(&partition->lock, LW_SHARED);
	woken = entry->woken.kind;
	*look_at = entry->look_at;
	LWLockRelease(&partition->lock);
	return woken;
}

/*
 * once_wake_entry_has_room tells whether an entry has been woken for messages that were
 * counted, and more of them would not wake anybody else.
 */
bool
once_wake_entry_has_room(int e)
{
	WakeEntry  *entry = &table->entries[e];
	WakePartition *partition = partition_of(entry->database, entry->relid);
	bool		room;

	LWLockAcquire(&partition->lock, LW_SHARED);
	room = entry->woken.kind == WAKE_COUNTED && entry->woken.messages < entry->room;
	LWLockRelease(&partition->lock);
	return room;
}

/*
 * once_wake_prepared_put keeps the notes of a transaction that has been
 * prepared.  If all places are in use, some are of transactions whose end was
 * missed, and one is replaced.
 */
void
once_wake_prepared_put(const WakePrepared *prepared)
{
	WakePrepared *array = prepared_array();
	int			place = -1;
	int			i;

	if (table->nprepared == 0)
		return;
	LWLockAcquire(&table->prepared_lock, LW_EXCLUSIVE);
	for (i = 0; i < table->nprepared; i++)
	{
		if (array[i].gid == prepared->gid)
		{
			place = i;
			break;
		}
		if (array[i].gid == 0 && place < 0)
			place = i;
	}
	if (place < 0)
	{
		place = table->next_prepared;
		table->next_prepared = (place + 1) % table->nprepared;
	}
	array[place] = *prepared;
	LWLockRelease(&table->prepared_lock);
}

/*
 * once_wake_prepared_take removes the notes of a prepared transaction, and
 * returns them.  Returns false if there are none.
 */
bool
once_wake_prepared_take(uint64 gid, WakePrepared *prepared)
{
	WakePrepared *array = prepared_array();
	bool		found = false;
	int			i;

	LWLockAcquire(&table->prepared_lock, LW_EXCLUSIVE);
	for (i = 0; i < table->nprepared && !found; i++)
	{
		if (array[i].gid != gid || array[i].database != MyDatabaseId)
			continue;
		*prepared = array[i];
		array[i].gid = 0;
		found = true;
	}
	LWLockRelease(&table->prepared_lock);
	return found;
}

static int
count_entries(void)
{
	return MaxBackends * WAKE_ENTRIES_EACH + WAKE_ENTRIES_MORE;
}

static Size
prepared_offset(void)
{
	return MAXALIGN(add_size(offsetof(WakeTable, entries),
							 mul_size(count_entries(), sizeof(WakeEntry))));
}

static Size
table_size(void)
{
	return add_size(prepared_offset(), mul_size(max_prepared_xacts, sizeof(WakePrepared)));
}

static WakePrepared *
prepared_array(void)
{
	return (WakePrepared *) ((char *) table + prepared_offset());
}

/*
 * init_table initializes the table.  Nobody else uses this memory yet.
 */
static void
init_table(void *memory)
{
	WakeTable  *new = memory;
	int			n = count_entries();
	int			i;

	memset(new, 0, table_size());
	new->tranche = once_new_tranche(WAKE_NAME);
	SpinLockInit(&new->free_lock);
	LWLockInitialize(&new->prepared_lock, new->tranche);
	new->nprepared = max_prepared_xacts;
	for (i = 0; i < WAKE_PARTITIONS; i++)
	{
		WakePartition *partition = &new->partitions[i].p;

		LWLockInitialize(&partition->lock, new->tranche);
		pg_atomic_init_u32(&partition->count, 0);
		partition->oldest = partition->youngest = WAKE_NOBODY;
	}
	for (i = 0; i < n; i++)
		new->entries[i].younger = i + 1 < n ? i + 1 : WAKE_NOBODY;
	new->free = 0;
}

static void
attach(void *memory, LWLock *lock, bool made)
{
	table = memory;
	if (made)
		init_table(memory);
	once_register_tranche(table->tranche, WAKE_NAME);
}

/*
 * attach_segment makes the table while the server is running, or attaches to it.
 * Returns NULL if the server cannot do that.
 */
static WakeTable *
attach_segment(void)
{
	bool		found;

	return once_named_segment(WAKE_NAME, table_size(), init_table, &found);
}

static WakePartition *
partition_of(Oid database, Oid relid)
{
	uint32		hash = hash_combine(murmurhash32(database), murmurhash32(relid));

	return &table->partitions[hash % WAKE_PARTITIONS].p;
}

/*
 * is_empty tells whether a partition has no entries.  A waiter that adds one
 * later sees all that the caller has made ready before.
 */
static bool
is_empty(WakePartition *partition)
{
	pg_memory_barrier();
	return pg_atomic_read_u32(&partition->count) == 0;
}

/*
 * wake_some wakes the oldest waiters of a queue: n of them, or enough for n messages that
 * were counted.  Those that have been woken already are left out, except that they may
 * have room for messages.  pending_will_do: it wakes none if a waiter that was woken to
 * look has not begun its look.
 */
static void
wake_some(Oid relid, int64 n, WakeKind kind, bool pending_will_do)
{
	WakePartition *partition;
	int			procs[WAKE_BATCH];
	int			nprocs;
	int			i;

	if (table == NULL)
		return;
	partition = partition_of(MyDatabaseId, relid);
	do
	{
		nprocs = 0;
		if (is_empty(partition))
			return;
		LWLockAcquire(&partition->lock, LW_EXCLUSIVE);
		if (pending_will_do && is_look_pending(partition, relid))
			n = 0;
		for (i = partition->oldest; i != WAKE_NOBODY && n > 0 && nprocs < WAKE_BATCH;
			 i = table->entries[i].younger)
		{
			WakeEntry  *entry = &table->entries[i];
			bool		rouse = false;

			if (waits_for(entry, relid))
				n -= wake_entry(entry, n, kind, &rouse);
			if (rouse)
				procs[nprocs++] = entry->procno;
		}
		LWLockRelease(&partition->lock);
		for (i = 0; i < nprocs; i++)
			set_latch_of(procs[i]);
	} while (n > 0 && nprocs == WAKE_BATCH);
}

/*
 * wake_entry wakes an entry for up to n messages that were counted, or to look.  Returns
 * how many it was woken for.  *rouse: its latch must be set, because it was not awake, or
 * because it waits for more and there is no room for more.  Its partition is locked.
 */
static int64
wake_entry(WakeEntry *entry, int64 n, WakeKind kind, bool *rouse)
{
	WakeUp	   *woken = &entry->woken;
	int			taken;

	if (woken->kind == WAKE_NONE)
	{
		woken->kind = kind;
		woken->messages = 0;
		*rouse = true;
	}
	else if (woken->kind != WAKE_COUNTED)
		return 0;
	if (kind != WAKE_COUNTED)
		return *rouse ? 1 : 0;
	taken = (int) Min(n, entry->room - woken->messages);
	woken->messages += taken;
	*rouse |= taken > 0 && woken->messages == entry->room;
	return taken;
}

/*
 * is_look_pending tells whether a waiter of a queue was woken to look and has
 * not begun its look.  The partition is locked.
 */
static bool
is_look_pending(const WakePartition *partition, Oid relid)
{
	int			i;

	for (i = partition->oldest; i != WAKE_NOBODY; i = table->entries[i].younger)
	{
		if (waits_for(&table->entries[i], relid) && table->entries[i].woken.kind == WAKE_TO_LOOK)
			return true;
	}
	return false;
}

/*
 * tell_time makes the oldest waiter of a queue look at a time, unless a waiter
 * will have looked by then.
 */
static void
tell_time(Oid relid, TimestampTz when)
{
	WakePartition *partition = partition_of(MyDatabaseId, relid);
	int			oldest = WAKE_NOBODY;
	int			procno = -1;
	int			i;

	LWLockAcquire(&partition->lock, LW_EXCLUSIVE);
	for (i = partition->oldest; i != WAKE_NOBODY; i = table->entries[i].younger)
	{
		WakeEntry  *entry = &table->entries[i];

		if (!waits_for(entry, relid))
			continue;
		if (entry->look_at <= when)
			break;
		if (oldest == WAKE_NOBODY && entry->woken.kind == WAKE_NONE)
			oldest = i;
	}
	if (i == WAKE_NOBODY && oldest != WAKE_NOBODY)
	{
		table->entries[oldest].look_at = when;
		procno = table->entries[oldest].procno;
	}
	LWLockRelease(&partition->lock);
	if (procno >= 0)
		set_latch_of(procno);
}

static void
set_latch_of(int procno)
{
	SetLatch(&GetPGProcByNumber(procno)->procLatch);
}
