-- The extension itself.  It will not use a schema that somebody else has made.
DROP EXTENSION pg_once;
CREATE SCHEMA once;
\set VERBOSITY terse
CREATE EXTENSION pg_once;
\set VERBOSITY default
DROP SCHEMA once;
CREATE EXTENSION pg_once;
SELECT nspname, nspacl::text LIKE '%=U/%' AS usage_to_public FROM pg_namespace WHERE nspname = 'once';
-- Options of queues are part of a dump.
SELECT extconfig[1]::regclass FROM pg_extension WHERE extname = 'pg_once';
-- With queues about, it is not dropped by mistake.
SELECT once.create_queue('q');
SET client_min_messages = error;
\set VERBOSITY terse
DROP EXTENSION pg_once;
DROP EXTENSION pg_once CASCADE;
\set VERBOSITY default
SELECT count(*) FROM pg_class WHERE relname = 'q_q';
CREATE EXTENSION pg_once;
SELECT once.create_queue('q');
SELECT once.send('q', '1');
SELECT payload FROM once.pop('q');
SELECT once.drop_queue('q');

-- The extension depends on no schema but its own: it is not dropped with public.
SELECT once.create_queue('kept');
BEGIN;
DROP SCHEMA public CASCADE;
SELECT once.send('kept', '1');
SELECT extname, extnamespace::regnamespace FROM pg_extension WHERE extname = 'pg_once';
ROLLBACK;
SELECT once.drop_queue('kept');
