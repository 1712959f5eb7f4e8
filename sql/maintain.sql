-- maintain: what has to be done even if nobody consumes.
SELECT once.create_queue('m', max_attempts => 1, retry_delay => '0', retry_delay_max => '0');
SELECT once.create_queue('n', max_attempts => 1, retry_delay => '0', retry_delay_max => '0');
CREATE VIEW letters AS SELECT queue, reason, count(*), count(DISTINCT payload) AS payloads FROM once.dead_letters GROUP BY 1, 2 ORDER BY 1, 2;
CALL once.maintain();
-- A role that may maintain nothing of what there is, is told: a job that runs as the wrong role does nothing.
CREATE ROLE regress_once_nobody;
SET ROLE regress_once_nobody;
CALL once.maintain();
\echo :SQLSTATE
BEGIN;
CALL once.maintain();
COMMIT;
-- Half of the rights is none; one queue, or one ledger, is something.
RESET ROLE;
SELECT once.create_ledger('l', '1 day');
SELECT once.grant_queue('m', 'regress_once_nobody', 'observe');
GRANT SELECT ON once.l_l_0, once.l_l_1 TO regress_once_nobody;
SET ROLE regress_once_nobody;
CALL once.maintain();
RESET ROLE;
GRANT INSERT ON once.l_l_0, once.l_l_1 TO regress_once_nobody;
SET ROLE regress_once_nobody;
CALL once.maintain();
RESET ROLE;
REVOKE INSERT ON once.l_l_0, once.l_l_1 FROM regress_once_nobody;
SELECT once.grant_queue('n', 'regress_once_nobody', 'consume');
SET ROLE regress_once_nobody;
CALL once.maintain();
RESET ROLE;
SELECT once.revoke_queue('n', 'regress_once_nobody', 'consume'), once.revoke_queue('m', 'regress_once_nobody', 'observe');
-- A ledger alone is something. One without tables is not, so there is nothing to do for anybody.
BEGIN;
SELECT once.drop_queue(queue) FROM once.list_queues();
SET LOCAL ROLE regress_once_nobody;
CALL once.maintain();
RESET ROLE;
DROP TABLE once.l_l_0, once.l_l_1;
CALL once.maintain();
SET LOCAL ROLE regress_once_nobody;
CALL once.maintain();
ROLLBACK;
SELECT once.drop_ledger('l');
DROP ROLE regress_once_nobody;

-- Dead and expired messages are moved, however many; the others stay.
SELECT count(*) FROM once.send_batch('m', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 2500) g));
SELECT count(once.nack(receipt)) FROM once.lease('m', max_messages => 2500);
SELECT count(*) FROM once.send_batch('m', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 1500) g), ttl => '1 us');
SELECT once.send('m', '"alive"') IS NOT NULL AS sent;
SELECT once.send('n', '"expired"', ttl => '1 us') IS NOT NULL AS sent;
SELECT once.send('n', '"leased"') IS NOT NULL AS sent;
SELECT receipt AS r FROM once.lease('n', '1 h') \gset
BEGIN;
CALL once.maintain();
SELECT * FROM letters;
ROLLBACK;
SELECT * FROM letters;
CALL once.maintain();
SELECT * FROM letters;
SELECT payload, attempt, state FROM once.peek('m');
SELECT payload FROM once.pop('m', 10);
SELECT payload FROM once.pop('n', 10);
SELECT once.ack(:'r');
SELECT * FROM once.check('m', true);
SELECT once.purge_dead_letters('m'), once.purge_dead_letters('n');

-- Messages that have become due are brought into their lanes.
SELECT once.send('n', '"due"', delay => '100 ms') IS NOT NULL AS sent;
SELECT once.send('n', '"later"', delay => '1 day') IS NOT NULL AS sent;
SELECT count(*) FILTER (WHERE scheduled) AS scheduled FROM once.slots('n');
SELECT pg_sleep(0.11);
CALL once.maintain();
SELECT count(*) FILTER (WHERE scheduled) AS scheduled FROM once.slots('n');
SELECT payload FROM once.pop('n', 10);
SELECT once.purge('n');
SELECT * FROM once.check('n', true);

