/*-------------------------------------------------------------------------
 *
 * qam_page.c
 *	  The only file that changes the bytes of a queue index's pages.
 *
 * Each function that changes a page also tells qam_xlog.c which bytes it has
 * touched, and whether they are only a hint.  The page belongs to a change
 * that is under way (see qam_xlog.h).  The functions that fill a fresh page
 * (qam_page_init...) have nothing to tell, because such pages are logged
 * whole.
 *
 * None of the functions raises an error: they may run in critical sections.
 * What they need has been checked by their callers before the change began:
 * that there is room, that a slot or group has the number given, and that a
 * directory agrees with the page that is to be split.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "qam/qam_format.h"
#include "qam/qam_page.h"
#include "qam/qam_xlog.h"

/*
 * qam_page_init makes an empty page.
 */
void
qam_page_init(Page page, uint16 kind, int lane, uint64 seq)
{
	QamOpaque	opaque;

	PageInit(page, BLCKSZ, sizeof(QamOpaqueData));
	opaque = QamPageGetOpaque(page);
	memset(opaque, 0, sizeof(QamOpaqueData));
	opaque->next = qam_no_link();
	opaque->seq = seq;
	opaque->lane = lane;
	opaque->kind = kind;
	opaque->page_id = QAM_PAGE_ID;
}

/*
 * qam_page_init_meta makes the metapage of an empty index.
 */
void
qam_page_init_meta(Page page, const uint64 *nonce, const uint64 *group_key)
{
	QamMeta		meta;
	int			lane;

	qam_page_init(page, QAM_PAGE_META, 0, 0);
	meta = QamPageGetMeta(page);
	memset(meta, 0, sizeof(QamMetaData));
	meta->magic = QAM_MAGIC;
	meta->version = QAM_VERSION;
	meta->next_seq = 1;
	meta->free = qam_no_link();
	for (lane = 0; lane < QAM_LANES; lane++)
		meta->lanes[lane].head = meta->lanes[lane].tail = qam_no_link();
	memcpy(meta->nonce, nonce, sizeof(meta->nonce));
	memcpy(meta->group_key, group_key, sizeof(meta->group_key));

	/* A full image leaves out the hole, so the content must end at pd_lower */
	((PageHeader) page)->pd_lower =
		((char *) meta + sizeof(QamMetaData)) - (char *) page;
}

/*
 * qam_page_append adds slots behind the last one.  There is room for them.
 */
void
qam_page_append(QamLog *log, Page page, const QamSlot *slots, int nslots)
{
	PageHeader	header = (PageHeader) page;
	QamSlot    *end = QamPageGetSlots(page) + QamPageGetSlotCount(page);

	Assert(QamPageGetSlotCount(page) + nslots <= QAM_SLOTS_PER_PAGE);
	memcpy(end, slots, nslots * sizeof(QamSlot));
	header->pd_lower += nslots * sizeof(QamSlot);
	qam_log_bytes(log, page, &header->pd_lower, sizeof(header->pd_lower));
	qam_log_bytes(log, page, end, nslots * sizeof(QamSlot));
}

/*
 * qam_page_set_slot gives a slot new attempts, state, hints, ready_at and
 * claim.
 */
void
qam_page_set_slot(QamLog *log, Page page, int slotno, const QamSlot *new)
{
	QamSlot    *slot = QamPageGetSlots(page) + slotno;

	slot->attempts = new->attempts;
	slot->state = new->state;
	slot->hints = new->hints;
	slot->ready_at = new->ready_at;
	slot->claim = new->claim;
	qam_log_bytes(log, page, &slot->attempts,
				  sizeof(QamSlot) - offsetof(QamSlot, attempts));
}

/*
 * qam_page_set_over notes that the row of a slot is gone: the slot becomes
 * DONE or, in a group, ENDED.  Then it becomes DONE when the group advances
 * (qam_page_set_done).
 *
 * With keep_claim, the row is known to have been deleted, so a second ack can
 * be recognized as one.  Otherwise an UPDATE may have moved the row, and a
 * late receipt is merely lost.
 */
