/*-------------------------------------------------------------------------
 *
 * queue_maintain.c
 *	  maintain: what has to be done now and then, whether or not anybody
 *	  consumes.
 *
 * It goes through the queues that the caller may consume from, and takes some
 * steps for each.  A step is a piece of work of bounded size, done again as
 * long as it finds more to do, and each time in a transaction of its own if
 * the procedure is called where it may commit.  So no lock is held for long,
 * and what has been done stays done.
 *
 * It waits for nobody: a queue that is locked against it is passed by.  Nor
 * does the trouble of one queue keep the next one waiting: an error becomes a
 * warning, and takes back what the step has done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "meta/meta_dead.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "once_error.h"
#include "queue/queue.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define LIST_QUEUES_SQL \
	"SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class c" \
	" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace" \
	" WHERE n.nspname OPERATOR(pg_catalog.=) '" ONCE_SCHEMA "' AND c.relkind OPERATOR(pg_catalog.=) 'r'" \
	" AND pg_catalog.starts_with(c.relname::pg_catalog.text, '" ONCE_QUEUE_PREFIX "')" \
	" AND pg_catalog.has_table_privilege(c.oid, 'SELECT')" \
	" AND pg_catalog.has_table_privilege(c.oid, 'DELETE')" \
	" AND NOT pg_catalog.row_security_active(c.oid)" \
	" ORDER BY c.relname"

/* How much one step does, in messages */
#define SCHEDULE_STEP		10000
#define DEAD_STEP			1000
#define RETENTION_STEP		10000

/* Does some of its work; true: there may be more of it */
typedef bool (*Step) (OnceQueue *queue);

PG_FUNCTION_INFO_V1(once_maintain);

static char **list_queues(int *nqueues);
static bool try_step(const char *name, Step step, bool *unusable);
static bool do_step(const char *name, Step step);
static bool step_schedule(OnceQueue *queue);
static bool step_dead(OnceQueue *queue);
static bool step_failures(OnceQueue *queue);
static bool step_retention(OnceQueue *queue);
static bool step_archive(OnceQueue *queue);

static const Step steps[] = {
	step_schedule,
	step_dead,
	step_retention,
	step_failures,
	step_archive
};

/*
 * once.maintain: all steps for all queues.
 */
Datum
once_maintain(PG_FUNCTION_ARGS)
{
	bool		atomic = fcinfo->context == NULL ||
		!IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic;
	char	  **queues;
	int			nqueues;
	int			i;
	int			s;
	bool		more;
	bool		unusable;

	PreventCommandDuringRecovery("once.maintain()");
	PreventCommandIfReadOnly("once.maintain()");

	/* Its memory outlives the transactions. */
	SPI_connect_ext(atomic ? 0 : SPI_OPT_NONATOMIC);
	queues = list_queues(&nqueues);
	for (i = 0; i < nqueues; i++)
	{
		unusable = false;
		for (s = 0; s < lengthof(steps) && !unusable; s++)
		{
			do
			{
				CHECK_FOR_INTERRUPTS();
				more = try_step(queues[i], steps[s], &unusable);
				if (!atomic)
					SPI_commit();
			} while (more);
		}
	}
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * list_queues returns the names of the queues that the caller may consume from.
 */
static char **
list_queues(int *nqueues)
{
	char	  **queues;
	int			i;

	PushActiveSnapshot(GetTransactionSnapshot());
	once_run(LIST_QUEUES_SQL, 0, NULL, NULL);
	PopActiveSnapshot();

	*nqueues = (int) SPI_processed;
	queues = palloc(sizeof(char *) * Max(*nqueues, 1));
	for (i = 0; i < *nqueues; i++)
		queues[i] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1) +
			strlen(ONCE_QUEUE_PREFIX);
	SPI_freetuptable(SPI_tuptable);
	return queues;
}

/*
 * try_step does a step in a subtransaction, and makes a warning of its error.
 * *unusable: no other step is worth trying.
 */
