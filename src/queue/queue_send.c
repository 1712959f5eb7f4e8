/*-------------------------------------------------------------------------
 *
 * queue_send.c
 *	  send and send_batch.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "queue/queue.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

/* Arguments that send and send_batch share: numbers and names are the same */
#define ARG_QUEUE			0
#define ARG_PAYLOAD			1
#define ARG_HEADERS			2
#define ARG_DELAY			3
#define ARG_DELIVER_AT		4
#define ARG_PRIORITY		5

PG_FUNCTION_INFO_V1(once_send);
PG_FUNCTION_INFO_V1(once_send_batch);

static TimestampTz arg_deliver_at(FunctionCallInfo fcinfo);
static Datum *arg_jsonb_array(FunctionCallInfo fcinfo, int argno,
							  const char *name, bool **isnull, int *n);

/*
 * once.send: one message.
 */
Datum
once_send(PG_FUNCTION_ARGS)
{
	char	   *name = once_arg_queue(fcinfo, ARG_QUEUE);
	TimestampTz deliver_at = arg_deliver_at(fcinfo);
	int			priority = once_arg_priority(fcinfo, ARG_PRIORITY);
	OnceNewRow	row;
	OnceQueue	queue;

	row.payload_null = PG_ARGISNULL(ARG_PAYLOAD);
	row.payload = row.payload_null ? (Datum) 0 : PG_GETARG_DATUM(ARG_PAYLOAD);
	row.headers_null = PG_ARGISNULL(ARG_HEADERS);
	row.headers = row.headers_null ? (Datum) 0 : PG_GETARG_DATUM(ARG_HEADERS);

	once_queue_open(&queue, name, ONCE_TO_SEND, "once.send()");
	once_queue_check_sending(&queue);
	once_rows_insert(&queue, &row, 1, deliver_at, priority);
	once_queue_close(&queue);

	PG_RETURN_INT64(row.id);
}

/*
 * once.send_batch: many messages at once.
 */
Datum
once_send_batch(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = once_arg_queue(fcinfo, ARG_QUEUE);
	TimestampTz deliver_at = arg_deliver_at(fcinfo);
	int			priority = once_arg_priority(fcinfo, ARG_PRIORITY);
	Datum	   *payloads;
	bool	   *payloads_null;
	int			npayloads;
	Datum	   *headers = NULL;
	bool	   *headers_null = NULL;
	int			nheaders;
	OnceNewRow *rows;
	OnceQueue	queue;
	int			i;

	if (PG_ARGISNULL(ARG_PAYLOAD))
		once_refuse_null("payloads");
	payloads = arg_jsonb_array(fcinfo, ARG_PAYLOAD, "payloads", &payloads_null, &npayloads);
	if (!PG_ARGISNULL(ARG_HEADERS))
	{
		headers = arg_jsonb_array(fcinfo, ARG_HEADERS, "headers", &headers_null, &nheaders);
		if (nheaders != npayloads)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("headers must have as many elements as payloads"),
					 errdetail("There are %d headers and %d payloads.",
							   nheaders, npayloads)));
	}

	rows = palloc_extended(sizeof(OnceNewRow) * Max(npayloads, 1), MCXT_ALLOC_HUGE);
	for (i = 0; i < npayloads; i++)
	{
		rows[i].payload = payloads[i];
		rows[i].payload_null = payloads_null[i];
		rows[i].headers = headers ? headers[i] : (Datum) 0;
		rows[i].headers_null = headers ? headers_null[i] : true;
	}

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	once_queue_open(&queue, name, ONCE_TO_SEND, "once.send_batch()");
	once_queue_check_sending(&queue);
	once_rows_insert(&queue, rows, npayloads, deliver_at, priority);
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
 * arg_deliver_at returns when to deliver, of arguments "delay" and
 * "deliver_at", or DT_NOBEGIN for at once.
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
		int64		delay = once_arg_delay(fcinfo, ARG_DELAY, "delay");

		return delay == 0 ? DT_NOBEGIN : GetCurrentTimestamp() + delay;
	}

	if (PG_ARGISNULL(ARG_DELIVER_AT))
		return DT_NOBEGIN;

	deliver_at = PG_GETARG_TIMESTAMPTZ(ARG_DELIVER_AT);
	if (TIMESTAMP_NOT_FINITE(deliver_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("deliver_at must be finite")));
	return deliver_at;
}

/*
 * arg_jsonb_array takes an argument of type jsonb[] apart.
 */
static Datum *
arg_jsonb_array(FunctionCallInfo fcinfo, int argno, const char *name,
				bool **isnull, int *n)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(argno);
	int16		typlen;
	bool		typbyval;
	char		typalign;
	Datum	   *elems;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a one-dimensional array", name)));
	get_typlenbyvalalign(JSONBOID, &typlen, &typbyval, &typalign);
	deconstruct_array(array, JSONBOID, typlen, typbyval, typalign, &elems, isnull, n);
	return elems;
}
