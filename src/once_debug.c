/*-------------------------------------------------------------------------
 *
 * once_debug.c
 *	  What tests need: debug points, which are named places where a test can
 *	  hold a backend still, and a key for groups that is known beforehand.
 *
 * A test proves that a race is handled by holding one side at the worst moment
 * and letting the other one act.  The isolation tester notices waits for
 * heavyweight locks and no others.  So a debug point waits for an advisory lock,
 * which it takes in share mode and releases at once.
 *
 * In a session that does not name a point, a debug point costs a test of two
 * variables.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "miscadmin.h"
#include "once_debug.h"
#include "storage/lock.h"
#include "utils/guc.h"

bool		once_debug_group_key = false;
char	   *once_debug_point_name = NULL;

/*
 * once_debug_init defines the settings.  It must come before the prefix of our
 * settings is reserved.
 */
void
once_debug_init(void)
{
	DefineCustomBoolVariable("once.debug_group_key",
							 "Gives the queue indexes that the session builds a group key of zeros.",
							 "Meant for the extension's own tests.",
							 &once_debug_group_key,
							 false,
							 PGC_SUSET,
							 GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							 NULL, NULL, NULL);

	DefineCustomStringVariable("once.debug_point",
							   "Names the place where the session waits for a test.",
							   "Meant for the extension's own tests.",
							   &once_debug_point_name,
							   "",
							   PGC_SUSET,
							   GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							   NULL, NULL, NULL);
}

/*
 * once_debug_hold waits for the advisory lock if once.debug_point is set to this
 * name.
 *
 * The lock is a session's lock, not a transaction's.  So it belongs to no resource
 * owner and leaves no trace.
 */
void
once_debug_hold(const char *name)
{
	LOCKTAG		tag;

	if (strcmp(once_debug_point_name, name) != 0)
		return;

	Assert(INTERRUPTS_CAN_BE_PROCESSED());
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, ONCE_DEBUG_LOCK_KEY1,
						 ONCE_DEBUG_LOCK_KEY2, 2);
	(void) LockAcquire(&tag, ShareLock, true, false);
	LockRelease(&tag, ShareLock, true);
}
