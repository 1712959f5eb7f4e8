/*-------------------------------------------------------------------------
 *
 * queue_maintain.c
 *	  maintain: what has to be done now and then, whether or not anybody
 *	  consumes.
 *
 * maintain() sends the messages of schedules that are due and whose role the
 * caller may assume.  Then it goes through the queues that the caller may
 * consume from, and takes some steps for each of them; then it goes through
 * the ledgers that the caller may mark in.  A step is a piece of work of
 * bounded size.  It is repeated as long as it finds more to do.  If the
 * procedure is called where it may commit, each step has a transaction of its
 * own.  So no lock is held for long, and what has been done stays done.
 *
 * It waits for nobody: what others have locked is skipped.  Nor does trouble
 * in one queue keep the next one waiting, whatever code its owner has attached
 * to it.  Any error, except a cancellation from outside, becomes a warning,
 * and what the step has done is rolled back.  A step is not repeated more
 * often than the work that was there at the beginning can need.  And the time
 * is limited (once.maintenance_timeout).  Code of an owner can still do to the
 * session that runs it what it always can, such as cancel or end it.
 *
 * A distributed queue is maintained through its parts: those of its shards that are on
 * this node.  Each is worked on as if it were a queue.  What is there once for the queue,
 * such as its dead letters, has its turn when all parts have had theirs.
 *
 * A queue rests if no step that does not look at every message will find work
 * before somebody does something (once_rest.c).  What rests is noted for later
 * passes of the launcher, which leave out these queues.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "ledger/ledger.h"
#include "meta/meta_catalog.h"
#include "meta/meta_citus.h"
#include "meta/meta_role.h"
#include "meta/meta_shards.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "once_error.h"
#include "once_limit.h"
#include "once_rest.h"
#include "queue/queue_maintain.h"
#include "queue/queue_open.h"
#include "queue/queue_steps.h"
#include "queue/queue_try.h"
#include "queue/queue_unacked.h"
#include "stats/stats.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker/worker_schedule.h"

/* once.maintenance_timeout; milliseconds */
int			once_maintenance_timeout = ONCE_MAINTENANCE_TIMEOUT;

/* Names of queues, of those that the caller may consume from, and of ledgers */
#define ALL_QUEUES_SQL \
	"SELECT pg_catalog.substr(c.relname::pg_catalog.text, 3), c.oid FROM pg_catalog.pg_class c" \
	" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace" \
	" WHERE n.nspname OPERATOR(pg_catalog.=) '" ONCE_SCHEMA "' AND c.relkind OPERATOR(pg_catalog.=) 'r'" \
	" AND pg_catalog.starts_with(c.relname::pg_catalog.text, '" ONCE_QUEUE_PREFIX "')"

#define LIST_QUEUES_SQL \
	ALL_QUEUES_SQL \
	" AND pg_catalog.has_table_privilege(c.oid, 'SELECT')" \
	" AND pg_catalog.has_table_privilege(c.oid, 'DELETE')" \
	" AND NOT pg_catalog.row_security_active(c.oid)" \
	" ORDER BY c.relname"

#define LIST_LEDGERS_SQL \
	"SELECT l.ledger FROM " ONCE_SCHEMA ".ledger l ORDER BY l.ledger"

/* For missed due times of a schedule; each pass sends up to a hundred messages */
#define SCHEDULE_PASSES		1000

/* A few steps do all that is due for a ledger */
#define LEDGER_PASSES		8

/* The queue or ledger that is worked on, and how */
typedef struct Work Work;

/* What is counted over the whole call */
typedef struct Tally
{
	int			nforbidden;		/* queues where publications forbid that rows
								 * are deleted */
	int			nledgers;		/* ledgers */
	int			npermitted;		/* ledgers in which the caller may mark, and
								 * schedules that it may run */
} Tally;

