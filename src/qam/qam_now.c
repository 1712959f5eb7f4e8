/*-------------------------------------------------------------------------
 *
 * qam_now.c
 *	  The state of a message now, from a copy of its slot and from its row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "qam/qam_delivery.h"
#include "qam/qam_format.h"
#include "qam/qam_now.h"

/* The first message of a group */
typedef struct QamGroupHead
{
	uint32		group;			/* hash key */
	BlockNumber block;
	int			slot;
} QamGroupHead;

/*
 * qam_now_heads makes a table of the first messages of groups.
 */
HTAB *
qam_now_heads(const char *name)
{
	HASHCTL		hash = {
		.keysize = sizeof(uint32),
		.entrysize = sizeof(QamGroupHead),
		.hcxt = CurrentMemoryContext
	};

	return hash_create(name, 256, &hash, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * qam_now_note_head notes that a message is there.  All that come before it in
 * its group have been noted before.  Returns whether it is the first.
 */
bool
qam_now_note_head(HTAB *heads, const QamCopiedPage *copy, int slotno)
{
	QamGroupHead *head;
	bool		found;

	if (copy->slots[slotno].group_hash == 0 || copy->opaque.kind != QAM_PAGE_LANE)
		return true;
	head = hash_search(heads, &copy->slots[slotno].group_hash, HASH_ENTER, &found);
	if (!found)
	{
		head->block = copy->block;
		head->slot = slotno;
	}
	return !found;
}

/*
 * qam_now_is_head tells whether a message is the first of its group, according
 * to what was noted.
 */
bool
qam_now_is_head(HTAB *heads, const QamCopiedPage *copy, int slotno)
{
	const QamSlot *slot = &copy->slots[slotno];
	QamGroupHead *head;

	if (slot->group_hash == 0 || copy->opaque.kind != QAM_PAGE_LANE)
		return true;
	head = hash_search(heads, &slot->group_hash, HASH_FIND, NULL);
	if (head == NULL)
		return !QamSlotIsBlocked(slot); /* the group has come since */
	return head->block == copy->block && head->slot == slotno;
}

/*
 * qam_now_claimed tells whether a copied slot's claim keeps its message from
 * others.
 *
 * As in a walk, this is asked before the row is judged.  In the other order, a
 * row found live may be deleted by its consumer's commit before we find that
 * the claim has lapsed.  Then the message would seem to be ready, which it
 * never was.
 */
bool
qam_now_claimed(QamXidCache *xids, const QamSlot *slot, TimestampTz now)
{
	switch (QamSlotState(slot))
	{
		case QAM_SLOT_CLAIMED:
			if (QamClaimKindOf(slot->claim) == QAM_CLAIM_BY_LEASE)
				return slot->ready_at > now;
			pg_fallthrough;
		case QAM_SLOT_TAKEN:
			return qam_xid_state_cached(xids, qam_claim_xid(slot->claim, qam_next_xid())) != QAM_XID_ENDED;
	}
	return false;
}

/*
 * qam_now_state tells the state of a message.  "held" tells whether the claim
 * held before the row was judged, "row" what was judged then, and "first"
 * whether the message is the first of its group.  (That the slot is BLOCKED may
 * be out of date.)
 */
QamPeekState
qam_now_state(const QamCopiedPage *copy, int slotno, bool held, const QamRow *row,
			  const QamRetry *retry, TimestampTz now, bool first,
			  TimestampTz *ready_at)
{
	const QamSlot *slot = &copy->slots[slotno];

	*ready_at = qam_shown_time(slot->ready_at);
	if (row->state == QAM_ROW_GONE)
		return QAM_PEEK_GONE;
	if (row->inserting)
		return QAM_PEEK_UNCOMMITTED;
	if (held || (row->state != QAM_ROW_LIVE && !row->locked_only))
		return QAM_PEEK_CLAIMED;
	if (QamSlotState(slot) == QAM_SLOT_CLAIMED)
		*ready_at = qam_shown_time(qam_ready_again(retry, copy->opaque.seq, slotno, slot));
	if (!first)
		return QAM_PEEK_BLOCKED;
	if (*ready_at > now)
		return QAM_PEEK_DELAYED;
	return row->locked_only ? QAM_PEEK_CLAIMED : QAM_PEEK_READY;
}
