/*-------------------------------------------------------------------------
 *
 * queue_replay.c
 *	  replay: sending archived messages again.
 *
 * The archive is read by a SELECT of the caller, like any other table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "once_args.h"
#include "once_error.h"
#include "qam/qam.h"
#include "queue/queue_archive.h"
#include "queue/queue_args.h"
#include "queue/queue_insert.h"
#include "queue/queue_open.h"
#include "queue/queue_row.h"
#include "queue/queue_try.h"
#include "stats/stats.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Messages that are read at once */
#define REPLAY_CHUNK		1000

/*
 * The headers of the new message have a key that tells the id of the old one.
 * If the old headers are not an object, they become the value of another key.
 */
#define REPLAY_SQL \
	"SELECT id, priority, group_id, payload," \
	" CASE WHEN headers IS NULL THEN pg_catalog.jsonb_build_object('once-replay-of', id)" \
	"  WHEN pg_catalog.jsonb_typeof(headers) OPERATOR(pg_catalog.=) 'object'" \
	"  THEN headers OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('once-replay-of', id)" \
	"  ELSE pg_catalog.jsonb_build_object('once-replay-of', id, 'headers', headers) END" \
	" FROM %s" \
	" WHERE archived_at OPERATOR(pg_catalog.>=) $1 AND archived_at OPERATOR(pg_catalog.<) $2" \
	" ORDER BY archived_at, id"

/* Columns of its result */
#define Anum_replay_id			1
#define Anum_replay_priority	2
#define Anum_replay_group_id	3
#define Anum_replay_payload		4
#define Anum_replay_headers		5

/* One call */
typedef struct Replay
{
	OnceQueue	queue;
	int64		replayed;
	OnceRefusals refusals;

	/* what the cursor has fetched */
	OnceTry		try;
	OnceNewRow *rows;
	int64	   *ids;			/* of the archived messages */
} Replay;

PG_FUNCTION_INFO_V1(once_replay);

/* The columns of the archive that are read, and their types */
static const struct
{
	const char *name;
	Oid			type;
}			replay_columns[] = {
	{"id", INT8OID},
	{"priority", INT2OID},
	{"group_id", TEXTOID},
	{"headers", JSONBOID},
	{"payload", JSONBOID},
	{"archived_at", TIMESTAMPTZOID}
};

static TimestampTz arg_time(FunctionCallInfo fcinfo, int argno, const char *name);
static void check_archive(const OnceQueue *queue, Oid archive);
static void check_right(const OnceQueue *queue, Oid archive);
static void send_fetched(Replay *call);
static void send_some(void *arg, int from, int to);
static void refuse_one(void *arg, int row, const ErrorData *error);

/*
 * once.replay: sends archived messages again, as new ones.
 */
Datum
once_replay(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);
	Oid			types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[2];
	TimestampTz since = arg_time(fcinfo, 1, "since");
	TimestampTz until = arg_time(fcinfo, 2, "until");
	Oid			archive;
	Replay		call = {.refusals = {.queue = &call.queue,.what = "replayed"}};
	Portal		portal;
	MemoryContext round;
	MemoryContext caller;

	if (since > until)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("since must not be later than until"),
				 errdetail("since is %s, and until is %s.", pstrdup(timestamptz_to_str(since)),
						   pstrdup(timestamptz_to_str(until)))));

	call.try.work = send_some;
	call.try.refused = refuse_one;
	call.try.arg = &call;
	call.try.rehearse = !once_try_has_written();
	once_queue_open(&call.queue, name, ONCE_TO_SEND, "once.replay()");
	once_queue_check_sending(&call.queue);
	archive = once_archive_oid(name);
	if (!OidIsValid(archive))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("queue \"%s\" has no archive", name),
				 errhint("Its owner can create one with once.alter_queue(..., archive => ...).")));
	check_archive(&call.queue, archive);
	check_right(&call.queue, archive);

	values[0] = TimestampTzGetDatum(since);
	values[1] = TimestampTzGetDatum(until);
	SPI_connect();
	portal = SPI_cursor_open_with_args(NULL, psprintf(REPLAY_SQL, once_archive_table(name)),
									   2, types, values, NULL, false, 0);

	/* The cursor has locked the archive, so nobody can alter it from now on */
	check_archive(&call.queue, archive);
	round = AllocSetContextCreate(CurrentMemoryContext, "pg_once replay",
								  ALLOCSET_DEFAULT_SIZES);
	once_stats_progress_begin(once_queue_whole(&call.queue), "replay", -1);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		once_stats_progress(call.replayed);
		SPI_cursor_fetch(portal, true, REPLAY_CHUNK);
		if (SPI_processed == 0)
			break;
		caller = MemoryContextSwitchTo(round);
		send_fetched(&call);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(round);
	}
	once_stats_progress_end();
	SPI_cursor_close(portal);
	SPI_finish();
	once_refusals_warn(&call.refusals);
	once_queue_close(&call.queue);
	PG_RETURN_INT64(call.replayed);
}

