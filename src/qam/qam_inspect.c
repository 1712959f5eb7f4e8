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
#include "qam/qam_along.h"
#include "qam/qam_cache.h"
#include "qam/qam_copy.h"
#include "qam/qam_damage.h"
#include "qam/qam_directory.h"
#include "qam/qam_format.h"
#include "qam/qam_heap.h"
#include "qam/qam_meta.h"
#include "qam/qam_now.h"
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
		info.earliest = qam_shown_time(copy->opaque.earliest);
		info.owner = copy->opaque.owner;
		sink(arg, &info);
	}
	pfree(copy);
}

/*
 * Describe a message whose row was judged.  If there is a row, its heap page
 * is still pinned and locked.
 */
static void
peek_slot(const QamCopiedPage *copy, int slotno, bool held, QamRow *row,
		  const QamRetry *retry, TimestampTz now, bool first, QamPeeked *out)
{
	out->state = qam_now_state(copy, slotno, held, row, retry, now, first, &out->ready_at);
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
	Buffer		heap_buffer;
} QamPeek;

/*
 * Peek at the messages of a page.
 */
static QamAlongNext
peek_page(void *arg, const QamCopiedPage *copy)
{
	QamPeek    *peek = arg;
	QamXidCache xids = {0};
	TimestampTz now = GetCurrentTimestamp();
	int			i;

	if (peek->heads == NULL)
		return QAM_ALONG_ON;

	for (i = copy->opaque.first_unfinished; i < copy->nslots && peek->n < peek->max; i++)
	{
		const QamSlot *slot = &copy->slots[i];
		bool		held = peek->out != NULL && qam_now_claimed(&xids, slot, now);
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
		first = qam_now_note_head(peek->heads, copy, i);
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
	return peek->n < peek->max ? QAM_ALONG_ON : QAM_ALONG_STOP;
}

/*
 * Look along all lists.
 */
static void
peek_along(QamPeek *peek, QamCopiedPage *copy)
{
	qam_along(peek->index, copy, peek->heads != NULL, peek_page, peek);
	if (BufferIsValid(peek->heap_buffer))
		ReleaseBuffer(peek->heap_buffer);
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
		.heads = qam_now_heads("once.peek"),
		.out = out,
		.max = max
	};
	QamCopiedPage *copy = palloc(sizeof(QamCopiedPage));

	peek_along(&peek, copy);
	hash_destroy(peek.heads);
	pfree(copy);
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
	info->ready_at = QamSlotIsOver(slot) ? 0 : qam_shown_time(slot->ready_at);
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
	QamXidCache xids = {0};
	bool		held = qam_now_claimed(&xids, &copy->slots[slotno], now);
	bool		first = qam_now_is_head(heads, copy, slotno);
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
	HTAB	   *heads = qam_now_heads("once.slots");
	QamMetaData meta;
	QamPeek		peek = {
		.heap = heap,
		.index = index,
		.max = 1
	};

	qam_meta_read(index, &meta);
	peek.heads = meta.directory != 0 ? heads : NULL;
	peek_along(&peek, copy);
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
