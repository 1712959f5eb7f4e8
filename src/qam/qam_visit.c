/*-------------------------------------------------------------------------
 *
 * qam_visit.c
 *	  The visit of one page by a walk.
 *
 * First the page is looked at under a share lock (the glance), which tells
 * whether it is worth more, and which heap pages will be needed.  These are
 * pinned with nothing locked.  Then the page is locked exclusively.  One slot
 * after the other is judged together with its row (qam_offer.c).  The changes
 * are noted in our memory, and in the end applied in one record.  Some things
 * must not happen under a page lock: reading a heap page, assigning a
 * transaction id, deleting a popped row.  For these, the visit applies what it
 * has noted, unlocks the page, does the thing, locks again, and goes on at the
 * same slot, which cannot have moved.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/transam.h"
#include "access/xact.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "once_debug.h"
#include "qam/qam.h"
#include "qam/qam_damage.h"
#include "qam/qam_format.h"
#include "qam/qam_group.h"
#include "qam/qam_meta.h"
#include "qam/qam_offer.h"
#include "qam/qam_page.h"
#include "qam/qam_quiet.h"
#include "qam/qam_visit.h"
#include "qam/qam_xid.h"
#include "qam/qam_xlog.h"
#include "storage/bufmgr.h"

/*
 * When a pass stops because it needs a transaction id, it drops the changes
 * noted so far and finds them again, if there are no more than this.
 * Otherwise they are logged in a record of their own.
 */
#define QAM_MAX_REPEAT		16

/*
 * Collect the heap pages that the candidates from slotno on will need and that
 * are not pinned yet.  Returns how many there are.  The slots' page is locked
 * in any mode.
 */
static int
gather(QamWalk *walk, const QamLink *link, Page page, int slotno,
	   BlockNumber *blocks)
{
	QamSlot    *slots = QamPageGetSlots(page);
	int			n = QamPageGetSlotCount(page);
	int			wanted = qam_wanted(walk->req);
	int			nblocks = 0;
	uint64		xid;
	bool		own;

	for (; slotno < n && wanted > 0; slotno++)
	{
		BlockNumber block;
		int			i;

		if (qam_read_slot(walk, link, slotno, &slots[slotno], &xid, &own) != QAM_READ_CANDIDATE)
			continue;
		wanted--;
		qam_require_slot(walk->index, link->block, slotno, &slots[slotno],
						 QamPageGetOpaque(page)->kind);
		block = QamSlotGetBlock(&slots[slotno]);
		if (BufferIsValid(qam_pin_find(walk, block)))
			continue;
		for (i = nblocks - 1; i >= 0 && blocks[i] != block; i--)
			 /* look for it */ ;
		if (i >= 0)
			continue;
		if (nblocks == walk->max_pins)
			break;
		blocks[nblocks++] = block;
	}
	return nblocks;
}

/*
 * Do the page's hints tell that it can be passed by?  Then they become the
 * visit's result.  The page is locked in any mode.
 */
static bool
hints_say_quiet(QamWalk *walk, QamVisit *visit, QamOpaque opaque)
{
	/* If time does not matter, only a hint without a time counts */
	if (qam_wants_one(walk->req) || !QamLinkIsValid(&opaque->next) ||
		walk->expected_block == visit->link.block ||
		opaque->earliest <= (qam_delivers(walk->req) ? walk->view.now : DT_NOEND - 1))
		return false;
	qam_quiet_init(&visit->quiet);
	visit->quiet.earliest = opaque->earliest;
	visit->removable = (opaque->earliest == DT_NOEND && opaque->owner == 0);
	if (opaque->owner != 0)
	{
		QamXidState state = qam_xid_state_cached(&walk->view.xids, opaque->owner);

		if (state == QAM_XID_ENDED)
			return false;
		qam_quiet_add_xid(&visit->quiet, opaque->owner, state == QAM_XID_OWN);
	}
	return true;
}

/*
 * The look under a share lock, which the page has on entry.
 *
 * Returns true if the page needs no more than that; then the visit's results
 * are set.  Otherwise the heap pages that are needed are pinned.  No lock on
 * exit.
 */
