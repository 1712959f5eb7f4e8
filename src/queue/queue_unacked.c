/*-------------------------------------------------------------------------
 *
 * queue_unacked.c
 *	  What this transaction has received and not acked yet.
 *
 * A transaction must not commit the effects of a message without its ack.  So
 * receive registers every message that it hands out, ack marks it as acked,
 * and nack and release remove it from the register.  A transaction that is
 * about to commit or PREPARE with a message that is still registered and not
 * acked fails with once_unacked (unless once.unacked says otherwise).
 *
 * A message is also done if the transaction has deleted its row by plain SQL,
 * or has truncated or dropped the table while the row was there.  That needs a
 * proof, and the index cannot give it, since it may have been dropped, rebuilt
 * or replaced meanwhile.  So the row itself is checked, in the place where it
 * was when it was received.  The result depends on what happened to it:
 *
 *	 deleted by this transaction	done
 *	 replaced by an UPDATE			its newest version is checked
 *	 deleted by another, or			done only if the index says that the claim was
 *	 no trace of it is left			still ours; otherwise another transaction may
 *									have got the message, after an index was
 *									rebuilt, and acked it
 *	 table truncated or dropped		done if all rows were there at that moment,
 *									unless Citus has distributed the table and
 *									copied the rows before
 *	 table rewritten				not done, as the row is elsewhere now
 *
 * A rebuilt index delivers messages again that were received through the old
 * one, perhaps to the same transaction.  Then the row proves something only
 * for the later delivery.
 *
 * Subtransactions: the rollback of a subtransaction undoes the claims and acks
 * made in it, but nothing undoes a nack.  So each nesting level that has made
 * claims or acks has a list of its claims and a list of its acks.  A
 * subtransaction that commits leaves its lists to its parent, in constant
 * time, however long they are.  A subtransaction that aborts walks through its
 * own.  At level one, only a rollback of the whole transaction can undo
 * anything.  So entries acked there are dropped, and a transaction that
 * receives and acks by the thousands needs little memory.
 *
 * The heads of the lists are kept in TopTransactionContext and vanish with it.
 * The table of entries outlives the transaction, empty, so that the next one
 * need not make it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "lib/ilist.h"
#include "meta/meta_citus.h"
#include "once_error.h"
#include "qam/qam.h"
#include "queue/queue_open.h"
#include "queue/queue_receipt.h"
#include "queue/queue_unacked.h"
#include "storage/bufmgr.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "wake/wake.h"

/* once.unacked */
int			once_unacked_action = ONCE_UNACKED_ERROR;

typedef struct UnackedEntry
{
	pg_uuid_t	receipt;		/* key */
	OnceReceivedRow row;
	bool		by_place;		/* may it be acked by its place? */
	bool		acked;
	dlist_node	claim_link;		/* in the claims of some level */
	dlist_node	ack_link;		/* if acked: in the acks of some level */
} UnackedEntry;

/* A hash table that had more entries is not kept for the next transaction */
#define UNACKED_KEEP			1000

/*
 * What one nesting level has done; levels that have done nothing have no such
 * struct
 */
typedef struct UnackedLevel
{
	int			nest_level;
	dlist_head	claims;
	dlist_head	acks;
	List	   *emptied;		/* tables truncated or dropped while they had
								 * the rows of all messages received from them */
	struct UnackedLevel *parent;	/* of a lower nest_level */
} UnackedLevel;

/* The index that the last messages of a table came through */
typedef struct UnackedSource
{
	Oid			relid;			/* key */
	Oid			index_file;
} UnackedSource;

/* What is known of a message that was not acked */
typedef enum UnackedFate
{
	FATE_DONE,					/* deleted by this transaction, or by another
								 * one while it was claimed */
	FATE_THERE,					/* its row is there */
	FATE_UNKNOWN				/* neither can be proved */
} UnackedFate;

static object_access_hook_type next_object_access_hook = NULL;

static HTAB *unacked_table = NULL;
static UnackedLevel *unacked_level = NULL;	/* the innermost one */
static HTAB *unacked_sources = NULL;	/* of this transaction */
static UnackedSource last_source;	/* copy of the last one used */
static int64 unacked_count = 0; /* number of entries not acked */
static int64 unacked_largest = 0;	/* the highest value of unacked_count */

