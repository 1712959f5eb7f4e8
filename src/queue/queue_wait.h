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
#include "wake/wake.h"

/* The largest value of once.wake_delay, in milliseconds; and the setting */
#define ONCE_WAKE_DELAY_MAX	1000

extern int	once_wait_delay;

/* One call's waiting */
typedef struct OnceWait
{
	instr_time	begun;
	int64		limit;			/* microseconds from "begun" on */
	bool		slept;			/* has there been a pause? */
	OnceWaiter *waiter;			/* NULL: not registered to be woken */
	bool		polls;			/* nor can it be, so it polls */
	int			most;			/* set by the caller: it takes no more
								 * messages than this */
	bool		light;			/* set by the caller: whatever sets the latch
								 * ends a pause */
	long		pause;			/* the next one when polling, in milliseconds */
} OnceWait;

extern void once_wait_begin(OnceWait *wait, int64 limit);
extern bool once_wait_is_up(const OnceWait *wait);
extern int64 once_wait_left(const OnceWait *wait);
extern void once_wait_expect(OnceWait *wait, Oid relid);
extern void once_wait_before_look(OnceWait *wait);
extern void once_wait_check(const OnceWait *wait);
extern void once_wait_pause(OnceWait *wait, const Oid *relids, const TimestampTz *times, int n);
extern void once_wait_end(OnceWait *wait, Oid taken);
extern void once_wait_end_owing(OnceWait *wait, Oid found);

#endif							/* QUEUE_WAIT_H */
