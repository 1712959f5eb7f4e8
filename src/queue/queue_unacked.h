/*-------------------------------------------------------------------------
 *
 * queue_unacked.h
 *	  What this transaction has received and not acked yet.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_UNACKED_H
#define QUEUE_UNACKED_H

#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "utils/uuid.h"

/* once.unacked: what happens to a commit with messages received but not acked */
typedef enum OnceUnackedAction
{
	ONCE_UNACKED_ERROR,			/* it fails with once_unacked */
	ONCE_UNACKED_REDELIVER		/* it succeeds, and they are delivered again */
} OnceUnackedAction;

extern int	once_unacked_action;

/*
 * Where the row of a message was when it was received.  A row is identified by
 * its place together with its inserter: as long as the table has the same
 * file, the same transaction cannot have put another row there.
 */
typedef struct OnceReceivedRow
{
	uint64		epoch;			/* once_meta_epoch() */
	Oid			user;			/* who received it */
	Oid			file;			/* of the table */
	Oid			index_file;		/* of the index that it was received through */
	ItemPointerData tid;
	TransactionId xmin;
	TimestampTz enqueued_at;	/* DT_NOBEGIN: not known */
} OnceReceivedRow;

extern void once_unacked_init(void);
extern void once_unacked_add(const pg_uuid_t *receipt, const OnceReceivedRow *row,
							 bool by_place);
extern const OnceReceivedRow *once_unacked_row(const pg_uuid_t *receipt, bool by_place);
extern bool once_unacked_has(const pg_uuid_t *receipt);
extern bool once_unacked_owed(const pg_uuid_t *receipt);
extern void once_unacked_ack(const pg_uuid_t *receipt);
extern void once_unacked_forget(const pg_uuid_t *receipt);
extern bool once_unacked_any(Oid relid);
extern void once_unacked_settle(void);

#endif							/* QUEUE_UNACKED_H */
