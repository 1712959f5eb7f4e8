/*-------------------------------------------------------------------------
 *
 * worker_cron.h
 *	  Times by the wall clock: cron expressions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_CRON_H
#define WORKER_CRON_H

#include "datatype/timestamp.h"
#include "pgtime.h"

/* A cron expression: which values each field may have, as bits */
typedef struct OnceCron
{
	uint64		fields[5];		/* minute, hour, day, month (from 1), day of
								 * the week (0: Sunday) */
	bool		any_day;		/* the field of the day begins with "*" */
	bool		any_weekday;	/* and that of the day of the week */
} OnceCron;

extern void once_cron_parse(OnceCron *cron, const char *expression);
extern pg_tz *once_cron_timezone(const char *name);
extern bool once_cron_next(const OnceCron *cron, pg_tz *timezone, TimestampTz after,
						   TimestampTz *next);

#endif							/* WORKER_CRON_H */
