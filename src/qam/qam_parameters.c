/*-------------------------------------------------------------------------
 *
 * qam_parameters.c
 *	  Storage parameters of a queue index.
 *
 * They are set by CREATE INDEX ... WITH and ALTER INDEX ... SET.  Their limits are
 * those of once.alter_queue.  Times are given in seconds, and are exact to the
 * microsecond: the longest one has less than 53 bits in microseconds.
 *
 * Setting them takes a lock on the index that excludes neither those who send or
 * consume, nor VACUUM.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include <math.h>

#include "access/reloptions.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "qam/qam.h"
#include "qam/qam_parameters.h"
#include "utils/rel.h"

/* A time that is off */
#define OFF						(-1)

#define SECONDS(usec)			((double) (usec) / USECS_PER_SEC)
#define DAYS(days)				((double) (days) * SECS_PER_DAY)

/* The parameters as they are kept in rd_options; times are in seconds. */
typedef struct StoredParameters
{
	int32		vl_len_;		/* varlena header (do not touch directly!) */
	int			max_attempts;
	double		retry_delay;
	double		retry_delay_max;
	double		ttl;
	double		retention;
	bool		drop_expired;
	bool		send_paused;
	bool		consume_paused;
} StoredParameters;

static relopt_kind kind;

static void check_stored(const StoredParameters *stored);
static void check_span(const char *name, double seconds);
static void fill(const StoredParameters *stored, QamParameters *parameters);
static int64 usec_of(double seconds);
static void append_time(StringInfo text, const char *name, int64 usec);
static void append_span(StringInfo text, const char *name, int64 usec);
static void append_bool(StringInfo text, const char *name, bool value);

/*
 * qam_parameters_init tells the server about the parameters.  It is called once, when
 * the library is loaded.
 */
void
qam_parameters_init(void)
{
	kind = add_reloption_kind();
	add_int_reloption(kind, "max_attempts", "Deliveries of a message before it is dead",
					  ONCE_MAX_ATTEMPTS, 1, ONCE_MAX_MAX_ATTEMPTS, ShareUpdateExclusiveLock);
	add_real_reloption(kind, "retry_delay", "Pause after the first failed delivery, in seconds",
					   SECONDS(ONCE_RETRY_DELAY), 0, DAYS(ONCE_MAX_DELAY_DAYS),
					   ShareUpdateExclusiveLock);
	add_real_reloption(kind, "retry_delay_max", "Longest pause after a failed delivery, in seconds",
					   SECONDS(ONCE_RETRY_DELAY_MAX), 0, DAYS(ONCE_MAX_DELAY_DAYS),
					   ShareUpdateExclusiveLock);
	add_real_reloption(kind, "ttl", "Time to live of messages, in seconds; -1 is off",
					   OFF, OFF, DAYS(ONCE_MAX_DAYS), ShareUpdateExclusiveLock);
	add_real_reloption(kind, "retention", "How long dead letters are kept, in seconds; -1 is for ever",
					   OFF, OFF, DAYS(ONCE_MAX_DAYS), ShareUpdateExclusiveLock);
	add_bool_reloption(kind, "drop_expired", "Expired messages are deleted",
					   false, ShareUpdateExclusiveLock);
	add_bool_reloption(kind, "send_paused", "Sending is paused",
					   false, ShareUpdateExclusiveLock);
	add_bool_reloption(kind, "consume_paused", "Consuming is paused",
					   false, ShareUpdateExclusiveLock);
}

/*
 * qamoptions parses storage parameters.  validate: an error is raised for those that
 * are not good.
 */
