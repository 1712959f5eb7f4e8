/*-------------------------------------------------------------------------
 *
 * once_debug.h
 *	  What tests need: debug points, which are named places where a test can
 *	  hold a backend still, and a key for groups that is known beforehand.
 *
 * Debug points are in every build, also in the one that users install, so that
 * the library that has passed the tests is the one that runs.  Races depend on
 * the compiled instructions, which would differ in a build for tests.  A point
 * costs a test of a variable or two.  Only a superuser can set the two settings,
 * and no list of settings shows them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ONCE_DEBUG_H
#define ONCE_DEBUG_H

/* The keys of the advisory lock, as for pg_advisory_lock(int, int) */
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
 * once_debug_point is a place where a test can hold a backend.
 *
 * If once.debug_point is set to its name, the backend waits here for as long as
 * another session holds pg_advisory_lock(1869505381, 1).  Otherwise it goes on.
 * A wait for a heavyweight lock can be seen, canceled and found in a deadlock.
 * So no page lock, LWLock or spinlock may be held here, and the backend may not be
 * in a critical section or hold off interrupts.  Buffer pins may be held.  May
 * raise an error.
 */
static inline void
once_debug_point(const char *name)
{
	if (once_debug_point_name != NULL && once_debug_point_name[0] != '\0')
		once_debug_hold(name);
}

/*
 * once_debug_is tells whether once.debug_point is set to this name.  It is for
 * points that do not wait, but make the backend do something that it would not do
 * otherwise.
 */
static inline bool
once_debug_is(const char *name)
{
	return once_debug_point_name != NULL && strcmp(once_debug_point_name, name) == 0;
}

#endif							/* ONCE_DEBUG_H */
