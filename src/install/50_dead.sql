-- Dead letters and failures.
--
-- No user has rights on the tables.  The verbs write them below the level of SQL,
-- and users read them through the views, which show the queues whose table the
-- user may read as a whole.  Rows belong to a queue by its name, so that a dump
-- restores them whatever the oids.  The tables have no key, so publications
-- identify a deleted row by all of its columns.
--
-- Whoever moves a message in passing does not wait for the tables.  VACUUM would
-- shorten them under a lock that keeps him off, so vacuum_truncate is off.
CREATE TABLE once.dead_letter (
    queue        text COLLATE "C" NOT NULL,
    id           bigint NOT NULL,
    reason       text COLLATE "C" NOT NULL,
    attempts     integer NOT NULL,
    last_error   text,
    enqueued_at  timestamptz,
    deliver_at   timestamptz,
    expires_at   timestamptz,
    dead_at      timestamptz NOT NULL,
    priority     smallint,
    group_id     text,
    headers      jsonb,
    payload      jsonb
) WITH (vacuum_truncate = off, toast.vacuum_truncate = off);
CREATE INDEX dead_letter_queue_idx ON once.dead_letter (queue, dead_at, id);
ALTER TABLE once.dead_letter REPLICA IDENTITY FULL;
COMMENT ON TABLE once.dead_letter IS
'Internal: what the view dead_letters shows.';

CREATE TABLE once.failure (
    queue        text COLLATE "C" NOT NULL,
    id           bigint NOT NULL,
    attempt      integer NOT NULL,
    error        text NOT NULL,
    failed_at    timestamptz NOT NULL,
    enqueued_at  timestamptz        -- of the message: ids come again after TRUNCATE with RESTART IDENTITY
) WITH (vacuum_truncate = off, toast.vacuum_truncate = off);
CREATE INDEX failure_queue_idx ON once.failure (queue, id);
ALTER TABLE once.failure REPLICA IDENTITY FULL;
COMMENT ON TABLE once.failure IS
'Internal: what the view failures shows.';

CREATE FUNCTION once.is_own_table(queue_table oid) RETURNS boolean
AS 'MODULE_PATHNAME', 'once_is_own_table' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION once.is_own_table(oid) IS
'Internal: for the views dead_letters and failures.
Tells whether dead letters and failures under a queue''s name belong to the
table of that name. False if the table was renamed and belongs to another
queue, or if the queue''s own table has another name now.';

-- Attempt 0 is no delivery: its error is why the message is stuck.
--
-- A nack takes effect at once, but its error is there only when its transaction
-- commits.  The message may have died in between, so the last error is searched for
-- here.
CREATE VIEW once.dead_letters WITH (security_barrier) AS
SELECT d.queue, d.id, d.reason, d.attempts,
       COALESCE((SELECT f.error FROM once.failure f
                  WHERE f.queue OPERATOR(pg_catalog.=) d.queue
                    AND f.id OPERATOR(pg_catalog.=) d.id
                    AND f.enqueued_at IS NOT DISTINCT FROM d.enqueued_at
                    AND f.attempt OPERATOR(pg_catalog.>) 0
                    AND f.attempt OPERATOR(pg_catalog.<=) d.attempts
                  ORDER BY f.failed_at DESC LIMIT 1), d.last_error) AS last_error,
       d.enqueued_at, d.deliver_at,
       d.expires_at, d.dead_at, d.priority, d.group_id, d.headers, d.payload
  FROM once.dead_letter d
 WHERE EXISTS (SELECT FROM pg_catalog.pg_class c
                JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
               WHERE n.nspname OPERATOR(pg_catalog.=) 'once'
                 AND c.relname OPERATOR(pg_catalog.=) ('q_' OPERATOR(pg_catalog.||) d.queue)
                 AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}')
                 AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
                 AND NOT pg_catalog.row_security_active(c.oid)
                 AND once.is_own_table(c.oid));
COMMENT ON VIEW once.dead_letters IS
'Messages that are not delivered any more.
reason: attempts, if all deliveries that the queue allows have failed;
expired, if the time to live ended first; rejected, if a handler said so (see
work).
attempts: deliveries so far.
last_error: the last error given to nack.
Shows the queues whose table the caller may SELECT from, except those where
row security applies to the caller.
Example: SELECT id, reason, last_error, payload FROM once.dead_letters WHERE queue = ''orders'';';

CREATE VIEW once.failures WITH (security_barrier) AS
SELECT f.queue, f.id, f.attempt, f.error, f.failed_at, f.enqueued_at
  FROM once.failure f
 WHERE EXISTS (SELECT FROM pg_catalog.pg_class c
                JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
               WHERE n.nspname OPERATOR(pg_catalog.=) 'once'
                 AND c.relname OPERATOR(pg_catalog.=) ('q_' OPERATOR(pg_catalog.||) f.queue)
                 AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}')
                 AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
                 AND NOT pg_catalog.row_security_active(c.oid)
                 AND once.is_own_table(c.oid));
COMMENT ON VIEW once.failures IS
'Errors of messages that are in a queue or dead.
The last error given to nack for each message and attempt, and with attempt 0
the reason why a message is stuck.
enqueued_at: that of the message, because ids are used again after TRUNCATE
with RESTART IDENTITY.
Shows the queues whose table the caller may SELECT from, except those where
row security applies to the caller.
Example: SELECT id, attempt, error FROM once.failures WHERE queue = ''orders'' ORDER BY failed_at;';

