/*-------------------------------------------------------------------------
 *
 * once_limit.h
 *	  A limit to the time that code of users may take.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ONCE_LIMIT_H
#define ONCE_LIMIT_H

#include "portability/instr_time.h"
#include "utils/elog.h"

/* Some work that has a limit */
typedef struct OnceLimit
{
	instr_time	started_at;
	int			milliseconds;	/* 0: none */
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
