/*-------------------------------------------------------------------------
 *
 * qam_xid.h
 *	  Is a claim's transaction still open?
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_XID_H
#define QAM_XID_H

typedef enum QamXidState
{
	QAM_XID_ENDED,
	QAM_XID_OTHERS,				/* another transaction, open or prepared */
	QAM_XID_OWN					/* the current transaction, or its
								 * subtransaction */
} QamXidState;

#define QAM_XID_CACHE		8

/* Results of one walk.  A transaction found open may have ended since. */
typedef struct QamXidCache
{
	int			n;
	uint64		xid[QAM_XID_CACHE];
	QamXidState state[QAM_XID_CACHE];
} QamXidCache;

extern QamXidState qam_xid_state(uint64 fullxid);
extern uint64 qam_full_xid(TransactionId xid);
extern uint64 qam_next_xid(void);
extern uint64 qam_claim_xid(uint64 claim, uint64 next);
extern QamXidState qam_xid_state_cached(QamXidCache *cache, uint64 fullxid);

#endif							/* QAM_XID_H */
