/*-------------------------------------------------------------------------
 *
 * queue_steps.h
 *	  The steps of maintenance for a queue.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_STEPS_H
#define QUEUE_STEPS_H

#include "datatype/timestamp.h"
#include "once_limit.h"
#include "qam/qam.h"
#include "queue/queue_open.h"

/* What the steps for one queue share */
typedef struct OnceSteps
{
	bool		atomic;			/* in a transaction that the caller has begun? */
	OnceLimit	limit;			/* for this queue */
	TimestampTz now;			/* when work on it began */
	int64		dead_left;		/* dead messages that may yet be met; -1: not
								 * yet known */
	int			dead_step;		/* dead messages that the next step takes */
	QamTour		tour;			/* of the groups */
	bool		asking;			/* are publications being asked whether rows
								 * may be deleted? */
	bool		rests;			/* out, of once_steps_rest */
} OnceSteps;

/* A step does some work.  True: there may be more of it. */
typedef bool (*OnceStep) (OnceQueue *queue, OnceSteps *steps);

typedef struct OnceStepKind
{
	OnceStep	step;
	bool		looks_at_all;	/* takes longer the more messages there are */
	bool		of_whole;		/* of a distributed queue, not of each part */
} OnceStepKind;

#define ONCE_NSTEPS		7

extern const OnceStepKind once_steps[ONCE_NSTEPS];

extern void once_steps_begin(OnceSteps *steps);
extern int64 once_steps_most_passes(OnceQueue *queue, OnceStep step);
extern bool once_steps_rest(OnceQueue *queue, OnceSteps *steps);

#endif							/* QUEUE_STEPS_H */
