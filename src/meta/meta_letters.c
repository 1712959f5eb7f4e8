/*-------------------------------------------------------------------------
 *
 * meta_letters.c
 *	  Dead letters on their way out of once.dead_letter.
 *
 * They are found in the order of death, by the index, and locked as they are found.
 * Those that somebody else has locked are skipped.  They are deleted as the executor
 * would do it: triggers that the table's owner has added fire, as the caller.  No
 * command runs as another role, so the caller cannot mislead code that has the rights
 * of another role.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "meta/meta_catalog.h"
#include "meta/meta_letters.h"
#include "miscadmin.h"
#include "once_error.h"
#include "once_heap.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

/* The columns by which letters are sorted, and the place of the letter */
#define Natts_found			4
#define Anum_found_group	1	/* a hash of its group; null: it has none */
#define Anum_found_id		2
#define Anum_found_turn		3	/* first its time of death, then its turn */
#define Anum_found_place	4

typedef struct FoundLetter
{
	bool		no_group;
	int64		group;
	int64		id;
	TimestampTz turn;
	ItemPointerData place;
} FoundLetter;

static void find_letters(OnceLetters *letters, TimestampTz before, int64 max,
						 Tuplesortstate *found);
static bool is_next(OnceLetters *letters, FoundLetter *letter);
static bool lock_letter(OnceLetters *letters, ItemPointer place, Snapshot snapshot,
						TupleTableSlot *locked);
static void find_turns(OnceLetters *letters, Tuplesortstate *found);
static Tuplesortstate *begin_sort(TupleDesc desc, AttrNumber first);
static void put_found(Tuplesortstate *sort, TupleTableSlot *slot, FoundLetter *letter);
static bool get_found(Tuplesortstate *sort, TupleTableSlot *slot, FoundLetter *letter);

/*
 * once_letters_begin opens the table of dead letters, to search for those of a queue.
 * ids: only those with these ids; NULL means all.
 */
void
once_letters_begin(OnceLetters *letters, const char *queue, ArrayType *ids)
{
	TupleDesc	desc = CreateTemplateTupleDesc(Natts_found);

	memset(letters, 0, sizeof(OnceLetters));
	letters->rel = once_dead_letter_open(RowExclusiveLock);
	letters->queue = queue;
	letters->any_id = ids == NULL;
	if (ids != NULL)
		once_ids_make(&letters->ids, ids);
	letters->dead_at = DT_NOBEGIN;
	letters->id = PG_INT64_MIN;
	letters->max_places = 8;
	letters->places = palloc(sizeof(ItemPointerData) * letters->max_places);

	TupleDescInitEntry(desc, Anum_found_group, "group", INT8OID, -1, 0);
	TupleDescInitEntry(desc, Anum_found_id, "id", INT8OID, -1, 0);
	TupleDescInitEntry(desc, Anum_found_turn, "turn", TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, Anum_found_place, "place", TIDOID, -1, 0);
	once_finish_tupdesc(desc);
	letters->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	letters->filled = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
}

/*
 * once_letters_find finds and locks the next letters, at most max, of those that died
 * before a time.  Returns their number; once_letters_fetch returns them.
 */
int64
once_letters_find(OnceLetters *letters, TimestampTz before, int64 max)
{
	Tuplesortstate *found = begin_sort(letters->slot->tts_tupleDescriptor, Anum_found_group);

	if (letters->sorted != NULL)
		tuplesort_end(letters->sorted);
	letters->sorted = begin_sort(letters->slot->tts_tupleDescriptor, Anum_found_turn);
	letters->nfound = 0;
	find_letters(letters, before, max, found);
	tuplesort_performsort(found);
	find_turns(letters, found);
	tuplesort_end(found);
	tuplesort_performsort(letters->sorted);
	return letters->nfound;
}

/*
 * once_letters_fetch returns the places and ids of the next letters that were found, at
 * most max.  They come in the order in which they died, except that no letter of a
 * group comes before one with a lower id.  Returns their number.
 */
int
once_letters_fetch(OnceLetters *letters, int max, ItemPointer places, int64 *ids)
{
	FoundLetter letter;
	int			n = 0;

	while (n < max && get_found(letters->sorted, letters->slot, &letter))
	{
		places[n] = letter.place;
		ids[n++] = letter.id;
	}
	return n;
}

