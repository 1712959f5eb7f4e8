/*-------------------------------------------------------------------------
 *
 * queue_redrive.c
 *	  redrive and purge_dead_letters, and what maintain() does with old dead
 *	  letters.
 *
 * All of it goes through the tables as their owner, by commands that name
 * nothing but them: nobody else can put code of his behind them.  Rows that
 * others are at are passed by, so nothing here waits for a row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "meta/meta_dead.h"
#include "miscadmin.h"
#include "queue/queue.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* Dead letters that are taken at once */
#define REDRIVE_CHUNK		1000
#define REMOVE_CHUNK		10000

#define REDRIVE_SQL \
	"WITH taken AS (" \
	" DELETE FROM once.dead_letter WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(" \
	"  SELECT d.ctid FROM once.dead_letter d WHERE d.queue OPERATOR(pg_catalog.=) $1" \
	"   AND d.dead_at OPERATOR(pg_catalog.>=) $3" \
	"  ORDER BY d.dead_at, d.id LIMIT $2 FOR UPDATE SKIP LOCKED))" \
	" RETURNING id, dead_at, priority, group_id, headers, payload)" \
	"SELECT id, priority, group_id, headers, payload, dead_at FROM taken ORDER BY dead_at, id"

/* Columns of its result */
#define Anum_redrive_id			1
#define Anum_redrive_priority	2
#define Anum_redrive_group_id	3
#define Anum_redrive_headers	4
#define Anum_redrive_payload	5
#define Anum_redrive_dead_at	6

/* Dead letters that died in some time, the first so many of them */
#define REMOVE_SQL \
	"WITH gone AS (" \
	" DELETE FROM once.dead_letter WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(" \
	"  SELECT d.ctid FROM once.dead_letter d WHERE d.queue OPERATOR(pg_catalog.=) $1" \
	"   AND d.dead_at OPERATOR(pg_catalog.>=) $3 AND d.dead_at OPERATOR(pg_catalog.<) $4" \
	"  ORDER BY d.dead_at, d.id LIMIT $2 FOR UPDATE SKIP LOCKED))" \
	" RETURNING id, dead_at)" \
	"SELECT id, dead_at FROM gone ORDER BY dead_at"

/* Columns of its result */
#define Anum_remove_id			1
#define Anum_remove_dead_at		2

PG_FUNCTION_INFO_V1(once_redrive);
PG_FUNCTION_INFO_V1(once_purge_dead_letters);

static int	redrive_some(OnceQueue *queue, int max, TimestampTz *since);
static void read_letter(HeapTuple tuple, TupleDesc desc, OnceNewRow *row);
static int	remove_some(OnceQueue *queue, TimestampTz before, int max, TimestampTz *since);

/*
 * once.redrive: dead letters become messages again.
 */
Datum
once_redrive(PG_FUNCTION_ARGS)
{
	char	   *name = once_arg_queue(fcinfo, 0);
	int64		left = PG_INT64_MAX;
	int64		redriven = 0;
	TimestampTz since = DT_NOBEGIN;
	OnceQueue	queue;
	MemoryContext round;
	MemoryContext caller;
	int			n;

	if (!PG_ARGISNULL(1))
	{
		left = PG_GETARG_INT32(1);
		if (left < 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("max_messages must be between 1 and %d", PG_INT32_MAX),
					 errdetail("The value given is %d.", (int) left)));
	}

	once_queue_open(&queue, name, ONCE_TO_REDRIVE, "once.redrive()");
	once_queue_check_sending(&queue);
	round = AllocSetContextCreate(CurrentMemoryContext, "pg_once redrive",
								  ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(round);
	do
	{
		CHECK_FOR_INTERRUPTS();
		n = redrive_some(&queue, Min(left, REDRIVE_CHUNK), &since);
		redriven += n;
		left -= n;
		MemoryContextReset(round);
	} while (n > 0 && left > 0);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(round);
	once_queue_close(&queue);
	PG_RETURN_INT64(redriven);
}

/*
 * once.purge_dead_letters: they are forgotten.
 */
Datum
once_purge_dead_letters(PG_FUNCTION_ARGS)
{
	char	   *name = once_arg_queue(fcinfo, 0);
	OnceQueue	queue;
	int64		removed;

	once_queue_open(&queue, name, ONCE_TO_ALTER, "once.purge_dead_letters()");
	removed = once_dead_remove(&queue, DT_NOEND, PG_INT64_MAX);
	once_queue_close(&queue);
	PG_RETURN_INT64(removed);
}

