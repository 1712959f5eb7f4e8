/*-------------------------------------------------------------------------
 *
 * qam_heap.c
 *	  Judging the heap row of a slot: may its message be offered, is somebody
 *	  changing it, or is it gone?  Nothing else decides this.
 *
 * A row is judged by its own state, as VACUUM does it, and never by a
 * snapshot.  That a snapshot does not see a row does not mean that the row is
 * gone.  And a snapshot that sees our own deletions would tell us that a
 * message is done, although the transaction may still roll back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "qam/qam.h"
#include "qam/qam_heap.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"

/*
 * Does another transaction hold a lock on this live tuple?
 *
 * Locks of any strength count, as for SELECT FOR UPDATE SKIP LOCKED; our own
 * do not.  *locker is set if there is only one locker.
 */
static bool
row_locked(HeapTupleHeader tuple, TransactionId *locker)
{
	TransactionId xmax = HeapTupleHeaderGetRawXmax(tuple);

	if ((tuple->t_infomask & HEAP_XMAX_INVALID) ||
		!TransactionIdIsValid(xmax) ||
		HEAP_LOCKED_UPGRADED(tuple->t_infomask))
		return false;
	if (tuple->t_infomask & HEAP_XMAX_IS_MULTI)
	{
		MultiXactMember *members;
		int			nmembers = GetMultiXactIdMembers(xmax, &members, false,
													 HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_infomask));
		bool		locked = false;
		int			i;

		for (i = 0; i < nmembers && !locked; i++)
			locked = !TransactionIdIsCurrentTransactionId(members[i].xid) &&
				TransactionIdIsInProgress(members[i].xid);
		if (nmembers > 0)
			pfree(members);
		return locked;
	}
	if (TransactionIdIsCurrentTransactionId(xmax) ||
		!TransactionIdIsInProgress(xmax))
		return false;
	*locker = xmax;
	return true;
}

/*
 * Was a dead or dying tuple deleted, rather than moved by an UPDATE or never
 * committed?
 */
static bool
tuple_deleted(HeapTuple tuple)
{
	return !(tuple->t_data->t_infomask & HEAP_XMAX_INVALID) &&
		ItemPointerEquals(&tuple->t_self, &tuple->t_data->t_ctid) &&
		!HeapTupleHeaderIsHotUpdated(tuple->t_data);
}

/*
 * qam_judge finds out the state of the row whose HOT chain begins at tid.
 *
 * The heap buffer is pinned and locked, shared at least, on entry and exit.
 * The caller also holds the lock of the slot's page, or knows in another way
 * that VACUUM has not made the line pointer reusable.  The HOT chain is
 * followed: if a HOT update, committed or our own, has replaced a version, the
 * next version is judged instead.
 */
void
qam_judge(Relation heap, Buffer heap_buffer, ItemPointer tid, QamRow *row)
{
	Page		page = BufferGetPage(heap_buffer);
	BlockNumber block = ItemPointerGetBlockNumberNoCheck(tid);
	OffsetNumber offset = ItemPointerGetOffsetNumberNoCheck(tid);
	TransactionId prior_xmax = InvalidTransactionId;
	bool		at_start = true;

	row->state = QAM_ROW_GONE;
	row->locked_only = false;
	row->inserting = false;
	row->deleted = false;
	row->xid = InvalidTransactionId;
	for (;;)
	{
		ItemId		item;
		HeapTuple	tuple = &row->tuple;
		TransactionId dead_after;

		if (PageIsNew(page) || offset < FirstOffsetNumber ||
			offset > PageGetMaxOffsetNumber(page))
			return;
		item = PageGetItemId(page, offset);
		if (ItemIdIsRedirected(item) && at_start)
		{
			offset = ItemIdGetRedirect(item);
			at_start = false;
			continue;
		}
		if (!ItemIdIsNormal(item))
			return;

		tuple->t_data = (HeapTupleHeader) PageGetItem(page, item);
		tuple->t_len = ItemIdGetLength(item);
		tuple->t_tableOid = RelationGetRelid(heap);
		ItemPointerSet(&tuple->t_self, block, offset);

		/* The chain must start at a root, and each xmin match the xmax before */
		if (TransactionIdIsValid(prior_xmax) &&
			!TransactionIdEquals(prior_xmax, HeapTupleHeaderGetXmin(tuple->t_data)))
			return;
		if (at_start && HeapTupleHeaderIsHeapOnly(tuple->t_data))
			return;
		at_start = false;

		row->tid = tuple->t_self;
		switch (HeapTupleSatisfiesVacuumHorizon(tuple, heap_buffer, &dead_after))
		{
			case HEAPTUPLE_LIVE:
				row->state = QAM_ROW_LIVE;
				if (row_locked(tuple->t_data, &row->xid))
				{
					row->state = QAM_ROW_BUSY;
					row->locked_only = true;
				}
				return;

			case HEAPTUPLE_INSERT_IN_PROGRESS:
				row->xid = HeapTupleHeaderGetRawXmin(tuple->t_data);
				row->state = QAM_ROW_BUSY;
				row->inserting = true;
				if (TransactionIdIsValid(prior_xmax) &&
					TransactionIdIsCurrentTransactionId(row->xid))
				{
					row->state = QAM_ROW_OWN_UPDATE;
					row->inserting = false;
				}
				return;

			case HEAPTUPLE_DELETE_IN_PROGRESS:
				row->xid = HeapTupleHeaderGetUpdateXid(tuple->t_data);
				row->deleted = tuple_deleted(tuple);
				if (!TransactionIdIsCurrentTransactionId(row->xid))
				{
					row->state = QAM_ROW_BUSY;
					return;
				}
				if (!HeapTupleHeaderIsHotUpdated(tuple->t_data))
				{
					row->state = QAM_ROW_OWN_DELETE;
					return;
				}
				break;

			case HEAPTUPLE_RECENTLY_DEAD:
			case HEAPTUPLE_DEAD:
				row->deleted = tuple_deleted(tuple);
				if (!HeapTupleHeaderIsHotUpdated(tuple->t_data))
				{
					if (!(tuple->t_data->t_infomask & HEAP_XMAX_INVALID) &&
						!HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_data->t_infomask))
						row->xid = HeapTupleHeaderGetUpdateXid(tuple->t_data);
					return;
				}
				break;
		}

		/* Replaced by a HOT update: go on with the next version */
		prior_xmax = HeapTupleHeaderGetUpdateXid(tuple->t_data);
		offset = ItemPointerGetOffsetNumber(&tuple->t_data->t_ctid);
	}
}

