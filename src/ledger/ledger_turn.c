/*-------------------------------------------------------------------------
 *
 * ledger_turn.c
 *	  How a ledger goes from one state to the next.  See README.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/relation.h"
#include "executor/spi.h"
#include "ledger/ledger_names.h"
#include "ledger/ledger_state.h"
#include "ledger/ledger_turn.h"
#include "meta/meta_catalog.h"
#include "meta/meta_index.h"
#include "meta/meta_role.h"
#include "miscadmin.h"
#include "once_debug.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* The longest pause before a backend tries again to advance a ledger, */
#define ADVANCE_SELDOM		USECS_PER_SEC

/* and the shortest one, in microseconds */
#define ADVANCE_OFTEN		1000

/*
 * Emptying a generation takes a lock that is kept until the transaction ends.  So
 * markers leave this to maintain() for a quarter of the retention, but no longer
 * than this.
 */
#define EMPTY_BY_MARKER		USECS_PER_HOUR

/* When this many ledgers are noted, all are forgotten */
#define MAX_PACES			1000

/* When this backend is to try again what is due for a ledger */
typedef struct LedgerPace
{
	Oid			sequence;		/* key */
	TimestampTz next;
} LedgerPace;

static HTAB *paces = NULL;

static bool may_have_altered(const OnceLedger *ledger);
static bool advance_is_due(const OnceLedger *ledger);
static void set_pace(const OnceLedger *ledger, const LedgerState *state);
static bool try_close(const OnceLedger *ledger, Relation sequence,
					  const LedgerState *state);
static bool try_retire(const OnceLedger *ledger, Relation sequence,
					   const LedgerState *state);
static bool try_empty(const OnceLedger *ledger, Relation sequence,
					  const LedgerState *state);
static bool try_turn(const OnceLedger *ledger, Relation sequence,
					 const LedgerState *state);
static bool has_pages(Relation rel);
static bool look_for_pages(Oid relid, bool *found);

/*
 * once_ledger_advance does what is due for a ledger and can be done without waiting:
 * it closes, retires or empties the old generation, or turns the ledger.  Returns
 * whether it has done anything.
 *
 * now: do it also if this backend has tried a moment ago, and empty the old generation
 * without leaving that to maintain() for a while.
 *
 * The caller must not be in the gate.  All locks are released, except those on a
 * generation that was emptied: see README.
 */
bool
once_ledger_advance(const OnceLedger *ledger, bool now)
{
	Relation	sequence;
	LedgerState state;
	bool		done = false;
	bool		more = true;

	if (!now && !advance_is_due(ledger))
		return false;
	sequence = try_relation_open(ledger->sequence, LEDGER_STATE_LOCK);
	if (sequence == NULL)
		return false;

	/* It is written as its owner, who may have revoked the right to do that */
	if (pg_class_aclcheck(ledger->sequence, sequence->rd_rel->relowner,
						  ACL_UPDATE) != ACLCHECK_OK)
	{
		relation_close(sequence, LEDGER_STATE_LOCK);
		return false;
	}
	while (more)
	{
		CHECK_FOR_INTERRUPTS();
		state = once_ledger_state(sequence);
		once_debug_point("ledger_before_step");
		switch (state.phase)
		{
			case LEDGER_OPEN:
				more = try_close(ledger, sequence, &state);
				break;
			case LEDGER_CLOSED:
				more = GetCurrentTimestamp() - state.time >= ledger->retention &&
					!may_have_altered(ledger) && try_retire(ledger, sequence, &state);
				break;
			case LEDGER_ALONE:
				more = (now || GetCurrentTimestamp() - state.time >=
						Min(ledger->retention / 4, EMPTY_BY_MARKER)) &&
					try_empty(ledger, sequence, &state);
				more = more || try_turn(ledger, sequence, &state);
				break;
		}
		done |= more;
	}
	set_pace(ledger, &state);
	relation_close(sequence, LEDGER_STATE_LOCK);
	return done;
}

/*
 * once_ledger_rests tells whether nothing becomes due for a ledger before an id is
 * marked: only one generation counts, and both are empty.  False if it cannot find out
 * because a generation is locked.
 */
bool
once_ledger_rests(const OnceLedger *ledger)
{
	Relation	sequence = try_relation_open(ledger->sequence, LEDGER_STATE_LOCK);
	bool		rests;
	bool		found;

	if (sequence == NULL)
		return false;
	rests = once_ledger_state(sequence).phase == LEDGER_ALONE &&
		look_for_pages(ledger->table[0], &found) && !found &&
		look_for_pages(ledger->table[1], &found) && !found;
	relation_close(sequence, LEDGER_STATE_LOCK);
	return rests;
}

