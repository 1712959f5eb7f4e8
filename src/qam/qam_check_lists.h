/*-------------------------------------------------------------------------
 *
 * qam_check_lists.h
 *	  Verifying the lists of a queue index, its groups and its schedule.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_CHECK_LISTS_H
#define QAM_CHECK_LISTS_H

#include "qam/qam_check_pages.h"

extern void qam_check_lists(QamCheck *check);
extern void qam_check_groups(QamCheck *check);
extern void qam_check_schedule(QamCheck *check);
extern void qam_check_free(QamCheck *check);

#endif							/* QAM_CHECK_LISTS_H */
