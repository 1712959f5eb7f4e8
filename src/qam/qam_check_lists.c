/*-------------------------------------------------------------------------
 *
 * qam_check_lists.c
 *	  Verifying a queue index: its lists, the directory of groups and the
 *	  schedule.  The rules are listed at the head of qam_check.c.
 *
 * The pages may be damaged.  So a link is followed only if it leads into the
 * file, and no page is visited twice in a list.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "miscadmin.h"
#include "qam/qam_cache.h"
#include "qam/qam_check_lists.h"
#include "qam/qam_check_pages.h"
#include "qam/qam_copy.h"
#include "qam/qam_damage.h"
#include "qam/qam_directory.h"
#include "qam/qam_format.h"
#include "qam/qam_meta.h"
#include "storage/bufmgr.h"

/*
 * Step from one page of a lane (or, if *link is invalid, from the lane's head)
 * to the next one.
 *
 * Both pages are locked together, so a link that does not lead where it should
 * is a fault, and not the work of another backend.  Sets *link to the next
 * page, or to invalid at the end.  Returns false if the page that we come from
 * has left the list.
 */
static bool
check_step(QamCheck *check, int lane, QamLink *link)
{
	bool		at_head = !QamLinkIsValid(link);
	Buffer		from = ReadBuffer(check->index, at_head ? QAM_METAPAGE : link->block);
	Page		page;
	QamLink		next = qam_no_link();
	bool		good = true;
	bool		is_tail = true;
	uint64		seq = 0;

	LockBuffer(from, BUFFER_LOCK_SHARE);
	page = BufferGetPage(from);
	if (at_head)
		next = qam_meta_check(check->index, page)->lanes[lane].head;
	else if (qam_page_is(page, link, lane))
	{
		next = QamPageGetOpaque(page)->next;
		seq = link->seq;
	}
	else
	{
		UnlockReleaseBuffer(from);
		return false;
	}
	if (QamLinkIsValid(&next))
	{
		good = false;
		if (next.seq > seq && qam_block_exists(check->index, next.block))
		{
			Buffer		to = ReadBuffer(check->index, next.block);

			/* As in qam_follow, look at it before waiting for its lock */
			if (qam_seems_to_be(BufferGetPage(to), QAM_PAGE_LANE, next.seq, PG_UINT64_MAX))
			{
				LockBuffer(to, BUFFER_LOCK_SHARE);
				good = qam_page_is(BufferGetPage(to), &next, lane);
				LockBuffer(to, BUFFER_LOCK_UNLOCK);
			}
			ReleaseBuffer(to);
		}
	}
	UnlockReleaseBuffer(from);

	if (!good)
	{
		qam_check_report(check, "list", at_head ? QAM_METAPAGE : link->block, -1,
						 "link of lane %d to block %u does not lead to page " UINT64_FORMAT,
						 lane, next.block, next.seq);
		next = qam_no_link();
	}
	else if (!QamLinkIsValid(&next) && !at_head)
	{
		/* Only the tail ends the list.  The list may have grown since. */
		Buffer		meta = ReadBuffer(check->index, QAM_METAPAGE);
		Buffer		last = ReadBuffer(check->index, link->block);

		LockBuffer(meta, BUFFER_LOCK_SHARE);
		LockBuffer(last, BUFFER_LOCK_SHARE);
		page = BufferGetPage(last);
		if (qam_page_is(page, link, lane) &&
			!QamLinkIsValid(&QamPageGetOpaque(page)->next))
			is_tail = qam_same_link(&qam_meta_check(check->index, BufferGetPage(meta))->lanes[lane].tail,
									link);
		UnlockReleaseBuffer(last);
		UnlockReleaseBuffer(meta);
		if (!is_tail)
			qam_check_report(check, "list", link->block, -1,
							 "list of lane %d ends here, but not according to the metapage", lane);
	}
	*link = next;
	return true;
}

