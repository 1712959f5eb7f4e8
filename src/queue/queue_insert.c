/*-------------------------------------------------------------------------
 *
 * queue_insert.c
 *	  Where new messages of a queue are stored, and how.
 *
 * As a rule, rows are put into the queue's table directly (queue_fast.c).  If the
 * table has been changed (see OnceMeta.fast_insert), an INSERT does it (queue_spi.c).
 *
 * A message of a distributed queue belongs to the shard that has the hash value of
 * its id or its group, whichever the queue is distributed by.  If that shard is on
 * this node, the row is put into it directly, too.  Ids are drawn until there is one
 * that belongs to a shard here: so messages are sent without the network, and Citus
 * finds them where it expects them.  All others are stored by an INSERT into the
 * queue's table, which Citus sends to the right node.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "commands/sequence.h"
#include "meta/meta_cache.h"
#include "meta/meta_names.h"
#include "meta/meta_remote.h"
#include "meta/meta_shards.h"
#include "miscadmin.h"
#include "once_next_id.h"
#include "queue/queue_fast.h"
#include "queue/queue_insert.h"
#include "queue/queue_open.h"
#include "queue/queue_row.h"
#include "queue/queue_spi.h"
#include "rewrite/rewriteHandler.h"
#include "utils/rel.h"

/*
 * So many ids are drawn for one message until one belongs to a shard of this node.  A
 * node can draw 64,000 in a second, so this also limits what it can send.  So a node that
 * has few of the hash values gives up early.
 */
#define MAX_DRAWS			64
#define MAX_DRAWS_OF_FEW	16
#define FEW_HASH_VALUES		(PG_UINT32_MAX / 8)

/* The shard of a message that goes to another node */
#define ELSEWHERE			(-1)

/* What a distributed queue is distributed by */
typedef enum Key
{
	KEY_NONE,					/* it has a single shard */
	KEY_ID,
	KEY_GROUP,
	KEY_ADDED					/* a column that was added to the table */
} Key;

/* Messages on their way to the shards of this node */
typedef struct Spread
{
	OnceQueue  *queue;
	OnceNewRows *batch;
	Key			by;				/* what decides about the shard */
	Form_pg_attribute att;		/* that column */
	int			node;			/* for ids */
	int			max_draws;
	int			nshards;
	OnceShard  *shards;
	int		   *shard_of;		/* for each row, the number of its shard in
								 * the list, or ELSEWHERE */
	OnceNewRow *rows;			/* workspace: rows of one shard */
} Spread;

static Key	find_key(const OnceQueue *queue, Form_pg_attribute *att);
static void draw_ids(OnceQueue *queue, OnceNewRows *batch);
static int	node_for_ids(const OnceQueue *queue);
static int64 draw_id(const OnceQueue *queue, int node);
static void insert_distributed(OnceQueue *queue, OnceNewRows *batch);
static void insert_through_citus(OnceQueue *queue, const OnceNewRows *batch);
static bool begin_spread(Spread *spread, OnceQueue *queue, OnceNewRows *batch);
static int	find_shard(const Spread *spread, OnceNewRow *row);
static OnceNewRows take_rows(const Spread *spread, int shard);
static bool insert_into_shard(const Spread *spread, int shard);

/*
 * once_insert_rows stores messages in the given order, and fills in their ids.
 */
void
once_insert_rows(OnceQueue *queue, OnceNewRows *batch)
{
	if (batch->nrows == 0)
		return;
	if (queue->meta.distributed)
	{
		insert_distributed(queue, batch);
		return;
	}
	if (!batch->have_ids)
		draw_ids(queue, batch);
	if (queue->meta.fast_insert)
		once_fast_insert(queue, batch);
	else
		once_spi_insert(queue, batch);
}

/*
 * once_insert_check_new raises an error if new messages cannot be in their queue, because
 * of what it is distributed by.
 */
