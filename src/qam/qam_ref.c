/*-------------------------------------------------------------------------
 *
 * qam_ref.c
 *	  What a delivery's address (QamRef) is worth now, and giving it back.
 *
 * A ref is good for as long as the slot says what it said at the claim: same
 * database, same build of the index, same page incarnation, same claim word,
 * same number of attempts.  All of that is in the proof, a keyed hash.  Whoever
 * claims the message anew, gives it back or rebuilds the index changes one of
 * them; and in a copy of the database, made by CREATE DATABASE with this one as
 * its template, nothing but the first is another.
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
#include "utils/timestamp.h"

/*
 * Find the slot a ref means on a locked page; NULL if the ref is stale.
 */
static QamSlot *
ref_slot(Relation index, Page page, const QamRef *ref)
{
	QamOpaque	opaque = QamPageGetOpaque(page);
	QamSlot    *slot;

	/* On a free page, slots are DONE and still tell a second ack */
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
 * How the claim of a slot stands, going by the slot alone.
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
 * Find the slot a ref means, judge claim and row together, and leave the
 * slot's page locked in the given mode, and the row's page pinned.
 *
 * Returns the slot, or NULL with nothing locked or pinned, if the ref is
 * stale.  *row is set unless the claim's state alone decides.  Of a slot that is
 * over, no row is pinned, and the page may be but share-locked.
 */
static QamSlot *
resolve(Relation heap, Relation index, const QamRef *ref, int mode,
		Buffer *buffer, Buffer *heap_buffer, QamRefState *state, QamRow *row)
{
	QamSlot    *slot;
	ItemPointerData tid;

	*state = QAM_REF_LOST;
	*heap_buffer = InvalidBuffer;

	/* Anything that reads the metapage or the file's size comes first */
	(void) qam_meta_nonce(index);
	if (!qam_block_exists(index, ref->block))
		return NULL;

	/* A slot's TID never changes: pin its page before we lock for good */
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
 * No locks on exit.  For HELD, LAPSED and BUSY the row's heap page is pinned,
 * so that its line pointer cannot be used again before the caller has deleted
 * the row; the caller releases the pin.
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
		out->tid = row.tid;
}

/*
 * qam_confirm_ack tells, after the row has been deleted, whether the claim
 * was still the ref's all along; if not, the deleter must roll back.
 *
 * If so, leaves a hint on the slot that there is something to see in the heap,
 * so that an acked lease does not stay until its time.  The claim is kept: an
 * ack that rolls back still holds its lease.
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
		 * In a group, others wait for it, and a crash shall not keep them
		 * waiting
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
	return slot != NULL;
}

/*
 * What giving back makes of a slot.
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
			/* FALLTHROUGH */
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
 * What a slot becomes again whose claim is undone.
 *
 * Stuck, it is READY later, and keeps the word of the last claim, so that a late
 * ack is still accepted.  Words of those who inserted or tried to take away are
 * none.
 */
static void
undo_slot(QamSlot *new, const QamUndo *undo, bool stuck, TimestampTz now)
{
	uint8		blocked = new->state & QAM_SLOT_BLOCKED;

	/* Its group may have come to it since */
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
 * What may have been made of the slot if its transaction has ended meanwhile is
 * undone as well, as long as the word of our claim is there.
 */
void
qam_undo_claim(Relation index, const QamClaimed *claimed, bool stuck)
{
	const QamUndo *undo = &claimed->undo;
	QamLink		link = qam_link(claimed->ref.block, undo->seq);
	TimestampTz now = GetCurrentTimestamp();
	Buffer		buffer = ReadBuffer(index, claimed->ref.block);
	Page		page = BufferGetPage(buffer);
	bool		undone = false;
	QamSlot    *slot;
	QamLog		log;

	HOLD_INTERRUPTS();
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	slot = QamPageGetSlots(page) + claimed->ref.slot;

	/*
	 * It may have moved out of the schedule: then the claim stays till the
	 * end
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
		undone = true;
	}
	UnlockReleaseBuffer(buffer);
	if (undone)
		qam_meta_wake(index, undo->seq);
	RESUME_INTERRUPTS();
}

/*
 * resolve with the page locked exclusively, if the slot's claim can be given
 * back, or prolonged; otherwise NULL with nothing locked or pinned.
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

	/* A row that somebody is deleting may come back, so its slot counts */
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
 * The change of the slot and the lowering of its page's "earliest" hint are
 * one record: if a crash brought back a page whose hint was raised without
 * the record, the message would be passed by until then.
 */
QamRefState
qam_give_back(Relation heap, Relation index, const QamRef *ref, QamGiveBack how,
			  int64 delay, const QamRetry *retry, TimestampTz *when,
			  QamRef **mates, int *nmates)
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

	*mates = NULL;
	*nmates = 0;
	slot = resolve_to_give_back(heap, index, ref, how, &buffer, &heap_buffer, &state);
	if (slot != NULL && how != QAM_EXTEND && slot->group_hash != 0)
	{
		/* Those behind it come first; see "Groups" in the README */
		new = *slot;
		UnlockReleaseBuffer(buffer);
		ReleaseBuffer(heap_buffer);
		qam_group_give_back(index, &new, mates, nmates);
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

	/* Once it is ready, nobody may be kept from noticing */
	HOLD_INTERRUPTS();
	qam_log_begin(&log, index);
	page = qam_log_page(&log, buffer, false);
	qam_page_set_slot(&log, page, ref->slot, &new);
	qam_page_lower_earliest(&log, page, new.ready_at);
	lsn = qam_log_finish(&log);
	UnlockReleaseBuffer(buffer);
	ReleaseBuffer(heap_buffer);
	qam_meta_wake(index, seq);
	RESUME_INTERRUPTS();
	if (!XLogRecPtrIsInvalid(lsn))
		qam_log_flush_soon(lsn);
	return state;
}
