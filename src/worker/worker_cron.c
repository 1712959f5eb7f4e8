/*-------------------------------------------------------------------------
 *
 * worker_cron.c
 *	  Times by the wall clock: cron expressions.
 *
 * An expression names minutes of the wall clock of a time zone.  Each minute is due at
 * one instant:
 *
 *	- the instant at which the clock shows it;
 *	- the first of two such instants, if the clock is set back and shows it twice;
 *	- the instant at which the clock is set forward, if it skips the minute.
 *
 * So a later minute is never due at an earlier instant, and we find the next due time by
 * going through the minutes.  If the clock skips several minutes that an expression names,
 * they are due at the same instant, and this is one due time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "utils/datetime.h"
#include "utils/timestamp.h"
#include "worker/worker_cron.h"

#define NFIELDS		5

enum
{
	FIELD_MINUTE,
	FIELD_HOUR,
	FIELD_DAY,
	FIELD_MONTH,
	FIELD_WEEKDAY
};

/*
 * A due time is searched for in this time.  An expression can name a day only that comes
 * once in 40 years, for example a February 29 that is a Monday, around the year 2100.
 */
#define MAX_DAYS	(366 * 41)

static const char *const month_names[] = {
	"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", NULL
};
static const char *const weekday_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

static const struct
{
	const char *what;
	int			min;
	int			max;
	const char *const *names;	/* of min and those that follow */
}			fields[NFIELDS] = {
	{"minute", 0, 59, NULL},
	{"hour", 0, 23, NULL},
	{"day of the month", 1, 31, NULL},
	{"month", 1, 12, month_names},
	{"day of the week", 0, 7, weekday_names}
};

static const struct
{
	const char *name;
	const char *expression;
}			nicknames[] = {
	{"@yearly", "0 0 1 1 *"},
	{"@annually", "0 0 1 1 *"},
	{"@monthly", "0 0 1 * *"},
	{"@weekly", "0 0 * * 0"},
	{"@daily", "0 0 * * *"},
	{"@midnight", "0 0 * * *"},
	{"@hourly", "0 * * * *"}
};

/* Where the parser is */
typedef struct Parser
{
	const char *expression;		/* as it was given */
	int			field;			/* number of the current field, from 0 */
	const char *start;			/* of the current field */
	int			length;
	const char *p;				/* what comes next */
} Parser;

static const char *skip_spaces(const char *p);
static uint64 parse_field(Parser *parser);
static uint64 parse_item(Parser *parser);
static int	parse_value(Parser *parser);
static int	parse_number(Parser *parser, const char *what, int min, int max);
pg_noreturn static void refuse(Parser *parser, const char *detail);
static bool day_matches(const OnceCron *cron, int julian);
static bool next_of_day(const OnceCron *cron, pg_tz *timezone, int julian, TimestampTz after,
						TimestampTz *next);
static pg_time_t instant(pg_time_t local, pg_tz *timezone);

#define HAS(bits, n)	(((bits) >> (n)) & 1)

/*
 * once_cron_parse parses an expression.  An error names the field that is wrong.
 */
void
once_cron_parse(OnceCron *cron, const char *expression)
{
	Parser		parser = {.expression = expression};
	const char *p = skip_spaces(expression);
	int			i;

	if (*p == '@')
	{
		const char *nickname = p;
		int			length = strcspn(p, " \t");

		for (i = 0; i < lengthof(nicknames) && p == nickname; i++)
			if (strlen(nicknames[i].name) == length &&
				pg_strncasecmp(nicknames[i].name, nickname, length) == 0 &&
				*skip_spaces(nickname + length) == '\0')
				p = nicknames[i].expression;
		if (p == nickname)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid cron expression: \"%s\"", expression),
					 errdetail("The names are @yearly, @annually, @monthly, @weekly, @daily, @midnight and @hourly.")));
	}

	for (i = 0; i < NFIELDS; i++)
	{
		parser.field = i;
		parser.start = parser.p = p;
		parser.length = strcspn(p, " \t");
		if (parser.length == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid cron expression: \"%s\"", expression),
					 errdetail("Field %d (%s) is missing.", i + 1, fields[i].what)));
		cron->fields[i] = parse_field(&parser);
		p = skip_spaces(parser.p);
		if (i == FIELD_DAY)
			cron->any_day = *parser.start == '*';
		if (i == FIELD_WEEKDAY)
			cron->any_weekday = *parser.start == '*';
	}
	if (*p != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid cron expression: \"%s\"", expression),
				 errdetail("There is something after field 5: \"%s\".", p)));

	/* Sunday is 0 and 7 */
	if (HAS(cron->fields[FIELD_WEEKDAY], 7))
		cron->fields[FIELD_WEEKDAY] |= 1;
}

static const char *
skip_spaces(const char *p)
{
	return p + strspn(p, " \t");
}

/*
 * parse_field reads a list.
 */
static uint64
parse_field(Parser *parser)
{
	uint64		bits = parse_item(parser);

	while (*parser->p == ',')
	{
		parser->p++;
		bits |= parse_item(parser);
	}
	if (parser->p != parser->start + parser->length)
		refuse(parser, psprintf("\"%.*s\" is not expected here",
								(int) (parser->start + parser->length - parser->p), parser->p));
	return bits;
}

/*
 * parse_item reads "*", a value or a range, and perhaps a step.
 */
