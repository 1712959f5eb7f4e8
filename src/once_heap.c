/*-------------------------------------------------------------------------
 *
 * once_heap.c
 *	  Rows deleted or locked without waiting for anybody; numbers in rows.
 *
 * The row must not be able to leave its place.  Either its page is pinned, or this
 * transaction sees the row and nobody else can have removed it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "once_heap.h"
#include "storage/bufmgr.h"

/*
 * once_heap_try_lock locks a row as a DELETE would.  Returns false if another
 * transaction is deleting, updating or locking it, or if it is gone.
 */
bool
once_heap_try_lock(Relation heap, const ItemPointerData *place)
{
	HeapTupleData tuple = {.t_self = *place};
	Buffer		buffer;
	TM_FailureData tmfd;
	TM_Result	result;

	result = heap_lock_tuple(heap, &tuple, GetCurrentCommandId(true),
							 LockTupleExclusive, LockWaitSkip, false, &buffer, &tmfd);
	ReleaseBuffer(buffer);
	return result == TM_Ok;
}

/*
 * once_heap_try_delete deletes a row.  Returns false as once_heap_try_lock does.
 */
bool
once_heap_try_delete(Relation heap, const ItemPointerData *place)
{
	ItemPointerData tid = *place;
	TM_FailureData tmfd;
	TM_Result	result;

	result = once_delete_row(heap, &tid, false, &tmfd);

	/* This is also the result if only this transaction has locked the row */
	if (result == TM_BeingModified && once_heap_try_lock(heap, &tid))
		result = once_delete_row(heap, &tid, true, &tmfd);
	return result == TM_Ok;
}

/*
 * once_heap_int64 returns the value of a column of type bigint or timestamptz, or
 * if_null for NULL.  DatumGetInt64 must not see the datum of a NULL: where values
 * of 64 bits are passed by reference, it would follow a null pointer.
 */
int64
once_heap_int64(HeapTuple tuple, AttrNumber column, TupleDesc desc, int64 if_null)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, desc, &isnull);

	return isnull ? if_null : DatumGetInt64(value);
}
