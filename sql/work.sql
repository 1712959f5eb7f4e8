-- work: the consumer loop.  With until => '0' it returns when it finds nothing more.
SELECT once.create_queue('w', retry_delay => '0', retry_delay_max => '0', max_attempts => 3);
CREATE TABLE effect (id bigint, payload jsonb, attempt int, handler text, xact xid8 DEFAULT pg_current_xact_id());
CREATE VIEW queue_now AS SELECT id, payload, attempt, state FROM once.peek('w', 100) ORDER BY id;
CREATE VIEW letters AS SELECT payload, reason, attempts, last_error FROM once.dead_letters WHERE queue = 'w' ORDER BY id;
CREATE FUNCTION handle(m once.message) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO effect VALUES (m.id, m.payload, m.attempt, 'handle');
  CASE m.payload ->> 'do'
    WHEN 'fail' THEN RAISE 'no such article' USING ERRCODE = 'P0002';
    WHEN 'fail once' THEN IF m.attempt = 1 THEN RAISE 'not yet'; END IF;
    WHEN 'later' THEN RAISE 'busy' USING ERRCODE = 'ON021', DETAIL = '1 hour';
    WHEN 'later, some time' THEN RAISE 'busy' USING ERRCODE = 'ON021';
    WHEN 'later, never' THEN RAISE 'busy' USING ERRCODE = 'ON021', DETAIL = 'tomorrow';
    WHEN 'reject' THEN RAISE 'no order' USING ERRCODE = 'ON022';
    WHEN 'ack' THEN PERFORM once.ack(m.receipt);
    WHEN 'nack' THEN IF m.attempt = 1 THEN PERFORM once.nack(m.receipt, error => 'by itself'); END IF;
    WHEN 'nack and fail' THEN IF m.attempt = 1 THEN PERFORM once.nack(m.receipt, error => 'undone'); RAISE 'after that'; END IF;
    ELSE NULL;
  END CASE;
END $$;

-- What succeeds is done.
SELECT count(*) FROM once.send_batch('w', ARRAY['{"n": 1}', '{"n": 2}', '{"n": 3}']::jsonb[]);
CALL once.work('w', 'handle(once.message)', until => '0');
SELECT payload, attempt FROM effect ORDER BY id;
SELECT * FROM queue_now;
CALL once.work('w', 'handle(once.message)', 10, '0');
SELECT count(*) FROM once.send_batch('w', ARRAY['{"n": 4}', '{"n": 5}', '{"n": 6}']::jsonb[]);
CALL once.work('w', 'handle(once.message)', 2, '0');
SELECT payload, attempt, count(*) OVER (PARTITION BY xact) AS in_its_transaction FROM effect WHERE payload ->> 'n' >= '4' ORDER BY id;

-- What fails leaves no effect, and is given back with the error; others go on.
TRUNCATE effect;
SELECT count(*) FROM once.send_batch('w', ARRAY['{"do": "fail"}', '{"do": "fail once"}', '{"n": 1}']::jsonb[]);
CALL once.work('w', 'handle(once.message)', 3, '0');
SELECT payload, attempt FROM effect ORDER BY id;
SELECT * FROM letters;
SELECT attempt, error FROM once.failures WHERE queue = 'w' ORDER BY attempt;

-- What a handler can say by a SQLSTATE: reject; later; give it back.
TRUNCATE effect;
SELECT once.purge_dead_letters('w');
SELECT count(*) FROM once.send_batch('w', ARRAY['{"do": "reject"}', '{"do": "later"}']::jsonb[]);
CALL once.work('w', 'handle(once.message)', 1, '0');
SELECT count(*) FROM effect;
SELECT * FROM letters;
SELECT payload, attempt, state, ready_at > now() + interval '50 min' AS in_an_hour FROM once.peek('w');
SELECT error FROM once.failures WHERE queue = 'w' ORDER BY error;
SELECT once.purge('w'), once.purge_dead_letters('w');
-- Without an interval, the queue's own delay.
SELECT count(*) FROM once.send_batch('w', ARRAY['{"do": "later, some time"}', '{"do": "later, never"}']::jsonb[]);
\set VERBOSITY terse
CALL once.work('w', 'handle(once.message)', 1, '0');
\set VERBOSITY default
SELECT * FROM letters;
SELECT once.purge_dead_letters('w');
-- Given back is not counted.  (The handler would get it again and again, so it is let through at last.)
CREATE FUNCTION released(m once.message) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM nextval('calls');
  IF (SELECT last_value FROM calls) < 6 THEN RAISE 'not me' USING ERRCODE = 'ON020'; END IF;
  INSERT INTO effect VALUES (m.id, m.payload, m.attempt, 'released');
