/*-------------------------------------------------------------------------
 *
 * qam_quiet.c
 *	  Why pages need not be visited, and what a backend remembers of that.
 *
 * A walk collects, for each page whose slots it has all looked at, the reasons
 * why it offers nothing (QamQuiet).  Neighbours with such reasons make a run,
 * which the next walk passes by at once, for as long as the reasons hold.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/xact.h"
#include "qam/qam.h"
#include "qam/qam_format.h"
#include "qam/qam_quiet.h"
#include "qam/qam_xid.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

/* Passed-by pages worth remembering, for how long, and how many runs of them */
#define QAM_RUN_MIN_PAGES	4
#define QAM_RUN_LONG		32
#define QAM_RUN_LIFETIME	(5 * USECS_PER_SEC)
#define QAM_RUNS			16

static QamRun runs[QAM_RUNS];
static int	next_run = 0;

/* Subtransactions of this backend rolled back so far */
static uint64 rollbacks = 0;

/*
 * qam_quiet_init makes reasons that last for ever: those of no slot at all.
 */
void
qam_quiet_init(QamQuiet *quiet)
{
	memset(quiet, 0, sizeof(QamQuiet));
	quiet->earliest = DT_NOEND;
}

/*
 * qam_quiet_add_xid notes that something depends on a transaction's being open.
 */
void
qam_quiet_add_xid(QamQuiet *quiet, uint64 fullxid, bool own)
{
	int			i;

	if (own)
	{
		if (!quiet->own)
			quiet->own_xid = fullxid;
		else if (quiet->own_xid != fullxid)
			quiet->own_xid = 0;
		quiet->own = true;
		return;
	}
	for (i = 0; i < quiet->nowners; i++)
		if (quiet->owners[i] == fullxid)
			return;
	if (quiet->nowners == QAM_MAX_OWNERS)
		quiet->earliest = 0;
	else
		quiet->owners[quiet->nowners++] = fullxid;
}

/*
 * Add the reasons of another page.
 */
static void
quiet_add(QamQuiet *quiet, const QamQuiet *more)
{
	int			i;

	quiet->earliest = Min(quiet->earliest, more->earliest);
	quiet->by_row |= more->by_row;
	for (i = 0; i < more->nowners; i++)
		qam_quiet_add_xid(quiet, more->owners[i], false);
	if (more->own)
	{
		qam_quiet_add_xid(quiet, more->own_xid, true);
		if (more->own_xid == 0)
			quiet->own_xid = 0;
	}
}

/*
 * Wake-ups so far in the range of a run's pages, whose numbers grow along it.
 * *woken: was there one by this very walk?
 */
static uint32
run_wakeups(const QamView *view, const QamRun *run, bool *woken)
{
	uint64		n = (run->last.seq >> 6) - (run->first.seq >> 6) + 1;
	int			cell = QAM_WAKE_CELL(run->first.seq);
	uint32		sum = 0;

	*woken = false;
	for (n = Min(n, QAM_WAKE_CELLS); n > 0; n--)
	{
		sum += view->meta.wakeups[cell];
		if (view->woken[cell / 64] & (UINT64CONST(1) << (cell % 64)))
			*woken = true;
		cell = (cell + 1) % QAM_WAKE_CELLS;
	}
	return sum;
}

/*
 * Is a remembered run, of this index as this walk found it, still quiet?
 */
static bool
run_valid(QamView *view, QamRun *run)
{
	bool		woken;
	int			i;

	if (run->seen > view->now || view->now - run->seen > QAM_RUN_LIFETIME ||
		run->quiet.earliest <= view->now)
		return false;
	if (run->quiet.own &&
		(run->lxid != once_my_lxid() || run->rollbacks != rollbacks))
		return false;
	for (i = 0; i < run->quiet.nowners; i++)
		if (qam_xid_state_cached(&view->xids, run->quiet.owners[i]) != QAM_XID_OTHERS)
			return false;
	return run->wakeups == run_wakeups(view, run, &woken) && !woken;
}

