/*-------------------------------------------------------------------------
 *
 * qam_inspect.c
 *	  Looking at a queue index without changing it, also on a standby.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/htup_details.h"
#include "miscadmin.h"
#include "qam/qam_internal.h"
#include "utils/hsearch.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/*
 * qam_copy_page copies a data page's content and leaves the page pinned.
 */
void
qam_copy_page(Relation index, BlockNumber block, QamCopiedPage *copy)
{
	Page		page;

	copy->buffer = ReadBuffer(index, block);
	copy->block = block;
	copy->nslots = 0;
	memset(&copy->opaque, 0, sizeof(QamOpaqueData));
	LockBuffer(copy->buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(copy->buffer);
	if (!PageIsNew(page))
	{
		copy->opaque = *QamPageGetOpaque(page);
		if (copy->opaque.kind == QAM_PAGE_LANE || copy->opaque.kind == QAM_PAGE_BUCKET ||
			copy->opaque.kind == QAM_PAGE_FREE)
		{
			copy->nslots = Min(QamPageGetSlotCount(page), QAM_SLOTS_PER_PAGE);
			memcpy(copy->slots, QamPageGetSlots(page),
				   copy->nslots * sizeof(QamSlot));
		}
	}
	LockBuffer(copy->buffer, BUFFER_LOCK_UNLOCK);
}

/*
 * qam_judge_copied judges the row of a copied slot that is still unfinished.
 *
 * *heap_buffer is kept pinned from call to call.  Returns false if the slot
 * has ended since it was copied.  Sets *unused if the slot leads to no line
 * pointer, which cannot be.  No locks on entry or exit.
 */
bool
qam_judge_copied(Relation heap, const QamCopiedPage *copy, int slotno,
				 Buffer *heap_buffer, QamRow *row, bool *unused)
{
	ItemPointerData tid = copy->slots[slotno].tid;
	QamLink		link = qam_link(copy->block, copy->opaque.seq);
	Page		page = BufferGetPage(copy->buffer);
	Page		heap_page;
	bool		current;

	*unused = false;
	if (ItemPointerGetBlockNumber(&tid) >= RelationGetNumberOfBlocks(heap))
	{
		*unused = true;
		row->state = QAM_ROW_GONE;
		LockBuffer(copy->buffer, BUFFER_LOCK_SHARE);
		current = qam_page_is(page, &link, copy->opaque.lane) &&
			!QamSlotIsOver(&QamPageGetSlots(page)[slotno]);
		LockBuffer(copy->buffer, BUFFER_LOCK_UNLOCK);
		return current;
	}

	*heap_buffer = ReleaseAndReadBuffer(*heap_buffer, heap,
										ItemPointerGetBlockNumber(&tid));
	LockBuffer(copy->buffer, BUFFER_LOCK_SHARE);
	current = qam_page_is(page, &link, copy->opaque.lane) &&
		!QamSlotIsOver(&QamPageGetSlots(page)[slotno]);
	if (current)
	{
		OffsetNumber offset = ItemPointerGetOffsetNumber(&tid);

		LockBuffer(*heap_buffer, BUFFER_LOCK_SHARE);
		heap_page = BufferGetPage(*heap_buffer);
		*unused = PageIsNew(heap_page) ||
			offset > PageGetMaxOffsetNumber(heap_page) ||
			!ItemIdIsUsed(PageGetItemId(heap_page, offset));
		qam_judge(heap, *heap_buffer, &tid, row);
		LockBuffer(*heap_buffer, BUFFER_LOCK_UNLOCK);
	}
	LockBuffer(copy->buffer, BUFFER_LOCK_UNLOCK);
	return current;
}

static const char *
qam_slot_state_name(uint8 state)
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
qam_page_kind_name(uint16 kind)
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
 * qam_each_slot calls sink for every slot of every page of a lane or of the
 * schedule, in physical order.
 */
void
qam_each_slot(Relation index, QamSlotSink sink, void *arg)
{
	QamCopiedPage *copy = palloc(sizeof(QamCopiedPage));
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	BlockNumber block;
	int			i;

	for (block = QAM_METAPAGE + 1; block < nblocks; block++)
	{
		CHECK_FOR_INTERRUPTS();
		qam_copy_page(index, block, copy);
		ReleaseBuffer(copy->buffer);
		if (copy->opaque.kind != QAM_PAGE_LANE && copy->opaque.kind != QAM_PAGE_BUCKET)
			continue;
		for (i = 0; i < copy->nslots; i++)
		{
			QamSlot    *slot = &copy->slots[i];
			bool		scheduled = copy->opaque.kind == QAM_PAGE_BUCKET;
			QamSlotInfo info = {
				.lane = scheduled ? slot->next_slot : copy->opaque.lane,
				.scheduled = scheduled,
				.group = slot->group_hash,
				.blocked = QamSlotIsBlocked(slot),
				.block = block,
				.slot = i,
				.state = qam_slot_state_name(slot->state),
				.tid = slot->tid,
				.attempts = slot->attempts,
				.ready_at = QamSlotIsOver(slot) ? 0 : slot->ready_at,
				.stuck = QamSlotStuck(slot)
			};

			if (QamClaimKindOf(slot->claim) == QAM_CLAIM_BY_XID)
			{
				info.claim = "xid";
				info.claim_xid = qam_claim_xid(slot->claim, qam_next_xid());
			}
			else if (QamClaimKindOf(slot->claim) == QAM_CLAIM_BY_LEASE)
				info.claim = "lease";
			sink(arg, &info);
		}
	}
	pfree(copy);
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
		info.kind = qam_page_kind_name(copy->opaque.kind);
		info.lane = copy->opaque.kind == QAM_PAGE_LANE ? copy->opaque.lane : -1;
		info.seq = copy->opaque.seq;
		info.next = copy->opaque.kind == 0 ? InvalidBlockNumber : copy->opaque.next.block;
		info.slots = copy->nslots;
		info.done = 0;
		for (i = 0; i < copy->nslots; i++)
			info.done += (copy->slots[i].state == QAM_SLOT_DONE);
		info.first_unfinished = copy->opaque.first_unfinished;
		info.earliest = copy->opaque.earliest;
		info.owner = copy->opaque.owner;
		sink(arg, &info);
	}
	pfree(copy);
}

