/*-------------------------------------------------------------------------
 *
 * qam_due.c
 *	  Running the schedule as time passes: opening buckets, and moving their
 *	  slots to finer ones or, if they are due, to the ends of their lanes and
 *	  groups.
 *
 * Nothing else makes slots move.  qam_move.c decides which slots of a page
 * move.
 *
 * Lock order: metapage, groups, lane pages, the schedule's root, the page that
 * slots go to, the page that they come from, heap page.
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
#include "qam/qam_format.h"
#include "qam/qam_group.h"
#include "qam/qam_lane.h"
#include "qam/qam_move.h"
#include "qam/qam_page.h"
#include "qam/qam_schedule.h"
#include "qam/qam_xlog.h"
#include "storage/bufmgr.h"
#include "utils/timestamp.h"

/*
 * Move due slots to the end of a lane.  Returns true when there is nothing
 * left to move; otherwise the caller repeats the call.
 */
static bool
move_to_lane(QamMove *move, int lane)
{
	QamLink		tail = qam_lane_tail(move->index, lane);
	Buffer		buffer = qam_pin_block(move->index, tail.block, "list of a lane");
	Page		page = BufferGetPage(buffer);
	bool		is_last;
	bool		judged = true;
	int			room = 0;
	QamLog		log;
	int			i;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	is_last = qam_page_is(page, &tail, lane) &&
		!QamLinkIsValid(&QamPageGetOpaque(page)->next);
	if (is_last)
		room = QAM_SLOTS_PER_PAGE - QamPageGetSlotCount(page);
	if (room > 0)
		judged = qam_move_judge(move, room);
	if (room > 0 && judged)
	{
		for (i = 0; i < move->nmoved; i++)
			move->moved[i].next_slot = 0;
		if (move->nleaving > 0)
		{
			qam_log_begin(&log, move->index);
			if (move->nmoved > 0)
				qam_page_append(&log, qam_log_page(&log, buffer, false),
								move->moved, move->nmoved);
			qam_move_log(move, &log);
			qam_log_finish(&log);
		}
		LockBuffer(move->from->buffer, BUFFER_LOCK_UNLOCK);
	}
	UnlockReleaseBuffer(buffer);
	if (!is_last)
		qam_lane_tail_gone(move->index, lane, &tail);
	else if (room == 0)
		qam_lane_extend(move->index, lane, &tail);
	if (!judged)
		return !qam_move_wait(move);

	/* If room is left, all slots were judged, and some may have been gone */
	return room > 0 && (room >= move->nslots || move->nmoved < room);
}

/*
 * Move slots of the first page of "opened" to the list where the earliest of
 * them belongs.  Slots that belong to another list stay.
 */
static void
move_to_list(QamMove *move)
{
	int64		earliest = DT_NOEND;
	QamSchedule schedule;
	Buffer		root;
	Buffer		tail;
	int			list;
	bool		near_due;
	QamLog		log;
	int			kept = 0;
	int			i;

	/* If they go to "near", the root must know when the earliest is due */
	for (i = 0; i < move->nslots; i++)
		earliest = Min(earliest, move->from->slots[move->slots[i]].ready_at);
	move->nleaving = 0;
	tail = qam_schedule_lock(move->index, earliest, &root, &list, &near_due);
	schedule = QamPageGetSchedule(BufferGetPage(root));
	if (schedule->opened.head != move->from->block)
	{
		/*
		 * Somebody else was faster; "tail" may even be the page that we move
		 * from
		 */
		UnlockReleaseBuffer(tail);
		UnlockReleaseBuffer(root);
		return;
	}
	if (tail == move->from->buffer)
		qam_broken(move->index, move->from->block,
				   "The page is in two lists of the schedule.");
	for (i = 0; i < move->nslots; i++)
		if (qam_schedule_list(schedule, move->from->slots[move->slots[i]].ready_at) == list)
		{
			move->slots[kept] = move->slots[i];
			move->pin_of[kept++] = move->pin_of[i];
		}
	move->nslots = kept;
	if (!qam_move_judge(move, QAM_SLOTS_PER_PAGE - QamPageGetSlotCount(BufferGetPage(tail))))
	{
		UnlockReleaseBuffer(tail);
		UnlockReleaseBuffer(root);
		return;
	}
	if (move->nleaving > 0)
	{
		qam_log_begin(&log, move->index);
		if (near_due)
			qam_page_set_near_due(&log, qam_log_page(&log, root, false), earliest);
		if (move->nmoved > 0)
			qam_page_append(&log, qam_log_page(&log, tail, false),
							move->moved, move->nmoved);
		qam_move_log(move, &log);
		qam_log_finish(&log);
	}
	LockBuffer(move->from->buffer, BUFFER_LOCK_UNLOCK);
	UnlockReleaseBuffer(tail);
	UnlockReleaseBuffer(root);
}

