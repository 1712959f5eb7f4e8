/*-------------------------------------------------------------------------
 *
 * queue_steps.c
 *	  The steps of maintenance for a queue.
 *
 * A step is a piece of work of bounded size.  It runs in a subtransaction, and errors
 * become warnings; see queue_maintain.c.  One that may run code of users arms the
 * limit before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "ledger/ledger.h"
#include "meta/meta_catalog.h"
#include "meta/meta_dead.h"
#include "meta/meta_role.h"
#include "meta/meta_shards.h"
#include "miscadmin.h"
#include "once_args.h"
#include "once_debug.h"
#include "once_rest.h"
#include "queue/queue_archive.h"
#include "queue/queue_claim.h"
#include "queue/queue_hold.h"
#include "queue/queue_redrive.h"
#include "queue/queue_row.h"
#include "queue/queue_steps.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* How much one step does: number of messages */
#define SCHEDULE_STEP		10000
#define GROUPS_STEP			10000
#define DEAD_STEP			1000
#define RETENTION_STEP		10000

/* How often the schedule may move a message until it is in its lane */
#define SCHEDULE_MOVES		10

/* How often a tour of the groups may look at one message */
#define TOUR_LOOKS			3

/* Is there a message that is to be taken away? */
typedef struct DeadSearch
{
	OnceQueue  *queue;
	bool		found;
} DeadSearch;

static bool step_schedule(OnceQueue *queue, OnceSteps *steps);
static bool step_groups(OnceQueue *queue, OnceSteps *steps);
static bool step_dead(OnceQueue *queue, OnceSteps *steps);
static bool may_delete(OnceQueue *queue, OnceSteps *steps);
static void note_dead(void *arg, const QamSlotInfo *info);
static void check_deferred(OnceQueue *queue);
static void move_dead(OnceHold *hold);
static bool step_retention(OnceQueue *queue, OnceSteps *steps);
static bool step_failures(OnceQueue *queue, OnceSteps *steps);
static bool keep_failures_of_parts(OnceQueue *queue, Snapshot snapshot, HTAB *messages);
static void keep_failures(OnceQueue *queue, Snapshot snapshot, HTAB *messages);
static bool step_dedup(OnceQueue *queue, OnceSteps *steps);
static bool step_archive(OnceQueue *queue, OnceSteps *steps);

const OnceStepKind once_steps[ONCE_NSTEPS] = {
	{step_schedule, false, false},
	{step_groups, true, false},
	{step_dead, true, false},
	{step_retention, false, true},
	{step_failures, true, true},
	{step_dedup, false, true},
	{step_archive, false, true}
};

/*
 * once_steps_begin is called before the first of the passes of a step.
 */
void
once_steps_begin(OnceSteps *steps)
{
	steps->dead_left = -1;
	memset(&steps->tour, 0, sizeof(steps->tour));
}

/*
 * once_steps_most_passes returns how many passes of a step the work that is there now can
 * need at most.  A tour of the groups looks at each group and at each message
 * that is gone.  The directory of groups has no more places than the index can
 * have messages.
 */
int64
once_steps_most_passes(OnceQueue *queue, OnceStep step)
{
	int64		messages = qam_capacity(queue->index);

	if (step == step_schedule)
		return messages * SCHEDULE_MOVES / SCHEDULE_STEP + 1;
	if (step == step_groups)
		return messages * TOUR_LOOKS / GROUPS_STEP + 1;
	return PG_INT64_MAX;
}

/*
 * step_dedup does what is due for the ledger of a queue's dedup_ids.
 */
static bool
step_dedup(OnceQueue *queue, OnceSteps *steps)
{
	OnceLedger	ledger;

	return once_ledger_find(&ledger, ONCE_LEDGER_DEDUP, once_queue_name(queue),
							queue->meta.dedup_window) &&
		once_ledger_advance(&ledger, true);
}

/*
 * step_schedule moves messages that are due into their lanes.
 */
static bool
step_schedule(OnceQueue *queue, OnceSteps *steps)
{
	return qam_run_schedule(queue->heap, queue->index, SCHEDULE_STEP) > 0;
}

/*
 * step_groups lets those groups go on whose first message, not yet available,
 * was deleted or moved by plain SQL.
 */
