/*-------------------------------------------------------------------------
 *
 * queue_release.c
 *	  Ending leases by the ids of messages, when their receipts are lost.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "meta/meta_cache.h"
#include "once_ids.h"
#include "qam/qam.h"
#include "queue/queue_args.h"
#include "queue/queue_open.h"
#include "queue/queue_parts.h"
#include "queue/queue_row.h"
#include "utils/rel.h"

/* The messages asked for, by their ids */
typedef struct Asked
{
	OnceQueue  *queue;			/* the part that is searched */
	OnceIds		ids;
} Asked;

PG_FUNCTION_INFO_V1(once_release_ids);

static bool is_asked(void *arg, HeapTuple tuple);

/*
 * once.release: ends the leases of messages with given ids.
 */
Datum
once_release_ids(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);
	Asked		asked;
	OnceQueue	queue;
	OnceParts	parts;
	OnceQueue	room;
	int64		released = 0;

	once_ids_make(&asked.ids, once_queue_arg_ids(fcinfo, 1));
	once_queue_open_whole(&queue, name, ONCE_TO_RELEASE, "once.release()");
	once_queue_check_column(&queue, ONCE_COL_ID);
	once_parts_begin(&parts, &queue, ONCE_TO_RELEASE);
	while (asked.ids.n > 0 && (asked.queue = once_parts_next(&parts, &room, true)) != NULL)
	{
		once_queue_check_column(asked.queue, ONCE_COL_ID);
		released += qam_release_leases(asked.queue->heap, asked.queue->index, is_asked, &asked);
		once_parts_close(&parts, asked.queue);
	}
	once_parts_end(&parts);
	once_queue_close(&queue);
	PG_RETURN_INT64(released);
}

/*
 * is_asked tells whether a row is that of a message asked for.  It is called
 * while the row's page is locked.
 */
static bool
is_asked(void *arg, HeapTuple tuple)
{
	Asked	   *asked = arg;
	bool		isnull;
	Datum		id = heap_getattr(tuple, asked->queue->meta.column[ONCE_COL_ID],
								  RelationGetDescr(asked->queue->heap), &isnull);

	return !isnull && once_ids_have(&asked->ids, DatumGetInt64(id));
}
