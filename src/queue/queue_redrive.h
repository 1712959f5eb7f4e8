/*-------------------------------------------------------------------------
 *
 * queue_redrive.h
 *	  Dead letters: sending them anew, and deleting them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_REDRIVE_H
#define QUEUE_REDRIVE_H

#include "datatype/timestamp.h"
#include "queue/queue_open.h"
#include "utils/array.h"

extern int64 once_redrive_remove(OnceQueue *queue, TimestampTz before, int64 max,
								 ArrayType *ids);

#endif							/* QUEUE_REDRIVE_H */
