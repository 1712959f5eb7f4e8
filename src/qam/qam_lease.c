/*-------------------------------------------------------------------------
 *
 * qam_lease.c
 *	  Leases that nobody will end: of a worker that died, with receipts that are
 *	  lost, or of rows that have been deleted or moved by plain SQL.
 *
 * A walk does not look at the row of a leased slot before its time has come.  If
 * the row is gone by then that costs nothing, except in a group, where others wait
 * behind it.  Here, all leased slots of the index are looked at.  What is to be
 * done is done to one slot at a time: a page is copied, and locked for a slot that
 * is concerned; the slot counts only if it is still as it was copied.  Lock order:
 * page of the index, then page of the table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "miscadmin.h"
#include "qam/qam_internal.h"
#include "utils/rel.h"

static bool qam_end_lease(Relation index, const QamCopiedPage *copy, int slotno, bool gone);
static int	qam_compare_places(const void *a, const void *b);

/*
 * qam_end_leases ends the leases of messages, whose rows (the roots of their HOT
 * chains) are given: they are ready again, their attempts stay counted, and
 * receipts of them are lost, as are those of the messages of their groups that
 * were claimed with them and come after them.  Returns how many it has ended.
 *
 * Besides, it tells walkers of leased slots whose rows are gone, so that the next
 * one ends them.
 *
 * Sorts the places.  No locks on entry or exit.
 */
int64
qam_end_leases(Relation heap, Relation index, ItemPointerData *places, int nplaces)
{
	QamCopiedPage *copy = palloc(sizeof(QamCopiedPage));
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	Buffer		heap_buffer = InvalidBuffer;
	int64		ended = 0;
	BlockNumber block;
	int			i;

	if (nplaces > 0)
		qsort(places, nplaces, sizeof(ItemPointerData), qam_compare_places);
	for (block = QAM_METAPAGE + 1; block < nblocks; block++)
	{
		CHECK_FOR_INTERRUPTS();
		qam_copy_page(index, block, copy);
		if (copy->opaque.kind != QAM_PAGE_LANE)
			copy->nslots = 0;	/* who is leased is in a lane */
		for (i = 0; i < copy->nslots; i++)
		{
			const QamSlot *slot = &copy->slots[i];
			bool		wanted = nplaces > 0 &&
				bsearch(&slot->tid, places, nplaces, sizeof(ItemPointerData),
						qam_compare_places) != NULL;
			QamRow		row;
			bool		unused;

			if (!qam_slot_is_leased(slot) || !(wanted || slot->group_hash != 0))
				continue;
			CHECK_FOR_INTERRUPTS();
			if (!qam_judge_copied(heap, index, copy, i, &heap_buffer, &row, &unused))
				continue;
			if (row.state == QAM_ROW_GONE)
				(void) qam_end_lease(index, copy, i, true);
			else if (wanted)
				ended += qam_end_lease(index, copy, i, false);
		}
		ReleaseBuffer(copy->buffer);
	}
	if (BufferIsValid(heap_buffer))
		ReleaseBuffer(heap_buffer);
	pfree(copy);
	return ended;
}

/*
 * qam_end_lease ends the lease of a slot, if it is still as it was copied; gone:
 * only tells of it.  False: it is not.  The page is pinned, and not locked.
 */
static bool
qam_end_lease(Relation index, const QamCopiedPage *copy, int slotno, bool gone)
{
	QamLink		link = qam_link(copy->block, copy->opaque.seq);
	Page		page = BufferGetPage(copy->buffer);
	XLogRecPtr	lsn = InvalidXLogRecPtr;
	bool		current;
	QamSlot		old;

	/* Once it is ready, nobody may be kept from noticing */
	HOLD_INTERRUPTS();
	LockBuffer(copy->buffer, BUFFER_LOCK_EXCLUSIVE);
	current = qam_page_is(page, &link, copy->opaque.lane) &&
		slotno < QamPageGetSlotCount(page);
	if (current)
	{
		old = QamPageGetSlots(page)[slotno];
		current = qam_slot_is_leased(&old) && old.claim == copy->slots[slotno].claim &&
			ItemPointerEquals(&old.tid, unconstify(ItemPointerData *, &copy->slots[slotno].tid));
	}
	if (current)
	{
		QamSlot		new = old;
		QamLog		log;

		qam_log_begin(&log, index);
		page = qam_log_page(&log, copy->buffer, false);
		if (gone)
			qam_page_set_acked(&log, page, slotno);
		else
		{
			new.state = QAM_SLOT_READY | (old.state & QAM_SLOT_BLOCKED);
			new.ready_at = 0;
			new.claim = 0;
			qam_page_set_slot(&log, page, slotno, &new);
			qam_page_lower_earliest(&log, page, 0);
		}
		lsn = qam_log_finish(&log);
	}
	LockBuffer(copy->buffer, BUFFER_LOCK_UNLOCK);
	if (current)
		qam_wakeup(index, copy->opaque.seq);
	RESUME_INTERRUPTS();
	if (current && !gone && old.group_hash != 0)
	{
		QamRef	   *mates = NULL;
		int			nmates = 0;

		qam_group_give_back(index, &old, &mates, &nmates);
		if (mates != NULL)
			pfree(mates);
	}
	if (!XLogRecPtrIsInvalid(lsn))
		qam_log_flush_soon(lsn);
	return current;
}

static int
qam_compare_places(const void *a, const void *b)
{
	return ItemPointerCompare(unconstify(ItemPointerData *, (const ItemPointerData *) a),
							  unconstify(ItemPointerData *, (const ItemPointerData *) b));
}
