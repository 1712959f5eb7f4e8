/*-------------------------------------------------------------------------
 *
 * meta_dead.c
 *	  Reading and writing rows of once.dead_letter and once.failure.
 *
 * Nobody has rights on these tables.  Users see them through views, which show to
 * each user the queues whose table that user may read.  Rows are written below the
 * level of SQL, like the options, for a caller who has the right to remove the message
 * concerned.  But constraints and triggers that the tables' owner has added take
 * effect.
 *
 * A failure belongs to a message by the name of the queue, the id and the time of
 * sending (OnceMessageKey).  A failure that is left over does little harm.  So
 * deletions here wait for nobody, and maintain() deletes what they had to leave.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_statistic.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "meta/meta_catalog.h"
#include "meta/meta_dead.h"
#include "meta/meta_index.h"
#include "miscadmin.h"
#include "once_error.h"
#include "once_heap.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* Columns of once.failure */
#define Natts_failure				6
#define Anum_failure_queue			1
#define Anum_failure_id				2
#define Anum_failure_attempt		3
#define Anum_failure_error			4
#define Anum_failure_failed_at		5
#define Anum_failure_enqueued_at	6

/* The tables, each with an index whose first column is the queue's name */
static const char *const tables[][2] = {
	{"dead_letter", "dead_letter_queue_idx"},
	{"failure", "failure_queue_idx"}
};

/* Dead letters that are counted one by one */
#define COUNT_MAX					10000

static int64 analyzed_count(Relation rel, const char *queue);
static Relation open_table(const char *relname, LOCKMODE lockmode, bool wait);
static void begin_writing(OnceDeadWriter *writer, Relation rel);
static void write_row(OnceDeadWriter *writer, Datum *values, bool *isnull, int natts);
static void end_writing(OnceDeadWriter *writer);
static Datum find_failure(const char *queue, const OnceMessageKey *message, bool stuck,
						  bool *isnull);
static void forget_failures(const char *queue, const OnceMessageKey *message,
							bool stuck_only);
static SysScanDesc scan_queue(Relation rel, const char *index, const char *queue,
							  Snapshot snapshot);
static SysScanDesc scan_failures(Relation rel, const char *queue,
								 const OnceMessageKey *message);
static HeapTuple next_failure(SysScanDesc scan, Relation rel, const OnceMessageKey *message);
static int	read_attempt(HeapTuple tuple, Relation rel);

/*
 * once_dead_letter_lock locks the table of dead letters for writing.  Returns false if
 * it would have to wait.
 */
bool
once_dead_letter_lock(void)
{
	Relation	rel = open_table("dead_letter", RowExclusiveLock, false);

	if (rel == NULL)
		return false;
	table_close(rel, NoLock);
	return true;
}

/*
 * once_dead_letter_open opens and locks the table of dead letters.
 */
Relation
once_dead_letter_open(LOCKMODE lockmode)
{
	return open_table("dead_letter", lockmode, true);
}

/*
 * once_dead_letter_begin opens the table of dead letters for writing.
 */
void
once_dead_letter_begin(OnceDeadWriter *writer)
{
	begin_writing(writer, once_dead_letter_open(RowExclusiveLock));
}

/*
 * once_dead_letter_write stores a dead letter.  Values must not be stored out of line.
 */
void
once_dead_letter_write(OnceDeadWriter *writer, Datum *values, bool *isnull)
{
	write_row(writer, values, isnull, Natts_dead_letter);
}

/*
 * once_dead_letter_end closes the table, and lets later commands see the rows.
 */
void
once_dead_letter_end(OnceDeadWriter *writer)
{
	end_writing(writer);
}

/*
 * once_failure_write stores why a delivery failed.  It replaces what was stored for
 * the same delivery before.  Unless "wait", it does nothing if the table is locked.
 */
