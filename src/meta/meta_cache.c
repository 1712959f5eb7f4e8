/*-------------------------------------------------------------------------
 *
 * meta_cache.c
 *	  Per-backend cache of what the verbs must know of a queue.
 *
 * An entry is filled when a queue is first used.  From then on it is found without
 * any catalog access.  All that can change it sends a relcache invalidation of the
 * queue's table: DDL on the table and its indexes does so by itself, and functions
 * that change options (alter_queue, pause, resume) send one explicitly.  A shard
 * also depends on the distributed table, which Citus may drop and make anew while it
 * leaves the shards alone.  So whether there still is that table is looked up each time.
 *
 * The callback may run at any moment, also while an entry is being filled or used
 * further up the stack.  So it marks entries and does nothing else, and the next
 * call of once_meta_get refills them in place.  once_meta_get returns copies.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "catalog/dependency.h"
#include "catalog/pg_am.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "meta/meta_cache.h"
#include "meta/meta_catalog.h"
#include "meta/meta_citus.h"
#include "meta/meta_index.h"
#include "meta/meta_names.h"
#include "meta/meta_shards.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "once_args.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* With this many entries, those that are not valid any more are removed. */
#define META_SWEEP_AT		4096

typedef struct MetaEntry
{
	Oid			relid;			/* key */
	bool		valid;			/* cleared by the callback */
	OnceMeta	meta;
} MetaEntry;

static const struct
{
	const char *name;
	Oid			type;
	bool		notnull;
}			column_made[ONCE_NCOLUMNS] = {
	{"id", INT8OID, true},
	{"enqueued_at", TIMESTAMPTZOID, true},
	{"deliver_at", TIMESTAMPTZOID, false},
	{"expires_at", TIMESTAMPTZOID, false},
	{"priority", INT2OID, true},
	{"group_id", TEXTOID, false},
	{"headers", JSONBOID, false},
	{"payload", JSONBOID, false}
};

static HTAB *meta_cache = NULL;
static uint64 meta_epoch = 0;

static void meta_invalidate(Datum arg, Oid relid);
static void meta_sweep(void);
static bool same_namesake(Relation heap, const OnceMeta *meta);
static Oid	find_namesake(Relation heap, const OnceMeta *meta, bool *distributed);
static void meta_fill(Relation heap, OnceMeta *meta);
static void meta_fill_columns(Relation heap, OnceMeta *meta);
static void meta_fill_indexes(Relation heap, OnceMeta *meta);
static void meta_fill_queue_index(const OnceIndex *index, OnceMeta *meta);
static void meta_fill_options(Relation heap, OnceMeta *meta);
static bool meta_has_insert_triggers(const TriggerDesc *triggers);
static bool meta_has_delete_triggers(const TriggerDesc *triggers);
static bool meta_has_rules(const RuleLock *rules, CmdType event);
static bool meta_columns_as_made(Relation heap, bool shard);

/*
 * once_meta_init makes the cache.  It is called once, when the library is loaded.
 */
