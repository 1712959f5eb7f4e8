/*-------------------------------------------------------------------------
 *
 * qam_schedule.c
 *	  Messages due later: the schedule itself.
 *
 * A message whose delivery time is in the future has its slot in the schedule,
 * a timing wheel (see QamScheduleData).  It has buckets by time, each a list
 * of pages, which grow coarser with distance.  So a million messages for
 * tomorrow are in a few buckets that nobody opens today.  When the time of the
 * first bucket is up, it is opened: its slots go to finer buckets, to the list
 * "near" or, if they are due, to the ends of their lanes and groups.  "near"
 * holds what is due within a tick; its slots go to the lanes when each is due.
 * All of that is done by qam_due.c.
 *
 * Lock order: metapage, groups, lane pages, the schedule's root, the page that
 * slots go to, the page that they come from, heap page.  The root is locked
 * exclusively to change it, and shared to append to a list.  A shared lock
 * keeps the lists from being opened or freed meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "commands/vacuum.h"
#include "miscadmin.h"
#include "once_rest.h"
#include "port/pg_bitutils.h"
#include "qam/qam.h"
#include "qam/qam_damage.h"
#include "qam/qam_format.h"
#include "qam/qam_lane.h"
#include "qam/qam_meta.h"
#include "qam/qam_page.h"
#include "qam/qam_schedule.h"
#include "qam/qam_xlog.h"
#include "storage/bufmgr.h"

/*
 * ---- Where and when ----
 */

static uint64
tick_of(int64 time)
{
	return time <= 0 ? 0 : (uint64) time >> QAM_TICK_BITS;
}

/*
 * qam_schedule_list tells which list of the schedule a time belongs to.
 */
int
qam_schedule_list(const QamScheduleData *schedule, int64 ready_at)
{
	uint64		tick = tick_of(ready_at);
	int			digit;
	int			value;

	if (tick <= schedule->cursor)
		return QAM_NEAR;
	digit = pg_leftmost_one_pos64(tick ^ schedule->cursor) / QAM_DIGIT_BITS;
	value = (tick >> (digit * QAM_DIGIT_BITS)) % QAM_DIGIT_VALUES;
	return QAM_BUCKET(digit, value);
}

/*
 * Which bucket is to be opened first?  *start is the tick at which it begins,
 * which is later than the cursor.  Returns 0 if there is none that begins
 * before the end of time.
 *
 * Lower digits come first, because all of their buckets lie before the next
 * bucket of the next higher digit.
 */
static int
first_bucket(const QamScheduleData *schedule, uint64 *start)
{
	int			digit;

	for (digit = 0; digit < QAM_DIGITS; digit++)
	{
		int			shift = digit * QAM_DIGIT_BITS;
		int			value = (schedule->cursor >> shift) % QAM_DIGIT_VALUES;

		while (++value < QAM_DIGIT_VALUES)
			if (schedule->buckets[digit][value].head != 0)
			{
				uint64		above = schedule->cursor >> (shift + QAM_DIGIT_BITS);

				*start = ((above << QAM_DIGIT_BITS) | value) << shift;
				return *start <= QAM_MAX_TICK ? QAM_BUCKET(digit, value) : 0;
			}
	}
	return 0;
}

/*
 * qam_schedule_next tells when the schedule has to be run next (DT_NOEND:
 * never).
 */
int64
qam_schedule_next(const QamScheduleData *schedule)
{
	int64		due = DT_NOEND;
	uint64		start;

	if (schedule->opened.head != 0)
		return 0;
	if (schedule->near.head != 0)
		due = schedule->near_due;
	if (first_bucket(schedule, &start) != 0)
		due = Min(due, (int64) (start << QAM_TICK_BITS));
	return due;
}

/*
 * Pin and lock the schedule's root, which exists.
 */
static Buffer
schedule_root(Relation index, int mode)
{
	return qam_follow(index, "metapage", qam_link(qam_meta_schedule(index), 0),
					  QAM_PAGE_SCHEDULE, mode);
}

/*
 * The ends of a list.  It must have both or neither.
 */
static QamListEnds
ends_of(Relation index, const QamScheduleData *schedule, int list)
{
	QamListEnds ends = qam_schedule_ends(schedule, list);

	if ((ends.head == 0) != (ends.tail == 0))
		qam_broken(index, qam_meta_schedule(index),
				   "A list of the schedule begins at block %u and ends at block %u.",
				   ends.head, ends.tail);
	return ends;
}

