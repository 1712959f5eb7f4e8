/*-------------------------------------------------------------------------
 *
 * queue_rights.c
 *	  Who may do what with a queue.
 *
 * The rights on a queue are those on its table.  They are checked before the
 * table is locked.  So nobody can block the work of others, or take a lock
 * without the right to it, by naming queues or making up receipts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "meta/meta_catalog.h"
#include "meta/meta_role.h"
#include "miscadmin.h"
#include "queue/queue_rights.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rls.h"
#include "utils/syscache.h"

static void check_acl(Oid relid, const char *relname, OnceAccess access);

/*
 * once_rights_check checks a table without locking it.  False: there is no such
 * table, or it cannot be that of a queue.  It raises an error if it can, but
 * the caller lacks the rights, or the table is unsuitable for what the verb
 * does.
 */
bool
once_rights_check(Oid relid, OnceAccess access)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class form;
	NameData	relname;
	char		relkind;
	Oid			relam;
	bool		ours;
	bool		consume = access != ONCE_TO_OBSERVE && access != ONCE_TO_COUNT &&
		access != ONCE_TO_VERIFY;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_class) GETSTRUCT(tuple);
	relname = form->relname;
	relkind = form->relkind;
	relam = form->relam;
	ours = form->relnamespace == once_schema_oid(true) &&
		strncmp(NameStr(relname), ONCE_QUEUE_PREFIX, strlen(ONCE_QUEUE_PREFIX)) == 0;
	ReleaseSysCache(tuple);

	if (!ours)
		return false;
	if (!once_schema_is_table(relkind))
		return false;

	check_acl(relid, NameStr(relname), access);

	if (!once_rights_wants_index(access))
		return true;

	if (relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 consume ?
				 errmsg("cannot consume from queue \"%s\"",
						NameStr(relname) + strlen(ONCE_QUEUE_PREFIX)) :
				 errmsg("cannot inspect queue \"%s\"",
						NameStr(relname) + strlen(ONCE_QUEUE_PREFIX)),
				 relkind == RELKIND_PARTITIONED_TABLE ?
				 errdetail("Table \"%s\" is partitioned.", NameStr(relname)) :
				 errdetail("Table \"%s\" is a foreign table.", NameStr(relname)),
				 relkind == RELKIND_PARTITIONED_TABLE ?
				 errhint("Use its partitions, each a queue of its own name.") :
				 errhint("Use the queue on the server where the table is.")));
	if (relam != HEAP_TABLE_AM_OID)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot use queue \"%s\"",
						NameStr(relname) + strlen(ONCE_QUEUE_PREFIX)),
				 errdetail("Table \"%s\" does not use the heap access method.", NameStr(relname)),
				 errhint("Use ALTER TABLE ... SET ACCESS METHOD heap.")));
	if (access != ONCE_TO_COUNT && check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 consume ?
				 errmsg("cannot consume from queue \"%s\" under row security",
						NameStr(relname) + strlen(ONCE_QUEUE_PREFIX)) :
				 errmsg("cannot inspect queue \"%s\" under row security",
						NameStr(relname) + strlen(ONCE_QUEUE_PREFIX)),
				 errdetail("Messages are found through the index, which does not apply policies."),
				 errhint("Use a queue for each group of consumers, or a role that row security does not apply to.")));
	return true;
}

/*
 * check_acl raises an error that names the queue unless the caller has the
 * rights on its table.
 */
