/*-------------------------------------------------------------------------
 *
 * meta_remote.h
 *	  Transactions that Citus spreads over several nodes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_REMOTE_H
#define META_REMOTE_H

/* Values of once.remote_effects */
typedef enum OnceRemoteEffects
{
	ONCE_REMOTE_TWO_PHASE,
	ONCE_REMOTE_ERROR
} OnceRemoteEffects;

/* Values of once.shard_catalog */
typedef enum OnceShardCatalog
{
	ONCE_SHARDS_OF_CITUS,
	ONCE_SHARDS_FAKE
} OnceShardCatalog;

extern int	once_remote_effects;
extern int	once_remote_shard_catalog;

extern void once_remote_note_change(void);
extern void once_remote_note_send(void);
extern void once_remote_require(const char *queue);
extern bool once_remote_may_send_here(void);
extern void once_remote_send_here(void);
extern void once_remote_refuse_tasks(void);

#endif							/* META_REMOTE_H */
