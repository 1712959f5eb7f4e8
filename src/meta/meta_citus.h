/*-------------------------------------------------------------------------
 *
 * meta_citus.h
 *	  Tables that Citus has distributed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_CITUS_H
#define META_CITUS_H

extern bool once_is_distributed(Oid relid);

#endif							/* META_CITUS_H */
