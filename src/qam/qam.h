/*-------------------------------------------------------------------------
 *
 * qam.h
 *	  The door to the queue index access method "once_queue".
 *
 * Everything above src/qam sees the index through the declarations below and
 * through nothing else: it offers rows, sets slot states and inspects itself.
 * The structures on disk are in qam_page.h, private to this directory; how
 * they work together is told in src/qam/README.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_H
#define QAM_H

#include "access/genam.h"
#include "access/htup.h"
#include "datatype/timestamp.h"
#include "storage/block.h"
#include "storage/itemptr.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#define QAM_AM_NAME			"once_queue"

/* Priority lanes: 9 is served first. */
#define QAM_LANES			10
#define QAM_DEFAULT_LANE	4

/* Attribute numbers of the index columns (id, priority, deliver_at, group_id) */
#define QAM_ATTR_ID			1
#define QAM_ATTR_PRIORITY	2
#define QAM_ATTR_DELIVER_AT	3
#define QAM_ATTR_GROUP_ID	4
#define QAM_NATTRS			4

/*
 * The address of one delivery: where its slot is, and a keyed hash of what
 * the slot said when it was claimed.  An upper layer stores it in a receipt
 * and hands it back; it cannot be guessed, and goes stale with the claim.
 */
typedef struct QamRef
{
	BlockNumber block;
	uint16		slot;			/* < QAM_MAX_SLOT */
	uint64		proof;			/* 48 bits */
} QamRef;

#define QAM_MAX_SLOT		(1 << 12)
#define QAM_PROOF_MASK		((UINT64CONST(1) << 48) - 1)

/* How deliveries that failed are spaced; microseconds. */
typedef struct QamBackoff
{
	int64		retry_delay;
	int64		retry_delay_max;
} QamBackoff;

/* qam_claim.c: one row to enqueue */
typedef struct QamEntry
{
	ItemPointerData tid;
	uint8		lane;
	TimestampTz ready_at;		/* 0: at once */
} QamEntry;

/* qam_walk.c: one message that a walk has claimed */
typedef struct QamClaimed
{
	QamRef		ref;
	HeapTuple	tuple;			/* palloc'd copy; t_self is the live version */
	uint16		attempt;
	TimestampTz ready_at;		/* lease: its end.  By xid: time of the claim */
} QamClaimed;

typedef enum QamClaimKind
{
	QAM_CLAIM_XID,				/* until the innermost transaction ends */
	QAM_CLAIM_LEASE				/* until a time */
} QamClaimKind;

/*
 * Called for each claimed row with no page lock held, but with a pin on the
 * row's heap page (so that the row's line pointer stays what it is).  Returns
 * false when the row could not be had without waiting; the claim is then
 * undone, uncounted, and the message is not returned.
 */
typedef bool (*QamTakeRow) (void *arg, QamClaimed *claimed);

/*
 * A request to qam_claim.
 */
typedef struct QamClaimRequest
{
	/* in */
	Relation	heap;
	Relation	index;
	QamClaimKind kind;
	int			max;
	int64		lease;			/* microseconds, for QAM_CLAIM_LEASE */
	QamBackoff	backoff;
	Snapshot	snapshot;		/* only rows whose xmin it sees are offered */
	bool		everything;		/* also delayed and leased ones (purge) */
	ItemPointer only;			/* NULL, or the one row wanted (cancel), by the
								 * root of its HOT chain; not if it is leased */
	int			only_lane;		/* with only: the lane it is in */
	QamTakeRow	take;			/* NULL, or see above */
	void	   *take_arg;

	/* out */
	QamClaimed *claimed;		/* palloc'd, in order of delivery */
	int			nclaimed;
	TimestampTz earliest;		/* when the first message that waits for a time
								 * becomes ready, or DT_NOEND */
} QamClaimRequest;

extern void qam_claim(QamClaimRequest *req);

/* What a receipt's slot says now; DESIGN calls it the receipt's state table. */
typedef enum QamRefState
{
	QAM_REF_HELD,				/* claimed by this very delivery */
	QAM_REF_LAPSED,				/* its claim is over, and nobody claimed since */
	QAM_REF_LOST,				/* somebody else's now, or beyond recognition */
	QAM_REF_GONE,				/* row deleted, by a committed transaction or by ours */
	QAM_REF_BUSY				/* row is being deleted or updated by another
								 * transaction that is still open */
} QamRefState;

