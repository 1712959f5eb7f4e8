/*-------------------------------------------------------------------------
 *
 * queue_spi.c
 *	  Putting rows into a queue's table, and deleting them, by SQL.
 *
 * This is done when the table is not as create_queue makes it.  Plain INSERT
 * and DELETE run as the calling user, so that triggers, rules, policies,
 * checks and other indexes take effect.  Claims go through the index in any
 * case.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/detoast.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "meta/meta_cache.h"
#include "miscadmin.h"
#include "once_error.h"
#include "queue/queue_open.h"
#include "queue/queue_row.h"
#include "queue/queue_spi.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Bytes of headers and payloads that one INSERT is given in arrays */
#define INSERT_SPI_BYTES		(64 * 1024 * 1024)

/* The prepared statements for a table */
typedef enum RowPlan
{
	ROW_PLAN_INSERT,
	ROW_PLAN_INSERT_MANY,
	ROW_PLAN_DELETE
} RowPlan;

#define NROW_PLANS				(ROW_PLAN_DELETE + 1)

typedef struct RowPlans
{
	Oid			relid;			/* key */
	NameData	relname;		/* its name in the text of the plans */
	SPIPlanPtr	plan[NROW_PLANS];
} RowPlans;

static HTAB *row_plans = NULL;

/*
 * The parameters of both INSERTs: first those that all rows share, then those
 * that are arrays when there are many rows.
 */
#define INSERT_COLUMNS	"deliver_at, expires_at, id, priority, group_id, headers, payload"
#define NINSERT_SHARED	2
#define NINSERT_PARAMS	7

static const struct
{
	OnceColumn	column;
	Oid			type;
}			insert_columns[NINSERT_PARAMS] = {
	{ONCE_COL_DELIVER_AT, TIMESTAMPTZOID},
	{ONCE_COL_EXPIRES_AT, TIMESTAMPTZOID},
	{ONCE_COL_ID, INT8OID},
	{ONCE_COL_PRIORITY, INT2OID},
	{ONCE_COL_GROUP_ID, TEXTOID},
	{ONCE_COL_HEADERS, JSONBOID},
	{ONCE_COL_PAYLOAD, JSONBOID}
};

static bool row_changed_by_us(HeapTuple tuple);
static void insert_some(OnceQueue *queue, const OnceNewRows *batch);
static Size row_size(const OnceNewRow *row);
static Datum row_value(const OnceNewRow *row, int column, bool *isnull);
static Datum row_array(const OnceNewRows *batch, int column, Oid type);
static SPIPlanPtr get_plan(OnceQueue *queue, RowPlan which);
static SPIPlanPtr make_plan(const char *relname, RowPlan which);

/*
 * once_spi_insert stores rows by a single INSERT.  If the rows need not go
 * together, and arrays of them would be very large, it uses several.
 */
