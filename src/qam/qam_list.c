/*-------------------------------------------------------------------------
 *
 * qam_list.c
 *	  The lists of a queue index: reading the metapage, following and checking
 *	  links, appending slots, and taking finished pages out again.
 *
 * Lock order, as far as this file goes: metapage, lane page, next lane page, heap
 * page; the whole of it is in README.  Never an index page while a heap page is
 * locked.  A page that comes
 * from the free list is locked last.  Relation extension happens under the
 * metapage's exclusive lock, so that every page of zeros found under that
 * lock is a leftover of a crash.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/detoast.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "qam/qam_internal.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

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

/*
 * qam_meta_check returns the metapage's content, or raises if it is not one
 * that we can read.  The page is locked.
 */
QamMeta
qam_meta_check(Relation index, Page page)
{
	QamMeta		meta = QamPageGetMeta(page);
	const char *fault;

	if (PageIsNew(page) ||
		QamPageGetOpaque(page)->page_id != QAM_PAGE_ID ||
		QamPageGetOpaque(page)->kind != QAM_PAGE_META ||
		meta->magic != QAM_MAGIC)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" is not a queue index",
						RelationGetRelationName(index)),
				 errhint("REINDEX restores it from its table.")));
	if (meta->version != QAM_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" has an unsupported format",
						RelationGetRelationName(index)),
				 errdetail("The index has format version %u, this library reads version %d.",
						   meta->version, QAM_VERSION),
				 errhint("REINDEX the index. Messages are kept, leases and attempts are forgotten.")));
	fault = qam_page_fault(page);
	if (fault != NULL)
		qam_broken(index, QAM_METAPAGE, "The page is unsound: %s.", fault);
	return meta;
}

/*
 * qam_meta_read copies the metapage's content.  No lock on entry or exit.
 */
void
qam_meta_read(Relation index, QamMetaData *meta)
{
	Buffer		buffer = ReadBuffer(index, QAM_METAPAGE);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(meta, qam_meta_check(index, BufferGetPage(buffer)), sizeof(QamMetaData));
	UnlockReleaseBuffer(buffer);
}

/*
 * qam_page_is_removable tells whether all slots of a lane's page are DONE and the
 * page is not the list's last one, so that it may be unlinked.  Locked.
 *
 * All are looked at, whatever the page's hint says.
 */
bool
qam_page_is_removable(Page page)
{
	return QamLinkIsValid(&QamPageGetOpaque(page)->next) && qam_page_is_spent(page);
}

/*
 * qam_page_is_spent tells whether no slot of a page is in use any more.  Locked.
 */
bool
qam_page_is_spent(Page page)
{
	QamSlot    *slots = QamPageGetSlots(page);
	int			i;

	for (i = QamPageGetSlotCount(page) - 1; i >= 0; i--)
		if (slots[i].state != QAM_SLOT_DONE)
			return false;
	return true;
}

/*
 * The index's cache.  Must be fetched again after anything that
 * can process invalidation messages.
 */
static QamCache *
qam_cache(Relation index)
{
	if (index->rd_amcache == NULL)
	{
		QamCache   *cache = MemoryContextAlloc(index->rd_indexcxt,
											   sizeof(QamCache));
		int			lane;

		for (lane = 0; lane < QAM_LANES; lane++)
			cache->tails[lane] = qam_no_link();
		cache->nonce_known = cache->group_key_known = false;
		cache->nblocks = cache->heap_nblocks = 0;
		cache->heap_lxid = InvalidLocalTransactionId;
		cache->directory = cache->schedule = 0;
		index->rd_amcache = cache;
	}
	return (QamCache *) index->rd_amcache;
}

/*
 * Remember the random words of the metapage.
 */
static QamCache *
cache_random(Relation index)
{
	QamMetaData meta;
	QamCache   *cache;

	qam_meta_read(index, &meta);
	cache = qam_cache(index);
	memcpy(cache->nonce, meta.nonce, sizeof(cache->nonce));
	memcpy(cache->group_key, meta.group_key, sizeof(cache->group_key));
	cache->group_key_known = true;

	/* Of an empty unlogged index, it will be replaced: qam_meta_renew_nonce */
	cache->nonce_known = (meta.next_seq > 1);
	return cache;
}

/*
 * qam_meta_nonce returns the random words that tell this build of the index from
 * all others.  Valid until the next thing that can process invalidations.
 */
