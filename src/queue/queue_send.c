/*-------------------------------------------------------------------------
 *
 * queue_send.c
 *	  send, send_dedup and send_batch.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "funcapi.h"
#include "once_args.h"
#include "queue/queue_args.h"
#include "queue/queue_dedup.h"
#include "queue/queue_insert.h"
#include "queue/queue_open.h"
#include "queue/queue_row.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

/*
 * Arguments.  The three functions have the same ones in the same order, except
 * that some of send_batch's are arrays.
 */
#define ARG_QUEUE			0
#define ARG_PAYLOAD			1
#define ARG_HEADERS			2
#define ARG_DELAY			3
#define ARG_DELIVER_AT		4
#define ARG_PRIORITY		5
#define ARG_GROUP_ID		6
#define ARG_DEDUP_ID		7
#define ARG_TTL				8

PG_FUNCTION_INFO_V1(once_send);
PG_FUNCTION_INFO_V1(once_send_dedup);
PG_FUNCTION_INFO_V1(once_send_batch);

static int64 send_one(FunctionCallInfo fcinfo, const char *verb, bool *duplicate);
static TimestampTz arg_deliver_at(FunctionCallInfo fcinfo);
static TimestampTz arg_expires_at(FunctionCallInfo fcinfo, TimestampTz deliver_at);
static Datum *arg_array(FunctionCallInfo fcinfo, int argno, Oid type,
						const char *name, bool **isnull, int *n);
static Datum *arg_companion_array(FunctionCallInfo fcinfo, int argno, Oid type,
								  const char *name, int npayloads, bool **isnull);

/*
 * once.send: sends one message.
 */
Datum
once_send(PG_FUNCTION_ARGS)
{
	bool		duplicate;

	PG_RETURN_INT64(send_one(fcinfo, "once.send()", &duplicate));
}

/*
 * once.send_dedup: sends one message, and tells whether it is a repeat.
 */
Datum
once_send_dedup(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[2];
	bool		isnull[2] = {false, false};
	bool		duplicate;

	InitMaterializedSRF(fcinfo, 0);
	values[0] = Int64GetDatum(send_one(fcinfo, "once.send_dedup()", &duplicate));
	values[1] = BoolGetDatum(duplicate);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
	return (Datum) 0;
}

/*
 * once.send_batch: sends many messages.
 */
Datum
once_send_batch(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = once_queue_arg_name(fcinfo, ARG_QUEUE);
	int			priority = once_queue_arg_priority(fcinfo, ARG_PRIORITY);
	Datum	   *payloads;
	bool	   *payloads_null;
	int			npayloads;
	Datum	   *headers;
	bool	   *headers_null;
	Datum	   *groups;
	bool	   *groups_null;
	Datum	   *dedup_ids;
	bool	   *dedup_ids_null;
	OnceNewRow *rows;
	OnceNewRows batch = {0};
	OnceDedup	dedup = {0};
	OnceQueue	queue;
	int			i;

	batch.deliver_at = arg_deliver_at(fcinfo);
	batch.expires_at = arg_expires_at(fcinfo, batch.deliver_at);
	payloads = arg_array(fcinfo, ARG_PAYLOAD, JSONBOID, "payloads", &payloads_null, &npayloads);
	headers = arg_companion_array(fcinfo, ARG_HEADERS, JSONBOID, "headers",
								  npayloads, &headers_null);
	groups = arg_companion_array(fcinfo, ARG_GROUP_ID, TEXTOID, "group_ids",
								 npayloads, &groups_null);
	dedup_ids = arg_companion_array(fcinfo, ARG_DEDUP_ID, TEXTOID, "dedup_ids",
									npayloads, &dedup_ids_null);

	rows = palloc_extended(sizeof(OnceNewRow) * Max(npayloads, 1), MCXT_ALLOC_HUGE);
	for (i = 0; i < npayloads; i++)
	{
		rows[i].payload = payloads[i];
		rows[i].payload_null = payloads_null[i];
		rows[i].headers = headers ? headers[i] : (Datum) 0;
		rows[i].headers_null = headers ? headers_null[i] : true;
		rows[i].group_id = groups ? groups[i] : (Datum) 0;
		rows[i].group_id_null = groups ? groups_null[i] : true;
		rows[i].priority = priority;
		if (!rows[i].group_id_null)
			once_queue_arg_check_group(rows[i].group_id, priority);
	}
	if (dedup_ids != NULL)
	{
		once_dedup_begin(&dedup, npayloads);
		for (i = 0; i < npayloads; i++)
			if (!dedup_ids_null[i])
				once_dedup_add(&dedup, i, dedup_ids[i], "dedup_ids");
	}
	batch.rows = rows;
	batch.nrows = npayloads;
	batch.together = true;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	once_queue_open(&queue, name, ONCE_TO_SEND, "once.send_batch()");
	once_queue_check_sending(&queue);
	once_dedup_insert(&queue, &batch, &dedup);
	once_queue_close(&queue);

	for (i = 0; i < npayloads; i++)
	{
		Datum		id = Int64GetDatum(rows[i].id);
		bool		isnull = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &id, &isnull);
	}
	return (Datum) 0;
}

/*
 * send_one does the work of send and send_dedup.  Returns the id of the
 * message.  *duplicate: the message is a repeat and was not sent; the id is
 * that of the message that it repeats.
 */
