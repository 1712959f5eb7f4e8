/*-------------------------------------------------------------------------
 *
 * queue_distribute.c
 *	  distribute_queue: spreading a queue over the nodes of Citus.
 *
 * Citus distributes the queue's table like any other.  Before, the ids of the queue are
 * changed from an identity column, which each node would count by itself, to
 * once.next_id.  Citus copies the messages that wait into the shards.  The rows that it
 * leaves behind in the table itself would come back with the next copy of it, so they
 * are removed.
 *
 * All of that is done as the caller, who must be allowed to create tables in schema
 * once, where the shards are.  Citus gives them to the owner of the queue.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "ledger/ledger.h"
#include "lib/stringinfo.h"
#include "meta/meta_catalog.h"
#include "meta/meta_citus.h"
#include "meta/meta_names.h"
#include "meta/meta_parameters.h"
#include "meta/meta_remote.h"
#include "meta/meta_role.h"
#include "meta/meta_shards.h"
#include "miscadmin.h"
#include "once_args.h"
#include "once_next_id.h"
#include "queue/queue_args.h"
#include "queue/queue_open.h"
#include "queue/queue_unacked.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"

/* What Citus allows: MAX_SHARD_COUNT in its source */
#define MAX_SHARDS			64000

/* What a queue is to be distributed by, and with what */
typedef struct Distribution
{
	char	   *column;
	int			shards;
	char	   *colocate_with;	/* as Citus takes it */
	bool		like_table;		/* it names a table, which has shards already */
} Distribution;

PG_FUNCTION_INFO_V1(once_distribute_queue);

static void arg_distribution(FunctionCallInfo fcinfo, Distribution *distribution);
static char *qualified_table(const char *name);
static void check_table(const OnceQueue *queue);
static void check_column(const OnceQueue *queue, const char *column);
static char *drop_command(const OnceQueue *queue, Oid index);
static void check_options(const OnceQueue *queue);
static void check_caller(const OnceQueue *queue);
static void check_claims(const OnceQueue *queue);
static void check_extension(void);
static bool runs_code(Relation heap);
static bool type_runs_code(Oid type);
static char *alter_command(const OnceQueue *queue, const Distribution *distribution);
static void distribute(Oid relid, const char *alter, const OnceOptions *options,
					   const Distribution *distribution);
static void check_rows(Oid relid, const Distribution *distribution);
static int	errmsg_cannot(const OnceQueue *queue);

/*
 * once.distribute_queue: has Citus distribute the table of a queue.
 */
Datum
once_distribute_queue(PG_FUNCTION_ARGS)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);
	Distribution distribution;
	OnceOptions options;
	OnceQueue	queue;
	char	   *alter;
	Oid			relid;

	arg_distribution(fcinfo, &distribution);
	PreventCommandDuringRecovery("once.distribute_queue()");
	PreventCommandIfReadOnly("once.distribute_queue()");
	PreventCommandIfParallelMode("once.distribute_queue()");

	/* Nobody may use the table meanwhile, as when it is dropped */
	once_queue_open(&queue, name, ONCE_TO_DROP, "once.distribute_queue()");
	once_options_lock(ONCE_QUEUE_PREFIX, name);
	check_table(&queue);
	once_queue_check_columns(&queue);
	check_column(&queue, distribution.column);
	check_options(&queue);
	check_caller(&queue);
	check_claims(&queue);
	once_remote_require(name);

	/* An id is drawn to raise the error if that is not possible */
	(void) once_draw_id(once_draw_node());
	check_extension();

	if (!once_options_read(name, &options))
		once_options_default(&options);
	alter = alter_command(&queue, &distribution);
	relid = RelationGetRelid(queue.heap);

	/* These fail while the table is open */
	once_queue_close(&queue);
	distribute(relid, alter, &options, &distribution);
	PG_RETURN_VOID();
}

/*
 * arg_distribution reads the arguments after the name of the queue.
 */
