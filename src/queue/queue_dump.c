/*-------------------------------------------------------------------------
 *
 * queue_dump.c
 *	  Dead letters, failures and schedules on their way into a dump and back.
 *
 * Users may not read or write the tables that hold them, so pg_dump is given
 * other tables in their place: see src/install/50_dead.sql.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "meta/meta_catalog.h"
#include "meta/meta_names.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "parser/parse_type.h"
#include "queue/queue_dump.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

/* The column "queue" of both tables */
#define Anum_queue			1

PG_FUNCTION_INFO_V1(once_dump_rows);
PG_FUNCTION_INFO_V1(once_restore_row);

/* The queue for which may_see was asked last, and the answer */
typedef struct Asked
{
	char	   *queue;			/* or NULL */
	bool		sees;
} Asked;

static bool sees_row(void *arg, TupleTableSlot *slot);
static bool may_see(const char *queue);
static void check_not_null(Relation rel, HeapTuple tuple);

/*
 * once.dump_dead_letters, once.dump_failures: the rows of a table that the
 * caller may see.
 */
Datum
once_dump_rows(PG_FUNCTION_ARGS)
{
	Asked		asked = {0};

	once_dump_visible(fcinfo, sees_row, &asked);
	return (Datum) 0;
}

/*
 * once_dump_visible returns the rows of a table that the caller may see:
 * all rows if it may SELECT from the table, and otherwise those for which
 * "sees" returns true.  The table is that whose row type the function returns.
 */
void
once_dump_visible(FunctionCallInfo fcinfo, OnceDumpSees sees, void *arg)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Relation	rel;
	TableScanDesc scan;
	TupleTableSlot *slot;
	Oid			type;
	bool		all;

	InitMaterializedSRF(fcinfo, 0);
	(void) get_call_result_type(fcinfo, &type, NULL);
	rel = table_open(typeidTypeRelid(type), AccessShareLock);
	all = pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), ACL_SELECT) == ACLCHECK_OK;
	slot = table_slot_create(rel, NULL);
	scan = once_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (all || sees(arg, slot))
			tuplestore_puttupleslot(rsinfo->setResult, slot);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
}

/*
 * sees_row tells whether the caller may see a dead letter or failure.
 */
static bool
sees_row(void *arg, TupleTableSlot *slot)
{
	Asked	   *asked = arg;
	bool		isnull;
	Datum		queue = slot_getattr(slot, Anum_queue, &isnull);
	char	   *name;

	if (isnull)
		return false;
	name = TextDatumGetCString(queue);
	if (asked->queue != NULL && strcmp(name, asked->queue) == 0)
	{
		pfree(name);
		return asked->sees;
	}
	if (asked->queue != NULL)
		pfree(asked->queue);
	asked->queue = name;
	asked->sees = may_see(name);
	return asked->sees;
}

/*
 * may_see tells whether the caller may see the dead letters and failures of a
 * queue.  The views once.dead_letters and once.failures decide the same way.
 */
static bool
may_see(const char *queue)
{
	char	   *relname = psprintf("%s%s", ONCE_QUEUE_PREFIX, queue);
	Oid			relid = strlen(relname) < NAMEDATALEN ?
		get_relname_relid(relname, once_schema_oid(false)) : InvalidOid;
	char		relkind = OidIsValid(relid) ? get_rel_relkind(relid) : '\0';

	pfree(relname);
	return once_schema_is_table(relkind) &&
		pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		check_enable_rls(relid, InvalidOid, true) != RLS_ENABLED &&
		once_names_is_own(relid);
}

/*
 * once.restore_row(table): a BEFORE INSERT trigger that puts the row into
 * another table of the extension, which has the same columns, and suppresses
 * the insertion itself.
 *
 * It writes without the checks of SQL.  So it refuses tables that are not
 * those of the extension, whoever has created the trigger.
 */
Datum
once_restore_row(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	Relation	from;
	Relation	into;
	Oid			relid;
	TupleConversionMap *map;
	HeapTuple	tuple;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event) || !TRIGGER_FIRED_BY_INSERT(data->tg_event) ||
		data->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("once.restore_row() is for triggers of the extension itself")));

	from = data->tg_relation;
	relid = get_relname_relid(data->tg_trigger->tgargs[0], once_schema_oid(false));
	if (!OidIsValid(relid))
		elog(ERROR, "table once.%s does not exist", data->tg_trigger->tgargs[0]);
	into = table_open(relid, RowExclusiveLock);
	if (RelationGetNamespace(from) != RelationGetNamespace(into) ||
		from->rd_rel->relowner != into->rd_rel->relowner)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rows of table \"%s\" cannot be put into table \"%s\"",
						RelationGetRelationName(from), RelationGetRelationName(into)),
				 errdetail("They are not tables of the extension.")));

	map = convert_tuples_by_name(RelationGetDescr(from), RelationGetDescr(into));
	tuple = map == NULL ? heap_copytuple(data->tg_trigtuple) :
		execute_attr_map_tuple(data->tg_trigtuple, map);
	check_not_null(into, tuple);
	CatalogTupleInsert(into, tuple);
	heap_freetuple(tuple);
	if (map != NULL)
		free_conversion_map(map);
	table_close(into, NoLock);
	PG_RETURN_POINTER(NULL);
}

/*
 * check_not_null raises an error if a row has a null in a column that is NOT
 * NULL.  Insertion below the level of SQL does not check that.
 */
static void
check_not_null(Relation rel, HeapTuple tuple)
{
	TupleDesc	desc = RelationGetDescr(rel);
	int			i;

	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attnotnull && !att->attisdropped && heap_attisnull(tuple, i + 1, desc))
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("null value in column \"%s\" of relation \"%s\" violates not-null constraint",
							NameStr(att->attname), RelationGetRelationName(rel)),
					 errtablecol(rel, i + 1)));
	}
}
