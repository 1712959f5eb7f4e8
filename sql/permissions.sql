-- Rights are those on the queue's own table.
CREATE ROLE regress_once_owner;
CREATE ROLE regress_once_sender;
CREATE ROLE regress_once_consumer;
CREATE ROLE regress_once_observer;
CREATE ROLE regress_once_stranger;

-- Only who was given it may create queues; the table is theirs, in a schema
-- where they can create nothing else.
SET ROLE regress_once_owner;
SELECT once.create_queue('p');
\echo :SQLSTATE
RESET ROLE;
-- The hint names who lacks the right, wherever the call stands.  A branch that is known never to be taken wants none.
CREATE ROLE "regress once ""Odd""";
CREATE VIEW maker AS SELECT once.create_queue('of a view')::text AS made;
CREATE FUNCTION make(queue text) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM once.create_queue(queue); END';
CREATE FUNCTION make_inline(queue text) RETURNS void LANGUAGE sql AS 'SELECT once.create_queue(queue)';
CREATE FUNCTION make_as_owner(queue text) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'SELECT once.create_queue(queue)';
GRANT SELECT ON maker TO PUBLIC;
SET ROLE "regress once ""Odd""";
SELECT * FROM once.create_queue('f');
SELECT * FROM maker;
\set SHOW_CONTEXT never
SELECT make('f');
SELECT make_inline('f');
\set SHOW_CONTEXT errors
SELECT once.create_queue(NULL) FROM pg_class WHERE false;
EXPLAIN (COSTS off) SELECT once.create_queue('f');
SELECT CASE WHEN 1 = 2 THEN once.create_queue('f')::text END AS never;
SELECT has_function_privilege('once.create_queue(text, boolean, boolean, boolean, integer, interval, interval, interval, interval, interval, text, interval)', 'EXECUTE');
-- Who has the right for somebody lends it to him; a plan of his does not, nor does it keep it from who has it.
SELECT make_as_owner('lent');
PREPARE made AS SELECT once.create_queue('prepared');
EXECUTE made;
RESET ROLE;
EXECUTE made;
SELECT once.drop_queue(queue) FROM once.list_queues() WHERE queue IN ('lent', 'prepared');
SET plan_cache_mode = force_generic_plan;
EXECUTE made;
SET ROLE "regress once ""Odd""";
EXECUTE made;
RESET ROLE;
SELECT once.drop_queue('prepared');
GRANT EXECUTE ON FUNCTION once.create_queue TO "regress once ""Odd""";
SET ROLE "regress once ""Odd""";
EXECUTE made;
SELECT once.drop_queue('prepared');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION once.create_queue FROM "regress once ""Odd""";
SET ROLE "regress once ""Odd""";
EXECUTE made;
RESET ROLE;
RESET plan_cache_mode;
DEALLOCATE made;
-- Only superusers give the support function to a function of theirs.
SET ROLE regress_once_owner;
CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql SUPPORT once.execute_support AS '';
RESET ROLE;
DROP VIEW maker;
DROP FUNCTION make, make_inline, make_as_owner;
DROP ROLE "regress once ""Odd""";

GRANT EXECUTE ON FUNCTION once.create_queue TO regress_once_owner;
SET ROLE regress_once_owner;
SELECT once.create_queue('p', id_index => true, retry_delay => '0', retry_delay_max => '0');
SELECT current_user, session_user = current_user AS same;
CREATE TABLE once.mine (id int);
ALTER TABLE once.q_p RENAME TO q_pq;
ALTER TABLE once.q_p SET SCHEMA public;
SELECT relname, pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relname LIKE 'q\_p%' ORDER BY 1;
SELECT queue, owner FROM once.list_queues();
UPDATE once.queue SET retry_delay = '1 h';
DELETE FROM once.queue;
GRANT INSERT ON once.q_p TO regress_once_sender;
GRANT SELECT, DELETE ON once.q_p TO regress_once_consumer;
GRANT SELECT ON once.q_p TO regress_once_observer;

-- A tablespace that is not theirs is not used for them.
SET default_tablespace = 'pg_global';
SELECT once.create_queue('placed');
RESET default_tablespace;
SELECT once.drop_queue('placed');

-- The sender: INSERT, and nothing else; not even the sequence.
SET ROLE regress_once_sender;
SELECT once.send('p', '1');
SELECT * FROM once.send_batch('p', ARRAY['2', '3']::jsonb[]);
SELECT * FROM once.receive('p');
\echo :SQLSTATE
SELECT * FROM once.lease('p');
SELECT * FROM once.pop('p');
SELECT * FROM once.peek('p');
SELECT * FROM once.check('p');
SELECT * FROM once.slots('p');
SELECT * FROM once.pages('p');
SELECT once.cancel('p', 1);
SELECT once.purge('p');
SELECT * FROM once.q_p;

