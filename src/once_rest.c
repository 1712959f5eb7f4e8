/*-------------------------------------------------------------------------
 *
 * once_rest.c
 *	  Queues and databases in which no work is due until somebody does something.
 *
 * A queue rests if nothing in it becomes due by time alone, for maintenance that does
 * not look at every message.  A database rests if all of its queues do, and if there is
 * nothing else in it that does not.  worker/README tells what that means.  A pass that
 * finds that something rests notes it here, in shared memory, so that later passes can
 * leave it out.
 *
 * The pass:          1. once_rest_begin
 *                    2. looks; it finds that nothing will become due
 *                    3. once_rest_settle
 *
 * Everybody else:    1. does what will become due, such as adding a message for later
 *                    2. once_rest_end
 *
 * The second steps of both use the same lock, that of a page.  So either the pass sees
 * what the other has done, or once_rest_end comes after once_rest_begin, and then nothing
 * is noted.  What is seen only after the commit uses once_rest_end_at_commit.
 *
 * There are few places, and a queue or database has only one that it may use.  If
 * another takes that place, nothing is known of the first, and passes look at it.
 *
 * A queue is known by the oid of its table.  A database has InvalidOid instead.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "once_rest.h"
#include "once_shmem.h"
#include "port/atomics.h"

#define QUEUE_PLACES		4096
#define DATABASE_PLACES		1024

/*
 * What a place contains: the database, as much of the table's oid as the number of the
 * place does not tell, and one of these.  Or zero.
 */
#define BEGUN				UINT64CONST(1)	/* a pass is looking */
#define RESTS				UINT64CONST(2)
#define OID_SHIFT			2
#define DATABASE_SHIFT		32

typedef struct RestPlaces
{
	pg_atomic_uint64 queues[QUEUE_PLACES];
	pg_atomic_uint64 databases[DATABASE_PLACES];
} RestPlaces;

/* NULL: the library was not preloaded */
static RestPlaces *places = NULL;

static bool ends_at_commit = false;

static Size places_size(void);
static void attach(void *memory, LWLock *lock, bool made);
static pg_atomic_uint64 *find(Oid database, Oid relid, uint64 *key);
static void end_one(Oid relid);
static void end_all(void);
static void at_end_of_transaction(XactEvent event, void *arg);

/*
 * once_rest_init requests the memory, if the library is preloaded.
 */
void
once_rest_init(void)
{
	static const OnceShmem piece = {
		.name = "pg_once rest",.size = places_size,.attach = attach
	};

	if (once_shmem_add(&piece))
		RegisterXactCallback(at_end_of_transaction, NULL);
}

static Size
places_size(void)
{
	return sizeof(RestPlaces);
}

static void
attach(void *memory, LWLock *lock, bool made)
{
	int			i;

	places = memory;
	if (!made)
		return;
	for (i = 0; i < QUEUE_PLACES; i++)
		pg_atomic_init_u64(&places->queues[i], 0);
	for (i = 0; i < DATABASE_PLACES; i++)
		pg_atomic_init_u64(&places->databases[i], 0);
}

/*
 * once_rest_begin is called before a look that may find that a queue of this database,
 * or the database, rests.
 */
void
once_rest_begin(Oid relid)
{
	uint64		key;
	pg_atomic_uint64 *place = find(MyDatabaseId, relid, &key);

	/* This is a full barrier */
	if (place != NULL)
		(void) pg_atomic_exchange_u64(place, key | BEGUN);
}

/*
 * once_rest_settle notes that a queue or this database rests, unless anybody has called
 * once_rest_end since once_rest_begin.
 */
void
once_rest_settle(Oid relid)
{
	uint64		key;
	pg_atomic_uint64 *place = find(MyDatabaseId, relid, &key);
	uint64		expected;

	if (place == NULL)
		return;
	expected = key | BEGUN;
	(void) pg_atomic_compare_exchange_u64(place, &expected, key | RESTS);
}

/*
 * once_rest_is tells whether a queue or database is known to rest.
 */
bool
once_rest_is(Oid database, Oid relid)
{
	uint64		key;
	pg_atomic_uint64 *place = find(database, relid, &key);

	return place != NULL && pg_atomic_read_u64(place) == (key | RESTS);
}

/*
 * once_rest_end is called after something was done in a queue, or in this database,
 * that will become due.  The database does not rest either.
 */
void
once_rest_end(Oid relid)
{
	if (places == NULL)
		return;
	pg_memory_barrier();
	if (OidIsValid(relid))
		end_one(relid);
	end_one(InvalidOid);
}

/*
 * once_rest_end_at_commit does the same for all queues of this database when the
 * current transaction has committed.
 */
void
once_rest_end_at_commit(void)
{
	ends_at_commit = places != NULL;
}

/*
 * find returns the place of a queue or database, and what it contains for it, without
 * the lowest bits.  NULL: there are no places.
 */
static pg_atomic_uint64 *
find(Oid database, Oid relid, uint64 *key)
{
	*key = (uint64) database << DATABASE_SHIFT |
		(uint64) (relid / QUEUE_PLACES) << OID_SHIFT;
	if (places == NULL)
		return NULL;
	if (!OidIsValid(relid))
		return &places->databases[database % DATABASE_PLACES];
	return &places->queues[(relid + database) % QUEUE_PLACES];
}

static void
end_one(Oid relid)
{
	uint64		key;
	pg_atomic_uint64 *place = find(MyDatabaseId, relid, &key);
	uint64		found = pg_atomic_read_u64(place);

	while (found == (key | RESTS) || found == (key | BEGUN))
		if (pg_atomic_compare_exchange_u64(place, &found, 0))
			break;
}

/*
 * end_all ends the rest of this database and of all of its queues.
 */
static void
end_all(void)
{
	int			i;

	pg_memory_barrier();
	for (i = 0; i < QUEUE_PLACES; i++)
	{
		uint64		found = pg_atomic_read_u64(&places->queues[i]);

		while (found >> DATABASE_SHIFT == MyDatabaseId)
			if (pg_atomic_compare_exchange_u64(&places->queues[i], &found, 0))
				break;
	}
	once_rest_end(InvalidOid);
}

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (!ends_at_commit)
		return;
	if (event == XACT_EVENT_COMMIT)
		end_all();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		ends_at_commit = false;
}
