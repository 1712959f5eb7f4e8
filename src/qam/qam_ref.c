/*-------------------------------------------------------------------------
 *
 * qam_ref.c
 *	  What the address of a delivery (QamRef) is worth now, and giving back.
 *
 * A ref is good as long as the slot says what it said at the claim: same
 * database, same build of the index, same page number, same claim word, same
 * number of attempts.  All of these are in the proof, a keyed hash.  When the
 * message is claimed again or given back, or the index is rebuilt, one of them
 * changes.  In a copy of the database that CREATE DATABASE has made, using
 * this one as the template, only the first is different.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "miscadmin.h"
#include "qam/qam.h"
#include "qam/qam_cache.h"
#include "qam/qam_damage.h"
#include "qam/qam_delivery.h"
#include "qam/qam_format.h"
#include "qam/qam_group.h"
#include "qam/qam_heap.h"
#include "qam/qam_meta.h"
#include "qam/qam_page.h"
#include "qam/qam_xid.h"
#include "qam/qam_xlog.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "wake/wake.h"

/*
 * Find the slot that a ref means on a locked page; NULL if the ref is stale.
 */
static QamSlot *
ref_slot(Relation index, Page page, const QamRef *ref)
{
	QamOpaque	opaque = QamPageGetOpaque(page);
	QamSlot    *slot;

	/*
	 * Slots on a free page are DONE, and still show that an ack is a second
	 * one
	 */
	if (qam_page_fault(page) != NULL ||
		(opaque->kind != QAM_PAGE_LANE && opaque->kind != QAM_PAGE_FREE) ||
		ref->slot >= QamPageGetSlotCount(page))
		return NULL;
	slot = QamPageGetSlots(page) + ref->slot;
	if (slot->claim == 0 ||
		qam_proof(qam_meta_nonce(index), opaque->seq, ref->slot, slot) != ref->proof)
		return NULL;
	return slot;
}

/*
 * What is the state of a slot's claim, according to the slot alone?
 */
static QamRefState
claim_state(const QamSlot *slot, TimestampTz now)
{
	switch (QamSlotState(slot))
	{
		case QAM_SLOT_DONE:
		case QAM_SLOT_ENDED:
			return QAM_REF_GONE;
		case QAM_SLOT_CLAIMED:
			if (QamClaimKindOf(slot->claim) == QAM_CLAIM_BY_LEASE)
				return slot->ready_at > now ? QAM_REF_HELD : QAM_REF_LAPSED;
			switch (qam_xid_state(qam_claim_xid(slot->claim, qam_next_xid())))
			{
				case QAM_XID_OWN:
					return QAM_REF_HELD;
				case QAM_XID_OTHERS:
					return QAM_REF_LOST;
				case QAM_XID_ENDED:
					return QAM_REF_LAPSED;
			}
			break;
		case QAM_SLOT_READY:
			return QAM_REF_LAPSED;
	}
	return QAM_REF_LOST;
}

/*
 * Find the slot that a ref means, and judge its claim and its row together.
 *
 * Returns the slot, with its page locked in the given mode and the row's page
 * pinned; or NULL if the ref is stale, with nothing locked or pinned.  If the
 * slot is over, no row is pinned, and the slot's page may be locked only
 * shared.  *row is set unless the state of the claim alone decides (LOST and
 * GONE).
 */
