/*-------------------------------------------------------------------------
 *
 * damage.c
 *	  Reading and writing the pages of a relation as bytes, for the test of
 *	  damaged indexes.
 *
 * The test compiles and loads this library; it is not part of the extension.
 * Pages are changed in shared buffers and not logged, so the server must not
 * restart.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "catalog/storage.h"
#include "compat/once_compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/relcache.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(damage_read);
PG_FUNCTION_INFO_V1(damage_restore);
PG_FUNCTION_INFO_V1(damage_write);

static Relation
open_relation(FunctionCallInfo fcinfo)
{
	Relation	rel = RelationIdGetRelation(PG_GETARG_OID(0));

	if (!superuser() || !RelationIsValid(rel))
		elog(ERROR, "there is no such relation, or not for everybody");
	return rel;
}

/*
 * damage_read(relation regclass) returns bytea[]: returns all pages.
 */
Datum
damage_read(PG_FUNCTION_ARGS)
{
	Relation	rel = open_relation(fcinfo);
	BlockNumber nblocks = RelationGetNumberOfBlocks(rel);
	Datum	   *pages = palloc(nblocks * sizeof(Datum));
	BlockNumber block;

	for (block = 0; block < nblocks; block++)
	{
		Buffer		buffer = ReadBuffer(rel, block);
		bytea	   *copy = palloc(VARHDRSZ + BLCKSZ);

		SET_VARSIZE(copy, VARHDRSZ + BLCKSZ);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		memcpy(VARDATA(copy), BufferGetPage(buffer), BLCKSZ);
		UnlockReleaseBuffer(buffer);
		pages[block] = PointerGetDatum(copy);
	}
	RelationClose(rel);
	PG_RETURN_ARRAYTYPE_P(construct_array(pages, nblocks, BYTEAOID, -1, false, TYPALIGN_INT));
}

/*
 * damage_restore(relation regclass, pages bytea[]): replaces all pages of a relation.
 * All sessions forget what they remember of the relation.
 */
Datum
damage_restore(PG_FUNCTION_ARGS)
{
	Relation	rel = open_relation(fcinfo);
	BlockNumber nblocks = RelationGetNumberOfBlocks(rel);
	BlockNumber block;
	Datum	   *pages;
	int			npages;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), BYTEAOID, -1, false, TYPALIGN_INT,
					  &pages, NULL, &npages);
	if (nblocks > npages)
		RelationTruncate(rel, npages);
	for (block = 0; block < npages; block++)
	{
		bytea	   *page = DatumGetByteaPP(pages[block]);
		Buffer		buffer;

		/* The server may refuse to read the page that is in the file */
		if (block >= nblocks)
			buffer = once_extend(rel, MAIN_FORKNUM);
		else
			buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_ZERO_AND_LOCK, NULL);
		memcpy(BufferGetPage(buffer), VARDATA_ANY(page), BLCKSZ);
		MarkBufferDirty(buffer);
		UnlockReleaseBuffer(buffer);
	}
	CacheInvalidateRelcache(rel);
	RelationClose(rel);
	PG_RETURN_VOID();
}

/*
 * damage_write(relation regclass, block int, at int, bytes bytea): writes bytes to a
 * place of a page.
 */
Datum
damage_write(PG_FUNCTION_ARGS)
{
	Relation	rel = open_relation(fcinfo);
	Buffer		buffer = ReadBuffer(rel, PG_GETARG_INT32(1));
	int			at = PG_GETARG_INT32(2);
	bytea	   *bytes = PG_GETARG_BYTEA_PP(3);

	if (at < 0 || at + VARSIZE_ANY_EXHDR(bytes) > BLCKSZ)
		elog(ERROR, "there is no such part of a page");
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	memcpy((char *) BufferGetPage(buffer) + at, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	MarkBufferDirty(buffer);
	UnlockReleaseBuffer(buffer);
	RelationClose(rel);
	PG_RETURN_VOID();
}
