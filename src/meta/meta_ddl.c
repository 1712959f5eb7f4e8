/*-------------------------------------------------------------------------
 *
 * meta_ddl.c
 *	  Making and dropping relations in schema once, for callers who may
 *	  create nothing there.
 *
 * Only the schema's owner may create anything in it, but the relations of a queue
 * or a ledger belong to somebody else.  If they were made by commands of the
 * schema's owner, event triggers would run as that role, usually a superuser, in
 * the session of a caller who can have temporary tables of any name.  And the
 * relations would get the default privileges of the wrong role.  So a command is
 * taken apart here, as the server does it:
 *
 *	- Event triggers are fired as the caller, with the caller's search_path, as
 *	  for any command of the caller.
 *	- In between, relations are created with the schema owner's right to create.
 *	  They belong to their owner from the start, and have the owner's default
 *	  privileges.  No code of users runs there: the columns have types and
 *	  defaults of pg_catalog only.
 *	- All else (indexes, partitions, owners of sequences) is done as the caller,
 *	  who acts for the owner.
 *
 * To event triggers, several relations that belong together are one command with
 * the tag of the first one, as a table and its key are.  At its end,
 * pg_event_trigger_ddl_commands() returns all of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/toasting.h"
#include "commands/defrem.h"
#include "commands/event_trigger.h"
#include "commands/sequence.h"
#include "commands/tablecmds.h"
#include "meta/meta_ddl.h"
#include "meta/meta_role.h"
#include "miscadmin.h"
#include "parser/parse_node.h"
#include "parser/parse_utilcmd.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"

static Node *parse_command(const char *sql);
static void run_command(Node *command, const char *sql, Oid owner);
static void create_table(CreateStmt *stmt, const char *sql, Oid owner);
static void create_sequence(CreateSeqStmt *stmt, const char *sql, Oid owner);
static void create_index(IndexStmt *stmt, const char *sql);
static void run_as_caller(Node *command, const char *sql);
static void drop_tables(DropStmt *stmt);

/*
 * once_ddl_run executes commands that make relations in schema once, and gives the
 * relations to a role that the caller may act for.  It also executes DROP TABLE, no
 * matter who owns the tables.
 *
 * The commands are text: CREATE TABLE, CREATE SEQUENCE, CREATE INDEX, ALTER TABLE and
 * DROP TABLE.  They name everything with its schema, and refer only to pg_catalog, to
 * each other and to tables of the role.
 */
void
once_ddl_run(List *commands, Oid owner)
{
	Node	   *first = parse_command(linitial(commands));
	bool		triggers = EventTriggerBeginCompleteQuery();
	ListCell   *lc;

	PG_TRY();
	{
		EventTriggerDDLCommandStart(first);
		foreach(lc, commands)
		{
			run_command(parse_command(lfirst(lc)), lfirst(lc), owner);
			CommandCounterIncrement();
		}
		EventTriggerSQLDrop(first);
		EventTriggerDDLCommandEnd(first);
	}
	PG_FINALLY();
	{
		if (triggers)
			EventTriggerEndCompleteQuery();
	}
	PG_END_TRY();
}

/*
 * once_ddl_drop drops tables of schema once, like DROP TABLE, no matter who owns
 * them.  Tables that do not exist are ignored.
 */
void
once_ddl_drop(List *relnames)
{
	StringInfoData sql;
	ListCell   *lc;

	if (relnames == NIL)
		return;
	initStringInfo(&sql);
	foreach(lc, relnames)
		appendStringInfo(&sql, "%s%s", foreach_current_index(lc) == 0 ? "DROP TABLE " : ", ",
						 quote_qualified_identifier(ONCE_SCHEMA, lfirst(lc)));
	once_ddl_run(list_make1(sql.data), InvalidOid);
}

static Node *
parse_command(const char *sql)
{
	return linitial_node(RawStmt, pg_parse_query(sql))->stmt;
}

/*
 * run_command executes a command, or a part of one.  As in the server, each part
 * reports what it has made to event triggers.
 */
