/*-------------------------------------------------------------------------
 *
 * queue_wait.c
 *	  Waiting for messages: until when, and for whom.
 *
 * A call that has found nothing sleeps until somebody makes a message ready and
 * wakes it (src/wake).  If nobody can wake it, waiting is polling, with growing
 * pauses.  The length of the wait is measured by a monotonic clock.  The times
 * when messages become ready are those of the wall clock, which may be set; so
 * they can only shorten a pause.
 *
 * A client may go away while its call waits.  What is claimed for it then is
 * claimed for nobody: a popped message is lost, a leased one is hidden until
 * the lease has lapsed, and a received one counts a delivery.  So a sleep ends
 * when the client closes its connection, if the system reports that.  And before
 * each claim that may come after a sleep, the call checks whether its client is
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
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/*
 * A call that polls tries again after a pause, which grows within these limits;
 * milliseconds
 */
#define WAIT_PAUSE_MIN		10
#define WAIT_PAUSE_MAX		1000

/* once.wake_delay; milliseconds */
int			once_wait_delay = 0;

/*
 * The queue for which this backend's last wait had to sleep.  See once_wait_expect().
 */
static Oid	slept_for = InvalidOid;

static void join_waiters(OnceWait *wait, const Oid *relids, int n);
static OnceWaiter *end_wait(OnceWait *wait);
static void poll_again(OnceWait *wait, const TimestampTz *times, int n);
static void sleep_until_woken(OnceWait *wait, const TimestampTz *times);
static void gather(OnceWait *wait);
static int64 next_look(const OnceWait *wait);
static void sleep_for(int64 pause);
static int64 elapsed(const OnceWait *wait);
static bool client_is_gone(void);
static bool sees_closed(void);
static void lose_client(void);
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
	wait->waiter = NULL;
	wait->polls = false;
	wait->most = 1;
	wait->light = false;
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
 * once_wait_expect may be called before the first look of a wait for a single queue.
 * If this backend had to sleep the last time, for the same queue, it registers the call as a waiter at
 * once, as it will probably have to sleep again.  That saves a look.
 */
void
once_wait_expect(OnceWait *wait, Oid relid)
{
	if (OidIsValid(relid) && relid == slept_for && wait->limit > 0)
		join_waiters(wait, &relid, 1);
}

/*
 * once_wait_before_look is called before each look for messages, and before the
 * snapshot of the look is taken.
 */
void
once_wait_before_look(OnceWait *wait)
{
	if (wait->waiter != NULL || wait->polls)
		once_debug_point("wait_before_look");
	if (wait->waiter != NULL)
		once_wake_before_look(wait->waiter);
}

/*
 * once_wait_check ends the session if its client is gone, and the call if it
 * has been canceled.  Call it before each claim, after the snapshot of the look
 * was taken: what is sent after the check is not visible to that snapshot.
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
		lose_client();
	CHECK_FOR_INTERRUPTS();
}

/*
 * once_wait_pause is called when nothing was found in n queues, none of which
 * is locked.  times: when a message becomes ready in each of them, as far as
 * that is known.  It sleeps until there may be something, but not beyond the
 * end of the wait.
 *
 * If the call is not registered as a waiter yet, it does not sleep.  It registers
 * the call, and then the caller has to look again.
 */
void
once_wait_pause(OnceWait *wait, const Oid *relids, const TimestampTz *times, int n)
{
	/* A queue may have been dropped and created anew */
	if (wait->waiter != NULL && !once_wake_is_for(wait->waiter, relids, n))
		once_wait_end(wait, InvalidOid);
	if (wait->waiter == NULL && !wait->polls)
	{
		join_waiters(wait, relids, n);
		if (!wait->polls)
			return;
	}

	once_debug_point("wait_before_sleep");
	if (wait->polls)
		poll_again(wait, times, n);
	else
		sleep_until_woken(wait, times);
	wait->slept = true;
	slept_for = n == 1 ? relids[0] : InvalidOid;
	once_debug_point("wait_slept");
}

/*
 * join_waiters registers the call as a waiter.  If that is not possible, it polls.  So
 * it does if there are too many parts of queues to wait for.
 */
static void
join_waiters(OnceWait *wait, const Oid *relids, int n)
{
	wait->waiter = n > ONCE_WAKE_MAX_QUEUES ? NULL : once_wake_join(relids, n);
	wait->polls = wait->waiter == NULL;
}

/*
 * once_wait_end ends a wait.  taken: the queue from which messages were taken,
 * or InvalidOid.
 */
void
once_wait_end(OnceWait *wait, Oid taken)
{
	OnceWaiter *waiter = end_wait(wait);

	if (waiter != NULL)
		once_wake_leave(waiter, taken, wait->slept);
}

/*
 * once_wait_end_owing ends a wait that has found something in a queue and has
 * left it there, for the session to take.
 */
