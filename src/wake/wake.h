/*-------------------------------------------------------------------------
 *
 * wake.h
 *	  The door to waiting and waking.
 *
 * How it works is told in src/wake/README.  Queues are known by the oids of their
 * tables, in the database of the caller.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WAKE_H
#define WAKE_H

#include "datatype/timestamp.h"

/* After that, every waiter looks by itself; milliseconds */
#define ONCE_WAKE_FALLBACK	5000

/* The most queues that one backend can wait for at a time */
#define ONCE_WAKE_MAX_QUEUES	100

/* once.wake, and for tests, once.debug_fallback */
extern bool once_wake_enabled;
extern int	once_wake_fallback;

extern void once_wake_init(void);

/* wake_waiter.c: a wait of this backend */
typedef struct OnceWaiter OnceWaiter;

extern OnceWaiter *once_wake_join(const Oid *relids, int n);
extern bool once_wake_is_for(const OnceWaiter *waiter, const Oid *relids, int n);
extern void once_wake_before_look(OnceWaiter *waiter);
extern void once_wake_before_sleep(OnceWaiter *waiter, const TimestampTz *times);
extern bool once_wake_is_woken(const OnceWaiter *waiter, TimestampTz *look_at);
extern void once_wake_leave(OnceWaiter *waiter, int taken);
extern void once_wake_leave_owing(OnceWaiter *waiter, int found);
extern void once_wake_pay(Oid relid, bool taken);

/* wake_note.c: what the current transaction does */
extern void once_wake_note_sent(Oid relid, uint32 n, TimestampTz due);
extern void once_wake_note_claimed(Oid relid, bool group);
extern void once_wake_note_look(Oid relid);
extern void once_wake_note_all(Oid relid);

/* wake_table.c: at once; no page is locked */
extern void once_wake_look(Oid relid);
extern void once_wake_at(Oid relid, TimestampTz when);

#endif							/* WAKE_H */
