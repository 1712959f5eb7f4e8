/*-------------------------------------------------------------------------
 *
 * qam_inspect.c
 *	  Inspecting a queue index without changing it; works on a standby, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/htup_details.h"
#include "miscadmin.h"
#include "qam/qam.h"
#include "qam/qam_cache.h"
#include "qam/qam_copy.h"
#include "qam/qam_damage.h"
#include "qam/qam_delivery.h"
#include "qam/qam_directory.h"
#include "qam/qam_format.h"
#include "qam/qam_heap.h"
#include "qam/qam_lane.h"
#include "qam/qam_meta.h"
#include "qam/qam_schedule.h"
#include "qam/qam_xid.h"
#include "storage/bufmgr.h"
#include "utils/hsearch.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

static const char *
slot_state_name(uint8 state)
{
	switch (state & 0x0F)
	{
		case QAM_SLOT_APPENDED:
			return "appended";
		case QAM_SLOT_READY:
			return "ready";
		case QAM_SLOT_CLAIMED:
			return "claimed";
		case QAM_SLOT_DONE:
			return "done";
		case QAM_SLOT_TAKEN:
			return "taken";
		case QAM_SLOT_ENDED:
			return "ended";
	}
	return "invalid";
}

static const char *
page_kind_name(uint16 kind)
{
	switch (kind)
	{
		case 0:
			return "new";
		case QAM_PAGE_META:
			return "meta";
		case QAM_PAGE_LANE:
			return "lane";
		case QAM_PAGE_FREE:
			return "free";
		case QAM_PAGE_DIRECTORY:
			return "directory";
		case QAM_PAGE_GROUPS:
			return "groups";
		case QAM_PAGE_SCHEDULE:
			return "schedule";
		case QAM_PAGE_BUCKET:
			return "bucket";
	}
	return "invalid";
}

/*
 * qam_capacity: see qam.h.  Reads no page.
 */
int64
qam_capacity(Relation index)
{
	return (int64) RelationGetNumberOfBlocks(index) * QAM_SLOTS_PER_PAGE;
}

/*
 * Returns a time from a page as one that can be shown, whatever it is.
 */
static TimestampTz
shown_time(int64 time)
{
	if (time >= END_TIMESTAMP)
		return DT_NOEND;
	return time < MIN_TIMESTAMP ? DT_NOBEGIN : time;
}

/*
 * qam_each_page calls sink for every page, in physical order.
 */
void
qam_each_page(Relation index, QamPageSink sink, void *arg)
{
	QamCopiedPage *copy = palloc(sizeof(QamCopiedPage));
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	BlockNumber block;
	int			i;

	for (block = QAM_METAPAGE; block < nblocks; block++)
	{
		QamPageInfo info;

		CHECK_FOR_INTERRUPTS();
		qam_copy_page(index, block, copy);
		ReleaseBuffer(copy->buffer);
		info.block = block;
		info.kind = copy->fault != NULL && copy->opaque.kind != 0 ? "invalid" :
			page_kind_name(copy->opaque.kind);
		info.lane = copy->opaque.kind == QAM_PAGE_LANE ? copy->opaque.lane : -1;
		info.seq = copy->opaque.seq;
		info.next = copy->opaque.kind == 0 ? InvalidBlockNumber : copy->opaque.next.block;
		info.slots = copy->nslots;
		info.done = 0;
		for (i = 0; i < copy->nslots; i++)
			info.done += (copy->slots[i].state == QAM_SLOT_DONE);
		info.first_unfinished = copy->opaque.first_unfinished;
		info.earliest = shown_time(copy->opaque.earliest);
		info.owner = copy->opaque.owner;
		sink(arg, &info);
	}
	pfree(copy);
}

/* The first message of a group */
typedef struct QamGroupHead
{
	uint32		group;			/* hash key */
	BlockNumber block;
	int			slot;
} QamGroupHead;

