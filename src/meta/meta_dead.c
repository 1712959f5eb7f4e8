/*-------------------------------------------------------------------------
 *
 * meta_dead.c
 *	  Reading and writing rows of once.dead_letter and once.failure.
 *
 * Nobody has rights on these tables: users see them through views that show
 * each of them the queues whose table he may read.  What is written here is
 * written below the level of SQL, like the options, on behalf of somebody who
 * has the right to take the message concerned.
 *
 * A failure belongs to a message by the name of the queue, the id and the time
 * of sending (OnceMessageKey), and so it is not the end of the world if one is
 * left over: deletions here wait for nobody, and maintain() sweeps up what they
 * had to leave.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "meta/meta_catalog.h"
#include "meta/meta_dead.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Columns of once.failure */
#define Natts_failure				6
#define Anum_failure_queue			1
#define Anum_failure_id				2
#define Anum_failure_attempt		3
#define Anum_failure_error			4
#define Anum_failure_failed_at		5
#define Anum_failure_enqueued_at	6

static Relation open_table(const char *relname, LOCKMODE lockmode);
static SysScanDesc scan_queue(Relation rel, const char *index, const char *queue,
							  Snapshot snapshot);
static SysScanDesc scan_failures(Relation rel, const char *queue,
								 const OnceMessageKey *message);
static HeapTuple next_failure(SysScanDesc scan, Relation rel, const OnceMessageKey *message);
static OnceMessageKey read_key(HeapTuple tuple, Relation rel, AttrNumber id,
							   AttrNumber enqueued_at);
static bool delete_row(Relation rel, HeapTuple tuple);

/*
 * once_dead_begin opens the table of dead letters, to write some.
 */
void
once_dead_begin(OnceDeadWriter *writer)
{
	writer->rel = open_table("dead_letter", RowExclusiveLock);
	writer->indexes = CatalogOpenIndexes(writer->rel);
}

/*
 * once_dead_write stores a dead letter.  Values must not be out of line.
 */
void
once_dead_write(OnceDeadWriter *writer, Datum *values, bool *isnull)
{
	HeapTuple	tuple = heap_form_tuple(RelationGetDescr(writer->rel), values, isnull);

	CatalogTupleInsertWithInfo(writer->rel, tuple, writer->indexes);
	heap_freetuple(tuple);
}

/*
 * once_dead_end closes it, and lets later commands see the rows.
 */
void
once_dead_end(OnceDeadWriter *writer)
{
	CatalogCloseIndexes(writer->indexes);
	table_close(writer->rel, RowExclusiveLock);
	CommandCounterIncrement();
}

/*
 * once_failure_write notes why a delivery failed, instead of what was noted
 * before of the same one.
 */