struct Work
{
	const char *what;			/* "queue", "ledger" or "schedule" */
	const char *name;
	bool		(*run) (Work *work);	/* do_queue, do_parts, do_ledger or
										 * do_schedule */
	Oid			whole;			/* the table of a queue that is distributed */
	Oid			part;			/* of such a queue, that of the part; if it is
								 * invalid, it is the turn of the whole */
	MemoryContext context;		/* for do_parts: of the list */
	OnceShard  *parts;			/* out, of do_parts: a list of parts */
	int			nparts;
	OnceStep	step;			/* for a queue */
	int			steps_done;		/* the ones before it */
	int64		passes;			/* passes left, this one included; -1: not yet
								 * known */
	OnceSteps	steps;			/* the limit is also for ledgers and schedules */
	bool		opening;		/* is the queue being opened? */
	bool		unusable;		/* out: no other step is worth trying */
	Tally		tally;
};

PG_FUNCTION_INFO_V1(once_maintain);

static bool maintain(bool atomic, bool full, bool by_pass);
static int	do_schedules(Work *work, bool atomic);
static char **list_names(const char *sql, int *n, Oid **relids);
static bool is_shard(const char *queue);
static void maintain_distributed(Work *work, bool atomic, const char *name, Oid relid,
								 bool full, bool by_pass);
static bool maintain_queue(Work *work, bool full, bool by_pass);
static void take_step(Work *work, OnceStep step, int nth);
static void begin_work(Work *work, bool atomic, const char *what,
					   bool (*run) (Work *work), const char *name);
static void do_work(Work *work);
static bool try_commit(Work *work);
static bool try_work(Work *work);
static void warn(Work *work, const ErrorData *edata);
static bool do_parts(Work *work);
static bool do_queue(Work *work);
static bool open_queue(Work *work, OnceQueue *queue);
static bool do_ledger(Work *work);
static void warn_of_no_rights(int nledgers);
static bool do_schedule(Work *work);
static bool note_failure(Work *work, const char *error);

/*
 * once.maintain: sends what schedules say, takes all steps for all queues, and
 * does what is due for all ledgers.
 */
Datum
once_maintain(PG_FUNCTION_ARGS)
{
	PreventCommandDuringRecovery("once.maintain()");
	PreventCommandIfReadOnly("once.maintain()");
	maintain(fcinfo->context == NULL ||
			 !IsA(fcinfo->context, CallContext) ||
			 castNode(CallContext, fcinfo->context)->atomic, true, false);
	PG_RETURN_VOID();
}

/*
 * once_maintenance_run does what once.maintain does, in a process that is not
 * in a transaction.  If full is false, it leaves out the steps that look at
 * every message, and the queues that rest.  Returns whether all queues rest and
 * there is nothing else that is maintained.
 */
bool
once_maintenance_run(bool full)
{
	bool		rests;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	rests = maintain(false, full, true);
	CommitTransactionCommand();
	return rests;
}

/*
 * maintain does all of it.  by_pass: this is a pass of the launcher.  As there is one at a
 * time in a database, passes may note what rests (once_rest.c), and the result tells
 * whether all of it does.
 */
static bool
maintain(bool atomic, bool full, bool by_pass)
{
	Work		work = {0};
	char	  **names;
	Oid		   *relids;
	int			nqueues;
	int			n;
	int			i;
	bool		rests = by_pass;

	/* What we allocate from here on outlives the transactions. */
	SPI_connect_ext(atomic ? 0 : SPI_OPT_NONATOMIC);

	/*
	 * Commit first what the calling procedure has done.  If that fails, the
	 * error is that procedure's.
	 */
	if (!atomic)
		SPI_commit();
	if (do_schedules(&work, atomic) > 0)
		rests = false;
	once_stats_forget_dropped();
	names = list_names(LIST_QUEUES_SQL, &nqueues, &relids);
	for (i = 0; i < nqueues; i++)
	{
		if (is_shard(names[i]))
			continue;
		if (once_citus_distributes(relids[i]))
		{
			maintain_distributed(&work, atomic, names[i], relids[i], full, by_pass);
			rests = false;
			continue;
		}
		if (!full && once_rest_is(MyDatabaseId, relids[i]))
			continue;
		begin_work(&work, atomic, "queue", do_queue, names[i]);
		rests &= maintain_queue(&work, full, by_pass);
	}

	once_stats_progress_end();

	if (work.tally.nforbidden > 1)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg_plural("a publication also prevents deletes from %d more queue",
							   "a publication also prevents deletes from %d more queues",
							   work.tally.nforbidden - 1, work.tally.nforbidden - 1)));

	names = list_names(LIST_LEDGERS_SQL, &n, NULL);
	for (i = 0; i < n; i++)
	{
		begin_work(&work, atomic, "ledger", do_ledger, names[i]);
		work.passes = LEDGER_PASSES;
		do_work(&work);
	}

	if (nqueues == 0 && work.tally.npermitted == 0)
		warn_of_no_rights(work.tally.nledgers);
	SPI_finish();
	return rests && n == 0;
}

