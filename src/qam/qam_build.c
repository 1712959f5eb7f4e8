/*-------------------------------------------------------------------------
 *
 * qam_build.c
 *	  Building a queue index, usually of an empty table: CREATE INDEX, REINDEX,
 *	  TRUNCATE, VACUUM FULL, and the init fork of unlogged tables.
 *
 * The rows are sorted by id, which is the order in which they were sent.  Every
 * slot is READY, so leases and attempts are forgotten.  Rows that are not yet
 * committed, or are already dead, get a slot as well: the heap decides later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/tableam.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "commands/progress.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "once_debug.h"
#include "pgstat.h"
#include "qam/qam.h"
#include "qam/qam_build.h"
#include "qam/qam_format.h"
#include "qam/qam_insert.h"
#include "qam/qam_meta.h"
#include "qam/qam_page.h"
#include "qam/qam_xlog.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/tuplesort.h"
#include "wake/wake.h"

#ifndef Int8LessOperator
#define Int8LessOperator 412
#endif

/* Columns of the tuples sorted */
#define SORT_ID			1
#define SORT_TID		2
#define SORT_LANE		3
#define SORT_READY_AT	4
#define SORT_GROUP		5
#define SORT_NATTRS		5

typedef struct QamBuild
{
	Relation	index;
	Tuplesortstate *sort;
	TupleTableSlot *in;			/* a row on its way into the sort */
	double		ntuples;
} QamBuild;

/*
 * check_definition raises an error unless the index is on the columns (id int8,
 * priority int2, deliver_at timestamptz, group_id text) of a heap table, and on
 * all of its rows.
 */
static void
check_definition(Relation heap, Relation index, IndexInfo *info)
{
	static const Oid types[QAM_NATTRS] = {INT8OID, INT2OID, TIMESTAMPTZOID, TEXTOID};
	bool		good = IndexRelationGetNumberOfKeyAttributes(index) == QAM_NATTRS;
	int			i;

	for (i = 0; good && i < QAM_NATTRS; i++)
		good = info->ii_IndexAttrNumbers[i] != 0 &&
			TupleDescAttr(RelationGetDescr(index), i)->atttypid == types[i];
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("a queue index must be on four plain columns"),
				 errdetail("They are, in this order: id bigint, priority smallint, deliver_at timestamp with time zone, group_id text.")));
	if (info->ii_Predicate != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a queue index cannot be partial")));
	if (heap->rd_rel->relam != HEAP_TABLE_AM_OID)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a queue index needs a table of access method \"heap\"")));
}

/*
 * Is an index a queue index, and is it valid?
 */
static bool
is_queue_index(Oid indexoid, bool *valid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(indexoid));
	bool		ours;

	if (!HeapTupleIsValid(tuple))
		return false;
	ours = qam_is_queue_am(((Form_pg_class) GETSTRUCT(tuple))->relam);
	ReleaseSysCache(tuple);
	*valid = ours && get_index_isvalid(indexoid);
	return ours;
}

/*
 * Is an index about to be replaced by the one that is being built?
 *
 * REINDEX CONCURRENTLY holds a session lock on it.  No other concurrent build
 * has such a lock.
 */
static bool
is_replaced(Oid indexoid, IndexInfo *info)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, indexoid);
	return info->ii_Concurrent && once_lock_held(&tag, ShareUpdateExclusiveLock);
}

static char *
qualified_name(Oid indexoid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(indexoid)),
									  get_rel_name(indexoid));
}

/*
 * check_single raises an error if the table would have two valid queue indexes:
 * a message must have one place only.
 *
 * Any build of an invalid index makes it valid: not only its own REINDEX, but
 * also TRUNCATE and everything that rewrites the table.  So if there is a
 * valid index that this one does not replace, invalid ones must be dropped
 * first.
 */
static void
check_single(Relation heap, Relation index, IndexInfo *info)
{
	List	   *indexes = RelationGetIndexList(heap);
	Oid			first = InvalidOid;
	StringInfoData left;
	ListCell   *lc;

	initStringInfo(&left);
	foreach(lc, indexes)
	{
		Oid			other = lfirst_oid(lc);
		bool		valid;

		if (other == RelationGetRelid(index))
			valid = index->rd_index->indisvalid;
		else if (!is_queue_index(other, &valid))
			continue;
		else if (valid && !OidIsValid(first) && !is_replaced(other, info))
			first = other;
		if (!valid)
			appendStringInfo(&left, "%s%s", left.len > 0 ? ", " : "", qualified_name(other));
	}
	list_free(indexes);

	if (OidIsValid(first))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" already has a queue index",
						RelationGetRelationName(heap)),
				 errdetail("It is \"%s\"; the one to be built is \"%s\".",
						   get_rel_name(first), RelationGetRelationName(index)),
				 index->rd_index->indisvalid ?
				 errhint("Drop the former first, or REINDEX it.") :
				 errhint("Drop what a failed index build has left behind: DROP INDEX %s.",
						 left.data)));
	pfree(left.data);
}

static Tuplesortstate *
begin_sort(TupleDesc *desc)
{
	AttrNumber	att = SORT_ID;
	Oid			less = Int8LessOperator;
	Oid			collation = InvalidOid;
	bool		nulls_first = false;

	*desc = CreateTemplateTupleDesc(SORT_NATTRS);
	TupleDescInitEntry(*desc, SORT_ID, "id", INT8OID, -1, 0);
	TupleDescInitEntry(*desc, SORT_TID, "tid", INT8OID, -1, 0);
	TupleDescInitEntry(*desc, SORT_LANE, "lane", INT2OID, -1, 0);
	TupleDescInitEntry(*desc, SORT_READY_AT, "ready_at", INT8OID, -1, 0);
	TupleDescInitEntry(*desc, SORT_GROUP, "group", INT8OID, -1, 0);
	once_finish_tupdesc(*desc);
	return tuplesort_begin_heap(*desc, 1, &att, &less, &collation, &nulls_first,
								maintenance_work_mem, NULL, TUPLESORT_NONE);
}

