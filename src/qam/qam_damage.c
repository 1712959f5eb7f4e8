/*-------------------------------------------------------------------------
 *
 * qam_damage.c
 *	  Damaged pages: the checks that come before anything on a page is trusted.
 *
 * A page may be lost, be an old version of itself, or hold anything at all.
 * No such page may crash the server, or keep a backend busy or waiting for
 * ever.  A backend that comes to one raises an error that asks for REINDEX,
 * which makes a new index of the table.  README, "Damage", explains this; the
 * functions here are what the other files call for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/htup_details.h"
#include "qam/qam_cache.h"
#include "qam/qam_damage.h"
#include "qam/qam_format.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

/*
 * qam_broken raises the error that the index is broken.  "block" is where, or
 * invalid if it is no block in particular; the rest tells how.  Page locks may
 * be held.
 */
void
qam_broken(Relation index, BlockNumber block, const char *format,...)
{
	char		detail[256];
	va_list		args;

	va_start(args, format);
	vsnprintf(detail, sizeof(detail), format, args);
	va_end(args);
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 block == InvalidBlockNumber ?
			 errmsg("queue index \"%s\" is broken", RelationGetRelationName(index)) :
			 errmsg("queue index \"%s\" is broken at block %u",
					RelationGetRelationName(index), block),
			 errdetail_internal("%s", detail),
			 errhint("REINDEX restores the index from its table.")));
}

/*
 * Does the page's content have this size?  For a metapage, and for the roots of
 * the directory and the schedule.
 */
static bool
content_is(Page page, Size size)
{
	return ((PageHeader) page)->pd_lower == QAM_PAGE_BEGIN + size;
}

/*
 * Does the content consist of whole entries, and of at most "max" of them?
 */
static bool
entries_are_whole(Page page, int size, int max)
{
	int			used = ((PageHeader) page)->pd_lower - QAM_PAGE_BEGIN;

	return used % size == 0 && used / size <= max;
}

/*
 * Does a page of a list lead to a later page, or nowhere?
 */
static bool
next_is_later(QamOpaque opaque)
{
	return !QamLinkIsValid(&opaque->next) ||
		(opaque->next.block != QAM_METAPAGE && opaque->next.seq > opaque->seq);
}

/*
 * What is wrong with a metapage, apart from magic and version?  NULL: nothing.
 */
static const char *
meta_fault(QamMeta meta)
{
	int			lane;

	if (meta->next_seq == 0 || meta->next_seq > QAM_MAX_SEQ)
		return "its number for the next page is out of range";
	for (lane = 0; lane < QAM_LANES; lane++)
	{
		QamLane    *ends = &meta->lanes[lane];

		if (QamLinkIsValid(&ends->head) != QamLinkIsValid(&ends->tail))
			return "a list has only one end";
		if (QamLinkIsValid(&ends->head) &&
			(ends->head.block == QAM_METAPAGE || ends->tail.block == QAM_METAPAGE ||
			 ends->head.seq > ends->tail.seq || ends->tail.seq >= meta->next_seq))
			return "the ends of a list are not in order";
	}
	if (QamLinkIsValid(&meta->free) && meta->free.block == QAM_METAPAGE)
		return "the free list begins with the metapage";
	return NULL;
}

/*
 * qam_page_fault tells what is wrong with a page in itself; NULL if nothing.
 *
 * The page is locked.  If there is no fault, its header, kind, lane and counts
 * can be relied on, and the order of its number and its link.  Where links
 * lead, and what slots say, is not checked here.
 */