END $$;
CREATE SEQUENCE calls;
SELECT once.send('w', '{"n": 1}') IS NOT NULL AS sent;
CALL once.work('w', 'released(once.message)', 1, '0');
SELECT payload, attempt FROM effect;
SELECT count(*) FROM once.failures WHERE queue = 'w';
-- A rejected message is not archived, and can be redriven.
SELECT once.create_queue('kept', archive => '1 day', retry_delay => '0');
SELECT count(*) FROM once.send_batch('kept', ARRAY['{"do": "reject"}', '{"n": 1}']::jsonb[], group_ids => ARRAY['g', 'g']);
CALL once.work('kept', 'handle(once.message)', 1, '0');
SELECT payload FROM once.a_kept;
SELECT payload, group_id, reason, attempts, last_error FROM once.dead_letters WHERE queue = 'kept';
SELECT once.redrive('kept');
SELECT payload, attempt FROM once.pop('kept');
SELECT * FROM once.check('kept', true);
SELECT once.drop_queue('kept');

-- A handler may ack or give back by itself.
TRUNCATE effect;
SELECT count(*) FROM once.send_batch('w', ARRAY['{"do": "ack"}', '{"do": "nack"}', '{"do": "nack and fail"}']::jsonb[]);
CALL once.work('w', 'handle(once.message)', 3, '0');
SELECT payload, attempt FROM effect ORDER BY id, attempt;
SELECT * FROM queue_now;

