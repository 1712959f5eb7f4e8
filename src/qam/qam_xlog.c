/*-------------------------------------------------------------------------
 *
 * qam_xlog.c
 *	  The only file that writes WAL for the queue index.
 *
 * Changes are logged as records of the Generic resource manager, so replay
 * does not need this library.  Standbys need that, and so does crash recovery,
 * which runs before any library of ours is loaded.  For each page, a generic
 * record has the changed regions as (offset, length, bytes).  generic_redo()
 * copies them in, and clears the hole between pd_lower and pd_upper.
 *
 * GenericXLogFinish() finds those regions by comparing the page with a copy,
 * which costs two passes over 8 kB for a change of 20 bytes.  We know what we
 * have changed.  So by default we edit the page in place, inside a critical
 * section, and put the same record together here from the regions that
 * qam_page.c reports.  Compile with -DONCE_GENERIC_XLOG to use GenericXLog
 * instead; both ways must pass the same replay tests.
 *
 * Hints are edited in place and not logged.  once.log_hints logs them, too, so
 * that primary and standby can be compared byte by byte.  With GenericXLog
 * they are always logged.  It records only those bytes of a field that differ
 * from the old value, and replay puts them into the field as the standby has
 * it.  If the field had changed without a record in between, old and new bytes
 * would mix into a third value.  Our own regions always consist of whole
 * fields.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/generic_xlog.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "postmaster/walwriter.h"
#include "qam/qam.h"
#include "qam/qam_format.h"
#include "qam/qam_xlog.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* once.log_hints: are hints written to the WAL? */
bool		qam_log_hints = false;

#ifdef ONCE_GENERIC_XLOG
#define QAM_LOGS_HINTS		true
#else
#define QAM_LOGS_HINTS		qam_log_hints

/* A changed region; its bytes are taken from the page in the end */
typedef struct QamRegion
{
	OffsetNumber offset;
	OffsetNumber length;
} QamRegion;

/* Two regions that are closer than the size of a region's header become one */
#define QAM_REGION_HEADER	(2 * sizeof(OffsetNumber))

StaticAssertDecl(QAM_REGION_HEADER == 4, "region of a generic WAL record");

/* If there is more than this, a full image is hardly larger: log that */
#define QAM_MAX_REGIONS		(2 * QAM_SLOTS_PER_PAGE)
#define QAM_MAX_DELTA		(BLCKSZ / 2 + BLCKSZ / 4)

/*
 * Workspace for the change being made.  There is one change at a time.  The
 * memory is static because nothing may be allocated in a critical section.
 */
static QamRegion regions[QAM_LOG_PAGES][2 * ((BLCKSZ / sizeof(QamSlot)) + 1)];
static int	nregions[QAM_LOG_PAGES];
static bool full_image[QAM_LOG_PAGES];
static char delta[QAM_LOG_PAGES][QAM_MAX_DELTA];

#endif

/*
 * qam_log_begin begins a logged change of the index.
 *
 * The caller holds exclusive locks on the pages that it is going to change.
 * Until qam_log_finish we are in a critical section.
 */
void
qam_log_begin(QamLog *log, Relation index)
{
	log->index = index;
	log->npages = 0;
	log->hints_only = false;
#ifdef ONCE_GENERIC_XLOG
	log->generic = GenericXLogStart(index);
#else
	log->generic = NULL;
	START_CRIT_SECTION();
#endif
}

/*
 * qam_log_begin_hint begins a change of hints alone, on one page.
 *
 * It is like qam_log_begin, but nothing is logged unless hints are.
 */
void
qam_log_begin_hint(QamLog *log, Relation index)
{
	if (QAM_LOGS_HINTS && RelationNeedsWAL(index))
	{
		qam_log_begin(log, index);
		return;
	}
	log->index = index;
	log->npages = 0;
	log->hints_only = true;
	log->generic = NULL;
}

/*
 * qam_log_page adds a page to the change, and returns the page that is to be
 * edited.
 *
 * With "fresh", the caller initialises the page, and the whole page is logged.
 */
Page
qam_log_page(QamLog *log, Buffer buffer, bool fresh)
{
	int			i = log->npages++;

	Assert(i < QAM_LOG_PAGES);
	log->pages[i].buffer = buffer;
	log->pages[i].fresh = fresh;
	log->pages[i].page = BufferGetPage(buffer);
	if (log->hints_only)
		return log->pages[i].page;
#ifdef ONCE_GENERIC_XLOG
	log->pages[i].page = GenericXLogRegisterBuffer(log->generic, buffer,
												   fresh ? GENERIC_XLOG_FULL_IMAGE : 0);
#else
	nregions[i] = 0;
	full_image[i] = fresh;
#endif
	return log->pages[i].page;
}

/*
 * qam_log_bytes notes that "len" bytes at "where", within page, change in this
 * change: they are what is there at qam_log_finish.
 */
