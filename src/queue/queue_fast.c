/*-------------------------------------------------------------------------
 *
 * queue_fast.c
 *	  Putting rows into a queue's table without the executor.
 *
 * Rows are put into the heap and the indexes directly, as the executor would
 * do for a table made by create_queue.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/tuptable.h"
#include "meta/meta_cache.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "qam/qam.h"
#include "queue/queue_fast.h"
#include "queue/queue_open.h"
#include "queue/queue_row.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* Rows handed to the heap at once */
#define INSERT_CHUNK			1000

/* An index that the fast path maintains */
typedef struct OpenIndex
{
	Relation	index;
	IndexInfo  *info;			/* if it is a key, else NULL */
	QamEntry   *entries;		/* if it is a queue index: one per row; else
								 * NULL */
} OpenIndex;

/* The state of one call of the fast path */
typedef struct FastInsert
{
	OnceQueue  *queue;
	const OnceNewRows *batch;
	TimestampTz enqueued_at;
	CommandId	cid;
	int			nindexes;
	OpenIndex	indexes[2 * ONCE_META_INDEXES];
} FastInsert;

static void open_indexes(FastInsert *ins);
static HeapTuple form_row(FastInsert *ins, const OnceNewRow *row);
static void insert_many(FastInsert *ins);
static void index_row(FastInsert *ins, int rowno, ItemPointer tid);

/*
 * once_fast_time returns the time at which messages are sent: the start of the
 * statement.  A procedure that commits is one statement, however long it runs, so
 * there it is the start of the transaction.  The column's default is the same (see
 * meta_default_as_made).
 */
TimestampTz
once_fast_time(void)
{
	return Max(GetCurrentStatementStartTimestamp(), GetCurrentTransactionStartTimestamp());
}

/*
 * once_fast_insert stores rows without the executor.  It uses the same lock modes,
 * the same order (heap, then indexes) and the same uniqueness checks as the
 * executor.
 */
void
once_fast_insert(OnceQueue *queue, const OnceNewRows *batch)
{
	FastInsert	ins;
	int			i;

	ins.queue = queue;
	ins.batch = batch;
	ins.enqueued_at = once_fast_time();
	ins.cid = GetCurrentCommandId(true);
	open_indexes(&ins);

	if (batch->nrows == 1)
	{
		HeapTuple	tuple = form_row(&ins, batch->rows);

		heap_insert(queue->heap, tuple, ins.cid, 0, NULL);
		index_row(&ins, 0, &tuple->t_self);
		heap_freetuple(tuple);
	}
	else
		insert_many(&ins);

	for (i = 0; i < ins.nindexes; i++)
	{
		if (ins.indexes[i].entries != NULL)
			qam_append(ins.indexes[i].index, ins.indexes[i].entries, batch->nrows);
		index_close(ins.indexes[i].index, NoLock);
	}
}

/*
 * open_indexes opens every index of the queue that is ready for insertion.
 */
static void
open_indexes(FastInsert *ins)
{
	OnceMeta   *meta = &ins->queue->meta;
	int			i;

	ins->nindexes = 0;
	for (i = 0; i < meta->nkey_indexes; i++)
	{
		OpenIndex  *open = &ins->indexes[ins->nindexes++];

		open->index = index_open(meta->key_index[i], RowExclusiveLock);
		open->info = BuildIndexInfo(open->index);
		open->entries = NULL;
	}
	for (i = 0; i < meta->nqueue_indexes; i++)
	{
		OpenIndex  *open = &ins->indexes[ins->nindexes++];

		open->index = index_open(meta->queue_index[i], RowExclusiveLock);
		open->info = NULL;
		open->entries = palloc_extended(sizeof(QamEntry) * ins->batch->nrows, MCXT_ALLOC_HUGE);
	}
}

/*
 * form_row makes the tuple of a message.  The table has the columns that
 * create_queue makes, in that order.
 */
