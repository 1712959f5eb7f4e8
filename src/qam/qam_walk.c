/*-------------------------------------------------------------------------
 *
 * qam_walk.c
 *	  Claiming: the walk along the lanes that finds messages to hand out.
 *
 * A walk goes through a lane page by page.  A page is first looked at under a
 * share lock, which tells whether it is worth more, and which heap pages will
 * be needed; these are pinned with nothing locked.  Then the page is locked
 * exclusively, and slot after slot is judged together with its row, changed in
 * memory of ours, and finally applied in one record.  Whatever must not happen
 * under a page lock (reading a heap page, assigning a transaction id, deleting
 * a popped row) makes the walk apply what it has, unlock, do it, lock again and
 * go on at the same slot, which cannot have moved.
 *
 * Invariants:
 *
 * - Claim first, heap second: a claim's transaction is seen to have ended
 *   before its row is judged.  The other order would offer a message again
 *   whose consumer commits in between.
 * - A row is judged with the slot's page locked, so that ambulkdelete cannot
 *   have let go of its line pointer, and stays pinned until it has been copied
 *   or, for pop, deleted.
 * - A walk that returns less than it was asked for has looked at every page,
 *   if necessary waiting for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "once_debug.h"
#include "pgstat.h"
#include "qam/qam.h"
#include "qam/qam_damage.h"
#include "qam/qam_delivery.h"
#include "qam/qam_format.h"
#include "qam/qam_group.h"
#include "qam/qam_heap.h"
#include "qam/qam_lane.h"
#include "qam/qam_meta.h"
#include "qam/qam_page.h"
#include "qam/qam_quiet.h"
#include "qam/qam_schedule.h"
#include "qam/qam_xid.h"
#include "qam/qam_xlog.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* once.flush_claims: are claims on disk before they are handed out? */
bool		qam_flush_claims = false;

/* Heap pages a walk keeps pinned at a time, buffers permitting */
#define QAM_MAX_PINS		128

/* Finished slots that are rather looked at twice than logged by themselves */
#define QAM_MAX_REPEAT		16

/* Slots that have become due and that one walk moves before it goes on */
#define QAM_MOVES_PER_WALK	4000

/* Groups that a walk looks at which has found nothing else; and the pause after each
 * that was looked at in vain, in microseconds, about ten times what it has taken */
#define QAM_SETTLES_PER_WALK	64
#define QAM_SETTLE_PAUSE		20

/* Slots that a walk expects at a time; a power of two */
#define QAM_EXPECTED		256

/* A change to a slot, decided on but not applied yet */
typedef struct QamChange
{
	int			slotno;
	enum
	{
		QAM_CHANGE_SET,
		QAM_CHANGE_OVER,
		QAM_CHANGE_HINT			/* ack hint off; not logged */
	}			what;
	bool		keep_claim;		/* OVER: see qam_page_set_over */
	uint64		gone_by;
	QamSlot		new;
} QamChange;

/* State of one call */
typedef struct QamWalk
{
	QamClaimRequest *req;
	Relation	index;
	QamView		view;			/* how things were when it began */
	uint64		claim_xid;		/* claim word for claims by xid, 0 = none yet */
	int			npins;
	int			max_pins;
	BlockNumber pinned[QAM_MAX_PINS];
	Buffer		pins[QAM_MAX_PINS];
	uint64		lease_claim;	/* claim word for leases */
	XLogRecPtr	lsn;			/* end of the last record written */

	/* Slots whose predecessors in their groups are ours now, or ENDED */
	bool		expecting;
	BlockNumber expected_block; /* of the last one noted */
	QamPlace	expected[QAM_EXPECTED];
} QamWalk;

/* State of the visit of one page */
typedef struct QamVisit
{
	int			lane;
	QamLink		link;
	QamLink		next;			/* out: the page's successor */
	bool		removable;		/* out: all DONE, and not the last page */
	bool		complete;		/* out: every slot was looked at */
	QamQuiet	quiet;			/* out, if complete */

	/* while the page is locked exclusively */
	Buffer		buffer;
	int			slotno;			/* where to go on */
	int			done_prefix;	/* slots before it are DONE */
	bool		prefix_open;	/* is done_prefix still growing? */
	bool		interrupted;	/* lock was given up since the first slot */
	bool		all_done;
	int			nchanges;
	QamChange	changes[QAM_SLOTS_PER_PAGE];
	Buffer		locked_heap;	/* share-locked, or invalid */
	int			ngroups;		/* those whose first slot is ENDED */
	uint32		groups[QAM_SLOTS_PER_PAGE];
	int			ngiven_up;		/* those of which a row could not be had */
	struct
	{
		uint32		hash;
		int			slotno;
	}			given_up[QAM_SLOTS_PER_PAGE];
} QamVisit;

typedef enum QamVisitResult
{
	QAM_VISIT_OK,
	QAM_VISIT_BUSY,				/* page locked by somebody; next is set */
	QAM_VISIT_GONE				/* the link leads nowhere now */
} QamVisitResult;

/* What a slot alone says */
typedef enum QamReading
{
	QAM_READ_DONE,
	QAM_READ_LATER,				/* not before its ready_at */
	QAM_READ_RUNNING,			/* not while its transaction is open */
	QAM_READ_OTHER,				/* not the row that is wanted */
	QAM_READ_BLOCKED,			/* not while there is one before it in its
								 * group */
	QAM_READ_ENDED,				/* over, and its group should be told */
	QAM_READ_CANDIDATE			/* ask the heap */
} QamReading;

