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
 * node that may plan commands on the table.  Citus invalidates the table's relcache
 * entry when the row changes (github.com/citusdata/citus,
 * src/backend/distributed/sql/citus--10.0-1.sql and metadata/metadata_cache.c).  Here
 * the catalogs are found by their names.  That is safe: only those who may do anything
 * can create something in pg_catalog.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "meta/meta_citus.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static bool counts_ids(Oid relid);
static AttrNumber find_column(Oid catalogoid, const char *column, Oid type);

/*
 * once_citus_distributes tells whether Citus has distributed a table.  Callers should
 * remember the answer.
 */
bool
once_citus_distributes(Oid relid)
{
	OnceCitusScan scan;
	bool		found = false;

	if (once_citus_begin(&scan, "pg_dist_partition", NULL, "logicalrelid", REGCLASSOID,
						 ObjectIdGetDatum(relid)))
	{
		found = once_citus_next(&scan);
		once_citus_end(&scan);
	}
	return found;
}

/*
 * once_citus_shard_of returns the distributed table that a table is a shard of, or
 * InvalidOid.  The name of a shard is that of the distributed table, in the same
 * schema, an underscore, and the number of the shard.  *shard: that number.
 *
 * A split leaves the old shard behind for a while, and the new ones are filled before
 * Citus has them in its catalogs.  They count as shards, too, as long as the table of
 * that name is distributed.
 */
Oid
once_citus_shard_of(Relation heap, int64 *shard)
{
	return once_citus_shard_by_name(RelationGetRelationName(heap), RelationGetNamespace(heap),
									shard);
}

/*
 * once_citus_shard_by_name does the same for a table that need not be locked.
 */
Oid
once_citus_shard_by_name(const char *relname, Oid schema, int64 *shard)
{
	Oid			parent = once_citus_namesake(relname, schema, shard);
	Oid			relid = get_relname_relid(relname, schema);
	OnceCitusScan scan;
	bool		listed = false;

	/* A table that is distributed itself is no shard, whatever its name */
	if (!OidIsValid(parent) || counts_ids(relid) || once_citus_distributes(relid))
		return InvalidOid;

	if (once_citus_begin(&scan, "pg_dist_shard", "pg_dist_shard_shardid_index", "shardid",
						 INT8OID, Int64GetDatum(*shard)))
	{
		bool		isnull;

		listed = once_citus_next(&scan) &&
			DatumGetObjectId(once_citus_value(&scan, "logicalrelid", REGCLASSOID, &isnull)) == parent;
		once_citus_end(&scan);
	}
	return listed || once_citus_distributes(parent) ? parent : InvalidOid;
}

/*
 * once_citus_namesake returns the table that a table would be a shard of, by its name,
 * whether or not Citus has distributed it.  InvalidOid: there is none, or this is not the
 * name of a shard.  *shard: the number in the name.
 */
Oid
once_citus_namesake(const char *relname, Oid schema, int64 *shard)
{
	const char *number = strrchr(relname, '_');
	char		name[NAMEDATALEN];
	char	   *end;

	if (number == NULL || number[1] < '1' || number[1] > '9')
		return InvalidOid;
	errno = 0;
	*shard = strtoi64(number + 1, &end, 10);
	if (errno != 0 || *end != '\0')
		return InvalidOid;
	strlcpy(name, relname, Min(number - relname + 1, NAMEDATALEN));
	return get_relname_relid(name, schema);
}

/*
 * once_citus_whole_name returns the name of the distributed table or queue, given that of
 * a shard.  The table may have been dropped meanwhile: shards outlive it.
 */
char *
once_citus_whole_name(const char *shard)
{
	const char *number = strrchr(shard, '_');

	return number == NULL ? pstrdup(shard) : pnstrdup(shard, number - shard);
}

/*
 * once_citus_err_shard adds to an error that a table is a shard, and which queue to use in
 * its place; if on_coordinator is true, there.
 */
int
once_citus_err_shard(const char *relname, bool on_coordinator)
{
	char	   *whole = once_citus_whole_name(relname + strlen(ONCE_QUEUE_PREFIX));

	errdetail("Table \"%s\" is a shard of a table that Citus has distributed.", relname);
	if (on_coordinator)
		errhint("Use the name of the distributed queue, \"%s\", on the coordinator.", whole);
	else
		errhint("Use the name of the distributed queue, \"%s\".", whole);
	return 0;
}

/*
 * counts_ids tells whether column id of a table is an identity column.  It never is in a
 * shard, and it is in queues that are not distributed, whatever their names.
 */
