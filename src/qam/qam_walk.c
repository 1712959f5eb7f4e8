/*-------------------------------------------------------------------------
 *
 * qam_walk.c
 *	  Claiming: the walk along the lanes that finds messages.
 *
 * A walk goes through a lane page by page, urgent lanes first.  qam_visit.c
 * tells what it does on a page, and qam_offer.c what it does on a slot.  Here
 * is the way from page to page, which skips pages that are known to have
 * nothing (qam_quiet.c).  If messages are taken away whatever their time, the
 * walk goes through the schedule first.
 *
 * A walk that returns less than it was asked for has looked at every page, and
 * has waited for busy ones.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "qam/qam.h"
#include "qam/qam_cache.h"
#include "qam/qam_format.h"
#include "qam/qam_heap.h"
#include "qam/qam_lane.h"
#include "qam/qam_meta.h"
#include "qam/qam_offer.h"
#include "qam/qam_quiet.h"
#include "qam/qam_schedule.h"
#include "qam/qam_visit.h"
#include "qam/qam_xid.h"
#include "qam/qam_xlog.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "wake/wake.h"

/* once.flush_claims: are claims on disk before they are handed out? */
bool		qam_flush_claims = false;

/* How many slots that have become due one walk moves before it goes on */
#define QAM_MOVES_PER_WALK	4000

/*
 * How many groups a walk judges if it has found nothing; and the pause for
 * each group judged in vain, in microseconds, which is about ten times what
 * that takes.
 */
#define QAM_SETTLES_PER_WALK	64
#define QAM_SETTLE_PAUSE		20

/*
 * Walk along a lane.  Unless "wait", busy pages are left out.  Returns whether
 * any page was left out.
 */
static bool
walk_lane(QamWalk *walk, int lane, bool wait)
{
	QamClaimRequest *req = walk->req;
	bool		plain = qam_delivers(req);
	QamLink		pred = qam_no_link();
	bool		skipped = false;
	QamRun	   *known = NULL;	/* the remembered run that we came to last */
	bool		jumped = false; /* have we come to it just now? */
	QamRun		run;
	QamVisit	visit;

	run.npages = 0;
	visit.lane = lane;
	visit.link = walk->view.meta.lanes[lane].head;
	while (QamLinkIsValid(&visit.link) && !qam_enough(req))
	{
		CHECK_FOR_INTERRUPTS();
		if (plain && (run.npages == 0 || jumped))
		{
			QamRun	   *found = NULL;

			if (walk->expected_block != visit.link.block)
				found = qam_run_find(&walk->view, lane, &visit.link);
			jumped = (found != NULL);
			if (jumped)
				known = found;
		}
		if (jumped)
		{
			QamRun		next = *known;

			qam_run_end(&walk->view, &run); /* may overwrite *known */
			run = next;
			pred = run.last;
			visit.link = run.next;
			req->earliest = Min(req->earliest, run.quiet.earliest);
			continue;
		}

		switch (qam_visit(walk, &visit, wait))
		{
			case QAM_VISIT_GONE:
				visit.link = qam_lane_find_way(walk->index, lane, &pred, &visit.link);

				/* Pages behind a run come and go; the run ends with its last */
				if (run.npages > 0 && qam_same_link(&pred, &run.last))
					run.next = visit.link;
				else
				{
					if (known != NULL && run.npages > 0 &&
						qam_same_link(&known->first, &run.first))
						known->npages = 0;
					run.npages = 0;
				}
				continue;
			case QAM_VISIT_BUSY:
				skipped = true;
				qam_run_end(&walk->view, &run);
				break;
			case QAM_VISIT_OK:
				if (visit.complete && visit.quiet.earliest > walk->view.now)
					req->earliest = Min(req->earliest, visit.quiet.earliest);
				if (visit.removable &&
					qam_lane_unlink(walk->index, lane, QamLinkIsValid(&pred) ? &pred : NULL,
									&visit.link, false))
				{
					visit.link = visit.next;
					if (run.npages > 0)
						run.next = visit.next;
					continue;
				}
				if (plain && visit.complete && visit.quiet.earliest > walk->view.now &&
					QamLinkIsValid(&visit.next))
					qam_run_add(&walk->view, &run, lane, &visit.link, &visit.next,
								&visit.quiet);
				else
					qam_run_end(&walk->view, &run);
				break;
		}
		pred = visit.link;
		visit.link = visit.next;
	}
	qam_run_end(&walk->view, &run);

	if (!QamLinkIsValid(&visit.link) && !qam_enough(req))
		qam_lane_ended(walk->index, lane, &walk->view.meta, &pred);
	return skipped;
}