/*
 * is_shard tells whether a queue is a part of another one.
 */
static bool
is_shard(const char *queue)
{
	int64		shard;

	return OidIsValid(once_citus_shard_by_name(psprintf("%s%s", ONCE_QUEUE_PREFIX, queue),
											   once_schema_oid(false), &shard));
}

/*
 * maintain_distributed maintains a distributed queue: each part, and then the whole.
 */
static void
maintain_distributed(Work *work, bool atomic, const char *name, Oid relid, bool full,
					 bool by_pass)
{
	OnceShard  *parts;
	int			n;
	int			i;

	begin_work(work, atomic, "queue", do_parts, name);
	work->whole = relid;
	work->passes = 1;
	work->context = CurrentMemoryContext;
	do_work(work);
	if (work->parts == NULL)
		return;
	parts = work->parts;
	n = work->nparts;
	for (i = 0; i <= n; i++)
	{
		if (i < n && !full && once_rest_is(MyDatabaseId, parts[i].relid))
			continue;
		begin_work(work, atomic, "queue", do_queue, name);
		work->whole = relid;
		work->part = i < n ? parts[i].relid : InvalidOid;
		(void) maintain_queue(work, full, by_pass);
	}
	pfree(parts);
}

/*
 * maintain_queue takes the steps that may find work in a queue, or in a part of a
 * distributed queue, or in the whole of one.  Returns whether it is noted that the queue
 * or part rests.
 */
static bool
maintain_queue(Work *work, bool full, bool by_pass)
{
	bool		whole = OidIsValid(work->whole) && !OidIsValid(work->part);
	int			s;

	if (by_pass && !whole)
		take_step(work, once_steps_rest, 0);
	for (s = 0; s < ONCE_NSTEPS && !work->unusable; s++)
	{
		const OnceStepKind *kind = &once_steps[s];

		if (OidIsValid(work->whole) && kind->of_whole != whole)
			continue;
		if (kind->looks_at_all ? full : !work->steps.rests)
			take_step(work, kind->step, s);
	}
	return work->steps.rests;
}

static void
take_step(Work *work, OnceStep step, int nth)
{
	work->step = step;
	work->steps_done = nth;
	work->passes = -1;
	once_steps_begin(&work->steps);
	do_work(work);
}

/*
 * do_schedules sends the messages of all schedules that are due.  This comes
 * first because it should be done on time.  Returns the number of schedules.
 */
static int
do_schedules(Work *work, bool atomic)
{
	List	   *names;
	ListCell   *lc;

	PushActiveSnapshot(GetTransactionSnapshot());
	names = once_schedule_names();
	PopActiveSnapshot();
	work->tally.npermitted += list_length(names);
	foreach(lc, names)
	{
		begin_work(work, atomic, "schedule", do_schedule, lfirst(lc));
		work->passes = SCHEDULE_PASSES;
		do_work(work);
	}
	return list_length(names);
}

/*
 * list_names returns the names that a query finds.  relids: if it is not NULL, the
 * oids in the second column.
 */