/*
 * How does a message stand, going by its slot and by whether there is one before
 * it in its group?  That the slot is BLOCKED may be out of date.
 */
static QamPeekState
qam_peek_state(const QamCopiedPage *copy, int slotno, const QamRetry *retry,
			   TimestampTz now, bool first, TimestampTz *ready_at)
{
	const QamSlot *slot = &copy->slots[slotno];

	*ready_at = slot->ready_at;
	if (QamSlotState(slot) == QAM_SLOT_TAKEN &&
		qam_xid_state(qam_claim_xid(slot->claim, qam_next_xid())) != QAM_XID_ENDED)
		return QAM_PEEK_CLAIMED;
	if (QamSlotState(slot) == QAM_SLOT_CLAIMED)
	{
		if (QamClaimKindOf(slot->claim) == QAM_CLAIM_BY_LEASE)
		{
			if (slot->ready_at > now)
				return QAM_PEEK_CLAIMED;
		}
		else if (qam_xid_state(qam_claim_xid(slot->claim, qam_next_xid())) != QAM_XID_ENDED)
			return QAM_PEEK_CLAIMED;
		*ready_at += qam_pause(retry, copy->opaque.seq, slotno, slot);
	}
	if (!first)
		return QAM_PEEK_BLOCKED;
	return *ready_at > now ? QAM_PEEK_DELAYED : QAM_PEEK_READY;
}

/*
 * Peek at a page's messages; returns how many there are in out now.
 */