const uint64 *
qam_meta_nonce(Relation index)
{
	QamCache   *cache = qam_cache(index);

	if (!cache->nonce_known)
		cache = cache_random(index);
	return cache->nonce;
}

/*
 * qam_meta_group_key returns the key of this index for qam_directory_hash.  Valid until
 * the next thing that can process invalidations.
 */
const uint64 *
qam_meta_group_key(Relation index)
{
	QamCache   *cache = qam_cache(index);

	if (!cache->group_key_known)
		cache = cache_random(index);
	return cache->group_key;
}

/*
 * qam_block_exists tells whether the index has such a data page, without
 * asking the file system each time.
 */
bool
qam_block_exists(Relation index, BlockNumber block)
{
	if (block == QAM_METAPAGE || block == InvalidBlockNumber)
		return false;
	if (block >= qam_cache(index)->nblocks)
	{
		BlockNumber nblocks = RelationGetNumberOfBlocks(index);

		qam_cache(index)->nblocks = nblocks;
	}
	return block < qam_cache(index)->nblocks;
}

/*
 * qam_heap_block_exists tells the same of the index's table, which is locked.
 *
 * VACUUM makes it shorter when nobody has it locked, so what is known of it is
 * forgotten with the transaction.
 */
bool
qam_heap_block_exists(Relation heap, Relation index, BlockNumber block)
{
	QamCache   *cache = qam_cache(index);

	if (block == InvalidBlockNumber)
		return false;
	if (block >= cache->heap_nblocks || cache->heap_lxid != once_my_lxid())
	{
		BlockNumber nblocks = RelationGetNumberOfBlocks(heap);

		cache = qam_cache(index);
		cache->heap_nblocks = nblocks;
		cache->heap_lxid = once_my_lxid();
	}
	return block < cache->heap_nblocks;
}

/*
 * qam_meta_directory returns where the root of the groups' directory is, or 0.
 */
BlockNumber
qam_meta_directory(Relation index)
{
	if (qam_cache(index)->directory == 0)
	{
		QamMetaData meta;

		qam_meta_read(index, &meta);
		qam_cache(index)->directory = meta.directory;
	}
	return qam_cache(index)->directory;
}

/*
 * qam_meta_schedule returns where the root of the schedule is, or 0.
 */
BlockNumber
qam_meta_schedule(Relation index)
{
	if (qam_cache(index)->schedule == 0)
	{
		QamMetaData meta;

		qam_meta_read(index, &meta);
		qam_cache(index)->schedule = meta.schedule;
	}
	return qam_cache(index)->schedule;
}

/*
 * qam_meta_get_page gets a page for use, pinned and locked exclusively: the first of
 * the free list that begins with *free, or a new one.  *free becomes what the
 * list begins with afterwards.
 *
 * The metapage is locked exclusively.  Nothing is changed yet; the caller stores
 * *free in the metapage.  A page that somebody may still need is not used.
 */
Buffer
qam_meta_get_page(Relation index, QamLink *free)
{
	Buffer		buffer;
	QamLink		next;

	if (!QamLinkIsValid(free))
		return once_extend(index, MAIN_FORKNUM);

	buffer = qam_follow(index, "free list", *free, QAM_PAGE_FREE, BUFFER_LOCK_EXCLUSIVE);
	next = QamPageGetOpaque(BufferGetPage(buffer))->next;
	if (!qam_page_is_spent(BufferGetPage(buffer)))
		qam_broken(index, free->block, "The page is free, but not all of its slots are done.");
	if (next.block == free->block)
		qam_broken(index, free->block, "The free list leads from this block to itself.");
	*free = next;
	return buffer;
}

/*
 * qam_meta_renew_nonce replaces the nonce if this change takes the first page number
 * of an unlogged index: a crash resets that, with the same old nonce each time.
 */
void
qam_meta_renew_nonce(QamLog *log, Page page, const uint64 *nonce)
{
	if (QamPageGetMeta(page)->next_seq == 1 && !RelationNeedsWAL(log->index))
		qam_page_set_nonce(log, page, nonce);
}

/*
 * qam_max_pins tells how many pages one backend may keep pinned at a time.
 */
int
qam_max_pins(void)
{
	return Max(2, NBuffers / (4 * MaxBackends));
}

/*
 * Give a lane a new last page, unless somebody else has done so since the
 * caller saw "seen" (invalid: an empty lane) as its tail.  Returns the tail.
 *
 * No locks on entry or exit.  One record: metapage, old tail, new page; so
 * that after a crash either all of it has happened or none.
 */