static char **
list_names(const char *sql, int *n, Oid **relids)
{
	char	  **names;
	bool		isnull;
	int			i;

	PushActiveSnapshot(GetTransactionSnapshot());
	once_role_run(sql, 0, NULL, NULL);
	PopActiveSnapshot();

	*n = (int) SPI_processed;
	names = palloc(sizeof(char *) * Max(*n, 1));
	if (relids != NULL)
		*relids = palloc(sizeof(Oid) * Max(*n, 1));
	for (i = 0; i < *n; i++)
	{
		names[i] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		if (relids != NULL)
			(*relids)[i] = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
														  SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
	return names;
}

static void
begin_work(Work *work, bool atomic, const char *what, bool (*run) (Work *work),
		   const char *name)
{
	Tally		tally = work->tally;

	memset(work, 0, sizeof(Work));
	work->tally = tally;
	work->steps.atomic = atomic;
	work->what = what;
	work->run = run;
	work->name = name;
	work->steps.now = GetCurrentTimestamp();
	once_limit_start(&work->steps.limit, once_maintenance_timeout);
}

/*
 * do_work repeats a step as long as there is more work, but not for ever.
 * Work that comes in meanwhile is left to the next call, so that other queues
 * get their turn.
 */
static void
do_work(Work *work)
{
	bool		more;

	do
	{
		CHECK_FOR_INTERRUPTS();
		more = try_work(work);
		if (!work->steps.atomic && !try_commit(work))
			more = false;
		if (more && once_limit_is_up(&work->steps.limit))
		{
			ereport(WARNING,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("maintenance of %s \"%s\" is incomplete", work->what, work->name),
					 errdetail("It took longer than once.maintenance_timeout; the rest is left to the next call.")));
			work->unusable = true;
			more = false;
		}
	} while (more && --work->passes > 0);
}

/*
 * try_commit commits.  If that fails, the transaction has been rolled back, a
 * warning is given, and the result is false.
 */
static bool
try_commit(Work *work)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool committed = false;

	PG_TRY();
	{
		SPI_commit();
		committed = true;
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(caller);
		edata = CopyErrorData();
		FlushErrorState();
		if (once_limit_is_cancel(edata))
			ReThrowError(edata);
		warn(work, edata);
		FreeErrorData(edata);
	}
	PG_END_TRY();
	return committed;
}

/*
 * try_work takes a step in a subtransaction, and makes a warning of its error.
 * A step that may run code of users has armed the limit.
 */
static bool
try_work(Work *work)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext context = AllocSetContextCreate(caller, "pg_once maintenance",
												  ALLOCSET_DEFAULT_SIZES);
	volatile bool more = false;

	once_limit_clear();
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		PushActiveSnapshot(GetTransactionSnapshot());

		/*
		 * Errors of triggers deferred to the commit could not be caught, and
		 * the triggers would not run as the table's owner.  In a transaction
		 * of its own, the caller decides when they fire.
		 */
		if (!work->steps.atomic)
			once_try_set_immediate();
		more = work->run(work);
		once_unacked_settle();
		once_limit_disarm();
		PopActiveSnapshot();
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		once_limit_disarm();
		edata = once_try_failed(caller, owner);
		if (once_limit_is_cancel(edata) && !once_limit_caused(edata))
			ReThrowError(edata);
		more = false;
		warn(work, edata);
		FreeErrorData(edata);
	}
	PG_END_TRY();
	MemoryContextDelete(context);
	return more;
}

/*
 * warn makes a warning of the error of a step.  Nothing else is tried for this
 * queue if the step has used up the time, or if the queue is not usable or
 * cannot be opened.
 */
