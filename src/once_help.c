/*-------------------------------------------------------------------------
 *
 * once_help.c
 *	  help: functions, views and settings by topic.
 *
 * This file knows what belongs to which topic.  The texts are the comments of the
 * catalog and the descriptions of the settings.  The first line of a comment is one
 * short sentence, and the last line is an example.  What is not for users is
 * "Internal:".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#define PREFIX			ONCE_SCHEMA "."
#define INTERNAL		"Internal: "
#define EXAMPLE			"\nExample: "
#define RETURNS			" RETURNS "
#define RETURNS_TABLE	RETURNS "TABLE("

#define NAME_WIDTH		27		/* of the column of names */
#define LINE_WIDTH		78		/* longer signatures and texts are broken */

/* A topic, and the names that belong to it, separated by spaces */
typedef struct HelpTopic
{
	const char *name;
	const char *names;
} HelpTopic;

/* The table of contents.  Names with a prefix are settings. */
static const HelpTopic topics[] = {
	{"queues",
		"create_queue alter_queue drop_queue list_queues grant_queue revoke_queue "
	"pause resume purge distribute_queue shards next_id"},
	{"sending",
	"send send_batch send_dedup replay"},
	{"consuming",
		"receive lease pop message ack ack_all try_ack try_ack_all nack release "
	"extend cancel wait"},
	{"workers",
	"work create_worker drop_worker pause_worker resume_worker workers"},
	{"schedules",
	"create_schedule drop_schedule list_schedules next_runs schedules"},
	{"dead letters",
	"dead_letters failures redrive redrive_ids purge_dead_letters"},
	{"ledgers",
		"create_ledger alter_ledger drop_ledger list_ledgers grant_ledger "
		"revoke_ledger mark_processed mark_processed_all is_processed process "
	"set_result get_result forget_processed"},
	{"inspecting",
	"peek check slots pages maintain"},
	{"statistics",
		"top stat_queues consumers progress stat_latency stat_latency_buckets "
	"reset_stats"},
	{"settings",
		"once.flush_claims once.log_hints once.maintenance_interval "
		"once.maintenance_timeout once.remote_effects once.stat_max_queues "
	"once.unacked once.wake once.wake_delay"}
};

/* Something that has a comment.  Overloaded functions are several of them. */
typedef struct HelpEntry
{
	char	   *signature;		/* what it is: more than one line if it is
								 * long */
	int			nargs;
	char	   *comment;
} HelpEntry;

PG_FUNCTION_INFO_V1(once_help);

static const HelpTopic *find_topic(const char *name);
static void put_contents(ReturnSetInfo *rsinfo);
static void put_topic(ReturnSetInfo *rsinfo, const HelpTopic *topic, bool examples);
static void put_entries(ReturnSetInfo *rsinfo, const char *name);
static void put_line(ReturnSetInfo *rsinfo, const char *format,...) pg_attribute_printf(2, 3);
static List *find_entries(const char *name);
static List *find_functions(List *entries, const char *name);
static List *find_relation(List *entries, const char *name);
static List *find_setting(List *entries, const char *name);
static List *add_entry(List *entries, char *signature, int nargs, char *comment);
static int	compare_entries(const ListCell *a, const ListCell *b);
static char *function_signature(HeapTuple tuple);
static char *one_a_line(char *list);
static char *wrap(char *text);
static char *next_part(char **text, char separator);
pg_noreturn static void raise_unknown(const char *topic);

/*
 * once.help: all topics, one topic, or all about a function, view or setting.
 */
Datum
once_help(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	const HelpTopic *topic;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (name == NULL)
		put_contents(rsinfo);
	else if ((topic = find_topic(name)) != NULL)
		put_topic(rsinfo, topic, true);
	else
		put_entries(rsinfo, name);
	return (Datum) 0;
}

static const HelpTopic *
find_topic(const char *name)
{
	int			i;

	for (i = 0; i < lengthof(topics); i++)
		if (strcmp(topics[i].name, name) == 0)
			return &topics[i];
	return NULL;
}

static void
put_contents(ReturnSetInfo *rsinfo)
{
	int			i;

	for (i = 0; i < lengthof(topics); i++)
	{
		put_line(rsinfo, "%s", topics[i].name);
		put_topic(rsinfo, &topics[i], false);
		put_line(rsinfo, "%s", "");
	}
	put_line(rsinfo, "%s", "once.help('sending') shows a topic with examples,");
	put_line(rsinfo, "%s", "and once.help('send') everything about a name.");
}

/*
 * put_topic puts a line for each name of the topic, and with "examples" one for its
 * example.  Functions that views of the same name are made of are left out.
 */