/*
 * Pin and lock the first or last page of a list, as the root says.  The root
 * is locked.
 */
static Buffer
schedule_page(Relation index, BlockNumber block, int mode)
{
	return qam_follow(index, "schedule", qam_link(block, 0), QAM_PAGE_BUCKET, mode);
}

/*
 * Do the same for the last page of a list, and check that it is the last.
 */
static Buffer
schedule_tail(Relation index, BlockNumber block, int mode)
{
	Buffer		buffer = schedule_page(index, block, mode);

	if (QamLinkIsValid(&QamPageGetOpaque(BufferGetPage(buffer))->next))
		qam_broken(index, block, "A list of the schedule goes on behind its last page.");
	return buffer;
}

/*
 * qam_schedule_head returns a link to the first page of a list; invalid if the
 * list is empty.  The schedule exists.  No locks on entry or exit.
 *
 * Numbers grow along a list, up to that of its last page.  So a backend that
 * follows a list to which nothing is appended does not come to pages that it
 * makes for other lists meanwhile.
 */
QamLink
qam_schedule_head(Relation index, int list)
{
	QamLink		link = qam_no_link();
	Buffer		root;
	Buffer		buffer;
	QamListEnds ends;

	root = schedule_root(index, BUFFER_LOCK_SHARE);
	ends = ends_of(index, QamPageGetSchedule(BufferGetPage(root)), list);
	if (ends.head != 0)
	{
		buffer = schedule_page(index, ends.head, BUFFER_LOCK_SHARE);
		link = qam_link(ends.head, QamPageGetOpaque(BufferGetPage(buffer))->seq);
		UnlockReleaseBuffer(buffer);
		buffer = schedule_tail(index, ends.tail, BUFFER_LOCK_SHARE);
		if (link.seq > QamPageGetOpaque(BufferGetPage(buffer))->seq)
			qam_broken(index, ends.head,
					   "A list of the schedule begins at this block, which comes after its last page.");
		UnlockReleaseBuffer(buffer);
	}
	UnlockReleaseBuffer(root);
	return link;
}

/*
 * qam_schedule_ended raises an error if a page leads nowhere and is still in a
 * list, but is not the list's last page.  The list may have been opened since.
 * No locks on entry or exit.
 *
 * The ends of a list change only while the root is locked exclusively.
 */