static QamSlot *
resolve(Relation heap, Relation index, const QamRef *ref, int mode,
		Buffer *buffer, Buffer *heap_buffer, QamRefState *state, QamRow *row)
{
	QamSlot    *slot;
	ItemPointerData tid;

	*state = QAM_REF_LOST;
	*heap_buffer = InvalidBuffer;

	/* What reads the metapage or the size of the file comes before any lock */
	(void) qam_meta_nonce(index);
	if (!qam_block_exists(index, ref->block))
		return NULL;

	/* A slot's TID never changes: pin the row's page, and then lock for good */
	*buffer = ReadBuffer(index, ref->block);
	LockBuffer(*buffer, BUFFER_LOCK_SHARE);
	slot = ref_slot(index, BufferGetPage(*buffer), ref);
	if (slot != NULL && !QamSlotIsOver(slot))
	{
		qam_require_slot(index, ref->block, ref->slot, slot, QAM_PAGE_LANE);
		tid = slot->tid;
		LockBuffer(*buffer, BUFFER_LOCK_UNLOCK);
		*heap_buffer = qam_pin_row(heap, index, ItemPointerGetBlockNumber(&tid));
		LockBuffer(*buffer, mode);
		slot = ref_slot(index, BufferGetPage(*buffer), ref);
	}
	if (slot == NULL)
	{
		UnlockReleaseBuffer(*buffer);
		if (BufferIsValid(*heap_buffer))
			ReleaseBuffer(*heap_buffer);
		*heap_buffer = InvalidBuffer;
		return NULL;
	}

	*state = claim_state(slot, GetCurrentTimestamp());
	if (*state == QAM_REF_LOST || *state == QAM_REF_GONE)
		return slot;

	LockBuffer(*heap_buffer, BUFFER_LOCK_SHARE);
	qam_judge(heap, *heap_buffer, &slot->tid, row);
	LockBuffer(*heap_buffer, BUFFER_LOCK_UNLOCK);
	switch (row->state)
	{
		case QAM_ROW_GONE:
		case QAM_ROW_OWN_DELETE:
			*state = row->deleted ? QAM_REF_GONE : QAM_REF_LOST;
			break;
		case QAM_ROW_BUSY:
			if (!row->locked_only)
				*state = QAM_REF_BUSY;
			break;
		case QAM_ROW_OWN_UPDATE:
		case QAM_ROW_LIVE:
			break;
	}
	return slot;
}

/*
 * qam_locate tells what a ref is worth, and where its row is.
 *
 * No locks on exit.  For HELD, LAPSED and BUSY, the row's heap page is pinned,
 * so that its line pointer is not reused before the caller has deleted the
 * row.  The caller releases the pin.
 */
void
qam_locate(Relation heap, Relation index, const QamRef *ref, QamLocated *out)
{
	Buffer		buffer;
	QamSlot    *slot;
	QamRow		row;

	slot = resolve(heap, index, ref, BUFFER_LOCK_SHARE, &buffer,
				   &out->heap_pin, &out->state, &row);
	if (slot == NULL)
		return;
	out->kind = QamClaimKindOf(slot->claim) == QAM_CLAIM_BY_LEASE ?
		QAM_CLAIM_LEASE : QAM_CLAIM_XID;
	out->attempt = slot->attempts;
	out->group = slot->group_hash;
	UnlockReleaseBuffer(buffer);
	if (out->state == QAM_REF_LOST || out->state == QAM_REF_GONE)
	{
		if (BufferIsValid(out->heap_pin))
			ReleaseBuffer(out->heap_pin);
		out->heap_pin = InvalidBuffer;
	}
	else
	{
		out->tid = row.tid;
		out->updated_by_us = row.state == QAM_ROW_OWN_UPDATE;
	}
}

/*
 * qam_confirm_ack is called after the row has been deleted.  It tells whether
 * the ref is still good.  If not, the message was claimed again or given back
 * meanwhile, and the deleter must roll back.
 *
 * If it is good, a hint on the slot tells walks to look at the row, so that
 * the slot of an acked lease does not stay until the lease's time.  The claim
 * is kept: if the ack rolls back, the lease still holds.
 */
bool
qam_confirm_ack(Relation index, const QamRef *ref)
{
	Buffer		buffer;
	QamSlot    *slot;
	bool		group;
	uint64		seq;

	(void) qam_meta_nonce(index);
	if (!qam_block_exists(index, ref->block))
		return false;
	buffer = ReadBuffer(index, ref->block);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	slot = ref_slot(index, BufferGetPage(buffer), ref);
	if (slot != NULL)
	{
		QamLog		log;
		Page		page;

		/*
		 * In a group, other messages wait for this one, and a crash must not
		 * keep them waiting
		 */
		if (slot->group_hash != 0)
		{
			qam_log_begin(&log, index);
			page = qam_log_page(&log, buffer, false);
			qam_page_set_acked(&log, page, ref->slot);
		}
		else
		{
			qam_log_begin_hint(&log, index);
			page = qam_log_page(&log, buffer, false);
			qam_page_set_slot_hint(&log, page, ref->slot, slot->hints | QAM_HINT_ACKED);
			qam_page_unset_earliest(&log, page);
		}
		qam_log_finish(&log);
	}
	group = slot != NULL && slot->group_hash != 0;
	seq = QamPageGetOpaque(BufferGetPage(buffer))->seq;
	UnlockReleaseBuffer(buffer);
	if (group)
		qam_meta_wake(index, seq);

	/* If the ack is rolled back, the claim may have lapsed meanwhile */
	once_wake_note_look(index->rd_index->indrelid,
						ONCE_WAKE_AT_ABORT | (group ? ONCE_WAKE_AT_COMMIT : 0));
	return slot != NULL;
}

