/*-------------------------------------------------------------------------
 *
 * queue_row.c
 *	  Putting rows into a queue's table, and deleting them by SQL.
 *
 * The fast path works on heap and indexes directly, as the executor would for
 * a table as create_queue makes it.  When the table has more to it than that
 * (OnceMeta.fast tells), the same is done by plain INSERT and DELETE through
 * SPI, as the user who calls, so that triggers, rules, policies, checks and
 * further indexes have their say.  Claims are the index's business either way.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/heapam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "once_error.h"
#include "queue/queue.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Rows handed to the heap at once */
#define INSERT_CHUNK			1000

/* Of headers and payloads that go through one INSERT by SPI, in arrays */
#define INSERT_SPI_BYTES		(64 * 1024 * 1024)

/* The prepared statements of a table that rows go through SPI for */
typedef enum RowPlan
{
	ROW_PLAN_INSERT,
	ROW_PLAN_INSERT_MANY,
	ROW_PLAN_DELETE
} RowPlan;

#define NROW_PLANS				(ROW_PLAN_DELETE + 1)

typedef struct RowPlans
{
	Oid			relid;			/* key */
	NameData	relname;		/* the plans' text names it so */
	SPIPlanPtr	plan[NROW_PLANS];
} RowPlans;

static HTAB *row_plans = NULL;

/*
 * The parameters of both INSERTs: first those that the rows share, then those
 * that are arrays when there are many rows.
 */
#define INSERT_COLUMNS	"deliver_at, expires_at, id, priority, group_id, headers, payload"
#define NINSERT_SHARED	2
#define NINSERT_PARAMS	7

static const struct
{
	OnceColumn	column;
	Oid			type;
}			insert_columns[NINSERT_PARAMS] = {
	{ONCE_COL_DELIVER_AT, TIMESTAMPTZOID},
	{ONCE_COL_EXPIRES_AT, TIMESTAMPTZOID},
	{ONCE_COL_ID, INT8OID},
	{ONCE_COL_PRIORITY, INT2OID},
	{ONCE_COL_GROUP_ID, TEXTOID},
	{ONCE_COL_HEADERS, JSONBOID},
	{ONCE_COL_PAYLOAD, JSONBOID}
};

/* An index that the fast path maintains */
typedef struct OpenIndex
{
	Relation	index;
	IndexInfo  *info;			/* of a key */
	QamEntry   *entries;		/* of a queue index: one per row */
} OpenIndex;

/* Where one call of the fast path stands */
typedef struct FastInsert
{
	OnceQueue  *queue;
	const OnceNewRows *batch;
	TimestampTz enqueued_at;
	CommandId	cid;
	int			nindexes;
	OpenIndex	indexes[2 * ONCE_META_INDEXES];
} FastInsert;

static void insert_fast(OnceQueue *queue, const OnceNewRows *batch);
static void open_indexes(FastInsert *ins);
static HeapTuple form_row(FastInsert *ins, const OnceNewRow *row);
static void insert_many(FastInsert *ins);
static void index_row(FastInsert *ins, int rowno, ItemPointer tid);
static void once_spi_insert(OnceQueue *queue, const OnceNewRows *batch);
static void insert_spi_some(OnceQueue *queue, const OnceNewRows *batch);
static Size row_size(const OnceNewRow *row);
static Datum row_value(const OnceNewRow *row, int column, bool *isnull);
static Datum row_array(const OnceNewRows *batch, int column, Oid type);
static bool row_changed_by_us(HeapTuple tuple);
static bool row_has_successor(HeapTuple tuple);
static SPIPlanPtr get_plan(OnceQueue *queue, RowPlan which);
static SPIPlanPtr make_plan(const char *relname, RowPlan which);

/*
 * once_insert_rows stores messages in the given order, and fills in their ids.
 */
void
once_insert_rows(OnceQueue *queue, OnceNewRows *batch)
{
	int			i;

	/* The right to draw ids comes with that to insert, as for identities. */
	for (i = 0; i < batch->nrows && !batch->have_ids; i++)
		batch->rows[i].id = nextval_internal(queue->meta.sequence, false);

	if (batch->nrows == 0)
		return;
	if (queue->meta.fast)
		insert_fast(queue, batch);
	else
		once_spi_insert(queue, batch);
}

