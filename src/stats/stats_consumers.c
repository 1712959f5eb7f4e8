/*-------------------------------------------------------------------------
 *
 * stats_consumers.c
 *	  once.stat_consumers, which is behind the view once.consumers: who holds
 *	  messages of a queue, and who waits for some.  once.stat_progress, which is behind once.progress.
 *
 * Who has received messages is in the index: a claim names its transaction, and
 * the server knows which process that is.  A lease names nobody.  Backends show
 * what they have leased, if there is shared memory for that; other leases are one
 * row without a process.
 *
 * As in once.stat_queues, only some pages of a long queue are read: those at the
 * beginning of each lane, where claims are, and a sample of the others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "qam/qam.h"
#include "queue/queue_claim.h"
#include "queue/queue_open.h"
#include "queue/queue_try.h"
#include "stats/stats_leases.h"
#include "stats/stats_progress.h"
#include "stats/stats_show.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/xid8.h"
#include "wake/wake.h"

#define NCONSUMER_COLUMNS	6

#define NPROGRESS_COLUMNS	6

PG_FUNCTION_INFO_V1(once_stat_consumers);
PG_FUNCTION_INFO_V1(once_stat_progress);
PG_FUNCTION_INFO_V1(once_shard_consumers);

/* A transaction that holds messages */
typedef struct Holder
{
	uint64		xid;			/* hash key: of the outermost transaction */
	int64		messages;
	TimestampTz since;			/* DT_NOEND: not known */
} Holder;

/* One call */
typedef struct Consumers
{
	OnceStatsTables tables;
	ReturnSetInfo *rsinfo;
	HTAB	   *holders;
	int64		leases;			/* messages that are leased, */
	TimestampTz until;			/* the last of them until then */
} Consumers;

static void read_tables(Consumers *c);
static void read_claims(void *arg, int from, int to);
static void could_not_read(void *arg, int at, const ErrorData *error);
static bool is_expired(void *arg, HeapTuple tuple, TimestampTz now);
static TimestampTz since(void *arg, HeapTuple tuple);
static void note_claim(void *arg, const QamClaimSeen *claim);
static uint64 outermost(uint64 xid);
static int	process_of(uint64 xid);
static void put_holders(Consumers *c);
static void put_leases(Consumers *c);
static void put_lease(void *arg, int pid, const OnceLeases *leases);
static void put_waiting(Consumers *c);
static void put_progress(void *arg, const OnceProgress *progress);
static void put_consumer(Consumers *c, const char *what, int pid, uint64 xid,
						 TimestampTz since, TimestampTz until, int64 messages);

/*
 * once.stat_consumers: who holds messages of the queue that has this table.
 */
Datum
once_stat_consumers(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Consumers	c = {.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo};

	InitMaterializedSRF(fcinfo, 0);
	once_stats_hint();
	if (!once_rights_may_count(relid) || !once_stats_tables(relid, &c.tables))
		return (Datum) 0;
	read_tables(&c);
	put_holders(&c);
	put_leases(&c);
	put_waiting(&c);
	hash_destroy(c.holders);
	return (Datum) 0;
}

/*
 * once.shard_consumers: how many hold messages of a shard, or wait for some.
 */
Datum
once_shard_consumers(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Consumers	c = {.tables = {.n = 1,.relids = &relid}};
	OnceWaiting *waiting;
	int			n;
	int64		consumers;

	if (!once_rights_may_count(relid))
		PG_RETURN_INT64(0);
	read_tables(&c);
	once_stats_waiting(&c.tables, &waiting, &n);
	consumers = hash_get_num_entries(c.holders) + (c.leases > 0) + n;
	hash_destroy(c.holders);
	PG_RETURN_INT64(consumers);
}

/*
 * read_tables reads who has claimed messages.  The caller destroys c->holders.
 */