void
once_wait_end_owing(OnceWait *wait, Oid found)
{
	OnceWaiter *waiter = end_wait(wait);

	if (waiter != NULL)
		once_wake_leave_owing(waiter, found);
}

/*
 * end_wait does what both ends of a wait have in common.  Returns the waiter that
 * has to leave, or NULL.
 */
static OnceWaiter *
end_wait(OnceWait *wait)
{
	OnceWaiter *waiter = wait->waiter;

	if (!wait->slept)
		slept_for = InvalidOid;
	wait->waiter = NULL;
	return waiter;
}

/*
 * poll_again sleeps for the next pause.
 */
static void
poll_again(OnceWait *wait, const TimestampTz *times, int n)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		pause = Min(wait->pause, (wait->limit - elapsed(wait) + 999) / 1000);
	int			i;

	for (i = 0; i < n; i++)
		pause = Min(pause, TimestampDifferenceMilliseconds(now, times[i]));
	sleep_for(Max(1, pause));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	wait->pause = Min(wait->pause * 3 / 2, WAIT_PAUSE_MAX);
}

/*
 * sleep_until_woken sleeps until somebody wakes this waiter, or it is time for
 * it to look by itself.  A light sleeper is woken by anything.  If it has slept and was
 * woken for messages, it gathers more of them.
 */
static void
sleep_until_woken(OnceWait *wait, const TimestampTz *times)
{
	int64		until = Min(wait->limit, next_look(wait));
	bool		slept = false;

	once_wake_before_sleep(wait->waiter, times, once_wait_delay > 0 ? wait->most : 1);
	for (;;)
	{
		int64		left = (until - elapsed(wait) + 999) / 1000;
		TimestampTz look_at;

		/* A light sleeper may have been called before it came here */
		if (!wait->light)
			ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (left <= 0 || once_wake_is_woken(wait->waiter, &look_at))
			break;
		left = Min(left, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), look_at));
		if (left <= 0)
			break;
		sleep_for(left);
		slept = true;
		if (wait->light)
		{
			ResetLatch(MyLatch);
			break;
		}
	}
	if (slept && once_wait_delay > 0)
		gather(wait);
}

/*
 * gather lets messages come for once.wake_delay, until the call cannot take more.
 * Meanwhile they wake nobody else.  If the call ends by an error, all that it was woken
 * for is handed on.  If the wait would be over first, it does not gather, so that the
 * call looks in time.
 */
static void
gather(OnceWait *wait)
{
	int64		until = elapsed(wait) + once_wait_delay * INT64CONST(1000);

	while (until < wait->limit && once_wake_has_room(wait->waiter))
	{
		int64		left = (until - elapsed(wait) + 999) / 1000;

		once_debug_point("wait_gathering");
		CHECK_FOR_INTERRUPTS();
		if (left <= 0)
			break;
		sleep_for(left);
		ResetLatch(MyLatch);
		if (wait->light)
			break;
	}
}

/*
 * next_look returns when, by elapsed(), a waiter has to look by itself: at the latest when
 * the fallback time has passed.  Waiters look at common times, up to a tenth earlier.
 * So an idle processor is woken less often.
 */
static int64
next_look(const OnceWait *wait)
{
	int64		fallback = once_wake_fallback * INT64CONST(1000);
	int64		common = Max(fallback / 10, 1);
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return elapsed(wait) + fallback -
		(int64) ((INSTR_TIME_GET_MICROSEC(now) + fallback) % common);
}

/*
 * sleep_for sleeps for so many milliseconds, or until the latch is set or, if
 * the system reports that, the client has closed its connection.
 */
static void
sleep_for(int64 pause)
{
	WaitEvent	event;

	pause = Min(pause, PG_INT32_MAX);
	if (MyProcPort == NULL || !sees_closed())
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 pause, PG_WAIT_EXTENSION);
		return;
	}
	ModifyWaitEvent(FeBeWaitSet, FeBeWaitSetSocketPos, WL_SOCKET_CLOSED, NULL);
	if (WaitEventSetWait(FeBeWaitSet, pause, &event, 1, PG_WAIT_EXTENSION) == 0)
		return;
	if (event.events & WL_POSTMASTER_DEATH)
		proc_exit(1);
	if (event.events & WL_SOCKET_CLOSED)
		lose_client();
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
	if (sees_closed())
		return !pq_check_connection();
	return input_has_ended();
}

/*
 * sees_closed tells whether the system reports closed connections.
 */
static bool
sees_closed(void)
{
	return WaitEventSetCanReportClosed() && !once_debug_is("wait_client_input");
}

/*
 * lose_client makes the server end the session.
 */
static void
lose_client(void)
{
	ClientConnectionLost = true;
	InterruptPending = true;
}

/*
 * input_has_ended does the same as client_is_gone on systems that do not report closed
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
