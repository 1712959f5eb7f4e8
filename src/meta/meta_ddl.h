/*-------------------------------------------------------------------------
 *
 * meta_ddl.h
 *	  Relations in schema once: making and dropping them for those who may
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
