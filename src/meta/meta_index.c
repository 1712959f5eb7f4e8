/*-------------------------------------------------------------------------
 *
 * meta_index.c
 *	  The indexes of a table, as they were at one moment.
 *
 * REINDEX CONCURRENTLY makes one index invalid and another one valid in one
 * transaction.  If one of them is read before that commits and the other one after it,
 * both seem valid, or neither does.  So the relcache cannot be used: it knows each
 * index as of the time when that index was last read.  Here, all indexes of a table
 * are read from pg_index under one snapshot.
 *
 * The list may be out of date when it is returned.  On a primary, no index in it can
 * be dropped while the caller holds a lock on the table, because a command that drops
 * an index waits for all transactions that may have seen it live.  On a standby,
 * nothing waits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "meta/meta_index.h"
#include "miscadmin.h"
#include "once_debug.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static bool read_indexes(Oid relid, List **indexes);
static bool index_am(Oid indexoid, Oid *am);
static AttrNumber single_key(HeapTuple tuple, TupleDesc desc);
static int	compare_indexes(const ListCell *a, const ListCell *b);

/*
 * once_index_list returns a list of OnceIndex for the indexes of a table, in the order
 * of their oids, in which they were usually made.  Indexes that are being dropped are
 * left out.
 */
List *
once_index_list(Relation heap)
{
	return once_index_list_of(RelationGetRelid(heap));
}

/*
 * once_index_list_of does the same for a table that need not be locked, nor exist.
 */
List *
once_index_list_of(Oid relid)
{
	List	   *indexes;

	/* Begin again if one of them is gone before its access method is known */
	while (!read_indexes(relid, &indexes))
	{
		list_free_deep(indexes);
		CHECK_FOR_INTERRUPTS();
	}
	list_sort(indexes, compare_indexes);
	once_debug_point("index_list_read");
	return indexes;
}

/*
 * once_index_is_plain tells whether an index has neither expressions nor a condition:
 * it has an entry for each row, which is made of columns only.
 */
bool
once_index_is_plain(Relation index)
{
	return heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL) &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
}

/*
 * once_index_all_free tells whether all indexes of a table can be locked without
 * waiting.  It is for callers that must not wait, and have locked the table.
 *
 * REINDEX and some kinds of ALTER INDEX lock an index against everybody, but its
 * table only against writers, or not at all.  The locks are released again, so
 * another session may still lock an index before the caller does.
 */
bool
once_index_all_free(Relation table, LOCKMODE lockmode)
{
	List	   *indexes = RelationGetIndexList(table);
	bool		all_free = true;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Oid			index = lfirst_oid(lc);

		all_free = ConditionalLockRelationOid(index, lockmode);
		if (!all_free)
			break;
		UnlockRelationOid(index, lockmode);
	}
	list_free(indexes);
	return all_free;
}

/*
 * once_index_try_lock_table locks a table unless that, or locking its indexes, would
 * have to wait.  False: it has no lock.
 */
bool
once_index_try_lock_table(Oid relid, LOCKMODE lockmode)
{
	Relation	table;
	bool		all_free;

	if (!ConditionalLockRelationOid(relid, lockmode))
		return false;
	table = try_relation_open(relid, NoLock);
	all_free = table != NULL && once_index_all_free(table, lockmode);
	if (table != NULL)
		relation_close(table, NoLock);
	if (!all_free)
		UnlockRelationOid(relid, lockmode);
	return all_free;
}

static bool
read_indexes(Oid relid, List **indexes)
{
	Relation	catalog = table_open(IndexRelationId, AccessShareLock);
	bool		good = true;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	*indexes = NIL;
	ScanKeyInit(&key, Anum_pg_index_indrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, IndexIndrelidIndexId, true, NULL, 1, &key);
	while (good && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_index form = (Form_pg_index) GETSTRUCT(tuple);
		OnceIndex  *index;

		if (!form->indislive)
			continue;
		index = palloc(sizeof(OnceIndex));
		index->oid = form->indexrelid;
		index->ready = form->indisready;
		index->valid = form->indisvalid;
		index->key = single_key(tuple, RelationGetDescr(catalog));
		good = index_am(form->indexrelid, &index->am);
		*indexes = lappend(*indexes, index);
		once_debug_point("index_list_reading");
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return good;
}

/*
 * index_am finds the access method of an index, which never changes.  Returns false if
 * the index is gone.
 */
static bool
index_am(Oid indexoid, Oid *am)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(indexoid));

	if (!HeapTupleIsValid(tuple))
		return false;
	*am = ((Form_pg_class) GETSTRUCT(tuple))->relam;
	ReleaseSysCache(tuple);
	return true;
}

/*
 * single_key returns the column of an index that is a plain unique key on one column,
 * checked at once.  Returns 0 for other indexes.
 */
static AttrNumber
single_key(HeapTuple tuple, TupleDesc desc)
{
	Form_pg_index form = (Form_pg_index) GETSTRUCT(tuple);

	if (form->indisunique && form->indimmediate && form->indnatts == 1 &&
		heap_attisnull(tuple, Anum_pg_index_indexprs, desc) &&
		heap_attisnull(tuple, Anum_pg_index_indpred, desc))
		return form->indkey.values[0];
	return 0;
}

static int
compare_indexes(const ListCell *a, const ListCell *b)
{
	Oid			first = ((OnceIndex *) lfirst(a))->oid;
	Oid			second = ((OnceIndex *) lfirst(b))->oid;

	return first < second ? -1 : first > second;
}
