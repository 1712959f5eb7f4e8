/*-------------------------------------------------------------------------
 *
 * qam.h
 *	  The door to the queue index access method "once_queue".
 *
 * Everything above src/qam sees the index through the declarations below and
 * through nothing else: it offers rows, sets slot states and inspects itself.
 * The structures on disk are in qam_format.h, private to this directory; how
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

/* Priorities of messages; the highest is served first. */
#define QAM_MAX_PRIORITY		9
#define QAM_DEFAULT_PRIORITY	4

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

/* The longest group_id, in bytes */
#define QAM_MAX_GROUP_ID	1000

/* How deliveries that fail are spaced, in microseconds, and how many there are */
typedef struct QamRetry
{
	int64		delay;
	int64		delay_max;
	int			max_attempts;	/* 0: no end */
} QamRetry;

/* One row to enqueue */
typedef struct QamEntry
{
	ItemPointerData tid;
	uint8		lane;
	uint32		group;			/* hash of its group_id, or 0: no group */
	TimestampTz ready_at;		/* 0: at once */
} QamEntry;

/* Why a message is not delivered any more */
typedef enum QamDeath
{
	QAM_ALIVE,
	QAM_DEAD_ATTEMPTS,			/* it was delivered max_attempts times */
	QAM_DEAD_EXPIRED			/* the caller's "expired" says so */
} QamDeath;

/* What it takes to undo a claim: the slot's page and claim word, and what the
 * slot was before */
typedef struct QamUndo
{
	uint64		seq;
	uint64		claim;
	uint64		old_claim;
	int64		old_ready_at;
	uint16		old_attempts;
	uint8		old_state;
	uint8		old_hints;
	uint8		lane;
} QamUndo;