/*
 * Compute what giving back makes of a slot.
 */
static void
give_back_slot(QamSlot *new, QamGiveBack how, int64 delay, const QamRetry *retry,
			   uint64 seq, int slotno)
{
	uint8		blocked = new->state & QAM_SLOT_BLOCKED;
	TimestampTz now = GetCurrentTimestamp();

	switch (how)
	{
		case QAM_NACK:
			if (delay < 0 ||
				(retry->max_attempts > 0 && new->attempts >= retry->max_attempts))
				delay = qam_pause(retry, seq, slotno, new);
			new->state = QAM_SLOT_READY | blocked;
			new->ready_at = now + delay;
			new->claim = 0;
			break;
		case QAM_RELEASE:
			if (new->attempts > 0)
				new->attempts--;
			pg_fallthrough;
		case QAM_END_LEASE:
			new->state = QAM_SLOT_READY | blocked;
			new->ready_at = 0;
			new->claim = 0;
			break;
		case QAM_EXTEND:
			new->state = QAM_SLOT_CLAIMED | blocked;
			new->ready_at = now + delay;
			break;
	}
	new->hints = 0;
}

/*
 * Compute what a slot becomes again when its claim is undone.
 *
 * If its message is stuck, the slot is READY after a pause.  It keeps the word
 * of its last claim, so that a late ack is still accepted.  The word of a
 * transaction that inserted the row, or tried to take it away, is not that of
 * a delivery, and is cleared.
 */
static void
undo_slot(QamSlot *new, const QamUndo *undo, bool stuck, TimestampTz now)
{
	uint8		blocked = new->state & QAM_SLOT_BLOCKED;

	/* The group may have advanced to it since */
	new->state = (undo->old_state & ~QAM_SLOT_BLOCKED) | blocked;
	new->attempts = undo->old_attempts;
	new->hints = undo->old_hints;
	new->ready_at = undo->old_ready_at;
	new->claim = undo->old_claim;
	if (stuck)
	{
		int			n = Min(QamSlotStuck(new) + 1, QAM_SLOT_MAX_STUCK);

		if (QamSlotState(new) == QAM_SLOT_APPENDED || QamSlotState(new) == QAM_SLOT_TAKEN)
			new->claim = 0;
		new->state = QAM_SLOT_READY | blocked | (n << QAM_SLOT_STUCK_SHIFT);
		new->hints = 0;
		new->ready_at = now + qam_stuck_pause(n);
	}
}

/*
 * qam_undo_claim: see qam.h.  No locks on entry or exit.
 *
 * If our transaction has ended, a walk may have changed the slot since.  That
 * is undone as well, as long as the slot has the word of our claim.
 */
void
qam_undo_claim(Relation index, const QamClaimed *claimed, bool stuck)
{
	const QamUndo *undo = &claimed->undo;
	QamLink		link = qam_link(claimed->ref.block, undo->seq);
	TimestampTz now = GetCurrentTimestamp();
	Buffer		buffer = ReadBuffer(index, claimed->ref.block);
	Page		page = BufferGetPage(buffer);
	TimestampTz ready_at = 0;
	bool		undone = false;
	QamSlot    *slot;
	QamLog		log;

	HOLD_INTERRUPTS();
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	slot = QamPageGetSlots(page) + claimed->ref.slot;

	/*
	 * The slot may have moved out of the schedule.  Then the claim stays
	 * until the transaction ends.
	 */
	if (qam_page_is(page, &link, undo->lane) &&
		claimed->ref.slot < QamPageGetSlotCount(page) &&
		!QamSlotIsOver(slot) && slot->claim == undo->claim)
	{
		QamSlot		new = *slot;

		undo_slot(&new, undo, stuck, now);
		qam_log_begin(&log, index);
		page = qam_log_page(&log, buffer, false);
		qam_page_set_slot(&log, page, claimed->ref.slot, &new);
		qam_page_lower_earliest(&log, page,
								new.hints & QAM_HINT_ACKED ? 0 : new.ready_at);
		qam_log_finish(&log);
		ready_at = new.ready_at;
		undone = true;
	}
	UnlockReleaseBuffer(buffer);
	if (undone)
	{
		qam_meta_wake(index, undo->seq);
		if (stuck)
			once_wake_at(index->rd_index->indrelid, ready_at);
	}
	RESUME_INTERRUPTS();
}

