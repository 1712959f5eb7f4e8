/*-------------------------------------------------------------------------
 *
 * worker_evict.c
 *	  Commands that cannot run while our processes are in a database.
 *
 * DROP DATABASE, and other commands for which nobody may be connected to a database, end
 * our processes in the database first, and keep new ones out until they are done.  DROP
 * EXTENSION does the same in its own database, because a process may hold locks for as
 * long as a handler takes.
 *
 * This is done only for the owner of the database or the extension.  Otherwise anybody
 * could end these processes, with a command that fails.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "storage/ipc.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "worker/worker_evict.h"
#include "worker/worker_shared.h"

/* How long a command waits for our processes to end, and how often it checks; milliseconds */
#define PATIENCE		10000
#define LOOK_AGAIN		10

static ProcessUtility_hook_type next_process_utility_hook = NULL;

static void process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
							ProcessUtilityContext context, ParamListInfo params,
							QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc);
static Oid	database_to_clear(Node *stmt);
static bool drops_extension(Node *stmt);
static const char *database_wanted(Node *stmt);
static const char *option_name(List *options, const char *option);
static void hold(Oid oid);
static bool send_away(Oid oid);
static void let_go(Oid oid, bool dropped);

/*
 * once_evict_init installs the hook, if the library is preloaded.
 */
void
once_evict_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	next_process_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}

static void
run_command(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			ProcessUtilityContext context, ParamListInfo params,
			QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	if (next_process_utility_hook != NULL)
		next_process_utility_hook(pstmt, query, read_only_tree, context, params, env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, env, dest, qc);
}

static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	volatile Oid oid = InvalidOid;
	volatile bool dropped = false;

	if (IsA(pstmt->utilityStmt, CreateExtensionStmt) &&
		strcmp(castNode(CreateExtensionStmt, pstmt->utilityStmt)->extname, "pg_once") == 0)
		once_shared_poke_at_commit();
	if (once_shared != NULL && IsTransactionState())
		oid = database_to_clear(pstmt->utilityStmt);
	if (!OidIsValid(oid))
	{
		run_command(pstmt, query, read_only_tree, context, params, env, dest, qc);
		return;
	}

	PG_TRY();
	{
		hold(oid);
		run_command(pstmt, query, read_only_tree, context, params, env, dest, qc);
		dropped = IsA(pstmt->utilityStmt, DropdbStmt);
	}
	PG_FINALLY();
	{
		let_go(oid, dropped);
	}
	PG_END_TRY();
}

/*
 * database_to_clear returns the database that our processes must leave before a command,
 * or InvalidOid: the command does not need that, or the user is not the owner.
 */
static Oid
database_to_clear(Node *stmt)
{
	const char *name = database_wanted(stmt);
	Oid			oid;

	if (drops_extension(stmt))
	{
		oid = get_extension_oid("pg_once", true);
		return OidIsValid(oid) && once_is_extension_owner(oid, GetUserId()) ?
			MyDatabaseId : InvalidOid;
	}
	oid = name != NULL ? get_database_oid(name, true) : InvalidOid;
	return OidIsValid(oid) && oid != MyDatabaseId &&
		once_is_database_owner(oid, GetUserId()) ? oid : InvalidOid;
}

static bool
drops_extension(Node *stmt)
{
	ListCell   *lc;

	if (!IsA(stmt, DropStmt) || castNode(DropStmt, stmt)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(lc, castNode(DropStmt, stmt)->objects)
	{
		if (strcmp(strVal(lfirst(lc)), "pg_once") == 0)
			return true;
	}
	return false;
}

/*
 * database_wanted returns the name of the database to which nobody else may be connected
 * during a command, or NULL.
 */
static const char *
database_wanted(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_DropdbStmt:
			return castNode(DropdbStmt, stmt)->dbname;
		case T_CreatedbStmt:
			{
				const char *name = option_name(castNode(CreatedbStmt, stmt)->options, "template");

				return name != NULL ? name : "template1";
			}
		case T_AlterDatabaseStmt:
			return option_name(castNode(AlterDatabaseStmt, stmt)->options, "tablespace") != NULL ?
				castNode(AlterDatabaseStmt, stmt)->dbname : NULL;
		case T_RenameStmt:
			return castNode(RenameStmt, stmt)->renameType == OBJECT_DATABASE ?
				castNode(RenameStmt, stmt)->subname : NULL;
		default:
			return NULL;
	}
}

static const char *
option_name(List *options, const char *option)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *element = lfirst_node(DefElem, lc);

		if (strcmp(element->defname, option) == 0 && element->arg != NULL)
			return defGetString(element);
	}
	return NULL;
}

/*
 * hold keeps our processes out of a database, and waits until those that are in it have
 * ended.  If they take too long, the command itself fails, or waits.
 */
static void
hold(Oid oid)
{
	TimestampTz begun_at = GetCurrentTimestamp();

	while (send_away(oid) &&
		   !TimestampDifferenceExceeds(begun_at, GetCurrentTimestamp(), PATIENCE))
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOOK_AGAIN, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * send_away terminates our processes in a database.  Returns whether there are any.
 */
static bool
send_away(Oid oid)
{
	OnceDatabase *database;
	bool		any = false;
	int			i;

	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	database = once_shared_database(oid, true);
	if (database != NULL)
	{
		database->held_by = MyProcPid;
		if (database->pid != 0)
		{
			any = true;
			kill(database->pid, SIGTERM);
		}
	}
	for (i = 0; i < once_shared->nconsumers; i++)
	{
		OnceConsumer *consumer = &once_shared->consumers[i];

		if (consumer->used && consumer->database == oid && consumer->pid != 0)
		{
			any = true;
			consumer->stop = true;
			kill(consumer->pid, SIGTERM);
		}
	}
	LWLockRelease(once_shared->lock);
	return any;
}

/*
 * let_go lets our processes into a database again.  dropped: it does not exist any more.
 * (If the transaction fails all the same, the launcher finds the database again.)
 */
static void
let_go(Oid oid, bool dropped)
{
	OnceDatabase *database;

	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	database = once_shared_database(oid, false);
	if (database != NULL && database->held_by == MyProcPid)
	{
		database->held_by = 0;
		if (dropped && !database->busy)
			database->oid = InvalidOid;
	}
	once_shared_wake_launcher();
	LWLockRelease(once_shared->lock);
}
