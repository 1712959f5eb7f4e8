/*-------------------------------------------------------------------------
 *
 * qam_visit.h
 *	  The visit of one page by a walk.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_VISIT_H
#define QAM_VISIT_H

#include "qam/qam_offer.h"

/* What a walk tells the visit of a page, and what it learns from it */
typedef struct QamVisit
{
	int			lane;
	QamLink		link;			/* to the page */
	QamLink		next;			/* out: the page's successor */
	bool		removable;		/* out: all DONE, and not the last page */
	bool		complete;		/* out: every slot was looked at */
	QamQuiet	quiet;			/* out, if complete */
} QamVisit;

typedef enum QamVisitResult
{
	QAM_VISIT_OK,
	QAM_VISIT_BUSY,				/* page locked by somebody; next is set */
	QAM_VISIT_GONE				/* the link leads nowhere now */
} QamVisitResult;

extern QamVisitResult qam_visit(QamWalk *walk, QamVisit *visit, bool wait);
extern void qam_assign_xid(QamWalk *walk);

#endif							/* QAM_VISIT_H */
