/*-------------------------------------------------------------------------
 *
 * qam_lane.c
 *	  Lanes: where each ends, appending slots, and taking spent pages out again.
 *
 * Lock order, as far as this file goes: metapage, lane page, next lane page; the
 * whole of it is in README.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "miscadmin.h"
#include "qam/qam_cache.h"
#include "qam/qam_damage.h"
#include "qam/qam_format.h"
#include "qam/qam_lane.h"
#include "qam/qam_meta.h"
#include "qam/qam_page.h"
#include "qam/qam_xlog.h"
#include "storage/bufmgr.h"

/*
 * Give a lane a new last page, unless somebody else has done so since the
 * caller saw "seen" (invalid: an empty lane) as its tail.  Returns the tail.
 *
 * No locks on entry or exit.  One record: metapage, old tail, new page; so
 * that after a crash either all of it has happened or none.
 */
static QamLink
extend(Relation index, int lane, const QamLink *seen)
{
	Buffer		meta_buffer = ReadBuffer(index, QAM_METAPAGE);
	Buffer		tail_buffer = InvalidBuffer;
	Buffer		buffer;
	QamMeta		meta;
	QamLink		tail;
	QamLink		free;
	QamLog		log;
	Page		page;
	uint64		seq;
	uint64		nonce[2];

	qam_meta_random(nonce);
	LockBuffer(meta_buffer, BUFFER_LOCK_EXCLUSIVE);
	meta = qam_meta_check(index, BufferGetPage(meta_buffer));
	tail = meta->lanes[lane].tail;
	if (!qam_same_link(&tail, seen))
	{
		UnlockReleaseBuffer(meta_buffer);
		return tail;
	}
	if (QamLinkIsValid(&tail))
	{
		tail_buffer = qam_follow(index, "list of a lane", tail, QAM_PAGE_LANE,
								 BUFFER_LOCK_EXCLUSIVE);
		if (QamLinkIsValid(&QamPageGetOpaque(BufferGetPage(tail_buffer))->next))
			qam_broken(index, tail.block, "The list of a lane goes on behind its last page.");
	}
	free = meta->free;
	buffer = qam_meta_get_page(index, &free);

	qam_log_begin(&log, index);
	page = qam_log_page(&log, meta_buffer, false);

	qam_meta_renew_nonce(&log, page, nonce);
	seq = qam_page_next_seq(&log, page);
	tail = qam_link(BufferGetBlockNumber(buffer), seq);
	qam_page_set_lane_tail(&log, page, lane, tail);
	if (!BufferIsValid(tail_buffer))
		qam_page_set_lane_head(&log, page, lane, tail);
	qam_page_set_free_list(&log, page, free);
	if (BufferIsValid(tail_buffer))
		qam_page_set_next(&log, qam_log_page(&log, tail_buffer, false), tail);
	qam_page_init(qam_log_page(&log, buffer, true), QAM_PAGE_LANE, lane, seq);
	qam_log_finish(&log);

	UnlockReleaseBuffer(buffer);
	if (BufferIsValid(tail_buffer))
		UnlockReleaseBuffer(tail_buffer);
	UnlockReleaseBuffer(meta_buffer);
	return tail;
}

/*
 * Where does a lane end, according to the metapage?  No locks on entry or exit.
 */
static QamLink
read_lane_tail(Relation index, int lane)
{
	QamMetaData meta;

	qam_meta_read(index, &meta);
	return meta.lanes[lane].tail;
}

/*
 * qam_lane_tail returns where a lane ends, or ended when this backend last
 * looked; it gets its first page if need be.  No locks on entry or exit.
 */
QamLink
qam_lane_tail(Relation index, int lane)
{
	QamLink		tail = qam_cache(index)->tails[lane];

	if (!QamLinkIsValid(&tail))
	{
		tail = read_lane_tail(index, lane);
		if (!QamLinkIsValid(&tail))
			tail = extend(index, lane, &tail);
		qam_cache(index)->tails[lane] = tail;
	}
	return tail;
}

/*
 * qam_lane_tail_gone is called when the page that qam_lane_tail has returned is
 * not the lane's last any more, and has been unlocked.
 *
 * The metapage has been changed with the page locked.  If it does not know of
 * another last page by now, there is none.
 */
