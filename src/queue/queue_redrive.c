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

/*
 * Where those are that died after some other, the first so many of them, in the
 * order in which they are sent: that in which they died, but none of a group
 * before one of a lower id.  They are locked.
 */
#define FIND_SQL \
	"SELECT s.place, s.dead_at, s.id FROM (" \
	" SELECT d.ctid AS place, d.dead_at, d.id, d.group_id FROM once.dead_letter d" \
	"  WHERE d.queue OPERATOR(pg_catalog.=) $1" \
	"   AND ROW(d.dead_at, d.id) OPERATOR(pg_catalog.>) ROW($3, $4)%s" \
	"  ORDER BY d.dead_at, d.id LIMIT $2 FOR UPDATE SKIP LOCKED) s" \
	" ORDER BY CASE WHEN s.group_id IS NULL THEN s.dead_at" \
	"  ELSE pg_catalog.max(s.dead_at) OVER (PARTITION BY s.group_id ORDER BY s.id" \
	"   ROWS UNBOUNDED PRECEDING) END, s.id"
#define FIND_NARGS				5
#define OF_IDS_SQL				" AND d.id OPERATOR(pg_catalog.=) ANY ($5)"

/* Columns of its result */
#define Anum_find_place			1
#define Anum_find_dead_at		2
#define Anum_find_id			3

/* Takes them, in that order */
#define TAKE_SQL \
	"WITH taken AS (" \
	" DELETE FROM once.dead_letter d WHERE d.ctid OPERATOR(pg_catalog.=) ANY ($1)" \
	" RETURNING d.ctid AS place, d.id, d.enqueued_at, d.priority, d.group_id, d.headers, d.payload)" \
	"SELECT t.id, t.enqueued_at, t.priority, t.group_id, t.headers, t.payload" \
	" FROM taken t JOIN pg_catalog.unnest($1) WITH ORDINALITY AS u (place, n)" \
	" ON t.place OPERATOR(pg_catalog.=) u.place ORDER BY u.n"

/* Columns of its result */
#define Anum_take_id			1
#define Anum_take_enqueued_at	2
#define Anum_take_priority		3
#define Anum_take_group_id		4
#define Anum_take_headers		5
#define Anum_take_payload		6

/* Dead letters that died in some time, the first so many of them */
#define REMOVE_SQL \
	"WITH gone AS (" \
	" DELETE FROM once.dead_letter WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(" \
	"  SELECT d.ctid FROM once.dead_letter d WHERE d.queue OPERATOR(pg_catalog.=) $1" \
	"   AND d.dead_at OPERATOR(pg_catalog.>=) $3 AND d.dead_at OPERATOR(pg_catalog.<) $4%s" \
	"  ORDER BY d.dead_at, d.id LIMIT $2 FOR UPDATE SKIP LOCKED))" \
	" RETURNING id, enqueued_at, dead_at)" \
	"SELECT id, enqueued_at, dead_at FROM gone ORDER BY dead_at"
#define REMOVE_NARGS			5

/* Columns of its result */
#define Anum_remove_id			1
#define Anum_remove_enqueued_at	2
#define Anum_remove_dead_at		3

/* One call of redrive */
typedef struct Redrive
{
	OnceQueue	queue;
	ArrayType  *ids;			/* NULL: all */
	int64		left;			/* may be sent yet */
	int64		redriven;
	TimestampTz dead_at;		/* the last one looked at, in the order of death */
	int64		id;
	OnceRefusals refusals;

	/* a chunk */
	OnceTry		try;
	int			n;
	int64		refused;
	ItemPointerData places[REDRIVE_CHUNK];
	int64		letters[REDRIVE_CHUNK]; /* their ids */
} Redrive;

PG_FUNCTION_INFO_V1(once_redrive);
PG_FUNCTION_INFO_V1(once_redrive_ids);
PG_FUNCTION_INFO_V1(once_purge_dead_letters);
PG_FUNCTION_INFO_V1(once_purge_dead_letters_ids);

