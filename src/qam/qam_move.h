/*-------------------------------------------------------------------------
 *
 * qam_move.h
 *	  Slots on their way out of the schedule.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_MOVE_H
#define QAM_MOVE_H

#include "qam/qam_copy.h"
#include "qam/qam_xlog.h"

/* Heap pages that a move keeps pinned at a time */
#define QAM_MOVE_PINS		128

/* Some slots of a page, to be moved together */
typedef struct QamMove
{
	Relation	heap;
	Relation	index;
	QamCopiedPage *from;		/* copy of the page they come from; pinned */
	int			nslots;
	uint16		slots[(BLCKSZ / sizeof(QamSlot)) + 1];	/* in the order in which
														 * they go */
	int			npins;
	Buffer		pins[QAM_MOVE_PINS];	/* heap pages of their rows */
	uint8		pin_of[(BLCKSZ / sizeof(QamSlot)) + 1]; /* for each slot, its
														 * page in pins */

	/* set by qam_move_judge, for qam_move_log */
	int			nmoved;			/* slots that go to the other page */
	QamSlot		moved[(BLCKSZ / sizeof(QamSlot)) + 1];
	int			nleaving;		/* those, and slots whose rows are gone */
	uint16		leaving[(BLCKSZ / sizeof(QamSlot)) + 1];
} QamMove;

/* The source of a slot that goes from the schedule to its group */
typedef struct QamSource
{
	QamMove    *move;			/* of this slot alone */
	QamSlot		slot;			/* as it is now; set by qam_source_lock */
} QamSource;

typedef enum QamSourceState
{
	QAM_SOURCE_READY,
	QAM_SOURCE_BUSY,
	QAM_SOURCE_GONE
} QamSourceState;

extern void qam_move_pin(QamMove *move);
extern void qam_move_unpin(QamMove *move);
extern bool qam_move_from(QamMove *move, const QamLink *link);
extern bool qam_move_wait(QamMove *move);
extern bool qam_move_emptied(QamMove *move);
extern bool qam_move_judge(QamMove *move, int room);
extern void qam_move_log(QamMove *move, QamLog *log);

extern QamSourceState qam_source_lock(Relation index, QamSource *source);
extern bool qam_source_wait(QamSource *source);
extern void qam_source_log(QamLog *log, QamSource *source);
extern void qam_source_unlock(QamSource *source);

#endif							/* QAM_MOVE_H */