void
once_meta_init(void)
{
	HASHCTL		ctl;

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(MetaEntry);
	ctl.hcxt = TopMemoryContext;
	meta_cache = hash_create("pg_once queues", 64, &ctl,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(meta_invalidate, (Datum) 0);
}

/*
 * once_meta_get copies what is known of a queue's table, which the caller has
 * opened and locked.  Invalidations that other backends have sent are processed
 * first, even if the table was locked long before.
 */
void
once_meta_get(Relation heap, OnceMeta *meta)
{
	Oid			relid = RelationGetRelid(heap);
	MetaEntry  *entry;
	bool		found;

	AcceptInvalidationMessages();

	entry = hash_search(meta_cache, &relid, HASH_FIND, NULL);
	if (entry != NULL && entry->valid && same_namesake(heap, &entry->meta))
	{
		*meta = entry->meta;
		return;
	}

	/*
	 * Filling reads catalogs, and that may run the callback.  So mark the
	 * entry as valid first.  If the callback marks it as invalid meanwhile,
	 * it stays so.
	 */
	if (entry == NULL)
	{
		meta_sweep();
		entry = hash_search(meta_cache, &relid, HASH_ENTER, &found);
	}
	entry->valid = true;
	PG_TRY();
	{
		meta_fill(heap, meta);
	}
	PG_CATCH();
	{
		hash_search(meta_cache, &relid, HASH_REMOVE, NULL);
		PG_RE_THROW();
	}
	PG_END_TRY();

	entry->meta = *meta;
}

/*
 * once_meta_forget makes the next once_meta_get of a table read the catalogs.
 */
void
once_meta_forget(Oid relid)
{
	MetaEntry  *entry = hash_search(meta_cache, &relid, HASH_FIND, NULL);

	if (entry != NULL)
		entry->valid = false;
}

/*
 * once_meta_epoch returns a number that grows with every invalidation.  While it
 * stays the same, this backend has heard of no change to any table or index or to
 * rights on them, neither by others nor by itself.
 */
uint64
once_meta_epoch(void)
{
	return meta_epoch;
}

/*
 * once_meta_column_name returns the name that create_queue gives to a column.
 */
const char *
once_meta_column_name(OnceColumn column)
{
	return column_made[column].name;
}

/*
 * once_meta_column_type returns the type that create_queue gives to it.
 */
Oid
once_meta_column_type(OnceColumn column)
{
	return column_made[column].type;
}

/*
 * meta_invalidate is the relcache callback: relid has changed, or everything if it is
 * InvalidOid.
 */
static void
meta_invalidate(Datum arg, Oid relid)
{
	MetaEntry  *entry;

	meta_epoch++;
	once_shards_forget(relid);
	if (OidIsValid(relid))
	{
		entry = hash_search(meta_cache, &relid, HASH_FIND, NULL);
		if (entry != NULL)
			entry->valid = false;
	}
	else
	{
		HASH_SEQ_STATUS status;

		hash_seq_init(&status, meta_cache);
		while ((entry = hash_seq_search(&status)) != NULL)
			entry->valid = false;
	}
}

/*
 * meta_sweep keeps entries of dropped queues from piling up.
 */
static void
meta_sweep(void)
{
	HASH_SEQ_STATUS status;
	MetaEntry  *entry;

	if (hash_get_num_entries(meta_cache) < META_SWEEP_AT)
		return;

	hash_seq_init(&status, meta_cache);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (!entry->valid)
			hash_search(meta_cache, &entry->relid, HASH_REMOVE, NULL);
	}
}

/*
 * same_namesake tells whether the table that this one would be a shard of is still the
 * same, and is still distributed, or still is not.
 */
static bool
same_namesake(Relation heap, const OnceMeta *meta)
{
	bool		distributed;

	return find_namesake(heap, meta, &distributed) == meta->namesake &&
		distributed == meta->namesake_distributed;
}

/*
 * find_namesake returns that table, or InvalidOid.  What has an identity column or is
 * distributed itself is no shard, and needs none.
 */
static Oid
find_namesake(Relation heap, const OnceMeta *meta, bool *distributed)
{
	Oid			namesake = InvalidOid;
	int64		shard;

	if (!OidIsValid(meta->sequence) && !meta->distributed)
		namesake = once_citus_namesake(RelationGetRelationName(heap),
									   RelationGetNamespace(heap), &shard);
	*distributed = OidIsValid(namesake) && once_shards_distributed(namesake);
	return namesake;
}