/* Why the exclusive pass over a page stopped */
typedef enum QamStop
{
	QAM_STOP_END,				/* all slots looked at */
	QAM_STOP_ENOUGH,			/* as many messages as were asked for */
	QAM_STOP_PIN,				/* heap page of slotno must be pinned */
	QAM_STOP_XID				/* a transaction id is needed to claim slotno */
} QamStop;


/*
 * ---- Pins of heap pages ----
 */

static Buffer
qam_pin_find(QamWalk *walk, BlockNumber block)
{
	int			i;

	/* Most recent first: rows of neighbours are neighbours mostly */
	for (i = walk->npins - 1; i >= 0; i--)
		if (walk->pinned[i] == block)
			return walk->pins[i];
	return InvalidBuffer;
}

static void
qam_unpin_all(QamWalk *walk)
{
	while (walk->npins > 0)
		ReleaseBuffer(walk->pins[--walk->npins]);
}

/*
 * Pin up to max_pins heap pages that are not pinned yet.  No page is locked.
 * Earlier pins are given up if there is no room.
 */
static void
qam_pin(QamWalk *walk, const BlockNumber *blocks, int nblocks)
{
	int			i;

	if (walk->npins + nblocks > walk->max_pins)
		qam_unpin_all(walk);
	for (i = 0; i < nblocks; i++)
	{
		walk->pinned[walk->npins] = blocks[i];
		walk->pins[walk->npins] = qam_pin_row(walk->req->heap, walk->index, blocks[i]);
		walk->npins++;
	}
}


/*
 * ---- Looking at slots ----
 */

/*
 * Are messages wanted whatever their time, to be taken away uncounted?
 */
static inline bool
qam_any_time(const QamClaimRequest *req)
{
	return req->everything || req->only != NULL;
}

/*
 * Has the request got what it wants?
 */
static inline bool
qam_enough(const QamClaimRequest *req)
{
	return req->max > 0 ? req->nclaimed >= req->max : req->ndead >= req->max_dead;
}

/*
 * Expect the successor of a slot of a group: if it comes up in this walk, it may
 * be treated as the first of its group.
 *
 * For the slot is ENDED, which is for ever, or in the hands of this call, which
 * may take several messages of a group.  Not all that are noted are remembered.
 */
static void
expect(QamWalk *walk, const QamSlot *slot)
{
	QamPlace	place = {slot->next_block, slot->next_seq, slot->next_slot};

	if (place.block == 0)
		return;
	if (!walk->expecting)
		memset(walk->expected, 0, sizeof(walk->expected));
	walk->expecting = true;
	walk->expected_block = place.block;
	walk->expected[(place.block * 31 + place.slot) % QAM_EXPECTED] = place;
}

static inline bool
is_expected(const QamWalk *walk, const QamLink *link, int slotno)
{
	const QamPlace *place;

	if (!walk->expecting)
		return false;
	place = &walk->expected[(link->block * 31 + slotno) % QAM_EXPECTED];
	return place->block == link->block && place->slot == slotno &&
		place->seq == (uint32) link->seq;
}

/*
 * What does the slot alone say?  For QAM_READ_RUNNING, *xid and *own tell by
 * whom.  The page, which link leads to, is locked in any mode.
 */
static QamReading
qam_read_slot(QamWalk *walk, const QamLink *link, int slotno, const QamSlot *slot,
			  uint64 *xid, bool *own)
{
	QamClaimRequest *req = walk->req;
	bool		any_time = qam_any_time(req);
	QamXidState state;

	if (slot->state == QAM_SLOT_DONE)
		return QAM_READ_DONE;
	if (req->only != NULL && memcmp(req->only, &slot->tid, sizeof(ItemPointerData)) != 0)
		return QAM_READ_OTHER;
	if (QamSlotIsBlocked(slot) && !any_time && !is_expected(walk, link, slotno))
		return QAM_READ_BLOCKED;

	switch (QamSlotState(slot))
	{
		case QAM_SLOT_ENDED:
			return QamSlotIsBlocked(slot) && any_time ? QAM_READ_BLOCKED : QAM_READ_ENDED;

		case QAM_SLOT_READY:
			return slot->ready_at <= walk->view.now || any_time ||
				(slot->hints & QAM_HINT_ACKED) ? QAM_READ_CANDIDATE : QAM_READ_LATER;

		case QAM_SLOT_CLAIMED:
			if (QamClaimKindOf(slot->claim) != QAM_CLAIM_BY_LEASE)
				break;
			return slot->ready_at <= walk->view.now || req->everything ||
				(slot->hints & QAM_HINT_ACKED) ? QAM_READ_CANDIDATE : QAM_READ_LATER;

		case QAM_SLOT_APPENDED:

			/* A delay need not wait for its sender */
			if (slot->ready_at > walk->view.now && !any_time)
				return QAM_READ_LATER;
			break;
	}

	*xid = qam_claim_xid(slot->claim, walk->view.next_xid);
	state = qam_xid_state_cached(&walk->view.xids, *xid);
	if (state == QAM_XID_ENDED)
		return QAM_READ_CANDIDATE;
	*own = (state == QAM_XID_OWN);
	return QAM_READ_RUNNING;
}

/*
 * Add what a slot that is not offered means for its page's being quiet.
 */
