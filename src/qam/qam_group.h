/*-------------------------------------------------------------------------
 *
 * qam_group.h
 *	  Chains of groups.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_GROUP_H
#define QAM_GROUP_H

#include "qam/qam.h"
#include "qam/qam_heap.h"
#include "qam/qam_move.h"

extern void qam_group_append(Relation index, const QamSlot *slot,
							 QamSource *source);
extern void qam_group_advance(Relation index, uint32 hash, uint64 *woken);
extern uint64 qam_gone_by(const QamSlot *slot, const QamRow *row);
extern void qam_group_give_back(Relation index, const QamSlot *slot,
								QamMateGivenBack given_back, void *arg);

#endif							/* QAM_GROUP_H */
