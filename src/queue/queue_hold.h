/*-------------------------------------------------------------------------
 *
 * queue_hold.h
 *	  What a call has claimed and not handed out yet.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_HOLD_H
#define QUEUE_HOLD_H

#include "qam/qam.h"
#include "queue/queue_open.h"
#include "utils/palloc.h"
#include "utils/resowner.h"
#include "utils/snapshot.h"

typedef struct OnceHold
{
	OnceQueue  *queue;
	void	   *arg;			/* the caller's */
	QamClaimRequest req;
	uint32		at;				/* the claim (its "nth") that is worked on and
								 * will be stuck if that fails; else
								 * ONCE_AT_NONE */
	bool		first;			/* had the transaction written nothing before? */
	bool		in_time;		/* if once_limit strikes, no message is blamed */
	int			dead_met;		/* dead messages claimed in order to be moved */
	int			dead_settled;	/* those of them that were moved or became
								 * stuck */

	/* private to queue_hold.c */
	int			nest_level;
	MemoryContext mcxt;
	ResourceOwner owner;
	struct OnceHold *outer;
} OnceHold;

#define ONCE_AT_NONE		PG_UINT32_MAX

extern void once_hold_init(void);
extern void once_hold_begin(OnceHold *hold, OnceQueue *queue, Snapshot snapshot);
extern void once_hold(OnceHold *hold, void (*work) (OnceHold *hold));

#endif							/* QUEUE_HOLD_H */
