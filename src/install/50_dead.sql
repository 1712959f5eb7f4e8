-- Dead letters and failures.
--
-- The tables are nobody's: the verbs write them below the level of SQL, and
-- users read them through the views, which show each of them the queues whose
-- table he may read as a whole.  Rows belong to a queue by its name, so that a
-- dump restores them whatever the oids.  There is no key in them, so publications
-- tell of a row that is deleted by all of it.

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
);
CREATE INDEX dead_letter_queue_idx ON once.dead_letter (queue, dead_at, id);
ALTER TABLE once.dead_letter REPLICA IDENTITY FULL;
COMMENT ON TABLE once.dead_letter IS 'messages that are not delivered any more; read them through once.dead_letters';

CREATE TABLE once.failure (
    queue        text COLLATE "C" NOT NULL,
    id           bigint NOT NULL,
    attempt      integer NOT NULL,
    error        text NOT NULL,
    failed_at    timestamptz NOT NULL,
    enqueued_at  timestamptz        -- of the message: ids come again after TRUNCATE .. RESTART IDENTITY
);
CREATE INDEX failure_queue_idx ON once.failure (queue, id);
ALTER TABLE once.failure REPLICA IDENTITY FULL;
COMMENT ON TABLE once.failure IS 'errors given to nack, and of stuck messages; read them through once.failures';

CREATE FUNCTION once.is_own_table(queue_table oid) RETURNS boolean
AS 'MODULE_PATHNAME', 'once_is_own_table' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100;
COMMENT ON FUNCTION once.is_own_table(oid) IS
'Tells whether a table with the name of a queue''s is the one that what is known by this name belongs to: false if it is another queue''s that was renamed, or if the queue''s own table is there by another name. For the views dead_letters and failures.';

-- Attempt 0 is no delivery: its error is why the message is stuck.
--
-- A nack acts at once, and its error is there when its transaction commits: the
-- message may have died in between, so the last error is looked up.
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
'Messages that are not delivered any more. reason: attempts, when all deliveries that the queue allows have failed; expired, when the time to live was over first. attempts: deliveries it has had. last_error: what nack was given last. Shows the queues whose table the caller may SELECT from, unless row security applies to him there.';

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
'The errors that nack was given, the last one for each message and attempt, of messages that are still in the queue or among the dead letters; and with attempt 0, why a message is stuck. enqueued_at: that of the message, since ids are used again after TRUNCATE .. RESTART IDENTITY. Shows the queues whose table the caller may SELECT from, unless row security applies to him there.';

-- What pg_dump has of the two tables.  It may be called by anybody who may read the
-- tables of the database, as the owner of all queues in it may, and that includes
-- their dead letters, but not the tables that have them.  Row security is no way:
-- pg_dump refuses tables to which it applies, unless it is told not to, and then
-- leaves out rows of all of them.  So pg_dump finds tables that everybody may read,
-- which never have any rows; instead, it gets those that the caller may see (it puts
-- the condition behind SELECT columns FROM table; it does not let a view be used).
-- Where they are restored, a trigger puts them where they belong; with the trigger
-- disabled, the constraint raises an error.
--
-- A column that is added to one of the tables is added here as well.
CREATE FUNCTION once.dump_dead_letters() RETURNS SETOF once.dead_letter
AS 'MODULE_PATHNAME', 'once_dump_rows' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION once.dump_dead_letters() IS
'For pg_dump: the rows of once.dead_letter, all of them if the caller may SELECT from it, else those that once.dead_letters shows him.';

CREATE FUNCTION once.dump_failures() RETURNS SETOF once.failure
AS 'MODULE_PATHNAME', 'once_dump_rows' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION once.dump_failures() IS
'For pg_dump: the rows of once.failure, all of them if the caller may SELECT from it, else those that once.failures shows him.';

CREATE FUNCTION once.restore_row() RETURNS trigger
AS 'MODULE_PATHNAME', 'once_restore_row' LANGUAGE C;
COMMENT ON FUNCTION once.restore_row() IS 'trigger of once.dead_letter_dump and once.failure_dump';

CREATE TABLE once.dead_letter_dump (LIKE once.dead_letter, CONSTRAINT restored_without_disable_triggers CHECK (false));
COMMENT ON TABLE once.dead_letter_dump IS 'for pg_dump: never has rows; what is inserted here goes to once.dead_letter';
CREATE TRIGGER restore BEFORE INSERT ON once.dead_letter_dump FOR EACH ROW EXECUTE FUNCTION once.restore_row('dead_letter');
ALTER TABLE once.dead_letter_dump ENABLE ALWAYS TRIGGER restore;
SELECT pg_catalog.pg_extension_config_dump('once.dead_letter_dump', 'WHERE false UNION ALL SELECT * FROM once.dump_dead_letters()');

CREATE TABLE once.failure_dump (LIKE once.failure, CONSTRAINT restored_without_disable_triggers CHECK (false));
COMMENT ON TABLE once.failure_dump IS 'for pg_dump: never has rows; what is inserted here goes to once.failure';
CREATE TRIGGER restore BEFORE INSERT ON once.failure_dump FOR EACH ROW EXECUTE FUNCTION once.restore_row('failure');
ALTER TABLE once.failure_dump ENABLE ALWAYS TRIGGER restore;
SELECT pg_catalog.pg_extension_config_dump('once.failure_dump', 'WHERE false UNION ALL SELECT * FROM once.dump_failures()');

CREATE FUNCTION once.redrive(queue text, max_messages integer DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_redrive' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.redrive(text, integer) IS
'Sends dead letters of a queue again, those that died first first, at most max_messages (NULL: all), and returns how many. Those of a group are sent in the order of their ids. Ids, headers, payloads, groups and priorities stay; attempts start again, and neither delay nor expiry is kept. What the queue does not take (a unique index, a check, a trigger) is left out with a warning, and stays a dead letter. Dead letters that somebody else is redriving are left to him. Wants INSERT, SELECT and DELETE on the table.';

CREATE FUNCTION once.redrive_ids(queue text, ids bigint[])
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_redrive_ids' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.redrive_ids(text, bigint[]) IS
'As redrive, for the dead letters with these ids. An id that no dead letter of the queue has is ignored, and so is NULL in place of the array, which array_agg makes of no rows. Wants INSERT, SELECT and DELETE on the table.';

CREATE FUNCTION once.purge_dead_letters(queue text)
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_purge_dead_letters' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.purge_dead_letters(text) IS
'Deletes the dead letters of a queue with their failures, and returns how many. For the owner of the table.';

CREATE FUNCTION once.purge_dead_letters(queue text, ids bigint[])
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_purge_dead_letters_ids' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.purge_dead_letters(text, bigint[]) IS
'Deletes the dead letters with these ids, with their failures, and returns how many. An id that is none''s is ignored, and so is NULL in place of the array, which array_agg makes of no rows. For the owner of the table.';
