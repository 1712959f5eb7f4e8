/*-------------------------------------------------------------------------
 *
 * queue_hold.c
 *	  What a call has claimed and not handed out yet.
 *
 * Claims count as deliveries, whatever becomes of the transaction.  A call
 * that fails has delivered nothing, because messages are handed out together
 * when all has gone well.  So the call gives back all its claims, and no
 * attempt is counted.
 *
 * If the call fails because of one message, the next call would meet that
 * message again, and so would the one after it.  So the message that was
 * worked on is not just given back: it is stuck, and other messages come first
 * for a while.
 *
 * An error is caught before its transaction ends.  At that time, nobody can
 * have mistaken the end of the claiming transaction for a failed delivery.  A
 * backend that is told to terminate does not get to that point.  Its claims
 * are given back while its transaction is rolled back; somebody else may have
 * claimed the messages just before.  A backend that is killed gives nothing
 * back, and its claims count.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "once_limit.h"
#include "qam/qam.h"
#include "queue/queue_hold.h"
#include "queue/queue_open.h"
#include "queue/queue_try.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "wake/wake.h"

/* The innermost hold of the calls that are running */
static OnceHold *innermost = NULL;

pg_noreturn static void fail(OnceHold *hold);
static bool can_touch_pages(const ErrorData *error);
static void try_give_back(OnceHold *hold);
static void give_back(OnceHold *hold);
static void give_back_some(OnceHold *hold, const QamClaimed *claims, int n);
static void free_claims(OnceHold *hold);
static void abort_level(int nest_level);
static void hold_xact_callback(XactEvent event, void *arg);
static void hold_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
								  SubTransactionId parentSubid, void *arg);

/*
 * once_hold_init registers callbacks for the ends of transactions.
 */
void
once_hold_init(void)
{
	RegisterXactCallback(hold_xact_callback, NULL);
	RegisterSubXactCallback(hold_subxact_callback, NULL);
}

/*
 * once_hold_begin initializes a hold and its request.  The caller sets what is
 * not the same for all requests.
 */
void
once_hold_begin(OnceHold *hold, OnceQueue *queue, Snapshot snapshot)
{
	memset(hold, 0, sizeof(OnceHold));
	hold->queue = queue;
	hold->at = ONCE_AT_NONE;
	hold->first = !once_try_has_written();
	hold->req.heap = queue->heap;
	hold->req.index = queue->index;
	hold->req.selection.delivery.kind = QAM_CLAIM_XID;
	hold->req.selection.delivery.retry = queue->meta.retry;
	hold->req.selection.snapshot = snapshot;

	/*
	 * The executor's memory may be gone at rollback, when the claims are
	 * needed
	 */
	hold->req.claims.context = TopTransactionContext;
}

/*
 * once_hold calls "work", which makes claims through hold->req and hands
 * messages out.  When once_hold returns, the messages in hold->req.claims.claimed
 * count as handed out, and the arrays of claims have been freed.  If "work"
 * raises an error, the claims are given back, and the error is raised again.
 */
void
once_hold(OnceHold *hold, void (*work) (OnceHold *hold))
{
	hold->nest_level = GetCurrentTransactionNestLevel();
	hold->mcxt = CurrentMemoryContext;
	hold->owner = CurrentResourceOwner;
	hold->outer = innermost;
	innermost = hold;
	PG_TRY();
	{
		work(hold);
	}
	PG_CATCH();
	{
		fail(hold);
	}
	PG_END_TRY();
	innermost = hold->outer;
	free_claims(hold);
}

/*
 * fail gives back what a failed call holds, and raises its error again.
 */
static void
fail(OnceHold *hold)
{
	ErrorData  *error;

	innermost = hold->outer;
	MemoryContextSwitchTo(hold->mcxt);
	error = CopyErrorData();
	FlushErrorState();
	if (hold->in_time && once_limit_struck())
		hold->at = ONCE_AT_NONE;
	if (can_touch_pages(error))
		try_give_back(hold);
	free_claims(hold);
	ReThrowError(error);
}

/*
 * can_touch_pages tells whether pages may be used after an error.  If a page
 * could not be read, this backend may still count as reading it, and would
 * wait for itself.
 */
static bool
can_touch_pages(const ErrorData *error)
{
	return ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR);
}

/*
 * try_give_back gives back what a call holds, if that is possible.
 *
 * The error may have left locks on pages or a half-made WAL record.  The
 * rollback of a subtransaction cleans all that up, so we start one and roll it
 * back.
 */
static void
try_give_back(OnceHold *hold)
{
	PG_TRY();
	{
		BeginInternalSubTransaction(NULL);
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(hold->mcxt);
		CurrentResourceOwner = hold->owner;
		give_back(hold);
	}
	PG_CATCH();
	{
		/* Then the claims end with the transaction, and count */
		MemoryContextSwitchTo(hold->mcxt);
		FlushErrorState();
	}
	PG_END_TRY();
}

/*
 * give_back undoes all claims of a call.  It does not check for interrupts,
 * because nobody else would undo what is left.
 */
static void
give_back(OnceHold *hold)
{
	give_back_some(hold, hold->req.claims.dead, hold->req.claims.ndead);
	give_back_some(hold, hold->req.claims.claimed, hold->req.claims.nclaimed);
	if (hold->req.claims.ndead + hold->req.claims.nclaimed > 0)
		once_wake_look(RelationGetRelid(hold->req.heap));
}

static void
give_back_some(OnceHold *hold, const QamClaimed *claims, int n)
{
	int			i;

	for (i = 0; i < n; i++)
		qam_undo_claim(hold->req.index, &claims[i], claims[i].nth == hold->at);
}

static void
free_claims(OnceHold *hold)
{
	if (hold->req.claims.claimed != NULL)
		pfree(hold->req.claims.claimed);
	if (hold->req.claims.dead != NULL)
		pfree(hold->req.claims.dead);
	hold->req.claims.claimed = hold->req.claims.dead = NULL;
}

/*
 * abort_level gives back what calls hold in a transaction or subtransaction
 * that is being rolled back although none of them has failed.  This is so when
 * the backend terminates.  The stack frames of the calls still exist.
 */
static void
abort_level(int nest_level)
{
	while (innermost != NULL && innermost->nest_level >= nest_level)
	{
		OnceHold   *hold = innermost;
		uint32		holdoff = InterruptHoldoffCount;

		innermost = hold->outer;
		PG_TRY();
		{
			give_back(hold);
		}
		PG_CATCH();
		{
			/*
			 * Clean up as the beginning of the rollback did, which still
			 * holds interrupts off
			 */
			InterruptHoldoffCount = holdoff;
			FlushErrorState();
			LWLockReleaseAll();
			UnlockBuffers();
			XLogResetInsertion();
		}
		PG_END_TRY();
	}
}

static void
hold_xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		abort_level(0);
}

static void
hold_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
					  SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		abort_level(GetCurrentTransactionNestLevel());
}
