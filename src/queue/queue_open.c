/*-------------------------------------------------------------------------
 *
 * queue_open.c
 *	  From a name or a receipt to an open queue.
 *
 * The rights on a queue are those on its table.  They are checked before the
 * table is locked.  So nobody can block the work of others, or take a lock
 * without the right to it, by naming queues or making up receipts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_publication.h"
#include "executor/executor.h"
#include "meta/meta_cache.h"
#include "meta/meta_catalog.h"
#include "meta/meta_index.h"
#include "meta/meta_names.h"
#include "meta/meta_parameters.h"
#include "meta/meta_remote.h"
#include "meta/meta_role.h"
#include "meta/meta_shards.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "once_args.h"
#include "once_error.h"
#include "parser/parse_coerce.h"
#include "qam/qam.h"
#include "queue/queue_open.h"
#include "stats/stats.h"
#include "storage/lmgr.h"
#include "storage/sinval.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

static void check_transaction(OnceAccess access, const char *verb);
static LOCKMODE access_lockmode(OnceAccess access);
static void check_rights_callback(const RangeVar *relation, Oid relid,
								  Oid old_relid, void *arg);
static bool setup(OnceQueue *queue, Relation heap, LOCKMODE lockmode, bool wait);
static bool open_index(OnceQueue *queue, bool wait);
static LOCKMODE index_lockmode(const OnceQueue *queue);
static bool takes_column(const OnceQueue *queue, OnceColumn column);
static bool open_part(OnceQueue *part, Oid relid, OnceAccess access, bool wait);
static void require_local(const OnceQueue *queue, bool consume);
static OnceShardPlace enter_shard(OnceQueue *queue, bool wait);
static void check_deletes(const OnceQueue *queue, OnceAccess access);
static void require_index(const OnceQueue *queue);
static char *index_name(Oid indexoid);
static void open_queue(OnceQueue *queue, const char *name, OnceAccess access,
					   const char *verb);
static void raise_not_found(const char *name);

/*
 * once_queue_open opens the queue of a name for a verb.  It raises an error if
 * there is no such queue, if the caller lacks a right, if the verb cannot work
 * in this transaction, or if the table cannot be used as a queue any more.
 */
void
once_queue_open(OnceQueue *queue, const char *name, OnceAccess access,
				const char *verb)
{
	once_queue_open_whole(queue, name, access, verb);
	if (once_rights_wants_index(access))
		require_local(queue, access != ONCE_TO_OBSERVE && access != ONCE_TO_VERIFY);
}

/*
 * once_queue_open_whole is the same for verbs that go through all parts of a
 * queue (queue_parts.c).  If the queue is distributed, its messages are in its
 * parts, and the table itself has none.
 */
void
once_queue_open_whole(OnceQueue *queue, const char *name, OnceAccess access,
					  const char *verb)
{
	open_queue(queue, name, access, verb);
	if (queue->meta.distributed)
		return;
	once_shards_require_here(queue->heap, enter_shard(queue, true));
	check_deletes(queue, access);
}

/*
 * once_queue_open_part opens a shard of a distributed queue that the caller has
 * opened.  False: it has left this node; or, if wait is false, something would
 * have to be waited for.  Raises an error as once_queue_open does.
 */
bool
once_queue_open_part(OnceQueue *part, Oid relid, OnceAccess access, bool wait)
{
	OnceShardPlace place;

	if (!open_part(part, relid, access, wait))
		return false;
	place = enter_shard(part, wait);
	if (place == ONCE_SHARD_BUSY || place == ONCE_SHARD_ELSEWHERE)
	{
		once_queue_leave(part);
		return false;
	}
	once_shards_require_here(part->heap, place);
	if (once_rights_wants_index(access))
		require_index(part);
	check_deletes(part, access);
	return true;
}

/*
 * once_queue_try_open_part opens a shard as once_queue_try_open opens a queue.
 */
