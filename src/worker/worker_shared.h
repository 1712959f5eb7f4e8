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

/* More databases than this one server's launcher does not see to */
#define ONCE_MAX_DATABASES		1024

/* The workers of all databases whose figures are kept */
#define ONCE_MAX_RECORDS		1024

/* A database, as the launcher sees it */
typedef struct OnceDatabase
{
	Oid			oid;			/* InvalidOid: the entry is free */
	bool		seen;			/* the launcher's: it is still there */
	bool		busy;			/* a pass was started, and has not ended */
	pid_t		pid;			/* by this process, if that has begun */
	TimestampTz busy_since;
	TimestampTz next_at;		/* the next pass */
	int			absent;			/* so many passes in a row have not found the
								 * extension there */
	TimestampTz full_at;		/* when the last full pass began, */
	int64		full_took;		/* and how long it took; microseconds */
	pid_t		held_by;		/* a session that wants nobody in there, or 0 */
} OnceDatabase;

/* A background worker that consumes, started or about to be */
typedef struct OnceConsumer
{
	bool		used;
	Oid			database;
	NameData	name;			/* of the worker, as create_worker has it */
	int			nth;			/* of its processes, from 0 */
	Oid			role;
	NameData	queue;
	Oid			handler;
	int			max_messages;
	pid_t		pid;			/* or 0: it has not begun */
	Latch	   *latch;			/* of that process */
	bool		stop;			/* it is to end after its transaction */
	TimestampTz started_at;		/* when it was asked for */
} OnceConsumer;

#define ONCE_ERROR_SIZE			256

/* What has become of the processes of a worker, since the server was started */
typedef struct OnceRecord
{
	Oid			database;		/* InvalidOid: the entry is free */
	NameData	name;
	Oid			role;
	TimestampTz made_at;		/* when the worker was created: which of that name */
	int64		processed;		/* messages */
	int64		failed;
	char		last_error[ONCE_ERROR_SIZE];	/* empty: none */
	TimestampTz last_error_at;
	int			ended;			/* so many processes in a row have ended in an
								 * error */
	TimestampTz restart_at;		/* none is started before */
} OnceRecord;

typedef struct OnceShared
{
	LWLock	   *lock;			/* of all below */
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
extern void once_shared_poke(Oid database, TimestampTz at);
extern void once_shared_poke_at_commit(void);

#endif							/* WORKER_SHARED_H */
