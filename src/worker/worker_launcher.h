/*-------------------------------------------------------------------------
 *
 * worker_launcher.h
 *	  The launcher: it has every database maintained that has the extension.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_LAUNCHER_H
#define WORKER_LAUNCHER_H

#include "worker/worker_shared.h"

/* Default and maximum of once.maintenance_interval; seconds */
#define ONCE_MAINTENANCE_INTERVAL		10
#define ONCE_MAINTENANCE_INTERVAL_MAX	86400

extern int	once_launcher_interval;

extern void once_launcher_init(void);
extern bool once_launcher_full_is_due(const OnceDatabase *database, TimestampTz now);

#endif							/* WORKER_LAUNCHER_H */
