/*-------------------------------------------------------------------------
 *
 * qam_quiet.c
 *	  Why pages need not be visited, and what a backend remembers of that.
 *
 * When a walk has looked at all slots of a page, it knows the reasons why the
 * page offers nothing (QamQuiet).  Neighbouring pages with such reasons make
 * up a run.  The next walk skips a run as long as its reasons hold.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/xact.h"
#include "qam/qam.h"
#include "qam/qam_format.h"
#include "qam/qam_parameters.h"
#include "qam/qam_quiet.h"
#include "qam/qam_xid.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

/* Runs: least length, length of a long one, how long and how many are kept */
#define QAM_RUN_MIN_PAGES	4
#define QAM_RUN_LONG		32
#define QAM_RUN_LIFETIME	(5 * USECS_PER_SEC)
#define QAM_RUNS			16

static QamRun runs[QAM_RUNS];
static int	next_run = 0;

/* How many subtransactions of this backend have been rolled back so far */
static uint64 rollbacks = 0;

/*
 * qam_quiet_init makes the reasons of a page without slots, which hold for
 * ever.
 */
void
qam_quiet_init(QamQuiet *quiet)
{
	memset(quiet, 0, sizeof(QamQuiet));
	quiet->earliest = DT_NOEND;
}

/*
 * qam_quiet_add_xid notes that a page is quiet only while a transaction is
 * open.
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
 * Add the reasons of another page to those of a run.
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
 * Count the wake-ups so far in the range of a run's pages, whose numbers grow
 * along it.  *woken tells whether this walk itself has caused one.
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
 * Is a remembered run still quiet?  It is of the index that this walk goes
 * through.
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
 * qam_run_find finds a remembered run of quiet pages that begins with this
 * page.
 *
 * A run is valid as long as its reasons hold and no slot on its pages has
 * become ready before its time (the metapage's "wakeups").  Pages of it may
 * have been unlinked since.  If the page behind it was unlinked, the link to
 * that fails when it is followed.
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
 * Begin a run that has no pages yet.
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
 * qam_run_end remembers a run, if it is long enough, and makes it empty.
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
 * They would if they name transactions that the run's reasons do not name, or
 * a time that comes while the run may still be remembered.
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
 * qam_run_add adds a quiet page to a run.  If the reasons become too many, the
 * run ends instead.
 *
 * A long run is not spoilt by a page that is quiet for a moment only, such as
 * one that other consumers are just emptying.  Such a page begins a new run.
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
 * qam_rollbacks returns how many subtransactions have been rolled back so far.
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
	qam_parameters_init();
}
