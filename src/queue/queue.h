/*-------------------------------------------------------------------------
 *
 * queue.h
 *	  What the files of src/queue share: an open queue, the rows of its
 *	  table, and arguments.
 *
 * Every verb does the same things in the same order: read and check its
 * arguments, open the queue (which checks rights before it takes a lock), do
 * its work through qam.h and the row functions, close.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_H
#define QUEUE_H

#include "fmgr.h"
#include "ledger/ledger.h"
#include "meta/meta_cache.h"
#include "meta/meta_dead.h"
#include "meta/meta_catalog.h"
#include "meta/meta_role.h"
#include "once_args.h"
#include "portability/instr_time.h"
#include "qam/qam.h"
#include "queue/queue_receipt.h"
#include "storage/buf.h"
#include "storage/bufpage.h"
#include "storage/lockdefs.h"
#include "utils/array.h"
#include "utils/elog.h"
#include "utils/resowner.h"

/* What a verb is about to do, and so which rights and which lock it wants */
typedef enum OnceAccess
{
	ONCE_TO_SEND,				/* INSERT; RowExclusiveLock */
	ONCE_TO_CONSUME,			/* SELECT and DELETE; RowExclusiveLock */
	ONCE_TO_REDRIVE,			/* INSERT, SELECT and DELETE; RowExclusiveLock */
	ONCE_TO_OBSERVE,			/* SELECT; AccessShareLock */
	ONCE_TO_VERIFY,				/* SELECT, and UPDATE, DELETE or TRUNCATE;
								 * ShareLock */
	ONCE_TO_GRANT_PRODUCE,		/* to hand on INSERT; AccessShareLock */
	ONCE_TO_GRANT_CONSUME,		/* to hand on SELECT and DELETE;
								 * AccessShareLock */
	ONCE_TO_GRANT_OBSERVE,		/* to hand on SELECT; AccessShareLock */
	ONCE_TO_ALTER,				/* ownership; AccessShareLock */
	ONCE_TO_ADOPT,				/* the same, under whatever name the table was
								 * made */
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
} OnceQueue;

/* queue_open.c */
extern void once_queue_open(OnceQueue *queue, const char *name,
							OnceAccess access, const char *verb);
extern bool once_queue_try_open(OnceQueue *queue, const char *name,
								OnceAccess access, const char *verb);
extern void once_queue_open_receipt(OnceQueue *queue, Oid relid, const char *verb);
extern bool once_queue_reopen(OnceQueue *queue, Oid relid);
extern void once_queue_was_read(OnceQueue *queue);
extern void once_queue_leave(OnceQueue *queue);
extern void once_queue_close(OnceQueue *queue);
extern const char *once_queue_name(const OnceQueue *queue);
extern void once_queue_check_sending(const OnceQueue *queue);
extern void once_queue_check_columns(const OnceQueue *queue);
extern void once_queue_check_column(const OnceQueue *queue, OnceColumn column);
extern void once_queue_check_consuming(const OnceQueue *queue);
extern void once_queue_raise_lost(const OnceQueue *queue);
extern void once_queue_raise_already_acked(const OnceQueue *queue);

/* queue_args.c */
#define ONCE_MAX_LEASE		(365 * USECS_PER_DAY)
#define ONCE_MAX_WAIT		(60 * USECS_PER_SEC)
#define ONCE_MAX_DELAY_DAYS	365 /* between two deliveries */

extern char *once_queue_arg_name(FunctionCallInfo fcinfo, int argno);
extern int	once_queue_arg_max_messages(FunctionCallInfo fcinfo, int argno);
extern int	once_queue_arg_priority(FunctionCallInfo fcinfo, int argno);
extern int64 once_queue_arg_lease(FunctionCallInfo fcinfo, int argno);
extern int64 once_queue_arg_delay(FunctionCallInfo fcinfo, int argno, const char *name,
								  int max_days);
