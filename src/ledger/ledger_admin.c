/*-------------------------------------------------------------------------
 *
 * ledger_admin.c
 *	  create_ledger, alter_ledger, drop_ledger, grant_ledger and revoke_ledger.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xlog.h"
#include "executor/spi.h"
#include "ledger/ledger_names.h"
#include "meta/meta_catalog.h"
#include "meta/meta_retention.h"
#include "meta/meta_role.h"
#include "miscadmin.h"
#include "once_args.h"
#include "once_error.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(once_create_ledger);
PG_FUNCTION_INFO_V1(once_alter_ledger);
PG_FUNCTION_INFO_V1(once_drop_ledger);
PG_FUNCTION_INFO_V1(once_grant_ledger);
PG_FUNCTION_INFO_V1(once_revoke_ledger);

/* The rights on its tables that using a ledger requires */
#define USE_RIGHTS		(ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE)
#define USE_RIGHTS_TEXT	"SELECT, INSERT, UPDATE, DELETE"
static const char *const use_rights[] = {"SELECT", "INSERT", "UPDATE", "DELETE"};

static char *arg_ledger(FunctionCallInfo fcinfo, const char *verb);
static Interval *arg_retention(FunctionCallInfo fcinfo, int argno);
static void lock_options(const char *name);
static void lock_to_drop(const char *name);
static void check_owner(const char *name, bool any_part);
static void change_grants(FunctionCallInfo fcinfo, bool grant, const char *verb);

/*
 * once.create_ledger: makes the tables and stores the retention.  If the tables exist
 * without a retention, it adopts them.
 */
Datum
once_create_ledger(PG_FUNCTION_ARGS)
{
	char	   *name = arg_ledger(fcinfo, "once.create_ledger()");
	Interval   *retention = arg_retention(fcinfo, 1);
	bool		unlogged = once_arg_bool(fcinfo, 2, "unlogged");
	bool		if_not_exists = once_arg_bool(fcinfo, 3, "if_not_exists");
	OnceLedger	ledger;

	lock_options(name);
	if (once_ledger_find(&ledger, ONCE_LEDGER_OWN, name, 0))
	{
		ereport(if_not_exists ? NOTICE : ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 if_not_exists ?
				 errmsg("ledger \"%s\" already exists, skipping", name) :
				 errmsg("ledger \"%s\" already exists", name)));
		PG_RETURN_VOID();
	}
	if (once_ledger_tables(ONCE_LEDGER_OWN, name) == NULL)
		once_ledger_make(ONCE_LEDGER_OWN, name, unlogged, GetUserId());
	else if (if_not_exists)
	{
		check_owner(name, true);
		once_ledger_adopt(name, unlogged);
		ereport(NOTICE,
				(errmsg("ledger \"%s\" already exists, adopting it", name),
				 errdetail("Its tables existed without a retention.")));
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("part of ledger \"%s\" already exists", name),
				 errhint("If all of its tables exist, use if_not_exists => true to give it this retention; otherwise drop it with once.drop_ledger.")));
	once_retention_write(name, retention, true);
	PG_RETURN_VOID();
}

/*
 * once.alter_ledger: changes the retention.
 */
Datum
once_alter_ledger(PG_FUNCTION_ARGS)
{
	char	   *name = arg_ledger(fcinfo, "once.alter_ledger()");
	Interval   *retention = arg_retention(fcinfo, 1);

	check_owner(name, false);
	lock_options(name);
	check_owner(name, false);

	/*
	 * Invalidate before the row is written.  Then, if this rolls back, this
	 * backend forgets what it has remembered meanwhile.
	 */
	CacheInvalidateRelcacheByRelid(get_relname_relid(once_ledger_relname(ONCE_LEDGER_OWN, name, 0),
													 once_schema_oid(false)));
	once_retention_write(name, retention, false);
	PG_RETURN_VOID();
}

/*
 * once.drop_ledger: drops the tables by a command, so that event triggers and
 * extensions hear of it, and deletes the retention.  If somebody has dropped a part
 * of the ledger, it drops the rest.
 */
Datum
once_drop_ledger(PG_FUNCTION_ARGS)
{
	char	   *name = arg_ledger(fcinfo, "once.drop_ledger()");

	check_owner(name, true);
	lock_options(name);
	lock_to_drop(name);
	check_owner(name, true);
	SPI_connect();
	once_role_run(psprintf("DROP TABLE %s", once_ledger_tables(ONCE_LEDGER_OWN, name)),
				  0, NULL, NULL);
	SPI_finish();
	once_retention_delete(name);
	PG_RETURN_VOID();
}

/*
 * once.grant_ledger: lets a role use a ledger.
 */
