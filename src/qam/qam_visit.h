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

typedef enum QamVisitResult
{
	QAM_VISIT_OK,
	QAM_VISIT_BUSY,				/* page locked by somebody; next is set */
	QAM_VISIT_GONE				/* the link leads nowhere now */
} QamVisitResult;

extern QamVisitResult qam_visit(QamWalk *walk, QamVisit *visit, bool wait);
extern void qam_assign_xid(QamWalk *walk);

#endif							/* QAM_VISIT_H */
