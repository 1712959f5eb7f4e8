/*-------------------------------------------------------------------------
 *
 * qam_group.c
 *	  Ordered groups: the chains of their slots.
 *
 * The slots of a group that are not DONE form a chain, in the order in which
 * they were appended.  Each has a link to its successor.  The directory has an
 * entry for each chain: its first and its last slot.  All slots except the
 * first are BLOCKED, and walks do not offer these.
 *
 * A chain changes at its two ends.  Senders append to its end.  At its
 * beginning, slots whose row is gone (ENDED) are taken out: they become DONE,
 * and the first one that is not ENDED is unblocked (qam_group_advance).  Each
 * of these changes is one record together with the directory's entry.  The
 * page of the entry is locked exclusively, so a chain has exactly one first
 * slot at any time.
 *
 * A slot in a chain is never DONE, so its page stays in its list, and no link
 * of a chain or of the directory leads to a page that was used again.
 *
 * A group is known by a 32-bit hash, whose key belongs to the index.  Two
 * groups with the same hash are one chain: they may wait for each other, and
 * each is in order.
 *
 * Lock order: metapage, directory's root, page of groups, lane page, next lane
 * page.  All chains are in the default lane, and a successor is always further
 * along the list.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "miscadmin.h"
#include "once_debug.h"
#include "qam/qam.h"
#include "qam/qam_damage.h"
#include "qam/qam_delivery.h"
#include "qam/qam_directory.h"
#include "qam/qam_format.h"
#include "qam/qam_group.h"
#include "qam/qam_heap.h"
#include "qam/qam_lane.h"
#include "qam/qam_meta.h"
#include "qam/qam_move.h"
#include "qam/qam_page.h"
#include "qam/qam_quiet.h"
#include "qam/qam_xid.h"
#include "qam/qam_xlog.h"
#include "storage/bufmgr.h"
#include "storage/proc.h"
#include "wake/wake.h"

/*
 * Where qam_first_in_group can begin: a message whose row this transaction has
 * deleted
 */
typedef struct QamGroupMemo
{
	LocalTransactionId lxid;
	uint64		rollbacks;
	uint64		nonce;
	uint32		hash;
	QamPlace	place;
} QamGroupMemo;

#define QAM_GROUP_MEMOS		64

static QamGroupMemo memos[QAM_GROUP_MEMOS];

static inline QamPlace
place_of(BlockNumber block, uint64 seq, int slotno)
{
	QamPlace	place = {block, (uint32) seq, slotno};

	return place;
}

static inline QamPlace
successor(const QamSlot *slot)
{
	QamPlace	place = {slot->next_block, slot->next_seq, slot->next_slot};

	return place;
}

/*
 * The slot that a place means, on its locked page.  NULL if the page was used
 * again, or if the slot is not of this group or does not lead onwards.
 */
static QamSlot *
slot_at(Page page, const QamPlace *place, uint32 hash)
{
	QamOpaque	opaque = QamPageGetOpaque(page);
	QamSlot    *slot;

	if (qam_page_fault(page) != NULL || opaque->kind != QAM_PAGE_LANE ||
		(uint32) opaque->seq != place->seq ||
		place->slot >= QamPageGetSlotCount(page))
		return NULL;
	slot = QamPageGetSlots(page) + place->slot;
	return slot->group_hash == hash &&
		qam_successor_is_later(slot, place->block, opaque->seq, place->slot) ? slot : NULL;
}

static void
chain_broken(Relation index, const QamPlace *place)
{
	qam_broken(index, place->block,
			   "The chain of a group leads to slot %u of this block, which is not part of it.",
			   place->slot);
}


/*
 * ---- The end of a chain ----
 */

/* The result of one try to append a slot; except for APPEND_DONE, try again */
typedef enum AppendResult
{
	APPEND_DONE,				/* nothing is left to do */
	APPEND_NO_ENTRY,			/* the directory has no room for the group */
	APPEND_NOT_LAST,			/* the page is not the lane's last one */
	APPEND_FULL,				/* the page has no room */
	APPEND_BUSY,				/* the page is locked by somebody else */
	APPEND_SOURCE_BUSY			/* so is the page that the slot comes from */
} AppendResult;

/*
 * Is a page still the one that a link means, and the last one of the default
 * lane?  The page is locked.
 */
