/*-------------------------------------------------------------------------
 *
 * meta_parameters.c
 *	  Options of distributed queues.
 *
 * A queue that Citus has distributed has shards on several nodes.  The row in
 * once.queue is on one node alone.  So the options that apply to a distributed queue
 * and to its shards are storage parameters of the queue index: Citus carries ALTER
 * INDEX ... SET to the index of every shard, and a shard that it moves or splits takes
 * them along.  alter_queue, pause and resume write both.
 *
 * Parameters are read from the open index.  Nothing else remembers them, so there is
 * nothing else to invalidate.  To a queue that is not distributed they mean nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "catalog/index.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "meta/meta_citus.h"
#include "meta/meta_index.h"
#include "meta/meta_parameters.h"
#include "meta/meta_remote.h"
#include "meta/meta_role.h"
#include "once_args.h"
#include "once_error.h"
#include "once_rest.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "wake/wake.h"

static object_access_hook_type next_object_access_hook = NULL;

static Oid	find_index(Oid relid, bool *several);
static void parameters_of(const OnceOptions *options, QamParameters *parameters);
static void parameters_object_access(ObjectAccessType access, Oid class_id, Oid object_id,
									 int sub_id, void *arg);
static bool is_queue_index(Oid relid);

/*
 * once_parameters_init is called once, when the library is loaded.
 */
void
once_parameters_init(void)
{
	next_object_access_hook = object_access_hook;
	object_access_hook = parameters_object_access;
}

/*
 * once_parameters_apply puts the options of a distributed queue, or of a shard, into
 * what once_meta_get has returned.  index: the queue index, which is open; NULL: there
 * is none to claim through, and the options have their defaults.
 */
void
once_parameters_apply(Relation index, OnceMeta *meta)
{
	QamParameters parameters;

	if (!meta->distributed && !OidIsValid(meta->shard_of))
		return;
	qam_parameters(index, &parameters);
	meta->retry = parameters.retry;
	meta->archive = 0;
	meta->ttl = parameters.ttl;
	meta->retention = parameters.retention;
	meta->drop_expired = parameters.drop_expired;
	meta->send_paused = parameters.send_paused;
	meta->consume_paused = parameters.consume_paused;
}

/*
 * once_parameters_carry writes options into the parameters of the queue index of a
 * distributed queue, from where Citus carries them to all nodes.  relid: the table, on
 * which the caller has a lock.  This backend must not have the index open.
 *
 * It is a command of the caller, who must own the table.  On nodes that are not the
 * coordinator, Citus raises an error.  Options that have no parameter are left out.
 */
void
once_parameters_carry(Oid relid, const OnceOptions *options)
{
	const char *queue = get_rel_name(relid) + strlen(ONCE_QUEUE_PREFIX);
	QamParameters parameters;
	bool		several;
	Oid			index = find_index(relid, &several);

	once_remote_require(queue);
	if (!OidIsValid(index))
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_QUEUE_UNUSABLE),
				 several ?
				 errmsg("queue \"%s\" has more than one valid %s index", queue, QAM_AM_NAME) :
				 errmsg("queue \"%s\" has no valid %s index", queue, QAM_AM_NAME),
				 errdetail("The options of a distributed queue are storage parameters of this index.")));
	parameters_of(options, &parameters);

	SPI_connect();
	once_role_run(psprintf("ALTER INDEX %s SET (%s)",
						   quote_qualified_identifier(get_namespace_name(get_rel_namespace(index)),
													  get_rel_name(index)),
						   qam_parameters_text(&parameters)),
				  0, NULL, NULL);
	SPI_finish();
}

/*
 * once_parameters_read fetches the options of a table if it is distributed or a shard.
 * False: it is neither, and parameters are untouched.  The table need not be locked,
 * nor exist.
 */
bool
once_parameters_read(Oid relid, QamParameters *parameters)
{
	HeapTuple	tuple = NULL;
	Datum		reloptions = (Datum) 0;
	bool		isnull = true;
	bool		several;
	int64		shard;
	char	   *relname = get_rel_name(relid);

	if (relname == NULL ||
		(!once_citus_distributes(relid) &&
		 !OidIsValid(once_citus_shard_by_name(relname, get_rel_namespace(relid), &shard))))
		return false;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(find_index(relid, &several)));
	if (HeapTupleIsValid(tuple))
		reloptions = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_reloptions, &isnull);
	qam_parameters_read(isnull ? (Datum) 0 : reloptions, parameters);
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return true;
}

/*
 * once_parameters_refuse_shard raises an error if the options of a shard are to be
 * changed.
 */
void
once_parameters_refuse_shard(const OnceMeta *meta)
{
	const char *table;

	if (!OidIsValid(meta->shard_of))
		return;
	table = get_rel_name(meta->relid);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot change options of queue \"%s\"", table + strlen(ONCE_QUEUE_PREFIX)),
			 once_citus_err_shard(table, true)));
}

/*
 * once_parameters_raise_local raises the error for an option that distributed queues
 * do not have.
 */
void
once_parameters_raise_local(const char *queue, const char *option)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("option \"%s\" cannot be set for queue \"%s\"", option, queue),
			 errdetail("The queue is distributed by Citus, and each node would have an archive and dedup_ids of its own."),
			 errhint("Use tables of your own that are co-located with the queue.")));
}

/*
 * find_index returns the one valid queue index of a table, or InvalidOid if there is
 * none, or several.
 */
static Oid
find_index(Oid relid, bool *several)
{
	Oid			found = InvalidOid;
	ListCell   *lc;

	*several = false;
	foreach(lc, once_index_list_of(relid))
	{
		OnceIndex  *index = lfirst(lc);

		if (!index->valid || !qam_is_queue_am(index->am))
			continue;
		*several = OidIsValid(found);
		if (*several)
			return InvalidOid;
		found = index->oid;
	}
	return found;
}

static void
parameters_of(const OnceOptions *options, QamParameters *parameters)
{
	memset(parameters, 0, sizeof(QamParameters));
	parameters->retry.max_attempts = options->max_attempts;
	parameters->retry.delay = once_interval_usec(&options->retry_delay);
	parameters->retry.delay_max = once_interval_usec(&options->retry_delay_max);
	if (options->ttl.set)
		parameters->ttl = once_interval_usec(&options->ttl.value);
	if (options->retention.set)
		parameters->retention = once_interval_usec(&options->retention.value);
	parameters->drop_expired = options->drop_expired;
	parameters->send_paused = options->send_paused;
	parameters->consume_paused = options->consume_paused;
}

/*
 * parameters_object_access notes that a queue index is altered.  Citus does that to the
 * index of a shard, on the node of the shard.  When it is committed, those who wait for
 * the queue look whether it is paused, and the queue does not rest any more.
 */
static void
parameters_object_access(ObjectAccessType access, Oid class_id, Oid object_id,
						 int sub_id, void *arg)
{
	if (next_object_access_hook != NULL)
		next_object_access_hook(access, class_id, object_id, sub_id, arg);

	if (access == OAT_POST_ALTER && class_id == RelationRelationId && sub_id == 0 &&
		is_queue_index(object_id))
	{
		once_wake_note_all(IndexGetRelation(object_id, false));
		once_rest_end_at_commit();
	}
}

static bool
is_queue_index(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class form;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_class) GETSTRUCT(tuple);
	result = form->relkind == RELKIND_INDEX && qam_is_queue_am(form->relam);
	ReleaseSysCache(tuple);
	return result;
}