extern void once_queue_arg_check_group(Datum group_id, int priority);
extern int64 once_queue_arg_wait(FunctionCallInfo fcinfo, int argno);
extern void once_queue_arg_receipt(FunctionCallInfo fcinfo, int argno, pg_uuid_t *uuid);
extern pg_uuid_t *once_queue_arg_receipts(FunctionCallInfo fcinfo, int argno, int *nreceipts);
extern ArrayType *once_queue_arg_ids(FunctionCallInfo fcinfo, int argno);

/* queue_options.c */
#define ONCE_MAX_MAX_ATTEMPTS	1000
#define ONCE_MIN_ARCHIVE		USECS_PER_MINUTE

extern void once_options_from_args(FunctionCallInfo fcinfo, int argno,
								   OnceOptions *options);

/* queue_row.c: a message on its way into the table */
typedef struct OnceNewRow
{
	int64		id;
	int16		priority;
	bool		group_id_null;
	bool		headers_null;
	bool		payload_null;
	Datum		group_id;
	Datum		headers;
	Datum		payload;
} OnceNewRow;

/* Some rows that go in together */
typedef struct OnceNewRows
{
	OnceNewRow *rows;
	int			nrows;
	bool		have_ids;		/* else they are drawn, and set in rows */
	bool		together;		/* statement triggers must see them as one */
	TimestampTz deliver_at;		/* DT_NOBEGIN: null */
	TimestampTz expires_at;		/* DT_NOBEGIN: null */
} OnceNewRows;

extern void once_insert_rows(OnceQueue *queue, OnceNewRows *batch);
extern HeapTuple once_row_copy(const OnceQueue *queue, ItemPointer tid, Buffer buffer);
extern void once_row_flatten(const OnceQueue *queue, HeapTuple *tuple);
extern int64 once_row_id(const OnceQueue *queue, HeapTuple tuple);
extern OnceMessageKey once_row_key(const OnceQueue *queue, HeapTuple tuple);
extern bool once_spi_delete(OnceQueue *queue, ItemPointer tid, int64 id);
extern bool once_spi_is_there(OnceQueue *queue, ItemPointer tid, int64 id);
extern bool once_spi_remove(OnceQueue *queue, ItemPointer tid, int64 id);
extern void once_spi_raise_suppressed(const OnceQueue *queue);
extern bool once_row_replaced(Relation heap, const ItemPointerData *tid, TransactionId xmin);
extern bool once_row_at(Page page, HeapTuple tuple);
extern Buffer once_row_pin(const OnceQueue *queue, HeapTuple copy);

/* queue_dedup.c: which of the rows of a call have a dedup_id, in ascending order */
typedef struct OnceDedup
{
	OnceMark   *marks;
	int		   *rows;
	int			n;
} OnceDedup;

extern void once_dedup_begin(OnceDedup *dedup, int max);
extern void once_dedup_add(OnceDedup *dedup, int row, Datum dedup_id,
						   const char *argument);
extern void once_dedup_insert(OnceQueue *queue, OnceNewRows *batch, OnceDedup *dedup);
extern void once_dedup_make(Relation heap, const char *queue);
extern void once_dedup_forget_queue(const char *queue);

/* queue_left.c */
extern void once_left_check(const char *queue);
extern void once_left_drop(const char *queue);

/* queue_wait.c: one call's waiting */
typedef struct OnceWait
{
	instr_time	begun;
	int64		limit;			/* microseconds from then on */
	long		pause;			/* milliseconds, the next one */
	bool		slept;			/* was there a pause yet? */
} OnceWait;

extern void once_wait_begin(OnceWait *wait, int64 limit);
extern bool once_wait_is_up(const OnceWait *wait);
extern void once_wait_pause(OnceWait *wait, TimestampTz ready_at);
extern void once_wait_check(const OnceWait *wait);

/* queue_try.c: work on many rows, some of which may refuse */
typedef struct OnceTry
{
	/*
	 * in: does the work for rows from .. to - 1, all of it within a
	 * subtransaction
	 */
	void		(*work) (void *arg, int from, int to);
	/* in: leaves one out */
	void		(*refused) (void *arg, int row, const ErrorData *error);
	void	   *arg;
	bool		rehearse;		/* in: the commit as well */

	/* set by "work" as it goes on */
	int			row;			/* that it is at; -1: at several together */

	bool		caller_good;	/* what the caller has deferred can be done */
} OnceTry;