static void
read_tables(Consumers *c)
{
	OnceTry		try = {.work = read_claims,.refused = could_not_read,.arg = c};
	HASHCTL		ctl = {.keysize = sizeof(uint64),.entrysize = sizeof(Holder),.hcxt = CurrentMemoryContext};
	int			i;

	c->holders = hash_create("once.consumers", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (i = c->tables.distributed ? 1 : 0; i < c->tables.n; i++)
		once_try(&try, i, i + 1);
}

/*
 * read_claims reads who has claimed messages of one table.
 */
static void
read_claims(void *arg, int from, int to)
{
	Consumers  *c = arg;
	QamSample	sample = {.expired = is_expired,.since = since,.claimed = note_claim,.arg = c};
	OnceQueue	queue;

	if (once_queue_open_to_count(&queue, c->tables.relids[from]) != ONCE_OPENED)
		return;
	sample.heap = queue.heap;
	sample.index = queue.index;
	sample.retry = &queue.meta.retry;
	qam_sample(&sample);
	once_queue_leave(&queue);
}

/*
 * could_not_read is called if that has raised an error.  once.stat_queues tells
 * of it.
 */
static void
could_not_read(void *arg, int at, const ErrorData *error)
{
}

/* What is ready or dead does not matter here. */
static bool
is_expired(void *arg, HeapTuple tuple, TimestampTz now)
{
	return false;
}

static TimestampTz
since(void *arg, HeapTuple tuple)
{
	return DT_NOEND;
}

static void
note_claim(void *arg, const QamClaimSeen *claim)
{
	Consumers  *c = arg;
	Holder	   *holder;
	uint64		xid;
	bool		found;

	if (claim->lease)
	{
		c->until = c->leases == 0 ? claim->time : Max(c->until, claim->time);
		c->leases++;
		return;
	}
	xid = outermost(claim->xid);
	holder = hash_search(c->holders, &xid, HASH_ENTER, &found);
	if (!found)
	{
		holder->messages = 0;
		holder->since = DT_NOEND;
	}
	holder->messages++;
	if (claim->time != 0)
		holder->since = Min(holder->since, claim->time);
}

/*
 * outermost returns the transaction that a subtransaction is part of.  A standby
 * does not know them all, and shows them as they are.
 */
static uint64
outermost(uint64 fullxid)
{
	TransactionId xid = (TransactionId) fullxid;
	TransactionId top;

	if (fullxid == 0 || RecoveryInProgress())
		return fullxid;
	if (TransactionIdIsCurrentTransactionId(xid))
		return U64FromFullTransactionId(GetTopFullTransactionId());
	if (!TransactionIdIsInProgress(xid))
		return fullxid;
	top = SubTransGetTopmostTransaction(xid);

	/* It began before, and the two are not half the circle apart */
	return fullxid - (uint64) (xid - top);
}

/*
 * process_of returns the process that runs a transaction, or 0 if there is none:
 * it is prepared, or runs on the primary, or has just ended.
 */
static int
process_of(uint64 fullxid)
{
	TransactionId xid = (TransactionId) fullxid;

	if (fullxid == 0)
		return 0;
	if (TransactionIdIsCurrentTransactionId(xid))
		return MyProcPid;
	return BackendXidGetPid(xid);
}

static void
put_holders(Consumers *c)
{
	HASH_SEQ_STATUS status;
	Holder	   *holder;

	hash_seq_init(&status, c->holders);
	while ((holder = hash_seq_search(&status)) != NULL)
		put_consumer(c, "received", process_of(holder->xid), holder->xid, holder->since,
					 DT_NOEND, holder->messages);
}

/*
 * put_leases puts what backends show of their leases, and then, in one row, the
 * leases in the index that nobody shows.
 */
static void
put_leases(Consumers *c)
{
	once_stats_leases_read(c->tables.relids[0], put_lease, c);
	if (c->leases > 0)
		put_consumer(c, "leased", 0, 0, DT_NOEND, c->until, c->leases);
}

static void
put_lease(void *arg, int pid, const OnceLeases *leases)
{
	Consumers  *c = arg;

	put_consumer(c, "leased", pid, 0, leases->since, leases->until, leases->n);
	c->leases -= leases->n;
}

static void
put_waiting(Consumers *c)
{
	OnceWaiting *waiting;
	int			n;
	int			i;

	once_stats_waiting(&c->tables, &waiting, &n);
	for (i = 0; i < n; i++)
		put_consumer(c, "waiting", waiting[i].pid, 0, waiting[i].since, DT_NOEND, 0);
}

static void
put_consumer(Consumers *c, const char *what, int pid, uint64 xid, TimestampTz since,
			 TimestampTz until, int64 messages)
{
	Datum		values[NCONSUMER_COLUMNS];
	bool		isnull[NCONSUMER_COLUMNS] = {0};

	values[0] = CStringGetTextDatum(what);
	values[1] = Int32GetDatum(pid);
	isnull[1] = pid == 0;
	values[2] = FullTransactionIdGetDatum(FullTransactionIdFromU64(xid));
	isnull[2] = xid == 0;
	values[3] = TimestampTzGetDatum(since);
	isnull[3] = since == DT_NOEND;
	values[4] = TimestampTzGetDatum(until);
	isnull[4] = until == DT_NOEND;
	values[5] = Int64GetDatum(messages);
	tuplestore_putvalues(c->rsinfo->setResult, c->rsinfo->setDesc, values, isnull);
}

/*
 * once.stat_progress: how far long work on queues has come.
 */
Datum
once_stat_progress(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	once_stats_hint();
	once_stats_progress_read(put_progress, fcinfo->resultinfo);
	return (Datum) 0;
}

static void
put_progress(void *arg, const OnceProgress *progress)
{
	ReturnSetInfo *rsinfo = arg;
	Datum		values[NPROGRESS_COLUMNS];
	bool		isnull[NPROGRESS_COLUMNS] = {0};

	if (!once_rights_may_count(progress->relid))
		return;
	values[0] = ObjectIdGetDatum(progress->relid);
	values[1] = Int32GetDatum(progress->pid);
	values[2] = CStringGetTextDatum(progress->work);
	values[3] = TimestampTzGetDatum(progress->since);
	values[4] = Int64GetDatum(progress->done);
	values[5] = Int64GetDatum(progress->total);
	isnull[5] = progress->total < 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
}