/*
 * qam_run_find finds a remembered run of quiet pages that begins with this one.
 *
 * A run is good as long as its reasons hold and nothing has become ready
 * before its time (the metapage's "wakeups").  Pages of it may have been
 * unlinked since; if that befell the page behind it, its link fails when it
 * is followed.
 */
QamRun *
qam_run_find(QamView *view, int lane, const QamLink *link)
{
	int			i;

	for (i = 0; i < QAM_RUNS; i++)
	{
		QamRun	   *run = &runs[i];

		if (run->lane == lane && run->npages > 0 &&
			qam_same_link(&run->first, link) &&
			run->nonce[0] == view->meta.nonce[0] &&
			run->nonce[1] == view->meta.nonce[1])
		{
			if (run_valid(view, run))
				return run;
			run->npages = 0;
			return NULL;
		}
	}
	return NULL;
}

/*
 * Begin a run at a page.
 */
static void
run_begin(QamView *view, QamRun *run, int lane)
{
	memset(run, 0, sizeof(QamRun));
	memcpy(run->nonce, view->meta.nonce, sizeof(run->nonce));
	run->lane = lane;
	qam_quiet_init(&run->quiet);
	run->seen = view->now;
	run->lxid = once_my_lxid();
	run->rollbacks = rollbacks;
}

/*
 * qam_run_end remembers a run, if it is long enough, and leaves an empty one.
 */
void
qam_run_end(QamView *view, QamRun *run)
{
	bool		woken;
	int			i;

	if (run->npages >= QAM_RUN_MIN_PAGES)
	{
		for (i = 0; i < QAM_RUNS; i++)
			if (runs[i].lane == run->lane &&
				qam_same_link(&runs[i].first, &run->first) &&
				runs[i].nonce[0] == run->nonce[0])
				break;
		if (i == QAM_RUNS)
		{
			i = next_run;
			next_run = (next_run + 1) % QAM_RUNS;
		}
		run->wakeups = run_wakeups(view, run, &woken);
		runs[i] = *run;
	}
	run->npages = 0;
}

/*
 * Would the page's reasons end sooner than those of the run so far?
 *
 * They name transactions that those do not name, or a time that will come while
 * the run may still be remembered.
 */
static bool
run_shortened(QamView *view, const QamRun *run, const QamQuiet *quiet)
{
	TimestampTz soon = view->now + QAM_RUN_LIFETIME;
	int			i;
	int			j;

	if (quiet->own && !run->quiet.own)
		return true;
	if (quiet->earliest < soon && run->quiet.earliest >= soon)
		return true;
	for (i = 0; i < quiet->nowners; i++)
	{
		for (j = 0; j < run->quiet.nowners; j++)
			if (run->quiet.owners[j] == quiet->owners[i])
				break;
		if (j == run->quiet.nowners)
			return true;
	}
	return false;
}

/*
 * qam_run_add adds a quiet page to a run, or ends the run if the page's reasons are too many.
 *
 * A long run is not spoilt by a page that is quiet for but a moment, such as
 * one that other consumers are just emptying: that begins a run of its own.
 */
void
qam_run_add(QamView *view, QamRun *run, int lane, const QamLink *link,
			const QamLink *next, const QamQuiet *quiet)
{
	QamQuiet	sum;

	if (run->npages >= QAM_RUN_LONG && run_shortened(view, run, quiet))
		qam_run_end(view, run);
	if (run->npages == 0)
	{
		run_begin(view, run, lane);
		run->first = *link;
	}
	sum = run->quiet;
	quiet_add(&sum, quiet);
	if (sum.earliest <= view->now)
	{
		qam_run_end(view, run);
		return;
	}
	run->quiet = sum;
	run->last = *link;
	run->next = *next;
	run->npages++;
}

static void
count_rollback(SubXactEvent event, SubTransactionId mine,
			   SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		rollbacks++;
}

/*
 * qam_rollbacks returns how often something was rolled back to a savepoint.
 */
uint64
qam_rollbacks(void)
{
	return rollbacks;
}

/*
 * qam_init is called once, when the library is loaded.
 */
void
qam_init(void)
{
	RegisterSubXactCallback(count_rollback, NULL);
}
