-- Promise 4: a transaction cannot commit with messages received and neither
-- acked nor given back.
SELECT once.create_queue('u', retry_delay => '0', retry_delay_max => '0');
SELECT count(*) FROM once.send_batch('u', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 5) g));
CREATE TABLE effect (n int);

-- A forgotten ack takes the effects with it.
BEGIN;
INSERT INTO effect SELECT payload::int FROM once.receive('u', 2);
COMMIT;
\echo :SQLSTATE
SELECT count(*) FROM effect;
-- Also in a single statement, and with one of many acked.
INSERT INTO effect SELECT payload::int FROM once.receive('u');
BEGIN;
SELECT array_agg(receipt) AS r FROM once.receive('u', 3) \gset
SELECT once.ack((:'r'::uuid[])[2]);
COMMIT;

-- ack, nack, release: each settles a message.
BEGIN;
SELECT array_agg(receipt) AS r FROM once.receive('u', 3) \gset
SELECT once.ack((:'r'::uuid[])[1]), once.nack((:'r'::uuid[])[2]), once.release((:'r'::uuid[])[3]);
COMMIT;
SELECT payload, attempt FROM once.peek('u');
BEGIN;
SELECT array_agg(receipt) AS r FROM once.receive('u', 2) \gset
SELECT once.ack_all(:'r');
COMMIT;
BEGIN;
SELECT array_agg(receipt) AS r FROM once.receive('u', 2) \gset
SELECT count(*) FROM once.try_ack_all(:'r');
COMMIT;
SELECT count(*) FROM once.q_u;

-- So do plain SQL that deletes the row, and dropping the queue.
SELECT count(*) FROM once.send_batch('u', ARRAY['1', '2']::jsonb[]);
BEGIN;
SELECT payload FROM once.receive('u', 2);
DELETE FROM once.q_u WHERE payload = '1';
COMMIT;
BEGIN;
SELECT payload FROM once.receive('u', 2);
DELETE FROM once.q_u;
COMMIT;
SELECT once.create_queue('other', id_index => true, retry_delay => '0', retry_delay_max => '0');
SELECT count(*) FROM once.send_batch('other', ARRAY['1', '2', '3']::jsonb[]);
-- Acking what this transaction has deleted, updated or locked otherwise.
BEGIN;
SELECT receipt AS r FROM once.receive('other') \gset
DELETE FROM once.q_other WHERE payload = '1';
SELECT once.try_ack(:'r');
SELECT once.ack(:'r');
ROLLBACK;
BEGIN;
SELECT receipt AS r FROM once.receive('other') \gset
SELECT payload FROM once.q_other WHERE payload = '1' FOR UPDATE;
UPDATE once.q_other SET headers = '1' WHERE payload = '1';
SELECT once.ack(:'r');
SELECT payload FROM once.q_other;
ROLLBACK;
-- Rewriting the table, or its index, within the transaction ends its claims.
BEGIN;
SELECT array_agg(receipt) AS r FROM once.receive('other', 2) \gset
SELECT once.ack((:'r'::uuid[])[1]);
CLUSTER once.q_other USING q_other_pkey;
SELECT once.try_ack((:'r'::uuid[])[2]);
SELECT payload FROM once.q_other;
COMMIT;
BEGIN;
SELECT receipt AS r FROM once.receive('other') \gset
REINDEX INDEX once.q_other_queue_idx;
SELECT once.try_ack(:'r');
COMMIT;
BEGIN;
SELECT payload FROM once.receive('other');
SELECT once.drop_queue('other');
COMMIT;

-- lease, pop, cancel and purge owe nothing.
SELECT count(*) FROM once.send_batch('u', ARRAY['1', '2', '3']::jsonb[]);
BEGIN;
SELECT payload FROM once.lease('u');
SELECT payload FROM once.pop('u');
SELECT once.purge('u');
COMMIT;

-- A rollback owes nothing either; the next transaction starts clean.
SELECT once.send('u', '1') IS NOT NULL AS sent;
BEGIN;
SELECT payload FROM once.receive('u');
ROLLBACK;
BEGIN;
SELECT * FROM once.q_u WHERE false;
COMMIT;

-- In a procedure each of its transactions is checked.
CREATE PROCEDURE work(forget bool) LANGUAGE plpgsql AS $$
DECLARE m once.message;
BEGIN
  LOOP
    SELECT * INTO m FROM once.receive('u');
    EXIT WHEN m.id IS NULL;
    INSERT INTO effect VALUES (m.payload::int);
    IF NOT forget THEN
      PERFORM once.ack(m.receipt);
    END IF;
    COMMIT;
  END LOOP;
END $$;
SELECT count(*) FROM once.send_batch('u', ARRAY['2', '3']::jsonb[]);
CALL work(true);
SELECT count(*) FROM effect;
CALL work(false);
SELECT n FROM effect ORDER BY n;

-- A deferred trigger may still ack.
CREATE TABLE pending (receipt uuid);
CREATE FUNCTION ack_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM once.ack(NEW.receipt); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON pending DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ack_late();
SELECT once.send('u', '1') IS NOT NULL AS sent;
INSERT INTO pending SELECT receipt FROM once.receive('u');
SELECT count(*) FROM once.q_u;
DROP TABLE pending;
DROP FUNCTION ack_late;

-- redeliver: the commit goes through, and the messages come again.
SET once.unacked = redeliver;
SELECT once.send('u', '1') IS NOT NULL AS sent;
SELECT attempt, receipt AS r FROM once.receive('u') \gset
-- The receipt of a transaction that has ended still acks, until somebody else receives.
SELECT once.ack(:'r');
SELECT once.send('u', '1') IS NOT NULL AS sent;
SELECT attempt, receipt AS r FROM once.receive('u') \gset
SELECT attempt FROM once.receive('u');
SELECT once.ack(:'r');
RESET once.unacked;
SET once.unacked = maybe;
SET once.no_such_setting = 1;

-- Thousands in one transaction, one at a time.
SELECT once.purge('u');
SELECT count(*) FROM once.send_batch('u', array_fill('1'::jsonb, ARRAY[2000]));
DO $$
BEGIN
  FOR i IN 1..2000 LOOP
    PERFORM once.ack(receipt) FROM once.receive('u');
  END LOOP;
END $$;
SELECT count(*) FROM once.q_u;

DROP PROCEDURE work;
DROP TABLE effect;
SELECT once.drop_queue('u');
