/*-------------------------------------------------------------------------
 *
 * queue_dedup.c
 *	  Messages with a dedup_id: a repeat is not sent.
 *
 * A queue remembers the dedup_ids of its messages in a ledger of its own (see
 * src/ledger), the tables once."d_<queue>_0" and "d_<queue>_1", which are made
 * with the queue.  Sending a message marks its dedup_id, with the message's id
 * as the value, in the same transaction.  So only one message with a dedup_id
 * is sent, whoever sends it.  A session that repeats it waits until the
 * transaction of the first one ends.
 *
 * All ids of a call are drawn before, in the order of its messages.  So ids
 * are in the order of the rows, which the building of an index relies on.  The
 * ids drawn for repeats are never used.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "catalog/pg_class.h"
#include "commands/sequence.h"
#include "ledger/ledger.h"
#include "meta/meta_catalog.h"
#include "meta/meta_ddl.h"
#include "miscadmin.h"
#include "once_error.h"
#include "once_rest.h"
#include "queue/queue_dedup.h"
#include "queue/queue_insert.h"
#include "queue/queue_open.h"
#include "queue/queue_row.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/rel.h"

static void open_ledger(const OnceQueue *queue, OnceLedger *ledger);
static void check_owner(const OnceQueue *queue, const OnceLedger *ledger);

/*
 * once_dedup_begin prepares for a call that sends at most "max" messages with
 * a dedup_id.
 */
void
once_dedup_begin(OnceDedup *dedup, int max)
{
	dedup->n = 0;
	dedup->marks = palloc_extended(sizeof(OnceMark) * Max(max, 1), MCXT_ALLOC_HUGE);
	dedup->rows = palloc_extended(sizeof(int) * Max(max, 1), MCXT_ALLOC_HUGE);
}

/*
 * once_dedup_add notes the dedup_id of a row, or raises an error that names
 * the argument.  Rows must be added in ascending order.
 */
void
once_dedup_add(OnceDedup *dedup, int row, Datum dedup_id, const char *argument)
{
	once_ledger_check_id(dedup_id, argument, &dedup->marks[dedup->n]);
	dedup->rows[dedup->n] = row;
	dedup->n++;
}

/*
 * once_dedup_insert is once_insert_rows for new messages, of which some have a
 * dedup_id.  It stores those that are no repeats.  A repeat gets the id of the
 * message that it repeats, and is_new is false in its element of dedup->marks.
 *
 * Waits for open transactions that have sent a message with one of the
 * dedup_ids.
 */
void
once_dedup_insert(OnceQueue *queue, OnceNewRows *batch, OnceDedup *dedup)
{
	OnceNewRows new;
	OnceLedger	ledger;
	int			repeats = 0;
	int			i;
	int			d;

	once_insert_check_new(queue, batch);
	if (dedup->n == 0)
	{
		once_insert_rows(queue, batch);
		return;
	}

	open_ledger(queue, &ledger);
	(void) once_ledger_advance(&ledger, false);
	for (i = 0; i < batch->nrows; i++)
		batch->rows[i].id = nextval_internal(queue->meta.sequence, false);
	for (d = 0; d < dedup->n; d++)
	{
		dedup->marks[d].value = Int64GetDatum(batch->rows[dedup->rows[d]].id);
		dedup->marks[d].value_null = false;
	}
	once_ledger_mark(&ledger, dedup->marks, dedup->n, true);
	once_rest_end(RelationGetRelid(queue->heap));
	for (d = 0; d < dedup->n; d++)
	{
		if (!dedup->marks[d].is_new)
		{
			batch->rows[dedup->rows[d]].id = DatumGetInt64(dedup->marks[d].value);
			repeats++;
		}
	}

	new = *batch;
	new.have_ids = true;
	if (repeats > 0)
	{
		new.rows = palloc_extended(sizeof(OnceNewRow) * batch->nrows, MCXT_ALLOC_HUGE);
		new.nrows = 0;
		for (i = 0, d = 0; i < batch->nrows; i++)
		{
			bool		repeat = d < dedup->n && dedup->rows[d] == i &&
				!dedup->marks[d++].is_new;

			if (!repeat)
				new.rows[new.nrows++] = batch->rows[i];
		}
	}
	once_insert_rows(queue, &new);
}

