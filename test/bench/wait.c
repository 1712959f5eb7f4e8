/*
 * wait.c
 *	  How long a message takes from its sender to a consumer that waits for it.
 *
 * wait CONTENDER WAITERS QUEUES RATE SECONDS
 *
 * One connection sends RATE messages a second, on average, at random times, to
 * QUEUES queues in turn.  WAITERS other connections wait for a message, take it,
 * and wait again; each waits for one queue.  The environment (PGHOST and so on)
 * tells where to connect.  A message carries the time when its sender began, by
 * the clock of this process.  So the delivery includes the sender's round trip.
 *
 * Prints, separated by spaces: messages sent, messages taken, the sender's round
 * trip (p50 and p99), and the delivery (p50 and p99), in microseconds.
 */
#define _GNU_SOURCE

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "libpq-fe.h"

/* Messages a second, before anything is measured */
#define WARM_RATE		500

/* How a contender sends and waits; %d stands for the number of the queue */
typedef struct Contender
{
	const char *name;
	const char *begin;			/* executed first by each consumer */
	const char *send;			/* $1: the message; $2: number of the queue */
	const char *wait;			/* NULL: wait for a notification, and take */
	const char *take;			/* NULL: "wait" takes the message */
} Contender;

#define TEXTBOOK_SEND \
	"WITH m AS (INSERT INTO bench.textbook (payload) VALUES ($1::jsonb))" \
	" SELECT pg_notify('bench', $2::text)"
#define TEXTBOOK_TAKE \
	"DELETE FROM bench.textbook WHERE id = (SELECT id FROM bench.textbook" \
	" ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING payload"
#define ONCE_SEND	"SELECT once.send('wait' || $2::text, $1::jsonb)"
#define ONCE_POP	"SELECT payload FROM once.pop('wait%d', wait => '60 s')"
#define ONCE_POP_BATCH	"SELECT payload FROM once.pop('wait%d', 100, wait => '60 s')"

static const Contender contenders[] = {
	{"once", "SET once.wake = on", ONCE_SEND, ONCE_POP, NULL},
	{"procedure", "SET once.wake = on", ONCE_SEND,
	"CALL once.wait(ARRAY['wait%d'], '1 h')", "SELECT payload FROM once.pop('wait%d')"},
	{"poll", "SELECT once.pop('wait0'); SET once.wake = off", ONCE_SEND, ONCE_POP, NULL},
	{"batch", "SET once.wake = on", ONCE_SEND, ONCE_POP_BATCH, NULL},
	{"batch-delay", "SET once.wake = on; SET once.wake_delay = '5 ms'", ONCE_SEND, ONCE_POP_BATCH, NULL},
	{"batch-poll", "SELECT once.pop('wait0'); SET once.wake = off", ONCE_SEND, ONCE_POP_BATCH, NULL},
	{"notify", "LISTEN bench", TEXTBOOK_SEND, NULL, TEXTBOOK_TAKE},
};

typedef struct Consumer
{
	PGconn	   *conn;
	bool		waits;			/* rather than takes */
} Consumer;

static const Contender *contender;
static int	nqueues;
static double *delivered;
static double *round_trips;
static int	ndelivered = 0;
static int	nsent = 0;
static double begun = 0;		/* when the send that is under way began, or 0 */

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e6 + ts.tv_nsec / 1e3;
}

static void
fail(PGconn *conn)
{
	fprintf(stderr, "%s", PQerrorMessage(conn));
	exit(1);
}

static void
check(PGconn *conn, PGresult *result)
{
	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail(conn);
	PQclear(result);
}

static PGconn *
connect_to_server(void)
{
	PGconn	   *conn = PQconnectdb("");

	if (PQstatus(conn) != CONNECTION_OK)
		fail(conn);
	return conn;
}

static void
prepare(PGconn *conn, const char *name, const char *statement, int queue)
{
	char		text[1000];

	if (statement == NULL)
		return;
	snprintf(text, sizeof(text), statement, queue);
	check(conn, PQprepare(conn, name, text, 0, NULL));
}

/* Start to wait, or to take. */
static void
start(Consumer *consumer, bool waits)
{
	consumer->waits = waits;
	if (waits && contender->wait == NULL)
		return;
	if (!PQsendQueryPrepared(consumer->conn, waits ? "wait" : "take", 0, NULL, NULL, NULL, 0))
		fail(consumer->conn);
}

static void
begin_consumer(Consumer *consumer, int queue)
{
	consumer->conn = connect_to_server();
	check(consumer->conn, PQexec(consumer->conn, contender->begin));
	prepare(consumer->conn, "wait", contender->wait, queue);
	prepare(consumer->conn, "take", contender->take, queue);
	start(consumer, true);
}

/* A statement of a consumer has returned: note the message, and go on. */
static void
finish(Consumer *consumer)
{
	bool		took = false;
	bool		ready = false;
	PGresult   *result;

	while ((result = PQgetResult(consumer->conn)) != NULL)
	{
		int			i;

		for (i = 0; i < PQntuples(result) && !PQgetisnull(result, i, 0); i++)
		{
			if (consumer->waits && contender->take != NULL)
				ready = true;
			else
			{
				took = true;
				delivered[ndelivered++] = now() - atof(PQgetvalue(result, i, 0));
			}
		}
		check(consumer->conn, result);
	}

	/* After a notification, it takes until there is nothing left */
	start(consumer, !(ready || (took && contender->wait == NULL)));
}