static int
qam_peek_page(Relation heap, const QamCopiedPage *copy, Snapshot snapshot,
			  const QamRetry *retry, int n, int max, Buffer *heap_buffer,
			  HTAB *groups, QamPeeked *out)
{
	TimestampTz now = GetCurrentTimestamp();
	int			i;

	for (i = copy->opaque.first_unfinished; i < copy->nslots && n < max; i++)
	{
		const QamSlot *slot = &copy->slots[i];
		QamRow		row;
		bool		unused;
		bool		first = true;	/* of its group */

		CHECK_FOR_INTERRUPTS();
		if (QamSlotIsOver(slot) ||
			!qam_judge_copied(heap, copy, i, heap_buffer, &row, &unused) ||
			row.state == QAM_ROW_GONE)
			continue;
		if (slot->group_hash != 0 && copy->opaque.kind == QAM_PAGE_LANE)
		{
			bool		found;

			(void) hash_search(groups, &slot->group_hash, HASH_ENTER, &found);
			first = !found;
		}
		if (row.state != QAM_ROW_LIVE && row.state != QAM_ROW_BUSY)
			continue;

		/* Pinned, so the version we judged is still there */
		LockBuffer(*heap_buffer, BUFFER_LOCK_SHARE);
		if (qam_row_visible(&row, snapshot))
		{
			out[n].tuple = heap_copytuple(&row.tuple);
			out[n].attempts = slot->attempts;
			out[n].stuck = QamSlotStuck(slot) > 0;
			out[n].state = qam_peek_state(copy, i, retry, now, first, &out[n].ready_at);
			n++;
		}
		LockBuffer(*heap_buffer, BUFFER_LOCK_UNLOCK);
	}
	return n;
}

/*
 * Peek at a list of pages; returns how many messages there are in out now.
 *
 * A page that is recycled under our feet ends its list: this is a look, not an
 * account.
 */
static int
qam_peek_list(Relation heap, Relation index, uint16 kind, BlockNumber block,
			  QamCopiedPage *copy, Snapshot snapshot, const QamRetry *retry,
			  int n, int max, Buffer *heap_buffer, HTAB *groups, QamPeeked *out)
{
	uint64		seq = 0;		/* not known of the first page */

	while (block != InvalidBlockNumber && block != 0 && n < max)
	{
		CHECK_FOR_INTERRUPTS();
		qam_copy_page(index, block, copy);
		block = InvalidBlockNumber;
		if (copy->opaque.kind == kind && (seq == 0 || copy->opaque.seq == seq))
		{
			n = qam_peek_page(heap, copy, snapshot, retry, n, max, heap_buffer, groups, out);
			block = copy->opaque.next.block;
			seq = copy->opaque.next.seq;
		}
		ReleaseBuffer(copy->buffer);
	}
	return n;
}

/*
 * qam_peek copies up to max messages that the snapshot sees, in the order in
 * which they would be handed out if all were ready; those that are due later
 * come last.  Returns how many.
 */
int
qam_peek(Relation heap, Relation index, Snapshot snapshot,
		 const QamRetry *retry, int max, QamPeeked *out)
{
	QamCopiedPage *copy = palloc(sizeof(QamCopiedPage));
	QamScheduleData *schedule = palloc(sizeof(QamScheduleData));
	Buffer		heap_buffer = InvalidBuffer;
	QamMetaData meta;
	HASHCTL		hash = {
		.keysize = sizeof(uint32),
		.entrysize = sizeof(uint32),
		.hcxt = CurrentMemoryContext
	};
	HTAB	   *groups = hash_create("once.peek", 256, &hash,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	int			n = 0;
	int			lane;
	int			digit;
	int			value;

	qam_read_meta(index, &meta);
	for (lane = QAM_LANES - 1; lane >= 0; lane--)
		n = qam_peek_list(heap, index, QAM_PAGE_LANE, meta.lanes[lane].head.block, copy,
						  snapshot, retry, n, max, &heap_buffer, groups, out);
	if (n < max && qam_read_schedule(index, schedule))
	{
		n = qam_peek_list(heap, index, QAM_PAGE_BUCKET, schedule->near.head, copy,
						  snapshot, retry, n, max, &heap_buffer, groups, out);
		n = qam_peek_list(heap, index, QAM_PAGE_BUCKET, schedule->opened.head, copy,
						  snapshot, retry, n, max, &heap_buffer, groups, out);
		for (digit = 0; digit < QAM_DIGITS; digit++)
			for (value = 0; value < QAM_DIGIT_VALUES; value++)
				n = qam_peek_list(heap, index, QAM_PAGE_BUCKET,
								  schedule->buckets[digit][value].head, copy,
								  snapshot, retry, n, max, &heap_buffer, groups, out);
	}
	if (BufferIsValid(heap_buffer))
		ReleaseBuffer(heap_buffer);
	hash_destroy(groups);
	pfree(schedule);
	pfree(copy);
	return n;
}