static int64 redrive(const char *name, int64 max, ArrayType *ids);
static bool redrive_round(Redrive *call);
static Portal find_letters(Redrive *call, int64 max);
static int	fetch_letters(Redrive *call, Portal portal);
static void redrive_chunk(Redrive *call);
static void send_letters(void *arg, int from, int to);
static void refuse_letter(void *arg, int row, const ErrorData *error);
static void read_letter(HeapTuple tuple, TupleDesc desc, OnceNewRow *row);
static int64 purge_dead_letters(const char *name, ArrayType *ids);
static int	remove_some(OnceQueue *queue, TimestampTz before, int max, ArrayType *ids,
						TimestampTz *since);

/*
 * once.redrive: dead letters become messages again.
 */
Datum
once_redrive(PG_FUNCTION_ARGS)
{
	char	   *name = once_arg_queue(fcinfo, 0);
	int64		max = PG_INT64_MAX;

	if (!PG_ARGISNULL(1))
	{
		max = PG_GETARG_INT32(1);
		if (max < 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("max_messages must be between 1 and %d", PG_INT32_MAX),
					 errdetail("The value given is %d.", (int) max)));
	}
	PG_RETURN_INT64(redrive(name, max, NULL));
}

/*
 * once.redrive: those with some ids.
 */
Datum
once_redrive_ids(PG_FUNCTION_ARGS)
{
	char	   *name = once_arg_queue(fcinfo, 0);

	PG_RETURN_INT64(redrive(name, PG_INT64_MAX, once_arg_ids(fcinfo, 1)));
}

/*
 * once.purge_dead_letters: they are forgotten.
 */
Datum
once_purge_dead_letters(PG_FUNCTION_ARGS)
{
	char	   *name = once_arg_queue(fcinfo, 0);

	PG_RETURN_INT64(purge_dead_letters(name, NULL));
}

/*
 * once.purge_dead_letters: those with some ids.
 */
Datum
once_purge_dead_letters_ids(PG_FUNCTION_ARGS)
{
	char	   *name = once_arg_queue(fcinfo, 0);

	PG_RETURN_INT64(purge_dead_letters(name, once_arg_ids(fcinfo, 1)));
}

/*
 * redrive sends dead letters, those of some ids or all, at most max.  Those that
 * the queue does not take stay.  Returns the number of those sent.
 */
static int64
redrive(const char *name, int64 max, ArrayType *ids)
{
	Redrive    *call = palloc0(sizeof(Redrive));

	once_queue_open(&call->queue, name, ONCE_TO_REDRIVE, "once.redrive()");
	once_queue_check_sending(&call->queue);
	call->ids = ids;
	call->left = max;
	call->dead_at = DT_NOBEGIN;
	call->id = PG_INT64_MIN;
	call->refusals.queue = &call->queue;
	call->refusals.what = "redriven";
	call->try.work = send_letters;
	call->try.refused = refuse_letter;
	call->try.arg = call;
	call->try.rehearse = !once_has_written();

	/* Others take the places of those that were refused */
	while (redrive_round(call))
		CHECK_FOR_INTERRUPTS();
	once_refusals_warn(&call->refusals);
	once_queue_close(&call->queue);
	return call->redriven;
}

/*
 * redrive_round finds as many letters as may yet be sent, and sends them a chunk
 * at a time.  False: there is no more to do.
 */
static bool
redrive_round(Redrive *call)
{
	int64		max = call->left;
	int64		found = 0;
	Portal		portal;

	SPI_connect();
	portal = find_letters(call, max);
	while (fetch_letters(call, portal) > 0)
	{
		MemoryContext round = AllocSetContextCreate(CurrentMemoryContext,
													"pg_once redrive",
													ALLOCSET_DEFAULT_SIZES);
		MemoryContext caller = MemoryContextSwitchTo(round);

		CHECK_FOR_INTERRUPTS();
		found += call->n;
		redrive_chunk(call);
		MemoryContextSwitchTo(caller);
		MemoryContextDelete(round);
	}
	SPI_cursor_close(portal);
	SPI_finish();
	return found == max && call->left > 0;
}