/* qam_walk.c: one message that a walk has claimed */
typedef struct QamClaimed
{
	QamRef		ref;
	HeapTuple	tuple;			/* palloc'd copy; t_self is the live version */
	uint32		group;			/* hash of its group, or 0 */
	uint32		nth;			/* of all that the request has claimed, in
								 * order */
	uint16		attempt;		/* with a death: deliveries it has had */
	bool		stuck;			/* taking it away has failed before */
	bool		removed;		/* the caller's: its row is deleted */
	QamDeath	death;
	TimestampTz ready_at;		/* lease: its end.  By xid: time of the claim */
	QamUndo		undo;
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
typedef bool (*QamRemoveRow) (void *arg, QamClaimed *claimed);

/*
 * Is a live row past its time?  Called under page locks: it reads fixed columns
 * of the tuple and the time given, and does nothing else.
 */
typedef bool (*QamExpired) (void *arg, HeapTuple tuple, TimestampTz now);

/* What a request is for */
typedef enum QamPurpose
{
	QAM_TO_DELIVER,				/* messages whose turn it is, to be handed out */
	QAM_TO_TAKE_ALL,			/* all that no open transaction has claimed,
								 * to be taken away: also delayed, leased,
								 * dead and blocked ones (purge) */
	QAM_TO_TAKE_ONE				/* one message, to be taken away, unless it is
								 * claimed (cancel) */
} QamPurpose;

/*
 * With QAM_TO_DELIVER: how messages are delivered.
 *
 * Messages that are not to be delivered any more (QamDeath) are claimed apart,
 * by transaction, for the caller to take away: no attempt is counted, and if the
 * transaction rolls back, they are dead again.  Beyond max_dead they are passed
 * by, and so are the messages of their groups; but as long as there is nothing to
 * deliver, they stand in the way, and up to max_dead_alone are taken.
 */
typedef struct QamDelivery
{
	QamClaimKind kind;
	int64		lease;			/* microseconds, for QAM_CLAIM_LEASE */
	QamRetry	retry;
	int			max_dead;
	int			max_dead_alone;
	QamExpired	expired;		/* NULL: no message expires */
	void	   *expired_arg;
} QamDelivery;

/* Which messages are wanted; taking away counts no attempt */
typedef struct QamSelection
{
	QamPurpose	purpose;
	int			max;			/* 0, to deliver: the dead only */
	Snapshot	snapshot;		/* only rows whose xmin it sees are offered */
	QamDelivery delivery;		/* QAM_TO_DELIVER */
	struct
	{
		ItemPointerData tid;	/* by the root of its HOT chain */
		int			lane;		/* the lane it is in */
		TimestampTz ready_at;	/* its deliver_at, or 0 */
	}			one;			/* QAM_TO_TAKE_ONE */
} QamSelection;

/* What has been claimed, in order of delivery; zero at first, but for context */
typedef struct QamClaims
{
	MemoryContext context;		/* of the arrays; NULL: the current one */
	QamClaimed *claimed;
	int			nclaimed;
	int			room;			/* allocated length */
	QamClaimed *dead;
	int			ndead;
	int			dead_room;
	uint32		nclaims;		/* claims of both kinds, undone ones included */
} QamClaims;

/*
 * A request to qam_claim.
 *
 * It may be made again, for more: what is in "claims" stays.  That is up to date at
 * any time, so that the claims can be undone whatever happens on the way.
 */
typedef struct QamClaimRequest
{
	Relation	heap;
	Relation	index;
	QamSelection selection;
	QamRemoveRow remove;		/* NULL, or see above */
	void	   *remove_arg;
	QamClaims	claims;
	TimestampTz earliest;		/* out: when the first message that waits for
								 * a time becomes ready, or DT_NOEND */
} QamClaimRequest;

extern void qam_claim(QamClaimRequest *req);

/*
 * Undo a claim of whose message nobody has been told: the slot becomes what it
 * was, and no attempt is counted, unless somebody else has claimed the message
 * since.  stuck: nor is it to be offered again at once, but after a pause, which
 * is the longer the more often in a row that has happened.
 *
 * It may be called while a transaction is being aborted.
 */
extern void qam_undo_claim(Relation index, const QamClaimed *claimed, bool stuck);

/* What a receipt's slot says now; DESIGN calls it the receipt's state table. */
typedef enum QamRefState
{
	QAM_REF_HELD,				/* claimed by this very delivery */
	QAM_REF_LAPSED,				/* its claim is over, and nobody claimed since */
	QAM_REF_LOST,				/* somebody else's now, or beyond recognition */
	QAM_REF_GONE,				/* row deleted, by a committed transaction or
								 * by ours */
	QAM_REF_BUSY				/* row is being deleted or updated by another
								 * transaction that is still open */
} QamRefState;

typedef struct QamLocated
{
	QamRefState state;
	QamClaimKind kind;
	uint16		attempt;
	uint32		group;			/* hash of its group, or 0 */
	ItemPointerData tid;		/* HELD, LAPSED, BUSY: the row's newest
								 * version */
	Buffer		heap_pin;		/* HELD, LAPSED, BUSY: pinned; caller releases */
} QamLocated;

extern void qam_locate(Relation heap, Relation index, const QamRef *ref,
					   QamLocated *out);

/* qam_heap.c: what has become of a row that was live when a claim was made */
typedef enum QamTrace
{
	QAM_TRACE_THERE,			/* it, or what an UPDATE made of it */
	QAM_TRACE_DELETED_BY_US,	/* by the current transaction */
	QAM_TRACE_DELETED,			/* by another one, committed */
	QAM_TRACE_NONE				/* no trace of it is left */
} QamTrace;

extern QamTrace qam_trace_row(Relation heap, ItemPointer tid, TransactionId xmin);
extern bool qam_confirm_ack(Relation index, const QamRef *ref);

/*
 * Are all messages before this one in its group deleted, by committed
 * transactions or by ours?  Otherwise it must not be acked.  True for a message
 * without a group.
 */
extern bool qam_first_in_group(Relation heap, Relation index, const QamRef *ref);

/*
 * Giving back or prolonging a claim; acts at once, whatever the transaction
 * does.  Only HELD and LAPSED claims are changed.  A claim by xid cannot be
 * extended: then *when is set to DT_NOBEGIN and nothing is changed.  A negative
 * delay of QAM_NACK means the back-off; a message whose attempts are used up is
 * ready at once, to be taken away.
 *
 * In a group, those of the same claim that come after it and whose rows are
 * still there are given back as well, before it (not by QAM_EXTEND), uncounted:
 * their refs go to *mates, palloc'd; NULL if there are none.  Only QAM_NACK needs
 * retry.
 */
typedef enum QamGiveBack
{
	QAM_NACK,					/* ready at a time; the attempt counts */
	QAM_RELEASE,				/* ready now; the attempt does not count */
	QAM_END_LEASE,				/* ready now, if it is HELD; the attempt
								 * counts */
	QAM_EXTEND					/* leased until a time */
} QamGiveBack;

extern QamRefState qam_give_back(Relation heap, Relation index, const QamRef *ref,
								 QamGiveBack how, int64 delay,
								 const QamRetry *retry, TimestampTz *when,
								 QamRef **mates, int *nmates);

/*
 * Give back, at once, the leases that are not over of the messages whose rows are
 * wanted; the attempts stay counted.  Those of the same claim that come after one in
 * its group are given back with it, uncounted.  Returns how many of those wanted.
 *
 * "wanted" is called under page locks: it reads fixed columns of the tuple, and does
 * nothing else.
 */
typedef bool (*QamWanted) (void *arg, HeapTuple tuple);

extern int64 qam_release_leases(Relation heap, Relation index, QamWanted wanted, void *arg);

/* How far somebody has come in the directory of groups; begins with zeros */
typedef struct QamTour
{
	uint32		place;			/* in the directory; taken modulo their number */
	uint32		from;			/* where to go on there, by hashes */
	bool		over;			/* out: the end was reached; begins anew */
} QamTour;

/*
 * Have groups go on whose first message, which is not to be had yet, has been deleted
 * or moved by plain SQL: from where the tour has come to, as far as *looks are enough,
 * which are what that costs, or to the end of the directory.  Tells whether any does.
 */
extern bool qam_settle_groups(Relation heap, Relation index, QamTour *tour, int *looks);

/* Enqueueing: see contract at the definition. */
extern void qam_append(Relation index, const QamEntry *entries, int nentries);
extern QamEntry qam_entry(Relation index, const Datum *values, const bool *isnull,
						  ItemPointer tid);

/*
 * Bring messages whose time has come into their lanes, at most about "max" of
 * them; walks do some of that by themselves.  Returns how many were moved.
 */
extern int	qam_run_schedule(Relation heap, Relation index, int max);

/* No more messages than that can be in the index now. */
extern int64 qam_capacity(Relation index);

/* Inspection; all of it also works on a standby. */

/* How a message stands for somebody who only looks. */
typedef enum QamPeekState
{
	QAM_PEEK_READY,
	QAM_PEEK_DELAYED,
	QAM_PEEK_CLAIMED,			/* also if an open transaction has its row
								 * locked, or has deleted it */
	QAM_PEEK_BLOCKED,			/* another of its group comes first */
	QAM_PEEK_UNCOMMITTED,		/* the transaction that sent it is open */
	QAM_PEEK_GONE				/* its row is gone */
} QamPeekState;

typedef struct QamPeeked
{
	HeapTuple	tuple;			/* palloc'd copy, or NULL if DONE */
	QamPeekState state;
	uint16		attempts;
	bool		stuck;			/* READY or DELAYED: taking it away has failed */
	TimestampTz ready_at;
} QamPeeked;

extern int	qam_peek(Relation heap, Relation index, Snapshot snapshot,
					 const QamRetry *retry, int max, QamPeeked *out);

typedef struct QamSlotInfo
{
	int			lane;
	bool		scheduled;		/* due later: not in its lane yet */
	BlockNumber block;
	int			slot;
	const char *state;			/* 'appended', 'ready', 'claimed', 'taken',
								 * 'ended', 'done' */
	uint64		group;			/* 63 bits, the same for all of its group; or
								 * 0 */
	bool		blocked;		/* there is one before it in its group */
	const char *claim;			/* NULL, 'xid' or 'lease' */
	uint64		claim_xid;		/* with 'xid' */
	ItemPointerData tid;
	int			attempts;
	TimestampTz ready_at;		/* 0: at once */
	int			stuck;			/* taking it away has failed so often in a row */
	QamPeeked	now;			/* how its message stands; good during the
								 * call */
} QamSlotInfo;

typedef struct QamPageInfo
{
	BlockNumber block;
	const char *kind;			/* 'meta', 'lane', 'free', 'new', 'directory',
								 * 'groups', 'schedule', 'bucket' */
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

extern void qam_each_slot(Relation heap, Relation index, const QamRetry *retry,
						  QamSlotSink sink, void *arg);
extern void qam_each_page(Relation index, QamPageSink sink, void *arg);

/* Verification: one call of sink per broken rule. */
typedef void (*QamFaultSink) (void *arg, const char *rule, BlockNumber block,
							  int slot, const char *detail);

extern void qam_check(Relation heap, Relation index, bool strict,
					  QamFaultSink sink, void *arg);

/* Is this access method ours? */
extern bool qam_is_queue_am(Oid am);

/* once.log_hints, once.flush_claims */
extern bool qam_log_hints;
extern bool qam_flush_claims;

extern void qam_init(void);

#endif							/* QAM_H */
