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

/* With more indexes of a kind than this, rows go through SPI. */
#define ONCE_META_INDEXES	4

/*
 * All of it is plain data, so that callers take a copy and need not care for
 * what invalidations do to the cache meanwhile.
 */
typedef struct OnceMeta
{
	Oid			relid;

	AttrNumber	column[ONCE_NCOLUMNS];	/* 0: no such column */
	Oid			sequence;		/* of the identity column id, or InvalidOid */

	/*
	 * Claims go through the one valid once_queue index.  InvalidOid: there is
	 * none.  second_index: there are several, and none may be used.
	 */
	Oid			claim_index;
	Oid			second_index;

	/*
	 * A once_queue index that is not valid, or InvalidOid: REINDEX
	 * CONCURRENTLY is at work, or has left it behind when it failed.
	 */
	Oid			invalid_index;

	/* A valid unique index on id alone, or InvalidOid */
	Oid			id_index;

	/* By Citus: the rows are elsewhere, and only its planner can get at them. */
	bool		distributed;

	/*
	 * May rows be put into the heap, and taken out, without the executor?  If
	 * so these are the indexes to maintain: of our own kind, and plain keys
	 * on id.
	 */
	bool		fast;
	int			nqueue_indexes;
	Oid			queue_index[ONCE_META_INDEXES];
	int			nkey_indexes;
	Oid			key_index[ONCE_META_INDEXES];

	/* Options; microseconds, 0 for off */
	QamRetry	retry;
	int64		dedup_window;
	int64		archive;
	int64		ttl;
	bool		drop_expired;
	bool		send_paused;
	bool		consume_paused;

	/*
	 * The queue that the table was made for, if it has lost that name, else
	 * empty; the table that the queue of this name was made with, if that is
	 * another one, else InvalidOid.
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
