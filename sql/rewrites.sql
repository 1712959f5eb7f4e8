-- What becomes of leases, attempts and pauses when a queue's table is altered: whatever writes the table anew forgets them.
CREATE TABLE result (no serial, command text, states text, ack text);
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE regress_once_space LOCATION '';
RESET allow_in_place_tablespaces;
SELECT once.create_queue('q', id_index => true, retry_delay => '1 h');

-- A message is leased, another was received in vain, and a third one has not been asked for.  How do they stand after a command, and
-- is the receipt still good?
CREATE FUNCTION note(command text, receipt uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  seen text;
BEGIN
  SELECT string_agg(payload::text || ' ' || state || ' ' || attempt, ', ' ORDER BY payload) INTO seen FROM once.peek('q');
  BEGIN
    PERFORM once.ack(receipt);
    RAISE EXCEPTION USING errcode = 'FINE1';
  EXCEPTION WHEN OTHERS THEN
    INSERT INTO result (command, states, ack) VALUES (command, seen, CASE SQLSTATE WHEN 'FINE1' THEN 'good' ELSE SQLSTATE END);
  END;
END $$;
CREATE PROCEDURE try(command text) LANGUAGE plpgsql AS $$
DECLARE
  leased uuid;
BEGIN
  PERFORM once.purge('q');
  PERFORM once.send('q', i::text::jsonb) FROM generate_series(1, 3) i;
  COMMIT;
  SELECT receipt INTO leased FROM once.lease('q', '1 h');
  PERFORM FROM once.receive('q');
  ROLLBACK;
  EXECUTE command;
  COMMIT;
  PERFORM note(command, leased);
  COMMIT;
END $$;
CREATE PROCEDURE try_all(VARIADIC commands text[]) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. cardinality(commands) LOOP
    CALL try(commands[i]);
  END LOOP;
END $$;
CALL try_all(
  'ALTER TABLE once.q_q ADD COLUMN a int',
  'ALTER TABLE once.q_q ADD COLUMN b int DEFAULT 5',
  'ALTER TABLE once.q_q ADD COLUMN c timestamptz DEFAULT now()',
  'ALTER TABLE once.q_q DROP COLUMN a',
  'ALTER TABLE once.q_q ALTER b SET NOT NULL',
  'ALTER TABLE once.q_q ADD CHECK (payload IS NOT NULL)',
  'ALTER TABLE once.q_q ALTER payload SET STORAGE external',
  'ALTER TABLE once.q_q SET (fillfactor = 90)',
  'ALTER TABLE once.q_q SET TABLESPACE regress_once_space',
  'ALTER INDEX once.q_q_queue_idx SET TABLESPACE regress_once_space',
  'CREATE INDEX ON once.q_q (priority)',
  'ANALYZE once.q_q',
  -- and from here on, it is written anew
  'ALTER TABLE once.q_q ADD COLUMN d uuid DEFAULT gen_random_uuid()',
  'ALTER TABLE once.q_q ADD COLUMN e timestamptz DEFAULT clock_timestamp()',
  'ALTER TABLE once.q_q ADD COLUMN f bigint GENERATED ALWAYS AS IDENTITY',
  'ALTER TABLE once.q_q ADD COLUMN g bigint GENERATED ALWAYS AS (id + 1) STORED',
  'ALTER TABLE once.q_q ALTER b TYPE bigint',
  'ALTER TABLE once.q_q SET UNLOGGED',
  'ALTER TABLE once.q_q SET LOGGED',
  'CLUSTER once.q_q USING q_q_pkey',
  'REINDEX INDEX once.q_q_queue_idx');
SELECT command, states, ack FROM result ORDER BY no;

SELECT * FROM once.check('q', strict => true);
SELECT once.drop_queue('q');
DROP TABLESPACE regress_once_space;
DROP TABLE result;
DROP PROCEDURE try_all, try;
DROP FUNCTION note;

-- A table that inherits a queue's: its rows are counted along with the queue's, and are no messages.
SELECT once.create_queue('parent');
SELECT once.send('parent', '"parent"') > 0 AS sent;
CREATE TABLE child (extra int) INHERITS (once.q_parent);
INSERT INTO child (id, payload) VALUES (1000, '"child"');
SELECT payload FROM once.q_parent ORDER BY id;
SELECT payload FROM ONLY once.q_parent;
SELECT payload, state FROM once.peek('parent');
SELECT payload FROM once.pop('parent', 10);
SELECT * FROM once.check('parent', strict => true);
SELECT once.purge('parent');
SELECT payload FROM once.q_parent;
DROP TABLE child;
SELECT once.drop_queue('parent');

-- A cursor WITH HOLD is filled by the COMMIT, and keeps its rows even if that fails: so it returns messages that are still there.
SELECT once.create_queue('q', retry_delay => '0', retry_delay_max => '0');
SELECT count(*) FROM once.send_batch('q', ARRAY['1', '2', '3']::jsonb[]);
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT payload FROM once.pop('q', 2);
SELECT payload FROM once.receive('q');
COMMIT;
\echo :SQLSTATE
FETCH ALL FROM held;
SELECT payload, state FROM once.peek('q');
CLOSE held;
-- After a COMMIT that succeeds, they have been popped.
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT payload FROM once.pop('q', 2);
COMMIT;
FETCH ALL FROM held;
SELECT payload, state FROM once.peek('q');
CLOSE held;
-- Without HOLD, it fails with its transaction.
BEGIN;
DECLARE not_held CURSOR FOR SELECT payload FROM once.pop('q', 2);
FETCH ALL FROM not_held;
ROLLBACK;
FETCH ALL FROM not_held;

-- jsonb has no place for the character of code zero.
\set VERBOSITY terse
SELECT once.send('q', '{"a": "\u0000"}');
\echo :SQLSTATE
\set VERBOSITY default
SELECT once.send('q', '{"a": "\\u0000"}') > 0 AS sent;
SELECT payload->>'a' AS a FROM once.pop('q', 2);
SELECT once.drop_queue('q');
