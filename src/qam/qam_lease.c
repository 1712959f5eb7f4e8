/*-------------------------------------------------------------------------
 *
 * qam_lease.c
 *	  Leases whose receipts are lost, given back by their rows.
 *
 * There is no way from a row to its slot, but from each slot to its row.  So the
 * whole file is gone through, once for however many are wanted; see "Lost receipts"
 * in the README.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "miscadmin.h"
#include "once_debug.h"
#include "qam/qam_internal.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* State of one call */
typedef struct QamRelease
{
	Relation	heap;
	Relation	index;
	QamWanted	wanted;
	void	   *arg;
	TimestampTz now;
	QamCopiedPage copy;
	Buffer		heap_buffer;	/* pinned, or invalid */
	XLogRecPtr	lsn;

	/* Those of groups that were given back, as they were before */
	QamSlot    *heads;
	int64		nheads;
	int64		room;
} QamRelease;

static inline bool
qam_is_leased(const QamSlot *slot, TimestampTz now)
{
	return QamSlotState(slot) == QAM_SLOT_CLAIMED &&
		QamClaimKindOf(slot->claim) == QAM_CLAIM_BY_LEASE && slot->ready_at > now;
}

/*
 * Is the row of a copied slot one that is wanted?  No locks on entry or exit.
 */
static bool
qam_lease_wanted(QamRelease *release, int slotno)
{
	QamRow		row;
	bool		unused;
	bool		wanted;

	if (!qam_judge_copied(release->heap, release->index, &release->copy, slotno,
						  &release->heap_buffer, &row, &unused) ||
		row.state == QAM_ROW_GONE || row.state == QAM_ROW_OWN_DELETE)
		return false;

	/* Pinned, so the version we judged is still there */
	LockBuffer(release->heap_buffer, BUFFER_LOCK_SHARE);
	wanted = release->wanted(release->arg, &row.tuple);
	LockBuffer(release->heap_buffer, BUFFER_LOCK_UNLOCK);
	return wanted;
}

/*
 * Is the row of a slot gone after all?  Its heap page is pinned, the slot's page is
 * locked.
 */
static bool
qam_lease_gone(QamRelease *release, QamSlot *slot)
{
	QamRow		row;

	LockBuffer(release->heap_buffer, BUFFER_LOCK_SHARE);
	qam_judge(release->heap, release->heap_buffer, &slot->tid, &row);
	LockBuffer(release->heap_buffer, BUFFER_LOCK_UNLOCK);
	return row.state == QAM_ROW_GONE;
}

/*
 * Give back the lease of a copied slot, if it still has it, and a row.  The row's heap
 * page is pinned.  No locks on entry or exit.
 */
static bool
qam_release_one(QamRelease *release, int slotno)
{
	const QamSlot *old = &release->copy.slots[slotno];
	QamLink		link = qam_link(release->copy.block, release->copy.opaque.seq);
	Buffer		buffer = release->copy.buffer;
	Page		page = BufferGetPage(buffer);
	QamSlot    *slot;
	bool		released = false;

	/* Once it is ready, nobody may be kept from noticing */
	HOLD_INTERRUPTS();
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	slot = QamPageGetSlots(page) + slotno;
	if (qam_page_is(page, &link, release->copy.opaque.lane) &&
		qam_is_leased(slot, release->now) && slot->claim == old->claim &&
		!qam_lease_gone(release, slot))
	{
		QamSlot		new = *slot;
		QamLog		log;

		new.state = QAM_SLOT_READY | (slot->state & QAM_SLOT_BLOCKED);
		new.ready_at = 0;
		new.claim = 0;
		new.hints = 0;
		qam_log_begin(&log, release->index);
		page = qam_log_page(&log, buffer, false);
		qam_page_set_slot(&log, page, slotno, &new);
		qam_page_lower_earliest(&log, page, 0);
		release->lsn = qam_log_finish(&log);
		released = true;
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (released)
		qam_wakeup(release->index, link.seq);
	RESUME_INTERRUPTS();
	return released;
}

static void
qam_note_released(QamRelease *release, const QamSlot *slot)
{
	if (release->nheads == release->room)
	{
		release->room = Max(16, release->room * 2);
		release->heads = release->heads == NULL ?
			palloc(release->room * sizeof(QamSlot)) :
			repalloc_huge(release->heads, release->room * sizeof(QamSlot));
	}
	release->heads[release->nheads++] = *slot;
}

/*
 * Give back what is wanted of the page that was copied.  Returns how many.
 */
static int
qam_release_page(QamRelease *release)
{
	int			n = 0;
	int			i;

	for (i = release->copy.opaque.first_unfinished; i < release->copy.nslots; i++)
	{
		const QamSlot *slot = &release->copy.slots[i];

		CHECK_FOR_INTERRUPTS();
		if (!qam_is_leased(slot, release->now) || !qam_lease_wanted(release, i))
			continue;
		once_debug_point("release_before_lock");
		if (!qam_release_one(release, i))
			continue;
		n++;
		if (slot->group_hash != 0)
			qam_note_released(release, slot);
	}
	return n;
}

/*
 * Give back those that come after the ones that were given back in their groups, and
 * are of the same claims.  Each that was wanted itself has been by now.
 */
static void
qam_release_mates(QamRelease *release)
{
	int64		i;

	for (i = 0; i < release->nheads; i++)
	{
		QamRef	   *mates = NULL;
		int			nmates = 0;

		CHECK_FOR_INTERRUPTS();
		qam_group_give_back(release->index, &release->heads[i], &mates, &nmates);
		if (mates != NULL)
			pfree(mates);
	}
}

/*
 * qam_release_leases: see qam.h.  No locks on entry or exit.
 */
int64
qam_release_leases(Relation heap, Relation index, QamWanted wanted, void *arg)
{
	QamRelease *release = palloc0(sizeof(QamRelease));
	BlockNumber nblocks = RelationGetNumberOfBlocks(index);
	BlockNumber block;
	int64		n = 0;

	release->heap = heap;
	release->index = index;
	release->wanted = wanted;
	release->arg = arg;
	release->now = GetCurrentTimestamp();
	release->heap_buffer = InvalidBuffer;
	for (block = QAM_METAPAGE + 1; block < nblocks; block++)
	{
		CHECK_FOR_INTERRUPTS();
		qam_copy_page(index, block, &release->copy);
		if (release->copy.opaque.kind == QAM_PAGE_LANE)
			n += qam_release_page(release);
		ReleaseBuffer(release->copy.buffer);
	}
	if (BufferIsValid(release->heap_buffer))
		ReleaseBuffer(release->heap_buffer);
	qam_release_mates(release);
	if (release->heads != NULL)
		pfree(release->heads);
	if (!XLogRecPtrIsInvalid(release->lsn))
		qam_log_flush_soon(release->lsn);
	pfree(release);
	return n;
}
