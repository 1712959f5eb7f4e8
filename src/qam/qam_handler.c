/*-------------------------------------------------------------------------
 *
 * qam_handler.c
 *	  The handler of the access method, validation and cost.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg_once.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_type.h"
#include "commands/vacuum.h"
#include "qam/qam.h"
#include "qam/qam_build.h"
#include "qam/qam_insert.h"
#include "qam/qam_parameters.h"
#include "qam/qam_vacuum.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(once_queue_handler);

/*
 * qamcostestimate: a queue index cannot be scanned.  The planner never calls
 * this, because there is neither an amgettuple nor an amgetbitmap.
 */
static void
qamcostestimate(struct PlannerInfo *root, struct IndexPath *path,
				double loop_count, Cost *startup, Cost *total,
				Selectivity *selectivity, double *correlation, double *pages)
{
	*startup = *total = get_float8_infinity();
	*selectivity = 1.0;
	*correlation = 0.0;
	*pages = 0.0;
}

/*
 * qamvalidate: an operator class has neither operators nor functions, so it is
 * valid if it is for one of the four column types.
 */
static bool
qamvalidate(Oid opclassoid)
{
	HeapTuple	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclassoid));
	Oid			type;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator class %u", opclassoid);
	type = ((Form_pg_opclass) GETSTRUCT(tuple))->opcintype;
	ReleaseSysCache(tuple);
	if (type == INT8OID || type == INT2OID || type == TIMESTAMPTZOID || type == TEXTOID)
		return true;
	ereport(INFO,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("operator class of access method %s has unsupported type %s",
					QAM_AM_NAME, format_type_be(type))));
	return false;
}

/*
 * A queue index cannot be scanned.  These exist where NULL is not allowed.
 */
static IndexScanDesc
qambeginscan(Relation index, int nkeys, int norderbys)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("queue index \"%s\" cannot be scanned",
					RelationGetRelationName(index))));
	return NULL;				/* keep compiler quiet */
}

static void
qamrescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys)
{
}

static void
qamendscan(IndexScanDesc scan)
{
}

static const IndexAmRoutine routine = {
	.type = T_IndexAmRoutine,
	.amcanmulticol = true,
	.amoptionalkey = true,
	.amparallelvacuumoptions = VACUUM_OPTION_NO_PARALLEL,
	.amkeytype = InvalidOid,

	.ambuild = qambuild,
	.ambuildempty = qambuildempty,
	.aminsert = qaminsert,
	.ambulkdelete = qambulkdelete,
	.amvacuumcleanup = qamvacuumcleanup,
	.amcostestimate = qamcostestimate,
	.amoptions = qamoptions,
	.amvalidate = qamvalidate,
	.ambeginscan = qambeginscan,
	.amrescan = qamrescan,
	.amendscan = qamendscan,
};

/*
 * once_queue_handler returns the access method's routines.
 */
Datum
once_queue_handler(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(once_am_routine(&routine));
}
