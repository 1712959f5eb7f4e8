/*-------------------------------------------------------------------------
 *
 * worker_schedule.c
 *	  Messages that are sent at due times.
 *
 * A row of once.schedule says what is sent, when it is due, and which due time was done
 * last.  One transaction sends the message and stores its due time, and holds
 * once_options_lock for the schedule.  So there is exactly one message for each due time,
 * no matter how many sessions run the schedule.  The message also has a dedup_id, which is
 * made of the schedule's name and the due time.  It is for servers that do not see each
 * other's transactions.  (In distributed queues, there are no dedup_ids.)
 *
 * The message is sent as the role that created the schedule, if the caller may SET ROLE to
 * it.  Other callers leave the schedule alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "meta/meta_catalog.h"
#include "meta/meta_role.h"
#include "miscadmin.h"
#include "once_args.h"
#include "once_debug.h"
#include "qam/qam.h"
#include "queue/queue_dedup.h"
#include "queue/queue_open.h"
#include "queue/queue_try.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "worker/worker_schedule.h"
#include "worker/worker_table.h"

/* Due times that one step does at most */
#define MOST_AT_ONCE		100

/* With catch_up = 'skip', a due time longer ago than this is skipped; microseconds */
#define SKIP_AFTER			(5 * USECS_PER_MINUTE)

/* A row of once.schedule */
typedef struct Schedule
{
	HeapTuple	tuple;
	Datum		values[Natts_schedule];
	bool		isnull[Natts_schedule];
	OnceDue		due;
	TimestampTz last_due;
} Schedule;

static bool read_schedule(Relation rel, HeapTuple tuple, Schedule *schedule);
static Oid	role_of(const Schedule *schedule);
static bool has(const Schedule *schedule, AttrNumber anum, const char *value);
static int	due_times(const Schedule *schedule, TimestampTz now, TimestampTz *times,
					  TimestampTz *last);
static TimestampTz skip_missed(const Schedule *schedule, TimestampTz now);
static void send_as(const Schedule *schedule, Oid role, const TimestampTz *times, int n,
					OnceLimit *limit);
static void send_one(const Schedule *schedule, const char *queue, TimestampTz due_at);
static Datum headers_of(const Schedule *schedule, const char *due_at);
static void write_down(Relation rel, const Schedule *schedule, TimestampTz last_due,
					   const char *error);

/*
 * once_schedule_next finds the first due time after an instant.  False: there is none.
 */
bool
once_schedule_next(const OnceDue *due, TimestampTz after, TimestampTz *next)
{
	int64		passed = Max(after - due->begins_at, 0);

	if (due->by_clock)
		return once_cron_next(&due->cron, due->timezone, after, next);
	*next = due->begins_at + (passed / due->every + 1) * due->every;
	return IS_VALID_TIMESTAMP(*next);
}

/*
 * once_schedule_names returns the names of all schedules that the caller may run.
 */
List *
once_schedule_names(void)
{
	Relation	rel = once_schema_open(ONCE_SCHEDULE_TABLE, Natts_schedule, AccessShareLock);
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, once_table_rows(rel))
	{
		Schedule	schedule;
		Oid			role;

		heap_deform_tuple(lfirst(lc), RelationGetDescr(rel), schedule.values, schedule.isnull);
		role = role_of(&schedule);
		if (OidIsValid(role) ? once_may_set_role(GetUserId(), role) : superuser())
			names = lappend(names,
							TextDatumGetCString(schedule.values[Anum_schedule_name - 1]));
	}
	table_close(rel, AccessShareLock);
	return names;
}

/*
 * once_schedule_run sends the messages of a schedule that are due.  Returns whether there
 * may be more.  Code of users is cancelled when the limit is up.
 */
bool
once_schedule_run(const char *name, OnceLimit *limit)
{
	Relation	rel;
	Schedule	schedule;
	TimestampTz times[MOST_AT_ONCE];
	TimestampTz last;
	Oid			role;
	int			n;

	/* Another session runs the schedule, or changes it */
	if (!once_options_try_lock(ONCE_SCHEDULE_LOCK, name))
		return false;
	once_debug_point("schedule_locked");
	rel = once_schema_open(ONCE_SCHEDULE_TABLE, Natts_schedule, RowExclusiveLock);
	schedule.tuple = once_table_find(rel, name);
	if (schedule.tuple == NULL || !read_schedule(rel, schedule.tuple, &schedule) ||
		(n = due_times(&schedule, GetCurrentTimestamp(), times, &last)) < 0)
	{
		table_close(rel, RowExclusiveLock);
		return false;
	}

	role = role_of(&schedule);
	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\", which created the schedule, does not exist",
						NameStr(*DatumGetName(schedule.values[Anum_schedule_role - 1]))),
				 errhint("Drop the schedule, and create it as another role.")));
	if (!once_may_set_role(GetUserId(), role))
		n = 0;
	else
	{
		send_as(&schedule, role, times, n, limit);
		write_down(rel, &schedule, last, NULL);
	}
	table_close(rel, NoLock);
	return n == MOST_AT_ONCE;
}

