/*-------------------------------------------------------------------------
 *
 * qam_offer.h
 *	  What one slot has to offer, and the state of a walk that claims it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_OFFER_H
#define QAM_OFFER_H

#include "access/xlogdefs.h"
#include "qam/qam.h"
#include "qam/qam_format.h"
#include "qam/qam_heap.h"
#include "qam/qam_quiet.h"
#include "storage/buf.h"

/* Heap pages that a walk keeps pinned at a time, if there are enough buffers */
#define QAM_MAX_PINS		128

/* How many slots a walk can expect at a time; a power of two */
#define QAM_EXPECTED		256

/* A change of a slot, decided but not applied yet */
typedef struct QamChange
{
	int			slotno;
	enum
	{
		QAM_CHANGE_SET,
		QAM_CHANGE_OVER,
		QAM_CHANGE_HINT			/* ack hint off; not logged */
	}			what;
	bool		keep_claim;		/* OVER: see qam_page_set_over */
	uint64		gone_by;
	QamSlot		new;
} QamChange;

/* State of one call */
typedef struct QamWalk
{
	QamClaimRequest *req;
	Relation	index;
	QamView		view;			/* how things were when it began */
	uint64		claim_xid;		/* claim word for claims by xid, 0: no id yet */
	int			npins;
	int			max_pins;
	BlockNumber pinned[QAM_MAX_PINS];
	Buffer		pins[QAM_MAX_PINS];
	uint64		lease_claim;	/* claim word for leases */
	XLogRecPtr	lsn;			/* end of the last record written */

	/* Slots whose predecessors in their groups are claimed by us, or ENDED */
	bool		expecting;
	BlockNumber expected_block; /* of the last one noted */
	QamPlace	expected[QAM_EXPECTED];
} QamWalk;

/*
 * A pass over the slots of a page, which is locked exclusively.
 */
typedef struct QamPass
{
	int			lane;			/* as in the visit */
	const QamLink *link;		/* as in the visit: to the page */
	QamQuiet   *quiet;			/* the visit's: what has been noted so far */
	int			slotno;			/* the slot that it has come to */
	int			done_prefix;	/* all slots before this one are DONE */
	bool		prefix_open;	/* may done_prefix still grow? */
	bool		all_done;
	Buffer		locked_heap;	/* share-locked, or invalid */
	int			nchanges;
	QamChange	changes[QAM_SLOTS_PER_PAGE];

	/* Groups whose first slot is ENDED: advanced when the page is unlocked */
	int			ngroups;
	uint32		groups[QAM_SLOTS_PER_PAGE];
} QamPass;

/* What a slot alone says */
typedef enum QamReading
{
	QAM_READ_DONE,
	QAM_READ_LATER,				/* not before its ready_at */
	QAM_READ_RUNNING,			/* not while its transaction is open */
	QAM_READ_OTHER,				/* not the row that is wanted */
	QAM_READ_BLOCKED,			/* not while another slot comes before it in
								 * its group */
	QAM_READ_ENDED,				/* over, and its group should advance */
	QAM_READ_CANDIDATE			/* ask the heap */
} QamReading;

/* Why the exclusive pass over a page stopped */
typedef enum QamStop
{
	QAM_STOP_END,				/* all slots looked at */
	QAM_STOP_ENOUGH,			/* as many messages as were asked for */
	QAM_STOP_PIN,				/* the heap page of slotno must be pinned */
	QAM_STOP_XID				/* a transaction id is needed to claim slotno */
} QamStop;

/*
 * Are messages to be delivered?  Otherwise they are taken away.
 */
static inline bool
qam_delivers(const QamClaimRequest *req)
{
	return req->selection.purpose == QAM_TO_DELIVER;
}

/*
 * Is only one message wanted?
 */
static inline bool
qam_wants_one(const QamClaimRequest *req)
{
	return req->selection.purpose == QAM_TO_TAKE_ONE;
}

/*
 * How many more messages are wanted?
 */
static inline int
qam_wanted(const QamClaimRequest *req)
{
	const QamSelection *selection = &req->selection;

	return selection->max > 0 ? selection->max - req->claims.nclaimed :
		selection->delivery.max_dead - req->claims.ndead;
}

static inline bool
qam_enough(const QamClaimRequest *req)
{
	return qam_wanted(req) <= 0;
}

extern Buffer qam_pin_find(QamWalk *walk, BlockNumber block);
extern void qam_unpin_all(QamWalk *walk);
extern void qam_pin(QamWalk *walk, const BlockNumber *blocks, int nblocks);

extern QamReading qam_read_slot(QamWalk *walk, const QamLink *link, int slotno,
								const QamSlot *slot, uint64 *xid, bool *own);
extern void qam_note_reading(QamQuiet *quiet, const QamSlot *slot, QamReading reading,
							 uint64 xid, bool own);
extern QamStop qam_visit_slot(QamWalk *walk, QamPass *pass, const QamSlot *slot);

#endif							/* QAM_OFFER_H */
