/*-------------------------------------------------------------------------
 *
 * qam_meta.c
 *	  The metapage: what it says of the index, free pages, wake-ups.
 *
 * The file is extended only while the metapage is locked exclusively.  So a
 * page of zeros that is found under that lock was left by a crash.  A page
 * that is taken from the free list is locked last.
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
 * qam_meta_check returns the content of the metapage, or raises an error if we
 * cannot read it.  The page is locked.
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
				 errhint("REINDEX the index.  Messages are kept, leases and attempts are forgotten.")));
	fault = qam_page_fault(page);
	if (fault != NULL)
		qam_broken(index, QAM_METAPAGE, "The page is unsound: %s.", fault);
	return meta;
}

/*
 * qam_meta_read copies the content of the metapage.  No locks on entry or exit.
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
 * Read the random words of the metapage into the cache.
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

	/* In an empty unlogged index it will be replaced: qam_meta_renew_nonce */
	cache->nonce_known = (meta.next_seq > 1);
	return cache;
}

/*
 * qam_meta_nonce returns the random words that tell this build of the index
 * from all others.  The result is valid until invalidations may be processed.
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
 * qam_meta_group_key returns this index's key for qam_directory_hash.  The
 * result is valid until invalidations may be processed.
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
 * qam_meta_directory returns the block of the directory's root; 0 if there is
 * none.
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
 * qam_meta_schedule returns the block of the schedule's root; 0 if there is
 * none.
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
 * qam_meta_get_page returns a page for use, pinned and locked exclusively: the
 * first page of the free list, which begins with *free, or a new page if that
 * is empty.  *free becomes the new beginning of the list.
 *
 * The metapage is locked exclusively.  Nothing is changed yet; the caller
 * stores *free in the metapage.  A free page with a slot that is not DONE
 * raises an error.
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
 * qam_meta_random makes two random words, for a nonce or a key of groups.
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
 * qam_meta_renew_nonce replaces the nonce if this change takes the first page
 * number of an unlogged index.  A crash empties such an index, and brings back
 * the same old nonce each time.
 */
void
qam_meta_renew_nonce(QamLog *log, Page page, const uint64 *nonce)
{
	if (QamPageGetMeta(page)->next_seq == 1 && !RelationNeedsWAL(log->index))
		qam_page_set_nonce(log, page, nonce);
}

/*
 * qam_meta_adopt_page puts a page that a crash has left all zeros onto the
 * free list.  Returns false if it is not such a page.  The page is pinned; no
 * locks on entry or exit.
 */
bool
qam_meta_adopt_page(Relation index, Buffer buffer)
{
	Buffer		meta_buffer = ReadBuffer(index, QAM_METAPAGE);
	bool		is_new;

	LockBuffer(meta_buffer, BUFFER_LOCK_EXCLUSIVE);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);

	/* While the metapage is locked, nobody is about to initialise the page */
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
 * qam_meta_wake tells walks that remember runs of quiet pages that a slot on
 * the page with number "seq" has become ready before its time.  The slot has
 * been changed already.  No locks on entry or exit.
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
