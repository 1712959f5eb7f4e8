/*-------------------------------------------------------------------------
 *
 * once_unacked.h
 *	  What this transaction has received and not acked yet.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ONCE_UNACKED_H
#define ONCE_UNACKED_H

#include "utils/uuid.h"

extern void once_unacked_init(void);
extern void once_unacked_add(const pg_uuid_t *receipt);
extern bool once_unacked_has(const pg_uuid_t *receipt);
extern void once_unacked_ack(const pg_uuid_t *receipt);
extern void once_unacked_forget(const pg_uuid_t *receipt);
extern bool once_unacked_any(Oid relid);

#endif							/* ONCE_UNACKED_H */