/*
 * once_dead_remove deletes dead letters that died before a time, at most max,
 * with their failures.  Returns their number.
 */
int64
once_dead_remove(OnceQueue *queue, TimestampTz before, int64 max)
{
	TimestampTz since = DT_NOBEGIN;
	int64		removed = 0;
	int			n;

	do
	{
		CHECK_FOR_INTERRUPTS();
		n = remove_some(queue, before, Min(max - removed, REMOVE_CHUNK), &since);
		removed += n;
	} while (n > 0 && removed < max);
	return removed;
}

/*
 * remove_some deletes those of them that died at a time or later, at most max.
 * Returns their number, and when the last of them died.
 *
 * Their failures are found one by one: a query for many of them at once goes
 * through all failures of the queue for each, if the planner thinks that there
 * are few.
 */
static int
remove_some(OnceQueue *queue, TimestampTz before, int max, TimestampTz *since)
{
	Oid			types[] = {TEXTOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[4];
	SPITupleTable *removed;
	OnceRole	saved;
	bool		isnull;
	int			n;
	int			i;

	values[0] = CStringGetTextDatum(once_queue_name(queue));
	values[1] = Int64GetDatum(max);
	values[2] = TimestampTzGetDatum(*since);
	values[3] = TimestampTzGetDatum(before);

	SPI_connect();
	once_role_assume(&saved, once_dead_owner(), true);
	once_run(REMOVE_SQL, 4, types, values);
	once_role_drop(&saved);

	n = (int) SPI_processed;
	removed = SPI_tuptable;
	for (i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		once_failures_forget(once_queue_name(queue),
							 DatumGetInt64(SPI_getbinval(removed->vals[i], removed->tupdesc,
														 Anum_remove_id, &isnull)));
	}
	if (n > 0)
		*since = DatumGetTimestampTz(SPI_getbinval(removed->vals[n - 1], removed->tupdesc,
												   Anum_remove_dead_at, &isnull));
	SPI_finish();
	return n;
}

/*
 * redrive_some sends the oldest dead letters that died at a time or later, at
 * most max.  Returns their number, and when the last of them died: from there
 * on the next round goes, which need not walk over what this transaction has
 * deleted, and no VACUUM can remove yet.
 *
 * They are taken as the owner of their table, and sent as the caller.
 */
static int
redrive_some(OnceQueue *queue, int max, TimestampTz *since)
{
	Oid			types[] = {TEXTOID, INT8OID, TIMESTAMPTZOID};
	Datum		values[3];
	bool		isnull;
	OnceRole	saved;
	OnceNewRows batch = {.have_ids = true,.deliver_at = DT_NOBEGIN,.expires_at = DT_NOBEGIN};
	int			n;
	int			i;

	values[0] = CStringGetTextDatum(once_queue_name(queue));
	values[1] = Int64GetDatum(max);
	values[2] = TimestampTzGetDatum(*since);

	SPI_connect();
	once_role_assume(&saved, once_dead_owner(), true);
	once_run(REDRIVE_SQL, 3, types, values);
	once_role_drop(&saved);

	n = (int) SPI_processed;
	batch.nrows = n;
	batch.rows = palloc(sizeof(OnceNewRow) * Max(n, 1));
	for (i = 0; i < n; i++)
		read_letter(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &batch.rows[i]);
	if (n > 0)
		*since = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[n - 1],
												   SPI_tuptable->tupdesc,
												   Anum_redrive_dead_at, &isnull));
	once_rows_insert(queue, &batch);
	for (i = 0; i < n; i++)
		once_failures_forget(once_queue_name(queue), batch.rows[i].id);
	SPI_finish();
	return n;
}

/*
 * read_letter makes a row for the queue of a row of REDRIVE_SQL.
 */
static void
read_letter(HeapTuple tuple, TupleDesc desc, OnceNewRow *row)
{
	Datum		priority;
	bool		isnull;

	row->id = DatumGetInt64(heap_getattr(tuple, Anum_redrive_id, desc, &isnull));
	priority = heap_getattr(tuple, Anum_redrive_priority, desc, &isnull);
	row->priority = isnull ? QAM_DEFAULT_LANE : DatumGetInt16(priority);
	row->group_id = heap_getattr(tuple, Anum_redrive_group_id, desc, &row->group_id_null);
	row->headers = heap_getattr(tuple, Anum_redrive_headers, desc, &row->headers_null);
	row->payload = heap_getattr(tuple, Anum_redrive_payload, desc, &row->payload_null);
}
