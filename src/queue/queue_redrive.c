/*-------------------------------------------------------------------------
 *
 * queue_redrive.c
 *	  redrive and purge_dead_letters, and what maintain() does with old dead
 *	  letters.
 *
 * Dead letters that others have locked are skipped, so nothing here waits for
 * one.  A letter that cannot be deleted, or that the queue does not accept,
 * stays; the others are not affected.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "meta/meta_dead.h"
#include "meta/meta_letters.h"
#include "meta/meta_shards.h"
#include "miscadmin.h"
#include "once_args.h"
#include "once_heap.h"
#include "qam/qam.h"
#include "queue/queue_args.h"
#include "queue/queue_insert.h"
#include "queue/queue_open.h"
#include "queue/queue_redrive.h"
#include "queue/queue_row.h"
#include "queue/queue_try.h"
#include "stats/stats.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/*
 * Dead letters handled in one subtransaction, if no error occurs; and those
 * found by one search when they are to be deleted
 */
#define LETTERS_CHUNK		1000
#define REMOVE_CHUNK		10000

/* Letters that are worked on together */
typedef struct Chunk
{
	OnceQueue  *queue;
	OnceTry		try;
	OnceRefusals refusals;		/* of all chunks */
	int			n;
	int			refused;
	ItemPointerData places[LETTERS_CHUNK];
	int64		ids[LETTERS_CHUNK];
} Chunk;

/* One call of redrive */
typedef struct Redrive
{
	OnceQueue	queue;
	int64		left;			/* how many may still be sent */
	int64		redriven;
	OnceLetters letters;
	Chunk		chunk;
} Redrive;

PG_FUNCTION_INFO_V1(once_redrive);
PG_FUNCTION_INFO_V1(once_redrive_ids);
PG_FUNCTION_INFO_V1(once_purge_dead_letters);
PG_FUNCTION_INFO_V1(once_purge_dead_letters_ids);

static int64 redrive(const char *name, int64 max, ArrayType *ids);
static bool redrive_round(Redrive *call);
static void begin_chunks(Chunk *chunk, OnceQueue *queue, const char *what,
						 void (*work) (void *arg, int from, int to));
static int64 do_chunks(Chunk *chunk, OnceLetters *letters);
static HeapTuple remove_letter(Chunk *chunk, OnceDeadWriter *writer, int n);
static void send_letters(void *arg, int from, int to);
static void delete_letters(void *arg, int from, int to);
static void refuse_letter(void *arg, int row, const ErrorData *error);
static void read_letter(HeapTuple tuple, TupleDesc desc, OnceNewRow *row);
static int64 purge_dead_letters(const char *name, ArrayType *ids);

/*
 * once.redrive: makes dead letters messages again.
 */
Datum
once_redrive(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);
	int64		max = PG_INT64_MAX;

	if (!PG_ARGISNULL(1))
		max = once_arg_int(fcinfo, 1, "max_messages", 1, PG_INT32_MAX);
	PG_RETURN_INT64(redrive(name, max, NULL));
}

/*
 * once.redrive: the same for dead letters with given ids.
 */
Datum
once_redrive_ids(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);

	PG_RETURN_INT64(redrive(name, PG_INT64_MAX, once_queue_arg_ids(fcinfo, 1)));
}

/*
 * once.purge_dead_letters: deletes all dead letters of a queue.
 */
Datum
once_purge_dead_letters(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);

	PG_RETURN_INT64(purge_dead_letters(name, NULL));
}

/*
 * once.purge_dead_letters: the same for dead letters with given ids.
 */
Datum
once_purge_dead_letters_ids(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);

	PG_RETURN_INT64(purge_dead_letters(name, once_queue_arg_ids(fcinfo, 1)));
}

/*
 * redrive sends dead letters as messages, at most max.  ids: only those with
 * these ids; NULL: all.  Those that the queue does not accept stay.  Returns
 * how many were sent.  If the queue is distributed, the letters are those on this
 * node, and Citus sends each message to the shard of its id.
 */
static int64
redrive(const char *name, int64 max, ArrayType *ids)
{
	Redrive    *call = palloc0(sizeof(Redrive));

	once_queue_open_whole(&call->queue, name, ONCE_TO_REDRIVE, "once.redrive()");
	once_queue_check_sending(&call->queue);
	once_insert_check_again(&call->queue);
	call->left = max;
	begin_chunks(&call->chunk, &call->queue, "redriven", send_letters);
	once_letters_begin(&call->letters, once_queue_name(&call->queue), ids);

	/* Go on, with others in place of those that were refused */
	while (redrive_round(call))
		CHECK_FOR_INTERRUPTS();
	once_letters_end(&call->letters);
	once_refusals_warn(&call->chunk.refusals);
	once_queue_close(&call->queue);
	return call->redriven;
}

/*
 * redrive_round finds as many letters as may still be sent, and sends them.
 * False: nothing is left to do.
 */
static bool
redrive_round(Redrive *call)
{
	int64		max = call->left;
	int64		found = once_letters_find(&call->letters, DT_NOEND, max);
	int64		sent;

	once_stats_progress_begin(once_queue_whole(&call->queue), "redrive", found);
	sent = do_chunks(&call->chunk, &call->letters);
	once_stats_progress_end();
	call->redriven += sent;
	call->left -= sent;
	return found == max && call->left > 0;
}

/*
 * begin_chunks prepares for work on letters.  what: for warnings, "was not
 * <what>".
 */
static void
begin_chunks(Chunk *chunk, OnceQueue *queue, const char *what,
			 void (*work) (void *arg, int from, int to))
{
	memset(chunk, 0, sizeof(Chunk));
	chunk->queue = queue;
	chunk->refusals.queue = queue;
	chunk->refusals.what = what;
	chunk->try.work = work;
	chunk->try.refused = refuse_letter;
	chunk->try.arg = chunk;
	chunk->try.rehearse = !once_try_has_written();
}

