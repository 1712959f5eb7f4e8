-- What goes back of dead letters: those that are asked for, but not what the
-- queue does not take.
CREATE VIEW letters AS
SELECT queue, id, payload, last_error FROM once.dead_letters ORDER BY dead_at, id;
-- Sends messages, fails them once, and moves them to the dead letters.
CREATE PROCEDURE kill(q text, payloads jsonb[], group_ids text[] = NULL) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM once.send_batch(q, payloads, group_ids => group_ids);
  COMMIT;
  PERFORM once.nack(receipt, error => 'error of ' || (payload #>> '{}')) FROM once.lease(q, max_messages => 10000);
  COMMIT;
  PERFORM once.pop(q, 10000);
  COMMIT;
END $$;

-- A unique index of the user's: the one that is queued anew stays a dead letter,
-- with its failures, and the others go back.
SELECT once.create_queue('u', max_attempts => 1, retry_delay => '0');
CREATE UNIQUE INDEX ON once.q_u ((payload->>'user'));
CALL kill('u', ARRAY['{"user": "a"}', '{"user": "b"}', '{"user": "c"}']::jsonb[]);
SELECT once.send('u', '{"user": "a"}');
SELECT once.redrive('u');
SELECT * FROM letters;
SELECT id, attempt, payload FROM once.peek('u');
SELECT id, attempt, error FROM once.failures WHERE queue = 'u';
-- It is in nobody's way if a number is given.
SELECT once.purge('u');
CALL kill('u', ARRAY['{"user": "d"}', '{"user": "e"}']::jsonb[]);
SELECT once.send('u', '{"user": "a"}');
SELECT once.redrive('u', 1);
SELECT * FROM letters;
SELECT once.redrive('u', 100), once.redrive('u', 1);
SELECT id, payload FROM once.q_u ORDER BY id;
-- Gone is what was in the way: so is the trouble.
SELECT payload FROM once.pop('u');
SELECT once.redrive('u');
SELECT count(*) FROM letters;
SELECT * FROM once.check('u', true);

-- Which comes to be in the way of itself: two letters of which one will do.
SELECT once.purge('u');
DROP INDEX once.q_u_expr_idx;
CALL kill('u', ARRAY['{"user": "f"}', '{"user": "f"}', '{"user": "g"}']::jsonb[]);
CREATE UNIQUE INDEX ON once.q_u ((payload->>'user'));
SELECT once.redrive('u');
SELECT payload FROM once.pop('u', 10);
SELECT once.redrive('u');
SELECT once.drop_queue('u');

-- A check, a column without a default, a trigger that raises, one that drops the
-- row, a unique constraint that is deferred: each is named, with its error.
SELECT once.create_queue('k', max_attempts => 1, retry_delay => '0', id_index => true);
CALL kill('k', ARRAY['1', '2', '3', '4']::jsonb[]);
ALTER TABLE once.q_k ADD CONSTRAINT small CHECK (payload < '3');
\set VERBOSITY terse
SELECT once.redrive('k');
ALTER TABLE once.q_k DROP CONSTRAINT small;
SELECT once.purge('k');
ALTER TABLE once.q_k ADD COLUMN wanted int NOT NULL;
SELECT once.redrive('k');
\set VERBOSITY default
ALTER TABLE once.q_k DROP COLUMN wanted;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.payload = '3' THEN RAISE 'no threes' USING DETAIL = 'In detail.', HINT = 'A hint.', ERRCODE = '57014'; END IF;
  RETURN CASE WHEN NEW.payload <> '4' THEN NEW END;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON once.q_k FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT once.redrive('k');
DROP TRIGGER refuse ON once.q_k;
ALTER TABLE once.q_k ADD CONSTRAINT one UNIQUE (id) DEFERRABLE INITIALLY DEFERRED;
INSERT INTO once.q_k (id, payload) OVERRIDING SYSTEM VALUE VALUES (3, '"in the way"');
ALTER TABLE once.q_k DROP CONSTRAINT q_k_pkey;
SELECT once.redrive('k');
SELECT * FROM letters;
SELECT * FROM once.check('k', true);

-- Errors that are not of a letter are errors, and nothing has happened.
DELETE FROM once.q_k;
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE INSERT ON once.q_k FOR EACH ROW EXECUTE FUNCTION slow();
SET statement_timeout = '100 ms';
SELECT once.redrive('k');
RESET statement_timeout;
DROP TRIGGER slow ON once.q_k;
SELECT count(*) FROM letters;
SELECT once.pause('k', 'send');
SELECT once.redrive_ids('k', ids => '{3}');
\echo :SQLSTATE
SELECT once.resume('k');
SELECT once.drop_queue('k');
DROP FUNCTION refuse, slow;

-- Of many, the first ten that are left out are named, and the rest counted.
SELECT once.create_queue('m', max_attempts => 1, retry_delay => '0', id_index => true);
SELECT count(*) FROM once.send_batch('m', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 2500) g));
SELECT count(once.nack(receipt)) FROM once.lease('m', max_messages => 2500);
CALL once.maintain();
INSERT INTO once.q_m (id, payload) OVERRIDING SYSTEM VALUE SELECT id, '"in the way"' FROM once.dead_letters WHERE queue = 'm' AND id % 7 = 0;
SELECT once.redrive('m');
SELECT count(*), bool_and(id % 7 = 0) FROM letters;
SELECT count(*) FILTER (WHERE payload = '"in the way"') AS in_the_way, count(*) FROM once.q_m;
SELECT count(*) FILTER (WHERE before > id) AS out_of_order FROM (SELECT id, lag(id) OVER () AS before FROM once.pop('m', 10000) WHERE payload <> '"in the way"') m;
\set VERBOSITY terse
INSERT INTO once.q_m (id, payload) OVERRIDING SYSTEM VALUE SELECT id, '"in the way"' FROM once.dead_letters WHERE queue = 'm' ORDER BY id LIMIT 11;
SELECT once.redrive('m', 300);
SELECT once.redrive('m', 300);
SELECT count(*), count(*) FILTER (WHERE payload = '"in the way"') AS in_the_way FROM once.q_m;
\set VERBOSITY default
SELECT once.purge_dead_letters('m'), once.purge('m');

