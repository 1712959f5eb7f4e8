/*-------------------------------------------------------------------------
 *
 * queue_archive.c
 *	  The archive of a queue: messages that were acked, kept for a while.
 *
 * The archive of queue "x" is the table once.a_x, which belongs to the owner
 * of the queue.  It has a ring of partitions, once."a_x$0" to "a_x$7".  Time
 * is divided into generations.  A generation is a quarter of the time that
 * messages are kept, and each one goes into the next partition of the ring.
 * maintain() empties a partition when the newest message in it is old enough.
 * So a message is kept for the time that option "archive" says and up to a
 * quarter of that longer, and in any case until maintain() is called.  Nothing
 * is ever deleted row by row.
 *
 * The transaction that acks a message puts it there, whatever the rights of
 * its user.  That must not run code that the archive's owner has attached to
 * the table, and it must not fail because of how the owner has changed the
 * table.  So a message is put only into a partition that is still as it was
 * made.  If it is not, the message is not archived, and a warning says so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "meta/meta_cache.h"
#include "meta/meta_catalog.h"
#include "meta/meta_citus.h"
#include "meta/meta_ddl.h"
#include "meta/meta_index.h"
#include "meta/meta_role.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "once_debug.h"
#include "once_error.h"
#include "qam/qam.h"
#include "queue/queue_archive.h"
#include "queue/queue_hold.h"
#include "queue/queue_open.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#define ARCHIVE_PARTITIONS		8
#define ARCHIVE_GENERATIONS		4	/* in the time that messages are kept */

/* Columns: first those of a message, then these */
#define Natts_archive				(ONCE_NCOLUMNS + 3)
#define Anum_archive_attempts		(ONCE_NCOLUMNS + 1)
#define Anum_archive_archived_at	(ONCE_NCOLUMNS + 2)
#define Anum_archive_generation		(ONCE_NCOLUMNS + 3)

#define ARCHIVE_COLUMNS \
	" id pg_catalog.int8," \
	" enqueued_at pg_catalog.timestamptz," \
	" deliver_at pg_catalog.timestamptz," \
	" expires_at pg_catalog.timestamptz," \
	" priority pg_catalog.int2," \
	" group_id pg_catalog.text," \
	" headers pg_catalog.jsonb," \
	" payload pg_catalog.jsonb," \
	" attempts pg_catalog.int4," \
	" archived_at pg_catalog.timestamptz," \
	" generation pg_catalog.int2"

#define CREATE_ARCHIVE_SQL \
	"CREATE TABLE %s (" ARCHIVE_COLUMNS ") PARTITION BY LIST (generation)"

#define CREATE_PARTITION_SQL \
	"CREATE %sTABLE %s (" ARCHIVE_COLUMNS ") USING heap"

#define ATTACH_SQL \
	"ALTER TABLE %s ATTACH PARTITION %s FOR VALUES IN (%d)"

#define CREATE_INDEX_SQL \
	"CREATE INDEX ON %s USING brin (archived_at) WITH (autosummarize = on)"

static const Oid archive_types[Natts_archive] = {
	INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT2OID, TEXTOID,
	JSONBOID, JSONBOID, INT4OID, TIMESTAMPTZOID, INT2OID
};

static char *archive_name(const char *queue);
static char *partition_name(const char *queue, int generation);
static char *qualified(const char *relname);
static int	current_generation(int64 archive, TimestampTz now);
static Relation open_partition(const char *relname);
static const char *partition_fault(const OnceQueue *queue, Relation partition,
								   const char **hint);
static bool index_is_plain(Oid indexoid);
static HeapTuple form_archived(const OnceQueue *queue, Relation partition,
							   const QamClaimed *message, TimestampTz now,
							   int generation);
static void warn_not_archived(const OnceQueue *queue, const char *relname,
							  const char *fault, const char *hint);
static bool retire_partition(OnceQueue *queue, const char *relname, TimestampTz before);
static void check_time(Relation partition);
static bool has_newer(const char *table, TimestampTz before);

/*
 * once_archive_is_whole tells whether all tables of a queue's archive exist.
 */
bool
once_archive_is_whole(const char *queue)
{
	Oid			schema = once_schema_oid(false);
	bool		whole = OidIsValid(once_archive_oid(queue));
	int			i;

	for (i = 0; i < ARCHIVE_PARTITIONS && whole; i++)
		whole = OidIsValid(get_relname_relid(partition_name(queue, i), schema));
	return whole;
}

/*
 * once_archive_make makes the tables of a queue's archive that do not exist,
 * for the queue's owner.  The caller may act for the owner and holds
 * once_options_lock.
 */
