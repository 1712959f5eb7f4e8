/*-------------------------------------------------------------------------
 *
 * worker_evict.h
 *	  Commands that cannot run while our processes are in a database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_EVICT_H
#define WORKER_EVICT_H

extern void once_evict_init(void);

#endif							/* WORKER_EVICT_H */
