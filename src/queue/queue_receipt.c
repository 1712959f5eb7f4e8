/*-------------------------------------------------------------------------
 *
 * queue_receipt.c
 *	  Packing and unpacking of receipts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "once_error.h"
#include "port/pg_bswap.h"
#include "qam/qam.h"
#include "queue/queue_receipt.h"
#include "utils/builtins.h"

#define RECEIPT_FORMAT			1
#define RECEIPT_FORMAT_BITS		4
#define RECEIPT_FORMAT_MASK		((1 << RECEIPT_FORMAT_BITS) - 1)
#define RECEIPT_PROOF_BYTES		6

StaticAssertDecl(10 + RECEIPT_PROOF_BYTES == UUID_LEN, "a receipt fills a uuid");
StaticAssertDecl(QAM_MAX_SLOT == 1 << (16 - RECEIPT_FORMAT_BITS),
				 "a slot number and the format share 16 bits");

/*
 * once_receipt_encode packs a receipt.
 */
void
once_receipt_encode(const OnceReceipt *receipt, pg_uuid_t *uuid)
{
	uint32		relid = pg_hton32(receipt->relid);
	uint32		block = pg_hton32(receipt->ref.block);
	uint16		slot = pg_hton16((receipt->ref.slot << RECEIPT_FORMAT_BITS) | RECEIPT_FORMAT);
	uint64		proof = pg_hton64(receipt->ref.proof << 16);

	Assert(receipt->ref.slot < QAM_MAX_SLOT);
	Assert((receipt->ref.proof & ~QAM_PROOF_MASK) == 0);

	memcpy(uuid->data, &relid, 4);
	memcpy(uuid->data + 4, &block, 4);
	memcpy(uuid->data + 8, &slot, 2);
	memcpy(uuid->data + 10, &proof, RECEIPT_PROOF_BYTES);
}

/*
 * once_receipt_decode unpacks a receipt.  It raises once_invalid_receipt if no
 * receipt of this format can look like that.  Whether the receipt is valid is
 * for the index to say.
 */
void
once_receipt_decode(const pg_uuid_t *uuid, OnceReceipt *receipt)
{
	uint32		relid;
	uint32		block;
	uint16		slot;
	uint64		proof = 0;

	memcpy(&relid, uuid->data, 4);
	memcpy(&block, uuid->data + 4, 4);
	memcpy(&slot, uuid->data + 8, 2);
	memcpy(&proof, uuid->data + 10, RECEIPT_PROOF_BYTES);

	receipt->relid = pg_ntoh32(relid);
	receipt->ref.block = pg_ntoh32(block);
	slot = pg_ntoh16(slot);
	receipt->ref.slot = slot >> RECEIPT_FORMAT_BITS;
	receipt->ref.proof = pg_ntoh64(proof) >> 16;

	if ((slot & RECEIPT_FORMAT_MASK) != RECEIPT_FORMAT ||
		!OidIsValid(receipt->relid) ||
		receipt->ref.block == 0 ||
		receipt->ref.block == InvalidBlockNumber)
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_INVALID_RECEIPT),
				 errmsg("invalid receipt: \"%s\"",
						DatumGetCString(DirectFunctionCall1(uuid_out,
															UUIDPGetDatum(uuid)))),
				 errdetail("It was not handed out by once.receive or once.lease of this version.")));
}
