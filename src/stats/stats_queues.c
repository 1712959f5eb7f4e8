/*-------------------------------------------------------------------------
 *
 * stats_queues.c
 *	  once.stat_queue, which is behind the view once.stat_queues: what is in a
 *	  queue at this moment, and what has passed through it.
 *
 * Whoever watches the queues asks for all of them, every few seconds.  So this
 * waits for no lock, and one queue that cannot be read does not keep the caller
 * from seeing the others: its column "problem" tells why.
 *
 * The row of a distributed queue adds up its shards on this node.  If one of them cannot
 * be read, the others still count.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include <math.h>

#include "access/xact.h"
#include "funcapi.h"
#include "meta/meta_dead.h"
#include "meta/meta_names.h"
#include "qam/qam.h"
#include "queue/queue_claim.h"
#include "queue/queue_open.h"
#include "queue/queue_try.h"
#include "stats/stats_show.h"
#include "stats/stats_table.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "wake/wake.h"

/* Columns of once.stat_queue */
enum
{
	COL_READY,					/* the depths are in the order of QamDepth */
	COL_DEPTH_ERROR = COL_READY + QAM_NDEPTHS,
	COL_OLDEST_READY,
	COL_OLDEST_CLAIM,
	COL_WAITERS,
	COL_DEAD_LETTERS,
	COL_DEAD_LETTERS_ERROR,
	COL_SENT,
	COL_RECEIVED,
	COL_REDELIVERED,
	COL_ACKED,
	COL_NACKED,
	COL_EXPIRED,
	COL_DEAD_LETTERED,
	COL_LEASE_LOST,
	COL_COUNTED_SINCE,
	COL_INDEX_PAGES,
	COL_DEAD_ROWS,
	COL_PROBLEM,
	NSTAT_COLUMNS
};

PG_FUNCTION_INFO_V1(once_stat_queue);

/* One row of the result */
typedef struct StatRow
{
	Oid			relid;
	OnceStatsTables tables;
	bool		exists;

	/* Sums over those tables that could be read */
	bool		read;			/* there is one */
	double		depth[QAM_NDEPTHS];
	double		variance[QAM_NDEPTHS];	/* of the depth */
	TimestampTz oldest_ready;
	TimestampTz oldest_claim;
	double		pages;

	Datum		values[NSTAT_COLUMNS];
	bool		isnull[NSTAT_COLUMNS];
} StatRow;

static void put(StatRow *row, int column, Datum value);
static void put_count(StatRow *row, int column, double count);
static void put_age(StatRow *row, int column, TimestampTz since);
static void put_problem(StatRow *row, const char *problem);
static void put_problem_of(StatRow *row, int table, const char *problem);
static void read_table(void *arg, int from, int to);
static void could_not_read(void *arg, int at, const ErrorData *error);
static void add_depths(StatRow *row, OnceQueue *queue);
static void put_depths(StatRow *row);
static void put_dead_rows(StatRow *row);
static void put_waiters(StatRow *row);
static void put_counters(StatRow *row);
static void put_dead_letters(StatRow *row, const char *queue);

/*
 * once.stat_queue: the statistics of the queue that has this table.  No row if
 * there is no such queue, or the caller may not see it.
 */
Datum
once_stat_queue(PG_FUNCTION_ARGS)
{
	StatRow		row = {.relid = PG_GETARG_OID(0),.exists = true};
	OnceTry		try = {.work = read_table,.refused = could_not_read,.arg = &row};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			i;

	InitMaterializedSRF(fcinfo, 0);
	if (!once_rights_may_count(row.relid) || !once_stats_tables(row.relid, &row.tables))
		return (Datum) 0;
	memset(row.isnull, true, sizeof(row.isnull));
	row.oldest_ready = row.oldest_claim = DT_NOEND;
	if (row.tables.problem != NULL)
		put_problem(&row, row.tables.problem);

	/* A node without shards has no messages */
	row.read = row.tables.distributed && row.tables.n == 1 && row.tables.problem == NULL;
	for (i = 0; i < row.tables.n; i++)
		once_try(&try, i, i + 1);
	if (row.exists)
	{
		put_depths(&row);
		put_waiters(&row);
		put_counters(&row);
		put_dead_rows(&row);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row.values, row.isnull);
	}
	return (Datum) 0;
}

static void
put(StatRow *row, int column, Datum value)
{
	row->values[column] = value;
	row->isnull[column] = false;
}

static void
put_count(StatRow *row, int column, double count)
{
	put(row, column, Int64GetDatum((int64) rint(count)));
}

/*
 * put_age puts the time that has passed since then, and NULL if there is
 * nothing.
 */
static void
put_age(StatRow *row, int column, TimestampTz since)
{
	Interval   *age;

	if (TIMESTAMP_NOT_FINITE(since))
		return;
	age = palloc0(sizeof(Interval));
	age->time = Max(GetCurrentTimestamp() - since, 0);
	put(row, column, IntervalPGetDatum(age));
}

/*
 * put_problem puts a problem, unless there is one already.
 */
static void
put_problem(StatRow *row, const char *problem)
{
	if (row->isnull[COL_PROBLEM])
		put(row, COL_PROBLEM, CStringGetTextDatum(problem));
}

/*
 * put_problem_of puts a problem of one table.
 */
static void
put_problem_of(StatRow *row, int table, const char *problem)
{
	const char *relname = table > 0 ? get_rel_name(row->tables.relids[table]) : NULL;

	put_problem(row, relname == NULL ? problem :
				psprintf("shard %s: %s", relname + strlen(ONCE_QUEUE_PREFIX), problem));
}