void
qam_lane_tail_gone(Relation index, int lane, const QamLink *tail)
{
	QamLink		now;

	qam_cache(index)->tails[lane] = qam_no_link();
	now = read_lane_tail(index, lane);
	if (qam_same_link(&now, tail))
		qam_broken(index, tail->block,
				   "The list of lane %d ends at this block, which is not its last page.", lane);
	qam_cache(index)->tails[lane] = now;
}

/*
 * qam_lane_next_again tells which page follows "pred" in a lane or in the schedule,
 * after the link that it had has led nowhere.  No locks on entry or exit.
 *
 * False: pred has left the list itself.  A page leaves a list with the page before
 * it locked, and its number is not used again.  So a link that is still there after
 * it has led nowhere is broken.
 */
bool
qam_lane_next_again(Relation index, int lane, const QamLink *pred, const QamLink *failed,
					QamLink *next)
{
	Buffer		buffer = ReadBuffer(index, pred->block);
	bool		good;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	good = qam_page_is(BufferGetPage(buffer), pred, lane);
	*next = good ? QamPageGetOpaque(BufferGetPage(buffer))->next : qam_no_link();
	UnlockReleaseBuffer(buffer);
	if (good && qam_same_link(next, failed))
		qam_broken(index, failed->block,
				   "A list leads from block %u to this block, which is not the page meant.",
				   pred->block);
	return good;
}

/*
 * qam_lane_find_way finds the way again after a link has led nowhere: from the last
 * good page if it is still in the list, else from the lane's head.  No locks on
 * exit.
 *
 * Each time this is needed, somebody has finished and unlinked a page, so the
 * walk is held up by others' progress only; or the link is broken, which is an
 * error.
 */
QamLink
qam_lane_find_way(Relation index, int lane, QamLink *pred, const QamLink *failed)
{
	QamMetaData meta;
	QamLink		link;

	if (QamLinkIsValid(pred) &&
		qam_lane_next_again(index, lane, pred, failed, &link))
		return link;
	*pred = qam_no_link();
	qam_meta_read(index, &meta);
	link = meta.lanes[lane].head;
	if (qam_same_link(&link, failed))
		qam_broken(index, failed->block,
				   "The list of lane %d begins at this block, which is not the page meant.", lane);
	return link;
}

/*
 * qam_lane_ended raises an error if a lane has ended with a page that is not as far
 * along as its last one was, when the metapage was read: the list did not end before
 * that, so it does not now.
 */
void
qam_lane_ended(Relation index, int lane, const QamMetaData *meta, const QamLink *last)
{
	if (last->seq < meta->lanes[lane].tail.seq)
		qam_broken(index, QamLinkIsValid(last) ? last->block : QAM_METAPAGE,
				   "The list of lane %d ends here, before its last page.", lane);
}

/*
 * qam_lane_extend is called when the lane's last page is full.  No locks.
 */
void
qam_lane_extend(Relation index, int lane, const QamLink *full)
{
	QamLink		tail = extend(index, lane, full);

	qam_cache(index)->tails[lane] = tail;
}

/*
 * Append slots to one lane.  No locks on entry or exit; during it only the
 * last page's, except when the list must grow.
 */
void
qam_lane_append(Relation index, int lane, const QamSlot *slots, int nslots)
{
	while (nslots > 0)
	{
		QamLink		tail = qam_lane_tail(index, lane);
		Buffer		buffer;
		Page		page;
		int			room;

		CHECK_FOR_INTERRUPTS();
		buffer = qam_pin_block(index, tail.block, "list of a lane");
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		page = BufferGetPage(buffer);
		if (!qam_page_is(page, &tail, lane) ||
			QamLinkIsValid(&QamPageGetOpaque(page)->next))
		{
			/* not the last page any more */
			UnlockReleaseBuffer(buffer);
			qam_lane_tail_gone(index, lane, &tail);
			continue;
		}

		room = Min(QAM_SLOTS_PER_PAGE - QamPageGetSlotCount(page), nslots);
		if (room > 0)
		{
			QamLog		log;

			qam_log_begin(&log, index);
			qam_page_append(&log, qam_log_page(&log, buffer, false), slots, room);
			qam_log_finish(&log);
			slots += room;
			nslots -= room;
		}
		UnlockReleaseBuffer(buffer);
		if (room == 0)
			qam_lane_extend(index, lane, &tail);
	}
}

