/*-------------------------------------------------------------------------
 *
 * qam_check.c
 *	  Verifying the invariants of a queue index.
 *
 * The rules, by the names under which breaches are reported:
 *
 *	page			every page is of a known kind and sound in itself
 *	slot			every slot's state and claim are legal, and it leads to a
 *					line pointer that is in use
 *	hint			no page hint keeps a message from being offered
 *	list			every link leads to the page it means, and every list ends
 *					where the metapage says it does
 *	group			every group's chain leads from its first to its last slot,
 *					over all of its unfinished ones		(strict only)
 *	schedule		no message is kept beyond its time	(strict only)
 *	missing slot	every live row that a snapshot taken before sees has a slot
 *	double slot		no row has two slots that are not DONE
 *	lost page		every page is in exactly one list		(strict only)
 *	free list		the free list leads to free pages only	(strict only)
 *
 * The index is in use meanwhile.  There are no false alarms, because each rule
 * is judged on what cannot change while it is being judged: pages under their
 * lock; links with the page before them locked; rows that were visible before
 * the slots were read, and are still alive afterwards.  With "strict" the
 * caller holds a lock on the table that keeps writers out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "qam/qam_internal.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Where a row's slot was seen */
typedef struct QamSeenSlot
{
	ItemPointerData tid;		/* hash key */
	uint16		slotno;
	BlockNumber block;
	uint64		seq;
} QamSeenSlot;

typedef struct QamCheck
{
	Relation	heap;
	Relation	index;
	QamFaultSink sink;
	void	   *arg;
	HTAB	   *seen;
	Buffer		heap_buffer;	/* pinned, or invalid */
	bool	   *in_list;		/* strict: per block */
	BlockNumber nblocks;
	uint64		in_groups;		/* unfinished slots seen that have a group */
	HTAB	   *suspects;		/* rows without a slot so far, or NULL */
} QamCheck;

static void qam_fault(QamCheck *check, const char *rule, BlockNumber block,
					  int slotno, const char *format,...) pg_attribute_printf(5, 6);

/*
 * Report a fault.  No page is locked.
 */
static void
qam_fault(QamCheck *check, const char *rule, BlockNumber block, int slotno,
		  const char *format,...)
{
	char		detail[256];
	va_list		args;

	va_start(args, format);
	vsnprintf(detail, sizeof(detail), format, args);
	va_end(args);
	check->sink(check->arg, rule, block, slotno, detail);
}

/*
 * Is a copied page sound in itself?
 */
static bool
qam_check_page(QamCheck *check, const QamCopiedPage *copy)
{
	const QamOpaqueData *opaque = &copy->opaque;
	int			i;

	if (opaque->kind == 0)
		return false;			/* new: a crash during extension */
	if (opaque->page_id != QAM_PAGE_ID ||
		opaque->kind <= QAM_PAGE_META || opaque->kind > QAM_PAGE_SCHEDULE ||
		(opaque->kind == QAM_PAGE_LANE && opaque->lane >= QAM_LANES) ||
		(opaque->kind == QAM_PAGE_BUCKET && opaque->lane != QAM_SCHEDULED))
	{
		qam_fault(check, "page", copy->block, -1, "page kind %d, lane %d",
				  opaque->kind, opaque->lane);
		return false;
	}
	if (opaque->kind != QAM_PAGE_LANE && opaque->kind != QAM_PAGE_BUCKET)
		return false;
	if (opaque->first_unfinished > copy->nslots)
		qam_fault(check, "page", copy->block, -1,
				  "%d slots, first unfinished %d", copy->nslots,
				  opaque->first_unfinished);
	for (i = 0; i < opaque->first_unfinished && i < copy->nslots; i++)
		if (copy->slots[i].state != QAM_SLOT_DONE)
			qam_fault(check, "hint", copy->block, i,
					  "slot is not done but lies before the first unfinished one");
	return true;
}

/*
 * Is a copied slot, not DONE, legal and not hidden by its page's hints?
 */