-- The consumer: SELECT and DELETE.
SET ROLE regress_once_consumer;
SELECT once.send('p', '4');
SELECT payload, once.ack(receipt) FROM once.receive('p');
SELECT receipt AS r FROM once.lease('p') \gset
SELECT once.extend(:'r', '1 h') > now() AS extended;
SELECT once.release(:'r');
SELECT payload FROM once.pop('p');
SELECT receipt AS r FROM once.lease('p') \gset
SELECT once.nack(:'r');
SELECT once.cancel('p', 3);
SELECT once.send('p', '4');
SELECT once.purge('p');
SELECT once.pause('p');
SELECT once.alter_queue('p', retry_delay => '1 h');
SELECT once.drop_queue('p');
\echo :SQLSTATE

-- The observer: SELECT.
RESET ROLE;
SELECT once.send('p', '"secret"');
SELECT receipt AS r FROM once.lease('p') \gset
SET ROLE regress_once_observer;
SELECT payload, state FROM once.peek('p');
SELECT count(*) FROM once.check('p');
-- Nor may an observer keep everybody else waiting, as a strict check would.
SELECT count(*) FROM once.check('p', strict => true);
SELECT count(*) > 0 AS some FROM once.slots('p');
SELECT count(*) > 0 AS some FROM once.pages('p');
SELECT * FROM once.receive('p');
SELECT once.ack(:'r');
SELECT once.send('p', '1');

-- A stranger: nothing, also with a receipt, and without taking a lock.
SET ROLE regress_once_stranger;
BEGIN;
SELECT once.send('p', '1');
ROLLBACK;
SELECT once.peek('p');
SELECT once.ack(:'r');
\echo :SQLSTATE
SELECT once.try_ack(:'r');
SELECT once.nack(:'r');
SELECT once.release(:'r');
SELECT once.extend(:'r', '1 h');
SELECT once.purge('p');
SELECT once.resume('p');
BEGIN;
SAVEPOINT a;
SELECT once.ack(:'r');
ROLLBACK TO a;
SELECT once.receive('p');
ROLLBACK TO a;
SELECT once.drop_queue('p');
ROLLBACK TO a;
SELECT count(*) FROM pg_locks WHERE relation = 'once.q_p'::regclass AND pid = pg_backend_pid();
COMMIT;
-- DELETE alone, or SELECT alone, is not enough to consume.
RESET ROLE;
GRANT DELETE ON once.q_p TO regress_once_stranger;
SET ROLE regress_once_stranger;
SELECT once.pop('p');

-- Without USAGE on the schema there is nothing at all.
RESET ROLE;
REVOKE USAGE ON SCHEMA once FROM PUBLIC;
SET ROLE regress_once_consumer;
SELECT once.send('p', '1');
RESET ROLE;
GRANT USAGE ON SCHEMA once TO PUBLIC;

-- Names that shadow ours do not get in: search_path of the caller is not used.
CREATE SCHEMA trap AUTHORIZATION regress_once_owner;
SET ROLE regress_once_owner;
CREATE FUNCTION trap.statement_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION trap.eq(bigint, bigint) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE OPERATOR trap.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = trap.eq);
CREATE DOMAIN trap.jsonb AS text;
SET search_path = trap, pg_catalog;
SELECT once.create_queue('shadow', id_index => true);
SELECT once.send('shadow', '1'), count(*) FROM once.list_queues();
SELECT count(*) FROM once.pop('shadow');
-- Nor when rows go through SPI, as they do for a table with a trigger.
CREATE TRIGGER any_trigger BEFORE UPDATE ON once.q_shadow FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
SELECT once.send('shadow', '2');
SELECT * FROM once.send_batch('shadow', ARRAY['3', '4']::pg_catalog.jsonb[]);
SELECT count(*) FROM once.pop('shadow', 2);
SELECT count(once.ack(receipt)) FROM once.receive('shadow');
SELECT once.drop_queue('shadow');
RESET search_path;

-- Settings: claims are everybody's own business, what hints do to the WAL is not.
SET once.flush_claims = on;
SET once.log_hints = on;
RESET once.flush_claims;

-- The owner, or a superuser, may do the rest.
SELECT once.pause('p', 'send'), once.resume('p', 'send');
SELECT once.alter_queue('p', retry_delay => '0');
SELECT once.purge('p');
RESET ROLE;
SELECT once.pause('p'), once.resume('p');
SET ROLE regress_once_owner;
SELECT once.drop_queue('p');
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA trap CASCADE;
RESET client_min_messages;
REVOKE EXECUTE ON FUNCTION once.create_queue FROM regress_once_owner;
DROP ROLE regress_once_owner, regress_once_sender, regress_once_consumer, regress_once_observer, regress_once_stranger;
