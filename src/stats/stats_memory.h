/*-------------------------------------------------------------------------
 *
 * stats_memory.h
 *	  Shared memory in which each backend has a place of its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef STATS_MEMORY_H
#define STATS_MEMORY_H

extern void once_stats_memory_add(const char *name, Size size_each, void **memory,
								  void (*init) (void *memory, int n));

#endif							/* STATS_MEMORY_H */
