/*-------------------------------------------------------------------------
 *
 * qam_lane.c
 *	  Lanes: where each ends, appending slots, and unlinking spent pages.
 *
 * Lock order, as far as this file goes: metapage, lane page, next lane page.
 * The README has all of it.
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
 * Give a lane a new last page, unless it has another one by now than "seen"
 * (invalid: the lane was empty).  Returns the last page.
 *
 * No locks on entry or exit.  One record: metapage, old last page, new page.
 * So after a crash either all of it has happened, or nothing.
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
 * Read from the metapage where a lane ends.  No locks on entry or exit.
 */
static QamLink
read_lane_tail(Relation index, int lane)
{
	QamMetaData meta;

	qam_meta_read(index, &meta);
	return meta.lanes[lane].tail;
}

/*
 * qam_lane_tail returns where a lane ends, or where it ended when this backend
 * last looked.  A lane that has no pages gets its first one.  No locks on
 * entry or exit.
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
 * qam_lane_tail_gone is called when the page that qam_lane_tail has returned
 * is not the lane's last one any more.  That page is not locked.
 *
 * When the lane got another last page, the metapage was changed while this
 * page was locked.  So if the metapage still names this page, the list is
 * broken.
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
 * qam_lane_next_again returns in *next the page that follows "pred" in a lane
 * or in the schedule, after the link "failed" has led to another page than the
 * one meant.  Returns false if pred itself has left the list.  No locks on
 * entry or exit.
 *
 * A page leaves a list with the page before it locked, and its number is not
 * used again.  So if pred still has the link that failed, the link is broken.
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
 * qam_lane_find_way tells where to go on after a link has led to another page
 * than the one meant: from the last good page if that is still in the list,
 * otherwise from the lane's head.  No locks on entry or exit.
 *
 * Each time this is needed, somebody else has unlinked a page, so others'
 * progress is all that can hold up the walk.  If the link is broken, an error
 * is raised.
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
 * qam_lane_ended raises an error if the lane seems to end before the page that
 * was its last one when the metapage was read.  The list did not end earlier
 * then, so it does not now.
 */
void
qam_lane_ended(Relation index, int lane, const QamMetaData *meta, const QamLink *last)
{
	if (last->seq < meta->lanes[lane].tail.seq)
		qam_broken(index, QamLinkIsValid(last) ? last->block : QAM_METAPAGE,
				   "The list of lane %d ends here, before its last page.", lane);
}

/*
 * qam_lane_extend is called when the lane's last page is full.  No locks on
 * entry or exit.
 */
void
qam_lane_extend(Relation index, int lane, const QamLink *full)
{
	QamLink		tail = extend(index, lane, full);

	qam_cache(index)->tails[lane] = tail;
}

/*
 * qam_lane_append appends slots to a lane.  No locks on entry or exit.
 * Meanwhile it locks the last page only, except when the list must grow.
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
			/* It is not the last page any more. */
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
 * Lock a buffer exclusively.  Unless "wait", returns false if that takes
 * waiting.
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
 * qam_lane_lock_if pins and exclusively locks the page that a link means, in a
 * lane or in the schedule.  Returns an invalid buffer if it is another page by
 * now, or (unless "wait") if it is busy.
 *
 * As in qam_follow, the page is looked at before its lock is waited for.
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
 * Unlink a page.  The metapage is locked exclusively, and so is the page
 * before it (invalid: the page is the lane's head).  Returns false if the page
 * is not spent, or not available.
 */
static bool
unlink_locked(Relation index, int lane, Buffer meta_buffer,
			  Buffer pred_buffer, const QamLink *link, bool wait)
{
	QamMeta		meta = QamPageGetMeta(BufferGetPage(meta_buffer));
	Buffer		buffer;
	bool		done = false;

	/* A last page that leads on is broken; an append will find that */
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
 * qam_lane_unlink takes a spent page out of its lane and puts it onto the free
 * list.
 *
 * pred is the page before it, or NULL if it is the lane's head.  No locks on
 * entry or exit.  Returns false if the page is not spent, or not behind pred
 * any more, or (unless "wait") if one of the pages is busy.  Then nothing has
 * changed, and another walk or VACUUM will do it.  One record: metapage,
 * predecessor, page.
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