void
qam_page_set_over(QamLog *log, Page page, int slotno, bool keep_claim, uint64 gone_by)
{
	QamSlot    *slot = QamPageGetSlots(page) + slotno;

	if (slot->group_hash != 0 && QamPageGetOpaque(page)->kind == QAM_PAGE_LANE)
	{
		slot->state = QAM_SLOT_ENDED | (slot->state & QAM_SLOT_BLOCKED);
		slot->ready_at = (int64) gone_by;
		qam_log_bytes(log, page, &slot->ready_at, sizeof(slot->ready_at));

		/* If we do not make its group advance, somebody else must see it */
		if (!QamSlotIsBlocked(slot))
			qam_page_lower_earliest(log, page, 0);
	}
	else
		slot->state = QAM_SLOT_DONE;
	qam_log_bytes(log, page, &slot->state, sizeof(slot->state));
	if (!keep_claim)
	{
		slot->claim = 0;
		qam_log_bytes(log, page, &slot->claim, sizeof(slot->claim));
	}
}

/*
 * qam_page_set_done makes a slot DONE: an ENDED one when its group advances,
 * or one that moves to another page.
 */
void
qam_page_set_done(QamLog *log, Page page, int slotno)
{
	QamSlot    *slot = QamPageGetSlots(page) + slotno;

	slot->state = QAM_SLOT_DONE;
	qam_log_bytes(log, page, &slot->state, sizeof(slot->state));
}

/*
 * qam_page_unblock makes a slot the first of its group, and has the page
 * visited from the time on at which the slot can be offered.
 *
 * If nobody has a claim on the slot ("idle"), it is offered only to snapshots
 * that see the transaction gone_by.
 */
void
qam_page_unblock(QamLog *log, Page page, int slotno, bool idle, uint64 gone_by)
{
	QamSlot    *slot = QamPageGetSlots(page) + slotno;

	slot->state &= ~QAM_SLOT_BLOCKED;
	if (gone_by != 0 && idle)
	{
		slot->state = QAM_SLOT_READY | (slot->state & QAM_SLOT_STUCK);
		slot->claim = QamMakeClaim(QAM_CLAIM_GONE_BY, gone_by);
		qam_log_bytes(log, page, &slot->claim, sizeof(slot->claim));
	}
	qam_log_bytes(log, page, &slot->state, sizeof(slot->state));
	qam_page_lower_earliest(log, page,
							QamSlotState(slot) == QAM_SLOT_READY ? slot->ready_at : 0);
}

/*
 * qam_page_set_successor notes which slot follows this one in its group.
 */
void
qam_page_set_successor(QamLog *log, Page page, int slotno, const QamPlace *next)
{
	QamSlot    *slot = QamPageGetSlots(page) + slotno;

	slot->next_slot = next->slot;
	slot->next_block = next->block;
	slot->next_seq = next->seq;
	qam_log_bytes(log, page, &slot->next_slot,
				  offsetof(QamSlot, group_hash) - offsetof(QamSlot, next_slot));
}

/*
 * qam_page_set_slot_hint replaces a slot's hints.  Not logged.
 */
void
qam_page_set_slot_hint(QamLog *log, Page page, int slotno, uint8 hints)
{
	QamSlot    *slot = QamPageGetSlots(page) + slotno;

	slot->hints = hints;
	qam_log_hint_bytes(log, page, &slot->hints, sizeof(slot->hints));
}

/*
 * qam_page_set_acked sets the hint that a slot's row has been deleted, and has
 * the page visited.  Logged.
 */
void
qam_page_set_acked(QamLog *log, Page page, int slotno)
{
	QamSlot    *slot = QamPageGetSlots(page) + slotno;

	slot->hints |= QAM_HINT_ACKED;
	qam_log_bytes(log, page, &slot->hints, sizeof(slot->hints));
	qam_page_lower_earliest(log, page, 0);
}

