/*-------------------------------------------------------------------------
 *
 * once_heap.c
 *	  Rows that are had without waiting for anybody.
 *
 * The row must not be able to leave its place: its page is pinned, or it is one
 * that this transaction sees, and nobody else could have done away with.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "once_heap.h"
#include "storage/bufmgr.h"

/*
 * once_heap_try_lock locks a row as a DELETE would.  False: somebody else is at it,
 * or it is there no more.
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
 * once_heap_try_delete deletes a row.  False: as there.
 */
bool
once_heap_try_delete(Relation heap, const ItemPointerData *place)
{
	ItemPointerData tid = *place;
	TM_FailureData tmfd;
	TM_Result	result;

	result = heap_delete(heap, &tid, GetCurrentCommandId(true), InvalidSnapshot, false,
						 &tmfd, false);

	/* It says so too if nobody but this transaction has the row locked */
	if (result == TM_BeingModified && once_heap_try_lock(heap, &tid))
		result = heap_delete(heap, &tid, GetCurrentCommandId(true), InvalidSnapshot, true,
							 &tmfd, false);
	return result == TM_Ok;
}
