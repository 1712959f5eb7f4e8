/*-------------------------------------------------------------------------
 *
 * queue_wait.c
 *	  Waiting for messages: until when, and for whom.
 *
 * Waiting is polling, with growing pauses.  The length of the wait is measured
 * by a monotonic clock.  The times when messages become ready are those of the
 * wall clock, which may be set; so they can only shorten a pause.
 *
 * A client may go away while its call waits.  What is claimed for it then is
 * claimed for nobody: a popped message is lost, a leased one is hidden until
 * the lease has lapsed, and a received one counts a delivery.  So before each
 * claim that may come after a sleep, the call checks whether its client is
 * still there, as the server does with client_connection_check_interval.  It
 * also checks whether it has been canceled or the backend is to terminate.  In
 * all these cases it ends before it claims anything.  Two cases go unnoticed:
 * a client that goes away between this check and the claim, and one whose
 * machine or network has failed, until TCP reports that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
#include "pg_once.h"

#include <sys/socket.h>

#include "miscadmin.h"
#include "once_debug.h"
#include "queue/queue_wait.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/*
 * A waiter tries again after a pause, which grows within these limits;
 * milliseconds
 */
#define WAIT_PAUSE_MIN		10
#define WAIT_PAUSE_MAX		1000

static int64 elapsed(const OnceWait *wait);
static bool client_is_gone(void);
static bool input_has_ended(void);

/*
 * once_wait_begin begins a wait of at most "limit" microseconds.
 */
void
once_wait_begin(OnceWait *wait, int64 limit)
{
	INSTR_TIME_SET_CURRENT(wait->begun);
	wait->limit = limit;
	wait->pause = WAIT_PAUSE_MIN;
	wait->slept = false;
}

/*
 * once_wait_is_up tells whether the time of a wait is up.
 */
bool
once_wait_is_up(const OnceWait *wait)
{
	return once_wait_left(wait) <= 0;
}

/*
 * once_wait_left returns how many microseconds of a wait are left.
 */
int64
once_wait_left(const OnceWait *wait)
{
	return wait->limit - elapsed(wait);
}

/*
 * once_wait_pause sleeps for a while, but not beyond the end of the wait, nor
 * beyond the time when a message becomes ready.
 */
void
once_wait_pause(OnceWait *wait, TimestampTz ready_at)
{
	int64		left = (wait->limit - elapsed(wait) + 999) / 1000;
	long		until_ready = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), ready_at);
	int64		pause = Min(wait->pause, Min(left, until_ready));

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Max(1, pause), PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	wait->pause = Min(wait->pause * 3 / 2, WAIT_PAUSE_MAX);
	wait->slept = true;
	once_debug_point("wait_slept");
}

/*
 * once_wait_check ends the session if its client is gone, and the call if it
 * has been canceled.  Call it before each claim.
 *
 * The client is not checked if there cannot have been a sleep since the wait
 * began, neither in a pause nor while waiting for a lock.  Then the query has
 * just arrived.
 */
void
once_wait_check(const OnceWait *wait)
{
	if ((wait->slept || elapsed(wait) >= WAIT_PAUSE_MIN * INT64CONST(1000)) &&
		client_is_gone())
	{
		/* This makes the server end the session */
		ClientConnectionLost = true;
		InterruptPending = true;
	}
	CHECK_FOR_INTERRUPTS();
}

/*
 * elapsed returns the microseconds since the wait began.
 */
static int64
elapsed(const OnceWait *wait)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, wait->begun);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

/*
 * client_is_gone tells whether this backend's client has closed its
 * connection, as far as this machine knows.  False in a process that has no
 * client.
 */
static bool
client_is_gone(void)
{
	if (MyProcPort == NULL)
		return false;
	if (WaitEventSetCanReportClosed() && !once_debug_is("wait_client_input"))
		return !pq_check_connection();
	return input_has_ended();
}

/*
 * input_has_ended does the same on systems that do not report closed
 * connections.  There, a client is not noticed as gone if it has sent
 * something before, such as its message of termination.
 */
static bool
input_has_ended(void)
{
	WaitEvent	event;
	char		c;
	ssize_t		n;

	/* A latch that is set would be reported instead */
	ResetLatch(MyLatch);
	ModifyWaitEvent(FeBeWaitSet, FeBeWaitSetSocketPos, WL_SOCKET_READABLE, NULL);
	if (WaitEventSetWait(FeBeWaitSet, 0, &event, 1, 0) == 0 ||
		(event.events & WL_SOCKET_READABLE) == 0)
		return false;
	n = recv(event.fd, &c, 1, MSG_PEEK);
	return n == 0 ||
		(n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}