static void
put_topic(ReturnSetInfo *rsinfo, const HelpTopic *topic, bool examples)
{
	char	   *names = pstrdup(topic->names);
	char	   *name;

	while ((name = next_part(&names, ' ')) != NULL)
	{
		ListCell   *lc;

		foreach(lc, find_entries(name))
		{
			const char *comment = ((HelpEntry *) lfirst(lc))->comment;
			const char *example = strstr(comment, EXAMPLE);

			if (strncmp(comment, INTERNAL, strlen(INTERNAL)) == 0)
				continue;
			put_line(rsinfo, "  %-*s%.*s", NAME_WIDTH, name, (int) strcspn(comment, "\n"), comment);
			if (examples && example != NULL)
				put_line(rsinfo, "      %s", example + strlen(EXAMPLE));
		}
	}
}

/*
 * put_entries puts everything about what goes by this name.
 */
static void
put_entries(ReturnSetInfo *rsinfo, const char *name)
{
	List	   *entries = find_entries(name);
	ListCell   *lc;

	if (entries == NIL)
		raise_unknown(name);
	foreach(lc, entries)
	{
		HelpEntry  *entry = lfirst(lc);
		char	   *text = psprintf("%s%s\n%s", lc == list_head(entries) ? "" : "\n",
									entry->signature, entry->comment);
		char	   *line;

		while ((line = next_part(&text, '\n')) != NULL)
			put_line(rsinfo, "%s", line);
	}
}

static void
put_line(ReturnSetInfo *rsinfo, const char *format,...)
{
	StringInfoData line;
	Datum		value;
	bool		isnull = false;
	va_list		args;
	int			needed;

	CHECK_FOR_INTERRUPTS();
	initStringInfo(&line);
	for (;;)
	{
		va_start(args, format);
		needed = appendStringInfoVA(&line, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&line, needed);
	}
	value = CStringGetTextDatum(line.data);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
}

/*
 * find_entries returns what goes by this name, with or without the schema, and has a
 * comment.  A view comes before the function of the same name that it is made of.
 */
static List *
find_entries(const char *name)
{
	List	   *entries = find_setting(NIL, name);

	if (strncmp(name, PREFIX, strlen(PREFIX)) == 0)
		name += strlen(PREFIX);
	if (strlen(name) < NAMEDATALEN)
	{
		entries = find_relation(entries, name);
		entries = find_functions(entries, name);
	}
	return entries;
}

static List *
find_functions(List *entries, const char *name)
{
	Oid			schema = get_namespace_oid(ONCE_SCHEMA, false);
	CatCList   *found = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	List	   *functions = NIL;
	int			i;

	for (i = 0; i < found->n_members; i++)
	{
		HeapTuple	tuple = &found->members[i]->tuple;
		Form_pg_proc function = (Form_pg_proc) GETSTRUCT(tuple);

		if (function->pronamespace == schema)
			functions = add_entry(functions, function_signature(tuple), function->pronargs,
								  GetComment(function->oid, ProcedureRelationId, 0));
	}
	ReleaseSysCacheList(found);

	list_sort(functions, compare_entries);
	return list_concat(entries, functions);
}

/*
 * find_relation finds a table, a view or a composite type.  The tables of queues have
 * no comment, unless somebody gives them one.
 */
static List *
find_relation(List *entries, const char *name)
{
	Oid			relid = get_relname_relid(name, get_namespace_oid(ONCE_SCHEMA, false));
	const char *kind;
	char	   *comment;

	if (!OidIsValid(relid))
		return entries;
	switch (get_rel_relkind(relid))
	{
		case RELKIND_COMPOSITE_TYPE:
			kind = "type";
			break;
		case RELKIND_VIEW:
			kind = "view";
			break;
		case RELKIND_RELATION:
			kind = "table";
			break;
		default:
			return entries;
	}
	if (strcmp(kind, "type") == 0)
		comment = GetComment(get_rel_type_id(relid), TypeRelationId, 0);
	else
		comment = GetComment(relid, RelationRelationId, 0);
	return add_entry(entries, psprintf("%s " PREFIX "%s", kind, name), 0, comment);
}

/*
 * find_setting finds a setting, by its whole name.
 */
static List *
find_setting(List *entries, const char *name)
{
	struct config_generic **settings;
	int			n;
	int			i;

	if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
		return entries;
	settings = once_settings(&n);
	for (i = 0; i < n; i++)
	{
		const struct config_generic *setting = settings[i];

		if (strcmp(setting->name, name) != 0 || setting->short_desc == NULL)
			continue;
		entries = add_entry(entries, psprintf("setting %s", name), 0,
							setting->long_desc == NULL ? pstrdup(setting->short_desc) :
							psprintf("%s\n%s", setting->short_desc, wrap(pstrdup(setting->long_desc))));
	}
	return entries;
}

