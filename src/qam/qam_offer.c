/*-------------------------------------------------------------------------
 *
 * qam_offer.c
 *	  What one slot has to offer to a walk, and claiming it.
 *
 * First the slot alone is read.  Then its row is judged, and if the message is
 * available, it is claimed.  Changes are only noted here; qam_visit.c applies
 * all changes to a page in one record.
 *
 * Invariants:
 *
 * - Claim first, heap second: first we see that a claim's transaction has
 *   ended, and then we judge the row.  In the other order we could offer a
 *   message again whose consumer commits in between.
 * - A row is judged with the slot's page locked, so its line pointer has not
 *   been reused (see qam_vacuum.c).  The heap page stays pinned until the row
 *   was copied or, for pop, deleted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "qam/qam.h"
#include "qam/qam_damage.h"
#include "qam/qam_delivery.h"
#include "qam/qam_format.h"
#include "qam/qam_group.h"
#include "qam/qam_heap.h"
#include "qam/qam_offer.h"
#include "qam/qam_quiet.h"
#include "qam/qam_xid.h"
#include "storage/bufmgr.h"


/*
 * ---- Pins of heap pages ----
 */

Buffer
qam_pin_find(QamWalk *walk, BlockNumber block)
{
	int			i;

	/* Most recent first: neighbours have their rows close together, usually */
	for (i = walk->npins - 1; i >= 0; i--)
		if (walk->pinned[i] == block)
			return walk->pins[i];
	return InvalidBuffer;
}

void
qam_unpin_all(QamWalk *walk)
{
	while (walk->npins > 0)
		ReleaseBuffer(walk->pins[--walk->npins]);
}

/*
 * qam_pin pins heap pages that are not pinned yet, at most max_pins of them.
 * If there is no room, all earlier pins are released.  No page is locked.
 */
void
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
 * ---- Reading slots ----
 */

/*
 * Expect the successor of a slot of a group: if this walk comes to it, it may
 * treat it as the first of its group.
 *
 * It may, because the slot is ENDED, which is final, or claimed by this call,
 * which may take several messages of a group.  The memory is small, and some
 * are forgotten.
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
 * Is a slot the wanted one, if only one message is wanted?
 */
static inline bool
selects_slot(const QamSelection *selection, const QamSlot *slot)
{
	return selection->purpose != QAM_TO_TAKE_ONE ||
		memcmp(&selection->one.tid, &slot->tid, sizeof(ItemPointerData)) == 0;
}

/*
 * Is a slot's time up, or does its time not matter for this purpose?
 */
static inline bool
selects_now(const QamSelection *selection, const QamSlot *slot, TimestampTz now)
{
	if (slot->ready_at <= now)
		return true;
	switch (selection->purpose)
	{
		case QAM_TO_DELIVER:
			return false;
		case QAM_TO_TAKE_ALL:
			return true;
		case QAM_TO_TAKE_ONE:
			return QamSlotState(slot) != QAM_SLOT_CLAIMED;
	}
	return false;
}

/*
 * qam_read_slot tells what the slot alone says.  For QAM_READ_RUNNING, *xid is
 * the transaction that keeps it, and *own tells whether that is ours.  link
 * leads to the page, which is locked in any mode.
 */
QamReading
qam_read_slot(QamWalk *walk, const QamLink *link, int slotno, const QamSlot *slot,
			  uint64 *xid, bool *own)
{
	QamClaimRequest *req = walk->req;
	const QamSelection *selection = &req->selection;
	TimestampTz now = walk->view.now;
	QamXidState state;

	if (slot->state == QAM_SLOT_DONE)
		return QAM_READ_DONE;
	if (!selects_slot(selection, slot))
		return QAM_READ_OTHER;
	if (QamSlotIsBlocked(slot) && qam_delivers(req) && !is_expected(walk, link, slotno))
		return QAM_READ_BLOCKED;

	switch (QamSlotState(slot))
	{
		case QAM_SLOT_ENDED:
			return QamSlotIsBlocked(slot) && !qam_delivers(req) ? QAM_READ_BLOCKED :
				QAM_READ_ENDED;

		case QAM_SLOT_READY:
			return selects_now(selection, slot, now) ||
				(slot->hints & QAM_HINT_ACKED) ? QAM_READ_CANDIDATE : QAM_READ_LATER;

		case QAM_SLOT_CLAIMED:
			if (QamClaimKindOf(slot->claim) != QAM_CLAIM_BY_LEASE)
				break;
			return selects_now(selection, slot, now) ||
				(slot->hints & QAM_HINT_ACKED) ? QAM_READ_CANDIDATE : QAM_READ_LATER;

		case QAM_SLOT_APPENDED:

			/* If the message is delayed, its sender does not matter yet */
			if (!selects_now(selection, slot, now))
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
 * qam_note_reading adds to the reasons why a page is quiet what one of its
 * slots means for them.
 */
void
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

			/* This alone is no reason to visit the page, but it is not spent */
			quiet->earliest = Min(quiet->earliest, DT_NOEND - 1);
			break;
		case QAM_READ_DONE:
			break;
	}
}


