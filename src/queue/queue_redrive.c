/*-------------------------------------------------------------------------
 *
 * queue_redrive.c
 *	  redrive and purge_dead_letters, and what maintain() does with old dead
 *	  letters.
 *
 * Dead letters that others are at are passed by, so nothing here waits for one.
 * One that cannot leave its table, or that the queue does not take, stays, and
 * the others go.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "meta/meta_dead.h"
#include "meta/meta_letters.h"
#include "miscadmin.h"
#include "qam/qam.h"
#include "queue/queue_args.h"
#include "queue/queue_insert.h"
#include "queue/queue_open.h"
#include "queue/queue_redrive.h"
#include "queue/queue_row.h"
#include "queue/queue_try.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* Dead letters that are removed at once, and that are found at once to be deleted */
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
	int64		left;			/* may be sent yet */
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
 * once.redrive: dead letters become messages again.
 */
Datum
once_redrive(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);
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
	char	   *name = once_queue_arg_name(fcinfo, 0);

	PG_RETURN_INT64(redrive(name, PG_INT64_MAX, once_queue_arg_ids(fcinfo, 1)));
}

/*
 * once.purge_dead_letters: they are forgotten.
 */
Datum
once_purge_dead_letters(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);

	PG_RETURN_INT64(purge_dead_letters(name, NULL));
}

/*
 * once.purge_dead_letters: those with some ids.
 */
Datum
once_purge_dead_letters_ids(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);

	PG_RETURN_INT64(purge_dead_letters(name, once_queue_arg_ids(fcinfo, 1)));
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
	call->left = max;
	begin_chunks(&call->chunk, &call->queue, "redriven", send_letters);
	once_letters_begin(&call->letters, once_queue_name(&call->queue), ids);

	/* Others take the places of those that were refused */
	while (redrive_round(call))
		CHECK_FOR_INTERRUPTS();
	once_letters_end(&call->letters);
	once_refusals_warn(&call->chunk.refusals);
	once_queue_close(&call->queue);
	return call->redriven;
}

/*
 * redrive_round finds as many letters as may yet be sent, and sends them.  False:
 * there is no more to do.
 */
static bool
redrive_round(Redrive *call)
{
	int64		max = call->left;
	int64		found = once_letters_find(&call->letters, DT_NOEND, max);
	int64		sent = do_chunks(&call->chunk, &call->letters);

	call->redriven += sent;
	call->left -= sent;
	return found == max && call->left > 0;
}

/*
 * begin_chunks prepares to do something with letters.  what: "was not <what>".
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
 * do_chunks works on all letters found, and returns for how many that went well.
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
		MemoryContextSwitchTo(caller);
		MemoryContextDelete(round);
	}
	return done;
}

/*
 * remove_letter removes one of the chunk's letters from the table, with its failures.
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
 * send_letters removes some letters, and sends them.
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
 * refuse_letter leaves a letter where it is.
 */
static void
refuse_letter(void *arg, int row, const ErrorData *error)
{
	Chunk	   *chunk = arg;

	chunk->refused++;
	once_refusals_add(&chunk->refusals, chunk->ids[row], error);
}

/*
 * read_letter makes a row for the queue of a dead letter, which it refers to.
 */
static void
read_letter(HeapTuple tuple, TupleDesc desc, OnceNewRow *row)
{
	Datum		priority;
	bool		isnull;

	row->id = DatumGetInt64(heap_getattr(tuple, Anum_dead_letter_id, desc, &isnull));
	priority = heap_getattr(tuple, Anum_dead_letter_priority, desc, &isnull);
	row->priority = isnull ? QAM_DEFAULT_PRIORITY : DatumGetInt16(priority);
	row->group_id = heap_getattr(tuple, Anum_dead_letter_group_id, desc, &row->group_id_null);
	row->headers = heap_getattr(tuple, Anum_dead_letter_headers, desc, &row->headers_null);
	row->payload = heap_getattr(tuple, Anum_dead_letter_payload, desc, &row->payload_null);
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
	removed = once_redrive_remove(&queue, DT_NOEND, PG_INT64_MAX, ids);
	once_queue_close(&queue);
	return removed;
}

/*
 * once_redrive_remove deletes dead letters that died before a time, at most max,
 * with their failures; ids: of these ids only, or NULL.  Those that cannot be
 * deleted stay, with a warning.  Returns the number of those deleted.
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
