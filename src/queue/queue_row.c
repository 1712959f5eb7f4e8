/*-------------------------------------------------------------------------
 *
 * queue_row.c
 *	  Rows of a queue's table: reading, finding and pinning them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/heapam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "meta/meta_cache.h"
#include "meta/meta_dead.h"
#include "once_error.h"
#include "queue/queue_open.h"
#include "queue/queue_row.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

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
 * once_row_flatten fetches the values that a row keeps out of line.  Call it
 * after the claim.  If the row has been deleted meanwhile, it must have been
 * by this transaction: then the values are still there until the transaction
 * ends.
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
 * once_row_enqueued_at returns when a message was sent, or DT_NOBEGIN if its row
 * does not tell.  The row's page is pinned.
 */
TimestampTz
once_row_enqueued_at(const OnceQueue *queue, ItemPointer tid, Buffer buffer)
{
	AttrNumber	column = queue->meta.column[ONCE_COL_ENQUEUED_AT];
	HeapTupleData tuple;
	Datum		value = (Datum) 0;
	bool		isnull = true;

	/* A row's values and its line pointer do not change while it is pinned */
	tuple.t_self = *tid;
	if (column != 0 && once_row_at(BufferGetPage(buffer), &tuple))
		value = heap_getattr(&tuple, column, RelationGetDescr(queue->heap), &isnull);
	return isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
}

/*
 * once_row_key returns a key that distinguishes a message from all others that
 * the queue has had.
 */
OnceMessageKey
once_row_key(const OnceQueue *queue, HeapTuple tuple)
{
	return once_failure_key(tuple, RelationGetDescr(queue->heap),
							queue->meta.column[ONCE_COL_ID],
							queue->meta.column[ONCE_COL_ENQUEUED_AT]);
}

/*
 * once_row_has_successor tells whether an UPDATE has replaced a row by another
 * version.  The UPDATE may still be open, or rolled back without a hint of
 * that in the row.  The caller has locked the row's page.
 */
bool
once_row_has_successor(HeapTuple tuple)
{
	HeapTupleHeader header = tuple->t_data;

	return !(header->t_infomask & HEAP_XMAX_INVALID) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
		!ItemPointerEquals(&tuple->t_self, &header->t_ctid);
}

/*
 * once_row_replaced tells whether another transaction has committed an UPDATE
 * of a version of a row.  The version is the one that transaction xmin has put
 * at tid.
 *
 * If that version is no longer there, it was removed as dead.  Then it was
 * another transaction that replaced it, because what this transaction replaces
 * is not dead before it ends.
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
	if (there && once_row_has_successor(&tuple))
		xmax = HeapTupleHeaderGetUpdateXid(tuple.t_data);
	UnlockReleaseBuffer(buffer);

	return !there ||
		(TransactionIdIsValid(xmax) &&
		 !TransactionIdIsCurrentTransactionId(xmax) &&
		 !TransactionIdIsInProgress(xmax) &&
		 TransactionIdDidCommit(xmax));
}

/*
 * once_row_at finds the row at tuple->t_self on its page, which the caller has
 * locked.  False: there is no row at that place.
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
 * once_row_find_root replaces the place of a row by that of the root of its
 * HOT chain, to which indexes refer.
 */
void
once_row_find_root(const OnceQueue *queue, ItemPointer tid)
{
	OffsetNumber offset = ItemPointerGetOffsetNumber(tid);
	OffsetNumber roots[MaxHeapTuplesPerPage];
	Buffer		buffer = ReadBuffer(queue->heap, ItemPointerGetBlockNumber(tid));

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	heap_get_root_tuples(BufferGetPage(buffer), roots);
	UnlockReleaseBuffer(buffer);
	if (OffsetNumberIsValid(roots[offset - 1]))
		ItemPointerSetOffsetNumber(tid, roots[offset - 1]);
}

/*
 * once_row_pin pins the page of a row that was copied, if the row is still in
 * its place, and returns the buffer.  The row keeps its place as long as the
 * page is pinned.  If the row is not there, returns InvalidBuffer.
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

	/* Another row in that place would have another inserter or another id */
	same = once_row_at(BufferGetPage(buffer), &tuple) &&
		HeapTupleHeaderGetRawXmin(tuple.t_data) == HeapTupleHeaderGetRawXmin(copy->t_data) &&
		once_row_id(queue, &tuple) == once_row_id(queue, copy);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (same)
		return buffer;
	ReleaseBuffer(buffer);
	return InvalidBuffer;
}
