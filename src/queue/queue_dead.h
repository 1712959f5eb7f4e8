/*-------------------------------------------------------------------------
 *
 * queue_dead.h
 *	  What is not delivered any more, and what is done.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_DEAD_H
#define QUEUE_DEAD_H

#include "meta/meta_dead.h"
#include "queue/queue_hold.h"
#include "utils/elog.h"

extern bool once_dead_is_dropped(const OnceQueue *queue, const QamClaimed *dead);
extern void once_dead_store(OnceQueue *queue, OnceDeadWriter *writer,
							const QamClaimed *dead);
extern void once_dead_note_stuck(OnceQueue *queue, const QamClaimed *message,
								 const ErrorData *error);
extern void once_done_messages(const OnceQueue *queue, const QamClaimed *messages, int n,
							   OnceHold *hold);

#endif							/* QUEUE_DEAD_H */
