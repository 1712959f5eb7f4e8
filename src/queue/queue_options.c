/*-------------------------------------------------------------------------
 *
 * queue_options.c
 *	  The options of a queue as arguments of create_queue and alter_queue, and those of
 *	  a distributed queue as list_queues shows them.
 *
 * Both take the same options in the same order.  alter_queue leaves an option
 * alone if its argument is NULL.  Because some options are off when they are
 * NULL, it also takes the names of options that are to return to the defaults
 * of create_queue.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "meta/meta_catalog.h"
#include "meta/meta_parameters.h"
#include "once_args.h"
#include "queue/queue_archive.h"
#include "queue/queue_args.h"
#include "queue/queue_dedup.h"
#include "queue/queue_open.h"
#include "queue/queue_options.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

/* In the order of the arguments */
typedef enum Option
{
	OPTION_MAX_ATTEMPTS,
	OPTION_RETRY_DELAY,
	OPTION_RETRY_DELAY_MAX,
	OPTION_DEDUP_WINDOW,
	OPTION_ARCHIVE,
	OPTION_TTL,
	OPTION_TTL_ACTION,
	OPTION_RETENTION
} Option;

#define NOPTIONS				(OPTION_RETENTION + 1)

/* Arguments of alter_queue */
#define ARG_ALTER_OPTIONS		1
#define ARG_ALTER_RESET			(ARG_ALTER_OPTIONS + NOPTIONS)

static const struct
{
	const char *name;
	bool		may_be_off;
}			option_made[NOPTIONS] = {
	{"max_attempts", false},
	{"retry_delay", false},
	{"retry_delay_max", false},
	{"dedup_window", false},
	{"archive", true},
	{"ttl", true},
	{"ttl_action", false},
	{"retention", true}
};

/* Columns of once.distributed_options */
enum
{
	COL_MAX_ATTEMPTS,
	COL_RETRY_DELAY,
	COL_RETRY_DELAY_MAX,
	COL_TTL,
	COL_TTL_ACTION,
	COL_RETENTION,
	COL_SEND_PAUSED,
	COL_CONSUME_PAUSED,
	NDISTRIBUTED_COLUMNS
};

PG_FUNCTION_INFO_V1(once_alter_queue);
PG_FUNCTION_INFO_V1(once_distributed_options);

static void set_option(FunctionCallInfo fcinfo, int argno, Option option,
					   OnceOptions *options);
static void copy_option(Option option, OnceOptions *into, const OnceOptions *from);
static bool arg_drop_expired(FunctionCallInfo fcinfo, int argno);
static void arg_reset(FunctionCallInfo fcinfo, bool *reset);
static void check_retry_delays(const OnceOptions *options);
static void refuse_local_options(FunctionCallInfo fcinfo, const char *name,
								 const OnceOptions *given, const OnceOptions *old);
static Datum interval_of(int64 usec);

/*
 * once_options_from_args returns the options of a queue to be created.  They
 * are the arguments from argno on.
 */
void
once_options_from_args(FunctionCallInfo fcinfo, int argno, OnceOptions *options)
{
	int			i;

	once_options_default(options);
	for (i = 0; i < NOPTIONS; i++)
	{
		if (!PG_ARGISNULL(argno + i))
			set_option(fcinfo, argno + i, i, options);
		else if (!option_made[i].may_be_off)
			once_arg_refuse_null(option_made[i].name);
	}
	check_retry_delays(options);
}

/*
 * once.alter_queue: changes options.
 */
