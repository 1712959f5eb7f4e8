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

/* Heap pages pinned at a time by a move */
#define QAM_MOVE_PINS		128

/* Some slots of a page that are to be moved together */
typedef struct QamMove
{
	Relation	heap;
	Relation	index;
	QamCopiedPage *from;		/* as it was; pinned */
	int			nslots;
	uint16		slots[(BLCKSZ / sizeof(QamSlot)) + 1];	/* in the order wanted */
	int			npins;
	Buffer		pins[QAM_MOVE_PINS];	/* their rows' pages */
	uint8		pin_of[(BLCKSZ / sizeof(QamSlot)) + 1]; /* per slot */

	/* set by qam_move_judge, for qam_move_log */
	int			nmoved;
	QamSlot		moved[(BLCKSZ / sizeof(QamSlot)) + 1];
	int			nleaving;
	uint16		leaving[(BLCKSZ / sizeof(QamSlot)) + 1];
} QamMove;

/* Where a slot comes from that goes from the schedule to its group */
typedef struct QamSource
{
	QamMove    *move;			/* of this slot alone */
	QamSlot		slot;			/* as it is now, once ready */
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