static uint64
parse_item(Parser *parser)
{
	int			max = fields[parser->field].max;
	int			from = fields[parser->field].min;
	int			to = max;
	int			step = 1;
	bool		single = false;
	uint64		bits = 0;

	if (*parser->p == '*')
	{
		parser->p++;
		if (parser->field == FIELD_WEEKDAY)
			to = 6;
	}
	else
	{
		from = parse_value(parser);
		single = *parser->p != '-';
		if (!single)
		{
			parser->p++;
			to = parse_value(parser);

			/* SAT-SUN */
			if (parser->field == FIELD_WEEKDAY && to == 0 && from > 0)
				to = 7;
			if (to < from)
				refuse(parser, "a range goes from the lower to the higher value");
		}
	}
	if (*parser->p == '/')
	{
		parser->p++;
		step = parse_number(parser, "a step", 1, max);
	}
	else if (single)
		to = from;

	for (; from <= to; from += step)
		bits |= UINT64CONST(1) << from;
	return bits;
}

/*
 * parse_value reads a number or a name.
 */
static int
parse_value(Parser *parser)
{
	int			min = fields[parser->field].min;
	const char *const *names = fields[parser->field].names;
	int			length = 0;
	int			i;

	while (isalpha((unsigned char) parser->p[length]))
		length++;
	if (length == 0)
		return parse_number(parser, "the value", min, fields[parser->field].max);
	for (i = 0; names != NULL && names[i] != NULL; i++)
	{
		if (length == 3 && pg_strncasecmp(names[i], parser->p, length) == 0)
		{
			parser->p += length;
			return min + i;
		}
	}
	refuse(parser, psprintf("\"%.*s\" is not a name of a value", length, parser->p));
	return 0;					/* keep compiler quiet */
}

static int
parse_number(Parser *parser, const char *what, int min, int max)
{
	int			length = strspn(parser->p, "0123456789");
	int			value = 0;
	int			i;

	for (i = 0; i < length && value <= max; i++)
		value = value * 10 + (parser->p[i] - '0');
	if (length == 0 || value < min || value > max)
		refuse(parser, psprintf("%s must be between %d and %d", what, min, max));
	parser->p += length;
	return value;
}

static void
refuse(Parser *parser, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid cron expression: \"%s\"", parser->expression),
			 errdetail("Field %d (%s), \"%.*s\": %s.", parser->field + 1,
					   fields[parser->field].what, parser->length, parser->start, detail)));
}

/*
 * once_cron_timezone returns the time zone of a name, or raises an error.
 */
pg_tz *
once_cron_timezone(const char *name)
{
	pg_tz	   *timezone = pg_tzset(name);

	if (timezone == NULL || !pg_tz_acceptable(timezone))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" not recognized", name),
				 errhint("The view pg_timezone_names has the names.")));
	return timezone;
}

/*
 * once_cron_next finds the first due time after an instant.  False: there is none.
 */
bool
once_cron_next(const OnceCron *cron, pg_tz *timezone, TimestampTz after, TimestampTz *next)
{
	pg_time_t	unix_time = timestamptz_to_time_t(after);
	struct pg_tm *tm = pg_localtime(&unix_time, timezone);
	int			julian;
	int			i;

	if (tm == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));

	/* A minute that the clock has skipped yesterday may be due today */
	julian = date2j(tm->tm_year + 1900, tm->tm_mon + 1, tm->tm_mday) - 1;
	for (i = 0; i < MAX_DAYS; i++)
		if (day_matches(cron, julian + i) &&
			next_of_day(cron, timezone, julian + i, after, next))
			return true;
	return false;
}

/*
 * day_matches tells whether something is due on a day.  If both the day of the month and
 * the day of the week are restricted, one of them must match, as in every cron.  A field
 * that begins with "*" does not count as restricted.
 */
static bool
day_matches(const OnceCron *cron, int julian)
{
	int			year;
	int			month;
	int			day;
	bool		by_day;
	bool		by_weekday;

	j2date(julian, &year, &month, &day);
	by_day = HAS(cron->fields[FIELD_DAY], day);
	by_weekday = HAS(cron->fields[FIELD_WEEKDAY], j2day(julian));
	if (!HAS(cron->fields[FIELD_MONTH], month))
		return false;
	if (cron->any_day || cron->any_weekday)
		return by_day && by_weekday;
	return by_day || by_weekday;
}

/*
 * next_of_day finds the first due time after an instant among the minutes of a day.
 */
static bool
next_of_day(const OnceCron *cron, pg_tz *timezone, int julian, TimestampTz after,
			TimestampTz *next)
{
	int			minute;

	for (minute = 0; minute < HOURS_PER_DAY * MINS_PER_HOUR; minute++)
	{
		if (!HAS(cron->fields[FIELD_HOUR], minute / MINS_PER_HOUR) ||
			!HAS(cron->fields[FIELD_MINUTE], minute % MINS_PER_HOUR))
			continue;
		*next = time_t_to_timestamptz(instant((pg_time_t) (julian - UNIX_EPOCH_JDATE) * SECS_PER_DAY +
											  minute * SECS_PER_MINUTE, timezone));
		if (*next > after)
			return true;
	}
	return false;
}

/*
 * instant returns when a local time is due.  local: the time as if it were UTC.
 */
static pg_time_t
instant(pg_time_t local, pg_tz *timezone)
{
	pg_time_t	day_before = local - SECS_PER_DAY;
	long		offset_before = 0;
	long		offset_after;
	int			isdst;
	pg_time_t	change;

	if (pg_next_dst_boundary(&day_before, &offset_before, &isdst, &change, &offset_after,
							 &isdst, timezone) <= 0 ||
		local - offset_before < change)
		return local - offset_before;
	return Max(local - offset_after, change);
}
