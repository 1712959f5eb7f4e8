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
 *	row				a slot has the lane, group and time of its row
 *	hint			no page hint keeps a message from being offered
 *	list			every link leads to the page it means, and every list ends
 *					where the metapage says it does
 *	group			every group's chain leads from its first to its last slot,
 *					through all that are not DONE			(strict only)
 *	schedule		no message is kept beyond its time	(strict only)
 *	missing slot	every live row has a slot, if a snapshot sees it that was
 *					taken before the slots were read
 *	double slot		no row has two slots that are not over
 *	lost page		every page is in exactly one list		(strict only)
 *	free list		the free list leads to free pages only	(strict only)
 *
 * The index may be in use meanwhile.  There are no false alarms, because each
 * rule is checked on what cannot change during the check: pages under their
 * lock; links with the page before them locked; rows that were visible before
 * the slots were read, and are still live afterwards.  With "strict", the
 * caller holds a lock on the table that keeps writers out.
 *
 * Nothing that is read here is trusted, and damage does not raise an error: it
 * is what this file searches for.
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
#include "qam/qam_check_lists.h"
#include "qam/qam_check_pages.h"
#include "qam/qam_copy.h"
#include "qam/qam_format.h"
#include "qam/qam_heap.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

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
 * Report the rows in "suspects" that still have no slot.  These are live rows
 * that the snapshot sees, and whose slots were not met when the pages were
 * read.
 *
 * While the pages were read, a slot of the schedule may have moved from a page
 * that we had not reached to one that we had passed.  Each move brings it
 * nearer to its lane, so there are fewer moves than digits and lists.  If a
 * slot is not found in that many readings, it does not exist.  Each reading
 * removes from "suspects" the rows whose slots it meets.
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

		/* The snapshot still keeps its line pointer; the row may be gone */
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
 * Report a slot that does not have the lane, group and time of its row.
 *
 * The snapshot sees the row, and the slot was not over after the snapshot was
 * taken.  So the slot is this row's, and none of these can have changed.
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
 * Check every row that the snapshot sees.  "sound": the metapage is sound.
 */
static void
check_rows(QamCheck *check, Snapshot snapshot, bool sound)
{
	TableScanDesc scan = once_beginscan(check->heap, snapshot, 0, NULL);
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

		/* Visible to our snapshot, so its line pointer is not reused */
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
 * Both relations are locked at least in AccessShareLock mode; with strict, the
 * table in ShareLock mode or a stronger one.  "sink" is called with no page
 * locked.  It may allocate memory, but should not write.
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

	/* The snapshot first: every row that it sees has had its slot by now */
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
