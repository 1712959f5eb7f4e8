/*-------------------------------------------------------------------------
 *
 * qam_internal.h
 *	  What the files of the queue index share among themselves.  Prototypes
 *	  are grouped under the file that defines them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_INTERNAL_H
#define QAM_INTERNAL_H

#include "access/amapi.h"
#include "qam/qam.h"
#include "qam/qam_page.h"
#include "storage/bufmgr.h"

/*
 * qam_xlog.c: one atomic change of up to QAM_LOG_PAGES pages.
 *
 * Usage: begin; take each page (whose buffer is locked exclusively) with
 * qam_log_page; edit the page that this returns with the verbs of qam_page.c
 * only; finish.  Nothing between begin and finish may fail or allocate.
 */
#define QAM_LOG_PAGES		4

typedef struct QamLog
{
	Relation	index;
	bool		hints_only;		/* no record is written, unless log_hints */
	int			npages;
	struct
	{
		Buffer		buffer;
		Page		page;
		bool		fresh;		/* page is initialised by this change */
	}			pages[QAM_LOG_PAGES];
	void	   *generic;		/* GenericXLogState, with ONCE_GENERIC_XLOG */
} QamLog;

extern void qam_log_begin(QamLog *log, Relation index);
extern void qam_log_begin_hint(QamLog *log, Relation index);
extern Page qam_log_page(QamLog *log, Buffer buffer, bool fresh);
extern void qam_log_bytes(QamLog *log, Page page, const void *where, Size len);
extern void qam_log_hint_bytes(QamLog *log, Page page, const void *where, Size len);
extern XLogRecPtr qam_log_finish(QamLog *log);
extern void qam_log_flush_soon(XLogRecPtr lsn);
extern void qam_log_whole_page(Relation index, Buffer buffer, ForkNumber fork);

/* qam_page.c: the only code that changes a page's bytes */
extern void qam_meta_random(uint64 *nonce);
extern void qam_page_init_meta(Page page, const uint64 *nonce, const uint64 *group_key);
extern void qam_page_init(Page page, uint16 kind, int lane, uint64 seq);
extern void qam_page_append(QamLog *log, Page page, const QamSlot *slots, int nslots);
extern void qam_page_set_slot(QamLog *log, Page page, int slot, const QamSlot *new);
extern void qam_page_set_over(QamLog *log, Page page, int slot, bool keep_claim,
							  uint64 gone_by);
extern void qam_page_set_done(QamLog *log, Page page, int slot);
extern void qam_page_unblock(QamLog *log, Page page, int slot, bool idle,
							 uint64 gone_by);
extern void qam_page_set_successor(QamLog *log, Page page, int slot, const QamPlace *next);
extern void qam_page_set_slot_hint(QamLog *log, Page page, int slot, uint8 hints);
extern void qam_page_set_acked(QamLog *log, Page page, int slot);
extern void qam_page_set_hints(QamLog *log, Page page, int64 earliest, uint64 owner,
							   int first_unfinished);
extern void qam_page_lower_earliest(QamLog *log, Page page, int64 earliest);
extern void qam_page_unset_earliest(QamLog *log, Page page);
extern void qam_page_set_next(QamLog *log, Page page, QamLink next);
extern void qam_page_set_free(QamLog *log, Page page, QamLink next_free);
extern void qam_page_set_lane_head(QamLog *log, Page page, int lane, QamLink head);
extern void qam_page_set_lane_tail(QamLog *log, Page page, int lane, QamLink tail);
extern void qam_page_set_free_list(QamLog *log, Page page, QamLink free);
extern void qam_page_set_nonce(QamLog *log, Page page, const uint64 *nonce);
extern uint64 qam_page_next_seq(QamLog *log, Page page);
extern void qam_page_count_wakeup(QamLog *log, Page page, uint64 seq);
extern void qam_page_set_directory(QamLog *log, Page page, BlockNumber block);
extern void qam_page_set_schedule(QamLog *log, Page page, BlockNumber block);
extern void qam_page_init_directory(Page page, uint64 seq, BlockNumber groups);
extern void qam_page_split_groups(QamLog *log, Page root, Page old, Page new,
								  BlockNumber new_block, uint64 seq, uint32 hash);
extern void qam_page_set_group(QamLog *log, Page page, int i, const QamGroup *group);
extern void qam_page_remove_group(QamLog *log, Page page, int i);
extern void qam_page_init_schedule(Page page, uint64 seq, uint64 cursor);
extern void qam_page_set_cursor(QamLog *log, Page page, uint64 cursor);
extern void qam_page_set_near_due(QamLog *log, Page page, int64 near_due);
extern void qam_page_set_ends(QamLog *log, Page page, int offset, QamListEnds ends);