void
once_failure_write(const char *queue, const OnceMessageKey *message, int attempt,
				   Datum error, bool wait)
{
	Relation	rel = open_table("failure", RowExclusiveLock, wait);
	SysScanDesc scan;
	OnceDeadWriter writer;
	Datum		values[Natts_failure];
	bool		isnull[Natts_failure] = {0};
	HeapTuple	tuple;

	if (rel == NULL)
		return;
	scan = scan_failures(rel, queue, message);
	while (HeapTupleIsValid(tuple = next_failure(scan, rel, message)))
	{
		if (read_attempt(tuple, rel) == attempt)
			(void) once_heap_try_delete(rel, &tuple->t_self);
	}
	systable_endscan(scan);

	values[Anum_failure_queue - 1] = CStringGetTextDatum(queue);
	values[Anum_failure_id - 1] = Int64GetDatum(message->id);
	values[Anum_failure_attempt - 1] = Int32GetDatum(attempt);
	values[Anum_failure_error - 1] = error;
	values[Anum_failure_failed_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[Anum_failure_enqueued_at - 1] = TimestampTzGetDatum(message->enqueued_at);
	isnull[Anum_failure_enqueued_at - 1] = TIMESTAMP_IS_NOBEGIN(message->enqueued_at);
	begin_writing(&writer, rel);
	write_row(&writer, values, isnull, Natts_failure);
	end_writing(&writer);
}

/*
 * once_failure_last returns the last error that was stored for a delivery of a
 * message, as a palloc'd text, or null.
 */
Datum
once_failure_last(const char *queue, const OnceMessageKey *message, bool *isnull)
{
	return find_failure(queue, message, false, isnull);
}

/*
 * once_failure_stuck returns why a message is stuck, as a palloc'd text, or null.
 */
Datum
once_failure_stuck(const char *queue, const OnceMessageKey *message, bool *isnull)
{
	return find_failure(queue, message, true, isnull);
}

/*
 * once_failure_forget deletes the failures of a message that is done.
 */
void
once_failure_forget(const char *queue, const OnceMessageKey *message)
{
	forget_failures(queue, message, false);
}

/*
 * once_failure_forget_stuck deletes the reason why a message was stuck.
 */
void
once_failure_forget_stuck(const char *queue, const OnceMessageKey *message)
{
	forget_failures(queue, message, true);
}

/*
 * once_failure_key reads the key of the message that a row is about.  id and
 * enqueued_at: the columns that have the id and the time of sending; enqueued_at is 0
 * if there is no such column.
 */
OnceMessageKey
once_failure_key(HeapTuple tuple, TupleDesc desc, AttrNumber id, AttrNumber enqueued_at)
{
	OnceMessageKey key;

	key.id = once_heap_int64(tuple, id, desc, 0);
	key.enqueued_at = enqueued_at == 0 ? DT_NOBEGIN :
		once_heap_int64(tuple, enqueued_at, desc, DT_NOBEGIN);
	return key;
}

/*
 * once_failure_orphans returns the messages of a queue that have failures and are not
 * dead letters, in a hash table whose key is OnceMessageKey.  Returns NULL if there
 * are no failures, or if it would have to wait.
 */
HTAB *
once_failure_orphans(const char *queue, Snapshot snapshot)
{
	Relation	failures = open_table("failure", AccessShareLock, false);
	Relation	letters = failures == NULL ? NULL :
		open_table("dead_letter", AccessShareLock, false);
	HTAB	   *messages = NULL;
	HASHCTL		ctl;
	SysScanDesc scan;
	HeapTuple	tuple;
	OnceMessageKey key;

	if (letters == NULL)
	{
		if (failures != NULL)
			table_close(failures, AccessShareLock);
		return NULL;
	}
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
		key = once_failure_key(tuple, RelationGetDescr(failures), Anum_failure_id,
							   Anum_failure_enqueued_at);
		(void) hash_search(messages, &key, HASH_ENTER, NULL);
	}
	systable_endscan(scan);

	if (messages != NULL)
	{
		scan = scan_queue(letters, "dead_letter_queue_idx", queue, snapshot);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			CHECK_FOR_INTERRUPTS();
			key = once_failure_key(tuple, RelationGetDescr(letters), Anum_dead_letter_id,
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
 * once_failure_forget_orphans deletes those failures of some messages that the
 * snapshot sees, unless it would have to wait.
 */
void
once_failure_forget_orphans(const char *queue, Snapshot snapshot, HTAB *messages)
{
	Relation	rel = open_table("failure", RowExclusiveLock, false);
	SysScanDesc scan;
	HeapTuple	tuple;
	OnceMessageKey key;

	if (rel == NULL)
		return;
	scan = scan_queue(rel, "failure_queue_idx", queue, snapshot);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CHECK_FOR_INTERRUPTS();
		key = once_failure_key(tuple, RelationGetDescr(rel), Anum_failure_id,
							   Anum_failure_enqueued_at);
		if (hash_search(messages, &key, HASH_FIND, NULL) != NULL)
			(void) once_heap_try_delete(rel, &tuple->t_self);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/*
 * once_dead_letter_any tells whether there are dead letters or failures under the name
 * of a queue, which need not exist.
 */
bool
once_dead_letter_any(const char *queue)
{
	bool		found = false;
	int			i;

	for (i = 0; i < lengthof(tables) && !found; i++)
	{
		Relation	rel = open_table(tables[i][0], AccessShareLock, true);
		SysScanDesc scan = scan_queue(rel, tables[i][1], queue, NULL);

		found = HeapTupleIsValid(systable_getnext(scan));
		systable_endscan(scan);
		table_close(rel, AccessShareLock);
	}
	return found;
}

/*
 * once_dead_letter_count tells how many dead letters there are under the name of a
 * queue.  They are counted up to COUNT_MAX.  If there are more (*exact is false), that
 * is what ANALYZE has found, and at least COUNT_MAX.  Returns -1 if the table is locked.
 */
int64
once_dead_letter_count(const char *queue, bool *exact)
{
	Relation	rel = open_table(tables[0][0], AccessShareLock, false);
	SysScanDesc scan;
	int64		n = 0;

	*exact = false;
	if (rel == NULL)
		return -1;
	scan = scan_queue(rel, tables[0][1], queue, GetActiveSnapshot());
	while (n < COUNT_MAX && HeapTupleIsValid(systable_getnext(scan)))
		n++;
	systable_endscan(scan);
	*exact = n < COUNT_MAX;
	if (!*exact)
		n = Max(n, analyzed_count(rel, queue));
	table_close(rel, AccessShareLock);
	return n;
}

/*
 * analyzed_count tells how many dead letters a queue had when the table was analyzed
 * last, or 0 if that is not known, or if they were too few to be noticed then.
 */
static int64
analyzed_count(Relation rel, const char *queue)
{
	HeapTuple	tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(RelationGetRelid(rel)),
										Int16GetDatum(Anum_dead_letter_queue),
										BoolGetDatum(false));
	AttStatsSlot slot;
	double		share = 0;
	int			i;

	if (!HeapTupleIsValid(tuple))
		return 0;
	if (get_attstatsslot(&slot, tuple, STATISTIC_KIND_MCV, InvalidOid,
						 ATTSTATSSLOT_VALUES | ATTSTATSSLOT_NUMBERS))
	{
		for (i = 0; i < slot.nvalues; i++)
		{
			if (strcmp(TextDatumGetCString(slot.values[i]), queue) == 0)
				share = slot.numbers[i];
		}
		free_attstatsslot(&slot);
	}
	ReleaseSysCache(tuple);
	return (int64) (share * Max(rel->rd_rel->reltuples, 0));
}

/*
 * once_dead_letter_forget_queue deletes all dead letters and failures under the name
 * of a queue, which is being dropped, or which had the name before.
 */
void
once_dead_letter_forget_queue(const char *queue)
{
	int			i;

	for (i = 0; i < lengthof(tables); i++)
	{
		Relation	rel = open_table(tables[i][0], RowExclusiveLock, true);
		SysScanDesc scan = scan_queue(rel, tables[i][1], queue, NULL);
		HeapTuple	tuple;

		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			CHECK_FOR_INTERRUPTS();
			(void) once_heap_try_delete(rel, &tuple->t_self);
		}
		systable_endscan(scan);
		table_close(rel, NoLock);
	}
	CommandCounterIncrement();
}

/*
 * open_table opens and locks one of the tables.  Returns NULL if wait is false and it
 * would have to wait, for the table or later for one of its indexes.
 */
static Relation
open_table(const char *relname, LOCKMODE lockmode, bool wait)
{
	Oid			relid = once_schema_table(relname);
	Relation	rel;

	if (wait)
		LockRelationOid(relid, lockmode);
	else if (!ConditionalLockRelationOid(relid, lockmode))
		return NULL;
	rel = table_open(relid, NoLock);
	if (RelationGetDescr(rel)->natts < (strcmp(relname, "failure") == 0 ? Natts_failure :
										Natts_dead_letter))
		once_schema_raise_mismatch();
	if (wait || once_index_all_free(rel, lockmode))
		return rel;
	table_close(rel, lockmode);
	return NULL;
}

/*
 * begin_writing prepares to store rows as the executor would.
 */
static void
begin_writing(OnceDeadWriter *writer, Relation rel)
{
	writer->rel = rel;
	writer->estate = CreateExecutorState();
	writer->estate->es_output_cid = GetCurrentCommandId(true);
	writer->result = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->result, rel, 0, NULL, 0);
	ExecOpenIndices(writer->result, false);
	writer->slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), table_slot_callbacks(rel));
	AfterTriggerBeginQuery();
}

