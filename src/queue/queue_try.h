/*-------------------------------------------------------------------------
 *
 * queue_try.h
 *	  Work on many rows, some of which may raise errors.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_TRY_H
#define QUEUE_TRY_H

#include "queue/queue_open.h"
#include "utils/elog.h"
#include "utils/palloc.h"
#include "utils/resowner.h"

typedef struct OnceTry
{
	/*
	 * in: does the work for rows from .. to - 1; called within a
	 * subtransaction
	 */
	void		(*work) (void *arg, int from, int to);
	/* in: notes that a row was left out */
	void		(*refused) (void *arg, int row, const ErrorData *error);
	void	   *arg;
	bool		rehearse;		/* in: rehearse the commit as well? */

	/* set by "work" while it runs */
	int			row;			/* the one it works on; -1: several at once */

	bool		caller_good;	/* do triggers that the caller deferred
								 * succeed? */
} OnceTry;

extern void once_try(OnceTry *try, int from, int to);
extern ErrorData *once_try_failed(MemoryContext context, ResourceOwner owner);
extern void once_try_set_immediate(void);
extern bool once_try_has_written(void);

/* Messages left out by one call, for its warnings */
typedef struct OnceRefusals
{
	const OnceQueue *queue;
	const char *what;			/* what was not done to them: "redriven" */
	int64		n;
} OnceRefusals;

extern void once_refusals_add(OnceRefusals *refusals, int64 id, const ErrorData *error);
extern void once_refusals_warn(const OnceRefusals *refusals);

#endif							/* QUEUE_TRY_H */
