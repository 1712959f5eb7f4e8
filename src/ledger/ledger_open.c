/*-------------------------------------------------------------------------
 *
 * ledger_open.c
 *	  Making the tables of a ledger, and opening the generations that count
 *	  now.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "ledger/ledger_names.h"
#include "ledger/ledger_open.h"
#include "ledger/ledger_turn.h"
#include "meta/meta_catalog.h"
#include "meta/meta_ddl.h"
#include "meta/meta_index.h"
#include "meta/meta_remote.h"
#include "miscadmin.h"
#include "once_debug.h"
#include "once_error.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/*
 * Rows are inserted, seldom change, and are removed all at once.  So VACUUM has
 * nothing to do except after rollbacks, and insertions alone should not start it.
 */
#define CREATE_TABLE_SQL \
	"CREATE %sTABLE %s (" \
	" id pg_catalog.text COLLATE pg_catalog.\"C\" PRIMARY KEY," \
	" processed_at pg_catalog.timestamptz NOT NULL," \
	" %s" \
	") USING heap WITH (" \
	" vacuum_truncate = off, autovacuum_vacuum_insert_threshold = -1," \
	" toast.vacuum_truncate = off)"

#define CREATE_SEQUENCE_SQL \
	"CREATE %sSEQUENCE %s AS pg_catalog.int8 MINVALUE 0 START 0 OWNED BY %s.id"

/* The third column of a generation, by kind */
static const struct
{
	const char *value_column;
	Oid			value_type;
	bool		value_not_null;
}			kinds[] = {
	{"result pg_catalog.jsonb", JSONBOID, false},
	{"message_id pg_catalog.int8 NOT NULL", INT8OID, true}
};

/* What keeps a generation from being used */
typedef struct Fault
{
	const char *detail;			/* NULL: nothing */
	const char *hint;			/* NULL: none */
} Fault;

static bool open_generation(LedgerView *view, int g, LOCKMODE lockmode);
static void see_other(LedgerView *view, int g);
static void open_indexes(LedgerView *view, int g, LOCKMODE lockmode, Fault *fault);
static bool open_listed(LedgerView *view, int g, LOCKMODE lockmode, Relation *odd,
						bool *valid);
static void close_indexes(LedgerView *view, int g, LOCKMODE lockmode);
static void close_generation(LedgerView *view, int g, bool unlock);
static void generation_fault(const OnceLedger *ledger, Relation heap, Fault *fault);
static void index_fault(Relation index, Fault *fault);
static char *qualified_name(Relation relation);

/*
 * once_ledger_make makes the tables of a ledger and gives them to a role that the
 * caller may act for.  The caller has seen that the ledger does not exist, and holds
 * a lock that keeps others from making it.
 */
void
once_ledger_make(OnceLedgerKind kind, const char *name, bool unlogged, Oid owner)
{
	Oid			schema = once_schema_oid(false);
	const char *logging = unlogged ? "UNLOGGED " : "";
	const char *relation[LEDGER_NPARTS];
	List	   *commands = NIL;
	int			i;

	for (i = 0; i < LEDGER_NPARTS; i++)
	{
		char	   *relname = once_ledger_relname(kind, name, i);

		relation[i] = quote_qualified_identifier(ONCE_SCHEMA, relname);
		if (OidIsValid(get_relname_relid(relname, schema)))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_TABLE),
					 kind == ONCE_LEDGER_OWN ?
					 errmsg("ledger \"%s\" cannot be created", name) :
					 errmsg("deduplication of queue \"%s\" cannot be set up", name),
					 errdetail("Relation %s exists, but other parts are missing.",
							   relation[i]),
					 errhint("Drop it if it is left over from an earlier one.")));
	}
	for (i = 0; i < 2; i++)
		commands = lappend(commands, psprintf(CREATE_TABLE_SQL, logging, relation[i],
											  kinds[kind].value_column));
	commands = lappend(commands, psprintf(CREATE_SEQUENCE_SQL, logging,
										  relation[LEDGER_PART_STATE], relation[0]));
	once_ddl_run(commands, owner);
}

/*
 * once_ledger_adopt prepares the tables of a ledger that has no retention for being
 * used again, or raises an error if they cannot be used.  The caller holds a lock that
 * keeps others from making or dropping the ledger.
 */