/*
 * read_table reads all that is stored in one table.  The dead letters go by the name of
 * the queue.
 */
static void
read_table(void *arg, int from, int to)
{
	StatRow    *row = arg;
	OnceQueue	queue;

	if (row->tables.distributed && from == 0)
	{
		const char *relname = get_rel_name(row->relid);

		if (relname != NULL)
			put_dead_letters(row, relname + strlen(ONCE_QUEUE_PREFIX));
		return;
	}
	switch (once_queue_open_to_count(&queue, row->tables.relids[from]))
	{
		case ONCE_OPENED_NOT:

			/* It may also be a shard that has just left */
			row->exists = row->tables.distributed;
			return;
		case ONCE_OPENED_BUSY:
			put_problem_of(row, from, "locked by another transaction");
			return;
		case ONCE_OPENED:
			break;
	}
	add_depths(row, &queue);
	if (!row->tables.distributed)
		put_dead_letters(row, once_queue_name(&queue));
	once_queue_leave(&queue);
}

/*
 * could_not_read is called if that has raised an error.
 */
static void
could_not_read(void *arg, int at, const ErrorData *error)
{
	StatRow    *row = arg;

	if (!row->tables.distributed)
	{
		memset(row->isnull, true, sizeof(row->isnull));
		row->read = false;
	}
	put_problem_of(row, at, error->detail == NULL ? error->message :
				   psprintf("%s: %s", error->message, error->detail));
}

/*
 * add_depths adds what is in one table.
 */
static void
add_depths(StatRow *row, OnceQueue *queue)
{
	QamSample	sample = {
		.heap = queue->heap,
		.index = queue->index,
		.retry = &queue->meta.retry,
		.expired = once_claim_is_expired,
		.since = once_claim_since,
		.arg = queue
	};
	int			d;

	once_queue_check_column(queue, ONCE_COL_ENQUEUED_AT);
	once_queue_check_column(queue, ONCE_COL_DELIVER_AT);
	once_queue_check_column(queue, ONCE_COL_EXPIRES_AT);
	qam_sample(&sample);
	for (d = 0; d < QAM_NDEPTHS; d++)
	{
		row->depth[d] += sample.depth[d];
		row->variance[d] += sample.error[d] * sample.error[d];
	}
	row->oldest_ready = Min(row->oldest_ready, sample.oldest_ready);
	row->oldest_claim = Min(row->oldest_claim, sample.oldest_claim);
	row->pages += sample.pages;
	row->read = true;
}

static void
put_depths(StatRow *row)
{
	double		variance = 0;
	int			d;

	if (!row->read)
		return;
	for (d = 0; d < QAM_NDEPTHS; d++)
	{
		put_count(row, COL_READY + d, row->depth[d]);
		variance = Max(variance, row->variance[d]);
	}
	put_count(row, COL_DEPTH_ERROR, ceil(sqrt(variance)));
	put_age(row, COL_OLDEST_READY, row->oldest_ready);
	put_age(row, COL_OLDEST_CLAIM, row->oldest_claim);
	put_count(row, COL_INDEX_PAGES, row->pages);
}

static void
put_dead_rows(StatRow *row)
{
	int64		n = 0;
	int			i;

	for (i = 0; i < row->tables.n; i++)
		n += DatumGetInt64(DirectFunctionCall1(pg_stat_get_dead_tuples,
											   ObjectIdGetDatum(row->tables.relids[i])));
	put(row, COL_DEAD_ROWS, Int64GetDatum(n));
}

/*
 * put_dead_letters puts the number of dead letters, if those of this name are
 * the queue's.
 */
static void
put_dead_letters(StatRow *row, const char *queue)
{
	bool		exact;
	int64		n;

	if (!once_names_is_own(row->relid))
		return;
	n = once_dead_letter_count(queue, &exact);
	if (n < 0)
		return;
	put(row, COL_DEAD_LETTERS, Int64GetDatum(n));
	if (exact)
		put(row, COL_DEAD_LETTERS_ERROR, Int64GetDatum(0));
}

/*
 * put_waiters puts how many sessions wait for messages, if that is known.
 */
static void
put_waiters(StatRow *row)
{
	OnceWaiting *waiting;
	int			n;

	if (once_stats_waiting(&row->tables, &waiting, &n))
		put(row, COL_WAITERS, Int64GetDatum(n));
}

/*
 * put_counters puts what has been counted of the queue, if anything is.
 */
static void
put_counters(StatRow *row)
{
	static const struct
	{
		int			column;
		OnceCounter counter;
	}			columns[] = {
		{COL_SENT, ONCE_COUNT_SENT},
		{COL_RECEIVED, ONCE_COUNT_RECEIVED},
		{COL_REDELIVERED, ONCE_COUNT_REDELIVERED},
		{COL_ACKED, ONCE_COUNT_ACKED},
		{COL_NACKED, ONCE_COUNT_NACKED},
		{COL_EXPIRED, ONCE_COUNT_EXPIRED},
		{COL_DEAD_LETTERED, ONCE_COUNT_DEAD_LETTERED},
		{COL_LEASE_LOST, ONCE_COUNT_LEASE_LOST}
	};
	OnceStats	stats;
	int			i;

	once_stats_hint();
	if (!once_stats_sum(&row->tables, &stats))
		return;
	for (i = 0; i < lengthof(columns); i++)
		put(row, columns[i].column, Int64GetDatum((int64) stats.counts[columns[i].counter]));
	put(row, COL_COUNTED_SINCE, TimestampTzGetDatum(stats.since));
}
