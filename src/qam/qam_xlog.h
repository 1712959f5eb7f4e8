/*-------------------------------------------------------------------------
 *
 * qam_xlog.h
 *	  One atomic change of some pages, and its record in the WAL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_XLOG_H
#define QAM_XLOG_H

#include "access/xlogdefs.h"
#include "common/relpath.h"
#include "storage/buf.h"
#include "storage/bufpage.h"
#include "utils/relcache.h"

/*
 * One atomic change of up to QAM_LOG_PAGES pages.
 *
 * Usage: begin.  Add each page, whose buffer is locked exclusively, with
 * qam_log_page.  Edit the page that this returns, with the functions of
 * qam_page.c only.  Finish.  Between begin and finish, nothing may raise an
 * error or allocate memory.
 */
#define QAM_LOG_PAGES		4

typedef struct QamLog
{
	Relation	index;
	bool		hints_only;		/* no record is written */
	int			npages;
	struct
	{
		Buffer		buffer;
		Page		page;
		bool		fresh;		/* page is initialised by this change */
	}			pages[QAM_LOG_PAGES];
	void	   *generic;		/* GenericXLogState, with ONCE_GENERIC_XLOG */
} QamLog;

extern void qam_log_begin(QamLog *log, Relation index);
extern void qam_log_begin_hint(QamLog *log, Relation index);
extern Page qam_log_page(QamLog *log, Buffer buffer, bool fresh);
extern void qam_log_bytes(QamLog *log, Page page, const void *where, Size len);
extern void qam_log_hint_bytes(QamLog *log, Page page, const void *where, Size len);
extern XLogRecPtr qam_log_finish(QamLog *log);
extern void qam_log_flush_soon(XLogRecPtr lsn);
extern void qam_log_whole_page(Relation index, Buffer buffer, ForkNumber fork);

#endif							/* QAM_XLOG_H */
