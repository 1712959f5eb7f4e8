/*-------------------------------------------------------------------------
 *
 * meta_retention.c
 *	  Reading and writing rows of once.ledger.
 *
 * Users may read that table but not write it.  It is written like once.queue,
 * below the level of SQL, after the caller has checked the user's rights.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_collation.h"
#include "meta/meta_catalog.h"
#include "meta/meta_retention.h"
#include "once_rest.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* Columns of once.ledger */
#define Natts_once_ledger					3
#define Anum_once_ledger_ledger				1
#define Anum_once_ledger_retention			2
#define Anum_once_ledger_created_at			3

static Relation ledgers_open(LOCKMODE lockmode);
static SysScanDesc ledgers_find(Relation rel, const char *ledger, HeapTuple *tuple);

/*
 * once_retention_read fetches the retention of a ledger, as of now.  Returns false, and
 * leaves *retention untouched, if there is no such row.
 */
bool
once_retention_read(const char *ledger, Interval *retention)
{
	Relation	rel = ledgers_open(AccessShareLock);
	HeapTuple	tuple;
	SysScanDesc scan = ledgers_find(rel, ledger, &tuple);
	bool		found = HeapTupleIsValid(tuple);
	bool		isnull;

	if (found)
		*retention = *DatumGetIntervalP(heap_getattr(tuple, Anum_once_ledger_retention,
													 RelationGetDescr(rel), &isnull));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * once_retention_write makes or replaces the row of a ledger.  created: the ledger is
 * new, so created_at is set as well.  The caller holds once_options_lock.
 */
void
once_retention_write(const char *ledger, const Interval *retention, bool created)
{
	Relation	rel = ledgers_open(RowExclusiveLock);
	HeapTuple	old;
	HeapTuple	new;
	SysScanDesc scan = ledgers_find(rel, ledger, &old);
	Datum		values[Natts_once_ledger];
	bool		isnull[Natts_once_ledger] = {0};
	bool		replace[Natts_once_ledger] = {true, true, created};

	values[Anum_once_ledger_ledger - 1] = CStringGetTextDatum(ledger);
	values[Anum_once_ledger_retention - 1] = IntervalPGetDatum(retention);
	values[Anum_once_ledger_created_at - 1] =
		TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	if (HeapTupleIsValid(old))
	{
		new = heap_modify_tuple(old, RelationGetDescr(rel), values, isnull, replace);
		CatalogTupleUpdate(rel, &old->t_self, new);
	}
	else
	{
		new = heap_form_tuple(RelationGetDescr(rel), values, isnull);
		CatalogTupleInsert(rel, new);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	once_rest_end_at_commit();
}

/*
 * once_retention_delete removes the row of a ledger, if there is one.  The caller
 * holds once_options_lock.
 */
void
once_retention_delete(const char *ledger)
{
	Relation	rel = ledgers_open(RowExclusiveLock);
	HeapTuple	tuple;
	SysScanDesc scan = ledgers_find(rel, ledger, &tuple);

	if (HeapTupleIsValid(tuple))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

static Relation
ledgers_open(LOCKMODE lockmode)
{
	return once_schema_open("ledger", Natts_once_ledger, lockmode);
}

/*
 * ledgers_find starts a scan for the row of a ledger and fetches the row, or NULL.
 * The tuple is valid until the caller ends the scan.
 */
static SysScanDesc
ledgers_find(Relation rel, const char *ledger, HeapTuple *tuple)
{
	Oid			index = get_relname_relid("ledger_pkey", RelationGetNamespace(rel));
	ScanKeyData key;
	SysScanDesc scan;

	ScanKeyInit(&key, Anum_once_ledger_ledger, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(ledger));
	key.sk_collation = C_COLLATION_OID;
	scan = systable_beginscan(rel, index, OidIsValid(index), NULL, 1, &key);
	*tuple = systable_getnext(scan);
	return scan;
}
