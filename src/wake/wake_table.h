/*-------------------------------------------------------------------------
 *
 * wake_table.h
 *	  The table of those who wait, in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WAKE_TABLE_H
#define WAKE_TABLE_H

#include "datatype/timestamp.h"

/* What a waiter is woken for; what somebody wakes others for */
typedef enum WakeKind
{
	WAKE_NONE,
	WAKE_FOR_ONE,				/* there is a message for each that is woken */
	WAKE_TO_LOOK				/* there may be some, nobody has counted */
} WakeKind;

/* What a transaction has done to a queue that others wait for */
typedef struct WakeNote
{
	Oid			relid;
	int			nest_level;
	uint32		sent;			/* at commit: messages that are ready, */
	TimestampTz due;			/* when the first other one is, or DT_NOEND, */
	bool		look;			/* something else is ready, */
	bool		all;			/* or everybody is concerned */
	bool		claimed;		/* at abort: something may be ready again */
} WakeNote;

/* The notes of a transaction that has been prepared; room for so many queues */
#define WAKE_PREPARED_NOTES	8

typedef struct WakePrepared
{
	uint64		gid;			/* a hash; 0: not in use */
	Oid			database;
	bool		overflow;		/* there was no room for all */
	int			nnotes;
	WakeNote	notes[WAKE_PREPARED_NOTES];
} WakePrepared;

extern void once_wake_table_init(void);
extern bool once_wake_table_attach(void);
extern bool once_wake_table_exists(void);
extern void once_wake_by_note(const WakeNote *note, bool committed);
extern void once_wake_database(void);
extern void once_wake_next(Oid relid, WakeKind kind);
extern bool once_wake_anybody(Oid relid);

/* Entries, by number; -1: there is none left */
extern int	once_wake_entry_add(Oid relid);
extern void once_wake_entry_remove(int entry, WakeKind *woken, TimestampTz *look_at);
extern WakeKind once_wake_entry_take(int entry, TimestampTz *look_at);
extern void once_wake_entry_set_time(int entry, TimestampTz look_at);
extern WakeKind once_wake_entry_read(int entry, TimestampTz *look_at);

extern void once_wake_prepared_put(const WakePrepared *prepared);
extern bool once_wake_prepared_take(uint64 gid, WakePrepared *prepared);

#endif							/* WAKE_TABLE_H */