-- By ids: those that are there, whatever else is asked for, however often.
CALL kill('m', ARRAY['"1"', '"2"', '"3"', '"4"', '"5"', '"6"']::jsonb[]);
SELECT min(id) AS i FROM letters \gset
SELECT once.redrive_ids('m', ARRAY[:i + 3, :i + 1, :i + 1, 0, -9223372036854775808, 9223372036854775807]::bigint[]);
SELECT payload FROM once.pop('m', 10);
SELECT once.redrive_ids('m', ARRAY[:i, 17]);
SELECT once.redrive_ids('m', ids => ARRAY[:i + 2, :i + 2]);
SELECT payload FROM once.pop('m', 10);
SELECT once.redrive_ids('m', ids => format('{%s}', :i + 4)::bigint[]), once.redrive_ids('m', ids => '{}'), once.redrive_ids('m', '{}'::bigint[]);
SELECT once.redrive_ids('m', ids => (SELECT array_agg(id) FROM once.dead_letters WHERE queue = 'm' AND payload = '"nothing like it"'));
SELECT once.redrive_ids('m', ids => '{1, NULL}');
\echo :SQLSTATE
SELECT once.redrive_ids(NULL, ids => '{1}');
\echo :SQLSTATE
SELECT once.redrive_ids('none', ids => NULL);
\echo :SQLSTATE
-- An array of another queue's ids finds nothing.
SELECT once.create_queue('other');
SELECT once.redrive_ids('other', ids => (SELECT array_agg(id) FROM letters));
SELECT once.drop_queue('other');
-- A value without a type, as the parameters of some drivers, finds the one function of the name.
SELECT once.redrive('m', '1');
SELECT once.redrive('m', NULL);
SELECT once.redrive_ids('m', NULL);
SELECT count(*) FROM letters;
SELECT payload FROM once.pop('m', 10);

