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
#include "queue/queue_rights.h"
#include "storage/lock.h"
#include "utils/relcache.h"

/* An open queue.  Locks stay until the end of the transaction. */
typedef struct OnceQueue
{
	Relation	heap;
	Relation	index;			/* the one that claims go through, or NULL */
	OnceMeta	meta;
	NameData	name;			/* see once_queue_name() */
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
extern void once_queue_open_whole(OnceQueue *queue, const char *name,
								  OnceAccess access, const char *verb);
extern bool once_queue_open_part(OnceQueue *part, Oid relid, OnceAccess access, bool wait);
extern bool once_queue_try_open_part(OnceQueue *part, Oid relid, OnceAccess access);
extern bool once_queue_try_open(OnceQueue *queue, const char *name,
								OnceAccess access, const char *verb);
extern OnceOpened once_queue_open_to_count(OnceQueue *queue, Oid relid);
extern bool once_queue_forbids_deletes(Relation heap);
extern void once_queue_open_receipt(OnceQueue *queue, Oid relid, const char *verb);
extern bool once_queue_reopen(OnceQueue *queue, Oid relid);
extern void once_queue_was_read(OnceQueue *queue);
extern void once_queue_leave(OnceQueue *queue);
extern void once_queue_close(OnceQueue *queue);
extern const char *once_queue_name(const OnceQueue *queue);
extern Oid	once_queue_whole(const OnceQueue *queue);
extern void once_queue_check_identity(const OnceQueue *queue);
extern void once_queue_check_sending(const OnceQueue *queue);
extern void once_queue_check_columns(const OnceQueue *queue);
extern void once_queue_check_column(const OnceQueue *queue, OnceColumn column);
extern void once_queue_check_consuming(const OnceQueue *queue);
extern void once_queue_raise_lost(const OnceQueue *queue);
extern void once_queue_raise_already_acked(const OnceQueue *queue);

#endif							/* QUEUE_OPEN_H */