/*
 * Lock a buffer exclusively, at once or not at all unless wait.
 */
static bool
lock_exclusive(Buffer buffer, bool wait)
{
	if (!wait)
		return ConditionalLockBuffer(buffer);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	return true;
}

/*
 * qam_lane_lock_if pins and locks a page exclusively if it is the one that a link
 * means, in a lane or in the schedule, and unless wait, if it is not busy.  Else it
 * returns an invalid buffer.
 *
 * The page is looked at before it is waited for, as by qam_follow.
 */
Buffer
qam_lane_lock_if(Relation index, const QamLink *link, int lane, bool wait)
{
	Buffer		buffer = ReadBuffer(index, link->block);
	Page		page = BufferGetPage(buffer);

	if (qam_seems_to_be(page, lane == QAM_SCHEDULED ? QAM_PAGE_BUCKET : QAM_PAGE_LANE,
						link->seq, PG_UINT64_MAX) &&
		lock_exclusive(buffer, wait))
	{
		if (qam_page_is(page, link, lane))
			return buffer;
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	ReleaseBuffer(buffer);
	return InvalidBuffer;
}

/*
 * Unlink a page whose predecessor (or invalid: the metapage's head) is locked
 * exclusively, like the metapage.  Returns false when it is not to be had.
 */
static bool
unlink_locked(Relation index, int lane, Buffer meta_buffer,
			  Buffer pred_buffer, const QamLink *link, bool wait)
{
	QamMeta		meta = QamPageGetMeta(BufferGetPage(meta_buffer));
	Buffer		buffer;
	bool		done = false;

	/* A last page that leads on is broken; who appends will tell */
	if (qam_same_link(&meta->lanes[lane].tail, link))
		return false;
	buffer = qam_lane_lock_if(index, link, lane, wait);
	if (!BufferIsValid(buffer))
		return false;
	if (qam_page_is_removable(BufferGetPage(buffer)))
	{
		QamLink		next = QamPageGetOpaque(BufferGetPage(buffer))->next;
		QamLink		free = meta->free;
		QamLog		log;
		Page		meta_page;

		qam_log_begin(&log, index);
		meta_page = qam_log_page(&log, meta_buffer, false);
		qam_page_set_free_list(&log, meta_page, *link);
		if (BufferIsValid(pred_buffer))
			qam_page_set_next(&log, qam_log_page(&log, pred_buffer, false), next);
		else
			qam_page_set_lane_head(&log, meta_page, lane, next);
		qam_page_set_free(&log, qam_log_page(&log, buffer, false), free);
		qam_log_finish(&log);
		done = true;
	}
	UnlockReleaseBuffer(buffer);
	return done;
}

/*
 * qam_lane_unlink takes a finished page out of its lane, onto the free list.
 *
 * pred is the page before it, or NULL for the lane's head.  No locks on entry
 * or exit.  False: it is not finished, not behind pred any more, or (unless
 * wait) one of the pages is busy; nothing has changed, and somebody else or
 * vacuum will do it.  One record: metapage, predecessor, page.
 */
bool
qam_lane_unlink(Relation index, int lane, const QamLink *pred, const QamLink *link,
				bool wait)
{
	Buffer		meta_buffer = ReadBuffer(index, QAM_METAPAGE);
	Buffer		pred_buffer = InvalidBuffer;
	QamMeta		meta;
	bool		done = false;

	if (!lock_exclusive(meta_buffer, wait))
	{
		ReleaseBuffer(meta_buffer);
		return false;
	}
	meta = qam_meta_check(index, BufferGetPage(meta_buffer));
	if (pred == NULL)
	{
		if (qam_same_link(&meta->lanes[lane].head, link))
			done = unlink_locked(index, lane, meta_buffer, InvalidBuffer,
								 link, wait);
	}
	else
	{
		pred_buffer = qam_lane_lock_if(index, pred, lane, wait);
		if (BufferIsValid(pred_buffer))
		{
			if (qam_same_link(&QamPageGetOpaque(BufferGetPage(pred_buffer))->next, link))
				done = unlink_locked(index, lane, meta_buffer, pred_buffer,
									 link, wait);
			UnlockReleaseBuffer(pred_buffer);
		}
	}
	UnlockReleaseBuffer(meta_buffer);
	return done;
}