void
once_insert_check_new(const OnceQueue *queue, const OnceNewRows *batch)
{
	Form_pg_attribute att;
	Key			key;
	int			i;

	if (!queue->meta.distributed || batch->nrows == 0)
		return;
	key = find_key(queue, &att);
	if (key == KEY_ADDED && build_column_default(queue->heap, att->attnum) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot send to queue \"%s\" by a function", once_queue_name(queue)),
				 errdetail("It is distributed by column \"%s\", for which functions have no value.",
						   NameStr(att->attname)),
				 errhint("Use INSERT INTO %s.", once_names_table(queue->meta.relid))));
	for (i = 0; i < batch->nrows; i++)
	{
		if (key == KEY_ID && !batch->rows[i].group_id_null)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot use a group with queue \"%s\"", once_queue_name(queue)),
					 errdetail("It is distributed by \"id\", and the messages of a group would not be in order."),
					 errhint("Distribute queues with ordered groups by \"group_id\".")));
		if (key == KEY_GROUP && batch->rows[i].group_id_null)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a message of queue \"%s\" must have a group", once_queue_name(queue)),
					 errdetail("The queue is distributed by \"group_id\"."),
					 errhint("Give the message a group of its own if it has no order.")));
	}
}

/*
 * once_insert_check_again raises an error if dead letters cannot go back into their queue,
 * because they do not have what it is distributed by.
 */
void
once_insert_check_again(const OnceQueue *queue)
{
	Form_pg_attribute att;

	if (!queue->meta.distributed || find_key(queue, &att) != KEY_ADDED)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot redrive dead letters of queue \"%s\"", once_queue_name(queue)),
			 errdetail("It is distributed by column \"%s\", which dead letters do not have.",
					   NameStr(att->attname)),
			 errhint("Use INSERT INTO %s with that column, and then once.purge_dead_letters, in one transaction.",
					 once_names_table(queue->meta.relid))));
}

/*
 * find_key finds out what a distributed queue is distributed by.  *att: that column, if
 * there is one.
 */
static Key
find_key(const OnceQueue *queue, Form_pg_attribute *att)
{
	AttrNumber	attno = once_shards_key(RelationGetRelid(queue->heap));

	if (attno == InvalidAttrNumber)
		return KEY_NONE;
	*att = TupleDescAttr(RelationGetDescr(queue->heap), attno - 1);
	return attno == queue->meta.column[ONCE_COL_ID] ? KEY_ID :
		attno == queue->meta.column[ONCE_COL_GROUP_ID] ? KEY_GROUP : KEY_ADDED;
}

/*
 * draw_ids gives ids to messages.
 */
static void
draw_ids(OnceQueue *queue, OnceNewRows *batch)
{
	int			node = node_for_ids(queue);
	int			i;

	for (i = 0; i < batch->nrows; i++)
		batch->rows[i].id = draw_id(queue, node);
}

/*
 * node_for_ids returns what draw_id needs.
 */
static int
node_for_ids(const OnceQueue *queue)
{
	return OidIsValid(queue->meta.sequence) ? 0 : once_draw_node();
}

/*
 * draw_id draws an id for a message.  As for identity columns, the right to insert
 * includes that.  (Everybody may call once.next_id.)
 */
static int64
draw_id(const OnceQueue *queue, int node)
{
	return OidIsValid(queue->meta.sequence) ?
		nextval_internal(queue->meta.sequence, false) : once_draw_id(node);
}

/*
 * once_insert_time returns the time at which messages are sent.
 */
TimestampTz
once_insert_time(void)
{
	return once_fast_time();
}

/*
 * insert_distributed stores messages of a distributed queue.  Those of one shard are
 * stored in the given order.
 */
static void
insert_distributed(OnceQueue *queue, OnceNewRows *batch)
{
	Spread		spread;
	OnceNewRows rest;
	int			i;

	if (!begin_spread(&spread, queue, batch))
	{
		if (!batch->have_ids)
			draw_ids(queue, batch);
		insert_through_citus(queue, batch);
		return;
	}

	for (i = 0; i < batch->nrows; i++)
	{
		int			draws = batch->have_ids ? 0 : spread.max_draws;

		do
		{
			if (!batch->have_ids)
				batch->rows[i].id = draw_id(queue, spread.node);
			spread.shard_of[i] = find_shard(&spread, &batch->rows[i]);
		} while (spread.by == KEY_ID && spread.shard_of[i] == ELSEWHERE && --draws > 0);
		CHECK_FOR_INTERRUPTS();
	}

	for (i = 0; i < spread.nshards; i++)
	{
		int			row;

		if (insert_into_shard(&spread, i))
			continue;
		for (row = 0; row < batch->nrows; row++)
		{
			if (spread.shard_of[row] == i)
				spread.shard_of[row] = ELSEWHERE;
		}
	}
	rest = take_rows(&spread, ELSEWHERE);
	if (rest.nrows > 0)
		insert_through_citus(queue, &rest);
	pfree(spread.rows);
	pfree(spread.shard_of);
	pfree(spread.shards);
}

