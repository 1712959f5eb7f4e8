/*-------------------------------------------------------------------------
 *
 * qam_build.h
 *	  Building a queue index.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_BUILD_H
#define QAM_BUILD_H

#include "access/amapi.h"

extern IndexBuildResult *qambuild(Relation heap, Relation index, struct IndexInfo *info);
extern void qambuildempty(Relation index);

#endif							/* QAM_BUILD_H */