/*
 * qam_check_lists verifies the lists of the lanes.
 */
void
qam_check_lists(QamCheck *check)
{
	int			lane;

	for (lane = 0; lane < QAM_LANES; lane++)
	{
		QamLink		link = qam_no_link();

		for (;;)
		{
			CHECK_FOR_INTERRUPTS();
			if (!check_step(check, lane, &link))
			{
				link = qam_no_link();	/* unlinked meanwhile: begin again */
				continue;
			}
			if (!QamLinkIsValid(&link))
				break;
			if (check->in_list && link.block < check->nblocks)
				check->in_list[link.block] = true;
		}
	}
}

/*
 * qam_check_free verifies the free list, and that each page is in some list.
 * For strict only: writers are kept out, so nothing needs to be locked
 * together.
 */
void
qam_check_free(QamCheck *check)
{
	QamCopiedPage *copy = palloc(sizeof(QamCopiedPage));
	QamMetaData meta;
	QamLink		link;
	BlockNumber block;

	qam_meta_read(check->index, &meta);
	for (link = meta.free; QamLinkIsValid(&link); link = copy->opaque.next)
	{
		CHECK_FOR_INTERRUPTS();
		if (link.block >= check->nblocks || check->in_list[link.block])
		{
			qam_check_report(check, "free list", link.block, -1,
							 "block is also in another list, or twice in this one");
			break;
		}
		qam_copy_page(check->index, link.block, copy);
		ReleaseBuffer(copy->buffer);
		if (copy->fault != NULL || copy->opaque.kind != QAM_PAGE_FREE ||
			copy->opaque.seq != link.seq)
		{
			qam_check_report(check, "free list", link.block, -1, "page is not free");
			break;
		}
		check->in_list[link.block] = true;
	}
	for (block = QAM_METAPAGE + 1; block < check->nblocks; block++)
	{
		CHECK_FOR_INTERRUPTS();
		if (check->in_list[block])
			continue;
		qam_copy_page(check->index, block, copy);
		ReleaseBuffer(copy->buffer);
		if (copy->opaque.kind != 0)
			qam_check_report(check, "lost page", block, -1, "page is in no list");
	}
	pfree(copy);
}

/*
 * Copy the slot at a place in a group's chain.  False if there is no such slot.
 */
static bool
check_place(QamCheck *check, const QamPlace *place, QamSlot *slot)
{
	Buffer		buffer;
	Page		page;
	bool		good;

	memset(slot, 0, sizeof(QamSlot));
	if (place->block >= check->nblocks)
		return false;
	buffer = ReadBuffer(check->index, place->block);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	good = qam_page_fault(page) == NULL &&
		QamPageGetOpaque(page)->kind == QAM_PAGE_LANE &&
		(uint32) QamPageGetOpaque(page)->seq == place->seq &&
		place->slot < QamPageGetSlotCount(page);
	if (good)
		*slot = QamPageGetSlots(page)[place->slot];
	UnlockReleaseBuffer(buffer);
	return good;
}

/*
 * Follow a group's chain (strict only).  Returns the number of its slots.
 */
static uint64
check_chain(QamCheck *check, const QamGroup *group)
{
	QamPlace	place = {group->head_block, group->head_seq, group->head_slot};
	uint64		n = 0;

	for (;;)
	{
		QamSlot		slot;

		CHECK_FOR_INTERRUPTS();
		if (!check_place(check, &place, &slot) ||
			slot.group_hash != group->hash || slot.state == QAM_SLOT_DONE ||
			QamSlotIsBlocked(&slot) != (n > 0) ||
			!qam_successor_is_later(&slot, place.block, place.seq, place.slot))
		{
			qam_check_report(check, "group", place.block, place.slot,
							 "state %d, group %u at place " UINT64_FORMAT " of group %u",
							 slot.state, slot.group_hash, n, group->hash);
			break;
		}
		n++;
		if (slot.next_block == 0)
		{
			if (place.block != group->tail_block || place.seq != group->tail_seq ||
				place.slot != group->tail_slot)
				qam_check_report(check, "group", place.block, place.slot,
								 "chain of group %u ends here, its last slot is %u in block %u",
								 group->hash, group->tail_slot, group->tail_block);
			break;
		}
		place.block = slot.next_block;
		place.seq = slot.next_seq;
		place.slot = slot.next_slot;
	}
	return n;
}

