/*-------------------------------------------------------------------------
 *
 * queue_insert.h
 *	  Putting rows into a queue's table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_INSERT_H
#define QUEUE_INSERT_H

#include "queue/queue_row.h"

extern TimestampTz once_insert_time(void);
extern void once_insert_check_new(const OnceQueue *queue, const OnceNewRows *batch);
extern void once_insert_check_again(const OnceQueue *queue);
extern void once_insert_rows(OnceQueue *queue, OnceNewRows *batch);

#endif							/* QUEUE_INSERT_H */
