/*-------------------------------------------------------------------------
 *
 * qam_now.h
 *	  The state of a message now, as inspection tells it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_NOW_H
#define QAM_NOW_H

#include "qam/qam.h"
#include "qam/qam_copy.h"
#include "qam/qam_xid.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

/*
 * Returns a time from a page as one that can be shown, whatever it is.
 */
static inline TimestampTz
qam_shown_time(int64 time)
{
	if (time >= END_TIMESTAMP)
		return DT_NOEND;
	return time < MIN_TIMESTAMP ? DT_NOBEGIN : time;
}

extern HTAB *qam_now_heads(const char *name);
extern bool qam_now_note_head(HTAB *heads, const QamCopiedPage *copy, int slotno);
extern bool qam_now_is_head(HTAB *heads, const QamCopiedPage *copy, int slotno);
extern bool qam_now_claimed(QamXidCache *xids, const QamSlot *slot, TimestampTz now);
extern QamPeekState qam_now_state(const QamCopiedPage *copy, int slotno, bool held,
								  const QamRow *row, const QamRetry *retry,
								  TimestampTz now, bool first, TimestampTz *ready_at);

#endif							/* QAM_NOW_H */
