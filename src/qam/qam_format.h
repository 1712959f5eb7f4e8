/*-------------------------------------------------------------------------
 *
 * qam_format.h
 *	  What the queue index looks like on disk: page structs and their macros,
 *	  nothing else.
 *
 * An index is one metapage (block 0) followed by data pages.  Each data page
 * belongs to a lane's list, to the directory of groups, to the schedule, to the
 * free list, or is new (all zeros, after a crash during extension).  See README
 * in this directory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_FORMAT_H
#define QAM_FORMAT_H

#include "datatype/timestamp.h"
#include "storage/block.h"
#include "storage/bufpage.h"
#include "storage/itemptr.h"

/*
 * Format history.
 *
 * 1	first format.  Slots are 40 bytes; the successor link and the group
 *		hash are reserved and zero.  Never released.
 * 2	ordered groups and the schedule; the metapage counts wake-ups by range.
 * 3	the metapage has a key for the hash of groups, which is another hash.
 *		Slots count how often their message was stuck.
 *
 * A server that meets another version refuses the index and asks for REINDEX,
 * which costs leases and attempts, never messages.
 */
#define QAM_MAGIC			0x4f4e4351	/* "QCNO" */
#define QAM_VERSION			3
#define QAM_METAPAGE		0

/* Last two bytes of every page, for pg_filedump and friends */
#define QAM_PAGE_ID			0xFF9C

/* Priority lanes: 9 is served first. */
#define QAM_LANES			10
#define QAM_DEFAULT_LANE	4

/*
 * A link says which block follows and which page it expects to find there:
 * a page gets a new sequence number each time it enters a list, so a walker
 * that arrives late sees that the page it wanted is gone.
 */
typedef struct QamLink
{
	BlockNumber block;			/* InvalidBlockNumber: end of the list */
	uint32		unused;			/* zero; keeps seq aligned */
	uint64		seq;			/* sequence number of the page meant */
} QamLink;

/* No number is larger, so that none wraps around */
#define QAM_MAX_SEQ			(UINT64CONST(1) << 56)

#define QamLinkIsValid(link) ((link)->block != InvalidBlockNumber)

static inline QamLink
qam_link(BlockNumber block, uint64 seq)
{
	QamLink		link = {block, 0, seq};

	return link;
}

static inline QamLink
qam_no_link(void)
{
	return qam_link(InvalidBlockNumber, 0);
}

static inline bool
qam_same_link(const QamLink *a, const QamLink *b)
{
	return a->block == b->block && a->seq == b->seq;
}

/*
 * Special space of every page but the metapage's, where only kind and page_id
 * count.
 */
typedef struct QamOpaqueData
{
	QamLink		next;			/* next page of the lane, or of the free list */
	uint64		seq;			/* this page's number */
	/* page hints: not WAL-logged unless lowered, see README, "Hints" */
	int64		earliest;		/* 0, or no slot but owner's is ready before */
	uint64		owner;			/* 0, or full xid whose slots "earliest"
								 * ignores */
	uint16		first_unfinished;	/* all slots before it are DONE */
	uint8		lane;
	uint8		unused;
	uint16		kind;			/* QAM_PAGE_xxx */
	uint16		page_id;		/* QAM_PAGE_ID */
} QamOpaqueData;

typedef QamOpaqueData *QamOpaque;

StaticAssertDecl(sizeof(QamOpaqueData) == 48, "page format");

#define QAM_PAGE_META		1
#define QAM_PAGE_LANE		2
#define QAM_PAGE_FREE		3
#define QAM_PAGE_DIRECTORY	4	/* root of the groups' directory */
#define QAM_PAGE_BUCKET		5	/* messages due later: slots like a lane's */
#define QAM_PAGE_GROUPS		6	/* groups of a part of the directory */
#define QAM_PAGE_SCHEDULE	7	/* root of the schedule */

/* In place of a lane: pages of kind BUCKET */
#define QAM_SCHEDULED		QAM_LANES

/*
 * What a page holds lies between these offsets.  Nothing that is read from a
 * page leads out of it: the special space is where it must be, and counts are
 * never more than there is room for, whatever the header says.
 */
#define QAM_PAGE_BEGIN		((int) MAXALIGN(SizeOfPageHeaderData))
#define QAM_PAGE_END		((int) (BLCKSZ - MAXALIGN(sizeof(QamOpaqueData))))

#define QamPageGetOpaque(page) ((QamOpaque) ((char *) (page) + QAM_PAGE_END))
#define QamPageGetSlots(page) ((QamSlot *) PageGetContents(page))
#define QamPageGetSlotCount(page) \
	qam_page_count(page, sizeof(QamSlot), QAM_SLOTS_PER_PAGE)
#define QAM_SLOTS_PER_PAGE \
	((int) ((QAM_PAGE_END - QAM_PAGE_BEGIN) / sizeof(QamSlot)))

