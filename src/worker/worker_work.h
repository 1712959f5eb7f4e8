/*-------------------------------------------------------------------------
 *
 * worker_work.h
 *	  The consumer loop.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_WORK_H
#define WORKER_WORK_H

#include "queue/queue_parts.h"
#include "queue/queue_wait.h"
#include "utils/palloc.h"
#include "worker/worker_handler.h"

typedef struct OnceWork
{
	/* in */
	const char *queue;
	Oid			handler;
	int			max_messages;
	int64		until;			/* microseconds; -1: for ever */

	/*
	 * in: commits, begins a transaction and connects SPI.  If the commit
	 * fails, it does the other two all the same, and then raises the error.
	 */
	void		(*commit) (void);
	/* in: NULL, or tells whether to go on */
	bool		(*go_on) (void);

	/*
	 * in: NULL, or counts messages that were handled, or that have failed
	 * with an error
	 */
	void		(*tell) (int done, int failed, const char *error);

	/* private to worker_work.c */
	OnceHandler function;
	MemoryContext context;		/* of one transaction */
	int			alone;			/* number of messages to take one by one */
	OnceOutlook outlook;		/* the tables of the queue, as of this turn,
								 * and when to look again after one that found
								 * nothing */
	OnceWait	wait;			/* since the last turn that found something */
} OnceWork;

extern void once_work_loop(OnceWork *work);

#endif							/* WORKER_WORK_H */