static void
arg_distribution(FunctionCallInfo fcinfo, Distribution *distribution)
{
	char	   *with;

	if (PG_ARGISNULL(1))
		once_arg_refuse_null("by");
	distribution->column = text_to_cstring(PG_GETARG_TEXT_PP(1));
	distribution->shards = once_arg_int(fcinfo, 2, "shards", 1, MAX_SHARDS);
	if (PG_ARGISNULL(3))
		once_arg_refuse_null("colocate_with");
	with = text_to_cstring(PG_GETARG_TEXT_PP(3));
	distribution->like_table = strcmp(with, "none") != 0 && strcmp(with, "default") != 0;
	distribution->colocate_with = distribution->like_table ? qualified_table(with) : with;
}

/*
 * qualified_table returns the qualified name of a table that the caller has named, and
 * raises an error if there is none.
 */
static char *
qualified_table(const char *name)
{
	List	   *names = textToQualifiedNameList(cstring_to_text(name));
	Oid			relid = RangeVarGetRelid(makeRangeVarFromNameList(names), NoLock, false);
	char	   *schema = get_namespace_name(get_rel_namespace(relid));
	char	   *relname = get_rel_name(relid);

	if (schema == NULL || relname == NULL)
		elog(ERROR, "cache lookup failed for relation %u", relid);
	return quote_qualified_identifier(schema, relname);
}

/*
 * check_table raises an error unless the table is one that create_queue makes, with a
 * log, and is not distributed.
 */
static void
check_table(const OnceQueue *queue)
{
	Relation	heap = queue->heap;
	const char *relname = RelationGetRelationName(heap);
	char		relkind = heap->rd_rel->relkind;

	if (queue->meta.distributed)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("queue \"%s\" is already distributed", once_queue_name(queue)),
				 errhint("once.shards shows where its shards are.  The function alter_distributed_table of Citus can change their number; pause the queue before.")));
	if (OidIsValid(queue->meta.shard_of))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg_cannot(queue),
				 once_citus_err_shard(relname, false)));
	if (relkind != RELKIND_RELATION || heap->rd_rel->relispartition)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg_cannot(queue),
				 relkind == RELKIND_FOREIGN_TABLE ?
				 errdetail("Table \"%s\" is a foreign table.", relname) :
				 relkind == RELKIND_PARTITIONED_TABLE ?
				 errdetail("Table \"%s\" is partitioned.", relname) :
				 errdetail("Table \"%s\" is a partition.", relname)));
	if (heap->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg_cannot(queue),
				 errdetail("Table \"%s\" is unlogged, and would be empty after a crash of one node.",
						   relname),
				 errhint("Use ALTER TABLE ... SET LOGGED.")));
	if (heap->rd_rel->relam != HEAP_TABLE_AM_OID)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg_cannot(queue),
				 errdetail("Table \"%s\" does not use the heap access method.", relname),
				 errhint("Use ALTER TABLE ... SET ACCESS METHOD heap.")));
}

/*
 * check_column raises an error unless the table can be distributed by a column.
 *
 * Citus moves shards by logical replication, which finds the rows that are deleted
 * meanwhile by a key.  A key must contain the column that the table is distributed by.
 */
static void
check_column(const OnceQueue *queue, const char *column)
{
	const OnceMeta *meta = &queue->meta;
	AttrNumber	attno = get_attnum(meta->relid, column);
	int			c;

	if (attno <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("queue \"%s\" has no column \"%s\"", once_queue_name(queue), column),
				 errhint("Distribute it by \"id\", by \"group_id\", or by a column that was added to the table.")));
	for (c = 0; c < ONCE_NCOLUMNS; c++)
	{
		if (meta->column[c] == attno && c != ONCE_COL_ID && c != ONCE_COL_GROUP_ID)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a queue cannot be distributed by column \"%s\"", column),
					 errhint("Distribute it by \"id\", by \"group_id\", or by a column that was added to the table.")));
	}

	if (attno == meta->column[ONCE_COL_ID])
	{
		if (!OidIsValid(meta->id_index) &&
			queue->heap->rd_rel->relreplident != REPLICA_IDENTITY_FULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("queue \"%s\" has no index on id", once_queue_name(queue)),
					 errdetail("Citus needs one to move shards while they are in use."),
					 errhint("Create the queue with id_index => true, or use ALTER TABLE %s ADD PRIMARY KEY (id).",
							 quote_qualified_identifier(ONCE_SCHEMA,
														RelationGetRelationName(queue->heap)))));
	}
	else if (meta->nkey_indexes > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("queue \"%s\" cannot be distributed by column \"%s\"",
						once_queue_name(queue), column),
				 errdetail("It has a unique index on id, and Citus cannot tell over several nodes whether an id is unique."),
				 errhint("Distribute it by \"id\", or use %s.",
						 drop_command(queue, meta->key_index[0]))));
}