/*
 * ---- Judging and claiming ----
 */

static QamChange *
note_change(QamPass *pass, const QamSlot *slot)
{
	QamChange  *change = &pass->changes[pass->nchanges++];

	change->slotno = pass->slotno;
	change->what = QAM_CHANGE_SET;
	change->new = *slot;
	return change;
}

/*
 * Judge a candidate's row.  Its heap page stays locked, shared, for the next
 * one.
 */
static void
judge_candidate(QamWalk *walk, QamPass *pass, Buffer heap_buffer,
				const QamSlot *slot, QamRow *row)
{
	if (pass->locked_heap != heap_buffer)
	{
		if (BufferIsValid(pass->locked_heap))
			LockBuffer(pass->locked_heap, BUFFER_LOCK_UNLOCK);
		LockBuffer(heap_buffer, BUFFER_LOCK_SHARE);
		pass->locked_heap = heap_buffer;
	}
	qam_judge(walk->req->heap, heap_buffer, unconstify(ItemPointerData *, &slot->tid), row);
}

/*
 * Make room for another claim in an array of the request.  The caller counts
 * it when the claim is complete.
 */
static QamClaimed *
next_claimed(QamClaimRequest *req, QamClaimed **claims, int n, int *room)
{
	if (n == *room)
	{
		int			wanted = *room == 0 ? Max(16, Min(req->selection.max, 64)) : *room * 2;

		if (*room == 0)
			*claims = MemoryContextAlloc(req->claims.context != NULL ? req->claims.context :
										 CurrentMemoryContext,
										 wanted * sizeof(QamClaimed));
		else
			*claims = repalloc_huge(*claims, wanted * sizeof(QamClaimed));
		*room = wanted;
	}
	return &(*claims)[n];
}

/*
 * Is a message claimed by transaction?  All that are taken away are.
 */
static inline bool
is_by_xid(const QamClaimRequest *req, QamDeath death)
{
	return !qam_delivers(req) || death != QAM_ALIVE ||
		req->selection.delivery.kind == QAM_CLAIM_XID;
}

/*
 * Compute what the slot of a message that is taken away becomes.  If taking
 * away comes to nothing, all of it except the claim is as before.
 */
static void
take_away_slot(QamWalk *walk, const QamSlot *slot, QamSlot *new)
{
	if (QamSlotState(slot) == QAM_SLOT_CLAIMED &&
		QamClaimKindOf(slot->claim) == QAM_CLAIM_BY_XID)
		new->ready_at = 0;
	new->state = QAM_SLOT_TAKEN | (slot->state & (QAM_SLOT_BLOCKED | QAM_SLOT_STUCK));
	new->claim = walk->claim_xid;
}

/*
 * Compute what the slot of a message that is delivered becomes.
 */
static void
deliver_slot(QamWalk *walk, const QamSlot *slot, QamSlot *new)
{
	const QamDelivery *delivery = &walk->req->selection.delivery;

	new->state = QAM_SLOT_CLAIMED | (slot->state & QAM_SLOT_BLOCKED);
	if (new->attempts < PG_UINT16_MAX)
		new->attempts++;
	if (delivery->kind == QAM_CLAIM_XID)
	{
		new->claim = walk->claim_xid;
		new->ready_at = walk->view.now;
	}
	else
	{
		new->claim = walk->lease_claim;
		new->ready_at = walk->view.now + delivery->lease;
	}
}

/*
 * Claim the message of a live row for the request: to be delivered, or TAKEN
 * if it is dead or the request takes messages away.
 */
