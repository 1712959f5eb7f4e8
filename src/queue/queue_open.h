/*-------------------------------------------------------------------------
 *
 * queue_open.h
 *	  An open queue.
 *
 * Every verb does the same things in the same order.  It reads and checks its
 * arguments, opens the queue (which checks rights before it takes a lock),
 * does its work through qam.h and the functions on rows, and closes the queue.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_OPEN_H
#define QUEUE_OPEN_H

#include "meta/meta_cache.h"
#include "storage/lock.h"
#include "utils/relcache.h"

/*
 * What a verb is about to do, which decides what rights and what lock it needs
 */
typedef enum OnceAccess
{
	ONCE_TO_SEND,				/* INSERT; RowExclusiveLock */
	ONCE_TO_CONSUME,			/* SELECT and DELETE; RowExclusiveLock */
	ONCE_TO_REDRIVE,			/* INSERT, SELECT and DELETE; RowExclusiveLock */
	ONCE_TO_OBSERVE,			/* SELECT; AccessShareLock */
	ONCE_TO_COUNT,				/* SELECT, or membership in pg_monitor;
								 * AccessShareLock */
	ONCE_TO_RESET,				/* ownership; AccessShareLock */
	ONCE_TO_VERIFY,				/* SELECT, and UPDATE, DELETE or TRUNCATE;
								 * ShareLock */
	ONCE_TO_GRANT_PRODUCE,		/* INSERT WITH GRANT OPTION; AccessShareLock */
	ONCE_TO_GRANT_CONSUME,		/* SELECT and DELETE WITH GRANT OPTION;
								 * AccessShareLock */
	ONCE_TO_GRANT_OBSERVE,		/* SELECT WITH GRANT OPTION; AccessShareLock */
	ONCE_TO_ALTER,				/* ownership; AccessShareLock */
	ONCE_TO_ADOPT,				/* the same, even if the table was made under
								 * another name */
	ONCE_TO_PURGE,				/* ownership; RowExclusiveLock */
	ONCE_TO_RELEASE,			/* the same, but nothing is deleted */
	ONCE_TO_DROP				/* ownership; AccessExclusiveLock */
} OnceAccess;

/* An open queue.  Locks stay until the end of the transaction. */
typedef struct OnceQueue
{
	Relation	heap;
	Relation	index;			/* the one that claims go through, or NULL */
	OnceMeta	meta;
	LOCKMODE	lockmode;
	bool		in_shard;		/* the table is a shard, which shard_lock
								 * keeps on this node */
	LOCKTAG		shard_lock;
	bool		shard_left;		/* opened by a receipt: the shard has left the
								 * node, and the claim is lost */
} OnceQueue;

/* What became of once_queue_open_to_count */
typedef enum OnceOpened
{
	ONCE_OPENED,
	ONCE_OPENED_NOT,			/* it is no queue, or no longer */
	ONCE_OPENED_BUSY			/* its lock is not available */
} OnceOpened;

extern void once_queue_open(OnceQueue *queue, const char *name,
							OnceAccess access, const char *verb);
extern bool once_queue_try_open(OnceQueue *queue, const char *name,
								OnceAccess access, const char *verb);
extern OnceOpened once_queue_open_to_count(OnceQueue *queue, Oid relid);
extern bool once_queue_may_count(Oid relid);
extern bool once_queue_is_owner(Oid relid);
extern bool once_queue_forbids_deletes(Relation heap);
extern void once_queue_open_receipt(OnceQueue *queue, Oid relid, const char *verb);
extern bool once_queue_reopen(OnceQueue *queue, Oid relid);
extern void once_queue_was_read(OnceQueue *queue);
extern void once_queue_leave(OnceQueue *queue);
extern void once_queue_close(OnceQueue *queue);
extern const char *once_queue_name(const OnceQueue *queue);
extern void once_queue_check_identity(const OnceQueue *queue);
extern void once_queue_check_sending(const OnceQueue *queue);
extern void once_queue_check_columns(const OnceQueue *queue);
extern void once_queue_check_column(const OnceQueue *queue, OnceColumn column);
extern void once_queue_check_consuming(const OnceQueue *queue);
extern void once_queue_raise_lost(const OnceQueue *queue);
extern void once_queue_raise_already_acked(const OnceQueue *queue);

#endif							/* QUEUE_OPEN_H */