/*
 * qam_page_set_hints replaces a page's hints.  Not logged.  They must hold for
 * the slots as they are now; see README, "Hints".
 */
void
qam_page_set_hints(QamLog *log, Page page, int64 earliest, uint64 owner,
				   int first_unfinished)
{
	QamOpaque	opaque = QamPageGetOpaque(page);

	opaque->earliest = earliest;
	opaque->owner = owner;
	opaque->first_unfinished = first_unfinished;
	qam_log_hint_bytes(log, page, &opaque->earliest,
					   offsetof(QamOpaqueData, lane) - offsetof(QamOpaqueData, earliest));
}

/*
 * qam_page_lower_earliest has the page visited from "earliest" on, because a
 * slot becomes ready then.  Logged together with the change of the slot.  The
 * owner is logged, too, because the two hints are true only together.
 */
void
qam_page_lower_earliest(QamLog *log, Page page, int64 earliest)
{
	QamOpaque	opaque = QamPageGetOpaque(page);

	opaque->earliest = Min(opaque->earliest, earliest);
	qam_log_bytes(log, page, &opaque->earliest,
				  sizeof(opaque->earliest) + sizeof(opaque->owner));
}

/*
 * qam_page_unset_earliest has the page visited.  Not logged, because no slot
 * becomes ready earlier.
 */
void
qam_page_unset_earliest(QamLog *log, Page page)
{
	QamOpaque	opaque = QamPageGetOpaque(page);

	opaque->earliest = 0;
	qam_log_hint_bytes(log, page, &opaque->earliest, sizeof(opaque->earliest));
}

/*
 * qam_page_set_next links a page to its successor.
 */
void
qam_page_set_next(QamLog *log, Page page, QamLink next)
{
	QamOpaque	opaque = QamPageGetOpaque(page);

	opaque->next = next;
	qam_log_bytes(log, page, &opaque->next, sizeof(opaque->next));
}

/*
 * qam_page_set_free turns a page into an entry of the free list.
 *
 * Its slots and its number stay until it is used again, because they can still
 * show that a late ack is the second one.
 */
void
qam_page_set_free(QamLog *log, Page page, QamLink next_free)
{
	QamOpaque	opaque = QamPageGetOpaque(page);

	opaque->next = next_free;
	opaque->kind = QAM_PAGE_FREE;
	qam_log_bytes(log, page, &opaque->next, sizeof(opaque->next));
	qam_log_bytes(log, page, &opaque->kind, sizeof(opaque->kind));
}

/*
 * Changes of the metapage: the ends of lanes, the head of the free list, the
 * nonce, the number of the next page, the count of wake-ups (a hint), and the
 * roots of directory and schedule.
 */
void
qam_page_set_lane_head(QamLog *log, Page page, int lane, QamLink head)
{
	QamMeta		meta = QamPageGetMeta(page);

	meta->lanes[lane].head = head;
	qam_log_bytes(log, page, &meta->lanes[lane].head, sizeof(QamLink));
}

void
qam_page_set_lane_tail(QamLog *log, Page page, int lane, QamLink tail)
{
	QamMeta		meta = QamPageGetMeta(page);

	meta->lanes[lane].tail = tail;
	qam_log_bytes(log, page, &meta->lanes[lane].tail, sizeof(QamLink));
}

void
qam_page_set_free_list(QamLog *log, Page page, QamLink free)
{
	QamMeta		meta = QamPageGetMeta(page);

	meta->free = free;
	qam_log_bytes(log, page, &meta->free, sizeof(QamLink));
}

void
qam_page_set_nonce(QamLog *log, Page page, const uint64 *nonce)
{
	QamMeta		meta = QamPageGetMeta(page);

	memcpy(meta->nonce, nonce, sizeof(meta->nonce));
	qam_log_bytes(log, page, meta->nonce, sizeof(meta->nonce));
}

