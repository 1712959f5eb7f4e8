/*-------------------------------------------------------------------------
 *
 * qam_move.c
 *	  Slots on their way out of a page of the schedule: which of them go, and
 *	  what becomes of that page.
 *
 * Others lock the page that slots go to: the end of a lane or a finer bucket
 * (qam_due.c), or the end of a group (qam_group.c).  In one record, a slot is
 * appended there and made DONE on the old page.  So at any time there is one
 * slot.
 *
 * The interlock with VACUUM needs no lock except those of the pages.  VACUUM
 * reads the pages in physical order, so it could miss a slot that moves from a
 * page ahead of it to a page behind it.  But it searches only for slots whose
 * rows were dead before it began, and their line pointers stay dead until
 * ambulkdelete has returned.  A slot is moved only if its row has just been
 * judged not to be gone, with the old page locked.  So no slot moves that
 * VACUUM searches for.  (The last step of a concurrent build has to see every
 * slot.  But nobody moves slots in an index that is not valid yet.)
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "miscadmin.h"
#include "qam/qam_copy.h"
#include "qam/qam_damage.h"
#include "qam/qam_format.h"
#include "qam/qam_heap.h"
#include "qam/qam_move.h"
#include "qam/qam_page.h"
#include "qam/qam_xlog.h"
#include "storage/bufmgr.h"

/*
 * qam_move_pin pins the heap pages of a move's rows.  If these are too many,
 * the last slots are left out of the move.  No page is locked.
 */
void
qam_move_pin(QamMove *move)
{
	int			i;

	move->npins = 0;
	for (i = 0; i < move->nslots; i++)
	{
		BlockNumber block = QamSlotGetBlock(&move->from->slots[move->slots[i]]);
		int			j;

		for (j = move->npins - 1; j >= 0; j--)
			if (BufferGetBlockNumber(move->pins[j]) == block)
				break;
		if (j < 0)
		{
			if (move->npins == Min(QAM_MOVE_PINS, qam_max_pins()))
				break;
			j = move->npins++;
			move->pins[j] = qam_pin_row(move->heap, move->index, block);
		}
		move->pin_of[i] = j;
	}
	move->nslots = i;
}

void
qam_move_unpin(QamMove *move)
{
	while (move->npins > 0)
		ReleaseBuffer(move->pins[--move->npins]);
}

/*
 * qam_move_from copies the page that a link leads to, so that slots can be
 * moved from it, and keeps it pinned.  Returns false, with no pin, if the page
 * has left its list.  No locks on entry or exit.
 */
bool
qam_move_from(QamMove *move, const QamLink *link)
{
	QamCopiedPage *from = move->from;
	int			i;

	qam_copy_page(move->index, link->block, from);
	if (from->fault != NULL || from->opaque.kind != QAM_PAGE_BUCKET ||
		from->opaque.seq != link->seq)
	{
		ReleaseBuffer(from->buffer);
		return false;
	}
	for (i = 0; i < from->nslots; i++)
		qam_require_slot(move->index, link->block, i, &from->slots[i], QAM_PAGE_BUCKET);
	return true;
}

/*
 * Is the page that slots come from still what it was?  The page is locked.
 */
static bool
page_is(QamMove *move)
{
	QamLink		link = qam_link(move->from->block, move->from->opaque.seq);

	return qam_page_is(BufferGetPage(move->from->buffer), &link, QAM_SCHEDULED);
}

/*
 * qam_move_wait waits until nobody else has the page locked that slots come
 * from.  Returns whether it is still what it was.  No locks on entry or exit.
 */
bool
qam_move_wait(QamMove *move)
{
	bool		still;

	CHECK_FOR_INTERRUPTS();
	LockBuffer(move->from->buffer, BUFFER_LOCK_SHARE);
	still = page_is(move);
	LockBuffer(move->from->buffer, BUFFER_LOCK_UNLOCK);
	return still;
}

/*
 * qam_move_emptied tells whether the page that slots come from is still what
 * it was, and all of its slots are DONE.  The answer may be out of date at
 * once: it tells whether locking the metapage is worthwhile.  No locks on
 * entry or exit.
 */
