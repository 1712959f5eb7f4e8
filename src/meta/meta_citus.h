/*-------------------------------------------------------------------------
 *
 * meta_citus.h
 *	  Tables that Citus has distributed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_CITUS_H
#define META_CITUS_H

#include "utils/relcache.h"

extern bool once_citus_distributes(Oid relid);
extern Oid	once_citus_shard_of(Relation heap);

#endif							/* META_CITUS_H */
