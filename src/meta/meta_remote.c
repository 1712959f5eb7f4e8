/*-------------------------------------------------------------------------
 *
 * meta_remote.c
 *	  Transactions that Citus spreads over several nodes.
 *
 * A transaction that changes a queue or a ledger on this node may also write to
 * other nodes, through the planner of Citus.  Citus does not see what we write,
 * since we bypass the planner.  If the transaction has written to one other node,
 * Citus takes it for a transaction of that node alone, and commits it there before
 * this backend commits here.  A crash in between leaves the effects of a message
 * there, and the message in the queue: it is delivered again, and its effects
 * happen twice.
 *
 * So before such a transaction commits, we ask Citus for two-phase commit.  Then it
 * prepares the transactions of the other nodes first, and commits them when this
 * node has committed.  After a crash, Citus finds in its catalog
 * pg_dist_transaction which of them are to be committed.  That catalog is local, and
 * is written by the same transaction as the queue.  If nothing was written on other
 * nodes, Citus prepares nothing, whatever it was asked for.  (Citus does the same
 * when it writes to shards of this node itself: github.com/citusdata/citus,
 * src/backend/distributed/executor/local_executor.c.)
 *
 * The request has to come before Citus acts on XACT_EVENT_PRE_COMMIT.  Callbacks are
 * called in the reverse order of their registration.  Citus registers its own when the
 * server starts, as it cannot be loaded later.  We register ours in each backend,
 * when that backend first changes a queue.
 *
 * The functions and the list that we use are not declared for others by Citus.
 * Where one of them is missing, distributed queues are refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/transam.h"
#include "access/xact.h"
#include "fmgr.h"
#include "lib/ilist.h"
#include "meta/meta_remote.h"
#include "miscadmin.h"
#include "once_debug.h"
#include "once_error.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#define CITUS_LIBRARY		"citus"

/* once.remote_effects */
int			once_remote_effects = ONCE_REMOTE_TWO_PHASE;

/* once.shard_catalog */
int			once_remote_shard_catalog = ONCE_SHARDS_OF_CITUS;

/* What we use of the library of Citus, by the names that they have there */
typedef struct CitusCalls
{
	bool		(*InCoordinatedTransaction) (void);
	void		(*Use2PCForCoordinatedTransaction) (void);
	dlist_head *InProgressTransactions; /* on connections to other nodes */

	/* If these are missing, we do without */
	int			(*GetCurrentLocalExecutionStatus) (void);
	void		(*SetLocalExecutionStatus) (int status);
	void		(*EnsureTaskExecutionAllowed) (bool remote);
} CitusCalls;

/* Values of LocalExecutionStatus in Citus: how it reaches the shards of this node */
#define CITUS_LOCAL_REQUIRED	0	/* in this backend */
#define CITUS_LOCAL_OPTIONAL	1	/* either way */
#define CITUS_LOCAL_DISABLED	2	/* over connections to itself */

typedef enum CitusState
{
	CITUS_UNKNOWN,				/* nobody has searched for it */
	CITUS_ABSENT,				/* it is not preloaded */
	CITUS_BEHIND,				/* it is preloaded after this library */
	CITUS_FOREIGN,				/* something that we use is missing */
	CITUS_READY
} CitusState;

static CitusState citus_state = CITUS_UNKNOWN;
static CitusCalls citus;
static bool changed_here = false;	/* the transaction has changed a queue */
static bool sent_elsewhere = false; /* it has sent messages through Citus */
static bool sent_here = false;	/* it has put rows into a shard directly */

static CitusState state_of_citus(void);
static CitusState find_citus(CitusCalls *calls);
static char *preloaded_citus(bool *behind);
static bool is_library(const char *path, const char *name);
static void watch_transaction(void);
static void check_remote(void);
static bool works_elsewhere(void);
static bool fake_is_coordinated(void);
static void fake_use_two_phase(void);
static void remote_xact_callback(XactEvent event, void *arg);

/*
 * once_remote_note_change notes that the current transaction is about to change a
 * queue or a ledger on this node.  The rollback of a subtransaction does not undo
 * that: then two-phase commit is asked for without need.
 */
void
once_remote_note_change(void)
{
	if (!changed_here)
		watch_transaction();
	changed_here = true;
}