static void
qam_note_reading(QamQuiet *quiet, const QamSlot *slot, QamReading reading, uint64 xid, bool own)
{
	switch (reading)
	{
		case QAM_READ_LATER:
			quiet->earliest = Min(quiet->earliest, slot->ready_at);
			break;
		case QAM_READ_RUNNING:
			qam_quiet_add_xid(quiet, xid, own);
			break;
		case QAM_READ_OTHER:
		case QAM_READ_CANDIDATE:
		case QAM_READ_ENDED:
			quiet->earliest = 0;
			break;
		case QAM_READ_BLOCKED:

			/* Not by itself, but the page is not finished */
			quiet->earliest = Min(quiet->earliest, DT_NOEND - 1);
			break;
		case QAM_READ_DONE:
			break;
	}
}

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
	int			wanted = walk->req->max > 0 ? walk->req->max - walk->req->nclaimed :
		walk->req->max_dead - walk->req->ndead;
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
	if (walk->req->only != NULL || !QamLinkIsValid(&opaque->next) ||
		walk->expected_block == visit->link.block ||
		opaque->earliest <= (walk->req->everything ? DT_NOEND - 1 : walk->view.now))
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
glance(QamWalk *walk, QamVisit *visit)
{
	Page		page = BufferGetPage(visit->buffer);
	QamOpaque	opaque = QamPageGetOpaque(page);
	QamSlot    *slots = QamPageGetSlots(page);
	int			n = QamPageGetSlotCount(page);
	BlockNumber blocks[QAM_MAX_PINS];
	int			nblocks;
	bool		candidates = false;
	int			i;

	visit->removable = false;
	visit->complete = true;
	if (hints_say_quiet(walk, visit, opaque))
	{
		LockBuffer(visit->buffer, BUFFER_LOCK_UNLOCK);
		return true;
	}

	qam_quiet_init(&visit->quiet);
	visit->all_done = true;
	for (i = opaque->first_unfinished; i < n && !candidates; i++)
	{
		uint64		xid = 0;
		bool		own = false;
		QamReading	reading = qam_read_slot(walk, &visit->link, i, &slots[i], &xid, &own);

		candidates = (reading == QAM_READ_CANDIDATE || reading == QAM_READ_ENDED);
		visit->all_done &= (reading == QAM_READ_DONE);
		qam_note_reading(&visit->quiet, &slots[i], reading, xid, own);
	}
	if (!candidates)
	{
		bool		is_last = !QamLinkIsValid(&opaque->next);

		/* A hint is worth a lock only if it tells what it did not before */
		visit->removable = visit->all_done && !is_last;
		if (is_last || visit->removable || visit->quiet.earliest <= walk->view.now ||
			visit->quiet.nowners + (visit->quiet.own ? 1 : 0) > 1 ||
			(visit->quiet.own && visit->quiet.own_xid == 0))
		{
			LockBuffer(visit->buffer, BUFFER_LOCK_UNLOCK);
			return true;
		}
	}
	nblocks = gather(walk, &visit->link, page, opaque->first_unfinished, blocks);
	LockBuffer(visit->buffer, BUFFER_LOCK_UNLOCK);
	once_debug_point("walk_before_pin");
	qam_pin(walk, blocks, nblocks);
	once_debug_point("walk_before_lock");
	return false;
}


/*
 * ---- Judging and claiming ----
 */

static QamChange *
note_change(QamVisit *visit, const QamSlot *slot)
{
	QamChange  *change = &visit->changes[visit->nchanges++];

	change->slotno = visit->slotno;
	change->what = QAM_CHANGE_SET;
	change->new = *slot;
	return change;
}

/*
 * Judge a candidate's row, keeping its heap page share-locked for the next.
 */
static void
judge_candidate(QamWalk *walk, QamVisit *visit, Buffer heap_buffer,
				const QamSlot *slot, QamRow *row)
{
	if (visit->locked_heap != heap_buffer)
	{
		if (BufferIsValid(visit->locked_heap))
			LockBuffer(visit->locked_heap, BUFFER_LOCK_UNLOCK);
		LockBuffer(heap_buffer, BUFFER_LOCK_SHARE);
		visit->locked_heap = heap_buffer;
	}
	qam_judge(walk->req->heap, heap_buffer, unconstify(ItemPointerData *, &slot->tid), row);
}

/*
 * Make room for another claim in an array of the request.  It counts only when the
 * claim is complete.
 */
static QamClaimed *
next_claimed(QamClaimRequest *req, QamClaimed **claims, int n, int *room)
{
	if (n == *room)
	{
		int			wanted = *room == 0 ? Max(16, Min(req->max, 64)) : *room * 2;

		if (*room == 0)
			*claims = MemoryContextAlloc(req->context != NULL ? req->context :
										 CurrentMemoryContext,
										 wanted * sizeof(QamClaimed));
		else
			*claims = repalloc_huge(*claims, wanted * sizeof(QamClaimed));
		*room = wanted;
	}
	return &(*claims)[n];
}

/*
 * Claim a live row for the request: to be delivered, or, being dead or because
 * the request is for taking messages away, TAKEN.
 */
