/*-------------------------------------------------------------------------
 *
 * queue_receive.c
 *	  receive, lease and pop: the three contracts under which messages are
 *	  handed out.
 *
 * All three claim through the index.  They differ in how long the claim lasts:
 * until the calling transaction ends, for a time, or not at all, as pop
 * deletes the row at once.  All messages of a call are claimed before the
 * first is returned, even if the caller goes on to fetch only some of them.
 *
 * Values that a row keeps out of line are fetched after the claim.  The
 * snapshot under which the claim was made is still held then.  So the values
 * cannot have been vacuumed away, even if somebody has deleted the row
 * meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "meta/meta_cache.h"
#include "miscadmin.h"
#include "once_debug.h"
#include "qam/qam.h"
#include "queue/queue_args.h"
#include "queue/queue_claim.h"
#include "queue/queue_dead.h"
#include "queue/queue_hold.h"
#include "queue/queue_open.h"
#include "queue/queue_parts.h"
#include "queue/queue_receipt.h"
#include "queue/queue_row.h"
#include "queue/queue_unacked.h"
#include "queue/queue_wait.h"
#include "stats/stats.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "wake/wake.h"

/* Columns of once.message */
#define Natts_message				9
#define Anum_message_id				1
#define Anum_message_receipt		2
#define Anum_message_attempt		3
#define Anum_message_enqueued_at	4
#define Anum_message_leased_until	5
#define Anum_message_priority		6
#define Anum_message_group_id		7
#define Anum_message_headers		8
#define Anum_message_payload		9

/* So many parts of a queue give messages to one call at most */
#define MAX_DEPTH					100

typedef enum Contract
{
	CONTRACT_RECEIVE,
	CONTRACT_LEASE,
	CONTRACT_POP
} Contract;

/* One call */
typedef struct HandOut
{
	Contract	contract;
	const char *name;			/* of the queue */
	const char *verb;
	int64		lease;			/* microseconds */
	int			max;
	bool		waits;			/* may it look again? */
	OnceQueue	queue;
	ReturnSetInfo *rsinfo;

	/* Of one look */
	Snapshot	snapshot;
	OnceParts	parts;
	OnceOutlook outlook;
	int			given;			/* how many messages were handed out */
	Oid			taken;			/* a table that they come from */
	bool		done;			/* there were messages, or dead ones were
								 * moved or became stuck */
	int			depth;			/* parts that have given messages, plus one */
} HandOut;

/* The same of one part of the queue */
typedef struct HandOutPart
{
	HandOut    *call;
	OnceQueue  *queue;
	uint64		epoch;			/* once_meta_epoch() before the claims */
	Datum	   *row_values;		/* workspace: a deformed row of the table */
	bool	   *row_isnull;
} HandOutPart;

PG_FUNCTION_INFO_V1(once_receive);
PG_FUNCTION_INFO_V1(once_lease);
PG_FUNCTION_INFO_V1(once_pop);

static Datum hand_out(FunctionCallInfo fcinfo, Contract contract, const char *verb);
static void open_queue(HandOut *call);
static void hand_out_waiting(HandOut *call, OnceWait *wait);
static bool hand_out_once(HandOut *call, Snapshot snapshot);
static void hand_out_parts(HandOut *call);
static void hand_out_part(HandOut *call, OnceQueue *queue);
static void claim_and_put(OnceHold *hold);
static void count_deliveries(HandOutPart *part, const QamClaims *claims);
static void put_message(HandOutPart *part, QamClaimed *claimed);

/*
 * once.receive: hands out messages claimed until the end of the transaction.
 */
Datum
once_receive(PG_FUNCTION_ARGS)
{
	return hand_out(fcinfo, CONTRACT_RECEIVE, "once.receive()");
}

/*
 * once.lease: hands out messages claimed for a time.
 */
Datum
once_lease(PG_FUNCTION_ARGS)
{
	return hand_out(fcinfo, CONTRACT_LEASE, "once.lease()");
}

/*
 * once.pop: hands out messages and deletes them.
 */
Datum
once_pop(PG_FUNCTION_ARGS)
{
	return hand_out(fcinfo, CONTRACT_POP, "once.pop()");
}

/*
 * hand_out does the work of all three.  Their arguments are the same, except
 * that lease has one more, in second place.
 */
static Datum
hand_out(FunctionCallInfo fcinfo, Contract contract, const char *verb)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);
	int			argno = 1;
	HandOut		state;
	HandOut    *call = &state;
	int64		limit;
	OnceWait	wait;

	call->contract = contract;
	call->verb = verb;
	call->lease = contract == CONTRACT_LEASE ? once_queue_arg_lease(fcinfo, argno++) : 0;
	call->max = once_queue_arg_max_messages(fcinfo, argno++);
	limit = once_queue_arg_wait(fcinfo, argno);
	once_wait_begin(&wait, limit);
	wait.most = call->max;
	call->waits = limit >= 0;
	once_parts_outlook_init(&call->outlook, CurrentMemoryContext);

	InitMaterializedSRF(fcinfo, 0);
	call->rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	call->name = name;
	open_queue(call);
	if (call->waits)
		hand_out_waiting(call, &wait);
	else
		(void) hand_out_once(call, GetActiveSnapshot());
	once_queue_close(&call->queue);
	return (Datum) 0;
}

