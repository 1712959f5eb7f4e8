/*-------------------------------------------------------------------------
 *
 * qam_cache.h
 *	  What a backend remembers of an index's metapage and of the sizes of files.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_CACHE_H
#define QAM_CACHE_H

#include "qam/qam.h"
#include "qam/qam_format.h"
#include "storage/lock.h"
#include "utils/rel.h"

/*
 * rd_amcache: where each lane ended when we last looked; what does not change
 * as long as the index keeps its file; and how far this backend has come in
 * judging groups.  A new file resets the cache.
 */
typedef struct QamCache
{
	QamLink		tails[QAM_LANES];
	bool		nonce_known;
	bool		group_key_known;
	uint64		nonce[2];
	uint64		group_key[2];
	BlockNumber nblocks;		/* at least this many blocks exist */
	BlockNumber heap_nblocks;	/* the same for the table */
	LocalTransactionId heap_lxid;	/* heap_nblocks is of this transaction */
	BlockNumber directory;		/* 0: not known.  Where these two are never
								 * changes. */
	BlockNumber schedule;
	QamTour		tour;			/* of the groups that empty walks judge */
	TimestampTz toured_at;		/* when it last went on */
	int			tour_pause;		/* it does not go on for so long afterwards;
								 * microseconds */
} QamCache;

extern QamCache *qam_cache_make(Relation index);
extern bool qam_block_exists(Relation index, BlockNumber block);
extern bool qam_heap_block_exists(Relation heap, Relation index, BlockNumber block);

/*
 * The index's cache.  It must be fetched again after anything that can process
 * invalidation messages.
 */
static inline QamCache *
qam_cache(Relation index)
{
	QamCache   *cache = index->rd_amcache;

	return cache != NULL ? cache : qam_cache_make(index);
}

#endif							/* QAM_CACHE_H */
