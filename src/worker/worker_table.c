/*-------------------------------------------------------------------------
 *
 * worker_table.c
 *	  Reading and writing rows of the tables once.schedule and once.worker.
 *
 * Like once.queue, these tables are written below the level of SQL (see meta_catalog.c).
 * The caller checks the rights.  Rows are found by their first column, the name.  A
 * transaction that writes a row holds once_options_lock for that name.
 *
 * A row names the role as which something is done.  On this server, the role's oid
 * counts.  So a role that is renamed keeps its schedules and workers, and a new role with
 * the name of a dropped one does not get them.  In a row that was written on another
 * server, and came here in a dump, the oid means nothing.  There the name counts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/pg_collation.h"
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
 * once_table_find returns a copy of the row with a name, or NULL.
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
 * once_table_write adds a row.  If old is given, it changes that row instead, in the
 * columns that "replace" says.
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
 * once_table_role_id returns the text that identifies a role in a row: this server and
 * the oid.
 */
char *
once_table_role_id(Oid role)
{
	return psprintf("%s%u", server_id(), role);
}

/*
 * once_table_role returns the role that a row names, or InvalidOid if it does not exist.
 * role_id: as once_table_role_id has written it, or NULL.
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
