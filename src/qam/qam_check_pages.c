/*-------------------------------------------------------------------------
 *
 * qam_check_pages.c
 *	  Verifying a queue index: its pages, and the slots on them.  The rules are
 *	  listed in qam_check.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "miscadmin.h"
#include "qam/qam_check_pages.h"
#include "qam/qam_copy.h"
#include "qam/qam_damage.h"
#include "qam/qam_format.h"
#include "qam/qam_heap.h"
#include "qam/qam_meta.h"
#include "qam/qam_xid.h"
#include "storage/bufmgr.h"
#include "utils/timestamp.h"

/* In a lane, no message has to wait longer than this */
#define QAM_CHECK_FAR	(10 * 366 * USECS_PER_DAY)

/*
 * qam_check_report reports a fault.  No page is locked by us.
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
 * Is a copied page sound in itself?  Returns whether its slots should be
 * checked.
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
						 copy->fault != NULL ? copy->fault : "it is not a data page");
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
 * Do its page's hints keep a copied slot from being offered?  The slot is not
 * DONE.  "now" is a time after the page was copied.
 */
static void
check_hint(QamCheck *check, const QamCopiedPage *copy, int slotno, TimestampTz now)
{
	const QamSlot *slot = &copy->slots[slotno];
	const QamOpaqueData *opaque = &copy->opaque;
	int			state = QamSlotState(slot);
	bool		timed = state == QAM_SLOT_READY ||
		(state == QAM_SLOT_CLAIMED && QamClaimKindOf(slot->claim) == QAM_CLAIM_BY_LEASE);

	if (opaque->kind != QAM_PAGE_LANE || QamSlotIsBlocked(slot) || opaque->earliest == 0)
		return;

	/*
	 * A hint with an owner counts only while that transaction is open, and
	 * not for what it has inserted or claimed itself.  If it is open now, it
	 * was when the page was copied.
	 */
	if (opaque->owner != 0 &&
		((!timed && state != QAM_SLOT_ENDED &&
		  qam_claim_xid(slot->claim, qam_next_xid()) == opaque->owner) ||
		 qam_xid_state(opaque->owner) == QAM_XID_ENDED))
		return;
	if (timed && !(slot->hints & QAM_HINT_ACKED) && slot->ready_at < opaque->earliest)
		qam_check_report(check, "hint", copy->block, slotno,
						 "slot is ready at " INT64_FORMAT ", but the page is skipped until " INT64_FORMAT,
						 slot->ready_at, opaque->earliest);

	/*
	 * A page is visited, and its slots claimed, only when the time of its
	 * hint is up.  If that is not up yet, the claim is older than the hint,
	 * which should have allowed for it.
	 */
	if (!timed && opaque->earliest > now &&
		(state != QAM_SLOT_APPENDED || slot->ready_at < opaque->earliest))
		qam_check_report(check, "hint", copy->block, slotno,
						 "slot must be visited, but the page is skipped until " INT64_FORMAT,
						 opaque->earliest);
}

/*
 * Is a copied slot, not DONE, legal?  Returns whether its row should be judged.
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
 * Is a slot that was seen before still there, and not over?
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
 * The table may have another slot for the same row.  That one may have ended,
 * and the line pointer been reused, before we came to this slot.  But what is
 * over stays so; if the other slot is not over even now, both have been in use
 * at one time.
 */
static void
see_slot(QamCheck *check, const QamCopiedPage *copy, int slotno)
{
	bool		found;
	QamSeenSlot *seen = hash_search(check->seen, &copy->slots[slotno].tid,
									HASH_ENTER, &found);

	if (found && still_in_use(check, seen))
		qam_check_report(check, "double slot", copy->block, slotno,
						 "row (%u,%u) also has an unfinished slot %d in block %u",
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
 * Check the slots of a copied page, and judge their rows.
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
 * qam_check_metapage tells whether the metapage is sound, so that the rest of
 * the index can be found from it.
 */
bool
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
			fault = "it is not a metapage";
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
 * qam_check_pages goes through all pages and slots, in physical order.
 */
void
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
 * qam_check_numbers checks that the metapage will not give a number to a page
 * that another page already has.
 */
void
qam_check_numbers(QamCheck *check)
{
	QamMetaData meta;

	qam_meta_read(check->index, &meta);
	if (meta.next_seq <= check->max_seq)
		qam_check_report(check, "page", QAM_METAPAGE, -1,
						 "next page gets number " UINT64_FORMAT ", but there is one with " UINT64_FORMAT,
						 meta.next_seq, check->max_seq);
}
