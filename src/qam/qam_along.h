/*-------------------------------------------------------------------------
 *
 * qam_along.h
 *	  Looking along the lists, from copy to copy.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_ALONG_H
#define QAM_ALONG_H

#include "qam/qam_copy.h"

typedef enum QamAlongNext
{
	QAM_ALONG_ON,				/* go on with the next page */
	QAM_ALONG_NEXT_LIST,		/* look no further in this list */
	QAM_ALONG_STOP				/* look no further at all */
} QamAlongNext;

/*
 * Called for each page, which is pinned and not locked.  Tells where to go on.
 */
typedef QamAlongNext (*QamAlongPage) (void *arg, const QamCopiedPage *copy);

extern void qam_along(Relation index, QamCopiedPage *copy, bool slots,
					  QamAlongPage page, void *arg);

#endif							/* QAM_ALONG_H */
