-- Ledgers: ids that have been processed, and the results kept with them.
SELECT once.create_ledger('payments', retention => '7 days');
SELECT ledger, owner = current_user AS mine, unlogged, retention, created_at > now() - interval '1 min' AS just_now FROM once.list_ledgers();
SELECT c.relname, c.relkind, c.relpersistence FROM pg_class c
 WHERE c.relnamespace = 'once'::regnamespace AND c.relname LIKE 'l\_%' ORDER BY c.relname COLLATE "C";
SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type, l.collname, a.attnotnull
  FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation
 WHERE a.attrelid = 'once.l_payments_1'::regclass AND a.attnum > 0 ORDER BY a.attnum;
SELECT indexdef FROM pg_indexes WHERE tablename = 'l_payments_1';
-- The tables belong to nobody but their owner: they are no members of the extension.
SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND objid IN ('once.l_payments_0'::regclass, 'once.l_payments_1'::regclass);
-- Options of ledgers are part of a dump.
SELECT unnest(extconfig)::regclass FROM pg_extension WHERE extname = 'pg_once' EXCEPT SELECT 'once.queue'::regclass ORDER BY 1;

-- An id is new once.
SELECT once.mark_processed('payments', 'a');
SELECT once.mark_processed('payments', 'a');
SELECT once.mark_processed('payments', 'A');
SELECT once.is_processed('payments', 'a') AS a, once.is_processed('payments', 'b') AS b;
SELECT id, processed_at <= clock_timestamp() AS dated, result FROM once.l_payments_0 ORDER BY id;
-- In the same transaction, too, and in the same statement.
BEGIN;
SELECT once.mark_processed('payments', 'b'), once.mark_processed('payments', 'b'), once.is_processed('payments', 'b');
SELECT once.mark_processed('payments', 'b');
-- What is rolled back was never marked.
ROLLBACK;
SELECT once.is_processed('payments', 'b');
BEGIN;
SAVEPOINT s;
SELECT once.mark_processed('payments', 'b');
ROLLBACK TO s;
SELECT once.is_processed('payments', 'b');
SELECT once.mark_processed('payments', 'b');
SAVEPOINT s;
SELECT once.mark_processed('payments', 'b');
ROLLBACK TO s;
COMMIT;
SELECT once.is_processed('payments', 'b');
DO $$
BEGIN
	PERFORM once.mark_processed('payments', 'c');
	RAISE 'failed';
EXCEPTION WHEN raise_exception THEN
	RAISE NOTICE 'after the failure: %', once.mark_processed('payments', 'c');
END $$;

-- Forgetting makes an id new again, in the caller's transaction.
SELECT once.forget_processed('payments', 'a'), once.forget_processed('payments', 'a'), once.forget_processed('payments', 'unknown');
SELECT once.is_processed('payments', 'a');
SELECT once.mark_processed('payments', 'a');
BEGIN;
SELECT once.forget_processed('payments', 'a');
SELECT once.is_processed('payments', 'a');
ROLLBACK;
SELECT once.is_processed('payments', 'a');
BEGIN;
SELECT once.forget_processed('payments', 'a'), once.mark_processed('payments', 'a'), once.mark_processed('payments', 'a');
SAVEPOINT s;
SELECT once.forget_processed('payments', 'a');
ROLLBACK TO s;
SELECT once.mark_processed('payments', 'a');
COMMIT;
SELECT once.is_processed('payments', 'a');
BEGIN;
SELECT once.mark_processed('payments', 'fleeting'), once.forget_processed('payments', 'fleeting');
COMMIT;
SELECT once.is_processed('payments', 'fleeting');

-- Many at once: the new ones, in the order given, each once.
SELECT * FROM once.mark_processed_all('payments', ARRAY['z', 'a', 'y', 'z', 'x', 'b', 'y']);
SELECT * FROM once.mark_processed_all('payments', ARRAY['z', 'a', 'y', 'w', 'x', 'b', 'y']);
SELECT * FROM once.mark_processed_all('payments', ARRAY['x', 'y']);
SELECT * FROM once.mark_processed_all('payments', '{}');
SELECT * FROM once.mark_processed_all('payments', '[5:6]={v,a}');
SELECT once.mark_processed_all('payments', ARRAY['u', 't']), once.mark_processed_all('payments', ARRAY['u']);
BEGIN;
SELECT * FROM once.mark_processed_all('payments', ARRAY['s', 'r']);
ROLLBACK;
SELECT * FROM once.mark_processed_all('payments', ARRAY['r', 's']);
-- All of them are marked, whatever the reader fetches.
SELECT * FROM once.mark_processed_all('payments', ARRAY['q', 'p', 'o']) LIMIT 1;
SELECT once.is_processed('payments', 'o');