static bool
glance(QamWalk *walk, QamVisit *visit, Buffer buffer)
{
	Page		page = BufferGetPage(buffer);
	QamOpaque	opaque = QamPageGetOpaque(page);
	QamSlot    *slots = QamPageGetSlots(page);
	int			n = QamPageGetSlotCount(page);
	BlockNumber blocks[QAM_MAX_PINS];
	int			nblocks;
	bool		candidates = false;
	bool		all_done = true;
	int			i;

	visit->removable = false;
	visit->complete = true;
	if (hints_say_quiet(walk, visit, opaque))
	{
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		return true;
	}

	qam_quiet_init(&visit->quiet);
	for (i = opaque->first_unfinished; i < n && !candidates; i++)
	{
		uint64		xid = 0;
		bool		own = false;
		QamReading	reading = qam_read_slot(walk, &visit->link, i, &slots[i], &xid, &own);

		candidates = (reading == QAM_READ_CANDIDATE || reading == QAM_READ_ENDED);
		all_done &= (reading == QAM_READ_DONE);
		qam_note_reading(&visit->quiet, &slots[i], reading, xid, own);
	}
	if (!candidates)
	{
		bool		is_last = !QamLinkIsValid(&opaque->next);

		/* Only its hint is left to be raised, if that can express the reasons */
		visit->removable = all_done && !is_last;
		if (is_last || visit->removable || visit->quiet.earliest <= walk->view.now ||
			visit->quiet.nowners + (visit->quiet.own ? 1 : 0) > 1 ||
			(visit->quiet.own && visit->quiet.own_xid == 0))
		{
			LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
			return true;
		}
	}
	nblocks = gather(walk, &visit->link, page, opaque->first_unfinished, blocks);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	once_debug_point("walk_before_pin");
	qam_pin(walk, blocks, nblocks);
	once_debug_point("walk_before_lock");
	return false;
}

/*
 * Go through the page's slots from pass->slotno on.  The page is locked
 * exclusively.
 */
static QamStop
visit_slots(QamWalk *walk, QamPass *pass, Page page)
{
	QamSlot    *slots = QamPageGetSlots(page);
	int			n = QamPageGetSlotCount(page);
	QamStop		stop = QAM_STOP_END;

	pass->nchanges = 0;
	pass->ngroups = 0;
	pass->locked_heap = InvalidBuffer;
	while (pass->slotno < n)
	{
		stop = qam_visit_slot(walk, pass, &slots[pass->slotno]);
		if (stop != QAM_STOP_END)
			break;
		pass->slotno++;
		if (pass->prefix_open)
			pass->done_prefix = pass->slotno;
	}
	if (BufferIsValid(pass->locked_heap))
		LockBuffer(pass->locked_heap, BUFFER_LOCK_UNLOCK);
	return stop;
}

/*
 * Apply the noted changes and, if every slot was looked at, the page's hints.
 *
 * The page is locked exclusively.  Hints are raised only on a page that is not
 * the last one, to which nothing is appended any more.  The owner must be a
 * transaction that some slot names: then the page's LSN ensures that its id is
 * not assigned again after a crash.
 */
static void
apply(QamWalk *walk, const QamPass *pass, Buffer buffer, bool complete)
{
	Page		page = BufferGetPage(buffer);
	QamOpaque	opaque = QamPageGetOpaque(page);
	int64		earliest = opaque->earliest;
	uint64		owner = opaque->owner;
	bool		set_hints;
	bool		logged = false;
	QamLog		log;
	int			i;

	if (complete && QamLinkIsValid(&opaque->next) && !qam_wants_one(walk->req))
	{
		const QamQuiet *quiet = pass->quiet;

		earliest = quiet->earliest;
		owner = 0;
		if (quiet->by_row)
			earliest = 0;
		else if (quiet->own && quiet->nowners == 0 && quiet->own_xid != 0)
			owner = quiet->own_xid;
		else if (!quiet->own && quiet->nowners == 1)
			owner = quiet->owners[0];
		else if (quiet->own || quiet->nowners > 0)
			earliest = 0;
	}
	set_hints = earliest != opaque->earliest || owner != opaque->owner ||
		pass->done_prefix != opaque->first_unfinished;
	if (pass->nchanges == 0 && !set_hints)
		return;

	for (i = 0; i < pass->nchanges; i++)
		logged |= (pass->changes[i].what != QAM_CHANGE_HINT);
	if (logged)
		qam_log_begin(&log, walk->index);
	else
		qam_log_begin_hint(&log, walk->index);
	page = qam_log_page(&log, buffer, false);
	for (i = 0; i < pass->nchanges; i++)
	{
		const QamChange *change = &pass->changes[i];

		switch (change->what)
		{
			case QAM_CHANGE_SET:
				qam_page_set_slot(&log, page, change->slotno, &change->new);
				break;
			case QAM_CHANGE_OVER:
				qam_page_set_over(&log, page, change->slotno, change->keep_claim,
								  change->gone_by);
				break;
			case QAM_CHANGE_HINT:
				qam_page_set_slot_hint(&log, page, change->slotno,
									   change->new.hints);
				break;
		}
	}
	if (set_hints)
		qam_page_set_hints(&log, page, earliest, owner, pass->done_prefix);

	/* Taking away claims slots that the hint covers, too */
	if (logged && !qam_delivers(walk->req) && (!complete || qam_wants_one(walk->req)))
		qam_page_lower_earliest(&log, page, 0);
	if (logged)
		walk->lsn = qam_log_finish(&log);
	else
		qam_log_finish(&log);
}