void
once_archive_make(Relation heap, const char *queue)
{
	Oid			schema = once_schema_oid(false);
	Oid			owner = heap->rd_rel->relowner;
	bool		unlogged = heap->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED;
	char	   *name = archive_name(queue);
	char	   *table = qualified(name);
	Oid			relid = get_relname_relid(name, schema);
	List	   *commands = NIL;
	int			i;

	if (OidIsValid(relid))
	{
		Relation	archive = relation_open(relid, AccessShareLock);

		/*
		 * For example, the archive of queue "a_archived_at_idx" would have
		 * the name of an index of the archive of queue "a".
		 */
		if (archive->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_TABLE),
					 errmsg("archive of queue \"%s\" cannot be created", queue),
					 errdetail("Another object has the name \"%s\".", name),
					 errhint("Use another name for the queue.")));
		if (archive->rd_rel->relowner != owner)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_TABLE),
					 errmsg("archive of queue \"%s\" cannot be created", queue),
					 errdetail("Table %s and the queue have different owners.", table),
					 errhint("Drop the table, or change the owner of it and its partitions to that of the queue.")));
		relation_close(archive, NoLock);
	}
	else
		commands = list_make2(psprintf(CREATE_ARCHIVE_SQL, table),
							  psprintf(CREATE_INDEX_SQL, table));
	for (i = 0; i < ARCHIVE_PARTITIONS; i++)
	{
		char	   *partname = partition_name(queue, i);
		char	   *partition = qualified(partname);

		if (OidIsValid(relid) && OidIsValid(get_relname_relid(partname, schema)))
			continue;
		commands = lappend(commands, psprintf(CREATE_PARTITION_SQL, unlogged ? "UNLOGGED " : "",
											  partition));
		commands = lappend(commands, psprintf(ATTACH_SQL, table, partition, i));
	}
	if (commands != NIL)
		once_ddl_run(commands, owner);
}

/*
 * once_archive_oid returns the table that is the archive of a queue, if any.
 */
Oid
once_archive_oid(const char *queue)
{
	Oid			relid = get_relname_relid(archive_name(queue), once_schema_oid(false));

	return get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE ? relid : InvalidOid;
}

/*
 * once_archive_table returns the qualified name of a queue's archive, whether
 * or not it exists.
 */
char *
once_archive_table(const char *queue)
{
	return qualified(archive_name(queue));
}

/*
 * once_archive_put archives messages that the current transaction has acked,
 * if their queue has an archive.  The tuples must be flat.  hold: the hold
 * that the messages were claimed in, or NULL.  While a message is stored,
 * hold->at is set to it, so that an error is known to be its doing.
 */
void
once_archive_put(const OnceQueue *queue, const QamClaimed *messages, int n, OnceHold *hold)
{
	TimestampTz now = GetCurrentTimestamp();
	CatalogIndexState indexes;
	const char *fault;
	const char *hint;
	Relation	partition;
	char	   *relname;
	int			generation;
	int			i;

	if (queue->meta.archive == 0 || n == 0)
		return;

	generation = current_generation(queue->meta.archive, now);
	relname = partition_name(once_queue_name(queue), generation);
	partition = open_partition(relname);
	if (partition == NULL)
	{
		warn_not_archived(queue, relname, "There is no such table.",
						  "The queue's owner can call once.create_queue with if_not_exists => true to create what is missing.");
		return;
	}

	fault = partition_fault(queue, partition, &hint);
	if (fault != NULL)
		warn_not_archived(queue, relname, fault, hint);
	else
	{
		indexes = CatalogOpenIndexes(partition);
		for (i = 0; i < n; i++)
		{
			HeapTuple	tuple;

			/* Ascending times keep the order in which they were acked. */
			if (i > 0)
				now = Max(GetCurrentTimestamp(), now + 1);
			tuple = form_archived(queue, partition, &messages[i], now, generation);
			if (hold != NULL)
				hold->at = messages[i].nth;

			CHECK_FOR_INTERRUPTS();
			CatalogTupleInsertWithInfo(partition, tuple, indexes);
			heap_freetuple(tuple);
		}
		if (hold != NULL)
			hold->at = ONCE_AT_NONE;
		CatalogCloseIndexes(indexes);
	}
	relation_close(partition, NoLock);
}

/*
 * once_archive_retire empties the partitions whose messages have been kept
 * long enough.  It waits for nobody.  Returns the number of partitions
 * emptied.
 */
int
once_archive_retire(OnceQueue *queue)
{
	TimestampTz before = GetCurrentTimestamp() - queue->meta.archive;
	int			retired = 0;
	int			i;

	/*
	 * We must see what has been archived lately.  A transaction with one
	 * snapshot for all its statements does not see it.
	 */
	if (queue->meta.archive == 0 || IsolationUsesXactSnapshot())
		return 0;

	for (i = 0; i < ARCHIVE_PARTITIONS; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (retire_partition(queue, partition_name(once_queue_name(queue), i), before))
			retired++;
	}
	return retired;
}