static void note_source(Oid relid, Oid index_file);
static bool received_again(Oid relid, Oid index_file);
static UnackedLevel *current_level(void);
static void remove_entry(UnackedEntry *entry);
static void settle_acks(UnackedLevel *level);
static void level_commit(int nest_level);
static void level_abort(int nest_level);
static void splice_list(dlist_head *into, dlist_head *from);
static void forget_all(void);
static void check_unacked(void);
static void note_redelivered(void);
static void raise_unacked(int64 left);
static int64 count_unacked(void);
static UnackedFate entry_fate(const UnackedEntry *entry);
static UnackedFate fate_in_place(Relation heap, const UnackedEntry *entry);
static bool gone_while_claimed(const UnackedEntry *entry);
static bool was_emptied(Oid relid);
static void note_emptied(Oid relid);
static Oid	entry_relid(const UnackedEntry *entry);
static void unacked_object_access(ObjectAccessType access, Oid class_id, Oid object_id,
								  int sub_id, void *arg);
static void unacked_xact_callback(XactEvent event, void *arg);
static void unacked_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
									 SubTransactionId parentSubid, void *arg);

/*
 * once_unacked_init registers callbacks for the ends of transactions and a
 * hook for TRUNCATE and DROP.
 */
void
once_unacked_init(void)
{
	next_object_access_hook = object_access_hook;
	object_access_hook = unacked_object_access;
	RegisterXactCallback(unacked_xact_callback, NULL);
	RegisterSubXactCallback(unacked_subxact_callback, NULL);
}

/*
 * once_unacked_add registers a message that receive hands out.  by_place: it may
 * be acked by the place of its row.
 */
void
once_unacked_add(const pg_uuid_t *receipt, const OnceReceivedRow *row, bool by_place)
{
	UnackedLevel *level = current_level();
	UnackedEntry *entry;
	bool		found;

	entry = hash_search(unacked_table, receipt, HASH_ENTER, &found);
	if (found)
		elog(ERROR, "receipt handed out twice");
	entry->row = *row;
	entry->by_place = by_place;
	entry->acked = false;
	dlist_push_tail(&level->claims, &entry->claim_link);
	note_source(entry_relid(entry), row->index_file);
	unacked_count++;
	unacked_largest = Max(unacked_largest, unacked_count);
}

/*
 * once_unacked_has tells whether a receipt is that of a message that this
 * transaction has received and still holds.
 */
bool
once_unacked_has(const pg_uuid_t *receipt)
{
	return unacked_table != NULL &&
		hash_search(unacked_table, receipt, HASH_FIND, NULL) != NULL;
}

/*
 * once_unacked_owed tells whether this transaction has received a message and
 * has neither acked it nor given it back.
 */
bool
once_unacked_owed(const pg_uuid_t *receipt)
{
	UnackedEntry *entry = NULL;

	if (unacked_table != NULL)
		entry = hash_search(unacked_table, receipt, HASH_FIND, NULL);
	return entry != NULL && !entry->acked;
}

/*
 * once_unacked_row returns where the row of a message was that this
 * transaction has received and still holds.  NULL: there is no such message
 * or, if by_place is true, it must not be acked by its place.  The result is
 * valid until the next change here.
 */
const OnceReceivedRow *
once_unacked_row(const pg_uuid_t *receipt, bool by_place)
{
	UnackedEntry *entry = NULL;

	if (unacked_table != NULL)
		entry = hash_search(unacked_table, receipt, HASH_FIND, NULL);
	return entry != NULL && (entry->by_place || !by_place) ? &entry->row : NULL;
}

/*
 * once_unacked_ack notes that a message has been acked.  The rollback of the
 * current subtransaction undoes that.  Receipts of messages that this
 * transaction does not hold are ignored.
 */
void
once_unacked_ack(const pg_uuid_t *receipt)
{
	UnackedEntry *entry;

	if (unacked_table == NULL)
		return;
	entry = hash_search(unacked_table, receipt, HASH_FIND, NULL);
	if (entry == NULL || entry->acked)
		return;

	if (GetCurrentTransactionNestLevel() == 1)
		remove_entry(entry);
	else
	{
		entry->acked = true;
		unacked_count--;
		dlist_push_tail(&current_level()->acks, &entry->ack_link);
	}
}

/*
 * once_unacked_forget notes that a claim has ended for good.
 */
void
once_unacked_forget(const pg_uuid_t *receipt)
{
	UnackedEntry *entry;

	if (unacked_table == NULL)
		return;
	entry = hash_search(unacked_table, receipt, HASH_FIND, NULL);
	if (entry != NULL)
		remove_entry(entry);
}