/*
 * once_row_copy copies a row from a page that the caller has pinned.
 */
HeapTuple
once_row_copy(const OnceQueue *queue, ItemPointer tid, Buffer buffer)
{
	Page		page = BufferGetPage(buffer);
	HeapTupleData tuple;
	HeapTuple	copy;
	ItemId		lp;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	lp = PageGetItemId(page, ItemPointerGetOffsetNumber(tid));
	tuple.t_self = *tid;
	tuple.t_tableOid = RelationGetRelid(queue->heap);
	tuple.t_len = ItemIdGetLength(lp);
	tuple.t_data = (HeapTupleHeader) PageGetItem(page, lp);
	copy = heap_copytuple(&tuple);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return copy;
}

/*
 * once_row_flatten fetches what a row keeps out of line.  The claim comes
 * first.  The row may be deleted by then, if by this transaction: what it keeps
 * is there as long as that is open.
 */
void
once_row_flatten(const OnceQueue *queue, HeapTuple *tuple)
{
	if (HeapTupleHasExternal(*tuple))
		*tuple = toast_flatten_tuple(*tuple, RelationGetDescr(queue->heap));
}

/*
 * once_row_id returns the id of a row.
 */
int64
once_row_id(const OnceQueue *queue, HeapTuple tuple)
{
	bool		isnull;
	Datum		id = heap_getattr(tuple, queue->meta.column[ONCE_COL_ID],
								  RelationGetDescr(queue->heap), &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_QUEUE_UNUSABLE),
				 errmsg("message of queue \"%s\" has no id", once_queue_name(queue)),
				 errhint("UPDATE %s so that column \"%s\" is not null.",
						 quote_qualified_identifier(ONCE_SCHEMA,
													RelationGetRelationName(queue->heap)),
						 once_meta_column_name(ONCE_COL_ID))));
	return DatumGetInt64(id);
}

/*
 * once_row_key returns what tells a message from all others that the queue has
 * had.
 */
OnceMessageKey
once_row_key(const OnceQueue *queue, HeapTuple tuple)
{
	return once_failure_key(tuple, RelationGetDescr(queue->heap),
							queue->meta.column[ONCE_COL_ID],
							queue->meta.column[ONCE_COL_ENQUEUED_AT]);
}

/*
 * once_spi_delete deletes a row by its place and id through SPI.  Waits
 * for others that hold it, as any DELETE.  False: it deleted nothing.
 */
bool
once_spi_delete(OnceQueue *queue, ItemPointer tid, int64 id)
{
	Datum		values[2];
	int			rc;
	bool		deleted;

	values[0] = PointerGetDatum(tid);
	values[1] = Int64GetDatum(id);

	SPI_connect();
	rc = SPI_execute_plan(get_plan(queue, ROW_PLAN_DELETE), values, NULL, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
	deleted = rc == SPI_OK_DELETE && SPI_processed == 1;
	SPI_finish();
	return deleted;
}

/*
 * once_spi_is_there tells whether the row of an id is in its place, whoever may
 * be deleting it, or else deleted or replaced by another version.  What this
 * transaction has made of it, by an UPDATE, is still that row.
 */
bool
once_spi_is_there(OnceQueue *queue, ItemPointer tid, int64 id)
{
	HeapTupleData tuple;
	SnapshotData any;
	Buffer		buffer;
	bool		there;
	bool		changed;

	InitDirtySnapshot(any);
	tuple.t_tableOid = RelationGetRelid(queue->heap);
	tuple.t_self = *tid;
	do
	{
		/* Its page stays pinned, so that it can be looked at */
		if (!heap_fetch(queue->heap, SnapshotAny, &tuple, &buffer, false))
			return false;
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		changed = row_changed_by_us(&tuple);
		there = !changed && once_row_id(queue, &tuple) == id &&
			HeapTupleSatisfiesVisibility(&tuple, &any, buffer);
		if (changed)
			tuple.t_self = tuple.t_data->t_ctid;
		UnlockReleaseBuffer(buffer);
	} while (changed);
	return there;
}

/*
 * row_changed_by_us tells whether this transaction has replaced a row by another
 * version.  Its page is locked.
 */
static bool
row_changed_by_us(HeapTuple tuple)
{
	return row_has_successor(tuple) &&
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(tuple->t_data));
}

