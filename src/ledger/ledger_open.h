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

/* The generations that count in a given state, open */
typedef struct LedgerView
{
	const OnceLedger *ledger;
	Relation	sequence;
	LedgerState state;
	bool		decoded;		/* changes are decoded logically */
	bool		settled;		/* what other open transactions have marked
								 * does not count */
	struct
	{
		Relation	heap;		/* NULL: not open */
		int			nindexes;	/* more than one while REINDEX CONCURRENTLY is
								 * at work */
		Relation   *index;		/* to insert ids into; the first is the key */
		LedgerProbe probe;
		TupleTableSlot *slot;
		SnapshotData any;		/* sees what open transactions do */
		LOCKMODE	lockmode;
	}			gen[2];
} LedgerView;

extern void once_ledger_view_open(LedgerView *view, const OnceLedger *ledger,
								  LOCKMODE lockmode, LOCKMODE old_lockmode);
extern void once_ledger_view_close(LedgerView *view);

#endif							/* LEDGER_OPEN_H */
