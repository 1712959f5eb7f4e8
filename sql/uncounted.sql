-- A call that fails has delivered nothing: what it has claimed is given back, and
-- no attempt is counted, whatever the verb.  What it failed at is stuck, so that
-- the next call comes by it.
SELECT once.create_queue('c', id_index => true, max_attempts => 2, retry_delay => '0');
CREATE VIEW messages AS SELECT payload, attempt, state FROM once.peek('c');
CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.payload = '"slow"' THEN PERFORM pg_cancel_backend(pg_backend_pid()), pg_sleep(60); END IF;
  IF OLD.payload = '"full"' THEN RAISE 'disk full, so to say' USING ERRCODE = '53100'; END IF;
  RETURN OLD;
END $$;
CREATE TRIGGER fails BEFORE DELETE ON once.q_c FOR EACH ROW EXECUTE FUNCTION fails();

-- Cancelled while it deletes what it pops.
SELECT count(*) FROM once.send_batch('c', ARRAY['1', '"slow"', '3']::jsonb[]);
\set VERBOSITY terse
SELECT payload FROM once.pop('c', 10);
SELECT * FROM messages;
SELECT payload, attempt FROM once.pop('c', 10);
-- or while it moves a dead message, whatever it does for the others.
SELECT count(*) FROM once.send_batch('c', ARRAY['4', '5']::jsonb[]);
UPDATE once.q_c SET expires_at = now() WHERE payload = '"slow"';
SELECT pg_sleep(1.2);
SELECT payload FROM once.lease('c', max_messages => 10);
SELECT * FROM messages;
SELECT payload, attempt FROM once.lease('c', max_messages => 10);
SELECT once.alter_queue('c', max_attempts => 10);
DELETE FROM once.q_c WHERE payload <> '"slow"';
ALTER TABLE once.q_c DISABLE TRIGGER fails;
SELECT once.purge('c');
ALTER TABLE once.q_c ENABLE TRIGGER fails;

-- An error that is not of a message.
SELECT count(*) FROM once.send_batch('c', ARRAY['1', '"full"', '3', '4']::jsonb[]);
SELECT payload FROM once.pop('c', 3);
SELECT * FROM messages;
UPDATE once.q_c SET expires_at = now() WHERE payload = '"full"';
SELECT pg_sleep(1.1);
BEGIN;
SELECT payload FROM once.receive('c', 1);
SAVEPOINT a;
SELECT payload FROM once.receive('c', 10);
ROLLBACK TO a;
SELECT * FROM messages;
SELECT payload, once.ack(receipt) FROM once.receive('c', 10);
ROLLBACK;
SELECT * FROM messages;
SELECT payload, attempt, once.ack(receipt) FROM once.receive('c', 10);
ALTER TABLE once.q_c DISABLE TRIGGER fails;
SELECT once.purge('c');
DROP TRIGGER fails ON once.q_c;

-- An archive whose index fails.
CREATE FUNCTION choosy(int, int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF $1 = 2 OR $2 = 2 THEN RAISE 'no twos'; END IF;
  RETURN btint4cmp($1, $2);
END $$;
CREATE OPERATOR CLASS choosy_ops FOR TYPE int USING btree AS
  OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 choosy(int, int);
SELECT once.alter_queue('c', archive => '1 day');
CREATE INDEX ON once.a_c (attempts choosy_ops);
SELECT count(*) FROM once.send_batch('c', ARRAY['0', '1', '2', '3']::jsonb[]);
SELECT payload FROM once.pop('c');
SELECT payload, once.nack(receipt) FROM once.lease('c', max_messages => 2);
SELECT payload, once.release(receipt) FROM once.lease('c');
SELECT payload FROM once.pop('c', 10);
SELECT * FROM messages;
SELECT payload FROM once.pop('c', 10);
SELECT * FROM messages;
SELECT payload FROM once.pop('c', 10);
SELECT * FROM messages;
SELECT once.purge('c');
SELECT once.alter_queue('c', reset => ARRAY['archive']);

-- In groups, and from the schedule; a lease is as it was before the call.
CREATE TRIGGER fails BEFORE DELETE ON once.q_c FOR EACH ROW EXECUTE FUNCTION fails();
SELECT count(*) FROM once.send_batch('c', ARRAY['1', '2', '"full"', '4', '5']::jsonb[], group_ids => ARRAY['a', 'b', 'a', 'a', 'b']);
SELECT payload FROM once.pop('c', 10);
SELECT * FROM messages;
SELECT payload FROM once.pop('c', 10);
SELECT * FROM messages;
ALTER TABLE once.q_c DISABLE TRIGGER fails;
SELECT once.purge('c');
ALTER TABLE once.q_c ENABLE TRIGGER fails;
SELECT once.send('c', '"leased"') IS NOT NULL AS sent;
SELECT receipt AS r, payload FROM once.lease('c', '1 h') \gset
SELECT once.send('c', '"later"', delay => '1 h') IS NOT NULL AS sent, once.send('c', '"full"') IS NOT NULL AS sent;
SELECT once.purge('c');
SELECT * FROM messages;
SELECT once.ack(:'r');
SELECT * FROM messages;
SELECT * FROM once.check('c', true);
ALTER TABLE once.q_c DISABLE TRIGGER fails;
SELECT once.purge('c');
SELECT once.drop_queue('c');
DROP OPERATOR CLASS choosy_ops USING btree;
DROP OPERATOR FAMILY choosy_ops USING btree;
DROP FUNCTION choosy, fails;
DROP VIEW messages;
