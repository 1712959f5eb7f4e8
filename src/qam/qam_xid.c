/*-------------------------------------------------------------------------
 *
 * qam_xid.c
 *	  Whether the transaction that a claim names is still open.
 *
 * Claims carry 64-bit transaction ids, which never wrap.  How a transaction
 * ended is never asked here, nor anywhere in this directory: only the heap row
 * tells, and it is looked at after the transaction was seen to have ended.
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
 * qam_xid_state tells how the (sub)transaction with this full id stands.
 *
 * May be called under page locks.
 */
QamXidState
qam_xid_state(uint64 fullxid)
{
	FullTransactionId full = FullTransactionIdFromU64(fullxid);
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());
	TransactionId xid = XidFromFullTransactionId(full);

	/* Not of this half of the circle, so the 32 bits would mislead */
	if (fullxid >= next || next - fullxid >= UINT64CONST(0x7fffffff))
		return QAM_XID_ENDED;
	if (TransactionIdIsCurrentTransactionId(xid))
		return QAM_XID_OWN;
	return TransactionIdIsInProgress(xid) ? QAM_XID_OTHERS : QAM_XID_ENDED;
}

/*
 * qam_full_xid widens the id of a transaction that is still open.
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
 * The claim holds its low bits; it is the id with these bits that is nearest
 * to "next", which may have been read some time ago.
 */
uint64
qam_claim_xid(uint64 claim, uint64 next)
{
	int			unused = 64 - QAM_CLAIM_XID_BITS;

	return next + ((int64) ((claim - next) << unused) >> unused);
}

/*
 * qam_xid_state_cached is qam_xid_state with a memory for a walk, in which
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