static void
claim_slot(QamWalk *walk, QamPass *pass, const QamSlot *slot, QamRow *row,
		   QamDeath death)
{
	QamClaimRequest *req = walk->req;
	QamClaims  *claims = &req->claims;
	bool		dead = death != QAM_ALIVE;
	QamClaimed *claimed;
	QamSlot    *new = &note_change(pass, slot)->new;

	claimed = dead ? next_claimed(req, &claims->dead, claims->ndead, &claims->dead_room) :
		next_claimed(req, &claims->claimed, claims->nclaimed, &claims->room);

	new->hints = 0;
	if (dead || !qam_delivers(req))
		take_away_slot(walk, slot, new);
	else
		deliver_slot(walk, slot, new);

	/*
	 * A lease outlives this transaction, so it must not go past a dead
	 * message that comes back if this transaction does not commit.
	 */
	if (slot->group_hash != 0 && qam_delivers(req) &&
		(!dead || req->selection.delivery.kind == QAM_CLAIM_XID))
		expect(walk, slot);

	claimed->tuple = heap_copytuple(&row->tuple);
	claimed->attempt = new->attempts;
	claimed->group = new->group_hash;
	claimed->nth = claims->nclaims++;
	claimed->stuck = QamSlotStuck(slot) > 0;
	claimed->removed = false;
	claimed->death = death;
	claimed->ready_at = new->ready_at;
	claimed->undo.seq = pass->link->seq;
	claimed->undo.lane = pass->lane;
	claimed->undo.claim = new->claim;
	claimed->undo.old_claim = slot->claim;
	claimed->undo.old_ready_at = slot->ready_at;
	claimed->undo.old_attempts = slot->attempts;
	claimed->undo.old_state = slot->state;
	claimed->undo.old_hints = slot->hints;
	claimed->ref.block = pass->link->block;
	claimed->ref.slot = pass->slotno;
	claimed->ref.proof = qam_proof(walk->view.meta.nonce, pass->link->seq,
								   pass->slotno, new);
	if (dead)
		claims->ndead++;
	else
		claims->nclaimed++;

	/* What we have claimed is not offered while we hold it */
	if (is_by_xid(req, death))
		qam_quiet_add_xid(pass->quiet, qam_claim_xid(walk->claim_xid, walk->view.next_xid), true);
	else
		pass->quiet->earliest = Min(pass->quiet->earliest, new->ready_at);
}

/*
 * Why must a message that is ready not be delivered any more?  QAM_ALIVE: it
 * may.
 */
static QamDeath
death_of(QamWalk *walk, const QamSlot *slot, QamRow *row)
{
	QamClaimRequest *req = walk->req;
	const QamDelivery *delivery = &req->selection.delivery;

	if (!qam_delivers(req))
		return QAM_ALIVE;
	if (delivery->retry.max_attempts > 0 && slot->attempts >= delivery->retry.max_attempts)
		return QAM_DEAD_ATTEMPTS;
	if (delivery->expired != NULL &&
		delivery->expired(delivery->expired_arg, &row->tuple, walk->view.now))
		return QAM_DEAD_EXPIRED;
	return QAM_ALIVE;
}

/*
 * Note that a message whose row is live, and whose claim has lapsed, becomes
 * ready at a time.
 */
static void
set_ready(QamPass *pass, const QamSlot *slot, int64 ready_at)
{
	QamSlot    *new = &note_change(pass, slot)->new;

	new->state = QAM_SLOT_READY | (slot->state & (QAM_SLOT_BLOCKED | QAM_SLOT_STUCK));
	new->ready_at = ready_at;
	pass->quiet->earliest = Min(pass->quiet->earliest, ready_at);
}

/*
 * Claim a message whose row is live and not locked by others, if it is
 * available now.
 *
 * Returns QAM_STOP_XID if a transaction id must be assigned before that.
 */
static QamStop
offer(QamWalk *walk, QamPass *pass, const QamSlot *slot, QamRow *row)
{
	QamClaimRequest *req = walk->req;
	const QamSelection *selection = &req->selection;
	const QamDelivery *delivery = &selection->delivery;
	QamClaims  *claims = &req->claims;
	QamDeath	death;

	/* The ack of a lease was rolled back, so the lease holds on */
	if ((slot->hints & QAM_HINT_ACKED) &&
		!selects_now(selection, slot, walk->view.now))
	{
		QamChange  *change = note_change(pass, slot);

		change->what = QAM_CHANGE_HINT;
		change->new.hints &= ~QAM_HINT_ACKED;
		pass->quiet->earliest = Min(pass->quiet->earliest, slot->ready_at);
		return QAM_STOP_END;
	}

	/* A delivery has failed: its transaction has ended, or its time is up */
	if (QamSlotState(slot) == QAM_SLOT_CLAIMED && qam_delivers(req))
	{
		int64		ready_at = qam_ready_again(&delivery->retry, pass->link->seq,
											   pass->slotno, slot);

		if (ready_at > walk->view.now)
		{
			set_ready(pass, slot, ready_at);
			return QAM_STOP_END;
		}
	}

	/* Somebody took it away, but rolled back */
	if (QamSlotState(slot) == QAM_SLOT_TAKEN &&
		!selects_now(selection, slot, walk->view.now))
	{
		set_ready(pass, slot, slot->ready_at);
		return QAM_STOP_END;
	}

	if (selection->snapshot != NULL && !qam_row_visible(row, selection->snapshot))
	{
		pass->quiet->earliest = 0;
		return QAM_STOP_END;
	}
	if (qam_delivers(req) && QamClaimKindOf(slot->claim) == QAM_CLAIM_GONE_BY &&
		!qam_xid_visible(QamClaimValueOf(slot->claim), selection->snapshot))
	{
		pass->quiet->earliest = 0;
		return QAM_STOP_END;
	}
	death = death_of(walk, slot, row);
	if (death == QAM_ALIVE ? claims->nclaimed >= selection->max :
		claims->ndead >= (claims->nclaimed > 0 ? delivery->max_dead :
						  Max(delivery->max_dead, delivery->max_dead_alone)))
	{
		/* It is ready, but not for us. */
		pass->quiet->earliest = 0;
		return QAM_STOP_END;
	}
	if (delivery->look)
	{
		/* It is there, for somebody else to claim */
		if (death == QAM_ALIVE)
			claims->nclaimed++;
		else
			claims->ndead++;
		pass->quiet->earliest = 0;
		return QAM_STOP_END;
	}
	if (is_by_xid(req, death) && walk->claim_xid == 0)
		return QAM_STOP_XID;
	claim_slot(walk, pass, slot, row, death);
	return QAM_STOP_END;
}

