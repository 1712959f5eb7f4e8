/*-------------------------------------------------------------------------
 *
 * stats_show.h
 *	  What the functions that show statistics share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STATS_SHOW_H
#define STATS_SHOW_H

extern void once_stats_hint(void);

#endif							/* STATS_SHOW_H */