-- Ids have 1 to 1000 bytes, and are text; nothing else is taken, and nothing of a call that has such an id.
\set VERBOSITY terse
SELECT once.mark_processed('payments', '');
\echo :SQLSTATE
SELECT once.mark_processed('payments', NULL);
\echo :SQLSTATE
SELECT once.mark_processed(NULL, 'id');
\echo :SQLSTATE
SELECT once.mark_processed('payments', repeat('m', 1001));
\echo :SQLSTATE
SELECT once.mark_processed('payments', repeat(U&'\00e9', 501));
SELECT once.mark_processed('payments', U&'\00e9' || repeat('m', 999));
\set VERBOSITY default
SELECT once.mark_processed('payments', repeat('m', 1001));
\set VERBOSITY terse
SELECT once.is_processed('payments', '');
SELECT once.is_processed('payments', repeat('m', 1001));
SELECT once.is_processed('payments', NULL);
SELECT once.is_processed(NULL, 'id');
SELECT once.forget_processed('payments', '');
SELECT once.forget_processed('payments', repeat('m', 1001));
SELECT once.forget_processed('payments', NULL);
SELECT once.forget_processed(NULL, 'id');
SELECT once.get_result('payments', '');
SELECT once.get_result('payments', repeat('m', 1001));
SELECT once.get_result('payments', NULL);
SELECT once.get_result(NULL, 'id');
SELECT once.process('payments', '');
SELECT once.process('payments', repeat('m', 1001));
SELECT once.process('payments', NULL);
SELECT once.process(NULL, 'id');
SELECT once.set_result('payments', '', '1');
SELECT once.set_result('payments', repeat('m', 1001), '1');
SELECT once.set_result('payments', NULL, '1');
SELECT once.set_result(NULL, 'id', '1');
SELECT once.mark_processed_all('payments', NULL);
\echo :SQLSTATE
SELECT once.mark_processed_all(NULL, ARRAY['id']);
SELECT once.mark_processed_all('payments', ARRAY['bad1', NULL]);
\echo :SQLSTATE
SELECT once.mark_processed_all('payments', ARRAY['bad2', '']);
\echo :SQLSTATE
SELECT once.mark_processed_all('payments', ARRAY['bad3', repeat('m', 1001), 'bad4']);
SELECT once.mark_processed_all('payments', ARRAY[['bad5', 'bad6'], ['bad7', 'bad8']]);
\echo :SQLSTATE
-- Not even in a transaction that catches the error.
DO $$
BEGIN
	PERFORM once.mark_processed('payments', 'before');
	BEGIN
		PERFORM once.mark_processed_all('payments', ARRAY['bad1', NULL]);
	EXCEPTION WHEN null_value_not_allowed THEN
	END;
	BEGIN
		PERFORM once.mark_processed('payments', '');
	EXCEPTION WHEN invalid_parameter_value THEN
	END;
END $$;
\set VERBOSITY default
SELECT count(*) FILTER (WHERE once.is_processed('payments', 'bad' || n)) AS bad, once.is_processed('payments', 'before') AS before FROM generate_series(1, 8) AS n;
SELECT once.forget_processed('payments', 'before');