/*
 * Call resolve with the page locked exclusively.  Returns NULL, with nothing
 * locked or pinned, if the slot's claim cannot be given back or prolonged.
 */
static QamSlot *
resolve_to_give_back(Relation heap, Relation index, const QamRef *ref, QamGiveBack how,
					 Buffer *buffer, Buffer *heap_buffer, QamRefState *state)
{
	QamRow		row;
	QamSlot    *slot = resolve(heap, index, ref, BUFFER_LOCK_EXCLUSIVE, buffer,
							   heap_buffer, state, &row);

	if (slot == NULL)
		return NULL;

	/* If a row is just being deleted, that may roll back: the slot decides */
	if (*state == QAM_REF_BUSY)
		*state = claim_state(slot, GetCurrentTimestamp());
	if (*state == QAM_REF_HELD || (*state == QAM_REF_LAPSED && how != QAM_END_LEASE))
		return slot;
	UnlockReleaseBuffer(*buffer);
	if (BufferIsValid(*heap_buffer))
		ReleaseBuffer(*heap_buffer);
	return NULL;
}

/*
 * qam_give_back nacks, releases, ends or extends; see qam.h for the contract.
 *
 * The change of the slot, and the lowering of its page's "earliest" hint, are
 * one record.  Without that, a crash could bring back a page with a raised
 * hint, and walks would pass the message by until then.
 */
QamRefState
qam_give_back(Relation heap, Relation index, const QamRef *ref, QamGiveBack how,
			  int64 delay, const QamRetry *retry, TimestampTz *when,
			  QamMateGivenBack mate, void *arg)
{
	Buffer		buffer;
	Buffer		heap_buffer;
	QamRefState state;
	QamSlot    *slot;
	QamSlot		new;
	QamLog		log;
	Page		page;
	uint64		seq;
	XLogRecPtr	lsn;

	slot = resolve_to_give_back(heap, index, ref, how, &buffer, &heap_buffer, &state);
	if (slot != NULL && how != QAM_EXTEND && slot->group_hash != 0)
	{
		/* The later ones of the group come first; see "Groups" in the README */
		new = *slot;
		UnlockReleaseBuffer(buffer);
		ReleaseBuffer(heap_buffer);
		qam_group_give_back(index, &new, mate, arg);
		slot = resolve_to_give_back(heap, index, ref, how, &buffer, &heap_buffer, &state);
	}
	if (slot == NULL)
		return state;
	if (how == QAM_EXTEND && QamClaimKindOf(slot->claim) != QAM_CLAIM_BY_LEASE)
	{
		UnlockReleaseBuffer(buffer);
		ReleaseBuffer(heap_buffer);
		*when = DT_NOBEGIN;
		return state;
	}

	new = *slot;
	seq = QamPageGetOpaque(BufferGetPage(buffer))->seq;
	give_back_slot(&new, how, delay, retry, seq, ref->slot);
	*when = new.ready_at;

	/* Once the slot is ready, no interrupt may prevent the wake-up */
	HOLD_INTERRUPTS();
	qam_log_begin(&log, index);
	page = qam_log_page(&log, buffer, false);
	qam_page_set_slot(&log, page, ref->slot, &new);
	qam_page_lower_earliest(&log, page, new.ready_at);
	lsn = qam_log_finish(&log);
	UnlockReleaseBuffer(buffer);
	ReleaseBuffer(heap_buffer);
	qam_meta_wake(index, seq);
	once_wake_at(index->rd_index->indrelid, new.ready_at);
	RESUME_INTERRUPTS();
	if (!XLogRecPtrIsInvalid(lsn))
		qam_log_flush_soon(lsn);
	return state;
}
