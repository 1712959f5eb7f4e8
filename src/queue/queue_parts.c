/*-------------------------------------------------------------------------
 *
 * queue_parts.c
 *	  The tables that have the messages of a queue.
 *
 * As a rule, that is one: the table of the queue.  If Citus has distributed it, there
 * are many, the shards.  A verb that is called with the name of the queue goes
 * through those that are on this node; the messages of the others are for consumers
 * that are connected to other nodes.  So no message crosses the network to be
 * consumed, and nodes do not wait for each other.
 *
 * Each call begins where the last one of this backend has ended, so that all parts
 * get their turn, and backends begin at different parts.
 *
 * The order of locks: the table of the queue, the table of the part, its index, the
 * lock that keeps the shard on this node (meta_shards.c).  A receipt names the part, so
 * who acks a lease does not lock the table of the queue.  A call may have claims in
 * several parts.  So two calls could wait for each other if they waited for parts; those
 * that claim do not, and pass by a part that is locked.  Others go through the parts in
 * the order of their hash values.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "miscadmin.h"
#include "once_error.h"
#include "queue/queue_claim.h"
#include "queue/queue_parts.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* Whoever waits looks again at a part that was locked after this time; milliseconds */
#define LOOK_AT_LOCKED		1000

/* Where the next tour for consumers begins */
typedef struct Cursor
{
	Oid			relid;			/* key: the table of the queue */
	int64		shard;			/* the number of the shard */
} Cursor;

static HTAB *cursors = NULL;

static Cursor *find_cursor(Oid relid, bool *found);
static int	find_first(const OnceQueue *whole, const OnceShard *shards, int n);
static void begin_with(const OnceQueue *whole, Oid relid);

/*
 * once_parts_begin begins a tour through the parts of a queue that was opened by
 * once_queue_open_whole for the same access.  Raises an error if this node never has
 * any.
 */
void
once_parts_begin(OnceParts *parts, OnceQueue *whole, OnceAccess access)
{
	parts->whole = whole;
	parts->access = access;
	parts->shards = NULL;
	parts->n = 1;
	parts->first = parts->visited = 0;
	parts->busy = false;
	if (!whole->meta.distributed)
		return;
	parts->shards = once_shards_here(RelationGetRelid(whole->heap), &parts->n);
	if (parts->n == 0)
		once_parts_require(whole);
	else if (access == ONCE_TO_CONSUME)
		parts->first = find_first(whole, parts->shards, parts->n);
}

/*
 * once_parts_next opens the next part of the tour.  It returns "room", or the queue
 * itself if that is the only part; NULL: there are no more.  A part that has left the
 * node meanwhile is passed by.  If wait is false, so is one that is locked; then
 * parts->busy is set.
 */
OnceQueue *
once_parts_next(OnceParts *parts, OnceQueue *room, bool wait)
{
	while (parts->visited < parts->n)
	{
		int			at = (parts->first + parts->visited++) % parts->n;

		CHECK_FOR_INTERRUPTS();
		if (parts->shards == NULL)
			return parts->whole;
		if (once_queue_open_part(room, parts->shards[at].relid, parts->access, wait))
			return room;
		parts->busy = true;
	}
	return NULL;
}

/*
 * once_parts_close closes a part and keeps its locks.  The queue itself stays open.
 */
void
once_parts_close(OnceParts *parts, OnceQueue *part)
{
	if (part != parts->whole)
		once_queue_close(part);
}

/*
 * once_parts_leave closes a part and releases its locks, as once_queue_leave does.
 */
void
once_parts_leave(OnceParts *parts, OnceQueue *part)
{
	if (part != parts->whole)
		once_queue_leave(part);
}

/*
 * once_parts_end ends a tour.  The next one for consumers begins with the part to which
 * this one would have come next.
 */
void
once_parts_end(OnceParts *parts)
{
	if (parts->shards == NULL)
		return;
	if (parts->access == ONCE_TO_CONSUME && parts->n > 0)
	{
		bool		found;
		Cursor	   *cursor = find_cursor(RelationGetRelid(parts->whole->heap), &found);

		cursor->shard = parts->shards[(parts->first + parts->visited) % parts->n].number;
	}
	pfree(parts->shards);
	parts->shards = NULL;
}

/*
 * begin_with makes the next tour for consumers begin with this table, if it
 * is a part.
 */
static void
begin_with(const OnceQueue *whole, Oid relid)
{
	OnceShard  *shards;
	int			n;
	int			i;

	if (!whole->meta.distributed)
		return;
	shards = once_shards_here(RelationGetRelid(whole->heap), &n);
	for (i = 0; i < n; i++)
	{
		bool		found;

		if (shards[i].relid == relid)
			find_cursor(RelationGetRelid(whole->heap), &found)->shard = shards[i].number;
	}
	pfree(shards);
}

/*
 * find_cursor returns the entry of a queue.  *found: it was there before.
 */
