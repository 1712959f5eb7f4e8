/*-------------------------------------------------------------------------
 *
 * worker_work.h
 *	  The consumer loop.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_WORK_H
#define WORKER_WORK_H

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
	 * in: commits, and begins a transaction, with SPI connected.  If the commit
	 * fails, the same, and its error.
	 */
	void		(*commit) (void);
	/* in: NULL, or whether to go on */
	bool		(*go_on) (void);
	/* in: NULL, or hears of messages that are done; error: NULL, or of those that failed */
	void		(*tell) (int done, int failed, const char *error);

	/* worker_work.c's own */
	OnceHandler function;
	MemoryContext context;		/* of one transaction */
	int			alone;			/* so many messages are to be taken one by one */
} OnceWork;

extern void once_work_loop(OnceWork *work);

#endif							/* WORKER_WORK_H */
