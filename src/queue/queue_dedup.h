/*-------------------------------------------------------------------------
 *
 * queue_dedup.h
 *	  Messages with a dedup_id.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_DEDUP_H
#define QUEUE_DEDUP_H

#include "ledger/ledger.h"
#include "queue/queue_row.h"

/* Which of the rows of a call have a dedup_id, in ascending order */
typedef struct OnceDedup
{
	OnceMark   *marks;
	int		   *rows;
	int			n;
} OnceDedup;

extern void once_dedup_begin(OnceDedup *dedup, int max);
extern void once_dedup_add(OnceDedup *dedup, int row, Datum dedup_id,
						   const char *argument);
extern void once_dedup_insert(OnceQueue *queue, OnceNewRows *batch, OnceDedup *dedup);
extern bool once_dedup_make(Relation heap, const char *queue);
extern void once_dedup_forget_queue(const char *queue);

#endif							/* QUEUE_DEDUP_H */