static QamLink
extend(Relation index, int lane, const QamLink *seen)
{
	Buffer		meta_buffer = ReadBuffer(index, QAM_METAPAGE);
	Buffer		tail_buffer = InvalidBuffer;
	Buffer		buffer;
	QamMeta		meta;
	QamLink		tail;
	QamLink		free;
	QamLog		log;
	Page		page;
	uint64		seq;
	uint64		nonce[2];

	qam_meta_random(nonce);
	LockBuffer(meta_buffer, BUFFER_LOCK_EXCLUSIVE);
	meta = qam_meta_check(index, BufferGetPage(meta_buffer));
	tail = meta->lanes[lane].tail;
	if (!qam_same_link(&tail, seen))
	{
		UnlockReleaseBuffer(meta_buffer);
		return tail;
	}
	if (QamLinkIsValid(&tail))
	{
		tail_buffer = qam_follow(index, "list of a lane", tail, QAM_PAGE_LANE,
								 BUFFER_LOCK_EXCLUSIVE);
		if (QamLinkIsValid(&QamPageGetOpaque(BufferGetPage(tail_buffer))->next))
			qam_broken(index, tail.block, "The list of a lane goes on behind its last page.");
	}
	free = meta->free;
	buffer = qam_meta_get_page(index, &free);

	qam_log_begin(&log, index);
	page = qam_log_page(&log, meta_buffer, false);

	qam_meta_renew_nonce(&log, page, nonce);
	seq = qam_page_next_seq(&log, page);
	tail = qam_link(BufferGetBlockNumber(buffer), seq);
	qam_page_set_lane_tail(&log, page, lane, tail);
	if (!BufferIsValid(tail_buffer))
		qam_page_set_lane_head(&log, page, lane, tail);
	qam_page_set_free_list(&log, page, free);
	if (BufferIsValid(tail_buffer))
		qam_page_set_next(&log, qam_log_page(&log, tail_buffer, false), tail);
	qam_page_init(qam_log_page(&log, buffer, true), QAM_PAGE_LANE, lane, seq);
	qam_log_finish(&log);

	UnlockReleaseBuffer(buffer);
	if (BufferIsValid(tail_buffer))
		UnlockReleaseBuffer(tail_buffer);
	UnlockReleaseBuffer(meta_buffer);
	return tail;
}

/*
 * Where does a lane end, according to the metapage?  No locks on entry or exit.
 */
static QamLink
read_lane_tail(Relation index, int lane)
{
	QamMetaData meta;

	qam_meta_read(index, &meta);
	return meta.lanes[lane].tail;
}

/*
 * qam_lane_tail returns where a lane ends, or ended when this backend last
 * looked; it gets its first page if need be.  No locks on entry or exit.
 */
QamLink
qam_lane_tail(Relation index, int lane)
{
	QamLink		tail = qam_cache(index)->tails[lane];

	if (!QamLinkIsValid(&tail))
	{
		tail = read_lane_tail(index, lane);
		if (!QamLinkIsValid(&tail))
			tail = extend(index, lane, &tail);
		qam_cache(index)->tails[lane] = tail;
	}
	return tail;
}

/*
 * qam_lane_tail_gone is called when the page that qam_lane_tail has returned is
 * not the lane's last any more, and has been unlocked.
 *
 * The metapage has been changed with the page locked.  If it does not know of
 * another last page by now, there is none.
 */
void
qam_lane_tail_gone(Relation index, int lane, const QamLink *tail)
{
	QamLink		now;

	qam_cache(index)->tails[lane] = qam_no_link();
	now = read_lane_tail(index, lane);
	if (qam_same_link(&now, tail))
		qam_broken(index, tail->block,
				   "The list of lane %d ends at this block, which is not its last page.", lane);
	qam_cache(index)->tails[lane] = now;
}

/*
 * qam_lane_next_again tells which page follows "pred" in a lane or in the schedule,
 * after the link that it had has led nowhere.  No locks on entry or exit.
 *
 * False: pred has left the list itself.  A page leaves a list with the page before
 * it locked, and its number is not used again.  So a link that is still there after
 * it has led nowhere is broken.
 */
bool
qam_lane_next_again(Relation index, int lane, const QamLink *pred, const QamLink *failed,
					QamLink *next)
{
	Buffer		buffer = ReadBuffer(index, pred->block);
	bool		good;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	good = qam_page_is(BufferGetPage(buffer), pred, lane);
	*next = good ? QamPageGetOpaque(BufferGetPage(buffer))->next : qam_no_link();
	UnlockReleaseBuffer(buffer);
	if (good && qam_same_link(next, failed))
		qam_broken(index, failed->block,
				   "A list leads from block %u to this block, which is not the page meant.",
				   pred->block);
	return good;
}