/* Something has come from the server for a consumer. */
static void
hear(Consumer *consumer)
{
	PGnotify   *notify;
	bool		notified = false;

	if (!PQconsumeInput(consumer->conn))
		fail(consumer->conn);
	while ((notify = PQnotifies(consumer->conn)) != NULL)
	{
		notified = true;
		PQfreemem(notify);
	}
	if (!consumer->waits || contender->wait != NULL)
	{
		if (!PQisBusy(consumer->conn))
			finish(consumer);
	}
	else if (notified)
		start(consumer, false);
}

static void
send_message(PGconn *sender)
{
	char		message[64];
	char		queue[16];
	const char *values[2] = {message, queue};

	begun = now();
	snprintf(message, sizeof(message), "%.3f", begun);
	snprintf(queue, sizeof(queue), "%d", nsent++ % nqueues);
	if (!PQsendQueryPrepared(sender, "send", 2, values, NULL, NULL, 0))
		fail(sender);
}

/* Something has come from the server for the sender. */
static void
hear_sender(PGconn *sender)
{
	PGresult   *result;

	if (!PQconsumeInput(sender))
		fail(sender);
	if (PQisBusy(sender))
		return;
	round_trips[nsent - 1] = now() - begun;
	while ((result = PQgetResult(sender)) != NULL)
		check(sender, result);
	begun = 0;
}

/*
 * One call of epoll_wait costs the same however many connections there are.  So what
 * this program takes of the processors does not depend on the number of consumers.
 */
static void
watch(int epoll, PGconn *conn, void *who)
{
	struct epoll_event event = {.events = EPOLLIN,.data.ptr = who};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, PQsocket(conn), &event) != 0)
	{
		perror("epoll_ctl");
		exit(1);
	}
}

static void
run(PGconn *sender, Consumer *consumers, int n, double rate, double seconds)
{
	struct epoll_event events[64];
	int			epoll = epoll_create1(0);
	double		next = now() + 500000;
	double		end = next + seconds * 1e6;
	int			i;

	for (i = 0; i < n; i++)
		watch(epoll, consumers[i].conn, &consumers[i]);
	watch(epoll, sender, NULL);
	srandom(1);
	while (now() < end + 10e6 && (now() < end || ndelivered < nsent || begun != 0))
	{
		double		left;
		struct timespec timeout;
		int			nevents;

		if (begun == 0 && next < end && next <= now())
		{
			send_message(sender);
			next += 2e6 / rate * random() / RAND_MAX;
		}
		left = begun == 0 && next < end ? next - now() : 1e5;
		if (left < 0)
			left = 0;
		timeout.tv_sec = left / 1e6;
		timeout.tv_nsec = (left - timeout.tv_sec * 1e6) * 1e3;
		nevents = epoll_pwait2(epoll, events, sizeof(events) / sizeof(events[0]), &timeout, NULL);
		for (i = 0; i < nevents; i++)
			if (events[i].data.ptr != NULL)
				hear(events[i].data.ptr);
			else
				hear_sender(sender);
	}
	close(epoll);
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

static double
percentile(double *values, int n, double p)
{
	qsort(values, n, sizeof(double), compare);
	return n == 0 ? 0 : values[(int) (p * (n - 1))];
}

int
main(int argc, char **argv)
{
	int			n = argc == 6 ? atoi(argv[2]) : 0;
	double		rate = argc == 6 ? atof(argv[4]) : 0;
	double		seconds = argc == 6 ? atof(argv[5]) : 0;
	size_t		room = (size_t) (rate * seconds * 2 + 1000);
	Consumer   *consumers;
	PGconn	   *sender;
	int			i;

	for (i = 0; i < (int) (sizeof(contenders) / sizeof(contenders[0])); i++)
		if (n > 0 && strcmp(argv[1], contenders[i].name) == 0)
			contender = &contenders[i];
	nqueues = argc == 6 ? atoi(argv[3]) : 0;
	if (contender == NULL || n < 1 || nqueues < 1 || rate <= 0)
	{
		fprintf(stderr, "usage: wait once|procedure|poll|batch|batch-delay|batch-poll|notify WAITERS QUEUES RATE SECONDS\n");
		return 2;
	}
	delivered = malloc(sizeof(double) * room);
	round_trips = malloc(sizeof(double) * room);
	consumers = calloc(n, sizeof(Consumer));
	for (i = 0; i < n; i++)
		begin_consumer(&consumers[i], i % nqueues);
	sender = connect_to_server();
	check(sender, PQprepare(sender, "send", contender->send, 0, NULL));

	/* Each queue is used at least once before: the first time, a session has to learn about it */
	run(sender, consumers, n, WARM_RATE, (nqueues + 20) * 1.2 / WARM_RATE);
	ndelivered = nsent = 0;
	run(sender, consumers, n, rate, seconds);
	printf("%d %d ", nsent, ndelivered);
	printf("%.0f %.0f ", percentile(round_trips, nsent, 0.5), percentile(round_trips, nsent, 0.99));
	printf("%.0f %.0f\n", percentile(delivered, ndelivered, 0.5), percentile(delivered, ndelivered, 0.99));
	return 0;
}