static HeapTuple
form_row(FastInsert *ins, const OnceNewRow *row)
{
	Datum		values[ONCE_NCOLUMNS];
	bool		isnull[ONCE_NCOLUMNS] = {0};

	values[ONCE_COL_ID] = Int64GetDatum(row->id);
	values[ONCE_COL_ENQUEUED_AT] = TimestampTzGetDatum(ins->enqueued_at);
	values[ONCE_COL_DELIVER_AT] = TimestampTzGetDatum(ins->batch->deliver_at);
	isnull[ONCE_COL_DELIVER_AT] = TIMESTAMP_IS_NOBEGIN(ins->batch->deliver_at);
	values[ONCE_COL_EXPIRES_AT] = TimestampTzGetDatum(ins->batch->expires_at);
	isnull[ONCE_COL_EXPIRES_AT] = TIMESTAMP_IS_NOBEGIN(ins->batch->expires_at);
	values[ONCE_COL_PRIORITY] = Int16GetDatum(row->priority);
	values[ONCE_COL_GROUP_ID] = row->group_id;
	isnull[ONCE_COL_GROUP_ID] = row->group_id_null;
	values[ONCE_COL_HEADERS] = row->headers;
	isnull[ONCE_COL_HEADERS] = row->headers_null;
	values[ONCE_COL_PAYLOAD] = row->payload;
	isnull[ONCE_COL_PAYLOAD] = row->payload_null;

	return heap_form_tuple(RelationGetDescr(ins->queue->heap), values, isnull);
}

/*
 * insert_many stores rows a chunk at a time.  It takes one WAL record and one
 * buffer lock for each heap page, not for each row.
 */
static void
insert_many(FastInsert *ins)
{
	Relation	heap = ins->queue->heap;
	const OnceNewRow *rows = ins->batch->rows;
	int			nrows = ins->batch->nrows;
	int			nslots = Min(nrows, INSERT_CHUNK);
	TupleTableSlot **slots = palloc(sizeof(TupleTableSlot *) * nslots);
	int			done;
	int			i;

	for (i = 0; i < nslots; i++)
		slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(heap), &TTSOpsHeapTuple);

	for (done = 0; done < nrows; done += nslots)
	{
		nslots = Min(nrows - done, INSERT_CHUNK);
		for (i = 0; i < nslots; i++)
			ExecStoreHeapTuple(form_row(ins, &rows[done + i]), slots[i], true);
		heap_multi_insert(heap, slots, nslots, ins->cid, 0, NULL);
		for (i = 0; i < nslots; i++)
			index_row(ins, done + i, &slots[i]->tts_tid);
		CHECK_FOR_INTERRUPTS();
	}

	for (i = 0; i < Min(nrows, INSERT_CHUNK); i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	pfree(slots);
}

/*
 * index_row inserts a row into the key indexes.  It also prepares the entry
 * for the queue indexes, which get all rows of a call together.
 */
static void
index_row(FastInsert *ins, int rowno, ItemPointer tid)
{
	const OnceNewRow *row = &ins->batch->rows[rowno];
	Datum		values[QAM_NATTRS];
	bool		isnull[QAM_NATTRS] = {0};
	int			i;

	values[QAM_ATTR_ID - 1] = Int64GetDatum(row->id);
	values[QAM_ATTR_PRIORITY - 1] = Int16GetDatum(row->priority);
	values[QAM_ATTR_DELIVER_AT - 1] = TimestampTzGetDatum(ins->batch->deliver_at);
	isnull[QAM_ATTR_DELIVER_AT - 1] = TIMESTAMP_IS_NOBEGIN(ins->batch->deliver_at);
	values[QAM_ATTR_GROUP_ID - 1] = row->group_id;
	isnull[QAM_ATTR_GROUP_ID - 1] = row->group_id_null;

	for (i = 0; i < ins->nindexes; i++)
	{
		OpenIndex  *open = &ins->indexes[i];

		if (open->entries != NULL)
			open->entries[rowno] = qam_entry(open->index, values, isnull, tid);
		else
			index_insert(open->index, values, isnull, tid, ins->queue->heap,
						 UNIQUE_CHECK_YES, false, open->info);
	}
}