static bool
is_last(Page page, const QamLink *tail)
{
	return qam_page_is(page, tail, QAM_DEFAULT_LANE) &&
		!QamLinkIsValid(&QamPageGetOpaque(page)->next);
}

/*
 * Append a slot behind the last one of its group.  One record: page of groups,
 * page of the old last slot (unless that is the lane's last page), the lane's
 * last page, and the page that the slot comes from, if any.
 *
 * All of them are locked exclusively, and there is room.
 */
static void
link_slot(Relation index, QamGroupEntry *entry, Buffer old_buffer, Buffer buffer,
		  const QamSlot *slot, QamSource *source)
{
	Page		page = BufferGetPage(buffer);
	Page		last_page = BufferIsValid(old_buffer) ? BufferGetPage(old_buffer) : page;
	QamGroup	group = entry->group;
	QamPlace	last = {group.tail_block, group.tail_seq, group.tail_slot};
	QamPlace	place = place_of(BufferGetBlockNumber(buffer), QamPageGetOpaque(page)->seq,
								 QamPageGetSlotCount(page));
	QamSlot		new = source != NULL ? source->slot : *slot;
	QamLog		log;

	if (entry->found)
	{
		QamSlot    *old = slot_at(last_page, &last, group.hash);

		if (old == NULL || old->state == QAM_SLOT_DONE || old->next_block != 0)
			chain_broken(index, &last);
		new.state |= QAM_SLOT_BLOCKED;
	}
	else
	{
		group.hash = slot->group_hash;
		group.head_block = place.block;
		group.head_seq = place.seq;
		group.head_slot = place.slot;
	}
	group.tail_block = place.block;
	group.tail_seq = place.seq;
	group.tail_slot = place.slot;
	new.next_block = 0;
	new.next_seq = 0;
	new.next_slot = 0;

	qam_log_begin(&log, index);
	last_page = BufferIsValid(old_buffer) ? qam_log_page(&log, old_buffer, false) : NULL;
	page = qam_log_page(&log, buffer, false);
	if (entry->found)
		qam_page_set_successor(&log, last_page != NULL ? last_page : page, last.slot, &place);
	qam_page_append(&log, page, &new, 1);
	qam_page_set_group(&log, qam_log_page(&log, entry->page, false), entry->entry, &group);
	qam_source_log(&log, source);
	qam_log_finish(&log);
}

/*
 * Append a slot, if "tail" still means the lane's last page.  The page of
 * groups is locked, and has room.
 *
 * The page of "tail" may have been used again for anything, even as a page
 * that we have locked ourselves, so we do not wait for its lock.
 */