/*
 * Note that a slot of a group is over.  If it is the group's first, the group
 * is to advance when the page is unlocked, and its successor is expected.
 *
 * The successor is not expected if the caller's snapshot does not see the
 * transaction that removed this message.  The caller would get the next
 * message of the group without the effects of this one.
 */
static void
note_ended(QamWalk *walk, QamPass *pass, const QamSlot *slot, uint64 gone_by)
{
	bool		first = !QamSlotIsBlocked(slot) ||
		is_expected(walk, pass->link, pass->slotno);

	/* Until the group has advanced, the page must be visited */
	pass->all_done = pass->prefix_open = false;
	pass->quiet->earliest = Min(pass->quiet->earliest,
								QamSlotIsBlocked(slot) ? DT_NOEND - 1 : 0);
	if (!first)
		return;
	if (qam_delivers(walk->req) && qam_xid_visible(gone_by, walk->req->selection.snapshot))
		expect(walk, slot);
	if (pass->ngroups == 0 || pass->groups[pass->ngroups - 1] != slot->group_hash)
		pass->groups[pass->ngroups++] = slot->group_hash;
}

/*
 * qam_visit_slot looks at one slot, and at its row if the slot does not tell
 * enough.
 *
 * The page is locked exclusively.  Changes are only noted.
 */
QamStop
qam_visit_slot(QamWalk *walk, QamPass *pass, const QamSlot *slot)
{
	uint64		xid = 0;
	bool		own = false;
	QamReading	reading = qam_read_slot(walk, pass->link, pass->slotno, slot, &xid, &own);
	Buffer		heap_buffer;
	QamRow		row;

	if (reading == QAM_READ_DONE)
		return QAM_STOP_END;
	if (reading == QAM_READ_ENDED)
	{
		note_ended(walk, pass, slot, (uint64) slot->ready_at);
		return QAM_STOP_END;
	}
	if (reading != QAM_READ_CANDIDATE)
	{
		pass->all_done = pass->prefix_open = false;
		qam_note_reading(pass->quiet, slot, reading, xid, own);
		return QAM_STOP_END;
	}
	if (qam_enough(walk->req))
		return QAM_STOP_ENOUGH;
	qam_require_slot(walk->index, pass->link->block, pass->slotno, slot,
					 pass->lane == QAM_SCHEDULED ? QAM_PAGE_BUCKET : QAM_PAGE_LANE);
	heap_buffer = qam_pin_find(walk, QamSlotGetBlock(slot));
	if (!BufferIsValid(heap_buffer))
		return QAM_STOP_PIN;

	judge_candidate(walk, pass, heap_buffer, slot, &row);
	if (row.state == QAM_ROW_GONE)
	{
		QamChange  *change = note_change(pass, slot);

		change->what = QAM_CHANGE_OVER;
		change->keep_claim = row.deleted;
		change->gone_by = qam_gone_by(slot, &row);
		if (slot->group_hash != 0 && pass->lane != QAM_SCHEDULED)
			note_ended(walk, pass, slot, change->gone_by);
		return QAM_STOP_END;
	}
	pass->all_done = pass->prefix_open = false;
	if (row.state == QAM_ROW_LIVE ||
		(row.state == QAM_ROW_OWN_UPDATE && qam_wants_one(walk->req)))
		return offer(walk, pass, slot, &row);

	/* Another transaction keeps the row: nothing to claim before that ends */
	if (TransactionIdIsValid(row.xid))
	{
		qam_quiet_add_xid(pass->quiet, qam_full_xid(row.xid),
						  TransactionIdIsCurrentTransactionId(row.xid));
		pass->quiet->by_row = true;
	}
	else
		pass->quiet->earliest = 0;
	return QAM_STOP_END;
}