/*
 * Order for qsort_arg: by time, and then as they were sent.
 */
static int
compare_due(const void *a, const void *b, void *arg)
{
	const QamSlot *slots = ((QamCopiedPage *) arg)->slots;
	uint16		x = *(const uint16 *) a;
	uint16		y = *(const uint16 *) b;

	if (slots[x].ready_at != slots[y].ready_at)
		return slots[x].ready_at < slots[y].ready_at ? -1 : 1;
	return (int) x - (int) y;
}

/*
 * Move the slots of a copied page that are due into their lanes and groups.
 * Returns how many were due.  No locks on entry or exit.
 */
static int
move_due(QamMove *move, int64 now)
{
	QamCopiedPage *from = move->from;
	uint16		due[(BLCKSZ / sizeof(QamSlot)) + 1];
	int			ndue = 0;
	int			done;
	int			i;

	for (i = 0; i < from->nslots; i++)
		if (!QamSlotIsOver(&from->slots[i]) && from->slots[i].ready_at <= now)
			due[ndue++] = i;
	qsort_arg(due, ndue, sizeof(uint16), compare_due, from);

	for (done = 0; done < ndue; done += move->nslots)
	{
		const QamSlot *first = &from->slots[due[done]];

		CHECK_FOR_INTERRUPTS();
		move->nslots = 0;
		while (done + move->nslots < ndue)
		{
			const QamSlot *slot = &from->slots[due[done + move->nslots]];

			if (move->nslots > 0 &&
				(first->group_hash != 0 || slot->group_hash != 0 ||
				 slot->next_slot != first->next_slot))
				break;
			move->slots[move->nslots] = due[done + move->nslots];
			move->nslots++;
		}
		qam_move_pin(move);
		once_debug_point("move_before_lock");
		if (first->group_hash != 0)
		{
			QamSource	source = {.move = move};

			qam_group_append(move->index, first, &source);
		}
		else
		{
			while (!move_to_lane(move, first->next_slot))
				CHECK_FOR_INTERRUPTS();
		}
		qam_move_unpin(move);
	}
	return ndue;
}

/*
 * Does a page of "near" need work?  It does if slots on it are due, if none
 * are left, or if it is not in the list any more.  If the page is still there,
 * *next becomes the page after it.  No locks on entry or exit.
 */
static bool
page_due(Relation index, const QamLink *link, int64 now, QamLink *next)
{
	Buffer		buffer = qam_pin_block(index, link->block, "schedule");
	Page		page = BufferGetPage(buffer);
	QamSlot    *slots = QamPageGetSlots(page);
	bool		due = true;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	if (qam_page_is(page, link, QAM_SCHEDULED))
	{
		int			i = QamPageGetSlotCount(page) - 1;

		while (i >= 0 && (QamSlotIsOver(&slots[i]) || slots[i].ready_at > now))
			i--;
		due = i >= 0 || qam_page_is_spent(page);
		*next = QamPageGetOpaque(page)->next;
	}
	UnlockReleaseBuffer(buffer);
	return due;
}

/*
 * Move what is due in the list "near".  Returns how many slots were due.
 */