static void
qam_check_slot(QamCheck *check, const QamCopiedPage *copy, int slotno)
{
	const QamSlot *slot = &copy->slots[slotno];
	const QamOpaqueData *opaque = &copy->opaque;
	uint64		kind = QamClaimKindOf(slot->claim);
	int			state = QamSlotState(slot);
	bool		timed = state == QAM_SLOT_READY ||
		(state == QAM_SLOT_CLAIMED && kind == QAM_CLAIM_BY_LEASE);

	if (state < QAM_SLOT_APPENDED || state > QAM_SLOT_ENDED)
		qam_fault(check, "slot", copy->block, slotno, "state %d", slot->state);
	else if (((state == QAM_SLOT_APPENDED || state == QAM_SLOT_TAKEN) &&
			  kind != QAM_CLAIM_BY_XID) ||
			 (state == QAM_SLOT_CLAIMED && kind == QAM_CLAIM_NONE))
		qam_fault(check, "slot", copy->block, slotno,
				  "state %d with claim kind %d", slot->state, (int) kind);
	if (QamSlotStuck(slot) > 0 && state != QAM_SLOT_READY && state != QAM_SLOT_TAKEN)
		qam_fault(check, "slot", copy->block, slotno, "state %d, but stuck", state);
	if (QamSlotIsBlocked(slot) &&
		(slot->group_hash == 0 || opaque->kind != QAM_PAGE_LANE))
		qam_fault(check, "slot", copy->block, slotno, "blocked without a group");
	if (opaque->kind == QAM_PAGE_BUCKET && slot->next_slot >= QAM_LANES)
		qam_fault(check, "slot", copy->block, slotno, "due in lane %d", slot->next_slot);
	if (!ItemPointerIsValid(&slot->tid))
		qam_fault(check, "slot", copy->block, slotno, "invalid row pointer");

	/* With an owner, the hint may rest on a delete or lock of its */
	if (opaque->kind == QAM_PAGE_LANE && !QamSlotIsBlocked(slot) &&
		opaque->owner == 0 && opaque->earliest != 0 && timed &&
		!(slot->hints & QAM_HINT_ACKED) && slot->ready_at < opaque->earliest)
		qam_fault(check, "hint", copy->block, slotno,
				  "slot is ready at " INT64_FORMAT ", page is passed by until " INT64_FORMAT,
				  slot->ready_at, opaque->earliest);
}

/*
 * Is the slot seen before still there, and not DONE?
 */
static bool
qam_still_unfinished(QamCheck *check, const QamSeenSlot *seen)
{
	Buffer		buffer = ReadBuffer(check->index, seen->block);
	Page		page;
	bool		unfinished;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	unfinished = !PageIsNew(page) &&
		(QamPageGetOpaque(page)->kind == QAM_PAGE_LANE ||
		 QamPageGetOpaque(page)->kind == QAM_PAGE_BUCKET) &&
		QamPageGetOpaque(page)->seq == seen->seq &&
		!QamSlotIsOver(&QamPageGetSlots(page)[seen->slotno]);
	UnlockReleaseBuffer(buffer);
	return unfinished;
}

/*
 * Enter a slot into the table of those seen.
 *
 * If its row has one already, the older may have ended and the line pointer
 * been used again before we came to the younger.  DONE is final, so if the
 * older one is unfinished even now, they overlap.
 */
static void
qam_see_slot(QamCheck *check, const QamCopiedPage *copy, int slotno)
{
	bool		found;
	QamSeenSlot *seen = hash_search(check->seen, &copy->slots[slotno].tid,
									HASH_ENTER, &found);

	if (found && qam_still_unfinished(check, seen))
		qam_fault(check, "double slot", copy->block, slotno,
				  "row (%u,%u) has an unfinished slot %d in block %u as well",
				  ItemPointerGetBlockNumber(&seen->tid),
				  ItemPointerGetOffsetNumber(&seen->tid), seen->slotno, seen->block);
	seen->slotno = slotno;
	seen->block = copy->block;
	seen->seq = copy->opaque.seq;
}

/*
 * First pass: all pages and slots, in physical order.
 */
static void
qam_check_pages(QamCheck *check)
{
	QamCopiedPage *copy = palloc(sizeof(QamCopiedPage));
	BlockNumber block;
	int			i;

	for (block = QAM_METAPAGE + 1; block < check->nblocks; block++)
	{
		CHECK_FOR_INTERRUPTS();
		qam_copy_page(check->index, block, copy);
		if (qam_check_page(check, copy))
		{
			for (i = 0; i < copy->nslots; i++)
			{
				QamRow		row;
				bool		unused;

				if (copy->slots[i].group_hash != 0 &&
					copy->opaque.kind == QAM_PAGE_LANE &&
					copy->slots[i].state != QAM_SLOT_DONE)
					check->in_groups++;
				if (QamSlotIsOver(&copy->slots[i]))
					continue;
				qam_check_slot(check, copy, i);
				if (qam_judge_copied(check->heap, copy, i, &check->heap_buffer,
									 &row, &unused) && unused)
					qam_fault(check, "slot", copy->block, i,
							  "row pointer (%u,%u) is not in use",
							  ItemPointerGetBlockNumber(&copy->slots[i].tid),
							  ItemPointerGetOffsetNumber(&copy->slots[i].tid));
				qam_see_slot(check, copy, i);
			}
		}
		ReleaseBuffer(copy->buffer);
	}
	pfree(copy);
}

