#!/usr/bin/env python3
"""What values become with psycopg 3, and what does not work."""

import datetime
import uuid

import psycopg
from psycopg.types.json import Jsonb

db = psycopg.connect(autocommit=True, prepare_threshold=None)


def value(sql, *parameters):
    return db.execute(sql, parameters).fetchone()[0]


def fails(error, sql, *parameters):
    try:
        db.execute(sql, parameters)
    except error:
        return True
    return False


# What arrives.  NULL and JSON's null are both None.
for payload in {"order": 1, "price": 1.5}, [1, "two", None], "text", 17, None:
    value("SELECT once.send('values', %s)", Jsonb(payload))
value("SELECT once.send('values', NULL)")
rows = db.execute("SELECT * FROM once.lease('values', '1 min', 10)").fetchall()
assert [row[8] for row in rows] == [{"order": 1, "price": 1.5}, [1, "two", None], "text", 17, None, None]
message_id, receipt, attempt, enqueued_at, leased_until, priority, group_id, headers, _ = rows[0]
assert isinstance(message_id, int) and isinstance(receipt, uuid.UUID) and attempt == 1 and priority == 4
assert isinstance(enqueued_at, datetime.datetime) and enqueued_at.tzinfo and leased_until > enqueued_at
assert group_id is None and headers is None

# What is sent
assert value("SELECT once.ack_all(%s)", [row[1] for row in rows]) == 6          # uuid[]
value("SELECT once.send('values', %s, delay => %s)", '"json in a text"', datetime.timedelta(seconds=10))
value("SELECT once.send('values', %s, deliver_at => %s)", Jsonb(1), datetime.datetime.now(datetime.timezone.utc))
db.execute("SELECT once.send_batch('values', %s, group_ids => %s)", [[Jsonb(1), Jsonb([2])], ["a", None]])
db.execute("SELECT once.send_batch('values', %s)", [['{"order": 1}']])
assert value("SELECT once.redrive_ids('values', %s)", [1, 2]) == 0               # bigint[]

# What fails: a dict, and a list, which is an array
assert fails(psycopg.ProgrammingError, "SELECT once.send('values', %s)", {"order": 1})
assert fails(psycopg.errors.UndefinedFunction, "SELECT once.send('values', %s)", [1, 2])
