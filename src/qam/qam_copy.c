/*-------------------------------------------------------------------------
 *
 * qam_copy.c
 *	  Copies of pages, to be read without a lock, and judging the rows of their
 *	  slots.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "once_debug.h"
#include "qam/qam_cache.h"
#include "qam/qam_copy.h"
#include "qam/qam_damage.h"
#include "qam/qam_format.h"
#include "qam/qam_heap.h"
#include "storage/bufmgr.h"

static void
copy_page(Relation index, BlockNumber block, bool slots, QamCopiedPage *copy)
{
	Page		page;

	copy->buffer = ReadBuffer(index, block);
	copy->block = block;
	copy->nslots = 0;
	memset(&copy->opaque, 0, sizeof(QamOpaqueData));
	LockBuffer(copy->buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(copy->buffer);
	copy->fault = qam_page_fault(page);
	copy->zeros = PageIsNew(page);
	if (!copy->zeros)
	{
		copy->opaque = *QamPageGetOpaque(page);
		if (copy->fault == NULL && slots &&
			(copy->opaque.kind == QAM_PAGE_LANE || copy->opaque.kind == QAM_PAGE_BUCKET ||
			 copy->opaque.kind == QAM_PAGE_FREE))
		{
			copy->nslots = QamPageGetSlotCount(page);
			memcpy(copy->slots, QamPageGetSlots(page),
				   copy->nslots * sizeof(QamSlot));
		}
	}
	LockBuffer(copy->buffer, BUFFER_LOCK_UNLOCK);
}

/*
 * qam_require_copy raises an error if a copied page was not sound in itself.
 * A page of zeros is accepted, since a crash may have left it.
 */
void
qam_require_copy(Relation index, const QamCopiedPage *copy)
{
	if (copy->fault != NULL && !copy->zeros)
		qam_broken(index, copy->block, "The page is unsound: %s.", copy->fault);
}

/*
 * qam_copy_page copies a page's special space and its slots, if it has any.
 * The page stays pinned; no lock on entry or exit.
 */
void
qam_copy_page(Relation index, BlockNumber block, QamCopiedPage *copy)
{
	copy_page(index, block, true, copy);
}

/*
 * qam_copy_special does the same without the slots.  That is much faster if
 * the page is not in the processor's cache.
 */
void
qam_copy_special(Relation index, BlockNumber block, QamCopiedPage *copy)
{
	copy_page(index, block, false, copy);
}

/*
 * qam_judge_copied judges the row of a copied slot.
 *
 * Returns false if the slot is over by now; then the row is not judged.  Sets
 * *unused if the slot leads to no line pointer in use, which is a fault.
 * *heap_buffer is the row's page, which stays pinned until the next call.  No
 * locks on entry or exit.
 */
bool
qam_judge_copied(Relation heap, Relation index, const QamCopiedPage *copy, int slotno,
				 Buffer *heap_buffer, QamRow *row, bool *unused)
{
	ItemPointerData tid = copy->slots[slotno].tid;
	QamLink		link = qam_link(copy->block, copy->opaque.seq);
	Page		page = BufferGetPage(copy->buffer);
	Page		heap_page;
	bool		current;

	*unused = false;
	if (!qam_heap_block_exists(heap, index, ItemPointerGetBlockNumberNoCheck(&tid)))
	{
		*unused = true;
		row->state = QAM_ROW_GONE;
		LockBuffer(copy->buffer, BUFFER_LOCK_SHARE);
		current = qam_page_is(page, &link, copy->opaque.lane) &&
			!QamSlotIsOver(&QamPageGetSlots(page)[slotno]);
		LockBuffer(copy->buffer, BUFFER_LOCK_UNLOCK);
		return current;
	}

	*heap_buffer = ReleaseAndReadBuffer(*heap_buffer, heap,
										ItemPointerGetBlockNumberNoCheck(&tid));
	LockBuffer(copy->buffer, BUFFER_LOCK_SHARE);
	current = qam_page_is(page, &link, copy->opaque.lane) &&
		!QamSlotIsOver(&QamPageGetSlots(page)[slotno]);
	if (current)
	{
		OffsetNumber offset = ItemPointerGetOffsetNumberNoCheck(&tid);

		LockBuffer(*heap_buffer, BUFFER_LOCK_SHARE);
		heap_page = BufferGetPage(*heap_buffer);
		*unused = PageIsNew(heap_page) || offset < FirstOffsetNumber ||
			offset > PageGetMaxOffsetNumber(heap_page) ||
			!ItemIdIsUsed(PageGetItemId(heap_page, offset));
		qam_judge(heap, *heap_buffer, &tid, row);
		LockBuffer(*heap_buffer, BUFFER_LOCK_UNLOCK);
	}
	LockBuffer(copy->buffer, BUFFER_LOCK_UNLOCK);
	once_debug_point("copy_judged");
	return current;
}
