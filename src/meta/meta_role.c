/*-------------------------------------------------------------------------
 *
 * meta_role.c
 *	  Running commands as another role than the caller, and rights of roles.
 *
 * The verbs do some things that callers have no right to do themselves, such as
 * making tables in the schema, or truncating a generation of a ledger.  Such commands
 * run as the role that has the right, between once_role_assume and once_role_drop.
 * The caller's settings must have no influence on them.  Names are qualified, and
 * search_path is set all the same.  New relations go to the database's tablespace,
 * because the caller may have chosen one that only the other role may use.
 *
 * Commands that run code of users must not run this way.  The exception is code of
 * the role that is assumed, if the caller may SET ROLE to that role.  The reason: code
 * that refers to a table by name may find a temporary table of the caller, with a
 * trigger of the caller, and no setting and no restriction prevents that.  Even
 * planning a query may run code: functions in constraints, indexes and statistics of
 * the tables that it names.
 *
 * An error in between needs no care: the end of the (sub)transaction restores
 * everything.  src/SECURITY lists all places.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "executor/spi.h"
#include "meta/meta_catalog.h"
#include "meta/meta_index.h"
#include "meta/meta_role.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/*
 * once_role_schema_owner returns the role that may create tables in schema once.
 */
Oid
once_role_schema_owner(void)
{
	Oid			schema = once_schema_oid(false);
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for namespace %u", schema);
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * once_role_assume makes another role the current user.  restricted: nothing may be
 * done meanwhile that would outlast the commands (see SECURITY_RESTRICTED_OPERATION).
 */
void
once_role_assume(OnceRole *saved, Oid role, bool restricted)
{
	int			flags = SECURITY_LOCAL_USERID_CHANGE;

	if (restricted)
		flags |= SECURITY_RESTRICTED_OPERATION;
	GetUserIdAndSecContext(&saved->user, &saved->sec_context);
	SetUserIdAndSecContext(role, saved->sec_context | flags);
	saved->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("default_tablespace", "", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * once_role_drop restores the current user, and all settings that have been changed
 * meanwhile, no matter by whom.
 */
void
once_role_drop(const OnceRole *saved)
{
	AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->user, saved->sec_context);
}

/*
 * once_role_run executes a command through SPI, which the caller has connected.
 * Results are in SPI_tuptable and SPI_processed.
 */
void
once_role_run(const char *sql, int nargs, Oid *types, Datum *values)
{
	int			rc = SPI_execute_with_args(sql, nargs, types, values, NULL, false, 0);

	if (rc < 0)
		elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(rc));
}

/*
 * once_role_runs_code tells whether reading or emptying a table may run code that
 * users have attached to it, even if only during planning: triggers, rules, policies,
 * and expressions of checks, columns, indexes or statistics.
 */
bool
once_role_runs_code(Relation table)
{
	TupleConstr *constr = RelationGetDescr(table)->constr;
	ListCell   *lc;
	bool		runs;

	runs = table->trigdesc != NULL || table->rd_rules != NULL ||
		table->rd_rel->relrowsecurity ||
		(constr != NULL && (constr->num_check > 0 || once_has_generated(constr))) ||
		RelationGetStatExtList(table) != NIL;
	foreach(lc, RelationGetIndexList(table))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		runs |= !once_index_is_plain(index);
		index_close(index, AccessShareLock);
	}
	return runs;
}

/*
 * once_role_owner returns the owner of a relation, or InvalidOid if there is no such
 * relation.
 */
Oid
once_role_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * once_role_may_grant tells whether the caller may grant all of these privileges on a
 * table.
 */
bool
once_role_may_grant(Oid relid, AclMode privileges)
{
	AclMode		options = ACL_GRANT_OPTION_FOR(privileges);

	return pg_class_aclmask(relid, GetUserId(), options, ACLMASK_ALL) == options;
}

/*
 * once_role_grant grants privileges on tables to a role, or revokes them, as the
 * caller.  tables: qualified names.  role: the name of a role that exists, or "public".
 *
 * If the caller may have the grant options through different roles, pass one privilege
 * at a time: a command uses the grant options of one role only.
 */
void
once_role_grant(bool grant, const char *privileges, const char *tables, const char *role)
{
	SPI_connect();
	once_role_run(psprintf(grant ? "GRANT %s ON TABLE %s TO %s" : "REVOKE %s ON TABLE %s FROM %s",
						   privileges, tables, quote_identifier(role)),
				  0, NULL, NULL);
	SPI_finish();
}