/*
 * qam_lane_extend is called when the lane's last page is full.  No locks.
 */
void
qam_lane_extend(Relation index, int lane, const QamLink *full)
{
	QamLink		tail = extend(index, lane, full);

	qam_cache(index)->tails[lane] = tail;
}

/*
 * Append slots to one lane.  No locks on entry or exit; during it only the
 * last page's, except when the list must grow.
 */
static void
qam_lane_append(Relation index, int lane, const QamSlot *slots, int nslots)
{
	while (nslots > 0)
	{
		QamLink		tail = qam_lane_tail(index, lane);
		Buffer		buffer;
		Page		page;
		int			room;

		CHECK_FOR_INTERRUPTS();
		buffer = qam_pin_block(index, tail.block, "list of a lane");
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		page = BufferGetPage(buffer);
		if (!qam_page_is(page, &tail, lane) ||
			QamLinkIsValid(&QamPageGetOpaque(page)->next))
		{
			/* not the last page any more */
			UnlockReleaseBuffer(buffer);
			qam_lane_tail_gone(index, lane, &tail);
			continue;
		}

		room = Min(QAM_SLOTS_PER_PAGE - QamPageGetSlotCount(page), nslots);
		if (room > 0)
		{
			QamLog		log;

			qam_log_begin(&log, index);
			qam_page_append(&log, qam_log_page(&log, buffer, false), slots, room);
			qam_log_finish(&log);
			slots += room;
			nslots -= room;
		}
		UnlockReleaseBuffer(buffer);
		if (room == 0)
			qam_lane_extend(index, lane, &tail);
	}
}

static inline bool
goes_to_lane(const QamEntry *entry, TimestampTz now)
{
	return entry->group == 0 && entry->ready_at <= now;
}

/*
 * Append entries in the given state, lane by lane where neighbours share one.
 * Those due later go to the schedule, those of groups to the end of these.
 */
static void
append_entries(Relation index, const QamEntry *entries, int nentries,
			   uint8 state, uint64 claim)
{
	TimestampTz now = GetCurrentTimestamp();
	QamSlot		slots[64];
	int			i = 0;

	while (i < nentries)
	{
		const QamEntry *first = &entries[i];
		int			n = 0;

		CHECK_FOR_INTERRUPTS();
		do
		{
			QamSlot    *slot = &slots[n++];

			memset(slot, 0, sizeof(QamSlot));
			slot->tid = entries[i].tid;
			slot->group_hash = entries[i].group;
			slot->ready_at = entries[i].ready_at;
			slot->state = state;
			slot->claim = claim;
			i++;
		} while (i < nentries && n < (int) lengthof(slots) &&
				 goes_to_lane(first, now) && goes_to_lane(&entries[i], now) &&
				 entries[i].lane == first->lane);

		if (first->ready_at > now)
			qam_schedule_append(index, slots, first->lane, now);
		else if (first->group != 0)
			qam_group_append(index, slots, NULL);
		else
			qam_lane_append(index, first->lane, slots, n);
	}
}

/*
 * qam_append enqueues rows that the current transaction has put into the heap.
 * They are offered in this order.
 *
 * A slot is born APPENDED, with the top-level transaction id of its inserter:
 * walkers then pass it by without looking at the heap until that transaction
 * has ended.  A transaction without an id is indexing rows of others (the last
 * step of a concurrent build), so their slots are READY.
 */
void
qam_append(Relation index, const QamEntry *entries, int nentries)
{
	FullTransactionId xid = GetTopFullTransactionIdIfAny();

	if (FullTransactionIdIsValid(xid))
		append_entries(index, entries, nentries, QAM_SLOT_APPENDED,
					   QamMakeXidClaim(U64FromFullTransactionId(xid), UINT64CONST(0)));
	else
		qam_append_ready(index, entries, nentries);
}

/*
 * qam_append_ready enqueues rows that a build has found in the heap, whoever
 * put them there.
 */
void
qam_append_ready(Relation index, const QamEntry *entries, int nentries)
{
	append_entries(index, entries, nentries, QAM_SLOT_READY, 0);
}

/*
 * The hash of a message's group, or an error if it cannot have that group.
 */
