/*-------------------------------------------------------------------------
 *
 * worker_launcher.h
 *	  The launcher: it sees to every database that has the extension.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_LAUNCHER_H
#define WORKER_LAUNCHER_H

/* once.maintenance_interval, unless it is set; seconds */
#define ONCE_MAINTENANCE_INTERVAL		10
#define ONCE_MAINTENANCE_INTERVAL_MAX	86400

extern int	once_launcher_interval;

extern void once_launcher_init(void);

#endif							/* WORKER_LAUNCHER_H */