static AppendResult
append_to_page(Relation index, QamGroupEntry *entry, const QamLink *tail,
			   const QamSlot *slot, QamSource *source)
{
	Buffer		buffer = qam_pin_block(index, tail->block, "list of a lane");
	Buffer		old_buffer = InvalidBuffer;
	Page		page = BufferGetPage(buffer);
	AppendResult result = APPEND_BUSY;

	if (entry->found && entry->group.tail_block != tail->block)
	{
		QamPlace	last = {entry->group.tail_block, entry->group.tail_seq,
		entry->group.tail_slot};

		old_buffer = qam_follow_place(index, &last, BUFFER_LOCK_EXCLUSIVE);
	}
	if (ConditionalLockBuffer(buffer))
	{
		if (!is_last(page, tail))
			result = APPEND_NOT_LAST;
		else if (QamPageGetSlotCount(page) == QAM_SLOTS_PER_PAGE)
			result = APPEND_FULL;
		else
			switch (qam_source_lock(index, source))
			{
				case QAM_SOURCE_READY:
					link_slot(index, entry, old_buffer, buffer, slot, source);
					qam_source_unlock(source);
					result = APPEND_DONE;
					break;
				case QAM_SOURCE_GONE:
					result = APPEND_DONE;
					break;
				case QAM_SOURCE_BUSY:
					result = APPEND_SOURCE_BUSY;
					break;
			}
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	if (BufferIsValid(old_buffer))
		UnlockReleaseBuffer(old_buffer);
	ReleaseBuffer(buffer);
	return result;
}

/*
 * Try once to append a slot.  No locks on entry or exit.
 */
static AppendResult
try_append(Relation index, const QamLink *tail, const QamSlot *slot, QamSource *source)
{
	QamGroupEntry entry;
	AppendResult result;

	qam_directory_lock(index, slot->group_hash, BUFFER_LOCK_EXCLUSIVE, &entry);
	if (entry.entry < 0)
		result = APPEND_NO_ENTRY;
	else if (entry.found && (int32) (entry.group.tail_seq - (uint32) tail->seq) > 0)
		result = APPEND_NOT_LAST;	/* the group's last page comes after it */
	else
		result = append_to_page(index, &entry, tail, slot, source);
	qam_directory_unlock(&entry);
	return result;
}

/*
 * Wait until nobody else has the lane's last page locked.  Returns whether it
 * is still the last one.  No locks on entry or exit.
 */
static bool
wait_for_last(Relation index, const QamLink *tail)
{
	Buffer		buffer = qam_pin_block(index, tail->block, "list of a lane");
	bool		last;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	last = is_last(BufferGetPage(buffer), tail);
	UnlockReleaseBuffer(buffer);
	return last;
}

/*
 * qam_group_append puts a slot behind the last one of its group, and at the
 * end of the default lane.
 *
 * With a source, the slot comes from a page of the schedule, and is made DONE
 * there in the same record.  Nothing is appended if there is nothing to move
 * any more (see qam_source_lock).
 *
 * No locks on entry or exit.
 */
void
qam_group_append(Relation index, const QamSlot *slot, QamSource *source)
{
	if (qam_meta_directory(index) == 0)
		qam_directory_create(index);
	for (;;)
	{
		QamLink		tail = qam_lane_tail(index, QAM_DEFAULT_LANE);

		CHECK_FOR_INTERRUPTS();
		switch (try_append(index, &tail, slot, source))
		{
			case APPEND_DONE:
				return;
			case APPEND_NO_ENTRY:
				qam_directory_grow(index, slot->group_hash);
				break;
			case APPEND_NOT_LAST:
				qam_lane_tail_gone(index, QAM_DEFAULT_LANE, &tail);
				break;
			case APPEND_FULL:
				qam_lane_extend(index, QAM_DEFAULT_LANE, &tail);
				break;
			case APPEND_BUSY:
				if (!wait_for_last(index, &tail))
					qam_lane_tail_gone(index, QAM_DEFAULT_LANE, &tail);
				break;
			case APPEND_SOURCE_BUSY:
				if (!qam_source_wait(source))
					return;
				break;
		}
	}
}


/*
 * ---- The beginning of a chain ----
 */

/*
 * Does nobody have a claim on a slot, not even a lapsed one, and has its
 * inserter ended?  The slot's page is locked.
 */
static bool
slot_idle(const QamSlot *slot)
{
	uint64		kind = QamClaimKindOf(slot->claim);

	if (QamSlotState(slot) == QAM_SLOT_READY)
		return kind == QAM_CLAIM_NONE || kind == QAM_CLAIM_GONE_BY;
	return QamSlotState(slot) == QAM_SLOT_APPENDED &&
		qam_xid_state(qam_claim_xid(slot->claim, qam_next_xid())) == QAM_XID_ENDED;
}

/*
 * One step of qam_group_advance: takes slots out of the chain that are ENDED
 * and on the same page as the first one.
 *
 * The page of the entry is locked exclusively.  Returns whether there may be
 * more to take out.  *woken is the number of the page on which a slot was
 * unblocked, or 0.  *gone_by is set to the transaction that removed the last
 * message taken out, if it is known.
 */
static bool
group_step(Relation index, QamGroupEntry *entry, uint64 *gone_by, uint64 *woken)
{
	QamGroup	group = entry->group;
	QamPlace	place = {group.head_block, group.head_seq, group.head_slot};
	Buffer		buffer = qam_follow_place(index, &place, BUFFER_LOCK_EXCLUSIVE);
	Buffer		next_buffer = InvalidBuffer;
	Page		page = BufferGetPage(buffer);
	QamSlot    *slot;
	uint16		ended[(BLCKSZ / sizeof(QamSlot)) + 1];
	int			nended = 0;
	bool		again = false;

	*woken = 0;
	slot = slot_at(page, &place, group.hash);
	if (slot == NULL || slot->state == QAM_SLOT_DONE || QamSlotIsBlocked(slot))
		chain_broken(index, &place);
	while (slot != NULL && QamSlotState(slot) == QAM_SLOT_ENDED)
	{
		BlockNumber block = place.block;

		ended[nended++] = place.slot;
		if (slot->ready_at != 0)
			*gone_by = (uint64) slot->ready_at;
		place = successor(slot);
		slot = NULL;
		if (place.block == block)
		{
			slot = slot_at(page, &place, group.hash);
			if (slot == NULL || slot->state == QAM_SLOT_DONE)
				chain_broken(index, &place);
		}
	}
	if (nended > 0)
	{
		QamLog		log;
		bool		idle = false;
		int			i;

		if (place.block != 0 && slot == NULL)
		{
			next_buffer = qam_follow_place(index, &place, BUFFER_LOCK_EXCLUSIVE);
			slot = slot_at(BufferGetPage(next_buffer), &place, group.hash);
			if (slot == NULL || slot->state == QAM_SLOT_DONE)
				chain_broken(index, &place);
			again = QamSlotState(slot) == QAM_SLOT_ENDED;
		}
		if (place.block != 0)
			idle = slot_idle(slot);

		qam_log_begin(&log, index);
		page = qam_log_page(&log, buffer, false);
		for (i = 0; i < nended; i++)
			qam_page_set_done(&log, page, ended[i]);

		/* The page may be spent now */
		qam_page_unset_earliest(&log, page);
		if (place.block != 0)
		{
			if (BufferIsValid(next_buffer))
				page = qam_log_page(&log, next_buffer, false);
			qam_page_unblock(&log, page, place.slot, idle, *gone_by);
			*woken = QamPageGetOpaque(page)->seq;
		}
		page = qam_log_page(&log, entry->page, false);
		if (place.block != 0)
		{
			group.head_block = place.block;
			group.head_seq = place.seq;
			group.head_slot = place.slot;
			qam_page_set_group(&log, page, entry->entry, &group);
		}
		else
			qam_page_remove_group(&log, page, entry->entry);
		qam_log_finish(&log);
		entry->group = group;
	}
	if (BufferIsValid(next_buffer))
		UnlockReleaseBuffer(next_buffer);
	UnlockReleaseBuffer(buffer);
	return again;
}

/*
 * qam_group_advance takes the slots that are ENDED out of the beginning of a
 * group's chain, and unblocks the slot that is then the first.
 *
 * No locks on entry or exit.  Anybody may call it at any time.  "cells" is
 * NULL, or a bitmap in which the ranges are noted where a slot was unblocked.
 */
void
qam_group_advance(Relation index, uint32 hash, uint64 *cells)
{
	QamGroupEntry entry;
	uint64		gone_by = 0;
	bool		again = true;

	once_debug_point("group_before_advance");
	while (again)
	{
		uint64		woken = 0;

		CHECK_FOR_INTERRUPTS();
		if (qam_meta_directory(index) == 0)
			return;

		/* Once a slot is unblocked, no interrupt may prevent the wake-up */
		HOLD_INTERRUPTS();
		qam_directory_lock(index, hash, BUFFER_LOCK_EXCLUSIVE, &entry);
		again = entry.found && group_step(index, &entry, &gone_by, &woken);
		qam_directory_unlock(&entry);
		if (entry.found && woken != 0)
		{
			qam_meta_wake(index, woken);
			if (cells != NULL)
				cells[QAM_WAKE_CELL(woken) / 64] |= UINT64CONST(1) << (QAM_WAKE_CELL(woken) % 64);
			else
				once_wake_look(index->rd_index->indrelid);
		}
		RESUME_INTERRUPTS();
	}
}

/*
 * qam_gone_by tells which transaction a snapshot must see before the next
 * message of a group is offered to it.  The row of the given slot is gone.
 * Returns 0 if any snapshot will do.
 *
 * If the message was claimed, it is the transaction that deleted the row.
 * Otherwise plain SQL deleted the row, and what holds for this message holds
 * for the next one.
 */
uint64
qam_gone_by(const QamSlot *slot, const QamRow *row)
{
	switch (QamClaimKindOf(slot->claim))
	{
		case QAM_CLAIM_GONE_BY:
			return QamClaimValueOf(slot->claim);
		case QAM_CLAIM_BY_XID:
		case QAM_CLAIM_BY_LEASE:
			if (QamSlotState(slot) != QAM_SLOT_APPENDED && TransactionIdIsValid(row->xid))
				return qam_full_xid(row->xid);
			break;
	}
	return 0;
}

/*
 * Is the row of the slot at a place gone, or deleted by this transaction?  No
 * locks on entry or exit.
 *
 * *known is false if the slot is not there any more, which means that the
 * group has advanced.  Otherwise *next becomes its successor.  If the row is
 * gone, the slot is ended; *ended tells whether this call has done it.  *own
 * is true if this transaction has deleted the row, so that it is not gone yet.
 */
static bool
place_deleted(Relation heap, Relation index, uint32 hash, const QamPlace *place,
			  bool *known, bool *ended, bool *own, QamPlace *next)
{
	Buffer		buffer = qam_pin_block(index, place->block, "chain of a group");
	Buffer		heap_buffer;
	QamSlot    *slot;
	ItemPointerData tid;
	QamRow		row;
	bool		deleted = true;

	*ended = *own = false;
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	slot = slot_at(BufferGetPage(buffer), place, hash);
	*known = slot != NULL;
	if (slot == NULL || QamSlotIsOver(slot))
	{
		if (slot != NULL)
			*next = successor(slot);
		UnlockReleaseBuffer(buffer);
		return true;
	}
	qam_require_slot(index, place->block, place->slot, slot, QAM_PAGE_LANE);
	tid = slot->tid;
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	heap_buffer = qam_pin_row(heap, index, ItemPointerGetBlockNumber(&tid));
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	slot = slot_at(BufferGetPage(buffer), place, hash);
	if (slot != NULL && !QamSlotIsOver(slot))
	{
		LockBuffer(heap_buffer, BUFFER_LOCK_SHARE);
		qam_judge(heap, heap_buffer, &slot->tid, &row);
		LockBuffer(heap_buffer, BUFFER_LOCK_UNLOCK);
		*own = row.state == QAM_ROW_OWN_DELETE;
		deleted = row.state == QAM_ROW_GONE || *own;

		/* End the slot, so that the next call need not judge: GONE is final */
		if (row.state == QAM_ROW_GONE)
		{
			LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
			LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
			slot = slot_at(BufferGetPage(buffer), place, hash);
			if (slot != NULL && !QamSlotIsOver(slot))
			{
				QamLog		log;

				qam_log_begin(&log, index);
				qam_page_set_over(&log, qam_log_page(&log, buffer, false), place->slot,
								  row.deleted, qam_gone_by(slot, &row));
				qam_log_finish(&log);
				*ended = true;
			}
		}
	}
	*known = slot != NULL;
	if (slot != NULL)
		*next = successor(slot);
	ReleaseBuffer(heap_buffer);
	UnlockReleaseBuffer(buffer);
	return deleted;
}

/*
 * Where does a group's chain begin?  Nowhere if the group has none.  No locks
 * on entry or exit.
 */
static QamPlace
group_head(Relation index, uint32 hash)
{
	QamPlace	place = {0, 0, 0};
	QamGroupEntry entry;

	qam_directory_lock(index, hash, BUFFER_LOCK_SHARE, &entry);
	if (entry.found)
	{
		place.block = entry.group.head_block;
		place.seq = entry.group.head_seq;
		place.slot = entry.group.head_slot;
	}
	qam_directory_unlock(&entry);
	return place;
}

/*
 * qam_first_in_group: see qam.h.  No locks on entry or exit.
 *
 * It follows the chain up to this message, from the chain's beginning or from
 * the message of the group that this transaction has asked about last.
 */
bool
qam_first_in_group(Relation heap, Relation index, const QamRef *ref)
{
	Buffer		buffer = ReadBuffer(index, ref->block);
	Page		page = BufferGetPage(buffer);
	QamGroupMemo *memo;
	QamPlace	wanted;
	QamPlace	place;
	QamSlot    *slot = NULL;
	bool		blocked;
	uint32		hash;
	QamPlace	next;
	bool		known = false;
	bool		ended = false;
	bool		any_ended = false;
	bool		own;
	bool		first = true;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	wanted = place_of(ref->block, QamPageGetOpaque(page)->seq, ref->slot);
	if (qam_page_fault(page) == NULL && QamPageGetOpaque(page)->kind == QAM_PAGE_LANE &&
		ref->slot < QamPageGetSlotCount(page))
		slot = QamPageGetSlots(page) + ref->slot;
	hash = slot != NULL ? slot->group_hash : 0;
	blocked = slot != NULL && QamSlotIsBlocked(slot);
	UnlockReleaseBuffer(buffer);
	if (hash == 0)
		return true;

	memo = &memos[hash % QAM_GROUP_MEMOS];
	if (blocked)
	{
		if (memo->lxid == once_my_lxid() && memo->rollbacks == qam_rollbacks() &&
			memo->hash == hash && memo->nonce == qam_meta_nonce(index)[0] &&
			place_deleted(heap, index, hash, &memo->place, &known, &ended, &own, &next) &&
			known)
			place = next;
		else
			place = group_head(index, hash);
		while (first && place.block != 0 &&
			   !(place.block == wanted.block && place.slot == wanted.slot))
		{
			CHECK_FOR_INTERRUPTS();
			first = place_deleted(heap, index, hash, &place, &known, &ended, &own, &next);
			any_ended |= ended;
			if (!known)
			{
				/* When a slot becomes DONE, the directory changes with it */
				next = group_head(index, hash);
				if (next.block == place.block && next.slot == place.slot &&
					next.seq == place.seq)
					chain_broken(index, &place);
			}
			place = next;
		}
		if (any_ended)
			qam_group_advance(index, hash, NULL);
		if (!first)
			return false;
	}
	memo->lxid = once_my_lxid();
	memo->rollbacks = qam_rollbacks();
	memo->nonce = qam_meta_nonce(index)[0];
	memo->hash = hash;
	memo->place = wanted;
	return true;
}

/*
 * Does a group wait for a first message that cannot be claimed yet?
 */
static bool
head_waits(Relation index, const QamGroup *group, const QamPlace *head, TimestampTz now)
{
	Buffer		buffer;
	QamSlot    *slot;
	bool		waits;

	if (head->block == group->tail_block && head->slot == group->tail_slot)
		return false;
	buffer = qam_pin_block(index, head->block, "chain of a group");
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	slot = slot_at(BufferGetPage(buffer), head, group->hash);
	waits = slot != NULL && !QamSlotIsOver(slot) && slot->ready_at > now;
	UnlockReleaseBuffer(buffer);
	return waits;
}

/*
 * Make a group advance if it waits for a first message whose row is gone.
 * *settled is set if a slot was ended.  Each slot that is looked at takes one
 * of *looks.  Returns false if these are used up before the first message was
 * reached whose row is not gone.  No locks on entry or exit.
 */
static bool
settle_group(Relation heap, Relation index, const QamGroup *group, TimestampTz now,
			 int *looks, bool *settled)
{
	QamPlace	place = place_of(group->head_block, group->head_seq, group->head_slot);
	bool		known = true;
	bool		gone = true;
	bool		any_ended = false;

	(*looks)--;
	if (!head_waits(index, group, &place, now))
		return true;
	for (;;)
	{
		QamPlace	next = place;
		bool		ended;
		bool		own;

		CHECK_FOR_INTERRUPTS();
		once_debug_point("settle_before_judge");
		gone = place_deleted(heap, index, group->hash, &place, &known, &ended, &own,
							 &next) &&
			known && !own && next.block != 0;
		any_ended |= ended;
		if (!gone || *looks == 0)
			break;
		(*looks)--;
		place = next;
	}
	if (any_ended)
		qam_group_advance(index, group->hash, NULL);
	*settled |= any_ended;
	return !gone;
}

/*
 * qam_settle_groups: see qam.h.  No locks on entry or exit.
 */
bool
qam_settle_groups(Relation heap, Relation index, QamTour *tour, int *looks)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		settled = false;

	tour->over = false;
	while (*looks > 0 && !tour->over)
	{
		QamGroup   *groups;
		uint32		nplaces;
		int			n = qam_directory_copy_groups(index, tour->place, tour->from, &groups, &nplaces);
		int			i;

		for (i = 0; i < n && *looks > 0; i++)
		{
			CHECK_FOR_INTERRUPTS();
			tour->from = groups[i].hash;
			if (!settle_group(heap, index, &groups[i], now, looks, &settled))
				break;
			tour->from++;
		}
		pfree(groups);
		if (i < n)
			break;
		tour->from = 0;
		tour->place = nplaces > 0 ? (tour->place + 1) % nplaces : 0;
		tour->over = tour->place == 0;
		if (n == 0)
			(*looks)--;
	}
	return settled;
}

