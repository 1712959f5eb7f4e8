/*-------------------------------------------------------------------------
 *
 * meta_dead.h
 *	  The tables once.dead_letter and once.failure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_DEAD_H
#define META_DEAD_H

#include "datatype/timestamp.h"
#include "nodes/execnodes.h"
#include "utils/hsearch.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* Columns of once.dead_letter */
#define Natts_dead_letter				13
#define Anum_dead_letter_queue			1
#define Anum_dead_letter_id				2
#define Anum_dead_letter_reason			3
#define Anum_dead_letter_attempts		4
#define Anum_dead_letter_last_error		5
#define Anum_dead_letter_enqueued_at	6
#define Anum_dead_letter_deliver_at		7
#define Anum_dead_letter_expires_at		8
#define Anum_dead_letter_dead_at		9
#define Anum_dead_letter_priority		10
#define Anum_dead_letter_group_id		11
#define Anum_dead_letter_headers		12
#define Anum_dead_letter_payload		13

/*
 * The message that a failure belongs to.  Ids may come again, after TRUNCATE ..
 * RESTART IDENTITY, in an unlogged queue after a crash, or by hand; then the time
 * tells messages apart.  A message that is redriven is a new message.
 */
typedef struct OnceMessageKey
{
	int64		id;
	TimestampTz enqueued_at;	/* DT_NOBEGIN: null */
} OnceMessageKey;

/* once.dead_letter, open for writing */
typedef struct OnceDeadWriter
{
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *result;
	TupleTableSlot *slot;
} OnceDeadWriter;

/* The attempt in a row that says why a message is stuck; deliveries count from 1 */
#define ONCE_STUCK_ATTEMPT				0

extern bool once_dead_letter_lock(void);
extern Relation once_dead_letter_open(LOCKMODE lockmode);
extern void once_dead_letter_begin(OnceDeadWriter *writer);
extern void once_dead_letter_write(OnceDeadWriter *writer, Datum *values, bool *isnull);
extern void once_dead_letter_end(OnceDeadWriter *writer);

extern void once_failure_write(const char *queue, const OnceMessageKey *message,
							   int attempt, Datum error, bool wait);
extern Datum once_failure_last(const char *queue, const OnceMessageKey *message,
							   bool *isnull);
extern Datum once_failure_stuck(const char *queue, const OnceMessageKey *message,
								bool *isnull);
extern void once_failure_forget(const char *queue, const OnceMessageKey *message);
extern void once_failure_forget_stuck(const char *queue, const OnceMessageKey *message);

extern OnceMessageKey once_failure_key(HeapTuple tuple, TupleDesc desc, AttrNumber id,
									   AttrNumber enqueued_at);
extern HTAB *once_failure_orphans(const char *queue, Snapshot snapshot);
extern void once_failure_forget_orphans(const char *queue, Snapshot snapshot,
										HTAB *messages);
extern bool once_dead_letter_any(const char *queue);
extern int64 once_dead_letter_count(const char *queue, bool *exact);
extern void once_dead_letter_forget_queue(const char *queue);

#endif							/* META_DEAD_H */