/*
 * once_unacked_any tells whether this transaction holds any message of a
 * queue.  It walks through the whole hash table.
 */
bool
once_unacked_any(Oid relid)
{
	HASH_SEQ_STATUS status;
	UnackedEntry *entry;

	if (unacked_table == NULL)
		return false;

	hash_seq_init(&status, unacked_table);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry_relid(entry) == relid)
		{
			hash_seq_term(&status);
			return true;
		}
	}
	return false;
}

/*
 * once_unacked_settle raises once_unacked if the current subtransaction holds
 * messages that it has neither acked nor given back.  It does so now, not when
 * the transaction commits.
 */
void
once_unacked_settle(void)
{
	dlist_iter	iter;
	int64		left = 0;

	if (unacked_level == NULL ||
		unacked_level->nest_level < GetCurrentTransactionNestLevel() ||
		once_unacked_action == ONCE_UNACKED_REDELIVER)
		return;
	dlist_foreach(iter, &unacked_level->claims)
	{
		UnackedEntry *entry = dlist_container(UnackedEntry, claim_link, iter.cur);

		if (!entry->acked && entry_fate(entry) != FATE_DONE)
			left++;
	}
	raise_unacked(left);
}

/*
 * note_source notes through which index the messages of a table come now.
 */
static void
note_source(Oid relid, Oid index_file)
{
	UnackedSource *source;

	if (last_source.relid == relid && last_source.index_file == index_file)
		return;
	if (unacked_sources == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(UnackedSource);
		ctl.hcxt = TopTransactionContext;
		unacked_sources = hash_create("pg_once sources of messages", 16, &ctl,
									  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	source = hash_search(unacked_sources, &relid, HASH_ENTER, NULL);
	source->index_file = index_file;
	last_source = *source;
}

/*
 * received_again tells whether messages of a table have come through another
 * index since some came through this one.
 */
static bool
received_again(Oid relid, Oid index_file)
{
	UnackedSource *source = hash_search(unacked_sources, &relid, HASH_FIND, NULL);

	return source->index_file != index_file;
}

/*
 * current_level returns the lists of the current nesting level.  It makes
 * them, and the hash table, if they do not exist.
 */
static UnackedLevel *
current_level(void)
{
	int			nest_level = GetCurrentTransactionNestLevel();

	if (unacked_table == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(pg_uuid_t);
		ctl.entrysize = sizeof(UnackedEntry);
		ctl.hcxt = TopMemoryContext;
		unacked_table = hash_create("pg_once unacked messages", 256, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}

	Assert(unacked_level == NULL || unacked_level->nest_level <= nest_level);
	if (unacked_level == NULL || unacked_level->nest_level < nest_level)
	{
		UnackedLevel *level = MemoryContextAlloc(TopTransactionContext,
												 sizeof(UnackedLevel));

		level->nest_level = nest_level;
		dlist_init(&level->claims);
		dlist_init(&level->acks);
		level->emptied = NIL;
		level->parent = unacked_level;
		unacked_level = level;
	}
	return unacked_level;
}

/*
 * remove_entry removes an entry from its lists and from the hash table.
 */
static void
remove_entry(UnackedEntry *entry)
{
	dlist_delete(&entry->claim_link);
	if (entry->acked)
		dlist_delete(&entry->ack_link);
	else
		unacked_count--;
	hash_search(unacked_table, &entry->receipt, HASH_REMOVE, NULL);
}

/*
 * settle_acks drops entries acked at level one.  It meets each entry only
 * once.
 */
static void
settle_acks(UnackedLevel *level)
{
	dlist_mutable_iter iter;

	Assert(level->nest_level == 1);
	dlist_foreach_modify(iter, &level->acks)
		remove_entry(dlist_container(UnackedEntry, ack_link, iter.cur));
}

/*
 * level_commit gives the lists of a subtransaction to its parent.
 */
static void
level_commit(int nest_level)
{
	UnackedLevel *level = unacked_level;

	if (level == NULL || level->nest_level < nest_level)
		return;
	Assert(level->nest_level == nest_level);

	if (level->parent != NULL && level->parent->nest_level == nest_level - 1)
	{
		splice_list(&level->parent->claims, &level->claims);
		splice_list(&level->parent->acks, &level->acks);
		if (level->parent->emptied == NIL)
			level->parent->emptied = level->emptied;
		else
			level->parent->emptied = list_concat(level->parent->emptied, level->emptied);
		unacked_level = level->parent;
		pfree(level);
	}
	else
		level->nest_level = nest_level - 1;

	if (unacked_level->nest_level == 1)
		settle_acks(unacked_level);
}

/*
 * level_abort undoes what a subtransaction has done.  Its acks come first,
 * since the messages acked may have been claimed outside it; then its claims.
 */
static void
level_abort(int nest_level)
{
	UnackedLevel *level = unacked_level;
	dlist_mutable_iter iter;

	if (level == NULL || level->nest_level < nest_level)
		return;
	Assert(level->nest_level == nest_level);

	dlist_foreach_modify(iter, &level->acks)
	{
		UnackedEntry *entry = dlist_container(UnackedEntry, ack_link, iter.cur);

		dlist_delete(&entry->ack_link);
		entry->acked = false;
		unacked_count++;
	}
	dlist_foreach_modify(iter, &level->claims)
		remove_entry(dlist_container(UnackedEntry, claim_link, iter.cur));

	unacked_level = level->parent;
	pfree(level);
}

/*
 * splice_list appends one list to another in constant time, and leaves it
 * empty.
 */
static void
splice_list(dlist_head *into, dlist_head *from)
{
	dlist_node *first;
	dlist_node *last;

	if (dlist_is_empty(from))
		return;
	first = from->head.next;
	last = from->head.prev;

	first->prev = into->head.prev;
	into->head.prev->next = first;
	last->next = &into->head;
	into->head.prev = last;
	dlist_init(from);
}

/*
 * forget_all is called at the end of a transaction.  The memory of levels and
 * sources vanishes with the transaction.  The hash table is kept for the next
 * one, unless it is large or still has entries: then it is cheaper to make it
 * anew.
 */
static void
forget_all(void)
{
	if (unacked_table != NULL &&
		(unacked_largest > UNACKED_KEEP || hash_get_num_entries(unacked_table) > 0))
	{
		hash_destroy(unacked_table);
		unacked_table = NULL;
	}
	unacked_largest = 0;
	unacked_sources = NULL;
	memset(&last_source, 0, sizeof(last_source));
	unacked_level = NULL;
	unacked_count = 0;
}

/*
 * check_unacked raises once_unacked if this transaction holds messages that it
 * has neither acked nor given back.  If once.unacked allows that, they are
 * delivered again.
 */
static void
check_unacked(void)
{
	if (unacked_count == 0)
		return;
	if (once_unacked_action == ONCE_UNACKED_REDELIVER)
		note_redelivered();
	else
		raise_unacked(count_unacked());
}

/*
 * note_redelivered notes for waiters that the messages left are ready again when
 * this transaction has committed.
 */
static void
note_redelivered(void)
{
	HASH_SEQ_STATUS status;
	UnackedEntry *entry;

	hash_seq_init(&status, unacked_table);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (!entry->acked)
			once_wake_note_look(entry_relid(entry), ONCE_WAKE_AT_COMMIT);
	}
}

/*
 * raise_unacked raises once_unacked if "left", a number of such messages, is
 * not zero.
 */
static void
raise_unacked(int64 left)
{
	if (left > 0)
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_UNACKED),
				 errmsg("transaction received messages without acknowledging them"),
				 errdetail_plural("%lld message is neither acked nor given back.",
								  "%lld messages are neither acked nor given back.",
								  (unsigned long) left, (long long) left),
				 errhint("Call once.ack, once.nack or once.release for each message before the transaction ends, "
						 "use once.lease to keep messages beyond it, or set once.unacked to \"redeliver\".")));
}