/*
 * Go from a lane's page (or, with an invalid one, from its head) to the next.
 *
 * Both are locked together, so a link that does not lead where it should is a
 * fault and not somebody's work.  Sets *link to the next page, invalid at the
 * end.  Returns false if the page we come from has left the list.
 */
static bool
qam_check_step(QamCheck *check, int lane, QamLink *link)
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
		next = qam_check_meta(check->index, page)->lanes[lane].head;
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
		Buffer		to = ReadBuffer(check->index, next.block);

		LockBuffer(to, BUFFER_LOCK_SHARE);
		good = qam_page_is(BufferGetPage(to), &next, lane) && next.seq > seq;
		UnlockReleaseBuffer(to);
	}
	UnlockReleaseBuffer(from);

	if (!good)
	{
		qam_fault(check, "list", at_head ? QAM_METAPAGE : link->block, -1,
				  "link of lane %d to block %u does not lead to page " UINT64_FORMAT,
				  lane, next.block, next.seq);
		next = qam_no_link();
	}
	else if (!QamLinkIsValid(&next) && !at_head)
	{
		/* Nobody but the tail ends the list; it may have grown since */
		Buffer		meta = ReadBuffer(check->index, QAM_METAPAGE);
		Buffer		last = ReadBuffer(check->index, link->block);

		LockBuffer(meta, BUFFER_LOCK_SHARE);
		LockBuffer(last, BUFFER_LOCK_SHARE);
		page = BufferGetPage(last);
		if (qam_page_is(page, link, lane) &&
			!QamLinkIsValid(&QamPageGetOpaque(page)->next))
			is_tail = qam_same_link(&qam_check_meta(check->index, BufferGetPage(meta))->lanes[lane].tail,
									link);
		UnlockReleaseBuffer(last);
		UnlockReleaseBuffer(meta);
		if (!is_tail)
			qam_fault(check, "list", link->block, -1,
					  "list of lane %d ends here, but not according to the metapage", lane);
	}
	*link = next;
	return true;
}

/*
 * Second pass: the lanes' lists.
 */