-- A handler of batches gets what a transaction has received.  If it fails, each message is tried alone.
CREATE FUNCTION handle_all(m once.message[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO effect SELECT id, payload, attempt, 'batch of ' || cardinality(m) FROM unnest(m);
  IF EXISTS (SELECT FROM unnest(m) WHERE payload ->> 'do' = 'fail') THEN RAISE 'one is bad'; END IF;
  IF EXISTS (SELECT FROM unnest(m) WHERE payload ->> 'do' = 'reject') THEN RAISE 'all are bad' USING ERRCODE = 'ON022'; END IF;
END $$;
TRUNCATE effect;
SELECT count(*) FROM once.send_batch('w', ARRAY(SELECT jsonb_build_object('n', g) FROM generate_series(1, 5) g));
CALL once.work('w', 'handle_all(once.message[])', 3, '0');
SELECT payload, attempt, handler FROM effect ORDER BY id;
TRUNCATE effect;
SELECT count(*) FROM once.send_batch('w', ARRAY['{"n": 1}', '{"do": "fail"}', '{"n": 3}', '{"n": 4}']::jsonb[]);
CALL once.work('w', 'handle_all(once.message[])', 3, '0');
SELECT payload, attempt, handler FROM effect ORDER BY id;
SELECT * FROM letters;
SELECT once.purge_dead_letters('w');
SELECT count(*) FROM once.send_batch('w', ARRAY['{"n": 1}', '{"do": "reject"}']::jsonb[]);
CALL once.work('w', 'handle_all(once.message[])', 3, '0');
SELECT * FROM letters;
SELECT once.purge_dead_letters('w');

-- Within a group, what comes after a failed message waits for it.
TRUNCATE effect;
SELECT count(*) FROM once.send_batch('w', ARRAY['{"do": "fail once"}', '{"n": 2}', '{"n": 3}']::jsonb[], group_ids => ARRAY['g', 'g', 'g']);
CALL once.work('w', 'handle(once.message)', 3, '0');
SELECT payload, attempt FROM effect ORDER BY ctid;
SELECT * FROM once.check('w', true);

-- What fails in the commit only: as any failure; of several, each is tried alone.
CREATE TABLE parent (n int PRIMARY KEY);
CREATE TABLE child (n int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION put_child(m once.message) RETURNS void LANGUAGE sql AS $$ INSERT INTO child VALUES ((m.payload ->> 'n')::int) $$;
INSERT INTO parent VALUES (1), (3);
SELECT count(*) FROM once.send_batch('w', ARRAY['{"n": 1}', '{"n": 2}', '{"n": 3}']::jsonb[]);
CALL once.work('w', 'put_child(once.message)', 3, '0');
SELECT n FROM child ORDER BY n;
SELECT * FROM letters;
SELECT once.purge_dead_letters('w');

-- Handlers of other kinds: a procedure, SQL, one whose name wants quotes, one in another schema than the caller's path.
CREATE SCHEMA "Other";
CREATE PROCEDURE "Other"."a handler"(m once.message) LANGUAGE sql AS $$ INSERT INTO public.effect VALUES (m.id, m.payload, m.attempt, 'procedure') $$;
TRUNCATE effect;
SELECT once.send('w', '{"n": 1}') IS NOT NULL AS sent;
SET search_path = pg_catalog;
CALL once.work('w', '"Other"."a handler"(once.message)', 1, '0');
RESET search_path;
SELECT payload, handler FROM effect;
DROP SCHEMA "Other" CASCADE;
-- Values stored out of line arrive as they are.
CREATE FUNCTION measure(m once.message) RETURNS void LANGUAGE sql AS $$ INSERT INTO effect VALUES (m.id, to_jsonb(length(m.payload #>> '{}')), m.attempt, m.headers ->> 'h') $$;
TRUNCATE effect;
SELECT once.send('w', to_jsonb((SELECT string_agg(md5(g::text), '') FROM generate_series(1, 4000) g)), headers => '{"h": "headers"}') IS NOT NULL AS sent;
CALL once.work('w', 'measure(once.message)', 1, '0');
SELECT payload, handler FROM effect;
-- A handler that commits cannot.
CREATE PROCEDURE commits(m once.message) LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
SELECT once.send('w', '{"n": 1}') IS NOT NULL AS sent;
CALL once.work('w', 'commits(once.message)', 1, '0');
SELECT * FROM letters;
SELECT once.purge_dead_letters('w');
-- A handler that receives and does not ack fails in the commit.
CREATE FUNCTION receives(m once.message) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM once.receive('w'); END $$;
SELECT once.alter_queue('w', max_attempts => 1);
SELECT once.send('w', '{"n": 1}', priority => 9) IS NOT NULL AS sent;
SELECT once.send('w', '{"n": 2}') IS NOT NULL AS sent;
CALL once.work('w', 'receives(once.message)', 1, '0');
SELECT payload, reason, attempts, left(last_error, 6) AS error FROM once.dead_letters WHERE queue = 'w' ORDER BY id;
SELECT once.purge_dead_letters('w');
SELECT once.alter_queue('w', max_attempts => 3);

-- A message that was delivered before has a transaction of its own, so that no other message shares the fate of a poison.
SELECT once.purge('w');
CREATE FUNCTION counts(m once.message[]) RETURNS void LANGUAGE sql AS $$
  INSERT INTO effect SELECT id, payload, attempt, cardinality(m) || ' at a time' FROM unnest(m) $$;
TRUNCATE effect;
SELECT once.send('w', '3') IS NOT NULL AS sent;
SELECT once.nack(receipt, '0') IS NOT NULL AS nacked FROM once.lease('w');
SELECT count(*) FROM once.send_batch('w', ARRAY['1', '2']::jsonb[], priority => 9);
SELECT count(*) FROM once.send_batch('w', ARRAY['4', '5']::jsonb[], priority => 0);
CALL once.work('w', 'counts(once.message[])', 10, '0');
SELECT payload, attempt, handler FROM effect ORDER BY payload;
-- A handler that is renamed while it is used goes on, whatever has its name now.
TRUNCATE effect;
CREATE FUNCTION moves(m once.message) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF m.payload = '1' THEN
    ALTER FUNCTION moves RENAME TO moved;
    CREATE FUNCTION moves(m once.message) RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE ''the wrong one''; END';
  END IF;
  INSERT INTO effect VALUES (m.id, m.payload, m.attempt, 'the right one');
END $$;
SELECT count(*) FROM once.send_batch('w', ARRAY['1', '2', '3']::jsonb[]);
CALL once.work('w', 'moves(once.message)', 1, '0');
SELECT payload, attempt, handler FROM effect ORDER BY payload;
DROP FUNCTION moves, moved;
-- VARIADIC is an array as well.
CREATE FUNCTION takes_all(VARIADIC m once.message[]) RETURNS void LANGUAGE sql AS $$ SELECT counts(m) $$;
TRUNCATE effect;
SELECT count(*) FROM once.send_batch('w', ARRAY['1', '2']::jsonb[]);
CALL once.work('w', 'takes_all(once.message[])', 10, '0');
SELECT payload, attempt, handler FROM effect ORDER BY payload;

-- A handler that comes back when the time is up: no more is taken.
CREATE FUNCTION sleeps(m once.message) RETURNS void LANGUAGE sql AS $$ INSERT INTO effect VALUES (m.id); SELECT pg_sleep(0.3) $$;
TRUNCATE effect;
SELECT count(*) FROM once.send_batch('w', ARRAY['1', '2', '3']::jsonb[]);
CALL once.work('w', 'sleeps(once.message)', 1, '0.2 s');
SELECT count(*) FROM effect;
SELECT once.purge('w');
-- It waits for that long.
SELECT clock_timestamp() AS begun \gset
-- (Before PostgreSQL 17, waiting is polling here, and the first wait says so.)
SET client_min_messages = warning;
CALL once.work('w', 'sleeps(once.message)', 1, '0.2 s');
RESET client_min_messages;
SELECT clock_timestamp() - :'begun' BETWEEN '0.2 s' AND '5 s' AS waited;
-- A queue that is paused is waited for.
SELECT once.send('w', '1') IS NOT NULL AS sent;
SELECT once.pause('w', 'consume');
CALL once.work('w', 'sleeps(once.message)', 1, '0.1 s');
CALL once.work('w', 'sleeps(once.message)', 1, '0');
SELECT once.resume('w', 'consume');
SELECT once.purge('w');

-- Cancelled: what was begun with counts as an attempt, the others do not.
TRUNCATE effect;
SELECT count(*) FROM once.send_batch('w', ARRAY['{"n": 1}', '{"n": 2}', '{"n": 3}']::jsonb[]);
CREATE FUNCTION second_hangs(m once.message) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO effect VALUES (m.id);
  IF m.payload ->> 'n' = '2' THEN PERFORM pg_sleep(3600); END IF;
END $$;
SET statement_timeout = '300 ms';
CALL once.work('w', 'second_hangs(once.message)', 3);
RESET statement_timeout;
SELECT count(*) FROM effect;
SELECT payload, attempt, state FROM queue_now;
SELECT once.purge('w');

-- Bad arguments.
CREATE FUNCTION no_argument() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION two_arguments(m once.message, n int) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION wrong_argument(m text) RETURNS void LANGUAGE sql AS '';
CREATE AGGREGATE an_aggregate(once.message) (SFUNC = array_append, STYPE = once.message[]);
CALL once.work(NULL, 'handle(once.message)');
CALL once.work('w', NULL);
CALL once.work('no such queue', 'handle(once.message)');
CALL once.work('none', 'handle(once.message)');
CALL once.work('w', 'no_such_function(once.message)');
CALL once.work('w', 999999999);
CALL once.work('w', 'no_argument()');
CALL once.work('w', 'two_arguments(once.message, int)');
CALL once.work('w', 'wrong_argument(text)');
CALL once.work('w', 'an_aggregate(once.message)');
CREATE PROCEDURE gives_back(m once.message, OUT n int) LANGUAGE plpgsql AS 'BEGIN n = 1; END';
CALL once.work('w', 'gives_back(once.message)');
CALL once.work('w', 'gives_back(once.message, int)');
CALL once.work('w', 'handle(once.message)', 0);
CALL once.work('w', 'handle(once.message)', 10001);
CALL once.work('w', 'handle(once.message)', NULL);
CALL once.work('w', 'handle(once.message)', 10000, '0');
CALL once.work('w', 'handle(once.message)', 1, '-1 s');
CALL once.work('w', 'handle(once.message)', 1, '36501 days');
BEGIN;
CALL once.work('w', 'handle(once.message)', 1, '0');
ROLLBACK;
DO $$ BEGIN CALL once.work('w', 'handle(once.message)', 1, '0'); EXCEPTION WHEN division_by_zero THEN NULL; END $$;
SET default_transaction_read_only = on;
CALL once.work('w', 'handle(once.message)', 1, '0');
RESET default_transaction_read_only;
-- Within a procedure that may commit.
SELECT once.send('w', '{"n": 1}') IS NOT NULL AS sent;
TRUNCATE effect;
DO $$ BEGIN INSERT INTO effect VALUES (0, '"before"'); CALL once.work('w', 'handle(once.message)', 1, '0'); ROLLBACK; END $$;
SELECT payload FROM effect ORDER BY id;

-- As which role: the caller, who must have the rights, at each turn.
CREATE ROLE regress_worker;
GRANT INSERT ON effect TO regress_worker;
CREATE FUNCTION who(m once.message) RETURNS void LANGUAGE sql AS $$ INSERT INTO effect VALUES (m.id, m.payload, m.attempt, current_user) $$;
SELECT once.send('w', '{"n": 1}') IS NOT NULL AS sent;
TRUNCATE effect;
SET ROLE regress_worker;
CALL once.work('w', 'who(once.message)', 1, '0');
RESET ROLE;
SELECT once.grant_queue('w', 'regress_worker', 'consume');
REVOKE EXECUTE ON FUNCTION who FROM PUBLIC;
SET ROLE regress_worker;
CALL once.work('w', 'who(once.message)', 1, '0');
RESET ROLE;
GRANT EXECUTE ON FUNCTION who TO regress_worker;
SET ROLE regress_worker;
CALL once.work('w', 'who(once.message)', 1, '0');
RESET ROLE;
SELECT payload, handler FROM effect;

SELECT * FROM once.check('w', true);
SELECT once.drop_queue('w');
DROP VIEW queue_now, letters;
DROP TABLE effect, child, parent;
DROP SEQUENCE calls;
DROP AGGREGATE an_aggregate(once.message);
DROP FUNCTION handle, handle_all, released, put_child, measure, takes_all, counts, receives, sleeps, second_hangs, no_argument, two_arguments, wrong_argument, who;
DROP PROCEDURE commits, gives_back;
DROP ROLE regress_worker;