/*
 * count_unacked counts the messages that cannot be proved to be done.
 */
static int64
count_unacked(void)
{
	HASH_SEQ_STATUS status;
	UnackedEntry *entry;
	int64		left = 0;

	hash_seq_init(&status, unacked_table);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (!entry->acked && entry_fate(entry) != FATE_DONE)
			left++;
	}
	return left;
}

/*
 * entry_fate returns what is known of a message that was not acked.
 *
 * This transaction has had the queue's table locked since it received the
 * message.  So nobody else can have truncated, dropped or rewritten the table.
 */
static UnackedFate
entry_fate(const UnackedEntry *entry)
{
	Oid			relid = entry_relid(entry);
	UnackedFate fate = FATE_UNKNOWN;
	Relation	heap;

	if (received_again(relid, entry->row.index_file))
		return FATE_UNKNOWN;
	heap = try_relation_open(relid, AccessShareLock);
	if (heap != NULL)
	{
		if (heap->rd_rel->relkind == RELKIND_RELATION &&
			once_file_number(heap) == entry->row.file)
			fate = fate_in_place(heap, entry);
		relation_close(heap, AccessShareLock);
	}
	if (fate == FATE_UNKNOWN && was_emptied(relid) && !once_citus_distributes(relid))
		fate = FATE_DONE;
	return fate;
}

