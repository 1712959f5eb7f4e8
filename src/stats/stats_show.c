/*-------------------------------------------------------------------------
 *
 * stats_show.c
 *	  Counters and latencies: reset_stats, and the functions behind the view
 *	  stat_latency.
 *
 * Citus hides shards from queries on pg_class.  What is known of those on this node is
 * shown under the name of the distributed queue, and nothing under their own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "catalog/pg_class.h"
#include "funcapi.h"
#include "meta/meta_citus.h"
#include "meta/meta_shards.h"
#include "once_args.h"
#include "queue/queue_args.h"
#include "queue/queue_open.h"
#include "queue/queue_try.h"
#include "stats/stats_show.h"
#include "stats/stats_table.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(once_reset_stats);
PG_FUNCTION_INFO_V1(once_stat_latency);
PG_FUNCTION_INFO_V1(once_stat_latency_buckets);

#define NLATENCY_COLUMNS	5
#define NBUCKET_COLUMNS		3

static void list_shards(void *arg, int from, int to);
static void could_not_list(void *arg, int at, const ErrorData *error);
static int	compare_waiting(const void *a, const void *b);
static double quantile(const OnceStats *stats, uint64 total, double share);
static Datum microseconds(double us);

/*
 * once_stats_hint tells a session, once, that nothing is counted, and what to do
 * about it.
 */
void
once_stats_hint(void)
{
	static bool told = false;

	if (once_stats_on || told)
		return;
	told = true;
	ereport(NOTICE,
			(errmsg("counters of queues are not kept"),
			 errdetail("What is in a queue is known, but not what has passed through it, nor who has leased its messages."),
			 errhint("Add \"pg_once\" to shared_preload_libraries, and restart the server.")));
}

/*
 * once_stats_tables lists the tables that the statistics of a queue are about.  False:
 * the queue is a part of another one, and has no statistics of its own; or there is no
 * such table.
 */
bool
once_stats_tables(Oid relid, OnceStatsTables *tables)
{
	OnceTry		try = {.work = list_shards,.refused = could_not_list,.arg = tables};
	const char *relname = get_rel_name(relid);
	int64		shard;

	tables->problem = NULL;
	tables->n = 1;
	tables->relids = palloc(sizeof(Oid));
	tables->relids[0] = relid;
	tables->distributed = relname != NULL && once_citus_distributes(relid);
	if (tables->distributed)
		once_try(&try, 0, 1);
	return relname != NULL &&
		!OidIsValid(once_citus_shard_by_name(relname, get_rel_namespace(relid), &shard));
}

static void
list_shards(void *arg, int from, int to)
{
	OnceStatsTables *tables = arg;
	int			n;
	OnceShard  *shards = once_shards_here(tables->relids[0], &n);
	int			i;

	tables->relids = repalloc(tables->relids, sizeof(Oid) * (n + 1));
	for (i = 0; i < n; i++)
		tables->relids[i + 1] = shards[i].relid;
	tables->n = n + 1;
}

static void
could_not_list(void *arg, int at, const ErrorData *error)
{
	OnceStatsTables *tables = arg;

	tables->problem = error->detail == NULL ? pstrdup(error->message) :
		psprintf("%s: %s", error->message, error->detail);
}

/*
 * once_stats_sum adds up what has been counted of all tables.  It counts since the
 * first of them was counted.  False: nothing is.
 */
bool
once_stats_sum(const OnceStatsTables *tables, OnceStats *sum)
{
	bool		any = false;
	int			t;
	int			i;

	memset(sum, 0, sizeof(OnceStats));
	for (t = 0; t < tables->n; t++)
	{
		OnceStats	stats;

		if (!once_stats_table_read(tables->relids[t], &stats))
			continue;
		for (i = 0; i < ONCE_NCOUNTERS; i++)
			sum->counts[i] += stats.counts[i];
		for (i = 0; i < ONCE_NBUCKETS; i++)
			sum->buckets[i] += stats.buckets[i];
		sum->since = any ? Min(sum->since, stats.since) : stats.since;
		any = true;
	}
	return any;
}

/*
 * once_stats_waiting tells which sessions wait for one of the tables, oldest first.  See
 * once_wake_waiting.
 */
bool
once_stats_waiting(const OnceStatsTables *tables, OnceWaiting **waiting, int *n)
{
	bool		known = once_wake_waiting(tables->relids[0], waiting, n);
	int			t;

	for (t = 1; known && t < tables->n; t++)
	{
		OnceWaiting *more;
		int			nmore;
		int			i;
		int			w;

		known = once_wake_waiting(tables->relids[t], &more, &nmore);
		if (nmore == 0)
			continue;
		*waiting = *waiting == NULL ? palloc_array(OnceWaiting, nmore) :
			repalloc_array(*waiting, OnceWaiting, *n + nmore);
		for (i = 0; i < nmore; i++)
		{
			for (w = 0; w < *n && (*waiting)[w].pid != more[i].pid; w++)
				;
			if (w == *n)
				(*waiting)[(*n)++] = more[i];
		}
	}
	if (tables->n > 1 && *n > 1)
		qsort(*waiting, *n, sizeof(OnceWaiting), compare_waiting);
	return known;
}

