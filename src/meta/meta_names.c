/*-------------------------------------------------------------------------
 *
 * meta_names.c
 *	  Relations that are known by their names, and those that have lost
 *	  their name.
 *
 * All relations of a queue or ledger are found by their names.  So a session that has
 * the library loaded refuses to rename or move one of them.  Other sessions do not,
 * and the functions here tell afterwards what can be told of that.  See README.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "meta/meta_catalog.h"
#include "meta/meta_retention.h"
#include "meta/meta_names.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* What a relation of schema once may be part of */
typedef enum Whole
{
	WHOLE_NONE,
	WHOLE_QUEUE,
	WHOLE_LEDGER,
	WHOLE_EXTENSION
} Whole;

static object_access_hook_type next_object_access_hook = NULL;

static void names_object_access(ObjectAccessType access, Oid class_id, Oid object_id,
								int sub_id, void *arg);
static void check_relation(Oid relid);
static void check_schema(Oid schema);
static HeapTuple changed_tuple(Oid catalog, Oid index, AttrNumber oid_column, Oid oid);
static Whole part_of(Oid relid, const char *relname, char relkind, char **name);
static char *queue_of(Oid relid);
static bool has_more(const char *queue);
static char *stem(const char *relname, const char *prefix, const char *suffix);

/*
 * once_names_init installs the hook that refuses renaming.
 */
void
once_names_init(void)
{
	next_object_access_hook = object_access_hook;
	object_access_hook = names_object_access;
}

/*
 * once_names_table returns the qualified name of a table, palloc'd, or "?" if the table
 * does not exist any more.
 */
char *
once_names_table(Oid relid)
{
	char	   *relname = get_rel_name(relid);
	char	   *schema = get_namespace_name(get_rel_namespace(relid));

	return relname == NULL || schema == NULL ? "?" : quote_qualified_identifier(schema, relname);
}

/*
 * once_names_renamed_from returns the name of the queue that a table was made for, if
 * that is another queue than the one whose name the table has now.  The name is
 * palloc'd.  Returns NULL if the table was not renamed, as far as can be told.
 * queue: the queue that the table's present name stands for.
 */
char *
once_names_renamed_from(Oid relid, const char *queue)
{
	OnceOptions options;

	if (once_options_read(queue, &options) &&
		(options.table == relid || !OidIsValid(options.table)))
		return NULL;
	return once_options_of_table(relid);
}

/*
 * once_names_elsewhere returns the table that a queue's options were written for, if
 * that is not relid and still exists, under another name or in another schema.
 * Otherwise returns InvalidOid.
 */
Oid
once_names_elsewhere(const char *queue, Oid relid)
{
	OnceOptions options;

	if (once_options_read(queue, &options) && options.table != relid &&
		once_schema_is_table(get_rel_relkind(options.table)))
		return options.table;
	return InvalidOid;
}

/*
 * once_names_is_own tells whether a table has the name of a queue's table and, as far
 * as can be told, always had that name and has not replaced another table.
 */
bool
once_names_is_own(Oid relid)
{
	char	   *queue = queue_of(relid);

	return queue != NULL &&
		once_names_renamed_from(relid, queue) == NULL &&
		!OidIsValid(once_names_elsewhere(queue, relid));
}

/*
 * once_names_is_adopted tells whether options have been written for a table under the
 * name that it has now.
 */
bool
once_names_is_adopted(Oid relid)
{
	char	   *queue = queue_of(relid);
	OnceOptions options;

	return queue != NULL && once_options_read(queue, &options) && options.table == relid;
}

/*
 * names_object_access is the hook.  It is called for all that is done to objects.  When
 * an object is altered, it is called after the object's row was changed and before the
 * change is visible.
 *
 * Nothing is refused to the script of an extension, or to a command that renames what
 * it has made itself.
 */
static void
names_object_access(ObjectAccessType access, Oid class_id, Oid object_id,
					int sub_id, void *arg)
{
	if (next_object_access_hook != NULL)
		next_object_access_hook(access, class_id, object_id, sub_id, arg);

	if (access != OAT_POST_ALTER || sub_id != 0 || creating_extension ||
		(class_id != RelationRelationId && class_id != NamespaceRelationId) ||
		(arg != NULL && ((ObjectAccessPostAlter *) arg)->is_internal) ||
		!OidIsValid(get_extension_oid("pg_once", true)))
		return;
	if (class_id == RelationRelationId)
		check_relation(object_id);
	else
		check_schema(object_id);
}

/*
 * check_relation raises an error if a command has given another name or schema to a
 * relation that is found by its name.
 */
static void
check_relation(Oid relid)
{
	Oid			schema = once_schema_oid(true);
	HeapTuple	before;
	HeapTuple	after;
	Form_pg_class was;
	Form_pg_class is;
	char	   *name = NULL;
	Whole		whole = WHOLE_NONE;

	if (!OidIsValid(schema) || get_rel_namespace(relid) != schema)
		return;
	before = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(relid));
	after = changed_tuple(RelationRelationId, ClassOidIndexId, Anum_pg_class_oid, relid);
	if (!HeapTupleIsValid(before) || !HeapTupleIsValid(after))
		return;
	was = (Form_pg_class) GETSTRUCT(before);
	is = (Form_pg_class) GETSTRUCT(after);
	if (was->relnamespace != is->relnamespace ||
		strcmp(NameStr(was->relname), NameStr(is->relname)) != 0)
		whole = part_of(relid, NameStr(was->relname), was->relkind, &name);
	if (whole == WHOLE_NONE)
		return;

	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot rename or move %s",
					quote_qualified_identifier(ONCE_SCHEMA, NameStr(was->relname))),
			 whole == WHOLE_QUEUE ?
			 errdetail("Everything that belongs to queue \"%s\" goes by its name.", name) :
			 whole == WHOLE_LEDGER ?
			 errdetail("Everything that belongs to ledger \"%s\" goes by its name.", name) :
			 errdetail("It is part of extension pg_once."),
			 whole == WHOLE_QUEUE ?
			 errhint("Create a queue with the new name, and drop this one when it is empty.") :
			 whole == WHOLE_LEDGER ?
			 errhint("Create a ledger with the new name, and drop this one when its ids are not needed any more.") : 0));
}