void
qam_schedule_ended(Relation index, int list, const QamLink *last)
{
	Buffer		root = schedule_root(index, BUFFER_LOCK_SHARE);
	const QamScheduleData *schedule = QamPageGetSchedule(BufferGetPage(root));
	Buffer		buffer = ReadBuffer(index, last->block);
	Page		page = BufferGetPage(buffer);

	if (qam_seems_to_be(page, QAM_PAGE_BUCKET, last->seq, PG_UINT64_MAX))
	{
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		if (qam_page_is(page, last, QAM_SCHEDULED) &&
			!QamLinkIsValid(&QamPageGetOpaque(page)->next) &&
			qam_schedule_ends(schedule, list).tail != last->block &&
			qam_schedule_ends(schedule, QAM_OPENED).tail != last->block)
			qam_broken(index, last->block,
					   "A list of the schedule ends here, before its last page.");
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	ReleaseBuffer(buffer);
	UnlockReleaseBuffer(root);
}

/*
 * qam_schedule_find_way does for a list of the schedule what qam_lane_find_way
 * does for a lane.
 */
QamLink
qam_schedule_find_way(Relation index, int list, QamLink *pred, const QamLink *failed)
{
	QamLink		link;

	if (QamLinkIsValid(pred) &&
		qam_lane_next_again(index, QAM_SCHEDULED, pred, failed, &link))
		return link;
	*pred = qam_no_link();
	link = qam_schedule_head(index, list);
	if (QamLinkIsValid(&link) && qam_same_link(&link, failed))
		qam_broken(index, failed->block,
				   "A list of the schedule begins at this block, which is not the page meant.");
	return link;
}

/*
 * qam_schedule_read copies the schedule's root.  Returns false if it does not
 * exist.  No locks on entry or exit.
 */
bool
qam_schedule_read(Relation index, QamScheduleData *schedule)
{
	Buffer		buffer;

	if (qam_meta_schedule(index) == 0)
		return false;
	buffer = schedule_root(index, BUFFER_LOCK_SHARE);
	*schedule = *QamPageGetSchedule(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	return true;
}

/*
 * qam_schedule_due tells the same for an index: when its schedule has to be
 * run next (DT_NOEND: never).  No locks on entry or exit.
 */
int64
qam_schedule_due(Relation index)
{
	Buffer		buffer;
	int64		due;

	if (qam_meta_schedule(index) == 0)
		return DT_NOEND;
	buffer = schedule_root(index, BUFFER_LOCK_SHARE);
	due = qam_schedule_next(QamPageGetSchedule(BufferGetPage(buffer)));
	UnlockReleaseBuffer(buffer);
	return due;
}

/*
 * qam_schedule_is_empty: see qam.h.  No locks on entry or exit.
 */
bool
qam_schedule_is_empty(Relation index)
{
	return qam_schedule_due(index) == DT_NOEND;
}


/*
 * ---- Lists of the schedule ----
 */

/*
 * Make the schedule, unless it exists by now.  No locks on entry or exit.
 */
static void
schedule_create(Relation index, int64 now)
{
	Buffer		meta_buffer = ReadBuffer(index, QAM_METAPAGE);
	QamMeta		meta;
	uint64		nonce[2];

	qam_meta_random(nonce);
	LockBuffer(meta_buffer, BUFFER_LOCK_EXCLUSIVE);
	meta = qam_meta_check(index, BufferGetPage(meta_buffer));
	if (meta->schedule == 0)
	{
		QamLink		free = meta->free;
		Buffer		root = qam_meta_get_page(index, &free);
		QamLog		log;
		Page		page;
		uint64		seq;

		qam_log_begin(&log, index);
		page = qam_log_page(&log, meta_buffer, false);
		qam_meta_renew_nonce(&log, page, nonce);
		seq = qam_page_next_seq(&log, page);
		qam_page_set_free_list(&log, page, free);
		qam_page_set_schedule(&log, page, BufferGetBlockNumber(root));
		qam_page_init_schedule(qam_log_page(&log, root, true), seq, tick_of(now));
		qam_log_finish(&log);
		UnlockReleaseBuffer(root);
	}
	UnlockReleaseBuffer(meta_buffer);
}

/*
 * Give the list that a time belongs to a new last page, unless it has room by
 * now.  No locks on entry or exit.  One record: metapage, root, old last page,
 * new page.
 */
static void
schedule_extend(Relation index, int64 ready_at)
{
	Buffer		meta_buffer = ReadBuffer(index, QAM_METAPAGE);
	Buffer		root;
	Buffer		tail = InvalidBuffer;
	QamMeta		meta;
	QamListEnds ends;
	int			list;

	LockBuffer(meta_buffer, BUFFER_LOCK_EXCLUSIVE);
	meta = qam_meta_check(index, BufferGetPage(meta_buffer));
	root = schedule_root(index, BUFFER_LOCK_EXCLUSIVE);
	list = qam_schedule_list(QamPageGetSchedule(BufferGetPage(root)), ready_at);
	ends = ends_of(index, QamPageGetSchedule(BufferGetPage(root)), list);
	if (ends.tail != 0)
		tail = schedule_tail(index, ends.tail, BUFFER_LOCK_EXCLUSIVE);
	if (!BufferIsValid(tail) ||
		QamPageGetSlotCount(BufferGetPage(tail)) == QAM_SLOTS_PER_PAGE)
	{
		QamLink		free = meta->free;
		Buffer		buffer = qam_meta_get_page(index, &free);
		QamLog		log;
		Page		page;
		uint64		seq;

		qam_log_begin(&log, index);
		page = qam_log_page(&log, meta_buffer, false);
		seq = qam_page_next_seq(&log, page);
		qam_page_set_free_list(&log, page, free);
		ends.tail = BufferGetBlockNumber(buffer);
		if (ends.head == 0)
			ends.head = ends.tail;
		qam_page_set_ends(&log, qam_log_page(&log, root, false), list, ends);
		if (BufferIsValid(tail))
			qam_page_set_next(&log, qam_log_page(&log, tail, false),
							  qam_link(ends.tail, seq));
		qam_page_init(qam_log_page(&log, buffer, true), QAM_PAGE_BUCKET, QAM_SCHEDULED, seq);
		qam_log_finish(&log);
		UnlockReleaseBuffer(buffer);
	}
	if (BufferIsValid(tail))
		UnlockReleaseBuffer(tail);
	UnlockReleaseBuffer(root);
	UnlockReleaseBuffer(meta_buffer);
}

/*
 * qam_schedule_lock locks the root, and the last page of the list that a time
 * belongs to.  That page has room for a slot.  The root is locked shared, or
 * exclusively if it has to be changed for that time.
 *
 * Returns the page, locked exclusively.  *near_due tells whether the root's
 * near_due must become ready_at.
 */
Buffer
qam_schedule_lock(Relation index, int64 ready_at, Buffer *root, int *list, bool *near_due)
{
	int			mode = BUFFER_LOCK_SHARE;

	for (;;)
	{
		QamSchedule schedule;
		QamListEnds ends;
		Buffer		tail;

		CHECK_FOR_INTERRUPTS();
		*root = schedule_root(index, mode);
		schedule = QamPageGetSchedule(BufferGetPage(*root));
		*list = qam_schedule_list(schedule, ready_at);
		*near_due = *list == QAM_NEAR && ready_at < schedule->near_due;
		if (*near_due && mode == BUFFER_LOCK_SHARE)
		{
			UnlockReleaseBuffer(*root);
			mode = BUFFER_LOCK_EXCLUSIVE;
			continue;
		}
		ends = ends_of(index, schedule, *list);
		if (ends.tail != 0)
		{
			tail = schedule_tail(index, ends.tail, BUFFER_LOCK_EXCLUSIVE);
			if (QamPageGetSlotCount(BufferGetPage(tail)) < QAM_SLOTS_PER_PAGE)
				return tail;
			UnlockReleaseBuffer(tail);
		}
		UnlockReleaseBuffer(*root);
		schedule_extend(index, ready_at);
	}
}

/*
 * Let the cursor keep up with time as long as it passes no bucket, so that
 * messages go to the finest bucket possible.  No locks on entry or exit.
 */
static void
schedule_keep_up(Relation index, int64 now)
{
	uint64		tick = tick_of(now);
	Buffer		root = schedule_root(index, BUFFER_LOCK_SHARE);
	bool		behind = QamPageGetSchedule(BufferGetPage(root))->cursor < tick;

	LockBuffer(root, BUFFER_LOCK_UNLOCK);
	if (behind)
	{
		QamSchedule schedule = QamPageGetSchedule(BufferGetPage(root));
		uint64		start;

		LockBuffer(root, BUFFER_LOCK_EXCLUSIVE);
		if (schedule->cursor < tick &&
			(first_bucket(schedule, &start) == 0 || start > tick))
		{
			QamLog		log;

			qam_log_begin(&log, index);
			qam_page_set_cursor(&log, qam_log_page(&log, root, false), tick);
			qam_log_finish(&log);
		}
		LockBuffer(root, BUFFER_LOCK_UNLOCK);
	}
	ReleaseBuffer(root);
}

/*
 * qam_schedule_append puts a slot into the schedule.  "lane" is where it goes
 * when it is due.  No locks on entry or exit.
 */
void
qam_schedule_append(Relation index, const QamSlot *slot, int lane, int64 now)
{
	QamSlot		new = *slot;
	Buffer		root;
	Buffer		tail;
	QamLog		log;
	int			list;
	bool		near_due;

	if (qam_meta_schedule(index) == 0)
		schedule_create(index, now);
	schedule_keep_up(index, now);
	new.next_slot = lane;
	tail = qam_schedule_lock(index, slot->ready_at, &root, &list, &near_due);
	qam_log_begin(&log, index);
	if (near_due)
		qam_page_set_near_due(&log, qam_log_page(&log, root, false), slot->ready_at);
	qam_page_append(&log, qam_log_page(&log, tail, false), &new, 1);
	qam_log_finish(&log);
	UnlockReleaseBuffer(tail);
	UnlockReleaseBuffer(root);
	once_rest_end(index->rd_index->indrelid);
}


/*
 * ---- Opening and emptying lists ----
 */

/*
 * Take a page out of a list and put it onto the free list.  These are locked
 * exclusively: metapage, root, page, and the page before it, if any.
 */
static void
schedule_unlink(Relation index, Buffer meta_buffer, Buffer root, Buffer pred,
				Buffer buffer, int list)
{
	QamMeta		meta = QamPageGetMeta(BufferGetPage(meta_buffer));
	QamOpaque	opaque = QamPageGetOpaque(BufferGetPage(buffer));
	QamListEnds ends = qam_schedule_ends(QamPageGetSchedule(BufferGetPage(root)), list);
	QamLink		free = meta->free;
	QamLink		next = opaque->next;
	QamLog		log;

	if (!QamLinkIsValid(&next))
		ends.tail = BufferIsValid(pred) ? BufferGetBlockNumber(pred) : 0;
	if (!BufferIsValid(pred))
		ends.head = QamLinkIsValid(&next) ? next.block : 0;

	qam_log_begin(&log, index);
	qam_page_set_free_list(&log, qam_log_page(&log, meta_buffer, false),
						   qam_link(BufferGetBlockNumber(buffer), opaque->seq));
	qam_page_set_ends(&log, qam_log_page(&log, root, false), list, ends);
	if (BufferIsValid(pred))
		qam_page_set_next(&log, qam_log_page(&log, pred, false), next);
	qam_page_set_free(&log, qam_log_page(&log, buffer, false), free);
	qam_log_finish(&log);
}

/*
 * Which list is a page in?  It was seen in "list", which may have been opened
 * since.  Metapage, root and page are locked, and (with "behind") the page
 * before it.
 *
 * It must be the list's last page if and only if it leads nowhere.
 */
static int
schedule_list_of(Relation index, const QamScheduleData *schedule, Buffer buffer,
				 bool behind, int list)
{
	BlockNumber block = BufferGetBlockNumber(buffer);
	bool		last = !QamLinkIsValid(&QamPageGetOpaque(BufferGetPage(buffer))->next);

	if ((behind && last && qam_schedule_ends(schedule, list).tail != block) ||
		(!behind && qam_schedule_ends(schedule, list).head != block))
		list = QAM_OPENED;
	if ((qam_schedule_ends(schedule, list).tail == block) != last)
		qam_broken(index, block, "A list of the schedule does not end with its last page.");
	return list;
}

/*
 * qam_schedule_remove_page takes a spent page out of the schedule, if it is
 * still behind "pred" (NULL: at the beginning of a list).  Returns whether it
 * has.  No locks on entry or exit.
 *
 * The list may have been opened since, so the root tells which list the page
 * is in.
 */
bool
qam_schedule_remove_page(Relation index, const QamLink *pred, const QamLink *link, int list)
{
	Buffer		meta_buffer = ReadBuffer(index, QAM_METAPAGE);
	Buffer		pred_buffer = InvalidBuffer;
	Buffer		buffer = InvalidBuffer;
	Buffer		root;
	QamSchedule schedule;
	bool		there;
	bool		done = false;

	LockBuffer(meta_buffer, BUFFER_LOCK_EXCLUSIVE);
	(void) qam_meta_check(index, BufferGetPage(meta_buffer));
	root = schedule_root(index, BUFFER_LOCK_EXCLUSIVE);
	schedule = QamPageGetSchedule(BufferGetPage(root));
	if (pred == NULL)
		there = qam_schedule_ends(schedule, list).head == link->block ||
			schedule->opened.head == link->block;
	else
	{
		pred_buffer = qam_lane_lock_if(index, pred, QAM_SCHEDULED, true);
		there = BufferIsValid(pred_buffer) &&
			qam_same_link(&QamPageGetOpaque(BufferGetPage(pred_buffer))->next, link);
	}
	if (there)
		buffer = qam_lane_lock_if(index, link, QAM_SCHEDULED, true);
	if (BufferIsValid(buffer))
	{
		list = schedule_list_of(index, schedule, buffer, pred != NULL, list);
		if (qam_page_is_spent(BufferGetPage(buffer)))
		{
			schedule_unlink(index, meta_buffer, root, pred_buffer, buffer, list);
			done = true;
		}
		UnlockReleaseBuffer(buffer);
	}
	if (BufferIsValid(pred_buffer))
		UnlockReleaseBuffer(pred_buffer);
	UnlockReleaseBuffer(root);
	UnlockReleaseBuffer(meta_buffer);
	return done;
}

/*
 * qam_schedule_open opens the first bucket, if its time is up and no opened
 * one is left.  No locks on entry or exit.
 */
void
qam_schedule_open(Relation index, int64 now)
{
	Buffer		root = schedule_root(index, BUFFER_LOCK_EXCLUSIVE);
	QamSchedule schedule = QamPageGetSchedule(BufferGetPage(root));
	uint64		start = 0;
	int			list = first_bucket(schedule, &start);

	if (schedule->opened.head == 0 && list != 0 && start <= tick_of(now))
	{
		QamListEnds ends = qam_schedule_ends(schedule, list);
		QamListEnds none = {0, 0};
		QamLog		log;
		Page		page;

		qam_log_begin(&log, index);
		page = qam_log_page(&log, root, false);
		qam_page_set_cursor(&log, page, start);
		qam_page_set_ends(&log, page, list, none);
		qam_page_set_ends(&log, page, QAM_OPENED, ends);
		qam_log_finish(&log);
	}
	UnlockReleaseBuffer(root);
}

/*
 * qam_schedule_renew_near finds out when something in the list "near" is due
 * next.  No locks on entry or exit.
 *
 * While the root is locked exclusively, nothing is appended to the list.  Its
 * pages have ascending numbers, so the loop ends.
 */
void
qam_schedule_renew_near(Relation index)
{
	Buffer		root = schedule_root(index, BUFFER_LOCK_EXCLUSIVE);
	QamSchedule schedule = QamPageGetSchedule(BufferGetPage(root));
	QamLink		link = qam_link(schedule->near.head, 0);
	int64		due = DT_NOEND;

	while (link.block != 0 && QamLinkIsValid(&link))
	{
		Buffer		buffer = qam_follow(index, "schedule", link, QAM_PAGE_BUCKET,
										BUFFER_LOCK_SHARE);
		Page		page = BufferGetPage(buffer);
		QamSlot    *slots = QamPageGetSlots(page);
		int			i;

		for (i = QamPageGetSlotCount(page) - 1; i >= 0; i--)
			if (!QamSlotIsOver(&slots[i]))
				due = Min(due, slots[i].ready_at);
		link = QamPageGetOpaque(page)->next;
		UnlockReleaseBuffer(buffer);
	}
	if (due != schedule->near_due)
	{
		QamLog		log;

		qam_log_begin(&log, index);
		qam_page_set_near_due(&log, qam_log_page(&log, root, false), due);
		qam_log_finish(&log);
	}
	UnlockReleaseBuffer(root);
}

/*
 * qam_schedule_clean takes pages out of the schedule whose slots are all DONE
 * although their time is not up.  It is for VACUUM.  No locks on entry or
 * exit.
 *
 * If a page is not where it was, because somebody else works on the same list,
 * the rest of the list is left to the next VACUUM.
 */
void
qam_schedule_clean(Relation index, BufferAccessStrategy strategy)
{
	int			list;

	if (qam_meta_schedule(index) == 0)
		return;
	for (list = QAM_NEAR; list < (int) sizeof(QamScheduleData); list += sizeof(QamListEnds))
	{
		QamLink		pred = qam_no_link();
		QamLink		link = qam_schedule_head(index, list);

		while (QamLinkIsValid(&link))
		{
			Buffer		buffer;
			Page		page;
			QamLink		next;
			bool		good;
			bool		spent;

			once_vacuum_delay_point();
			qam_require_block(index, link.block, "schedule");
			buffer = ReadBufferExtended(index, MAIN_FORKNUM, link.block, RBM_NORMAL,
										strategy);
			page = BufferGetPage(buffer);
			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			good = qam_page_is(page, &link, QAM_SCHEDULED);
			next = QamPageGetOpaque(page)->next;
			spent = good && qam_page_is_spent(page);
			UnlockReleaseBuffer(buffer);
			if (!good)
				break;
			if (!spent ||
				!qam_schedule_remove_page(index, QamLinkIsValid(&pred) ? &pred : NULL,
										  &link, list))
				pred = link;
			link = next;
		}
	}
}