/*
 * once_remote_note_send notes that the current transaction is about to send messages
 * through Citus, perhaps to another node.  They go together with what else it writes
 * here, which Citus may not see: the dead letters and the due times of ours, or tables
 * of the caller.  If it writes nothing here, one-phase commit is enough.
 */
void
once_remote_note_send(void)
{
	if (!sent_elsewhere)
		watch_transaction();
	sent_elsewhere = true;
}

/*
 * watch_transaction has our callback called when transactions end.
 */
static void
watch_transaction(void)
{
	static bool registered = false;

	if (registered)
		return;
	RegisterXactCallback(remote_xact_callback, NULL);
	registered = true;
}

/*
 * once_remote_require raises an error if Citus cannot be asked for two-phase
 * commit.  queue: the name of a queue that is distributed, or of a shard.
 */
void
once_remote_require(const char *queue)
{
	CitusState	state = state_of_citus();

	if (state == CITUS_READY)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot use distributed queue \"%s\"", queue),
			 state == CITUS_FOREIGN ?
			 errdetail("The installed version of Citus does not offer what is needed to ask it for two-phase commit.") :
			 errdetail("Citus is not loaded, or is loaded after pg_once."),
			 state == CITUS_FOREIGN ?
			 errhint("Use a version of Citus that pg_once was tested with.") :
			 errhint("Put citus first in shared_preload_libraries, and restart the server.")));
}

/*
 * once_remote_may_send_here tells whether rows may be put into shards of this node
 * directly.  False: Citus is told to reach the shards of this node over connections, or
 * the transaction has done so.  There, the rows would not be seen.
 */
bool
once_remote_may_send_here(void)
{
	const char *local;

	if (once_remote_shard_catalog == ONCE_SHARDS_FAKE)
		return true;
	if (state_of_citus() != CITUS_READY || citus.GetCurrentLocalExecutionStatus == NULL ||
		citus.SetLocalExecutionStatus == NULL || citus.EnsureTaskExecutionAllowed == NULL ||
		citus.GetCurrentLocalExecutionStatus() == CITUS_LOCAL_DISABLED)
		return false;
	local = GetConfigOption("citus.enable_local_execution", true, false);
	return local != NULL && strcmp(local, "on") == 0;
}

/*
 * once_remote_send_here is called before rows are put into a shard of this node.  From
 * then on until the transaction ends, Citus reaches the shards of this node in this
 * backend, so that it sees them.
 */
void
once_remote_send_here(void)
{
	if (once_remote_shard_catalog == ONCE_SHARDS_FAKE)
		return;
	citus.SetLocalExecutionStatus(CITUS_LOCAL_REQUIRED);
	sent_here = true;
}

/*
 * once_remote_refuse_tasks raises the error of Citus if this is a part of a query that
 * Citus has given to this node.  It may commit although the query fails: so Citus
 * does not allow it to change distributed tables, and we do not allow it to change
 * their shards.
 */
void
once_remote_refuse_tasks(void)
{
	if (once_remote_shard_catalog != ONCE_SHARDS_FAKE &&
		state_of_citus() == CITUS_READY && citus.EnsureTaskExecutionAllowed != NULL)
		citus.EnsureTaskExecutionAllowed(true);
}

/*
 * state_of_citus tells whether Citus can be asked for two-phase commit.
 */
static CitusState
state_of_citus(void)
{
	if (once_remote_shard_catalog == ONCE_SHARDS_FAKE)
		return CITUS_READY;
	if (citus_state == CITUS_UNKNOWN)
		citus_state = find_citus(&citus);
	return citus_state;
}

/*
 * find_citus finds the library of Citus, if the server has preloaded it, and
 * what we use of it.
 */
static CitusState
find_citus(CitusCalls *calls)
{
	bool		behind;
	char	   *library = preloaded_citus(&behind);
	void	   *handle;

	if (library == NULL)
		return CITUS_ABSENT;

	/* The library is loaded already, so this finds its symbols. */
	calls->InCoordinatedTransaction = (bool (*) (void))
		load_external_function(library, "InCoordinatedTransaction", false, &handle);
	calls->Use2PCForCoordinatedTransaction = (void (*) (void))
		lookup_external_function(handle, "Use2PCForCoordinatedTransaction");
	calls->InProgressTransactions = (dlist_head *)
		lookup_external_function(handle, "InProgressTransactions");
	calls->GetCurrentLocalExecutionStatus = (int (*) (void))
		lookup_external_function(handle, "GetCurrentLocalExecutionStatus");
	calls->SetLocalExecutionStatus = (void (*) (int))
		lookup_external_function(handle, "SetLocalExecutionStatus");
	calls->EnsureTaskExecutionAllowed = (void (*) (bool))
		lookup_external_function(handle, "EnsureTaskExecutionAllowed");
	pfree(library);
	if (calls->InCoordinatedTransaction == NULL ||
		calls->Use2PCForCoordinatedTransaction == NULL ||
		calls->InProgressTransactions == NULL ||
		once_debug_is("citus_symbols_missing"))
		return CITUS_FOREIGN;
	return behind ? CITUS_BEHIND : CITUS_READY;
}

