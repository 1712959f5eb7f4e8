/*-------------------------------------------------------------------------
 *
 * qam_insert.h
 *	  Enqueueing.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_INSERT_H
#define QAM_INSERT_H

#include "access/amapi.h"
#include "qam/qam.h"

extern void qam_append_ready(Relation index, const QamEntry *entries, int nentries);
extern bool qaminsert(Relation index, Datum *values, bool *isnull, ItemPointer tid,
					  Relation heap, IndexUniqueCheck unique, bool unchanged,
					  struct IndexInfo *info);

#endif							/* QAM_INSERT_H */
