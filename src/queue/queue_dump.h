/*-------------------------------------------------------------------------
 *
 * queue_dump.h
 *	  Rows of tables that pg_dump may not read, for a dump.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_DUMP_H
#define QUEUE_DUMP_H

#include "executor/tuptable.h"
#include "fmgr.h"

/* Tells whether the caller may see a row */
typedef bool (*OnceDumpSees) (void *arg, TupleTableSlot *slot);

extern void once_dump_visible(FunctionCallInfo fcinfo, OnceDumpSees sees, void *arg);

#endif							/* QUEUE_DUMP_H */
