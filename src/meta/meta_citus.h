/*-------------------------------------------------------------------------
 *
 * meta_citus.h
 *	  Tables that Citus has distributed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_CITUS_H
#define META_CITUS_H

#include "access/genam.h"
#include "access/htup.h"
#include "utils/relcache.h"

/* What once_citus_group returns on the coordinator */
#define CITUS_COORDINATOR_GROUP		0

/* The reading of a catalog of Citus */
typedef struct OnceCitusScan
{
	Relation	catalog;
	SysScanDesc scan;
	HeapTuple	tuple;
} OnceCitusScan;

extern bool once_citus_distributes(Oid relid);
extern Oid	once_citus_shard_of(Relation heap, int64 *shard);
extern Oid	once_citus_shard_table(Oid parent, int64 shard);
extern Oid	once_citus_shard_by_name(const char *relname, Oid schema, int64 *shard);
extern Oid	once_citus_namesake(const char *relname, Oid schema, int64 *shard);
extern char *once_citus_whole_name(const char *shard);
extern int	once_citus_err_shard(const char *relname, bool on_coordinator);
extern int32 once_citus_group(void);
extern bool once_citus_begin(OnceCitusScan *scan, const char *catalog, const char *index,
							 const char *column, Oid type, Datum value);
extern bool once_citus_next(OnceCitusScan *scan);
extern Datum once_citus_value(const OnceCitusScan *scan, const char *column, Oid type,
							  bool *isnull);
extern void once_citus_end(OnceCitusScan *scan);

#endif							/* META_CITUS_H */
