#!/usr/bin/env python3
"""A worker with psycopg 3: takes orders from a queue and ships them.

    worker.py QUEUE

PGHOST, PGDATABASE and the other variables of libpq say where the database is.
"""

import contextlib
import logging
import signal
import sys
import threading
import time

import psycopg

QUEUE = sys.argv[1]
CONCURRENCY = 4
SIGNALS = {signal.SIGTERM, signal.SIGINT}

RECEIVE = "SELECT receipt, payload FROM once.receive(%s, 10, wait => '30 s')"

stopping = threading.Event()


def work(connection, payload):
    """The work for one message.  What it writes commits together with the ack."""
    connection.execute("INSERT INTO shipment (order_no) VALUES (%s)", [payload["order"]])


class Worker(threading.Thread):
    connection = None
    waiting = False

    def run(self):
        while not stopping.is_set():
            try:
                # prepare_threshold: see what the page says about PgBouncer
                with psycopg.connect(autocommit=True, prepare_threshold=None) as self.connection:
                    while not stopping.is_set():
                        self.handle_batch()
            except Exception as error:
                # What was received has been given back by the rollback.
                if not stopping.is_set():
                    logging.warning("connecting again: %s", error)
                    stopping.wait(1)

    def handle_batch(self):
        with self.connection.transaction():
            for receipt, payload in self.receive():
                try:
                    with self.connection.transaction():     # a savepoint
                        self.connection.execute("SELECT once.ack(%s)", [receipt])
                        work(self.connection, payload)
                except Exception as error:
                    self.give_back(receipt, error)

    def receive(self):
        self.waiting = True
        try:
            return self.connection.execute(RECEIVE, [QUEUE]).fetchall()
        finally:
            self.waiting = False

    def give_back(self, receipt, error):
        sqlstate = getattr(error, "sqlstate", None)
        if sqlstate in ("40001", "40P01"):
            # Not the message's fault: it is delivered again at once, and no attempt counts.
            self.connection.execute("SELECT once.release(%s)", [receipt])
        elif sqlstate != "ON003":
            # (ON003: the message went back with an earlier one of its group.)
            self.connection.execute("SELECT once.nack(%s, error => %s)", [receipt, str(error)])

    def end_wait(self):
        with contextlib.suppress(psycopg.Error):
            if self.waiting:
                self.connection.cancel()


# Threads inherit the mask, so that only sigwait takes the signals.
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
workers = [Worker() for _ in range(CONCURRENCY)]
for worker in workers:
    worker.start()

signal.sigwait(SIGNALS)
stopping.set()
# Repeat it, since a cancel that arrives just before the call does nothing.
while any(worker.is_alive() for worker in workers):
    for worker in workers:
        worker.end_wait()
    time.sleep(0.1)
