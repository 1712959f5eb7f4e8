/*-------------------------------------------------------------------------
 *
 * qam_heap.h
 *	  The state of a slot's row.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_HEAP_H
#define QAM_HEAP_H

#include "access/htup.h"
#include "storage/buf.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* The state of a slot's row */
typedef enum QamRowState
{
	QAM_ROW_GONE,				/* deleted by a committed transaction,
								 * inserted by an aborted one, or moved by
								 * UPDATE */
	QAM_ROW_BUSY,				/* insert, delete or row lock in progress */
	QAM_ROW_OWN_DELETE,			/* deleted by this transaction */
	QAM_ROW_OWN_UPDATE,			/* HOT-updated by this transaction */
	QAM_ROW_LIVE
} QamRowState;

typedef struct QamRow
{
	QamRowState state;
	bool		locked_only;	/* BUSY because of a row lock only */
	bool		inserting;		/* BUSY because it is being inserted */
	bool		deleted;		/* GONE, OWN_DELETE: the row is still there
								 * and shows that it was deleted.  If false,
								 * an UPDATE may have moved it to another slot */
	TransactionId xid;			/* BUSY, OWN_xxx: the transaction that does
								 * it, or invalid if there are several.  GONE:
								 * the transaction that did it; invalid if the
								 * row was never committed, or if every
								 * snapshot sees that it is gone */
	ItemPointerData tid;		/* unless GONE: the version judged */
	HeapTupleData tuple;		/* unless GONE; points into the page */
} QamRow;

extern void qam_judge(Relation heap, Buffer heap_buffer, ItemPointer tid, QamRow *row);
extern bool qam_row_visible(const QamRow *row, Snapshot snapshot);
extern bool qam_xid_visible(uint64 fullxid, Snapshot snapshot);
extern int	qam_max_pins(void);

#endif							/* QAM_HEAP_H */
