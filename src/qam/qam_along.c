/*-------------------------------------------------------------------------
 *
 * qam_along.c
 *	  Looking along the lists, from copy to copy.  It changes nothing, and works
 *	  on a standby, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "miscadmin.h"
#include "qam/qam_along.h"
#include "qam/qam_cache.h"
#include "qam/qam_damage.h"
#include "qam/qam_format.h"
#include "qam/qam_lane.h"
#include "qam/qam_meta.h"
#include "qam/qam_schedule.h"
#include "storage/bufmgr.h"

/* State of one look along the lists */
typedef struct QamAlong
{
	Relation	index;
	QamCopiedPage *copy;
	bool		slots;			/* are slots wanted? */
	QamAlongPage page;
	void	   *arg;
	QamAlongNext next;
} QamAlong;

/* Where to go on in a lane or list, after a link has led to another page */
typedef QamLink (*FindWay) (Relation index, int list, QamLink *pred, const QamLink *failed);

/*
 * Look at the page that a link leads to, and set *link to the next page.  A
 * page whose number is less than "from" was looked at before, and is only
 * passed.  Returns false if it is not the page meant.
 */
static bool
look_at_link(QamAlong *along, int lane, QamLink *link, uint64 *from)
{
	QamCopiedPage *copy = along->copy;
	bool		meant;

	if (!qam_block_exists(along->index, link->block))
		qam_broken(along->index, link->block,
				   "A list leads to this block, which is not in the index.");
	if (along->slots)
		qam_copy_page(along->index, link->block, copy);
	else
		qam_copy_special(along->index, link->block, copy);
	meant = copy->fault == NULL &&
		copy->opaque.kind == (lane == QAM_SCHEDULED ? QAM_PAGE_BUCKET : QAM_PAGE_LANE) &&
		copy->opaque.lane == lane && copy->opaque.seq == link->seq;
	if (meant)
	{
		if (link->seq >= *from)
			along->next = along->page(along->arg, copy);
		*from = Max(*from, link->seq + 1);
		*link = copy->opaque.next;
	}
	ReleaseBuffer(copy->buffer);
	return meant;
}

/*
 * Look along a list from a link on.  Returns the link at which this has ended,
 * and in *pred the link of the last page that was looked at.
 *
 * A page may be used again while we are on our way.  Then the way has to be
 * found again, perhaps from the beginning of the list, so messages may be
 * missed.  Numbers grow along a list, so no page is looked at twice.
 */
static QamLink
look_along(QamAlong *along, int lane, int list, QamLink link, FindWay find_way, QamLink *pred)
{
	uint64		from = 0;

	*pred = qam_no_link();
	along->next = QAM_ALONG_ON;
	while (QamLinkIsValid(&link) && along->next == QAM_ALONG_ON)
	{
		QamLink		here = link;

		CHECK_FOR_INTERRUPTS();
		if (look_at_link(along, lane, &link, &from))
			*pred = here;
		else
			link = find_way(along->index, list, pred, &here);
	}
	return link;
}

static void
look_along_lane(QamAlong *along, int lane, const QamMetaData *meta)
{
	QamLink		pred;
	QamLink		end = look_along(along, lane, lane, meta->lanes[lane].head,
								 qam_lane_find_way, &pred);

	if (!QamLinkIsValid(&end))
		qam_lane_ended(along->index, lane, meta, &pred);
}

/*
 * Messages that move to another list of the schedule meanwhile may be missed, or
 * be met there.
 */
static void
look_along_list(QamAlong *along, int list)
{
	QamLink		pred;
	QamLink		end = look_along(along, QAM_SCHEDULED, list,
								 qam_schedule_head(along->index, list),
								 qam_schedule_find_way, &pred);

	if (QamLinkIsValid(&pred) && !QamLinkIsValid(&end))
		qam_schedule_ended(along->index, list, &pred);
}

/*
 * qam_along calls "page" for the pages of the lanes, urgent ones first, and
 * then for those of the schedule's lists.  Each page is copied to *copy,
 * without its slots unless these are wanted.  A list that is broken raises an
 * error.
 */
void
qam_along(Relation index, QamCopiedPage *copy, bool slots, QamAlongPage page, void *arg)
{
	QamAlong	along = {.index = index,.copy = copy,.slots = slots,.page = page,.arg = arg};
	QamScheduleData *schedule = palloc(sizeof(QamScheduleData));
	QamMetaData meta;
	int			lane;
	int			digit;
	int			value;

	qam_meta_read(index, &meta);
	for (lane = QAM_LANES - 1; lane >= 0 && along.next != QAM_ALONG_STOP; lane--)
		look_along_lane(&along, lane, &meta);
	if (along.next != QAM_ALONG_STOP && qam_schedule_read(index, schedule))
	{
		look_along_list(&along, QAM_NEAR);
		if (along.next != QAM_ALONG_STOP)
			look_along_list(&along, QAM_OPENED);
		for (digit = 0; digit < QAM_DIGITS; digit++)
			for (value = 0; value < QAM_DIGIT_VALUES; value++)
				if (schedule->buckets[digit][value].head != 0 && along.next != QAM_ALONG_STOP)
					look_along_list(&along, QAM_BUCKET(digit, value));
	}
	pfree(schedule);
}
