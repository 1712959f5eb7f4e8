/*-------------------------------------------------------------------------
 *
 * stats_progress.h
 *	  How far long work has come, in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STATS_PROGRESS_H
#define STATS_PROGRESS_H

#include "datatype/timestamp.h"

/* Work that one backend does on a queue */
typedef struct OnceProgress
{
	int			pid;			/* 0: none */
	Oid			database;
	Oid			relid;
	char		work[16];
	TimestampTz since;
	int64		done;
	int64		total;			/* -1: not known */
} OnceProgress;

extern void once_stats_progress_init(void);
extern void once_stats_progress_read(void (*each) (void *arg, const OnceProgress *progress),
									 void *arg);

#endif							/* STATS_PROGRESS_H */