/*
 * Go through a list of the schedule, for requests that do not care about time.
 */
static void
walk_list(QamWalk *walk, int list)
{
	QamLink		pred = qam_no_link();
	QamVisit	visit;

	visit.lane = QAM_SCHEDULED;
	visit.link = qam_schedule_head(walk->index, list);
	while (QamLinkIsValid(&visit.link) && !qam_enough(walk->req))
	{
		CHECK_FOR_INTERRUPTS();
		if (qam_visit(walk, &visit, true) == QAM_VISIT_GONE)
		{
			/* A slot that was moved meanwhile is met where it is now */
			visit.link = qam_schedule_find_way(walk->index, list, &pred, &visit.link);
			continue;
		}
		pred = visit.link;
		visit.link = visit.next;
	}
	if (QamLinkIsValid(&pred) && !QamLinkIsValid(&visit.link))
		qam_schedule_ended(walk->index, list, &pred);
}

/*
 * Go through the schedule, or through those lists of it where the wanted
 * message may be.  This is done in the direction in which slots move.  So a
 * slot that moves to another list meanwhile, or to a lane, is met there.
 */
static void
walk_schedule(QamWalk *walk)
{
	QamClaimRequest *req = walk->req;
	QamScheduleData *schedule = palloc(sizeof(QamScheduleData));
	BlockNumber head;
	int			digit;
	int			value;

	if (qam_schedule_read(walk->index, schedule))
	{
		if (qam_wants_one(req))
		{
			TimestampTz ready_at = req->selection.one.ready_at;
			int			list;

			/* The message may move to a finer bucket as we look */
			do
			{
				CHECK_FOR_INTERRUPTS();
				list = qam_schedule_list(schedule, ready_at);
				head = qam_schedule_ends(schedule, list).head;
				walk_list(walk, list);
				(void) qam_schedule_read(walk->index, schedule);
				list = qam_schedule_list(schedule, ready_at);
			} while (head != qam_schedule_ends(schedule, list).head && !qam_enough(req));
		}
		else
		{
			for (digit = QAM_DIGITS - 1; digit >= 0; digit--)
			{
				for (value = 0; value < QAM_DIGIT_VALUES; value++)
					if (schedule->buckets[digit][value].head != 0)
						walk_list(walk, QAM_BUCKET(digit, value));
				(void) qam_schedule_read(walk->index, schedule);
			}
		}
		walk_list(walk, QAM_OPENED);
		walk_list(walk, QAM_NEAR);
	}
	pfree(schedule);
}

/*
 * Go through the lanes, urgent ones first.
 */
static void
walk_lanes(QamWalk *walk)
{
	QamClaimRequest *req = walk->req;
	int			lane;

	for (lane = QAM_LANES - 1; lane >= 0 && !qam_enough(req); lane--)
	{
		if (qam_wants_one(req) && lane != req->selection.one.lane)
			continue;

		/* Do not serve a lower lane while a page of this one is unseen */
		if (walk_lane(walk, lane, false) && !qam_enough(req))
			walk_lane(walk, lane, true);
	}
}

/*
 * If a walk has found nothing, judge some groups.  Returns whether a slot was
 * ended, so that the walk should be repeated.
 *
 * Each walk of a backend through an index goes on in the directory where the
 * last one stopped.  The pause keeps a backend that asks again and again, and
 * finds nothing, from spending more than a small part of its time on groups.
 * Each index has a pause of its own, so a queue is not neglected because the
 * backend has asked another one before.
 */
static bool
settle_some(QamWalk *walk)
{
	TimestampTz now = walk->view.now;
	QamClaimRequest *req = walk->req;
	QamClaims  *claims = &req->claims;
	int			looks = QAM_SETTLES_PER_WALK;
	QamCache   *cache;
	QamTour		tour;
	bool		whole;
	bool		settled;

	if (req->selection.max == 0 || claims->nclaimed > 0 || claims->ndead > 0 || !qam_delivers(req) ||
		walk->view.meta.directory == 0)
		return false;
	cache = qam_cache(req->index);
	if (now >= cache->toured_at && now - cache->toured_at < cache->tour_pause)
		return false;
	tour = cache->tour;
	whole = tour.place == 0 && tour.from == 0;
	qam_unpin_all(walk);
	settled = qam_settle_groups(req->heap, req->index, &tour, &looks);
	if (tour.over && !whole)
		settled |= qam_settle_groups(req->heap, req->index, &tour, &looks);

	cache = qam_cache(req->index);
	cache->tour = tour;
	cache->toured_at = now;
	cache->tour_pause = settled ? 0 : (QAM_SETTLES_PER_WALK - looks) * QAM_SETTLE_PAUSE;
	return settled;
}

