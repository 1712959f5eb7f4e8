-- complain if this file is sourced in psql, rather than through ALTER EXTENSION
\echo Use "ALTER EXTENSION pg_once UPDATE TO '0.2.0'" to load this file. \quit

-- From 0.1.0 to 0.2.0.
--
-- Afterwards the objects are the same as those of a fresh 0.2.0, and queues of 0.1.0 are
-- like those that create_queue of 0.2.0 makes.  test/t/088_extension_update.pl
-- compares both.
--
-- Rights that users have granted or revoked stay, except those on functions that must be
-- dropped.  So this file does not use GRANT or REVOKE on an object that 0.1.0 has: in a
-- script, these make all rights on the object part of the extension, also those that a
-- user has granted, and pg_dump then leaves them out.
--
-- All of this is one transaction.  It locks the queues before the tables of the extension,
-- as consumers do.


-- The new library.  If this session has loaded the old one, this fails, before anything
-- takes long.

-- For the functions that PUBLIC may not execute: its error says whom to ask.
CREATE FUNCTION once.execute_support(internal) RETURNS internal
AS 'MODULE_PATHNAME', 'once_execute_support' LANGUAGE C STRICT;

-- The old library must not see the new tables: it would write past the end of an array.
-- A session that began before the new library was installed may have loaded the old one.
-- The times of files are cut to seconds.
DO LANGUAGE plpgsql $$
DECLARE
    pids text;
BEGIN
    SELECT pg_catalog.string_agg(a.pid::pg_catalog.text, ', ' ORDER BY a.pid) INTO pids
      FROM pg_catalog.pg_stat_activity a
     CROSS JOIN pg_catalog.pg_config c
     CROSS JOIN LATERAL pg_catalog.unnest(ARRAY['.so', '.dylib', '.dll']) AS s (suffix)
     CROSS JOIN LATERAL pg_catalog.pg_stat_file(c.setting OPERATOR(pg_catalog.||) '/pg_once' OPERATOR(pg_catalog.||) s.suffix, true) AS f
     WHERE c.name OPERATOR(pg_catalog.=) 'PKGLIBDIR'
       AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
       AND a.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
       AND a.backend_start OPERATOR(pg_catalog.<) (COALESCE(f.change, f.modification) OPERATOR(pg_catalog.+) '1 s'::pg_catalog.interval);
    IF pids IS NOT NULL THEN
        RAISE EXCEPTION 'other sessions may use the old library of extension pg_once'
              USING ERRCODE = 'object_in_use',
                    DETAIL = pg_catalog.format('Processes that are older than the new library: %s.', pids),
                    HINT = 'End these sessions, for instance with pg_terminate_backend, or restart the server.';
    END IF;
END $$;

-- A prepared transaction that has used a queue holds locks until it ends.  Do not wait
-- for that, since nobody may be about to end it.
DO LANGUAGE plpgsql $$
DECLARE
    gids text;
BEGIN
    SELECT pg_catalog.string_agg(DISTINCT pg_catalog.quote_literal(p.gid), ', ') INTO gids
      FROM pg_catalog.pg_prepared_xacts p
      JOIN pg_catalog.pg_locks x
        ON x.locktype OPERATOR(pg_catalog.=) 'transactionid'
       AND x.transactionid OPERATOR(pg_catalog.=) p.transaction
       AND x.pid IS NULL
      JOIN pg_catalog.pg_locks l
        ON l.virtualtransaction OPERATOR(pg_catalog.=) x.virtualtransaction
       AND l.locktype OPERATOR(pg_catalog.=) 'relation'
       AND l.pid IS NULL
     WHERE p.database OPERATOR(pg_catalog.=) pg_catalog.current_database()
       AND (EXISTS (SELECT FROM pg_catalog.pg_index i
                      JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid
                      JOIN pg_catalog.pg_am a ON a.oid OPERATOR(pg_catalog.=) c.relam
                     WHERE a.amname OPERATOR(pg_catalog.=) 'once_queue'
                       AND l.relation IN (i.indrelid, i.indexrelid))
            OR l.relation IN ('once.queue'::pg_catalog.regclass, 'once.dead_letter'::pg_catalog.regclass, 'once.failure'::pg_catalog.regclass));
    IF gids IS NOT NULL THEN
        RAISE EXCEPTION 'prepared transactions have used queues of extension pg_once'
              USING ERRCODE = 'object_in_use',
                    DETAIL = pg_catalog.format('Prepared transactions: %s.', gids),
                    HINT = 'End them with COMMIT PREPARED or ROLLBACK PREPARED.';
    END IF;
END $$;

-- The index has another format on disk (version 3 instead of 2), and is built anew from
-- the table.  This keeps all messages, and forgets leases and attempts.  What is left of
-- a REINDEX CONCURRENTLY that has failed is not built.
DO LANGUAGE plpgsql $$
DECLARE
    index_name text;
BEGIN
    FOR index_name IN
        SELECT c.oid::pg_catalog.regclass::pg_catalog.text
          FROM pg_catalog.pg_class c
          JOIN pg_catalog.pg_am a ON a.oid OPERATOR(pg_catalog.=) c.relam
          JOIN pg_catalog.pg_index i ON i.indexrelid OPERATOR(pg_catalog.=) c.oid
         WHERE a.amname OPERATOR(pg_catalog.=) 'once_queue'
           AND c.relkind OPERATOR(pg_catalog.=) 'i'
           AND c.relpersistence OPERATOR(pg_catalog.<>) 't'
           AND i.indisvalid
         ORDER BY i.indrelid
    LOOP
        EXECUTE pg_catalog.format('REINDEX INDEX %s', index_name);
    END LOOP;
END $$;


-- Queues

ALTER TABLE once.queue ADD COLUMN table_id text COLLATE "C";

ALTER FUNCTION once.create_queue(text, boolean, boolean, boolean, integer, interval, interval, interval, interval, interval, text, interval)
    SUPPORT once.execute_support;


-- A queue without a row in once.queue is listed as well, with the default options.
CREATE FUNCTION once.distributed_options(
    queue_table oid,
    OUT max_attempts integer,
    OUT retry_delay interval,
    OUT retry_delay_max interval,
    OUT ttl interval,
    OUT ttl_action text,
    OUT retention interval,
    OUT send_paused boolean,
    OUT consume_paused boolean)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_distributed_options' LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 1;
CREATE OR REPLACE FUNCTION once.list_queues()
RETURNS TABLE (
    queue text,
    owner name,
    unlogged boolean,
    id_index boolean,
    max_attempts integer,
    retry_delay interval,
    retry_delay_max interval,
    dedup_window interval,
    archive interval,
    ttl interval,
    ttl_action text,
    retention interval,
    send_paused boolean,
    consume_paused boolean,
    created_at timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT n.queue,
           pg_catalog.pg_get_userbyid(c.relowner),
           c.relpersistence OPERATOR(pg_catalog.=) 'u',
           EXISTS (SELECT FROM pg_catalog.pg_index i
                   JOIN pg_catalog.pg_attribute a
                     ON a.attrelid OPERATOR(pg_catalog.=) i.indrelid
                    AND a.attnum OPERATOR(pg_catalog.=) i.indkey[0]
                   WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid
                     AND i.indisunique AND i.indisvalid
                     AND i.indnkeyatts OPERATOR(pg_catalog.=) 1
                     AND i.indpred IS NULL AND i.indexprs IS NULL
                     AND a.attname OPERATOR(pg_catalog.=) 'id'),
           COALESCE(d.max_attempts, q.max_attempts, 10),
           COALESCE(d.retry_delay, q.retry_delay, '1 s'),
           COALESCE(d.retry_delay_max, q.retry_delay_max, '1 h'),
           COALESCE(q.dedup_window, '5 min'),
           CASE WHEN d.max_attempts IS NULL THEN q.archive END,
           CASE WHEN d.max_attempts IS NULL THEN q.ttl ELSE d.ttl END,
           COALESCE(d.ttl_action, q.ttl_action, 'dead_letter'),
           CASE WHEN d.max_attempts IS NULL THEN q.retention ELSE d.retention END,
           COALESCE(d.send_paused, q.send_paused, false),
           COALESCE(d.consume_paused, q.consume_paused, false),
           q.created_at
      FROM pg_catalog.pg_class c
     CROSS JOIN LATERAL (SELECT pg_catalog.substr(c.relname::pg_catalog.text, 3) COLLATE "C") AS n (queue)
      LEFT JOIN once.queue q ON q.queue OPERATOR(pg_catalog.=) n.queue
      LEFT JOIN LATERAL once.distributed_options(c.oid) AS d ON true
     WHERE c.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
       AND pg_catalog.starts_with(c.relname::pg_catalog.text, 'q_')
       AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}')
     ORDER BY n.queue;
END;

CREATE FUNCTION once.distribute_queue(
    queue text,
    by text DEFAULT 'id',
    shards integer DEFAULT 32,
    colocate_with text DEFAULT 'none')
RETURNS void
AS 'MODULE_PATHNAME', 'once_distribute_queue' LANGUAGE C VOLATILE PARALLEL UNSAFE;

-- The default of the column id of distributed queues, so whoever may insert calls it.
CREATE FUNCTION once.next_id()
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_next_id' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;

-- As with once.maintain, a SET clause would keep it from ending transactions.
CREATE PROCEDURE once.wait(queues text[], timeout interval, INOUT ready text DEFAULT NULL)
AS 'MODULE_PATHNAME', 'once_wait' LANGUAGE C;

CREATE FUNCTION once.release(queue text, ids bigint[])
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_release_ids' LANGUAGE C VOLATILE PARALLEL UNSAFE;


-- Dead letters and failures

