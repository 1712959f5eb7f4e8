/*-------------------------------------------------------------------------
 *
 * queue_grant.c
 *	  grant_queue and revoke_queue: rights on a queue's table, named by their
 *	  purpose.
 *
 * They execute GRANT and REVOKE as the caller, so the rules of these commands
 * apply: who may grant what, and that a role revokes only what it has granted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "meta/meta_catalog.h"
#include "meta/meta_role.h"
#include "once_args.h"
#include "queue/queue_archive.h"
#include "queue/queue_args.h"
#include "queue/queue_open.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rel.h"

/* A use of a queue that can be granted */
typedef struct Use
{
	const char *name;
	OnceAccess	access;
	const char *privileges[2];	/* on the table */
	bool		archive;		/* SELECT on the archive as well */
} Use;

static const Use uses[] = {
	{"produce", ONCE_TO_GRANT_PRODUCE, {"INSERT", NULL}, false},
	{"consume", ONCE_TO_GRANT_CONSUME, {"SELECT", "DELETE"}, false},
	{"observe", ONCE_TO_GRANT_OBSERVE, {"SELECT", NULL}, true}
};

PG_FUNCTION_INFO_V1(once_grant_queue);
PG_FUNCTION_INFO_V1(once_revoke_queue);

static void change_grants(FunctionCallInfo fcinfo, bool grant, const char *verb);
static void change_archive(const OnceQueue *queue, bool grant, const char *role);
static const Use *arg_use(FunctionCallInfo fcinfo, int argno);

/*
 * once.grant_queue: lets a role use a queue.
 */
Datum
once_grant_queue(PG_FUNCTION_ARGS)
{
	change_grants(fcinfo, true, "once.grant_queue()");
	PG_RETURN_VOID();
}

/*
 * once.revoke_queue: takes back what grant_queue has given.
 */
Datum
once_revoke_queue(PG_FUNCTION_ARGS)
{
	change_grants(fcinfo, false, "once.revoke_queue()");
	PG_RETURN_VOID();
}

/*
 * change_grants does the work of grant_queue and revoke_queue.
 *
 * If two commands change the rights on one table at the same time, one of them
 * fails.  once_options_lock makes calls of these functions wait for each
 * other.
 */
static void
change_grants(FunctionCallInfo fcinfo, bool grant, const char *verb)
{
	char	   *name = once_queue_arg_name(fcinfo, 0);
	char	   *role = once_arg_role(fcinfo, 1);
	const Use  *use = arg_use(fcinfo, 2);
	const char *table;
	OnceQueue	queue;
	int			i;

	once_queue_open(&queue, name, use->access, verb);
	once_options_lock(ONCE_QUEUE_PREFIX, name);
	table = quote_qualified_identifier(ONCE_SCHEMA, RelationGetRelationName(queue.heap));
	for (i = 0; i < lengthof(use->privileges) && use->privileges[i] != NULL; i++)
		once_role_grant(grant, use->privileges[i], table, role);
	if (use->archive)
		change_archive(&queue, grant, role);
	once_queue_close(&queue);
}

/*
 * change_archive grants SELECT on the archive of a queue, or revokes it, if
 * the queue has an archive.  An archive of another owner is not that of this
 * queue: an earlier queue of the name has left it.
 */
static void
change_archive(const OnceQueue *queue, bool grant, const char *role)
{
	const char *name = once_queue_name(queue);
	Oid			archive = once_archive_oid(name);

	if (!OidIsValid(archive) ||
		once_role_owner(archive) != queue->heap->rd_rel->relowner)
		return;
	if (!once_role_may_grant(archive, ACL_SELECT))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for archive of queue \"%s\"", name),
				 errdetail("This requires the grant option for SELECT on table %s.",
						   once_archive_table(name))));
	once_role_grant(grant, "SELECT", once_archive_table(name), role);
}

static const Use *
arg_use(FunctionCallInfo fcinfo, int argno)
{
	char	   *word;
	int			i;

	if (PG_ARGISNULL(argno))
		once_arg_refuse_null("what");
	word = text_to_cstring(PG_GETARG_TEXT_PP(argno));
	for (i = 0; i < lengthof(uses); i++)
	{
		if (strcmp(word, uses[i].name) == 0)
			return &uses[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("what must be \"produce\", \"consume\" or \"observe\""),
			 errdetail("The value given is \"%s\".", word)));
	return NULL;				/* keep compiler quiet */
}
