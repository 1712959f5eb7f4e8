/*-------------------------------------------------------------------------
 *
 * ledger_open.h
 *	  The generations of a ledger that count, open.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LEDGER_OPEN_H
#define LEDGER_OPEN_H

#include "executor/tuptable.h"
#include "ledger/ledger_probe.h"
#include "ledger/ledger_state.h"
#include "storage/lockdefs.h"
#include "utils/snapshot.h"

/* Generations opened as a state wants them */
typedef struct LedgerView
{
	const OnceLedger *ledger;
	Relation	sequence;
	LedgerState state;
	bool		decoded;		/* changes are, logically */
	bool		settled;		/* what others have marked in open
								 * transactions does not count */
	struct
	{
		Relation	heap;		/* NULL: not open */
		int			nindexes;	/* more than one since REINDEX CONCURRENTLY
								 * has begun */
		Relation   *index;		/* to put ids into; the first is the key */
		LedgerProbe probe;
		TupleTableSlot *slot;
		SnapshotData any;		/* what open transactions do counts */
		LOCKMODE	lockmode;
	}			gen[2];
} LedgerView;

extern void once_ledger_view_open(LedgerView *view, const OnceLedger *ledger,
								  LOCKMODE lockmode, LOCKMODE old_lockmode);
extern void once_ledger_view_close(LedgerView *view);

#endif							/* LEDGER_OPEN_H */
