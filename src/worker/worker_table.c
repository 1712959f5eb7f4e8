/*-------------------------------------------------------------------------
 *
 * worker_table.c
 *	  Reading and writing rows of the tables once.schedule and once.worker.
 *
 * Like once.queue, they are written below the level of SQL, after the caller has seen
 * who asks (see meta_catalog.c).  The first column is the name that a row is found by.
 * Writers of one row hold once_options_lock.
 *
 * A row names a role, in whose name something is done.  The oid stands for it: who gets
 * the name of a role that was dropped does not get what is done in its name, and a role
 * that is renamed keeps it.  But in a row that was written on another server (a dump)
 * the oid means nothing, and there the name counts, as in all of a dump.
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
#include "catalog/pg_collation.h"
#include "meta/meta_catalog.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "worker/worker_table.h"

static char *server_id(void);

/*
 * once_table_open opens and locks one of the tables, which has so many columns.
 */
Relation
once_table_open(const char *name, int natts, LOCKMODE lockmode)
{
	Oid			relid = get_relname_relid(name, once_schema_oid(false));
	Relation	rel;

	if (!OidIsValid(relid))
		elog(ERROR, "table once.%s does not exist", name);
	rel = table_open(relid, lockmode);
	if (RelationGetDescr(rel)->natts != natts)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the library of extension pg_once is of another version than its objects in this database"),
				 errhint("Use ALTER EXTENSION pg_once UPDATE, or restart the server if the library was replaced.")));
	return rel;
}

/*
 * once_table_find returns a copy of the row of a name, or NULL.
 */
HeapTuple
once_table_find(Relation rel, const char *name)
{
	Oid			index = get_relname_relid(psprintf("%s_pkey", RelationGetRelationName(rel)),
										  RelationGetNamespace(rel));
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	key.sk_collation = C_COLLATION_OID;
	scan = systable_beginscan(rel, index, OidIsValid(index), NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

/*
 * once_table_rows returns copies of all rows.
 */
List *
once_table_rows(Relation rel)
{
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	List	   *rows = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		rows = lappend(rows, heap_copytuple(tuple));
	systable_endscan(scan);
	return rows;
}

/*
 * once_table_write adds a row, or with old, changes those columns of it that are to be
 * replaced.
 */
void
once_table_write(Relation rel, HeapTuple old, Datum *values, bool *isnull, bool *replace)
{
	if (old != NULL)
		CatalogTupleUpdate(rel, &old->t_self,
						   heap_modify_tuple(old, RelationGetDescr(rel), values, isnull, replace));
	else
		CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, isnull));
	CommandCounterIncrement();
}

/*
 * once_table_delete removes a row.
 */
void
once_table_delete(Relation rel, HeapTuple old)
{
	CatalogTupleDelete(rel, &old->t_self);
	CommandCounterIncrement();
}

/*
 * once_table_role_id returns what stands for a role in a row.
 */
char *
once_table_role_id(Oid role)
{
	return psprintf("%s%u", server_id(), role);
}

/*
 * once_table_role returns the role that a row names, or InvalidOid if there is none.
 */
Oid
once_table_role(const char *name, const char *role_id)
{
	char	   *id = server_id();
	Oid			role;

	if (role_id == NULL || strncmp(role_id, id, strlen(id)) != 0)
		return get_role_oid(name, true);
	role = (Oid) strtoul(role_id + strlen(id), NULL, 10);
	return SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)) ? role : InvalidOid;
}

static char *
server_id(void)
{
	return psprintf(UINT64_FORMAT "/", GetSystemIdentifier());
}
