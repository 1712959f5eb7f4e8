/*-------------------------------------------------------------------------
 *
 * queue_own.h
 *	  Messages that the transaction itself has sent.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_OWN_H
#define QUEUE_OWN_H

#include "access/htup.h"
#include "queue/queue_open.h"
#include "queue/queue_try.h"
#include "storage/itemptr.h"

extern bool once_own_sent(OnceQueue *queue, HeapTuple tuple, ItemPointer root);
extern bool once_own_delete(OnceQueue *queue, ItemPointer tid, int64 id);
extern int64 once_own_delete_all(OnceQueue *queue, OnceRefusals *refusals);

#endif							/* QUEUE_OWN_H */