uint64
qam_page_next_seq(QamLog *log, Page page)
{
	QamMeta		meta = QamPageGetMeta(page);
	uint64		seq = meta->next_seq++;

	qam_log_bytes(log, page, &meta->next_seq, sizeof(meta->next_seq));
	return seq;
}

void
qam_page_count_wakeup(QamLog *log, Page page, uint64 seq)
{
	uint32	   *cell = &QamPageGetMeta(page)->wakeups[QAM_WAKE_CELL(seq)];

	(*cell)++;
	qam_log_hint_bytes(log, page, cell, sizeof(*cell));
}

void
qam_page_set_directory(QamLog *log, Page page, BlockNumber block)
{
	QamMeta		meta = QamPageGetMeta(page);

	meta->directory = block;
	qam_log_bytes(log, page, &meta->directory, sizeof(meta->directory));
}

void
qam_page_set_schedule(QamLog *log, Page page, BlockNumber block)
{
	QamMeta		meta = QamPageGetMeta(page);

	meta->schedule = block;
	qam_log_bytes(log, page, &meta->schedule, sizeof(meta->schedule));
}

/*
 * qam_page_init_directory makes a fresh page the root of a directory that has
 * one page of groups.
 */
void
qam_page_init_directory(Page page, uint64 seq, BlockNumber groups)
{
	QamDirectory directory;

	qam_page_init(page, QAM_PAGE_DIRECTORY, 0, seq);
	directory = QamPageGetDirectory(page);
	directory->depth = 0;
	directory->pages[0] = groups;
	((PageHeader) page)->pd_lower = (char *) &directory->pages[1] - (char *) page;
}

/*
 * qam_page_split_groups splits a page of groups.  The groups with the next bit
 * of their hash set, after the page's "depth" bits, go to the fresh page, and
 * the root gets the links to that.  The depth of the root grows if it has to.
 */
void
qam_page_split_groups(QamLog *log, Page root, Page old, Page new, BlockNumber new_block,
					  uint64 seq, uint32 hash)
{
	QamDirectory directory = QamPageGetDirectory(root);
	QamOpaque	opaque = QamPageGetOpaque(old);
	QamGroup   *from = QamPageGetGroups(old);
	QamGroup   *to;
	int			n = QamPageGetGroupCount(old);
	uint32		depth = opaque->lane;
	uint32		bit = UINT32_C(1) << depth;
	uint32		i;
	int			kept = 0;
	int			moved = 0;

	if (directory->depth == depth)
	{
		memcpy(directory->pages + bit, directory->pages, bit * sizeof(BlockNumber));
		directory->depth++;
		((PageHeader) root)->pd_lower =
			(char *) &directory->pages[bit * 2] - (char *) root;
	}
	for (i = 0; i < (UINT32_C(1) << directory->depth); i++)
		if ((i & (bit - 1)) == (hash & (bit - 1)) && (i & bit) != 0)
			directory->pages[i] = new_block;
	qam_log_bytes(log, root, &((PageHeader) root)->pd_lower, sizeof(LocationIndex));
	qam_log_bytes(log, root, directory,
				  offsetof(QamDirectoryData, pages) +
				  (sizeof(BlockNumber) << directory->depth));

	qam_page_init(new, QAM_PAGE_GROUPS, depth + 1, seq);
	to = QamPageGetGroups(new);
	for (i = 0; i < (uint32) n; i++)
	{
		if (from[i].hash & bit)
			to[moved++] = from[i];
		else
			from[kept++] = from[i];
	}
	((PageHeader) new)->pd_lower = (char *) (to + moved) - (char *) new;
	((PageHeader) old)->pd_lower = (char *) (from + kept) - (char *) old;
	memset(from + kept, 0, moved * sizeof(QamGroup));
	opaque->lane = depth + 1;
	qam_log_bytes(log, old, &((PageHeader) old)->pd_lower, sizeof(LocationIndex));
	qam_log_bytes(log, old, from, kept * sizeof(QamGroup));
	qam_log_bytes(log, old, &opaque->lane, sizeof(opaque->lane));
}

