/*-------------------------------------------------------------------------
 *
 * wake_prepared.h
 *	  Waking at the end of transactions that were prepared.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WAKE_PREPARED_H
#define WAKE_PREPARED_H

#include "wake/wake_table.h"

extern void once_wake_prepared_init(void);
extern void once_wake_prepared_keep(const WakeNote *notes, int n, bool overflow);
extern void once_wake_prepared_forget_name(void);

#endif							/* WAKE_PREPARED_H */
