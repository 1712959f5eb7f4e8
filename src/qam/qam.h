/*-------------------------------------------------------------------------
 *
 * qam.h
 *	  The door to the queue index access method "once_queue".
 *
 * The floors above src/qam know the index by the declarations below and by
 * nothing else.  Through them they enqueue, claim and give back messages, and
 * inspect and verify the index.  The structures on disk are in qam_format.h,
 * which is private to this directory.  src/qam/README explains how they work
 * together.
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
 * The address of one delivery: the place of its slot, and a keyed hash of what
 * the slot said when it was claimed.  An upper layer stores it in a receipt and
 * hands it back.  It cannot be guessed, and it goes stale with the claim.
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

/* How failed deliveries are spaced (microseconds), and how many there may be */
typedef struct QamRetry
{
	int64		delay;
	int64		delay_max;
	int			max_attempts;	/* 0: no limit */
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
	QAM_DEAD_EXPIRED,			/* the request's "expired" says so */
	QAM_DEAD_REJECTED			/* set by src/queue alone: a handler rejected
								 * it */
} QamDeath;

/*
 * What is needed to undo a claim: the number of the slot's page, the claim
 * word, and what the slot was before
 */
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
	uint32		nth;			/* how many the request had claimed before it */
	uint16		attempt;		/* number of this delivery; dead: of the last
								 * one */
	bool		stuck;			/* taking it away has failed before */
	bool		removed;		/* for the caller: its row is deleted */
	QamDeath	death;
	TimestampTz ready_at;		/* by lease: its end; by xid: time of claim */
	QamUndo		undo;
} QamClaimed;

typedef enum QamClaimKind
{
	QAM_CLAIM_XID,				/* until the innermost transaction ends */
	QAM_CLAIM_LEASE				/* until a time */
} QamClaimKind;

/*
 * Called for each claimed row with no page locked, but with the row's heap page
 * pinned, so that the row's line pointer stays what it is.  Returns false if
 * the row is not available without waiting.  Then the claim is undone, no
 * attempt is counted, and the message is not returned.
 */
typedef bool (*QamRemoveRow) (void *arg, QamClaimed *claimed);

/*
 * Is a live row past its time?  Called under page locks.  It may read fixed
 * columns of the tuple, and the time given, and may do nothing else.
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
 * Messages that are not delivered any more (QamDeath) are claimed apart, by
 * transaction, for the caller to take away.  No attempt is counted, and if the
 * transaction rolls back, they are dead again.  At most max_dead are claimed;
 * the others are passed by, and so are the messages of their groups.  But if
 * there is nothing to deliver, dead messages may be what is in the way.  Then
 * up to max_dead_alone are claimed.
 *
 * With "look" nothing is claimed.  Messages that could be claimed are counted
 * in "claims", whose arrays stay empty.
 */
typedef struct QamDelivery
{
	QamClaimKind kind;
	int64		lease;			/* microseconds, for QAM_CLAIM_LEASE */
	QamRetry	retry;
	int			max_dead;
	int			max_dead_alone;
	bool		look;			/* only count what could be claimed; "kind" is
								 * QAM_CLAIM_LEASE */
	QamExpired	expired;		/* NULL: no message expires */
	void	   *expired_arg;
} QamDelivery;

/* Which messages are wanted.  Taking away counts no attempt. */
typedef struct QamSelection
{
	QamPurpose	purpose;
	int			max;			/* 0, when delivering: the dead only */
	Snapshot	snapshot;		/* only rows whose xmin it sees are offered */
	QamDelivery delivery;		/* QAM_TO_DELIVER */
	struct
	{
		ItemPointerData tid;	/* root of its row's HOT chain */
		int			lane;		/* the lane it is in */
		TimestampTz ready_at;	/* its deliver_at, or 0 */
	}			one;			/* QAM_TO_TAKE_ONE */
} QamSelection;

/* What has been claimed, in order of delivery.  Zero at first, except context. */
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
 * The caller may pass it again to claim more: what is in "claims" stays there.
 * "claims" is up to date at any time, so the claims can be undone whatever
 * happens on the way.
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
 * Undo a claim of a message that nobody has been told of.  The slot becomes
 * what it was, and no attempt is counted, unless somebody else has claimed the
 * message since.  With "stuck", the message is not offered again at once, but
 * after a pause, which grows with the number of times in a row that this has
 * happened.
 *
 * May be called while a transaction is being aborted.
 */
extern void qam_undo_claim(Relation index, const QamClaimed *claimed, bool stuck);

