/*-------------------------------------------------------------------------
 *
 * queue_release.c
 *	  Ending leases by the ids of messages, when their receipts are lost.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "once_ids.h"
#include "queue/queue.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(once_release_ids);

static ItemPointerData *find_places(OnceQueue *queue, const OnceIds *ids, int *nplaces);

/*
 * once.release: the leases of messages with some ids.
 */
Datum
once_release_ids(PG_FUNCTION_ARGS)
{
	char	   *name = once_arg_queue(fcinfo, 0);
	ArrayType  *array = once_arg_ids(fcinfo, 1);
	OnceQueue	queue;
	ItemPointerData *places;
	int			nplaces;
	OnceIds		ids;
	int64		ended;

	once_ids_make(&ids, array);
	once_queue_open(&queue, name, ONCE_TO_PURGE, "once.release()");
	once_queue_check_column(&queue, ONCE_COL_ID);
	places = find_places(&queue, &ids, &nplaces);
	ended = qam_end_leases(queue.heap, queue.index, places, nplaces);
	once_queue_close(&queue);
	PG_RETURN_INT64(ended);
}

/*
 * find_places returns where the queue index knows the rows of some ids.  It goes through the table, as it goes through all of the index then.
 */
static ItemPointerData *
find_places(OnceQueue *queue, const OnceIds *ids, int *nplaces)
{
	ItemPointerData *places = palloc(sizeof(ItemPointerData) * Max(ids->n, 1));
	int			room = Max(ids->n, 1);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(queue->heap, snapshot, 0, NULL);
	HeapTuple	tuple;

	*nplaces = 0;
	while (ids->n > 0 && (tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		bool		isnull;
		int64		id = DatumGetInt64(heap_getattr(tuple, queue->meta.column[ONCE_COL_ID],
													RelationGetDescr(queue->heap), &isnull));

		CHECK_FOR_INTERRUPTS();
		if (isnull || !once_ids_have(ids, id))
			continue;
		if (*nplaces == room)
		{
			room *= 2;
			places = repalloc_huge(places, sizeof(ItemPointerData) * room);
		}
		places[*nplaces] = tuple->t_self;
		if (HeapTupleIsHeapOnly(tuple))
			once_row_find_root(queue, &places[*nplaces]);
		(*nplaces)++;
	}
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	return places;
}