bool
qam_move_emptied(QamMove *move)
{
	bool		emptied;

	LockBuffer(move->from->buffer, BUFFER_LOCK_SHARE);
	emptied = page_is(move) && qam_page_is_spent(BufferGetPage(move->from->buffer));
	LockBuffer(move->from->buffer, BUFFER_LOCK_UNLOCK);
	return emptied;
}

/*
 * qam_move_judge locks the page that slots come from, and decides which of
 * them go: at most "room" of those that are still there and whose rows are not
 * gone.
 *
 * The pages that they go to are locked.  So we do not wait for the lock: the
 * page may have been emptied by somebody else and used again for anything,
 * even as one of those that we have locked.  Returns false if it is busy; the
 * caller unlocks everything, waits (qam_move_wait) and begins again.  If true,
 * the page is locked exclusively.  (If it is not what it was, no slots go.)
 */
bool
qam_move_judge(QamMove *move, int room)
{
	Page		page = BufferGetPage(move->from->buffer);
	int			i;

	move->nmoved = move->nleaving = 0;
	if (!ConditionalLockBuffer(move->from->buffer))
		return false;
	if (!page_is(move))
		return true;
	for (i = 0; i < move->nslots && move->nmoved < room; i++)
	{
		QamSlot    *slot = QamPageGetSlots(page) + move->slots[i];
		Buffer		heap_buffer = move->pins[move->pin_of[i]];
		QamRow		row;

		if (QamSlotIsOver(slot))
			continue;
		LockBuffer(heap_buffer, BUFFER_LOCK_SHARE);
		qam_judge(move->heap, heap_buffer, &slot->tid, &row);
		LockBuffer(heap_buffer, BUFFER_LOCK_UNLOCK);
		move->leaving[move->nleaving++] = move->slots[i];
		if (row.state != QAM_ROW_GONE)
			move->moved[move->nmoved++] = *slot;
	}
	return true;
}

/*
 * qam_move_log adds to a change that the judged slots are DONE on the page
 * that they come from.
 */
void
qam_move_log(QamMove *move, QamLog *log)
{
	Page		page = qam_log_page(log, move->from->buffer, false);
	int			i;

	for (i = 0; i < move->nleaving; i++)
		qam_page_set_done(log, page, move->leaving[i]);
}

/*
 * qam_source_lock, for qam_group_append, locks the page that a slot comes
 * from.  It does not wait.
 *
 * QAM_SOURCE_READY: the slot may go, source->slot is what it is now, and the
 * page is locked.  QAM_SOURCE_GONE: there is nothing to move any more.
 * QAM_SOURCE_BUSY: the page is busy; see qam_source_wait.  Without a source,
 * the result is READY.
 */
QamSourceState
qam_source_lock(Relation index, QamSource *source)
{
	QamMove    *move;
	QamLog		log;

	if (source == NULL)
		return QAM_SOURCE_READY;
	move = source->move;
	if (!qam_move_judge(move, 1))
		return QAM_SOURCE_BUSY;
	if (move->nmoved > 0)
	{
		source->slot = move->moved[0];
		return QAM_SOURCE_READY;
	}
	if (move->nleaving > 0)
	{
		qam_log_begin(&log, index);
		qam_move_log(move, &log);
		qam_log_finish(&log);
	}
	LockBuffer(move->from->buffer, BUFFER_LOCK_UNLOCK);
	return QAM_SOURCE_GONE;
}

/*
 * qam_source_wait waits until nobody else has the page locked that a slot
 * comes from.  Returns false if it is another page by now.  No locks on entry
 * or exit.
 */
bool
qam_source_wait(QamSource *source)
{
	return qam_move_wait(source->move);
}

/*
 * qam_source_log adds to a change that the slot is DONE on the page it comes
 * from.
 */
void
qam_source_log(QamLog *log, QamSource *source)
{
	if (source != NULL)
		qam_move_log(source->move, log);
}

/*
 * qam_source_unlock unlocks the page that the slot comes from.
 */
void
qam_source_unlock(QamSource *source)
{
	if (source != NULL)
		LockBuffer(source->move->from->buffer, BUFFER_LOCK_UNLOCK);
}
