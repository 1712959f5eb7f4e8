/*-------------------------------------------------------------------------
 *
 * meta_citus.c
 *	  Tables that Citus has distributed.
 *
 * Such a table is an ordinary one, with all its indexes, on every node that knows
 * of it; but its rows are in tables of other names, the shards, some of which may
 * be on this node.  It is Citus' planner that sends a command there.  So what goes
 * past the planner finds nothing, and what it puts into the table is never found.
 *
 * Citus has a row for each such table, reference tables and those that it only
 * manages included, in pg_catalog.pg_dist_partition, by its column logicalrelid of
 * type regclass, and invalidates the table's relcache entry when that changes
 * (github.com/citusdata/citus, src/backend/distributed/sql/citus--10.0-1.sql
 * and metadata/metadata_cache.c).  The catalog is known by its name here: nobody
 * can create anything in pg_catalog who could not do as he likes anyway.
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
 * once_citus_distributes tells whether a table is one of those.  Reads all their
 * rows, so the answer is to be kept.
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
