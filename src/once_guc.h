/*-------------------------------------------------------------------------
 *
 * once_guc.h
 *	  The extension's settings.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ONCE_GUC_H
#define ONCE_GUC_H

extern void once_guc_init(void);

#endif							/* ONCE_GUC_H */
