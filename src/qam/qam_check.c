/*-------------------------------------------------------------------------
 *
 * qam_check.c
 *	  Verifying the invariants of a queue index.
 *
 * The rules, by the names under which breaches are reported:
 *
 *	page			every page is of a known kind and sound in itself
 *	slot			every slot's state, claim and time are legal, and it leads to
 *					a line pointer that is in use
 *	row				what a slot says of a row's lane, group and time is so
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
 * Nothing that is read here is trusted, and nothing is an error: damage is what
 * is looked for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "qam/qam.h"
#include "qam/qam_check.h"
#include "qam/qam_check_lists.h"
#include "qam/qam_copy.h"
#include "qam/qam_damage.h"
#include "qam/qam_format.h"
#include "qam/qam_heap.h"
#include "qam/qam_meta.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Nothing makes a message wait longer than that, once it is in its lane */
#define QAM_CHECK_FAR	(10 * 366 * USECS_PER_DAY)

/* Where a row's slot was seen */
typedef struct QamSeenSlot
{
	ItemPointerData tid;		/* hash key */
	uint16		slotno;
	BlockNumber block;
	uint64		seq;
	/* what it says of the row */
	int			lane;
	bool		scheduled;
	uint32		group;
	int64		ready_at;
} QamSeenSlot;

/*
 * qam_check_report reports a fault.  No page is locked.
 */