/*
 * open_queue opens the queue.
 */
static void
open_queue(HandOut *call)
{
	once_queue_open_whole(&call->queue, call->name, ONCE_TO_CONSUME, call->verb);
	once_queue_check_consuming(&call->queue);
}

/*
 * hand_out_waiting tries until there is something or the time is up.  Each try
 * has a new snapshot, since it waits for messages that were sent after the
 * last one.
 *
 * If it has moved dead messages, it stops waiting.  Nobody sees the move
 * before it is committed, and a cancelled wait would undo it.
 *
 * It has no lock on the queue while it sleeps.  Otherwise a command that
 * alters or drops the table would have to wait for it, and everybody else
 * would have to wait for that command.
 */
static void
hand_out_waiting(HandOut *call, OnceWait *wait)
{
	if (!call->queue.meta.distributed)
		once_wait_expect(wait, RelationGetRelid(call->queue.heap));
	for (;;)
	{
		bool		done;

		/* The order of these three matters */
		once_wait_before_look(wait);
		PushActiveSnapshot(GetLatestSnapshot());
		once_wait_check(wait);
		done = hand_out_once(call, GetActiveSnapshot());
		PopActiveSnapshot();
		if (done || once_wait_is_up(wait))
		{
			once_wait_end(wait, call->taken);
			return;
		}
		once_queue_leave(&call->queue);

		/* What it owes to another queue must not wait as long */
		once_wake_hand_on();
		once_wait_pause(wait, call->outlook.relids, call->outlook.times, call->outlook.n);
		open_queue(call);
	}
}

/*
 * hand_out_once claims what is ready and puts it into the result.  Returns
 * whether it has done anything: there are messages, or dead ones were moved or
 * became stuck.  call->outlook: when the next message that is known to wait for a
 * time becomes ready.
 */
static bool
hand_out_once(HandOut *call, Snapshot snapshot)
{
	call->snapshot = snapshot;
	call->given = 0;
	call->taken = InvalidOid;
	call->done = false;
	call->depth = 0;
	call->outlook.n = 0;
	once_parts_begin(&call->parts, &call->queue, ONCE_TO_CONSUME);
	once_parts_outlook(&call->outlook, &call->parts);
	hand_out_parts(call);
	once_parts_outlook_busy(&call->outlook, &call->parts);
	once_parts_end(&call->parts);
	return call->done;
}

/*
 * hand_out_parts goes on with the parts to which the call has not come yet, until there
 * are enough messages.  It holds the claims in all parts at once, each on a level of the
 * stack of its own, so there is a limit.
 */
static void
hand_out_parts(HandOut *call)
{
	OnceQueue	room;
	OnceQueue  *queue;

	call->depth++;
	while (call->depth <= MAX_DEPTH && call->given < call->max &&
		   (queue = once_parts_next(&call->parts, &room, false)) != NULL)
		hand_out_part(call, queue);
}

/*
 * hand_out_part claims what is ready in one part.  If there is something, it also goes
 * on with the other parts, while it holds these claims: if that fails, the call has
 * handed out nothing.
 */
static void
hand_out_part(HandOut *call, OnceQueue *queue)
{
	HandOutPart part = {.call = call,.queue = queue,.epoch = once_meta_epoch()};
	OnceHold	hold;
	Oid			relid = RelationGetRelid(queue->heap);
	bool		done;

	if (queue != &call->queue)
		once_queue_check_consuming(queue);
	once_hold_begin(&hold, queue, call->snapshot);
	hold.arg = &part;
	if (call->contract == CONTRACT_LEASE)
		hold.req.selection.delivery.kind = QAM_CLAIM_LEASE;
	hold.req.selection.max = call->max - call->given;
	hold.req.selection.delivery.lease = call->lease;
	once_hold(&hold, claim_and_put);

	done = hold.req.claims.nclaimed > 0 || hold.dead_settled > 0;
	call->done |= done;
	once_parts_outlook_time(&call->outlook, relid, hold.req.earliest);

	/* A call that gets messages does not learn whether there are others */
	if (!done && !call->waits)
		once_queue_was_read(queue);
	once_wake_pay(relid, hold.req.claims.nclaimed > 0);
	if (done)
		once_parts_close(&call->parts, queue);
	else
		once_parts_leave(&call->parts, queue);
}

/*
 * claim_and_put does the work of hand_out_part within once_hold.
 */
