/*
 * wait.c
 *	  How long a message takes from its sender to a consumer that waits for it.
 *
 * wait CONTENDER WAITERS RATE SECONDS
 *
 * One connection sends RATE messages a second, at random moments on average so far
 * apart; WAITERS others each wait for one, take it, and wait again.  Who connects where
 * is told by the environment (PGHOST and so on).  The message says when its sender began, by
 * the clock of this process, so what is measured has the sender's round trip in it.
 *
 * Prints, separated by spaces: messages sent, messages taken, the sender's round trip (p50, p99),
 * and the delivery (p50, p99), in microseconds.
 */
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libpq-fe.h"

typedef struct Contender
{
	const char *name;
	const char *begin;			/* said by each consumer first */
	const char *send;			/* $1: the message */
	const char *wait;			/* NULL: for a notification, and then it takes */
	const char *take;			/* NULL: what waits takes */
} Contender;

#define TEXTBOOK_SEND \
	"WITH m AS (INSERT INTO bench.textbook (payload) VALUES ($1::jsonb)) SELECT pg_notify('bench', '')"
#define TEXTBOOK_TAKE \
	"DELETE FROM bench.textbook WHERE id = (SELECT id FROM bench.textbook ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)" \
	" RETURNING payload"
#define ONCE_SEND	"SELECT once.send('bench', $1::jsonb)"
#define ONCE_POP	"SELECT payload FROM once.pop('bench', wait => '60 s')"

static const Contender contenders[] = {
	{"once", "SET once.wake = on", ONCE_SEND, ONCE_POP, NULL},
	{"procedure", "SET once.wake = on", ONCE_SEND, "CALL once.wait(ARRAY['bench'], '1 h')", "SELECT payload FROM once.pop('bench')"},
	{"poll", "SELECT once.pop('bench'); SET once.wake = off", ONCE_SEND, ONCE_POP, NULL},
	{"notify", "LISTEN bench", TEXTBOOK_SEND, NULL, TEXTBOOK_TAKE},
};

typedef struct Consumer
{
	PGconn	   *conn;
	bool		waits;			/* or takes */
} Consumer;

static const Contender *contender;
static double *delivered;
static double *round_trips;
static int	ndelivered = 0;
static int	nsent = 0;

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

static PGconn *
connect_once(const char *statement)
{
	PGconn	   *conn = PQconnectdb("");

	if (PQstatus(conn) != CONNECTION_OK)
		fail(conn);
	if (statement != NULL)
	{
		PGresult   *result = PQexec(conn, statement);

		if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
			fail(conn);
		PQclear(result);
	}
	return conn;
}

static void
prepare(PGconn *conn, const char *name, const char *statement)
{
	PGresult   *result;

	if (statement == NULL)
		return;
	result = PQprepare(conn, name, statement, 0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail(conn);
	PQclear(result);
}

static void
start(Consumer *consumer, bool waits)
{
	consumer->waits = waits;
	if (waits && contender->wait == NULL)
		return;
	if (!PQsendQueryPrepared(consumer->conn, waits ? "wait" : "take", 0, NULL, NULL, NULL, 0))
		fail(consumer->conn);
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
		if (PQresultStatus(result) != PGRES_TUPLES_OK)
			fail(consumer->conn);
		if (PQntuples(result) > 0 && !PQgetisnull(result, 0, 0))
		{
			if (consumer->waits && contender->take != NULL)
				ready = true;
			else
			{
				took = true;
				delivered[ndelivered++] = now() - atof(PQgetvalue(result, 0, 0));
			}
		}
		PQclear(result);
	}
	/* Who is notified takes until there is nothing left */
	start(consumer, !(ready || (took && contender->wait == NULL)));
}

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
	if (consumer->waits && contender->wait == NULL)
	{
		if (notified)
			start(consumer, false);
	}
	else if (!PQisBusy(consumer->conn))
		finish(consumer);
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
	int			n;
	double		rate;
	double		end;
	double		next;
	Consumer   *consumers;
	struct pollfd *fds;
	PGconn	   *sender;
	double		begun = 0;
	int			i;

	for (i = 0; argc == 5 && i < (int) (sizeof(contenders) / sizeof(contenders[0])); i++)
		if (strcmp(argv[1], contenders[i].name) == 0)
			contender = &contenders[i];
	if (contender == NULL || (n = atoi(argv[2])) < 1 || (rate = atof(argv[3])) <= 0)
	{
		fprintf(stderr, "usage: wait once|procedure|poll|notify WAITERS RATE SECONDS\n");
		return 2;
	}
	delivered = malloc(sizeof(double) * (size_t) (rate * atof(argv[4]) * 2 + 1000));
	round_trips = malloc(sizeof(double) * (size_t) (rate * atof(argv[4]) * 2 + 1000));
	consumers = calloc(n, sizeof(Consumer));
	fds = calloc(n + 1, sizeof(struct pollfd));
	for (i = 0; i < n; i++)
	{
		consumers[i].conn = connect_once(contender->begin);
		prepare(consumers[i].conn, "wait", contender->wait);
		prepare(consumers[i].conn, "take", contender->take);
		start(&consumers[i], true);
		fds[i].fd = PQsocket(consumers[i].conn);
		fds[i].events = POLLIN;
	}
	sender = connect_once(NULL);
	prepare(sender, "send", contender->send);
	fds[n].fd = PQsocket(sender);
	fds[n].events = POLLIN;

	srandom(1);
	next = now() + 500000;
	end = next + atof(argv[4]) * 1e6;
	while (now() < end + 2e6 && (now() < end || ndelivered < nsent || begun != 0))
	{
		double		left = begun != 0 ? 1e6 : (next < end ? next : end + 2e6) - now();
		struct timespec timeout = {0, 0};

		if (begun == 0 && next < end && left <= 0)
		{
			char		message[64];
			const char *values[1] = {message};

			begun = now();
			snprintf(message, sizeof(message), "%.3f", begun);
			if (!PQsendQueryPrepared(sender, "send", 1, values, NULL, NULL, 0))
				fail(sender);
			next += 2e6 / rate * random() / RAND_MAX;
			nsent++;
			left = 1e6;
		}
		if (left > 0)
		{
			timeout.tv_sec = left / 1e6;
			timeout.tv_nsec = (left - timeout.tv_sec * 1e6) * 1e3;
		}
		if (ppoll(fds, n + 1, &timeout, NULL) <= 0)
			continue;
		for (i = 0; i < n; i++)
			if (fds[i].revents != 0)
				hear(&consumers[i]);
		if (fds[n].revents != 0)
		{
			if (!PQconsumeInput(sender))
				fail(sender);
			if (!PQisBusy(sender))
			{
				PGresult   *result;

				round_trips[nsent - 1] = now() - begun;
				while ((result = PQgetResult(sender)) != NULL)
				{
					if (PQresultStatus(result) != PGRES_TUPLES_OK)
						fail(sender);
					PQclear(result);
				}
				begun = 0;
			}
		}
	}
	printf("%d %d ", nsent, ndelivered);
	printf("%.0f %.0f ", percentile(round_trips, nsent, 0.5), percentile(round_trips, nsent, 0.99));
	printf("%.0f %.0f\n", percentile(delivered, ndelivered, 0.5), percentile(delivered, ndelivered, 0.99));
	return 0;
}
