/*-------------------------------------------------------------------------
 *
 * queue_dead.c
 *	  Where messages go that are not delivered any more, and what is left of
 *	  failed deliveries when a message is done.
 *
 * A consumer or maintain() that meets such a message takes it away.  The
 * claim, the deletion of the row and the dead letter are all part of its
 * transaction.  If that rolls back, the message is where it was, and still
 * dead.
 *
 * If the row cannot be deleted, or the letter cannot be stored, the message is
 * stuck: it stays where it is and is tried again after a pause.  The error is
 * stored in the same transaction, where the errors given to nack are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/htup_details.h"
#include "meta/meta_cache.h"
#include "meta/meta_dead.h"
#include "miscadmin.h"
#include "qam/qam.h"
#include "queue/queue_archive.h"
#include "queue/queue_dead.h"
#include "queue/queue_hold.h"
#include "queue/queue_open.h"
#include "queue/queue_row.h"
#include "queue/queue_try.h"
#include "stats/stats.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* An error that is to be stored */
typedef struct Note
{
	OnceQueue  *queue;
	const OnceMessageKey *key;
	Datum		error;
} Note;

static const char *reason(QamDeath death);
static void write_note(void *arg, int from, int to);
static void forgo_note(void *arg, int row, const ErrorData *error);

/*
 * once_dead_is_dropped tells whether a dead message leaves no letter.  Then
 * nothing of it needs to be read.
 */
bool
once_dead_is_dropped(const OnceQueue *queue, const QamClaimed *dead)
{
	return dead->death == QAM_DEAD_EXPIRED && queue->meta.drop_expired;
}

/*
 * once_dead_store makes a dead letter of a message whose row has been deleted,
 * in the table that the writer has open.  The tuple must be flat.  If the
 * message is to be dropped, no letter is made, and what was known of it is
 * deleted.
 */
void
once_dead_store(OnceQueue *queue, OnceDeadWriter *writer, const QamClaimed *dead)
{
	const char *name = once_queue_name(queue);
	OnceMessageKey key = once_row_key(queue, dead->tuple);
	Datum		values[Natts_dead_letter];
	bool		isnull[Natts_dead_letter] = {0};

	if (dead->death == QAM_DEAD_EXPIRED)
		once_stats_count(RelationGetRelid(queue->heap), ONCE_COUNT_EXPIRED, 1);
	if (once_dead_is_dropped(queue, dead))
	{
		if (dead->attempt > 0 || dead->stuck)
			once_failure_forget(name, &key);
		return;
	}

#define COPY_COLUMN(anum, col) \
	(values[(anum) - 1] = heap_getattr(dead->tuple, queue->meta.column[col], \
									   RelationGetDescr(queue->heap), \
									   &isnull[(anum) - 1]))

	values[Anum_dead_letter_queue - 1] = CStringGetTextDatum(name);
	values[Anum_dead_letter_id - 1] = Int64GetDatum(key.id);
	values[Anum_dead_letter_reason - 1] =
		CStringGetTextDatum(reason(dead->death));
	values[Anum_dead_letter_attempts - 1] = Int32GetDatum(dead->attempt);
	isnull[Anum_dead_letter_last_error - 1] = true;
	values[Anum_dead_letter_last_error - 1] = (Datum) 0;
	if (dead->attempt > 0)
		values[Anum_dead_letter_last_error - 1] =
			once_failure_last(name, &key, &isnull[Anum_dead_letter_last_error - 1]);
	values[Anum_dead_letter_dead_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	COPY_COLUMN(Anum_dead_letter_enqueued_at, ONCE_COL_ENQUEUED_AT);
	COPY_COLUMN(Anum_dead_letter_deliver_at, ONCE_COL_DELIVER_AT);
	COPY_COLUMN(Anum_dead_letter_expires_at, ONCE_COL_EXPIRES_AT);
	COPY_COLUMN(Anum_dead_letter_priority, ONCE_COL_PRIORITY);
	COPY_COLUMN(Anum_dead_letter_group_id, ONCE_COL_GROUP_ID);
	COPY_COLUMN(Anum_dead_letter_headers, ONCE_COL_HEADERS);
	COPY_COLUMN(Anum_dead_letter_payload, ONCE_COL_PAYLOAD);
	once_dead_letter_write(writer, values, isnull);
	once_stats_count(RelationGetRelid(queue->heap), ONCE_COUNT_DEAD_LETTERED, 1);
	if (dead->stuck)
		once_failure_forget_stuck(name, &key);
#undef COPY_COLUMN
}

/*
 * reason returns the text for a death in once.dead_letter.
 */
static const char *
reason(QamDeath death)
{
	switch (death)
	{
		case QAM_DEAD_EXPIRED:
			return "expired";
		case QAM_DEAD_REJECTED:
			return "rejected";
		default:
			return "attempts";
	}
}

/*
 * once_dead_note_stuck stores why a message is stuck and warns of it, unless
 * the same error is stored already.  It does not wait: if the table is locked,
 * it only warns.
 */
void
once_dead_note_stuck(OnceQueue *queue, const QamClaimed *message, const ErrorData *error)
{
	OnceMessageKey key = once_row_key(queue, message->tuple);
	Note		note = {.queue = queue,.key = &key,.error = CStringGetTextDatum(error->message)};
	OnceTry		try = {.work = write_note,.refused = forgo_note,.arg = &note};
	bool		isnull;
	Datum		known = once_failure_stuck(once_queue_name(queue), &key, &isnull);

	if (!isnull && strcmp(TextDatumGetCString(known), error->message) == 0)
		return;
	once_try(&try, 0, 1);
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("message " INT64_FORMAT " of queue \"%s\" is stuck: %s",
					key.id, once_queue_name(queue), error->message),
			 error->detail != NULL ? errdetail_internal("%s", error->detail) : 0,
			 error->hint != NULL ? errhint("%s", error->hint) : 0));
}

static void
write_note(void *arg, int from, int to)
{
	Note	   *note = arg;

	once_failure_write(once_queue_name(note->queue), note->key, ONCE_STUCK_ATTEMPT,
					   note->error, false);
}

static void
forgo_note(void *arg, int row, const ErrorData *error)
{
	/* The warning has been given, and will be given again */
}

/*
 * once_done_messages deals with what is left of messages that have been acked.
 * It deletes their failures, which do not exist before the second delivery,
 * and puts the messages into the archive.  hold: the hold that the messages
 * were claimed in, or NULL.
 */
void
once_done_messages(const OnceQueue *queue, const QamClaimed *messages, int n, OnceHold *hold)
{
	int			i;

	for (i = 0; i < n; i++)
	{
		if (messages[i].attempt > 1 || messages[i].stuck)
		{
			OnceMessageKey key = once_row_key(queue, messages[i].tuple);

			once_failure_forget(once_queue_name(queue), &key);
		}
	}
	once_archive_put(queue, messages, n, hold);
}
