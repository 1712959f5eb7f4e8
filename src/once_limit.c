/*-------------------------------------------------------------------------
 *
 * once_limit.c
 *	  A limit on the time that users' code may take.
 *
 * When the time of an armed limit is up, the running statement is cancelled, as by
 * statement_timeout.  It is cancelled again every second, because the code may catch
 * the first cancellation.  (Code that catches all of them can only be stopped by
 * ending the backend.)
 *
 * The caller that arms a limit must catch the error and disarm the limit.  Only one
 * limit can be armed at a time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include <signal.h>

#include "miscadmin.h"
#include "once_limit.h"
#include "storage/latch.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/* Time between two cancellations */
#define STRIKE_AGAIN_MS		1000

static TimeoutId limit_timeout;
static bool limit_registered = false;
static volatile sig_atomic_t limit_struck = false;

static int64 milliseconds_left(const OnceLimit *limit);
static void strike(void);

/*
 * once_limit_start begins to measure the time.
 */
void
once_limit_start(OnceLimit *limit, int milliseconds)
{
	INSTR_TIME_SET_CURRENT(limit->started_at);
	limit->milliseconds = milliseconds;
}

/*
 * once_limit_is_up tells whether the time is up.
 */
bool
once_limit_is_up(const OnceLimit *limit)
{
	return limit->milliseconds > 0 && milliseconds_left(limit) <= 0;
}

/*
 * once_limit_arm has the running statement cancelled when the time is up.
 */
void
once_limit_arm(const OnceLimit *limit)
{
	if (limit->milliseconds == 0)
		return;
	if (!limit_registered)
	{
		limit_timeout = RegisterTimeout(USER_TIMEOUT, strike);
		limit_registered = true;
	}
	enable_timeout_every(limit_timeout,
						 TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													 Max(milliseconds_left(limit), 1)),
						 STRIKE_AGAIN_MS);
}

/*
 * once_limit_disarm disarms the limit.  If the limit has struck and the backend has
 * not noticed yet, the cancellation is dropped, unless statement_timeout asks for one
 * as well.
 */
void
once_limit_disarm(void)
{
	if (!limit_registered || !get_timeout_active(limit_timeout))
		return;
	disable_timeout(limit_timeout, false);
	if (limit_struck && !get_timeout_indicator(STATEMENT_TIMEOUT, false))
		QueryCancelPending = false;
}

/*
 * once_limit_clear forgets that a limit has struck.
 */
void
once_limit_clear(void)
{
	limit_struck = false;
}

/*
 * once_limit_struck tells whether a limit has cancelled the statement since
 * once_limit_clear was called.
 */
bool
once_limit_struck(void)
{
	return limit_struck;
}

/*
 * once_limit_caused tells whether an error was caused by a limit that has struck.  A
 * user's cancellation after that moment cannot be told from it.  The cancellation by
 * a timeout can, by its message (message_id is the untranslated text).
 */
bool
once_limit_caused(const ErrorData *edata)
{
	return limit_struck && once_limit_is_cancel(edata) && edata->message_id != NULL &&
		strcmp(edata->message_id, "canceling statement due to user request") == 0;
}

/*
 * once_limit_is_cancel tells whether an error means that the statement was cancelled
 * from outside.  Users' code can raise an error with the same SQLSTATE, but not from
 * ProcessInterrupts().
 */
bool
once_limit_is_cancel(const ErrorData *edata)
{
	return edata->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		edata->funcname != NULL && strcmp(edata->funcname, "ProcessInterrupts") == 0;
}

static int64
milliseconds_left(const OnceLimit *limit)
{
	instr_time	spent;

	INSTR_TIME_SET_CURRENT(spent);
	INSTR_TIME_SUBTRACT(spent, limit->started_at);
	return limit->milliseconds - (int64) INSTR_TIME_GET_MILLISEC(spent);
}

/*
 * strike does what SIGINT does to a backend.  It is called by the handler of SIGALRM.
 */
static void
strike(void)
{
	limit_struck = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}
