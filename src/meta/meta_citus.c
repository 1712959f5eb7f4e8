/*-------------------------------------------------------------------------
 *
 * meta_citus.c
 *	  Tables that Citus has distributed.
 *
 * Such a table is an ordinary one, with all its indexes, on every node that knows
 * it.  But its rows are in tables with other names, the shards, some of which may be
 * on this node.  Only Citus's planner sends commands there.  So code that bypasses the
 * planner finds no rows, and rows that it puts into the table are never found.
 *
 * Citus keeps a row for each such table in pg_catalog.pg_dist_partition, also for
 * reference tables and for those that it only manages.  The table is in column
 * logicalrelid of type regclass.  Citus invalidates the table's relcache entry when
 * the row changes (github.com/citusdata/citus,
 * src/backend/distributed/sql/citus--10.0-1.sql and metadata/metadata_cache.c).  Here
 * the catalog is found by its name.  That is safe: only those who may do anything can
 * create something in pg_catalog.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "meta/meta_citus.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#define CITUS_CATALOG		"pg_dist_partition"
#define CITUS_RELATION		"logicalrelid"

/*
 * once_citus_distributes tells whether Citus has distributed a table.  It reads the
 * whole catalog of Citus, so callers should remember the answer.
 */
bool
once_citus_distributes(Oid relid)
{
	Oid			catalogoid = get_relname_relid(CITUS_CATALOG, PG_CATALOG_NAMESPACE);
	AttrNumber	column;
	Relation	catalog;
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	if (!OidIsValid(catalogoid) || get_rel_relkind(catalogoid) != RELKIND_RELATION)
		return false;
	column = get_attnum(catalogoid, CITUS_RELATION);
	if (column == InvalidAttrNumber || get_atttype(catalogoid, column) != REGCLASSOID)
		return false;

	catalog = table_open(catalogoid, AccessShareLock);
	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}
