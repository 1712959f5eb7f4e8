/*-------------------------------------------------------------------------
 *
 * qam_heap.h
 *	  How the row of a slot stands.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_HEAP_H
#define QAM_HEAP_H

#include "access/htup.h"
#include "storage/buf.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* How the row of a slot stands */
typedef enum QamRowState
{
	QAM_ROW_GONE,				/* deleted by a committed, or inserted by an
								 * aborted transaction, or moved by UPDATE */
	QAM_ROW_BUSY,				/* insert, delete or row lock in progress */
	QAM_ROW_OWN_DELETE,			/* deleted by this transaction */
	QAM_ROW_OWN_UPDATE,			/* HOT-updated by this transaction */
	QAM_ROW_LIVE
} QamRowState;

typedef struct QamRow
{
	QamRowState state;
	bool		locked_only;	/* BUSY for a row lock alone */
	bool		inserting;		/* BUSY, as it is being inserted */
	bool		deleted;		/* GONE, OWN_DELETE: the row is still there to
								 * say so; otherwise an UPDATE may have moved
								 * it, to a slot of its own */
	TransactionId xid;			/* BUSY, OWN_xxx: whose doing, if it is one's.
								 * GONE: the same, or invalid if that is so
								 * long ago that every snapshot sees it */
	ItemPointerData tid;		/* unless GONE: the version meant */
	HeapTupleData tuple;		/* likewise; points into the page */
} QamRow;

extern void qam_judge(Relation heap, Buffer heap_buffer, ItemPointer tid, QamRow *row);
extern bool qam_row_visible(const QamRow *row, Snapshot snapshot);
extern bool qam_xid_visible(uint64 fullxid, Snapshot snapshot);
extern int	qam_max_pins(void);

#endif							/* QAM_HEAP_H */
