/*-------------------------------------------------------------------------
 *
 * queue_own.c
 *	  Messages that the transaction itself has sent, before anybody else can see
 *	  them.
 *
 * A walk of the index leaves them alone, since their slots are those of an
 * open transaction.  Nobody has a claim on them, and the transaction can
 * delete their rows as by DELETE.  Afterwards their slots are treated as after
 * a rollback of the INSERT.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "once_heap.h"
#include "queue/queue_open.h"
#include "queue/queue_own.h"
#include "queue/queue_row.h"
#include "queue/queue_spi.h"
#include "queue/queue_try.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Rows deleted in one subtransaction, if no error occurs */
#define DELETE_CHUNK		1000

typedef struct OwnRow
{
	ItemPointerData tid;
	int64		id;
} OwnRow;

typedef struct OwnRows
{
	OnceQueue  *queue;
	OnceTry		try;
	OnceRefusals *refusals;
	OwnRow	   *rows;
	bool	   *deleted;
	int			n;
	int			max;
} OwnRows;

static void find_own(OwnRows *own);
static void delete_some(void *arg, int from, int to);
static void refuse_one(void *arg, int row, const ErrorData *error);
static bool delete_row(OnceQueue *queue, ItemPointer tid, int64 id);

/*
 * once_own_sent tells whether this transaction has sent a message.  Its row
 * may have been updated in place since.  root: the place of the first version,
 * to which the index refers.
 */
bool
once_own_sent(OnceQueue *queue, HeapTuple tuple, ItemPointer root)
{
	OffsetNumber offset = ItemPointerGetOffsetNumber(root);
	Buffer		buffer;
	Page		page;
	ItemId		item;
	bool		own;

	if (!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data)))
		return false;
	if (!HeapTupleIsHeapOnly(tuple))
		return true;

	buffer = ReadBuffer(queue->heap, ItemPointerGetBlockNumber(root));
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	item = offset <= PageGetMaxOffsetNumber(page) ? PageGetItemId(page, offset) : NULL;
	own = item != NULL && ItemIdIsNormal(item) &&
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin((HeapTupleHeader)
																   PageGetItem(page, item)));
	UnlockReleaseBuffer(buffer);
	return own;
}

/*
 * once_own_delete deletes the row of a message that this transaction has sent.
 * False: this transaction has deleted it already, or somebody has it locked.
 */
bool
once_own_delete(OnceQueue *queue, ItemPointer tid, int64 id)
{
	bool		deleted = delete_row(queue, tid, id);

	CommandCounterIncrement();
	return deleted;
}

/*
 * once_own_delete_all deletes all rows that this transaction has stored, by
 * any command.  It leaves out rows whose deletion is refused or that others
 * have locked.  Returns how many were deleted.
 */
int64
once_own_delete_all(OnceQueue *queue, OnceRefusals *refusals)
{
	OwnRows		own = {.queue = queue,.refusals = refusals};
	int64		deleted = 0;
	int			i;

	find_own(&own);
	own.try.work = delete_some;
	own.try.refused = refuse_one;
	own.try.arg = &own;
	own.deleted = palloc0(sizeof(bool) * Max(own.n, 1));
	for (i = 0; i < own.n; i += DELETE_CHUNK)
		once_try(&own.try, i, Min(i + DELETE_CHUNK, own.n));
	for (i = 0; i < own.n; i++)
		deleted += own.deleted[i];
	pfree(own.deleted);
	pfree(own.rows);
	CommandCounterIncrement();
	return deleted;
}

static void
find_own(OwnRows *own)
{
	Snapshot	snapshot;
	TableScanDesc scan;
	HeapTuple	tuple;

	own->max = 64;
	own->rows = palloc(sizeof(OwnRow) * own->max);
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = once_beginscan(own->queue->heap, snapshot, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data)))
			continue;
		if (own->n == own->max)
		{
			own->max *= 2;
			own->rows = repalloc_huge(own->rows, sizeof(OwnRow) * own->max);
		}
		own->rows[own->n].tid = tuple->t_self;
		own->rows[own->n++].id = once_row_id(own->queue, tuple);
	}
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
}

static void
delete_some(void *arg, int from, int to)
{
	OwnRows    *own = arg;
	int			i;

	for (i = from; i < to; i++)
	{
		CHECK_FOR_INTERRUPTS();
		own->try.row = i;
		own->deleted[i] = delete_row(own->queue, &own->rows[i].tid, own->rows[i].id);
	}
	own->try.row = -1;
}

static void
refuse_one(void *arg, int row, const ErrorData *error)
{
	OwnRows    *own = arg;

	own->deleted[row] = false;
	once_refusals_add(own->refusals, own->rows[row].id, error);
}

/*
 * delete_row deletes a row of this transaction, unless somebody else has it
 * locked.  That can be so if this transaction has only updated the row: then
 * others may have locked it before.
 */
static bool
delete_row(OnceQueue *queue, ItemPointer tid, int64 id)
{
	if (queue->meta.fast_delete)
		return once_heap_try_delete(queue->heap, tid);
	return once_heap_try_lock(queue->heap, tid) && once_spi_remove(queue, tid, id);
}