/*
 * once_ledger_reopen makes the generation that does not count do so again, if it has
 * pages.  If the parts of a ledger were restored separately, its state may not have
 * come with the rows.  This way no id is forgotten early.
 */
void
once_ledger_reopen(const OnceLedger *ledger)
{
	Relation	sequence = relation_open(ledger->sequence, LEDGER_STATE_LOCK);
	Relation	table[2];
	LedgerState state;
	int			g;

	for (g = 0; g < 2; g++)
		table[g] = relation_open(ledger->table[g], AccessShareLock);
	(void) once_ledger_lock(ledger, LEDGER_TURN, ExclusiveLock, true);
	state = once_ledger_state(sequence);
	if (state.phase == LEDGER_ALONE && has_pages(table[1 - state.current]))
		once_ledger_publish(ledger, sequence, state.current, LEDGER_OPEN);
	once_ledger_unlock(ledger, LEDGER_TURN, ExclusiveLock);
	for (g = 0; g < 2; g++)
		relation_close(table[g], AccessShareLock);
	relation_close(sequence, LEDGER_STATE_LOCK);
}

/*
 * may_have_altered tells whether this transaction may have changed the retention.
 * That may roll back, while a state that is published does not.
 */
static bool
may_have_altered(const OnceLedger *ledger)
{
	return once_options_locked(ledger->kind == ONCE_LEDGER_DEDUP ? ONCE_QUEUE_PREFIX :
							   ONCE_LEDGER_PREFIX, NameStr(ledger->name));
}

/*
 * advance_is_due tells whether it is time for this backend to try a ledger again.
 */
static bool
advance_is_due(const OnceLedger *ledger)
{
	LedgerPace *found;

	if (paces == NULL)
		return true;
	found = hash_search(paces, &ledger->sequence, HASH_FIND, NULL);
	return found == NULL || found->next <= GetCurrentTimestamp();
}

/*
 * set_pace notes when this backend is to try next: when the old generation may
 * retire, or soon if something may be done then that could not be done now.
 */
