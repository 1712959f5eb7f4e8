/*-------------------------------------------------------------------------
 *
 * wake.h
 *	  The door to waiting and waking.
 *
 * src/wake/README tells how it works.  A queue is named by the oid of its
 * table, in the database of the caller.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WAKE_H
#define WAKE_H

#include "datatype/timestamp.h"

/* After this time, every waiter looks by itself; milliseconds */
#define ONCE_WAKE_FALLBACK	5000

/* The most queues that one backend can wait for at a time */
#define ONCE_WAKE_MAX_QUEUES	100

/* once.wake; and once.debug_fallback, for tests */
extern bool once_wake_enabled;
extern int	once_wake_fallback;

extern void once_wake_init(void);

/* wake_waiter.c: a wait of this backend */
typedef struct OnceWaiter OnceWaiter;

extern OnceWaiter *once_wake_join(const Oid *relids, int n);
extern bool once_wake_is_for(const OnceWaiter *waiter, const Oid *relids, int n);
extern void once_wake_before_look(OnceWaiter *waiter);
extern void once_wake_before_sleep(OnceWaiter *waiter, const TimestampTz *times, int room);
extern bool once_wake_is_woken(const OnceWaiter *waiter, TimestampTz *look_at);
extern bool once_wake_has_room(const OnceWaiter *waiter);
extern void once_wake_leave(OnceWaiter *waiter, Oid taken, bool slept);
extern void once_wake_leave_owing(OnceWaiter *waiter, Oid found);
extern void once_wake_pay(Oid relid, bool taken);
extern void once_wake_hand_on(void);

/*
 * wake_note.c: what the current transaction does.  Waiters are woken when it
 * has ended.
 */
#define ONCE_WAKE_AT_COMMIT		0x01
#define ONCE_WAKE_AT_ABORT		0x02

extern void once_wake_note_sent(Oid relid, uint32 n, TimestampTz due);
extern void once_wake_note_look(Oid relid, int when);
extern void once_wake_note_all(Oid relid);

/* wake_table.c: who waits for a queue */
typedef struct OnceWaiting
{
	int			pid;
	TimestampTz since;
} OnceWaiting;

extern bool once_wake_waiting(Oid relid, OnceWaiting **waiting, int *n);

/* wake_table.c: these wake at once; no page is locked */
extern void once_wake_look(Oid relid);
extern void once_wake_at(Oid relid, TimestampTz when);

#endif							/* WAKE_H */
