/*-------------------------------------------------------------------------
 *
 * qam_quiet.h
 *	  Why pages need not be visited.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_QUIET_H
#define QAM_QUIET_H

#include "qam/qam_format.h"
#include "qam/qam_xid.h"

/* How things were when a walk began */
typedef struct QamView
{
	QamMetaData meta;
	TimestampTz now;
	uint64		next_xid;
	QamXidCache xids;			/* of transactions looked up since */
	uint64		woken[QAM_WAKE_CELLS / 64]; /* cells that the walk has woken
											 * itself */
} QamView;

/*
 * Why a page, or a run of pages, need not be visited.  None of its messages
 * can become ready before "earliest", as long as the transactions "owners" are
 * open and, with "own", as long as the current transaction has neither ended
 * nor rolled back a subtransaction.
 */
#define QAM_MAX_OWNERS		8

typedef struct QamQuiet
{
	int64		earliest;		/* 0: not quiet at all */
	bool		by_row;			/* an owner may be known from a heap row only */
	bool		own;			/* some slots depend on this transaction */
	uint64		own_xid;		/* its (sub)transaction; 0: several */
	int			nowners;
	uint64		owners[QAM_MAX_OWNERS];
} QamQuiet;

/* A run of quiet pages; see qam_run_find */
typedef struct QamRun
{
	uint64		nonce[2];		/* which index */
	int			lane;
	QamLink		first;
	QamLink		last;			/* the run's last page */
	QamLink		next;			/* the page behind it */
	int			npages;			/* 0: no run */
	QamQuiet	quiet;
	TimestampTz seen;
	uint32		wakeups;		/* wake-ups in the range of its pages */
	LocalTransactionId lxid;
	uint64		rollbacks;
} QamRun;

extern void qam_quiet_init(QamQuiet *quiet);
extern void qam_quiet_add_xid(QamQuiet *quiet, uint64 fullxid, bool own);
extern QamRun *qam_run_find(QamView *view, int lane, const QamLink *link);
extern void qam_run_add(QamView *view, QamRun *run, int lane, const QamLink *link,
						const QamLink *next, const QamQuiet *quiet);
extern void qam_run_end(QamView *view, QamRun *run);
extern uint64 qam_rollbacks(void);

#endif							/* QAM_QUIET_H */
