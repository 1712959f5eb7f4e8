/*-------------------------------------------------------------------------
 *
 * meta_shards.c
 *	  Where the shards of a table are, and keeping them there.
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
 * them.  Once we have it, we look where the shard is: it cannot leave before our
 * transaction ends.
 *
 * The lock is an advisory lock of a class of its own.  It is the same for all shards
 * that are co-located, since they move together: the keys are the number of the group
 * of tables and that of the shard in the order of its hash values.  A split changes
 * the latter, so we look again when we have the lock.  (github.com/citusdata/citus,
 * src/include/distributed/resource_lock.h, and LockShardDistributionMetadata in
 * src/backend/distributed/utils/resource_lock.c)
 *
 * What the catalogs say of the shards of a table is remembered by the backend.  When
 * they change, triggers of Citus invalidate the relcache entry of the distributed
 * table, on every node that has it (master_dist_placement_cache_invalidate and its
 * kin).  The invalidation is sent before the locks of the transaction are released.
 * So whoever has waited for the lock and accepts invalidations then, knows the change.
 *
 * A split of one shard does not wait for those who work on others, and changes the
 * numbers of these.  Then our lock on them is one that no move asks for.  So before the
 * transaction commits, we look whether its locks are still the right ones.  If one is
 * not, we take the right one; and if the shard has left by then, the transaction fails.
 * (A split and a move that both come between this look and the end of the commit would
 * go unnoticed.  If the transaction is prepared, that is when it is committed later.)
 *
 * A move by logical replication copies what is in the log when it gets the lock.  A
 * commit with synchronous_commit = off releases the lock when its record may still be in
 * memory only; then the copy would go without it.  So while there is a logical
 * replication slot, whoever has kept a shard waits for the log.  Who does not see the slot
 * yet has got its transaction id before, and the making of the slot waits for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "meta/meta_citus.h"
#include "meta/meta_remote.h"
#include "meta/meta_shards.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "nodes/readfuncs.h"
#include "once_error.h"
#include "replication/slot.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/typcache.h"

/* Classes of advisory locks: field 4 of their tags */
#define CITUS_LOCK_SHARD		4
#define CITUS_LOCK_COLOCATED	8
#define FAKE_LOCK				2	/* what pg_advisory_lock(int, int) takes */

/* How rows are given to shards: pg_dist_partition.partmethod */
#define CITUS_BY_HASH			'h'
#define CITUS_BY_NOTHING		'n' /* there is a single shard */

/* The state of a placement that is in use: pg_dist_placement.shardstate */
#define CITUS_SHARD_ACTIVE		1

/* What a backend remembers of a distributed table */
typedef struct ShardsEntry
{
	Oid			parent;			/* key */
	bool		valid;			/* cleared by once_shards_forget */
	bool		distributed;
	bool		incomplete;		/* a table that should be here is missing */
	char		method;
	uint32		colocation;
	bool		key_known;		/* has somebody asked for it? */
	AttrNumber	key;			/* see once_shards_key() */
	int			n;
	OnceShard  *shards;			/* in the order of their hash values */
	MemoryContext context;		/* of the list */
} ShardsEntry;

static HTAB *entries = NULL;

/* A shard that this transaction keeps where it is */
typedef struct KeptKey
{
	int64		shard;			/* its number */
	LOCKTAG		tag;			/* of the lock on it */
} KeptKey;

typedef struct KeptShard
{
	KeptKey		key;
	Oid			parent;
	Oid			relid;			/* its table */
} KeptShard;

static HTAB *kept = NULL;		/* may have some that are kept no more */
static bool numbers_changed = false;	/* since the first of them was kept */

static ShardsEntry *read_shards(Oid parent);
static void fill(ShardsEntry *entry);
static bool is_by_hash(const ShardsEntry *entry);
static void require_hash(const ShardsEntry *entry);
static void fill_list(ShardsEntry *entry);
static int	compare_shards(const void *a, const void *b);
static void find_here(ShardsEntry *entry, OnceShard *shard, int32 here);
static bool make_tag(Oid parent, int64 shard, LOCKTAG *tag, OnceShard *known);
static void note_kept(Oid parent, int64 shard, Oid relid, const LOCKTAG *tag);
static Oid	parent_now(const KeptShard *note);
static void shards_xact_callback(XactEvent event, void *arg);
static void check_kept(void);
static void flush_for_moves(void);
static void forget_kept(void);
static int32 hash_bound(const OnceCitusScan *scan, const char *column, int32 otherwise);

