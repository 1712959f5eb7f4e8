/*-------------------------------------------------------------------------
 *
 * ledger.h
 *	  The engine of ledgers: generations, their turn, and marking.  See README.
 *
 * The SQL functions of src/ledger are built on it.  The dedup_id of send also uses
 * it, with a ledger that belongs to the queue.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LEDGER_H
#define LEDGER_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "utils/relcache.h"

/* Greatest length of an id, in bytes */
#define ONCE_MAX_ID			1000

typedef enum OnceLedgerKind
{
	ONCE_LEDGER_OWN,			/* made by create_ledger; keeps results */
	ONCE_LEDGER_DEDUP			/* belongs to a queue; keeps ids of messages */
} OnceLedgerKind;

/* A ledger that was found by its name, which takes no lock */
typedef struct OnceLedger
{
	OnceLedgerKind kind;
	NameData	name;			/* of the ledger or queue */
	Oid			table[2];
	Oid			sequence;
	int64		retention;		/* microseconds */
	bool		distributed;	/* Citus has distributed a table of it */
	Oid			owner;			/* of its tables */
	bool		owners_differ;	/* the two tables have different owners */
} OnceLedger;

/* An id to be marked, or searched for */
typedef struct OnceMark
{
	const char *id;				/* not terminated by a zero */
	int			length;
	Datum		value;			/* in: to be kept with the id if that is new.
								 * out: what is kept with it, if asked for */
	bool		value_null;
	bool		is_new;			/* out: marked by this call */

	/* private */
	uint64		order;			/* the first bytes, to sort by */
	struct OnceMark *same;		/* an earlier one of this call, or NULL */
} OnceMark;

/* ledger_names.c */
extern bool once_ledger_find(OnceLedger *ledger, OnceLedgerKind kind, const char *name,
							 int64 retention);
extern bool once_ledger_permits(const OnceLedger *ledger, AclMode rights);
extern List *once_ledger_relnames(OnceLedgerKind kind, const char *name);
extern char *once_ledger_tables(OnceLedgerKind kind, const char *name);
extern void once_ledger_check_whole(OnceLedgerKind kind, const char *name);
extern void once_ledger_raise_not_found(OnceLedgerKind kind, const char *name);
extern int	once_ledger_errmsg_unusable(OnceLedgerKind kind, const char *name);

/* ledger_open.c */
extern void once_ledger_make(OnceLedgerKind kind, const char *name, bool unlogged, Oid owner);
extern void once_ledger_adopt(const char *name, bool unlogged);

/* ledger_mark.c */
extern void once_ledger_mark(const OnceLedger *ledger, OnceMark *marks, int nmarks,
							 bool want_values);
extern bool once_ledger_search(const OnceLedger *ledger, OnceMark *mark,
							   TimestampTz *marked_at);
extern bool once_ledger_forget(const OnceLedger *ledger, OnceMark *mark);
extern bool once_ledger_set_value(const OnceLedger *ledger, OnceMark *mark);

extern void once_ledger_check_id(Datum id, const char *argument, OnceMark *mark);

/* ledger_turn.c */
extern bool once_ledger_advance(const OnceLedger *ledger, bool now);
extern bool once_ledger_rests(const OnceLedger *ledger);

#endif							/* LEDGER_H */