/*
 * Copy a page of the directory, or a root, and note that it is in use.
 * Reports a fault and returns false if the page is of another kind or already
 * in a list.
 */
static bool
check_copy(QamCheck *check, const char *rule, BlockNumber block, uint16 kind,
		   PGAlignedBlock *copy)
{
	Buffer		buffer;
	const char *fault = "block is not in the index";

	if (block != QAM_METAPAGE && block < check->nblocks)
	{
		buffer = ReadBuffer(check->index, block);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		memcpy(copy->data, BufferGetPage(buffer), BLCKSZ);
		UnlockReleaseBuffer(buffer);
		fault = qam_page_fault((Page) copy->data);
		if (fault == NULL && QamPageGetOpaque((Page) copy->data)->kind != kind)
			fault = "page is of another kind";
		if (fault == NULL && check->in_list[block])
			fault = "block is also in another list, or twice in this one";
	}
	if (fault != NULL)
		qam_check_report(check, rule, block, -1, "not the expected page: %s", fault);
	else
		check->in_list[block] = true;
	return fault == NULL;
}

/*
 * Check the groups on a page of the directory, and their chains (strict only).
 * Returns the number of their slots.
 */
static uint64
check_groups_page(QamCheck *check, BlockNumber block, Page page, uint32 part)
{
	uint32		mask = (UINT32_C(1) << QamPageGetOpaque(page)->lane) - 1;
	uint64		chained = 0;
	int			i;

	for (i = 0; i < QamPageGetGroupCount(page); i++)
	{
		const QamGroup *group = &QamPageGetGroups(page)[i];

		if ((group->hash & mask) != (part & mask))
			qam_check_report(check, "group", block, -1,
							 "group %u is in the wrong part", group->hash);
		chained += check_chain(check, group);
	}
	return chained;
}

/*
 * qam_check_groups verifies the directory of groups, and that all unfinished
 * slots that have a group are in the chains.  For strict only.
 */
void
qam_check_groups(QamCheck *check)
{
	PGAlignedBlock *root = palloc(sizeof(PGAlignedBlock));
	PGAlignedBlock *copy = palloc(sizeof(PGAlignedBlock));
	Page		page = (Page) copy->data;
	QamMetaData meta;
	uint64		chained = 0;

	qam_meta_read(check->index, &meta);
	if (meta.directory != 0 &&
		check_copy(check, "group", meta.directory, QAM_PAGE_DIRECTORY, root))
	{
		QamDirectory directory = QamPageGetDirectory((Page) root->data);
		uint32		part;

		for (part = 0; part < (UINT32_C(1) << directory->depth); part++)
		{
			QamLink		link = qam_link(directory->pages[part], 0);
			uint32		i = 0;

			/* Is this the part of an earlier place as well? */
			while (directory->pages[i] != link.block)
				i++;
			if (i < part)
				continue;
			while (QamLinkIsValid(&link) &&
				   check_copy(check, "group", link.block, QAM_PAGE_GROUPS, copy))
			{
				if (link.seq == 0 &&
					!qam_directory_agrees(directory, link.block, page, part))
					qam_check_report(check, "group", link.block, -1,
									 "page of depth %d is not where the directory of depth %u should have it",
									 QamPageGetOpaque(page)->lane, directory->depth);
				if (link.seq != 0 && QamPageGetOpaque(page)->seq != link.seq)
					qam_check_report(check, "group", link.block, -1, "not the expected page");
				chained += check_groups_page(check, link.block, page, part);
				link = QamPageGetOpaque(page)->next;
			}
		}
	}
	if (chained != check->in_groups)
		qam_check_report(check, "group", meta.directory, -1,
						 UINT64_FORMAT " slots are in chains, " UINT64_FORMAT " have a group",
						 chained, check->in_groups);
	pfree(copy);
	pfree(root);
}