void
once_ledger_adopt(const char *name, bool unlogged)
{
	OnceLedger	ledger;
	LedgerView	view;
	int			g;

	if (!once_ledger_find_relations(&ledger, ONCE_LEDGER_OWN, name))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("part of ledger \"%s\" already exists", name),
				 errdetail("Parts of it are missing, so it cannot be adopted."),
				 errhint("Drop it with once.drop_ledger.")));
	memset(&view, 0, sizeof(LedgerView));
	view.ledger = &ledger;
	view.sequence = relation_open(ledger.sequence, LEDGER_STATE_LOCK);
	view.state = once_ledger_state(view.sequence);
	for (g = 0; g < 2; g++)
		if (!open_generation(&view, g, AccessShareLock))
			once_ledger_raise_not_found(ONCE_LEDGER_OWN, name);
	if (unlogged != (view.gen[0].heap->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED))
		ereport(WARNING,
				(unlogged ?
				 errmsg("ledger \"%s\" is not unlogged", name) :
				 errmsg("ledger \"%s\" is unlogged", name)));
	once_ledger_view_close(&view);
	once_ledger_reopen(&ledger);

	/* So that we forget what we remember of it, also if this rolls back */
	CacheInvalidateRelcacheByRelid(ledger.table[0]);
}


/*
 * ---- Views ----
 */

/*
 * once_ledger_view_open opens the generations that count: the current one with
 * lockmode, and the old one, if it counts, with old_lockmode.  The locks are kept until
 * the transaction ends, except AccessShareLocks: once_ledger_view_close releases those.
 *
 * view->state is what the state was at some moment while they were locked.
 */
void
once_ledger_view_open(LedgerView *view, const OnceLedger *ledger, LOCKMODE lockmode,
					  LOCKMODE old_lockmode)
{
	memset(view, 0, sizeof(LedgerView));
	view->ledger = ledger;
	if (lockmode >= RowExclusiveLock)
		once_remote_note_change();
	view->sequence = try_relation_open(ledger->sequence, LEDGER_STATE_LOCK);
	if (view->sequence == NULL)
		once_ledger_raise_not_found(ledger->kind, NameStr(ledger->name));

	/* The server's planner refuses queries of such tables, too */
	if (view->sequence->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT &&
		RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot access ledger \"%s\" during recovery", NameStr(ledger->name)),
				 errdetail("It is unlogged, and has no ids on a standby.")));
	for (;;)
	{
		int			current;

		CHECK_FOR_INTERRUPTS();
		view->state = once_ledger_state(view->sequence);
		once_debug_point("ledger_before_open");
		current = view->state.current;
		if (open_generation(view, current, lockmode) &&
			(view->state.phase == LEDGER_ALONE ||
			 open_generation(view, 1 - current, old_lockmode)) &&
			once_ledger_state_is(view->sequence, &view->state))
		{
			view->decoded = RelationIsLogicallyLogged(view->gen[current].heap);
			if (view->state.phase == LEDGER_ALONE)
				see_other(view, 1 - current);
			break;
		}

		/* Nothing was done under these locks, so they can be released */
		close_generation(view, current, true);
		close_generation(view, 1 - current, true);
	}
}

/*
 * once_ledger_view_close closes what is open.  AccessShareLocks are released, so that
 * nobody has to wait for a transaction that only reads.
 */
void
once_ledger_view_close(LedgerView *view)
{
	int			g;

	for (g = 0; g < 2; g++)
		if (view->gen[g].heap != NULL)
			close_generation(view, g, view->gen[g].lockmode == AccessShareLock);
	relation_close(view->sequence, LEDGER_STATE_LOCK);
}

/*
 * open_generation opens and locks a generation and its indexes, and prepares a
 * search in it.  Returns false if it could not be locked at once and the state has
 * changed.
 *
 * A backend that has read an old state may ask for a table that another transaction
 * has begun to empty, and must not wait for that transaction.  A table is emptied only
 * after the state says that it does not count.  So the state is read again before
 * waiting.
 */