-- What pg_dump sees of the two tables.
--
-- pg_dump may be run by anybody who may read the tables of the database, for instance
-- the owner of all queues.  That role may see their dead letters, but may not read
-- the tables that hold them.  Row security does not help: pg_dump refuses tables to
-- which it applies, or, if told not to, leaves out rows of all such tables.  So
-- pg_dump is given two tables that everybody may read and that never have rows.  In
-- place of their rows it gets those that the caller may see: it appends the condition
-- below to "SELECT columns FROM table".  (pg_dump does not accept a view.)
--
-- When the dump is restored, a trigger moves the rows to where they belong.  If the
-- trigger is disabled, the constraint raises an error.
--
-- A column that is added to one of the tables must be added here as well.
CREATE FUNCTION once.dump_dead_letters() RETURNS SETOF once.dead_letter
AS 'MODULE_PATHNAME', 'once_dump_rows' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION once.dump_dead_letters() IS
'Internal: for pg_dump, the rows of once.dead_letter.
All of them if the caller may SELECT from that table, and otherwise those that
once.dead_letters shows to the caller.';

CREATE FUNCTION once.dump_failures() RETURNS SETOF once.failure
AS 'MODULE_PATHNAME', 'once_dump_rows' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION once.dump_failures() IS
'Internal: for pg_dump, the rows of once.failure.
All of them if the caller may SELECT from that table, and otherwise those that
once.failures shows to the caller.';

CREATE FUNCTION once.restore_row() RETURNS trigger
AS 'MODULE_PATHNAME', 'once_restore_row' LANGUAGE C;
COMMENT ON FUNCTION once.restore_row() IS
'Internal: trigger of the tables for pg_dump.
Of once.dead_letter_dump, once.failure_dump and once.schedule_dump.';

CREATE TABLE once.dead_letter_dump (LIKE once.dead_letter, CONSTRAINT restored_without_disable_triggers CHECK (false));
COMMENT ON TABLE once.dead_letter_dump IS
'Internal: for pg_dump; never has rows.
What is inserted here goes to once.dead_letter.';
CREATE TRIGGER restore BEFORE INSERT ON once.dead_letter_dump FOR EACH ROW EXECUTE FUNCTION once.restore_row('dead_letter');
ALTER TABLE once.dead_letter_dump ENABLE ALWAYS TRIGGER restore;
SELECT pg_catalog.pg_extension_config_dump('once.dead_letter_dump', 'WHERE false UNION ALL SELECT * FROM once.dump_dead_letters()');

CREATE TABLE once.failure_dump (LIKE once.failure, CONSTRAINT restored_without_disable_triggers CHECK (false));
COMMENT ON TABLE once.failure_dump IS
'Internal: for pg_dump; never has rows.
What is inserted here goes to once.failure.';
CREATE TRIGGER restore BEFORE INSERT ON once.failure_dump FOR EACH ROW EXECUTE FUNCTION once.restore_row('failure');
ALTER TABLE once.failure_dump ENABLE ALWAYS TRIGGER restore;
SELECT pg_catalog.pg_extension_config_dump('once.failure_dump', 'WHERE false UNION ALL SELECT * FROM once.dump_failures()');

CREATE FUNCTION once.redrive(queue text, max_messages integer DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_redrive' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.redrive(text, integer) IS
'Sends dead letters of a queue again.
Returns how many.
max_messages: how many at most; NULL: all. Those that died first are sent
first; those of one group are sent in the order of their ids. Ids, headers,
payloads, groups and priorities stay the same. Attempts start again, and
neither delay nor expiry is kept. A dead letter that the queue refuses (by a
unique index, a check or a trigger) is left out, with a warning, and stays a
dead letter. Dead letters that another transaction is redriving are left to
that transaction.
Requires INSERT, SELECT and DELETE on the table.
Example: SELECT once.redrive(''orders'');';

CREATE FUNCTION once.redrive_ids(queue text, ids bigint[])
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_redrive_ids' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.redrive_ids(text, bigint[]) IS
'Sends the dead letters with these ids again.
Like redrive. Ignores ids that no dead letter of the queue has. NULL in place
of the array, which array_agg makes of no rows, means none.
Requires INSERT, SELECT and DELETE on the table.
Example: SELECT once.redrive_ids(''orders'', ARRAY[17, 18]);';

CREATE FUNCTION once.purge_dead_letters(queue text)
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_purge_dead_letters' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.purge_dead_letters(text) IS
'Deletes the dead letters of a queue.
Deletes their failures, too. Returns how many dead letters there were.
Only for the owner of the table.
Example: SELECT once.purge_dead_letters(''orders'');';

CREATE FUNCTION once.purge_dead_letters(queue text, ids bigint[])
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_purge_dead_letters_ids' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.purge_dead_letters(text, bigint[]) IS
'Deletes the dead letters with these ids.
Deletes their failures, too. Returns how many dead letters there were. Ignores
ids that no dead letter of the queue has. NULL in place of the array, which
array_agg makes of no rows, means none.
Only for the owner of the table.
Example: SELECT once.purge_dead_letters(''orders'', ARRAY[17, 18]);';