bool
once_queue_try_open_part(OnceQueue *part, Oid relid, OnceAccess access)
{
	if (!open_part(part, relid, access, false))
		return false;
	if (enter_shard(part, false) != ONCE_SHARD_HERE)
	{
		once_queue_leave(part);
		return false;
	}
	require_index(part);
	return true;
}

/*
 * open_part opens the table of a shard.  False: it is gone, or is no shard any more; or,
 * if wait is false, it is locked.
 */
static bool
open_part(OnceQueue *part, Oid relid, OnceAccess access, bool wait)
{
	LOCKMODE	lockmode = access_lockmode(access);
	Relation	heap;

	if (!once_rights_check(relid, access))
		return false;
	if (wait)
		LockRelationOid(relid, lockmode);
	else if (!ConditionalLockRelationOid(relid, lockmode))
		return false;
	heap = try_relation_open(relid, NoLock);
	if (heap == NULL)
	{
		UnlockRelationOid(relid, lockmode);
		return false;
	}
	if (!setup(part, heap, lockmode, wait))
	{
		relation_close(heap, lockmode);
		return false;
	}

	/* Without the number of the shard, nothing would keep it here */
	if (!OidIsValid(part->meta.shard_of))
	{
		once_queue_leave(part);
		return false;
	}
	return true;
}

/*
 * check_deletes raises an error if a publication forbids the deletions of a
 * verb.
 */
static void
check_deletes(const OnceQueue *queue, OnceAccess access)
{
	if (access == ONCE_TO_CONSUME || access == ONCE_TO_PURGE)
		CheckCmdReplicaIdentity(queue->heap, CMD_DELETE);
}

/*
 * open_queue does the first part of it: whatever has to do neither with shards
 * nor with publications.
 */
static void
open_queue(OnceQueue *queue, const char *name, OnceAccess access, const char *verb)
{
	char		relname[NAMEDATALEN];
	RangeVar   *rv;
	LOCKMODE	lockmode = access_lockmode(access);
	Oid			relid;

	check_transaction(access, verb);

	snprintf(relname, sizeof(relname), "%s%s", ONCE_QUEUE_PREFIX, name);
	rv = makeRangeVar(ONCE_SCHEMA, relname, -1);
	relid = RangeVarGetRelidExtended(rv, lockmode, RVR_MISSING_OK,
									 check_rights_callback, &access);
	pfree(rv);
	if (!OidIsValid(relid))
		raise_not_found(name);

	(void) setup(queue, relation_open(relid, NoLock), lockmode, true);
	if (access != ONCE_TO_ADOPT)
		once_queue_check_identity(queue);
	if (once_rights_wants_index(access) && !queue->meta.distributed)
		require_index(queue);
}

/*
 * once_queue_try_open is once_queue_open without waiting for a lock.  False:
 * it would have to wait, or there is no such queue any more, or the table is a
 * shard that is not in use.  If the queue is distributed, its messages are in its
 * parts.  It does not check whether a publication forbids deletions; the caller
 * must do that.
 */
bool
once_queue_try_open(OnceQueue *queue, const char *name, OnceAccess access,
					const char *verb)
{
	char		relname[NAMEDATALEN];
	Oid			schema = once_schema_oid(false);
	LOCKMODE	lockmode = access_lockmode(access);
	Oid			relid;

	snprintf(relname, sizeof(relname), "%s%s", ONCE_QUEUE_PREFIX, name);
	relid = get_relname_relid(relname, schema);
	if (!OidIsValid(relid) || !once_rights_check(relid, access) ||
		!once_index_try_lock_table(relid, lockmode))
		return false;
	if (get_relname_relid(relname, schema) == relid)
	{
		open_queue(queue, name, access, verb);
		if (enter_shard(queue, false) == ONCE_SHARD_HERE)
			return true;
		once_queue_leave(queue);
	}
	UnlockRelationOid(relid, lockmode);
	return false;
}

/*
 * once_queue_open_to_count opens a queue for statistics, without waiting for a
 * lock: what monitors the queues must not hang because somebody alters one.
 * Raises an error as once_queue_open does.  The caller ends it with
 * once_queue_leave, so that a transaction that asks again and again keeps nobody
 * from altering the queue.
 */