/*
 * fate_in_place does the same by means of the row.  The table has the same
 * file as when the message was received.
 */
static UnackedFate
fate_in_place(Relation heap, const UnackedEntry *entry)
{
	ItemPointerData tid = entry->row.tid;

	switch (qam_trace_row(heap, &tid, entry->row.xmin))
	{
		case QAM_TRACE_THERE:
			return FATE_THERE;
		case QAM_TRACE_DELETED_BY_US:
			return FATE_DONE;
		case QAM_TRACE_DELETED:
		case QAM_TRACE_NONE:
			break;
	}
	return gone_while_claimed(entry) ? FATE_DONE : FATE_UNKNOWN;
}

/*
 * gone_while_claimed tells whether somebody else has deleted the row of a
 * message while we had it claimed.  Then nobody else can have received it.
 * The index says so, if it is still the one through which the message was
 * received.
 */
static bool
gone_while_claimed(const UnackedEntry *entry)
{
	OnceReceipt receipt;
	OnceQueue	queue;
	QamLocated	located;
	bool		gone = false;

	once_receipt_decode(&entry->receipt, &receipt);
	PushActiveSnapshot(GetTransactionSnapshot());
	if (once_queue_reopen(&queue, receipt.relid))
	{
		qam_locate(queue.heap, queue.index, &receipt.ref, &located);
		if (BufferIsValid(located.heap_pin))
			ReleaseBuffer(located.heap_pin);
		once_queue_close(&queue);
		gone = located.state == QAM_REF_GONE;
	}
	PopActiveSnapshot();
	return gone;
}

/*
 * was_emptied tells whether this transaction has truncated or dropped a table,
 * and thereby deleted the rows of all messages that it had received from it.
 */
static bool
was_emptied(Oid relid)
{
	UnackedLevel *level;

	for (level = unacked_level; level != NULL; level = level->parent)
	{
		if (list_member_oid(level->emptied, relid))
			return true;
	}
	return false;
}

/*
 * note_emptied is called when a table is about to be truncated or dropped.  If
 * all messages received from it are done or still have their rows, all of them
 * are done afterwards.
 *
 * If the table is not truncated or dropped after all, the subtransaction
 * fails, and what is noted here is forgotten.  Nothing can be received from
 * the table afterwards: new messages in it are not offered before this
 * transaction has committed.
 */
static void
note_emptied(Oid relid)
{
	HASH_SEQ_STATUS status;
	UnackedEntry *entry;
	bool		all = true;

	hash_seq_init(&status, unacked_table);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry_relid(entry) == relid && entry_fate(entry) == FATE_UNKNOWN)
			all = false;
	}

	if (all)
	{
		UnackedLevel *level = current_level();
		MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);

		level->emptied = lappend_oid(level->emptied, relid);
		MemoryContextSwitchTo(caller);
	}
}

/*
 * entry_relid returns the table of a message.
 */
static Oid
entry_relid(const UnackedEntry *entry)
{
	OnceReceipt receipt;

	once_receipt_decode(&entry->receipt, &receipt);
	return receipt.relid;
}

/*
 * unacked_object_access is called for commands on objects of any kind.
 * TRUNCATE calls it after it has found the table and before it locks it; DROP
 * calls it when the table is locked.
 */
static void
unacked_object_access(ObjectAccessType access, Oid class_id, Oid object_id,
					  int sub_id, void *arg)
{
	if (next_object_access_hook != NULL)
		next_object_access_hook(access, class_id, object_id, sub_id, arg);

	if ((access == OAT_TRUNCATE || access == OAT_DROP) &&
		class_id == RelationRelationId && sub_id == 0 &&
		once_unacked_any(object_id))
		note_emptied(object_id);
}

static void
unacked_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			check_unacked();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			forget_all();
			break;
		default:
			break;
	}
}

static void
unacked_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
						 SubTransactionId parentSubid, void *arg)
{
	switch (event)
	{
		case SUBXACT_EVENT_COMMIT_SUB:
			level_commit(GetCurrentTransactionNestLevel());
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			level_abort(GetCurrentTransactionNestLevel());
			break;
		default:
			break;
	}
}
