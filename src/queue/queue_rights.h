/*-------------------------------------------------------------------------
 *
 * queue_rights.h
 *	  Who may do what with a queue.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_RIGHTS_H
#define QUEUE_RIGHTS_H

/*
 * What a verb is about to do, which decides what rights and what lock it needs
 */
typedef enum OnceAccess
{
	ONCE_TO_SEND,				/* INSERT; RowExclusiveLock */
	ONCE_TO_CONSUME,			/* SELECT and DELETE; RowExclusiveLock */
	ONCE_TO_REDRIVE,			/* INSERT, SELECT and DELETE; RowExclusiveLock */
	ONCE_TO_OBSERVE,			/* SELECT; AccessShareLock */
	ONCE_TO_COUNT,				/* SELECT, or membership in pg_monitor;
								 * AccessShareLock */
	ONCE_TO_RESET,				/* ownership; AccessShareLock */
	ONCE_TO_VERIFY,				/* SELECT, and UPDATE, DELETE or TRUNCATE;
								 * ShareLock */
	ONCE_TO_GRANT_PRODUCE,		/* INSERT WITH GRANT OPTION; AccessShareLock */
	ONCE_TO_GRANT_CONSUME,		/* SELECT and DELETE WITH GRANT OPTION;
								 * AccessShareLock */
	ONCE_TO_GRANT_OBSERVE,		/* SELECT WITH GRANT OPTION; AccessShareLock */
	ONCE_TO_ALTER,				/* ownership; AccessShareLock */
	ONCE_TO_ADOPT,				/* the same, even if the table was made under
								 * another name */
	ONCE_TO_PURGE,				/* ownership; RowExclusiveLock */
	ONCE_TO_RELEASE,			/* the same, but nothing is deleted */
	ONCE_TO_DROP				/* ownership; AccessExclusiveLock */
} OnceAccess;

extern bool once_rights_check(Oid relid, OnceAccess access);
extern bool once_rights_wants_index(OnceAccess access);
extern bool once_rights_may_count(Oid relid);
extern bool once_rights_is_owner(Oid relid);

#endif							/* QUEUE_RIGHTS_H */