OnceOpened
once_queue_open_to_count(OnceQueue *queue, Oid relid)
{
	Relation	heap;

	if (!once_rights_check(relid, ONCE_TO_COUNT))
		return ONCE_OPENED_NOT;
	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return ONCE_OPENED_BUSY;
	if (!once_rights_check(relid, ONCE_TO_COUNT) ||
		(heap = try_relation_open(relid, NoLock)) == NULL)
	{
		UnlockRelationOid(relid, AccessShareLock);
		return ONCE_OPENED_NOT;
	}
	if (!setup(queue, heap, AccessShareLock, false))
	{
		relation_close(heap, AccessShareLock);
		return ONCE_OPENED_BUSY;
	}
	once_queue_check_identity(queue);
	require_local(queue, false);
	require_index(queue);
	return ONCE_OPENED;
}

/*
 * once_queue_forbids_deletes tells whether a publication forbids the deletion
 * of rows, so that CheckCmdReplicaIdentity would raise an error.
 */
bool
once_queue_forbids_deletes(Relation heap)
{
	PublicationDesc pubdesc;

	RelationBuildPublicationDesc(heap, &pubdesc);
	if (!pubdesc.rf_valid_for_delete || !pubdesc.cols_valid_for_delete ||
		!once_gencols_valid_for_delete(&pubdesc))
		return true;
	return pubdesc.pubactions.pubdelete &&
		heap->rd_rel->relreplident != REPLICA_IDENTITY_FULL &&
		!OidIsValid(RelationGetReplicaIndex(heap));
}

/*
 * once_queue_open_receipt opens the queue that a receipt names, to consume.
 * The receipt may be made up, so relid may be any oid.  If queue->shard_left is
 * set, the claim is lost, whatever the index says: the message is elsewhere, or the
 * queue was distributed since.
 */
void
once_queue_open_receipt(OnceQueue *queue, Oid relid, const char *verb)
{
	uint64		inval_count;
	OnceShardPlace place;

	check_transaction(ONCE_TO_CONSUME, verb);

	/*
	 * If catalogs have changed while we waited for the lock, we must check
	 * again.
	 */
	inval_count = SharedInvalidMessageCounter;
	if (!once_rights_check(relid, ONCE_TO_CONSUME))
		raise_not_found(NULL);
	LockRelationOid(relid, RowExclusiveLock);
	if (inval_count != SharedInvalidMessageCounter &&
		!once_rights_check(relid, ONCE_TO_CONSUME))
		raise_not_found(NULL);

	(void) setup(queue, relation_open(relid, NoLock), RowExclusiveLock, true);
	once_queue_check_identity(queue);
	if (queue->meta.distributed)
	{
		queue->shard_left = true;
		return;
	}
	require_index(queue);
	place = enter_shard(queue, true);
	queue->shard_left = place == ONCE_SHARD_ELSEWHERE;
	if (!queue->shard_left)
		once_shards_require_here(queue->heap, place);
	CheckCmdReplicaIdentity(queue->heap, CMD_DELETE);
}

/*
 * once_queue_reopen opens a queue that this transaction has used before.
 * False: it has dropped the queue or its index since.
 */
bool
once_queue_reopen(OnceQueue *queue, Oid relid)
{
	Relation	heap = try_relation_open(relid, RowExclusiveLock);

	if (heap == NULL)
		return false;
	(void) setup(queue, heap, RowExclusiveLock, true);
	if (queue->index == NULL)
	{
		once_queue_close(queue);
		return false;
	}
	return true;
}

/*
 * once_queue_close closes a queue and keeps its locks.
 */
void
once_queue_close(OnceQueue *queue)
{
	if (queue->index != NULL)
		index_close(queue->index, NoLock);
	relation_close(queue->heap, NoLock);
}

/*
 * once_queue_was_read records, for a SERIALIZABLE transaction, that it has
 * searched the queue as the active snapshot sees it, and perhaps found
 * nothing.  Reading the index does not record that.  A scan of the table does:
 * it notices what others have written, and makes the server notice what they
 * write from now on.
 */