/*
 * rd_amcache: where each lane ended when we last looked, and what does not
 * change while the index keeps its file (whose change resets the cache).
 */
typedef struct QamCache
{
	QamLink		tails[QAM_LANES];
	bool		nonce_known;
	bool		group_key_known;
	uint64		nonce[2];
	uint64		group_key[2];
	BlockNumber nblocks;		/* at least so many blocks exist */
	BlockNumber heap_nblocks;	/* likewise, of the table, in this
								 * transaction: */
	LocalTransactionId heap_lxid;
	BlockNumber directory;		/* once they exist, they stay where they are */
	BlockNumber schedule;
} QamCache;

extern QamCache *qam_cache(Relation index);

/* qam_list.c: metapage, links, extension, append, unlinking */
extern void qam_meta_read(Relation index, QamMetaData *meta);
extern QamMeta qam_meta_check(Relation index, Page page);
extern bool qam_page_is_removable(Page page);
extern bool qam_page_is_spent(Page page);
extern bool qam_lane_unlink(Relation index, int lane, const QamLink *pred,
							const QamLink *link, bool wait);
extern bool qam_meta_adopt_page(Relation index, Buffer buffer);
extern void qam_meta_wake(Relation index, uint64 seq);
extern Buffer qam_meta_get_page(Relation index, QamLink *free);
extern QamLink qam_lane_tail(Relation index, int lane);
extern void qam_lane_tail_gone(Relation index, int lane, const QamLink *tail);
extern bool qam_lane_next_again(Relation index, int lane, const QamLink *pred,
								const QamLink *failed, QamLink *next);
extern Buffer qam_lane_lock_if(Relation index, const QamLink *link, int lane, bool wait);
extern void qam_lane_extend(Relation index, int lane, const QamLink *full);
extern void qam_append_ready(Relation index, const QamEntry *entries, int nentries);
extern const uint64 *qam_meta_nonce(Relation index);
extern const uint64 *qam_meta_group_key(Relation index);
extern void qam_meta_renew_nonce(QamLog *log, Page page, const uint64 *nonce);
extern void qam_lane_append(Relation index, int lane, const QamSlot *slots, int nslots);
extern int	qam_max_pins(void);
extern bool qam_block_exists(Relation index, BlockNumber block);
extern bool qam_heap_block_exists(Relation heap, Relation index, BlockNumber block);
extern BlockNumber qam_meta_directory(Relation index);
extern BlockNumber qam_meta_schedule(Relation index);

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

/* qam_damage.c: pages that are not what they should be */
pg_noreturn extern void qam_broken(Relation index, BlockNumber block,
								   const char *format,...) pg_attribute_printf(3, 4);
extern const char *qam_page_fault(Page page);
extern const char *qam_slot_fault(const QamSlot *slot, uint16 kind);
extern void qam_require_page(Relation index, Buffer buffer);
extern void qam_require_slot(Relation index, BlockNumber block, int slotno,
							 const QamSlot *slot, uint16 kind);
extern bool qam_successor_is_later(const QamSlot *slot, BlockNumber block, uint64 seq,
								   int slotno);
extern bool qam_page_is(Page page, const QamLink *link, int lane);
extern bool qam_seems_to_be(Page page, uint16 kind, uint64 seq, uint64 mask);
extern void qam_require_block(Relation index, BlockNumber block, const char *what);
extern Buffer qam_pin_block(Relation index, BlockNumber block, const char *what);
extern Buffer qam_pin_row(Relation heap, Relation index, BlockNumber block);
extern Buffer qam_follow(Relation index, const char *what, QamLink link, uint16 kind,
						 int mode);
extern Buffer qam_follow_place(Relation index, const QamPlace *place, int mode);

/*
 * qam_schedule.c: messages due later
 *
 * A list of the schedule is known by where its ends are in the root.
 */
#define QAM_NEAR			((int) offsetof(QamScheduleData, near))
#define QAM_OPENED			((int) offsetof(QamScheduleData, opened))
#define QAM_BUCKET(digit, value) \
	((int) (offsetof(QamScheduleData, buckets) + \
			((digit) * QAM_DIGIT_VALUES + (value)) * sizeof(QamListEnds)))

static inline QamListEnds
qam_schedule_ends(const QamScheduleData *schedule, int list)
{
	return *(const QamListEnds *) ((const char *) schedule + list);
}

struct QamMove;

/* Where a slot comes from that goes from the schedule to its group */
typedef struct QamSource
{
	struct QamMove *move;		/* of this slot alone */
	QamSlot		slot;			/* as it is now, once ready */
} QamSource;