static void
meta_fill(Relation heap, OnceMeta *meta)
{
	bool		plain;

	memset(meta, 0, sizeof(OnceMeta));
	meta->relid = RelationGetRelid(heap);

	meta->distributed = once_citus_distributes(meta->relid);
	plain = heap->rd_rel->relkind == RELKIND_RELATION &&
		!meta->distributed &&
		heap->rd_tableam == GetHeapamTableAmRoutine() &&
		!heap->rd_rel->relrowsecurity;
	meta->fast_delete = plain &&
		!meta_has_delete_triggers(heap->trigdesc) &&
		!meta_has_rules(heap->rd_rules, CMD_DELETE);
	meta->insert_rules = meta_has_rules(heap->rd_rules, CMD_INSERT);
	meta->fast_insert = plain &&
		!meta_has_insert_triggers(heap->trigdesc) &&
		!meta->insert_rules &&
		!heap->rd_rel->relispartition;

	meta_fill_columns(heap, meta);
	if (meta->column[ONCE_COL_ID] == 0 ||
		!once_column_not_null(RelationGetDescr(heap), meta->column[ONCE_COL_ID] - 1))
		meta->fast_delete = false;

	/* If it changes meanwhile, the next call notices that */
	meta->namesake = find_namesake(heap, meta, &meta->namesake_distributed);
	if (OidIsValid(meta->namesake))
		meta->shard_of = once_citus_shard_of(heap, &meta->shard);
	meta->fast_insert = meta->fast_insert &&
		meta_columns_as_made(heap, OidIsValid(meta->shard_of));
	if (heap->rd_rel->relkind == RELKIND_RELATION)
		meta_fill_indexes(heap, meta);
	meta_fill_options(heap, meta);
}

/*
 * meta_has_insert_triggers tells whether an INSERT would fire triggers.  Those of
 * foreign keys in either direction and of deferred keys are among the triggers.
 */
static bool
meta_has_insert_triggers(const TriggerDesc *triggers)
{
	return triggers != NULL &&
		(triggers->trig_insert_before_row || triggers->trig_insert_after_row ||
		 triggers->trig_insert_instead_row ||
		 triggers->trig_insert_before_statement || triggers->trig_insert_after_statement);
}

/*
 * meta_has_delete_triggers tells the same of a DELETE.  A purge that truncates the
 * table takes the place of a DELETE, so triggers for TRUNCATE count as well.
 */
static bool
meta_has_delete_triggers(const TriggerDesc *triggers)
{
	return triggers != NULL &&
		(triggers->trig_delete_before_row || triggers->trig_delete_after_row ||
		 triggers->trig_delete_instead_row ||
		 triggers->trig_delete_before_statement || triggers->trig_delete_after_statement ||
		 triggers->trig_truncate_before_statement || triggers->trig_truncate_after_statement);
}

/*
 * meta_has_rules tells whether a table has rules for a command.
 */
static bool
meta_has_rules(const RuleLock *rules, CmdType event)
{
	int			i;

	for (i = 0; rules != NULL && i < rules->numLocks; i++)
	{
		if (rules->rules[i]->event == event)
			return true;
	}
	return false;
}

/*
 * meta_fill_columns finds the columns by name, and the sequence of the id.
 */
static void
meta_fill_columns(Relation heap, OnceMeta *meta)
{
	TupleDesc	desc = RelationGetDescr(heap);
	int			i;
	int			c;

	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		for (c = 0; c < ONCE_NCOLUMNS; c++)
		{
			if (att->atttypid == column_made[c].type &&
				strcmp(NameStr(att->attname), column_made[c].name) == 0)
				meta->column[c] = att->attnum;
		}
	}

	i = meta->column[ONCE_COL_ID];
	if (i != 0 && TupleDescAttr(desc, i - 1)->attidentity != '\0')
		meta->sequence = once_identity_sequence(heap, i);
}

/*
 * meta_fill_indexes sorts the indexes into once_queue indexes, keys on id, and
 * others, which only the executor can maintain.  An index of the latter two kinds
 * that is not ready for insertions is ignored.
 */
static void
meta_fill_indexes(Relation heap, OnceMeta *meta)
{
	List	   *indexes = once_index_list(heap);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		OnceIndex  *index = lfirst(lc);

		if (index->am != BTREE_AM_OID && qam_is_queue_am(index->am))
			meta_fill_queue_index(index, meta);
		else if (!index->ready)
			continue;
		else if (index->am == BTREE_AM_OID && index->key != 0 &&
				 index->key == meta->column[ONCE_COL_ID])
		{
			if (meta->nkey_indexes < ONCE_META_INDEXES)
				meta->key_index[meta->nkey_indexes++] = index->oid;
			else
				meta->fast_insert = false;

			if (index->valid)
				meta->id_index = index->oid;
		}
		else
			meta->fast_insert = false;
	}

	list_free_deep(indexes);
}

