/*-------------------------------------------------------------------------
 *
 * qam_cache.c
 *	  What a backend remembers of an index's metapage and of the sizes of files,
 *	  so that it need not ask each time.
 *
 * The cache is in rd_amcache, and goes with the index's relcache entry.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "common/pg_prng.h"
#include "qam/qam_cache.h"
#include "qam/qam_format.h"
#include "storage/bufmgr.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/*
 * qam_cache_make makes the cache of an index that has none.
 */
QamCache *
qam_cache_make(Relation index)
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

	/*
	 * The tour begins at a random place, because some clients connect anew
	 * for each call.
	 */
	cache->tour.place = pg_prng_uint32(&pg_global_prng_state);
	cache->tour.from = pg_prng_uint32(&pg_global_prng_state);
	cache->tour.over = false;
	cache->toured_at = 0;
	cache->tour_pause = 0;
	index->rd_amcache = cache;
	return cache;
}

/*
 * qam_block_exists tells whether the index has such a data page.  It asks the
 * file system only if the block is beyond the known size.
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
 * qam_heap_block_exists tells the same of the index's table.  The caller has
 * the table locked.
 *
 * VACUUM shortens the table when nobody has it locked, so the known size is
 * forgotten at the end of the transaction.
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