void
once_queue_was_read(OnceQueue *queue)
{
	TableScanDesc scan;

	if (!IsolationIsSerializable() || RecoveryInProgress())
		return;
	scan = once_beginscan(queue->heap, GetActiveSnapshot(), 0, NULL);
	while (heap_getnext(scan, ForwardScanDirection) != NULL)
		CHECK_FOR_INTERRUPTS();
	table_endscan(scan);
}

/*
 * once_queue_leave closes a queue and releases the locks that once_queue_open
 * took, as if the call had not begun.  The caller must not have done anything
 * that is to last.
 */
void
once_queue_leave(OnceQueue *queue)
{
	if (queue->in_shard)
		once_shards_leave(&queue->shard_lock);
	if (queue->index != NULL)
		index_close(queue->index, index_lockmode(queue));
	relation_close(queue->heap, queue->lockmode);
}

/*
 * once_queue_name returns the name of a queue; of a shard, that of the queue
 * that it is a part of.  It is valid while the queue is open.
 */
const char *
once_queue_name(const OnceQueue *queue)
{
	return NameStr(queue->name);
}

/*
 * once_queue_whole returns the table of the queue: of a shard, that of the distributed
 * queue.
 */
Oid
once_queue_whole(const OnceQueue *queue)
{
	return OidIsValid(queue->meta.shard_of) ? queue->meta.shard_of : RelationGetRelid(queue->heap);
}

/*
 * once_queue_check_sending raises once_paused if sending is paused, and an
 * error if the table has lost what is needed to store a message.  It accepts a
 * table that has lost only what consumers need: messages wait until that is
 * back.
 */
void
once_queue_check_sending(const OnceQueue *queue)
{
	int			c;

	if (queue->meta.send_paused)
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_PAUSED),
				 errmsg("sending to queue \"%s\" is paused", once_queue_name(queue)),
				 errhint("Its owner can call once.resume.")));
	if (OidIsValid(queue->meta.shard_of))
		once_shards_refuse_sending(queue->heap);
	if (queue->meta.distributed)
		once_remote_require(once_queue_name(queue));
	for (c = 0; c < ONCE_NCOLUMNS; c++)
	{
		if (c == ONCE_COL_ID || !takes_column(queue, c))
			once_queue_check_column(queue, c);
	}

	/* Ids of a distributed queue come from once.next_id. */
	if (!OidIsValid(queue->meta.sequence) && !queue->meta.distributed)
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_QUEUE_UNUSABLE),
				 errmsg("column \"%s\" of queue \"%s\" is not an identity column",
						once_meta_column_name(ONCE_COL_ID), once_queue_name(queue)),
				 errhint("Use ALTER TABLE ... ALTER COLUMN id DROP DEFAULT, ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (START WITH ...), with a number above all ids in use.")));
}

/*
 * once_queue_check_consuming raises once_paused if consuming is paused, and an
 * error if the table has lost columns of a message.
 */
void
once_queue_check_consuming(const OnceQueue *queue)
{
	if (queue->meta.consume_paused)
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_PAUSED),
				 errmsg("consuming from queue \"%s\" is paused", once_queue_name(queue)),
				 errhint("Its owner can call once.resume.")));
	once_queue_check_columns(queue);
}

/*
 * once_queue_check_columns raises an error if the table has lost columns of a
 * message.
 */
void
once_queue_check_columns(const OnceQueue *queue)
{
	int			c;

	for (c = 0; c < ONCE_NCOLUMNS; c++)
		once_queue_check_column(queue, c);
}

/*
 * once_queue_check_column raises an error if the table has lost this column:
 * it was dropped, renamed, or changed to another type.
 */
void
once_queue_check_column(const OnceQueue *queue, OnceColumn column)
{
	if (queue->meta.column[column] == 0)
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_QUEUE_UNUSABLE),
				 errmsg("column \"%s\" of queue \"%s\" is missing or of another type",
						once_meta_column_name(column), once_queue_name(queue)),
				 errhint("Use ALTER TABLE to give %s such a column of type %s again.",
						 quote_qualified_identifier(ONCE_SCHEMA,
													RelationGetRelationName(queue->heap)),
						 format_type_be(once_meta_column_type(column)))));
}

