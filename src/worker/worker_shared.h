/*-------------------------------------------------------------------------
 *
 * worker_shared.h
 *	  What the launcher, its workers and sessions know of each other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_SHARED_H
#define WORKER_SHARED_H

#include "datatype/timestamp.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

/* The launcher maintains no more databases than this */
#define ONCE_MAX_DATABASES		1024

/* Workers of all databases for which figures are kept */
#define ONCE_MAX_RECORDS		1024

/* A database, as the launcher sees it */
typedef struct OnceDatabase
{
	Oid			oid;			/* InvalidOid: the entry is free */
	bool		seen;			/* the launcher has seen that the database
								 * exists and may be maintained */
	bool		busy;			/* a pass was started and has not ended */
	pid_t		pid;			/* of the pass, or 0 if it has not begun */
	TimestampTz busy_since;
	TimestampTz next_at;		/* when the next pass is due by the interval */
	TimestampTz asked_at;		/* when somebody needs one, or DT_NOEND */
	int			absent;			/* passes in a row that have not found the
								 * extension */
	TimestampTz full_at;		/* when the last full pass began */
	int64		full_took;		/* how long it took; microseconds */
	pid_t		held_by;		/* session whose command needs the database
								 * for itself, or 0 */
} OnceDatabase;

/* A process of a worker, started or about to be */
typedef struct OnceConsumer
{
	bool		used;
	Oid			database;
	NameData	name;			/* of the worker */
	int			nth;			/* number among its processes, from 0 */
	Oid			role;
	NameData	queue;
	Oid			handler;
	int			max_messages;
	pid_t		pid;			/* or 0 if it has not begun */
	Latch	   *latch;			/* of that process */
	bool		stop;			/* it is to end */
	TimestampTz started_at;		/* when it was asked for */
} OnceConsumer;

#define ONCE_ERROR_SIZE			256

/* What is known of a worker since the server was started */
typedef struct OnceRecord
{
	Oid			database;		/* InvalidOid: the entry is free */
	NameData	name;
	Oid			role;
	TimestampTz made_at;		/* created_at of the worker, to tell it from
								 * others of its name */
	int64		processed;		/* messages */
	int64		failed;
	char		last_error[ONCE_ERROR_SIZE];	/* empty: none */
	TimestampTz last_error_at;
	int			ended;			/* processes in a row that have ended in an
								 * error */
	TimestampTz restart_at;		/* no process is started before */
} OnceRecord;

typedef struct OnceShared
{
	LWLock	   *lock;			/* protects all of this */
	TimestampTz started_at;
	pid_t		launcher;		/* or 0 */
	Latch	   *launcher_latch;
	OnceDatabase databases[ONCE_MAX_DATABASES];
	OnceRecord	records[ONCE_MAX_RECORDS];
	int			nconsumers;		/* max_worker_processes */
	OnceConsumer consumers[FLEXIBLE_ARRAY_MEMBER];
} OnceShared;

/* NULL: the library was not preloaded */
extern OnceShared *once_shared;

extern void once_shared_init(void);
extern OnceDatabase *once_shared_database(Oid oid, bool make);
extern OnceRecord *once_shared_record(Oid database, const char *name, bool make);
extern void once_shared_wake_launcher(void);
extern void once_shared_stop(OnceConsumer *consumer);
extern void once_shared_poke(Oid database, TimestampTz at);
extern void once_shared_poke_at_commit(void);

#endif							/* WORKER_SHARED_H */
