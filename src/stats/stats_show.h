/*-------------------------------------------------------------------------
 *
 * stats_show.h
 *	  What the functions that show statistics share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STATS_SHOW_H
#define STATS_SHOW_H

#include "stats/stats_table.h"
#include "wake/wake.h"

/* The tables that the statistics of a queue are about */
typedef struct OnceStatsTables
{
	bool		distributed;	/* by Citus: the messages are in the other
								 * tables */
	int			n;
	Oid		   *relids;			/* that of the queue, and its shards on this
								 * node */
	char	   *problem;		/* why the shards are not known, or NULL */
} OnceStatsTables;

extern void once_stats_hint(void);
extern bool once_stats_tables(Oid relid, OnceStatsTables *tables);
extern bool once_stats_sum(const OnceStatsTables *tables, OnceStats *sum);
extern bool once_stats_waiting(const OnceStatsTables *tables, OnceWaiting **waiting, int *n);

#endif							/* STATS_SHOW_H */