/*
 * once_shards_forget makes the next look at the shards of a table read the catalogs;
 * of all tables if it is InvalidOid.  It is called for every relcache invalidation, at
 * any moment.
 */
void
once_shards_forget(Oid parent)
{
	ShardsEntry *entry;

	if (entries == NULL)
		return;
	if (OidIsValid(parent))
	{
		entry = hash_search(entries, &parent, HASH_FIND, NULL);
		if (entry == NULL)
			return;
		entry->valid = false;
		numbers_changed = true;
	}
	else
	{
		HASH_SEQ_STATUS status;

		hash_seq_init(&status, entries);
		while ((entry = hash_seq_search(&status)) != NULL)
			entry->valid = false;
		numbers_changed = true;
	}
}

/*
 * once_shards_distributed tells whether Citus has distributed a table.  As a rule, it
 * reads no catalog.
 */
bool
once_shards_distributed(Oid parent)
{
	return read_shards(parent)->distributed;
}

/*
 * once_shards_here returns the shards of a distributed table that are on this node, in
 * the order of their hash values.  The caller frees the list.  A shard may have left
 * when the caller comes to it: see once_shards_enter.
 */
OnceShard *
once_shards_here(Oid parent, int *n)
{
	ShardsEntry *entry;
	OnceShard  *list;
	int			i;

	AcceptInvalidationMessages();
	entry = read_shards(parent);
	require_hash(entry);
	list = palloc(sizeof(OnceShard) * Max(entry->n, 1));
	*n = 0;
	for (i = 0; i < entry->n; i++)
	{
		if (OidIsValid(entry->shards[i].relid))
			list[(*n)++] = entry->shards[i];
	}
	return list;
}

/*
 * once_shards_copied tells whether shards of a distributed table are on several nodes.
 */
bool
once_shards_copied(Oid parent)
{
	ShardsEntry *entry = read_shards(parent);
	int			i;

	for (i = 0; i < entry->n; i++)
	{
		if (entry->shards[i].ncopies > 1)
			return true;
	}
	return false;
}

/*
 * once_shards_key returns the column by whose hash values the rows of a distributed
 * table are given to shards, or InvalidAttrNumber if there is none.
 *
 * Citus stores it as an expression.  In the catalogs that take its place in tests, it may
 * be a name.
 */
AttrNumber
once_shards_key(Oid parent)
{
	ShardsEntry *entry;
	OnceCitusScan scan;
	AttrNumber	key = InvalidAttrNumber;

	AcceptInvalidationMessages();
	entry = read_shards(parent);
	require_hash(entry);
	if (!entry->distributed || entry->method != CITUS_BY_HASH)
		return InvalidAttrNumber;
	if (entry->key_known)
		return entry->key;

	if (!once_citus_begin(&scan, "pg_dist_partition", NULL, "logicalrelid", REGCLASSOID,
						  ObjectIdGetDatum(parent)))
		return InvalidAttrNumber;
	if (once_citus_next(&scan))
	{
		bool		isnull;
		Datum		value = once_citus_value(&scan, "partkey", TEXTOID, &isnull);
		char	   *expr = isnull ? "" : TextDatumGetCString(value);

		if (expr[0] == '{')
		{
			Node	   *node = stringToNode(expr);

			key = IsA(node, Var) ? castNode(Var, node)->varattno : InvalidAttrNumber;
		}
		else
			key = get_attnum(parent, expr);
	}
	once_citus_end(&scan);

	/*
	 * If the table has changed meanwhile, the entry is filled anew by the
	 * next call
	 */
	entry->key = key;
	entry->key_known = true;
	return key;
}

/*
 * once_shards_hash returns the hash value by which Citus gives a row to a shard.  att: the
 * column; value: its value, which is not null.
 */
int32
once_shards_hash(Form_pg_attribute att, Datum value)
{
	TypeCacheEntry *type = lookup_type_cache(att->atttypid, TYPECACHE_HASH_PROC_FINFO);

	if (!OidIsValid(type->hash_proc_finfo.fn_oid))
		elog(ERROR, "could not find a hash function for type %s", format_type_be(att->atttypid));
	return DatumGetInt32(FunctionCall1Coll(&type->hash_proc_finfo, att->attcollation, value));
}

/*
 * once_shards_node_may_have tells whether Citus gives shards to this node.
 */