/*
 * write_row stores a row.  Values for its first natts columns are given; further
 * columns become null.
 */
static void
write_row(OnceDeadWriter *writer, Datum *values, bool *isnull, int natts)
{
	TupleTableSlot *slot = writer->slot;
	int			i;

	ExecClearTuple(slot);
	for (i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		slot->tts_values[i] = i < natts ? values[i] : (Datum) 0;
		slot->tts_isnull[i] = i < natts ? isnull[i] : true;
	}
	ExecStoreVirtualTuple(slot);
	ExecSimpleRelationInsert(writer->result, writer->estate, slot);
	if (!ItemPointerIsValid(&slot->tts_tid))
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_SEND_SUPPRESSED),
				 errmsg("row of table \"%s\" was not stored",
						RelationGetRelationName(writer->rel)),
				 errdetail("A trigger of the table dropped the row.")));
	ResetPerTupleExprContext(writer->estate);
}

/*
 * end_writing fires the triggers that are due after it, and closes the table.
 */
static void
end_writing(OnceDeadWriter *writer)
{
	AfterTriggerEndQuery(writer->estate);
	ExecDropSingleTupleTableSlot(writer->slot);
	ExecCloseIndices(writer->result);
	table_close(writer->rel, NoLock);
	ExecResetTupleTable(writer->estate->es_tupleTable, false);
	ExecCloseResultRelations(writer->estate);
	FreeExecutorState(writer->estate);
	CommandCounterIncrement();
}

