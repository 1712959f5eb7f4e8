/*-------------------------------------------------------------------------
 *
 * qam_delivery.h
 *	  Functions of a delivery: its proof, and when its message is ready again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_DELIVERY_H
#define QAM_DELIVERY_H

#include "qam/qam.h"
#include "qam/qam_format.h"

extern uint64 qam_proof(const uint64 *nonce, uint64 seq, int slotno,
						const QamSlot *slot);
extern int64 qam_pause(const QamRetry *retry, uint64 seq, int slotno, const QamSlot *slot);
extern int64 qam_ready_again(const QamRetry *retry, uint64 seq, int slotno,
							 const QamSlot *slot);
extern int64 qam_stuck_pause(int stuck);

#endif							/* QAM_DELIVERY_H */
