/*-------------------------------------------------------------------------
 *
 * qam_check.h
 *	  What the files that verify a queue index share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_CHECK_H
#define QAM_CHECK_H

#include "qam/qam.h"
#include "storage/buf.h"
#include "utils/hsearch.h"

typedef struct QamCheck
{
	Relation	heap;
	Relation	index;
	QamFaultSink sink;
	void	   *arg;
	HTAB	   *seen;			/* unfinished slots, by row */
	HTAB	   *suspects;		/* rows without a slot so far */
	Buffer		heap_buffer;	/* pinned, or invalid */
	bool	   *in_list;		/* strict: per block */
	BlockNumber nblocks;
	uint64		max_seq;		/* largest number of a page seen */
	uint64		in_groups;		/* unfinished slots seen that have a group */
} QamCheck;

extern void qam_check_report(QamCheck *check, const char *rule, BlockNumber block,
							 int slotno, const char *format,...) pg_attribute_printf(5, 6);

#endif							/* QAM_CHECK_H */