static bool
step_groups(OnceQueue *queue, OnceSteps *steps)
{
	int			looks = GROUPS_STEP;

	(void) qam_settle_groups(queue->heap, queue->index, &steps->tour, &looks);
	return !steps->tour.over;
}

/*
 * step_dead takes away messages that are not to be delivered any more, unless
 * the queue's owner has paused consuming.
 *
 * If the caller may act as the table's owner, the owner's code runs as the
 * owner.  Otherwise a superuser, for example, would let the triggers of
 * somebody's table act with superuser rights without having asked for that.  A
 * mere consumer deletes as itself, as in receive.  If the triggers ran as the
 * owner then, the consumer could make them act on its own temporary tables of
 * the names that they use.
 *
 * A step that is cancelled because the time is up has achieved nothing, and
 * the next call would achieve nothing either if it began with as many
 * messages.  So if there is code that may be slow, the first step takes one
 * message, and later ones take as many as should need a small part of the
 * time.
 */
static bool
step_dead(OnceQueue *queue, OnceSteps *steps)
{
	Oid			owner = queue->heap->rd_rel->relowner;
	bool		as_owner = !queue->meta.fast_delete && owner != GetUserId() &&
		once_may_set_role(GetUserId(), owner);
	OnceHold	hold;
	OnceRole	saved;
	TimestampTz began = GetCurrentTimestamp();
	bool		first = steps->dead_left < 0;
	int64		time = steps->limit.milliseconds * INT64CONST(1000);
	int64		took;

	if (queue->meta.consume_paused)
		return false;
	once_queue_check_columns(queue);
	if (!may_delete(queue, steps))
		return false;
	if (first)
	{
		steps->dead_left = qam_capacity(queue->index);
		steps->dead_step = queue->meta.fast_delete ? DEAD_STEP : 1;
	}

	if (as_owner && steps->atomic)
		check_deferred(queue);
	once_hold_begin(&hold, queue, GetActiveSnapshot());
	hold.arg = steps;

	/*
	 * A single message that uses up all of the time must become stuck, so
	 * that it does not use up that of the next calls as well
	 */
	hold.in_time = !first;
	if (!queue->meta.fast_delete)
		once_limit_arm(&steps->limit);
	if (as_owner)
		once_role_assume(&saved, owner, true);
	once_hold(&hold, move_dead);
	if (as_owner)
		once_role_drop(&saved);
	steps->dead_left -= hold.dead_settled;
	if (hold.dead_settled < steps->dead_step || steps->dead_left <= 0)
		return false;

	took = GetCurrentTimestamp() - began;
	if (time == 0 || took < time / 64)
		steps->dead_step = Min(steps->dead_step * 4, DEAD_STEP);
	else if (took > time / 8)
		steps->dead_step = Max(steps->dead_step / 4, 1);
	return true;
}

/*
 * may_delete raises an error if a publication forbids the deletion of rows and
 * the queue has messages to delete.  False: it forbids it, but there are none.
 */
static bool
may_delete(OnceQueue *queue, OnceSteps *steps)
{
	if (once_queue_forbids_deletes(queue->heap))
	{
		DeadSearch	search = {.queue = queue};

		qam_each_slot(queue->heap, queue->index, &queue->meta.retry, note_dead, &search);
		if (!search.found)
			return false;
	}
	steps->asking = true;
	CheckCmdReplicaIdentity(queue->heap, CMD_DELETE);
	steps->asking = false;
	return true;
}

static void
note_dead(void *arg, const QamSlotInfo *info)
{
	DeadSearch *search = arg;

	search->found = search->found || once_claim_is_dead(search->queue, &info->now);
}

/*
 * check_deferred raises an error if triggers of the table would be deferred to
 * a time when they cannot run as its owner.
 */
static void
check_deferred(OnceQueue *queue)
{
	TriggerDesc *triggers = queue->heap->trigdesc;
	int			i;

	for (i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		if (triggers->triggers[i].tginitdeferred)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot run deferred triggers as the owner of table \"%s\"",
							RelationGetRelationName(queue->heap)),
					 errhint("Call once.maintain() outside of transactions, or as the owner.")));
	}
}