/*
 * qam_page_set_group stores a group as entry i: a new entry, or in place of an
 * old one.
 */
void
qam_page_set_group(QamLog *log, Page page, int i, const QamGroup *group)
{
	QamGroup   *groups = QamPageGetGroups(page);
	PageHeader	header = (PageHeader) page;

	if (i == QamPageGetGroupCount(page))
	{
		header->pd_lower += sizeof(QamGroup);
		qam_log_bytes(log, page, &header->pd_lower, sizeof(header->pd_lower));
	}
	groups[i] = *group;
	qam_log_bytes(log, page, &groups[i], sizeof(QamGroup));
}

/*
 * qam_page_remove_group removes entry i from its page.  The last entry takes
 * its place.
 */
void
qam_page_remove_group(QamLog *log, Page page, int i)
{
	QamGroup   *groups = QamPageGetGroups(page);
	PageHeader	header = (PageHeader) page;
	int			last = QamPageGetGroupCount(page) - 1;

	groups[i] = groups[last];
	header->pd_lower -= sizeof(QamGroup);
	qam_log_bytes(log, page, &header->pd_lower, sizeof(header->pd_lower));
	if (i < last)
		qam_log_bytes(log, page, &groups[i], sizeof(QamGroup));

	/* Replay clears what is between content and special space, too */
	memset(&groups[last], 0, sizeof(QamGroup));
}

/*
 * qam_page_init_schedule makes a fresh page the root of an empty schedule.
 */
void
qam_page_init_schedule(Page page, uint64 seq, uint64 cursor)
{
	QamSchedule schedule;

	qam_page_init(page, QAM_PAGE_SCHEDULE, 0, seq);
	schedule = QamPageGetSchedule(page);
	memset(schedule, 0, sizeof(QamScheduleData));
	schedule->cursor = cursor;
	schedule->near_due = DT_NOEND;
	((PageHeader) page)->pd_lower = (char *) (schedule + 1) - (char *) page;
}

/*
 * Changes of the schedule's root: the cursor, the time when something near is
 * due, and the ends of a list.
 */
void
qam_page_set_cursor(QamLog *log, Page page, uint64 cursor)
{
	QamSchedule schedule = QamPageGetSchedule(page);

	schedule->cursor = cursor;
	qam_log_bytes(log, page, &schedule->cursor, sizeof(schedule->cursor));
}

void
qam_page_set_near_due(QamLog *log, Page page, int64 near_due)
{
	QamSchedule schedule = QamPageGetSchedule(page);

	schedule->near_due = near_due;
	qam_log_bytes(log, page, &schedule->near_due, sizeof(schedule->near_due));
}

void
qam_page_set_ends(QamLog *log, Page page, int offset, QamListEnds ends)
{
	QamListEnds *where = (QamListEnds *) ((char *) QamPageGetSchedule(page) + offset);

	*where = ends;
	qam_log_bytes(log, page, where, sizeof(QamListEnds));
}

/*
 * qam_page_is_removable tells whether a page of a lane may be unlinked: all
 * slots are DONE, and it is not the last page of the list.  The page is
 * locked.
 *
 * All slots are looked at, whatever the page's hint says.
 */
bool
qam_page_is_removable(Page page)
{
	return QamLinkIsValid(&QamPageGetOpaque(page)->next) && qam_page_is_spent(page);
}

/*
 * qam_page_is_spent tells whether all slots of a page are DONE.  The page is
 * locked.
 */
bool
qam_page_is_spent(Page page)
{
	QamSlot    *slots = QamPageGetSlots(page);
	int			i;

	for (i = QamPageGetSlotCount(page) - 1; i >= 0; i--)
		if (slots[i].state != QAM_SLOT_DONE)
			return false;
	return true;
}
