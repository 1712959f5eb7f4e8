/*-------------------------------------------------------------------------
 *
 * qam_page.c
 *	  The only file that changes the bytes of a queue index's pages.
 *
 * Every verb edits the page it is given and reports to qam_xlog.c which bytes
 * it touched, or that they are but a hint.  The page belongs to a change that
 * is under way (see qam_internal.h), except for the two init verbs, whose
 * pages are logged whole.  None of them can fail.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "qam/qam_internal.h"

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
 * qam_random_nonce makes the random words that tell builds of indexes apart.
 * No page is locked.
 */
void
qam_random_nonce(uint64 *nonce)
{
	if (!pg_strong_random(nonce, 2 * sizeof(uint64)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
}

/*
 * qam_meta_init makes the metapage of an empty index.
 */
void
qam_meta_init(Page page)
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
	qam_random_nonce(meta->nonce);

	/* A full image leaves out the hole, so the content must end at pd_lower */
	((PageHeader) page)->pd_lower =
		((char *) meta + sizeof(QamMetaData)) - (char *) page;
}

/*
 * qam_page_append adds slots behind the last one.  There must be room.
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
 * qam_page_set_slot gives a slot a new state, attempts, ready_at and claim.
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
 * qam_page_set_done ends a slot's life.
 *
 * With keep_claim, the row is known to have been deleted, and a second ack can
 * be told that it is one.  Otherwise an UPDATE may have moved it, and all that
 * can be said to a late receipt is that its claim is lost.
 */
void
qam_page_set_done(QamLog *log, Page page, int slotno, bool keep_claim)
{
	QamSlot    *slot = QamPageGetSlots(page) + slotno;

	slot->state = QAM_SLOT_DONE;
	qam_log_bytes(log, page, &slot->state, sizeof(slot->state));
	if (!keep_claim)
	{
		slot->claim = 0;
		qam_log_bytes(log, page, &slot->claim, sizeof(slot->claim));
	}
}

/*
 * qam_page_set_slot_hint replaces a slot's hints; not logged.
 */
void
qam_page_set_slot_hint(QamLog *log, Page page, int slotno, uint8 hints)
{
	QamSlot    *slot = QamPageGetSlots(page) + slotno;

	slot->hints = hints;
	qam_log_hint_bytes(log, page, &slot->hints, sizeof(slot->hints));
}

/*
 * qam_page_set_hints replaces a page's hints by what a walker found; not
 * logged.  It must hold for the slots as they are, see README, "Hints".
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
 * qam_page_lower_earliest makes the page be looked at from "earliest" on, as
 * a slot becomes ready then.  Logged, with the change of the slot; so is the
 * owner, as the two are true together.
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
 * qam_page_unset_earliest makes the page be looked at; not logged, because
 * nothing becomes ready by it.
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
 * Its slots and its number stay until it is used again: a late ack may still
 * learn from them that it is the second one.
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
 * The metapage's verbs: lane heads and tails, the free list's head, the nonce,
 * the page number counter, and the hint that something became ready early.
 */
void
qam_meta_set_head(QamLog *log, Page page, int lane, QamLink head)
{
	QamMeta		meta = QamPageGetMeta(page);

	meta->lanes[lane].head = head;
	qam_log_bytes(log, page, &meta->lanes[lane].head, sizeof(QamLink));
}

void
qam_meta_set_tail(QamLog *log, Page page, int lane, QamLink tail)
{
	QamMeta		meta = QamPageGetMeta(page);

	meta->lanes[lane].tail = tail;
	qam_log_bytes(log, page, &meta->lanes[lane].tail, sizeof(QamLink));
}

void
qam_meta_set_free(QamLog *log, Page page, QamLink free)
{
	QamMeta		meta = QamPageGetMeta(page);

	meta->free = free;
	qam_log_bytes(log, page, &meta->free, sizeof(QamLink));
}

void
qam_meta_set_nonce(QamLog *log, Page page, const uint64 *nonce)
{
	QamMeta		meta = QamPageGetMeta(page);

	memcpy(meta->nonce, nonce, sizeof(meta->nonce));
	qam_log_bytes(log, page, meta->nonce, sizeof(meta->nonce));
}

uint64
qam_meta_take_seq(QamLog *log, Page page)
{
	QamMeta		meta = QamPageGetMeta(page);
	uint64		seq = meta->next_seq++;

	qam_log_bytes(log, page, &meta->next_seq, sizeof(meta->next_seq));
	return seq;
}

void
qam_meta_count_wakeup(QamLog *log, Page page)
{
	QamMeta		meta = QamPageGetMeta(page);

	meta->wakeups++;
	qam_log_hint_bytes(log, page, &meta->wakeups, sizeof(meta->wakeups));
}
