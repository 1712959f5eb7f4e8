/*-------------------------------------------------------------------------
 *
 * meta_ddl.h
 *	  Making and dropping relations in schema once, for callers who may
 *	  create nothing there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_DDL_H
#define META_DDL_H

#include "nodes/pg_list.h"

extern void once_ddl_run(List *commands, Oid owner);
extern void once_ddl_drop(List *relnames);

#endif							/* META_DDL_H */