extern void once_try(OnceTry *try, int from, int to);
extern ErrorData *once_try_failed(MemoryContext context, ResourceOwner owner);
extern void once_try_set_immediate(void);
extern bool once_try_has_written(void);

/* Messages left out by one call, for its warnings */
typedef struct OnceRefusals
{
	const OnceQueue *queue;
	const char *what;			/* "redriven": what they were not */
	int64		n;
} OnceRefusals;

extern void once_refusals_add(OnceRefusals *refusals, int64 id, const ErrorData *error);
extern void once_refusals_warn(const OnceRefusals *refusals);

/* queue_own.c: messages that the transaction itself has sent */
extern bool once_own_sent(OnceQueue *queue, HeapTuple tuple, ItemPointer root);
extern void once_row_find_root(const OnceQueue *queue, ItemPointer tid);
extern bool once_own_delete(OnceQueue *queue, ItemPointer tid, int64 id);
extern int64 once_own_delete_all(OnceQueue *queue, OnceRefusals *refusals);

/* queue_hold.c: what a call has claimed and not handed out yet */
typedef struct OnceHold
{
	OnceQueue  *queue;
	void	   *arg;			/* the caller's */
	QamClaimRequest req;
	uint32		at;				/* the claim (its "nth") that is worked on,
								 * and will be stuck if that fails, or
								 * ONCE_AT_NONE */
	bool		first;			/* has the transaction written nothing before? */
	bool		in_time;		/* if the time is over, is it no message's
								 * doing? */
	int			dead_met;		/* dead messages that were claimed to be
								 * moved, */
	int			dead_settled;	/* and those that were, or are stuck */

	/* queue_hold.c's own */
	int			nest_level;
	MemoryContext mcxt;
	ResourceOwner owner;
	struct OnceHold *outer;
} OnceHold;

#define ONCE_AT_NONE		PG_UINT32_MAX

extern void once_hold_init(void);
extern void once_hold_begin(OnceHold *hold, OnceQueue *queue, Snapshot snapshot);
extern void once_hold(OnceHold *hold, void (*work) (OnceHold *hold));

/* queue_claim.c: to be called within once_hold */
#define ONCE_MAX_DEAD		100 /* that one call does away with, */
#define ONCE_MAX_DEAD_ALONE	10000	/* and if there is nothing to deliver
									 * before */
#define ONCE_MAX_STUCK		100 /* that consumers come to know as such in one
								 * call */

extern void once_claim_rows(OnceHold *hold, int max_dead);
extern void once_claim_pop(OnceHold *hold, int max_dead);
extern int	once_claim_remove(OnceHold *hold, OnceRefusals *refusals);
extern bool once_claim_is_expired(const OnceQueue *queue, HeapTuple tuple, TimestampTz now);

/* queue_dead.c */
extern bool once_dead_is_dropped(const OnceQueue *queue, const QamClaimed *dead);
extern void once_dead_store(OnceQueue *queue, OnceDeadWriter *writer,
							const QamClaimed *dead);
extern void once_dead_note_stuck(OnceQueue *queue, const QamClaimed *message,
								 const ErrorData *error);
extern void once_done_messages(const OnceQueue *queue, const QamClaimed *messages, int n,
							   OnceHold *hold);

/* queue_archive.c */
extern void once_archive_make(Relation heap, const char *queue);
extern Oid	once_archive_oid(const char *queue);
extern char *once_archive_table(const char *queue);
extern void once_archive_put(const OnceQueue *queue, const QamClaimed *messages, int n,
							 OnceHold *hold);
extern int	once_archive_retire(OnceQueue *queue);

/* queue_redrive.c */
extern int64 once_redrive_remove(OnceQueue *queue, TimestampTz before, int64 max,
								 ArrayType *ids);

#endif							/* QUEUE_H */
