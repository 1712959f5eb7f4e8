/*-------------------------------------------------------------------------
 *
 * queue_fast.h
 *	  Putting rows into a queue's table without the executor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_FAST_H
#define QUEUE_FAST_H

#include "queue/queue_row.h"

extern TimestampTz once_fast_time(void);
extern void once_fast_insert(OnceQueue *queue, const OnceNewRows *batch);

#endif							/* QUEUE_FAST_H */
