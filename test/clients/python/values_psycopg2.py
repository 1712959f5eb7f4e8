#!/usr/bin/env python3
"""What values become with psycopg2, and what does not work."""

import datetime

import psycopg2
from psycopg2.extras import Json

connection = psycopg2.connect("")
connection.autocommit = True
db = connection.cursor()


def value(sql, *parameters):
    db.execute(sql, parameters)
    return db.fetchone()[0]


def fails(error, sql, *parameters):
    try:
        db.execute(sql, parameters)
    except error:
        return True
    return False


# What arrives.  A receipt is a string.
for payload in {"order": 1}, [1, "two", None], "text", None:
    value("SELECT once.send('values', %s)", Json(payload))
value("SELECT once.send('values', %s)", None)
db.execute("SELECT id, receipt, enqueued_at, leased_until, headers, payload FROM once.lease('values', '1 min', 10)")
rows = db.fetchall()
assert [row[5] for row in rows] == [{"order": 1}, [1, "two", None], "text", None, None]
message_id, receipt, enqueued_at, leased_until, headers, _ = rows[0]
assert isinstance(message_id, int) and isinstance(receipt, str) and headers is None
assert isinstance(enqueued_at, datetime.datetime) and enqueued_at.tzinfo and leased_until > enqueued_at

# What is sent
receipts = [row[1] for row in rows]
assert value("SELECT once.ack_all(%s::uuid[])", receipts) == 5
value("SELECT once.send('values', %s, delay => %s)", '{"json": "in a text"}', datetime.timedelta(seconds=10))
db.execute("SELECT once.send_batch('values', %s::jsonb[], group_ids => %s)", [[Json(1), Json([2])], ["a", None]])
assert value("SELECT once.redrive_ids('values', %s)", [1, 2]) == 0

# What fails: lists of strings without a cast, which are text[], and a dict
assert fails(psycopg2.errors.UndefinedFunction, "SELECT once.ack_all(%s)", receipts)
assert fails(psycopg2.errors.UndefinedFunction, "SELECT once.send_batch('values', %s)", [Json(1)])
assert fails(psycopg2.ProgrammingError, "SELECT once.send('values', %s)", {"order": 1})