static void
move_dead(OnceHold *hold)
{
	once_claim_rows(hold, ((OnceSteps *) hold->arg)->dead_step);
}

/*
 * step_retention deletes dead letters that have been kept long enough.
 */
static bool
step_retention(OnceQueue *queue, OnceSteps *steps)
{
	if (queue->meta.retention == 0 || !once_dead_letter_lock())
		return false;
	return once_redrive_remove(queue, steps->now - queue->meta.retention, RETENTION_STEP,
							   NULL) == RETENTION_STEP;
}

/*
 * step_failures deletes failures of messages that are neither in the queue nor
 * dead letters.  All of this is judged by one snapshot.  Failures are on the node where
 * they have happened.  When a shard leaves it, those of its messages are deleted.
 *
 * The table is scanned here and not by a query, because a query could run code
 * that the owner has attached to it.
 */
static bool
step_failures(OnceQueue *queue, OnceSteps *steps)
{
	const char *name = once_queue_name(queue);
	Snapshot	snapshot = GetActiveSnapshot();
	HTAB	   *messages;

	once_queue_check_columns(queue);
	messages = once_failure_orphans(name, snapshot);
	if (messages == NULL)
		return false;

	if (queue->meta.distributed)
	{
		if (!keep_failures_of_parts(queue, snapshot, messages))
			return false;
	}
	else
		keep_failures(queue, snapshot, messages);
	if (hash_get_num_entries(messages) > 0)
		once_failure_forget_orphans(name, snapshot, messages);
	return false;
}

/*
 * keep_failures_of_parts removes, from a set of messages, those that are in a part of
 * the queue that is on this node.  False: some part could not be looked at.
 */
static bool
keep_failures_of_parts(OnceQueue *queue, Snapshot snapshot, HTAB *messages)
{
	int			n;
	OnceShard  *shards = once_shards_here(RelationGetRelid(queue->heap), &n);
	int			i;

	for (i = 0; i < n && hash_get_num_entries(messages) > 0; i++)
	{
		OnceQueue	part;

		if (!once_queue_try_open_part(&part, shards[i].relid, ONCE_TO_CONSUME))
			return false;
		once_queue_check_columns(&part);
		keep_failures(&part, snapshot, messages);
		once_queue_leave(&part);
	}
	return true;
}

/*
 * keep_failures removes, from a set of messages, those that are in a table.
 */
static void
keep_failures(OnceQueue *queue, Snapshot snapshot, HTAB *messages)
{
	TableScanDesc scan;
	HeapTuple	tuple;
	OnceMessageKey key;

	scan = once_beginscan(queue->heap, snapshot, 0, NULL);
	while (hash_get_num_entries(messages) > 0 &&
		   (tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		key = once_row_key(queue, tuple);
		(void) hash_search(messages, &key, HASH_REMOVE, NULL);
	}
	table_endscan(scan);
}

/*
 * step_archive retires partitions of the archive.
 */
static bool
step_archive(OnceQueue *queue, OnceSteps *steps)
{
	once_limit_arm(&steps->limit);
	(void) once_archive_retire(queue);
	return false;
}

/*
 * once_steps_rest notes whether a queue rests, or a part of one.  Nobody has to be kept from changing the
 * options meanwhile: whoever does so ends the rest (once_options_write).  The
 * parameters of a distributed queue may be out of date here; see worker/README.
 */
bool
once_steps_rest(OnceQueue *queue, OnceSteps *steps)
{
	Oid			relid = RelationGetRelid(queue->heap);
	OnceOptions options;
	OnceLedger	ledger;

	once_rest_begin(relid);
	steps->rests = qam_schedule_is_empty(queue->index);
	if (steps->rests && !OidIsValid(queue->meta.shard_of))
		steps->rests = queue->meta.retention == 0 &&
			!(once_options_read(once_queue_name(queue), &options) &&
			  (options.archive.set || options.retention.set)) &&
			(!once_ledger_find(&ledger, ONCE_LEDGER_DEDUP, once_queue_name(queue),
							   queue->meta.dedup_window) ||
			 once_ledger_rests(&ledger));
	once_debug_point("rest_before_settle");
	if (steps->rests)
		once_rest_settle(relid);
	return false;
}
