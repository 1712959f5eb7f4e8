/*-------------------------------------------------------------------------
 *
 * queue_maintain.h
 *	  maintain: what has to be done now and then, whether or not anybody
 *	  consumes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef QUEUE_MAINTAIN_H
#define QUEUE_MAINTAIN_H

/* once.maintenance_timeout, unless it is set; milliseconds */
#define ONCE_MAINTENANCE_TIMEOUT	(60 * 1000)

extern int	once_maintenance_timeout;

extern bool once_maintenance_run(bool full);

#endif							/* QUEUE_MAINTAIN_H */