/* Messages of groups whose rows were not available */
typedef struct QamGivenUp
{
	int			n;
	struct
	{
		uint32		hash;		/* of the group */
		int			slotno;
	}			messages[QAM_SLOTS_PER_PAGE];
} QamGivenUp;

/*
 * Was a message given up that comes before this one in its group?
 */
static bool
given_up_before(const QamGivenUp *given_up, const QamClaimed *claimed)
{
	int			i;

	for (i = 0; i < given_up->n; i++)
		if (given_up->messages[i].hash == claimed->group &&
			given_up->messages[i].slotno < claimed->ref.slot)
			return true;
	return false;
}

/*
 * Call the request's "remove" for the claims from "first" on.  Undo those
 * whose rows are not available, and those that come after them in their
 * groups.  No page is locked.  The heap pages of the rows are still pinned.
 */
static void
remove_rows(QamWalk *walk, QamVisit *visit, int first)
{
	QamClaimRequest *req = walk->req;
	QamClaims  *claims = &req->claims;
	QamGivenUp	given_up;
	int			kept = first;
	int			n = claims->nclaimed;
	int			i;

	if (req->remove == NULL || first == n)
		return;
	once_debug_point("walk_before_take");
	given_up.n = 0;
	for (i = first; i < n; i++)
	{
		QamClaimed *claimed = &claims->claimed[i];

		if (!given_up_before(&given_up, claimed) && req->remove(req->remove_arg, claimed))
		{
			if (kept < i)
				claims->claimed[kept] = *claimed;
			kept++;
			continue;
		}
		if (claimed->group != 0)
		{
			given_up.messages[given_up.n].hash = claimed->group;
			given_up.messages[given_up.n++].slotno = claimed->ref.slot;
			walk->expecting = false;
			walk->expected_block = InvalidBlockNumber;
		}
		qam_undo_claim(walk->index, claimed, false);
		visit->quiet.earliest = 0;
	}
	claims->nclaimed = kept;
}

/*
 * qam_assign_xid assigns the innermost transaction an id, to claim by.  No
 * page is locked.
 */
void
qam_assign_xid(QamWalk *walk)
{
	FullTransactionId xid = GetCurrentFullTransactionId();

	walk->claim_xid = QamMakeXidClaim(U64FromFullTransactionId(xid),
									  pg_prng_uint64(&pg_global_prng_state));

	/* The id may have been looked up before it was ours */
	walk->view.xids.n = 0;
}

/*
 * Lock the visited page exclusively.  Unless "wait", return BUSY if that takes
 * waiting.
 */
static QamVisitResult
visit_lock(const QamVisit *visit, Buffer buffer, bool wait)
{
	if (wait)
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	else if (!ConditionalLockBuffer(buffer))
		return QAM_VISIT_BUSY;
	if (!qam_page_is(BufferGetPage(buffer), &visit->link, visit->lane))
	{
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		return QAM_VISIT_GONE;
	}
	return QAM_VISIT_OK;
}

/*
 * Begin a pass over a page, at the first slot that is not known to be DONE.
 */
