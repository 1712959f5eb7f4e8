/*-------------------------------------------------------------------------
 *
 * once_args.c
 *	  Reading and checking arguments of all kinds of functions.
 *
 * A bad argument is an error that names the argument and what is allowed.
 * Arguments are counted from zero, as PG_GETARG_* does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "common/int.h"
#include "once_args.h"
#include "once_error.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static bool is_name_start(char c);
static bool is_name_part(char c);

/*
 * once_check_name raises an error unless a queue or a ledger can have this name.
 * what: "queue" or "ledger".
 */
void
once_check_name(const char *what, const char *name)
{
	const char *p = name;
	bool		good = is_name_start(*p);

	while (good && *p != '\0')
		good = is_name_part(*p++);

	if (!good || strlen(name) > ONCE_MAX_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid %s name: \"%s\"", what, name),
				 errdetail("A %s name is an ASCII letter or underscore followed by ASCII letters, digits, underscores and hyphens, at most %d bytes in all.",
						   what, ONCE_MAX_NAME)));
}

/*
 * once_arg_bool returns a boolean argument, which must not be NULL.
 */
bool
once_arg_bool(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		once_arg_refuse_null(name);
	return PG_GETARG_BOOL(argno);
}

/*
 * once_arg_int returns an integer argument.  It raises an error if the argument
 * is NULL or out of range.
 */
int
once_arg_int(FunctionCallInfo fcinfo, int argno, const char *name, int min, int max)
{
	int			value;

	if (PG_ARGISNULL(argno))
		once_arg_refuse_null(name);
	value = PG_GETARG_INT32(argno);
	if (value < min || value > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between %d and %d", name, min, max),
				 errdetail("The value given is %d.", value)));
	return value;
}

/*
 * once_arg_array returns an argument that is a list of elements of a type: an array of
 * one dimension, or an empty one.  NULL is read as an empty one, because array_agg()
 * returns NULL for no rows.  The elements are not checked.
 */
ArrayType *
once_arg_array(FunctionCallInfo fcinfo, int argno, const char *name, Oid type)
{
	ArrayType  *array;

	if (PG_ARGISNULL(argno))
		return construct_empty_array(type);
	array = PG_GETARG_ARRAYTYPE_P(argno);
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a one-dimensional array", name)));
	return array;
}

/*
 * once_arg_role returns argument "role": the name of a role that exists, or
 * "public".
 */
char *
once_arg_role(FunctionCallInfo fcinfo, int argno)
{
	char	   *role;

	if (PG_ARGISNULL(argno))
		once_arg_refuse_null("role");
	role = text_to_cstring(PG_GETARG_TEXT_PP(argno));

	/* A command would truncate a name that is too long, so check it here. */
	if (strcmp(role, "public") != 0)
		(void) get_role_oid(role, false);
	return role;
}

/*
 * once_interval_usec turns an interval into microseconds: a day has 24 hours
 * and a month has 30 days, so that an interval always has the same length.  A
 * result out of range becomes the largest or smallest int64.
 */
int64
once_interval_usec(const Interval *interval)
{
	int64		days = (int64) interval->month * DAYS_PER_MONTH + interval->day;
	int64		usec;

	if (pg_mul_s64_overflow(days, USECS_PER_DAY, &usec))
		return days < 0 ? PG_INT64_MIN : PG_INT64_MAX;
	if (pg_add_s64_overflow(usec, interval->time, &usec))
		return interval->time < 0 ? PG_INT64_MIN : PG_INT64_MAX;
	return usec;
}

/*
 * once_interval_text returns an interval as text, in the caller's IntervalStyle.
 */
char *
once_interval_text(const Interval *interval)
{
	return DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(interval)));
}

/*
 * once_arg_interval returns an interval argument in microseconds.  The argument
 * must not be NULL.
 */
int64
once_arg_interval(FunctionCallInfo fcinfo, int argno)
{
	return once_interval_usec(PG_GETARG_INTERVAL_P(argno));
}

/*
 * once_arg_span returns an interval argument in microseconds.  It raises an error
 * unless that is at least min (or, if min is 0, greater than zero) and at most
 * ONCE_MAX_DAYS.  name and min_text are the words for the argument and for min in
 * the message.  The argument must not be NULL.
 */
int64
once_arg_span(FunctionCallInfo fcinfo, int argno, const char *name,
			  int64 min, const char *min_text)
{
	int64		span = once_arg_interval(fcinfo, argno);

	if (span <= 0 || span < min || span > ONCE_MAX_DAYS * USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 min == 0 ?
				 errmsg("%s must be greater than zero and at most %d days",
						name, ONCE_MAX_DAYS) :
				 errmsg("%s must be between %s and %d days",
						name, min_text, ONCE_MAX_DAYS),
				 once_arg_errdetail_interval(fcinfo, argno)));
	return span;
}

/*
 * once_arg_errdetail_interval is the detail of an error about an interval
 * argument that is out of range.
 */
int
once_arg_errdetail_interval(FunctionCallInfo fcinfo, int argno)
{
	return errdetail("The value given is %s.",
					 once_interval_text(PG_GETARG_INTERVAL_P(argno)));
}

/*
 * once_arg_refuse_null raises the error for an argument that must not be NULL.
 */
void
once_arg_refuse_null(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s must not be null", name)));
}

/*
 * once_raise_no_queue raises once_queue_not_found for a name.
 */
void
once_raise_no_queue(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_ONCE_QUEUE_NOT_FOUND),
			 errmsg("queue \"%s\" does not exist", name),
			 errhint("once.list_queues() lists the queues of this database.  Names are case-sensitive.")));
}

static bool
is_name_start(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool
is_name_part(char c)
{
	return is_name_start(c) || (c >= '0' && c <= '9') || c == '-';
}
