/*-------------------------------------------------------------------------
 *
 * queue_parts.h
 *	  The tables that have the messages of a queue.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_PARTS_H
#define QUEUE_PARTS_H

#include "datatype/timestamp.h"
#include "meta/meta_shards.h"
#include "queue/queue_open.h"
#include "utils/palloc.h"
#include "utils/snapshot.h"

/* A tour through the parts of a queue */
typedef struct OnceParts
{
	OnceQueue  *whole;
	OnceAccess	access;
	OnceShard  *shards;			/* of a distributed queue: those on this node */
	int			n;
	int			first;			/* the number of the part where it begins */
	int			visited;		/* how many it has come to */
	bool		busy;			/* it has passed by a part that was locked */
} OnceParts;

/* When there will be something in which table, for those who wait */
typedef struct OnceOutlook
{
	MemoryContext context;		/* of the arrays */
	int			n;
	int			room;
	Oid		   *relids;
	TimestampTz *times;			/* DT_NOEND: not known */
} OnceOutlook;

extern void once_parts_begin(OnceParts *parts, OnceQueue *whole, OnceAccess access);
extern OnceQueue *once_parts_next(OnceParts *parts, OnceQueue *room, bool wait);
extern void once_parts_close(OnceParts *parts, OnceQueue *part);
extern void once_parts_leave(OnceParts *parts, OnceQueue *part);
extern void once_parts_end(OnceParts *parts);
extern void once_parts_require(const OnceQueue *whole);
extern void once_parts_outlook_init(OnceOutlook *outlook, MemoryContext context);
extern void once_parts_outlook(OnceOutlook *outlook, const OnceParts *parts);
extern void once_parts_outlook_busy(OnceOutlook *outlook, const OnceParts *parts);
extern void once_parts_outlook_time(OnceOutlook *outlook, Oid relid, TimestampTz when);
extern Oid	once_parts_look(OnceQueue *whole, Snapshot snapshot, OnceOutlook *outlook);

#endif							/* QUEUE_PARTS_H */