static TimestampTz
arg_time(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		once_arg_refuse_null(name);
	return PG_GETARG_TIMESTAMPTZ(argno);
}

/*
 * check_archive raises an error unless the archive has the columns that are
 * read, and they have the right types.
 */
static void
check_archive(const OnceQueue *queue, Oid archive)
{
	int			i;

	for (i = 0; i < (int) lengthof(replay_columns); i++)
	{
		AttrNumber	attnum = get_attnum(archive, replay_columns[i].name);

		if (attnum == InvalidAttrNumber ||
			get_atttype(archive, attnum) != replay_columns[i].type)
			ereport(ERROR,
					(errcode(ERRCODE_ONCE_QUEUE_UNUSABLE),
					 errmsg("column \"%s\" of the archive of queue \"%s\" is missing or of another type",
							replay_columns[i].name, once_queue_name(queue)),
					 errhint("Use ALTER TABLE to give %s such a column of type %s again.",
							 once_archive_table(once_queue_name(queue)),
							 format_type_be(replay_columns[i].type))));
	}
}

/*
 * check_right raises an error unless the caller may read the archive, or at
 * least those columns of it that are read.
 */
static void
check_right(const OnceQueue *queue, Oid archive)
{
	const char *table = once_archive_table(once_queue_name(queue));
	int			i;

	if (pg_class_aclcheck(archive, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return;
	for (i = 0; i < (int) lengthof(replay_columns); i++)
	{
		AttrNumber	attnum = get_attnum(archive, replay_columns[i].name);

		if (pg_attribute_aclcheck(archive, attnum, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied for archive of queue \"%s\"",
							once_queue_name(queue)),
					 errdetail("This requires SELECT on table %s.", table),
					 errhint("Its owner can GRANT SELECT ON %s.", table)));
	}
}

/*
 * send_fetched sends what the cursor has fetched and frees it.  Messages that
 * the queue does not accept are left out.
 */
static void
send_fetched(Replay *call)
{
	SPITupleTable *fetched = SPI_tuptable;
	int			n = (int) SPI_processed;
	bool		isnull;
	int			i;

	call->rows = palloc(sizeof(OnceNewRow) * n);
	call->ids = palloc(sizeof(int64) * n);
	for (i = 0; i < n; i++)
	{
		OnceNewRow *row = &call->rows[i];
		HeapTuple	tuple = fetched->vals[i];
		Datum		priority;
		Datum		id = SPI_getbinval(tuple, fetched->tupdesc, Anum_replay_id, &isnull);

		call->ids[i] = isnull ? 0 : DatumGetInt64(id);
		priority = SPI_getbinval(tuple, fetched->tupdesc, Anum_replay_priority, &isnull);
		row->priority = isnull ? QAM_DEFAULT_PRIORITY : DatumGetInt16(priority);
		row->group_id = SPI_getbinval(tuple, fetched->tupdesc, Anum_replay_group_id,
									  &row->group_id_null);
		row->payload = SPI_getbinval(tuple, fetched->tupdesc, Anum_replay_payload,
									 &row->payload_null);
		row->headers = SPI_getbinval(tuple, fetched->tupdesc, Anum_replay_headers,
									 &row->headers_null);
	}
	call->replayed += n;
	once_try(&call->try, 0, n);
	SPI_freetuptable(fetched);
}

static void
send_some(void *arg, int from, int to)
{
	Replay	   *call = arg;
	OnceNewRows batch = {.deliver_at = DT_NOBEGIN,.expires_at = DT_NOBEGIN};

	batch.rows = &call->rows[from];
	batch.nrows = to - from;
	once_insert_rows(&call->queue, &batch);
}

/*
 * refuse_one notes that a message was left out.
 */
static void
refuse_one(void *arg, int row, const ErrorData *error)
{
	Replay	   *call = arg;

	call->replayed--;
	once_refusals_add(&call->refusals, call->ids[row], error);
}