/*
 * once_queue_raise_lost raises once_lease_lost.
 */
void
once_queue_raise_lost(const OnceQueue *queue)
{
	once_stats_count(RelationGetRelid(queue->heap), ONCE_COUNT_LEASE_LOST, 1);
	ereport(ERROR,
			(errcode(ERRCODE_ONCE_LEASE_LOST),
			 errmsg("claim on a message of queue \"%s\" is lost", once_queue_name(queue)),
			 errdetail("The message has been delivered to another consumer, given back or moved since, or the index of the queue was rebuilt."),
			 errhint("Roll back: another consumer may have the message.  If a lease was too short, use a longer one, or once.extend.")));
}

/*
 * once_queue_raise_already_acked raises once_already_acked.
 */
void
once_queue_raise_already_acked(const OnceQueue *queue)
{
	ereport(ERROR,
			(errcode(ERRCODE_ONCE_ALREADY_ACKED),
			 errmsg("message of queue \"%s\" is already acknowledged", once_queue_name(queue))));
}

/*
 * check_transaction raises an error if the transaction does not allow the
 * verb: in recovery, or because it is read-only or parallel.
 */
static void
check_transaction(OnceAccess access, const char *verb)
{
	if (access == ONCE_TO_OBSERVE || access == ONCE_TO_COUNT || access == ONCE_TO_RESET)
		return;
	PreventCommandDuringRecovery(verb);
	if (access == ONCE_TO_VERIFY)
		return;
	PreventCommandIfReadOnly(verb);
	PreventCommandIfParallelMode(verb);
}

static LOCKMODE
access_lockmode(OnceAccess access)
{
	switch (access)
	{
		case ONCE_TO_SEND:
		case ONCE_TO_CONSUME:
		case ONCE_TO_REDRIVE:
		case ONCE_TO_PURGE:
		case ONCE_TO_RELEASE:
			return RowExclusiveLock;
		case ONCE_TO_VERIFY:
			return ShareLock;
		case ONCE_TO_DROP:
			return AccessExclusiveLock;
		case ONCE_TO_OBSERVE:
		case ONCE_TO_COUNT:
		case ONCE_TO_RESET:
		case ONCE_TO_GRANT_PRODUCE:
		case ONCE_TO_GRANT_CONSUME:
		case ONCE_TO_GRANT_OBSERVE:
		case ONCE_TO_ALTER:
		case ONCE_TO_ADOPT:
			return AccessShareLock;
	}
	elog(ERROR, "unrecognized access: %d", (int) access);
	return NoLock;				/* keep compiler quiet */
}

/*
 * RangeVarGetRelidExtended calls check_rights_callback before it locks the
 * table, and again if the name has come to mean another table meanwhile.
 */
static void
check_rights_callback(const RangeVar *relation, Oid relid, Oid old_relid,
					  void *arg)
{
	OnceAccess *access = arg;

	if (OidIsValid(relid) && !once_rights_check(relid, *access))
		raise_not_found(relation->relname + strlen(ONCE_QUEUE_PREFIX));
}

/*
 * setup fills the struct for a table that the caller has opened and locked.  False: wait
 * is false, and it would have to wait for a lock on the index; then it has done nothing.
 *
 * A transaction that may change rows of the table must commit together with what it
 * does on other nodes.  (Citus sees to that for the rows of a distributed table.)
 */
