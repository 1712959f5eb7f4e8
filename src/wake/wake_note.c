/*-------------------------------------------------------------------------
 *
 * wake_note.c
 *	  What the current transaction does to queues that others wait for.
 *
 * It notes that as it goes, and wakes them when it has ended.  Notes are a few
 * words in a fixed place: to take one costs next to nothing and cannot fail, and
 * at the end of a transaction nothing may.
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

/* Queues, at each level of subtransactions, that a transaction keeps apart */
#define WAKE_NOTES			64

static WakeNote notes[WAKE_NOTES];
static int	nnotes = 0;
static bool overflow = false;	/* there were more */

static object_access_hook_type next_object_access_hook = NULL;

static WakeNote *note_for(Oid relid);
static WakeNote *find_note(Oid relid, int nest_level);
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
 * once_wake_init hooks into all that wakes.
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
 * once_wake_note_sent notes that messages have been inserted.  due: when they will be
 * ready, or 0.
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
 * once_wake_note_claimed notes that messages have been claimed by this transaction:
 * they come back if it fails.  group: if it does not, the next ones of their groups
 * may be ready.
 */
void
once_wake_note_claimed(Oid relid, bool group)
{
	WakeNote   *note = note_for(relid);

	if (note == NULL)
		return;
	note->claimed = true;
	note->look |= group;
}

/*
 * once_wake_note_look notes that something will be ready when this transaction has
 * committed.
 */
void
once_wake_note_look(Oid relid)
{
	WakeNote   *note = note_for(relid);

	if (note != NULL)
		note->look = true;
}

/*
 * once_wake_note_all notes that all who wait for a queue are concerned.
 */
void
once_wake_note_all(Oid relid)
{
	WakeNote   *note = note_for(relid);

	if (note != NULL)
		note->all = true;
}

/*
 * note_for returns the note of a queue, of the current subtransaction, or NULL if
 * there is no table of those who wait, or no room.
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
 * level_commit leaves the notes of a subtransaction to its parent.
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
		if (into == NULL)
		{
			notes[kept++] = note;
			continue;
		}
		into->sent += Min(note.sent, PG_UINT32_MAX - into->sent);
		into->due = Min(into->due, note.due);
		into->look |= note.look;
		into->all |= note.all;
		into->claimed |= note.claimed;
	}
	nnotes = kept;
}

/*
 * level_abort wakes for what a subtransaction had claimed, and forgets what it has
 * done.
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
 * end_transaction wakes, now that the transaction has ended for all to see.
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
 * wake_object_access notes the drop of a table that somebody waits for.  It is locked
 * by then: who comes later waits for the lock, and finds it gone.
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
