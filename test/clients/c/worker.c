/*
 * A worker with libpq: takes orders from a queue and ships them.
 *
 *     worker QUEUE
 *
 * PGHOST, PGDATABASE and the other variables of libpq say where the database is.
 * It handles one message at a time; start as many as you need.
 */
#include <libpq-fe.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *receive_sql = "SELECT receipt, payload FROM once.receive($1, 10, wait => '30 s')";

static PGconn *conn;
static PGcancel *volatile waiting;		/* set while a call waits for a message */
static volatile sig_atomic_t stopping;

/*
 * Stop: cancel the call that waits.  Try it again each second, since a cancel that arrives just before the call does nothing.
 * (PQcancel may be called by a handler.)
 */
static void
stop(int signo)
{
	char		error[256];

	stopping = true;
	if (waiting)
		PQcancel(waiting, error, sizeof(error));
	alarm(1);
}

/* Execute a statement with parameters, which are strings or NULL. */
static PGresult *
query(const char *sql, int nparams,...)
{
	const char *values[4];
	va_list		args;

	va_start(args, nparams);
	for (int i = 0; i < nparams; i++)
		values[i] = va_arg(args, const char *);
	va_end(args);
	return PQexecParams(conn, sql, nparams, NULL, values, NULL, NULL, 0);
}

/* Return whether a statement has succeeded, and free its result. */
static bool
done(PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	PQclear(result);
	return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

/* The work for one message.  What it writes commits together with the ack. */
static PGresult *
work(const char *payload)
{
	return query("INSERT INTO shipment (order_no) VALUES (($1::jsonb->>'order')::int)", 1, payload);
}

/* Give a message back whose work has ended with the error of a result. */
static bool
give_back(const char *receipt, PGresult *failed)
{
	const char *sqlstate = PQresultErrorField(failed, PG_DIAG_SQLSTATE);

	if (sqlstate == NULL)
		return false;			/* the connection is lost */
	if (strcmp(sqlstate, "ON003") == 0)
		return true;			/* it went back with an earlier message of its group */
	/* These are not the message's fault: it is delivered again at once, and no attempt counts. */
	if (strcmp(sqlstate, "40001") == 0 || strcmp(sqlstate, "40P01") == 0)
		return done(query("SELECT once.release($1)", 1, receipt));
	return done(query("SELECT once.nack($1, error => $2)", 2, receipt, PQresultErrorField(failed, PG_DIAG_MESSAGE_PRIMARY)));
}

/* Acknowledge a message and do its work, or give it back.  Return false if the transaction cannot go on. */
static bool
handle(const char *receipt, const char *payload)
{
	PGresult   *result;
	bool		ok = true;

	if (!done(PQexec(conn, "SAVEPOINT message")))
		return false;
	result = query("SELECT once.ack($1)", 1, receipt);
	if (PQresultStatus(result) == PGRES_TUPLES_OK)
	{
		PQclear(result);
		result = work(payload);
	}
	if (PQresultStatus(result) == PGRES_FATAL_ERROR)
		ok = done(PQexec(conn, "ROLLBACK TO SAVEPOINT message")) && give_back(receipt, result);
	PQclear(result);
	return ok && done(PQexec(conn, "RELEASE SAVEPOINT message"));
}

/* Receive messages and handle them.  Return false if the transaction has to be rolled back. */
static bool
handle_batch(const char *queue)
{
	PGcancel   *cancel = PQgetCancel(conn);
	PGresult   *messages;
	bool		ok;

	ok = done(PQexec(conn, "BEGIN"));
	waiting = cancel;
	messages = ok && !stopping ? query(receive_sql, 1, queue) : NULL;
	waiting = NULL;
	PQfreeCancel(cancel);

	ok = PQresultStatus(messages) == PGRES_TUPLES_OK;
	for (int i = 0; ok && i < PQntuples(messages); i++)
		ok = handle(PQgetvalue(messages, i, 0), PQgetisnull(messages, i, 1) ? NULL : PQgetvalue(messages, i, 1));
	PQclear(messages);
	return ok && done(PQexec(conn, "COMMIT"));
}

int
main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = stop, .sa_flags = SA_RESTART};

	if (argc != 2)
	{
		fprintf(stderr, "usage: worker QUEUE\n");
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	while (!stopping)
	{
		conn = PQconnectdb("");
		while (!stopping && handle_batch(argv[1]))
			;
		/* What was received has been given back by the rollback. */
		if (!stopping)
		{
			fprintf(stderr, "connecting again: %s", PQerrorMessage(conn));
			sleep(1);
		}
		PQfinish(conn);
	}
	return 0;
}