-- Both ends of the range, in bytes.
SELECT octet_length(id), once.mark_processed('payments', id) AS new, once.mark_processed('payments', id) AS again, once.is_processed('payments', id)
  FROM (VALUES ('1'), (repeat('m', 1000)), (repeat(U&'\00e9', 500)), (repeat(U&'\20ac', 333) || 'm'), (repeat(U&'\+01f600', 250)), (chr(1)), (' '), (E'\n'), ('''";--')) AS t (id);

-- Bytes are compared, all of them: no two ids are taken for one, however alike.
CREATE TABLE alike (n int, id text COLLATE "C");
INSERT INTO alike SELECT 10, repeat('p', g) FROM generate_series(1, 1000) g;						-- each a prefix of the next
INSERT INTO alike SELECT 20, repeat('q', 996) || lpad(g::text, 4, '0') FROM generate_series(0, 999) g;	-- different at the end
INSERT INTO alike SELECT 30, 'r' || chr(g) || repeat('r', 300) FROM generate_series(1, 127) g;
INSERT INTO alike SELECT 40, U&'\00e9' || repeat(U&'\00e9', g) FROM generate_series(0, 400) g;
INSERT INTO alike SELECT 50, left(string_agg(md5(g || '.' || part), ''), 1000) FROM generate_series(1, 1000) g, generate_series(1, 32) part GROUP BY g;	-- not to be compressed
INSERT INTO alike SELECT 60, 'item ' || g FROM generate_series(1, 5000) g;
SELECT count(*), count(DISTINCT id), max(octet_length(id)) FROM alike;
SELECT once.create_ledger('alike', '1 day');
SELECT n, count(*), sum(once.mark_processed('alike', id)::int) AS new FROM alike WHERE n = 60 GROUP BY n;
SELECT count(*), bool_and(id = given) AS in_order
  FROM (SELECT array_agg(id ORDER BY md5(id)) AS ids, array_agg(id ORDER BY md5(id)) FILTER (WHERE n < 60) AS unknown FROM alike) AS a,
	   LATERAL ROWS FROM (once.mark_processed_all('alike', ids), unnest(unknown)) AS t (id, given);
SELECT count(*) FROM once.mark_processed_all('alike', ARRAY(SELECT id FROM alike ORDER BY n, id));
SELECT count(*) FROM alike WHERE NOT once.is_processed('alike', id);
SELECT count(*) FROM alike WHERE once.mark_processed('alike', id);
-- Their neighbours are unknown.
SELECT count(*), count(*) FILTER (WHERE once.is_processed('alike', id)) AS known
  FROM (SELECT id || 'p' AS id FROM alike WHERE octet_length(id) < 1000 UNION SELECT left(id, -1) FROM alike WHERE id <> 'p' EXCEPT SELECT id FROM alike OFFSET 0) AS t;
-- What was forgotten is new, and nothing else is.
SELECT count(*) > 0 AS some, bool_and(once.forget_processed('alike', id)) AS forgotten FROM (SELECT id FROM alike WHERE md5(id) < '8' OFFSET 0) AS t;
SELECT count(*) FILTER (WHERE md5(id) < '8') = (SELECT count(*) FROM alike WHERE md5(id) < '8') AS all_of_them, count(*) FILTER (WHERE md5(id) >= '8') AS others
  FROM once.mark_processed_all('alike', ARRAY(SELECT id FROM alike ORDER BY id DESC)) AS t (id);
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM once.l_alike_0 UNION ALL SELECT id FROM once.l_alike_1) AS t;
SELECT once.drop_ledger('alike');
DROP TABLE alike;

-- Results: the first one stores it, who comes later gets it.
SELECT once.create_ledger('requests', '1 day');
BEGIN;
SELECT * FROM once.process('requests', 'r1');
SELECT once.set_result('requests', 'r1', '{"status": 201}');
COMMIT;
SELECT * FROM once.process('requests', 'r1');
SELECT * FROM once.process('requests', 'r1');
SELECT once.mark_processed('requests', 'r1');
-- One without a result has none; SQL's NULL is none, JSON's is one.
SELECT * FROM once.process('requests', 'r2');
SELECT first_time, result, result IS NULL AS none FROM once.process('requests', 'r2');
BEGIN;
SELECT once.mark_processed('requests', 'r3'), once.set_result('requests', 'r3', NULL);
SELECT once.mark_processed('requests', 'r4'), once.set_result('requests', 'r4', 'null');
SELECT id, first_time, result, result IS NULL AS none FROM (VALUES ('r3'), ('r4')) AS t (id), once.process('requests', id);
-- The transaction itself gets it, too, and can replace it.
SELECT once.set_result('requests', 'r3', '3'), once.set_result('requests', 'r3', '33');
SELECT * FROM once.process('requests', 'r3');
COMMIT;
SELECT * FROM once.process('requests', 'r3');
-- In one statement.
SELECT p.first_time, once.set_result('requests', 'r5', '5') FROM once.process('requests', 'r5') p WHERE p.first_time;
SELECT * FROM once.process('requests', 'r5');
WITH p AS (SELECT * FROM once.process('requests', 'r6'))
SELECT once.set_result('requests', 'r6', '6') FROM p WHERE first_time;
SELECT (once.process('requests', 'r6')).*;
SELECT (once.process('requests', 'r7')).*;
SELECT once.process('requests', 'r7');
-- Large ones.
BEGIN;
SELECT first_time FROM once.process('requests', repeat('r', 1000));
SELECT once.set_result('requests', repeat('r', 1000), jsonb_build_object('body', string_agg(md5(g::text), ''))) FROM generate_series(1, 10000) g;
SELECT first_time FROM once.process('requests', repeat('s', 1000));
SELECT once.set_result('requests', repeat('s', 1000), to_jsonb(repeat('compressible', 10000)));
SELECT first_time FROM once.process('requests', left(repeat(md5('t') || md5('u'), 16), 1000));
SELECT once.set_result('requests', left(repeat(md5('t') || md5('u'), 16), 1000), to_jsonb(string_agg(md5(g::text), ''))) FROM generate_series(1, 60) g;
COMMIT;
SELECT first_time, length(result::text), md5(result::text) = md5((SELECT jsonb_build_object('body', string_agg(md5(g::text), ''))::text FROM generate_series(1, 10000) g)) AS same
  FROM once.process('requests', repeat('r', 1000));
SELECT first_time, length(result::text) FROM once.process('requests', repeat('s', 1000));
SELECT first_time, length(result::text) FROM once.process('requests', left(repeat(md5('t') || md5('u'), 16), 1000));
-- Many in one transaction, each with a result that is replaced.
BEGIN;
SELECT count(once.set_result('requests', id, to_jsonb(id))) FROM once.mark_processed_all('requests', ARRAY(SELECT 'many ' || g FROM generate_series(1, 500) g)) AS t (id);
SELECT count(once.set_result('requests', 'many ' || g, to_jsonb(repeat('x', g)))) FROM generate_series(1, 500) g;
COMMIT;
SELECT count(*) FROM generate_series(1, 500) g, once.process('requests', 'many ' || g) AS p WHERE NOT p.first_time AND length(p.result #>> '{}') = g;
-- It can be had without marking anything: one row if the id is marked, with a result or without, and none if it is not.
SELECT id, g.processed_at = l.processed_at AS then, g.result, g.result IS NULL AS none
  FROM unnest(ARRAY['r1', 'r2', 'r3', 'r4', 'never']) AS id LEFT JOIN once.l_requests_0 l USING (id) LEFT JOIN once.get_result('requests', id) g ON true ORDER BY id;
SELECT count(*) FROM once.get_result('requests', 'never');
SELECT once.is_processed('requests', 'never');
SELECT (once.get_result('requests', 'r1')).result;
SELECT length(result::text), md5(result::text) = md5((SELECT jsonb_build_object('body', string_agg(md5(g::text), ''))::text FROM generate_series(1, 10000) g)) AS same
  FROM once.get_result('requests', repeat('r', 1000));
SELECT length(result::text) FROM once.get_result('requests', repeat('s', 1000));
SELECT length(result::text) FROM once.get_result('requests', left(repeat(md5('t') || md5('u'), 16), 1000));
SELECT count(*) FROM generate_series(1, 500) g, once.get_result('requests', 'many ' || g) AS p WHERE length(p.result #>> '{}') = g;
SELECT left(result #>> '{}', 5) AS result FROM once.get_result('requests', repeat('s', 1000));
-- What the transaction itself has done counts, and in a transaction that only reads it can be had as well.
BEGIN;
SELECT once.mark_processed('requests', 'own'), (SELECT result IS NULL FROM once.get_result('requests', 'own')) AS none;
SELECT once.set_result('requests', 'own', '1'), (SELECT result FROM once.get_result('requests', 'own'));
SELECT once.forget_processed('requests', 'own'), once.forget_processed('requests', 'r1');
SELECT count(*) FROM once.get_result('requests', 'own');
SELECT count(*) FROM once.get_result('requests', 'r1');
ROLLBACK;
BEGIN READ ONLY;
SELECT result FROM once.get_result('requests', 'r1');
COMMIT;

-- A result is given by the transaction that has marked the id, and by no other.
SELECT once.set_result('requests', 'r1', '0');
\echo :SQLSTATE
\set VERBOSITY terse
SELECT once.set_result('requests', 'r2', '0');
SELECT once.set_result('requests', 'never', '0');
\echo :SQLSTATE
BEGIN;
SELECT first_time FROM once.process('requests', 'r1');
SELECT once.set_result('requests', 'r1', '0');
ROLLBACK;
-- Not after its marking was rolled back, or forgotten.
BEGIN;
SAVEPOINT s;
SELECT first_time FROM once.process('requests', 's1');
SELECT once.set_result('requests', 's1', '1');
ROLLBACK TO s;
SELECT once.set_result('requests', 's1', '1');
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT once.mark_processed('requests', 's1'), once.forget_processed('requests', 's1');
SELECT once.set_result('requests', 's1', '1');
ROLLBACK;
BEGIN;
SELECT once.forget_processed('requests', 'r1');
SELECT once.set_result('requests', 'r1', '0');
ROLLBACK;
SELECT * FROM once.process('requests', 'r1');
\set VERBOSITY default
-- A savepoint takes back what was set after it; what marked the id may be a released one.
BEGIN;
SAVEPOINT s;
SELECT first_time FROM once.process('requests', 's2');
RELEASE s;
SELECT once.set_result('requests', 's2', '1');
SAVEPOINT s;
SELECT once.set_result('requests', 's2', '2');
SELECT once.set_result('requests', 's2', '3');
ROLLBACK TO s;
SELECT * FROM once.process('requests', 's2');
SAVEPOINT s;
SELECT once.forget_processed('requests', 's2');
ROLLBACK TO s;
SELECT once.set_result('requests', 's2', '4');
COMMIT;
SELECT * FROM once.process('requests', 's2');
-- Forgotten with the id.
SELECT once.forget_processed('requests', 's2');
SELECT * FROM once.process('requests', 's2');

-- Retention: more than nothing, at most a hundred years.
\set VERBOSITY terse
SELECT once.create_ledger('bad', '0');
\echo :SQLSTATE
SELECT once.create_ledger('bad', '-1 s');
SELECT once.create_ledger('bad', '36500 days 1 us');
SELECT once.create_ledger('bad', '36501 days');
SELECT once.create_ledger('bad', '178000000 years');
SELECT once.create_ledger('bad', '1 mon -30 days');
SELECT once.create_ledger('bad', NULL);
\echo :SQLSTATE
SELECT once.create_ledger('bad', '1 day', unlogged => NULL);
SELECT once.create_ledger('bad', '1 day', if_not_exists => NULL);
SELECT once.create_ledger(NULL, '1 day');
\echo :SQLSTATE
\set VERBOSITY default
SELECT once.create_ledger('least', '1 us'), once.create_ledger('most', '36500 days'), once.create_ledger('month', '1 mon');
SELECT once.mark_processed(l, 'a'), once.mark_processed(l, 'a') FROM unnest(ARRAY['most', 'month']) AS l;
SELECT once.mark_processed('least', 'a');
SELECT ledger, retention FROM once.list_ledgers();
-- alter_ledger has the same limits, and changes nothing when its argument is bad.
\set VERBOSITY terse
SELECT once.alter_ledger('most', '0');
SELECT once.alter_ledger('most', '-1 s');
SELECT once.alter_ledger('most', '36501 days');
SELECT once.alter_ledger('most', NULL);
\echo :SQLSTATE
SELECT once.alter_ledger(NULL, '1 day');
SELECT once.alter_ledger('nothing', '1 day');
\echo :SQLSTATE
\set VERBOSITY default
SELECT once.alter_ledger('least', '36500 days'), once.alter_ledger('most', '1 us');
BEGIN;
SELECT once.alter_ledger('month', '1 day');
SELECT retention FROM once.list_ledgers() WHERE ledger = 'month';
ROLLBACK;
SELECT ledger, retention FROM once.list_ledgers() WHERE ledger IN ('least', 'most', 'month');
SELECT once.drop_ledger(l) FROM unnest(ARRAY['least', 'most', 'month']) AS l;

-- A second one of the name is an error, or a notice, and keeps what the first has.
SELECT once.create_ledger('payments', '1 day');
\echo :SQLSTATE
SELECT once.create_ledger('payments', '1 day', if_not_exists => true);
SELECT retention FROM once.list_ledgers() WHERE ledger = 'payments';
SELECT once.is_processed('payments', 'a');
SELECT once.create_ledger('fresh', '1 day', if_not_exists => true);
SELECT once.drop_ledger('fresh');

-- Unlogged: all that it is made of.
SELECT once.create_ledger('fast', '1 day', unlogged => true);
SELECT ledger, unlogged FROM once.list_ledgers();
SELECT relname, relpersistence FROM pg_class WHERE relname LIKE 'l\_fast%' ORDER BY relname COLLATE "C";
SELECT once.mark_processed('fast', 'a'), once.mark_processed('fast', 'a');
SELECT once.drop_ledger('fast');

-- Names: as those of queues.  Each has tables of its own, also beside a queue of that name.
SELECT once.create_ledger('Payments', '1 day'), once.create_ledger('payments_0', '1 day'), once.create_ledger('_a-B_9', '1 day'), once.create_ledger(repeat('n', 47), '1 day'),
	   once.create_queue('payments');
SELECT ledger FROM once.list_ledgers();
SELECT ledger, once.mark_processed(ledger, 'named') AS new, once.mark_processed(ledger, 'named') AS again FROM once.list_ledgers();
SELECT once.drop_ledger(ledger) FROM once.list_ledgers() WHERE ledger NOT IN ('payments', 'requests');
SELECT once.drop_queue('payments');
SELECT once.is_processed('payments', 'a');
\set VERBOSITY terse
SELECT once.create_ledger('', '1 day');
\echo :SQLSTATE
SELECT once.create_ledger('1st', '1 day');
SELECT once.create_ledger('a.b', '1 day');
SELECT once.create_ledger('a"b', '1 day');
\set VERBOSITY default
SELECT once.create_ledger(repeat('n', 48), '1 day');
\set VERBOSITY terse
SELECT once.mark_processed('a b', 'id');
SELECT once.mark_processed_all('a b', ARRAY['id']);
SELECT once.is_processed('a b', 'id');
SELECT once.forget_processed('a b', 'id');
SELECT once.get_result('a b', 'id');
SELECT once.process('a b', 'id');
SELECT once.set_result('a b', 'id', '1');
SELECT once.alter_ledger('a b', '1 day');
SELECT once.drop_ledger('a b');
-- No ledger of that name.
SELECT once.mark_processed('nothing', 'id');
\echo :SQLSTATE
SELECT once.mark_processed_all('nothing', ARRAY['id']);
SELECT once.mark_processed_all('nothing', '{}');
SELECT once.is_processed('nothing', 'id');
SELECT once.forget_processed('nothing', 'id');
SELECT once.get_result('nothing', 'id');
SELECT once.process('nothing', 'id');
SELECT once.set_result('nothing', 'id', '1');
SELECT once.alter_ledger('nothing', '1 day');
SELECT once.drop_ledger('nothing');
\echo :SQLSTATE
SELECT once.drop_ledger(NULL);
\set VERBOSITY default

-- Read-only transactions can look, and nothing else.
\set VERBOSITY terse
BEGIN READ ONLY;
SELECT once.is_processed('payments', 'a'), (SELECT count(*) FROM once.list_ledgers());
SAVEPOINT s;
SELECT once.mark_processed('payments', 'a');
\echo :SQLSTATE
ROLLBACK TO s;
SELECT once.mark_processed_all('payments', ARRAY['a']);
ROLLBACK TO s;
SELECT once.forget_processed('payments', 'a');
ROLLBACK TO s;
SELECT once.process('payments', 'a');
ROLLBACK TO s;
SELECT once.set_result('payments', 'a', '1');
ROLLBACK TO s;
SELECT once.create_ledger('new', '1 day');
ROLLBACK TO s;
SELECT once.alter_ledger('payments', '1 day');
ROLLBACK TO s;
SELECT once.drop_ledger('payments');
ROLLBACK;
\set VERBOSITY default
-- REPEATABLE READ and SERIALIZABLE: in one session all is as ever.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT once.mark_processed('payments', 'rr'), once.mark_processed('payments', 'rr'), once.mark_processed('payments', 'a');
SELECT once.set_result('payments', 'rr', '1');
SELECT * FROM once.process('payments', 'rr');
SELECT once.forget_processed('payments', 'rr'), once.is_processed('payments', 'rr');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT once.mark_processed('payments', 'rr'), once.mark_processed('payments', 'rr'), once.mark_processed('payments', 'a');
SELECT once.set_result('payments', 'rr', '1');
SELECT * FROM once.process('payments', 'rr');
SELECT once.forget_processed('payments', 'rr'), once.is_processed('payments', 'rr');
COMMIT;

-- drop_ledger leaves nothing; what is made next remembers nothing.
SELECT once.drop_ledger('requests');
SELECT relname FROM pg_class WHERE relnamespace = 'once'::regnamespace AND relname LIKE '%requests%';
SELECT * FROM once.ledger WHERE ledger = 'requests';
SELECT once.is_processed('requests', 'r1');
SELECT once.create_ledger('requests', '2 days');
SELECT * FROM once.process('requests', 'r1');
-- In a transaction that rolls back, all is as it was.
BEGIN;
SELECT once.drop_ledger('requests'), once.create_ledger('requests', '3 days');
SELECT * FROM once.process('requests', 'r1');
SELECT once.drop_ledger('requests');
SAVEPOINT s;
SELECT once.mark_processed('requests', 'r2');
ROLLBACK TO s;
ROLLBACK;
SELECT * FROM once.process('requests', 'r1');
SELECT retention FROM once.list_ledgers() WHERE ledger = 'requests';
BEGIN;
SELECT once.create_ledger('passing', '1 day');
SELECT once.mark_processed('passing', 'a');
ROLLBACK;
SELECT once.mark_processed('passing', 'a');
SELECT once.create_ledger('passing', '1 day');
SELECT once.mark_processed('passing', 'a');
SELECT once.drop_ledger('passing');
-- What depends on a table keeps it.
CREATE VIEW seen AS SELECT id FROM once.l_requests_0;
SELECT once.drop_ledger('requests');
SELECT * FROM once.process('requests', 'r1');
DROP VIEW seen;

-- Dropped by plain SQL it is gone, and can be made again.
DROP TABLE once.l_requests_0, once.l_requests_1;
SELECT once.mark_processed('requests', 'r1');
\echo :SQLSTATE
SELECT ledger FROM once.list_ledgers();
SELECT once.create_ledger('requests', '4 days');
SELECT once.mark_processed('requests', 'r1');
SELECT retention FROM once.list_ledgers() WHERE ledger = 'requests';
-- What is left of one is no ledger, and goes with drop_ledger.
DROP TABLE once.l_requests_1;
SELECT once.mark_processed('requests', 'r1');
\echo :SQLSTATE
SELECT once.create_ledger('requests', '4 days');
\echo :SQLSTATE
SELECT once.create_ledger('requests', '4 days', if_not_exists => true);
SELECT once.alter_ledger('requests', '4 days');
SELECT once.drop_ledger('requests');
SELECT once.create_ledger('requests', '4 days');
DROP TABLE once.l_requests_0;
SELECT once.is_processed('requests', 'r1');
SELECT once.drop_ledger('requests');
SELECT relname FROM pg_class WHERE relnamespace = 'once'::regnamespace AND relname LIKE '%requests%';
SELECT once.create_ledger('requests', '4 days');
ALTER SEQUENCE once.l_requests_state OWNED BY NONE;
DROP SEQUENCE once.l_requests_state;
SELECT once.is_processed('requests', 'r1');
\echo :SQLSTATE
SELECT once.drop_ledger('requests');
SELECT once.drop_ledger('requests');
SELECT relname FROM pg_class WHERE relnamespace = 'once'::regnamespace AND relname LIKE '%requests%';
SELECT once.create_ledger('requests', '4 days');

-- A ledger whose tables are not as they were made is not used: what was added might have its say.
CREATE PROCEDURE altered(change text, back text) LANGUAGE plpgsql AS $$
DECLARE
	state text;
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE change;
	FOR i IN 1 .. 4 LOOP
		BEGIN
			CASE i
				WHEN 1 THEN PERFORM once.mark_processed('payments', 'altered');
				WHEN 2 THEN PERFORM once.mark_processed_all('payments', ARRAY['altered']);
				WHEN 3 THEN PERFORM once.forget_processed('payments', 'a');
				WHEN 4 THEN PERFORM once.get_result('payments', 'a');
			END CASE;
			RAISE NOTICE '%: used', change;
		EXCEPTION WHEN SQLSTATE 'ON013' THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
			IF i = 1 THEN
				RAISE NOTICE E'%\n  % % %\n  %', change, state, message, detail, hint;
			END IF;
		END;
	END LOOP;
	EXECUTE back;
END $$;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CALL altered('CREATE TRIGGER t BEFORE INSERT ON once.l_payments_0 FOR EACH ROW EXECUTE FUNCTION nothing()', 'DROP TRIGGER t ON once.l_payments_0');
CALL altered('CREATE RULE r AS ON INSERT TO once.l_payments_0 DO INSTEAD NOTHING', 'DROP RULE r ON once.l_payments_0');
CALL altered('CREATE TABLE child (id text REFERENCES once.l_payments_0)', 'DROP TABLE child');
CALL altered('ALTER TABLE once.l_payments_0 ENABLE ROW LEVEL SECURITY', 'ALTER TABLE once.l_payments_0 DISABLE ROW LEVEL SECURITY');
CALL altered('UPDATE pg_index SET indisvalid = false WHERE indexrelid = ''once.l_payments_0_pkey''::regclass', 'UPDATE pg_index SET indisvalid = true WHERE indexrelid = ''once.l_payments_0_pkey''::regclass');
CALL altered('CREATE INDEX extra ON once.l_payments_0 (processed_at)', 'DROP INDEX once.extra');
-- Keys that REINDEX CONCURRENTLY has left behind are kept up, however many there are.
DO $$ BEGIN FOR n IN 1 .. 6 LOOP EXECUTE format('CREATE UNIQUE INDEX left_%s ON once.l_payments_0 (id)', n); END LOOP; END $$;
SELECT once.mark_processed('payments', 'kept up'), once.mark_processed('payments', 'kept up'), once.forget_processed('payments', 'kept up');
DO $$ BEGIN FOR n IN 1 .. 6 LOOP EXECUTE format('DROP INDEX once.left_%s', n); END LOOP; END $$;
CALL altered('ALTER TABLE once.l_payments_0 DROP CONSTRAINT l_payments_0_pkey', 'ALTER TABLE once.l_payments_0 ADD PRIMARY KEY (id)');
CALL altered('ALTER TABLE once.l_payments_0 DROP CONSTRAINT l_payments_0_pkey, ADD PRIMARY KEY (id) DEFERRABLE',
			 'ALTER TABLE once.l_payments_0 DROP CONSTRAINT l_payments_0_pkey, ADD PRIMARY KEY (id)');
CALL altered('ALTER TABLE once.l_payments_0 DROP CONSTRAINT l_payments_0_pkey, ADD PRIMARY KEY (id, processed_at)',
			 'ALTER TABLE once.l_payments_0 DROP CONSTRAINT l_payments_0_pkey, ADD PRIMARY KEY (id)');
CALL altered('ALTER TABLE once.l_payments_0 ALTER processed_at DROP NOT NULL', 'ALTER TABLE once.l_payments_0 ALTER processed_at SET NOT NULL');
CALL altered('ALTER TABLE once.l_payments_0 ADD COLUMN extra int', 'ALTER TABLE once.l_payments_0 DROP COLUMN extra');
CALL altered('ALTER TABLE once.l_payments_0 ADD CHECK (id <> ''altered'')', 'ALTER TABLE once.l_payments_0 DROP CONSTRAINT l_payments_0_id_check');
-- A dropped column leaves its trace.
DO $$ BEGIN PERFORM once.mark_processed('payments', 'altered'); EXCEPTION WHEN SQLSTATE 'ON013' THEN RAISE NOTICE '%', sqlerrm; END $$;
SELECT once.drop_ledger('payments'), once.create_ledger('payments', '7 days');
SELECT once.mark_processed('payments', 'a');
-- The table whose turn is yet to come counts, too.
CALL altered('CREATE TRIGGER t BEFORE INSERT ON once.l_payments_1 FOR EACH ROW EXECUTE FUNCTION nothing()', 'DROP TRIGGER t ON once.l_payments_1');
CALL altered('CREATE INDEX extra ON once.l_payments_1 (processed_at)', 'DROP INDEX once.extra');
SELECT once.is_processed('payments', 'a');
CALL altered('ALTER TABLE once.l_payments_0 ALTER id TYPE text COLLATE "POSIX"', 'ALTER TABLE once.l_payments_0 ALTER id TYPE text COLLATE "C"');
CALL altered('ALTER TABLE once.l_payments_0 ALTER id TYPE varchar', 'ALTER TABLE once.l_payments_0 ALTER id TYPE text COLLATE "C"');
CALL altered('ALTER TABLE once.l_payments_0 ALTER result TYPE json', 'ALTER TABLE once.l_payments_0 ALTER result TYPE jsonb');
DELETE FROM once.l_payments_0;
CALL altered('ALTER TABLE once.l_payments_0 ALTER result SET NOT NULL', 'ALTER TABLE once.l_payments_0 ALTER result DROP NOT NULL');
CREATE TABLE parent (id text COLLATE "C" NOT NULL, processed_at timestamptz NOT NULL, result jsonb) PARTITION BY LIST (id);
DELETE FROM once.l_payments_0;
CALL altered('ALTER TABLE parent ATTACH PARTITION once.l_payments_0 FOR VALUES IN (''only'')', 'ALTER TABLE parent DETACH PARTITION once.l_payments_0');
DROP TABLE parent;
-- It is as it was, and all that is said of it is true.
SELECT once.mark_processed('payments', 'a'), once.mark_processed('payments', 'a'), once.is_processed('payments', 'altered');
-- What can be done to any table can be done to these.
ALTER TABLE once.l_payments_0 SET (fillfactor = 50);
REINDEX TABLE once.l_payments_0;
VACUUM FULL once.l_payments_0;
CLUSTER once.l_payments_0 USING l_payments_0_pkey;
ALTER TABLE once.l_payments_0 REPLICA IDENTITY FULL;
COMMENT ON TABLE once.l_payments_0 IS 'whose payments have come in';
SELECT once.mark_processed('payments', 'a'), once.mark_processed('payments', 'b'), once.forget_processed('payments', 'b');
-- Part of it is gone: an error that says which, and what to do. The sequence goes with the column that it belongs to.
CREATE PROCEDURE without(change text) LANGUAGE plpgsql AS $$
DECLARE
	verb text;
	detail text;
BEGIN
	PERFORM once.create_ledger('part', '7 days');
	PERFORM once.mark_processed('part', 'a');
	EXECUTE change;
	FOREACH verb IN ARRAY ARRAY['mark_processed(''part'', ''a'')', 'mark_processed_all(''part'', ''{a}'')', 'is_processed(''part'', ''a'')', 'get_result(''part'', ''a'')',
		'forget_processed(''part'', ''a'')', 'process(''part'', ''a'')', 'set_result(''part'', ''a'', ''1'')', 'alter_ledger(''part'', ''8 days'')', 'grant_ledger(''part'', ''public'')'] LOOP
		BEGIN
			EXECUTE 'SELECT once.' || verb;
			RAISE 'works: %', verb;
		EXCEPTION WHEN SQLSTATE 'ON013' THEN
			NULL;
		END;
	END LOOP;
	CALL once.maintain();
	BEGIN
		PERFORM once.is_processed('part', 'a');
	EXCEPTION WHEN SQLSTATE 'ON013' THEN
		GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
		RAISE NOTICE '%: %: %', change, sqlerrm, detail;
	END;
	PERFORM once.drop_ledger('part');
END $$;
CALL without('ALTER TABLE once.l_part_0 DROP COLUMN id');
CALL without('DROP TABLE once.l_part_0');
CALL without('DROP TABLE once.l_part_1');
CALL without('DROP SEQUENCE once.l_part_state');
DROP PROCEDURE without;
SELECT once.create_ledger('part', '7 days');
ALTER TABLE once.l_part_0 DROP COLUMN id;
SELECT once.mark_processed('part', 'a');
\echo :SQLSTATE
SELECT once.create_ledger('part', '7 days');
SELECT once.create_ledger('part', '7 days', if_not_exists => true);
SELECT once.drop_ledger('part');
SELECT relname FROM pg_class WHERE relname ~ '^l_part';
-- Others' relations of the name are no ledger.
CREATE VIEW once.l_view_0 AS SELECT 1;
CREATE VIEW once.l_view_1 AS SELECT 1;
SELECT once.mark_processed('view', 'a');
SELECT once.drop_ledger('view');
DROP VIEW once.l_view_0, once.l_view_1;
-- A sequence that somebody has played with is an error, not a guess.
SELECT last_value AS state FROM once.l_payments_state \gset
SELECT setval('once.l_payments_state', 3);
SELECT once.mark_processed('payments', 'a');
\echo :SQLSTATE
SELECT setval('once.l_payments_state', :state) IS NOT NULL AS as_before;
SELECT once.mark_processed('payments', 'a');

-- Forgotten when the retention has passed, and when the generation that has taken over is in use.
CREATE PROCEDURE mark_until_forgotten(ledger text, id text) LANGUAGE plpgsql AS $$
DECLARE
	n int := 0;
BEGIN
	WHILE once.is_processed(ledger, id) LOOP
		IF n > 5000 THEN
			RAISE 'ledger % does not forget', ledger;
		END IF;
		PERFORM once.mark_processed(ledger, 'other ' || n);
		COMMIT;
		PERFORM pg_sleep(0.002);
		n := n + 1;
	END LOOP;
END $$;
SELECT once.create_ledger('brief', '1 ms');
BEGIN;
SELECT * FROM once.process('brief', 'a');
SELECT once.set_result('brief', 'a', '1');
COMMIT;
CALL mark_until_forgotten('brief', 'a');
SELECT * FROM once.get_result('brief', 'a');
SELECT * FROM once.process('brief', 'a');
-- One generation after the other.
CALL mark_until_forgotten('brief', 'a');
SELECT once.mark_processed('brief', 'a');
CALL mark_until_forgotten('brief', 'a');
SELECT once.mark_processed('brief', 'a');
SELECT once.drop_ledger('brief');

-- A retention that is changed and rolled back again makes nothing be forgotten: the ledger goes on for good, the change does not.
SELECT once.create_ledger('trial', '7 days');
SELECT once.mark_processed('trial', 'a');
CALL once.maintain();
SELECT last_value & 3 = 2 AS closed FROM once.l_trial_state;
-- What is in the other generation is found as well.
SELECT (SELECT count(*) FROM once.l_trial_0) AS old, processed_at < now() AS before, result IS NULL AS none FROM once.get_result('trial', 'a');
BEGIN;
SELECT once.alter_ledger('trial', '1 ms');
SELECT pg_sleep(0.01);
CALL once.maintain();
SELECT once.mark_processed('trial', 'b');
ROLLBACK;
SELECT last_value & 3 = 2 AS closed FROM once.l_trial_state;
SELECT once.mark_processed('trial', 'a');
SELECT once.drop_ledger('trial');

-- A key that may be null is none.
SELECT once.create_ledger('nulls', '7 days');
ALTER TABLE once.l_nulls_0 DROP CONSTRAINT l_nulls_0_pkey;
ALTER TABLE once.l_nulls_0 ALTER id DROP NOT NULL;
CREATE UNIQUE INDEX l_nulls_0_key ON once.l_nulls_0 (id);
INSERT INTO once.l_nulls_0 VALUES (NULL, now(), NULL);
SELECT once.mark_processed('nulls', 'a');
-- Since PostgreSQL 18, old rows may have nulls although new ones may not.
DO $$ BEGIN
	IF current_setting('server_version_num')::int >= 180000 THEN
		EXECUTE 'ALTER TABLE once.l_nulls_0 ADD NOT NULL id NOT VALID';
	END IF;
END $$;
SELECT once.mark_processed('nulls', 'a');
SELECT once.drop_ledger('nulls');

-- With a ledger about, the extension is not dropped by mistake.
\set VERBOSITY terse
DROP EXTENSION pg_once;
\set VERBOSITY default
BEGIN;
SET LOCAL client_min_messages = warning;
DROP EXTENSION pg_once CASCADE;
SELECT count(*) FROM pg_class WHERE relname LIKE 'l\_payments%';
ROLLBACK;
SELECT once.is_processed('payments', 'a');
SELECT once.drop_ledger(ledger) FROM once.list_ledgers();
SELECT count(*) FROM pg_class WHERE relnamespace = 'once'::regnamespace AND relname LIKE 'l\_%';
SELECT count(*) FROM once.ledger;
DROP PROCEDURE altered, mark_until_forgotten;
DROP FUNCTION nothing;