static void
claim_slot(QamWalk *walk, QamVisit *visit, const QamSlot *slot, QamRow *row,
		   QamDeath death)
{
	QamClaimRequest *req = walk->req;
	bool		dead = death != QAM_ALIVE;
	bool		take_away = dead || qam_any_time(req);
	QamClaimed *claimed;
	QamSlot    *new = &note_change(visit, slot)->new;

	claimed = dead ? next_claimed(req, &req->dead, req->ndead, &req->dead_room) :
		next_claimed(req, &req->claimed, req->nclaimed, &req->room);

	new->hints = 0;
	if (take_away)
	{
		/* If it comes to nothing, everything is as before but the claim */
		if (QamSlotState(slot) == QAM_SLOT_CLAIMED &&
			QamClaimKindOf(slot->claim) == QAM_CLAIM_BY_XID)
			new->ready_at = 0;
		new->state = QAM_SLOT_TAKEN | (slot->state & (QAM_SLOT_BLOCKED | QAM_SLOT_STUCK));
		new->claim = walk->claim_xid;
	}
	else
	{
		new->state = QAM_SLOT_CLAIMED | (slot->state & QAM_SLOT_BLOCKED);
		if (new->attempts < PG_UINT16_MAX)
			new->attempts++;
		if (req->kind == QAM_CLAIM_XID)
		{
			new->claim = walk->claim_xid;
			new->ready_at = walk->view.now;
		}
		else
		{
			new->claim = walk->lease_claim;
			new->ready_at = walk->view.now + req->lease;
		}
	}

	/*
	 * A lease outlives this transaction, so it must not go past a dead
	 * message that comes back if this transaction does not commit.
	 */
	if (slot->group_hash != 0 && !qam_any_time(req) &&
		(!dead || req->kind == QAM_CLAIM_XID))
		expect(walk, slot);

	claimed->tuple = heap_copytuple(&row->tuple);
	claimed->attempt = new->attempts;
	claimed->group = new->group_hash;
	claimed->nth = req->nclaims++;
	claimed->stuck = QamSlotStuck(slot) > 0;
	claimed->removed = false;
	claimed->death = death;
	claimed->ready_at = new->ready_at;
	claimed->undo.seq = visit->link.seq;
	claimed->undo.lane = visit->lane;
	claimed->undo.claim = new->claim;
	claimed->undo.old_claim = slot->claim;
	claimed->undo.old_ready_at = slot->ready_at;
	claimed->undo.old_attempts = slot->attempts;
	claimed->undo.old_state = slot->state;
	claimed->undo.old_hints = slot->hints;
	claimed->ref.block = visit->link.block;
	claimed->ref.slot = visit->slotno;
	claimed->ref.proof = qam_proof(walk->view.meta.nonce, visit->link.seq,
								   visit->slotno, new);
	if (dead)
		req->ndead++;
	else
		req->nclaimed++;

	/* What is ours is not to be offered as long as it is */
	if (take_away || req->kind == QAM_CLAIM_XID)
		qam_quiet_add_xid(&visit->quiet, qam_claim_xid(walk->claim_xid, walk->view.next_xid), true);
	else
		visit->quiet.earliest = Min(visit->quiet.earliest, new->ready_at);
}

/*
 * Is a message that is ready beyond delivery?
 */
static QamDeath
death_of(QamWalk *walk, const QamSlot *slot, QamRow *row)
{
	QamClaimRequest *req = walk->req;

	if (qam_any_time(req))
		return QAM_ALIVE;
	if (req->retry.max_attempts > 0 && slot->attempts >= req->retry.max_attempts)
		return QAM_DEAD_ATTEMPTS;
	if (req->expired != NULL &&
		req->expired(req->expired_arg, &row->tuple, walk->view.now))
		return QAM_DEAD_EXPIRED;
	return QAM_ALIVE;
}

/*
 * Note that a live row becomes ready at a time, its claim having ended.
 */
static void
set_ready(QamVisit *visit, const QamSlot *slot, int64 ready_at)
{
	QamSlot    *new = &note_change(visit, slot)->new;

	new->state = QAM_SLOT_READY | (slot->state & (QAM_SLOT_BLOCKED | QAM_SLOT_STUCK));
	new->ready_at = ready_at;
	visit->quiet.earliest = Min(visit->quiet.earliest, ready_at);
}

/*
 * A live row, not locked by others: is it to be had now?
 *
 * Returns QAM_STOP_XID if only a transaction id is missing.
 */
static QamStop
offer(QamWalk *walk, QamVisit *visit, const QamSlot *slot, QamRow *row)
{
	QamClaimRequest *req = walk->req;
	bool		any_time = qam_any_time(req);
	QamDeath	death;

	/* An ack of a lease was rolled back: the lease holds on */
	if ((slot->hints & QAM_HINT_ACKED) && slot->ready_at > walk->view.now &&
		!(QamSlotState(slot) == QAM_SLOT_READY ? any_time : req->everything))
	{
		QamChange  *change = note_change(visit, slot);

		change->what = QAM_CHANGE_HINT;
		change->new.hints &= ~QAM_HINT_ACKED;
		visit->quiet.earliest = Min(visit->quiet.earliest, slot->ready_at);
		return QAM_STOP_END;
	}

	/* A delivery failed, with its transaction or by its time's running out */
	if (QamSlotState(slot) == QAM_SLOT_CLAIMED && !any_time)
	{
		int64		ready_at = qam_ready_again(&req->retry, visit->link.seq,
											   visit->slotno, slot);

		if (ready_at > walk->view.now)
		{
			set_ready(visit, slot, ready_at);
			return QAM_STOP_END;
		}
	}

	/* Somebody took it away, but did not commit that */
	if (QamSlotState(slot) == QAM_SLOT_TAKEN && !any_time &&
		slot->ready_at > walk->view.now)
	{
		set_ready(visit, slot, slot->ready_at);
		return QAM_STOP_END;
	}

	if (req->snapshot != NULL && !qam_row_visible(row, req->snapshot))
	{
		visit->quiet.earliest = 0;
		return QAM_STOP_END;
	}
	if (!any_time && QamClaimKindOf(slot->claim) == QAM_CLAIM_GONE_BY &&
		!qam_xid_visible(QamClaimValueOf(slot->claim), req->snapshot))
	{
		visit->quiet.earliest = 0;
		return QAM_STOP_END;
	}
	death = death_of(walk, slot, row);
	if (death == QAM_ALIVE ? req->nclaimed >= req->max :
		req->ndead >= (req->nclaimed > 0 ? req->max_dead :
					   Max(req->max_dead, req->max_dead_alone)))
	{
		/* ready, but not for us */
		visit->quiet.earliest = 0;
		return QAM_STOP_END;
	}
	if ((req->kind == QAM_CLAIM_XID || death != QAM_ALIVE) && walk->claim_xid == 0)
		return QAM_STOP_XID;
	claim_slot(walk, visit, slot, row, death);
	return QAM_STOP_END;
}