/*
 * row_has_successor tells whether an UPDATE has replaced a row by another version,
 * unless it was rolled back.  Its page is locked.
 */
static bool
row_has_successor(HeapTuple tuple)
{
	HeapTupleHeader header = tuple->t_data;

	return !(header->t_infomask & HEAP_XMAX_INVALID) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
		!ItemPointerEquals(&tuple->t_self, &header->t_ctid);
}

/*
 * once_spi_remove is once_spi_delete for a row that nobody else can be at: it
 * raises an error if the row is still there.
 */
bool
once_spi_remove(OnceQueue *queue, ItemPointer tid, int64 id)
{
	if (once_spi_delete(queue, tid, id))
		return true;
	if (once_spi_is_there(queue, tid, id))
		once_spi_raise_suppressed(queue);
	return false;
}

/*
 * once_spi_raise_suppressed raises once_ack_suppressed.
 */
void
once_spi_raise_suppressed(const OnceQueue *queue)
{
	ereport(ERROR,
			(errcode(ERRCODE_ONCE_ACK_SUPPRESSED),
			 errmsg("message of queue \"%s\" was not deleted", once_queue_name(queue)),
			 errdetail("A trigger or rule of the table kept the row."),
			 errhint("Let the trigger return OLD for a DELETE.")));
}

/*
 * once_row_replaced tells whether another transaction has committed an UPDATE of
 * the version of a row that a transaction (xmin) has put in a place.
 *
 * If that version is not there any more, it has been removed as dead, so somebody
 * has: this transaction's own changes make nothing dead before it ends.
 */
bool
once_row_replaced(Relation heap, const ItemPointerData *tid, TransactionId xmin)
{
	Buffer		buffer = ReadBuffer(heap, ItemPointerGetBlockNumber(tid));
	TransactionId xmax = InvalidTransactionId;
	HeapTupleData tuple;
	bool		there;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	tuple.t_self = *tid;
	there = once_row_at(BufferGetPage(buffer), &tuple) &&
		HeapTupleHeaderGetRawXmin(tuple.t_data) == xmin;
	if (there && row_has_successor(&tuple))
		xmax = HeapTupleHeaderGetUpdateXid(tuple.t_data);
	UnlockReleaseBuffer(buffer);

	return !there ||
		(TransactionIdIsValid(xmax) &&
		 !TransactionIdIsCurrentTransactionId(xmax) &&
		 !TransactionIdIsInProgress(xmax) &&
		 TransactionIdDidCommit(xmax));
}

/*
 * once_row_at looks up the row at tuple->t_self on its page, which is locked.
 * False: there is none.
 */
bool
once_row_at(Page page, HeapTuple tuple)
{
	OffsetNumber offset = ItemPointerGetOffsetNumber(&tuple->t_self);
	ItemId		item;

	if (offset > PageGetMaxOffsetNumber(page))
		return false;
	item = PageGetItemId(page, offset);
	if (!ItemIdIsNormal(item))
		return false;
	tuple->t_len = ItemIdGetLength(item);
	tuple->t_data = (HeapTupleHeader) PageGetItem(page, item);
	return true;
}

/*
 * once_row_pin pins the page of a row that was copied, if the row is still in its
 * place: it keeps that as long as the page is pinned.  Else InvalidBuffer.
 */
Buffer
once_row_pin(const OnceQueue *queue, HeapTuple copy)
{
	Buffer		buffer = ReadBuffer(queue->heap, ItemPointerGetBlockNumber(&copy->t_self));
	HeapTupleData tuple;
	bool		same;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	tuple.t_self = copy->t_self;
	tuple.t_tableOid = copy->t_tableOid;

	/* Another one would be of another inserter, or of another id */
	same = once_row_at(BufferGetPage(buffer), &tuple) &&
		HeapTupleHeaderGetRawXmin(tuple.t_data) == HeapTupleHeaderGetRawXmin(copy->t_data) &&
		once_row_id(queue, &tuple) == once_row_id(queue, copy);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (same)
		return buffer;
	ReleaseBuffer(buffer);
	return InvalidBuffer;
}

/*
 * insert_fast stores rows without the executor.  The same lock modes, the same
 * order (heap, then indexes) and the same uniqueness checks as there.
 */
