/*-------------------------------------------------------------------------
 *
 * meta_retention.h
 *	  The table once.ledger: one row of options for each ledger.
 *
 *-------------------------------------------------------------------------
 */
#ifndef META_RETENTION_H
#define META_RETENTION_H

#include "datatype/timestamp.h"

extern bool once_retention_read(const char *ledger, Interval *retention);
extern void once_retention_write(const char *ledger, const Interval *retention,
								 bool created);
extern void once_retention_delete(const char *ledger);

#endif							/* META_RETENTION_H */
