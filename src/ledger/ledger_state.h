/*-------------------------------------------------------------------------
 *
 * ledger_state.h
 *	  The state of a ledger: the word itself, and the locks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LEDGER_STATE_H
#define LEDGER_STATE_H

#include "datatype/timestamp.h"
#include "ledger/ledger.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

/* The locks of a ledger; see README */
#define LEDGER_GATE			1
#define LEDGER_TURN			2

/*
 * The lock on the sequence.  It is needed to read it, too, because ALTER SEQUENCE
 * gives it another file.
 */
#define LEDGER_STATE_LOCK	RowExclusiveLock

/* What the old generation is */
typedef enum LedgerPhase
{
	LEDGER_ALONE,				/* it does not count */
	LEDGER_OPEN,				/* it counts, and may still be written to */
	LEDGER_CLOSED				/* it counts, and was complete at "time" */
} LedgerPhase;

typedef struct LedgerState
{
	TimestampTz time;
	int			current;
	LedgerPhase phase;
} LedgerState;

extern LedgerState once_ledger_state(Relation sequence);
extern bool once_ledger_state_is(Relation sequence, const LedgerState *state);
extern bool once_ledger_lock(const OnceLedger *ledger, int which, LOCKMODE mode, bool wait);
extern void once_ledger_unlock(const OnceLedger *ledger, int which, LOCKMODE mode);
extern void once_ledger_publish(const OnceLedger *ledger, Relation sequence, int current,
								LedgerPhase phase);

#endif							/* LEDGER_STATE_H */
