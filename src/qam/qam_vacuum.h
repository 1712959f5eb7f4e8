/*-------------------------------------------------------------------------
 *
 * qam_vacuum.h
 *	  Bulk deletion and cleanup.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QAM_VACUUM_H
#define QAM_VACUUM_H

#include "access/amapi.h"

extern IndexBulkDeleteResult *qambulkdelete(IndexVacuumInfo *info,
											IndexBulkDeleteResult *stats,
											IndexBulkDeleteCallback callback,
											void *callback_state);
extern IndexBulkDeleteResult *qamvacuumcleanup(IndexVacuumInfo *info,
											   IndexBulkDeleteResult *stats);

#endif							/* QAM_VACUUM_H */
