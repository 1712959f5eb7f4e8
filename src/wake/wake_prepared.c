/*-------------------------------------------------------------------------
 *
 * wake_prepared.c
 *	  Waking at the end of transactions that were prepared.
 *
 * PREPARE TRANSACTION and COMMIT PREPARED may be executed by different backends.
 * In between, the notes of the transaction are in shared memory.  There is no
 * callback for the end of a prepared transaction, so a hook watches commands.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "tcop/utility.h"
#include "wake/wake_prepared.h"
#include "wake/wake_table.h"

static ProcessUtility_hook_type next_process_utility = NULL;

/* Hash of the name under which this backend is about to prepare, or 0 */
static uint64 gid_hash = 0;

static void watch_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
						  ProcessUtilityContext context, ParamListInfo params,
						  QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc);
static uint64 hash_gid(const char *gid);
static void has_ended(uint64 gid, bool committed);

/*
 * once_wake_prepared_init installs the hook.
 */
void
once_wake_prepared_init(void)
{
	next_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
}

/*
 * once_wake_prepared_keep keeps the notes of the transaction that has just been
 * prepared.  If it was not prepared by a command, its name is not known, and
 * the notes are lost.
 */
void
once_wake_prepared_keep(const WakeNote *notes, int n, bool overflow)
{
	WakePrepared prepared = {0};

	if (gid_hash == 0 || (n == 0 && !overflow) || !once_wake_table_exists())
		return;
	prepared.gid = gid_hash;
	prepared.database = MyDatabaseId;
	prepared.overflow = overflow || n > WAKE_PREPARED_NOTES;
	prepared.nnotes = Min(n, WAKE_PREPARED_NOTES);
	memcpy(prepared.notes, notes, prepared.nnotes * sizeof(WakeNote));
	once_wake_prepared_put(&prepared);
}

/*
 * once_wake_prepared_forget_name is called at the end of each transaction.
 */
void
once_wake_prepared_forget_name(void)
{
	gid_hash = 0;
}

/*
 * watch_utility remembers the name in PREPARE TRANSACTION, and wakes after
 * COMMIT PREPARED and ROLLBACK PREPARED.
 */
static void
watch_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	TransactionStmt *stmt = IsA(pstmt->utilityStmt, TransactionStmt) ?
		(TransactionStmt *) pstmt->utilityStmt : NULL;
	TransactionStmtKind kind = TRANS_STMT_BEGIN;
	uint64		hash = 0;

	/* The statement may not exist any more when the command has been executed */
	if (stmt != NULL && stmt->gid != NULL)
	{
		kind = stmt->kind;
		hash = hash_gid(stmt->gid);
	}
	if (kind == TRANS_STMT_PREPARE)
		gid_hash = hash;

	if (next_process_utility != NULL)
		next_process_utility(pstmt, query, read_only_tree, context, params, env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, env, dest, qc);

	if (kind == TRANS_STMT_COMMIT_PREPARED || kind == TRANS_STMT_ROLLBACK_PREPARED)
		has_ended(hash, kind == TRANS_STMT_COMMIT_PREPARED);
}

/*
 * hash_gid returns the hash of a transaction's name, which is never 0.
 */
static uint64
hash_gid(const char *gid)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) gid, strlen(gid),
										   MyDatabaseId);

	return hash == 0 ? 1 : hash;
}

/*
 * has_ended wakes for what a prepared transaction did, if its notes were kept.
 */
static void
has_ended(uint64 gid, bool committed)
{
	WakePrepared prepared;
	int			i;

	if (!once_wake_table_attach() || !once_wake_prepared_take(gid, &prepared))
		return;
	if (prepared.overflow)
		once_wake_database();
	else
	{
		for (i = 0; i < prepared.nnotes; i++)
			once_wake_by_note(&prepared.notes[i], committed);
	}
}