bytea *
qamoptions(Datum reloptions, bool validate)
{
#define PARAMETER(name, type) \
	{.optname = #name, .opttype = RELOPT_TYPE_##type, .offset = offsetof(StoredParameters, name)}

	static const relopt_parse_elt elements[] = {
		PARAMETER(max_attempts, INT),
		PARAMETER(retry_delay, REAL),
		PARAMETER(retry_delay_max, REAL),
		PARAMETER(ttl, REAL),
		PARAMETER(retention, REAL),
		PARAMETER(drop_expired, BOOL),
		PARAMETER(send_paused, BOOL),
		PARAMETER(consume_paused, BOOL)
	};
#undef PARAMETER
	StoredParameters *stored = build_reloptions(reloptions, validate, kind,
												sizeof(StoredParameters),
												elements, lengthof(elements));

	if (validate && stored != NULL)
		check_stored(stored);
	return (bytea *) stored;
}

/*
 * qam_parameters returns the parameters of an open index, as far as this backend has
 * heard of changes.  NULL: all have their defaults.
 */
void
qam_parameters(Relation index, QamParameters *parameters)
{
	fill(index == NULL ? NULL : (StoredParameters *) index->rd_options, parameters);
}

/*
 * qam_parameters_read does the same for the value of pg_class.reloptions; 0 for NULL.
 */
void
qam_parameters_read(Datum reloptions, QamParameters *parameters)
{
	StoredParameters *stored = (StoredParameters *) qamoptions(reloptions, false);

	fill(stored, parameters);
	if (stored != NULL)
		pfree(stored);
}

/*
 * qam_parameters_text returns all parameters as ALTER INDEX ... SET takes them,
 * palloc'd.
 */
char *
qam_parameters_text(const QamParameters *parameters)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "max_attempts = %d", parameters->retry.max_attempts);
	append_time(&text, "retry_delay", parameters->retry.delay);
	append_time(&text, "retry_delay_max", parameters->retry.delay_max);
	append_span(&text, "ttl", parameters->ttl);
	append_span(&text, "retention", parameters->retention);
	append_bool(&text, "drop_expired", parameters->drop_expired);
	append_bool(&text, "send_paused", parameters->send_paused);
	append_bool(&text, "consume_paused", parameters->consume_paused);
	return text.data;
}

/*
 * check_stored checks what the limits of each parameter do not say.
 */
static void
check_stored(const StoredParameters *stored)
{
	check_span("ttl", stored->ttl);
	check_span("retention", stored->retention);
	if (usec_of(stored->retry_delay) > usec_of(stored->retry_delay_max))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("retry_delay_max must not be less than retry_delay"),
				 errdetail("retry_delay_max is %f seconds, and retry_delay is %f seconds.",
						   stored->retry_delay_max, stored->retry_delay),
				 errhint("Set both of them in the same command.")));
}

static void
check_span(const char *name, double seconds)
{
	if (seconds != OFF && usec_of(seconds) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value %g out of bounds for option \"%s\"", seconds, name),
				 errdetail("Valid values are -1, which is off, and times of at least a microsecond.")));
}

/*
 * fill turns stored parameters into those that others see.  NULL: none is set.
 */
static void
fill(const StoredParameters *stored, QamParameters *parameters)
{
	memset(parameters, 0, sizeof(QamParameters));
	if (stored == NULL)
	{
		parameters->retry.max_attempts = ONCE_MAX_ATTEMPTS;
		parameters->retry.delay = ONCE_RETRY_DELAY;
		parameters->retry.delay_max = ONCE_RETRY_DELAY_MAX;
		return;
	}
	parameters->retry.max_attempts = stored->max_attempts;
	parameters->retry.delay = usec_of(stored->retry_delay);
	parameters->retry.delay_max = usec_of(stored->retry_delay_max);
	parameters->ttl = Max(usec_of(stored->ttl), 0);
	parameters->retention = Max(usec_of(stored->retention), 0);
	parameters->drop_expired = stored->drop_expired;
	parameters->send_paused = stored->send_paused;
	parameters->consume_paused = stored->consume_paused;
}

static int64
usec_of(double seconds)
{
	return (int64) rint(seconds * USECS_PER_SEC);
}

static void
append_time(StringInfo text, const char *name, int64 usec)
{
	appendStringInfo(text, ", %s = " INT64_FORMAT, name, usec / USECS_PER_SEC);
	if (usec % USECS_PER_SEC != 0)
		appendStringInfo(text, ".%06d", (int) (usec % USECS_PER_SEC));
}

/*
 * append_span appends a time that may be off.
 */
static void
append_span(StringInfo text, const char *name, int64 usec)
{
	if (usec == 0)
		appendStringInfo(text, ", %s = %d", name, OFF);
	else
		append_time(text, name, usec);
}

static void
append_bool(StringInfo text, const char *name, bool value)
{
	appendStringInfo(text, ", %s = %s", name, value ? "true" : "false");
}
