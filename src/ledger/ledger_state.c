/*-------------------------------------------------------------------------
 *
 * ledger_state.c
 *	  The state of a ledger: the word itself, and the locks.  See README.
 *
 * The state is the value of a sequence: one 64-bit word that changes in one step and
 * does not roll back with the transaction.  Bits 0 and 1 are the phase, bit 2 is the
 * current generation, the rest is the time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "commands/sequence.h"
#include "ledger/ledger_state.h"
#include "meta/meta_role.h"
#include "miscadmin.h"
#include "once_debug.h"
#include "storage/bufmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#define STATE_PHASE_MASK	3
#define STATE_CURRENT		4
#define STATE_TIME_SHIFT	3

/*
 * once_ledger_state reads the state.
 */
LedgerState
once_ledger_state(Relation sequence)
{
	Buffer		buffer = ReadBuffer(sequence, 0);
	Page		page;
	HeapTupleHeader tuple;
	LedgerState state;
	int64		word;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	tuple = (HeapTupleHeader) PageGetItem(page, PageGetItemId(page, FirstOffsetNumber));
	word = ((Form_pg_sequence_data) ((char *) tuple + tuple->t_hoff))->last_value;
	UnlockReleaseBuffer(buffer);

	state.time = word >> STATE_TIME_SHIFT;
	state.current = (word & STATE_CURRENT) ? 1 : 0;
	state.phase = (LedgerPhase) (word & STATE_PHASE_MASK);
	if (word < 0 || state.phase > LEDGER_CLOSED)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("sequence %s has value " INT64_FORMAT ", which is no state of a ledger",
						quote_qualified_identifier(ONCE_SCHEMA,
												   RelationGetRelationName(sequence)),
						word)));
	return state;
}

/*
 * once_ledger_state_is tells whether the state is still this one.
 */
bool
once_ledger_state_is(Relation sequence, const LedgerState *state)
{
	LedgerState now = once_ledger_state(sequence);

	return now.time == state->time && now.current == state->current &&
		now.phase == state->phase;
}

/*
 * once_ledger_lock takes one of the ledger's locks.  Returns false if wait is false
 * and the lock is not available at once.
 */
bool
once_ledger_lock(const OnceLedger *ledger, int which, LOCKMODE mode, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationRelationId, ledger->table[0], which);
	return LockAcquire(&tag, mode, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
once_ledger_unlock(const OnceLedger *ledger, int which, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationRelationId, ledger->table[0], which);
	LockRelease(&tag, mode, false);
}

/*
 * once_ledger_publish changes the state; its time becomes now.  The caller holds the
 * turn lock, and has read the state under it.
 */
void
once_ledger_publish(const OnceLedger *ledger, Relation sequence, int current, LedgerPhase phase)
{
	int64		word = ((int64) Max(GetCurrentTimestamp(), 0) << STATE_TIME_SHIFT) |
		(current ? STATE_CURRENT : 0) | phase;
	OnceRole	saved;

	once_debug_point("ledger_before_publish");
	once_role_assume(&saved, sequence->rd_rel->relowner, true);
	(void) DirectFunctionCall3(setval3_oid, ObjectIdGetDatum(ledger->sequence),
							   Int64GetDatum(word), BoolGetDatum(true));
	once_role_drop(&saved);
	once_debug_point("ledger_published");
}
