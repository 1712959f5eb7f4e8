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
COMMENT ON TABLE once.worker IS
'Workers, as they were created.
Read the view once.workers instead.';
SELECT pg_catalog.pg_extension_config_dump('once.worker', '');

CREATE FUNCTION once.create_worker(
    name text,
    queue text,
    handler regprocedure,
    concurrency integer DEFAULT 1,
    max_messages integer DEFAULT 1)
RETURNS void
AS 'MODULE_PATHNAME', 'once_create_worker' LANGUAGE C VOLATILE PARALLEL UNSAFE
SUPPORT once.execute_support;
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

CREATE FUNCTION once.drop_worker(name text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_drop_worker' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.drop_worker(text) IS
'Drops a worker.
After the commit, its processes end when they have finished the transaction
that they are in.
Only for members of the role that created it.
Example: SELECT once.drop_worker(''shipping'');';

CREATE FUNCTION once.pause_worker(name text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_pause_worker' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.pause_worker(text) IS
'Stops a worker until resume_worker.
Stops its processes as drop_worker does.
Only for members of the role that created it.
Example: SELECT once.pause_worker(''shipping'');';

CREATE FUNCTION once.resume_worker(name text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_resume_worker' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.resume_worker(text) IS
'Starts a worker again that pause_worker has stopped.
Only for members of the role that created it.
Example: SELECT once.resume_worker(''shipping'');';

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
COMMENT ON FUNCTION once.worker_figures() IS
'Internal: for the view workers.
What is known of workers since the server was started.';

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