void
qam_log_bytes(QamLog *log, Page page, const void *where, Size len)
{
#ifndef ONCE_GENERIC_XLOG
	int			i = 0;
	int			offset = (const char *) where - (const char *) page;
	QamRegion  *last;

	Assert(!log->hints_only);
	while (log->pages[i].page != page)
	{
		i++;
		Assert(i < log->npages);
	}
	if (full_image[i])
		return;

	/* Widen the last region if this one begins in it or just behind it */
	last = nregions[i] > 0 ? &regions[i][nregions[i] - 1] : NULL;
	if (last && offset >= last->offset &&
		offset <= last->offset + last->length + QAM_REGION_HEADER)
	{
		last->length = Max(last->length, offset + len - last->offset);
		return;
	}
	if (nregions[i] == QAM_MAX_REGIONS)
	{
		full_image[i] = true;
		return;
	}
	regions[i][nregions[i]].offset = offset;
	regions[i][nregions[i]].length = len;
	nregions[i]++;
#endif
}

/*
 * qam_log_hint_bytes is qam_log_bytes for bytes that are only a hint.
 */
void
qam_log_hint_bytes(QamLog *log, Page page, const void *where, Size len)
{
	if (qam_log_hints && !log->hints_only)
		qam_log_bytes(log, page, where, len);
}

#ifndef ONCE_GENERIC_XLOG

/*
 * Put together the part of the record for page i.  Returns its length, or -1
 * if the page is to be logged whole.
 */
static int
make_delta(QamLog *log, int i)
{
	char	   *out = delta[i];
	int			r;

	if (full_image[i])
		return -1;
	for (r = 0; r < nregions[i]; r++)
	{
		QamRegion  *region = &regions[i][r];

		if (out + QAM_REGION_HEADER + region->length > delta[i] + QAM_MAX_DELTA)
			return -1;
		memcpy(out, &region->offset, sizeof(OffsetNumber));
		memcpy(out + sizeof(OffsetNumber), &region->length, sizeof(OffsetNumber));
		memcpy(out + QAM_REGION_HEADER,
			   (char *) log->pages[i].page + region->offset, region->length);
		out += QAM_REGION_HEADER + region->length;
	}
	return out - delta[i];
}

/*
 * Write the record of a change, in its critical section.
 */
static XLogRecPtr
insert_record(QamLog *log)
{
	XLogRecPtr	lsn;
	int			i;

	XLogBeginInsert();
	for (i = 0; i < log->npages; i++)
	{
		int			len = make_delta(log, i);

		if (len < 0)
			XLogRegisterBuffer(i, log->pages[i].buffer,
							   REGBUF_STANDARD | REGBUF_FORCE_IMAGE);
		else
		{
			XLogRegisterBuffer(i, log->pages[i].buffer, REGBUF_STANDARD);
			XLogRegisterBufData(i, delta[i], len);
		}
	}
	lsn = XLogInsert(RM_GENERIC_ID, 0);
	for (i = 0; i < log->npages; i++)
		PageSetLSN(log->pages[i].page, lsn);
	return lsn;
}

#endif

/*
 * qam_log_finish ends the change and writes its record.
 *
 * Returns the end of the WAL record, or InvalidXLogRecPtr if none was written.
 * The buffers stay locked.
 */
XLogRecPtr
qam_log_finish(QamLog *log)
{
	XLogRecPtr	lsn = InvalidXLogRecPtr;

	if (log->hints_only)
	{
		Assert(log->npages == 1);
		MarkBufferDirtyHint(log->pages[0].buffer, true);
		return lsn;
	}
#ifdef ONCE_GENERIC_XLOG
	lsn = GenericXLogFinish(log->generic);
	if (!RelationNeedsWAL(log->index))
		lsn = InvalidXLogRecPtr;
#else
	{
		int			i;

		for (i = 0; i < log->npages; i++)
			MarkBufferDirty(log->pages[i].buffer);
		if (RelationNeedsWAL(log->index))
			lsn = insert_record(log);
		END_CRIT_SECTION();
	}
#endif
	return lsn;
}

/*
 * qam_log_whole_page logs the whole of a page that the caller has just filled.
 *
 * It is for builds: the buffer is locked exclusively, and nobody else can see
 * the page's fork yet.  An init fork is logged even if its index is not,
 * because it must exist after a crash and on a standby.  Replay flushes it at
 * once.
 */
void
qam_log_whole_page(Relation index, Buffer buffer, ForkNumber fork)
{
	START_CRIT_SECTION();
	MarkBufferDirty(buffer);
	if (RelationNeedsWAL(index) || fork == INIT_FORKNUM)
		log_newpage_buffer(buffer, true);
	END_CRIT_SECTION();
}

/*
 * qam_log_flush_soon asks the WAL writer to flush up to lsn, for a change that
 * shall survive a crash but need not be waited for.  No page is locked.
 *
 * Asking costs nothing as long as it does not wake the WAL writer, which is so
 * if no page of WAL was filled since the last flush.  If one was, the WAL
 * writer wakes by itself after wal_writer_delay, but then flushes full pages
 * only.  So we wake it for the rest, but not more often than that.  If every
 * call in a busy queue woke it, it would compete with the flushes of commits.
 */
void
qam_log_flush_soon(XLogRecPtr lsn)
{
	static TimestampTz last_woken = 0;

	if (lsn - lsn % XLOG_BLCKSZ > GetFlushRecPtr(NULL))
	{
		TimestampTz now = GetCurrentTimestamp();

		if (now >= last_woken && now - last_woken < WalWriterDelay * INT64CONST(1000))
			return;
		last_woken = now;
	}
	XLogSetAsyncXactLSN(lsn);
}
