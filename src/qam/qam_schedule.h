/*-------------------------------------------------------------------------
 *
 * qam_schedule.h
 *	  Messages due later: the schedule.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_SCHEDULE_H
#define QAM_SCHEDULE_H

#include "qam/qam_format.h"
#include "storage/buf.h"
#include "utils/relcache.h"

/*
 * A list of the schedule is named by the offset of its ends in the root.
 */
#define QAM_NEAR			((int) offsetof(QamScheduleData, near))
#define QAM_OPENED			((int) offsetof(QamScheduleData, opened))
#define QAM_BUCKET(digit, value) \
	((int) (offsetof(QamScheduleData, buckets) + \
			((digit) * QAM_DIGIT_VALUES + (value)) * sizeof(QamListEnds)))

static inline QamListEnds
qam_schedule_ends(const QamScheduleData *schedule, int list)
{
	return *(const QamListEnds *) ((const char *) schedule + list);
}

extern int	qam_schedule_list(const QamScheduleData *schedule, int64 ready_at);
extern QamLink qam_schedule_head(Relation index, int list);
extern void qam_schedule_ended(Relation index, int list, const QamLink *last);
extern QamLink qam_schedule_find_way(Relation index, int list, QamLink *pred,
									 const QamLink *failed);
extern bool qam_schedule_read(Relation index, QamScheduleData *schedule);
extern int64 qam_schedule_next(const QamScheduleData *schedule);
extern int64 qam_schedule_due(Relation index);
extern Buffer qam_schedule_lock(Relation index, int64 ready_at, Buffer *root,
								int *list, bool *near_due);
extern void qam_schedule_append(Relation index, const QamSlot *slot, int lane, int64 now);
extern bool qam_schedule_remove_page(Relation index, const QamLink *pred,
									 const QamLink *link, int list);
extern void qam_schedule_open(Relation index, int64 now);
extern void qam_schedule_renew_near(Relation index);
extern void qam_schedule_clean(Relation index, BufferAccessStrategy strategy);

#endif							/* QAM_SCHEDULE_H */
