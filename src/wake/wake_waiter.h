/*-------------------------------------------------------------------------
 *
 * wake_waiter.h
 *	  A backend that waits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WAKE_WAITER_H
#define WAKE_WAITER_H

extern void once_wake_waiter_abort(int nest_level);

#endif							/* WAKE_WAITER_H */