const char *
qam_page_fault(Page page)
{
	PageHeader	header = (PageHeader) page;
	QamOpaque	opaque = QamPageGetOpaque(page);

	if (PageIsNew(page))
		return "it is all zeros";
	if (header->pd_special != QAM_PAGE_END || header->pd_upper != QAM_PAGE_END ||
		header->pd_lower < QAM_PAGE_BEGIN || header->pd_lower > QAM_PAGE_END ||
		header->pd_pagesize_version != (BLCKSZ | PG_PAGE_LAYOUT_VERSION))
		return "its header is damaged";
	if (opaque->page_id != QAM_PAGE_ID)
		return "it is not a page of a queue index";

	switch (opaque->kind)
	{
		case QAM_PAGE_LANE:
		case QAM_PAGE_BUCKET:
			if (opaque->kind == QAM_PAGE_LANE ? opaque->lane >= QAM_LANES :
				opaque->lane != QAM_SCHEDULED)
				return "its lane is out of range";
			if (!next_is_later(opaque))
				return "it leads to an earlier page";
			if (opaque->first_unfinished > QamPageGetSlotCount(page))
				return "its first unfinished slot is out of range";
			pg_fallthrough;
		case QAM_PAGE_FREE:
			if (!entries_are_whole(page, sizeof(QamSlot), QAM_SLOTS_PER_PAGE))
				return "its slots do not fit into it";
			return NULL;

		case QAM_PAGE_META:
			if (!content_is(page, sizeof(QamMetaData)))
				return "its content does not fit into it";
			return meta_fault(QamPageGetMeta(page));

		case QAM_PAGE_DIRECTORY:
			if (QamPageGetDirectory(page)->depth > QAM_DIRECTORY_MAX_DEPTH ||
				!content_is(page, offsetof(QamDirectoryData, pages) +
							(sizeof(BlockNumber) << QamPageGetDirectory(page)->depth)))
				return "its depth is out of range";
			return NULL;

		case QAM_PAGE_GROUPS:
			if (opaque->lane > QAM_DIRECTORY_MAX_DEPTH)
				return "its depth is out of range";
			if (!next_is_later(opaque))
				return "it leads to an earlier page";
			if (!entries_are_whole(page, sizeof(QamGroup), QAM_GROUPS_PER_PAGE))
				return "its groups do not fit into it";
			return NULL;

		case QAM_PAGE_SCHEDULE:
			if (!content_is(page, sizeof(QamScheduleData)))
				return "its content does not fit into it";
			if (QamPageGetSchedule(page)->cursor > QAM_MAX_TICK)
				return "its cursor is out of range";
			return NULL;
	}
	return "its kind is unknown";
}

/*
 * qam_require_page raises an error if a page is not sound in itself.  The page
 * is locked.
 */
void
qam_require_page(Relation index, Buffer buffer)
{
	const char *fault = qam_page_fault(BufferGetPage(buffer));

	if (fault != NULL)
		qam_broken(index, BufferGetBlockNumber(buffer), "The page is unsound: %s.", fault);
}

/*
 * qam_slot_fault tells what is wrong with a slot in itself, on a page of this
 * kind; NULL if nothing.
 */
const char *
qam_slot_fault(const QamSlot *slot, uint16 kind)
{
	bool		bucket = kind == QAM_PAGE_BUCKET;

	if (slot->state == QAM_SLOT_DONE)
		return NULL;
	switch (QamSlotState(slot))
	{
		case QAM_SLOT_READY:
		case QAM_SLOT_TAKEN:
			break;
		case QAM_SLOT_APPENDED:
			if (QamSlotStuck(slot) == 0)
				break;
			return "its state is unknown";
		case QAM_SLOT_CLAIMED:
		case QAM_SLOT_ENDED:
			if (!bucket && QamSlotStuck(slot) == 0)
				break;
			pg_fallthrough;
		default:
			return "its state is unknown";
	}
	if ((QamSlotIsBlocked(slot) || QamSlotState(slot) == QAM_SLOT_ENDED) &&
		(bucket || slot->group_hash == 0))
		return "its state is that of a slot in a group, but it has no group";
	if (bucket && slot->next_slot >= QAM_LANES)
		return "its lane is out of range";
	if (ItemPointerGetOffsetNumberNoCheck(&slot->tid) < FirstOffsetNumber ||
		ItemPointerGetOffsetNumberNoCheck(&slot->tid) > MaxHeapTuplesPerPage ||
		QamSlotGetBlock(slot) > MaxBlockNumber)
		return "it does not lead to a row";
	return NULL;
}

/*
 * qam_require_slot raises an error if a slot is not sound in itself.  Its page
 * is locked, or copied.
 */
void
qam_require_slot(Relation index, BlockNumber block, int slotno, const QamSlot *slot,
				 uint16 kind)
{
	const char *fault = qam_slot_fault(slot, kind);

	if (fault != NULL)
		qam_broken(index, block, "Slot %d is unsound: %s.", slotno, fault);
}

/*
 * qam_successor_is_later tells whether a slot, on the page with number "seq",
 * leads to one further along the lane, or to none.
 */