/*
 * preloaded_citus returns the path of the library of Citus as it is listed in
 * shared_preload_libraries, or NULL.  *behind: this library comes first.
 */
static char *
preloaded_citus(bool *behind)
{
	char	   *list = pstrdup(shared_preload_libraries_string ? shared_preload_libraries_string : "");
	List	   *paths = NIL;
	ListCell   *lc;
	char	   *found = NULL;

	*behind = false;
	if (SplitDirectoriesString(list, ',', &paths))
	{
		foreach(lc, paths)
		{
			if (is_library(lfirst(lc), "pg_once"))
				*behind = true;
			else if (is_library(lfirst(lc), CITUS_LIBRARY))
			{
				found = pstrdup(lfirst(lc));
				break;
			}
		}
	}
	list_free_deep(paths);
	pfree(list);
	return found;
}

/*
 * is_library tells whether a path, with or without a directory and an ending, is
 * that of a library.
 */
static bool
is_library(const char *path, const char *name)
{
	const char *file = last_dir_separator(path);
	size_t		length = strlen(name);

	file = file == NULL ? path : file + 1;
	return strncmp(file, name, length) == 0 &&
		(file[length] == '\0' || strcmp(file + length, DLSUFFIX) == 0);
}

/*
 * check_remote is called before the commit of a transaction that may have changed a
 * queue, or sent to a distributed one.  A transaction without an id has written nothing here.
 */
static void
check_remote(void)
{
	bool		fake = once_remote_shard_catalog == ONCE_SHARDS_FAKE;
	CitusState	state;

	if (!(changed_here || sent_elsewhere) || !TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return;

	/* A test shows in this way what happens without the request. */
	if (once_debug_is("remote_one_phase"))
		return;
	state = state_of_citus();
	if (state != CITUS_READY && state != CITUS_BEHIND)
		return;

	if (!(fake ? fake_is_coordinated() : citus.InCoordinatedTransaction()))
		return;
	if (changed_here && once_remote_effects == ONCE_REMOTE_ERROR && works_elsewhere())
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_REMOTE_EFFECTS),
				 errmsg("transaction changed a queue or ledger of this node and worked on other nodes"),
				 errdetail("The setting once.remote_effects does not allow that."),
				 errhint("Keep the effects on this node, in tables that are co-located with the queue, and read nothing from other nodes; or set once.remote_effects to \"two_phase\".")));
	if (fake)
		fake_use_two_phase();
	else
		citus.Use2PCForCoordinatedTransaction();
}

/*
 * works_elsewhere tells whether Citus has opened a transaction on another node
 * for the current one.  A transaction on that node may have written or only read.
 */
static bool
works_elsewhere(void)
{
	if (once_remote_shard_catalog == ONCE_SHARDS_FAKE)
		return once_debug_is("citus_remote");
	return !dlist_is_empty(citus.InProgressTransactions);
}

/*
 * With once.shard_catalog set to "fake", once.debug_point says what Citus would
 * know of the transaction: it is coordinated, on this node alone or also elsewhere.
 */
static bool
fake_is_coordinated(void)
{
	return once_debug_is("citus_local") || once_debug_is("citus_remote");
}

static void
fake_use_two_phase(void)
{
	ereport(NOTICE, (errmsg("two-phase commit was asked for")));
}

static void
remote_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			check_remote();
			break;
		case XACT_EVENT_PREPARE:

			/* Citus undoes this only when a transaction commits or aborts */
			if (sent_here)
				citus.SetLocalExecutionStatus(CITUS_LOCAL_OPTIONAL);
			changed_here = sent_elsewhere = sent_here = false;
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
			changed_here = sent_elsewhere = sent_here = false;
			break;
		default:
			break;
	}
}
