/*-------------------------------------------------------------------------
 *
 * meta_cache.h
 *	  What a backend remembers of a queue's table, its indexes and options.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_CACHE_H
#define META_CACHE_H

#include "access/attnum.h"
#include "qam/qam.h"
#include "utils/relcache.h"

/* The columns of a queue's table, in the order create_queue makes them */
typedef enum OnceColumn
{
	ONCE_COL_ID,
	ONCE_COL_ENQUEUED_AT,
	ONCE_COL_DELIVER_AT,
	ONCE_COL_EXPIRES_AT,
	ONCE_COL_PRIORITY,
	ONCE_COL_GROUP_ID,
	ONCE_COL_HEADERS,
	ONCE_COL_PAYLOAD
} OnceColumn;

#define ONCE_NCOLUMNS		(ONCE_COL_PAYLOAD + 1)

/* With more indexes of a kind than this, new rows go through SPI. */
#define ONCE_META_INDEXES	4

/*
 * What is known of a queue's table.  It is plain data: callers take a copy, and
 * need not care about invalidations of the cache meanwhile.
 */
typedef struct OnceMeta
{
	Oid			relid;

	AttrNumber	column[ONCE_NCOLUMNS];	/* 0: no such column */
	Oid			sequence;		/* of the identity column id, or InvalidOid */

	/*
	 * Claims go through the one valid once_queue index, or InvalidOid if
	 * there is none.  If second_index is set, there are several, and none may
	 * be used.
	 */
	Oid			claim_index;
	Oid			second_index;

	/*
	 * A once_queue index that is not valid, or InvalidOid if there is none.
	 * REINDEX CONCURRENTLY is at work, or left it behind when it failed.
	 */
	Oid			invalid_index;

	/* A valid unique index on id alone, or InvalidOid */
	Oid			id_index;

	/* By Citus: the rows are elsewhere, and only its planner can reach them. */
	bool		distributed;

	/*
	 * The table that Citus has distributed and that this is a shard of, or
	 * InvalidOid; and the number of the shard
	 */
	Oid			shard_of;
	int64		shard;

	/*
	 * The table that it would be a shard of by its name, or InvalidOid; and
	 * whether Citus had distributed that one.  If this changes, so may
	 * shard_of.
	 */
	Oid			namesake;
	bool		namesake_distributed;

	/*
	 * May rows be removed from the heap without the executor?  Each has an id
	 * then.  What only concerns new rows does not matter: other columns and
	 * their defaults, checks, indexes, triggers for INSERT.
	 */
	bool		fast_delete;

	/* Has it rules for INSERT? */
	bool		insert_rules;

	/*
	 * May rows be put into the heap without the executor?  If so, these are
	 * the indexes to maintain: once_queue indexes, and plain keys on id.
	 */
	bool		fast_insert;
	int			nqueue_indexes;
	Oid			queue_index[ONCE_META_INDEXES];
	int			nkey_indexes;
	Oid			key_index[ONCE_META_INDEXES];

	/*
	 * Options.  Times are in microseconds, and 0 means off.  Those of an open
	 * queue are complete; those that once_meta_get returns are not, if the
	 * queue is distributed (see meta_parameters.c).
	 */
	QamRetry	retry;
	int64		dedup_window;
	int64		archive;
	int64		ttl;
	int64		retention;
	bool		drop_expired;
	bool		send_paused;
	bool		consume_paused;

	/*
	 * renamed_from: if the table was renamed, the queue that it was made for;
	 * else empty.  table_elsewhere: if the queue of this name was made with
	 * another table, which still exists, that one; else InvalidOid.
	 */
	NameData	renamed_from;
	Oid			table_elsewhere;
} OnceMeta;

extern void once_meta_init(void);
extern void once_meta_get(Relation heap, OnceMeta *meta);
extern void once_meta_forget(Oid relid);
extern uint64 once_meta_epoch(void);
extern const char *once_meta_column_name(OnceColumn column);
extern Oid	once_meta_column_type(OnceColumn column);

#endif							/* META_CACHE_H */
