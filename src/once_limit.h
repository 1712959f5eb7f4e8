/*-------------------------------------------------------------------------
 *
 * once_limit.h
 *	  A limit on the time that users' code may take.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ONCE_LIMIT_H
#define ONCE_LIMIT_H

#include "portability/instr_time.h"
#include "utils/elog.h"

/* The limit of some work */
typedef struct OnceLimit
{
	instr_time	started_at;
	int			milliseconds;	/* 0: no limit */
} OnceLimit;

extern void once_limit_start(OnceLimit *limit, int milliseconds);
extern bool once_limit_is_up(const OnceLimit *limit);
extern void once_limit_arm(const OnceLimit *limit);
extern void once_limit_disarm(void);
extern void once_limit_clear(void);
extern bool once_limit_struck(void);
extern bool once_limit_caused(const ErrorData *edata);
extern bool once_limit_is_cancel(const ErrorData *edata);

#endif							/* ONCE_LIMIT_H */
