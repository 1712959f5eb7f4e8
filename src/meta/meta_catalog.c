/*-------------------------------------------------------------------------
 *
 * meta_catalog.c
 *	  Reading and writing rows of once.queue.
 *
 * Users may read that table but not write it.  The functions here write it
 * below the level of SQL, as the catalogs are written, so no other role has to be
 * assumed.  Their callers have checked the user's rights.  Writers of one queue's
 * row exclude one another: they hold once_options_lock until their transaction ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "meta/meta_catalog.h"
#include "miscadmin.h"
#include "once_rest.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* Columns of once.queue */
#define Natts_once_queue					13
#define Anum_once_queue_queue				1
#define Anum_once_queue_max_attempts		2
#define Anum_once_queue_retry_delay			3
#define Anum_once_queue_retry_delay_max		4
#define Anum_once_queue_dedup_window		5
#define Anum_once_queue_archive				6
#define Anum_once_queue_ttl					7
#define Anum_once_queue_ttl_action			8
#define Anum_once_queue_retention			9
#define Anum_once_queue_send_paused			10
#define Anum_once_queue_consume_paused		11
#define Anum_once_queue_created_at			12
#define Anum_once_queue_table_id			13

static void options_tag(LOCKTAG *tag, const char *prefix, const char *name);
static Relation options_open(LOCKMODE lockmode);
static char *table_ids(void);
static Oid	get_table(Datum value, bool isnull);
static void get_span(OnceSpan *span, Datum value, bool isnull);
static Datum put_span(const OnceSpan *span, bool *isnull);
static SysScanDesc options_find(Relation rel, const char *queue, HeapTuple *tuple);

/*
 * once_schema_oid returns the oid of schema once.
 */
Oid
once_schema_oid(bool missing_ok)
{
	return get_namespace_oid(ONCE_SCHEMA, missing_ok);
}

/*
 * once_schema_is_table tells whether relations of a kind can have rows inserted, and
 * so may be the table of a queue.
 */
bool
once_schema_is_table(char relkind)
{
	return relkind == RELKIND_RELATION ||
		relkind == RELKIND_PARTITIONED_TABLE ||
		relkind == RELKIND_FOREIGN_TABLE;
}

/*
 * once_schema_open opens and locks a table of the extension that has natts columns.
 */
Relation
once_schema_open(const char *relname, int natts, LOCKMODE lockmode)
{
	Relation	rel = table_open(once_schema_table(relname), lockmode);

	if (RelationGetDescr(rel)->natts != natts)
		once_schema_raise_mismatch();
	return rel;
}

/*
 * once_schema_table returns the oid of a table of the extension.
 */
Oid
once_schema_table(const char *relname)
{
	Oid			relid = get_relname_relid(relname, once_schema_oid(false));

	if (!OidIsValid(relid))
		once_schema_raise_mismatch();
	return relid;
}

/*
 * once_schema_raise_mismatch raises an error because the tables of the extension are
 * not those that this version of the library knows.  A new library meets old tables
 * until ALTER EXTENSION UPDATE, and a session may have loaded an old one before that.
 */
void
once_schema_raise_mismatch(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the library of extension pg_once has another version than its objects in this database"),
			 errhint("Use ALTER EXTENSION pg_once UPDATE, or restart the server if the library was replaced.")));
}

/*
 * once_options_default fills in the options of a queue without a row.
 */
void
once_options_default(OnceOptions *options)
{
	memset(options, 0, sizeof(OnceOptions));
	options->max_attempts = ONCE_MAX_ATTEMPTS;
	options->retry_delay.time = ONCE_RETRY_DELAY;
	options->retry_delay_max.time = ONCE_RETRY_DELAY_MAX;
	options->dedup_window.time = ONCE_DEDUP_WINDOW;
}

/*
 * once_options_read fetches the options of a queue, as of now.  Returns false, and
 * leaves options untouched, if there is no such row.
 */