static void
begin_pass(QamPass *pass, QamVisit *visit, Page page)
{
	pass->lane = visit->lane;
	pass->link = &visit->link;
	pass->quiet = &visit->quiet;
	pass->slotno = pass->done_prefix = QamPageGetOpaque(page)->first_unfinished;
	pass->prefix_open = pass->all_done = true;
	qam_quiet_init(pass->quiet);
}

/*
 * The part of a visit that claims.  The page is pinned, and not locked, on
 * entry and exit.
 */
static QamVisitResult
visit_exclusive(QamWalk *walk, QamVisit *visit, Buffer buffer, bool wait)
{
	QamVisitResult result = visit_lock(visit, buffer, wait);
	Page		page = BufferGetPage(buffer);
	bool		interrupted = false;	/* was the page unlocked since the
										 * first slot? */
	QamPass		pass;

	if (result != QAM_VISIT_OK)
		return result;
	begin_pass(&pass, visit, page);
	for (;;)
	{
		QamClaimRequest *req = walk->req;
		int			first = req->claims.nclaimed;
		BlockNumber blocks[QAM_MAX_PINS];
		int			nblocks = 0;
		int			i;
		QamStop		stop = visit_slots(walk, &pass, page);

		visit->next = QamPageGetOpaque(page)->next;

		/*
		 * This is the first claim of a transaction.  Assign its id before
		 * anything is written, and begin the pass again, so that all goes
		 * into one record.
		 */
		if (stop == QAM_STOP_XID && !interrupted &&
			req->claims.nclaimed == first && pass.nchanges <= QAM_MAX_REPEAT)
		{
			LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
			qam_assign_xid(walk);
			once_debug_point("walk_unlocked");
			result = visit_lock(visit, buffer, true);
			if (result != QAM_VISIT_OK)
				return result;
			begin_pass(&pass, visit, page);
			continue;
		}

		/*
		 * Hints must hold for the slots as they are now.  If the page was
		 * unlocked on the way, slots seen before that may have been given
		 * back since; only DONE is final.
		 */
		visit->complete = (stop == QAM_STOP_END && !interrupted);
		visit->removable = stop == QAM_STOP_END && pass.all_done &&
			QamLinkIsValid(&visit->next);
		apply(walk, &pass, buffer, visit->complete);
		if (stop == QAM_STOP_PIN)
			nblocks = gather(walk, &visit->link, page, pass.slotno, blocks);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);

		for (i = 0; i < pass.ngroups; i++)
			qam_group_advance(walk->index, pass.groups[i], walk->view.woken);
		if (!qam_delivers(req) && req->claims.nclaimed > first)
			qam_meta_wake(walk->index, visit->link.seq);

		remove_rows(walk, visit, first);
		if (stop == QAM_STOP_END || (stop == QAM_STOP_ENOUGH && qam_enough(req)))
			return QAM_VISIT_OK;
		if (stop == QAM_STOP_XID)
			qam_assign_xid(walk);
		else if (stop == QAM_STOP_PIN)
			qam_pin(walk, blocks, nblocks);

		CHECK_FOR_INTERRUPTS();
		once_debug_point("walk_unlocked");

		/* We had the lock once, so we wait for it in order to finish */
		interrupted = true;
		result = visit_lock(visit, buffer, true);
		if (result != QAM_VISIT_OK)
			return result;
	}
}

/*
 * qam_visit visits one page: it claims what the page has to offer, ends slots
 * whose rows are gone, and updates the page's hints.  No locks on entry or
 * exit.
 */
QamVisitResult
qam_visit(QamWalk *walk, QamVisit *visit, bool wait)
{
	QamVisitResult result = QAM_VISIT_OK;
	Buffer		buffer;

	once_debug_point("walk_before_visit");
	buffer = qam_pin_block(walk->index, visit->link.block, "list");
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	if (!qam_page_is(BufferGetPage(buffer), &visit->link, visit->lane))
	{
		UnlockReleaseBuffer(buffer);
		return QAM_VISIT_GONE;
	}
	visit->next = QamPageGetOpaque(BufferGetPage(buffer))->next;
	if (!glance(walk, visit, buffer))
		result = visit_exclusive(walk, visit, buffer, wait);
	ReleaseBuffer(buffer);
	return result;
}