/*
 * find_failure returns the last error of a message, as a palloc'd text, or null: that
 * of its deliveries, or with "stuck" the reason why it is stuck.  Waits for nobody.  If
 * the table is locked, the caller gets null; the view once.failures shows the error all
 * the same.
 */
static Datum
find_failure(const char *queue, const OnceMessageKey *message, bool stuck, bool *isnull)
{
	Relation	rel = open_table("failure", AccessShareLock, false);
	Datum		last = (Datum) 0;
	TimestampTz last_at = DT_NOBEGIN;
	SysScanDesc scan;
	HeapTuple	tuple;

	*isnull = true;
	if (rel == NULL)
		return (Datum) 0;
	scan = scan_failures(rel, queue, message);
	while (HeapTupleIsValid(tuple = next_failure(scan, rel, message)))
	{
		bool		null;
		Datum		error = heap_getattr(tuple, Anum_failure_error, RelationGetDescr(rel), &null);
		TimestampTz at = once_heap_int64(tuple, Anum_failure_failed_at, RelationGetDescr(rel),
										 DT_NOBEGIN);

		if ((read_attempt(tuple, rel) == ONCE_STUCK_ATTEMPT) == stuck &&
			(*isnull || at > last_at))
		{
			last = PointerGetDatum(PG_DETOAST_DATUM_COPY(error));
			last_at = at;
			*isnull = false;
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return last;
}

/*
 * forget_failures deletes all failures of a message, or only the reason why it was
 * stuck.  Waits for nobody.
 */
static void
forget_failures(const char *queue, const OnceMessageKey *message, bool stuck_only)
{
	Relation	rel = open_table("failure", RowExclusiveLock, false);
	bool		deleted = false;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (rel == NULL)
		return;
	scan = scan_failures(rel, queue, message);
	while (HeapTupleIsValid(tuple = next_failure(scan, rel, message)))
	{
		if (!stuck_only || read_attempt(tuple, rel) == ONCE_STUCK_ATTEMPT)
			deleted |= once_heap_try_delete(rel, &tuple->t_self);
	}
	systable_endscan(scan);
	table_close(rel, deleted ? NoLock : RowExclusiveLock);
	if (deleted)
		CommandCounterIncrement();
}

/*
 * scan_queue starts a scan for the rows of a queue that a snapshot sees.  If that is
 * NULL, the scan finds our own rows and those that are committed by now.
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
 * scan_failures is scan_queue for the failures of an id.  next_failure returns those of
 * one message from it.
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
		OnceMessageKey key = once_failure_key(tuple, RelationGetDescr(rel), Anum_failure_id,
											  Anum_failure_enqueued_at);

		if (key.enqueued_at == message->enqueued_at)
			break;
	}
	return tuple;
}

static int
read_attempt(HeapTuple tuple, Relation rel)
{
	bool		isnull;

	return DatumGetInt32(heap_getattr(tuple, Anum_failure_attempt, RelationGetDescr(rel),
									  &isnull));
}
