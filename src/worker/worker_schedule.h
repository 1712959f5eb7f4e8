/*-------------------------------------------------------------------------
 *
 * worker_schedule.h
 *	  Messages that are sent at due times.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_SCHEDULE_H
#define WORKER_SCHEDULE_H

#include "once_limit.h"
#include "utils/timestamp.h"
#include "worker/worker_cron.h"

#define ONCE_SCHEDULE_TABLE		"schedule"

/* The prefix in once_options_lock for schedules; no table of a queue begins like this */
#define ONCE_SCHEDULE_LOCK		"schedule "

/* Columns of once.schedule */
#define Natts_schedule				16
#define Anum_schedule_name			1
#define Anum_schedule_queue			2
#define Anum_schedule_cron			3
#define Anum_schedule_every			4
#define Anum_schedule_payload		5
#define Anum_schedule_headers		6
#define Anum_schedule_group_id		7
#define Anum_schedule_timezone		8
#define Anum_schedule_catch_up		9
#define Anum_schedule_role			10
#define Anum_schedule_role_id		11
#define Anum_schedule_created_at	12
#define Anum_schedule_begins_at		13
#define Anum_schedule_last_due		14
#define Anum_schedule_last_error	15
#define Anum_schedule_last_error_at 16

/* When something is due: by the clock, or at intervals */
typedef struct OnceDue
{
	bool		by_clock;
	OnceCron	cron;
	pg_tz	   *timezone;
	int64		every;			/* microseconds */
	TimestampTz begins_at;		/* intervals count from this time */
} OnceDue;

extern bool once_schedule_next(const OnceDue *due, TimestampTz after, TimestampTz *next);
extern List *once_schedule_names(void);
extern bool once_schedule_run(const char *name, OnceLimit *limit);
extern bool once_schedule_note(const char *name, const char *error);
extern TimestampTz once_schedule_earliest(void);

#endif							/* WORKER_SCHEDULE_H */
