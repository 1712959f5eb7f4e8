/*-------------------------------------------------------------------------
 *
 * queue_shards.c
 *	  once.shard_places, which is behind once.shards: the shards of a distributed
 *	  queue, and the nodes where they are.
 *
 * It reads the catalogs of Citus below SQL.  Citus hides its shards from queries on
 * pg_class, so plain SQL would not find their tables.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "catalog/pg_enum.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "meta/meta_catalog.h"
#include "meta/meta_citus.h"
#include "once_args.h"
#include "queue/queue_args.h"
#include "queue/queue_open.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

/* The state of a placement that is in use: pg_dist_placement.shardstate */
#define CITUS_SHARD_ACTIVE	1

#define NPLACE_COLUMNS		6

/* A node that may have shards */
typedef struct ShardNode
{
	int32		group;
	char	   *host;
	int32		port;
} ShardNode;

PG_FUNCTION_INFO_V1(once_shard_places);

static Oid	find_distributed(const char *name);
static List *read_shards(Oid relid);
static int	compare_shards(const ListCell *a, const ListCell *b);
static List *read_nodes(void);
static bool is_primary(const OnceCitusScan *scan);
static void put_places(ReturnSetInfo *rsinfo, Oid relid, int64 shard, const List *nodes,
					   int32 here);

/*
 * once.shard_places: the shards of a distributed queue and the nodes where they are.
 */
Datum
once_shard_places(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = once_queue_arg_name(fcinfo, 0);
	Oid			relid = find_distributed(name);
	List	   *nodes = read_nodes();
	int32		here = once_citus_group();
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, read_shards(relid))
		put_places(rsinfo, relid, *(int64 *) lfirst(lc), nodes, here);
	return (Datum) 0;
}

/*
 * find_distributed returns the table of a distributed queue.  Raises an error if there
 * is none, or if the caller may not see its statistics.  It is not locked: what is read
 * are catalogs.
 */
static Oid
find_distributed(const char *name)
{
	char	   *relname = psprintf("%s%s", ONCE_QUEUE_PREFIX, name);
	Oid			relid = get_relname_relid(relname, once_schema_oid(false));

	if (!OidIsValid(relid) || !once_schema_is_table(get_rel_relkind(relid)))
		once_raise_no_queue(name);
	if (!once_rights_may_count(relid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for queue \"%s\"", name),
				 errdetail("This requires SELECT on table %s.",
						   quote_qualified_identifier(ONCE_SCHEMA, relname)),
				 errhint("Its owner can call once.grant_queue for \"observe\".")));
	if (!once_citus_distributes(relid))
	{
		int64		shard;
		bool		is_shard = OidIsValid(once_citus_shard_by_name(relname, once_schema_oid(false),
																   &shard));

		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("queue \"%s\" has no shards", name),
				 is_shard ? errdetail("It is a shard of a distributed queue.") :
				 errdetail("It is not distributed."),
				 is_shard ? errhint("Use the name of the distributed queue, \"%s\".",
									once_citus_whole_name(name)) :
				 errhint("once.distribute_queue distributes a queue.")));
	}
	return relid;
}

/*
 * read_shards returns the numbers of the shards of a table, in ascending order, as a
 * list of pointers to int64.
 */
static List *
read_shards(Oid relid)
{
	List	   *shards = NIL;
	OnceCitusScan scan;
	bool		isnull;

	if (!once_citus_begin(&scan, "pg_dist_shard", "pg_dist_shard_logical_relid_index",
						  "logicalrelid", REGCLASSOID, ObjectIdGetDatum(relid)))
		return NIL;
	while (once_citus_next(&scan))
	{
		int64	   *shard = palloc(sizeof(int64));

		*shard = DatumGetInt64(once_citus_value(&scan, "shardid", INT8OID, &isnull));
		shards = lappend(shards, shard);
	}
	once_citus_end(&scan);
	list_sort(shards, compare_shards);
	return shards;
}

static int
compare_shards(const ListCell *a, const ListCell *b)
{
	int64		first = *(int64 *) lfirst(a);
	int64		second = *(int64 *) lfirst(b);

	return first < second ? -1 : first > second;
}

/*
 * read_nodes returns the nodes that are no standbys of others.
 */
static List *
read_nodes(void)
{
	List	   *nodes = NIL;
	OnceCitusScan scan;
	bool		isnull;

	if (!once_citus_begin(&scan, "pg_dist_node", NULL, NULL, InvalidOid, (Datum) 0))
		return NIL;
	while (once_citus_next(&scan))
	{
		ShardNode  *node;

		if (!is_primary(&scan))
			continue;
		node = palloc(sizeof(ShardNode));
		node->group = DatumGetInt32(once_citus_value(&scan, "groupid", INT4OID, &isnull));
		node->host = TextDatumGetCString(once_citus_value(&scan, "nodename", TEXTOID, &isnull));
		node->port = DatumGetInt32(once_citus_value(&scan, "nodeport", INT4OID, &isnull));
		nodes = lappend(nodes, node);
	}
	once_citus_end(&scan);
	return nodes;
}

/*
 * is_primary tells whether a row of pg_dist_node is about a node that shards are on.  Its
 * role is of a type that Citus has made.
 */
static bool
is_primary(const OnceCitusScan *scan)
{
	Oid			type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
									   CStringGetDatum("noderole"),
									   ObjectIdGetDatum(PG_CATALOG_NAMESPACE));
	Oid			role;
	Oid			primary;
	bool		isnull;

	if (!OidIsValid(type))
		return true;
	role = DatumGetObjectId(once_citus_value(scan, "noderole", type, &isnull));
	primary = GetSysCacheOid2(ENUMTYPOIDNAME, Anum_pg_enum_oid,
							  ObjectIdGetDatum(type), CStringGetDatum("primary"));
	return isnull || role == primary;
}

/*
 * put_places puts a row for each node that a shard is on.
 */
static void
put_places(ReturnSetInfo *rsinfo, Oid relid, int64 shard, const List *nodes, int32 here)
{
	char	   *relname = psprintf("%s_" INT64_FORMAT, get_rel_name(relid), shard);
	Oid			table = get_relname_relid(relname, get_rel_namespace(relid));
	OnceCitusScan scan;
	bool		isnull;

	if (!once_citus_begin(&scan, "pg_dist_placement", "pg_dist_placement_shardid_index",
						  "shardid", INT8OID, Int64GetDatum(shard)))
		return;
	while (once_citus_next(&scan))
	{
		int32		group = DatumGetInt32(once_citus_value(&scan, "groupid", INT4OID, &isnull));
		Datum		values[NPLACE_COLUMNS];
		bool		nulls[NPLACE_COLUMNS] = {0};
		ListCell   *lc;

		if (DatumGetInt32(once_citus_value(&scan, "shardstate", INT4OID, &isnull)) != CITUS_SHARD_ACTIVE)
			continue;
		values[0] = CStringGetTextDatum(relname + strlen(ONCE_QUEUE_PREFIX));
		values[1] = Int32GetDatum(group);
		nulls[2] = nulls[3] = true;
		foreach(lc, nodes)
		{
			ShardNode  *node = lfirst(lc);

			if (node->group != group)
				continue;
			values[2] = CStringGetTextDatum(node->host);
			values[3] = Int32GetDatum(node->port);
			nulls[2] = nulls[3] = false;
		}
		values[4] = BoolGetDatum(group == here);
		values[5] = ObjectIdGetDatum(table);
		nulls[5] = group != here || !OidIsValid(table);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	once_citus_end(&scan);
}
