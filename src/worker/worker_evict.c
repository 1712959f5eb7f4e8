/*-------------------------------------------------------------------------
 *
 * worker_evict.c
 *	  Who wants a database for himself gets it.
 *
 * DROP DATABASE, and what else wants nobody to be connected, has our own processes leave
 * the database first, and none come until it is done.  Only its owner can have that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "worker/worker_evict.h"
#include "worker/worker_shared.h"

/* How long it waits for them to be gone, and how often it looks; milliseconds */
#define PATIENCE		10000
#define LOOK_AGAIN		10

static ProcessUtility_hook_type next_process_utility_hook = NULL;

static void process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
							ProcessUtilityContext context, ParamListInfo params,
							QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc);
static const char *database_wanted(Node *stmt);
static const char *option_name(List *options, const char *option);
static void hold(Oid oid);
static bool send_away(Oid oid);
static void let_go(Oid oid);

/*
 * once_evict_init installs the hook, if there is a launcher.
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
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = next_process_utility_hook != NULL ?
		next_process_utility_hook : standard_ProcessUtility;
	const char *name = database_wanted(pstmt->utilityStmt);
	Oid			oid = name != NULL && IsTransactionState() ? get_database_oid(name, true) : InvalidOid;

	if (IsA(pstmt->utilityStmt, CreateExtensionStmt) &&
		strcmp(castNode(CreateExtensionStmt, pstmt->utilityStmt)->extname, "pg_once") == 0)
		once_shared_poke_at_commit();

	if (!OidIsValid(oid) || oid == MyDatabaseId || once_shared == NULL ||
		!once_is_database_owner(oid, GetUserId()))
	{
		next(pstmt, query, read_only_tree, context, params, env, dest, qc);
		return;
	}

	PG_TRY();
	{
		hold(oid);
		next(pstmt, query, read_only_tree, context, params, env, dest, qc);
	}
	PG_FINALLY();
	{
		let_go(oid);
	}
	PG_END_TRY();
}

/*
 * database_wanted returns the name of the database that a command wants for itself, or
 * NULL.
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
 * left.  If they take too long, the command itself tells who is there.
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
 * send_away tells whether anybody of ours is in a database, and has them leave.
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
			kill(consumer->pid, SIGTERM);
		}
	}
	LWLockRelease(once_shared->lock);
	return any;
}

static void
let_go(Oid oid)
{
	OnceDatabase *database;

	LWLockAcquire(once_shared->lock, LW_EXCLUSIVE);
	database = once_shared_database(oid, false);
	if (database != NULL && database->held_by == MyProcPid)
		database->held_by = 0;
	once_shared_wake_launcher();
	LWLockRelease(once_shared->lock);
}