-- Purging by ids.
CALL kill('m', ARRAY['"1"', '"2"', '"3"', '"4"']::jsonb[]);
SELECT min(id) AS i FROM letters \gset
SELECT once.purge_dead_letters('m', ARRAY[:i + 1, :i + 1, 0]::bigint[]), once.purge_dead_letters('m', ids => '{}'),
       once.purge_dead_letters('m', NULL), once.purge_dead_letters('m', ids => (SELECT array_agg(id) FROM letters WHERE false));
SELECT payload FROM letters;
SELECT count(*) FROM once.failures WHERE queue = 'm';
SELECT once.purge_dead_letters('m', '{NULL}');
\echo :SQLSTATE
SELECT once.purge_dead_letters('m', (SELECT array_agg(id) FROM once.dead_letters WHERE last_error LIKE '%3'));
SELECT payload FROM letters;
SELECT once.purge_dead_letters('m');
SELECT once.purge_dead_letters('none', ids => '{1}');
\echo :SQLSTATE
SELECT once.drop_queue('m');

-- The messages of a group are sent in the order of their ids, whatever the order
-- in which they died, and the others in the order in which they died.
SELECT once.create_queue('g', max_attempts => 2, retry_delay => '0');
SELECT count(*) FROM once.send_batch('g', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 2200) n),
                                     group_ids => ARRAY(SELECT 'g' || n % 3 FROM generate_series(1, 2200) n));
INSERT INTO once.q_g (payload) SELECT to_jsonb(n) FROM generate_series(2201, 2300) n;
UPDATE once.q_g SET expires_at = now();
CALL once.maintain();
UPDATE once.dead_letter SET dead_at = '2026-01-01'::timestamptz + make_interval(mins => ((id * 7) % 2300)::int) WHERE queue = 'g';
SELECT once.redrive('g');
CREATE TEMP TABLE got (n int GENERATED ALWAYS AS IDENTITY, id bigint, group_id text);
DO $$ BEGIN FOR i IN 1 .. 10 LOOP INSERT INTO got (id, group_id) SELECT id, group_id FROM once.pop('g', 10000); COMMIT; END LOOP; END $$;
SELECT count(*), count(DISTINCT id) FROM got;
SELECT count(*) AS out_of_order FROM (SELECT id, lag(id) OVER (PARTITION BY group_id ORDER BY n) AS before FROM got WHERE group_id IS NOT NULL) g WHERE before > id;
SELECT count(*) AS out_of_order FROM (SELECT (id * 7) % 2300 AS died, lag((id * 7) % 2300) OVER (ORDER BY n) AS before FROM got WHERE group_id IS NULL) g WHERE before > died;
DROP TABLE got;
-- They take the place of the one that died last of those up to them, and the
-- others keep theirs.
INSERT INTO once.dead_letter (queue, id, reason, attempts, dead_at, group_id)
SELECT 'g', id, 'attempts', 2, '2026-01-01'::timestamptz + make_interval(mins => died), g
  FROM (VALUES (1, 3, 'a'), (2, 1, 'a'), (3, 2, NULL), (4, 4, NULL), (5, 6, 'a'), (6, 5, 'b')) v (id, died, g);
SELECT once.redrive('g');
SELECT id, group_id FROM once.pop('g', 10);
-- One that cannot go is passed by.
INSERT INTO once.dead_letter (queue, id, reason, attempts, dead_at, priority, group_id)
SELECT 'g', id, 'attempts', 2, '2026-01-01', id, 'a' FROM generate_series(3, 5) id;
SELECT once.redrive('g');
SELECT id FROM once.pop('g', 10);
SELECT once.drop_queue('g');

-- Nor does it go if its own table keeps it, by whichever way a trigger has; and purge passes
-- it by as well.  The trigger runs as the caller.
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.id = 2 THEN RAISE 'kept, says %', current_user; END IF;
  IF OLD.id = 3 THEN RETURN NULL; END IF;
  RETURN OLD;