/*
 * find_letters finds and locks letters, in the order in which they are to be
 * sent.  It goes through their table as its owner.
 */
static Portal
find_letters(Redrive *call, int64 max)
{
	Oid			types[FIND_NARGS] = {TEXTOID, INT8OID, TIMESTAMPTZOID, INT8OID, INT8ARRAYOID};
	char		nulls[FIND_NARGS + 1] = "     ";
	Datum		values[FIND_NARGS];
	OnceRole	saved;
	Portal		portal;

	values[0] = CStringGetTextDatum(once_queue_name(&call->queue));
	values[1] = Int64GetDatum(max);
	values[2] = TimestampTzGetDatum(call->dead_at);
	values[3] = Int64GetDatum(call->id);
	values[4] = PointerGetDatum(call->ids);
	if (call->ids == NULL)
		nulls[4] = 'n';

	once_role_assume(&saved, once_dead_owner(), true);
	portal = SPI_cursor_open_with_args(NULL, psprintf(FIND_SQL, call->ids != NULL ? OF_IDS_SQL : ""),
									   FIND_NARGS, types, values, nulls, false,
									   CURSOR_OPT_NO_SCROLL);
	once_role_drop(&saved);
	return portal;
}

/*
 * fetch_letters gets the next ones that were found, and notes how far in the
 * order of death they go.  Returns their number.
 */
static int
fetch_letters(Redrive *call, Portal portal)
{
	OnceRole	saved;
	bool		isnull;
	int			i;

	once_role_assume(&saved, once_dead_owner(), true);
	SPI_cursor_fetch(portal, true, REDRIVE_CHUNK);
	once_role_drop(&saved);

	call->n = (int) SPI_processed;
	for (i = 0; i < call->n; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		TimestampTz dead_at;

		call->places[i] =
			*(ItemPointer) DatumGetPointer(heap_getattr(tuple, Anum_find_place, desc, &isnull));
		call->letters[i] = DatumGetInt64(heap_getattr(tuple, Anum_find_id, desc, &isnull));
		dead_at = DatumGetTimestampTz(heap_getattr(tuple, Anum_find_dead_at, desc, &isnull));
		if (dead_at > call->dead_at)
		{
			call->dead_at = dead_at;
			call->id = call->letters[i];
		}
		else if (dead_at == call->dead_at)
			call->id = Max(call->id, call->letters[i]);
	}
	SPI_freetuptable(SPI_tuptable);
	return call->n;
}

/*
 * redrive_chunk sends the letters fetched, all that the queue takes.
 */
static void
redrive_chunk(Redrive *call)
{
	int			sent;

	call->refused = 0;
	once_try(&call->try, 0, call->n);
	sent = call->n - (int) call->refused;
	call->redriven += sent;
	call->left -= sent;
}

/*
 * send_letters takes some letters as the owner of their table, and sends them as
 * the caller.
 */
static void
send_letters(void *arg, int from, int to)
{
	Redrive    *call = arg;
	const char *name = once_queue_name(&call->queue);
	OnceNewRows batch = {.have_ids = true,.deliver_at = DT_NOBEGIN,.expires_at = DT_NOBEGIN};
	Oid			types[] = {TIDARRAYOID};
	Datum		values[1];
	OnceRole	saved;
	Datum	   *places = palloc(sizeof(Datum) * (to - from));
	int			i;

	call->try.not_the_rows = true;
	for (i = from; i < to; i++)
		places[i - from] = PointerGetDatum(&call->places[i]);
	values[0] = PointerGetDatum(construct_array(places, to - from, TIDOID,
												sizeof(ItemPointerData), false, TYPALIGN_SHORT));
	SPI_connect();
	once_role_assume(&saved, once_dead_owner(), true);
	once_run(TAKE_SQL, 1, types, values);
	once_role_drop(&saved);
	if (SPI_processed != (uint64) (to - from))
		elog(ERROR, "dead letters that are locked have changed");

	batch.nrows = to - from;
	batch.rows = palloc(sizeof(OnceNewRow) * batch.nrows);
	for (i = 0; i < batch.nrows; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		OnceMessageKey key = once_message_key(tuple, SPI_tuptable->tupdesc, Anum_take_id,
											  Anum_take_enqueued_at);

		read_letter(tuple, SPI_tuptable->tupdesc, &batch.rows[i]);
		once_failures_forget(name, &key);
	}
	call->try.not_the_rows = false;
	once_rows_insert(&call->queue, &batch);
	SPI_finish();
}

