/*-------------------------------------------------------------------------
 *
 * once_heap.h
 *	  Rows deleted or locked without waiting for anybody; numbers in rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ONCE_HEAP_H
#define ONCE_HEAP_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "storage/itemptr.h"
#include "utils/relcache.h"

extern bool once_heap_try_lock(Relation heap, const ItemPointerData *place);
extern bool once_heap_try_delete(Relation heap, const ItemPointerData *place);
extern int64 once_heap_int64(HeapTuple tuple, AttrNumber column, TupleDesc desc, int64 if_null);

#endif							/* ONCE_HEAP_H */
