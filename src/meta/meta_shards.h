/*-------------------------------------------------------------------------
 *
 * meta_shards.h
 *	  Where a shard is, and keeping it there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_SHARDS_H
#define META_SHARDS_H

#include "storage/lock.h"
#include "utils/relcache.h"

typedef enum OnceShardPlace
{
	ONCE_SHARD_HERE,			/* on this node alone */
	ONCE_SHARD_BUSY,			/* Citus is moving or splitting it */
	ONCE_SHARD_ELSEWHERE,		/* on another node, or replaced by others */
	ONCE_SHARD_COPIED			/* on several nodes */
} OnceShardPlace;

extern OnceShardPlace once_shards_enter(Oid parent, int64 shard, bool wait, LOCKTAG *tag);
extern void once_shards_leave(const LOCKTAG *tag);
extern void once_shards_require_here(Relation shard, OnceShardPlace place);
extern void once_shards_refuse_sending(Relation shard);

#endif							/* META_SHARDS_H */
