/*-------------------------------------------------------------------------
 *
 * queue_receipt.h
 *	  Receipts: the uuid that stands for one delivery of one message.
 *
 * Sixteen bytes, all numbers big-endian:
 *
 *	  0 ..  3	oid of the queue's table
 *	  4 ..  7	block of the queue index
 *	  8 ..  9	slot in that block (12 bits), format of the receipt (4 bits)
 *	 10 .. 15	proof: the index's keyed hash of the slot's state (48 bits)
 *
 * Clients keep a receipt and hand it back.  They must not rely on what it
 * contains.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_RECEIPT_H
#define QUEUE_RECEIPT_H

#include "fmgr.h"
#include "qam/qam.h"
#include "utils/uuid.h"

typedef struct OnceReceipt
{
	Oid			relid;
	QamRef		ref;
} OnceReceipt;

extern void once_receipt_encode(const OnceReceipt *receipt, pg_uuid_t *uuid);
extern void once_receipt_decode(const pg_uuid_t *uuid, OnceReceipt *receipt);

#endif							/* QUEUE_RECEIPT_H */
