/*-------------------------------------------------------------------------
 *
 * qam_format.h
 *	  What the queue index looks like on disk: page structs and their macros,
 *	  nothing else.
 *
 * An index is one metapage (block 0), followed by data pages.  Each data page
 * belongs to the list of a lane, to the directory of groups, to the schedule or
 * to the free list, or it is new (all zeros, after a crash during extension).
 * See the README in this directory.
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
 * 1	First format.  Slots are 40 bytes; the successor link and the group
 *		hash are reserved and zero.  Never released.
 * 2	Ordered groups and the schedule.  The metapage counts wake-ups by range.
 *		Extension 0.1.0.
 * 3	The metapage has a key for the hash of groups, which is another hash.
 *		Slots count how often their message was stuck.  Extension 0.2.0.
 *
 * A server that meets another version refuses the index and asks for REINDEX.
 * That loses leases and attempts, but never messages.  The README says when a
 * change needs a new version, and what comes with it.
 */
#define QAM_MAGIC			0x4f4e4351	/* "QCNO" */
#define QAM_VERSION			3
#define QAM_METAPAGE		0

/* In the last two bytes of every page, for pg_filedump and the like */
#define QAM_PAGE_ID			0xFF9C

/* Priority lanes: 9 is served first. */
#define QAM_LANES			10
#define QAM_DEFAULT_LANE	4

/*
 * A link names a block, and the page that is expected there.  A page gets a new
 * sequence number each time it enters a list, so a walk that arrives late sees
 * that the page meant is gone.
 */
typedef struct QamLink
{
	BlockNumber block;			/* InvalidBlockNumber: end of the list */
	uint32		unused;			/* zero; keeps seq aligned */
	uint64		seq;			/* sequence number of the page meant */
} QamLink;

/* No sequence number is larger than this, so numbers never wrap around */
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
 * Special space of every page.  On the metapage, only kind and page_id count.
 */
typedef struct QamOpaqueData
{
	QamLink		next;			/* next page of the lane, or of the free list */
	uint64		seq;			/* this page's number */
	/* page hints; README, "Hints", tells when they are logged */
	int64		earliest;		/* 0: unknown.  No slot is ready before,
								 * except those that depend on owner */
	uint64		owner;			/* 0: none.  Full id of a transaction; while
								 * it is open, its slots are not offered */
	uint16		first_unfinished;	/* all slots before it are DONE */
	uint8		lane;
	uint8		unused;
	uint16		kind;			/* QAM_PAGE_xxx */
	uint16		page_id;		/* QAM_PAGE_ID */
} QamOpaqueData;

typedef QamOpaqueData *QamOpaque;

#define QAM_PAGE_META		1
#define QAM_PAGE_LANE		2
#define QAM_PAGE_FREE		3
#define QAM_PAGE_DIRECTORY	4	/* root of the groups' directory */
#define QAM_PAGE_BUCKET		5	/* messages due later: slots like a lane's */
#define QAM_PAGE_GROUPS		6	/* groups of a part of the directory */
#define QAM_PAGE_SCHEDULE	7	/* root of the schedule */

/* What pages of kind BUCKET have as their lane */
#define QAM_SCHEDULED		QAM_LANES

/*
 * The content of a page lies between these offsets.  Nothing that is read from
 * a page leads out of it: the special space is taken to be where it must be,
 * and counts are cut to what there is room for, whatever the header says.
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
 * whether they concern a run of pages that it remembers.
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
	uint32		wakeups[QAM_WAKE_CELLS];	/* hint: incremented when a slot
											 * becomes ready early */
} QamMetaData;

typedef QamMetaData *QamMeta;

#define QamPageGetMeta(page) ((QamMeta) PageGetContents(page))

/*
 * A slot: one entry of the index, appended together with its row.  In a lane
 * it is never moved.
 *
 * Everything from "attempts" on changes during the life of the slot.  The
 * successor is written once more, when there is one.  The rest never changes.
 *
 * The slot of a message due later is in a bucket of the schedule first.  There,
 * next_slot tells for which lane it is.
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
	uint8		hints;			/* QAM_HINT_xxx, see there */
	int64		ready_at;		/* see README, "Slot life" */
	uint64		claim;			/* kind in the top bits, see below */
} QamSlot;

#define QAM_SLOT_APPENDED	1	/* claim = xid of the inserting transaction */
#define QAM_SLOT_READY		2	/* offered from ready_at on */
#define QAM_SLOT_CLAIMED	3	/* by an xid, or by a lease until ready_at */
#define QAM_SLOT_DONE		4	/* row gone for good; final */
#define QAM_SLOT_TAKEN		5	/* by an xid that takes the message away and
								 * delivers it to nobody; if that fails, like
								 * READY */

