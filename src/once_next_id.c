/*-------------------------------------------------------------------------
 *
 * once_next_id.c
 *	  next_id: ids of messages that are unique over the nodes of a cluster.
 *
 * An id is a time, the number of the node, and a counter:
 *
 *		time	in ticks of 4 ms since 2026-01-01 00:00 UTC
 *		node	8 bits: the group of this node in Citus; 0 without Citus
 *		counter	8 bits
 *
 * So ids of one node ascend in the order in which they are drawn, and those of all
 * nodes in the order of their times, as far as the clocks agree.  The time has 37 bits
 * until 2043-06-03 21:56:53 UTC.  Until then, ids are less than 2^53, so that
 * programs which take numbers for floating-point ones do not change them.
 *
 * All backends of a server share the time and the counter of the last id, as one
 * number.  The next one is that of the clock, or the last one plus one, whichever is
 * greater.  So a node can give out 256 ids in each tick, 64,000 in each second.  It may
 * run ahead of the clock by ONCE_DRAW_LEAD ticks, and then waits for the clock.
 *
 * The invariant: an id is never given out whose time is more than ONCE_DRAW_LEAD ticks
 * later than the clock.  What was given out is not on disk.  So the first draw after
 * the start of a server, or after its promotion, begins with the time of the clock, plus
 * ONCE_DRAW_LEAD, plus one.  As nothing is drawn during recovery, that is later than all
 * that this node has ever given out, before it crashed or on its former primary.
 *
 * This relies on the clock.  If it is set back while the server runs, ids continue
 * from the last one.  But if it is set back by some time while the server is down, or
 * if the clock of a promoted standby is behind its primary's by that much, ids of that
 * time may come again, and are less than some that were given out before.  The same is
 * true if the clock was ahead, and is set right while the server is down.  So is it of
 * two servers that are not nodes of one Citus cluster: both may give out the same ids.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "fmgr.h"
#include "meta/meta_citus.h"
#include "miscadmin.h"
#include "once_next_id.h"
#include "once_shmem.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/* 2026-01-01, in days after the epoch of timestamps, which is 2000-01-01 */
#define ONCE_DRAW_EPOCH		(9497 * USECS_PER_DAY)

#define ONCE_DRAW_TICK		(4 * 1000)	/* in microseconds */
#define ONCE_DRAW_LEAD		(USECS_PER_SEC / ONCE_DRAW_TICK)	/* in ticks */

#define NODE_BITS			8
#define COUNTER_BITS		8

/* If the clock is behind by more seconds than this, waiting for it is no use. */
#define MAX_WAIT			60

typedef struct LastId
{
	/*
	 * time << COUNTER_BITS | counter; 0: none was drawn since the server
	 * started
	 */
	pg_atomic_uint64 last;
} LastId;

/* NULL: the library was not preloaded */
static LastId *shared = NULL;

PG_FUNCTION_INFO_V1(once_next_id);

static Size shared_size(void);
static void attach(void *memory, LWLock *lock, bool made);
static int64 current_tick(void);
static void wait_for_clock(int64 ticks);

/*
 * once.next_id: an id that no node has given out before.
 */
Datum
once_next_id(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(once_draw_id(once_draw_node()));
}

/*
 * once_draw_init requests the memory, if the library is preloaded.
 */
void
once_draw_init(void)
{
	static const OnceShmem piece = {
		.name = "pg_once last id",.size = shared_size,.attach = attach
	};

	once_shmem_add(&piece);
}

static Size
shared_size(void)
{
	return sizeof(LastId);
}

static void
attach(void *memory, LWLock *lock, bool made)
{
	shared = memory;
	if (made)
		pg_atomic_init_u64(&shared->last, 0);
}

/*
 * once_draw_node returns the number of this node, for once_draw_id.  It is read each
 * time, which takes two microseconds with Citus, and so it is right also when the node
 * has got another number.  Callers that draw many ids at once read it once.
 */
int
once_draw_node(void)
{
	int32		group = once_citus_group();
	int			node = Max(group, 0);

	if (node >= 1 << NODE_BITS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("this node cannot make ids of messages"),
				 errdetail("Its group in Citus is %d.  Ids have room for groups from 0 to %d.",
						   node, (1 << NODE_BITS) - 1)));
	return node;
}

/*
 * once_draw_id draws an id.  It waits while it is too far ahead of the clock.
 */
int64
once_draw_id(int node)
{
	PreventCommandDuringRecovery("once.next_id()");
	if (shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("ids of messages cannot be made"),
				 errdetail("The library pg_once was not loaded when the server started."),
				 errhint("Add \"pg_once\" to shared_preload_libraries, and restart the server.")));

	for (;;)
	{
		uint64		last = pg_atomic_read_u64(&shared->last);
		int64		now = current_tick();
		uint64		next;
		int64		time;

		if (last == 0)
		{
			/* The base: this one is not given out */
			(void) pg_atomic_compare_exchange_u64(&shared->last, &last,
												  (uint64) (now + ONCE_DRAW_LEAD + 1) << COUNTER_BITS);
			continue;
		}
		next = Max((uint64) now << COUNTER_BITS, last + 1);
		time = next >> COUNTER_BITS;
		if (time > now + ONCE_DRAW_LEAD)
			wait_for_clock(time - now - ONCE_DRAW_LEAD);
		else if (pg_atomic_compare_exchange_u64(&shared->last, &last, next))
			return time << (NODE_BITS + COUNTER_BITS) |
				(int64) node << COUNTER_BITS |
				(int64) (next & ((1 << COUNTER_BITS) - 1));
	}
}

/*
 * current_tick returns the time of the clock.
 */
static int64
current_tick(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now < ONCE_DRAW_EPOCH)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("ids of messages cannot be made"),
				 errdetail("The server's clock says %s, which is before 2026.",
						   timestamptz_to_str(now)),
				 errhint("Set the clock right.")));
	return (now - ONCE_DRAW_EPOCH) / ONCE_DRAW_TICK;
}

/*
 * wait_for_clock waits until the clock has gone on by so many ticks, or less.  It
 * raises an error if that would take too long.
 */
static void
wait_for_clock(int64 ticks)
{
	int64		seconds = ticks * ONCE_DRAW_TICK / USECS_PER_SEC;

	if (seconds > MAX_WAIT)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("ids of messages cannot be made"),
				 errdetail("The server's clock was set back: it is %lld seconds behind the last id.",
						   (long long) (seconds + 1)),
				 errhint("Set the clock right.")));
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 (long) (ticks * ONCE_DRAW_TICK / 1000), PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}
