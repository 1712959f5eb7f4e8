/*-------------------------------------------------------------------------
 *
 * worker_evict.h
 *	  Who wants a database for himself gets it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_EVICT_H
#define WORKER_EVICT_H

extern void once_evict_init(void);

#endif							/* WORKER_EVICT_H */