void
qam_check_report(QamCheck *check, const char *rule, BlockNumber block, int slotno,
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
 * Is a copied page sound in itself?  Returns whether its slots are to be looked at.
 */
static bool
check_page(QamCheck *check, const QamCopiedPage *copy)
{
	const QamOpaqueData *opaque = &copy->opaque;
	int			i;

	if (opaque->kind == 0 && opaque->page_id == 0)
		return false;			/* new: a crash during extension */
	if (copy->fault != NULL || opaque->kind == QAM_PAGE_META)
	{
		qam_check_report(check, "page", copy->block, -1, "page kind %d, lane %d: %s",
						 opaque->kind, opaque->lane,
						 copy->fault != NULL ? copy->fault : "it is no data page");
		return false;
	}
	check->max_seq = Max(check->max_seq, opaque->seq);
	if (opaque->kind == QAM_PAGE_FREE)
	{
		for (i = 0; i < copy->nslots; i++)
			if (copy->slots[i].state != QAM_SLOT_DONE)
				qam_check_report(check, "page", copy->block, i,
								 "page is free, but slot is not done");
		return false;
	}
	if (opaque->kind != QAM_PAGE_LANE && opaque->kind != QAM_PAGE_BUCKET)
		return false;
	for (i = 0; i < opaque->first_unfinished && i < copy->nslots; i++)
		if (copy->slots[i].state != QAM_SLOT_DONE)
			qam_check_report(check, "hint", copy->block, i,
							 "slot is not done but lies before the first unfinished one");
	return true;
}

/*
 * Is a copied slot, not DONE, kept from being offered by its page's hints?  "now"
 * is a time after the page was copied.
 */
static void
check_hint(QamCheck *check, const QamCopiedPage *copy, int slotno, TimestampTz now)
{
	const QamSlot *slot = &copy->slots[slotno];
	const QamOpaqueData *opaque = &copy->opaque;
	int			state = QamSlotState(slot);
	bool		timed = state == QAM_SLOT_READY ||
		(state == QAM_SLOT_CLAIMED && QamClaimKindOf(slot->claim) == QAM_CLAIM_BY_LEASE);

	/* With an owner, the hint may rest on a delete or lock of its */
	if (opaque->kind != QAM_PAGE_LANE || QamSlotIsBlocked(slot) ||
		opaque->owner != 0 || opaque->earliest == 0)
		return;
	if (timed && !(slot->hints & QAM_HINT_ACKED) && slot->ready_at < opaque->earliest)
		qam_check_report(check, "hint", copy->block, slotno,
						 "slot is ready at " INT64_FORMAT ", page is passed by until " INT64_FORMAT,
						 slot->ready_at, opaque->earliest);

	/*
	 * A transaction that has claimed it since has found the page worth a
	 * visit
	 */
	if (!timed && opaque->earliest > now &&
		(state != QAM_SLOT_APPENDED || slot->ready_at < opaque->earliest))
		qam_check_report(check, "hint", copy->block, slotno,
						 "slot is to be looked at, page is passed by until " INT64_FORMAT,
						 opaque->earliest);
}

/*
 * Is a copied slot, not DONE, legal?  Returns whether its row is to be looked at.
 */
static bool
check_slot(QamCheck *check, const QamCopiedPage *copy, int slotno, TimestampTz now)
{
	const QamSlot *slot = &copy->slots[slotno];
	const char *fault = qam_slot_fault(slot, copy->opaque.kind);
	uint64		kind = QamClaimKindOf(slot->claim);
	int			state = QamSlotState(slot);

	if (fault != NULL)
	{
		qam_check_report(check, "slot", copy->block, slotno, "state %d: %s", slot->state, fault);
		return false;
	}
	check_hint(check, copy, slotno, now);
	if (QamSlotIsOver(slot))
		return false;
	if (((state == QAM_SLOT_APPENDED || state == QAM_SLOT_TAKEN) &&
		 kind != QAM_CLAIM_BY_XID) ||
		(state == QAM_SLOT_CLAIMED && kind != QAM_CLAIM_BY_XID && kind != QAM_CLAIM_BY_LEASE))
		qam_check_report(check, "slot", copy->block, slotno,
						 "state %d with claim kind %d", slot->state, (int) kind);
	if (copy->opaque.kind == QAM_PAGE_LANE && slot->ready_at > now + QAM_CHECK_FAR)
		qam_check_report(check, "slot", copy->block, slotno,
						 "ready at " INT64_FORMAT ", which is too far away", slot->ready_at);
	return true;
}

/*
 * Is the slot seen before still there, and not DONE?
 */
static bool
still_in_use(QamCheck *check, const QamSeenSlot *seen)
{
	Buffer		buffer = ReadBuffer(check->index, seen->block);
	Page		page;
	bool		in_use;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	in_use = qam_page_fault(page) == NULL &&
		(QamPageGetOpaque(page)->kind == QAM_PAGE_LANE ||
		 QamPageGetOpaque(page)->kind == QAM_PAGE_BUCKET) &&
		QamPageGetOpaque(page)->seq == seen->seq &&
		seen->slotno < QamPageGetSlotCount(page) &&
		!QamSlotIsOver(&QamPageGetSlots(page)[seen->slotno]);
	UnlockReleaseBuffer(buffer);
	return in_use;
}

/*
 * Enter a slot into the table of those seen.
 *
 * If its row has one already, the older may have ended and the line pointer
 * been used again before we came to the younger.  DONE is final, so if the
 * older one is unfinished even now, they overlap.
 */
static void
see_slot(QamCheck *check, const QamCopiedPage *copy, int slotno)
{
	bool		found;
	QamSeenSlot *seen = hash_search(check->seen, &copy->slots[slotno].tid,
									HASH_ENTER, &found);

	if (found && still_in_use(check, seen))
		qam_check_report(check, "double slot", copy->block, slotno,
						 "row (%u,%u) has an unfinished slot %d in block %u as well",
						 ItemPointerGetBlockNumber(&seen->tid),
						 ItemPointerGetOffsetNumber(&seen->tid), seen->slotno, seen->block);
	seen->slotno = slotno;
	seen->block = copy->block;
	seen->seq = copy->opaque.seq;
	seen->scheduled = copy->opaque.kind == QAM_PAGE_BUCKET;
	seen->lane = seen->scheduled ? copy->slots[slotno].next_slot : copy->opaque.lane;
	seen->group = copy->slots[slotno].group_hash;
	seen->ready_at = copy->slots[slotno].ready_at;
}

/*
 * The slots of a copied page, and their rows.
 */
static void
check_slots(QamCheck *check, const QamCopiedPage *copy)
{
	TimestampTz now = GetCurrentTimestamp();
	int			i;

	for (i = 0; i < copy->nslots; i++)
	{
		const QamSlot *slot = &copy->slots[i];
		QamRow		row;
		bool		unused;

		CHECK_FOR_INTERRUPTS();
		if (slot->state == QAM_SLOT_DONE)
			continue;
		if (slot->group_hash != 0 && copy->opaque.kind == QAM_PAGE_LANE)
			check->in_groups++;
		if (!check_slot(check, copy, i, now))
			continue;
		if (qam_judge_copied(check->heap, check->index, copy, i, &check->heap_buffer,
							 &row, &unused) && unused)
			qam_check_report(check, "slot", copy->block, i,
							 "row pointer (%u,%u) is not in use",
							 QamSlotGetBlock(slot), ItemPointerGetOffsetNumber(&slot->tid));
		see_slot(check, copy, i);
	}
}

/*
 * Is the metapage sound, and fit to be asked for the rest?
 */
static bool
qam_check_metapage(QamCheck *check)
{
	QamCopiedPage *copy = palloc(sizeof(QamCopiedPage));
	const char *fault = "the index is empty";

	if (check->nblocks > QAM_METAPAGE)
	{
		QamMeta		meta;

		qam_copy_page(check->index, QAM_METAPAGE, copy);
		LockBuffer(copy->buffer, BUFFER_LOCK_SHARE);
		meta = QamPageGetMeta(BufferGetPage(copy->buffer));
		fault = copy->fault;
		if (copy->opaque.kind != QAM_PAGE_META || meta->magic != QAM_MAGIC)
			fault = "it is no metapage";
		else if (meta->version != QAM_VERSION)
			(void) qam_meta_check(check->index, BufferGetPage(copy->buffer));
		UnlockReleaseBuffer(copy->buffer);
	}
	if (fault != NULL)
		qam_check_report(check, "page", QAM_METAPAGE, -1, "metapage: %s", fault);
	pfree(copy);
	return fault == NULL;
}

/*
 * First pass: all pages and slots, in physical order.
 */
static void
qam_check_pages(QamCheck *check)
{
	QamCopiedPage *copy = palloc(sizeof(QamCopiedPage));
	BlockNumber block;

	for (block = QAM_METAPAGE + 1; block < check->nblocks; block++)
	{
		CHECK_FOR_INTERRUPTS();
		qam_copy_page(check->index, block, copy);
		if (check_page(check, copy))
			check_slots(check, copy);
		ReleaseBuffer(copy->buffer);
	}
	pfree(copy);
}

/*
 * Have no numbers been given that the metapage will give again?
 */
static void
qam_check_numbers(QamCheck *check)
{
	QamMetaData meta;

	qam_meta_read(check->index, &meta);
	if (meta.next_seq <= check->max_seq)
		qam_check_report(check, "page", QAM_METAPAGE, -1,
						 "next page gets number " UINT64_FORMAT ", there is one with " UINT64_FORMAT,
						 meta.next_seq, check->max_seq);
}

/*
 * Find the root of the HOT chain that a visible row belongs to.
 */
static void
root_of(QamCheck *check, HeapTuple tuple, ItemPointer root)
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
check_suspects(QamCheck *check)
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
			qam_check_report(check, "missing slot", InvalidBlockNumber, -1,
							 "row (%u,%u) has no slot",
							 ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid));
	}
}

