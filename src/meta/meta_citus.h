/*-------------------------------------------------------------------------
 *
 * meta_citus.h
 *	  Tables that Citus has distributed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_CITUS_H
#define META_CITUS_H

extern bool once_citus_distributes(Oid relid);

#endif							/* META_CITUS_H */