static void
set_pace(const OnceLedger *ledger, const LedgerState *state)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		pause = ledger->retention / 16;
	LedgerPace *pace;

	if (paces != NULL && hash_get_num_entries(paces) >= MAX_PACES)
	{
		hash_destroy(paces);
		paces = NULL;
	}
	if (paces == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(LedgerPace);
		ctl.hcxt = TopMemoryContext;
		paces = hash_create("pg_once turns of ledgers", 16, &ctl,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	if (state->phase == LEDGER_CLOSED)
		pause = state->time + ledger->retention - now;
	pace = hash_search(paces, &ledger->sequence, HASH_ENTER, NULL);
	pace->next = now + Min(Max(pause, ADVANCE_OFTEN), ADVANCE_SELDOM);
}

/*
 * try_close: OPEN becomes CLOSED if all transactions that have inserted into the old
 * generation have ended.
 */
static bool
try_close(const OnceLedger *ledger, Relation sequence, const LedgerState *state)
{
	Oid			old = ledger->table[1 - state->current];
	Relation	heap;
	bool		done = false;

	if (!once_ledger_lock(ledger, LEDGER_TURN, ExclusiveLock, false))
		return false;
	if (ConditionalLockRelationOid(old, ShareLock))
	{
		/* Locks of our own insertions do not conflict, so look for them */
		heap = try_relation_open(old, NoLock);
		if (heap != NULL && !CheckRelationLockedByMe(heap, RowExclusiveLock, false) &&
			once_ledger_state_is(sequence, state))
		{
			once_ledger_publish(ledger, sequence, state->current, LEDGER_CLOSED);
			done = true;
		}
		if (heap != NULL)
			relation_close(heap, NoLock);
		UnlockRelationOid(old, ShareLock);
	}
	once_ledger_unlock(ledger, LEDGER_TURN, ExclusiveLock);
	return done;
}

/*
 * try_retire: CLOSED becomes ALONE.  The caller has seen that the retention has passed.
 */
static bool
try_retire(const OnceLedger *ledger, Relation sequence, const LedgerState *state)
{
	bool		done = false;

	if (!once_ledger_lock(ledger, LEDGER_TURN, ExclusiveLock, false))
		return false;
	if (once_ledger_state_is(sequence, state))
	{
		once_ledger_publish(ledger, sequence, state->current, LEDGER_ALONE);
		done = true;
	}
	once_ledger_unlock(ledger, LEDGER_TURN, ExclusiveLock);
	return done;
}

/*
 * try_empty truncates the generation that does not count, if it has pages and nobody
 * uses it.  It does so in the caller's transaction, as the owner of the table.  A table
 * that its owner may not truncate is left alone.
 */
static bool
try_empty(const OnceLedger *ledger, Relation sequence, const LedgerState *state)
{
	Oid			old = ledger->table[1 - state->current];
	Relation	heap;
	bool		wanted;
	Oid			owner = InvalidOid;
	OnceRole	saved;

	/* First find out under a lock that is in nobody's way */
	if (!look_for_pages(old, &wanted) || !wanted ||
		!ConditionalLockRelationOid(old, AccessExclusiveLock))
		return false;

	/* TRUNCATE refuses a table that an open cursor of this session reads */
	heap = try_relation_open(old, NoLock);
	if (heap != NULL)
	{
		Oid			toast = heap->rd_rel->reltoastrelid;

		owner = heap->rd_rel->relowner;
		wanted = heap->rd_refcnt == 1 &&
			heap->rd_rel->relkind == RELKIND_RELATION &&
			once_index_all_free(heap, AccessExclusiveLock) && !once_role_runs_code(heap) &&
			pg_class_aclcheck(old, owner, ACL_TRUNCATE) == ACLCHECK_OK &&
			once_ledger_state_is(sequence, state) &&
			(!OidIsValid(toast) || ConditionalLockRelationOid(toast, AccessExclusiveLock));
		relation_close(heap, NoLock);
	}
	if (heap == NULL || !wanted)
	{
		UnlockRelationOid(old, AccessExclusiveLock);
		return false;
	}

	once_debug_point("ledger_before_truncate");
	SPI_connect();
	once_role_assume(&saved, owner, true);
	once_role_run(psprintf("TRUNCATE ONLY %s",
						   quote_qualified_identifier(ONCE_SCHEMA,
													  once_ledger_relname(ledger->kind,
																		  NameStr(ledger->name),
																		  1 - state->current))),
				  0, NULL, NULL);
	once_role_drop(&saved);
	SPI_finish();
	once_debug_point("ledger_truncated");
	return true;
}

/*
 * try_turn: ALONE becomes OPEN, with the other generation as the current one, if the
 * other one is empty and the one that has been current is not.
 */
static bool
try_turn(const OnceLedger *ledger, Relation sequence, const LedgerState *state)
{
	Oid			other = ledger->table[1 - state->current];
	Oid			current = ledger->table[state->current];
	Relation	heap;
	bool		wanted;
	bool		done = false;

	/*
	 * This lock keeps others from emptying it.  If it is not available,
	 * somebody is doing that.
	 */
	if (!ConditionalLockRelationOid(other, AccessShareLock))
		return false;
	if (look_for_pages(current, &wanted) && wanted)
	{
		/* If this transaction has emptied it, a rollback fills it again */
		heap = try_relation_open(other, NoLock);
		wanted = heap != NULL && !has_pages(heap) &&
			!CheckRelationLockedByMe(heap, AccessExclusiveLock, false);
		if (heap != NULL)
			relation_close(heap, NoLock);
	}
	if (wanted && once_ledger_lock(ledger, LEDGER_TURN, ExclusiveLock, false))
	{
		(void) once_ledger_lock(ledger, LEDGER_GATE, ExclusiveLock, true);
		if (once_ledger_state_is(sequence, state))
		{
			once_ledger_publish(ledger, sequence, 1 - state->current, LEDGER_OPEN);
			done = true;
		}
		once_ledger_unlock(ledger, LEDGER_GATE, ExclusiveLock);
		once_ledger_unlock(ledger, LEDGER_TURN, ExclusiveLock);
	}
	UnlockRelationOid(other, AccessShareLock);
	return done;
}

static bool
has_pages(Relation rel)
{
	return RelationGetNumberOfBlocks(rel) > 0;
}

/*
 * look_for_pages finds out whether a generation has pages, under a lock that is in
 * nobody's way, and without waiting.  False: it is locked, or is gone, and nothing was
 * found.
 */
static bool
look_for_pages(Oid relid, bool *found)
{
	Relation	rel;

	*found = false;
	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return false;
	rel = try_relation_open(relid, NoLock);
	if (rel != NULL)
	{
		*found = has_pages(rel);
		relation_close(rel, NoLock);
	}
	UnlockRelationOid(relid, AccessShareLock);
	return rel != NULL;
}
