/*-------------------------------------------------------------------------
 *
 * queue_wait.h
 *	  Waiting for messages: until when, and for whom.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_WAIT_H
#define QUEUE_WAIT_H

#include "datatype/timestamp.h"
#include "portability/instr_time.h"

/* One call's waiting */
typedef struct OnceWait
{
	instr_time	begun;
	int64		limit;			/* microseconds from "begun" on */
	long		pause;			/* the next one, in milliseconds */
	bool		slept;			/* has there been a pause? */
} OnceWait;

extern void once_wait_begin(OnceWait *wait, int64 limit);
extern bool once_wait_is_up(const OnceWait *wait);
extern int64 once_wait_left(const OnceWait *wait);
extern void once_wait_pause(OnceWait *wait, TimestampTz ready_at);
extern void once_wait_check(const OnceWait *wait);

#endif							/* QUEUE_WAIT_H */