static bool
setup(OnceQueue *queue, Relation heap, LOCKMODE lockmode, bool wait)
{
	queue->heap = heap;
	queue->in_shard = queue->shard_left = false;
	strlcpy(NameStr(queue->name), RelationGetRelationName(heap) + strlen(ONCE_QUEUE_PREFIX),
			NAMEDATALEN);

	/* The server would refuse to plan a query on it. */
	if (heap->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT && RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot access queue \"%s\" during recovery", once_queue_name(queue)),
				 errdetail("It is unlogged, and has no messages on a standby.")));
	queue->lockmode = lockmode;
	once_meta_get(heap, &queue->meta);
	if (!open_index(queue, wait))
		return false;
	if (OidIsValid(queue->meta.shard_of))
		*strrchr(NameStr(queue->name), '_') = '\0';
	if (lockmode == RowExclusiveLock && !queue->meta.distributed)
	{
		if (OidIsValid(queue->meta.shard_of))
		{
			once_remote_require(once_queue_name(queue));
			once_remote_refuse_tasks();
		}
		once_remote_note_change();
	}
	once_parameters_apply(queue->index, &queue->meta);
	return true;
}

/*
 * once_queue_check_identity raises an error if the table was renamed.  The
 * options, the archive and all else of this name then belong to another table.
 * A change to another table can end that, so what we know is forgotten before
 * the error is raised.
 */
void
once_queue_check_identity(const OnceQueue *queue)
{
	const char *name = once_queue_name(queue);
	const char *from = NameStr(queue->meta.renamed_from);

	if (from[0] == '\0' && !OidIsValid(queue->meta.table_elsewhere))
		return;
	once_meta_forget(RelationGetRelid(queue->heap));
	if (from[0] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_QUEUE_UNUSABLE),
				 errmsg("queue \"%s\" cannot be used", name),
				 errdetail("Its table is that of queue \"%s\" and was renamed; everything else of that queue goes by the old name.",
						   from),
				 errhint("Rename it back with ALTER TABLE %s RENAME TO %s, as a role that may create in the schema, or make it a separate queue with once.create_queue and if_not_exists => true.",
						 quote_qualified_identifier(ONCE_SCHEMA, RelationGetRelationName(queue->heap)),
						 quote_identifier(psprintf("%s%s", ONCE_QUEUE_PREFIX, from)))));
	ereport(ERROR,
			(errcode(ERRCODE_ONCE_QUEUE_UNUSABLE),
			 errmsg("queue \"%s\" cannot be used", name),
			 errdetail("The queue of this name belongs to another table, which is now %s.",
					   once_names_table(queue->meta.table_elsewhere)),
			 errhint("Give that one its old name and schema back in place of this one, or drop it.")));
}

/*
 * open_index opens the index that claims go through, if there is one.  False: wait is
 * false, and the index is locked.
 *
 * On a standby, an index that REINDEX CONCURRENTLY has replaced may be gone by
 * now.  Then another index has taken its place, even if we have not heard of
 * it yet.
 */
static bool
open_index(OnceQueue *queue, bool wait)
{
	LOCKMODE	lockmode = index_lockmode(queue);

	queue->index = NULL;
	while (OidIsValid(queue->meta.claim_index) && !OidIsValid(queue->meta.second_index))
	{
		Oid			index = queue->meta.claim_index;

		if (wait)
			LockRelationOid(index, lockmode);
		else if (!ConditionalLockRelationOid(index, lockmode))
			return false;
		queue->index = try_relation_open(index, NoLock);
		if (queue->index != NULL)
			break;
		UnlockRelationOid(index, lockmode);
		CHECK_FOR_INTERRUPTS();
		once_meta_forget(RelationGetRelid(queue->heap));
		once_meta_get(queue->heap, &queue->meta);
	}
	return true;
}

/*
 * index_lockmode returns the lock on the index that goes with that on the table.
 */
static LOCKMODE
index_lockmode(const OnceQueue *queue)
{
	return queue->lockmode == RowExclusiveLock ? RowExclusiveLock : AccessShareLock;
}

/*
 * takes_column tells whether an INSERT can store a message's value in a
 * column, or does not need the column.
 */