static inline int
qam_page_count(Page page, int size, int max)
{
	int			used = ((PageHeader) page)->pd_lower - QAM_PAGE_BEGIN;

	return used < 0 ? 0 : Min(used / size, max);
}

/* A lane's list.  head is invalid until the lane's first message. */
typedef struct QamLane
{
	QamLink		head;
	QamLink		tail;
} QamLane;

/*
 * Wake-ups are counted for ranges of page numbers, so that a backend can tell
 * whether a run of pages that it remembers is concerned.
 */
#define QAM_WAKE_CELLS		256
#define QAM_WAKE_CELL(seq)	((int) (((seq) >> 6) % QAM_WAKE_CELLS))

typedef struct QamMetaData
{
	uint32		magic;
	uint32		version;
	uint64		nonce[2];		/* random at each build: receipts depend on it */
	uint64		group_key[2];	/* random at each build: for hashes of groups */
	uint64		next_seq;		/* number for the next page to enter a list */
	QamLink		free;			/* head of the free list */
	BlockNumber directory;		/* root of the groups' directory, 0 = none yet */
	BlockNumber schedule;		/* root of the schedule, 0 = none yet */
	QamLane		lanes[QAM_LANES];
	uint32		wakeups[QAM_WAKE_CELLS];	/* hint: bumped when a slot
											 * becomes ready early */
} QamMetaData;

typedef QamMetaData *QamMeta;

#define QamPageGetMeta(page) ((QamMeta) PageGetContents(page))

/*
 * A slot: one index entry, appended with its row, and in a lane never moved.
 *
 * Everything from "attempts" on changes during the slot's life; of the part
 * before it, the successor is written once more, when there is one.
 *
 * A message due later has its slot in a bucket of the schedule first, where
 * next_slot says which lane it is for.
 */
typedef struct QamSlot
{
	ItemPointerData tid;		/* root of the row's HOT chain */
	uint16		next_slot;		/* successor in its group */
	BlockNumber next_block;		/* successor in its group, 0 = none */
	uint32		next_seq;		/* low half of that page's number */
	uint32		group_hash;		/* 0 = no group */
	uint16		attempts;		/* deliveries so far, saturating */
	uint8		state;			/* QAM_SLOT_xxx, see QamSlotState() */
	uint8		hints;			/* QAM_HINT_xxx, WAL-logged only when set in a
								 * group */
	int64		ready_at;		/* see README, "Slot life" */
	uint64		claim;			/* kind in the top bits, see below */
} QamSlot;

StaticAssertDecl(sizeof(QamSlot) == 40, "slot format");

#define QAM_SLOT_APPENDED	1	/* claim = xid of the inserting transaction */
#define QAM_SLOT_READY		2	/* offered from ready_at on */
#define QAM_SLOT_CLAIMED	3	/* by an xid, or by a lease until ready_at */
#define QAM_SLOT_DONE		4	/* row gone for good; final */
#define QAM_SLOT_TAKEN		5	/* by an xid that takes the message away and
								 * delivers it to nobody; if that fails, as
								 * READY */

#define QAM_SLOT_ENDED		6	/* row gone for good, but its group does not
								 * know yet; then DONE.  ready_at = full id of
								 * who did away with it, or 0 */

/*
 * With the state: there is another unfinished slot before it in its group, so
 * it is not offered.  Never with DONE.
 */
#define QAM_SLOT_BLOCKED	0x80

/* The block of the row; the tid has not been looked at yet */
#define QamSlotGetBlock(slot)	ItemPointerGetBlockNumberNoCheck(&(slot)->tid)

/*
 * With READY and TAKEN: how often in a row it has come to nothing to take the
 * message away.  Saturating.
 */
#define QAM_SLOT_STUCK			0x70
#define QAM_SLOT_STUCK_SHIFT	4
#define QAM_SLOT_MAX_STUCK		(QAM_SLOT_STUCK >> QAM_SLOT_STUCK_SHIFT)

#define QamSlotState(slot)		((slot)->state & 0x0F)
#define QamSlotIsBlocked(slot)	(((slot)->state & QAM_SLOT_BLOCKED) != 0)
#define QamSlotStuck(slot) \
	(((slot)->state & QAM_SLOT_STUCK) >> QAM_SLOT_STUCK_SHIFT)

/* Is the row gone for good, so that its line pointer means nothing any more? */
#define QamSlotIsOver(slot) \
	(QamSlotState(slot) == QAM_SLOT_DONE || QamSlotState(slot) == QAM_SLOT_ENDED)

/* Somebody deleted the row of a lease: look at the heap before its time */
#define QAM_HINT_ACKED		0x01

/*
 * The claim word.  A slot keeps the word of its last claim after that claim
 * has lapsed, so that a late ack can still be told from a stale one, and after
 * its row was deleted, so that a second ack can be told; giving the message
 * back clears it.
 */