void
once_spi_insert(OnceQueue *queue, const OnceNewRows *batch)
{
	OnceNewRows part = *batch;
	int			done;

	for (done = 0; done < batch->nrows; done += part.nrows)
	{
		Size		size = row_size(&batch->rows[done]);

		part.rows = &batch->rows[done];
		part.nrows = 1;
		while (done + part.nrows < batch->nrows &&
			   (batch->together ||
				(size += row_size(&part.rows[part.nrows])) <= INSERT_SPI_BYTES))
			part.nrows++;
		insert_some(queue, &part);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * once_spi_delete deletes a row identified by its place and id.  Like any
 * DELETE, it waits for transactions that have the row locked.  False: it
 * deleted nothing.
 */
bool
once_spi_delete(OnceQueue *queue, ItemPointer tid, int64 id)
{
	Datum		values[2];
	int			rc;
	bool		deleted;

	values[0] = PointerGetDatum(tid);
	values[1] = Int64GetDatum(id);

	SPI_connect();
	rc = SPI_execute_plan(get_plan(queue, ROW_PLAN_DELETE), values, NULL, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
	deleted = rc == SPI_OK_DELETE && SPI_processed == 1;
	SPI_finish();
	return deleted;
}

/*
 * once_spi_is_there tells whether the row of an id is still in its place; that
 * is so as long as a deletion by another transaction is not committed.  False:
 * the row was deleted or replaced by another version.  A version that this
 * transaction has made of it by an UPDATE counts as the same row.
 */
bool
once_spi_is_there(OnceQueue *queue, ItemPointer tid, int64 id)
{
	HeapTupleData tuple;
	SnapshotData any;
	Buffer		buffer;
	bool		there;
	bool		changed;

	InitDirtySnapshot(any);
	tuple.t_tableOid = RelationGetRelid(queue->heap);
	tuple.t_self = *tid;
	do
	{
		/* The page stays pinned, so that we can read the row */
		if (!heap_fetch(queue->heap, SnapshotAny, &tuple, &buffer, false))
			return false;
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		changed = row_changed_by_us(&tuple);
		there = !changed && once_row_id(queue, &tuple) == id &&
			HeapTupleSatisfiesVisibility(&tuple, &any, buffer);
		if (changed)
			tuple.t_self = tuple.t_data->t_ctid;
		UnlockReleaseBuffer(buffer);
	} while (changed);
	return there;
}

/*
 * once_spi_remove is once_spi_delete for a row that this transaction has
 * locked.  It raises an error if the row is still there.
 */
bool
once_spi_remove(OnceQueue *queue, ItemPointer tid, int64 id)
{
	if (once_spi_delete(queue, tid, id))
		return true;
	if (once_spi_is_there(queue, tid, id))
		once_spi_raise_suppressed(queue);
	return false;
}

/*
 * once_spi_raise_suppressed raises once_ack_suppressed.
 */
void
once_spi_raise_suppressed(const OnceQueue *queue)
{
	ereport(ERROR,
			(errcode(ERRCODE_ONCE_ACK_SUPPRESSED),
			 errmsg("message of queue \"%s\" was not deleted", once_queue_name(queue)),
			 errdetail("A trigger or rule of the table kept the row."),
			 errhint("Let the trigger return OLD for a DELETE.")));
}

/*
 * row_changed_by_us tells whether this transaction has replaced a row by
 * another version.  The caller has locked the row's page.
 */
static bool
row_changed_by_us(HeapTuple tuple)
{
	return once_row_has_successor(tuple) &&
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(tuple->t_data));
}

/*
 * insert_some stores rows by one INSERT.  It raises an error if a trigger or
 * rule keeps some of them out, because we would return ids of messages that do
 * not exist.
 */
static void
insert_some(OnceQueue *queue, const OnceNewRows *batch)
{
	Datum		values[NINSERT_PARAMS];
	bool		isnull[NINSERT_PARAMS] = {0};
	char		nulls[NINSERT_PARAMS];
	RowPlan		which = batch->nrows == 1 ? ROW_PLAN_INSERT : ROW_PLAN_INSERT_MANY;
	uint64		stored;
	int			rc;
	int			i;

	values[0] = TimestampTzGetDatum(batch->deliver_at);
	isnull[0] = TIMESTAMP_IS_NOBEGIN(batch->deliver_at);
	values[1] = TimestampTzGetDatum(batch->expires_at);
	isnull[1] = TIMESTAMP_IS_NOBEGIN(batch->expires_at);
	for (i = NINSERT_SHARED; i < NINSERT_PARAMS; i++)
	{
		int			column = insert_columns[i].column;

		if (which == ROW_PLAN_INSERT)
			values[i] = row_value(batch->rows, column, &isnull[i]);
		else
			values[i] = row_array(batch, column, insert_columns[i].type);
	}
	for (i = 0; i < NINSERT_PARAMS; i++)
		nulls[i] = isnull[i] ? 'n' : ' ';

	SPI_connect();
	rc = SPI_execute_plan(get_plan(queue, which), values, nulls, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
	stored = rc == SPI_OK_INSERT ? SPI_processed : 0;
	SPI_finish();

	if (stored != (uint64) batch->nrows)
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_SEND_SUPPRESSED),
				 errmsg("message of queue \"%s\" was not stored", once_queue_name(queue)),
				 errdetail("A trigger or rule of the table dropped the row."),
				 errhint("To have messages dropped silently, send them by plain INSERT.")));
}

/*
 * row_size tells how many bytes of memory a row's values take.
 */
static Size
row_size(const OnceNewRow *row)
{
	Size		size = 0;

	if (!row->headers_null)
		size += toast_raw_datum_size(row->headers);
	if (!row->payload_null)
		size += toast_raw_datum_size(row->payload);
	return size;
}

/*
 * row_value returns one column of a row.
 */
static Datum
row_value(const OnceNewRow *row, int column, bool *isnull)
{
	*isnull = false;
	switch (column)
	{
		case ONCE_COL_ID:
			return Int64GetDatum(row->id);
		case ONCE_COL_PRIORITY:
			return Int16GetDatum(row->priority);
		case ONCE_COL_GROUP_ID:
			*isnull = row->group_id_null;
			return row->group_id;
		case ONCE_COL_HEADERS:
			*isnull = row->headers_null;
			return row->headers;
		default:
			Assert(column == ONCE_COL_PAYLOAD);
			*isnull = row->payload_null;
			return row->payload;
	}
}