ALTER TABLE once.dead_letter SET (vacuum_truncate = off, toast.vacuum_truncate = off);
ALTER TABLE once.dead_letter REPLICA IDENTITY FULL;
ALTER TABLE once.failure ADD COLUMN enqueued_at timestamptz;
ALTER TABLE once.failure SET (vacuum_truncate = off, toast.vacuum_truncate = off);
ALTER TABLE once.failure REPLICA IDENTITY FULL;

-- A failure now belongs to a message by the time of sending as well.
UPDATE once.failure f
   SET enqueued_at = d.enqueued_at
  FROM once.dead_letter d
 WHERE d.queue OPERATOR(pg_catalog.=) f.queue AND d.id OPERATOR(pg_catalog.=) f.id;

-- The messages that are still in a queue: read only plain columns of the types that they
-- were made with, so that no code of the table's owner runs here.  The table is locked,
-- so that it stays like this.
DO LANGUAGE plpgsql $$
DECLARE
    f record;
BEGIN
    FOR f IN
        SELECT DISTINCT x.queue, c.oid AS relid, c.oid::pg_catalog.regclass::pg_catalog.text AS queue_table
          FROM once.failure x
          JOIN pg_catalog.pg_class c ON c.relname OPERATOR(pg_catalog.=) ('q_' OPERATOR(pg_catalog.||) x.queue)
         WHERE x.enqueued_at IS NULL
           AND c.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
           AND c.relkind OPERATOR(pg_catalog.=) 'r'
           AND c.relpersistence OPERATOR(pg_catalog.<>) 't'
         ORDER BY c.oid
    LOOP
        EXECUTE pg_catalog.format('LOCK TABLE ONLY %s IN SHARE MODE', f.queue_table);
        IF (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a
             WHERE a.attrelid OPERATOR(pg_catalog.=) f.relid
               AND a.attgenerated OPERATOR(pg_catalog.=) ''
               AND (a.attname, a.atttypid) IN (('id', 'pg_catalog.int8'::pg_catalog.regtype), ('enqueued_at', 'pg_catalog.timestamptz'::pg_catalog.regtype))) OPERATOR(pg_catalog.=) 2 THEN
            EXECUTE pg_catalog.format('UPDATE once.failure f SET enqueued_at = m.enqueued_at FROM ONLY %s m'
                                      ' WHERE f.queue OPERATOR(pg_catalog.=) %L AND f.enqueued_at IS NULL'
                                      ' AND f.id OPERATOR(pg_catalog.=) m.id', f.queue_table, f.queue);
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION once.is_own_table(queue_table oid) RETURNS boolean
AS 'MODULE_PATHNAME', 'once_is_own_table' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100;

-- Attempt 0 is no delivery: its error is why the message is stuck.
--
-- A nack takes effect at once, but its error is there only when its transaction
-- commits.  The message may have died in between, so the last error is searched for
-- here.
CREATE OR REPLACE VIEW once.dead_letters WITH (security_barrier) AS
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

CREATE OR REPLACE VIEW once.failures WITH (security_barrier) AS
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

-- What pg_dump reads instead of the two tables.
CREATE FUNCTION once.dump_dead_letters() RETURNS SETOF once.dead_letter
AS 'MODULE_PATHNAME', 'once_dump_rows' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;

CREATE FUNCTION once.dump_failures() RETURNS SETOF once.failure
AS 'MODULE_PATHNAME', 'once_dump_rows' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;

CREATE FUNCTION once.restore_row() RETURNS trigger
AS 'MODULE_PATHNAME', 'once_restore_row' LANGUAGE C;

CREATE TABLE once.dead_letter_dump (LIKE once.dead_letter, CONSTRAINT restored_without_disable_triggers CHECK (false));
CREATE TRIGGER restore BEFORE INSERT ON once.dead_letter_dump FOR EACH ROW EXECUTE FUNCTION once.restore_row('dead_letter');
ALTER TABLE once.dead_letter_dump ENABLE ALWAYS TRIGGER restore;

CREATE TABLE once.failure_dump (LIKE once.failure, CONSTRAINT restored_without_disable_triggers CHECK (false));
CREATE TRIGGER restore BEFORE INSERT ON once.failure_dump FOR EACH ROW EXECUTE FUNCTION once.restore_row('failure');
ALTER TABLE once.failure_dump ENABLE ALWAYS TRIGGER restore;

CREATE FUNCTION once.redrive_ids(queue text, ids bigint[])
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_redrive_ids' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION once.purge_dead_letters(queue text, ids bigint[])
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_purge_dead_letters_ids' LANGUAGE C VOLATILE PARALLEL UNSAFE;


-- Ledgers

ALTER FUNCTION once.create_ledger(text, interval, boolean, boolean) SUPPORT once.execute_support;

CREATE FUNCTION once.get_result(ledger text, id text)
RETURNS TABLE (processed_at timestamptz, result jsonb)
AS 'MODULE_PATHNAME', 'once_get_result' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;


-- Consuming in the database.

-- A procedure with a SET clause could not commit.  So the C code qualifies names itself.
CREATE PROCEDURE once.work(
    queue text,
    handler regprocedure,
    max_messages integer DEFAULT 1,
    until interval DEFAULT NULL)
AS 'MODULE_PATHNAME', 'once_work' LANGUAGE C;


-- Schedules: messages at due times.
--
-- begins_at: what every counts from.  last_due: the last due time that has been done, in
-- the same transaction that sent its message.  role_id is the role on this server.  In a
-- row that comes from another server it means nothing, and the name counts.
--
-- No user has rights on the table, because payloads and headers are only for members of
-- the role.
CREATE TABLE once.schedule (
    name          text COLLATE "C" NOT NULL PRIMARY KEY,
    queue         text COLLATE "C" NOT NULL,
    cron          text,
    every         interval,
    payload       jsonb,
    headers       jsonb,
    group_id      text,
    timezone      text NOT NULL,
    catch_up      text COLLATE "C" NOT NULL,
    role          name NOT NULL,
    role_id       text COLLATE "C",
    created_at    timestamptz NOT NULL,
    begins_at     timestamptz NOT NULL,
    last_due      timestamptz,
    last_error    text,
    last_error_at timestamptz
);

CREATE FUNCTION once.create_schedule(
    name text,
    queue text,
    cron text DEFAULT NULL,
    every interval DEFAULT NULL,
    payload jsonb DEFAULT NULL,
    headers jsonb DEFAULT NULL,
    group_id text DEFAULT NULL,
    timezone text DEFAULT 'UTC',
    catch_up text DEFAULT 'one')
RETURNS void
AS 'MODULE_PATHNAME', 'once_create_schedule' LANGUAGE C VOLATILE PARALLEL UNSAFE
SUPPORT once.execute_support;

CREATE FUNCTION once.drop_schedule(name text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_drop_schedule' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION once.next_runs(
    cron text,
    timezone text DEFAULT 'UTC',
    n integer DEFAULT 5,
    after timestamptz DEFAULT NULL)
RETURNS SETOF timestamptz
AS 'MODULE_PATHNAME', 'once_next_runs' LANGUAGE C STABLE PARALLEL SAFE ROWS 5;

CREATE FUNCTION once.next_due(cron text, every interval, timezone text, begins_at timestamptz, last_due timestamptz)
RETURNS timestamptz
AS 'MODULE_PATHNAME', 'once_next_due' LANGUAGE C STABLE PARALLEL SAFE;

CREATE FUNCTION once.is_own_schedule(role name, role_id text) RETURNS boolean
AS 'MODULE_PATHNAME', 'once_is_own_schedule' LANGUAGE C STABLE PARALLEL SAFE COST 10;

CREATE VIEW once.schedules WITH (security_barrier) AS
SELECT s.name, s.queue, s.cron, s.every,
       CASE WHEN once.is_own_schedule(s.role, s.role_id) THEN s.payload END AS payload,
       CASE WHEN once.is_own_schedule(s.role, s.role_id) THEN s.headers END AS headers,
       CASE WHEN once.is_own_schedule(s.role, s.role_id) THEN s.group_id END AS group_id,
       s.timezone, s.catch_up, s.role, s.last_due,
       once.next_due(s.cron, s.every, s.timezone, s.begins_at, s.last_due) AS next_due,
       CASE WHEN once.is_own_schedule(s.role, s.role_id) THEN s.last_error END AS last_error,
       s.last_error_at, s.created_at
  FROM once.schedule s;