bool
once_shards_node_may_have(void)
{
	int32		here = once_citus_group();
	OnceCitusScan scan;
	bool		isnull;
	bool		may_have = false;

	if (!once_citus_begin(&scan, "pg_dist_node", NULL, NULL, InvalidOid, (Datum) 0))
		return false;
	while (!may_have && once_citus_next(&scan))
	{
		may_have = DatumGetInt32(once_citus_value(&scan, "groupid", INT4OID, &isnull)) == here &&
			DatumGetBool(once_citus_value(&scan, "shouldhaveshards", BOOLOID, &isnull));
	}
	once_citus_end(&scan);
	return may_have;
}

/*
 * once_shards_enter keeps a shard where it is until the transaction ends, or until
 * once_shards_leave, and tells where it is.  It keeps it only if the result is
 * ONCE_SHARD_HERE.  wait: it waits until Citus has moved the shard; otherwise the
 * result is ONCE_SHARD_BUSY then.  *tag: for once_shards_leave.
 *
 * The commit fails if the shard has left in spite of the lock, as described above.
 */
OnceShardPlace
once_shards_enter(Oid parent, int64 shard, bool wait, LOCKTAG *tag)
{
	OnceShard	known;

	if (kept == NULL || hash_get_num_entries(kept) == 0)
		numbers_changed = false;
	for (;;)
	{
		LOCKTAG		now;

		AcceptInvalidationMessages();
		if (!make_tag(parent, shard, tag, &known))
			return ONCE_SHARD_ELSEWHERE;
		if (LockAcquire(tag, ShareLock, false, !wait) == LOCKACQUIRE_NOT_AVAIL)
			return ONCE_SHARD_BUSY;
		AcceptInvalidationMessages();
		if (make_tag(parent, shard, &now, &known) && memcmp(&now, tag, sizeof(LOCKTAG)) == 0)
			break;
		once_shards_leave(tag);
		CHECK_FOR_INTERRUPTS();
	}
	if (known.place == ONCE_SHARD_HERE)
		note_kept(parent, shard, known.relid, tag);
	else
		once_shards_leave(tag);
	return known.place;
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
				 errhint("Use undistribute_table, set citus.shard_replication_factor to 1, and distribute the queue again.")));
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
 * once_shards_refuse_letters raises the error for work on the dead letters of a shard.
 * They go by the name of the distributed table.  whole: that table, or InvalidOid if the
 * other one is no shard, and there is no error.
 */
void
once_shards_refuse_letters(Relation shard, Oid whole)
{
	if (!OidIsValid(whole))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("queue \"%s\" has no dead letters of its own",
					RelationGetRelationName(shard) + strlen(ONCE_QUEUE_PREFIX)),
			 once_citus_err_shard(RelationGetRelationName(shard), false)));
}

/*
 * note_kept notes that the transaction keeps a shard where it is.  It stays noted after
 * once_shards_leave.
 */
static void
note_kept(Oid parent, int64 shard, Oid relid, const LOCKTAG *tag)
{
	KeptKey		key = {.shard = shard,.tag = *tag};
	KeptShard  *note;

	if (kept == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(KeptKey);
		ctl.entrysize = sizeof(KeptShard);
		ctl.hcxt = TopMemoryContext;
		kept = hash_create("pg_once kept shards", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		RegisterXactCallback(shards_xact_callback, NULL);
	}
	note = hash_search(kept, &key, HASH_ENTER, NULL);
	note->parent = parent;
	note->relid = relid;
}

/*
 * parent_now returns the distributed table of a shard that is kept.  Citus may have made it
 * anew.  InvalidOid: there is none any more.
 */
static Oid
parent_now(const KeptShard *note)
{
	char	   *relname = get_rel_name(note->parent) == NULL ? get_rel_name(note->relid) : NULL;
	int64		shard;

	if (relname == NULL)
		return note->parent;
	return once_citus_shard_by_name(relname, get_rel_namespace(note->relid), &shard);
}

static void
shards_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			check_kept();
			flush_for_moves();
			break;
		case XACT_EVENT_PRE_PREPARE:
			check_kept();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			forget_kept();
			break;
		default:
			break;
	}
}

/*
 * check_kept is called before the commit.  It raises an error if a shard has left that
 * the transaction has meant to keep.
 */
