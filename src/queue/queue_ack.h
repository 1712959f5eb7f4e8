/*-------------------------------------------------------------------------
 *
 * queue_ack.h
 *	  The rejection of a message.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_ACK_H
#define QUEUE_ACK_H

#include "utils/uuid.h"

extern void once_ack_reject(const pg_uuid_t *receipt, Datum error, const char *verb);

#endif							/* QUEUE_ACK_H */