/* What a receipt is worth, according to its slot and its row */
typedef enum QamRefState
{
	QAM_REF_HELD,				/* claimed by this very delivery */
	QAM_REF_LAPSED,				/* its claim has lapsed, and nobody has
								 * claimed the message since */
	QAM_REF_LOST,				/* claimed by somebody else, or not known */
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
	bool		updated_by_us;	/* did this transaction make that version? */
	Buffer		heap_pin;		/* HELD, LAPSED, BUSY: pinned; released by
								 * caller */
} QamLocated;

extern void qam_locate(Relation heap, Relation index, const QamRef *ref,
					   QamLocated *out);

/* qam_heap.c: what became of a row that was live when a claim was made */
typedef enum QamTrace
{
	QAM_TRACE_THERE,			/* it is there, or the newer version that an
								 * UPDATE made */
	QAM_TRACE_DELETED_BY_US,	/* by the current transaction */
	QAM_TRACE_DELETED,			/* by another one, committed */
	QAM_TRACE_NONE				/* no trace of it is left */
} QamTrace;

extern QamTrace qam_trace_row(Relation heap, ItemPointer tid, TransactionId xmin);
extern bool qam_confirm_ack(Relation index, const QamRef *ref);

/*
 * Have the rows of all messages before this one in its group been deleted, by
 * committed transactions or by ours?  If not, this one must not be acked.  True
 * for a message without a group.
 */
extern bool qam_first_in_group(Relation heap, Relation index, const QamRef *ref);

/*
 * Give back or prolong a claim.  This takes effect at once, whatever becomes
 * of the transaction.  Only HELD and LAPSED claims are changed (QAM_END_LEASE:
 * only HELD ones).  A claim by xid cannot be extended: *when is set to
 * DT_NOBEGIN, and nothing is changed.  A negative delay of QAM_NACK means the
 * back-off; a message whose attempts are used up is ready at once, to be taken
 * away.  Only QAM_NACK needs "retry".
 *
 * In a group, the later messages of the same claim whose rows are still there
 * are given back first, and their attempts are not counted.  (QAM_EXTEND does
 * not do that.)  "mate" is called for each of these after it was given back,
 * unless it is NULL.  If the call is cut short, they stay given back.
 */
typedef void (*QamMateGivenBack) (void *arg, const QamRef *ref);

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
								 QamMateGivenBack mate, void *arg);

/*
 * Give back the leases of the messages whose rows are wanted, if their time is
 * not up; their attempts stay counted.  This takes effect at once.  Later
 * messages of the same claim in the same group are given back as well, and
 * their attempts are not counted.  Returns how many wanted leases were given
 * back.
 *
 * "wanted" is called under page locks.  It may read fixed columns of the
 * tuple, and may do nothing else.
 */
typedef bool (*QamWanted) (void *arg, HeapTuple tuple);

extern int64 qam_release_leases(Relation heap, Relation index, QamWanted wanted, void *arg);

/* How far a tour of the directory of groups has come; all zero at first */
typedef struct QamTour
{
	uint32		place;			/* in the directory, modulo the number of
								 * places */
	uint32		from;			/* the least hash at that place to go on with */
	bool		over;			/* out: the end was reached, the next call
								 * begins again */
} QamTour;

/*
 * Make groups advance whose first message cannot be claimed yet, if plain SQL
 * has deleted that message's row or moved it to another slot.  The tour goes
 * on where it stopped, until *looks are used up or the end of the directory is
 * reached.  Each slot that is looked at costs one of *looks.  Returns whether
 * a slot was ended.
 */
extern bool qam_settle_groups(Relation heap, Relation index, QamTour *tour, int *looks);

/* Enqueueing: the contracts are at the definitions. */
extern void qam_append(Relation index, const QamEntry *entries, int nentries);
extern QamEntry qam_entry(Relation index, const Datum *values, const bool *isnull,
						  ItemPointer tid);

/*
 * Move messages whose time is up into their lanes, about "max" of them at most.
 * Walks do some of that by themselves.  Returns how many were moved.
 */
extern int	qam_run_schedule(Relation heap, Relation index, int max);

/* Is there no message whose time may come? */
extern bool qam_schedule_is_empty(Relation index);

/* An upper bound of the number of messages in the index */
extern int64 qam_capacity(Relation index);

/* Inspection.  All of it works on a standby, too. */