END $$;
CREATE FUNCTION keep_in_the_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'kept in the end'; END $$;
CREATE TRIGGER keep BEFORE DELETE ON once.dead_letter FOR EACH ROW EXECUTE FUNCTION keep();
CREATE CONSTRAINT TRIGGER keep_in_the_end AFTER DELETE ON once.dead_letter DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.id = 4) EXECUTE FUNCTION keep_in_the_end();
CREATE ROLE regress_once_redriver;
SELECT once.create_queue('kept');
SELECT once.grant_queue('kept', 'regress_once_redriver', 'produce'), once.grant_queue('kept', 'regress_once_redriver', 'consume');
INSERT INTO once.dead_letter (queue, id, reason, attempts, dead_at) SELECT 'kept', g, 'attempts', 1, '2026-01-01' FROM generate_series(1, 6) g;
SET ROLE regress_once_redriver;
SELECT once.redrive('kept', 2);
SELECT id FROM once.dead_letters WHERE queue = 'kept' ORDER BY 1;
SELECT id FROM once.pop('kept', 10);
RESET ROLE;
SELECT once.purge_dead_letters('kept');
\set VERBOSITY sqlstate
SELECT once.purge_dead_letters('kept', ARRAY[3]);
\set VERBOSITY default
SELECT id FROM once.dead_letters WHERE queue = 'kept' ORDER BY 1;
DROP TRIGGER keep ON once.dead_letter;
DROP TRIGGER keep_in_the_end ON once.dead_letter;
SELECT once.purge_dead_letters('kept');
-- One that has died in this transaction can leave, too, though a trigger looks at it.
CREATE OR REPLACE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$;
CREATE TRIGGER keep BEFORE DELETE ON once.dead_letter FOR EACH ROW EXECUTE FUNCTION keep();
BEGIN;
INSERT INTO once.q_kept (payload, expires_at) VALUES ('1', '-infinity'), ('2', '-infinity');
COMMIT;
BEGIN;
SELECT FROM once.pop('kept');
SELECT once.redrive('kept', 1), once.purge_dead_letters('kept');
COMMIT;
SELECT payload FROM once.pop('kept', 2);
DROP TRIGGER keep ON once.dead_letter;
SELECT once.drop_queue('kept');
DROP FUNCTION keep, keep_in_the_end;
DROP ROLE regress_once_redriver;

-- Of those that have died at one time with one id, each has its turn, also where a call goes on
-- that deletes them 10000 at a time.
SELECT once.create_queue('twins');
INSERT INTO once.dead_letter (queue, id, payload, reason, attempts, dead_at) SELECT 'twins', 1, to_jsonb(g), 'attempts', 1, '2026-01-01' FROM generate_series(1, 10025) g;
SELECT once.redrive('twins', 2), once.redrive('twins', 20);
SELECT once.purge_dead_letters('twins');
SELECT count(*) FROM once.dead_letters WHERE queue = 'twins';
SELECT count(DISTINCT payload) FROM once.pop('twins', 100);
SELECT once.drop_queue('twins');

-- replay, too, leaves out what the queue does not take.
SELECT once.create_queue('a', archive => '1 day');
SELECT count(*) FROM once.send_batch('a', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 2500) n));
SELECT count(*) FROM once.pop('a', 2500);
SELECT once.send('a', '2'), once.send('a', '2400');
CREATE UNIQUE INDEX ON once.q_a ((payload::int));
SELECT once.replay('a', '-infinity', 'infinity');
SELECT count(*), count(DISTINCT payload) FROM once.q_a;
SELECT count(*) FILTER (WHERE before > payload::int) AS out_of_order FROM (SELECT payload, lag(payload::int) OVER () AS before FROM once.pop('a', 10000) WHERE headers ? 'once-replay-of') m;
SELECT once.drop_queue('a');
DROP PROCEDURE kill;
DROP VIEW letters;