/*
 * Returns the places of the slots that come after a slot in its group, as long
 * as they are of the same claim; in order, palloc'd.  No locks on entry or
 * exit.
 */
static QamPlace *
claimed_after(Relation index, const QamSlot *slot, int *n)
{
	QamPlace   *places = NULL;
	QamPlace	place = successor(slot);
	int			room = 0;

	*n = 0;
	while (place.block != 0)
	{
		QamPlace	next = {0, 0, 0};
		bool		over = false;
		Buffer		buffer = qam_pin_block(index, place.block, "chain of a group");
		QamSlot    *mate;

		CHECK_FOR_INTERRUPTS();
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		mate = slot_at(BufferGetPage(buffer), &place, slot->group_hash);
		if (mate != NULL)
		{
			/* A claim passes slots whose rows are gone, and dead messages */
			over = QamSlotIsOver(mate) ||
				(QamSlotState(mate) == QAM_SLOT_TAKEN && mate->claim == slot->claim);
			if (over || (QamSlotState(mate) == QAM_SLOT_CLAIMED && mate->claim == slot->claim))
				next = successor(mate);
			else
				mate = NULL;
		}
		UnlockReleaseBuffer(buffer);
		if (mate == NULL)
			break;
		if (!over)
		{
			if (*n == room)
			{
				room = Max(16, room * 2);
				places = places == NULL ? palloc(room * sizeof(QamPlace)) :
					repalloc_huge(places, room * sizeof(QamPlace));
			}
			places[(*n)++] = place;
		}
		place = next;
	}
	return places;
}