static void
check_kept(void)
{
	HASH_SEQ_STATUS status;
	KeptShard  *note;

	if (hash_get_num_entries(kept) == 0)
		return;
	AcceptInvalidationMessages();
	if (!numbers_changed)
		return;

	hash_seq_init(&status, kept);
	while ((note = hash_seq_search(&status)) != NULL)
	{
		int64		shard = note->key.shard;
		char	   *relname;
		LOCKTAG		tag;

		/*
		 * A subtransaction that was rolled back has released its lock.  If
		 * the table of the shard was dropped, either we have done that, or we
		 * have not used it.
		 */
		if (!once_lock_held(&note->key.tag, ShareLock) || get_rel_name(note->relid) == NULL ||
			once_shards_enter(parent_now(note), shard, true, &tag) == ONCE_SHARD_HERE ||
			(relname = get_rel_name(note->relid)) == NULL)
			continue;
		hash_seq_term(&status);
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not commit changes to shard " INT64_FORMAT " of table \"%s\"",
						shard, once_citus_whole_name(relname)),
				 errdetail("Citus has split another shard, and then moved this one to another node."),
				 errhint("The transaction might succeed if retried.")));
	}
}

/*
 * flush_for_moves is called before the commit.  It makes the commit wait until the log is
 * on disk, if the transaction has kept shards and there may be a move that reads the log.
 */
static void
flush_for_moves(void)
{
	bool		found = false;
	int			i;

	if (synchronous_commit != SYNCHRONOUS_COMMIT_OFF || hash_get_num_entries(kept) == 0)
		return;
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (i = 0; i < max_replication_slots && !found; i++)
	{
		const ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];

		found = slot->in_use && slot->data.database == MyDatabaseId;
	}
	LWLockRelease(ReplicationSlotControlLock);
	if (found)
		ForceSyncCommit();
}

static void
forget_kept(void)
{
	HASH_SEQ_STATUS status;
	KeptShard  *note;

	if (hash_get_num_entries(kept) == 0)
		return;
	hash_seq_init(&status, kept);
	while ((note = hash_seq_search(&status)) != NULL)
		(void) hash_search(kept, &note->key, HASH_REMOVE, NULL);
}

/*
 * make_tag makes the tag of the lock that keeps a shard where it is, and tells what is
 * known of the shard.  False: there is no such shard any more.
 */
static bool
make_tag(Oid parent, int64 shard, LOCKTAG *tag, OnceShard *known)
{
	ShardsEntry *entry = read_shards(parent);
	int			order = 0;

	require_hash(entry);
	while (order < entry->n && entry->shards[order].number != shard)
		order++;
	if (order == entry->n)
		return false;
	*known = entry->shards[order];

	if (once_remote_shard_catalog == ONCE_SHARDS_FAKE)
		SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, order, entry->colocation, FAKE_LOCK);
	else if (entry->colocation != 0)
		SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, order, entry->colocation, CITUS_LOCK_COLOCATED);
	else
		SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (shard >> 32), (uint32) shard,
							 CITUS_LOCK_SHARD);
	return true;
}

/*
 * read_shards returns what is known of a distributed table.  It is valid until the next
 * call, or until invalidations are accepted.  A table that is not distributed has no
 * shards.
 */
static ShardsEntry *
read_shards(Oid parent)
{
	ShardsEntry *entry;
	bool		found;

	if (entries == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(ShardsEntry);
		ctl.hcxt = TopMemoryContext;
		entries = hash_create("pg_once shards", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(entries, &parent, HASH_ENTER, &found);
	if (!found)
	{
		entry->valid = false;
		entry->n = 0;
		entry->context = NULL;
	}
	if (entry->valid)
		return entry;

	/*
	 * The reading may be told of changes, which clear the flag.  Then it is
	 * repeated by the next call.  So is a reading that fails.
	 */
	entry->valid = true;
	PG_TRY();
	{
		fill(entry);

		/* Nobody tells us when Citus has made a table that it has announced */
		if (entry->incomplete)
			entry->valid = false;
	}
	PG_CATCH();
	{
		entry->valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
	return entry;
}

/*
 * fill reads the catalogs.
 */
static void
fill(ShardsEntry *entry)
{
	OnceCitusScan scan;
	bool		isnull;

	entry->n = 0;
	entry->distributed = entry->key_known = entry->incomplete = false;
	if (entry->context == NULL)
		entry->context = AllocSetContextCreate(TopMemoryContext, "pg_once shards of a table",
											   ALLOCSET_SMALL_SIZES);
	MemoryContextReset(entry->context);

	if (!once_citus_begin(&scan, "pg_dist_partition", NULL, "logicalrelid", REGCLASSOID,
						  ObjectIdGetDatum(entry->parent)))
		return;
	if (once_citus_next(&scan))
	{
		entry->distributed = true;
		entry->method = DatumGetChar(once_citus_value(&scan, "partmethod", CHAROID, &isnull));
		entry->colocation = DatumGetInt32(once_citus_value(&scan, "colocationid", INT4OID, &isnull));
	}
	once_citus_end(&scan);
	if (entry->distributed && is_by_hash(entry))
		fill_list(entry);
}

/*
 * is_by_hash tells whether the rows of a distributed table are given to shards by hash
 * values.  If there is only one shard, they are.
 */
static bool
is_by_hash(const ShardsEntry *entry)
{
	return entry->method == CITUS_BY_HASH || entry->method == CITUS_BY_NOTHING;
}

/*
 * require_hash raises an error if they are given to shards in another way.
 */
static void
require_hash(const ShardsEntry *entry)
{
	if (!entry->distributed || is_by_hash(entry))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot use table \"%s\"", get_rel_name(entry->parent)),
			 errdetail("Citus has not distributed it by hash values."),
			 errhint("Use once.distribute_queue to distribute a queue.")));
}