#define QAM_SLOT_ENDED		6	/* row gone for good, but its group does not
								 * know yet; DONE comes next.  ready_at = full
								 * id of the transaction that removed the row,
								 * or 0 */

/*
 * Set in addition to the state: another unfinished slot comes before this one
 * in its group, so it is not offered.  Never set with DONE.
 */
#define QAM_SLOT_BLOCKED	0x80

/* The block of the row.  The tid need not have been checked. */
#define QamSlotGetBlock(slot)	ItemPointerGetBlockNumberNoCheck(&(slot)->tid)

/*
 * Set in addition to READY and TAKEN: how often in a row the message could not
 * be taken away.  Saturating.
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

/*
 * An ack has deleted the row of a lease, or of a lapsed claim: judge the row
 * before the slot's time.  Setting this is not logged, except in a group, where
 * other messages wait for it.
 */
#define QAM_HINT_ACKED		0x01

/*
 * The claim word.  A slot keeps the word of its last claim after that claim
 * has lapsed, so that a late ack can be told from a stale one.  It keeps the
 * word after its row was deleted, so that a second ack can be recognized.
 * Giving the message back clears the word.
 */
#define QAM_CLAIM_SHIFT		62
#define QAM_CLAIM_NONE		UINT64CONST(0)
#define QAM_CLAIM_BY_LEASE	UINT64CONST(1)	/* 62 random bits */
#define QAM_CLAIM_BY_XID	UINT64CONST(2)	/* transaction id and a salt */
#define QAM_CLAIM_GONE_BY	UINT64CONST(3)	/* no claim: the slot is READY,
											 * but offered only to snapshots
											 * that see this transaction,
											 * which removed the message
											 * before it in the group */
#define QamClaimKindOf(claim)	((claim) >> QAM_CLAIM_SHIFT)
#define QamClaimValueOf(claim)	((claim) & ((UINT64CONST(1) << QAM_CLAIM_SHIFT) - 1))
#define QamMakeClaim(kind, value) \
	(((kind) << QAM_CLAIM_SHIFT) | QamClaimValueOf(value))

/*
 * A claim by transaction: the low 48 bits of the full transaction id, and
 * above them 14 random bits, the salt.  After a crash an id can be assigned
 * again, if nothing that names it had reached the disk; the salt tells the
 * receipts of the two transactions apart.  The high bits of the id follow from
 * the current id (qam_claim_xid).
 */
#define QAM_CLAIM_XID_BITS	48
#define QAM_CLAIM_XID_MASK	((UINT64CONST(1) << QAM_CLAIM_XID_BITS) - 1)
#define QamMakeXidClaim(fullxid, salt) \
	QamMakeClaim(QAM_CLAIM_BY_XID, \
				 ((salt) << QAM_CLAIM_XID_BITS) | ((fullxid) & QAM_CLAIM_XID_MASK))

/* The place of a slot.  The number's low half tells if the page was reused. */
typedef struct QamPlace
{
	BlockNumber block;			/* 0: nowhere */
	uint32		seq;
	uint16		slot;
} QamPlace;

/*
 * The directory of groups: which slot is the first of a group, and which is
 * the last.  This is extendible hashing.  The root has a block number for each
 * value of the low "depth" bits of a hash.  A page of groups has a depth of
 * its own.  All groups on it have the same low bits, as many as that depth.
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

/* A page of groups has its depth in "lane"; "next" leads to further pages */
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
 * buckets have been opened.  A message belongs to bucket (d, v) if d is the
 * highest digit in which its tick differs from the cursor, and v is the value
 * of that digit.  If its tick is not after the cursor, it belongs to the list
 * "near".  Opening a bucket makes it the list "opened", whose messages then go
 * to finer buckets.
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
	int64		near_due;		/* nothing in "near" is due before this */
	QamListEnds near;
	QamListEnds opened;
	QamListEnds buckets[QAM_DIGITS][QAM_DIGIT_VALUES];
} QamScheduleData;

typedef QamScheduleData *QamSchedule;

#define QamPageGetSchedule(page) ((QamSchedule) PageGetContents(page))

/*
 * The layout, byte by byte.  It has no padding, so it is the same for every
 * compiler and every platform.  One that lays out a struct in another way does
 * not compile this.  Byte order is the machine's, as for all of PostgreSQL's files.
 *
 * The content of a page begins at byte 24, and the special space takes the last 48
 * bytes.
 */
