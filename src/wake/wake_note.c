/*-------------------------------------------------------------------------
 *
 * wake_note.c
 *	  What the current transaction does to queues that others wait for.
 *
 * What it does is noted, and waiters are woken when the transaction has ended.
 * Notes are in a fixed array.  So taking a note costs next to nothing, and no
 * error can be raised when the transaction has ended.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "utils/timestamp.h"
#include "wake/wake.h"
#include "wake/wake_prepared.h"
#include "wake/wake_table.h"
#include "wake/wake_waiter.h"

/*
 * The most notes of a transaction.  Each is of one queue and one level of
 * subtransactions.
 */
#define WAKE_NOTES			64

static WakeNote notes[WAKE_NOTES];
static int	nnotes = 0;
static bool overflow = false;	/* was there no room for another? */

static object_access_hook_type next_object_access_hook = NULL;

static WakeNote *note_for(Oid relid);
static WakeNote *find_note(Oid relid, int nest_level);
static void merge_note(WakeNote *into, const WakeNote *from);
static void level_commit(int nest_level);
static void level_abort(int nest_level);
static void end_transaction(bool committed);
static void forget_all(void);
static void wake_object_access(ObjectAccessType access, Oid class_id, Oid object_id,
							   int sub_id, void *arg);
static void wake_xact_callback(XactEvent event, void *arg);
static void wake_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
								  SubTransactionId parentSubid, void *arg);

/*
 * once_wake_init registers for the events after which waiters are woken.
 */
void
once_wake_init(void)
{
	once_wake_table_init();
	once_wake_prepared_init();
	next_object_access_hook = object_access_hook;
	object_access_hook = wake_object_access;
	RegisterXactCallback(wake_xact_callback, NULL);
	RegisterSubXactCallback(wake_subxact_callback, NULL);
}

/*
 * once_wake_note_sent notes that n messages have been inserted.  due: when
 * they become ready, or 0 if they are ready when the transaction has committed.
 */
void
once_wake_note_sent(Oid relid, uint32 n, TimestampTz due)
{
	WakeNote   *note = note_for(relid);

	if (note == NULL)
		return;
	if (due != 0)
		note->due = Min(note->due, due);
	else
		note->sent += Min(n, PG_UINT32_MAX - note->sent);
}

/*
 * once_wake_note_look notes that messages may be ready when the transaction has
 * committed, when it has rolled back, or in both cases.
 */
void
once_wake_note_look(Oid relid, int when)
{
	WakeNote   *note = note_for(relid);

	if (note != NULL)
		note->look |= when;
}

/*
 * once_wake_note_all notes that all waiters of a queue must look when the
 * transaction has committed.
 */
void
once_wake_note_all(Oid relid)
{
	WakeNote   *note = note_for(relid);

	if (note != NULL)
		note->all = true;
}

/*
 * note_for returns the note of a queue at the current level of subtransactions.
 * NULL: there is no table of waiters, or no room for another note.
 */
static WakeNote *
note_for(Oid relid)
{
	int			nest_level = GetCurrentTransactionNestLevel();
	WakeNote   *note;

	if (nnotes > 0 && notes[nnotes - 1].relid == relid &&
		notes[nnotes - 1].nest_level == nest_level)
		return &notes[nnotes - 1];
	if (!once_wake_table_attach())
		return NULL;
	note = find_note(relid, nest_level);
	if (note != NULL)
		return note;
	if (nnotes == WAKE_NOTES)
	{
		overflow = true;
		return NULL;
	}
	note = &notes[nnotes++];
	memset(note, 0, sizeof(WakeNote));
	note->relid = relid;
	note->nest_level = nest_level;
	note->due = DT_NOEND;
	return note;
}

static WakeNote *
find_note(Oid relid, int nest_level)
{
	int			i;

	for (i = nnotes - 1; i >= 0; i--)
	{
		if (notes[i].relid == relid && notes[i].nest_level == nest_level)
			return &notes[i];
	}
	return NULL;
}

/*
 * merge_note adds what one note tells to another one of the same queue.
 */
static void
merge_note(WakeNote *into, const WakeNote *from)
{
	into->sent += Min(from->sent, PG_UINT32_MAX - into->sent);
	into->due = Min(into->due, from->due);
	into->look |= from->look;
	into->all |= from->all;
}

/*
 * level_commit gives the notes of a subtransaction to its parent.
 */
static void
level_commit(int nest_level)
{
	int			kept = 0;
	int			i;

	for (i = 0; i < nnotes; i++)
	{
		WakeNote	note = notes[i];
		WakeNote   *into = NULL;

		if (note.nest_level >= nest_level)
		{
			into = find_note(note.relid, nest_level - 1);
			note.nest_level = nest_level - 1;
		}
		if (into != NULL)
			merge_note(into, &note);
		else
			notes[kept++] = note;
	}
	nnotes = kept;
}

/*
 * level_abort wakes for what a subtransaction did that has rolled back, and
 * removes its notes.
 */
static void
level_abort(int nest_level)
{
	int			kept = 0;
	int			i;

	for (i = 0; i < nnotes; i++)
	{
		if (notes[i].nest_level >= nest_level)
			once_wake_by_note(&notes[i], false);
		else
			notes[kept++] = notes[i];
	}
	nnotes = kept;
}

/*
 * end_transaction wakes for what the transaction did.  It has ended, and
 * snapshots see that.
 */
static void
end_transaction(bool committed)
{
	int			i;

	for (i = 0; i < nnotes; i++)
		once_wake_by_note(&notes[i], committed);
	if (overflow)
		once_wake_database();
}

static void
forget_all(void)
{
	nnotes = 0;
	overflow = false;
	once_wake_prepared_forget_name();
}

/*
 * wake_object_access notes that a table is dropped that somebody waits for.
 * The table is locked by now.  So a waiter that comes later waits for the lock,
 * and finds the table gone.
 */
static void
wake_object_access(ObjectAccessType access, Oid class_id, Oid object_id,
				   int sub_id, void *arg)
{
	if (next_object_access_hook != NULL)
		next_object_access_hook(access, class_id, object_id, sub_id, arg);

	if (access == OAT_DROP && class_id == RelationRelationId && sub_id == 0 &&
		once_wake_table_attach() && once_wake_anybody(object_id))
		once_wake_note_all(object_id);
}

static void
wake_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			end_transaction(true);
			forget_all();
			break;
		case XACT_EVENT_ABORT:
			once_wake_waiter_abort(0);
			end_transaction(false);
			forget_all();
			break;
		case XACT_EVENT_PREPARE:
			once_wake_prepared_keep(notes, nnotes, overflow);
			forget_all();
			break;
		default:
			break;
	}
}

static void
wake_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
					  SubTransactionId parentSubid, void *arg)
{
	switch (event)
	{
		case SUBXACT_EVENT_COMMIT_SUB:
			level_commit(GetCurrentTransactionNestLevel());
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			once_wake_waiter_abort(GetCurrentTransactionNestLevel());
			level_abort(GetCurrentTransactionNestLevel());
			break;
		default:
			break;
	}
}
