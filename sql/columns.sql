-- A queue's table that has lost a column, or has it with another type: each verb works, or says which column it misses.
CREATE TABLE verb (no serial, verb text, call text);
INSERT INTO verb (verb, call) VALUES
  ('send', $$once.send('q', '1')$$),
  ('send_batch', $$count(*) FROM once.send_batch('q', ARRAY['1', '2']::jsonb[])$$),
  ('send_dedup', $$once.send_dedup('q', '1', dedup_id => 'd')$$),
  ('redrive', $$once.redrive('q')$$),
  ('replay', $$once.replay('q', '-infinity', 'infinity')$$),
  ('receive', $$count(once.ack(receipt)) FROM once.receive('q')$$),
  ('lease', $$count(*) FROM once.lease('q')$$),
  ('pop', $$count(*) FROM once.pop('q')$$),
  ('wait', $$count(*) FROM once.pop('q', wait => '1 ms')$$),
  ('peek', $$count(*) FROM once.peek('q')$$),
  ('ack', $$once.ack(receipt) FROM kept WHERE no = 1$$),
  ('ack_all', $$once.ack_all(ARRAY[receipt]) FROM kept WHERE no = 2$$),
  ('try_ack', $$once.try_ack(receipt) FROM kept WHERE no = 3$$),
  ('try_ack_all', $$count(*) FROM kept, once.try_ack_all(ARRAY[receipt]) WHERE no = 4$$),
  ('nack with error', $$once.nack(receipt, error => 'e') FROM kept WHERE no = 5$$),
  ('nack', $$once.nack(receipt) FROM kept WHERE no = 6$$),
  ('release', $$once.release(receipt) FROM kept WHERE no = 7$$),
  ('extend', $$once.extend(receipt, '1 h') FROM kept WHERE no = 8$$),
  ('cancel', $$once.cancel('q', 1)$$),
  ('check', $$count(*) FROM once.check('q', strict => true)$$),
  ('slots', $$count(*) FROM once.slots('q')$$),
  ('pages', $$count(*) FROM once.pages('q')$$),
  ('purge', $$once.purge('q')$$),
  ('purge_dead_letters', $$once.purge_dead_letters('q')$$),
  ('pause, resume', $$once.pause('q'), once.resume('q')$$),
  ('alter_queue', $$once.alter_queue('q', max_attempts => 7)$$),
  ('grant_queue', $$once.grant_queue('q', 'public', 'consume')$$),
  ('list_queues', $$count(*) FROM once.list_queues()$$),
  ('drop_queue', $$once.drop_queue('q')$$);
CREATE TABLE kept (no bigint, receipt uuid);
CREATE TABLE result (change int, by_trigger boolean, no int, verb text, outcome text);
CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN coalesce(NEW, OLD); END $$;

-- Call each verb, and roll it back, on a queue with eight messages leased, four that wait, a dead letter, and one archived; after
-- its table was altered in the way given.
CREATE PROCEDURE alter_and_try(change int, alteration text, by_trigger boolean) LANGUAGE plpgsql AS $$
DECLARE
  v record;
  outcome text;
BEGIN
  PERFORM once.create_queue('q', id_index => true, max_attempts => 3, retry_delay => '0', retry_delay_max => '0', archive => '1 day');
  PERFORM once.send('q', to_jsonb(i), headers => '{}') FROM generate_series(1, 13) i;
  PERFORM once.send('q', '0', ttl => '1 us', priority => 9);
  COMMIT;
  PERFORM FROM once.pop('q');
  INSERT INTO kept SELECT row_number() OVER (), receipt FROM once.lease('q', '1 h', 8);
  IF by_trigger THEN
    CREATE TRIGGER pass BEFORE INSERT OR DELETE ON once.q_q FOR EACH ROW EXECUTE FUNCTION pass();
  END IF;
  EXECUTE 'ALTER TABLE once.q_q ' || alteration;
  COMMIT;
  FOR v IN SELECT * FROM verb ORDER BY no LOOP
    BEGIN
      EXECUTE 'SELECT ' || v.call;
      RAISE EXCEPTION USING errcode = 'WORKS';
    EXCEPTION WHEN OTHERS THEN
      outcome := CASE SQLSTATE WHEN 'WORKS' THEN 'works' ELSE SQLSTATE || ' ' || sqlerrm END;
    END;
    INSERT INTO result VALUES (change, by_trigger, v.no, v.verb, outcome);
    COMMIT;
  END LOOP;
  PERFORM once.drop_queue('q');
  TRUNCATE kept;
  COMMIT;
