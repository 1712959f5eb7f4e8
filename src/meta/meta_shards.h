/*-------------------------------------------------------------------------
 *
 * meta_shards.h
 *	  Where the shards of a table are, and keeping them there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_SHARDS_H
#define META_SHARDS_H

#include "access/attnum.h"
#include "catalog/pg_attribute.h"
#include "storage/lock.h"
#include "utils/relcache.h"

typedef enum OnceShardPlace
{
	ONCE_SHARD_HERE,			/* on this node alone */
	ONCE_SHARD_BUSY,			/* Citus is moving or splitting it */
	ONCE_SHARD_ELSEWHERE,		/* on another node, or replaced by others */
	ONCE_SHARD_COPIED			/* on several nodes, this one among them */
} OnceShardPlace;

/* A shard of a distributed table */
typedef struct OnceShard
{
	int64		number;			/* which Citus has given it */
	int32		lowest;			/* the hash values of its rows; all if the */
	int32		highest;		/* table has a single shard */
	OnceShardPlace place;
	int			ncopies;		/* on how many nodes it is */
	Oid			relid;			/* its table, if it is here */
} OnceShard;

extern void once_shards_forget(Oid parent);
extern bool once_shards_distributed(Oid parent);
extern OnceShard *once_shards_here(Oid parent, int *n);
extern bool once_shards_copied(Oid parent);
extern AttrNumber once_shards_key(Oid parent);
extern int32 once_shards_hash(Form_pg_attribute att, Datum value);
extern bool once_shards_node_may_have(void);
extern OnceShardPlace once_shards_enter(Oid parent, int64 shard, bool wait, LOCKTAG *tag);
extern void once_shards_leave(const LOCKTAG *tag);
extern void once_shards_require_here(Relation shard, OnceShardPlace place);
extern void once_shards_refuse_sending(Relation shard);
extern void once_shards_refuse_letters(Relation shard, Oid whole);

#endif							/* META_SHARDS_H */
