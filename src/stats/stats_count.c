/*-------------------------------------------------------------------------
 *
 * stats_count.c
 *	  What the current transaction adds to the counters.
 *
 * Rows that are inserted and deleted count when the transaction commits: what is
 * sent, acked, or moved to the dead letters.  What acts at once on the index
 * counts whatever becomes of the transaction: deliveries, nacks, lost claims.
 * All of it is added to the shared counters at the end of the transaction.
 *
 * A subtransaction that rolls back takes what it has counted with it, except
 * what acts at once.  So each nesting level that has counted something of a
 * queue has its own numbers, which go to its parent when it commits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "stats/stats_leases.h"
#include "stats/stats_progress.h"
#include "stats/stats_table.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* What one nesting level has counted of a queue */
typedef struct StatsLevel
{
	int			nest_level;
	int64		counts[ONCE_NCOUNTERS_XACT];
	OnceLatencies latencies;
	struct StatsLevel *outer;	/* of a lower nest_level */
} StatsLevel;

/*
 * A queue that this backend has counted something of.  The struct is kept for
 * the next transaction.
 */
typedef struct StatsQueue
{
	Oid			relid;			/* key */
	OnceStatsEntry *entry;		/* see once_stats_table_add */
	bool		in_use;			/* in this transaction */
	bool		made_here;		/* the transaction has created the table */
	struct StatsQueue *next;	/* of those in use */
	int64		counts[ONCE_NCOUNTERS]; /* those that act at once; the others
										 * come from "top" at the commit */
	StatsLevel *level;			/* innermost */
	StatsLevel	top;			/* nest_level 1 */
} StatsQueue;

/* With more queues than that, they are not kept for the next transaction */
#define STATS_KEEP			1000

/* A table or a database that this transaction drops */
typedef struct StatsDropped
{
	Oid			database;
	Oid			relid;			/* InvalidOid: all of the database */
	int			nest_level;
	struct StatsDropped *next;
} StatsDropped;

static HTAB *queues = NULL;
static StatsQueue *last = NULL; /* the one used last */
static StatsQueue *used = NULL; /* those used in this transaction */
static int	deepest = 0;		/* no level of these is deeper */
static StatsDropped *dropped = NULL;
static object_access_hook_type next_object_access_hook = NULL;

static StatsQueue *find_queue(Oid relid);
static StatsLevel *current_level(StatsQueue *queue);
static void no_latencies(OnceLatencies *latencies);
static void add_bucket(OnceLatencies *latencies, int bucket, uint32 n);
static void flush(bool committed);
static void flush_queue(StatsQueue *queue, bool committed);
static bool is_made_here(Oid relid);
static bool has_counted(const StatsQueue *queue);
static void add_level(StatsLevel *into, const StatsLevel *from);
static void level_commit(int nest_level);
static void level_abort(int nest_level);
static void note_dropped(Oid database, Oid relid);
static void stats_object_access(ObjectAccessType access, Oid class_id, Oid object_id,
								int sub_id, void *arg);
static void stats_xact_callback(XactEvent event, void *arg);
static void stats_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
								   SubTransactionId parentSubid, void *arg);

/*
 * once_stats_init has the counters made when the server starts, and registers
 * what is needed to count.  Without the counters, nothing is registered.
 */
void
once_stats_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	once_stats_table_init();
	once_stats_leases_init();
	once_stats_progress_init();
	next_object_access_hook = object_access_hook;
	object_access_hook = stats_object_access;
	RegisterXactCallback(stats_xact_callback, NULL);
	RegisterSubXactCallback(stats_subxact_callback, NULL);
}

/*
 * once_stats_add counts something; see once_stats_count.
 */
void
once_stats_add(Oid relid, OnceCounter counter, int64 n)
{
	StatsQueue *queue = find_queue(relid);

	if (counter < ONCE_NCOUNTERS_XACT)
		current_level(queue)->counts[counter] += n;
	else
		queue->counts[counter] += n;
}

/*
 * once_stats_add_ack counts an ack and its latency; see once_stats_acked.
 */
void
once_stats_add_ack(Oid relid, TimestampTz enqueued_at)
{
	StatsLevel *level = current_level(find_queue(relid));
	int64		latency;

	level->counts[ONCE_COUNT_ACKED]++;
	if (TIMESTAMP_NOT_FINITE(enqueued_at))
		return;
	latency = GetCurrentTimestamp() - enqueued_at;
	add_bucket(&level->latencies,
			   latency <= 1 ? 0 : Min(pg_leftmost_one_pos64(latency), ONCE_NBUCKETS - 1), 1);
}