void
once_failure_write(const char *queue, const OnceMessageKey *message, int attempt,
				   Datum error)
{
	Relation	rel = open_table("failure", RowExclusiveLock);
	SysScanDesc scan = scan_failures(rel, queue, message);
	Datum		values[Natts_failure];
	bool		isnull[Natts_failure] = {0};
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = next_failure(scan, rel, message)))
	{
		if (DatumGetInt32(heap_getattr(tuple, Anum_failure_attempt,
									   RelationGetDescr(rel), &isnull[0])) == attempt)
			(void) delete_row(rel, tuple);
	}
	systable_endscan(scan);

	values[Anum_failure_queue - 1] = CStringGetTextDatum(queue);
	values[Anum_failure_id - 1] = Int64GetDatum(message->id);
	values[Anum_failure_attempt - 1] = Int32GetDatum(attempt);
	values[Anum_failure_error - 1] = error;
	values[Anum_failure_failed_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[Anum_failure_enqueued_at - 1] = TimestampTzGetDatum(message->enqueued_at);
	isnull[Anum_failure_enqueued_at - 1] = TIMESTAMP_IS_NOBEGIN(message->enqueued_at);
	tuple = heap_form_tuple(RelationGetDescr(rel), values, isnull);
	CatalogTupleInsert(rel, tuple);

	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

/*
 * once_failure_last returns the error of a message's last delivery that has
 * left one, as a palloc'd text, or null.
 */
Datum
once_failure_last(const char *queue, const OnceMessageKey *message, bool *isnull)
{
	Relation	rel = open_table("failure", AccessShareLock);
	SysScanDesc scan = scan_failures(rel, queue, message);
	HeapTuple	tuple;
	Datum		last = (Datum) 0;
	TimestampTz last_at = DT_NOBEGIN;

	*isnull = true;
	while (HeapTupleIsValid(tuple = next_failure(scan, rel, message)))
	{
		Datum		values[Natts_failure];
		bool		nulls[Natts_failure];
		TimestampTz at;

		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		at = DatumGetTimestampTz(values[Anum_failure_failed_at - 1]);
		if (*isnull || at > last_at)
		{
			last = PointerGetDatum(PG_DETOAST_DATUM_COPY(values[Anum_failure_error - 1]));
			last_at = at;
			*isnull = false;
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return last;
}

/*
 * once_failures_forget deletes what was noted of a message that is done.
 */
void
once_failures_forget(const char *queue, const OnceMessageKey *message)
{
	Relation	rel = open_table("failure", RowExclusiveLock);
	SysScanDesc scan = scan_failures(rel, queue, message);
	HeapTuple	tuple;
	bool		deleted = false;

	while (HeapTupleIsValid(tuple = next_failure(scan, rel, message)))
		deleted |= delete_row(rel, tuple);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	if (deleted)
		CommandCounterIncrement();
}

/*
 * once_failures_orphaned returns the messages of a queue that have failures and
 * are no dead letters, in a table with OnceMessageKey as the key, or NULL if
 * there are none.
 */
HTAB *
once_failures_orphaned(const char *queue, Snapshot snapshot)
{
	Relation	failures = open_table("failure", AccessShareLock);
	Relation	letters = open_table("dead_letter", AccessShareLock);
	HTAB	   *messages = NULL;
	HASHCTL		ctl;
	SysScanDesc scan;
	HeapTuple	tuple;
	OnceMessageKey key;

	scan = scan_queue(failures, "failure_queue_idx", queue, snapshot);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		if (messages == NULL)
		{
			ctl.keysize = sizeof(OnceMessageKey);
			ctl.entrysize = sizeof(OnceMessageKey);
			ctl.hcxt = CurrentMemoryContext;
			messages = hash_create("pg_once failed messages", 256, &ctl,
								   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		}
		key = read_key(tuple, failures, Anum_failure_id, Anum_failure_enqueued_at);
		(void) hash_search(messages, &key, HASH_ENTER, NULL);
	}
	systable_endscan(scan);

	if (messages != NULL)
	{
		scan = scan_queue(letters, "dead_letter_queue_idx", queue, snapshot);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			CHECK_FOR_INTERRUPTS();
			key = read_key(tuple, letters, Anum_dead_letter_id,
						   Anum_dead_letter_enqueued_at);
			(void) hash_search(messages, &key, HASH_REMOVE, NULL);
		}
		systable_endscan(scan);
	}
	table_close(letters, AccessShareLock);
	table_close(failures, AccessShareLock);
	return messages;
}

/*
 * once_failures_forget_orphans deletes the failures of some messages, those
 * that the snapshot sees.
 */
void
once_failures_forget_orphans(const char *queue, Snapshot snapshot, HTAB *messages)
{
	Relation	rel = open_table("failure", RowExclusiveLock);
	SysScanDesc scan = scan_queue(rel, "failure_queue_idx", queue, snapshot);
	HeapTuple	tuple;
	OnceMessageKey key;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		key = read_key(tuple, rel, Anum_failure_id, Anum_failure_enqueued_at);
		if (hash_search(messages, &key, HASH_FIND, NULL) != NULL)
			(void) delete_row(rel, tuple);
	}
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

/*
 * once_dead_forget_queue deletes all dead letters and failures of a queue that
 * is dropped, or of one that had the name before.
 */
void
once_dead_forget_queue(const char *queue)
{
	static const char *const tables[][2] = {
		{"dead_letter", "dead_letter_queue_idx"},
		{"failure", "failure_queue_idx"}
	};
	int			i;

	for (i = 0; i < lengthof(tables); i++)
	{
		Relation	rel = open_table(tables[i][0], RowExclusiveLock);
		SysScanDesc scan = scan_queue(rel, tables[i][1], queue, NULL);
		HeapTuple	tuple;

		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			CHECK_FOR_INTERRUPTS();
			(void) delete_row(rel, tuple);
		}
		systable_endscan(scan);
		table_close(rel, RowExclusiveLock);
	}
	CommandCounterIncrement();
}

/*
 * once_dead_owner returns the role that owns the tables.
 */
Oid
once_dead_owner(void)
{
	Relation	rel = open_table("dead_letter", AccessShareLock);
	Oid			owner = rel->rd_rel->relowner;

	table_close(rel, AccessShareLock);
	return owner;
}

static Relation
open_table(const char *relname, LOCKMODE lockmode)
{
	Oid			relid = get_relname_relid(relname, once_schema_oid(false));

	if (!OidIsValid(relid))
		elog(ERROR, "table once.%s does not exist", relname);
	return table_open(relid, lockmode);
}

/*
 * scan_queue starts a scan for the rows of a queue: those that a snapshot sees,
 * or with NULL those that are committed by now and our own.
 */
static SysScanDesc
scan_queue(Relation rel, const char *index, const char *queue, Snapshot snapshot)
{
	Oid			indexid = get_relname_relid(index, RelationGetNamespace(rel));
	ScanKeyData key;

	/* The queue's name is the first column of both tables. */
	ScanKeyInit(&key, Anum_failure_queue, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(queue));
	key.sk_collation = C_COLLATION_OID;
	return systable_beginscan(rel, indexid, OidIsValid(indexid), snapshot, 1, &key);
}

/*
 * scan_failures is scan_queue for the failures of an id, of which next_failure
 * returns those of one message.
 */
static SysScanDesc
scan_failures(Relation rel, const char *queue, const OnceMessageKey *message)
{
	Oid			indexid = get_relname_relid("failure_queue_idx", RelationGetNamespace(rel));
	ScanKeyData key[2];

	ScanKeyInit(&key[0], Anum_failure_queue, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(queue));
	key[0].sk_collation = C_COLLATION_OID;
	ScanKeyInit(&key[1], Anum_failure_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(message->id));
	return systable_beginscan(rel, indexid, OidIsValid(indexid), NULL, 2, key);
}

static HeapTuple
next_failure(SysScanDesc scan, Relation rel, const OnceMessageKey *message)
{
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		OnceMessageKey key = read_key(tuple, rel, Anum_failure_id, Anum_failure_enqueued_at);

		if (key.enqueued_at == message->enqueued_at)
			break;
	}
	return tuple;
}

/*
 * read_key reads which message a row is about.
 */
static OnceMessageKey
read_key(HeapTuple tuple, Relation rel, AttrNumber id, AttrNumber enqueued_at)
{
	TupleDesc	desc = RelationGetDescr(rel);
	OnceMessageKey key;
	bool		isnull;

	key.id = DatumGetInt64(heap_getattr(tuple, id, desc, &isnull));
	key.enqueued_at = DatumGetTimestampTz(heap_getattr(tuple, enqueued_at, desc, &isnull));
	if (isnull)
		key.enqueued_at = DT_NOBEGIN;
	return key;
}

/*
 * delete_row deletes a row unless somebody else is at it.
 */
static bool
delete_row(Relation rel, HeapTuple tuple)
{
	ItemPointerData tid = tuple->t_self;
	TM_FailureData tmfd;

	return heap_delete(rel, &tid, GetCurrentCommandId(true), InvalidSnapshot,
					   false, &tmfd, false) == TM_Ok;
}