static bool
try_step(const char *name, Step step, bool *unusable)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool more = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		more = do_step(name, step);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;

		/* What is not for handlers in PL/pgSQL is not for this one either. */
		if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			edata->sqlerrcode == ERRCODE_ASSERT_FAILURE)
			ReThrowError(edata);
		more = false;
		*unusable = edata->sqlerrcode == ERRCODE_ONCE_QUEUE_UNUSABLE;
		ereport(WARNING,
				(errcode(edata->sqlerrcode),
				 errmsg("maintenance of queue \"%s\" failed: %s", name, edata->message),
				 edata->detail != NULL ? errdetail_internal("%s", edata->detail) : 0,
				 edata->hint != NULL ? errhint("%s", edata->hint) : 0));
		FreeErrorData(edata);
	}
	PG_END_TRY();
	return more;
}

/*
 * do_step opens a queue for a step, if it can be had at once.
 */
static bool
do_step(const char *name, Step step)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "pg_once maintenance",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	bool		more = false;
	OnceQueue	queue;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (once_queue_try_open(&queue, name, ONCE_TO_CONSUME, "once.maintain()"))
	{
		more = step(&queue);
		once_queue_close(&queue);
	}
	PopActiveSnapshot();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return more;
}

/*
 * step_schedule brings messages that are due into their lanes.
 */
static bool
step_schedule(OnceQueue *queue)
{
	return qam_run_schedule(queue->heap, queue->index, SCHEDULE_STEP) > 0;
}

/*
 * step_dead takes away messages that are not delivered any more, unless the
 * queue's owner wants it left alone.
 *
 * If code of the table's owner may run, it does so as the owner: who calls
 * maintain may be a superuser, and has asked for nothing that the triggers of
 * somebody's table may do in his name.
 */
static bool
step_dead(OnceQueue *queue)
{
	Oid			owner = queue->heap->rd_rel->relowner;
	bool		as_owner = !queue->meta.fast && owner != GetUserId();
	QamClaimRequest req;
	OnceRole	saved;

	if (queue->meta.consume_paused)
		return false;
	once_queue_check_columns(queue);

	memset(&req, 0, sizeof(req));
	req.heap = queue->heap;
	req.index = queue->index;
	req.kind = QAM_CLAIM_XID;
	req.retry = queue->meta.retry;
	req.snapshot = GetActiveSnapshot();
	if (as_owner)
		once_role_assume(&saved, owner, true);
	(void) once_rows_claim(queue, &req, DEAD_STEP);
	if (as_owner)
		once_role_drop(&saved);
	return req.ndead == DEAD_STEP;
}

/*
 * step_retention deletes dead letters that have been kept long enough.
 */
static bool
step_retention(OnceQueue *queue)
{
	OnceOptions options;
	TimestampTz before;

	if (!once_options_read(once_queue_name(queue), &options) || !options.retention.set)
		return false;
	before = GetCurrentTimestamp() - once_interval_usec(&options.retention.value);
	return once_dead_remove(queue, before, RETENTION_STEP) == RETENTION_STEP;
}

/*
 * step_failures deletes failures of messages that are neither in the queue nor
 * dead letters, all of it as one snapshot sees it.
 *
 * The table is scanned here and not by a query, since that could run code which
 * its owner has put behind it.
 */
static bool
step_failures(OnceQueue *queue)
{
	const char *name = once_queue_name(queue);
	Snapshot	snapshot = GetActiveSnapshot();
	HTAB	   *ids;
	TableScanDesc scan;
	HeapTuple	tuple;
	int64		id;

	once_queue_check_columns(queue);
	ids = once_failures_orphaned(name, snapshot);
	if (ids == NULL)
		return false;

	scan = table_beginscan(queue->heap, snapshot, 0, NULL);
	while (hash_get_num_entries(ids) > 0 &&
		   (tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		id = once_row_id(queue, tuple);
		(void) hash_search(ids, &id, HASH_REMOVE, NULL);
	}
	table_endscan(scan);

	if (hash_get_num_entries(ids) > 0)
		once_failures_forget_orphans(name, snapshot, ids);
	return false;
}

/*
 * step_archive retires partitions of the archive.
 */
static bool
step_archive(OnceQueue *queue)
{
	(void) once_archive_retire(queue);
	return false;
}
