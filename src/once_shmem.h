/*-------------------------------------------------------------------------
 *
 * once_shmem.h
 *	  Shared memory that is made when the server starts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ONCE_SHMEM_H
#define ONCE_SHMEM_H

#include "storage/lwlock.h"

/* A piece of it */
typedef struct OnceShmem
{
	const char *name;
	Size		(*size) (void); /* of the struct */
	Size		(*more) (void); /* to be reserved besides, or NULL */
	bool		lock;			/* does it need a lock of its own? */

	/*
	 * Called in each process that attaches, with the lock if there is one.
	 * made: the memory is new, and zeroed.  AddinShmemInitLock is held.
	 */
	void		(*attach) (void *memory, LWLock *lock, bool made);
} OnceShmem;

extern bool once_shmem_add(const OnceShmem *piece);

#endif							/* ONCE_SHMEM_H */