/*
 * once_schedule_note stores the error of a run.  False: the same error is stored already.
 */
bool
once_schedule_note(const char *name, const char *error)
{
	Relation	rel;
	Schedule	schedule;
	bool		news = false;

	if (!once_options_try_lock(ONCE_SCHEDULE_LOCK, name))
		return true;
	rel = once_schema_open(ONCE_SCHEDULE_TABLE, Natts_schedule, RowExclusiveLock);
	schedule.tuple = once_table_find(rel, name);
	if (schedule.tuple != NULL)
	{
		heap_deform_tuple(schedule.tuple, RelationGetDescr(rel), schedule.values,
						  schedule.isnull);
		news = !has(&schedule, Anum_schedule_last_error, error);
		if (news)
			write_down(rel, &schedule, 0, error);
	}
	table_close(rel, NoLock);
	return news;
}

/*
 * once_schedule_earliest returns the earliest due time that is not done, or DT_NOEND.  It
 * leaves out schedules whose last run has failed: those are tried again at the next pass
 * that is due anyway.
 */
TimestampTz
once_schedule_earliest(void)
{
	Relation	rel = once_schema_open(ONCE_SCHEDULE_TABLE, Natts_schedule, AccessShareLock);
	TimestampTz earliest = DT_NOEND;
	ListCell   *lc;

	foreach(lc, once_table_rows(rel))
	{
		Schedule	schedule;
		TimestampTz next;

		if (heap_attisnull(lfirst(lc), Anum_schedule_last_error, NULL) &&
			read_schedule(rel, lfirst(lc), &schedule) &&
			once_schedule_next(&schedule.due, schedule.last_due, &next))
			earliest = Min(earliest, next);
	}
	table_close(rel, AccessShareLock);
	return earliest;
}

/*
 * read_schedule reads a row.  False: it has no due times.  create_schedule has checked the
 * row.  But it may come from another server, and then reading may raise an error.
 */
static bool
read_schedule(Relation rel, HeapTuple tuple, Schedule *schedule)
{
	Datum	   *values = schedule->values;

	heap_deform_tuple(tuple, RelationGetDescr(rel), values, schedule->isnull);
	schedule->due.by_clock = !schedule->isnull[Anum_schedule_cron - 1];
	schedule->due.begins_at = DatumGetTimestampTz(values[Anum_schedule_begins_at - 1]);
	schedule->last_due = schedule->isnull[Anum_schedule_last_due - 1] ?
		schedule->due.begins_at : DatumGetTimestampTz(values[Anum_schedule_last_due - 1]);
	if (schedule->due.by_clock)
	{
		once_cron_parse(&schedule->due.cron,
						TextDatumGetCString(values[Anum_schedule_cron - 1]));
		schedule->due.timezone =
			once_cron_timezone(TextDatumGetCString(values[Anum_schedule_timezone - 1]));
		return true;
	}
	if (schedule->isnull[Anum_schedule_every - 1])
		return false;
	schedule->due.every =
		once_interval_usec(DatumGetIntervalP(values[Anum_schedule_every - 1]));
	return schedule->due.every > 0;
}

static Oid
role_of(const Schedule *schedule)
{
	return once_table_role(NameStr(*DatumGetName(schedule->values[Anum_schedule_role - 1])),
						   schedule->isnull[Anum_schedule_role_id - 1] ? NULL :
						   TextDatumGetCString(schedule->values[Anum_schedule_role_id - 1]));
}

/*
 * has tells whether a column of type text has a value.
 */
static bool
has(const Schedule *schedule, AttrNumber anum, const char *value)
{
	return !schedule->isnull[anum - 1] &&
		strcmp(TextDatumGetCString(schedule->values[anum - 1]), value) == 0;
}

/*
 * due_times finds the due times for which to send a message, at most MOST_AT_ONCE.
 * *last: the last due time that is done by that.  Returns how many, or -1 if nothing is
 * due.
 */
static int
due_times(const Schedule *schedule, TimestampTz now, TimestampTz *times, TimestampTz *last)
{
	bool		all = has(schedule, Anum_schedule_catch_up, "all");
	TimestampTz next;
	int			n = 0;

	*last = schedule->last_due;

	if (!all)
		*last = skip_missed(schedule, now);
	while (once_schedule_next(&schedule->due, *last, &next) && next <= now)
	{
		CHECK_FOR_INTERRUPTS();
		*last = next;
		if (!all)
			n = 0;
		times[n++] = next;
		if (n == MOST_AT_ONCE)
			break;
	}
	if (n == 0)
		return -1;
	if (all)
		return n;
	if (has(schedule, Anum_schedule_catch_up, "skip") && now - *last > SKIP_AFTER)
		return 0;
	return 1;
}