static void
run_command(Node *command, const char *sql, Oid owner)
{
	int			guc_level = NewGUCNestLevel();

	/* Use the database's tablespace, not one that the caller has chosen */
	(void) set_config_option("default_tablespace", "", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	switch (nodeTag(command))
	{
		case T_CreateStmt:
			create_table((CreateStmt *) command, sql, owner);
			break;
		case T_CreateSeqStmt:
			create_sequence((CreateSeqStmt *) command, sql, owner);
			break;
		case T_IndexStmt:
			create_index((IndexStmt *) command, sql);
			break;
		case T_DropStmt:
			drop_tables((DropStmt *) command);
			break;
		default:
			run_as_caller(command, sql);
			break;
	}
	AtEOXact_GUC(false, guc_level);
}

/*
 * create_table executes a CREATE TABLE and all that belongs to it, such as keys and
 * the sequence of an identity column.
 */
static void
create_table(CreateStmt *stmt, const char *sql, Oid owner)
{
	ObjectAddress table;
	OnceRole	saved;
	List	   *parts;
	ListCell   *lc;

	once_role_assume(&saved, once_role_schema_owner(), false);
	parts = transformCreateStmt(stmt, sql);
	once_role_drop(&saved);

	foreach(lc, parts)
	{
		Node	   *part = lfirst(lc);

		if (!IsA(part, CreateStmt))
			run_command(part, sql, owner);
		else
		{
			once_role_assume(&saved, once_role_schema_owner(), false);
			table = DefineRelation((CreateStmt *) part, RELKIND_RELATION, owner, NULL, sql);
			EventTriggerCollectSimpleCommand(table, InvalidObjectAddress, part);
			CommandCounterIncrement();
			NewRelationCreateToastTable(table.objectId,
										once_toast_options(((CreateStmt *) part)->options));
			once_role_drop(&saved);
		}
		CommandCounterIncrement();
	}
}

static void
create_sequence(CreateSeqStmt *stmt, const char *sql, Oid owner)
{
	ParseState *pstate = make_parsestate(NULL);
	ObjectAddress sequence;
	OnceRole	saved;

	pstate->p_sourcetext = sql;
	stmt->ownerId = owner;
	once_role_assume(&saved, once_role_schema_owner(), false);
	sequence = DefineSequence(pstate, stmt);
	once_role_drop(&saved);
	EventTriggerCollectSimpleCommand(sequence, InvalidObjectAddress, (Node *) stmt);
	free_parsestate(pstate);
}

/*
 * create_index makes an index of a table that is being made.  The caller's right to
 * create in its schema is not checked.
 */
static void
create_index(IndexStmt *stmt, const char *sql)
{
	Oid			relid = RangeVarGetRelid(stmt->relation, ShareLock, false);
	ObjectAddress index;

	stmt = transformIndexStmt(relid, stmt, sql);
	EventTriggerAlterTableStart((Node *) stmt);
	index = once_define_index(relid, stmt);
	EventTriggerCollectSimpleCommand(index, InvalidObjectAddress, (Node *) stmt);
	EventTriggerAlterTableEnd();
}

/*
 * run_as_caller executes any other command with the rights of the caller.
 */
static void
run_as_caller(Node *command, const char *sql)
{
	PlannedStmt *wrapper = makeNode(PlannedStmt);

	wrapper->commandType = CMD_UTILITY;
	wrapper->utilityStmt = command;
	wrapper->stmt_location = -1;
	ProcessUtility(wrapper, sql, false, PROCESS_UTILITY_SUBCOMMAND, NULL, NULL,
				   None_Receiver, NULL);
}

/*
 * drop_tables locks tables and drops them, without checking the rights of the
 * caller.  No code of users runs here.
 */
static void
drop_tables(DropStmt *stmt)
{
	ObjectAddresses *tables = new_object_addresses();
	ListCell   *lc;

	foreach(lc, stmt->objects)
	{
		ObjectAddress table;

		table.classId = RelationRelationId;
		table.objectId = RangeVarGetRelid(makeRangeVarFromNameList(lfirst(lc)),
										  AccessExclusiveLock, true);
		table.objectSubId = 0;
		if (OidIsValid(table.objectId))
			add_exact_object_address(&table, tables);
	}
	performMultipleDeletions(tables, DROP_RESTRICT, 0);
	free_object_addresses(tables);
}