Datum
once_alter_queue(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);
	OnceOptions given;
	OnceOptions options;
	bool		reset[NOPTIONS];
	OnceQueue	queue;
	Oid			relid;
	bool		distributed;
	int			i;

	arg_reset(fcinfo, reset);
	once_options_default(&given);
	for (i = 0; i < NOPTIONS; i++)
	{
		if (PG_ARGISNULL(ARG_ALTER_OPTIONS + i))
			continue;
		if (reset[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" cannot be both set and reset",
							option_made[i].name)));
		set_option(fcinfo, ARG_ALTER_OPTIONS + i, i, &given);
	}

	once_queue_open(&queue, name, ONCE_TO_ALTER, "once.alter_queue()");
	once_parameters_refuse_shard(&queue.meta);
	relid = RelationGetRelid(queue.heap);
	distributed = queue.meta.distributed;
	once_options_lock(ONCE_QUEUE_PREFIX, name);
	if (!once_options_read(name, &options))
		once_options_default(&options);
	if (distributed)
		refuse_local_options(fcinfo, name, &given, &options);
	for (i = 0; i < NOPTIONS; i++)
	{
		if (reset[i] || !PG_ARGISNULL(ARG_ALTER_OPTIONS + i))
			copy_option(i, &options, &given);
	}
	check_retry_delays(&options);

	/* Before the write, so that a rollback discards what we remember of it */
	CacheInvalidateRelcache(queue.heap);
	once_options_write(name, &options, false);
	if (!distributed)
		once_dedup_make(queue.heap, name);
	if (given.archive.set)
		once_archive_make(queue.heap, name);
	once_queue_close(&queue);
	if (distributed)
		once_parameters_carry(relid, &options);
	PG_RETURN_VOID();
}

/*
 * refuse_local_options raises an error if alter_queue is to give a distributed queue
 * what it cannot have: an archive, or another dedup_window.
 */
static void
refuse_local_options(FunctionCallInfo fcinfo, const char *name, const OnceOptions *given,
					 const OnceOptions *old)
{
	if (given->archive.set)
		once_parameters_raise_local(name, option_made[OPTION_ARCHIVE].name);
	if (!PG_ARGISNULL(ARG_ALTER_OPTIONS + OPTION_DEDUP_WINDOW) &&
		once_interval_usec(&given->dedup_window) != once_interval_usec(&old->dedup_window))
		once_parameters_raise_local(name, option_made[OPTION_DEDUP_WINDOW].name);
}

/*
 * set_option checks an argument, which must not be NULL, and sets the option.
 */
static void
set_option(FunctionCallInfo fcinfo, int argno, Option option, OnceOptions *options)
{
	const char *name = option_made[option].name;

	switch (option)
	{
		case OPTION_MAX_ATTEMPTS:
			options->max_attempts = once_arg_int(fcinfo, argno, name, 1, ONCE_MAX_MAX_ATTEMPTS);
			break;
		case OPTION_RETRY_DELAY:
			(void) once_queue_arg_delay(fcinfo, argno, name, ONCE_MAX_DELAY_DAYS);
			options->retry_delay = *PG_GETARG_INTERVAL_P(argno);
			break;
		case OPTION_RETRY_DELAY_MAX:
			(void) once_queue_arg_delay(fcinfo, argno, name, ONCE_MAX_DELAY_DAYS);
			options->retry_delay_max = *PG_GETARG_INTERVAL_P(argno);
			break;
		case OPTION_DEDUP_WINDOW:
			(void) once_arg_span(fcinfo, argno, name, 0, NULL);
			options->dedup_window = *PG_GETARG_INTERVAL_P(argno);
			break;
		case OPTION_ARCHIVE:
			(void) once_arg_span(fcinfo, argno, name, ONCE_MIN_ARCHIVE, "1 minute");
			options->archive.set = true;
			options->archive.value = *PG_GETARG_INTERVAL_P(argno);
			break;
		case OPTION_TTL:
			(void) once_arg_span(fcinfo, argno, name, 0, NULL);
			options->ttl.set = true;
			options->ttl.value = *PG_GETARG_INTERVAL_P(argno);
			break;
		case OPTION_TTL_ACTION:
			options->drop_expired = arg_drop_expired(fcinfo, argno);
			break;
		case OPTION_RETENTION:
			(void) once_arg_span(fcinfo, argno, name, 0, NULL);
			options->retention.set = true;
			options->retention.value = *PG_GETARG_INTERVAL_P(argno);
			break;
	}
}

/*
 * copy_option copies one option.
 */
static void
copy_option(Option option, OnceOptions *into, const OnceOptions *from)
{
	switch (option)
	{
		case OPTION_MAX_ATTEMPTS:
			into->max_attempts = from->max_attempts;
			break;
		case OPTION_RETRY_DELAY:
			into->retry_delay = from->retry_delay;
			break;
		case OPTION_RETRY_DELAY_MAX:
			into->retry_delay_max = from->retry_delay_max;
			break;
		case OPTION_DEDUP_WINDOW:
			into->dedup_window = from->dedup_window;
			break;
		case OPTION_ARCHIVE:
			into->archive = from->archive;
			break;
		case OPTION_TTL:
			into->ttl = from->ttl;
			break;
		case OPTION_TTL_ACTION:
			into->drop_expired = from->drop_expired;
			break;
		case OPTION_RETENTION:
			into->retention = from->retention;
			break;
	}
}