static uint32
entry_group(Relation index, Datum value, int lane)
{
	Size		len = toast_raw_datum_size(value) - VARHDRSZ;
	text	   *group_id;
	uint32		hash;

	if (len < 1 || len > QAM_MAX_GROUP_ID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("group_id must be between 1 and %d bytes long", QAM_MAX_GROUP_ID),
				 errdetail("The value given is %zu bytes long.", len)));
	if (lane != QAM_DEFAULT_LANE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a message of a group cannot have a priority"),
				 errdetail("The priority given is %d.", lane),
				 errhint("Leave the priority of messages with a group_id at %d.",
						 QAM_DEFAULT_LANE)));
	group_id = DatumGetTextPP(value);
	hash = qam_directory_hash(qam_meta_group_key(index), VARDATA_ANY(group_id),
							  VARSIZE_ANY_EXHDR(group_id));
	if ((Pointer) group_id != DatumGetPointer(value))
		pfree(group_id);
	return hash;
}

/*
 * qam_entry makes an entry of the index columns' values, or raises if they
 * are not what a queue takes.
 */
QamEntry
qam_entry(Relation index, const Datum *values, const bool *isnull, ItemPointer tid)
{
	QamEntry	entry = {.lane = QAM_DEFAULT_LANE,.group = 0,.ready_at = 0};

	entry.tid = *tid;
	if (!isnull[QAM_ATTR_PRIORITY - 1])
	{
		int16		priority = DatumGetInt16(values[QAM_ATTR_PRIORITY - 1]);

		if (priority < 0 || priority >= QAM_LANES)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("priority %d is out of range", priority),
					 errdetail("A message's priority is between 0 and %d; %d is served first.",
							   QAM_LANES - 1, QAM_LANES - 1)));
		entry.lane = priority;
	}
	if (!isnull[QAM_ATTR_DELIVER_AT - 1])
	{
		entry.ready_at = DatumGetTimestampTz(values[QAM_ATTR_DELIVER_AT - 1]);
		if (TIMESTAMP_NOT_FINITE(entry.ready_at))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("deliver_at must be finite")));
	}
	if (!isnull[QAM_ATTR_GROUP_ID - 1])
		entry.group = entry_group(index, values[QAM_ATTR_GROUP_ID - 1], entry.lane);
	return entry;
}

/*
 * qaminsert is aminsert: any INSERT, COPY or UPDATE of the table comes here.
 */
bool
qaminsert(Relation index, Datum *values, bool *isnull, ItemPointer tid,
		  Relation heap, IndexUniqueCheck unique, bool unchanged,
		  struct IndexInfo *info)
{
	QamEntry	entry = qam_entry(index, values, isnull, tid);

	qam_append(index, &entry, 1);
	return false;
}

/*
 * Lock a buffer exclusively, at once or not at all unless wait.
 */
static bool
lock_exclusive(Buffer buffer, bool wait)
{
	if (!wait)
		return ConditionalLockBuffer(buffer);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	return true;
}

/*
 * qam_lane_lock_if pins and locks a page exclusively if it is the one that a link
 * means, in a lane or in the schedule, and unless wait, if it is not busy.  Else it
 * returns an invalid buffer.
 *
 * The page is looked at before it is waited for, as by qam_follow.
 */