static bool
open_generation(LedgerView *view, int g, LOCKMODE lockmode)
{
	const OnceLedger *ledger = view->ledger;
	Relation	heap;
	Fault		fault = {0};

	if (!ConditionalLockRelationOid(ledger->table[g], lockmode))
	{
		if (!once_ledger_state_is(view->sequence, &view->state))
			return false;
		LockRelationOid(ledger->table[g], lockmode);
	}
	heap = try_relation_open(ledger->table[g], NoLock);
	if (heap == NULL)
		once_ledger_raise_not_found(ledger->kind, NameStr(ledger->name));
	view->gen[g].heap = heap;
	view->gen[g].lockmode = lockmode;
	generation_fault(ledger, heap, &fault);
	if (fault.detail == NULL)
		open_indexes(view, g, lockmode, &fault);
	if (fault.detail != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_ONCE_LEDGER_UNUSABLE),
				 once_ledger_errmsg_unusable(ledger->kind, NameStr(ledger->name)),
				 errdetail("Table %s is not as it was made.  %s", qualified_name(heap),
						   fault.detail),
				 fault.hint != NULL ? errhint("%s", fault.hint) : 0));

	InitDirtySnapshot(view->gen[g].any);
	view->gen[g].slot = table_slot_create(heap, NULL);
	once_ledger_probe_begin(&view->gen[g].probe, heap, view->gen[g].index[0]);
	return true;
}

/*
 * see_other checks the generation that does not count.  If it cannot be used, that is
 * an error now, and not only when the ledger turns.  It is checked once for each change
 * that this backend hears of, and not while another session empties or alters it or one
 * of its indexes.
 */
static void
see_other(LedgerView *view, int g)
{
	Oid			table = view->ledger->table[g];
	Relation	heap;
	bool		all_free;

	if (once_ledger_other_seen(view->ledger) ||
		!ConditionalLockRelationOid(table, AccessShareLock))
		return;
	heap = try_relation_open(table, NoLock);
	all_free = heap == NULL || once_index_all_free(heap, AccessShareLock);
	if (heap != NULL)
		relation_close(heap, NoLock);
	if (all_free && open_generation(view, g, AccessShareLock))
	{
		close_generation(view, g, true);
		once_ledger_note_other(view->ledger);
	}
	UnlockRelationOid(table, AccessShareLock);
}

/*
 * open_indexes opens the indexes of a generation that are ready for insertions.  The
 * one to be searched becomes the first.  Sets fault if none can be searched, or if one
 * of them is not an index on id.
 */
static void
open_indexes(LedgerView *view, int g, LOCKMODE lockmode, Fault *fault)
{
	Relation	odd;
	bool		valid;

	/* Begin again if one of them is gone, which can happen only on a standby */
	while (!open_listed(view, g, lockmode, &odd, &valid))
	{
		CHECK_FOR_INTERRUPTS();
		close_indexes(view, g, lockmode);
	}
	if (odd != NULL)
		index_fault(odd, fault);
	else if (!valid)
	{
		fault->detail = "It has no valid key on id.";
		fault->hint = view->gen[g].nindexes > 0 ?
			psprintf("Use REINDEX INDEX %s.", qualified_name(view->gen[g].index[0])) :
			psprintf("ALTER TABLE %s ADD PRIMARY KEY (id).", qualified_name(view->gen[g].heap));
	}
}

/*
 * open_listed opens the indexes that are listed now.  odd: one that is not an index on
 * id, or NULL.  valid: the first one can be searched.  Returns false if one of them is
 * gone.
 */
static bool
open_listed(LedgerView *view, int g, LOCKMODE lockmode, Relation *odd, bool *valid)
{
	List	   *indexes = once_index_list(view->gen[g].heap);
	ListCell   *lc;

	*odd = NULL;
	*valid = false;
	view->gen[g].nindexes = 0;
	view->gen[g].index = palloc(sizeof(Relation) * Max(list_length(indexes), 1));
	foreach(lc, indexes)
	{
		const OnceIndex *listed = lfirst(lc);
		int			n = view->gen[g].nindexes;
		Relation	index;

		if (!listed->ready)
			continue;
		index = try_relation_open(listed->oid, lockmode);
		if (index == NULL)
			return false;
		view->gen[g].index[n] = index;
		view->gen[g].nindexes++;
		if (listed->am != BTREE_AM_OID || listed->key != Anum_generation_id ||
			index->rd_indcollation[0] != C_COLLATION_OID ||
			index->rd_opcintype[0] != TEXTOID ||
			index->rd_indoption[0] != 0)
		{
			*odd = index;
			break;
		}
		if (listed->valid && !*valid)
		{
			view->gen[g].index[n] = view->gen[g].index[0];
			view->gen[g].index[0] = index;
			*valid = true;
		}
	}
	list_free_deep(indexes);
	return true;
}