/*
 * once_dedup_make makes the ledger for the dedup_ids of a queue, for the
 * queue's owner.  The caller may act for the owner and holds
 * once_options_lock.  False: the ledger exists.
 */
bool
once_dedup_make(Relation heap, const char *queue)
{
	OnceLedger	ledger;

	if (once_ledger_find(&ledger, ONCE_LEDGER_DEDUP, queue, 0))
		return false;
	once_ledger_make(ONCE_LEDGER_DEDUP, queue,
					 heap->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED,
					 heap->rd_rel->relowner);
	once_rest_end_at_commit();
	return true;
}

/*
 * once_dedup_forget_queue drops the ledger for the dedup_ids of a queue that
 * is being dropped or made.  The caller holds once_options_lock.
 *
 * The owner of the tables does not matter, since what an earlier queue of that
 * name has left behind belongs to nobody.
 */
void
once_dedup_forget_queue(const char *queue)
{
	once_ddl_drop(once_ledger_relnames(ONCE_LEDGER_DEDUP, queue));
}

/*
 * open_ledger finds the ledger for the dedup_ids of a queue.  It is made with
 * the queue; if it is missing, it is made again if the caller owns the queue's
 * table.  Otherwise that is an error.
 *
 * It is an error if the table is distributed, as other nodes do not see the ledger.
 * It is an error, too, if its tables belong to another role than the queue's
 * table.  That role could insert ids, so that messages count as repeats and
 * are not sent.
 */
static void
open_ledger(const OnceQueue *queue, OnceLedger *ledger)
{
	const char *name = once_queue_name(queue);
	int64		window = queue->meta.dedup_window;

	if (queue->meta.distributed)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot use a dedup_id with queue \"%s\"", name),
				 errdetail("Its table is distributed by Citus, and each node would remember dedup_ids of its own."),
				 errhint("Let consumers recognize repeats, for example by a unique key of a table that is co-located with the queue.")));
	if (once_ledger_find(ledger, ONCE_LEDGER_DEDUP, name, window))
	{
		check_owner(queue, ledger);
		return;
	}
	once_ledger_check_whole(ONCE_LEDGER_DEDUP, name);
	if (!once_is_table_owner(RelationGetRelid(queue->heap), GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("queue \"%s\" does not remember any dedup_id", name),
				 errdetail("The tables for dedup_ids, which were created with the queue, are missing."),
				 errhint("Its owner can create them with once.alter_queue.")));

	/* If two sessions make it, the second finds it made. */
	once_options_lock(ONCE_QUEUE_PREFIX, name);
	once_dedup_make(queue->heap, name);
	if (!once_ledger_find(ledger, ONCE_LEDGER_DEDUP, name, window))
		elog(ERROR, "could not find the tables for dedup_ids of queue \"%s\"", name);
}

/*
 * check_owner raises once_ledger_unusable if the tables of a ledger and the
 * table of its queue have different owners.
 */
static void
check_owner(const OnceQueue *queue, const OnceLedger *ledger)
{
	const char *name = once_queue_name(queue);
	Oid			owner = queue->heap->rd_rel->relowner;

	if (ledger->owner != owner)
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_LEDGER_UNUSABLE),
				 once_ledger_errmsg_unusable(ONCE_LEDGER_DEDUP, name),
				 errdetail("The tables for dedup_ids and the table of the queue have different owners."),
				 errhint("Use ALTER TABLE ... OWNER TO to give tables %s to role \"%s\".",
						 once_ledger_tables(ONCE_LEDGER_DEDUP, name),
						 GetUserNameFromId(owner, false))));
}
