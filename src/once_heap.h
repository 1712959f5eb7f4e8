/*-------------------------------------------------------------------------
 *
 * once_heap.h
 *	  Rows deleted or locked without waiting for anybody.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ONCE_HEAP_H
#define ONCE_HEAP_H

#include "storage/itemptr.h"
#include "utils/relcache.h"

extern bool once_heap_try_lock(Relation heap, const ItemPointerData *place);
extern bool once_heap_try_delete(Relation heap, const ItemPointerData *place);

#endif							/* ONCE_HEAP_H */