#define QAM_SIZE(type, size) \
	StaticAssertDecl(sizeof(type) == (size), "size of " #type)
#define QAM_FIELD(type, field, offset) \
	StaticAssertDecl(offsetof(type, field) == (offset), "place of " #field " in " #type)

StaticAssertDecl(MAXALIGN(SizeOfPageHeaderData) == 24, "begin of the content");
StaticAssertDecl(MAXALIGN(sizeof(QamOpaqueData)) == 48, "begin of the special space");

QAM_SIZE(QamLink, 16);
QAM_FIELD(QamLink, block, 0);
QAM_FIELD(QamLink, unused, 4);
QAM_FIELD(QamLink, seq, 8);

QAM_SIZE(QamOpaqueData, 48);
QAM_FIELD(QamOpaqueData, next, 0);
QAM_FIELD(QamOpaqueData, seq, 16);
QAM_FIELD(QamOpaqueData, earliest, 24);
QAM_FIELD(QamOpaqueData, owner, 32);
QAM_FIELD(QamOpaqueData, first_unfinished, 40);
QAM_FIELD(QamOpaqueData, lane, 42);
QAM_FIELD(QamOpaqueData, unused, 43);
QAM_FIELD(QamOpaqueData, kind, 44);
QAM_FIELD(QamOpaqueData, page_id, 46);

QAM_SIZE(QamLane, 32);
QAM_FIELD(QamLane, head, 0);
QAM_FIELD(QamLane, tail, 16);

QAM_SIZE(QamMetaData, 1416);
QAM_FIELD(QamMetaData, magic, 0);
QAM_FIELD(QamMetaData, version, 4);
QAM_FIELD(QamMetaData, nonce, 8);
QAM_FIELD(QamMetaData, group_key, 24);
QAM_FIELD(QamMetaData, next_seq, 40);
QAM_FIELD(QamMetaData, free, 48);
QAM_FIELD(QamMetaData, directory, 64);
QAM_FIELD(QamMetaData, schedule, 68);
QAM_FIELD(QamMetaData, lanes, 72);
QAM_FIELD(QamMetaData, wakeups, 392);

QAM_SIZE(QamSlot, 40);
QAM_FIELD(QamSlot, tid, 0);
QAM_FIELD(QamSlot, next_slot, 6);
QAM_FIELD(QamSlot, next_block, 8);
QAM_FIELD(QamSlot, next_seq, 12);
QAM_FIELD(QamSlot, group_hash, 16);
QAM_FIELD(QamSlot, attempts, 20);
QAM_FIELD(QamSlot, state, 22);
QAM_FIELD(QamSlot, hints, 23);
QAM_FIELD(QamSlot, ready_at, 24);
QAM_FIELD(QamSlot, claim, 32);

QAM_FIELD(QamDirectoryData, depth, 0);
QAM_FIELD(QamDirectoryData, pages, 4);

QAM_SIZE(QamGroup, 24);
QAM_FIELD(QamGroup, hash, 0);
QAM_FIELD(QamGroup, head_block, 4);
QAM_FIELD(QamGroup, head_seq, 8);
QAM_FIELD(QamGroup, tail_block, 12);
QAM_FIELD(QamGroup, tail_seq, 16);
QAM_FIELD(QamGroup, head_slot, 20);
QAM_FIELD(QamGroup, tail_slot, 22);

QAM_SIZE(QamListEnds, 8);
QAM_FIELD(QamListEnds, head, 0);
QAM_FIELD(QamListEnds, tail, 4);

QAM_SIZE(QamScheduleData, 2592);
QAM_FIELD(QamScheduleData, cursor, 0);
QAM_FIELD(QamScheduleData, near_due, 8);
QAM_FIELD(QamScheduleData, near, 16);
QAM_FIELD(QamScheduleData, opened, 24);
QAM_FIELD(QamScheduleData, buckets, 32);

/* The roots fit their pages. */
StaticAssertDecl(QAM_PAGE_BEGIN + sizeof(QamMetaData) <= QAM_PAGE_END, "metapage");
StaticAssertDecl(QAM_PAGE_BEGIN + sizeof(QamScheduleData) <= QAM_PAGE_END, "schedule");
StaticAssertDecl(QAM_PAGE_BEGIN + offsetof(QamDirectoryData, pages) +
				 (sizeof(BlockNumber) << QAM_DIRECTORY_MAX_DEPTH) <= QAM_PAGE_END,
				 "directory");

#endif							/* QAM_FORMAT_H */
