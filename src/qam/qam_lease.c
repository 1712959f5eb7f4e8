/*-------------------------------------------------------------------------
 *
 * qam_lease.c
 *	  Giving back leases whose receipts are lost, by the rows of their messages.
 *
 * A slot leads to its row, but a row does not lead to its slot.  So the whole
 * file is read, once for all leases that are wanted; see "Lost receipts" in
 * the README.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "miscadmin.h"
#include "once_debug.h"
#include "qam/qam.h"
#include "qam/qam_copy.h"
#include "qam/qam_damage.h"
#include "qam/qam_delivery.h"
#include "qam/qam_format.h"
#include "qam/qam_heap.h"
#include "qam/qam_meta.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* A lease that is wanted */
typedef struct QamLease
{
	uint64		seq;			/* number of its page */
	QamRef		ref;
} QamLease;

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

	QamLease   *leases;
	int64		nleases;
	int64		room;
} QamRelease;

static inline bool
is_leased(const QamSlot *slot, TimestampTz now)
{
	return QamSlotState(slot) == QAM_SLOT_CLAIMED &&
		QamClaimKindOf(slot->claim) == QAM_CLAIM_BY_LEASE && slot->ready_at > now;
}

/*
 * Does the caller want the row of a copied slot?  No locks on entry or exit.
 */
static bool
is_wanted(QamRelease *release, int slotno)
{
	QamRow		row;
	bool		unused;
	bool		wanted;

	if (!qam_judge_copied(release->heap, release->index, &release->copy, slotno,
						  &release->heap_buffer, &row, &unused) ||
		row.state == QAM_ROW_GONE || row.state == QAM_ROW_OWN_DELETE)
		return false;

	/* The page is pinned, so the version that we judged is still there */
	LockBuffer(release->heap_buffer, BUFFER_LOCK_SHARE);
	wanted = release->wanted(release->arg, &row.tuple);
	LockBuffer(release->heap_buffer, BUFFER_LOCK_UNLOCK);
	return wanted;
}

static void
note_lease(QamRelease *release, int slotno)
{
	QamLease   *lease;

	if (release->nleases == release->room)
	{
		release->room *= 2;
		release->leases = repalloc_huge(release->leases,
										release->room * sizeof(QamLease));
	}
	lease = &release->leases[release->nleases++];
	lease->seq = release->copy.opaque.seq;
	lease->ref.block = release->copy.block;
	lease->ref.slot = slotno;
	lease->ref.proof = qam_proof(qam_meta_nonce(release->index), lease->seq, slotno,
								 &release->copy.slots[slotno]);
}

/*
 * Note all leases in the file that are wanted.
 */
static void
find_leases(QamRelease *release)
{
	BlockNumber nblocks = RelationGetNumberOfBlocks(release->index);
	QamCopiedPage *copy = &release->copy;
	BlockNumber block;
	int			i;

	for (block = QAM_METAPAGE + 1; block < nblocks; block++)
	{
		CHECK_FOR_INTERRUPTS();
		qam_copy_page(release->index, block, copy);
		qam_require_copy(release->index, copy);
		if (copy->opaque.kind != QAM_PAGE_LANE)
			copy->nslots = 0;
		for (i = copy->opaque.first_unfinished; i < copy->nslots; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (!is_leased(&copy->slots[i], release->now))
				continue;
			qam_require_slot(release->index, block, i, &copy->slots[i], QAM_PAGE_LANE);
			if (is_wanted(release, i))
				note_lease(release, i);
		}
		ReleaseBuffer(copy->buffer);
	}
	if (BufferIsValid(release->heap_buffer))
		ReleaseBuffer(release->heap_buffer);
}

/*
 * Order for qsort: from the end of the lane to its beginning.
 */
static int
compare_leases(const void *a, const void *b)
{
	const QamLease *first = a;
	const QamLease *second = b;

	if (first->seq != second->seq)
		return first->seq > second->seq ? -1 : 1;
	return (int) second->ref.slot - (int) first->ref.slot;
}

/*
 * qam_release_leases: see qam.h.  No locks on entry or exit.
 */
int64
qam_release_leases(Relation heap, Relation index, QamWanted wanted, void *arg)
{
	QamRelease *release = palloc0(sizeof(QamRelease));
	int64		n = 0;
	int64		i;

	release->heap = heap;
	release->index = index;
	release->wanted = wanted;
	release->arg = arg;
	release->now = GetCurrentTimestamp();
	release->heap_buffer = InvalidBuffer;
	release->room = 16;
	release->leases = palloc(release->room * sizeof(QamLease));
	find_leases(release);
	qsort(release->leases, release->nleases, sizeof(QamLease), compare_leases);
	for (i = 0; i < release->nleases; i++)
	{
		TimestampTz when;

		CHECK_FOR_INTERRUPTS();
		once_debug_point("release_before_lock");
		if (qam_give_back(heap, index, &release->leases[i].ref, QAM_END_LEASE, 0, NULL,
						  &when, NULL, NULL) == QAM_REF_HELD)
			n++;
	}
	pfree(release->leases);
	pfree(release);
	return n;
}