static bool
arg_drop_expired(FunctionCallInfo fcinfo, int argno)
{
	char	   *word = text_to_cstring(PG_GETARG_TEXT_PP(argno));

	if (strcmp(word, ONCE_TTL_DROP) == 0)
		return true;
	if (strcmp(word, ONCE_TTL_DEAD_LETTER) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ttl_action must be \"%s\" or \"%s\"",
						ONCE_TTL_DEAD_LETTER, ONCE_TTL_DROP),
				 errdetail("The value given is \"%s\".", word)));
	return false;
}

/*
 * arg_reset reads argument "reset" of alter_queue.  reset[i] becomes true if
 * it names option i.
 */
static void
arg_reset(FunctionCallInfo fcinfo, bool *reset)
{
	Datum	   *elems;
	bool	   *isnull;
	int			n;
	int			i;
	int			option;

	deconstruct_array(once_arg_array(fcinfo, ARG_ALTER_RESET, "reset", TEXTOID), TEXTOID, -1,
					  false, TYPALIGN_INT, &elems, &isnull, &n);

	memset(reset, 0, sizeof(bool) * NOPTIONS);
	for (i = 0; i < n; i++)
	{
		char	   *name;

		if (isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("reset must not contain nulls")));
		name = TextDatumGetCString(elems[i]);
		for (option = 0; option < NOPTIONS; option++)
		{
			if (strcmp(name, option_made[option].name) == 0)
				break;
		}
		if (option == NOPTIONS)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("reset must name options of a queue"),
					 errdetail("\"%s\" is not an option of a queue.", name),
					 errhint("Options are max_attempts, retry_delay, retry_delay_max, dedup_window, archive, ttl, ttl_action and retention.")));
		reset[option] = true;
	}
}

static void
check_retry_delays(const OnceOptions *options)
{
	if (once_interval_usec(&options->retry_delay) >
		once_interval_usec(&options->retry_delay_max))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("retry_delay_max must not be less than retry_delay"),
				 errdetail("retry_delay_max is %s, and retry_delay is %s.",
						   once_interval_text(&options->retry_delay_max),
						   once_interval_text(&options->retry_delay)),
				 errhint("Set both of them in the same call.")));
}

/*
 * once.distributed_options: the options of a queue that is distributed, or of a shard.
 * No row if the table is neither.
 */
Datum
once_distributed_options(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	QamParameters parameters;
	Datum		values[NDISTRIBUTED_COLUMNS];
	bool		isnull[NDISTRIBUTED_COLUMNS] = {0};

	InitMaterializedSRF(fcinfo, 0);
	if (!once_parameters_read(PG_GETARG_OID(0), &parameters))
		return (Datum) 0;
	values[COL_MAX_ATTEMPTS] = Int32GetDatum(parameters.retry.max_attempts);
	values[COL_RETRY_DELAY] = interval_of(parameters.retry.delay);
	values[COL_RETRY_DELAY_MAX] = interval_of(parameters.retry.delay_max);
	values[COL_TTL] = interval_of(parameters.ttl);
	isnull[COL_TTL] = parameters.ttl == 0;
	values[COL_TTL_ACTION] =
		CStringGetTextDatum(parameters.drop_expired ? ONCE_TTL_DROP : ONCE_TTL_DEAD_LETTER);
	values[COL_RETENTION] = interval_of(parameters.retention);
	isnull[COL_RETENTION] = parameters.retention == 0;
	values[COL_SEND_PAUSED] = BoolGetDatum(parameters.send_paused);
	values[COL_CONSUME_PAUSED] = BoolGetDatum(parameters.consume_paused);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
	return (Datum) 0;
}

static Datum
interval_of(int64 usec)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->day = (int32) (usec / USECS_PER_DAY);
	interval->time = usec % USECS_PER_DAY;
	return IntervalPGetDatum(interval);
}
