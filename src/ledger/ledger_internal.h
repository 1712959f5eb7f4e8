/*-------------------------------------------------------------------------
 *
 * ledger_internal.h
 *	  What the files of the engine share.  See README.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LEDGER_INTERNAL_H
#define LEDGER_INTERNAL_H

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "ledger/ledger.h"
#include "storage/buf.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/snapshot.h"

/* The locks of a ledger; see README */
#define LEDGER_GATE			1
#define LEDGER_TURN			2

/* On the sequence, also to read it: ALTER SEQUENCE gives it another file */
#define LEDGER_STATE_LOCK	RowExclusiveLock

/* Columns of a generation; the third is result or message_id */
#define Natts_generation			3
#define Anum_generation_id			1
#define Anum_generation_processed_at 2
#define Anum_generation_value		3

/* What the generation that is not the current one is */
typedef enum LedgerPhase
{
	LEDGER_ALONE,				/* nothing */
	LEDGER_OPEN,				/* it counts, and may still be written to */
	LEDGER_CLOSED				/* it counts, and is complete since "time" */
} LedgerPhase;

typedef struct LedgerState
{
	TimestampTz time;
	int			current;
	LedgerPhase phase;
} LedgerState;

/* A look for ids in the key of a generation; see ledger_probe.c */
#define LEDGER_PROBE_LEVELS	16
#define LEDGER_PROBE_AHEAD	32

typedef struct LedgerProbe
{
	Relation	heap;
	Relation	index;
	int			ahead;			/* how many ids may be looked for together */
	bool		known[LEDGER_PROBE_LEVELS];
	char	   *pages[LEDGER_PROBE_LEVELS]; /* copies, by level */
	ItemPointerData *tids;		/* of the rows of the ids looked for, */
	int			maxtids;
	int			first[LEDGER_PROBE_AHEAD + 1];	/* those of one from here to
												 * the next */
	int			nheap;
	Buffer		heap_pages[LEDGER_PROBE_AHEAD]; /* of several, the first of
												 * each, pinned */
} LedgerProbe;

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

/* ledger_open.c */
extern char *once_ledger_relname(OnceLedgerKind kind, const char *name, const char *suffix);
extern void once_ledger_view_open(LedgerView *view, const OnceLedger *ledger,
								  LOCKMODE lockmode, LOCKMODE old_lockmode);
extern void once_ledger_view_close(LedgerView *view);

/* ledger_probe.c */
extern void once_ledger_probe_begin(LedgerProbe *probe, Relation heap, Relation index);
extern void once_ledger_probe_end(LedgerProbe *probe);
extern void once_ledger_probe_restart(LedgerProbe *probe);
extern void once_ledger_probe(LedgerProbe *probe, OnceMark *const *marks, int n);
extern bool once_ledger_probe_has(const LedgerProbe *probe, int i);
extern bool once_ledger_probe_fetch(LedgerProbe *probe, int i, const OnceMark *mark,
									Snapshot any, bool settled, bool skip_undone,
									TupleTableSlot *slot);

/* ledger_turn.c */
extern void once_ledger_reopen(const OnceLedger *ledger);
extern LedgerState once_ledger_state(Relation sequence);
extern bool once_ledger_state_is(Relation sequence, const LedgerState *state);
extern bool once_ledger_lock(const OnceLedger *ledger, int which, LOCKMODE mode, bool wait);
extern void once_ledger_unlock(const OnceLedger *ledger, int which, LOCKMODE mode);

#endif							/* LEDGER_INTERNAL_H */