typedef enum QamSourceState
{
	QAM_SOURCE_READY,
	QAM_SOURCE_BUSY,
	QAM_SOURCE_GONE
} QamSourceState;

extern bool qam_schedule_read(Relation index, QamScheduleData *schedule);
extern int64 qam_schedule_due(Relation index);
extern int	qam_schedule_list(const QamScheduleData *schedule, int64 ready_at);
extern QamLink qam_schedule_head(Relation index, int list);
extern void qam_schedule_ended(Relation index, int list, const QamLink *last);
extern void qam_schedule_append(Relation index, const QamSlot *slot, int lane, int64 now);
extern void qam_schedule_clean(Relation index, BufferAccessStrategy strategy);
extern QamSourceState qam_source_lock(Relation index, QamSource *source);
extern bool qam_source_wait(QamSource *source);
extern void qam_source_log(QamLog *log, QamSource *source);
extern void qam_source_unlock(QamSource *source);

/* qam_walk.c: the way along a list */
extern QamLink qam_lane_find_way(Relation index, int lane, QamLink *pred, const QamLink *failed);
extern QamLink qam_schedule_find_way(Relation index, int list, QamLink *pred,
									 const QamLink *failed);
extern void qam_lane_ended(Relation index, int lane, const QamMetaData *meta,
						   const QamLink *last);

/* qam_xid.c: is a claim's transaction still open? */
typedef enum QamXidState
{
	QAM_XID_ENDED,
	QAM_XID_OTHERS,				/* another transaction's, open or prepared */
	QAM_XID_OWN					/* the current transaction's or a child's */
} QamXidState;

extern QamXidState qam_xid_state(uint64 fullxid);
extern uint64 qam_full_xid(TransactionId xid);
extern uint64 qam_next_xid(void);
extern uint64 qam_claim_xid(uint64 claim, uint64 next);

#define QAM_XID_CACHE		8

/* Verdicts of one walk; a transaction seen open may have ended since. */
typedef struct QamXidCache
{
	int			n;
	uint64		xid[QAM_XID_CACHE];
	QamXidState state[QAM_XID_CACHE];
} QamXidCache;

extern QamXidState qam_xid_state_cached(QamXidCache *cache, uint64 fullxid);

/* How things were when a walk began */
typedef struct QamView
{
	QamMetaData meta;
	TimestampTz now;
	uint64		next_xid;
	QamXidCache xids;			/* of transactions looked up since */
	uint64		woken[QAM_WAKE_CELLS / 64]; /* wake-ups by the walk itself */
} QamView;

/*
 * qam_quiet.c
 *
 * Why a page, or a run of pages, need not be visited: none of its messages can
 * become ready before "earliest" as long as the transactions "owners" are open
 * and (own) the current transaction has not rolled anything back.
 */
#define QAM_MAX_OWNERS		8

typedef struct QamQuiet
{
	int64		earliest;		/* 0: not quiet at all */
	bool		by_row;			/* some owner is known from a heap row only */
	bool		own;			/* some slots depend on this transaction */
	uint64		own_xid;		/* the one (sub)transaction, 0 if several */
	int			nowners;
	uint64		owners[QAM_MAX_OWNERS];
} QamQuiet;

/* A run of quiet pages; see qam_run_find */
typedef struct QamRun
{
	uint64		nonce[2];		/* which index */
	int			lane;
	QamLink		first;
	QamLink		last;			/* the run's last page */
	QamLink		next;			/* the page behind it */
	int			npages;			/* 0: no run */
	QamQuiet	quiet;
	TimestampTz seen;
	uint32		wakeups;		/* in the range of its pages */
	LocalTransactionId lxid;
	uint64		rollbacks;
} QamRun;

extern void qam_quiet_init(QamQuiet *quiet);
extern void qam_quiet_add_xid(QamQuiet *quiet, uint64 fullxid, bool own);
extern QamRun *qam_run_find(QamView *view, int lane, const QamLink *link);
extern void qam_run_add(QamView *view, QamRun *run, int lane, const QamLink *link,
						const QamLink *next, const QamQuiet *quiet);
extern void qam_run_end(QamView *view, QamRun *run);
extern uint64 qam_rollbacks(void);

/* qam_heap.c: how the row of a slot stands */
typedef enum QamRowState
{
	QAM_ROW_GONE,				/* deleted by a committed, or inserted by an
								 * aborted transaction, or moved by UPDATE */
	QAM_ROW_BUSY,				/* insert, delete or row lock in progress */
	QAM_ROW_OWN_DELETE,			/* deleted by this transaction */
	QAM_ROW_OWN_UPDATE,			/* HOT-updated by this transaction */
	QAM_ROW_LIVE
} QamRowState;