/*
 * A slot of a group is over: if it is the first, have the group told when the
 * page is unlocked, and expect its successor.
 *
 * But not if the caller's snapshot does not see who did away with it: the caller
 * would have the next message of the group without the effects of this one.
 */
static void
note_ended(QamWalk *walk, QamVisit *visit, const QamSlot *slot, uint64 gone_by)
{
	bool		first = !QamSlotIsBlocked(slot) ||
		is_expected(walk, &visit->link, visit->slotno);

	/* Until the group has been told, the page must be looked at */
	visit->all_done = visit->prefix_open = false;
	visit->quiet.earliest = Min(visit->quiet.earliest,
								QamSlotIsBlocked(slot) ? DT_NOEND - 1 : 0);
	if (!first)
		return;
	if (!qam_any_time(walk->req) && qam_xid_visible(gone_by, walk->req->snapshot))
		expect(walk, slot);
	if (visit->ngroups == 0 || visit->groups[visit->ngroups - 1] != slot->group_hash)
		visit->groups[visit->ngroups++] = slot->group_hash;
}

/*
 * Look at one slot, and at its row if the slot does not tell enough.
 *
 * The page is locked exclusively.  Changes are only noted.
 */
static QamStop
qam_visit_slot(QamWalk *walk, QamVisit *visit, const QamSlot *slot)
{
	uint64		xid = 0;
	bool		own = false;
	QamReading	reading = qam_read_slot(walk, &visit->link, visit->slotno, slot, &xid, &own);
	Buffer		heap_buffer;
	QamRow		row;

	if (reading == QAM_READ_DONE)
		return QAM_STOP_END;
	if (reading == QAM_READ_ENDED)
	{
		note_ended(walk, visit, slot, (uint64) slot->ready_at);
		return QAM_STOP_END;
	}
	if (reading != QAM_READ_CANDIDATE)
	{
		visit->all_done = visit->prefix_open = false;
		qam_note_reading(&visit->quiet, slot, reading, xid, own);
		return QAM_STOP_END;
	}
	if (qam_enough(walk->req))
		return QAM_STOP_ENOUGH;
	qam_require_slot(walk->index, visit->link.block, visit->slotno, slot,
					 visit->lane == QAM_SCHEDULED ? QAM_PAGE_BUCKET : QAM_PAGE_LANE);
	heap_buffer = qam_pin_find(walk, QamSlotGetBlock(slot));
	if (!BufferIsValid(heap_buffer))
		return QAM_STOP_PIN;

	judge_candidate(walk, visit, heap_buffer, slot, &row);
	if (row.state == QAM_ROW_GONE)
	{
		QamChange  *change = note_change(visit, slot);

		change->what = QAM_CHANGE_OVER;
		change->keep_claim = row.deleted;
		change->gone_by = qam_gone_by(slot, &row);
		if (slot->group_hash != 0 && visit->lane != QAM_SCHEDULED)
			note_ended(walk, visit, slot, change->gone_by);
		return QAM_STOP_END;
	}
	visit->all_done = visit->prefix_open = false;
	if (row.state == QAM_ROW_LIVE)
		return offer(walk, visit, slot, &row);

	/* Somebody is at it: nothing to be had before that transaction ends */
	if (TransactionIdIsValid(row.xid))
	{
		qam_quiet_add_xid(&visit->quiet, qam_full_xid(row.xid),
						  TransactionIdIsCurrentTransactionId(row.xid));
		visit->quiet.by_row = true;
	}
	else
		visit->quiet.earliest = 0;
	return QAM_STOP_END;
}

/*
 * Go through the page's slots from visit->slotno on.  Locked exclusively.
 */
