/*-------------------------------------------------------------------------
 *
 * ledger_probe.h
 *	  Searching for ids in a generation's key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LEDGER_PROBE_H
#define LEDGER_PROBE_H

#include "executor/tuptable.h"
#include "ledger/ledger.h"
#include "storage/buf.h"
#include "storage/itemptr.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* Columns of a generation; the third is result or message_id */
#define Natts_generation			3
#define Anum_generation_id			1
#define Anum_generation_processed_at 2
#define Anum_generation_value		3

/* A search for ids in the key of a generation */
#define LEDGER_PROBE_LEVELS	16
#define LEDGER_PROBE_AHEAD	32

typedef struct LedgerProbe
{
	Relation	heap;
	Relation	index;
	int			ahead;			/* how many ids may be searched for together */
	bool		known[LEDGER_PROBE_LEVELS]; /* is the copy good? */
	char	   *pages[LEDGER_PROBE_LEVELS]; /* copies of inner pages, by level */
	ItemPointerData *tids;		/* rows of the ids searched for */
	int			maxtids;
	int			first[LEDGER_PROBE_AHEAD + 1];	/* where those of each id
												 * begin; they end where those
												 * of the next one begin */
	int			nheap;
	Buffer		heap_pages[LEDGER_PROBE_AHEAD]; /* page of each id's first
												 * row, pinned, if several ids
												 * are searched for */
} LedgerProbe;

extern void once_ledger_probe_begin(LedgerProbe *probe, Relation heap, Relation index);
extern void once_ledger_probe_end(LedgerProbe *probe);
extern void once_ledger_probe_restart(LedgerProbe *probe);
extern void once_ledger_probe(LedgerProbe *probe, OnceMark *const *marks, int n);
extern bool once_ledger_probe_has(const LedgerProbe *probe, int i);
extern bool once_ledger_probe_fetch(LedgerProbe *probe, int i, const OnceMark *mark,
									Snapshot any, bool settled, bool skip_undone,
									TupleTableSlot *slot);

#endif							/* LEDGER_PROBE_H */
