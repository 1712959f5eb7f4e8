/*-------------------------------------------------------------------------
 *
 * once_debug.h
 *	  What tests need: debug points, which are named places where a test can
 *	  hold a backend still, and a key for groups that is known beforehand.
 *
 * Debug points are in every build, also in the one that users install, so that
 * the library that has passed the tests is the one that runs.  Races are a
 * matter of instructions, and a build for tests would have others.  A point
 * costs a test of a variable or two.  Only a superuser can set the two settings,
 * and no list of settings shows them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ONCE_DEBUG_H
#define ONCE_DEBUG_H

/* The advisory lock, as pg_advisory_lock(int, int) takes it */
#define ONCE_DEBUG_LOCK_KEY1	1869505381	/* "once" */
#define ONCE_DEBUG_LOCK_KEY2	1

/* once.debug_point; an empty string means none */
extern char *once_debug_point_name;

/*
 * once.debug_group_key: the queue indexes that this session builds have a group
 * key of zeros, so that names that share a hash can be written into a test.
 */
extern bool once_debug_group_key;

extern void once_debug_init(void);
extern void once_debug_hold(const char *name);

/*
 * once_debug_point is the place of that name.
 *
 * With once.debug_point set to the name, the backend waits here for as long as
 * another session holds pg_advisory_lock(1869505381, 1); else it passes on.
 * A wait for a heavyweight lock can be seen, canceled and found in a deadlock,
 * so no page lock, LWLock or spinlock may be held here, nor may there be a
 * critical section or held-off interrupts.  Buffer pins may be held.  May raise
 * an error.
 */
static inline void
once_debug_point(const char *name)
{
	if (once_debug_point_name != NULL && once_debug_point_name[0] != '\0')
		once_debug_hold(name);
}

/*
 * once_debug_is tells whether a test has named a point that does not wait, but
 * has the backend go a way that it would not go otherwise.
 */
static inline bool
once_debug_is(const char *name)
{
	return once_debug_point_name != NULL && strcmp(once_debug_point_name, name) == 0;
}

#endif							/* ONCE_DEBUG_H */
