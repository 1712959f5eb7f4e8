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
 * logicalrelid of type regclass.  The shards are in pg_catalog.pg_dist_shard, on every
 * node that may plan commands on the table.  Citus invalidates the table's relcache entry when
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
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "meta/meta_citus.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#define CITUS_PARTITION		"pg_dist_partition"
#define CITUS_SHARD			"pg_dist_shard"
#define CITUS_SHARD_INDEX	"pg_dist_shard_shardid_index"

static Oid	citus_catalog(const char *name, const char *column, Oid type, AttrNumber *attno);

/*
 * once_citus_distributes tells whether Citus has distributed a table.  It reads the
 * whole catalog of Citus, so callers should remember the answer.
 */
bool
once_citus_distributes(Oid relid)
{
	AttrNumber	column;
	Oid			catalogoid = citus_catalog(CITUS_PARTITION, "logicalrelid", REGCLASSOID, &column);
	Relation	catalog;
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	if (!OidIsValid(catalogoid))
		return false;
	catalog = table_open(catalogoid, AccessShareLock);
	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/*
 * once_citus_shard_of returns the distributed table that a table is a shard of, or
 * InvalidOid.  The name of a shard is that of the distributed table, in the same
 * schema, an underscore, and the number of the shard.
 */
Oid
once_citus_shard_of(Relation heap)
{
	const char *relname = RelationGetRelationName(heap);
	const char *number = strrchr(relname, '_');
	AttrNumber	column;
	AttrNumber	parent_column;
	Oid			catalogoid;
	Relation	catalog;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *end;
	int64		shard;
	Oid			parent = InvalidOid;

	if (number == NULL || number[1] < '1' || number[1] > '9')
		return InvalidOid;
	errno = 0;
	shard = strtoi64(number + 1, &end, 10);
	if (errno != 0 || *end != '\0')
		return InvalidOid;
	catalogoid = citus_catalog(CITUS_SHARD, "logicalrelid", REGCLASSOID, &parent_column);
	if (!OidIsValid(catalogoid) ||
		!OidIsValid(citus_catalog(CITUS_SHARD, "shardid", INT8OID, &column)))
		return InvalidOid;

	catalog = table_open(catalogoid, AccessShareLock);
	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(shard));
	scan = systable_beginscan(catalog,
							  get_relname_relid(CITUS_SHARD_INDEX, PG_CATALOG_NAMESPACE),
							  true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;

		parent = DatumGetObjectId(heap_getattr(tuple, parent_column,
											   RelationGetDescr(catalog), &isnull));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);

	if (OidIsValid(parent))
	{
		char	   *name = get_rel_name(parent);

		if (name == NULL || get_rel_namespace(parent) != RelationGetNamespace(heap) ||
			strlen(name) != number - relname || strncmp(name, relname, number - relname) != 0)
			parent = InvalidOid;
	}
	return parent;
}

/*
 * citus_catalog finds a catalog of Citus, and a column of it that must have this type.
 * Returns InvalidOid if there is no such catalog, or no such column.
 */
static Oid
citus_catalog(const char *name, const char *column, Oid type, AttrNumber *attno)
{
	Oid			catalogoid = get_relname_relid(name, PG_CATALOG_NAMESPACE);

	if (!OidIsValid(catalogoid) || get_rel_relkind(catalogoid) != RELKIND_RELATION)
		return InvalidOid;
	*attno = get_attnum(catalogoid, column);
	if (*attno == InvalidAttrNumber || get_atttype(catalogoid, *attno) != type)
		return InvalidOid;
	return catalogoid;
}