/*
 * Give back the slot at a place, if it is of the same claim as "slot".  Its
 * attempt is not counted.  Its ref goes to *ref.  Returns false if it is of
 * another claim.  No locks on entry or exit.
 */
static bool
give_back_mate(Relation index, const QamPlace *place, const QamSlot *slot, QamRef *ref)
{
	const uint64 *nonce = qam_meta_nonce(index);
	Buffer		buffer = qam_pin_block(index, place->block, "chain of a group");
	Page		page = BufferGetPage(buffer);
	QamSlot    *mate;
	bool		held;
	bool		ready = false;
	uint64		seq = 0;

	/* Once the slot is ready, no interrupt may prevent the wake-up */
	HOLD_INTERRUPTS();
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	mate = slot_at(page, place, slot->group_hash);
	held = mate != NULL && QamSlotState(mate) == QAM_SLOT_CLAIMED &&
		mate->claim == slot->claim;
	if (held)
	{
		QamSlot		new = *mate;
		QamLog		log;

		seq = QamPageGetOpaque(page)->seq;
		ref->block = place->block;
		ref->slot = place->slot;
		ref->proof = qam_proof(nonce, seq, place->slot, mate);

		ready = !QamSlotIsBlocked(mate);
		new.state = QAM_SLOT_READY | (mate->state & QAM_SLOT_BLOCKED);
		if (new.attempts > 0)
			new.attempts--;
		new.ready_at = 0;
		new.claim = 0;
		new.hints = 0;
		qam_log_begin(&log, index);
		page = qam_log_page(&log, buffer, false);
		qam_page_set_slot(&log, page, place->slot, &new);
		if (ready)
			qam_page_lower_earliest(&log, page, 0);
		qam_log_finish(&log);
	}
	UnlockReleaseBuffer(buffer);
	if (ready)
		qam_meta_wake(index, seq);
	RESUME_INTERRUPTS();
	return held;
}

/*
 * qam_group_give_back gives back the slots that come after a slot in its
 * group, as long as they are of the same claim.  Their attempts are not
 * counted.
 *
 * "slot" is a copy of the first one, made while it was claimed.  The last one
 * is given back first; see "Groups" in the README.  given_back is called for
 * each after it was given back, unless it is NULL.  No locks on entry or exit.
 */
void
qam_group_give_back(Relation index, const QamSlot *slot, QamMateGivenBack given_back,
					void *arg)
{
	int			n;
	QamPlace   *places = claimed_after(index, slot, &n);

	while (n-- > 0)
	{
		QamRef		ref;

		CHECK_FOR_INTERRUPTS();
		if (give_back_mate(index, &places[n], slot, &ref) && given_back != NULL)
			given_back(arg, &ref);
		once_debug_point("mate_given_back");
	}
	if (places != NULL)
		pfree(places);
}