/*
 * fill_list reads the list of shards, and where they are.
 */
static void
fill_list(ShardsEntry *entry)
{
	OnceCitusScan scan;
	bool		isnull;
	int			room = 0;
	int32		here = once_citus_group();
	int			i;

	if (!once_citus_begin(&scan, "pg_dist_shard", "pg_dist_shard_logical_relid_index",
						  "logicalrelid", REGCLASSOID, ObjectIdGetDatum(entry->parent)))
		return;
	while (once_citus_next(&scan))
	{
		OnceShard  *shard;

		if (room == 0)
			entry->shards = MemoryContextAlloc(entry->context, sizeof(OnceShard) * (room = 32));
		else if (entry->n == room)
			entry->shards = repalloc(entry->shards, sizeof(OnceShard) * (room *= 2));
		shard = &entry->shards[entry->n++];
		shard->number = DatumGetInt64(once_citus_value(&scan, "shardid", INT8OID, &isnull));
		shard->lowest = hash_bound(&scan, "shardminvalue", PG_INT32_MIN);
		shard->highest = hash_bound(&scan, "shardmaxvalue", PG_INT32_MAX);
	}
	once_citus_end(&scan);

	qsort(entry->shards, entry->n, sizeof(OnceShard), compare_shards);
	for (i = 0; i < entry->n; i++)
		find_here(entry, &entry->shards[i], here);
}

static int
compare_shards(const void *a, const void *b)
{
	const OnceShard *left = a;
	const OnceShard *right = b;

	if (left->lowest != right->lowest)
		return left->lowest < right->lowest ? -1 : 1;
	return left->number < right->number ? -1 : left->number > right->number;
}

/*
 * hash_bound returns the lowest or the highest hash value that belongs to a shard.  It is
 * null if all rows are in one shard.
 */
static int32
hash_bound(const OnceCitusScan *scan, const char *column, int32 otherwise)
{
	bool		isnull;
	Datum		value = once_citus_value(scan, column, TEXTOID, &isnull);

	return isnull ? otherwise : pg_strtoint32(TextDatumGetCString(value));
}

/*
 * find_here finds out on which nodes a shard is, and its table if it is on this one.
 */
static void
find_here(ShardsEntry *entry, OnceShard *shard, int32 here)
{
	OnceCitusScan scan;
	bool		isnull;
	bool		is_here = false;

	shard->ncopies = 0;
	shard->place = ONCE_SHARD_ELSEWHERE;
	shard->relid = InvalidOid;
	if (!once_citus_begin(&scan, "pg_dist_placement", "pg_dist_placement_shardid_index",
						  "shardid", INT8OID, Int64GetDatum(shard->number)))
		return;
	while (once_citus_next(&scan))
	{
		if (DatumGetInt32(once_citus_value(&scan, "shardstate", INT4OID, &isnull)) != CITUS_SHARD_ACTIVE)
			continue;
		shard->ncopies++;
		if (DatumGetInt32(once_citus_value(&scan, "groupid", INT4OID, &isnull)) == here)
			is_here = true;
	}
	once_citus_end(&scan);
	if (!is_here)
		return;
	shard->place = shard->ncopies == 1 ? ONCE_SHARD_HERE : ONCE_SHARD_COPIED;
	shard->relid = once_citus_shard_table(entry->parent, shard->number);
	if (!OidIsValid(shard->relid))
		entry->incomplete = true;
}