Datum
once_grant_ledger(PG_FUNCTION_ARGS)
{
	change_grants(fcinfo, true, "once.grant_ledger()");
	PG_RETURN_VOID();
}

/*
 * once.revoke_ledger: takes back what grant_ledger grants.
 */
Datum
once_revoke_ledger(PG_FUNCTION_ARGS)
{
	change_grants(fcinfo, false, "once.revoke_ledger()");
	PG_RETURN_VOID();
}

/*
 * change_grants is grant_ledger and revoke_ledger: GRANT and REVOKE, as the
 * caller, one after the other.
 */
static void
change_grants(FunctionCallInfo fcinfo, bool grant, const char *verb)
{
	char	   *name = arg_ledger(fcinfo, verb);
	char	   *role = once_arg_role(fcinfo, 1);
	OnceLedger	ledger;
	int			i;

	if (!once_ledger_find(&ledger, ONCE_LEDGER_OWN, name, 0))
		once_ledger_raise_not_found(ONCE_LEDGER_OWN, name);
	if (!once_role_may_grant(ledger.table[0], USE_RIGHTS) ||
		!once_role_may_grant(ledger.table[1], USE_RIGHTS))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for ledger \"%s\"", name),
				 errdetail("This requires grant options for %s on tables %s.", USE_RIGHTS_TEXT,
						   once_ledger_tables(ONCE_LEDGER_OWN, name))));
	lock_options(name);
	for (i = 0; i < lengthof(use_rights); i++)
		once_role_grant(grant, use_rights[i], once_ledger_tables(ONCE_LEDGER_OWN, name), role);
}

static char *
arg_ledger(FunctionCallInfo fcinfo, const char *verb)
{
	char	   *name;

	if (PG_ARGISNULL(0))
		once_arg_refuse_null("ledger");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	once_check_name("ledger", name);
	PreventCommandDuringRecovery(verb);
	PreventCommandIfReadOnly(verb);
	PreventCommandIfParallelMode(verb);
	return name;
}

static Interval *
arg_retention(FunctionCallInfo fcinfo, int argno)
{
	if (PG_ARGISNULL(argno))
		once_arg_refuse_null("retention");
	(void) once_arg_span(fcinfo, argno, "retention", 0, NULL);
	return PG_GETARG_INTERVAL_P(argno);
}

/*
 * lock_options keeps others from making, changing or dropping a ledger of this
 * name until the transaction ends.
 */
static void
lock_options(const char *name)
{
	once_options_lock(ONCE_LEDGER_PREFIX, name);
}

/*
 * lock_to_drop locks all relations of a ledger, and waits for the transactions that
 * use them.
 *
 * Those lock one relation after the other, as they come to need them.  So, to avoid
 * deadlocks, it never waits for one relation while it has another one locked.
 */
static void
lock_to_drop(const char *name)
{
	Oid			relations[LEDGER_NPARTS];
	Oid			schema = once_schema_oid(false);
	int			first = 0;
	int			i;

	for (i = 0; i < lengthof(relations); i++)
		relations[i] = get_relname_relid(once_ledger_relname(ONCE_LEDGER_OWN, name, i),
										 schema);
	for (;;)
	{
		int			busy = -1;

		CHECK_FOR_INTERRUPTS();
		if (OidIsValid(relations[first]))
			LockRelationOid(relations[first], AccessExclusiveLock);
		for (i = 0; i < lengthof(relations) && busy < 0; i++)
		{
			if (i != first && OidIsValid(relations[i]) &&
				!ConditionalLockRelationOid(relations[i], AccessExclusiveLock))
				busy = i;
		}
		if (busy < 0)
			return;
		for (i = 0; i < lengthof(relations); i++)
		{
			if ((i == first || i < busy) && OidIsValid(relations[i]))
				UnlockRelationOid(relations[i], AccessExclusiveLock);
		}
		first = busy;
	}
}

/*
 * check_owner raises an error unless the ledger exists and the caller owns its
 * tables.  With any_part, one of its tables is enough to exist.
 */
static void
check_owner(const char *name, bool any_part)
{
	Oid			schema = once_schema_oid(false);
	OnceLedger	ledger;
	int			g;

	if (!once_ledger_find(&ledger, ONCE_LEDGER_OWN, name, 0) &&
		!(any_part && once_ledger_tables(ONCE_LEDGER_OWN, name) != NULL))
		once_ledger_raise_not_found(ONCE_LEDGER_OWN, name);
	for (g = 0; g < 2; g++)
	{
		char	   *relname = once_ledger_relname(ONCE_LEDGER_OWN, name, g);
		Oid			table = get_relname_relid(relname, schema);

		if (OidIsValid(table) && !once_is_table_owner(table, GetUserId()))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("must be owner of ledger \"%s\"", name)));
	}
}