/*
 * skip_missed returns an instant from which to search for the last due time before now.
 * It saves going through all due times of a long time in which nobody ran the schedule.
 */
static TimestampTz
skip_missed(const Schedule *schedule, TimestampTz now)
{
	static const int64 spans[] = {
		USECS_PER_HOUR, USECS_PER_DAY, 32 * USECS_PER_DAY, 367 * USECS_PER_DAY
	};
	TimestampTz next;
	int			i;

	if (!schedule->due.by_clock)
		return Max(schedule->last_due, now - 2 * schedule->due.every);
	for (i = 0; i < lengthof(spans); i++)
		if (now - spans[i] > schedule->last_due &&
			once_schedule_next(&schedule->due, now - spans[i], &next) && next <= now)
			return now - spans[i];
	return schedule->last_due;
}

/*
 * send_as sends a message for each of some due times, as a role.
 *
 * Triggers that the caller's transaction has deferred fire before, as the caller.  Those
 * of the messages fire here, as the role, also if a trigger has deferred others.
 */
static void
send_as(const Schedule *schedule, Oid role, const TimestampTz *times, int n, OnceLimit *limit)
{
	char	   *queue = TextDatumGetCString(schedule->values[Anum_schedule_queue - 1]);
	OnceRole	saved;
	int			i;

	once_try_set_immediate();
	once_limit_arm(limit);
	once_role_assume(&saved, role, true);
	for (i = 0; i < n; i++)
		send_one(schedule, queue, times[i]);
	once_try_set_immediate();
	once_role_drop(&saved);
	once_limit_disarm();
}

static void
send_one(const Schedule *schedule, const char *queue_name, TimestampTz due_at)
{
	char		due[MAXDATELEN + 1];
	int			utc = 0;
	OnceNewRow	row = {.priority = QAM_DEFAULT_PRIORITY};
	OnceNewRows batch = {.rows = &row,.nrows = 1,.deliver_at = DT_NOBEGIN,.expires_at = DT_NOBEGIN};
	OnceDedup	dedup = {0};
	OnceQueue	queue;

	JsonEncodeDateTime(due, TimestampTzGetDatum(due_at), TIMESTAMPTZOID, &utc);
	row.payload_null = schedule->isnull[Anum_schedule_payload - 1];
	row.payload = schedule->values[Anum_schedule_payload - 1];
	row.group_id_null = schedule->isnull[Anum_schedule_group_id - 1];
	row.group_id = schedule->values[Anum_schedule_group_id - 1];
	row.headers = headers_of(schedule, due);

	once_queue_open(&queue, queue_name, ONCE_TO_SEND, "once.maintain()");
	once_queue_check_sending(&queue);
	if (!queue.meta.distributed)
	{
		once_dedup_begin(&dedup, 1);
		once_dedup_add(&dedup, 0,
					   CStringGetTextDatum(psprintf("schedule %s %s",
													TextDatumGetCString(schedule->values[Anum_schedule_name - 1]),
													due)),
					   "dedup_id");
	}
	once_dedup_insert(&queue, &batch, &dedup);
	once_queue_close(&queue);
}

/*
 * headers_of returns the headers of a message: those of the schedule, its name and the
 * due time.
 */
static Datum
headers_of(const Schedule *schedule, const char *due_at)
{
	char	   *own = psprintf("{\"schedule\": \"%s\", \"due_at\": \"%s\"}",
							   TextDatumGetCString(schedule->values[Anum_schedule_name - 1]),
							   due_at);
	Datum		headers = DirectFunctionCall1(jsonb_in, CStringGetDatum(own));

	if (schedule->isnull[Anum_schedule_headers - 1])
		return headers;
	return DirectFunctionCall2(jsonb_concat, schedule->values[Anum_schedule_headers - 1],
							   headers);
}

/*
 * write_down stores the last due time that is done, or else an error.
 */
static void
write_down(Relation rel, const Schedule *schedule, TimestampTz last_due, const char *error)
{
	Datum		values[Natts_schedule] = {0};
	bool		isnull[Natts_schedule] = {0};
	bool		replace[Natts_schedule] = {0};

	replace[Anum_schedule_last_due - 1] = error == NULL;
	values[Anum_schedule_last_due - 1] = TimestampTzGetDatum(last_due);
	replace[Anum_schedule_last_error - 1] = true;
	isnull[Anum_schedule_last_error - 1] = error == NULL;
	replace[Anum_schedule_last_error_at - 1] = error != NULL;
	values[Anum_schedule_last_error_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	if (error != NULL)
		values[Anum_schedule_last_error - 1] = CStringGetTextDatum(error);
	once_table_write(rel, schedule->tuple, values, isnull, replace);
}