static void
check_acl(Oid relid, const char *relname, OnceAccess access)
{
	const char *wanted = NULL;
	const char *grant = NULL;	/* what once.grant_queue calls it */
	Oid			user = GetUserId();

	switch (access)
	{
		case ONCE_TO_SEND:
			grant = "\"produce\"";
			if (pg_class_aclcheck(relid, user, ACL_INSERT) != ACLCHECK_OK)
				wanted = "INSERT";
			break;
		case ONCE_TO_CONSUME:
			grant = "\"consume\"";
			if (pg_class_aclmask(relid, user, ACL_SELECT | ACL_DELETE,
								 ACLMASK_ALL) != (ACL_SELECT | ACL_DELETE))
				wanted = "SELECT and DELETE";
			break;
		case ONCE_TO_REDRIVE:
			grant = "\"produce\" and \"consume\"";
			if (pg_class_aclmask(relid, user, ACL_INSERT | ACL_SELECT | ACL_DELETE,
								 ACLMASK_ALL) != (ACL_INSERT | ACL_SELECT | ACL_DELETE))
				wanted = "INSERT, SELECT and DELETE";
			break;
		case ONCE_TO_OBSERVE:
			grant = "\"observe\"";
			if (pg_class_aclcheck(relid, user, ACL_SELECT) != ACLCHECK_OK)
				wanted = "SELECT";
			break;
		case ONCE_TO_COUNT:
			grant = "\"observe\"";
			if (!once_rights_may_count(relid))
				wanted = "SELECT";
			break;
		case ONCE_TO_VERIFY:

			/* It keeps writers out, so it requires the same as LOCK TABLE. */
			grant = "\"consume\"";
			if (pg_class_aclcheck(relid, user, ACL_SELECT) != ACLCHECK_OK ||
				pg_class_aclmask(relid, user, ACL_UPDATE | ACL_DELETE | ACL_TRUNCATE,
								 ACLMASK_ANY) == 0)
				wanted = "SELECT, and UPDATE, DELETE or TRUNCATE,";
			break;
		case ONCE_TO_GRANT_PRODUCE:
			if (!once_role_may_grant(relid, ACL_INSERT))
				wanted = "the grant option for INSERT";
			break;
		case ONCE_TO_GRANT_CONSUME:
			if (!once_role_may_grant(relid, ACL_SELECT | ACL_DELETE))
				wanted = "the grant option for SELECT and DELETE";
			break;
		case ONCE_TO_GRANT_OBSERVE:
			if (!once_role_may_grant(relid, ACL_SELECT))
				wanted = "the grant option for SELECT";
			break;
		case ONCE_TO_RESET:
		case ONCE_TO_ALTER:
		case ONCE_TO_ADOPT:
		case ONCE_TO_PURGE:
		case ONCE_TO_RELEASE:
		case ONCE_TO_DROP:
			if (!once_is_table_owner(relid, user))
				ereport(ERROR,
						(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						 errmsg("must be owner of queue \"%s\"",
								relname + strlen(ONCE_QUEUE_PREFIX))));
			break;
	}

	if (wanted != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for queue \"%s\"",
						relname + strlen(ONCE_QUEUE_PREFIX)),
				 errdetail("This requires %s on table %s.", wanted,
						   quote_qualified_identifier(ONCE_SCHEMA, relname)),
				 grant == NULL ? 0 :
				 errhint("Its owner can call once.grant_queue for %s.", grant)));
}

/*
 * once_rights_wants_index tells whether a verb has to find messages.  Then the table must
 * hold the messages itself and must have a queue index.
 */
bool
once_rights_wants_index(OnceAccess access)
{
	switch (access)
	{
		case ONCE_TO_SEND:
		case ONCE_TO_RESET:
		case ONCE_TO_GRANT_PRODUCE:
		case ONCE_TO_GRANT_CONSUME:
		case ONCE_TO_GRANT_OBSERVE:
		case ONCE_TO_ALTER:
		case ONCE_TO_ADOPT:
		case ONCE_TO_DROP:
			return false;
		default:
			return true;
	}
}

/*
 * once_rights_may_count tells whether the caller may see the statistics of a
 * table: as a member of pg_monitor, or by SELECT if row security does not
 * apply.  False if there is no such table.
 */
bool
once_rights_may_count(Oid relid)
{
	Oid			user = GetUserId();

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		return false;
	return has_privs_of_role(user, ROLE_PG_READ_ALL_STATS) ||
		(pg_class_aclcheck(relid, user, ACL_SELECT) == ACLCHECK_OK &&
		 check_enable_rls(relid, InvalidOid, true) != RLS_ENABLED);
}

/*
 * once_rights_is_owner tells whether the caller owns a table, which need not
 * exist.
 */
bool
once_rights_is_owner(Oid relid)
{
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)) &&
		once_is_table_owner(relid, GetUserId());
}
