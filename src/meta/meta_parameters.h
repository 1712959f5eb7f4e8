/*-------------------------------------------------------------------------
 *
 * meta_parameters.h
 *	  Options of distributed queues.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_PARAMETERS_H
#define META_PARAMETERS_H

#include "meta/meta_cache.h"
#include "meta/meta_catalog.h"
#include "qam/qam.h"
#include "utils/relcache.h"

extern void once_parameters_init(void);
extern void once_parameters_apply(Relation index, OnceMeta *meta);
extern void once_parameters_carry(Oid relid, const OnceOptions *options);
extern bool once_parameters_read(Oid relid, QamParameters *parameters);
extern void once_parameters_refuse_shard(const OnceMeta *meta);
pg_noreturn extern void once_parameters_raise_local(const char *queue, const char *option);

#endif							/* META_PARAMETERS_H */