static void
close_indexes(LedgerView *view, int g, LOCKMODE lockmode)
{
	int			i;

	for (i = 0; i < view->gen[g].nindexes; i++)
		index_close(view->gen[g].index[i], lockmode);
	pfree(view->gen[g].index);
}

static void
close_generation(LedgerView *view, int g, bool unlock)
{
	LOCKMODE	lockmode = unlock ? view->gen[g].lockmode : NoLock;

	if (view->gen[g].heap == NULL)
		return;
	once_ledger_probe_end(&view->gen[g].probe);
	ExecDropSingleTupleTableSlot(view->gen[g].slot);
	close_indexes(view, g, lockmode);
	relation_close(view->gen[g].heap, lockmode);
	view->gen[g].heap = NULL;
}

/*
 * generation_fault sets fault if rows cannot be inserted into a generation below the
 * level of SQL, or if the two generations have different owners.
 */
static void
generation_fault(const OnceLedger *ledger, Relation heap, Fault *fault)
{
	TupleDesc	desc = RelationGetDescr(heap);
	const Oid	types[Natts_generation] = {TEXTOID, TIMESTAMPTZOID, kinds[ledger->kind].value_type};
	int			i;

	if (heap->rd_rel->relkind != RELKIND_RELATION || heap->rd_rel->relispartition ||
		heap->rd_tableam != GetHeapamTableAmRoutine())
		fault->detail = "It is no plain table.";
	else if (ledger->distributed)
	{
		fault->detail = "Tables of the ledger are distributed by Citus.";
		fault->hint = psprintf("Use undistribute_table for tables %s.",
							   once_ledger_tables(ledger->kind, NameStr(ledger->name)));
	}
	else if (ledger->owners_differ)
	{
		fault->detail = "It and the other table of the ledger have different owners.";
		fault->hint = psprintf("Use ALTER TABLE ... OWNER TO to give tables %s to one owner.",
							   once_ledger_tables(ledger->kind, NameStr(ledger->name)));
	}
	else if (heap->trigdesc != NULL || heap->rd_rules != NULL)
	{
		fault->detail = "It has triggers, rules or foreign keys.";
		fault->hint = "Drop them.";
	}
	else if (heap->rd_rel->relrowsecurity)
	{
		fault->detail = "It has row security.";
		fault->hint = psprintf("ALTER TABLE %s DISABLE ROW LEVEL SECURITY.", qualified_name(heap));
	}
	else if (desc->natts != Natts_generation ||
			 (desc->constr != NULL && (desc->constr->num_check > 0 ||
									   once_has_generated(desc->constr))))
		fault->detail = "It has other columns or constraints.";
	for (i = 0; i < Natts_generation && fault->detail == NULL; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool		not_null = i != Anum_generation_value - 1 || kinds[ledger->kind].value_not_null;

		/* What is never null is read without asking */
		if (att->attisdropped || att->atttypid != types[i] ||
			(not_null ? !once_column_not_null(desc, i) : att->attnotnull))
			fault->detail = "It has other columns or constraints.";
	}
}

/*
 * index_fault says that an index is no key on id.
 */
static void
index_fault(Relation index, Fault *fault)
{
	Oid			constraint = get_index_constraint(RelationGetRelid(index));

	fault->detail = psprintf("Its index %s is not a plain unique key on id.",
							 qualified_name(index));
	fault->hint = OidIsValid(constraint) ?
		psprintf("Drop its constraint %s.", quote_identifier(get_constraint_name(constraint))) :
		psprintf("Use DROP INDEX %s.", qualified_name(index));
}

static char *
qualified_name(Relation relation)
{
	return quote_qualified_identifier(ONCE_SCHEMA, RelationGetRelationName(relation));
}
