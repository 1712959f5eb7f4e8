/*-------------------------------------------------------------------------
 *
 * meta_shards.c
 *	  Where a shard is, and keeping it there.
 *
 * Citus moves shards from node to node, and splits them.  It copies the rows, makes
 * others send to the copy from then on, and drops the shard later.  A consumer that
 * works on the shard meanwhile could process a message that is delivered again from
 * the copy.
 *
 * Commands that write to a shard hold a lock on it, in share mode, until their
 * transaction ends.  Citus takes it in exclusive mode, on every node, before it
 * copies the last rows, and holds it until its catalogs say where the shard is now.
 * Consumers bypass the planner of Citus, which takes that lock, so we take it for
 * them.  Once we have it, we read where the shard is: it cannot leave before our
 * transaction ends.
 *
 * The lock is an advisory lock of a class of its own.  It is the same for all shards
 * that are co-located, since they move together: the keys are the number of the group
 * of tables and that of the shard in the order of its hash values.  A split changes
 * the latter, so it is read again when we have the lock.  (github.com/citusdata/citus,
 * src/include/distributed/resource_lock.h, and LockShardDistributionMetadata in
 * src/backend/distributed/utils/resource_lock.c)
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "catalog/pg_type.h"
#include "meta/meta_citus.h"
#include "meta/meta_remote.h"
#include "meta/meta_shards.h"
#include "miscadmin.h"
#include "once_error.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rel.h"

/* Classes of advisory locks: field 4 of their tags */
#define CITUS_LOCK_SHARD		4
#define CITUS_LOCK_COLOCATED	8
#define FAKE_LOCK				2	/* what pg_advisory_lock(int, int) takes */

/* The state of a placement that is in use: pg_dist_placement.shardstate */
#define CITUS_SHARD_ACTIVE		1

static bool read_tag(Oid parent, int64 shard, LOCKTAG *tag);
static int	read_order(Oid parent, int64 shard, bool *found);
static int32 lowest_hash(const OnceCitusScan *scan);
static OnceShardPlace read_place(int64 shard);

/*
 * once_shards_enter keeps a shard where it is until the transaction ends, or until
 * once_shards_leave, and tells where it is.  It keeps it only if the result is
 * ONCE_SHARD_HERE.  wait: it waits until Citus has moved the shard; otherwise the
 * result is ONCE_SHARD_BUSY then.  *tag: for once_shards_leave.
 */
OnceShardPlace
once_shards_enter(Oid parent, int64 shard, bool wait, LOCKTAG *tag)
{
	OnceShardPlace place;

	for (;;)
	{
		LOCKTAG		now;

		AcceptInvalidationMessages();
		if (!read_tag(parent, shard, tag))
			return ONCE_SHARD_ELSEWHERE;
		if (LockAcquire(tag, ShareLock, false, !wait) == LOCKACQUIRE_NOT_AVAIL)
			return ONCE_SHARD_BUSY;
		AcceptInvalidationMessages();
		if (read_tag(parent, shard, &now) && memcmp(&now, tag, sizeof(LOCKTAG)) == 0)
			break;
		once_shards_leave(tag);
		CHECK_FOR_INTERRUPTS();
	}
	place = read_place(shard);
	if (place != ONCE_SHARD_HERE)
		once_shards_leave(tag);
	return place;
}

/*
 * once_shards_leave undoes one successful call of once_shards_enter.  The caller must
 * not have done anything that is to last.
 */
void
once_shards_leave(const LOCKTAG *tag)
{
	LockRelease(tag, ShareLock, false);
}

/*
 * once_shards_require_here raises an error unless the messages of a shard are
 * delivered on this node, and only here.
 */
void
once_shards_require_here(Relation shard, OnceShardPlace place)
{
	const char *queue = RelationGetRelationName(shard) + strlen(ONCE_QUEUE_PREFIX);

	if (place == ONCE_SHARD_HERE)
		return;
	if (place == ONCE_SHARD_COPIED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot consume from queue \"%s\"", queue),
				 errdetail("Table \"%s\" is a shard that is also on other nodes, and each would deliver its messages.",
						   RelationGetRelationName(shard)),
				 errhint("Distribute the queue with one copy of each shard: set citus.shard_replication_factor to 1.")));
	ereport(ERROR,
			(errcode(ERRCODE_ONCE_QUEUE_NOT_FOUND),
			 errmsg("queue \"%s\" is no longer on this node", queue),
			 errdetail("Citus has moved its table to another node, or has split it."),
			 errhint("The view citus_shards lists the shards and the nodes where they are.")));
}

