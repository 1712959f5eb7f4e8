/*-------------------------------------------------------------------------
 *
 * queue_hold.c
 *	  What a call has claimed and not handed out yet.
 *
 * Claims count as deliveries, whatever becomes of the transaction.  A call that
 * fails has delivered nothing, so it gives back, uncounted, what it has claimed:
 * all of it, since messages are handed out together, when all has gone well.
 *
 * If the call fails because of one message, that one would be met again by the
 * next call, and by the one after it.  So the message that was worked on is not
 * just given back, but stuck: others come first for a while.
 *
 * An error is caught before its transaction ends: nobody can have taken the end
 * of the claiming transaction for a failed delivery by then.  A backend that is
 * told to terminate does not come by there; its claims are given back as its
 * transaction is rolled back, when somebody may just have been faster.  One that
 * is killed gives back nothing, and its claims count.
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
#include "utils/resowner.h"

/* The innermost one under way */
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
 * once_hold_init hooks into the ends of transactions.
 */
void
once_hold_init(void)
{
	RegisterXactCallback(hold_xact_callback, NULL);
	RegisterSubXactCallback(hold_subxact_callback, NULL);
}

/*
 * once_hold_begin makes a request of the queue's, empty but for what all have in
 * common.
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

	/* An executor's memory may be gone when its transaction is rolled back */
	hold->req.claims.context = TopTransactionContext;
}

/*
 * once_hold does work that claims by hold->req, and with what has been claimed.
 * When it returns, the messages in hold->req.claims.claimed count as handed out, and
 * the array is gone; if it fails, they are given back.
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
 * fail gives back what a call holds that has raised an error, and raises it
 * again.
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
 * can_touch_pages tells whether pages may be used after an error.  A page that
 * could not be read, this backend may still be reading, and would wait for itself.
 */
static bool
can_touch_pages(const ErrorData *error)
{
	return ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR);
}

/*
 * try_give_back gives back what a call holds, if it can be done.
 *
 * The error may have left locks on pages, or a record half made.  All that is
 * cleared away at the end of a subtransaction that fails, so here is one.
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
		/* Then they end with the transaction, and count */
		MemoryContextSwitchTo(hold->mcxt);
		FlushErrorState();
	}
	PG_END_TRY();
}

/*
 * give_back undoes all claims of a call.
 */
static void
give_back(OnceHold *hold)
{
	give_back_some(hold, hold->req.claims.dead, hold->req.claims.ndead);
	give_back_some(hold, hold->req.claims.claimed, hold->req.claims.nclaimed);
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
 * abort_level gives back what calls hold in a (sub)transaction that is being
 * rolled back with none of them having failed: the backend terminates, and their
 * frames are still there.
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
			 * As at the beginning of the rollback, which still holds
			 * interrupts off
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