static void
insert_fast(OnceQueue *queue, const OnceNewRows *batch)
{
	FastInsert	ins;
	int			i;

	ins.queue = queue;
	ins.batch = batch;
	ins.enqueued_at = GetCurrentStatementStartTimestamp();
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
 * form_row makes the tuple of a message: the columns of create_queue, in order.
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
 * insert_many stores rows a chunk at a time: one WAL record and one buffer
 * lock per heap page, not per row.
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
 * index_row enters a row into the keys, and notes it for the queue indexes,
 * which get all rows of a call together.
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

/*
 * once_spi_insert stores rows by INSERT: one for all, unless they need not go
 * together and are so large that arrays of them would be a burden.
 */
static void
once_spi_insert(OnceQueue *queue, const OnceNewRows *batch)
{
	OnceNewRows part = *batch;
	int			done;

	for (done = 0; done < batch->nrows; done += part.nrows)
	{
		Size		size = row_size(&batch->rows[done]);

		part.rows = &batch->rows[done];
		part.nrows = 1;
		while (done + part.nrows < batch->nrows &&
			   (batch->together ||
				(size += row_size(&part.rows[part.nrows])) <= INSERT_SPI_BYTES))
			part.nrows++;
		insert_spi_some(queue, &part);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * row_size tells how many bytes of memory a row's values take.
 */
static Size
row_size(const OnceNewRow *row)
{
	Size		size = 0;

	if (!row->headers_null)
		size += toast_raw_datum_size(row->headers);
	if (!row->payload_null)
		size += toast_raw_datum_size(row->payload);
	return size;
}

/*
 * insert_spi_some stores rows by one INSERT, which the table's triggers may
 * take apart: ids are then ids of nothing, and that is an error.
 */
static void
insert_spi_some(OnceQueue *queue, const OnceNewRows *batch)
{
	Datum		values[NINSERT_PARAMS];
	bool		isnull[NINSERT_PARAMS] = {0};
	char		nulls[NINSERT_PARAMS];
	RowPlan		which = batch->nrows == 1 ? ROW_PLAN_INSERT : ROW_PLAN_INSERT_MANY;
	uint64		stored;
	int			rc;
	int			i;

	values[0] = TimestampTzGetDatum(batch->deliver_at);
	isnull[0] = TIMESTAMP_IS_NOBEGIN(batch->deliver_at);
	values[1] = TimestampTzGetDatum(batch->expires_at);
	isnull[1] = TIMESTAMP_IS_NOBEGIN(batch->expires_at);
	for (i = NINSERT_SHARED; i < NINSERT_PARAMS; i++)
	{
		int			column = insert_columns[i].column;

		if (which == ROW_PLAN_INSERT)
			values[i] = row_value(batch->rows, column, &isnull[i]);
		else
			values[i] = row_array(batch, column, insert_columns[i].type);
	}
	for (i = 0; i < NINSERT_PARAMS; i++)
		nulls[i] = isnull[i] ? 'n' : ' ';

	SPI_connect();
	rc = SPI_execute_plan(get_plan(queue, which), values, nulls, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
	stored = rc == SPI_OK_INSERT ? SPI_processed : 0;
	SPI_finish();

	if (stored != (uint64) batch->nrows)
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_SEND_SUPPRESSED),
				 errmsg("message of queue \"%s\" was not stored", once_queue_name(queue)),
				 errdetail("A trigger or rule of the table dropped the row."),
				 errhint("To have messages dropped silently, send them by plain INSERT.")));
}

/*
 * row_value returns one column of a row.
 */
static Datum
row_value(const OnceNewRow *row, int column, bool *isnull)
{
	*isnull = false;
	switch (column)
	{
		case ONCE_COL_ID:
			return Int64GetDatum(row->id);
		case ONCE_COL_PRIORITY:
			return Int16GetDatum(row->priority);
		case ONCE_COL_GROUP_ID:
			*isnull = row->group_id_null;
			return row->group_id;
		case ONCE_COL_HEADERS:
			*isnull = row->headers_null;
			return row->headers;
		default:
			Assert(column == ONCE_COL_PAYLOAD);
			*isnull = row->payload_null;
			return row->payload;
	}
}

/*
 * row_array makes an array of one column of the rows.
 */
static Datum
row_array(const OnceNewRows *batch, int column, Oid type)
{
	Datum	   *elems = palloc(sizeof(Datum) * batch->nrows);
	bool	   *isnull = palloc(sizeof(bool) * batch->nrows);
	int16		typlen;
	bool		typbyval;
	char		typalign;
	int			dims = batch->nrows;
	int			lbs = 1;
	int			i;

	for (i = 0; i < batch->nrows; i++)
		elems[i] = row_value(&batch->rows[i], column, &isnull[i]);

	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	return PointerGetDatum(construct_md_array(elems, isnull, 1, &dims, &lbs, type,
											  typlen, typbyval, typalign));
}

/*
 * get_plan returns a prepared statement of the queue's table, made at first
 * use and kept for the session.  Call it between SPI_connect and SPI_finish.
 *
 * Not kept if the table has rules: what DO INSTEAD NOTHING makes of a command
 * depends on no table any more, so nothing would tell its plan that the rule
 * has been dropped.
 *
 * A plan may be running further up the stack, so plans are never freed.  Who
 * renames queue tables (only the extension's owner can) leaves a few behind.
 */
static SPIPlanPtr
get_plan(OnceQueue *queue, RowPlan which)
{
	Oid			relid = RelationGetRelid(queue->heap);
	RowPlans   *plans;
	bool		found;

	if (queue->heap->rd_rules != NULL)
		return make_plan(RelationGetRelationName(queue->heap), which);

	if (row_plans == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(RowPlans);
		ctl.hcxt = TopMemoryContext;
		row_plans = hash_create("pg_once row plans", 16, &ctl,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}

	plans = hash_search(row_plans, &relid, HASH_ENTER, &found);
	if (!found || strcmp(NameStr(plans->relname), RelationGetRelationName(queue->heap)) != 0)
	{
		namestrcpy(&plans->relname, RelationGetRelationName(queue->heap));
		memset(plans->plan, 0, sizeof(plans->plan));
	}
	if (plans->plan[which] == NULL)
	{
		/* Preparing may fail, or come here again: look the entry up anew. */
		SPIPlanPtr	plan = make_plan(RelationGetRelationName(queue->heap), which);

		if (SPI_keepplan(plan) != 0)
			elog(ERROR, "SPI_keepplan failed");
		plans = hash_search(row_plans, &relid, HASH_ENTER, &found);
		plans->plan[which] = plan;
	}
	return plans->plan[which];
}

static SPIPlanPtr
make_plan(const char *relname, RowPlan which)
{
	static const Oid delete_types[] = {TIDOID, INT8OID};

	const char *table = quote_qualified_identifier(ONCE_SCHEMA, relname);
	Oid			types[NINSERT_PARAMS];
	char	   *sql = NULL;
	int			ntypes = NINSERT_PARAMS;
	SPIPlanPtr	plan;
	int			i;

	for (i = 0; i < NINSERT_PARAMS; i++)
		types[i] = which == ROW_PLAN_INSERT_MANY && i >= NINSERT_SHARED ?
			get_array_type(insert_columns[i].type) : insert_columns[i].type;

	switch (which)
	{
		case ROW_PLAN_INSERT:
			sql = psprintf("INSERT INTO %s (" INSERT_COLUMNS ") "
						   "OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7)", table);
			break;
		case ROW_PLAN_INSERT_MANY:
			sql = psprintf("INSERT INTO %s (" INSERT_COLUMNS ") "
						   "OVERRIDING SYSTEM VALUE "
						   "SELECT $1, $2, u.id, u.priority, u.group_id, u.headers, u.payload "
						   "FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), "
						   "pg_catalog.unnest($6), pg_catalog.unnest($7)) "
						   "AS u(id, priority, group_id, headers, payload)", table);
			break;
		case ROW_PLAN_DELETE:
			sql = psprintf("DELETE FROM ONLY %s WHERE ctid OPERATOR(pg_catalog.=) $1 "
						   "AND id OPERATOR(pg_catalog.=) $2", table);
			ntypes = lengthof(delete_types);
			memcpy(types, delete_types, sizeof(delete_types));
			break;
	}

	plan = SPI_prepare(sql, ntypes, types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	return plan;
}
