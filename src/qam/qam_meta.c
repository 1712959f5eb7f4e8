/*-------------------------------------------------------------------------
 *
 * qam_meta.c
 *	  The metapage: what it says of the index, free pages, wake-ups.
 *
 * Relation extension happens under the metapage's exclusive lock, so that every
 * page of zeros found under that lock is a leftover of a crash.  A page that comes
 * from the free list is locked last.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "qam/qam_cache.h"
#include "qam/qam_damage.h"
#include "qam/qam_format.h"
#include "qam/qam_meta.h"
#include "qam/qam_page.h"
#include "qam/qam_xlog.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

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
 * qam_meta_random makes two random words, such as tell builds of indexes apart.
 * No page is locked.
 */
void
qam_meta_random(uint64 *nonce)
{
	if (!pg_strong_random(nonce, 2 * sizeof(uint64)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
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
