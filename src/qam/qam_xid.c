/*-------------------------------------------------------------------------
 *
 * qam_xid.c
 *	  Whether the transaction that a claim names is still open.
 *
 * A claim carries the low 48 bits of a 64-bit transaction id, and
 * qam_claim_xid tells the whole id from them.  How a transaction ended is not
 * asked here, nor anywhere else in this directory.  Only the heap row tells
 * that, and it is judged after the transaction was seen to have ended.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/transam.h"
#include "access/xact.h"
#include "qam/qam_format.h"
#include "qam/qam_xid.h"
#include "storage/procarray.h"

/*
 * qam_xid_state tells the state of the (sub)transaction with this full id.
 *
 * It may be called under page locks.
 */
QamXidState
qam_xid_state(uint64 fullxid)
{
	FullTransactionId full = FullTransactionIdFromU64(fullxid);
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());
	TransactionId xid = XidFromFullTransactionId(full);

	/* If it is more than half the circle old, the low 32 bits would mislead */
	if (fullxid >= next || next - fullxid >= UINT64CONST(0x7fffffff))
		return QAM_XID_ENDED;
	if (TransactionIdIsCurrentTransactionId(xid))
		return QAM_XID_OWN;
	return TransactionIdIsInProgress(xid) ? QAM_XID_OTHERS : QAM_XID_ENDED;
}

/*
 * qam_full_xid widens the id of a transaction that a heap row names.  It is
 * less than half the circle old.
 */
uint64
qam_full_xid(TransactionId xid)
{
	FullTransactionId next = ReadNextFullTransactionId();
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return U64FromFullTransactionId(FullTransactionIdFromEpochAndXid(epoch, xid));
}

/*
 * qam_next_xid returns the id that will be assigned next, for qam_claim_xid.
 */
uint64
qam_next_xid(void)
{
	return U64FromFullTransactionId(ReadNextFullTransactionId());
}

/*
 * qam_claim_xid returns the full id of the transaction that a claim names.
 *
 * The claim has the low bits of the id.  Among the ids with these bits, it is
 * the one nearest to "next", which may have been read some time ago.
 */
uint64
qam_claim_xid(uint64 claim, uint64 next)
{
	int			unused = 64 - QAM_CLAIM_XID_BITS;

	return next + ((int64) ((claim - next) << unused) >> unused);
}

/*
 * qam_xid_state_cached is qam_xid_state with a cache for one walk, in which
 * the same few transactions come up again and again.
 */
QamXidState
qam_xid_state_cached(QamXidCache *cache, uint64 fullxid)
{
	int			i;

	for (i = 0; i < Min(cache->n, QAM_XID_CACHE); i++)
		if (cache->xid[i] == fullxid)
			return cache->state[i];
	i = cache->n++ % QAM_XID_CACHE;
	cache->xid[i] = fullxid;
	cache->state[i] = qam_xid_state(fullxid);
	return cache->state[i];
}
