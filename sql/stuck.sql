-- What keeps the row of a message that is to be taken away costs that message
-- alone: it stays, called stuck, and the others are delivered.
--
-- 1 is dead, 2 has had one delivery of two, 3 and 4 none.
CREATE PROCEDURE make(q text = 's') LANGUAGE plpgsql AS $$
BEGIN
  PERFORM once.create_queue(q, id_index => true, max_attempts => 2, retry_delay => '0');
  PERFORM once.send_batch(q, ARRAY['1', '2', '3', '4']::jsonb[]);
  COMMIT;
  PERFORM once.nack(receipt, error => 'of ' || (payload #>> '{}')) FROM once.lease(q, max_messages => 2);
  PERFORM once.nack(receipt) FROM once.lease(q);
END $$;
CREATE VIEW messages AS SELECT id, attempt, state, ready_at > clock_timestamp() + '2 s' AS long_pause, error FROM once.peek('s');
CREATE VIEW letters AS SELECT id, attempts, last_error, payload FROM once.dead_letters WHERE queue = 's' ORDER BY dead_at, id;
-- Waits until what is stuck is tried again.
CREATE PROCEDURE pass(q text = 's') LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(greatest(0, extract(epoch FROM max(ready_at) - clock_timestamp()))) FROM once.peek(q); END $$;

-- A foreign key, and each verb.
CALL make();
CREATE TABLE progress (message bigint REFERENCES once.q_s (id));
INSERT INTO progress VALUES (1);
BEGIN;
SELECT id, attempt, once.ack(receipt) FROM once.receive('s');
SELECT * FROM messages;
ROLLBACK;
SELECT * FROM messages;
-- Nobody asks again before the pause is over, and nobody is told twice.
SELECT id, attempt FROM once.lease('s', lease => '1 ms', max_messages => 10);
CALL once.maintain();
CALL pass();
SELECT id, attempt FROM once.pop('s', 1);
SELECT * FROM messages WHERE id = 1;
SELECT state, stuck FROM once.slots('s') WHERE stuck > 0;
-- The error is there when a transaction that met it has committed.
SELECT id, attempt, error FROM once.failures WHERE queue = 's' ORDER BY failed_at;
-- purge and cancel: of what is kept, one says so, and the other fails.
SELECT once.cancel('s', 1);
SELECT id, state FROM messages WHERE id = 1;
SELECT once.purge('s');
SELECT id, state FROM messages;
-- When the obstacle is gone it goes by itself, and nothing is left of the error.
DELETE FROM progress;
CALL pass();
SELECT id FROM once.receive('s');
SELECT * FROM letters;
SELECT count(*) FROM once.failures WHERE queue = 's' AND attempt = 0;
SELECT * FROM once.check('s', true);
DROP TABLE progress;
SELECT once.drop_queue('s');

-- What may be in the way, each in a queue of its own, for the first message.
CREATE FUNCTION raises() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.id = 1 THEN RAISE 'no ones' USING ERRCODE = TG_ARGV[0], DETAIL = 'In detail.', HINT = 'A hint.'; END IF;
  RETURN OLD;
END $$;
CREATE FUNCTION keeps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN OLD.id <> 1 THEN OLD END; END $$;
CREATE FUNCTION updates() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.id <> 1 THEN RETURN OLD; END IF;
  EXECUTE format('UPDATE once.%I SET headers = ''"kept"'' WHERE id = 1', TG_TABLE_NAME);
  RETURN NULL;
END $$;
CREATE FUNCTION receives() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.id = 1 THEN PERFORM once.receive('other'); END IF;
  RETURN OLD;
END $$;
CREATE FUNCTION drops() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN NEW.id <> 1 THEN NEW END; END $$;
SELECT once.create_queue('other', retry_delay => '0'), once.send('other', '1');
CREATE TABLE obstacle (n int GENERATED ALWAYS AS IDENTITY, queue text, obstacle text, away text);
INSERT INTO obstacle (queue, obstacle, away) VALUES
-- a trigger that raises an error, of whatever code: of a cancel, a serialization failure, an assertion, a queue that is none
('raises', 'CREATE TRIGGER t BEFORE DELETE ON once.q_raises FOR EACH ROW EXECUTE FUNCTION raises(''P0001'')', 'DROP TRIGGER t ON once.q_raises'),
('cancels', 'CREATE TRIGGER t BEFORE DELETE ON once.q_cancels FOR EACH ROW EXECUTE FUNCTION raises(''57014'')', 'DROP TRIGGER t ON once.q_cancels'),
('serializes', 'CREATE TRIGGER t AFTER DELETE ON once.q_serializes FOR EACH ROW EXECUTE FUNCTION raises(''40001'')', 'DROP TRIGGER t ON once.q_serializes'),
('asserts', 'CREATE TRIGGER t AFTER DELETE ON once.q_asserts FOR EACH ROW EXECUTE FUNCTION raises(''P0004'')', 'DROP TRIGGER t ON once.q_asserts'),
('unusable', 'CREATE TRIGGER t AFTER DELETE ON once.q_unusable FOR EACH ROW EXECUTE FUNCTION raises(''ON009'')', 'DROP TRIGGER t ON once.q_unusable'),
-- a trigger or a rule that drops the deletion, or makes something else of it
('keeps', 'CREATE TRIGGER t BEFORE DELETE ON once.q_keeps FOR EACH ROW EXECUTE FUNCTION keeps()', 'DROP TRIGGER t ON once.q_keeps'),
('rule', 'CREATE RULE r AS ON DELETE TO once.q_rule WHERE OLD.id = 1 DO INSTEAD NOTHING', 'DROP RULE r ON once.q_rule'),
('updates', 'CREATE TRIGGER t BEFORE DELETE ON once.q_updates FOR EACH ROW EXECUTE FUNCTION updates()', 'DROP TRIGGER t ON once.q_updates'),
('rule_updates', 'CREATE RULE r AS ON DELETE TO once.q_rule_updates WHERE OLD.id = 1 DO INSTEAD UPDATE once.q_rule_updates SET headers = ''1'' WHERE id = OLD.id', 'DROP RULE r ON once.q_rule_updates'),
-- what would fail at the commit: a constraint, a trigger, messages that are not acked
('deferred', 'CREATE TABLE late (message bigint REFERENCES once.q_deferred (id) DEFERRABLE INITIALLY DEFERRED); INSERT INTO late VALUES (1)', 'DROP TABLE late'),
('raises_late', 'CREATE CONSTRAINT TRIGGER t AFTER DELETE ON once.q_raises_late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION raises(''P0001'')', 'DROP TRIGGER t ON once.q_raises_late'),
('receives', 'CREATE TRIGGER t BEFORE DELETE ON once.q_receives FOR EACH ROW EXECUTE FUNCTION receives()', 'DROP TRIGGER t ON once.q_receives'),
('receives_late', 'CREATE CONSTRAINT TRIGGER t AFTER DELETE ON once.q_receives_late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION receives()', 'DROP TRIGGER t ON once.q_receives_late'),
-- further along: a constraint of what the deletion cascades to
('cascade', 'CREATE TABLE step (message bigint PRIMARY KEY REFERENCES once.q_cascade (id) ON DELETE CASCADE); INSERT INTO step VALUES (1), (2);
             CREATE TABLE detail (message bigint REFERENCES step DEFERRABLE INITIALLY DEFERRED); INSERT INTO detail VALUES (1)', 'DROP TABLE detail, step'),
-- a table of dead letters that has become choosy; these rows are deleted the fast way
('check', 'ALTER TABLE once.dead_letter ADD CONSTRAINT c CHECK (id <> 1 OR queue <> ''check'')', 'ALTER TABLE once.dead_letter DROP CONSTRAINT c'),
('unique', 'INSERT INTO once.dead_letter (queue, id, reason, attempts, dead_at) VALUES (''unique'', 1, ''attempts'', 1, now()); CREATE UNIQUE INDEX x ON once.dead_letter (id) WHERE queue = ''unique''',
           'DROP INDEX once.x; DELETE FROM once.dead_letter WHERE queue = ''unique'' AND attempts = 1'),
('wanted', 'ALTER TABLE once.dead_letter ADD COLUMN wanted int, ADD CONSTRAINT w CHECK (wanted IS NOT NULL OR id <> 1 OR queue <> ''wanted'')', 'ALTER TABLE once.dead_letter DROP COLUMN wanted'),
('drops', 'CREATE TRIGGER t BEFORE INSERT ON once.dead_letter FOR EACH ROW WHEN (NEW.queue = ''drops'') EXECUTE FUNCTION drops()', 'DROP TRIGGER t ON once.dead_letter');
CREATE PROCEDURE pass_all() LANGUAGE plpgsql AS $$
DECLARE o obstacle;
BEGIN FOR o IN SELECT * FROM obstacle LOOP CALL pass(o.queue); END LOOP; END $$;
CREATE PROCEDURE begin_all() LANGUAGE plpgsql AS $$
DECLARE
  o obstacle;
  got bigint[];
  line text;
BEGIN
  FOR o IN SELECT * FROM obstacle ORDER BY n LOOP
    CALL make(o.queue);
    COMMIT;
    EXECUTE o.obstacle;
    COMMIT;
    SELECT array_agg(id) INTO got FROM once.receive(o.queue, 10);
    line = format('%s: received %s', o.queue, got);
    ROLLBACK;
    line = format('%s, then %s', line, (SELECT array_agg((id, attempt, state)) FROM once.peek(o.queue)));
    SELECT array_agg(id) INTO got FROM once.pop(o.queue, 10);
    COMMIT;
    RAISE NOTICE '%, popped %', line, got;
    ASSERT NOT EXISTS (SELECT FROM once.check(o.queue, true));
  END LOOP;
END $$;
\set VERBOSITY terse
CALL begin_all();
-- Once more while the obstacles are there, and once when they are not.
CALL pass_all();
CALL once.maintain();
SELECT queue, id, attempt, state, error FROM obstacle, once.peek(queue) ORDER BY n;
SELECT queue, id FROM once.dead_letters WHERE attempts = 2 AND id = 1;
DO $$
DECLARE o obstacle;
BEGIN FOR o IN SELECT * FROM obstacle LOOP EXECUTE o.away; END LOOP; END $$;
CALL pass_all();
CALL once.maintain();
SELECT queue, (SELECT array_agg(id ORDER BY id) FROM once.dead_letters d WHERE d.queue = o.queue) FROM obstacle o ORDER BY n;
SELECT c.* FROM obstacle, once.check(queue, true) AS c;
SELECT count(once.drop_queue(queue)) FROM obstacle;
DROP TABLE obstacle;
DROP PROCEDURE begin_all, pass_all;
\set VERBOSITY default

-- It has a column more now, and triggers see what comes in.
CREATE FUNCTION fills() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.wanted = 17; RETURN NEW; END $$;
CREATE FUNCTION sees() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'dead: % %', NEW.id, NEW.wanted; RETURN NULL; END $$;
ALTER TABLE once.dead_letter ADD COLUMN wanted int NOT NULL;
ALTER TABLE once.failure ADD COLUMN wanted int;
CREATE TRIGGER fills BEFORE INSERT ON once.dead_letter FOR EACH ROW EXECUTE FUNCTION fills();
CREATE TRIGGER sees AFTER INSERT ON once.dead_letter FOR EACH ROW EXECUTE FUNCTION sees();
CALL make();
SELECT id FROM once.pop('s');
SELECT * FROM letters;
DROP TRIGGER fills ON once.dead_letter;
DROP TRIGGER sees ON once.dead_letter;
ALTER TABLE once.dead_letter DROP COLUMN wanted;
ALTER TABLE once.failure DROP COLUMN wanted;
SELECT once.drop_queue('s');

-- A live message that pop cannot delete is stuck as well, and gets its delivery
-- when the obstacle is gone, or from receive.
CALL make();
CREATE TRIGGER t BEFORE DELETE ON once.q_s FOR EACH ROW WHEN (OLD.id IN (2, 3)) EXECUTE FUNCTION keeps();
CREATE OR REPLACE FUNCTION keeps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
SELECT id, attempt FROM once.pop('s', 1);
SELECT * FROM messages;
SELECT id, attempt FROM once.pop('s', 10);
CALL pass();
SELECT id, attempt FROM once.lease('s', max_messages => 1);
DROP TRIGGER t ON once.q_s;
SELECT id, attempt FROM once.pop('s', 10);
SELECT once.purge('s'), once.drop_queue('s');

-- In a group it holds up those after it, also if they have been claimed by the
-- same call: uncounted, like those of a message that is not done.
SELECT once.create_queue('s', max_attempts => 1, retry_delay => '0');
SELECT count(*) FROM once.send_batch('s', ARRAY['1', '2', '3', '4', '5', '6']::jsonb[], group_ids => ARRAY['a', 'a', 'b', 'a', 'b', NULL]);
SELECT id, once.nack(receipt) FROM once.lease('s');
CREATE TRIGGER t BEFORE DELETE ON once.q_s FOR EACH ROW WHEN (OLD.id = 1) EXECUTE FUNCTION keeps();
BEGIN;
SELECT id, attempt, once.ack(receipt) FROM once.receive('s', 2);
SELECT id, attempt, state FROM once.peek('s');
ROLLBACK;
SELECT id, attempt FROM once.pop('s', 10);
DROP TRIGGER t ON once.q_s;
CALL pass();
SELECT id, attempt, once.ack(receipt) FROM once.receive('s', 10);
SELECT * FROM letters;
SELECT * FROM once.check('s', true);
-- So does one that pop cannot have; the others of its call are had.
SELECT count(*) FROM once.send_batch('s', ARRAY['7', '8', '9', '10', '11']::jsonb[], group_ids => ARRAY['a', 'a', 'a', 'b', 'b']);
CREATE TRIGGER t BEFORE DELETE ON once.q_s FOR EACH ROW WHEN (OLD.payload = '8') EXECUTE FUNCTION keeps();
SELECT payload, attempt FROM once.pop('s', 10);
SELECT payload, attempt, state FROM once.peek('s');
DROP TRIGGER t ON once.q_s;
CALL pass();
SELECT payload, attempt FROM once.pop('s', 10);
SELECT * FROM once.check('s', true);
-- In the fast way, too: 12 is dead and cannot go, 13 comes after it.
SELECT count(*) FROM once.send_batch('s', ARRAY['12', '13', '14']::jsonb[], group_ids => ARRAY['a', 'a', 'b']);
SELECT payload, once.nack(receipt) FROM once.lease('s');
ALTER TABLE once.dead_letter ADD CONSTRAINT c CHECK (payload <> '12');
\set VERBOSITY terse
SELECT payload, attempt FROM once.pop('s', 10);
\set VERBOSITY default
SELECT payload, attempt, state FROM once.peek('s');
ALTER TABLE once.dead_letter DROP CONSTRAINT c;
CALL pass();
SELECT payload, attempt FROM once.pop('s', 10);
SELECT * FROM once.check('s', true);
SELECT once.drop_queue('s');

-- What the caller has left to his own commit is not taken for the message's fault.
CALL make();
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CREATE TRIGGER t AFTER DELETE ON once.q_s FOR EACH ROW WHEN (false) EXECUTE FUNCTION raises('P0001');
BEGIN;
INSERT INTO child VALUES (1);
SELECT id FROM once.pop('s', 2);
SELECT id FROM letters;
INSERT INTO parent VALUES (1);
COMMIT;
SELECT id FROM letters;
-- pop of a live message leaves it to the commit, if the transaction has written.
SELECT once.send('s', '"live"') AS id \gset
CREATE TABLE progress (message bigint REFERENCES once.q_s (id) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO progress VALUES (:id);
BEGIN;
INSERT INTO parent VALUES (17);
SELECT payload, attempt FROM once.pop('s', 10) WHERE id = :id;
COMMIT;
\echo :SQLSTATE
SELECT payload, attempt FROM once.pop('s', 10) WHERE id = :id;
SELECT payload, attempt, state FROM once.peek('s') WHERE id = :id;
DROP TABLE progress;
SELECT once.purge('s') > 0 AS purged;
-- Nor does it happen before its time: what fires at the commit does so once.
CREATE FUNCTION tells() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO told SELECT coalesce(OLD.id, NEW.id); RETURN NULL; END $$;
CREATE TABLE told (id int);
CREATE CONSTRAINT TRIGGER t AFTER INSERT ON child DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tells();
SELECT once.send('s', '5') \gset
UPDATE once.q_s SET expires_at = now();
BEGIN;
INSERT INTO child VALUES (1);
SELECT id FROM once.pop('s', 2);
SELECT id FROM letters;
SELECT * FROM told;
COMMIT;
SELECT * FROM told;
DROP TABLE child, parent, told;
SELECT once.drop_queue('s');
DROP FUNCTION tells, fills, sees, drops, keeps, raises, updates, receives;

-- A lot of them: a call is not held up by more than a hundred, and a warning is
-- given for each.
SELECT once.create_queue('s', id_index => true, max_attempts => 1, retry_delay => '0');
SELECT count(*) FROM once.send_batch('s', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 250) g));
SELECT count(once.nack(receipt)) FROM once.lease('s', max_messages => 250);
SELECT once.send('s', '"live"') \gset
CREATE TABLE progress (message bigint REFERENCES once.q_s (id));
INSERT INTO progress SELECT id FROM once.q_s WHERE id % 2 = 0;
SET client_min_messages = error;
SELECT payload FROM once.pop('s');
SELECT state, count(*) FROM once.peek('s', 1000) GROUP BY state ORDER BY state;
SELECT count(*) FROM letters;
RESET client_min_messages;
SELECT once.purge('s');
TRUNCATE progress;
SELECT once.purge('s');
SELECT * FROM once.check('s', true);
DROP TABLE progress;
SELECT once.drop_queue('s');
SELECT once.purge('other'), once.drop_queue('other');
DROP PROCEDURE make, pass;
DROP VIEW messages, letters;