/*
 * drop_command returns the command that drops an index of the queue's table.
 */
static char *
drop_command(const OnceQueue *queue, Oid index)
{
	Oid			constraint = get_index_constraint(index);

	if (OidIsValid(constraint))
		return psprintf("ALTER TABLE %s DROP CONSTRAINT %s",
						once_names_table(queue->meta.relid),
						quote_identifier(get_constraint_name(constraint)));
	return psprintf("DROP INDEX %s", once_names_table(index));
}

/*
 * check_options raises an error if the queue uses what works on one node only.
 */
static void
check_options(const OnceQueue *queue)
{
	const char *name = once_queue_name(queue);
	OnceLedger	ledger;

	if (queue->meta.archive != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg_cannot(queue),
				 errdetail("It has an archive, which would be on one node."),
				 errhint("Turn it off: SELECT once.alter_queue(%s, reset => ARRAY['archive']).",
						 quote_literal_cstr(name))));
	if (once_ledger_find(&ledger, ONCE_LEDGER_DEDUP, name, queue->meta.dedup_window) &&
		!once_ledger_rests(&ledger))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg_cannot(queue),
				 errdetail("It remembers dedup_ids, and each node would remember others."),
				 errhint("Stop sending with dedup_ids.  They are forgotten some time after dedup_window has passed, when once.maintain is called.")));
}

/*
 * check_caller raises an error unless the caller may make the shards, and can do so
 * without running code of another role.
 */
static void
check_caller(const OnceQueue *queue)
{
	Oid			owner = queue->heap->rd_rel->relowner;

	if (!once_may_create_in(once_schema_oid(false), GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to distribute queue \"%s\"", once_queue_name(queue)),
				 errdetail("Its shards are tables in schema %s, and you may not create tables there.  Whoever may can also make a table that passes for another queue.",
						   ONCE_SCHEMA),
				 errhint("Let a superuser distribute the queue.  It remains yours.")));
	if (owner != GetUserId() && !superuser_arg(owner) && runs_code(queue->heap))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to distribute queue \"%s\"", once_queue_name(queue)),
				 errdetail("Its table has triggers, rules, policies, expressions or types of its owner, whose code would run as you."),
				 errhint("Drop them, and let the owner create them again afterwards.")));
}

/*
 * check_claims raises an error if this transaction holds messages of the queue.  Their
 * receipts would lead nowhere, and the messages would be delivered again.
 */
static void
check_claims(const OnceQueue *queue)
{
	if (!once_unacked_any(queue->meta.relid))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg_cannot(queue),
			 errdetail("This transaction has received messages from it."),
			 errhint("Distribute it in a transaction of its own.")));
}

/*
 * check_extension raises an error if Citus is loaded, and this database does not have it.
 */
static void
check_extension(void)
{
	if (once_remote_shard_catalog == ONCE_SHARDS_FAKE || OidIsValid(get_extension_oid("citus", true)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("extension \"citus\" is not installed in this database"),
			 errhint("Use CREATE EXTENSION citus on each node, and make the other nodes known to Citus with citus_add_node.")));
}

/*
 * runs_code tells whether the distribution of a table may run code of its owner.
 */
static bool
runs_code(Relation heap)
{
	TupleDesc	desc = RelationGetDescr(heap);
	int			i;

	if (once_role_runs_code(heap))
		return true;
	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && type_runs_code(att->atttypid))
			return true;
	}
	return false;
}

/*
 * type_runs_code tells whether values of a type may run code of its owner, such as the
 * checks of a domain, also where the domain is part of the type.
 */
static bool
type_runs_code(Oid type)
{
	Oid			element;

	if (type < FirstNormalObjectId)
		return false;
	element = get_element_type(type);
	if (OidIsValid(element))
		return type_runs_code(element);

	/* Only superusers make base types */
	return get_typtype(type) != TYPTYPE_BASE && get_typtype(type) != TYPTYPE_ENUM;
}