typedef struct QamRow
{
	QamRowState state;
	bool		locked_only;	/* BUSY for a row lock alone */
	bool		inserting;		/* BUSY, as it is being inserted */
	bool		deleted;		/* GONE, OWN_DELETE: the row is still there to
								 * say so; otherwise an UPDATE may have moved
								 * it, to a slot of its own */
	TransactionId xid;			/* BUSY, OWN_xxx: whose doing, if it is one's.
								 * GONE: the same, or invalid if that is so
								 * long ago that every snapshot sees it */
	ItemPointerData tid;		/* unless GONE: the version meant */
	HeapTupleData tuple;		/* likewise; points into the page */
} QamRow;

extern void qam_judge(Relation heap, Buffer heap_buffer, ItemPointer tid, QamRow *row);
extern bool qam_row_visible(const QamRow *row, Snapshot snapshot);
extern bool qam_xid_visible(uint64 fullxid, Snapshot snapshot);

/* qam_directory.c: a group's entry in the directory, with its page locked */
typedef struct QamGroupEntry
{
	Buffer		first;			/* first page of its part: locks them all */
	Buffer		page;			/* where the entry is, or could be put */
	int			entry;			/* -1: there is no page with room for it */
	bool		found;
	QamGroup	group;			/* if found */
} QamGroupEntry;

extern void qam_directory_create(Relation index);
extern void qam_directory_grow(Relation index, uint32 hash);
extern bool qam_directory_agrees(QamDirectory directory, BlockNumber block, Page page,
								 uint32 hash);
extern void qam_directory_lock(Relation index, uint32 hash, int mode, QamGroupEntry *out);
extern void qam_directory_unlock(QamGroupEntry *entry);
extern int	qam_directory_copy_groups(Relation index, uint32 place, uint32 from,
									  QamGroup **groups, uint32 *nplaces);

/* qam_group.c: chains of groups */
extern uint32 qam_directory_hash(const uint64 *key, const char *group_id, int len);
extern uint64 qam_directory_label(const uint64 *key, uint32 hash);
extern void qam_group_append(Relation index, const QamSlot *slot,
							 QamSource *source);
extern void qam_group_advance(Relation index, uint32 hash, uint64 *woken);
extern uint64 qam_gone_by(const QamSlot *slot, const QamRow *row);
extern void qam_group_give_back(Relation index, const QamSlot *slot,
								QamRef **mates, int *nmates);

/* qam_inspect.c: slots one by one, for those who only look */
typedef struct QamCopiedPage
{
	Buffer		buffer;			/* pinned */
	BlockNumber block;
	const char *fault;			/* see qam_page_fault */
	bool		zeros;			/* which is a fault in a list only */
	QamOpaqueData opaque;		/* kind = 0 for a page of zeros */
	int			nslots;			/* 0 if there is a fault */
	QamSlot		slots[(BLCKSZ / sizeof(QamSlot)) + 1];
} QamCopiedPage;

extern void qam_copy_page(Relation index, BlockNumber block, QamCopiedPage *copy);
extern bool qam_judge_copied(Relation heap, Relation index, const QamCopiedPage *copy,
							 int slotno, Buffer *heap_buffer, QamRow *row, bool *unused);

/* qam_ref.c */
extern uint64 qam_proof(const uint64 *nonce, uint64 seq, int slotno,
						const QamSlot *slot);
extern int64 qam_pause(const QamRetry *retry, uint64 seq, int slotno, const QamSlot *slot);
extern int64 qam_ready_again(const QamRetry *retry, uint64 seq, int slotno,
							 const QamSlot *slot);
extern int64 qam_stuck_pause(int stuck);

/* qam_build.c */
extern IndexBuildResult *qambuild(Relation heap, Relation index, struct IndexInfo *info);
extern void qambuildempty(Relation index);

/* qam_list.c */
extern bool qaminsert(Relation index, Datum *values, bool *isnull, ItemPointer tid,
					  Relation heap, IndexUniqueCheck unique, bool unchanged,
					  struct IndexInfo *info);

/* qam_vacuum.c */
extern IndexBulkDeleteResult *qambulkdelete(IndexVacuumInfo *info,
											IndexBulkDeleteResult *stats,
											IndexBulkDeleteCallback callback,
											void *callback_state);
extern IndexBulkDeleteResult *qamvacuumcleanup(IndexVacuumInfo *info,
											   IndexBulkDeleteResult *stats);

#endif							/* QAM_INTERNAL_H */
