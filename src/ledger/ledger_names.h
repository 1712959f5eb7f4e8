/*-------------------------------------------------------------------------
 *
 * ledger_names.h
 *	  From a name to the relations of a ledger.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LEDGER_NAMES_H
#define LEDGER_NAMES_H

#include "ledger/ledger.h"

/* The parts of a ledger: generations 0 and 1, and the sequence */
#define LEDGER_PART_STATE	2
#define LEDGER_NPARTS		3

extern char *once_ledger_relname(OnceLedgerKind kind, const char *name, int part);
extern bool once_ledger_find_relations(OnceLedger *ledger, OnceLedgerKind kind,
									   const char *name);
extern bool once_ledger_other_seen(const OnceLedger *ledger);
extern void once_ledger_note_other(const OnceLedger *ledger);

#endif							/* LEDGER_NAMES_H */