static char *
archive_name(const char *queue)
{
	return psprintf("%s%s", ONCE_ARCHIVE_PREFIX, queue);
}

static char *
partition_name(const char *queue, int generation)
{
	return psprintf("%s%s$%d", ONCE_ARCHIVE_PREFIX, queue, generation);
}

static char *
qualified(const char *relname)
{
	return quote_qualified_identifier(ONCE_SCHEMA, relname);
}

/*
 * current_generation returns the number of the partition that messages go into
 * at a given time.
 */
static int
current_generation(int64 archive, TimestampTz now)
{
	int64		epoch = now + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;

	return (epoch / Max(archive / ARCHIVE_GENERATIONS, 1)) % ARCHIVE_PARTITIONS;
}

/*
 * open_partition opens a partition and locks it for insertion.  NULL: there is
 * no table of that name.
 */
static Relation
open_partition(const char *relname)
{
	RangeVar   *rv = makeRangeVar(ONCE_SCHEMA, pstrdup(relname), -1);
	Oid			relid = RangeVarGetRelid(rv, RowExclusiveLock, true);

	pfree(rv);
	return OidIsValid(relid) ? relation_open(relid, NoLock) : NULL;
}

/*
 * partition_fault returns what keeps us from putting rows into a partition
 * without running code or meeting errors.  NULL: nothing does.  *hint: what to
 * do about it, or NULL.
 */
static const char *
partition_fault(const OnceQueue *queue, Relation partition, const char **hint)
{
	TupleDesc	desc = RelationGetDescr(partition);
	ListCell   *lc;
	int			i;

	*hint = NULL;
	for (i = 0; i < ONCE_NCOLUMNS; i++)
	{
		if (queue->meta.column[i] == 0)
			return "The table of the queue has lost columns of a message.";
	}
	if (partition->rd_rel->relkind != RELKIND_RELATION ||
		partition->rd_rel->relam != HEAP_TABLE_AM_OID ||
		!partition->rd_rel->relispartition)
		return "It is not a partition of the archive.";
	if (once_citus_distributes(RelationGetRelid(partition)))
		return "It is distributed by Citus.";
	if (partition->rd_rel->relowner != queue->heap->rd_rel->relowner)
	{
		*hint = psprintf("Use ALTER TABLE ... OWNER TO to give %s and its partitions to role \"%s\".",
						 once_archive_table(once_queue_name(queue)),
						 GetUserNameFromId(queue->heap->rd_rel->relowner, false));
		return "It does not belong to the owner of the queue.";
	}
	if (partition->trigdesc != NULL || partition->rd_rules != NULL)
	{
		*hint = "Drop them.";
		return "It has triggers, rules or foreign keys.";
	}

	if (desc->natts != Natts_archive ||
		(desc->constr != NULL && desc->constr->num_check > 0))
		return "It has other columns or constraints than the archive was made with.";
	for (i = 0; i < Natts_archive; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || att->attnotnull || att->attgenerated != '\0' ||
			att->atttypid != archive_types[i])
			return "It has other columns or constraints than the archive was made with.";
	}

	foreach(lc, RelationGetIndexList(partition))
	{
		if (!index_is_plain(lfirst_oid(lc)))
		{
			*hint = psprintf("Drop index %s.", qualified(get_rel_name(lfirst_oid(lc))));
			return "It has an index that is unique, partial, on an expression, or on values that may be too long for it.";
		}
	}
	return NULL;
}

/*
 * index_is_plain tells whether the entries of an index consist of columns
 * alone and are never refused.  A btree, for example, refuses entries that are
 * too long.
 */
static bool
index_is_plain(Oid indexoid)
{
	Relation	index = index_open(indexoid, AccessShareLock);
	Form_pg_index form = index->rd_index;
	Oid			relam = index->rd_rel->relam;
	bool		plain;
	int			i;

	plain = !form->indisunique &&
		!form->indisexclusion &&
		once_index_is_plain(index);
	for (i = 0; i < form->indnatts && relam != GIN_AM_OID && relam != HASH_AM_OID; i++)
	{
		if (form->indkey.values[i] == ONCE_COL_HEADERS + 1 ||
			form->indkey.values[i] == ONCE_COL_PAYLOAD + 1)
			plain = false;
	}
	index_close(index, AccessShareLock);
	return plain;
}

/*
 * form_archived makes the row of a message for the archive.
 */
