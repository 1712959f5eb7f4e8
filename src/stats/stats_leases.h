/*-------------------------------------------------------------------------
 *
 * stats_leases.h
 *	  Which session has leased how much, in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STATS_LEASES_H
#define STATS_LEASES_H

#include "datatype/timestamp.h"

/* The number of queues for which a backend shows its leases */
#define ONCE_LEASES_SHOWN	8

/* What a backend has leased of one queue */
typedef struct OnceLeases
{
	Oid			database;
	Oid			relid;
	int64		n;				/* messages; 0: it is not in use */
	TimestampTz since;			/* the first of these leases */
	TimestampTz until;			/* the end of the last one */
} OnceLeases;

extern void once_stats_leases_init(void);
extern void once_stats_leases_read(Oid relid,
								   void (*each) (void *arg, int pid, const OnceLeases *leases),
								   void *arg);

#endif							/* STATS_LEASES_H */
