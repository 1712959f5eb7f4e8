/*-------------------------------------------------------------------------
 *
 * queue_claim.h
 *	  Claiming messages, and removing the rows of some.
 *
 * All functions that claim must be called within once_hold.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_CLAIM_H
#define QUEUE_CLAIM_H

#include "access/htup.h"
#include "queue/queue_hold.h"
#include "queue/queue_try.h"

#define ONCE_MAX_DEAD		100 /* dead messages that one call moves */
#define ONCE_MAX_DEAD_ALONE	10000	/* the same, as long as it has found
									 * nothing to deliver */
#define ONCE_MAX_STUCK		100 /* messages that may become stuck in one call */

extern void once_claim_rows(OnceHold *hold, int max_dead);
extern void once_claim_pop(OnceHold *hold, int max_dead);
extern int	once_claim_remove(OnceHold *hold, OnceRefusals *refusals);
extern bool once_claim_look(OnceQueue *queue, Snapshot snapshot, TimestampTz *earliest);
extern bool once_claim_is_dead(OnceQueue *queue, const QamPeeked *peeked);
extern bool once_claim_is_expired(void *arg, HeapTuple tuple, TimestampTz now);
extern TimestampTz once_claim_since(void *arg, HeapTuple tuple);

#endif							/* QUEUE_CLAIM_H */