Buffer
qam_lane_lock_if(Relation index, const QamLink *link, int lane, bool wait)
{
	Buffer		buffer = ReadBuffer(index, link->block);
	Page		page = BufferGetPage(buffer);

	if (qam_seems_to_be(page, lane == QAM_SCHEDULED ? QAM_PAGE_BUCKET : QAM_PAGE_LANE,
						link->seq, PG_UINT64_MAX) &&
		lock_exclusive(buffer, wait))
	{
		if (qam_page_is(page, link, lane))
			return buffer;
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	ReleaseBuffer(buffer);
	return InvalidBuffer;
}

/*
 * Unlink a page whose predecessor (or invalid: the metapage's head) is locked
 * exclusively, like the metapage.  Returns false when it is not to be had.
 */
static bool
unlink_locked(Relation index, int lane, Buffer meta_buffer,
			  Buffer pred_buffer, const QamLink *link, bool wait)
{
	QamMeta		meta = QamPageGetMeta(BufferGetPage(meta_buffer));
	Buffer		buffer;
	bool		done = false;

	/* A last page that leads on is broken; who appends will tell */
	if (qam_same_link(&meta->lanes[lane].tail, link))
		return false;
	buffer = qam_lane_lock_if(index, link, lane, wait);
	if (!BufferIsValid(buffer))
		return false;
	if (qam_page_is_removable(BufferGetPage(buffer)))
	{
		QamLink		next = QamPageGetOpaque(BufferGetPage(buffer))->next;
		QamLink		free = meta->free;
		QamLog		log;
		Page		meta_page;

		qam_log_begin(&log, index);
		meta_page = qam_log_page(&log, meta_buffer, false);
		qam_page_set_free_list(&log, meta_page, *link);
		if (BufferIsValid(pred_buffer))
			qam_page_set_next(&log, qam_log_page(&log, pred_buffer, false), next);
		else
			qam_page_set_lane_head(&log, meta_page, lane, next);
		qam_page_set_free(&log, qam_log_page(&log, buffer, false), free);
		qam_log_finish(&log);
		done = true;
	}
	UnlockReleaseBuffer(buffer);
	return done;
}

/*
 * qam_lane_unlink takes a finished page out of its lane, onto the free list.
 *
 * pred is the page before it, or NULL for the lane's head.  No locks on entry
 * or exit.  False: it is not finished, not behind pred any more, or (unless
 * wait) one of the pages is busy; nothing has changed, and somebody else or
 * vacuum will do it.  One record: metapage, predecessor, page.
 */
bool
qam_lane_unlink(Relation index, int lane, const QamLink *pred, const QamLink *link,
				bool wait)
{
	Buffer		meta_buffer = ReadBuffer(index, QAM_METAPAGE);
	Buffer		pred_buffer = InvalidBuffer;
	QamMeta		meta;
	bool		done = false;

	if (!lock_exclusive(meta_buffer, wait))
	{
		ReleaseBuffer(meta_buffer);
		return false;
	}
	meta = qam_meta_check(index, BufferGetPage(meta_buffer));
	if (pred == NULL)
	{
		if (qam_same_link(&meta->lanes[lane].head, link))
			done = unlink_locked(index, lane, meta_buffer, InvalidBuffer,
								 link, wait);
	}
	else
	{
		pred_buffer = qam_lane_lock_if(index, pred, lane, wait);
		if (BufferIsValid(pred_buffer))
		{
			if (qam_same_link(&QamPageGetOpaque(BufferGetPage(pred_buffer))->next, link))
				done = unlink_locked(index, lane, meta_buffer, pred_buffer,
									 link, wait);
			UnlockReleaseBuffer(pred_buffer);
		}
	}
	UnlockReleaseBuffer(meta_buffer);
	return done;
}

/*
 * qam_meta_adopt_page puts a page onto the free list that a crash left all zeros,
 * and returns whether it is one.  It is pinned; no locks on entry or exit.
 */
bool
qam_meta_adopt_page(Relation index, Buffer buffer)
{
	Buffer		meta_buffer = ReadBuffer(index, QAM_METAPAGE);
	bool		is_new;

	LockBuffer(meta_buffer, BUFFER_LOCK_EXCLUSIVE);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);

	/* With the metapage locked, nobody is about to initialise it */
	is_new = PageIsNew(BufferGetPage(buffer));
	if (is_new)
	{
		QamMeta		meta = qam_meta_check(index, BufferGetPage(meta_buffer));
		QamLink		free = meta->free;
		QamLog		log;
		Page		page;
		uint64		seq;

		qam_log_begin(&log, index);
		page = qam_log_page(&log, meta_buffer, false);
		seq = qam_page_next_seq(&log, page);
		qam_page_set_free_list(&log, page, qam_link(BufferGetBlockNumber(buffer), seq));
		page = qam_log_page(&log, buffer, true);
		qam_page_init(page, QAM_PAGE_FREE, 0, seq);
		qam_page_set_free(&log, page, free);
		qam_log_finish(&log);
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	UnlockReleaseBuffer(meta_buffer);
	return is_new;
}

/*
 * qam_meta_wake tells the walkers that remember pages as not worth a visit that
 * a slot on page number "seq" has become ready before its time.  No locks on
 * entry or exit; the change of the slot has been made.
 */
void
qam_meta_wake(Relation index, uint64 seq)
{
	Buffer		buffer = ReadBuffer(index, QAM_METAPAGE);
	QamLog		log;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	(void) qam_meta_check(index, BufferGetPage(buffer));
	qam_log_begin_hint(&log, index);
	qam_page_count_wakeup(&log, qam_log_page(&log, buffer, false), seq);
	qam_log_finish(&log);
	UnlockReleaseBuffer(buffer);
}