static void
warn(Work *work, const ErrorData *edata)
{
	work->unusable = work->opening || edata->sqlerrcode == ERRCODE_ONCE_QUEUE_UNUSABLE ||
		once_limit_struck();

	/*
	 * Each queue may have the same trouble, so warn once and count the others
	 */
	if (work->steps.asking && work->tally.nforbidden++ > 0)
	{
		work->steps.asking = false;
		return;
	}
	work->steps.asking = false;
	if (work->run == do_schedule &&
		!note_failure(work, once_limit_caused(edata) ?
					  "it took longer than once.maintenance_timeout" : edata->message))
		return;
	if (once_limit_caused(edata))
		ereport(WARNING,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("maintenance of %s \"%s\" was cancelled", work->what, work->name),
				 errdetail("It took longer than once.maintenance_timeout.")));
	else
		ereport(WARNING,
				(errcode(edata->sqlerrcode),
				 errmsg("maintenance of %s \"%s\" failed: %s",
						work->what, work->name, edata->message),
				 edata->detail != NULL ? errdetail_internal("%s", edata->detail) : 0,
				 edata->hint != NULL ? errhint("%s", edata->hint) : 0));
}

/*
 * do_parts lists the parts of a distributed queue that are on this node.
 */
static bool
do_parts(Work *work)
{
	MemoryContext caller = MemoryContextSwitchTo(work->context);

	work->parts = once_shards_here(work->whole, &work->nparts);
	MemoryContextSwitchTo(caller);
	return false;
}

/*
 * do_queue opens a queue, or a part of one, and takes a step, unless it would have to
 * wait to open it.
 */
static bool
do_queue(Work *work)
{
	bool		more = false;
	bool		opened;
	OnceQueue	queue;

	work->opening = true;
	opened = open_queue(work, &queue);
	work->opening = false;
	if (opened)
	{
		if (work->passes < 0 && queue.index != NULL)
			work->passes = once_steps_most_passes(&queue, work->step);
		once_stats_progress_begin(once_queue_whole(&queue), "maintain", ONCE_NSTEPS);
		once_stats_progress(work->steps_done);
		more = work->step(&queue, &work->steps);
		once_queue_close(&queue);
	}
	return more;
}

/*
 * open_queue opens the table that the work is on.  False: that would have to wait, or it is
 * no longer what it was when the work began.
 */
static bool
open_queue(Work *work, OnceQueue *queue)
{
	if (OidIsValid(work->part))
		return once_queue_try_open_part(queue, work->part, ONCE_TO_CONSUME);
	if (!once_queue_try_open(queue, work->name, ONCE_TO_CONSUME, "once.maintain()"))
		return false;
	if (queue->meta.distributed == OidIsValid(work->whole))
		return true;
	once_queue_leave(queue);
	return false;
}

/*
 * do_ledger does what is due for a ledger if the caller may mark in it.
 */
static bool
do_ledger(Work *work)
{
	OnceLedger	ledger;

	if (!once_ledger_find(&ledger, ONCE_LEDGER_OWN, work->name, 0))
		return false;
	work->tally.nledgers++;
	if (!once_ledger_permits(&ledger, ACL_SELECT | ACL_INSERT))
		return false;
	work->tally.npermitted++;
	return once_ledger_advance(&ledger, true);
}

/*
 * do_schedule sends the messages of a schedule that are due.
 */
static bool
do_schedule(Work *work)
{
	return once_schedule_run(work->name, &work->steps.limit);
}

/*
 * note_failure stores why a schedule has failed.  False: the same error is
 * stored already.
 */
static bool
note_failure(Work *work, const char *error)
{
	bool		news;

	PushActiveSnapshot(GetTransactionSnapshot());
	news = once_schedule_note(work->name, error);
	PopActiveSnapshot();
	return news;
}

/*
 * warn_of_no_rights warns a caller who may maintain nothing, if there are
 * ledgers or queues.  A job that runs as the wrong role would otherwise not be
 * noticed.
 */
static void
warn_of_no_rights(int nledgers)
{
	int			nqueues;

	(void) list_names(ALL_QUEUES_SQL, &nqueues, NULL);
	if (nqueues == 0 && nledgers == 0)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("no queue or ledger was maintained"),
			 errdetail("Role \"%s\" may not consume from any queue, nor mark ids in any ledger.",
					   GetUserNameFromId(GetUserId(), false)),
			 errhint("Call once.maintain() as a superuser or as the owner of the queues and ledgers, or use once.grant_queue and once.grant_ledger.")));
}