static void
qam_check_lists(QamCheck *check)
{
	int			lane;

	for (lane = 0; lane < QAM_LANES; lane++)
	{
		QamLink		link = qam_no_link();

		for (;;)
		{
			CHECK_FOR_INTERRUPTS();
			if (!qam_check_step(check, lane, &link))
			{
				link = qam_no_link();	/* unlinked meanwhile: once more */
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
 * Strict: the free list, and that no page is in no list.  Writers are kept
 * out, so nothing needs to be locked together.
 */
static void
qam_check_free(QamCheck *check)
{
	QamCopiedPage *copy = palloc(sizeof(QamCopiedPage));
	QamMetaData meta;
	QamLink		link;
	BlockNumber block;

	qam_read_meta(check->index, &meta);
	for (link = meta.free; QamLinkIsValid(&link); link = copy->opaque.next)
	{
		CHECK_FOR_INTERRUPTS();
		if (link.block >= check->nblocks || check->in_list[link.block])
		{
			qam_fault(check, "free list", link.block, -1,
					  "block is in another list as well, or twice in this one");
			break;
		}
		qam_copy_page(check->index, link.block, copy);
		ReleaseBuffer(copy->buffer);
		if (copy->opaque.kind != QAM_PAGE_FREE || copy->opaque.seq != link.seq)
		{
			qam_fault(check, "free list", link.block, -1, "page is not free");
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
			qam_fault(check, "lost page", block, -1, "page is in no list");
	}
	pfree(copy);
}

/*
 * Strict: follow a group's chain.  Returns the number of its slots.
 */
static uint64
qam_check_chain(QamCheck *check, const QamGroup *group)
{
	BlockNumber block = group->head_block;
	uint32		seq = group->head_seq;
	uint16		slotno = group->head_slot;
	uint64		n = 0;

	for (;;)
	{
		Buffer		buffer;
		Page		page;
		QamSlot		slot;
		bool		good = false;

		CHECK_FOR_INTERRUPTS();
		memset(&slot, 0, sizeof(slot));
		if (block < check->nblocks)
		{
			buffer = ReadBuffer(check->index, block);
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			page = BufferGetPage(buffer);
			good = !PageIsNew(page) && QamPageGetOpaque(page)->kind == QAM_PAGE_LANE &&
				(uint32) QamPageGetOpaque(page)->seq == seq &&
				slotno < QamPageGetSlotCount(page);
			if (good)
				slot = QamPageGetSlots(page)[slotno];
			UnlockReleaseBuffer(buffer);
		}
		if (!good || slot.group_hash != group->hash || slot.state == QAM_SLOT_DONE ||
			QamSlotIsBlocked(&slot) != (n > 0))
		{
			qam_fault(check, "group", block, slotno,
					  "state %d, group %u at place " UINT64_FORMAT " of group %u",
					  slot.state, slot.group_hash, n, group->hash);
			break;
		}
		n++;
		if (slot.next_block == 0)
		{
			if (block != group->tail_block || slotno != group->tail_slot)
				qam_fault(check, "group", block, slotno,
						  "chain of group %u ends here, its last slot is %u in block %u",
						  group->hash, group->tail_slot, group->tail_block);
			break;
		}
		block = slot.next_block;
		seq = slot.next_seq;
		slotno = slot.next_slot;
	}
	return n;
}

/*
 * Copy a page of the directory.  False, and a fault, if it is not of that kind.
 */
static bool
qam_check_copy(QamCheck *check, const char *rule, BlockNumber block, uint16 kind,
			   PGAlignedBlock *copy)
{
	Buffer		buffer;
	bool		good = false;

	if (block != 0 && block < check->nblocks)
	{
		buffer = ReadBuffer(check->index, block);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		memcpy(copy->data, BufferGetPage(buffer), BLCKSZ);
		UnlockReleaseBuffer(buffer);
		good = !PageIsNew((Page) copy->data) &&
			QamPageGetOpaque((Page) copy->data)->kind == kind;
	}
	if (!good)
		qam_fault(check, rule, block, -1, "page is not of kind %d", kind);
	else
		check->in_list[block] = true;
	return good;
}

/*
 * Strict: the directory of groups, and that all their unfinished slots are in
 * their chains.
 */
static void
qam_check_groups(QamCheck *check)
{
	PGAlignedBlock *root = palloc(sizeof(PGAlignedBlock));
	PGAlignedBlock *copy = palloc(sizeof(PGAlignedBlock));
	QamMetaData meta;
	uint64		chained = 0;

	qam_read_meta(check->index, &meta);
	if (meta.directory != 0 &&
		qam_check_copy(check, "group", meta.directory, QAM_PAGE_DIRECTORY, root))
	{
		QamDirectory directory = QamPageGetDirectory((Page) root->data);
		uint32		part;

		for (part = 0; part < (UINT32_C(1) << directory->depth); part++)
		{
			BlockNumber block = directory->pages[part];

			if (block < check->nblocks && check->in_list[block])
				continue;		/* shared with a part before */
			while (block != InvalidBlockNumber &&
				   qam_check_copy(check, "group", block, QAM_PAGE_GROUPS, copy))
			{
				Page		page = (Page) copy->data;
				uint32		mask = (UINT32_C(1) << QamPageGetOpaque(page)->lane) - 1;
				int			i;

				for (i = 0; i < QamPageGetGroupCount(page); i++)
				{
					const QamGroup *group = &QamPageGetGroups(page)[i];

					if ((group->hash & mask) != (part & mask))
						qam_fault(check, "group", block, -1,
								  "group %u is in the wrong part", group->hash);
					chained += qam_check_chain(check, group);
				}
				block = QamPageGetOpaque(page)->next.block;
			}
		}
	}
	if (chained != check->in_groups)
		qam_fault(check, "group", meta.directory, -1,
				  UINT64_FORMAT " slots are in chains, " UINT64_FORMAT " have a group",
				  chained, check->in_groups);
	pfree(copy);
	pfree(root);
}

/*
 * Strict: a list of the schedule, none of whose messages is due before "start".
 */
static void
qam_check_schedule_list(QamCheck *check, QamChainEnds ends, int64 start)
{
	QamCopiedPage *copy = palloc(sizeof(QamCopiedPage));
	BlockNumber block = ends.head;
	BlockNumber last = 0;
	int			i;

	while (block != 0 && block != InvalidBlockNumber)
	{
		CHECK_FOR_INTERRUPTS();
		if (block >= check->nblocks || check->in_list[block])
		{
			qam_fault(check, "schedule", block, -1,
					  "block is in another list as well, or twice in this one");
			break;
		}
		check->in_list[block] = true;
		qam_copy_page(check->index, block, copy);
		ReleaseBuffer(copy->buffer);
		if (copy->opaque.kind != QAM_PAGE_BUCKET)
		{
			qam_fault(check, "schedule", block, -1, "page is not in the schedule");
			break;
		}
		for (i = 0; i < copy->nslots; i++)
			if (!QamSlotIsOver(&copy->slots[i]) && copy->slots[i].ready_at < start)
				qam_fault(check, "schedule", block, i,
						  "due at " INT64_FORMAT ", looked at from " INT64_FORMAT,
						  copy->slots[i].ready_at, start);
		last = block;
		block = copy->opaque.next.block;
	}
	if (last != ends.tail)
		qam_fault(check, "schedule", last, -1, "list ends here, and should in block %u",
				  ends.tail);
	pfree(copy);
}

/*
 * Strict: the schedule.
 */
static void
qam_check_schedule(QamCheck *check)
{
	PGAlignedBlock *root = palloc(sizeof(PGAlignedBlock));
	QamMetaData meta;
	QamSchedule schedule = QamPageGetSchedule((Page) root->data);
	int			digit;
	int			value;

	qam_read_meta(check->index, &meta);
	if (meta.schedule != 0 &&
		qam_check_copy(check, "schedule", meta.schedule, QAM_PAGE_SCHEDULE, root))
	{
		qam_check_schedule_list(check, schedule->opened, 0);
		qam_check_schedule_list(check, schedule->near, schedule->near_due);
		for (digit = 0; digit < QAM_DIGITS; digit++)
			for (value = 0; value < QAM_DIGIT_VALUES; value++)
			{
				int			shift = digit * QAM_DIGIT_BITS;
				uint64		above = schedule->cursor >> (shift + QAM_DIGIT_BITS);
				uint64		start = ((above << QAM_DIGIT_BITS) | value) << shift;

				if (schedule->buckets[digit][value].head != 0 && start <= schedule->cursor)
					qam_fault(check, "schedule", meta.schedule, -1,
							  "bucket %d of digit %d is never opened", value, digit);
				qam_check_schedule_list(check, schedule->buckets[digit][value],
										(int64) (start << QAM_TICK_BITS));
			}
	}
	pfree(root);
}

/*
 * Find the root of the HOT chain that a visible row belongs to.
 */
static void
qam_root_of(QamCheck *check, HeapTuple tuple, ItemPointer root)
{
	OffsetNumber roots[MaxHeapTuplesPerPage];
	BlockNumber block = ItemPointerGetBlockNumber(&tuple->t_self);

	*root = tuple->t_self;
	if (!HeapTupleIsHeapOnly(tuple))
		return;
	check->heap_buffer = ReleaseAndReadBuffer(check->heap_buffer, check->heap, block);
	LockBuffer(check->heap_buffer, BUFFER_LOCK_SHARE);
	heap_get_root_tuples(BufferGetPage(check->heap_buffer), roots);
	LockBuffer(check->heap_buffer, BUFFER_LOCK_UNLOCK);
	ItemPointerSetOffsetNumber(root, roots[ItemPointerGetOffsetNumber(&tuple->t_self) - 1]);
}

/*
 * Third pass: every row that the snapshot sees and that is still alive has a
 * slot among those seen.
 *
 * A slot of the schedule may have moved, while the pages were read, from behind
 * us to before us.  It moves forward in time, so it does that less often than
 * there are digits and lists, and if it is not found after as many readings,
 * there is none.  Rows without a slot are collected in "suspects", of which
 * those found in each reading are dropped, until none is left or the readings
 * are used up.
 */
#define QAM_READINGS	(QAM_DIGITS + 3)

static void
qam_check_suspects(QamCheck *check)
{
	QamCopiedPage *copy = palloc(sizeof(QamCopiedPage));
	BlockNumber nblocks = RelationGetNumberOfBlocks(check->index);
	HASH_SEQ_STATUS status;
	ItemPointer tid;
	BlockNumber block;
	int			reading;
	int			i;

	for (reading = 1; reading < QAM_READINGS &&
		 hash_get_num_entries(check->suspects) > 0; reading++)
		for (block = QAM_METAPAGE + 1; block < nblocks; block++)
		{
			CHECK_FOR_INTERRUPTS();
			qam_copy_page(check->index, block, copy);
			ReleaseBuffer(copy->buffer);
			if (copy->opaque.kind != QAM_PAGE_LANE && copy->opaque.kind != QAM_PAGE_BUCKET)
				continue;
			for (i = 0; i < copy->nslots; i++)
				if (!QamSlotIsOver(&copy->slots[i]))
					(void) hash_search(check->suspects, &copy->slots[i].tid,
									   HASH_REMOVE, NULL);
		}
	pfree(copy);

	hash_seq_init(&status, check->suspects);
	while ((tid = hash_seq_search(&status)) != NULL)
	{
		QamRow		row;

		/* The snapshot still keeps its line pointer; the row may have gone */
		check->heap_buffer = ReleaseAndReadBuffer(check->heap_buffer, check->heap,
												  ItemPointerGetBlockNumber(tid));
		LockBuffer(check->heap_buffer, BUFFER_LOCK_SHARE);
		qam_judge(check->heap, check->heap_buffer, tid, &row);
		LockBuffer(check->heap_buffer, BUFFER_LOCK_UNLOCK);
		if (row.state == QAM_ROW_LIVE)
			qam_fault(check, "missing slot", InvalidBlockNumber, -1,
					  "row (%u,%u) has no slot",
					  ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid));
	}
}

static void
qam_check_rows(QamCheck *check, Snapshot snapshot)
{
	TableScanDesc scan = table_beginscan(check->heap, snapshot, 0, NULL);
	HeapTuple	tuple;

	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		ItemPointerData root;
		QamRow		row;

		CHECK_FOR_INTERRUPTS();
		qam_root_of(check, tuple, &root);
		if (!ItemPointerIsValid(&root) ||
			hash_search(check->seen, &root, HASH_FIND, NULL) != NULL)
			continue;

		/* Visible to our snapshot, so nobody has let go of the line pointer */
		check->heap_buffer = ReleaseAndReadBuffer(check->heap_buffer, check->heap,
												  ItemPointerGetBlockNumber(&root));
		LockBuffer(check->heap_buffer, BUFFER_LOCK_SHARE);
		qam_judge(check->heap, check->heap_buffer, &root, &row);
		LockBuffer(check->heap_buffer, BUFFER_LOCK_UNLOCK);
		if (row.state == QAM_ROW_LIVE)
			(void) hash_search(check->suspects, &root, HASH_ENTER, NULL);
	}
	table_endscan(scan);
	qam_check_suspects(check);
}

/*
 * qam_check verifies the index against its own rules and against its table.
 *
 * Both relations are locked at least AccessShare; with strict, the table is
 * locked Share or stronger.  sink is called with no page locked, and may
 * allocate; it should not write.
 */
void
qam_check(Relation heap, Relation index, bool strict, QamFaultSink sink, void *arg)
{
	QamCheck	check = {.heap = heap, .index = index, .sink = sink, .arg = arg};
	HASHCTL		hash = {
		.keysize = sizeof(ItemPointerData),
		.entrysize = sizeof(QamSeenSlot),
		.hcxt = CurrentMemoryContext
	};
	Snapshot	snapshot;

	check.heap_buffer = InvalidBuffer;
	check.seen = hash_create("once.check", 1024, &hash,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	hash.entrysize = sizeof(ItemPointerData);
	check.suspects = hash_create("once.check suspects", 64, &hash,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	/* The snapshot first: the rows it sees have had their slots by now */
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	check.nblocks = RelationGetNumberOfBlocks(index);
	if (strict)
		check.in_list = MemoryContextAllocExtended(CurrentMemoryContext,
												   check.nblocks * sizeof(bool),
												   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	qam_check_pages(&check);
	qam_check_lists(&check);
	if (strict)
	{
		qam_check_groups(&check);
		qam_check_schedule(&check);
		qam_check_free(&check);
	}
	qam_check_rows(&check, snapshot);
	UnregisterSnapshot(snapshot);
	if (BufferIsValid(check.heap_buffer))
		ReleaseBuffer(check.heap_buffer);
	hash_destroy(check.suspects);
	hash_destroy(check.seen);
}