END $$;
CREATE PROCEDURE try_all(alterations text[]) LANGUAGE plpgsql AS $$
BEGIN
  FOR change IN 1 .. cardinality(alterations) LOOP
    CALL alter_and_try(change, alterations[change], false);
    CALL alter_and_try(change, alterations[change], true);
  END LOOP;
END $$;

-- Nothing is archived while a column is missing, and an ack says so.
SET client_min_messages = error;
SELECT $$ARRAY['ALTER COLUMN payload SET STORAGE external',
               'RENAME COLUMN id TO other', 'DROP COLUMN id',
               'RENAME COLUMN enqueued_at TO other', 'DROP COLUMN enqueued_at', 'ALTER COLUMN enqueued_at TYPE timestamp',
               'RENAME COLUMN deliver_at TO other', 'DROP COLUMN deliver_at',
               'RENAME COLUMN expires_at TO other', 'DROP COLUMN expires_at', 'ALTER COLUMN expires_at TYPE timestamp',
               'RENAME COLUMN priority TO other', 'DROP COLUMN priority',
               'RENAME COLUMN group_id TO other', 'DROP COLUMN group_id',
               'RENAME COLUMN headers TO other', 'DROP COLUMN headers', 'ALTER COLUMN headers TYPE json',
               'RENAME COLUMN payload TO other', 'DROP COLUMN payload', 'ALTER COLUMN payload TYPE json',
               'ALTER COLUMN payload TYPE bytea USING NULL']$$ AS alterations \gset
CALL try_all(:alterations);
RESET client_min_messages;
\pset format unaligned
SELECT (:alterations)[change] AS alteration, outcome, string_agg(verb, ', ' ORDER BY no) AS verbs
  FROM result WHERE NOT by_trigger GROUP BY change, outcome ORDER BY change, outcome = 'works', min(no);
-- Whether there is a trigger is all the same.
SELECT r.*, t.outcome FROM result r, result t
 WHERE NOT r.by_trigger AND t.by_trigger AND r.change = t.change AND r.no = t.no AND r.outcome <> t.outcome;
\pset format aligned

-- The error names the cure.
SELECT once.create_queue('q', id_index => true);
SELECT once.send('q', '1') > 0 AS sent;
ALTER TABLE once.q_q RENAME COLUMN id TO other;
SELECT once.purge('q');
CALL once.maintain();
ALTER TABLE once.q_q RENAME COLUMN other TO id;
CALL once.maintain();
-- Columns that may be null all of a sudden
ALTER TABLE once.q_q ALTER priority DROP NOT NULL;
INSERT INTO once.q_q (priority, payload) VALUES (NULL, '2') RETURNING id AS no \gset
SELECT once.cancel('q', :no);
ALTER TABLE once.q_q DROP CONSTRAINT q_q_pkey, ALTER id DROP IDENTITY, ALTER id DROP NOT NULL;
UPDATE once.q_q SET id = NULL;
SELECT id, payload, state FROM once.peek('q');
SELECT once.purge('q');
SELECT * FROM once.pop('q');
UPDATE once.q_q SET id = 1;
SELECT once.purge('q');
SELECT once.drop_queue('q');