static void
meta_fill_queue_index(const OnceIndex *index, OnceMeta *meta)
{
	if (index->ready)
	{
		if (meta->nqueue_indexes < ONCE_META_INDEXES)
			meta->queue_index[meta->nqueue_indexes++] = index->oid;
		else
			meta->fast_insert = false;
	}

	if (!index->valid)
		meta->invalid_index = index->oid;
	else if (!OidIsValid(meta->claim_index))
		meta->claim_index = index->oid;
	else
		meta->second_index = index->oid;
}

static void
meta_fill_options(Relation heap, OnceMeta *meta)
{
	const char *queue = RelationGetRelationName(heap) + strlen(ONCE_QUEUE_PREFIX);
	OnceOptions options;

	if (OidIsValid(meta->shard_of) || !once_options_read(queue, &options))
		once_options_default(&options);
	if (options.table != meta->relid && !OidIsValid(meta->shard_of))
	{
		char	   *from = once_names_renamed_from(meta->relid, queue);

		if (from != NULL)
			namestrcpy(&meta->renamed_from, from);
		meta->table_elsewhere = once_names_elsewhere(queue, meta->relid);
	}

	meta->retry.max_attempts = options.max_attempts;
	meta->retry.delay = once_interval_usec(&options.retry_delay);
	meta->retry.delay_max = once_interval_usec(&options.retry_delay_max);
	meta->dedup_window = once_interval_usec(&options.dedup_window);
	if (options.archive.set)
		meta->archive = once_interval_usec(&options.archive.value);
	if (options.ttl.set)
		meta->ttl = once_interval_usec(&options.ttl.value);
	if (options.retention.set)
		meta->retention = once_interval_usec(&options.retention.value);
	meta->drop_expired = options.drop_expired;
	meta->send_paused = options.send_paused;
	meta->consume_paused = options.consume_paused;
}

/*
 * meta_default_as_made tells whether a column has the default of enqueued_at:
 * GREATEST(statement_timestamp(), now()), which once_insert_time computes.  Queues
 * that 0.1.0 made have statement_timestamp().  That differs only after the COMMIT of
 * a procedure, and is accepted, too.
 */
static bool
meta_default_as_made(Relation heap, AttrNumber attno)
{
	static const Oid made[] = {F_STATEMENT_TIMESTAMP, F_NOW};
	Node	   *expr = build_column_default(heap, attno);
	List	   *args;
	ListCell   *lc;

	if (expr != NULL && IsA(expr, MinMaxExpr) && ((MinMaxExpr *) expr)->op == IS_GREATEST)
		args = ((MinMaxExpr *) expr)->args;
	else
		args = list_make1(expr);
	if (list_length(args) > lengthof(made))
		return false;
	foreach(lc, args)
	{
		Node	   *arg = lfirst(lc);

		if (arg == NULL || !IsA(arg, FuncExpr) ||
			((FuncExpr *) arg)->funcid != made[foreach_current_index(lc)])
			return false;
	}
	return true;
}

/*
 * meta_columns_as_made tells whether the table has exactly the columns that
 * create_queue gives it, and nothing that only the executor handles: checks,
 * generated values, other defaults than ours, further NOT NULLs.  The id of a shard is
 * no identity column.
 */
static bool
meta_columns_as_made(Relation heap, bool shard)
{
	TupleDesc	desc = RelationGetDescr(heap);
	int			i;

	if (desc->natts != ONCE_NCOLUMNS)
		return false;
	if (desc->constr != NULL &&
		(desc->constr->num_check > 0 || once_has_generated(desc->constr)))
		return false;

	for (i = 0; i < ONCE_NCOLUMNS; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped ||
			att->atttypid != column_made[i].type ||
			att->attnotnull != column_made[i].notnull ||
			att->attgenerated != '\0' ||
			strcmp(NameStr(att->attname), column_made[i].name) != 0)
			return false;
		if ((att->attidentity != '\0') != (i == ONCE_COL_ID && !shard))
			return false;

		/*
		 * The verbs give values to all columns.  This one must have the
		 * default that they fill in for it.
		 */
		if (i == ONCE_COL_ENQUEUED_AT &&
			!(att->atthasdef && meta_default_as_made(heap, i + 1)))
			return false;
	}
	return true;
}