/*
 * do_chunks works on all letters found.  Returns for how many the work was
 * done.
 */
static int64
do_chunks(Chunk *chunk, OnceLetters *letters)
{
	int64		done = 0;

	while ((chunk->n = once_letters_fetch(letters, LETTERS_CHUNK, chunk->places, chunk->ids)) > 0)
	{
		MemoryContext round = AllocSetContextCreate(CurrentMemoryContext,
													"pg_once dead letters",
													ALLOCSET_DEFAULT_SIZES);
		MemoryContext caller = MemoryContextSwitchTo(round);

		CHECK_FOR_INTERRUPTS();
		chunk->refused = 0;
		once_try(&chunk->try, 0, chunk->n);
		done += chunk->n - chunk->refused;
		once_stats_progress(done);
		MemoryContextSwitchTo(caller);
		MemoryContextDelete(round);
	}
	return done;
}

/*
 * remove_letter deletes one of the chunk's letters and its failures.  Returns
 * the letter.
 */
static HeapTuple
remove_letter(Chunk *chunk, OnceDeadWriter *writer, int n)
{
	HeapTuple	tuple;
	OnceMessageKey key;

	CHECK_FOR_INTERRUPTS();
	chunk->try.row = n;
	tuple = once_letter_remove(writer, &chunk->places[n]);
	key = once_failure_key(tuple, RelationGetDescr(writer->rel), Anum_dead_letter_id,
						   Anum_dead_letter_enqueued_at);
	once_failure_forget(once_queue_name(chunk->queue), &key);
	chunk->try.row = -1;
	return tuple;
}

/*
 * send_letters deletes letters from .. to - 1 of a chunk and sends them as
 * messages.
 */
static void
send_letters(void *arg, int from, int to)
{
	Chunk	   *chunk = arg;
	OnceNewRows batch = {.have_ids = true,.deliver_at = DT_NOBEGIN,.expires_at = DT_NOBEGIN};
	OnceDeadWriter writer;
	int			i;

	batch.nrows = to - from;
	batch.rows = palloc(sizeof(OnceNewRow) * batch.nrows);
	once_dead_letter_begin(&writer);
	for (i = 0; i < batch.nrows; i++)
		read_letter(remove_letter(chunk, &writer, from + i), RelationGetDescr(writer.rel),
					&batch.rows[i]);
	once_dead_letter_end(&writer);
	once_insert_rows(chunk->queue, &batch);
}

static void
delete_letters(void *arg, int from, int to)
{
	Chunk	   *chunk = arg;
	OnceDeadWriter writer;
	int			i;

	once_dead_letter_begin(&writer);
	for (i = from; i < to; i++)
		heap_freetuple(remove_letter(chunk, &writer, i));
	once_dead_letter_end(&writer);
}

/*
 * refuse_letter notes that a letter stays where it is.
 */
static void
refuse_letter(void *arg, int row, const ErrorData *error)
{
	Chunk	   *chunk = arg;

	chunk->refused++;
	once_refusals_add(&chunk->refusals, chunk->ids[row], error);
}

/*
 * read_letter makes a row for the queue from a dead letter.  The row refers to
 * the letter's values.
 */
static void
read_letter(HeapTuple tuple, TupleDesc desc, OnceNewRow *row)
{
	Datum		priority;
	bool		isnull;

	row->id = once_heap_int64(tuple, Anum_dead_letter_id, desc, 0);
	priority = heap_getattr(tuple, Anum_dead_letter_priority, desc, &isnull);
	row->priority = isnull ? QAM_DEFAULT_PRIORITY : DatumGetInt16(priority);
	row->group_id = heap_getattr(tuple, Anum_dead_letter_group_id, desc, &row->group_id_null);
	row->headers = heap_getattr(tuple, Anum_dead_letter_headers, desc, &row->headers_null);
	row->payload = heap_getattr(tuple, Anum_dead_letter_payload, desc, &row->payload_null);
}

/*
 * purge_dead_letters deletes the dead letters with the given ids, or all if
 * ids is NULL, and returns how many were deleted.
 */
static int64
purge_dead_letters(const char *name, ArrayType *ids)
{
	OnceQueue	queue;
	int64		removed;

	once_queue_open(&queue, name, ONCE_TO_ALTER, "once.purge_dead_letters()");
	once_shards_refuse_letters(queue.heap, queue.meta.shard_of);
	removed = once_redrive_remove(&queue, DT_NOEND, PG_INT64_MAX, ids);
	once_queue_close(&queue);
	return removed;
}

/*
 * once_redrive_remove deletes at most max dead letters that died before a
 * time, with their failures.  ids: only those with these ids; NULL: all.
 * Those that cannot be deleted stay, with a warning.  Returns how many were
 * deleted.
 */
int64
once_redrive_remove(OnceQueue *queue, TimestampTz before, int64 max, ArrayType *ids)
{
	Chunk	   *chunk = palloc(sizeof(Chunk));
	OnceLetters letters;
	int64		removed = 0;
	int64		found;
	int64		wanted;

	begin_chunks(chunk, queue, "deleted", delete_letters);
	once_letters_begin(&letters, once_queue_name(queue), ids);
	do
	{
		CHECK_FOR_INTERRUPTS();
		wanted = Min(max - removed, REMOVE_CHUNK);
		found = once_letters_find(&letters, before, wanted);
		removed += do_chunks(chunk, &letters);
	} while (found == wanted && removed < max);
	once_letters_end(&letters);
	once_refusals_warn(&chunk->refusals);
	return removed;
}