static bool
takes_column(const OnceQueue *queue, OnceColumn column)
{
	Oid			type = once_meta_column_type(column);
	AttrNumber	attnum;
	Oid			stored_as;

	if (queue->meta.column[column] != 0 || column == ONCE_COL_ENQUEUED_AT)
		return true;
	attnum = get_attnum(RelationGetRelid(queue->heap), once_meta_column_name(column));
	if (attnum == InvalidAttrNumber)
		return false;
	stored_as = get_atttype(RelationGetRelid(queue->heap), attnum);
	return can_coerce_type(1, &type, &stored_as, COERCION_ASSIGNMENT);
}

/*
 * require_local raises an error unless the messages are in the table itself.
 */
static void
require_local(const OnceQueue *queue, bool consume)
{
	if (!queue->meta.distributed)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 consume ?
			 errmsg("cannot consume from queue \"%s\"", once_queue_name(queue)) :
			 errmsg("cannot inspect queue \"%s\"", once_queue_name(queue)),
			 errdetail("Table \"%s\" is distributed by Citus, and its messages are in its shards.",
					   RelationGetRelationName(queue->heap)),
			 errhint("Use the shards, each a queue of its own name such as \"%s_102008\", on the nodes where they are.  The function once.shards lists them.",
					 once_queue_name(queue))));
}

/*
 * enter_shard keeps a shard on this node if the caller may change its rows, and
 * tells where it is.  It has nothing to do for other tables.
 */
static OnceShardPlace
enter_shard(OnceQueue *queue, bool wait)
{
	OnceShardPlace place = ONCE_SHARD_HERE;

	if (OidIsValid(queue->meta.shard_of) && queue->lockmode == RowExclusiveLock)
	{
		place = once_shards_enter(queue->meta.shard_of, queue->meta.shard, wait,
								  &queue->shard_lock);
		queue->in_shard = place == ONCE_SHARD_HERE;
	}
	return place;
}

/*
 * require_index raises an error unless there is an index to claim through.
 * The index is dropped along with any of its columns, and restoring the column
 * does not bring it back.
 */
static void
require_index(const OnceQueue *queue)
{
	const OnceMeta *meta = &queue->meta;

	if (queue->index != NULL)
		return;
	if (meta->nqueue_indexes == 0)
	{
		once_queue_check_column(queue, ONCE_COL_ID);
		once_queue_check_column(queue, ONCE_COL_PRIORITY);
		once_queue_check_column(queue, ONCE_COL_DELIVER_AT);
		once_queue_check_column(queue, ONCE_COL_GROUP_ID);
	}
	if (OidIsValid(meta->second_index))
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_QUEUE_UNUSABLE),
				 errmsg("queue \"%s\" has more than one valid %s index",
						once_queue_name(queue), QAM_AM_NAME),
				 errdetail("Among them are %s and %s.",
						   index_name(meta->claim_index), index_name(meta->second_index)),
				 errhint("Use DROP INDEX %s.", index_name(meta->second_index))));
	ereport(ERROR,
			(errcode(ERRCODE_ONCE_QUEUE_UNUSABLE),
			 errmsg("queue \"%s\" has no valid %s index",
					once_queue_name(queue), QAM_AM_NAME),
			 OidIsValid(meta->invalid_index) ?
			 errhint("Use REINDEX INDEX %s.", index_name(meta->invalid_index)) :
			 errhint("Use CREATE INDEX ON %s USING %s (id, priority, deliver_at, group_id), as a role that may create in the schema.",
					 quote_qualified_identifier(ONCE_SCHEMA, RelationGetRelationName(queue->heap)),
					 QAM_AM_NAME)));
}

/*
 * index_name returns the qualified name of an index of the queue.
 */
static char *
index_name(Oid indexoid)
{
	char	   *name = get_rel_name(indexoid);

	return name == NULL ? "?" : quote_qualified_identifier(ONCE_SCHEMA, name);
}

/*
 * raise_not_found raises once_queue_not_found for a name, or for a receipt if
 * name is NULL.
 */
static void
raise_not_found(const char *name)
{
	if (name != NULL)
		once_raise_no_queue(name);
	ereport(ERROR,
			(errcode(ERRCODE_ONCE_QUEUE_NOT_FOUND),
			 errmsg("the queue of this receipt does not exist")));
}