/*
 * Check a list of the schedule (strict only).  Nothing in it is due before
 * "start".
 */
static void
check_schedule_list(QamCheck *check, QamListEnds ends, int64 start)
{
	QamCopiedPage *copy = palloc(sizeof(QamCopiedPage));
	QamLink		link = qam_link(ends.head, 0);
	BlockNumber last = 0;
	int			i;

	while (link.block != 0 && QamLinkIsValid(&link))
	{
		CHECK_FOR_INTERRUPTS();
		if (link.block >= check->nblocks || check->in_list[link.block])
		{
			qam_check_report(check, "schedule", link.block, -1,
							 "block is also in another list, or twice in this one");
			break;
		}
		check->in_list[link.block] = true;
		qam_copy_page(check->index, link.block, copy);
		ReleaseBuffer(copy->buffer);
		if (copy->fault != NULL || copy->opaque.kind != QAM_PAGE_BUCKET ||
			(link.seq != 0 && copy->opaque.seq != link.seq))
		{
			qam_check_report(check, "schedule", link.block, -1,
							 "page is not in the schedule, or is not the expected one");
			break;
		}
		for (i = 0; i < copy->nslots; i++)
			if (!QamSlotIsOver(&copy->slots[i]) && copy->slots[i].ready_at < start)
				qam_check_report(check, "schedule", link.block, i,
								 "due at " INT64_FORMAT ", but visited only from " INT64_FORMAT,
								 copy->slots[i].ready_at, start);
		last = link.block;
		link = copy->opaque.next;
	}
	if (last != ends.tail || (ends.head == 0) != (ends.tail == 0))
		qam_check_report(check, "schedule", last, -1,
						 "list ends here; according to the root it goes from block %u to block %u",
						 ends.head, ends.tail);
	pfree(copy);
}

/*
 * Check a bucket of the schedule (strict only).
 */
static void
check_bucket(QamCheck *check, BlockNumber root, const QamScheduleData *schedule,
			 int digit, int value)
{
	QamListEnds ends = schedule->buckets[digit][value];
	int			shift = digit * QAM_DIGIT_BITS;
	uint64		above = schedule->cursor >> (shift + QAM_DIGIT_BITS);
	uint64		start = ((above << QAM_DIGIT_BITS) | value) << shift;

	if (ends.head != 0 && (start <= schedule->cursor || start > QAM_MAX_TICK))
		qam_check_report(check, "schedule", root, -1,
						 "bucket %d of digit %d is never opened", value, digit);
	check_schedule_list(check, ends, (int64) (Min(start, QAM_MAX_TICK) << QAM_TICK_BITS));
}

/*
 * qam_check_schedule verifies the schedule.  For strict only.
 */
void
qam_check_schedule(QamCheck *check)
{
	PGAlignedBlock *root = palloc(sizeof(PGAlignedBlock));
	QamMetaData meta;
	QamSchedule schedule = QamPageGetSchedule((Page) root->data);
	int			digit;
	int			value;

	qam_meta_read(check->index, &meta);
	if (meta.schedule != 0 &&
		check_copy(check, "schedule", meta.schedule, QAM_PAGE_SCHEDULE, root))
	{
		check_schedule_list(check, schedule->opened, 0);
		check_schedule_list(check, schedule->near, schedule->near_due);
		for (digit = 0; digit < QAM_DIGITS; digit++)
			for (value = 0; value < QAM_DIGIT_VALUES; value++)
				check_bucket(check, meta.schedule, schedule, digit, value);
	}
	pfree(root);
}