/* The state of a message as inspection shows it */
typedef enum QamPeekState
{
	QAM_PEEK_READY,
	QAM_PEEK_DELAYED,
	QAM_PEEK_CLAIMED,			/* also if an open transaction has its row
								 * locked, or has deleted it */
	QAM_PEEK_BLOCKED,			/* another message of its group comes first */
	QAM_PEEK_UNCOMMITTED,		/* the transaction that sent it is open */
	QAM_PEEK_GONE				/* its row is gone */
} QamPeekState;

typedef struct QamPeeked
{
	HeapTuple	tuple;			/* palloc'd copy, or NULL if GONE */
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
	uint64		group;			/* 63 bits, the same for all messages of the
								 * group; 0: no group */
	bool		blocked;		/* another one comes before it in its group */
	const char *claim;			/* NULL, 'xid' or 'lease' */
	uint64		claim_xid;		/* with 'xid' */
	ItemPointerData tid;
	int			attempts;
	TimestampTz ready_at;		/* 0: at once */
	int			stuck;			/* how often in a row taking away has failed */
	QamPeeked	now;			/* state of its message; valid during the call */
} QamSlotInfo;

typedef struct QamPageInfo
{
	BlockNumber block;
	const char *kind;			/* 'meta', 'lane', 'free', 'new', 'directory',
								 * 'groups', 'schedule', 'bucket' */
	int			lane;			/* -1 unless it is a lane's page */
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

/* qam_sample.c: how many messages there are */
typedef enum QamDepth
{
	QAM_DEPTH_READY,
	QAM_DEPTH_DELAYED,
	QAM_DEPTH_CLAIMED,			/* as QAM_PEEK_CLAIMED */
	QAM_DEPTH_BLOCKED,
	QAM_DEPTH_DEAD,				/* not delivered any more, and not taken away
								 * yet */
	QAM_DEPTH_STUCK				/* READY or DELAYED: taking it away has failed */
} QamDepth;

#define QAM_NDEPTHS			(QAM_DEPTH_STUCK + 1)

/* Why a message is claimed, or as good as claimed */
typedef struct QamClaimSeen
{
	bool		lease;
	uint64		xid;			/* unless leased: the transaction; 0: several */
	TimestampTz time;			/* leased: until when.  Else since when; 0:
								 * not known */
} QamClaimSeen;

typedef struct QamSample
{
	Relation	heap;
	Relation	index;
	const QamRetry *retry;

	/*
	 * These are called with the row's heap page pinned, and may read fixed
	 * columns.  expired: see QamExpired.  since: when could a message be
	 * delivered first?  DT_NOEND: not known.
	 */
	QamExpired	expired;
	TimestampTz (*since) (void *arg, HeapTuple tuple);

	/*
	 * Called for each message that is CLAIMED, of those that are read; or
	 * NULL
	 */
	void		(*claimed) (void *arg, const QamClaimSeen *claim);
	void	   *arg;

	/* out */
	double		depth[QAM_NDEPTHS];
	double		error[QAM_NDEPTHS]; /* standard errors; 0: counted */
	TimestampTz oldest_ready;	/* the least "since" of the READY ones;
								 * DT_NOEND: there is none */
	TimestampTz oldest_claim;	/* the first claim by a transaction that is
								 * still open; DT_NOEND: there is none */
	BlockNumber pages;			/* of the index */
} QamSample;

extern void qam_sample(QamSample *sample);

/* Verification: "sink" is called once for each breach of a rule. */
typedef void (*QamFaultSink) (void *arg, const char *rule, BlockNumber block,
							  int slot, const char *detail);

extern void qam_check(Relation heap, Relation index, bool strict,
					  QamFaultSink sink, void *arg);

/*
 * qam_parameters.c: the storage parameters of a queue index.  They mean nothing to
 * the index, which keeps them for the floors above.  Times are in microseconds.
 */
typedef struct QamParameters
{
	QamRetry	retry;
	int64		ttl;			/* 0: off */
	int64		retention;		/* 0: off */
	bool		drop_expired;
	bool		send_paused;
	bool		consume_paused;
} QamParameters;

extern void qam_parameters(Relation index, QamParameters *parameters);
extern void qam_parameters_read(Datum reloptions, QamParameters *parameters);
extern char *qam_parameters_text(const QamParameters *parameters);

/* Is this access method ours? */
extern bool qam_is_queue_am(Oid am);

/* once.log_hints, once.flush_claims */
extern bool qam_log_hints;
extern bool qam_flush_claims;

extern void qam_init(void);

#endif							/* QAM_H */