bool
once_options_read(const char *queue, OnceOptions *options)
{
	Relation	rel = options_open(AccessShareLock);
	HeapTuple	tuple;
	SysScanDesc scan = options_find(rel, queue, &tuple);
	bool		found = HeapTupleIsValid(tuple);

	if (found)
	{
		Datum		values[Natts_once_queue];
		bool		isnull[Natts_once_queue];

		heap_deform_tuple(tuple, RelationGetDescr(rel), values, isnull);
		options->max_attempts = DatumGetInt32(values[Anum_once_queue_max_attempts - 1]);
		options->retry_delay = *DatumGetIntervalP(values[Anum_once_queue_retry_delay - 1]);
		options->retry_delay_max = *DatumGetIntervalP(values[Anum_once_queue_retry_delay_max - 1]);
		options->dedup_window = *DatumGetIntervalP(values[Anum_once_queue_dedup_window - 1]);
		get_span(&options->archive, values[Anum_once_queue_archive - 1],
				 isnull[Anum_once_queue_archive - 1]);
		get_span(&options->ttl, values[Anum_once_queue_ttl - 1],
				 isnull[Anum_once_queue_ttl - 1]);
		options->drop_expired =
			strcmp(TextDatumGetCString(values[Anum_once_queue_ttl_action - 1]),
				   ONCE_TTL_DROP) == 0;
		get_span(&options->retention, values[Anum_once_queue_retention - 1],
				 isnull[Anum_once_queue_retention - 1]);
		options->send_paused = DatumGetBool(values[Anum_once_queue_send_paused - 1]);
		options->consume_paused = DatumGetBool(values[Anum_once_queue_consume_paused - 1]);
		options->table = get_table(values[Anum_once_queue_table_id - 1],
								   isnull[Anum_once_queue_table_id - 1]);
	}

	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * once_options_of_table returns the name of the queue whose row was written for a
 * table, palloc'd, or NULL.
 */
char *
once_options_of_table(Oid relid)
{
	Relation	rel = options_open(AccessShareLock);
	char	   *queue = NULL;
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (queue == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TupleDesc	desc = RelationGetDescr(rel);
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_once_queue_table_id, desc, &isnull);

		CHECK_FOR_INTERRUPTS();
		if (get_table(value, isnull) == relid)
			queue = TextDatumGetCString(heap_getattr(tuple, Anum_once_queue_queue, desc,
													 &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return queue;
}

/*
 * once_options_write makes or replaces the row of a queue, whose table exists.
 * created: the queue is new, so created_at is set as well.  The caller holds
 * once_options_lock.
 */
void
once_options_write(const char *queue, const OnceOptions *options, bool created)
{
	Relation	rel = options_open(RowExclusiveLock);
	HeapTuple	old;
	HeapTuple	new;
	SysScanDesc scan = options_find(rel, queue, &old);
	Datum		values[Natts_once_queue];
	bool		isnull[Natts_once_queue] = {0};
	bool		replace[Natts_once_queue];

	memset(replace, true, sizeof(replace));
	replace[Anum_once_queue_created_at - 1] = created;

	values[Anum_once_queue_queue - 1] = CStringGetTextDatum(queue);
	values[Anum_once_queue_max_attempts - 1] = Int32GetDatum(options->max_attempts);
	values[Anum_once_queue_retry_delay - 1] = IntervalPGetDatum(&options->retry_delay);
	values[Anum_once_queue_retry_delay_max - 1] = IntervalPGetDatum(&options->retry_delay_max);
	values[Anum_once_queue_dedup_window - 1] = IntervalPGetDatum(&options->dedup_window);
	values[Anum_once_queue_archive - 1] =
		put_span(&options->archive, &isnull[Anum_once_queue_archive - 1]);
	values[Anum_once_queue_ttl - 1] =
		put_span(&options->ttl, &isnull[Anum_once_queue_ttl - 1]);
	values[Anum_once_queue_ttl_action - 1] =
		CStringGetTextDatum(options->drop_expired ? ONCE_TTL_DROP : ONCE_TTL_DEAD_LETTER);
	values[Anum_once_queue_retention - 1] =
		put_span(&options->retention, &isnull[Anum_once_queue_retention - 1]);
	values[Anum_once_queue_send_paused - 1] = BoolGetDatum(options->send_paused);
	values[Anum_once_queue_consume_paused - 1] = BoolGetDatum(options->consume_paused);
	values[Anum_once_queue_created_at - 1] =
		TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	values[Anum_once_queue_table_id - 1] =
		CStringGetTextDatum(psprintf("%s%u", table_ids(),
									 get_relname_relid(psprintf("%s%s", ONCE_QUEUE_PREFIX, queue),
													   once_schema_oid(false))));

	if (HeapTupleIsValid(old))
	{
		new = heap_modify_tuple(old, RelationGetDescr(rel), values, isnull, replace);
		CatalogTupleUpdate(rel, &old->t_self, new);
	}
	else
	{
		new = heap_form_tuple(RelationGetDescr(rel), values, isnull);
		CatalogTupleInsert(rel, new);
	}

	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	once_rest_end_at_commit();
}

/*
 * once_options_delete removes the row of a queue, if there is one.  The caller
 * holds once_options_lock.
 */
void
once_options_delete(const char *queue)
{
	Relation	rel = options_open(RowExclusiveLock);
	HeapTuple	tuple;
	SysScanDesc scan = options_find(rel, queue, &tuple);

	if (HeapTupleIsValid(tuple))
		CatalogTupleDelete(rel, &tuple->t_self);

	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/*
 * once_options_lock locks the name of a queue or ledger until the transaction ends.
 * It waits until nobody else is making, changing or dropping that queue or ledger.
 * prefix: that of its tables, ONCE_QUEUE_PREFIX or ONCE_LEDGER_PREFIX.
 *
 * This is not a lock on a table, because pausing a queue must not wait for a VACUUM
 * of it, and because a queue that is being made has no table yet.  The lock is of a
 * kind that nothing in PostgreSQL uses any more and that no SQL can take.  Its 80 bits
 * are those of a cryptographic hash, so that nobody can find a name that shares a lock
 * with somebody else's queue.
 */
void
once_options_lock(const char *prefix, const char *name)
{
	LOCKTAG		tag;

	options_tag(&tag, prefix, name);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);

	/*
	 * As after locking a table: hear of what those who held the lock before
	 * have changed
	 */
	AcceptInvalidationMessages();
}

/*
 * once_options_try_lock is once_options_lock that does not wait.  False:
 * another transaction holds the lock.
 */
bool
once_options_try_lock(const char *prefix, const char *name)
{
	LOCKTAG		tag;

	options_tag(&tag, prefix, name);
	if (LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	AcceptInvalidationMessages();
	return true;
}

/*
 * once_options_locked tells whether this transaction holds once_options_lock.  If so,
 * it may have changed options.
 */
bool
once_options_locked(const char *prefix, const char *name)
{
	LOCKTAG		tag;

	options_tag(&tag, prefix, name);
	return once_lock_held(&tag, ExclusiveLock);
}

static void
options_tag(LOCKTAG *tag, const char *prefix, const char *name)
{
	text	   *whole = cstring_to_text(psprintf("%s%s", prefix, name));
	bytea	   *hash = DatumGetByteaPP(DirectFunctionCall1(sha256_bytea, PointerGetDatum(whole)));

	memset(tag, 0, sizeof(LOCKTAG));
	tag->locktag_field1 = MyDatabaseId;
	memcpy(&tag->locktag_field2, VARDATA_ANY(hash), 4);
	memcpy(&tag->locktag_field3, VARDATA_ANY(hash) + 4, 4);
	memcpy(&tag->locktag_field4, VARDATA_ANY(hash) + 8, 2);
	tag->locktag_type = LOCKTAG_USERLOCK;
	tag->locktag_lockmethodid = DEFAULT_LOCKMETHOD;
}

static Relation
options_open(LOCKMODE lockmode)
{
	return once_schema_open("queue", Natts_once_queue, lockmode);
}

/*
 * options_find starts a scan for the row of a queue and fetches the row, or NULL.
 * The tuple is valid until the caller ends the scan.
 */
static SysScanDesc
options_find(Relation rel, const char *queue, HeapTuple *tuple)
{
	Oid			index = get_relname_relid("queue_pkey", RelationGetNamespace(rel));
	ScanKeyData key;
	SysScanDesc scan;

	ScanKeyInit(&key, Anum_once_queue_queue, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(queue));
	key.sk_collation = C_COLLATION_OID;
	scan = systable_beginscan(rel, index, OidIsValid(index), NULL, 1, &key);
	*tuple = systable_getnext(scan);
	return scan;
}

/*
 * table_ids returns the beginning of every table_id of this database.  The oid of the
 * table follows.
 *
 * Physical copies of a database have the same oids of tables, and the same value here.
 * Other copies have other oids (a dump, a subscriber) or may get others (a database made
 * from a template), and have another value here.
 */
static char *
table_ids(void)
{
	return psprintf(UINT64_FORMAT "/%u/", GetSystemIdentifier(), MyDatabaseId);
}

static Oid
get_table(Datum value, bool isnull)
{
	char	   *ids = table_ids();
	char	   *table_id;

	if (isnull)
		return InvalidOid;
	table_id = TextDatumGetCString(value);
	if (strncmp(table_id, ids, strlen(ids)) != 0)
		return InvalidOid;
	return (Oid) strtoul(table_id + strlen(ids), NULL, 10);
}

static void
get_span(OnceSpan *span, Datum value, bool isnull)
{
	memset(span, 0, sizeof(OnceSpan));
	span->set = !isnull;
	if (span->set)
		span->value = *DatumGetIntervalP(value);
}

static Datum
put_span(const OnceSpan *span, bool *isnull)
{
	*isnull = !span->set;
	return IntervalPGetDatum(&span->value);
}