static int
run_near(QamMove *move, int64 now, int max)
{
	QamLink		pred = qam_no_link();
	QamLink		link = qam_schedule_head(move->index, QAM_NEAR);
	int			moved = 0;

	while (QamLinkIsValid(&link) && moved < max)
	{
		QamLink		next;
		bool		emptied;

		CHECK_FOR_INTERRUPTS();
		if (!page_due(move->index, &link, now, &next))
		{
			pred = link;
			link = next;
			continue;
		}
		if (!qam_move_from(move, &link))
		{
			/* Go on from the last good page, or let the caller begin again */
			if (!QamLinkIsValid(&pred) ||
				!qam_lane_next_again(move->index, QAM_SCHEDULED, &pred, &link, &next))
				return moved;
			link = next;
			continue;
		}
		next = move->from->opaque.next;
		moved += move_due(move, now);
		emptied = qam_move_emptied(move);
		ReleaseBuffer(move->from->buffer);
		if (emptied)
			(void) qam_schedule_remove_page(move->index, NULL, &link, QAM_NEAR);
		pred = link;
		link = next;
	}
	if (!QamLinkIsValid(&link))
		qam_schedule_renew_near(move->index);
	return moved;
}

/*
 * Distribute the slots of the first page of the list "opened".  Returns how
 * many slots of it were moved.
 */
static int
run_opened(QamMove *move, int64 now)
{
	QamCopiedPage *from = move->from;
	QamLink		link = qam_schedule_head(move->index, QAM_OPENED);
	bool		emptied;
	int			moved;
	int			i;

	if (!QamLinkIsValid(&link) || !qam_move_from(move, &link))
		return 0;
	moved = move_due(move, now);
	for (;;)
	{
		QamScheduleData *schedule = palloc(sizeof(QamScheduleData));
		int			list = 0;

		CHECK_FOR_INTERRUPTS();
		(void) qam_schedule_read(move->index, schedule);
		move->nslots = 0;
		if (schedule->opened.head == link.block)
			for (i = 0; i < from->nslots; i++)
			{
				const QamSlot *slot = &from->slots[i];

				if (QamSlotIsOver(slot) || slot->ready_at <= now)
					continue;
				if (move->nslots == 0)
					list = qam_schedule_list(schedule, slot->ready_at);
				if (qam_schedule_list(schedule, slot->ready_at) == list)
					move->slots[move->nslots++] = i;
			}
		pfree(schedule);
		if (move->nslots == 0)
			break;
		qam_move_pin(move);
		once_debug_point("move_before_lock");
		move_to_list(move);
		qam_move_unpin(move);
		moved += move->nleaving;

		/* Read the page again, so that slots that are over are left out */
		ReleaseBuffer(from->buffer);
		if (!qam_move_from(move, &link))
			return moved;
	}
	emptied = qam_move_emptied(move);
	ReleaseBuffer(from->buffer);
	if (emptied)
		(void) qam_schedule_remove_page(move->index, NULL, &link, QAM_OPENED);
	return moved;
}

/*
 * qam_run_schedule: see qam.h.  No locks on entry or exit.  Both relations are
 * open, and the index is the valid one.
 */
int
qam_run_schedule(Relation heap, Relation index, int max)
{
	int64		now = GetCurrentTimestamp();
	QamScheduleData *schedule = palloc(sizeof(QamScheduleData));
	QamMove    *move = palloc(sizeof(QamMove));
	int			moved = 0;

	move->heap = heap;
	move->index = index;
	move->from = palloc(sizeof(QamCopiedPage));
	move->npins = 0;
	while (moved < max && qam_schedule_read(index, schedule) &&
		   qam_schedule_next(schedule) <= now)
	{
		CHECK_FOR_INTERRUPTS();
		if (schedule->opened.head != 0)
			moved += run_opened(move, now);
		else if (schedule->near.head != 0 && schedule->near_due <= now)
			moved += run_near(move, now, max - moved);
		else
			qam_schedule_open(index, now);
	}
	pfree(move->from);
	pfree(move);
	pfree(schedule);
	return moved;
}