-- So it is with the columns of an archive: what is read from it is what it was made of.
SELECT once.create_queue('q', archive => '1 day');
SELECT once.send('q', '{"a": 1}') > 0 AS sent;
SELECT payload FROM once.pop('q');
CREATE FUNCTION replay_after(alteration text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  outcome text;
BEGIN
  EXECUTE 'ALTER TABLE once.a_q ' || alteration;
  outcome := once.replay('q', '-infinity', 'infinity') || ' replayed';
  RAISE EXCEPTION USING errcode = 'WORKS';
EXCEPTION WHEN OTHERS THEN
  RETURN CASE SQLSTATE WHEN 'WORKS' THEN outcome ELSE SQLSTATE || ' ' || sqlerrm END;
END $$;
SELECT c AS column, how, replay_after(CASE how WHEN 'rename' THEN format('RENAME %I TO other', c)
                                               WHEN 'drop' THEN format('DROP %I', c)
                                               ELSE format('ALTER %1$I TYPE %2$s USING %1$I::text::%2$s', c, type) END)
  FROM (VALUES ('id', 'int'), ('enqueued_at', 'text'), ('deliver_at', 'text'), ('expires_at', 'text'), ('priority', 'bigint'),
               ('group_id', 'varchar'), ('headers', 'text'), ('payload', 'text'), ('attempts', 'text'), ('archived_at', 'timestamp')) c (c, type),
       unnest(ARRAY['rename', 'drop', 'retype']) WITH ORDINALITY h (how, no)
 ORDER BY c, no;
ALTER TABLE once.a_q ALTER payload TYPE text USING payload::text;
SELECT once.replay('q', '-infinity', 'infinity');
ALTER TABLE once.a_q ALTER payload TYPE jsonb USING payload::jsonb;
SELECT once.replay('q', '-infinity', 'infinity');
SELECT payload FROM once.pop('q');
-- maintain looks at the time, of partitions that have something; it does for the queue what does not depend on that.
SELECT once.alter_queue('q', archive => '1 minute', dedup_window => '1 us');
SELECT once.send('q', '1', dedup_id => 'forgotten') > 0 AS sent, pg_relation_size('once.d_q_0') > 0 AS remembered;
UPDATE once.a_q SET archived_at = '2000-01-01', generation = 0;
ALTER TABLE once.a_q RENAME archived_at TO other;
DO $$ BEGIN FOR i IN 1 .. 4 LOOP CALL once.maintain(); END LOOP; END $$;
SELECT pg_relation_size('once.d_q_0') > 0 AS remembered;
ALTER TABLE once.a_q ALTER other TYPE timestamp;
ALTER TABLE once.a_q RENAME other TO archived_at;
\set VERBOSITY sqlstate
CALL once.maintain();
\set VERBOSITY default
SELECT count(*) FROM once.a_q;
ALTER TABLE once.a_q DROP archived_at;
CALL once.maintain();
ALTER TABLE once.a_q ADD archived_at timestamptz;
UPDATE once.a_q SET archived_at = '2000-01-01';
CALL once.maintain();
SELECT count(*) FROM once.a_q;
SELECT once.drop_queue('q');
DROP FUNCTION replay_after;
-- And with the columns of a queue's table: maintain does what it can without.
CREATE PROCEDURE alter_and_maintain(alteration text, by_trigger boolean) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM once.create_queue('q', max_attempts => 1, retry_delay => '0', retry_delay_max => '0', archive => '1 minute', retention => '1 s');
  PERFORM once.send('q', '1'), once.send('q', '2', ttl => '1 us'), once.send('q', '3', deliver_at => '2000-01-01');
  COMMIT;
  IF by_trigger THEN
    CREATE TRIGGER pass BEFORE INSERT OR DELETE ON once.q_q FOR EACH ROW EXECUTE FUNCTION pass();
  END IF;
  EXECUTE 'ALTER TABLE once.q_q ' || alteration;
  COMMIT;
  RAISE NOTICE '%', alteration;
  CALL once.maintain();
  PERFORM once.drop_queue('q');
  COMMIT;
END $$;
CREATE PROCEDURE maintain_all(alterations text[]) LANGUAGE plpgsql AS $$
BEGIN
  FOR change IN 1 .. cardinality(alterations) LOOP
    CALL alter_and_maintain(alterations[change], false);
    CALL alter_and_maintain(alterations[change], true);
  END LOOP;
END $$;
\set VERBOSITY terse
CALL maintain_all(:alterations);
\set VERBOSITY default
DROP PROCEDURE alter_and_maintain, maintain_all;
DROP TABLE verb, kept, result;
DROP PROCEDURE alter_and_try, try_all;
DROP FUNCTION pass;
