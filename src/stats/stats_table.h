/*-------------------------------------------------------------------------
 *
 * stats_table.h
 *	  The counters of all queues, in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STATS_TABLE_H
#define STATS_TABLE_H

#include "port/atomics.h"
#include "stats/stats.h"

/* Latencies of some messages.  Buckets outside of low .. high are not set. */
typedef struct OnceLatencies
{
	int			low;
	int			high;			/* -1: there are none */
	uint32		buckets[ONCE_NBUCKETS];
} OnceLatencies;

/* The counters of a queue, as they are shown and stored */
typedef struct OnceStats
{
	uint64		counts[ONCE_NCOUNTERS];
	uint64		buckets[ONCE_NBUCKETS];
	TimestampTz since;			/* counted since then */
} OnceStats;

/* A queue in shared memory */
typedef struct OnceStatsEntry OnceStatsEntry;

extern void once_stats_table_init(void);
extern void once_stats_table_add(Oid relid, OnceStatsEntry **known, const int64 *counts,
								 const OnceLatencies *latencies, bool make);
extern bool once_stats_table_read(Oid relid, OnceStats *stats);
extern bool once_stats_table_has(Oid database, Oid relid);
extern void once_stats_table_reset(Oid relid);
extern void once_stats_table_remove(Oid database, Oid relid);
extern Oid *once_stats_table_list(int *n);

#endif							/* STATS_TABLE_H */