static int
compare_waiting(const void *a, const void *b)
{
	const OnceWaiting *left = a;
	const OnceWaiting *right = b;

	return left->since < right->since ? -1 : left->since > right->since;
}

/*
 * once.reset_stats: the counters of a queue, or of all queues that the caller
 * owns, begin anew.
 */
Datum
once_reset_stats(PG_FUNCTION_ARGS)
{
	OnceQueue	queue;
	OnceStatsTables tables;
	Oid		   *relids;
	int			n;
	int			i;

	if (!once_stats_on)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("counters of queues are not kept"),
				 errhint("Add \"pg_once\" to shared_preload_libraries, and restart the server.")));
	if (!PG_ARGISNULL(0))
	{
		once_queue_open(&queue, once_queue_arg_name(fcinfo, 0), ONCE_TO_RESET,
						"once.reset_stats()");
		(void) once_stats_tables(RelationGetRelid(queue.heap), &tables);
		for (i = 0; i < tables.n; i++)
			once_stats_table_reset(tables.relids[i]);
		once_queue_close(&queue);
		PG_RETURN_VOID();
	}

	relids = once_stats_table_list(&n);
	for (i = 0; i < n; i++)
	{
		if (once_rights_is_owner(relids[i]))
			once_stats_table_reset(relids[i]);
	}
	PG_RETURN_VOID();
}

/*
 * once.stat_latency: how long messages of the queue that has this table took
 * from send to ack.  No row if nothing is counted, or the caller may not see it.
 */
Datum
once_stat_latency(PG_FUNCTION_ARGS)
{
	static const double shares[] = {0.5, 0.9, 0.99};
	Oid			relid = PG_GETARG_OID(0);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[NLATENCY_COLUMNS];
	bool		isnull[NLATENCY_COLUMNS] = {0};
	OnceStatsTables tables;
	OnceStats	stats;
	uint64		total = 0;
	int			i;

	InitMaterializedSRF(fcinfo, 0);
	once_stats_hint();
	if (!once_rights_may_count(relid) || !once_stats_tables(relid, &tables) ||
		!once_stats_sum(&tables, &stats))
		return (Datum) 0;
	for (i = 0; i < ONCE_NBUCKETS; i++)
		total += stats.buckets[i];
	values[0] = Int64GetDatum((int64) total);
	for (i = 0; i < lengthof(shares); i++)
	{
		isnull[1 + i] = total == 0;
		values[1 + i] = total == 0 ? (Datum) 0 :
			microseconds(quantile(&stats, total, shares[i]));
	}
	values[4] = TimestampTzGetDatum(stats.since);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
	return (Datum) 0;
}

/*
 * once.stat_latency_buckets: the same as numbers of messages, by powers of two,
 * up to the last bucket that is not empty.
 */
Datum
once_stat_latency_buckets(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	OnceStatsTables tables;
	OnceStats	stats;
	uint64		total = 0;
	int			n = ONCE_NBUCKETS;
	int			i;

	InitMaterializedSRF(fcinfo, 0);
	once_stats_hint();
	if (!once_rights_may_count(relid) || !once_stats_tables(relid, &tables) ||
		!once_stats_sum(&tables, &stats))
		return (Datum) 0;
	while (n > 0 && stats.buckets[n - 1] == 0)
		n--;
	for (i = 0; i < n; i++)
	{
		Datum		values[NBUCKET_COLUMNS];
		bool		isnull[NBUCKET_COLUMNS] = {0};

		total += stats.buckets[i];
		isnull[0] = i == ONCE_NBUCKETS - 1; /* it has no end */
		values[0] = microseconds((double) (UINT64CONST(1) << (i + 1)));
		values[1] = Int64GetDatum((int64) stats.buckets[i]);
		values[2] = Int64GetDatum((int64) total);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
	}
	return (Datum) 0;
}

/*
 * quantile returns, in microseconds, the latency that a share of all messages
 * did not exceed.  Within a bucket, latencies are taken to be spread evenly.
 */
static double
quantile(const OnceStats *stats, uint64 total, double share)
{
	double		wanted = share * total;
	double		before = 0;
	int			b;

	for (b = 0; b < ONCE_NBUCKETS - 1; b++)
	{
		double		n = (double) stats->buckets[b];

		if (n > 0 && before + n >= wanted)
			break;
		before += n;
	}
	if (stats->buckets[b] == 0)
		return (double) (UINT64CONST(1) << b);
	return (UINT64CONST(1) << b) * (1 + (wanted - before) / stats->buckets[b]);
}

static Datum
microseconds(double us)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = (TimeOffset) us;
	return IntervalPGetDatum(interval);
}