static void
no_latencies(OnceLatencies *latencies)
{
	latencies->low = 0;
	latencies->high = -1;
}

static void
add_bucket(OnceLatencies *latencies, int bucket, uint32 n)
{
	if (latencies->high < 0)
	{
		latencies->low = latencies->high = bucket;
		latencies->buckets[bucket] = 0;
	}
	while (latencies->low > bucket)
		latencies->buckets[--latencies->low] = 0;
	while (latencies->high < bucket)
		latencies->buckets[++latencies->high] = 0;
	latencies->buckets[bucket] += n;
}

/*
 * once_stats_forget_dropped removes the counters of tables that do not exist any
 * more: of those whose drop was not noticed, as it was prepared.
 */
void
once_stats_forget_dropped(void)
{
	int			n;
	Oid		   *relids = once_stats_table_list(&n);
	int			i;

	for (i = 0; i < n; i++)
	{
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relids[i])))
			once_stats_table_remove(MyDatabaseId, relids[i]);
	}
}

/*
 * find_queue returns what this transaction has counted of a queue.
 */
static StatsQueue *
find_queue(Oid relid)
{
	StatsQueue *queue = last;

	if (queue == NULL || queue->relid != relid)
	{
		bool		found;

		if (queues == NULL)
		{
			HASHCTL		ctl;

			ctl.keysize = sizeof(Oid);
			ctl.entrysize = sizeof(StatsQueue);
			ctl.hcxt = TopMemoryContext;
			queues = hash_create("pg_once counters", 16, &ctl,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		}
		queue = hash_search(queues, &relid, HASH_ENTER, &found);
		if (!found)
		{
			memset(queue, 0, sizeof(StatsQueue));
			queue->relid = relid;
			queue->top.nest_level = 1;
			no_latencies(&queue->top.latencies);
			queue->level = &queue->top;
		}
		last = queue;
	}
	if (!queue->in_use)
	{
		queue->in_use = true;
		queue->made_here = queue->entry == NULL && is_made_here(relid);
		queue->next = used;
		used = queue;
	}
	return queue;
}

/*
 * is_made_here tells whether a table was created by this transaction.
 */
static bool
is_made_here(Oid relid)
{
	Relation	rel = IsTransactionState() ? RelationIdGetRelation(relid) : NULL;
	bool		made_here;

	if (rel == NULL)
		return false;
	made_here = rel->rd_createSubid != InvalidSubTransactionId;
	RelationClose(rel);
	return made_here;
}

/*
 * current_level returns the numbers of the current nesting level.
 */
static StatsLevel *
current_level(StatsQueue *queue)
{
	int			nest_level = GetCurrentTransactionNestLevel();

	if (queue->level->nest_level < nest_level)
	{
		StatsLevel *level = MemoryContextAllocZero(TopTransactionContext, sizeof(StatsLevel));

		level->nest_level = nest_level;
		no_latencies(&level->latencies);
		level->outer = queue->level;
		queue->level = level;
		deepest = Max(deepest, nest_level);
	}
	return queue->level;
}

/*
 * flush adds what the transaction has counted to the shared counters.
 */
static void
flush(bool committed)
{
	StatsQueue *queue;

	for (queue = used; queue != NULL; queue = queue->next)
		flush_queue(queue, committed);
	used = NULL;
	deepest = 0;
	if (queues != NULL && hash_get_num_entries(queues) > STATS_KEEP)
	{
		hash_destroy(queues);
		queues = NULL;
		last = NULL;
	}
}

/*
 * flush_queue does that for one queue, and makes its numbers zero.
 */
static void
flush_queue(StatsQueue *queue, bool committed)
{
	/* A transaction that commits has given all levels to the first one */
	Assert(!committed || queue->level == &queue->top);
	if (committed)
		memcpy(queue->counts, queue->top.counts, sizeof(queue->top.counts));
	else
		no_latencies(&queue->top.latencies);

	/* What was rolled back may have been the table itself */
	once_stats_table_add(queue->relid, &queue->entry, queue->counts, &queue->top.latencies,
						 has_counted(queue) && (committed || !queue->made_here));

	memset(queue->counts, 0, sizeof(queue->counts));
	memset(queue->top.counts, 0, sizeof(queue->top.counts));
	no_latencies(&queue->top.latencies);
	queue->level = &queue->top;
	queue->in_use = false;
}

/*
 * has_counted tells whether anything has been counted that was not rolled back.
 */
static bool
has_counted(const StatsQueue *queue)
{
	int			i;

	for (i = 0; i < ONCE_NCOUNTERS; i++)
	{
		if (queue->counts[i] > 0)
			return true;
	}
	return false;
}

static void
add_level(StatsLevel *into, const StatsLevel *from)
{
	int			i;

	for (i = 0; i < ONCE_NCOUNTERS_XACT; i++)
		into->counts[i] += from->counts[i];
	for (i = from->latencies.low; i <= from->latencies.high; i++)
		add_bucket(&into->latencies, i, from->latencies.buckets[i]);
}

/*
 * level_commit gives the numbers of a subtransaction to its parent.
 */
static void
level_commit(int nest_level)
{
	StatsQueue *queue;
	StatsDropped *drop;

	for (drop = dropped; drop != NULL && drop->nest_level >= nest_level; drop = drop->next)
		drop->nest_level = nest_level - 1;
	if (deepest < nest_level)
		return;
	for (queue = used; queue != NULL; queue = queue->next)
	{
		StatsLevel *level = queue->level;

		if (level->nest_level < nest_level)
			continue;
		if (level->outer->nest_level == nest_level - 1)
		{
			add_level(level->outer, level);
			queue->level = level->outer;
			pfree(level);
		}
		else
			level->nest_level = nest_level - 1;
	}
	deepest = nest_level - 1;
}

/*
 * level_abort forgets the numbers of a subtransaction.
 */
static void
level_abort(int nest_level)
{
	StatsQueue *queue;

	while (dropped != NULL && dropped->nest_level >= nest_level)
		dropped = dropped->next;
	if (deepest < nest_level)
		return;
	for (queue = used; queue != NULL; queue = queue->next)
	{
		StatsLevel *level = queue->level;

		if (level->nest_level < nest_level)
			continue;
		queue->level = level->outer;
		pfree(level);
	}
	deepest = nest_level - 1;
}

/*
 * note_dropped notes that the counters of a table are to be removed when the
 * transaction commits.
 */
static void
note_dropped(Oid database, Oid relid)
{
	StatsDropped *drop = MemoryContextAlloc(TopTransactionContext, sizeof(StatsDropped));

	drop->database = database;
	drop->relid = relid;
	drop->nest_level = GetCurrentTransactionNestLevel();
	drop->next = dropped;
	dropped = drop;
}

/*
 * stats_object_access is called for commands on objects of any kind.  It waits
 * for tables that have been counted, and for databases, to be dropped.
 */
static void
stats_object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id,
					void *arg)
{
	if (next_object_access_hook != NULL)
		next_object_access_hook(access, class_id, object_id, sub_id, arg);

	if (access != OAT_DROP || sub_id != 0)
		return;
	if (class_id == DatabaseRelationId)
		note_dropped(object_id, InvalidOid);
	else if (class_id == RelationRelationId)
	{
		if ((queues != NULL && hash_search(queues, &object_id, HASH_FIND, NULL) != NULL) ||
			once_stats_table_has(MyDatabaseId, object_id))
			note_dropped(MyDatabaseId, object_id);
	}
}

/*
 * A transaction that is prepared counts as committed.  Nobody calls us when it
 * really ends, perhaps in another backend, after a restart of the server.
 */
static void
stats_xact_callback(XactEvent event, void *arg)
{
	StatsDropped *drop;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			if (used != NULL)
				flush(true);
			for (drop = event == XACT_EVENT_COMMIT ? dropped : NULL; drop != NULL; drop = drop->next)
				once_stats_table_remove(drop->database, drop->relid);
			dropped = NULL;
			break;
		case XACT_EVENT_ABORT:
			if (used != NULL)
				flush(false);
			dropped = NULL;
			break;
		default:
			break;
	}
}

static void
stats_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
					   SubTransactionId parentSubid, void *arg)
{
	switch (event)
	{
		case SUBXACT_EVENT_COMMIT_SUB:
			level_commit(GetCurrentTransactionNestLevel());
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			level_abort(GetCurrentTransactionNestLevel());
			break;
		default:
			break;
	}
}