/*
 * once_shards_refuse_sending raises the error for sending to a shard by its name.
 */
void
once_shards_refuse_sending(Relation shard)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot send to queue \"%s\"",
					RelationGetRelationName(shard) + strlen(ONCE_QUEUE_PREFIX)),
			 errdetail("Table \"%s\" is a shard of a table that Citus has distributed.",
					   RelationGetRelationName(shard)),
			 errhint("Send to the distributed queue; Citus finds the shard of each message.")));
}

/*
 * read_tag finds out which lock keeps a shard where it is.  False: there is no such
 * shard any more.
 */
static bool
read_tag(Oid parent, int64 shard, LOCKTAG *tag)
{
	OnceCitusScan scan;
	uint32		colocation = 0;
	uint32		order;
	bool		found;
	bool		isnull;

	if (!once_citus_begin(&scan, "pg_dist_partition", NULL, "logicalrelid", REGCLASSOID,
						  ObjectIdGetDatum(parent)))
		return false;
	found = once_citus_next(&scan);
	if (found)
		colocation = DatumGetInt32(once_citus_value(&scan, "colocationid", INT4OID, &isnull));
	once_citus_end(&scan);
	if (!found)
		return false;
	order = read_order(parent, shard, &found);
	if (!found)
		return false;

	if (once_remote_shard_catalog == ONCE_SHARDS_FAKE)
		SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, order, colocation, FAKE_LOCK);
	else if (colocation != 0)
		SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, order, colocation, CITUS_LOCK_COLOCATED);
	else
		SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (shard >> 32), (uint32) shard,
							 CITUS_LOCK_SHARD);
	return true;
}

/*
 * read_order returns the number of a shard in the order of hash values.
 */
static int
read_order(Oid parent, int64 shard, bool *found)
{
	OnceCitusScan scan;
	bool		isnull;
	int32		lowest = 0;
	int			order = 0;

	*found = false;
	if (!once_citus_begin(&scan, "pg_dist_shard", "pg_dist_shard_shardid_index", "shardid",
						  INT8OID, Int64GetDatum(shard)))
		return 0;
	*found = once_citus_next(&scan);
	if (*found)
		lowest = lowest_hash(&scan);
	once_citus_end(&scan);
	if (!*found)
		return 0;

	if (!once_citus_begin(&scan, "pg_dist_shard", "pg_dist_shard_logical_relid_index",
						  "logicalrelid", REGCLASSOID, ObjectIdGetDatum(parent)))
		return 0;
	while (once_citus_next(&scan))
	{
		if (lowest_hash(&scan) < lowest &&
			DatumGetInt64(once_citus_value(&scan, "shardid", INT8OID, &isnull)) != shard)
			order++;
	}
	once_citus_end(&scan);
	return order;
}

/*
 * lowest_hash returns the lowest hash value that belongs to a shard.  It is null if all
 * rows are in one shard.
 */
static int32
lowest_hash(const OnceCitusScan *scan)
{
	bool		isnull;
	Datum		value = once_citus_value(scan, "shardminvalue", TEXTOID, &isnull);

	return isnull ? 0 : pg_strtoint32(TextDatumGetCString(value));
}

/*
 * read_place tells on which nodes a shard is.
 */
static OnceShardPlace
read_place(int64 shard)
{
	OnceCitusScan scan;
	bool		isnull;
	int32		here = -1;
	bool		is_here = false;
	int			n = 0;

	if (once_citus_begin(&scan, "pg_dist_local_group", NULL, NULL, InvalidOid, (Datum) 0))
	{
		if (once_citus_next(&scan))
			here = DatumGetInt32(once_citus_value(&scan, "groupid", INT4OID, &isnull));
		once_citus_end(&scan);
	}
	if (!once_citus_begin(&scan, "pg_dist_placement", "pg_dist_placement_shardid_index",
						  "shardid", INT8OID, Int64GetDatum(shard)))
		return ONCE_SHARD_ELSEWHERE;
	while (once_citus_next(&scan))
	{
		if (DatumGetInt32(once_citus_value(&scan, "shardstate", INT4OID, &isnull)) != CITUS_SHARD_ACTIVE)
			continue;
		n++;
		if (DatumGetInt32(once_citus_value(&scan, "groupid", INT4OID, &isnull)) == here)
			is_here = true;
	}
	once_citus_end(&scan);
	if (!is_here)
		return ONCE_SHARD_ELSEWHERE;
	return n == 1 ? ONCE_SHARD_HERE : ONCE_SHARD_COPIED;
}