/*
 * once_letters_end closes the table.  Locks on it and on letters are kept.
 */
void
once_letters_end(OnceLetters *letters)
{
	if (letters->sorted != NULL)
		tuplesort_end(letters->sorted);
	ExecDropSingleTupleTableSlot(letters->slot);
	ExecDropSingleTupleTableSlot(letters->filled);
	pfree(letters->places);
	table_close(letters->rel, NoLock);
}

/*
 * once_letter_remove deletes a letter that is locked, and returns a palloc'd copy of
 * it.
 */
HeapTuple
once_letter_remove(OnceDeadWriter *writer, ItemPointer place)
{
	Relation	rel = writer->rel;
	EPQState	epqstate;
	HeapTuple	tuple;

	if (!table_tuple_fetch_row_version(rel, place, SnapshotSelf, writer->slot))
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("dead letter was already removed by this transaction"),
				 errdetail("A trigger may have done that.")));
	tuple = ExecCopySlotHeapTuple(writer->slot);

	once_eval_plan_qual_init(&epqstate, writer->estate);
	ExecSimpleRelationDelete(writer->result, writer->estate, &epqstate, writer->slot);
	EvalPlanQualEnd(&epqstate);
	if (rel->trigdesc != NULL &&
		table_tuple_fetch_row_version(rel, place, SnapshotSelf, writer->slot))
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_ACK_SUPPRESSED),
				 errmsg("row of table \"%s\" was not deleted", RelationGetRelationName(rel)),
				 errdetail("A trigger of the table kept the row.")));
	ExecClearTuple(writer->slot);
	ResetPerTupleExprContext(writer->estate);
	return tuple;
}

/*
 * find_letters locks letters in the order of death, and puts them into "found".
 */
static void
find_letters(OnceLetters *letters, TimestampTz before, int64 max, Tuplesortstate *found)
{
	Oid			indexid = get_relname_relid("dead_letter_queue_idx",
											RelationGetNamespace(letters->rel));
	Relation	index;
	TupleDesc	desc = RelationGetDescr(letters->rel);
	TupleTableSlot *locked = table_slot_create(letters->rel, NULL);
	Snapshot	snapshot;
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(indexid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"dead_letter_queue_idx\" of table once.dead_letter does not exist"),
				 errhint("Give the index its old name back.")));
	index = index_open(indexid, AccessShareLock);
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	ScanKeyInit(&key[0], Anum_dead_letter_queue, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(letters->queue));
	key[0].sk_collation = C_COLLATION_OID;
	ScanKeyInit(&key[1], Anum_dead_letter_dead_at, BTGreaterEqualStrategyNumber,
				F_TIMESTAMPTZ_GE, TimestampTzGetDatum(letters->dead_at));
	scan = systable_beginscan_ordered(letters->rel, index, snapshot, 2, key);
	letters->nbefore = letters->nplaces;
	while (letters->nfound < max &&
		   HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		FoundLetter letter;
		Datum		group;

		CHECK_FOR_INTERRUPTS();
		letter.place = tuple->t_self;
		letter.id = once_heap_int64(tuple, Anum_dead_letter_id, desc, 0);
		letter.turn = once_heap_int64(tuple, Anum_dead_letter_dead_at, desc, DT_NOBEGIN);
		if (letter.turn >= before && before != DT_NOEND)
			break;
		if (!is_next(letters, &letter))
			continue;
		if (!letters->any_id && !once_ids_have(&letters->ids, letter.id))
			continue;
		group = heap_getattr(tuple, Anum_dead_letter_group_id, desc, &letter.no_group);
		if (!letter.no_group)
		{
			text	   *name = DatumGetTextPP(group);

			letter.group = (int64) hash_bytes_extended((unsigned char *) VARDATA_ANY(name),
													   VARSIZE_ANY_EXHDR(name), 0);
			if ((Pointer) name != DatumGetPointer(group))
				pfree(name);
		}
		if (!lock_letter(letters, &letter.place, snapshot, locked))
			continue;
		put_found(found, letters->filled, &letter);
		letters->nfound++;
	}
	systable_endscan_ordered(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(locked);
	index_close(index, AccessShareLock);
}

/*
 * is_next tells whether a letter that a scan has returned comes after all those that
 * were looked at before.  If so, it notes that this one was looked at.
 */