/*
 * trace_step is one step of qam_trace_row.  It looks at the version at a
 * place, and sets *tid and *xmin to those of the next version.  It returns
 * false if there is no next version; then *trace is the result.
 */
static bool
trace_step(Relation heap, Buffer buffer, ItemPointer tid, TransactionId *xmin,
		   QamTrace *trace)
{
	Page		page = BufferGetPage(buffer);
	OffsetNumber offset = ItemPointerGetOffsetNumber(tid);
	HeapTupleData tuple;
	TransactionId dead_after;
	ItemId		item;
	bool		ours = false;

	*trace = QAM_TRACE_NONE;
	if (PageIsNew(page) || offset > PageGetMaxOffsetNumber(page))
		return false;
	item = PageGetItemId(page, offset);
	if (!ItemIdIsNormal(item))
		return false;
	tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
	tuple.t_len = ItemIdGetLength(item);
	tuple.t_tableOid = RelationGetRelid(heap);
	tuple.t_self = *tid;
	if (!TransactionIdEquals(HeapTupleHeaderGetRawXmin(tuple.t_data), *xmin))
		return false;

	*trace = QAM_TRACE_THERE;
	switch (HeapTupleSatisfiesVacuumHorizon(&tuple, buffer, &dead_after))
	{
		case HEAPTUPLE_LIVE:
		case HEAPTUPLE_INSERT_IN_PROGRESS:
			return false;
		case HEAPTUPLE_DELETE_IN_PROGRESS:
			ours = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(tuple.t_data));
			if (!ours)
				return false;
			break;
		case HEAPTUPLE_RECENTLY_DEAD:
		case HEAPTUPLE_DEAD:
			break;
	}
	if (tuple_deleted(&tuple))
	{
		*trace = ours ? QAM_TRACE_DELETED_BY_US : QAM_TRACE_DELETED;
		return false;
	}

	/* Moved to another partition: that is another row */
	if (HeapTupleHeaderIndicatesMovedPartitions(tuple.t_data))
		return false;
	*xmin = HeapTupleHeaderGetUpdateXid(tuple.t_data);
	*tid = tuple.t_data->t_ctid;
	return true;
}

/*
 * qam_trace_row tells what became of a row that was live at a place, where it
 * was inserted by transaction xmin.
 *
 * Place and transaction together identify a version for ever, as long as the
 * table keeps its file: a transaction that has ended inserts nothing where a
 * place is used again.  If the row was updated, the newer version is looked
 * at, wherever it is.  The index is not needed.  No locks on entry or exit.
 */
QamTrace
qam_trace_row(Relation heap, ItemPointer tid, TransactionId xmin)
{
	ItemPointerData at = *tid;
	QamTrace	trace = QAM_TRACE_NONE;
	bool		more = true;

	while (more && ItemPointerGetBlockNumber(&at) < RelationGetNumberOfBlocks(heap))
	{
		Buffer		buffer = ReadBuffer(heap, ItemPointerGetBlockNumber(&at));

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		more = trace_step(heap, buffer, &at, &xmin, &trace);
		UnlockReleaseBuffer(buffer);
	}
	return more ? QAM_TRACE_NONE : trace;
}

/*
 * qam_row_visible tells whether the snapshot sees the transaction that
 * inserted a row.  The row is LIVE, BUSY or OWN_UPDATE.  If this transaction
 * has updated the row, it has seen the version before.
 *
 * Without this rule, a statement could claim a message without seeing the rows
 * that were sent along with it, find nothing to do, and ack the message.
 */
bool
qam_row_visible(const QamRow *row, Snapshot snapshot)
{
	HeapTupleHeader tuple = row->tuple.t_data;

	if (row->state == QAM_ROW_OWN_UPDATE)
		return true;
	Assert(row->state == QAM_ROW_LIVE || row->state == QAM_ROW_BUSY);
	if (HeapTupleHeaderXminFrozen(tuple))
		return true;
	return !XidInMVCCSnapshot(HeapTupleHeaderGetRawXmin(tuple), snapshot);
}

/*
 * qam_xid_visible tells whether the snapshot sees a transaction that has
 * ended.  True if fullxid is 0.
 */
bool
qam_xid_visible(uint64 fullxid, Snapshot snapshot)
{
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());

	if (fullxid == 0 || snapshot == NULL || next - fullxid >= UINT64CONST(0x7fffffff))
		return true;
	return !XidInMVCCSnapshot((TransactionId) fullxid, snapshot);
}

/*
 * qam_max_pins tells how many pages one backend may keep pinned at a time.
 */
int
qam_max_pins(void)
{
	return Max(2, NBuffers / (4 * MaxBackends));
}
