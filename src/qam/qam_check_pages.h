/*-------------------------------------------------------------------------
 *
 * qam_check_pages.h
 *	  What the files that verify a queue index share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_CHECK_PAGES_H
#define QAM_CHECK_PAGES_H

#include "qam/qam.h"
#include "storage/buf.h"
#include "utils/hsearch.h"

typedef struct QamCheck
{
	Relation	heap;
	Relation	index;
	QamFaultSink sink;
	void	   *arg;
	HTAB	   *seen;			/* slots that are not over, by row */
	HTAB	   *suspects;		/* rows whose slot was not seen yet */
	Buffer		heap_buffer;	/* pinned, or invalid */
	bool	   *in_list;		/* strict: for each block, was it met in a
								 * list? */
	BlockNumber nblocks;
	uint64		max_seq;		/* largest number of a page seen */
	uint64		in_groups;		/* slots not DONE that have a group */
} QamCheck;

/* Where a row's slot was seen */
typedef struct QamSeenSlot
{
	ItemPointerData tid;		/* hash key */
	uint16		slotno;
	BlockNumber block;
	uint64		seq;
	/* what the slot says of the row */
	int			lane;
	bool		scheduled;
	uint32		group;
	int64		ready_at;
} QamSeenSlot;

extern void qam_check_report(QamCheck *check, const char *rule, BlockNumber block,
							 int slotno, const char *format,...) pg_attribute_printf(5, 6);

extern bool qam_check_metapage(QamCheck *check);
extern void qam_check_pages(QamCheck *check);
extern void qam_check_numbers(QamCheck *check);

#endif							/* QAM_CHECK_PAGES_H */