/*
 * refuse_letter leaves a letter where it is.
 */
static void
refuse_letter(void *arg, int row, const ErrorData *error)
{
	Redrive    *call = arg;

	call->refused++;
	once_refusal_warn(&call->refusals, call->letters[row], error);
}

/*
 * read_letter makes a row for the queue of a row of TAKE_SQL.
 */
static void
read_letter(HeapTuple tuple, TupleDesc desc, OnceNewRow *row)
{
	Datum		priority;
	bool		isnull;

	row->id = DatumGetInt64(heap_getattr(tuple, Anum_take_id, desc, &isnull));
	priority = heap_getattr(tuple, Anum_take_priority, desc, &isnull);
	row->priority = isnull ? QAM_DEFAULT_LANE : DatumGetInt16(priority);
	row->group_id = heap_getattr(tuple, Anum_take_group_id, desc, &row->group_id_null);
	row->headers = heap_getattr(tuple, Anum_take_headers, desc, &row->headers_null);
	row->payload = heap_getattr(tuple, Anum_take_payload, desc, &row->payload_null);
}

/*
 * purge_dead_letters deletes dead letters, those of some ids or all, and returns
 * their number.
 */
static int64
purge_dead_letters(const char *name, ArrayType *ids)
{
	OnceQueue	queue;
	int64		removed;

	once_queue_open(&queue, name, ONCE_TO_ALTER, "once.purge_dead_letters()");
	removed = once_dead_remove(&queue, DT_NOEND, PG_INT64_MAX, ids);
	once_queue_close(&queue);
	return removed;
}

/*
 * once_dead_remove deletes dead letters that died before a time, at most max,
 * with their failures; ids: of these ids only, or NULL.  Returns their number.
 */
int64
once_dead_remove(OnceQueue *queue, TimestampTz before, int64 max, ArrayType *ids)
{
	TimestampTz since = DT_NOBEGIN;
	int64		removed = 0;
	int			n;

	do
	{
		CHECK_FOR_INTERRUPTS();
		n = remove_some(queue, before, Min(max - removed, REMOVE_CHUNK), ids, &since);
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
remove_some(OnceQueue *queue, TimestampTz before, int max, ArrayType *ids,
			TimestampTz *since)
{
	Oid			types[REMOVE_NARGS] = {TEXTOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8ARRAYOID};
	Datum		values[REMOVE_NARGS];
	SPITupleTable *removed;
	OnceRole	saved;
	bool		isnull;
	int			n;
	int			i;

	values[0] = CStringGetTextDatum(once_queue_name(queue));
	values[1] = Int64GetDatum(max);
	values[2] = TimestampTzGetDatum(*since);
	values[3] = TimestampTzGetDatum(before);
	values[4] = PointerGetDatum(ids);

	SPI_connect();
	once_role_assume(&saved, once_dead_owner(), true);
	once_run(psprintf(REMOVE_SQL, ids != NULL ? OF_IDS_SQL : ""),
			 ids != NULL ? REMOVE_NARGS : REMOVE_NARGS - 1, types, values);
	once_role_drop(&saved);

	n = (int) SPI_processed;
	removed = SPI_tuptable;
	for (i = 0; i < n; i++)
	{
		OnceMessageKey key = once_message_key(removed->vals[i], removed->tupdesc,
											  Anum_remove_id, Anum_remove_enqueued_at);

		CHECK_FOR_INTERRUPTS();
		once_failures_forget(once_queue_name(queue), &key);
	}
	if (n > 0)
		*since = DatumGetTimestampTz(SPI_getbinval(removed->vals[n - 1], removed->tupdesc,
												   Anum_remove_dead_at, &isnull));
	SPI_finish();
	return n;
}
