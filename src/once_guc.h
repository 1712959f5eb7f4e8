/*-------------------------------------------------------------------------
 *
 * once_guc.h
 *	  The extension's settings.
 *
 * once.flush_claims and once.log_hints steer the index; their variables are
 * declared in qam/qam.h, the door to it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ONCE_GUC_H
#define ONCE_GUC_H

/* once.unacked: what happens to a commit with messages received but not acked */
typedef enum OnceUnackedAction
{
	ONCE_UNACKED_ERROR,			/* it fails with once_unacked */
	ONCE_UNACKED_REDELIVER		/* it succeeds, and they are delivered again */
} OnceUnackedAction;

/* once.maintenance_timeout, unless it is set; milliseconds */
#define ONCE_MAINTENANCE_TIMEOUT	(60 * 1000)

extern int	once_maintenance_timeout;
extern int	once_unacked_action;

extern void once_guc_init(void);

#endif							/* ONCE_GUC_H */