static int64
send_one(FunctionCallInfo fcinfo, const char *verb, bool *duplicate)
{
	char	   *name = once_queue_arg_name(fcinfo, ARG_QUEUE);
	OnceNewRow	row;
	OnceNewRows batch = {.rows = &row,.nrows = 1};
	OnceDedup	dedup = {0};
	OnceQueue	queue;

	batch.deliver_at = arg_deliver_at(fcinfo);
	batch.expires_at = arg_expires_at(fcinfo, batch.deliver_at);
	row.priority = once_queue_arg_priority(fcinfo, ARG_PRIORITY);
	row.group_id_null = PG_ARGISNULL(ARG_GROUP_ID);
	row.group_id = row.group_id_null ? (Datum) 0 : PG_GETARG_DATUM(ARG_GROUP_ID);
	if (!row.group_id_null)
		once_queue_arg_check_group(row.group_id, row.priority);
	if (!PG_ARGISNULL(ARG_DEDUP_ID))
	{
		once_dedup_begin(&dedup, 1);
		once_dedup_add(&dedup, 0, PG_GETARG_DATUM(ARG_DEDUP_ID), "dedup_id");
	}
	row.payload_null = PG_ARGISNULL(ARG_PAYLOAD);
	row.payload = row.payload_null ? (Datum) 0 : PG_GETARG_DATUM(ARG_PAYLOAD);
	row.headers_null = PG_ARGISNULL(ARG_HEADERS);
	row.headers = row.headers_null ? (Datum) 0 : PG_GETARG_DATUM(ARG_HEADERS);

	once_queue_open(&queue, name, ONCE_TO_SEND, verb);
	once_queue_check_sending(&queue);
	once_dedup_insert(&queue, &batch, &dedup);
	once_queue_close(&queue);

	*duplicate = dedup.n > 0 && !dedup.marks[0].is_new;
	return row.id;
}

/*
 * arg_deliver_at returns the time of delivery according to arguments "delay"
 * and "deliver_at", or DT_NOBEGIN for delivery at once.
 */
static TimestampTz
arg_deliver_at(FunctionCallInfo fcinfo)
{
	TimestampTz deliver_at;

	if (!PG_ARGISNULL(ARG_DELAY) && !PG_ARGISNULL(ARG_DELIVER_AT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("only one of delay and deliver_at can be given")));

	if (!PG_ARGISNULL(ARG_DELAY))
	{
		int64		delay = once_queue_arg_delay(fcinfo, ARG_DELAY, "delay", ONCE_MAX_DAYS);

		return delay == 0 ? DT_NOBEGIN : GetCurrentTimestamp() + delay;
	}

	if (PG_ARGISNULL(ARG_DELIVER_AT))
		return DT_NOBEGIN;

	deliver_at = PG_GETARG_TIMESTAMPTZ(ARG_DELIVER_AT);
	if (TIMESTAMP_NOT_FINITE(deliver_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("deliver_at must be finite"),
				 errdetail("The value given is %s.", timestamptz_to_str(deliver_at))));
	return deliver_at;
}

/*
 * arg_expires_at returns when a message expires according to argument "ttl",
 * or DT_NOBEGIN if that is NULL.  deliver_at: the time of its first delivery.
 */
static TimestampTz
arg_expires_at(FunctionCallInfo fcinfo, TimestampTz deliver_at)
{
	TimestampTz expires_at;
	int64		ttl;

	if (PG_ARGISNULL(ARG_TTL))
		return DT_NOBEGIN;
	ttl = once_arg_span(fcinfo, ARG_TTL, "ttl", 0, NULL);
	if (pg_add_s64_overflow(Max(deliver_at, once_insert_time()),
							ttl, &expires_at) ||
		!IS_VALID_TIMESTAMP(expires_at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("deliver_at plus ttl is out of range"),
				 errdetail("deliver_at is %s, and ttl is %s.", timestamptz_to_str(deliver_at),
						   once_interval_text(PG_GETARG_INTERVAL_P(ARG_TTL)))));
	return expires_at;
}

/*
 * arg_array deconstructs an argument that is an array.
 */
static Datum *
arg_array(FunctionCallInfo fcinfo, int argno, Oid type, const char *name,
		  bool **isnull, int *n)
{
	ArrayType  *array = once_arg_array(fcinfo, argno, name, type);
	int16		typlen;
	bool		typbyval;
	char		typalign;
	Datum	   *elems;

	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	deconstruct_array(array, type, typlen, typbyval, typalign, &elems, isnull, n);
	return elems;
}

/*
 * arg_companion_array is arg_array for an argument that has one element for
 * each payload, or is NULL if no payload has one.
 */
static Datum *
arg_companion_array(FunctionCallInfo fcinfo, int argno, Oid type,
					const char *name, int npayloads, bool **isnull)
{
	Datum	   *elems;
	int			n;

	*isnull = NULL;
	if (PG_ARGISNULL(argno))
		return NULL;
	elems = arg_array(fcinfo, argno, type, name, isnull, &n);
	if (n != npayloads)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must have as many elements as payloads", name),
				 errdetail("There are %d %s and %d payloads.", n, name, npayloads)));
	return elems;
}