typedef struct QamLocated
{
	QamRefState state;
	QamClaimKind kind;
	uint16		attempt;
	ItemPointerData tid;		/* HELD, LAPSED, BUSY: the row's newest version */
	Buffer		heap_pin;		/* HELD, LAPSED, BUSY: pinned; caller releases */
} QamLocated;

extern void qam_locate(Relation heap, Relation index, const QamRef *ref,
					   QamLocated *out);
extern bool qam_confirm_ack(Relation index, const QamRef *ref);

/*
 * Giving back or prolonging a claim; acts at once, whatever the transaction
 * does.  Only HELD and LAPSED claims are changed.  A claim by xid cannot be
 * extended: then *when is set to DT_NOBEGIN and nothing is changed.  A negative
 * delay of QAM_NACK means the back-off.
 */
typedef enum QamGiveBack
{
	QAM_NACK,					/* ready at a time; the attempt counts */
	QAM_RELEASE,				/* ready now; the attempt does not count */
	QAM_EXTEND					/* leased until a time */
} QamGiveBack;

extern QamRefState qam_give_back(Relation heap, Relation index, const QamRef *ref,
								 QamGiveBack how, int64 delay,
								 const QamBackoff *backoff, TimestampTz *when);

/* Enqueueing: see contract at the definition. */
extern void qam_append(Relation index, const QamEntry *entries, int nentries);
extern QamEntry qam_entry(Relation index, const Datum *values, const bool *isnull,
						  ItemPointer tid);

/* The back-off before delivery n + 1, in microseconds. */
extern int64 qam_backoff(const QamBackoff *backoff, int attempts);

/* Inspection; all of it also works on a standby. */
typedef struct QamSlotInfo
{
	int			lane;
	BlockNumber block;
	int			slot;
	const char *state;			/* 'appended', 'ready', 'claimed', 'done' */
	const char *claim;			/* NULL, 'xid' or 'lease' */
	uint64		claim_xid;		/* with 'xid' */
	ItemPointerData tid;
	int			attempts;
	TimestampTz ready_at;		/* 0: at once */
} QamSlotInfo;

typedef struct QamPageInfo
{
	BlockNumber block;
	const char *kind;			/* 'meta', 'lane', 'free', 'new' */
	int			lane;			/* -1 unless a lane's page */
	uint64		seq;
	BlockNumber next;
	int			slots;
	int			done;
	int			first_unfinished;
	TimestampTz earliest;		/* hint: 0 = unknown */
	uint64		owner;			/* hint: 0 = none */
} QamPageInfo;

typedef void (*QamSlotSink) (void *arg, const QamSlotInfo *info);
typedef void (*QamPageSink) (void *arg, const QamPageInfo *info);

extern void qam_each_slot(Relation index, QamSlotSink sink, void *arg);
extern void qam_each_page(Relation index, QamPageSink sink, void *arg);

/* How a message stands for somebody who only looks. */
typedef enum QamPeekState
{
	QAM_PEEK_READY,
	QAM_PEEK_DELAYED,
	QAM_PEEK_CLAIMED
} QamPeekState;

typedef struct QamPeeked
{
	HeapTuple	tuple;			/* palloc'd copy */
	QamPeekState state;
	uint16		attempts;
	TimestampTz ready_at;
} QamPeeked;

extern int	qam_peek(Relation heap, Relation index, Snapshot snapshot,
					 const QamBackoff *backoff, int max, QamPeeked *out);

/* Verification: one call of sink per broken rule. */
typedef void (*QamFaultSink) (void *arg, const char *rule, BlockNumber block,
							  int slot, const char *detail);

extern void qam_check(Relation heap, Relation index, bool strict,
					  QamFaultSink sink, void *arg);

/* Is this relation's access method ours? */
extern bool qam_is_queue_index(Relation index);

/* Settings, defined by src/once_guc.c */
extern bool once_log_hints;
extern bool once_flush_claims;

extern void qam_init(void);

#endif							/* QAM_H */