/*
 * alter_command returns the command that prepares the table.
 */
static char *
alter_command(const OnceQueue *queue, const Distribution *distribution)
{
	Relation	heap = queue->heap;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "ALTER TABLE %s",
					 quote_qualified_identifier(ONCE_SCHEMA, RelationGetRelationName(heap)));
	if (OidIsValid(queue->meta.sequence))
		appendStringInfoString(&sql, " ALTER COLUMN id DROP IDENTITY,");
	appendStringInfo(&sql, " ALTER COLUMN id SET DEFAULT %s.next_id()", ONCE_SCHEMA);

	/* Without a key, a whole row tells which one was deleted */
	if (strcmp(distribution->column, "id") != 0 &&
		heap->rd_rel->relreplident == REPLICA_IDENTITY_DEFAULT &&
		!OidIsValid(RelationGetReplicaIndex(heap)))
		appendStringInfoString(&sql, ", REPLICA IDENTITY FULL");
	return sql.data;
}

/*
 * distribute executes the commands.  Notices of Citus are about what we do for the
 * caller.
 */
static void
distribute(Oid relid, const char *alter, const OnceOptions *options,
		   const Distribution *distribution)
{
	Oid			types[] = {REGCLASSOID, TEXTOID, TEXTOID, INT4OID};
	Datum		values[] = {
		ObjectIdGetDatum(relid),
		CStringGetTextDatum(distribution->column),
		CStringGetTextDatum(distribution->colocate_with),
		Int32GetDatum(distribution->shards)
	};
	int			guc_level = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (client_min_messages < WARNING)
		(void) set_config_option("client_min_messages", "warning", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);

	SPI_connect();
	check_rows(relid, distribution);
	once_role_run(alter, 0, NULL, NULL);

	/* Citus copies them to the shards along with the index */
	once_parameters_carry(relid, options);
	once_role_run(distribution->like_table ?
				  "SELECT pg_catalog.create_distributed_table(table_name => $1, distribution_column => $2, colocate_with => $3)" :
				  "SELECT pg_catalog.create_distributed_table(table_name => $1, distribution_column => $2, colocate_with => $3, shard_count => $4)",
				  distribution->like_table ? 3 : 4, types, values);
	if (once_shards_copied(relid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot distribute queue \"%s\"", get_rel_name(relid) + strlen(ONCE_QUEUE_PREFIX)),
				 errdetail("Its shards would be on several nodes each, and each would deliver its messages."),
				 distribution->like_table ?
				 errhint("Co-locate it with a table that has one copy of each shard.") :
				 errhint("Set citus.shard_replication_factor to 1.")));
	once_role_run("SELECT pg_catalog.truncate_local_data_after_distributing_table($1)",
				  1, types, values);
	SPI_finish();
	AtEOXact_GUC(true, guc_level);
}

/*
 * check_rows raises an error if there are messages that cannot be in a queue that is
 * distributed like this.  Later ones are checked by once_insert_check_new.
 */
static void
check_rows(Oid relid, const Distribution *distribution)
{
	bool		by_id = strcmp(distribution->column, "id") == 0;
	const char *refused = by_id ? "group_id IS NOT NULL" :
		psprintf("%s IS NULL", quote_identifier(distribution->column));

	once_role_run(psprintf("SELECT FROM %s WHERE %s LIMIT 1", once_names_table(relid), refused),
				  0, NULL, NULL);
	if (SPI_processed == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot distribute queue \"%s\" by \"%s\"",
					get_rel_name(relid) + strlen(ONCE_QUEUE_PREFIX), distribution->column),
			 by_id ? errdetail("It has messages in ordered groups, which would lose their order.") :
			 errdetail("It has messages without a value in this column."),
			 by_id ? errhint("Distribute it by \"group_id\", or consume these messages first.") :
			 errhint("Distribute it by \"id\", or consume these messages first.")));
}

static int
errmsg_cannot(const OnceQueue *queue)
{
	return errmsg("cannot distribute queue \"%s\"",
				  RelationGetRelationName(queue->heap) + strlen(ONCE_QUEUE_PREFIX));
}