/*
 * row_array makes an array of one column of the rows.
 */
static Datum
row_array(const OnceNewRows *batch, int column, Oid type)
{
	Datum	   *elems = palloc(sizeof(Datum) * batch->nrows);
	bool	   *isnull = palloc(sizeof(bool) * batch->nrows);
	int16		typlen;
	bool		typbyval;
	char		typalign;
	int			dims = batch->nrows;
	int			lbs = 1;
	int			i;

	for (i = 0; i < batch->nrows; i++)
		elems[i] = row_value(&batch->rows[i], column, &isnull[i]);

	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	return PointerGetDatum(construct_md_array(elems, isnull, 1, &dims, &lbs, type,
											  typlen, typbyval, typalign));
}

/*
 * get_plan returns a prepared statement for the queue's table.  It is made at
 * first use and kept for the session.  Call it between SPI_connect and
 * SPI_finish.
 *
 * The statement is not kept if the table has rules.  What DO INSTEAD NOTHING
 * makes of a command no longer depends on any table, so the plan would not
 * notice that the rule is dropped.
 *
 * Plans are never freed, because one may be running further up the stack.
 * Renaming a queue's table, which only the extension's owner can do, leaves a
 * few of them behind.
 */
static SPIPlanPtr
get_plan(OnceQueue *queue, RowPlan which)
{
	Oid			relid = RelationGetRelid(queue->heap);
	RowPlans   *plans;
	bool		found;

	if (queue->heap->rd_rules != NULL)
		return make_plan(RelationGetRelationName(queue->heap), which);

	if (row_plans == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(RowPlans);
		ctl.hcxt = TopMemoryContext;
		row_plans = hash_create("pg_once row plans", 16, &ctl,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}

	plans = hash_search(row_plans, &relid, HASH_ENTER, &found);
	if (!found || strcmp(NameStr(plans->relname), RelationGetRelationName(queue->heap)) != 0)
	{
		namestrcpy(&plans->relname, RelationGetRelationName(queue->heap));
		memset(plans->plan, 0, sizeof(plans->plan));
	}
	if (plans->plan[which] == NULL)
	{
		/* Preparing may fail or call us again, so search the table again */
		SPIPlanPtr	plan = make_plan(RelationGetRelationName(queue->heap), which);

		if (SPI_keepplan(plan) != 0)
			elog(ERROR, "SPI_keepplan failed");
		plans = hash_search(row_plans, &relid, HASH_ENTER, &found);
		plans->plan[which] = plan;
	}
	return plans->plan[which];
}

static SPIPlanPtr
make_plan(const char *relname, RowPlan which)
{
	static const Oid delete_types[] = {TIDOID, INT8OID};

	const char *table = quote_qualified_identifier(ONCE_SCHEMA, relname);
	Oid			types[NINSERT_PARAMS];
	char	   *sql = NULL;
	int			ntypes = NINSERT_PARAMS;
	SPIPlanPtr	plan;
	int			i;

	for (i = 0; i < NINSERT_PARAMS; i++)
		types[i] = which == ROW_PLAN_INSERT_MANY && i >= NINSERT_SHARED ?
			get_array_type(insert_columns[i].type) : insert_columns[i].type;

	switch (which)
	{
		case ROW_PLAN_INSERT:
			sql = psprintf("INSERT INTO %s (" INSERT_COLUMNS ") "
						   "OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7)", table);
			break;
		case ROW_PLAN_INSERT_MANY:
			sql = psprintf("INSERT INTO %s (" INSERT_COLUMNS ") "
						   "OVERRIDING SYSTEM VALUE "
						   "SELECT $1, $2, u.id, u.priority, u.group_id, u.headers, u.payload "
						   "FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), "
						   "pg_catalog.unnest($6), pg_catalog.unnest($7)) "
						   "AS u(id, priority, group_id, headers, payload)", table);
			break;
		case ROW_PLAN_DELETE:

			/*
			 * If the row has been moved while we waited for it, the server
			 * judges the new version by the condition.  Older minor versions
			 * leave out what the scan itself has looked for, so the place is
			 * compared once more, in a way that no scan can use.
			 */
			sql = psprintf("DELETE FROM ONLY %s WHERE ctid OPERATOR(pg_catalog.=) $1 "
						   "AND (ctid OPERATOR(pg_catalog.=) $1) IS TRUE "
						   "AND id OPERATOR(pg_catalog.=) $2", table);
			ntypes = lengthof(delete_types);
			memcpy(types, delete_types, sizeof(delete_types));
			break;
	}

	plan = SPI_prepare(sql, ntypes, types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	return plan;
}