/*
 * Note for waiters what has been claimed.  What is claimed by transaction comes
 * back if that fails; if not, the next messages of its groups may be ready.  A
 * lease ends at a known time.
 */
static void
note_claims(const QamClaimRequest *req)
{
	const QamClaims *claims = &req->claims;
	Oid			relid = RelationGetRelid(req->heap);
	bool		by_lease = qam_delivers(req) && req->selection.delivery.kind == QAM_CLAIM_LEASE;
	bool		group = false;
	int			i;

	for (i = 0; i < claims->ndead && !group; i++)
		group = claims->dead[i].group != 0;
	for (i = 0; i < claims->nclaimed && !group; i++)
		group = claims->claimed[i].group != 0;
	if (claims->ndead > 0 || !by_lease)
		once_wake_note_look(relid, ONCE_WAKE_AT_ABORT | (group ? ONCE_WAKE_AT_COMMIT : 0));
	if (claims->nclaimed > 0 && by_lease)
		once_wake_at(relid, claims->claimed[claims->nclaimed - 1].ready_at);
}

/*
 * qam_claim claims messages until req->claims.claimed has as many as are
 * wanted: urgent lanes first, and within a lane in the order in which they
 * were sent.  When delivering, up to max_dead messages that are not delivered
 * any more go to req->claims.dead.
 *
 * Both relations are open and locked in RowExclusiveLock mode.  Claims take
 * effect at once, whether or not the transaction commits.  Claims by xid end
 * with it.
 */
void
qam_claim(QamClaimRequest *req)
{
	QamWalk		walk;
	int64		due = DT_NOEND;

	memset(&walk, 0, offsetof(QamWalk, pinned));
	walk.req = req;
	walk.index = req->index;
	walk.max_pins = Min(QAM_MAX_PINS, qam_max_pins());
	walk.lsn = InvalidXLogRecPtr;
	walk.lease_claim = QamMakeClaim(QAM_CLAIM_BY_LEASE,
									pg_prng_uint64(&pg_global_prng_state));
	walk.expecting = false;
	walk.expected_block = InvalidBlockNumber;
	req->earliest = DT_NOEND;

	/* So that the index, which the planner never scans, does not look unused */
	pgstat_count_index_scan(req->index);
	if ((!qam_delivers(req) || req->selection.delivery.kind == QAM_CLAIM_XID) &&
		TransactionIdIsValid(GetCurrentTransactionIdIfAny()))
		qam_assign_xid(&walk);

	for (;;)
	{
		walk.view.now = GetCurrentTimestamp();
		walk.view.next_xid = qam_next_xid();
		walk.view.xids.n = 0;
		memset(walk.view.woken, 0, sizeof(walk.view.woken));
		if (!qam_delivers(req))
			walk_schedule(&walk);
		qam_meta_read(req->index, &walk.view.meta);

		/* First move what is due into the lanes, up to a limit */
		if (qam_delivers(req) && walk.view.meta.schedule != 0)
		{
			due = qam_schedule_due(req->index);
			if (due <= walk.view.now)
			{
				qam_unpin_all(&walk);
				(void) qam_run_schedule(req->heap, req->index, QAM_MOVES_PER_WALK);
				due = qam_schedule_due(req->index);
				qam_meta_read(req->index, &walk.view.meta);
			}
		}
		walk_lanes(&walk);
		if (qam_enough(req) || (due > walk.view.now && !settle_some(&walk)))
			break;
	}
	req->earliest = Min(req->earliest, due);
	qam_unpin_all(&walk);

	if (req->claims.nclaimed + req->claims.ndead > 0 && !req->selection.delivery.look)
		note_claims(req);

	/* Attempts shall count after a crash, too: flush soon, or at once */
	if (req->claims.nclaimed > 0 && !XLogRecPtrIsInvalid(walk.lsn))
	{
		if (qam_flush_claims)
			XLogFlush(walk.lsn);
		else
			qam_log_flush_soon(walk.lsn);
	}
}