static bool
is_next(OnceLetters *letters, FoundLetter *letter)
{
	int			i;

	if (letter->turn == letters->dead_at && letter->id < letters->id)
		return false;
	if (letter->turn != letters->dead_at || letter->id != letters->id)
		letters->nplaces = letters->nbefore = 0;
	for (i = 0; i < letters->nbefore; i++)
	{
		if (ItemPointerEquals(&letters->places[i], &letter->place))
			return false;
	}
	if (letters->nplaces == letters->max_places)
	{
		letters->max_places *= 2;
		letters->places = repalloc_huge(letters->places,
										sizeof(ItemPointerData) * letters->max_places);
	}
	letters->dead_at = letter->turn;
	letters->id = letter->id;
	letters->places[letters->nplaces++] = letter->place;
	return true;
}

/*
 * lock_letter locks a letter.  Returns false if somebody else has locked or deleted it.
 */
static bool
lock_letter(OnceLetters *letters, ItemPointer place, Snapshot snapshot,
			TupleTableSlot *locked)
{
	TM_FailureData tmfd;
	TM_Result	result;

	result = table_tuple_lock(letters->rel, place, snapshot, locked,
							  GetCurrentCommandId(true), LockTupleExclusive,
							  LockWaitSkip, 0, &tmfd);
	ExecClearTuple(locked);
	if (IsolationUsesXactSnapshot() && (result == TM_Updated || result == TM_Deleted))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
	return result == TM_Ok;
}

/*
 * find_turns computes the turn of each letter found, and hands the letters to the sort
 * by turn.  The turn of a letter is the time when it died.  In a group, it is the
 * latest time when that letter or one before it died.
 *
 * Groups are told apart by a hash.  If two groups have the same hash, letters of one
 * may come after those of the other.
 */
static void
find_turns(OnceLetters *letters, Tuplesortstate *found)
{
	FoundLetter letter;
	FoundLetter last = {.no_group = true};

	while (get_found(found, letters->slot, &letter))
	{
		CHECK_FOR_INTERRUPTS();
		if (!letter.no_group && !last.no_group && letter.group == last.group)
			letter.turn = Max(letter.turn, last.turn);
		put_found(letters->sorted, letters->filled, &letter);
		last = letter;
	}
}

/*
 * begin_sort begins to sort letters by one of the columns and the id.
 */
static Tuplesortstate *
begin_sort(TupleDesc desc, AttrNumber first)
{
	AttrNumber	columns[] = {first, Anum_found_id};
	Oid			operators[] = {
		lookup_type_cache(TupleDescAttr(desc, first - 1)->atttypid, TYPECACHE_LT_OPR)->lt_opr,
		Int8LessOperator
	};
	Oid			collations[] = {InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false};

	return tuplesort_begin_heap(desc, lengthof(columns), columns, operators, collations,
								nulls_first, work_mem, NULL, TUPLESORT_NONE);
}

static void
put_found(Tuplesortstate *sort, TupleTableSlot *slot, FoundLetter *letter)
{
	Datum	   *values = slot->tts_values;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, false, sizeof(bool) * Natts_found);
	slot->tts_isnull[Anum_found_group - 1] = letter->no_group;
	values[Anum_found_group - 1] = letter->no_group ? (Datum) 0 : Int64GetDatum(letter->group);
	values[Anum_found_id - 1] = Int64GetDatum(letter->id);
	values[Anum_found_turn - 1] = TimestampTzGetDatum(letter->turn);
	values[Anum_found_place - 1] = PointerGetDatum(&letter->place);
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(sort, slot);
}

/*
 * get_found reads the next letter.  Returns false if there is none.
 */
static bool
get_found(Tuplesortstate *sort, TupleTableSlot *slot, FoundLetter *letter)
{
	bool		isnull;
	Datum		group;

	if (!tuplesort_gettupleslot(sort, true, false, slot, NULL))
		return false;
	group = slot_getattr(slot, Anum_found_group, &letter->no_group);
	letter->group = letter->no_group ? 0 : DatumGetInt64(group);
	letter->id = DatumGetInt64(slot_getattr(slot, Anum_found_id, &isnull));
	letter->turn = DatumGetTimestampTz(slot_getattr(slot, Anum_found_turn, &isnull));
	letter->place = *(ItemPointer) DatumGetPointer(slot_getattr(slot, Anum_found_place, &isnull));
	return true;
}