bool
qam_successor_is_later(const QamSlot *slot, BlockNumber block, uint64 seq, int slotno)
{
	if (slot->next_block == 0)
		return true;
	if (slot->next_block == block)
		return slot->next_seq == (uint32) seq && slot->next_slot > slotno;
	return (int32) (slot->next_seq - (uint32) seq) > 0;
}

/*
 * qam_page_is tells whether a page is the one that a link means, and is still
 * in the list of the lane, or in the schedule.  The page is locked.  It may be
 * any page of the index.
 */
bool
qam_page_is(Page page, const QamLink *link, int lane)
{
	QamOpaque	opaque = QamPageGetOpaque(page);

	return qam_page_fault(page) == NULL &&
		opaque->kind == (lane == QAM_SCHEDULED ? QAM_PAGE_BUCKET : QAM_PAGE_LANE) &&
		opaque->lane == lane &&
		opaque->seq == link->seq;
}

/*
 * qam_require_block raises an error if the index does not have the data page
 * that a link leads to.  "what" names the list of the link.  Without this
 * check, reading a block beyond the end of the index would add it to the file,
 * or raise an error that does not tell what to do.
 */
void
qam_require_block(Relation index, BlockNumber block, const char *what)
{
	if (!qam_block_exists(index, block))
		qam_broken(index, block, "The %s leads to this block, which is not in the index.", what);
}

/*
 * qam_pin_block pins a block that a link leads to, or raises an error if it
 * does not exist.
 */
Buffer
qam_pin_block(Relation index, BlockNumber block, const char *what)
{
	qam_require_block(index, block, what);
	return ReadBuffer(index, block);
}

/*
 * qam_pin_row pins the page of the table where the row of a slot is, or raises
 * an error if the page does not exist.  No page is locked.
 */
Buffer
qam_pin_row(Relation heap, Relation index, BlockNumber block)
{
	if (!qam_heap_block_exists(heap, index, block))
		qam_broken(index, InvalidBlockNumber,
				   "A slot leads to block %u of table \"%s\", which is not in the table.",
				   block, RelationGetRelationName(heap));
	return ReadBuffer(heap, block);
}

/*
 * qam_seems_to_be tells whether a page is of a kind, and has a number in those
 * bits that are in the mask.  The page need not be locked.
 */
bool
qam_seems_to_be(Page page, uint16 kind, uint64 seq, uint64 mask)
{
	volatile QamOpaqueData *opaque = QamPageGetOpaque(page);

	return opaque->page_id == QAM_PAGE_ID && opaque->kind == kind &&
		((opaque->seq ^ seq) & mask) == 0;
}

/*
 * Pin and lock the page that a link leads to, comparing its number as the mask
 * says.
 */
static Buffer
follow_masked(Relation index, const char *what, BlockNumber block, uint16 kind,
			  uint64 seq, uint64 mask, int mode)
{
	Buffer		buffer = qam_pin_block(index, block, what);
	Page		page = BufferGetPage(buffer);

	if (qam_seems_to_be(page, kind, seq, mask))
	{
		LockBuffer(buffer, mode);
		qam_require_page(index, buffer);
		if (qam_seems_to_be(page, kind, seq, mask))
			return buffer;
	}
	qam_broken(index, block, "The %s leads to this block, which is not the page meant.", what);
	return InvalidBuffer;		/* keep compiler quiet */
}

/*
 * qam_follow pins and locks the page that a link leads to.  It raises an error
 * if the page is not of this kind, or does not have the number of the link.
 * (If the link has no number (0), any number will do.)  "what" names the list
 * of the link.
 *
 * The link was read from a page that is still locked.  So if the link is good,
 * the page is the one meant even before we lock it, and we look at it then.
 * We do not wait for the lock of another page: it may be one that we have
 * locked ourselves, or one whose owner waits for one of ours.
 */
Buffer
qam_follow(Relation index, const char *what, QamLink link, uint16 kind, int mode)
{
	return follow_masked(index, what, link.block, kind, link.seq,
						 link.seq != 0 ? PG_UINT64_MAX : 0, mode);
}

/*
 * qam_follow_place is qam_follow for the place of a slot of a group.
 */
Buffer
qam_follow_place(Relation index, const QamPlace *place, int mode)
{
	return follow_masked(index, "chain of a group", place->block, QAM_PAGE_LANE,
						 place->seq, PG_UINT32_MAX, mode);
}