/*
 * add_entry adds an entry, unless it has no comment.
 */
static List *
add_entry(List *entries, char *signature, int nargs, char *comment)
{
	HelpEntry  *entry = palloc(sizeof(HelpEntry));

	if (comment == NULL)
		return entries;
	entry->signature = signature;
	entry->nargs = nargs;
	entry->comment = comment;
	return lappend(entries, entry);
}

static int
compare_entries(const ListCell *a, const ListCell *b)
{
	return ((HelpEntry *) lfirst(a))->nargs - ((HelpEntry *) lfirst(b))->nargs;
}

/*
 * function_signature returns how a function or procedure is called, and what it
 * returns.  If that is long, each argument has a line of its own; if the rest is still
 * long, so has each column of the result.
 */
static char *
function_signature(HeapTuple tuple)
{
	Form_pg_proc function = (Form_pg_proc) GETSTRUCT(tuple);
	bool		procedure = function->prokind == PROKIND_PROCEDURE;
	Datum		oid = ObjectIdGetDatum(function->oid);
	char	   *arguments = TextDatumGetCString(OidFunctionCall1(F_PG_GET_FUNCTION_ARGUMENTS, oid));
	char	   *result = "";
	StringInfoData signature;
	Size		line;			/* where the last line begins */

	if (!procedure)
		result = psprintf(RETURNS "%s",
						  TextDatumGetCString(OidFunctionCall1(F_PG_GET_FUNCTION_RESULT, oid)));
	initStringInfo(&signature);
	appendStringInfo(&signature, "%s" PREFIX "%s(", procedure ? "CALL " : "",
					 NameStr(function->proname));

	if (*arguments != '\0' &&
		signature.len + strlen(arguments) + strlen(")") + strlen(result) > LINE_WIDTH)
	{
		appendStringInfoString(&signature, one_a_line(arguments));
		line = signature.len;
	}
	else
	{
		appendStringInfoString(&signature, arguments);
		line = 0;
	}
	appendStringInfoChar(&signature, ')');

	if (signature.len - line + strlen(result) > LINE_WIDTH &&
		strncmp(result, RETURNS_TABLE, strlen(RETURNS_TABLE)) == 0)
	{
		result[strlen(result) - 1] = '\0';
		appendStringInfo(&signature, RETURNS_TABLE "%s)",
						 one_a_line(result + strlen(RETURNS_TABLE)));
	}
	else
		appendStringInfoString(&signature, result);
	return signature.data;
}

/*
 * one_a_line puts each of the arguments or columns into a line of its own.  No default
 * value or type of ours has a comma in it.
 */
static char *
one_a_line(char *list)
{
	StringInfoData lines;
	char	   *part;

	initStringInfo(&lines);
	while ((part = next_part(&list, ',')) != NULL)
		appendStringInfo(&lines, "\n    %s%s", part + strspn(part, " "),
						 list == NULL ? "\n" : ",");
	return lines.data;
}

/*
 * wrap breaks a text into lines.
 */
static char *
wrap(char *text)
{
	StringInfoData lines;
	Size		line = 0;		/* where the last line begins */
	char	   *word;

	initStringInfo(&lines);
	while ((word = next_part(&text, ' ')) != NULL)
	{
		if (*word == '\0')
			continue;
		if (lines.len - line + strlen(" ") + strlen(word) > LINE_WIDTH)
		{
			appendStringInfoChar(&lines, '\n');
			line = lines.len;
		}
		else if (lines.len > 0)
			appendStringInfoChar(&lines, ' ');
		appendStringInfoString(&lines, word);
	}
	return lines.data;
}

/*
 * next_part returns what is before the next separator, and moves *text behind that.
 * After the last part, *text is NULL, and then NULL is returned.
 */
static char *
next_part(char **text, char separator)
{
	char	   *part = *text;
	char	   *end = part == NULL ? NULL : strchr(part, separator);

	if (end != NULL)
		*end++ = '\0';
	*text = end;
	return part;
}

static void
raise_unknown(const char *topic)
{
	StringInfoData list;
	int			i;

	initStringInfo(&list);
	for (i = 0; i < lengthof(topics); i++)
		appendStringInfo(&list, "%s%s", i == 0 ? "" : i == lengthof(topics) - 1 ? " and " : ", ",
						 topics[i].name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no help on \"%s\"", topic),
			 errhint("The topics are %s.  Names of functions, views and settings are allowed as well.",
					 list.data)));
}