static void
build_row(Relation index, ItemPointer tid, Datum *values, bool *isnull,
		  bool alive, void *state)
{
	QamBuild   *build = state;
	QamEntry	entry = qam_entry(index, values, isnull, tid);
	TupleTableSlot *slot = build->in;

	ExecClearTuple(slot);
	slot->tts_values[SORT_ID - 1] = values[QAM_ATTR_ID - 1];
	slot->tts_isnull[SORT_ID - 1] = isnull[QAM_ATTR_ID - 1];
	slot->tts_values[SORT_TID - 1] =
		Int64GetDatum(((int64) ItemPointerGetBlockNumber(tid) << 16) |
					  ItemPointerGetOffsetNumber(tid));
	slot->tts_isnull[SORT_TID - 1] = false;
	slot->tts_values[SORT_LANE - 1] = Int16GetDatum(entry.lane);
	slot->tts_isnull[SORT_LANE - 1] = false;
	slot->tts_values[SORT_READY_AT - 1] = Int64GetDatum(entry.ready_at);
	slot->tts_isnull[SORT_READY_AT - 1] = false;
	slot->tts_values[SORT_GROUP - 1] = Int64GetDatum(entry.group);
	slot->tts_isnull[SORT_GROUP - 1] = false;
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(build->sort, slot);
	build->ntuples++;
}

/*
 * Append the sorted rows, in batches.
 */
static void
build_lanes(QamBuild *build)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(build->in->tts_tupleDescriptor,
													&TTSOpsMinimalTuple);
	QamEntry	entries[256];
	int64		done = 0;
	int			n = 0;

	tuplesort_performsort(build->sort);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_TOTAL, build->ntuples);
	while (tuplesort_gettupleslot(build->sort, true, false, slot, NULL))
	{
		QamEntry   *entry = &entries[n++];
		int64		tid;

		slot_getallattrs(slot);
		tid = DatumGetInt64(slot->tts_values[SORT_TID - 1]);
		ItemPointerSet(&entry->tid, tid >> 16, tid & 0xFFFF);
		entry->lane = DatumGetInt16(slot->tts_values[SORT_LANE - 1]);
		entry->ready_at = DatumGetInt64(slot->tts_values[SORT_READY_AT - 1]);
		entry->group = (uint32) DatumGetInt64(slot->tts_values[SORT_GROUP - 1]);
		if (n == lengthof(entries))
		{
			qam_append_ready(build->index, entries, n);
			done += n;
			pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, done);
			n = 0;
		}
	}
	qam_append_ready(build->index, entries, n);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, done + n);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Create the metapage of an empty fork.
 */
static void
build_meta(Relation index, ForkNumber fork)
{
	uint64		nonce[2];
	uint64		group_key[2] = {0, 0};
	Buffer		buffer;

	qam_meta_random(nonce);
	if (!once_debug_group_key)
		qam_meta_random(group_key);
	buffer = once_extend(index, fork);
	Assert(BufferGetBlockNumber(buffer) == QAM_METAPAGE);
	qam_page_init_meta(BufferGetPage(buffer), nonce, group_key);
	qam_log_whole_page(index, buffer, fork);
	UnlockReleaseBuffer(buffer);
}

/*
 * qambuild is ambuild.
 */
IndexBuildResult *
qambuild(Relation heap, Relation index, struct IndexInfo *info)
{
	IndexBuildResult *result = palloc0(sizeof(IndexBuildResult));
	QamBuild	build;
	TupleDesc	desc;

	if (RelationGetNumberOfBlocks(index) != 0)
		elog(ERROR, "index \"%s\" already contains data",
			 RelationGetRelationName(index));
	check_definition(heap, index, info);
	check_single(heap, index, info);
	build_meta(index, MAIN_FORKNUM);

	build.index = index;
	build.ntuples = 0;
	build.sort = begin_sort(&desc);
	build.in = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	result->heap_tuples = table_index_build_scan(heap, index, info, false, true,
												 build_row, &build, NULL);
	build_lanes(&build);
	ExecDropSingleTupleTableSlot(build.in);
	tuplesort_end(build.sort);
	result->index_tuples = build.ntuples;

	/* Messages that were claimed or waited for a time are ready now */
	if (build.ntuples > 0)
		once_wake_note_look(RelationGetRelid(heap), ONCE_WAKE_AT_COMMIT);
	return result;
}

/*
 * qambuildempty is ambuildempty.
 *
 * After each crash the index begins with what is in the init fork, including
 * the nonce, and page numbers and transaction ids begin again.  So the nonce
 * is replaced when the first page is added (qam_meta_renew_nonce).
 */
void
qambuildempty(Relation index)
{
	build_meta(index, INIT_FORKNUM);
}

/*
 * qam_is_queue_am tells whether an index access method is ours, whatever its
 * name.
 */
bool
qam_is_queue_am(Oid am)
{
	const IndexAmRoutine *routine = GetIndexAmRoutineByAmId(am, true);
	bool		ours = routine != NULL && routine->ambuild == qambuild;

	if (routine != NULL)
		once_free_am_routine(routine);
	return ours;
}