static HTAB *
group_heads(const char *name)
{
	HASHCTL		hash = {
		.keysize = sizeof(uint32),
		.entrysize = sizeof(QamGroupHead),
		.hcxt = CurrentMemoryContext
	};

	return hash_create(name, 256, &hash, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * Note that a message is there.  All that come before it in its group have
 * been noted before.  Returns whether it is the first.
 */
static bool
note_head(HTAB *heads, const QamCopiedPage *copy, int slotno)
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
 * Is a message the first of its group, according to what was noted?
 */
static bool
is_head(HTAB *heads, const QamCopiedPage *copy, int slotno)
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
 * Does a copied slot's claim keep its message from others?
 *
 * As in a walk, this is asked before the row is judged.  In the other order, a
 * row found live may be deleted by its consumer's commit before we find that
 * the claim has lapsed.  Then the message would seem to be ready, which it
 * never was.
 */
static bool
claim_holds(const QamSlot *slot, TimestampTz now)
{
	switch (QamSlotState(slot))
	{
		case QAM_SLOT_CLAIMED:
			if (QamClaimKindOf(slot->claim) == QAM_CLAIM_BY_LEASE)
				return slot->ready_at > now;
			/* FALLTHROUGH */
		case QAM_SLOT_TAKEN:
			return qam_xid_state(qam_claim_xid(slot->claim, qam_next_xid())) != QAM_XID_ENDED;
	}
	return false;
}

/*
 * What is the state of a message?  "held" tells whether the claim held before
 * the row was judged, "row" what was judged then, and "first" whether the
 * message is the first of its group.  (That the slot is BLOCKED may be out of
 * date.)
 */
static QamPeekState
peek_state(const QamCopiedPage *copy, int slotno, bool held, const QamRow *row,
		   const QamRetry *retry, TimestampTz now, bool first,
		   TimestampTz *ready_at)
{
	const QamSlot *slot = &copy->slots[slotno];

	*ready_at = shown_time(slot->ready_at);
	if (row->state == QAM_ROW_GONE)
		return QAM_PEEK_GONE;
	if (row->inserting)
		return QAM_PEEK_UNCOMMITTED;
	if (held || (row->state != QAM_ROW_LIVE && !row->locked_only))
		return QAM_PEEK_CLAIMED;
	if (QamSlotState(slot) == QAM_SLOT_CLAIMED)
		*ready_at = shown_time(qam_ready_again(retry, copy->opaque.seq, slotno, slot));
	if (!first)
		return QAM_PEEK_BLOCKED;
	if (*ready_at > now)
		return QAM_PEEK_DELAYED;
	return row->locked_only ? QAM_PEEK_CLAIMED : QAM_PEEK_READY;
}

/*
 * Describe a message whose row was judged.  If there is a row, its heap page
 * is still pinned and locked.
 */
static void
peek_slot(const QamCopiedPage *copy, int slotno, bool held, QamRow *row,
		  const QamRetry *retry, TimestampTz now, bool first, QamPeeked *out)
{
	out->state = peek_state(copy, slotno, held, row, retry, now, first, &out->ready_at);
	out->attempts = copy->slots[slotno].attempts;
	out->stuck = QamSlotStuck(&copy->slots[slotno]) > 0 &&
		(out->state == QAM_PEEK_READY || out->state == QAM_PEEK_DELAYED);
	out->tuple = row->state == QAM_ROW_GONE ? NULL : heap_copytuple(&row->tuple);
}

/* State of one look along the lists */
typedef struct QamPeek
{
	Relation	heap;
	Relation	index;
	Snapshot	snapshot;
	const QamRetry *retry;
	HTAB	   *heads;			/* first messages of groups; NULL: no groups */
	QamPeeked  *out;			/* NULL: heads are noted and pages checked,
								 * and nothing else */
	int			n;				/* messages in "out" */
	int			max;
	QamCopiedPage *copy;
	Buffer		heap_buffer;
} QamPeek;

/*
 * Peek at the messages of the copied page.
 */
static void
peek_page(QamPeek *peek)
{
	const QamCopiedPage *copy = peek->copy;
	TimestampTz now = GetCurrentTimestamp();
	int			i;

	for (i = copy->opaque.first_unfinished; i < copy->nslots && peek->n < peek->max; i++)
	{
		const QamSlot *slot = &copy->slots[i];
		bool		held = peek->out != NULL && claim_holds(slot, now);
		QamRow		row;
		bool		unused;
		bool		first;

		CHECK_FOR_INTERRUPTS();
		if (slot->state == QAM_SLOT_DONE)
			continue;
		qam_require_slot(peek->index, copy->block, i, slot, copy->opaque.kind);
		if (QamSlotIsOver(slot) ||
			(peek->out == NULL && slot->group_hash == 0) ||
			!qam_judge_copied(peek->heap, peek->index, copy, i, &peek->heap_buffer, &row,
							  &unused))
			continue;
		if (unused && !qam_heap_block_exists(peek->heap, peek->index, QamSlotGetBlock(slot)))
			qam_broken(peek->index, copy->block, "Slot %d leads to no row.", i);
		if (row.state == QAM_ROW_GONE)
			continue;
		first = note_head(peek->heads, copy, i);
		if (peek->out == NULL || row.state == QAM_ROW_OWN_DELETE)
			continue;

		/* The page is pinned, so the version that we judged is still there */
		LockBuffer(peek->heap_buffer, BUFFER_LOCK_SHARE);
		if (qam_row_visible(&row, peek->snapshot))
		{
			peek_slot(copy, i, held, &row, peek->retry, now, first,
					  &peek->out[peek->n]);
			peek->n++;
		}
		LockBuffer(peek->heap_buffer, BUFFER_LOCK_UNLOCK);
	}
}

/*
 * Peek at the page that a link leads to, and set *link to the next page.  A
 * page whose number is less than "from" was looked at before, and is only
 * passed.  Returns false if it is not the page meant.
 */
static bool
peek_link(QamPeek *peek, int lane, QamLink *link, uint64 *from)
{
	QamCopiedPage *copy = peek->copy;
	bool		meant;

	if (!qam_block_exists(peek->index, link->block))
		qam_broken(peek->index, link->block,
				   "A list leads to this block, which is not in the index.");
	qam_copy_page(peek->index, link->block, copy);
	meant = copy->fault == NULL &&
		copy->opaque.kind == (lane == QAM_SCHEDULED ? QAM_PAGE_BUCKET : QAM_PAGE_LANE) &&
		copy->opaque.lane == lane && copy->opaque.seq == link->seq;
	if (meant)
	{
		if (link->seq >= *from && peek->heads != NULL)
			peek_page(peek);
		*from = Max(*from, link->seq + 1);
		*link = copy->opaque.next;
	}
	ReleaseBuffer(copy->buffer);
	return meant;
}

/*
 * Peek at a lane.
 *
 * A page may be used again while we are on our way.  Then the way has to be
 * found again, perhaps from the beginning of the lane, so messages may be
 * missed.  Numbers grow along a list, so no page is looked at twice.
 */
static void
peek_lane(QamPeek *peek, int lane, const QamMetaData *meta)
{
	QamLink		link = meta->lanes[lane].head;
	QamLink		pred = qam_no_link();
	uint64		from = 0;

	while (QamLinkIsValid(&link) && peek->n < peek->max)
	{
		QamLink		here = link;

		CHECK_FOR_INTERRUPTS();
		if (peek_link(peek, lane, &link, &from))
			pred = here;
		else
			link = qam_lane_find_way(peek->index, lane, &pred, &here);
	}
	if (!QamLinkIsValid(&link))
		qam_lane_ended(peek->index, lane, meta, &pred);
}

/*
 * Peek at a list of the schedule.  Messages that move to another list
 * meanwhile may be missed, or be met there.
 */
static void
peek_list(QamPeek *peek, int list)
{
	QamLink		link = qam_schedule_head(peek->index, list);
	QamLink		pred = qam_no_link();
	uint64		from = 0;

	while (QamLinkIsValid(&link) && peek->n < peek->max)
	{
		QamLink		here = link;

		CHECK_FOR_INTERRUPTS();
		if (peek_link(peek, QAM_SCHEDULED, &link, &from))
			pred = here;
		else
			link = qam_schedule_find_way(peek->index, list, &pred, &here);
	}
	if (QamLinkIsValid(&pred) && !QamLinkIsValid(&link))
		qam_schedule_ended(peek->index, list, &pred);
}

/*
 * Look along the lanes, urgent ones first, and then along the schedule's lists.
 */
static void
peek_along(QamPeek *peek)
{
	QamScheduleData *schedule = palloc(sizeof(QamScheduleData));
	QamMetaData meta;
	int			lane;
	int			digit;
	int			value;

	qam_meta_read(peek->index, &meta);
	for (lane = QAM_LANES - 1; lane >= 0 && peek->n < peek->max; lane--)
		peek_lane(peek, lane, &meta);
	if (peek->n < peek->max && qam_schedule_read(peek->index, schedule))
	{
		peek_list(peek, QAM_NEAR);
		peek_list(peek, QAM_OPENED);
		for (digit = 0; digit < QAM_DIGITS; digit++)
			for (value = 0; value < QAM_DIGIT_VALUES; value++)
				if (schedule->buckets[digit][value].head != 0)
					peek_list(peek, QAM_BUCKET(digit, value));
	}
	if (BufferIsValid(peek->heap_buffer))
		ReleaseBuffer(peek->heap_buffer);
	pfree(schedule);
}

/*
 * qam_peek copies up to max messages that the snapshot sees, in the order in
 * which they would be handed out if all were ready.  Messages that are due
 * later come last.  Returns how many there are.
 */
int
qam_peek(Relation heap, Relation index, Snapshot snapshot,
		 const QamRetry *retry, int max, QamPeeked *out)
{
	QamPeek		peek = {
		.heap = heap,
		.index = index,
		.snapshot = snapshot,
		.retry = retry,
		.heads = group_heads("once.peek"),
		.out = out,
		.max = max,
		.copy = palloc(sizeof(QamCopiedPage))
	};

	peek_along(&peek);
	hash_destroy(peek.heads);
	pfree(peek.copy);
	return peek.n;
}

/*
 * Tell what a slot says.
 */
static void
slot_info(const QamCopiedPage *copy, int slotno, const uint64 *group_key,
		  uint64 next_xid, QamSlotInfo *info)
{
	const QamSlot *slot = &copy->slots[slotno];

	memset(info, 0, sizeof(QamSlotInfo));
	info->scheduled = copy->opaque.kind == QAM_PAGE_BUCKET;
	info->lane = info->scheduled ? slot->next_slot : copy->opaque.lane;
	if (slot->group_hash != 0)
		info->group = qam_directory_label(group_key, slot->group_hash);
	info->blocked = QamSlotIsBlocked(slot);
	info->block = copy->block;
	info->slot = slotno;
	info->state = slot_state_name(slot->state);
	info->tid = slot->tid;
	info->attempts = slot->attempts;
	info->ready_at = QamSlotIsOver(slot) ? 0 : shown_time(slot->ready_at);
	info->stuck = QamSlotStuck(slot);
	if (QamClaimKindOf(slot->claim) == QAM_CLAIM_BY_XID)
	{
		info->claim = "xid";
		info->claim_xid = qam_claim_xid(slot->claim, next_xid);
	}
	else if (QamClaimKindOf(slot->claim) == QAM_CLAIM_BY_LEASE)
		info->claim = "lease";
}

/*
 * Look at the message of any slot, and describe its state.
 */
static void
peek_any_slot(Relation heap, Relation index, const QamCopiedPage *copy, int slotno,
			  const QamRetry *retry, HTAB *heads, Buffer *heap_buffer,
			  QamPeeked *out)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		held = claim_holds(&copy->slots[slotno], now);
	bool		first = is_head(heads, copy, slotno);
	QamRow		row;
	bool		unused;

	if (QamSlotIsOver(&copy->slots[slotno]) ||
		!qam_judge_copied(heap, index, copy, slotno, heap_buffer, &row, &unused))
		row.state = QAM_ROW_GONE;
	if (row.state == QAM_ROW_GONE)
	{
		peek_slot(copy, slotno, held, &row, retry, now, first, out);
		return;
	}
	LockBuffer(*heap_buffer, BUFFER_LOCK_SHARE);
	peek_slot(copy, slotno, held, &row, retry, now, first, out);
	LockBuffer(*heap_buffer, BUFFER_LOCK_UNLOCK);
}

/*
 * Look along all lists, so that a broken one raises an error, and note which
 * messages are the first of their groups.
 */
static HTAB *
find_heads(Relation heap, Relation index, QamCopiedPage *copy)
{
	HTAB	   *heads = group_heads("once.slots");
	QamMetaData meta;
	QamPeek		peek = {
		.heap = heap,
		.index = index,
		.max = 1,
		.copy = copy
	};

	qam_meta_read(index, &meta);
	peek.heads = meta.directory != 0 ? heads : NULL;
	peek_along(&peek);
	return heads;
}

/*
 * qam_each_slot calls sink for every slot on a page of a lane or of the
 * schedule, in physical order.  It tells what the slot says, and the state of
 * its message now.
 */
void
qam_each_slot(Relation heap, Relation index, const QamRetry *retry,
			  QamSlotSink sink, void *arg)
{
	QamCopiedPage *copy = palloc(sizeof(QamCopiedPage));
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	Buffer		heap_buffer = InvalidBuffer;
	HTAB	   *heads = find_heads(heap, index, copy);
	uint64		group_key[2];
	BlockNumber block;
	int			i;

	memcpy(group_key, qam_meta_group_key(index), sizeof(group_key));
	for (block = QAM_METAPAGE + 1; block < nblocks; block++)
	{
		qam_copy_page(index, block, copy);
		qam_require_copy(index, copy);
		if (copy->opaque.kind != QAM_PAGE_LANE && copy->opaque.kind != QAM_PAGE_BUCKET)
			copy->nslots = 0;
		for (i = 0; i < copy->nslots; i++)
		{
			QamSlotInfo info;

			CHECK_FOR_INTERRUPTS();
			slot_info(copy, i, group_key, qam_next_xid(), &info);
			peek_any_slot(heap, index, copy, i, retry, heads, &heap_buffer, &info.now);
			sink(arg, &info);
			if (info.now.tuple != NULL)
				heap_freetuple(info.now.tuple);
		}
		ReleaseBuffer(copy->buffer);
		CHECK_FOR_INTERRUPTS();
	}
	if (BufferIsValid(heap_buffer))
		ReleaseBuffer(heap_buffer);
	hash_destroy(heads);
	pfree(copy);
}
