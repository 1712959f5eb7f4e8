/*-------------------------------------------------------------------------
 *
 * worker_table.h
 *	  The tables once.schedule and once.worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_TABLE_H
#define WORKER_TABLE_H

#include "access/htup.h"
#include "utils/relcache.h"

extern HeapTuple once_table_find(Relation rel, const char *name);
extern List *once_table_rows(Relation rel);
extern void once_table_write(Relation rel, HeapTuple old, Datum *values, bool *isnull,
							 bool *replace);
extern void once_table_delete(Relation rel, HeapTuple old);
extern char *once_table_role_id(Oid role);
extern Oid	once_table_role(const char *name, const char *role_id);

#endif							/* WORKER_TABLE_H */