static HeapTuple
form_archived(const OnceQueue *queue, Relation partition, const QamClaimed *message,
			  TimestampTz now, int generation)
{
	TupleDesc	desc = RelationGetDescr(queue->heap);
	Datum		values[Natts_archive];
	bool		isnull[Natts_archive] = {0};
	int			c;

	for (c = 0; c < ONCE_NCOLUMNS; c++)
		values[c] = heap_getattr(message->tuple, queue->meta.column[c], desc, &isnull[c]);
	values[Anum_archive_attempts - 1] = Int32GetDatum(message->attempt);
	values[Anum_archive_archived_at - 1] = TimestampTzGetDatum(now);
	values[Anum_archive_generation - 1] = Int16GetDatum(generation);
	return heap_form_tuple(RelationGetDescr(partition), values, isnull);
}

static void
warn_not_archived(const OnceQueue *queue, const char *relname, const char *fault,
				  const char *hint)
{
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("messages of queue \"%s\" are not archived in table %s",
					once_queue_name(queue), qualified(relname)),
			 errdetail_internal("%s", fault),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/*
 * retire_partition empties a partition if nobody uses it, and if everything in
 * it was archived before a given time.  Returns whether it was emptied.
 *
 * It first checks the partition under a lock that is in the way neither of
 * readers nor of acks.  A command that works on the partition's indexes holds
 * a lock that conflicts with this one, or has locked an index.  The partition
 * is then left alone, since we would have to wait for the command later.
 *
 * All commands on the table run as its owner.  If the caller may not act as
 * the owner, and the commands would run code, the table is left alone: with
 * temporary tables of its own, the caller could make that code do something
 * that it is not meant to do.  Until the end, the caller's lock keeps others
 * from attaching code to the table; it keeps VACUUM away, too.
 */
static bool
retire_partition(OnceQueue *queue, const char *relname, TimestampTz before)
{
	Oid			relid = get_relname_relid(relname, once_schema_oid(false));
	char	   *table = qualified(relname);
	bool		retired = false;
	bool		may_be_owner = once_may_set_role(GetUserId(), queue->heap->rd_rel->relowner);
	Relation	partition;
	OnceRole	saved;

	if (!OidIsValid(relid) ||
		!ConditionalLockRelationOid(relid, may_be_owner ? RowExclusiveLock :
									ShareUpdateExclusiveLock))
		return false;
	partition = try_relation_open(relid, NoLock);
	if (partition == NULL)
		return false;

	if (partition->rd_rel->relkind == RELKIND_RELATION &&
		partition->rd_rel->relowner == queue->heap->rd_rel->relowner &&
		RelationGetNumberOfBlocks(partition) > 0 &&
		once_index_all_free(partition, AccessShareLock) &&
		(may_be_owner || !once_role_runs_code(partition)))
	{
		Oid			owner = partition->rd_rel->relowner;

		check_time(partition);
		relation_close(partition, NoLock);
		SPI_connect();
		once_role_assume(&saved, owner, true);
		retired = !has_newer(table, before);
		once_debug_point("archive_before_lock");
		retired = retired &&
			once_index_try_lock_table(relid, AccessExclusiveLock) &&
			!has_newer(table, before);
		if (retired)
			once_role_run(psprintf("TRUNCATE ONLY %s", table), 0, NULL, NULL);
		once_role_drop(&saved);
		SPI_finish();
	}
	else
		relation_close(partition, NoLock);
	return retired;
}

/*
 * check_time raises an error if a partition has lost the column that tells how
 * old its messages are.  The caller has locked the partition.
 */
static void
check_time(Relation partition)
{
	TupleDesc	desc = RelationGetDescr(partition);
	AttrNumber	attnum = get_attnum(RelationGetRelid(partition), "archived_at");

	if (attnum == InvalidAttrNumber ||
		TupleDescAttr(desc, attnum - 1)->atttypid != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_QUEUE_UNUSABLE),
				 errmsg("column \"%s\" of table %s is missing or of another type",
						"archived_at", qualified(RelationGetRelationName(partition))),
				 errdetail("Without it, nothing tells when archived messages are old enough to be deleted."),
				 errhint("Use ALTER TABLE to give the archive such a column of type %s again.",
						 format_type_be(TIMESTAMPTZOID))));
}

/*
 * has_newer tells whether a table has messages that were archived at a given
 * time or later.
 */
static bool
has_newer(const char *table, TimestampTz before)
{
	Oid			types[] = {TIMESTAMPTZOID};
	Datum		values[1];
	char	   *sql;

	sql = psprintf("SELECT FROM ONLY %s WHERE archived_at OPERATOR(pg_catalog.>=) $1 LIMIT 1",
				   table);
	values[0] = TimestampTzGetDatum(before);
	once_role_run(sql, 1, types, values);
	return SPI_processed > 0;
}
