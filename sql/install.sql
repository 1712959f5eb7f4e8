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

-- Default privileges of who creates it do not reach what holds everybody's.
CREATE ROLE regress_once_stranger;
DROP EXTENSION pg_once;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO regress_once_stranger;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO regress_once_stranger;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO regress_once_stranger;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO regress_once_stranger;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
CREATE EXTENSION pg_once;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM regress_once_stranger;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM regress_once_stranger;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM regress_once_stranger;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TYPES FROM regress_once_stranger;
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
SELECT has_schema_privilege('regress_once_stranger', 'once', 'CREATE') AS may_create,
       (SELECT array_agg(c.relname ORDER BY c.relname COLLATE "C") FROM pg_class c
         WHERE c.relnamespace = 'once'::regnamespace AND c.relkind IN ('r', 'v') AND has_table_privilege('regress_once_stranger', c.oid, 'SELECT')) AS may_read,
       (SELECT array_agg(c.relname) FROM pg_class c
         WHERE c.relnamespace = 'once'::regnamespace AND c.relkind IN ('r', 'v') AND has_table_privilege('regress_once_stranger', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')) AS may_write,
       has_function_privilege('regress_once_stranger', 'once.send(text, jsonb, jsonb, interval, timestamptz, integer, text, text, interval)', 'EXECUTE') AS may_call,
       has_function_privilege('regress_once_stranger', 'once.maintain()', 'EXECUTE') AS may_maintain,
       has_function_privilege('regress_once_stranger', 'once.create_ledger(text, interval, boolean, boolean)', 'EXECUTE') AS may_make;
DROP ROLE regress_once_stranger;
