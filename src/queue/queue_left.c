/*-------------------------------------------------------------------------
 *
 * queue_left.c
 *	  What is left of a queue that has lost its table.
 *
 * A queue loses its table by DROP TABLE, DROP OWNED or renaming; drop_queue
 * leaves nothing behind.  What is left is kept for its owner.  It is in the
 * way only of a new queue of the same name.  See src/meta/README.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "ledger/ledger.h"
#include "lib/stringinfo.h"
#include "meta/meta_catalog.h"
#include "meta/meta_dead.h"
#include "meta/meta_names.h"
#include "meta/meta_role.h"
#include "miscadmin.h"
#include "once_args.h"
#include "once_error.h"
#include "queue/queue_archive.h"
#include "queue/queue_dedup.h"
#include "queue/queue_left.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* What is left of a queue */
typedef struct Left
{
	bool		dead;			/* dead letters or failures */
	Oid			archive;
	List	   *dedup;			/* names of the tables that remember dedup_ids */
} Left;

PG_FUNCTION_INFO_V1(once_is_own_table);

static void find_left(Left *left, const char *queue);
static bool may_forget_dedup(const Left *left, const char *queue);
static bool owns_tables(const Left *left);
static char *describe(const Left *left, const char *queue);
static void check_elsewhere(const char *queue, const char *message);

/*
 * once.is_own_table: tells whether what is stored under a table's name belongs
 * to that table.
 */
Datum
once_is_own_table(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(once_names_is_own(PG_GETARG_OID(0)));
}

/*
 * once_left_check raises an error if a queue cannot be made because an earlier
 * queue of that name, which has lost its table, has left something behind.  It
 * deletes only what certainly belongs to the caller and is of no more use to
 * it.  The caller holds once_options_lock.
 */
void
once_left_check(const char *queue)
{
	Left		left;

	check_elsewhere(queue, gettext_noop("queue \"%s\" cannot be created"));
	find_left(&left, queue);
	if (may_forget_dedup(&left, queue))
	{
		once_dedup_forget_queue(queue);
		left.dedup = NIL;
	}
	if (left.dead || OidIsValid(left.archive) || left.dedup != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("queue \"%s\" cannot be created", queue),
				 errdetail("The table of an earlier queue of this name was dropped.  Still there: %s.",
						   describe(&left, queue)),
				 errhint("Call once.drop_queue to delete that, as its owner or a superuser, or use another name.")));
}

/*
 * once_left_drop deletes what is left of a queue that has no table.  It raises
 * an error if there is nothing, or if it does not belong to the caller.
 *
 * Dead letters and failures have no owner of their own.  They belong to the
 * owner of the tables that are left, which were made with the queue for its
 * owner.
 */
void
once_left_drop(const char *queue)
{
	Left		left;

	once_options_lock(ONCE_QUEUE_PREFIX, queue);
	check_elsewhere(queue, gettext_noop("queue \"%s\" cannot be dropped"));
	find_left(&left, queue);

	/*
	 * A queue of that name may have been made since the caller searched for
	 * one
	 */
	if (OidIsValid(get_relname_relid(psprintf("%s%s", ONCE_QUEUE_PREFIX, queue),
									 once_schema_oid(false))))
		memset(&left, 0, sizeof(left));
	if (!left.dead && !OidIsValid(left.archive) && left.dedup == NIL)
		once_raise_no_queue(queue);
	if (!owns_tables(&left) && !has_privs_of_role(GetUserId(), once_role_schema_owner()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of what remains of queue \"%s\"", queue),
				 errdetail("Its table was dropped.  Still there: %s.", describe(&left, queue))));

	if (OidIsValid(left.archive))
	{
		SPI_connect();
		once_role_run(psprintf("DROP TABLE %s", once_archive_table(queue)), 0, NULL, NULL);
		SPI_finish();
	}
	once_options_delete(queue);
	once_dead_letter_forget_queue(queue);
	once_dedup_forget_queue(queue);
}

/*
 * find_left finds what is left of a queue.
 */
static void
find_left(Left *left, const char *queue)
{
	left->dead = once_dead_letter_any(queue);
	left->archive = once_archive_oid(queue);
	left->dedup = once_ledger_relnames(ONCE_LEDGER_DEDUP, queue);
}

/*
 * may_forget_dedup tells whether dedup_ids can be forgotten without asking:
 * the table of their queue has certainly been dropped, and they belong to the
 * caller.
 */
static bool
may_forget_dedup(const Left *left, const char *queue)
{
	OnceOptions options;
	Left		dedup = {.dedup = left->dedup};

	return once_options_read(queue, &options) && OidIsValid(options.table) &&
		get_rel_relkind(options.table) == '\0' &&
		owns_tables(&dedup);
}

/*
 * owns_tables tells whether any tables are left, and the caller owns all of
 * them.
 */
static bool
owns_tables(const Left *left)
{
	Oid			schema = once_schema_oid(false);
	bool		owns = OidIsValid(left->archive) || left->dedup != NIL;
	ListCell   *lc;

	if (OidIsValid(left->archive))
		owns = once_is_table_owner(left->archive, GetUserId());
	foreach(lc, left->dedup)
		owns = owns && once_is_table_owner(get_relname_relid(lfirst(lc), schema), GetUserId());
	return owns;
}

/*
 * describe returns a text that names what is left.
 */
static char *
describe(const Left *left, const char *queue)
{
	StringInfoData text;

	initStringInfo(&text);
	if (left->dead)
		appendStringInfoString(&text, "dead letters or failures");
	if (OidIsValid(left->archive))
		appendStringInfo(&text, "%stable %s", text.len > 0 ? ", " : "", once_archive_table(queue));
	if (left->dedup != NIL)
		appendStringInfo(&text, "%stables %s", text.len > 0 ? ", " : "",
						 once_ledger_tables(ONCE_LEDGER_DEDUP, queue));
	return text.data;
}

/*
 * check_elsewhere raises an error if the table of a queue still exists under
 * another name or in another schema, and has not been made a queue of that
 * name.
 */
static void
check_elsewhere(const char *queue, const char *message)
{
	Oid			table = once_names_elsewhere(queue, InvalidOid);

	if (OidIsValid(table) && !once_names_is_adopted(table))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg(message, queue),
				 errdetail("Its table is %s now, and everything else of the queue goes by the old name.",
						   once_names_table(table)),
				 errhint("Give the table its old name and schema back, or drop it.")));
}