-- It commits step by step where it may, and works where it may not.
SELECT once.send('m', '"one"', ttl => '1 us') IS NOT NULL AS sent;
DO $$ BEGIN CALL once.maintain(); CALL once.maintain(); END $$;
SELECT * FROM letters;
SELECT once.send('m', '"two"', ttl => '1 us') IS NOT NULL AS sent;
CREATE FUNCTION maintained() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN CALL once.maintain(); RETURN (SELECT count(*) FROM once.dead_letters); END $$;
SELECT maintained();
DROP FUNCTION maintained;
SELECT once.send('m', '"three"', ttl => '1 us') IS NOT NULL AS sent;
BEGIN ISOLATION LEVEL SERIALIZABLE;
CALL once.maintain();
COMMIT;
SELECT * FROM letters;
-- What a procedure has done before, and what cannot be committed, is its own error.
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
DO $$ BEGIN INSERT INTO child VALUES (1); CALL once.maintain(); END $$;
\echo :SQLSTATE
SELECT count(*) FROM child;
DROP TABLE child, parent;
SELECT once.send('n', '"unacked"') IS NOT NULL AS sent;
DO $$ BEGIN PERFORM FROM once.receive('n'); CALL once.maintain(); END $$;
\echo :SQLSTATE
SELECT payload FROM once.pop('n');
SELECT once.purge_dead_letters('n');
-- ttl_action drop.
SELECT once.alter_queue('m', ttl_action => 'drop');
SELECT once.send('m', '"four"', ttl => '1 us') IS NOT NULL AS sent;
CALL once.maintain();
SELECT count(*) FROM once.q_m;
SELECT * FROM letters;
BEGIN READ ONLY;
CALL once.maintain();
ROLLBACK;

-- A queue whose consumption is paused is not touched.
SELECT once.alter_queue('m', reset => ARRAY['ttl_action']);
SELECT once.send('m', '"paused"', ttl => '1 us') IS NOT NULL AS sent;
SELECT once.pause('m', 'consume');
CALL once.maintain();
SELECT count(*) FROM once.q_m;
SELECT once.resume('m');
CALL once.maintain();
SELECT count(*) FROM once.q_m;

-- Retention: dead letters older than that go, with their failures.
SELECT once.purge_dead_letters('m');
SELECT once.send('m', '"old"') IS NOT NULL AS sent;
SELECT once.nack(receipt, error => 'old') FROM once.lease('m');
SELECT once.send('n', '"kept"') IS NOT NULL AS sent;
SELECT once.nack(receipt, error => 'kept') FROM once.lease('n');
SELECT once.alter_queue('m', retention => '1 h');
CALL once.maintain();
SELECT queue, last_error FROM once.dead_letters ORDER BY 1;
UPDATE once.dead_letter SET dead_at = dead_at - '59 min'::interval;
CALL once.maintain();
SELECT queue, last_error FROM once.dead_letters ORDER BY 1;
UPDATE once.dead_letter SET dead_at = dead_at - '2 min'::interval;
CALL once.maintain();
SELECT queue, last_error FROM once.dead_letters;
SELECT queue, error FROM once.failures;
SELECT once.purge_dead_letters('n');