#define QAM_CLAIM_SHIFT		62
#define QAM_CLAIM_NONE		UINT64CONST(0)
#define QAM_CLAIM_BY_LEASE	UINT64CONST(1)	/* 62 random bits */
#define QAM_CLAIM_BY_XID	UINT64CONST(2)	/* transaction id and a salt */
#define QAM_CLAIM_GONE_BY	UINT64CONST(3)	/* nobody's: READY, and for those
											 * only who see this transaction,
											 * which did away with the one
											 * before it in the group */
#define QamClaimKindOf(claim)	((claim) >> QAM_CLAIM_SHIFT)
#define QamClaimValueOf(claim)	((claim) & ((UINT64CONST(1) << QAM_CLAIM_SHIFT) - 1))
#define QamMakeClaim(kind, value) \
	(((kind) << QAM_CLAIM_SHIFT) | QamClaimValueOf(value))

/*
 * A claim by transaction: the low 48 bits of the full transaction id, and above
 * them 14 random bits.  An id can be assigned again after a crash, if nothing
 * that names it had reached the disk; the salt tells the receipts of the two
 * apart.  The other bits of the id follow from the present one: qam_claim_xid.
 */
#define QAM_CLAIM_XID_BITS	48
#define QAM_CLAIM_XID_MASK	((UINT64CONST(1) << QAM_CLAIM_XID_BITS) - 1)
#define QamMakeXidClaim(fullxid, salt) \
	QamMakeClaim(QAM_CLAIM_BY_XID, \
				 ((salt) << QAM_CLAIM_XID_BITS) | ((fullxid) & QAM_CLAIM_XID_MASK))

/* Where a slot is; the number's low half tells a page used again */
typedef struct QamPlace
{
	BlockNumber block;			/* 0: nowhere */
	uint32		seq;
	uint16		slot;
} QamPlace;

/*
 * The directory of groups: which slot is the first of a group, and which the
 * last.  Extendible hashing: the root has a block number for each value of the
 * hash's low "depth" bits; the page there holds all groups whose low "depth" of
 * its own bits are the same.
 */
#define QAM_DIRECTORY_MAX_DEPTH		10

typedef struct QamDirectoryData
{
	uint32		depth;
	BlockNumber pages[FLEXIBLE_ARRAY_MEMBER];	/* 1 << depth */
} QamDirectoryData;

typedef QamDirectoryData *QamDirectory;

#define QamPageGetDirectory(page) ((QamDirectory) PageGetContents(page))

typedef struct QamGroup
{
	uint32		hash;
	BlockNumber head_block;
	uint32		head_seq;
	BlockNumber tail_block;
	uint32		tail_seq;
	uint16		head_slot;
	uint16		tail_slot;
} QamGroup;

StaticAssertDecl(sizeof(QamGroup) == 24, "group format");

/* A page of groups has its depth in "lane", and further pages by "next" */
#define QamPageGetGroups(page) ((QamGroup *) PageGetContents(page))
#define QamPageGetGroupCount(page) \
	qam_page_count(page, sizeof(QamGroup), QAM_GROUPS_PER_PAGE)
#define QAM_GROUPS_PER_PAGE \
	((int) ((QAM_PAGE_END - QAM_PAGE_BEGIN) / sizeof(QamGroup)))

/*
 * The schedule: messages due later, in buckets that grow coarser with distance.
 *
 * Time is counted in ticks of 2^QAM_TICK_BITS microseconds, and a tick is
 * written in digits of QAM_DIGIT_BITS bits.  "cursor" is the tick up to which
 * buckets have been opened.  A message whose tick differs from it first in
 * digit d is in bucket (d, its value of that digit); one whose tick is not
 * after it is in the list "near".  Opening a bucket makes it the list "opened",
 * whose messages go to finer buckets.
 */
#define QAM_TICK_BITS		17
#define QAM_MAX_TICK		((uint64) PG_INT64_MAX >> QAM_TICK_BITS)
#define QAM_DIGIT_BITS		5
#define QAM_DIGITS			10
#define QAM_DIGIT_VALUES	(1 << QAM_DIGIT_BITS)

typedef struct QamListEnds
{
	BlockNumber head;			/* 0: empty */
	BlockNumber tail;
} QamListEnds;

typedef struct QamScheduleData
{
	uint64		cursor;			/* a tick */
	int64		near_due;		/* nothing in "near" is due before */
	QamListEnds near;
	QamListEnds opened;
	QamListEnds buckets[QAM_DIGITS][QAM_DIGIT_VALUES];
} QamScheduleData;

typedef QamScheduleData *QamSchedule;

#define QamPageGetSchedule(page) ((QamSchedule) PageGetContents(page))

StaticAssertDecl(sizeof(QamScheduleData) + sizeof(QamOpaqueData) + 64 <= BLCKSZ,
				 "schedule fits its page");

#endif							/* QAM_FORMAT_H */
