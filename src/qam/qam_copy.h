/*-------------------------------------------------------------------------
 *
 * qam_copy.h
 *	  Copies of pages, to be read without a lock.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_COPY_H
#define QAM_COPY_H

#include "qam/qam_format.h"
#include "qam/qam_heap.h"

typedef struct QamCopiedPage
{
	Buffer		buffer;			/* pinned */
	BlockNumber block;
	const char *fault;			/* see qam_page_fault */
	bool		zeros;			/* a fault only if the page is in a list */
	QamOpaqueData opaque;		/* kind = 0 for a page of zeros */
	int			nslots;			/* 0 if there is a fault, or slots were not
								 * wanted */
	QamSlot		slots[(BLCKSZ / sizeof(QamSlot)) + 1];
} QamCopiedPage;

extern void qam_copy_page(Relation index, BlockNumber block, QamCopiedPage *copy);
extern void qam_require_copy(Relation index, const QamCopiedPage *copy);
extern void qam_copy_special(Relation index, BlockNumber block, QamCopiedPage *copy);
extern bool qam_judge_copied(Relation heap, Relation index, const QamCopiedPage *copy,
							 int slotno, Buffer *heap_buffer, QamRow *row, bool *unused);

#endif							/* QAM_COPY_H */