CREATE FUNCTION once.list_schedules()
RETURNS TABLE (
    name text,
    queue text,
    cron text,
    every interval,
    payload jsonb,
    headers jsonb,
    group_id text,
    timezone text,
    catch_up text,
    role name,
    last_due timestamptz,
    next_due timestamptz,
    last_error text,
    last_error_at timestamptz,
    created_at timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.name, s.queue, s.cron, s.every, s.payload, s.headers, s.group_id, s.timezone, s.catch_up, s.role, s.last_due,
           s.next_due, s.last_error, s.last_error_at, s.created_at
      FROM once.schedules s
     ORDER BY s.name;
END;

-- For pg_dump, as in 50_dead.sql
CREATE FUNCTION once.dump_schedules() RETURNS SETOF once.schedule
AS 'MODULE_PATHNAME', 'once_dump_schedules' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;

CREATE TABLE once.schedule_dump (LIKE once.schedule, CONSTRAINT restored_without_disable_triggers CHECK (false));
CREATE TRIGGER restore BEFORE INSERT ON once.schedule_dump FOR EACH ROW EXECUTE FUNCTION once.restore_row('schedule');
ALTER TABLE once.schedule_dump ENABLE ALWAYS TRIGGER restore;


-- Workers: consumers that the server runs.
--
-- handler: the signature, with schemas.  role_id: as in once.schedule.
CREATE TABLE once.worker (
    name         text COLLATE "C" NOT NULL PRIMARY KEY,
    queue        text COLLATE "C" NOT NULL,
    handler      text NOT NULL,
    concurrency  integer NOT NULL,
    max_messages integer NOT NULL,
    role         name NOT NULL,
    role_id      text COLLATE "C",
    paused       boolean NOT NULL,
    created_at   timestamptz NOT NULL
);

CREATE FUNCTION once.create_worker(
    name text,
    queue text,
    handler regprocedure,
    concurrency integer DEFAULT 1,
    max_messages integer DEFAULT 1)
RETURNS void
AS 'MODULE_PATHNAME', 'once_create_worker' LANGUAGE C VOLATILE PARALLEL UNSAFE
SUPPORT once.execute_support;

CREATE FUNCTION once.drop_worker(name text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_drop_worker' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION once.pause_worker(name text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_pause_worker' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION once.resume_worker(name text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_resume_worker' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION once.worker_figures()
RETURNS TABLE (
    name text,
    pids integer[],
    processed bigint,
    failed bigint,
    last_error text,
    last_error_at timestamptz,
    restart_at timestamptz)
AS 'MODULE_PATHNAME', 'once_worker_figures' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;

CREATE VIEW once.workers AS
SELECT w.name, w.queue, w.handler, w.concurrency, w.max_messages, w.role,
       CASE WHEN f.name IS NULL THEN 'not started'
            WHEN w.paused THEN CASE WHEN f.pids OPERATOR(pg_catalog.=) '{}' THEN 'paused' ELSE 'stopping' END
            WHEN pg_catalog.cardinality(f.pids) OPERATOR(pg_catalog.=) w.concurrency THEN 'running'
            WHEN f.restart_at IS NOT NULL THEN 'waiting after an error'
            WHEN f.last_error_at IS NOT NULL AND f.pids OPERATOR(pg_catalog.=) '{}' THEN 'stopped'
            ELSE 'starting'
       END AS state,
       COALESCE(f.pids, '{}') AS pids,
       COALESCE(f.processed, 0) AS processed,
       COALESCE(f.failed, 0) AS failed,
       f.last_error, f.last_error_at, w.created_at
  FROM once.worker w
  LEFT JOIN once.worker_figures() f ON f.name OPERATOR(pg_catalog.=) w.name;


-- Inspection.  peek and slots return more columns, so they are new functions.
DO LANGUAGE plpgsql $$
DECLARE
    p record;
BEGIN
    FOR p IN
        SELECT f.oid::pg_catalog.regprocedure AS name, f.proacl AS acl
          FROM pg_catalog.pg_proc f
          LEFT JOIN pg_catalog.pg_init_privs i
            ON i.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
           AND i.objoid OPERATOR(pg_catalog.=) f.oid
         WHERE f.oid IN ('once.peek(text, integer)'::pg_catalog.regprocedure, 'once.slots(text)'::pg_catalog.regprocedure)
           AND f.proacl IS DISTINCT FROM i.initprivs
    LOOP
        RAISE WARNING 'function % is replaced, and anybody may execute it again', p.name
              USING DETAIL = pg_catalog.format('Its privileges were %s.', p.acl),
                    HINT = 'Use GRANT and REVOKE to change them again.';
    END LOOP;
END $$;

DROP FUNCTION once.peek(text, integer);
DROP FUNCTION once.slots(text);

CREATE FUNCTION once.peek(
    queue text,
    max_messages integer DEFAULT 10,
    OUT id bigint,
    OUT attempt integer,
    OUT enqueued_at timestamptz,
    OUT ready_at timestamptz,
    OUT priority smallint,
    OUT group_id text,
    OUT headers jsonb,
    OUT payload jsonb,
    OUT state text,
    OUT error text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_peek' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;

CREATE FUNCTION once.slots(
    queue text,
    OUT lane integer,
    OUT block bigint,
    OUT slot integer,
    OUT state text,
    OUT now text,
    OUT claim text,
    OUT claim_xid xid8,
    OUT row_ctid tid,
    OUT attempts integer,
    OUT ready_at timestamptz,
    OUT scheduled boolean,
    OUT group_hash bigint,
    OUT blocked boolean,
    OUT stuck integer)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_slots' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;


-- Statistics.  Functions that begin with stat_ are for the views of their names.

CREATE FUNCTION once.stat_queue(
    queue_table oid,
    OUT ready bigint,
    OUT delayed bigint,
    OUT claimed bigint,
    OUT blocked bigint,
    OUT dead bigint,
    OUT stuck bigint,
    OUT depth_error bigint,
    OUT oldest_ready interval,
    OUT oldest_claim interval,
    OUT waiters bigint,
    OUT dead_letters bigint,
    OUT dead_letters_error bigint,
    OUT sent bigint,
    OUT received bigint,
    OUT redelivered bigint,
    OUT acked bigint,
    OUT nacked bigint,
    OUT expired bigint,
    OUT dead_lettered bigint,
    OUT lease_lost bigint,
    OUT counted_since timestamptz,
    OUT index_pages bigint,
    OUT dead_rows bigint,
    OUT problem text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_stat_queue' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 10000 ROWS 1;

CREATE VIEW once.stat_queues AS
SELECT q.queue, s.*, COALESCE(w.workers, 0) AS workers
  FROM (SELECT pg_catalog.substr(c.relname::pg_catalog.text, 3) COLLATE "C" AS queue, c.oid AS queue_table
          FROM pg_catalog.pg_class c
         WHERE c.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
           AND pg_catalog.starts_with(c.relname::pg_catalog.text, 'q_')
           AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}')) AS q
 CROSS JOIN LATERAL once.stat_queue(q.queue_table) AS s
  LEFT JOIN (SELECT queue, pg_catalog.sum(pg_catalog.cardinality(pids)) AS workers FROM once.workers GROUP BY queue) AS w
    ON w.queue OPERATOR(pg_catalog.=) q.queue;

CREATE FUNCTION once.stat_latency(
    queue_table oid,
    OUT messages bigint,
    OUT p50 interval,
    OUT p90 interval,
    OUT p99 interval,
    OUT counted_since timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_stat_latency' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 1;

CREATE FUNCTION once.stat_latency_buckets(
    queue_table oid,
    OUT below interval,
    OUT messages bigint,
    OUT total bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_stat_latency_buckets' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 24;

CREATE VIEW once.stat_latency AS
SELECT q.queue, s.*
  FROM (SELECT pg_catalog.substr(c.relname::pg_catalog.text, 3) COLLATE "C" AS queue, c.oid AS queue_table
          FROM pg_catalog.pg_class c
         WHERE c.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
           AND pg_catalog.starts_with(c.relname::pg_catalog.text, 'q_')
           AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}')) AS q
 CROSS JOIN LATERAL once.stat_latency(q.queue_table) AS s;

CREATE VIEW once.stat_latency_buckets AS
SELECT q.queue, s.*
  FROM (SELECT pg_catalog.substr(c.relname::pg_catalog.text, 3) COLLATE "C" AS queue, c.oid AS queue_table
          FROM pg_catalog.pg_class c
         WHERE c.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
           AND pg_catalog.starts_with(c.relname::pg_catalog.text, 'q_')
           AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}')) AS q
 CROSS JOIN LATERAL once.stat_latency_buckets(q.queue_table) AS s;

CREATE FUNCTION once.stat_consumers(
    queue_table oid,
    OUT what text,
    OUT pid integer,
    OUT xid xid8,
    OUT since timestamptz,
    OUT until timestamptz,
    OUT messages bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_stat_consumers' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 10000 ROWS 10;

CREATE VIEW once.consumers AS
SELECT q.queue, s.what, s.pid, a.usename, a.application_name, a.client_addr, a.state, s.xid, s.since, s.until, s.messages
  FROM (SELECT pg_catalog.substr(c.relname::pg_catalog.text, 3) COLLATE "C" AS queue, c.oid AS queue_table
          FROM pg_catalog.pg_class c
         WHERE c.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
           AND pg_catalog.starts_with(c.relname::pg_catalog.text, 'q_')
           AND c.relkind OPERATOR(pg_catalog.=) 'r') AS q
 CROSS JOIN LATERAL once.stat_consumers(q.queue_table) AS s
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) s.pid;

CREATE FUNCTION once.stat_progress(
    OUT queue_table oid,
    OUT pid integer,
    OUT work text,
    OUT since timestamptz,
    OUT done bigint,
    OUT total bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_stat_progress' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 10;

CREATE VIEW once.progress AS
SELECT pg_catalog.substr(c.relname::pg_catalog.text, 3) COLLATE "C" AS queue, s.work, s.pid, a.usename, a.application_name, s.since, s.done, s.total
  FROM once.stat_progress() AS s
  JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) s.queue_table
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) s.pid;

CREATE FUNCTION once.shard_places(
    queue text,
    OUT shard text,
    OUT groupid integer,
    OUT host text,
    OUT port integer,
    OUT local boolean,
    OUT shard_table oid)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_shard_places' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 32;

CREATE FUNCTION once.shard_consumers(queue_table oid)
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_shard_consumers' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 10000;

CREATE FUNCTION once.shards(queue text)
RETURNS TABLE (
    shard text,
    groupid integer,
    host text,
    port integer,
    local boolean,
    consumers bigint)
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 32
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT p.shard, p.groupid, p.host, p.port, p.local,
           CASE WHEN p.local THEN once.shard_consumers(p.shard_table) END
      FROM once.shard_places(shards.queue) AS p;
END;

CREATE FUNCTION once.reset_stats(queue text DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'once_reset_stats' LANGUAGE C VOLATILE PARALLEL UNSAFE;

-- Not made of the views: the planner does not know what they cost, and may read one of
-- them anew for each row of another.
CREATE VIEW once.top AS
SELECT t.*
  FROM (SELECT pg_catalog.substr(k.relname::pg_catalog.text, 3) COLLATE "C" AS queue,
               s.ready, s.claimed, s.delayed, s.blocked, s.dead_letters,
               s.oldest_ready, s.oldest_claim,
               s.sent, s.acked, s.redelivered,
               l.p50, l.p99,
               c.consumers,
               CASE WHEN s.problem IS NOT NULL THEN s.problem
                    WHEN s.stuck OPERATOR(pg_catalog.>) 0 THEN 'stuck messages'
                    WHEN s.oldest_claim OPERATOR(pg_catalog.>) '5 min'::pg_catalog.interval THEN 'messages are held for long'
                    WHEN s.oldest_ready OPERATOR(pg_catalog.>) '1 min'::pg_catalog.interval
                         AND c.consumers OPERATOR(pg_catalog.=) 0 THEN 'nobody consumes'
                    WHEN s.dead OPERATOR(pg_catalog.>) 0
                         AND c.consumers OPERATOR(pg_catalog.=) 0 THEN 'dead messages wait for maintain'
                    WHEN s.oldest_ready OPERATOR(pg_catalog.>) '1 min'::pg_catalog.interval THEN 'consumers are behind'
               END AS trouble
          FROM pg_catalog.pg_class k
         CROSS JOIN LATERAL once.stat_queue(k.oid) AS s
          LEFT JOIN LATERAL once.stat_latency(k.oid) AS l ON true
         CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS consumers FROM once.stat_consumers(k.oid)) AS c
         WHERE k.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
           AND pg_catalog.starts_with(k.relname::pg_catalog.text, 'q_')
           AND k.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}')) AS t
 ORDER BY t.trouble IS NULL, t.oldest_ready DESC NULLS LAST, t.queue
 LIMIT 40;


-- Help
CREATE FUNCTION once.help(topic text DEFAULT NULL)
RETURNS SETOF text
AS 'MODULE_PATHNAME', 'once_help' LANGUAGE C STABLE PARALLEL SAFE ROWS 100;

-- What pg_dump saves.  No command takes once.dead_letter and once.failure off the list, so
-- it is made anew.
UPDATE pg_catalog.pg_extension
   SET extconfig = NULL, extcondition = NULL
 WHERE extname OPERATOR(pg_catalog.=) 'pg_once';
SELECT pg_catalog.pg_extension_config_dump('once.queue', '');
SELECT pg_catalog.pg_extension_config_dump('once.dead_letter_dump', 'WHERE false UNION ALL SELECT * FROM once.dump_dead_letters()');
SELECT pg_catalog.pg_extension_config_dump('once.failure_dump', 'WHERE false UNION ALL SELECT * FROM once.dump_failures()');
SELECT pg_catalog.pg_extension_config_dump('once.ledger', '');
SELECT pg_catalog.pg_extension_config_dump('once.schedule_dump', 'WHERE false UNION ALL SELECT * FROM once.dump_schedules()');
SELECT pg_catalog.pg_extension_config_dump('once.worker', '');


-- Rights.  Default privileges of the extension's owner are not meant for its objects: see
-- 90_grants.sql.  What they have granted is revoked: all rights on new objects, and on old
-- ones the rights that were there when the extension was created.  (Of once.maintain and
-- once.message that is not known, and their rights stay.)
DO LANGUAGE plpgsql $$
DECLARE
    new_routines oid[];
    o record;
BEGIN
    -- Objects without initial privileges are new, since 0.1.0 has used GRANT or REVOKE on
    -- all of its own, except those two.
    SELECT pg_catalog.array_agg(p.oid) INTO new_routines
      FROM pg_catalog.pg_proc p
     WHERE p.pronamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
       AND p.oid OPERATOR(pg_catalog.<>) 'once.maintain()'::pg_catalog.regprocedure
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_init_privs i
                        WHERE i.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                          AND i.objoid OPERATOR(pg_catalog.=) p.oid);

    FOR o IN
        SELECT x.what, pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) AS role
          FROM pg_catalog.pg_depend d
          JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid
          JOIN (SELECT 'SCHEMA once' AS what, 'pg_catalog.pg_namespace'::pg_catalog.regclass AS class, n.oid, n.nspowner AS owner, n.nspacl AS acl
                  FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) 'once'
                 UNION ALL
                SELECT 'TABLE ' OPERATOR(pg_catalog.||) c.oid::pg_catalog.regclass::pg_catalog.text, 'pg_catalog.pg_class', c.oid, c.relowner, c.relacl
                  FROM pg_catalog.pg_class c
                 UNION ALL
                SELECT 'ROUTINE ' OPERATOR(pg_catalog.||) p.oid::pg_catalog.regprocedure::pg_catalog.text, 'pg_catalog.pg_proc', p.oid, p.proowner,
                       CASE WHEN p.oid OPERATOR(pg_catalog.=) ANY (new_routines) THEN p.proacl END
                  FROM pg_catalog.pg_proc p) AS x
            ON x.class OPERATOR(pg_catalog.=) d.classid
           AND x.oid OPERATOR(pg_catalog.=) d.objid
          LEFT JOIN pg_catalog.pg_init_privs i
            ON i.classoid OPERATOR(pg_catalog.=) d.classid
           AND i.objoid OPERATOR(pg_catalog.=) d.objid
           AND i.objsubid OPERATOR(pg_catalog.=) 0
         CROSS JOIN LATERAL pg_catalog.aclexplode(COALESCE(i.initprivs, x.acl)) AS a
         WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
           AND e.extname OPERATOR(pg_catalog.=) 'pg_once'
           AND a.grantee OPERATOR(pg_catalog.<>) x.owner AND a.grantee OPERATOR(pg_catalog.<>) 0
         GROUP BY 1, 2
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON %s FROM %s', o.what, o.role);
    END LOOP;

    FOR o IN
        SELECT p.oid::pg_catalog.regprocedure AS name
          FROM pg_catalog.pg_proc p WHERE p.oid OPERATOR(pg_catalog.=) ANY (new_routines)
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', o.name);
        EXECUTE pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO PUBLIC', o.name);
    END LOOP;

    -- Nobody has changed the rights on these two
    IF (SELECT p.proacl IS NULL FROM pg_catalog.pg_proc p WHERE p.oid OPERATOR(pg_catalog.=) 'once.maintain()'::pg_catalog.regprocedure) THEN
        GRANT EXECUTE ON PROCEDURE once.maintain() TO PUBLIC;
    END IF;
    IF (SELECT t.typacl IS NULL FROM pg_catalog.pg_type t WHERE t.oid OPERATOR(pg_catalog.=) 'once.message'::pg_catalog.regtype) THEN
        GRANT USAGE ON TYPE once.message TO PUBLIC;
    END IF;
END $$;
GRANT SELECT ON TABLE once.worker, once.workers, once.schedules, once.dead_letter_dump, once.failure_dump, once.schedule_dump,
    once.stat_queues, once.top, once.consumers, once.progress, once.stat_latency, once.stat_latency_buckets TO PUBLIC;
REVOKE EXECUTE ON FUNCTION once.execute_support(internal) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION once.restore_row() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION once.create_schedule(text, text, text, interval, jsonb, jsonb, text, text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION once.create_worker(text, text, regprocedure, integer, integer) FROM PUBLIC;


-- Queues of 0.1.0 get what create_queue now makes with a queue: its tables for dedup_ids,
-- and the mark for which table the row of options was written.  The tables belong to the
-- queue, and are no part of the extension.
DO LANGUAGE plpgsql $$
DECLARE
    q record;
    problem text;
    reason text;
BEGIN
    FOR q IN
        SELECT o.queue
          FROM once.queue o
          JOIN pg_catalog.pg_class c ON c.relname OPERATOR(pg_catalog.=) ('q_' OPERATOR(pg_catalog.||) o.queue)
         WHERE c.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
           AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}')
         ORDER BY c.oid
    LOOP
        BEGIN
            PERFORM once.alter_queue(q.queue);
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, reason = PG_EXCEPTION_DETAIL;
            RAISE WARNING 'queue "%" could not be brought up to date: %', q.queue, pg_catalog.concat_ws(': ', problem, NULLIF(reason, ''))
                  USING HINT = 'When the cause is removed, call once.alter_queue for this queue.';
        END;
    END LOOP;

    FOR q IN
        SELECT pg_catalog.format('%s %s', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::pg_catalog.regclass) AS relation
          FROM pg_catalog.pg_depend d
          JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid
          JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.objid
         WHERE e.extname OPERATOR(pg_catalog.=) 'pg_once'
           AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
           AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
           AND pg_catalog.substr(c.relname::pg_catalog.text, 2, 1) OPERATOR(pg_catalog.=) '_'
    LOOP
        EXECUTE pg_catalog.format('ALTER EXTENSION pg_once DROP %s', q.relation);
    END LOOP;
END $$;


-- All comments, as they are in src/install (test/upgrade/comments copies them here)

COMMENT ON SCHEMA once IS 'message queues that commit with your own transaction';
COMMENT ON TYPE once.message IS
'A message, as receive, lease and pop return it.
receipt: what ack, nack, release and extend take; NULL from pop.
attempt: the number of this delivery, from 1.
leased_until: only from lease.
Example: SELECT (m).id, (m).payload FROM once.pop(''orders'') AS m;';
COMMENT ON TABLE once.queue IS
'Options of the queues.
Read them through once.list_queues(), and change them with once.alter_queue().';
COMMENT ON FUNCTION once.once_queue_handler(internal) IS
'Internal: handler of the access method once_queue.';
COMMENT ON ACCESS METHOD once_queue IS 'queue index access method';
COMMENT ON FUNCTION once.execute_support(internal) IS
'Internal: the hint where EXECUTE is missing.
Planner support of the functions that PUBLIC may not execute.';
COMMENT ON FUNCTION once.create_queue(text, boolean, boolean, boolean, integer, interval, interval, interval, interval, interval, text, interval) IS
'Creates a queue.
That is the table once."q_<queue>", owned by the caller, with its queue index.
queue: an ASCII letter or underscore, then ASCII letters, digits, underscores
and hyphens, at most 47 bytes; case matters.
unlogged: faster, but empty after a crash.
id_index: a primary key on id, which cancel and logical replication require.
if_not_exists: a notice instead of an error if the queue exists. If its table
exists without options, as after a restore of the structure only, the queue
gets the options given, and missing parts are created; this is only for the
owner of the table. If a queue with options has lost its index, its archive or
the tables for dedup_ids, they are created again if the caller owns the table.
max_attempts: 1 to 1000 deliveries; after the last one the message goes to
once.dead_letters.
retry_delay, retry_delay_max: 0 to 365 days. After a failed delivery a message
waits between 0.8 and 1 times retry_delay, and twice as long after each
further one, up to retry_delay_max.
dedup_window: more than 0, at most 36500 days. A message is not sent if one
with the same dedup_id was sent within that time, counted from its commit. Ids
are remembered for at least that long, and up to two and a quarter times as
long in a queue that is in use.
archive: 1 minute to 36500 days; acked messages are kept in once."a_<queue>"
for that long. NULL: not at all.
ttl: more than 0, at most 36500 days; a message expires if it is not delivered
within that time after it became due. NULL: never.
ttl_action: expired messages go to once.dead_letters (dead_letter) or are
deleted (drop).
retention: more than 0, at most 36500 days; maintain deletes dead letters that
are older. NULL: never.
EXECUTE is not granted to PUBLIC.
Example: SELECT once.create_queue(''orders'');';
COMMENT ON FUNCTION once.alter_queue(text, integer, interval, interval, interval, interval, interval, text, interval, text[]) IS
'Changes options of a queue.
Each is as in create_queue, and NULL leaves it unchanged.
reset: names of options that get the default of create_queue again, which for
archive, ttl and retention means off.
Running sessions use the new options as soon as they are committed.
If Citus has distributed the queue: on the coordinator, and for all nodes.
Only for the owner of the table.
Example: SELECT once.alter_queue(''orders'', max_attempts => 5);';
COMMENT ON FUNCTION once.grant_queue(text, text, text) IS
'Lets a role use a queue.
what: ''produce'' for send, send_dedup and send_batch (INSERT on the table);
''consume'' for receive, lease, pop, ack, nack, release, extend, cancel and
all that ''observe'' allows (SELECT and DELETE); ''observe'' for peek, check,
slots, pages, dead letters and failures (SELECT, also on the archive if the
queue has one).
role: ''public'' means everybody.
Only for the owner of the table and those with grant options on it.
Example: SELECT once.grant_queue(''orders'', ''shop'', ''produce'');';
COMMENT ON FUNCTION once.revoke_queue(text, text, text) IS
'Takes back what grant_queue has granted.
The arguments are those of grant_queue. Both ''consume'' and ''observe''
revoke SELECT, whichever of the two has granted it. Revokes only what the
caller has granted, or the owner, if the caller is a member of the owner.
Only for the owner of the table and those with grant options on it.
Example: SELECT once.revoke_queue(''orders'', ''shop'', ''produce'');';
COMMENT ON FUNCTION once.drop_queue(text) IS
'Drops a queue with everything that belongs to it.
That is its messages, dead letters, failures, archive, and remembered
dedup_ids.
Waits for transactions that use it.
If the table was removed by a plain DROP TABLE, drops what is left of the
queue.
Only for the owner of the table, or of all tables that are left.
Example: SELECT once.drop_queue(''orders'');';
COMMENT ON FUNCTION once.distribute_queue(text, text, integer, text) IS
'Spreads a queue over the nodes of a Citus cluster.
Each message is in one shard, a table on one of the nodes, and is consumed
there. Messages that wait are moved to their shards; deliveries, leases and
attempts are forgotten. New ids come from next_id.
by: id, which requires an index on it, and messages can have no groups;
group_id, which keeps groups in order, and all messages must have one; or a
column that was added to the table.
shards: 1 to 64000; how many there are.
colocate_with: none; default, as in Citus; or a table distributed by a column
of the same type, whose shards stay together with those of the queue. Their
number is then that of the table''s.
Not for queues that are unlogged, have an archive or remember dedup_ids.
Only for the owner of the table who may create tables in schema once, which as
a rule is a superuser.
Example: SELECT once.distribute_queue(''orders'');';
COMMENT ON FUNCTION once.next_id() IS
'Makes an id that no other node of the cluster makes.
It is 65536 times the time, in units of 4 ms since 2026-01-01 00:00 UTC, plus
256 times the number of the node (its group in Citus; 0 without Citus), plus a
counter. So ids of all nodes are in the order of their times, if the clocks
agree, and those of one node in the order of the calls. They are less than 2^53
until 2043-06-03. A node makes at most 64000 in a second; more wait.
distribute_queue makes it the default of the column id.
Requires pg_once in shared_preload_libraries.
Example: SELECT once.next_id();';
COMMENT ON FUNCTION once.distributed_options(oid) IS
'Internal: for list_queues.
Returns the options of the queue that has this table, as storage parameters of
its index give them; no row if the table is neither distributed by Citus nor a
shard.';
COMMENT ON FUNCTION once.list_queues() IS
'Lists the queues of the database with their options.
id_index: whether cancel works.
created_at: NULL if the queue has no options, as after a restore of the
structure only. Then the defaults of create_queue are shown, and create_queue
with if_not_exists sets others.
Example: SELECT * FROM once.list_queues();';
COMMENT ON FUNCTION once.pause(text, text) IS
'Stops sending to a queue, or consuming from it.
what: ''send'', ''consume'', or ''all'' for both. While it is paused, send and
send_batch, or receive, lease and pop, raise once_paused. That is an error and
not an empty result, so that nobody mistakes a paused queue for an empty one.
Messages already received or leased can still be acked, given back and
extended. Plain SQL is not stopped.
If Citus has distributed the queue: on the coordinator, and for all nodes.
Only for the owner of the table.
Example: SELECT once.pause(''orders'', ''consume'');';
COMMENT ON FUNCTION once.resume(text, text) IS
'Ends a pause.
what: ''send'', ''consume'' or ''all'', as for pause.
Only for the owner of the table.
Example: SELECT once.resume(''orders'');';
COMMENT ON FUNCTION once.purge(text) IS
'Removes all messages of a queue and returns how many.
Delayed and leased ones, too. Truncates the table if nobody else uses it, and
otherwise deletes row by row. Either way, messages that the caller''s own
transaction has sent are removed as well.
Rows that open transactions of others hold are left; so are those that a
constraint, trigger or rule keeps, with a warning.
Only for the owner of the table.
Example: SELECT once.purge(''orders'');';
COMMENT ON FUNCTION once.send(text, jsonb, jsonb, interval, timestamptz, integer, text, text, interval) IS
'Sends a message and returns its id.
Consumers can have it when the caller''s transaction has committed.
delay, deliver_at: when the message becomes due, after 0 to 36500 days or at a
time; give only one of the two.
priority: 0 to 9, 9 is delivered first.
group_id: 1 to 1000 bytes; messages of one group are delivered strictly in
order, one call''s worth at a time, and have priority 4.
dedup_id: 1 to 1000 bytes; if a message with the same one was sent within the
queue''s dedup_window (see create_queue), nothing is sent, and the id of that
message is returned, even if it has been consumed.
Waits while the transaction that sent it is open.
ttl: more than 0, at most 36500 days; the message expires if it is not
delivered within that time after it became due.
Requires INSERT on the table.
Example: SELECT once.send(''orders'', ''{"order": 1}'');';
COMMENT ON FUNCTION once.send_batch(text, jsonb[], jsonb[], interval, timestamptz, integer, text[], text[], interval) IS
'Sends many messages at once and returns their ids.
That costs far less than one by one. The ids are in the order of payloads.
headers, group_ids, dedup_ids: NULL, or one element for each payload; NULL as
an element of group_ids means no group, and as an element of dedup_ids no
dedup_id. NULL in place of payloads, which array_agg makes of no rows, sends
nothing. Two calls with the same dedup_ids in different orders do not
deadlock.
Otherwise like send.
Requires INSERT on the table.
Example: SELECT once.send_batch(''orders'', ARRAY[''{"order": 2}'', ''{"order": 3}'']::jsonb[]);';
COMMENT ON FUNCTION once.send_dedup(text, jsonb, jsonb, interval, timestamptz, integer, text, text, interval) IS
'Sends a message, and tells whether it was a repeat.
Like send, but returns one row: id, and duplicate, which is true if nothing
was sent, because id is that of a message sent before with the same dedup_id.
Requires INSERT on the table.
Example: SELECT * FROM once.send_dedup(''orders'', ''{"order": 4}'', dedup_id => ''order 4'');';
COMMENT ON FUNCTION once.receive(text, integer, interval) IS
'Claims messages until the transaction ends.
Effectively once, for effects in this database. The transaction must ack them
or give them back, or else its commit fails with once_unacked (setting
once.unacked). A rollback, also to a savepoint, gives them back after the
retry delay; the attempt counts.
max_messages: 1 to 10000.
wait: up to 60 s, for a message to come if there is none. The call must then
be a statement of its own, in READ COMMITTED. It returns early, perhaps
without a message, after it has moved dead messages, and takes nothing for a
client that is gone.
Requires SELECT and DELETE on the table.
Example: SELECT once.ack(receipt), payload FROM once.receive(''orders'', 10);';
COMMENT ON FUNCTION once.lease(text, interval, integer, interval) IS
'Claims messages for a time.
At least once: the claim stays, whatever becomes of the calling transaction. A
message that is not acked by then goes to another consumer.
lease: more than 0, at most 365 days.
max_messages, wait: as for receive.
Requires SELECT and DELETE on the table.
Example: SELECT receipt, payload FROM once.lease(''orders'', ''2 min'', max_messages => 10);';
COMMENT ON FUNCTION once.pop(text, integer, interval) IS
'Takes messages out of the queue at once.
At most once: it acks the messages that it returns, so there is no receipt. A
rollback puts them back.
Never waits for rows that others hold. A row that a constraint, trigger or
rule keeps stays in the queue, stuck, with a warning.
max_messages, wait: as for receive.
Requires SELECT and DELETE on the table.
Example: SELECT payload FROM once.pop(''orders'');';
COMMENT ON PROCEDURE once.wait(text[], interval, text) IS
'Sleeps until one of several queues has something.
That is something that a consumer could take.
ready: the first such queue, in the order given; NULL if there is none within
the time.
Takes nothing: call receive, lease or pop next; if another consumer was
faster, they return nothing.
queues: 1 to 100 names.
timeout: zero to 1 hour.
Ends the transaction, so that it holds no snapshot and no lock on a queue
while it sleeps; so it cannot be called in a transaction block, a function or
an EXCEPTION block. A paused queue has nothing until it is resumed.
Requires SELECT and DELETE on the tables.
Example: CALL once.wait(ARRAY[''orders'', ''invoices''], ''10 s'');';
COMMENT ON FUNCTION once.ack(uuid) IS
'Acknowledges a message: deletes it.
The deletion is part of the caller''s transaction. Raises once_lease_lost if
somebody else may have the message by now, or if another transaction has
updated it since it was received, and once_already_acked if it was acked
before, so that the caller''s effects roll back.
Requires SELECT and DELETE on the table.
Example: SELECT once.ack(receipt) FROM once.receive(''orders'');';
COMMENT ON FUNCTION once.ack_all(uuid[]) IS
'Acknowledges all of the messages, or raises an error.
Returns how many, or raises what ack raises. The same receipt twice is an
error. NULL in place of the array, which array_agg makes of no rows, means
none.
Example: SELECT once.ack_all(array_agg(receipt)) FROM once.receive(''orders'', 100);';
COMMENT ON FUNCTION once.try_ack(uuid) IS
'Acknowledges a message if that is still possible.
Like ack, but returns false where ack raises once_lease_lost or
once_already_acked; then nothing is deleted.
Example: SELECT once.try_ack(receipt) FROM once.lease(''orders'');';
COMMENT ON FUNCTION once.try_ack_all(uuid[]) IS
'Acknowledges those messages that still can be.
Returns the receipts of those, in the order given and each once. NULL in place
of the array means none.
Example: SELECT * FROM once.try_ack_all(ARRAY(SELECT receipt FROM once.lease(''orders'', ''1 min'', 100)));';
COMMENT ON FUNCTION once.nack(uuid, interval, text) IS
'Gives a message back after a failure.
The attempt counts.
delay: after what time it is delivered again, 0 to 365 days; NULL: the
queue''s retry delay for this attempt.
Takes effect at once, even if the caller''s transaction rolls back.
error: kept in once.failures, in the caller''s transaction.
Later messages of the same group that were claimed by the same call are given
back as well, and for these the attempt does not count.
Raises what ack raises.
Example: SELECT once.nack(receipt, error => ''no such customer'') FROM once.receive(''orders'');';
COMMENT ON FUNCTION once.release(uuid) IS
'Gives a message back unused.
It is ready at once, and the attempt does not count.
Takes effect at once, even if the caller''s transaction rolls back.
Raises what ack raises.
Example: SELECT once.release(receipt) FROM once.receive(''orders'');';
COMMENT ON FUNCTION once.release(text, bigint[]) IS
'Ends leases whose receipts are lost.
ids: those of the messages. Returns how many leases it has ended: the messages
are ready now, and the attempts stay counted. Ids that are not in the queue or
not leased now are ignored, and so are messages that a transaction has
received.
Acts at once, also when the caller''s transaction rolls back.
Later messages of a group that were leased by the same call are given back as
well, uncounted unless they are asked for.
The old receipts are lost. Reads the whole index.
Only for the owner of the table.
Example: SELECT once.release(''orders'', ARRAY[17, 18]);';
COMMENT ON FUNCTION once.extend(uuid, interval) IS
'Makes a lease end later, and returns when.
lease: how long from now. Works also after the lease has run out, as long as
nobody else has got the message.
Takes effect at once.
Raises what ack raises.
Example: SELECT once.extend(receipt, ''10 min'') FROM once.lease(''orders'');';
COMMENT ON FUNCTION once.cancel(text, bigint) IS
'Deletes a message that nobody has claimed.
It may be ready or delayed, or one that the caller''s transaction itself has
sent or updated. The deletion is part of the transaction. Returns false if the
message is claimed or gone.
Never waits. Raises an error if a constraint, trigger or rule keeps the row.
Requires a queue made with id_index, and SELECT and DELETE on the table.
Example: SELECT once.cancel(''invoices'', 17);';
COMMENT ON TABLE once.dead_letter IS
'Internal: what the view dead_letters shows.';
COMMENT ON TABLE once.failure IS
'Internal: what the view failures shows.';
COMMENT ON FUNCTION once.is_own_table(oid) IS
'Internal: for the views dead_letters and failures.
Tells whether dead letters and failures under a queue''s name belong to the
table of that name. False if the table was renamed and belongs to another
queue, or if the queue''s own table has another name now.';
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
COMMENT ON VIEW once.failures IS
'Errors of messages that are in a queue or dead.
The last error given to nack for each message and attempt, and with attempt 0
the reason why a message is stuck.
enqueued_at: that of the message, because ids are used again after TRUNCATE
with RESTART IDENTITY.
Shows the queues whose table the caller may SELECT from, except those where
row security applies to the caller.
Example: SELECT id, attempt, error FROM once.failures WHERE queue = ''orders'' ORDER BY failed_at;';
COMMENT ON FUNCTION once.dump_dead_letters() IS
'Internal: for pg_dump, the rows of once.dead_letter.
All of them if the caller may SELECT from that table, and otherwise those that
once.dead_letters shows to the caller.';
COMMENT ON FUNCTION once.dump_failures() IS
'Internal: for pg_dump, the rows of once.failure.
All of them if the caller may SELECT from that table, and otherwise those that
once.failures shows to the caller.';
COMMENT ON FUNCTION once.restore_row() IS
'Internal: trigger of the tables for pg_dump.
Of once.dead_letter_dump, once.failure_dump and once.schedule_dump.';
COMMENT ON TABLE once.dead_letter_dump IS
'Internal: for pg_dump; never has rows.
What is inserted here goes to once.dead_letter.';
COMMENT ON TABLE once.failure_dump IS
'Internal: for pg_dump; never has rows.
What is inserted here goes to once.failure.';
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
COMMENT ON FUNCTION once.redrive_ids(text, bigint[]) IS
'Sends the dead letters with these ids again.
Like redrive. Ignores ids that no dead letter of the queue has. NULL in place
of the array, which array_agg makes of no rows, means none.
Requires INSERT, SELECT and DELETE on the table.
Example: SELECT once.redrive_ids(''orders'', ARRAY[17, 18]);';
COMMENT ON FUNCTION once.purge_dead_letters(text) IS
'Deletes the dead letters of a queue.
Deletes their failures, too. Returns how many dead letters there were.
Only for the owner of the table.
Example: SELECT once.purge_dead_letters(''orders'');';
COMMENT ON FUNCTION once.purge_dead_letters(text, bigint[]) IS
'Deletes the dead letters with these ids.
Deletes their failures, too. Returns how many dead letters there were. Ignores
ids that no dead letter of the queue has. NULL in place of the array, which
array_agg makes of no rows, means none.
Only for the owner of the table.
Example: SELECT once.purge_dead_letters(''orders'', ARRAY[17, 18]);';
COMMENT ON FUNCTION once.replay(text, timestamptz, timestamptz) IS
'Sends archived messages again, and returns how many.
since, until: those that were archived at or after since and before until, in
that order. They have new ids, and the same priority, group and payload.
"once-replay-of" in their headers is the id of the original; headers that are
not an object are wrapped: {"once-replay-of": id, "headers": ...}. A message
that the queue refuses is left out, with a warning.
Requires SELECT on the archive, once."a_<queue>", and INSERT on the table.
Example: SELECT once.replay(''invoices'', now() - interval ''1 hour'', now());';
COMMENT ON PROCEDURE once.maintain() IS
'Does what has to be done now and then.
Sends the messages of schedules that are due, as the roles that created these,
if the caller could SET ROLE to them. Then, for every queue whose table the
caller may SELECT and DELETE from: moves messages that have become due to
their lanes; lets groups go on whose first message plain SQL has deleted or
moved; takes away messages that have expired or used up their attempts (unless
consumption is paused); deletes dead letters older than the queue''s
retention, and failures of messages that are gone; empties partitions of the
archive whose time is up. For these queues, and for every ledger that the
caller may mark ids in, it also forgets ids that have been kept long enough
and makes room for new ones. If there are queues or ledgers, and the caller
has these rights on none of them, that is a warning.
Commits after each step, unless it is called within a transaction. What is
locked is left for the next call. A message that cannot be taken away is
stuck, with a warning. An error in one queue, of whatever kind, becomes a
warning, and once.maintenance_timeout limits the time for each queue. Triggers
run as the owner of the table if the caller could SET ROLE to the owner, and
otherwise as the caller.
Example: CALL once.maintain();';
COMMENT ON TABLE once.ledger IS
'Options of the ledgers.
Read them through once.list_ledgers(), and change them with
once.alter_ledger().';
COMMENT ON FUNCTION once.create_ledger(text, interval, boolean, boolean) IS
'Creates a ledger of processed ids.
That is the tables once."l_<ledger>_0" and "l_<ledger>_1", owned by the
caller.
ledger: a name, as for queues.
retention: more than 0, at most 36500 days. An id is remembered for at least
that long after the transaction that marked it has committed, and up to two
and a quarter times as long in a ledger that is in use.
unlogged: faster, but forgets everything in a crash.
if_not_exists: a notice instead of an error if the ledger exists. If its
tables exist without a retention, as after a restore of the structure only,
they become a ledger again with the retention given; this is only for their
owner.
EXECUTE is not granted to PUBLIC.
Example: SELECT once.create_ledger(''webhooks'', retention => ''7 days'');';
COMMENT ON FUNCTION once.alter_ledger(text, interval) IS
'Changes how long a ledger remembers ids.
retention: as in create_ledger. Applies also to the ids that the ledger has
already.
Only for the owner of the tables.
Example: SELECT once.alter_ledger(''webhooks'', retention => ''14 days'');';
COMMENT ON FUNCTION once.drop_ledger(text) IS
'Drops a ledger with all that it remembers.
Waits for transactions that use it.
Only for the owner of the tables.
Example: SELECT once.drop_ledger(''webhooks'');';
COMMENT ON FUNCTION once.grant_ledger(text, text) IS
'Lets a role use a ledger.
Grants SELECT, INSERT, UPDATE and DELETE on its tables.
role: ''public'' means everybody.
Only for the owner of the tables and those who may grant these rights.
Example: SELECT once.grant_ledger(''webhooks'', ''shop'');';
COMMENT ON FUNCTION once.revoke_ledger(text, text) IS
'Takes back what grant_ledger has granted.
Only for those who may call grant_ledger.
Example: SELECT once.revoke_ledger(''webhooks'', ''shop'');';
COMMENT ON FUNCTION once.list_ledgers() IS
'Lists the ledgers of the database with their options.
Example: SELECT * FROM once.list_ledgers();';
COMMENT ON FUNCTION once.mark_processed(text, text) IS
'Marks an id as processed; true if it is new.
The mark is part of the caller''s transaction. Returns false if it was marked
before, by this transaction or by one that has committed.
Waits for an open transaction that has marked it. Under REPEATABLE READ and
SERIALIZABLE, too, an id is not new if it was marked after the snapshot was
taken.
id: 1 to 1000 bytes.
Requires SELECT and INSERT on the ledger''s tables (once.grant_ledger).
Example: SELECT once.mark_processed(''webhooks'', ''evt_1'');';
COMMENT ON FUNCTION once.mark_processed_all(text, text[]) IS
'Marks many ids, and returns those that are new.
That costs far less than one by one. The ids are returned in the order given,
and each once. NULL in place of the array, which array_agg makes of no rows,
means none. All are marked before the first is returned. Two calls with the
same ids in different orders do not deadlock.
Otherwise like mark_processed.
Example: SELECT * FROM once.mark_processed_all(''webhooks'', ARRAY[''evt_1'', ''evt_2'']);';
COMMENT ON FUNCTION once.is_processed(text, text) IS
'Tells whether an id is marked as processed.
It may be marked by this transaction or by one that has committed, as of now,
whatever the snapshot.
Never waits for a transaction that is marking the id. So the answer may be out
of date at once: to process an id, call mark_processed.
Works on standbys.
Requires SELECT on the ledger''s tables.
Example: SELECT once.is_processed(''webhooks'', ''evt_1'');';
COMMENT ON FUNCTION once.get_result(text, text) IS
'Returns what is stored for an id, and marks nothing.
Searches for the id like is_processed. Returns one row if the id is marked:
when that was, and what was given to set_result, or NULL. Otherwise returns no
row.
Works on standbys.
Requires SELECT on the ledger''s tables.
Example: SELECT * FROM once.get_result(''webhooks'', ''evt_1'');';
COMMENT ON FUNCTION once.forget_processed(text, text) IS
'Makes an id new again.
It does that in the caller''s transaction. Returns false if it was not marked.
Waits for an open transaction that has marked or forgotten it.
Requires SELECT and DELETE on the ledger''s tables.
Example: SELECT once.forget_processed(''webhooks'', ''evt_2'');';
COMMENT ON FUNCTION once.process(text, text) IS
'Marks an id, or returns the result of the first time.
Marks like mark_processed, and returns one row. If the id is new, first_time
is true and result is NULL. Otherwise first_time is false, and result is what
the transaction that marked the id gave to set_result.
Waits for that transaction while it is open.
Example: SELECT * FROM once.process(''webhooks'', ''evt_3'');';
COMMENT ON FUNCTION once.set_result(text, text, jsonb) IS
'Stores the result of an id, for process to return.
Later callers of process with the same id get it. Must be called in the
transaction that has marked the id; otherwise it raises once_not_processed.
Requires SELECT and UPDATE on the ledger''s tables.
Example: SELECT once.set_result(''webhooks'', ''evt_4'', ''{"status": 201}'') FROM once.process(''webhooks'', ''evt_4'') WHERE first_time;';
COMMENT ON PROCEDURE once.work(text, regprocedure, integer, interval) IS
'Consumes from a queue, by a function of yours.
Receives messages, calls the handler with each in a subtransaction, acks it
and commits, and waits while there is nothing.
handler: a function or procedure with one argument, once.message, or
once.message[] for all messages of a transaction at once; the caller must have
EXECUTE on it.
If it raises an error, its effects are rolled back, and the message is given
back with the error (see nack); SQLSTATE ON020 means release, ON021 to retry
after the interval in the error''s detail, and ON022 to reject: the message
goes to once.dead_letters at once.
max_messages: 1 to 10000 messages for one transaction.
until: 0 to 36500 days; after that time it takes no more messages. With 0 it
returns when it finds none. NULL: never.
While consumption is paused, it waits.
A message that was delivered before is handled in a transaction of its own.
Cannot be called within a transaction block, a function or an EXCEPTION block.
Requires SELECT and DELETE on the table.
Example: CALL once.work(''orders'', ''ship(once.message)'', until => ''0'');';
COMMENT ON TABLE once.schedule IS
'Internal: what the view schedules shows.';
COMMENT ON FUNCTION once.create_schedule(text, text, text, interval, jsonb, jsonb, text, text, text) IS
'Has a message sent at each due time from now on.
The server does that by itself if the library is in shared_preload_libraries,
and otherwise once.maintain().
name: as for queues. Give one of cron and every.
cron: five fields (minute, hour, day of the month, month, day of the week),
with *, ranges, lists, steps and English names of three letters, or @hourly,
@daily, @weekly, @monthly, @yearly; by the clock of timezone. If both days are
restricted, one of them must match. A time that the clock skips is due when
the clock is set forward; a time that it shows twice is due once, at the first
time.
every: 1 second to 36500 days, counted from now; a month has 30 days.
payload, headers, group_id: of the message; the headers get schedule and
due_at.
catch_up: what is sent if due times were missed: one message for all of them
(one), one for each (all), or none if the last one was more than five minutes
ago (skip).
Each due time has exactly one message. It is sent as the role that creates the
schedule, which must have INSERT on the table each time.
EXECUTE is not granted to PUBLIC.
Example: SELECT once.create_schedule(''report'', ''orders'', ''30 6 * * mon-fri'', timezone => ''Europe/Berlin'');';
COMMENT ON FUNCTION once.drop_schedule(text) IS
'Drops a schedule.
What it has sent stays.
Waits for a session that is just running it.
Only for members of the role that created it.
Example: SELECT once.drop_schedule(''report'');';
COMMENT ON FUNCTION once.next_runs(text, text, integer, timestamptz) IS
'Returns the next due times of a cron expression.
cron, timezone: see create_schedule.
n: 0 to 1000.
after: NULL means now.
Example: SELECT once.next_runs(''30 2 * * *'', ''Europe/Berlin'');';
COMMENT ON FUNCTION once.next_due(text, interval, text, timestamptz, timestamptz) IS
'Internal: for the view schedules.
Returns the next due time of a row of once.schedule.';
COMMENT ON FUNCTION once.is_own_schedule(name, text) IS
'Internal: for the view schedules.
Tells whether the caller is a member of the role of a row of once.schedule.';
COMMENT ON VIEW once.schedules IS
'The schedules of the database.
The columns are those of list_schedules.
Example: SELECT name, next_due, last_error FROM once.schedules;';
COMMENT ON FUNCTION once.list_schedules() IS
'Lists the schedules of the database.
role: the role that created it.
last_due: the last due time that is done.
next_due: the next one; if it is in the past, it was missed.
last_error: why the last run failed, NULL if it did not fail.
Everybody can read this, but payload, headers, group_id and last_error are
shown to members of the role only.
Example: SELECT name, next_due, last_error FROM once.list_schedules();';
COMMENT ON FUNCTION once.dump_schedules() IS
'Internal: for pg_dump, the rows of once.schedule.
All of them if the caller may SELECT from that table, and otherwise those
whose role the caller is a member of.';
COMMENT ON TABLE once.schedule_dump IS
'Internal: for pg_dump; never has rows.
What is inserted here goes to once.schedule.';
COMMENT ON TABLE once.worker IS
'Workers, as they were created.
Read the view once.workers instead.';
COMMENT ON FUNCTION once.create_worker(text, text, regprocedure, integer, integer) IS
'Has background workers consume from a queue.
They start after the commit. Each is a session of the role that calls this, in
which CALL once.work(queue, handler, max_messages) runs.
name: as for queues.
concurrency: how many, at least 1; those of all workers of the database, and
two more, must fit in max_worker_processes. One that ends in an error is
started again after a second, and after twice as long each further time in a
row, up to 256 seconds.
The library must be in shared_preload_libraries. Not on a standby; a promotion
starts them.
The role must be permitted to log in; it needs SELECT and DELETE on the table,
and EXECUTE on the handler, all the time.
EXECUTE on this function is not granted to PUBLIC.
Example: SELECT once.create_worker(''shipping'', ''orders'', ''ship(once.message)'', concurrency => 2);';
COMMENT ON FUNCTION once.drop_worker(text) IS
'Drops a worker.
After the commit, its processes end when they have finished the transaction
that they are in.
Only for members of the role that created it.
Example: SELECT once.drop_worker(''shipping'');';
COMMENT ON FUNCTION once.pause_worker(text) IS
'Stops a worker until resume_worker.
Stops its processes as drop_worker does.
Only for members of the role that created it.
Example: SELECT once.pause_worker(''shipping'');';
COMMENT ON FUNCTION once.resume_worker(text) IS
'Starts a worker again that pause_worker has stopped.
Only for members of the role that created it.
Example: SELECT once.resume_worker(''shipping'');';
COMMENT ON FUNCTION once.worker_figures() IS
'Internal: for the view workers.
What is known of workers since the server was started.';
COMMENT ON VIEW once.workers IS
'The workers of the database.
state: running; starting; stopping or paused, see pause_worker; waiting after
an error, until it is started again; stopped, if it cannot run, see
last_error; not started, if there is no launcher or it has not seen the worker
yet.
pids: its processes.
processed, failed: messages, since the server was started.
last_error: of a message, or why a process has ended or cannot start; shown to
members of the worker''s role only.
Example: SELECT name, state, pids, processed, failed, last_error FROM once.workers;';
COMMENT ON FUNCTION once.peek(text, integer) IS
'Shows the first messages of a queue.
It claims nothing. They are in the order of delivery; delayed ones come last.
attempt: deliveries so far.
ready_at: when a delayed message becomes due, or when a lease ends; NULL if
ready.
state: ready; delayed; claimed (also if an open transaction has locked or
deleted the row); blocked (another message of the group comes first); dead
(attempts used up, or expired; the next consumer, or maintain, takes it away);
stuck (it could not be taken away or popped because of error, and this is
tried again at ready_at).
A value that cannot be read is NULL, and error says why.
Requires SELECT on the table.
Example: SELECT id, attempt, state, payload FROM once.peek(''orders'');';
COMMENT ON FUNCTION once.check(text, boolean) IS
'Verifies the index of a queue against its table.
Returns one row for each broken rule, so none if all is well.
strict: locks out writers meanwhile, and checks also what others could be
changing.
REINDEX repairs what it finds.
Requires SELECT on the table. strict can keep senders and consumers waiting,
and requires UPDATE, DELETE or TRUNCATE as well.
Example: SELECT * FROM once.check(''orders'');';
COMMENT ON FUNCTION once.slots(text) IS
'Shows the slots of a queue index.
There is one for each row that the index knows.
state: as on disk; a claim stays there until somebody comes by after it has
ended.
now: the state of the message, as peek shows it (ready, delayed, claimed,
blocked, dead or stuck), or uncommitted (the sender''s transaction is open),
or done (the row is gone).
scheduled: due later, and not in its lane yet.
group_hash: a number for the message''s group, the same for all of the group
until the index is rebuilt; NULL without a group.
blocked: another message of the group comes first.
stuck: how often in a row the message could not be taken away.
Requires SELECT on the table.
Example: SELECT now AS state, count(*) FROM once.slots(''orders'') GROUP BY now;';
COMMENT ON FUNCTION once.pages(text) IS
'Shows the pages of a queue index.
They are shown with their hints, as they are on disk.
Requires SELECT on the table.
Example: SELECT kind, count(*), sum(slots) AS slots FROM once.pages(''orders'') GROUP BY kind;';
COMMENT ON FUNCTION once.stat_queue(oid) IS
'Internal: for the view stat_queues.
Returns one row for the queue that has this table; none if there is no such
queue, or the caller may not see it.';
COMMENT ON VIEW once.stat_queues IS
'Depths, ages and counters of each queue.
One row for each queue. It reads a bounded number of pages of the index, waits
for no lock, and works on a standby.
ready, delayed, claimed, blocked, dead, stuck: numbers of messages by the
states that slots and peek tell.
depth_error: the largest standard error of these six; 0 if they were counted.
oldest_ready: how long the oldest ready message could have been delivered
already.
oldest_claim: how long ago the first message was received that an open
transaction still holds; leases do not tell when they began.
waiters: sessions that wait for messages with once.wait, the argument wait, or
as workers; NULL if there is no shared memory for waiting.
dead_letters: messages of the queue in dead_letters, counted up to 10000.
dead_letters_error: 0; NULL if there are more, and their number is what the
last ANALYZE of the table has found.
sent to lease_lost: what has happened since counted_since (see reset_stats);
NULL unless pg_once is in shared_preload_libraries.
sent: messages put into the table by whatever path.
received: deliveries, each once more as a message is delivered again.
redelivered: those of them that followed on a failed delivery.
acked: messages done, also by pop.
nacked: calls of nack.
expired: messages taken away because their time to live had ended.
dead_lettered: messages moved to the dead letters.
lease_lost: how often a claim turned out to be lost.
index_pages: size of the index, with pages that are free.
dead_rows: rows of the table that VACUUM can remove.
problem: why the numbers are NULL, or lack those of a shard, for instance
because another transaction has the table locked.
workers: background workers that run now.
Of a distributed queue, it adds up the shards on this node.
Shows the queues whose table the caller may SELECT from, except those where
row security applies to the caller; all of them to members of pg_monitor.
Example: SELECT queue, ready, claimed, delayed, oldest_ready FROM once.stat_queues;';
COMMENT ON FUNCTION once.stat_latency(oid) IS
'Internal: for the view stat_latency.
Returns one row for the queue that has this table; none if it is not counted,
or the caller may not see it.';
COMMENT ON FUNCTION once.stat_latency_buckets(oid) IS
'Internal: for the view stat_latency_buckets.
Returns the buckets of the queue that has this table.';
COMMENT ON VIEW once.stat_latency IS
'How long messages took from send to ack, by queue.
messages: those acked since counted_since (see reset_stats).
p50, p90, p99: half, nine tenths and 99 percent of them took no longer than
that.
It is computed from numbers by powers of two, so it is between half and twice
the true value. Delays count as well. Empty unless pg_once is in
shared_preload_libraries.
Shows the same queues as stat_queues.
Example: SELECT queue, messages, p50, p99 FROM once.stat_latency;';
COMMENT ON VIEW once.stat_latency_buckets IS
'The histogram behind stat_latency.
messages: how many took at least half of "below", and less than it; the first
bucket also has shorter ones.
total: how many took less than "below". In the last possible bucket, below is
NULL: it has no end.
Example: SELECT below, total FROM once.stat_latency_buckets WHERE queue = ''orders'';';
COMMENT ON FUNCTION once.stat_consumers(oid) IS
'Internal: for the view consumers.
Returns who holds messages of the queue that has this table, or waits for
some.';
COMMENT ON VIEW once.consumers IS
'Who holds messages or waits for some, by queue.
what: received, by a transaction that is open (xid), also if it has taken
messages away, or has rows locked by plain SQL; leased; waiting, if there is
shared memory for waiting.
pid, usename, application_name, client_addr, state: the session, as in
pg_stat_activity; NULL if there is none, as for a prepared transaction, and on
a standby.
since: when the first of the messages was claimed, or the wait began; NULL if
that is not known.
until: when the last lease ends.
messages: how many; 0 of those who wait.
The index tells who has received. Of leases it tells only how many there are:
these are in a row without a session, except those that sessions have told of,
which requires pg_once in shared_preload_libraries. Of a long queue, the
beginning and a sample are read.
Shows the same queues as stat_queues.
Example: SELECT queue, what, pid, since, messages FROM once.consumers;';
COMMENT ON FUNCTION once.stat_progress() IS
'Internal: for the view progress.
Returns what sessions are at.';
COMMENT ON VIEW once.progress IS
'Long work on queues that sessions are at now.
work: purge, redrive, replay or maintain.
done: messages so far; with maintain, steps.
total: how many there are; NULL if that is not known.
Requires pg_once in shared_preload_libraries. (pg_stat_progress_create_index
shows the building of an index.) Shows the same queues as stat_queues.
Example: SELECT queue, work, pid, done, total FROM once.progress;';
COMMENT ON FUNCTION once.shard_places(text) IS
'Internal: for shards.
shard_table: NULL if it is on another node.';
COMMENT ON FUNCTION once.shard_consumers(oid) IS
'Internal: for shards.
Returns how many hold messages of the shard or wait for some.';
COMMENT ON FUNCTION once.shards(text) IS
'Shows the shards of a distributed queue and where they are.
shard: the name that it has as a queue, on its node.
groupid, host, port: the node, as in pg_dist_node of Citus.
local: whether that is this node.
consumers: sessions and transactions that hold messages of it or wait for some,
all leases together count as one; NULL if it is on another node.
Only for those who may SELECT from the table, and members of pg_monitor.
Example: SELECT * FROM once.shards(''orders'');';
COMMENT ON FUNCTION once.reset_stats(text) IS
'Sets the counters of a queue to zero.
Its latencies, too; they count from now on.
queue: NULL means those of all queues that the caller owns.
Acts at once, also when the transaction rolls back, and on a standby.
Requires pg_once in shared_preload_libraries.
Only for the owner of the table.
Example: SELECT once.reset_stats(''orders'');';
COMMENT ON VIEW once.top IS
'The 40 queues that need attention most, for \watch.
First those with trouble, then those whose oldest ready message is the oldest.
consumers: rows of the view consumers.
trouble: what seems to be wrong.
The other columns are those of stat_queues and stat_latency.
Example: SELECT * FROM once.top;';
COMMENT ON FUNCTION once.help(text) IS
'Shows what there is, and how it is used.
topic: NULL: all functions, views and settings, each with a line. A topic, such
as sending: those of this topic, with examples. The name of a function, view or
setting: everything about it. once. in front of a name tells it from a topic.
Example: SELECT once.help(''send'');';