static Cursor *
find_cursor(Oid relid, bool *found)
{
	if (cursors == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(Cursor);
		ctl.hcxt = TopMemoryContext;
		cursors = hash_create("pg_once parts", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	return hash_search(cursors, &relid, HASH_ENTER, found);
}

/*
 * find_first returns the number of the part where a tour begins: the one that the last
 * tour has noted.  If there was none, or that part has left, it depends on the backend.
 */
static int
find_first(const OnceQueue *whole, const OnceShard *shards, int n)
{
	bool		found;
	Cursor	   *cursor = find_cursor(RelationGetRelid(whole->heap), &found);
	int			i;

	for (i = 0; found && i < n; i++)
	{
		if (shards[i].number == cursor->shard)
			return i;
	}
	cursor->shard = shards[MyProcPid % n].number;
	return MyProcPid % n;
}

/*
 * once_parts_require raises an error if a queue is distributed and has no part here, and
 * Citus gives this node no shards, so that whoever consumes here would wait for ever.
 */
void
once_parts_require(const OnceQueue *whole)
{
	OnceShard  *shards;
	int			n;

	if (!whole->meta.distributed)
		return;
	shards = once_shards_here(RelationGetRelid(whole->heap), &n);
	pfree(shards);
	if (n > 0 || once_shards_node_may_have())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("queue \"%s\" has no shards on this node", once_queue_name(whole)),
			 errdetail("It is distributed by Citus, which gives no shards to this node."),
			 errhint("Connect to a node that has shards of the queue.  The function once.shards lists them.")));
}

/*
 * once_parts_outlook_init makes an empty outlook.
 */
void
once_parts_outlook_init(OnceOutlook *outlook, MemoryContext context)
{
	outlook->context = context;
	outlook->n = outlook->room = 0;
	outlook->relids = NULL;
	outlook->times = NULL;
}

/*
 * once_parts_outlook adds the parts of a queue to an outlook.
 */
void
once_parts_outlook(OnceOutlook *outlook, const OnceParts *parts)
{
	int			i;

	if (outlook->room < outlook->n + parts->n)
	{
		MemoryContext caller = MemoryContextSwitchTo(outlook->context);

		outlook->room = 2 * (outlook->n + parts->n);
		outlook->relids = outlook->relids == NULL ? palloc_array(Oid, outlook->room) :
			repalloc_array(outlook->relids, Oid, outlook->room);
		outlook->times = outlook->times == NULL ? palloc_array(TimestampTz, outlook->room) :
			repalloc_array(outlook->times, TimestampTz, outlook->room);
		MemoryContextSwitchTo(caller);
	}
	for (i = 0; i < parts->n; i++)
	{
		outlook->relids[outlook->n] = parts->shards == NULL ?
			RelationGetRelid(parts->whole->heap) : parts->shards[i].relid;
		outlook->times[outlook->n++] = DT_NOEND;
	}
}

/*
 * once_parts_outlook_time notes when there will be something in a table.
 */
void
once_parts_outlook_time(OnceOutlook *outlook, Oid relid, TimestampTz when)
{
	int			i;

	for (i = 0; i < outlook->n; i++)
	{
		if (outlook->relids[i] == relid)
			outlook->times[i] = Min(outlook->times[i], when);
	}
}

/*
 * once_parts_look looks for something for a consumer to do in a queue, and adds its
 * parts to an outlook.  It claims nothing, and has released its locks on the parts when
 * it returns.  It returns the table that has something, or InvalidOid.
 */
Oid
once_parts_look(OnceQueue *whole, Snapshot snapshot, OnceOutlook *outlook)
{
	OnceParts	parts;
	OnceQueue	room;
	OnceQueue  *part;
	Oid			found = InvalidOid;

	once_parts_begin(&parts, whole, ONCE_TO_CONSUME);
	once_parts_outlook(outlook, &parts);
	while (!OidIsValid(found) && (part = once_parts_next(&parts, &room, false)) != NULL)
	{
		Oid			relid = RelationGetRelid(part->heap);
		TimestampTz earliest;

		if (!part->meta.consume_paused)
		{
			once_queue_check_columns(part);
			if (once_claim_look(part, snapshot, &earliest))
				found = relid;
			once_parts_outlook_time(outlook, relid, earliest);
		}
		once_parts_leave(&parts, part);
	}
	once_parts_outlook_busy(outlook, &parts);
	once_parts_end(&parts);
	if (OidIsValid(found))
		begin_with(whole, found);
	return found;
}

/*
 * once_parts_outlook_busy sees to it that whoever waits looks again soon, if a tour has
 * passed by a part.
 */
void
once_parts_outlook_busy(OnceOutlook *outlook, const OnceParts *parts)
{
	if (parts->busy)
		once_parts_outlook_time(outlook, parts->shards[0].relid,
								TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOOK_AT_LOCKED));
}
