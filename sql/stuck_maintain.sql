-- maintain goes on to the next message and the next queue, whoever calls it, and
-- whatever keeps a message: here a constraint that is deferred to the commit.
CREATE ROLE regress_once_owner;
CREATE ROLE regress_once_consumer;
GRANT EXECUTE ON FUNCTION once.create_queue TO regress_once_owner;
GRANT CREATE ON SCHEMA public TO regress_once_owner;
SET ROLE regress_once_owner;
SELECT once.create_queue('a', id_index => true, max_attempts => 1, retry_delay => '0'), once.create_queue('b', max_attempts => 1);
SELECT once.grant_queue(q, 'regress_once_consumer', 'consume') FROM unnest('{a,b}'::text[]) q;
CREATE TABLE progress (message bigint REFERENCES once.q_a (id) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE told (id bigint, by name);
GRANT INSERT ON told TO PUBLIC;
CREATE FUNCTION tells() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.told VALUES (OLD.id, current_user);
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER tells AFTER DELETE ON once.q_a DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tells();
RESET ROLE;
CREATE PROCEDURE kill() LANGUAGE plpgsql AS $$
BEGIN
  PERFORM once.purge(q) FROM unnest('{a,b}'::text[]) q;
  PERFORM once.purge_dead_letters(q) FROM unnest('{a,b}'::text[]) q;
  PERFORM setval('once.q_a_id_seq', 1, false), setval('once.q_b_id_seq', 1, false);
  PERFORM once.send_batch(q, ARRAY['1', '2', '3']::jsonb[]) FROM unnest('{a,b}'::text[]) q;
  COMMIT;
  UPDATE once.q_a SET expires_at = now();
  UPDATE once.q_b SET expires_at = now();
  TRUNCATE told;
END $$;
CREATE VIEW letters AS SELECT queue, id FROM once.dead_letters ORDER BY 1, 2;
GRANT SELECT ON letters TO PUBLIC;

-- the owner
CALL kill();
INSERT INTO progress VALUES (2);
SET ROLE regress_once_owner;
CALL once.maintain();
RESET ROLE;
SELECT * FROM letters;
SELECT id, state, error FROM once.peek('a');
DELETE FROM progress;
-- a superuser: triggers run as the owner, at once
CALL kill();
INSERT INTO progress VALUES (1);
CALL once.maintain();
SELECT * FROM letters;
SELECT * FROM told ORDER BY id;
DELETE FROM progress;
-- a consumer
CALL kill();
INSERT INTO progress VALUES (3);
SET SESSION AUTHORIZATION regress_once_consumer;
CALL once.maintain();
RESET SESSION AUTHORIZATION;
SELECT * FROM letters;
SELECT * FROM told ORDER BY id;
DELETE FROM progress;
-- In a transaction of the caller's own they fire at its end: for the owner, and not
-- for who would have them run as somebody else by then.
CALL kill();
INSERT INTO progress VALUES (2);
SET ROLE regress_once_owner;
BEGIN;
CALL once.maintain();
SELECT * FROM letters;
SELECT * FROM told ORDER BY id;
COMMIT;
RESET ROLE;
SELECT * FROM told ORDER BY id;
DELETE FROM progress;
CALL kill();
BEGIN;
CALL once.maintain();
SELECT * FROM letters;
COMMIT;
SELECT id, state, error FROM once.peek('a');
CALL once.maintain();
SELECT * FROM letters;
SELECT * FROM once.check('a', true);

-- The trigger that never ends costs the time of a queue once: the next call comes by
-- the message that it was at.
CALL kill();
CREATE FUNCTION sleeps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.id = 1 THEN PERFORM pg_sleep(60); END IF;
  RETURN OLD;
END $$;
CREATE TRIGGER sleeps BEFORE DELETE ON once.q_a FOR EACH ROW EXECUTE FUNCTION sleeps();
SET once.maintenance_timeout = '200 ms';
CALL once.maintain();
SELECT id, state FROM once.peek('a');
CALL once.maintain();
SELECT * FROM letters;
RESET once.maintenance_timeout;
DROP TRIGGER sleeps ON once.q_a;
SELECT once.purge('a');

-- Where each message takes its time, a call does what it can in the time there is, and no
-- message is stuck because that is over.
CREATE FUNCTION takes_time() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.03); RETURN OLD; END $$;
INSERT INTO once.q_a (payload, expires_at) SELECT to_jsonb(g), '-infinity' FROM generate_series(1, 60) g;
CREATE TRIGGER takes_time BEFORE DELETE ON once.q_a FOR EACH ROW EXECUTE FUNCTION takes_time();
SET once.maintenance_timeout = '1 s';
SET client_min_messages = error;
CALL once.maintain();
RESET client_min_messages;
RESET once.maintenance_timeout;
SELECT count(*) BETWEEN 1 AND 59 AS some_left, count(*) FILTER (WHERE state <> 'dead') AS otherwise FROM once.peek('a', 100);
DROP TRIGGER takes_time ON once.q_a;
CALL once.maintain();
SELECT count(*) AS all_gone FROM once.q_a;

DROP TABLE progress, told;
SELECT once.drop_queue('a'), once.drop_queue('b');
DROP VIEW letters;
DROP PROCEDURE kill;
DROP FUNCTION sleeps, takes_time, tells;
REVOKE CREATE ON SCHEMA public FROM regress_once_owner;
REVOKE EXECUTE ON FUNCTION once.create_queue FROM regress_once_owner;
DROP ROLE regress_once_owner, regress_once_consumer;
