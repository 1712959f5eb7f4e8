/*-------------------------------------------------------------------------
 *
 * qam_visit.c
 *	  The visit of one page by a walk.
 *
 * A page is first looked at under a share lock, which tells whether it is worth
 * more, and which heap pages will be needed; these are pinned with nothing locked.
 * Then the page is locked exclusively, and slot after slot is judged together with
 * its row (qam_offer.c), changed in memory of ours, and finally applied in one
 * record.  Whatever must not happen under a page lock (reading a heap page, assigning
 * a transaction id, deleting a popped row) makes the visit apply what it has, unlock,
 * do it, lock again and go on at the same slot, which cannot have moved.
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

/* Finished slots that are rather looked at twice than logged by themselves */
#define QAM_MAX_REPEAT		16

/*
 * Collect heap pages that candidates from slotno on will need and that are
 * not pinned yet.  The slots' page is locked in any mode.
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
 * Are the page's hints enough to pass it by?  Then they become the visit's
 * result.  The page is locked in any mode.
 */
static bool
hints_say_quiet(QamWalk *walk, QamVisit *visit, QamOpaque opaque)
{
	/* When time does not matter, only what rests on transactions does */
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
 * The look under a share lock.
 *
 * Returns true if that is all the page deserves; visit's results are set.
 * Otherwise the heap pages that it will take are pinned.  No locks on exit.
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

		/* A hint is worth a lock only if it tells what it did not before */
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
 * Go through the page's slots from pass->slotno on.  Locked exclusively.
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
 * Apply the changes noted, and the page's hints if every slot was looked at.
 *
 * The page is locked exclusively.  A hint is only raised on a page that is not
 * the last one: nothing is appended behind its back.  It may name as its owner
 * only a transaction that some slot names: for those, the page's LSN sees to it
 * that the id is not assigned again after a crash.
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

	/* Those for whom time does not matter claim what the hint covers, too */
	if (logged && !qam_delivers(walk->req) && (!complete || qam_wants_one(walk->req)))
		qam_page_lower_earliest(&log, page, 0);
	if (logged)
		walk->lsn = qam_log_finish(&log);
	else
		qam_log_finish(&log);
}

/* Messages of groups whose rows could not be had */
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
 * Has a message been given up that comes before this one in its group?
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
 * Call the callback for the claims from "first" on, and undo those that it cannot
 * have, with those that come after them in their groups.  No page is locked; the
 * rows' heap pages are still pinned.
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
 * qam_assign_xid assigns the innermost transaction an id to claim by.  No page is locked.
 */
void
qam_assign_xid(QamWalk *walk)
{
	FullTransactionId xid = GetCurrentFullTransactionId();

	walk->claim_xid = QamMakeXidClaim(U64FromFullTransactionId(xid),
									  pg_prng_uint64(&pg_global_prng_state));

	/* It may have been looked up before it was ours */
	walk->view.xids.n = 0;
}

/*
 * Lock the visited page exclusively, at once or not at all unless wait.
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
 * The part of a visit that claims.  The page is pinned, not locked, on entry
 * and exit.
 */
static QamVisitResult
visit_exclusive(QamWalk *walk, QamVisit *visit, Buffer buffer, bool wait)
{
	QamVisitResult result = visit_lock(visit, buffer, wait);
	Page		page = BufferGetPage(buffer);
	bool		interrupted = false;	/* was the lock given up since the
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
		 * The first claim of a transaction: assign its id before anything is
		 * written, and take it from the top, so that all goes into one
		 * record.
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
		 * Hints must hold for the slots as they are now.  If the lock was
		 * given up on the way, slots seen before that may have been given
		 * back since; only DONE is for ever.
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

		/* We were let in once, so we wait to finish */
		interrupted = true;
		result = visit_lock(visit, buffer, true);
		if (result != QAM_VISIT_OK)
			return result;
	}
}

/*
 * qam_visit visits one page: claims what it has to offer, ends slots whose rows are
 * gone, improves its hints.  No locks on entry or exit.
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
