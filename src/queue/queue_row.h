/*-------------------------------------------------------------------------
 *
 * queue_row.h
 *	  Rows of a queue's table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_ROW_H
#define QUEUE_ROW_H

#include "access/htup.h"
#include "meta/meta_dead.h"
#include "queue/queue_open.h"
#include "storage/buf.h"
#include "storage/bufpage.h"
#include "storage/itemptr.h"

/* A message on its way into the table */
typedef struct OnceNewRow
{
	int64		id;
	int16		priority;
	bool		group_id_null;
	bool		headers_null;
	bool		payload_null;
	Datum		group_id;
	Datum		headers;
	Datum		payload;
} OnceNewRow;

/* Some rows that go in together */
typedef struct OnceNewRows
{
	OnceNewRow *rows;
	int			nrows;
	bool		have_ids;		/* if not, they are drawn and put into rows */
	bool		together;		/* must they be stored by one statement? */
	TimestampTz deliver_at;		/* DT_NOBEGIN: null */
	TimestampTz expires_at;		/* DT_NOBEGIN: null */
} OnceNewRows;

extern HeapTuple once_row_copy(const OnceQueue *queue, ItemPointer tid, Buffer buffer);
extern void once_row_flatten(const OnceQueue *queue, HeapTuple *tuple);
extern int64 once_row_id(const OnceQueue *queue, HeapTuple tuple);
extern TimestampTz once_row_enqueued_at(const OnceQueue *queue, ItemPointer tid,
										Buffer buffer);
extern OnceMessageKey once_row_key(const OnceQueue *queue, HeapTuple tuple);
extern bool once_row_has_successor(HeapTuple tuple);
extern bool once_row_replaced(Relation heap, const ItemPointerData *tid, TransactionId xmin);
extern bool once_row_at(Page page, HeapTuple tuple);
extern Buffer once_row_pin(const OnceQueue *queue, HeapTuple copy);
extern void once_row_find_root(const OnceQueue *queue, ItemPointer tid);

#endif							/* QUEUE_ROW_H */
