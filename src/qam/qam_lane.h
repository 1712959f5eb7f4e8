/*-------------------------------------------------------------------------
 *
 * qam_lane.h
 *	  Lanes: their ends, following them, appending, unlinking.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_LANE_H
#define QAM_LANE_H

#include "qam/qam_format.h"
#include "storage/buf.h"
#include "utils/relcache.h"

extern QamLink qam_lane_tail(Relation index, int lane);
extern void qam_lane_tail_gone(Relation index, int lane, const QamLink *tail);
extern bool qam_lane_next_again(Relation index, int lane, const QamLink *pred,
								const QamLink *failed, QamLink *next);
extern QamLink qam_lane_find_way(Relation index, int lane, QamLink *pred, const QamLink *failed);
extern void qam_lane_ended(Relation index, int lane, const QamMetaData *meta,
						   const QamLink *last);
extern void qam_lane_extend(Relation index, int lane, const QamLink *full);
extern void qam_lane_append(Relation index, int lane, const QamSlot *slots, int nslots);
extern Buffer qam_lane_lock_if(Relation index, const QamLink *link, int lane, bool wait);
extern bool qam_lane_unlink(Relation index, int lane, const QamLink *pred,
							const QamLink *link, bool wait);

#endif							/* QAM_LANE_H */