/*
 * Is what its slot says of a row so?
 *
 * The slot was unfinished after the snapshot was taken that sees the row; so it is
 * the row's own, and that cannot have changed.
 */
static void
check_seen(QamCheck *check, HeapTuple tuple, const QamSeenSlot *seen)
{
	TupleDesc	desc = RelationGetDescr(check->heap);
	Datum		values[QAM_NATTRS];
	bool		isnull[QAM_NATTRS];
	QamEntry	entry;
	int			i;

	for (i = 0; i < QAM_NATTRS; i++)
		values[i] = heap_getattr(tuple, check->index->rd_index->indkey.values[i], desc,
								 &isnull[i]);
	entry = qam_entry(check->index, values, isnull, &tuple->t_self);
	if (entry.lane != seen->lane || entry.group != seen->group ||
		(seen->scheduled && entry.ready_at != seen->ready_at))
		qam_check_report(check, "row", seen->block, seen->slotno,
						 "lane %d, group %u, time " INT64_FORMAT "; row: lane %d, group %u, time " INT64_FORMAT,
						 seen->lane, seen->group, seen->ready_at,
						 entry.lane, entry.group, entry.ready_at);
}

/*
 * Third pass, "sound": the metapage is.
 */
static void
check_rows(QamCheck *check, Snapshot snapshot, bool sound)
{
	TableScanDesc scan = table_beginscan(check->heap, snapshot, 0, NULL);
	HeapTuple	tuple;

	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		ItemPointerData root;
		QamSeenSlot *seen;
		QamRow		row;

		CHECK_FOR_INTERRUPTS();
		root_of(check, tuple, &root);
		if (!ItemPointerIsValid(&root))
			continue;
		seen = hash_search(check->seen, &root, HASH_FIND, NULL);
		if (seen != NULL)
		{
			if (sound)
				check_seen(check, tuple, seen);
			continue;
		}

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
	check_suspects(check);
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
	QamCheck	check = {.heap = heap,.index = index,.sink = sink,.arg = arg};
	HASHCTL		hash = {
		.keysize = sizeof(ItemPointerData),
		.entrysize = sizeof(QamSeenSlot),
		.hcxt = CurrentMemoryContext
	};
	Snapshot	snapshot;
	bool		sound;

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
	sound = qam_check_metapage(&check);
	qam_check_pages(&check);
	if (sound)
	{
		qam_check_numbers(&check);
		qam_check_lists(&check);
	}
	if (sound && strict)
	{
		qam_check_groups(&check);
		qam_check_schedule(&check);
		qam_check_free(&check);
	}
	check_rows(&check, snapshot, sound);
	UnregisterSnapshot(snapshot);
	if (BufferIsValid(check.heap_buffer))
		ReleaseBuffer(check.heap_buffer);
	hash_destroy(check.suspects);
	hash_destroy(check.seen);
}
