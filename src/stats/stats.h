/*-------------------------------------------------------------------------
 *
 * stats.h
 *	  The door to counting what passes through queues.
 *
 * How it works is told in src/stats/README.  Queues are known by the oids of
 * their tables, in the database of the caller.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STATS_H
#define STATS_H

#include "datatype/timestamp.h"

/* What is counted of a queue */
typedef enum OnceCounter
{
	/* these count when the transaction commits */
	ONCE_COUNT_SENT,
	ONCE_COUNT_ACKED,
	ONCE_COUNT_EXPIRED,
	ONCE_COUNT_DEAD_LETTERED,

	/* these have happened, whatever becomes of the transaction */
	ONCE_COUNT_RECEIVED,
	ONCE_COUNT_REDELIVERED,
	ONCE_COUNT_NACKED,
	ONCE_COUNT_LEASE_LOST
} OnceCounter;

#define ONCE_NCOUNTERS		(ONCE_COUNT_LEASE_LOST + 1)
#define ONCE_NCOUNTERS_XACT	(ONCE_COUNT_DEAD_LETTERED + 1)

/*
 * Latencies are counted by their binary logarithm: bucket b has those from 2^b
 * up to 2^(b + 1) microseconds.  The first one also has shorter ones, and the
 * last one, which begins at 101 days, longer ones.
 */
#define ONCE_NBUCKETS		44

/* Queues that there is room for, by default */
#define ONCE_STATS_MAX_QUEUES	4096

/* Is anything counted? */
extern bool once_stats_on;

/* once.stat_max_queues */
extern int	once_stats_max_queues;

extern void once_stats_init(void);

extern void once_stats_add(Oid relid, OnceCounter counter, int64 n);
extern void once_stats_add_ack(Oid relid, TimestampTz enqueued_at);

/*
 * once_stats_count counts something that happens to n messages of a queue.
 */
static inline void
once_stats_count(Oid relid, OnceCounter counter, int64 n)
{
	if (once_stats_on && n > 0)
		once_stats_add(relid, counter, n);
}

/*
 * once_stats_acked counts a message that is acked.  enqueued_at: when it was
 * sent, or DT_NOBEGIN if that is not known.
 */
static inline void
once_stats_acked(Oid relid, TimestampTz enqueued_at)
{
	if (once_stats_on)
		once_stats_add_ack(relid, enqueued_at);
}

extern void once_stats_forget_dropped(void);

/* stats_leases.c */
extern void once_stats_add_leases(Oid relid, int n, TimestampTz until);
extern void once_stats_end_lease(Oid relid);

/* stats_progress.c */
extern void once_stats_progress_begin(Oid relid, const char *work, int64 total);
extern void once_stats_progress(int64 done);
extern void once_stats_progress_end(void);

/*
 * once_stats_leased notes that this session has leased messages, or made the
 * lease of one longer (n = 0).
 */
static inline void
once_stats_leased(Oid relid, int n, TimestampTz until)
{
	if (once_stats_on)
		once_stats_add_leases(relid, n, until);
}

/*
 * once_stats_lease_ended notes that this session has ended a lease, by ack, nack
 * or release.
 */
static inline void
once_stats_lease_ended(Oid relid)
{
	if (once_stats_on)
		once_stats_end_lease(relid);
}

#endif							/* STATS_H */