-- Failures of messages that are gone otherwise are swept up, others not.
SELECT once.alter_queue('m', max_attempts => 10);
SELECT count(*) FROM once.send_batch('m', ARRAY['"deleted"', '"live"', '"dead"']::jsonb[]);
SELECT once.nack(receipt, error => payload #>> '{}') FROM once.lease('m', max_messages => 3);
DELETE FROM once.q_m WHERE payload = '"deleted"';
UPDATE once.q_m SET expires_at = now() WHERE payload = '"dead"';
SELECT queue, error FROM once.failures ORDER BY 2;
CALL once.maintain();
SELECT queue, error FROM once.failures ORDER BY 2;
SELECT once.purge('m');
CALL once.maintain();
SELECT queue, error FROM once.failures ORDER BY 2;
SELECT once.purge_dead_letters('m');

-- Partitions of the archive are emptied as a whole when their newest message is
-- old enough, and not before.
SELECT once.alter_queue('m', archive => '1 h');
INSERT INTO once.a_m (id, payload, archived_at, generation)
VALUES (1, '"old"', now() - '2 h'::interval, 0), (2, '"older"', now() - '3 h'::interval, 0),
       (3, '"old, but with a newer one"', now() - '2 h'::interval, 1), (4, '"newer"', now() - '59 min'::interval, 1),
       (5, '"just old enough"', now() - '61 min'::interval, 7);
BEGIN ISOLATION LEVEL REPEATABLE READ;
CALL once.maintain();
SELECT count(*) FROM once.a_m;
COMMIT;
CALL once.maintain();
SELECT payload FROM once.a_m ORDER BY id;
SELECT pg_relation_size('once."a_m$0"') AS zero, pg_relation_size('once."a_m$1"') > 0 AS more;
-- With the archive off there is no telling how long they should stay.
UPDATE once.a_m SET archived_at = '2000-01-01';
SELECT once.alter_queue('m', reset => ARRAY['archive']);
CALL once.maintain();
SELECT count(*) FROM once.a_m;
SELECT once.alter_queue('m', archive => '1 h');
CALL once.maintain();
SELECT count(*) FROM once.a_m;

-- The trouble of one queue is a warning, and the next one gets its turn.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused' USING DETAIL = 'In detail.', HINT = 'A hint.', ERRCODE = 'OO000'; END $$;
CREATE TRIGGER refuse BEFORE DELETE ON once.q_m FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT once.send(q, '"expired"', ttl => '1 us') IS NOT NULL AS sent FROM unnest(ARRAY['m', 'n']) AS q;
INSERT INTO once.a_m (id, archived_at, generation) VALUES (1, '2000-01-01', 0);
CALL once.maintain();
SELECT * FROM letters;
SELECT count(*) FROM once.q_m;
SELECT count(*) FROM once.a_m;
DROP TRIGGER refuse ON once.q_m;
DROP FUNCTION refuse;
DROP INDEX once.q_m_queue_idx;
SELECT once.send('n', '"expired too"', ttl => '1 us') IS NOT NULL AS sent;
\set VERBOSITY terse
CALL once.maintain();
\set VERBOSITY default
SELECT * FROM letters;
SELECT once.drop_queue('m');
SELECT once.drop_queue('n');

-- For whoever may consume.  A mere consumer deletes as himself, as in receive, and
-- leaves alone what only the archive's owner may do, if that runs code of his.
CREATE ROLE regress_once_owner;
CREATE ROLE regress_once_consumer;
CREATE ROLE regress_once_stranger;
GRANT EXECUTE ON FUNCTION once.create_queue TO regress_once_owner;
CREATE TABLE who (name name, what text);
GRANT INSERT, SELECT, DELETE ON who TO PUBLIC;
SET ROLE regress_once_owner;
SELECT once.create_queue('m', archive => '1 h');
GRANT SELECT, DELETE ON once.q_m TO regress_once_consumer;
GRANT SELECT ON once.q_m TO regress_once_stranger;
SELECT once.send('m', '"expired"', ttl => '1 us');
INSERT INTO once.a_m (id, archived_at, generation) VALUES (1, '2000-01-01', 0);
CREATE FUNCTION pg_temp.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.who VALUES (current_user, TG_OP);
  PERFORM set_config('work_mem', '123kB', false);
  BEGIN
    EXECUTE 'SET ROLE ' || session_user;
  EXCEPTION WHEN OTHERS THEN
    INSERT INTO public.who VALUES (current_user, SQLERRM);
  END;
  BEGIN
    CREATE TEMP TABLE left_behind (id int);
  EXCEPTION WHEN OTHERS THEN
    INSERT INTO public.who VALUES (current_user, SQLERRM);
  END;
  RETURN NULL;
END $$;
CREATE TRIGGER note BEFORE TRUNCATE ON once."a_m$0" FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.note();
CREATE TRIGGER note AFTER DELETE ON once.q_m FOR EACH ROW EXECUTE FUNCTION pg_temp.note();
-- Planning a query of a table runs functions in its constraints, too.
CREATE FUNCTION pg_temp.one() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
  IF current_user <> 'regress_once_owner' THEN RAISE 'one() runs as %', current_user; END IF;
  RETURN 1;
END $$;
ALTER TABLE once.q_m ADD CHECK (id >= pg_temp.one());
SET ROLE regress_once_stranger;
CALL once.maintain();
RESET ROLE;
SELECT (SELECT count(*) FROM once.q_m), (SELECT count(*) FROM once.a_m);
ALTER TABLE once.q_m DROP CONSTRAINT q_m_id_check;
SET SESSION AUTHORIZATION regress_once_consumer;
CALL once.maintain();
RESET SESSION AUTHORIZATION;
RESET work_mem;
SELECT (SELECT count(*) FROM once.q_m), (SELECT count(*) FROM once.a_m);
SELECT * FROM who;
-- A partition with nothing behind it is emptied for him.
SET ROLE regress_once_owner;
INSERT INTO once.a_m (id, archived_at, generation) VALUES (2, '2000-01-01', 1);
RESET ROLE;
SET SESSION AUTHORIZATION regress_once_consumer;
CALL once.maintain();
RESET SESSION AUTHORIZATION;
SELECT id FROM once.a_m;
-- When a superuser calls, it runs as nobody but the owner.
DELETE FROM who;
SET ROLE regress_once_owner;
ALTER TABLE once.q_m ADD CHECK (id >= pg_temp.one());
SELECT once.send('m', '"failed"') IS NOT NULL AS sent;
SELECT once.nack(receipt, error => 'failed') FROM once.lease('m');
RESET ROLE;
SET session_replication_role = replica;
DELETE FROM once.q_m;
RESET session_replication_role;
SET ROLE regress_once_owner;
SELECT once.send('m', '"expired"', ttl => '1 us') IS NOT NULL AS sent;
RESET ROLE;
SELECT count(*) FROM once.failures;
SET constraint_exclusion = on;
CALL once.maintain();
SELECT * FROM who;
SELECT (SELECT count(*) FROM once.q_m), (SELECT count(*) FROM once.a_m), (SELECT count(*) FROM once.failures);
RESET constraint_exclusion;
SELECT current_user = session_user AS same, current_setting('search_path'), current_setting('work_mem') <> '123kB' AS kept;
SELECT once.drop_queue('m');
DROP TABLE who;
DROP VIEW letters;
DROP FUNCTION pg_temp.note, pg_temp.one;
DROP TABLE pg_temp.left_behind;
REVOKE EXECUTE ON FUNCTION once.create_queue FROM regress_once_owner;
DROP ROLE regress_once_owner, regress_once_consumer, regress_once_stranger;