/*
 * check_schema raises an error if a command has renamed the schema of the extension.
 */
static void
check_schema(Oid schema)
{
	HeapTuple	after;

	if (schema != once_schema_oid(true))
		return;
	after = changed_tuple(NamespaceRelationId, NamespaceOidIndexId, Anum_pg_namespace_oid,
						  schema);
	if (HeapTupleIsValid(after) &&
		strcmp(NameStr(((Form_pg_namespace) GETSTRUCT(after))->nspname), ONCE_SCHEMA) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot rename schema %s", ONCE_SCHEMA),
				 errdetail("It is part of extension pg_once.")));
}

/*
 * changed_tuple returns a copy of a catalog's row with the changes of the current
 * command, which are not visible otherwise, or NULL.
 */
static HeapTuple
changed_tuple(Oid catalog, Oid index, AttrNumber oid_column, Oid oid)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	HeapTuple	tuple;
	SysScanDesc scan;
	ScanKeyData key;

	ScanKeyInit(&key, oid_column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(rel, index, true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return tuple;
}

/*
 * part_of tells what a relation of schema once is part of, by its name.  *name is set to
 * the name of the queue or ledger.
 *
 * A table with the name of a queue's table is part of the queue only if the queue has
 * more than the table.  So a table that was made under a name of this form to replace
 * another one can be renamed.  A table that got its present name by being renamed is
 * part of nothing, so that it can get its old name back.
 */
static Whole
part_of(Oid relid, const char *relname, char relkind, char **name)
{
	Oid			schema = once_schema_oid(false);
	Oid			extension = getExtensionOfObject(RelationRelationId, relid);
	Interval	retention;

	if (OidIsValid(extension) && extension == get_extension_oid("pg_once", true))
		return WHOLE_EXTENSION;

	if (once_schema_is_table(relkind))
	{
		if ((*name = stem(relname, ONCE_QUEUE_PREFIX, "")) != NULL)
			return has_more(*name) && once_names_renamed_from(relid, *name) == NULL ?
				WHOLE_QUEUE : WHOLE_NONE;
		if ((*name = stem(relname, ONCE_ARCHIVE_PREFIX, "")) != NULL)
		{
			char	   *partition = strrchr(*name, '$');

			if (partition != NULL)
				*partition = '\0';
		}
		else if ((*name = stem(relname, ONCE_DEDUP_PREFIX, "_0")) == NULL)
			*name = stem(relname, ONCE_DEDUP_PREFIX, "_1");
	}
	else if (relkind == RELKIND_SEQUENCE)
		*name = stem(relname, ONCE_DEDUP_PREFIX, "_state");
	if (*name != NULL)
		return OidIsValid(get_relname_relid(psprintf("%s%s", ONCE_QUEUE_PREFIX, *name), schema)) ?
			WHOLE_QUEUE : WHOLE_NONE;

	if (relkind == RELKIND_SEQUENCE)
		*name = stem(relname, ONCE_LEDGER_PREFIX, "_state");
	else if (once_schema_is_table(relkind) &&
			 (*name = stem(relname, ONCE_LEDGER_PREFIX, "_0")) == NULL)
		*name = stem(relname, ONCE_LEDGER_PREFIX, "_1");
	return *name != NULL && once_retention_read(*name, &retention) ? WHOLE_LEDGER : WHOLE_NONE;
}

/*
 * queue_of returns the name of the queue whose table a relation is, judging by its own
 * name, palloc'd.  Returns NULL if it cannot be the table of a queue.
 */
static char *
queue_of(Oid relid)
{
	char	   *relname = get_rel_name(relid);

	if (relname == NULL || get_rel_namespace(relid) != once_schema_oid(false))
		return NULL;
	return stem(relname, ONCE_QUEUE_PREFIX, "");
}

/*
 * has_more tells whether a queue has more than a table: options, or a table that
 * remembers dedup_ids.
 */
static bool
has_more(const char *queue)
{
	OnceOptions options;

	return once_options_read(queue, &options) ||
		OidIsValid(get_relname_relid(psprintf("%s%s_0", ONCE_DEDUP_PREFIX, queue),
									 once_schema_oid(false)));
}

/*
 * stem returns the part of a name between a prefix and a suffix, palloc'd.  Returns NULL
 * if the name does not have these, or if nothing is between them.
 */
static char *
stem(const char *relname, const char *prefix, const char *suffix)
{
	size_t		from = strlen(prefix);
	size_t		length = strlen(relname);
	size_t		end = strlen(suffix);

	if (length <= from + end || strncmp(relname, prefix, from) != 0 ||
		strcmp(relname + length - end, suffix) != 0)
		return NULL;
	return pnstrdup(relname + from, length - from - end);
}