static QamStop
visit_slots(QamWalk *walk, QamVisit *visit)
{
	Page		page = BufferGetPage(visit->buffer);
	QamSlot    *slots = QamPageGetSlots(page);
	int			n = QamPageGetSlotCount(page);
	QamStop		stop = QAM_STOP_END;

	visit->nchanges = 0;
	visit->ngroups = 0;
	visit->locked_heap = InvalidBuffer;
	while (visit->slotno < n)
	{
		stop = qam_visit_slot(walk, visit, &slots[visit->slotno]);
		if (stop != QAM_STOP_END)
			break;
		visit->slotno++;
		if (visit->prefix_open)
			visit->done_prefix = visit->slotno;
	}
	if (BufferIsValid(visit->locked_heap))
		LockBuffer(visit->locked_heap, BUFFER_LOCK_UNLOCK);
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
apply(QamWalk *walk, QamVisit *visit, bool complete)
{
	Page		page = BufferGetPage(visit->buffer);
	QamOpaque	opaque = QamPageGetOpaque(page);
	int64		earliest = opaque->earliest;
	uint64		owner = opaque->owner;
	bool		set_hints;
	bool		logged = false;
	QamLog		log;
	int			i;

	if (complete && QamLinkIsValid(&opaque->next) && walk->req->only == NULL)
	{
		QamQuiet   *quiet = &visit->quiet;

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
		visit->done_prefix != opaque->first_unfinished;
	if (visit->nchanges == 0 && !set_hints)
		return;

	for (i = 0; i < visit->nchanges; i++)
		logged |= (visit->changes[i].what != QAM_CHANGE_HINT);
	if (logged)
		qam_log_begin(&log, walk->index);
	else
		qam_log_begin_hint(&log, walk->index);
	page = qam_log_page(&log, visit->buffer, false);
	for (i = 0; i < visit->nchanges; i++)
	{
		QamChange  *change = &visit->changes[i];

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
		qam_page_set_hints(&log, page, earliest, owner, visit->done_prefix);

	/* Those for whom time does not matter claim what the hint covers, too */
	if (logged && qam_any_time(walk->req) && (!complete || walk->req->only != NULL))
		qam_page_lower_earliest(&log, page, 0);
	if (logged)
		walk->lsn = qam_log_finish(&log);
	else
		qam_log_finish(&log);
}

/*
 * Has a message been given up in this visit that comes before this one in its
 * group?
 */
static bool
given_up_before(const QamVisit *visit, const QamClaimed *claimed)
{
	int			i;

	for (i = 0; i < visit->ngiven_up; i++)
		if (visit->given_up[i].hash == claimed->group &&
			visit->given_up[i].slotno < claimed->ref.slot)
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
	int			kept = first;
	int			n = req->nclaimed;
	int			i;

	if (req->remove == NULL || first == n)
		return;
	once_debug_point("walk_before_take");
	for (i = first; i < n; i++)
	{
		QamClaimed *claimed = &req->claimed[i];

		if (!given_up_before(visit, claimed) && req->remove(req->remove_arg, claimed))
		{
			if (kept < i)
				req->claimed[kept] = *claimed;
			kept++;
			continue;
		}
		if (claimed->group != 0)
		{
			visit->given_up[visit->ngiven_up].hash = claimed->group;
			visit->given_up[visit->ngiven_up++].slotno = claimed->ref.slot;
			walk->expecting = false;
			walk->expected_block = InvalidBlockNumber;
		}
		qam_undo_claim(walk->index, claimed, false);
		visit->quiet.earliest = 0;
	}
	req->nclaimed = kept;
}

/*
 * Assign the innermost transaction an id to claim by.  No page is locked.
 */
static void
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
visit_lock(QamVisit *visit, bool wait)
{
	if (wait)
		LockBuffer(visit->buffer, BUFFER_LOCK_EXCLUSIVE);
	else if (!ConditionalLockBuffer(visit->buffer))
		return QAM_VISIT_BUSY;
	if (!qam_page_is(BufferGetPage(visit->buffer), &visit->link, visit->lane))
	{
		LockBuffer(visit->buffer, BUFFER_LOCK_UNLOCK);
		return QAM_VISIT_GONE;
	}
	return QAM_VISIT_OK;
}

/*
 * The part of a visit that claims.  The page is pinned, not locked, on entry
 * and exit.
 */
static QamVisitResult
visit_exclusive(QamWalk *walk, QamVisit *visit, bool wait)
{
	QamVisitResult result = visit_lock(visit, wait);
	Page		page = BufferGetPage(visit->buffer);
	QamOpaque	opaque;

	if (result != QAM_VISIT_OK)
		return result;
	opaque = QamPageGetOpaque(page);
	visit->slotno = visit->done_prefix = opaque->first_unfinished;
	visit->prefix_open = visit->all_done = true;
	visit->interrupted = false;
	qam_quiet_init(&visit->quiet);

	for (;;)
	{
		QamClaimRequest *req = walk->req;
		int			first = req->nclaimed;
		BlockNumber blocks[QAM_MAX_PINS];
		int			nblocks = 0;
		int			i;
		QamStop		stop = visit_slots(walk, visit);

		visit->next = opaque->next;

		/*
		 * The first claim of a transaction: assign its id before anything is
		 * written, and take it from the top, so that all goes into one
		 * record.
		 */
		if (stop == QAM_STOP_XID && !visit->interrupted &&
			req->nclaimed == first && visit->nchanges <= QAM_MAX_REPEAT)
		{
			LockBuffer(visit->buffer, BUFFER_LOCK_UNLOCK);
			qam_assign_xid(walk);
			once_debug_point("walk_unlocked");
			return visit_exclusive(walk, visit, true);
		}

		/*
		 * Hints must hold for the slots as they are now.  If the lock was
		 * given up on the way, slots seen before that may have been given
		 * back since; only DONE is for ever.
		 */
		visit->complete = (stop == QAM_STOP_END && !visit->interrupted);
		visit->removable = stop == QAM_STOP_END && visit->all_done &&
			QamLinkIsValid(&visit->next);
		apply(walk, visit, visit->complete);
		if (stop == QAM_STOP_PIN)
			nblocks = gather(walk, &visit->link, page, visit->slotno, blocks);
		LockBuffer(visit->buffer, BUFFER_LOCK_UNLOCK);

		for (i = 0; i < visit->ngroups; i++)
			qam_group_advance(walk->index, visit->groups[i], walk->view.woken);
		if (qam_any_time(req) && req->nclaimed > first)
			qam_meta_wake(walk->index, visit->link.seq);

		visit->ngiven_up = 0;
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
		visit->interrupted = true;
		result = visit_lock(visit, true);
		if (result != QAM_VISIT_OK)
			return result;
	}
}

/*
 * Visit one page: claim what it has to offer, end finished slots, improve its
 * hints.  No locks on entry or exit.
 */
static QamVisitResult
qam_visit(QamWalk *walk, QamVisit *visit, bool wait)
{
	QamVisitResult result = QAM_VISIT_OK;

	once_debug_point("walk_before_visit");
	visit->buffer = qam_pin_block(walk->index, visit->link.block, "list");
	LockBuffer(visit->buffer, BUFFER_LOCK_SHARE);
	if (!qam_page_is(BufferGetPage(visit->buffer), &visit->link, visit->lane))
	{
		UnlockReleaseBuffer(visit->buffer);
		return QAM_VISIT_GONE;
	}
	visit->next = QamPageGetOpaque(BufferGetPage(visit->buffer))->next;
	if (!glance(walk, visit))
		result = visit_exclusive(walk, visit, wait);
	ReleaseBuffer(visit->buffer);
	return result;
}


/*
 * ---- Walking ----
 */

/*
 * Walk along a lane.  Unless wait, busy pages are left out.  Returns whether
 * any was.
 */
static bool
walk_lane(QamWalk *walk, int lane, bool wait)
{
	QamClaimRequest *req = walk->req;
	bool		plain = !req->everything && req->only == NULL;
	QamLink		pred = qam_no_link();
	bool		skipped = false;
	QamRun	   *known = NULL;	/* the remembered run we came by, if any */
	bool		jumped = false; /* did we come by it just now? */
	QamRun		run;
	QamVisit	visit;

	run.npages = 0;
	visit.lane = lane;
	visit.link = walk->view.meta.lanes[lane].head;
	while (QamLinkIsValid(&visit.link) && !qam_enough(req))
	{
		CHECK_FOR_INTERRUPTS();
		if (plain && (run.npages == 0 || jumped))
		{
			QamRun	   *found = NULL;

			if (walk->expected_block != visit.link.block)
				found = qam_run_find(&walk->view, lane, &visit.link);
			jumped = (found != NULL);
			if (jumped)
				known = found;
		}
		if (jumped)
		{
			QamRun		next = *known;

			qam_run_end(&walk->view, &run); /* may put the run in the known
											 * one's place */
			run = next;
			pred = run.last;
			visit.link = run.next;
			req->earliest = Min(req->earliest, run.quiet.earliest);
			continue;
		}

		switch (qam_visit(walk, &visit, wait))
		{
			case QAM_VISIT_GONE:
				visit.link = qam_lane_find_way(walk->index, lane, &pred, &visit.link);

				/* Behind a run, pages come and go; it ends with its last one */
				if (run.npages > 0 && qam_same_link(&pred, &run.last))
					run.next = visit.link;
				else
				{
					if (known != NULL && run.npages > 0 &&
						qam_same_link(&known->first, &run.first))
						known->npages = 0;
					run.npages = 0;
				}
				continue;
			case QAM_VISIT_BUSY:
				skipped = true;
				qam_run_end(&walk->view, &run);
				break;
			case QAM_VISIT_OK:
				if (visit.complete && visit.quiet.earliest > walk->view.now)
					req->earliest = Min(req->earliest, visit.quiet.earliest);
				if (visit.removable &&
					qam_lane_unlink(walk->index, lane, QamLinkIsValid(&pred) ? &pred : NULL,
									&visit.link, false))
				{
					visit.link = visit.next;
					if (run.npages > 0)
						run.next = visit.next;
					continue;
				}
				if (plain && visit.complete && visit.quiet.earliest > walk->view.now &&
					QamLinkIsValid(&visit.next))
					qam_run_add(&walk->view, &run, lane, &visit.link, &visit.next,
								&visit.quiet);
				else
					qam_run_end(&walk->view, &run);
				break;
		}
		pred = visit.link;
		visit.link = visit.next;
	}
	qam_run_end(&walk->view, &run);

	if (!QamLinkIsValid(&visit.link) && !qam_enough(req))
		qam_lane_ended(walk->index, lane, &walk->view.meta, &pred);
	return skipped;
}

/*
 * Go through a list of the schedule, for those who want messages whatever their
 * time.
 */
static void
walk_list(QamWalk *walk, int list)
{
	QamLink		pred = qam_no_link();
	QamVisit	visit;

	visit.lane = QAM_SCHEDULED;
	visit.link = qam_schedule_head(walk->index, list);
	while (QamLinkIsValid(&visit.link) && !qam_enough(walk->req))
	{
		CHECK_FOR_INTERRUPTS();
		if (qam_visit(walk, &visit, true) == QAM_VISIT_GONE)
		{
			/* What was moved from where we are is found where it is now */
			visit.link = qam_schedule_find_way(walk->index, list, &pred, &visit.link);
			continue;
		}
		pred = visit.link;
		visit.link = visit.next;
	}
	if (QamLinkIsValid(&pred) && !QamLinkIsValid(&visit.link))
		qam_schedule_ended(walk->index, list, &pred);
}

/*
 * Go through the schedule, as far as the message wanted may be in it, in the
 * direction in which slots move: what is moved to another list, or to a lane, as
 * we look, is found there.
 */
static void
walk_schedule(QamWalk *walk)
{
	QamClaimRequest *req = walk->req;
	QamScheduleData *schedule = palloc(sizeof(QamScheduleData));
	BlockNumber head;
	int			digit;
	int			value;

	if (qam_schedule_read(walk->index, schedule))
	{
		if (req->only != NULL)
		{
			/* It may go to a finer bucket as we look */
			do
			{
				int			list = qam_schedule_list(schedule, req->only_ready_at);

				CHECK_FOR_INTERRUPTS();
				head = qam_schedule_ends(schedule, list).head;
				walk_list(walk, list);
				(void) qam_schedule_read(walk->index, schedule);
			} while (head != qam_schedule_ends(schedule, qam_schedule_list(schedule, req->only_ready_at)).head &&
					 !qam_enough(req));
		}
		else
		{
			for (digit = QAM_DIGITS - 1; digit >= 0; digit--)
			{
				for (value = 0; value < QAM_DIGIT_VALUES; value++)
					if (schedule->buckets[digit][value].head != 0)
						walk_list(walk, QAM_BUCKET(digit, value));
				(void) qam_schedule_read(walk->index, schedule);
			}
		}
		walk_list(walk, QAM_OPENED);
		walk_list(walk, QAM_NEAR);
	}
	pfree(schedule);
}

/*
 * Go through the lanes, urgent ones first.
 */
static void
walk_lanes(QamWalk *walk)
{
	QamClaimRequest *req = walk->req;
	int			lane;

	for (lane = QAM_LANES - 1; lane >= 0 && !qam_enough(req); lane--)
	{
		if (req->only != NULL && lane != req->only_lane)
			continue;

		/* Nothing of a lower lane goes out while a page of this one is unseen */
		if (walk_lane(walk, lane, false) && !qam_enough(req))
			walk_lane(walk, lane, true);
	}
}

/*
 * Has the walk found nothing, and then some group that can go on after all?
 *
 * Each walk of a backend goes on in the directory where the one before has stopped,
 * in whatever index that was.  The first begins anywhere, for those who connect for
 * each.  Who asks again and again, and finds nothing, looks at groups for a small part
 * of the time only.
 */
static bool
settle_some(QamWalk *walk)
{
	static QamTour tour;
	static bool begun = false;
	static Oid	paused_index = InvalidOid;
	static TimestampTz paused_at = 0;
	static int	pause = 0;
	TimestampTz now = walk->view.now;
	QamClaimRequest *req = walk->req;
	int			looks = QAM_SETTLES_PER_WALK;
	bool		whole;
	bool		settled;

	if (req->max == 0 || req->nclaimed > 0 || req->ndead > 0 || qam_any_time(req) ||
		walk->view.meta.directory == 0)
		return false;
	if (paused_index == RelationGetRelid(req->index) &&
		now >= paused_at && now - paused_at < pause)
		return false;
	if (!begun)
	{
		tour.place = pg_prng_uint32(&pg_global_prng_state);
		tour.from = pg_prng_uint32(&pg_global_prng_state);
		begun = true;
	}
	whole = tour.place == 0 && tour.from == 0;
	qam_unpin_all(walk);
	settled = qam_settle_groups(req->heap, req->index, &tour, &looks);
	if (tour.over && !whole)
		settled |= qam_settle_groups(req->heap, req->index, &tour, &looks);
	paused_index = settled ? InvalidOid : RelationGetRelid(req->index);
	paused_at = now;
	pause = (QAM_SETTLES_PER_WALK - looks) * QAM_SETTLE_PAUSE;
	return settled;
}

/*
 * qam_claim claims messages until there are req->max of them in req->claimed, in
 * the order in which they were sent, urgent lanes first; and up to req->max_dead
 * that are not to be delivered any more in req->dead.
 *
 * Both relations are open and locked RowExclusive.  Claims take effect at once
 * and do not depend on whether the transaction commits; those by xid end with
 * it.
 */
void
qam_claim(QamClaimRequest *req)
{
	QamWalk		walk;
	int64		due = DT_NOEND;

	memset(&walk, 0, offsetof(QamWalk, pinned));
	walk.req = req;
	walk.index = req->index;
	walk.max_pins = Min(QAM_MAX_PINS, qam_max_pins());
	walk.lsn = InvalidXLogRecPtr;
	walk.lease_claim = QamMakeClaim(QAM_CLAIM_BY_LEASE,
									pg_prng_uint64(&pg_global_prng_state));
	walk.expecting = false;
	walk.expected_block = InvalidBlockNumber;
	req->earliest = DT_NOEND;

	/* The planner never scans this index, which does not make it useless */
	pgstat_count_index_scan(req->index);
	if (req->kind == QAM_CLAIM_XID &&
		TransactionIdIsValid(GetCurrentTransactionIdIfAny()))
		qam_assign_xid(&walk);

	for (;;)
	{
		walk.view.now = GetCurrentTimestamp();
		walk.view.next_xid = qam_next_xid();
		walk.view.xids.n = 0;
		memset(walk.view.woken, 0, sizeof(walk.view.woken));
		if (qam_any_time(req))
			walk_schedule(&walk);
		qam_meta_read(req->index, &walk.view.meta);

		/*
		 * What is due takes its place in the lanes first, at most so much of
		 * it
		 */
		if (!qam_any_time(req) && walk.view.meta.schedule != 0)
		{
			due = qam_schedule_due(req->index);
			if (due <= walk.view.now)
			{
				qam_unpin_all(&walk);
				(void) qam_run_schedule(req->heap, req->index, QAM_MOVES_PER_WALK);
				due = qam_schedule_due(req->index);
				qam_meta_read(req->index, &walk.view.meta);
			}
		}
		walk_lanes(&walk);
		if (qam_enough(req) || (due > walk.view.now && !settle_some(&walk)))
			break;
	}
	req->earliest = Min(req->earliest, due);
	qam_unpin_all(&walk);

	/* Attempts shall count after a crash too: on disk soon, or at once */
	if (req->nclaimed > 0 && !XLogRecPtrIsInvalid(walk.lsn))
	{
		if (qam_flush_claims)
			XLogFlush(walk.lsn);
		else
			qam_log_flush_soon(walk.lsn);
	}
}