static void
claim_and_put(OnceHold *hold)
{
	HandOutPart *part = hold->arg;
	HandOut    *call = part->call;
	QamClaims  *claims = &hold->req.claims;
	int			natts = RelationGetDescr(part->queue->heap)->natts;
	int			i;

	if (call->contract == CONTRACT_POP)
	{
		once_claim_pop(hold, ONCE_MAX_DEAD);
		once_done_messages(hold->queue, claims->claimed, claims->nclaimed, hold);
	}
	else
		once_claim_rows(hold, ONCE_MAX_DEAD);

	if (claims->nclaimed == 0)
		return;
	once_debug_point(call->given == 0 ? "before_hand_out" : "before_hand_out_more");
	part->row_values = palloc(sizeof(Datum) * natts);
	part->row_isnull = palloc(sizeof(bool) * natts);
	for (i = 0; i < claims->nclaimed; i++)
	{
		CHECK_FOR_INTERRUPTS();
		hold->at = claims->claimed[i].nth;
		put_message(part, &claims->claimed[i]);
		hold->at = ONCE_AT_NONE;
	}
	call->given += claims->nclaimed;
	call->taken = RelationGetRelid(part->queue->heap);
	hand_out_parts(call);
	count_deliveries(part, claims);
}

/*
 * count_deliveries counts the messages that are handed out.
 */
static void
count_deliveries(HandOutPart *part, const QamClaims *claims)
{
	Oid			relid = RelationGetRelid(part->queue->heap);
	int			again = 0;
	int			i;

	for (i = 0; i < claims->nclaimed; i++)
		again += claims->claimed[i].attempt > 1;
	once_stats_count(relid, ONCE_COUNT_RECEIVED, claims->nclaimed);
	once_stats_count(relid, ONCE_COUNT_REDELIVERED, again);
	if (part->call->contract == CONTRACT_LEASE)
		once_stats_leased(once_queue_whole(part->queue), claims->nclaimed, claims->claimed[0].ready_at);
}

/*
 * put_message adds a message to the result.  If it is claimed by transaction,
 * it is also registered as one that the transaction has to ack.
 */
static void
put_message(HandOutPart *part, QamClaimed *claimed)
{
	HandOut    *call = part->call;
	OnceQueue  *queue = part->queue;
	const AttrNumber *column = queue->meta.column;
	Datum		values[Natts_message];
	bool		isnull[Natts_message] = {0};
	TimestampTz enqueued_at = DT_NOBEGIN;
	pg_uuid_t	uuid;

#define COPY_COLUMN(anum, col) \
	(values[(anum) - 1] = part->row_values[column[col] - 1], \
	 isnull[(anum) - 1] = part->row_isnull[column[col] - 1])

	once_row_flatten(queue, &claimed->tuple);
	heap_deform_tuple(claimed->tuple, RelationGetDescr(queue->heap),
					  part->row_values, part->row_isnull);
	COPY_COLUMN(Anum_message_id, ONCE_COL_ID);
	COPY_COLUMN(Anum_message_enqueued_at, ONCE_COL_ENQUEUED_AT);
	COPY_COLUMN(Anum_message_priority, ONCE_COL_PRIORITY);
	COPY_COLUMN(Anum_message_group_id, ONCE_COL_GROUP_ID);
	COPY_COLUMN(Anum_message_headers, ONCE_COL_HEADERS);
	COPY_COLUMN(Anum_message_payload, ONCE_COL_PAYLOAD);
	values[Anum_message_attempt - 1] = Int32GetDatum(claimed->attempt);
	if (!isnull[Anum_message_enqueued_at - 1])
		enqueued_at = DatumGetTimestampTz(values[Anum_message_enqueued_at - 1]);

	/* A popped message is done and needs no receipt. */
	isnull[Anum_message_receipt - 1] = call->contract == CONTRACT_POP;
	values[Anum_message_receipt - 1] = (Datum) 0;
	if (call->contract == CONTRACT_POP)
		once_stats_acked(RelationGetRelid(queue->heap), enqueued_at);
	else
	{
		OnceReceipt receipt;

		receipt.relid = RelationGetRelid(queue->heap);
		receipt.ref = claimed->ref;
		once_receipt_encode(&receipt, &uuid);
		values[Anum_message_receipt - 1] = UUIDPGetDatum(&uuid);
		if (call->contract == CONTRACT_RECEIVE)
		{
			bool		by_place = queue->meta.fast_delete && claimed->attempt == 1 &&
				claimed->group == 0 && queue->meta.archive == 0;
			OnceReceivedRow row;

			row.epoch = part->epoch;
			row.user = GetUserId();
			row.file = once_file_number(queue->heap);
			row.index_file = once_file_number(queue->index);
			row.tid = claimed->tuple->t_self;
			row.xmin = HeapTupleHeaderGetRawXmin(claimed->tuple->t_data);
			row.enqueued_at = enqueued_at;
			once_unacked_add(&uuid, &row, by_place);
		}
	}

	isnull[Anum_message_leased_until - 1] = call->contract != CONTRACT_LEASE;
	values[Anum_message_leased_until - 1] = TimestampTzGetDatum(claimed->ready_at);

	tuplestore_putvalues(call->rsinfo->setResult, call->rsinfo->setDesc, values, isnull);
	heap_freetuple(claimed->tuple);
	claimed->tuple = NULL;
#undef COPY_COLUMN
}
