/*-------------------------------------------------------------------------
 *
 * meta_ddl.c
 *	  Relations in schema once: making and dropping them for those who may
 *	  create nothing there.
 *
 * Only the schema's owner may create anything in it, and what a queue or a
 * ledger is made of belongs to somebody else.  Were it made by commands of the
 * schema's owner, event triggers would run as that role, a superuser as a rule,
 * in the session of somebody who has temporary tables of any name; and it
 * would have the privileges that the wrong role has set as its default.  So a
 * command is taken apart here as the server does it:
 *
 *	- event triggers are fired as the caller, with his search_path, as by a
 *	  command of his own;
 *	- in between, relations are created with the schema owner's right to
 *	  create, but from the start as their owner's, with the owner's default
 *	  privileges.  Nothing that users have made runs there: the columns have
 *	  types and defaults of pg_catalog only;
 *	- all else (indexes, partitions, which sequence is whose) is done as the
 *	  caller, who acts for the owner.
 *
 * Several relations that belong together are one command to event triggers, of
 * the tag of the first, like a table with its key: what
 * pg_event_trigger_ddl_commands() tells at its end is all of them.
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
 * once_ddl_run executes commands that make relations in schema once, and gives
 * these to a role, for which the caller may act; or a DROP TABLE, whosever the
 * tables are.  The commands, as text, are CREATE TABLE, CREATE SEQUENCE, CREATE INDEX,
 * ALTER TABLE and DROP TABLE, name everything with its schema, and refer to nothing
 * but pg_catalog and each other, and tables of the role.
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
 * once_ddl_drop drops tables of schema once, whosever they are, like DROP
 * TABLE.  Those that do not exist are passed by.
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
 * run_command executes a command, or one of those that it has been taken apart
 * into.  As in the server, each says itself what it has made.
 */
static void
run_command(Node *command, const char *sql, Oid owner)
{
	int			guc_level = NewGUCNestLevel();

	/* The database's, and not one that the caller has chosen */
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
 * create_table executes a CREATE TABLE with all that comes with it: the sequence
 * of an identity column, keys.
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
 * create_index makes an index of a table that is being made, without asking for
 * the right to create in its schema.
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
 * drop_tables locks tables and drops them, past the rights of the caller.  No
 * code of users runs here.
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