static void
insert_through_citus(OnceQueue *queue, const OnceNewRows *batch)
{
	once_remote_note_send();
	once_spi_insert(queue, batch);
}

/*
 * begin_spread prepares for storing messages in the shards of this node.  False: none can
 * be stored there, and nothing was done.
 */
static bool
begin_spread(Spread *spread, OnceQueue *queue, OnceNewRows *batch)
{
	int64		values = 0;
	int			i;

	/* Rules are those of the distributed table; shards have none */
	if (queue->meta.insert_rules)
		return false;
	spread->by = find_key(queue, &spread->att);
	if ((spread->by != KEY_ID && spread->by != KEY_GROUP) || !once_remote_may_send_here())
		return false;
	spread->shards = once_shards_here(RelationGetRelid(queue->heap), &spread->nshards);
	if (spread->nshards == 0)
	{
		pfree(spread->shards);
		return false;
	}
	spread->queue = queue;
	spread->batch = batch;
	spread->node = node_for_ids(queue);
	for (i = 0; i < spread->nshards; i++)
		values += (int64) spread->shards[i].highest - spread->shards[i].lowest + 1;
	spread->max_draws = values > FEW_HASH_VALUES ? MAX_DRAWS : MAX_DRAWS_OF_FEW;
	spread->shard_of = palloc_extended(sizeof(int) * batch->nrows, MCXT_ALLOC_HUGE);
	spread->rows = palloc_extended(sizeof(OnceNewRow) * batch->nrows, MCXT_ALLOC_HUGE);
	return true;
}

/*
 * find_shard returns the number of the shard in the list that a message belongs to, or
 * ELSEWHERE.
 */
static int
find_shard(const Spread *spread, OnceNewRow *row)
{
	int32		hash;
	int			i;

	/* Citus raises an error for this one, if it is a redriven message */
	if (spread->by == KEY_GROUP && row->group_id_null)
		return ELSEWHERE;
	hash = once_shards_hash(spread->att, spread->by == KEY_ID ? Int64GetDatum(row->id) : row->group_id);
	for (i = 0; i < spread->nshards; i++)
	{
		if (spread->shards[i].lowest <= hash && hash <= spread->shards[i].highest)
			return spread->shards[i].place == ONCE_SHARD_HERE ? i : ELSEWHERE;
	}
	return ELSEWHERE;
}

/*
 * take_rows returns the rows of one shard, in their order.  They are in the workspace.
 */
static OnceNewRows
take_rows(const Spread *spread, int shard)
{
	OnceNewRows taken = *spread->batch;
	int			i;

	taken.rows = spread->rows;
	taken.nrows = 0;
	taken.have_ids = true;
	for (i = 0; i < spread->batch->nrows; i++)
	{
		if (spread->shard_of[i] == shard)
			taken.rows[taken.nrows++] = spread->batch->rows[i];
	}
	return taken;
}

/*
 * insert_into_shard stores the messages that belong to a shard of this node, which it
 * keeps here until the transaction ends.  False: they must go through Citus, because the
 * shard is being moved, has left, is locked, or has been altered.
 */
static bool
insert_into_shard(const Spread *spread, int shard)
{
	OnceNewRows rows = take_rows(spread, shard);
	OnceQueue	part;
	bool		fast;

	if (rows.nrows == 0)
		return true;
	if (!once_queue_open_part(&part, spread->shards[shard].relid, ONCE_TO_SEND, false))
		return false;
	fast = part.meta.fast_insert;
	if (fast)
	{
		once_remote_send_here();
		once_fast_insert(&part, &rows);
	}
	once_queue_close(&part);
	return fast;
}
