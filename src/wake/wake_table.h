/*-------------------------------------------------------------------------
 *
 * wake_table.h
 *	  The table of waiters, in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WAKE_TABLE_H
#define WAKE_TABLE_H

#include "datatype/timestamp.h"

/* What a waiter is woken for */
typedef enum WakeKind
{
	WAKE_NONE,
	WAKE_COUNTED,				/* there are messages, so many for it */
	WAKE_TO_LOOK				/* there may be some; nobody has counted */
} WakeKind;

typedef struct WakeUp
{
	WakeKind	kind;
	int			messages;		/* if they were counted */
} WakeUp;

extern const WakeUp once_wake_nothing;

/* What a transaction has done to a queue that others may wait for */
typedef struct WakeNote
{
	Oid			relid;
	int			nest_level;
	uint32		sent;			/* messages that are ready at commit */
	TimestampTz due;			/* when the first of the others becomes ready,
								 * or DT_NOEND */
	int			look;			/* ONCE_WAKE_AT_COMMIT, ONCE_WAKE_AT_ABORT:
								 * something else may be ready then */
	bool		all;			/* at commit, all waiters must look */
} WakeNote;

/* The notes of a prepared transaction, with room for so many */
#define WAKE_PREPARED_NOTES	8

typedef struct WakePrepared
{
	uint64		gid;			/* hash of its name; 0: not in use */
	Oid			database;
	bool		overflow;		/* there were more notes */
	int			nnotes;
	WakeNote	notes[WAKE_PREPARED_NOTES];
} WakePrepared;

extern void once_wake_table_init(void);
extern bool once_wake_table_attach(void);
extern bool once_wake_table_exists(void);
extern void once_wake_by_note(const WakeNote *note, bool committed);
extern void once_wake_database(void);
extern void once_wake_next(Oid relid, WakeUp woken);
extern bool once_wake_anybody(Oid relid);

/* Entries are known by their numbers; -1: no entry */
extern int	once_wake_entry_add(Oid relid);
extern void once_wake_entry_set_room(int entry, int room);
extern void once_wake_entry_remove(int entry, WakeUp *woken, TimestampTz *look_at);
extern WakeUp once_wake_entry_take(int entry, TimestampTz *look_at);
extern void once_wake_entry_set_time(int entry, TimestampTz look_at);
extern WakeKind once_wake_entry_read(int entry, TimestampTz *look_at);
extern bool once_wake_entry_has_room(int entry);

extern void once_wake_prepared_put(const WakePrepared *prepared);
extern bool once_wake_prepared_take(uint64 gid, WakePrepared *prepared);

#endif							/* WAKE_TABLE_H */