static bool
counts_ids(Oid relid)
{
	HeapTuple	tuple = SearchSysCacheAttName(relid, "id");
	bool		counts;

	if (!HeapTupleIsValid(tuple))
		return false;
	counts = ((Form_pg_attribute) GETSTRUCT(tuple))->attidentity != '\0';
	ReleaseSysCache(tuple);
	return counts;
}

/*
 * once_citus_shard_table returns the table of a shard of a distributed table, or
 * InvalidOid if it is not on this node.
 *
 * Citus abbreviates names that would become too long.  Such shards are not found, neither
 * here nor by once_citus_shard_of, so queues with such names are refused.
 */
Oid
once_citus_shard_table(Oid parent, int64 shard)
{
	const char *relname = get_rel_name(parent);
	char		name[NAMEDATALEN];

	if (relname == NULL)
		return InvalidOid;
	if (snprintf(name, sizeof(name), "%s_" INT64_FORMAT, relname, shard) >= sizeof(name))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot use table \"%s\"", relname),
				 errdetail("It is distributed by Citus, and its name is too long for the names of its shards."),
				 errhint("Use a queue with a shorter name.")));
	return get_relname_relid(name, get_rel_namespace(parent));
}

/*
 * once_citus_group returns the number of the group that this node is in the cluster, or
 * -1 if it is in none.
 */
int32
once_citus_group(void)
{
	OnceCitusScan scan;
	bool		isnull;
	int32		group = -1;

	if (once_citus_begin(&scan, "pg_dist_local_group", NULL, NULL, InvalidOid, (Datum) 0))
	{
		if (once_citus_next(&scan))
			group = DatumGetInt32(once_citus_value(&scan, "groupid", INT4OID, &isnull));
		once_citus_end(&scan);
	}
	return group;
}

/*
 * once_citus_begin begins to read a catalog of Citus: the rows whose column has this
 * value, or all rows if column is NULL.  index: one on that column, if there is one.
 * False: there is no such catalog, or it has no such column, and nothing was begun.
 */
bool
once_citus_begin(OnceCitusScan *scan, const char *catalog, const char *index,
				 const char *column, Oid type, Datum value)
{
	Oid			catalogoid = get_relname_relid(catalog, PG_CATALOG_NAMESPACE);
	Oid			indexoid = InvalidOid;
	AttrNumber	attno = InvalidAttrNumber;
	ScanKeyData key;

	if (!OidIsValid(catalogoid) || get_rel_relkind(catalogoid) != RELKIND_RELATION)
		return false;
	if (column != NULL)
	{
		attno = find_column(catalogoid, column, type);
		if (attno == InvalidAttrNumber)
			return false;
		ScanKeyInit(&key, attno, BTEqualStrategyNumber,
					type == INT8OID ? F_INT8EQ : F_OIDEQ, value);
	}
	if (index != NULL)
		indexoid = get_relname_relid(index, PG_CATALOG_NAMESPACE);

	scan->tuple = NULL;
	scan->catalog = table_open(catalogoid, AccessShareLock);
	scan->scan = systable_beginscan(scan->catalog, indexoid, OidIsValid(indexoid), NULL,
									column == NULL ? 0 : 1, &key);
	return true;
}

/*
 * once_citus_next reads the next row.  False: there are no more.
 */
bool
once_citus_next(OnceCitusScan *scan)
{
	scan->tuple = systable_getnext(scan->scan);
	return HeapTupleIsValid(scan->tuple);
}

/*
 * once_citus_value returns the value of a column of the row that was read last.  It is
 * valid until the next row is read.  Raises an error if there is no such column.
 */
Datum
once_citus_value(const OnceCitusScan *scan, const char *column, Oid type, bool *isnull)
{
	AttrNumber	attno = find_column(RelationGetRelid(scan->catalog), column, type);

	if (attno == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("catalog \"%s\" of Citus has no column \"%s\" of type %s",
						RelationGetRelationName(scan->catalog), column, format_type_be(type)),
				 errhint("Use a version of Citus that pg_once was tested with.")));
	return heap_getattr(scan->tuple, attno, RelationGetDescr(scan->catalog), isnull);
}

/*
 * once_citus_end ends the reading.
 */
void
once_citus_end(OnceCitusScan *scan)
{
	systable_endscan(scan->scan);
	table_close(scan->catalog, AccessShareLock);
}

/*
 * find_column returns the number of a column of this type, or InvalidAttrNumber.
 */
static AttrNumber
find_column(Oid catalogoid, const char *column, Oid type)
{
	AttrNumber	attno = get_attnum(catalogoid, column);

	return attno != InvalidAttrNumber && get_atttype(catalogoid, attno) == type ?
		attno : InvalidAttrNumber;
}
