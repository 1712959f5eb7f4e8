-- Savepoints and exception blocks: a claim ends with the subtransaction that
-- made it, and so does an ack.
SELECT once.create_queue('x', retry_delay => '0', retry_delay_max => '0');
SELECT once.send('x', '1');

-- Received in a subtransaction that is rolled back: never happened, but counted.
BEGIN;
SAVEPOINT a;
SELECT attempt FROM once.receive('x');
ROLLBACK TO a;
SELECT attempt, receipt AS r FROM once.receive('x') \gset
SELECT :attempt AS attempt;
SELECT once.ack(:'r');
COMMIT;
SELECT count(*) FROM once.q_x;

-- Acked in one that is rolled back: unacked again.
SELECT once.send('x', '2');
BEGIN;
SELECT receipt AS r FROM once.receive('x') \gset
SAVEPOINT a;
SELECT once.ack(:'r');
ROLLBACK TO a;
COMMIT;
BEGIN;
SELECT receipt AS r FROM once.receive('x') \gset
SAVEPOINT a;
SELECT once.ack(:'r');
ROLLBACK TO a;
SELECT once.ack(:'r');
COMMIT;
SELECT count(*) FROM once.q_x;

-- Acked twice in one: the second is told so, not the server surprised.
SELECT once.send('x', '3');
BEGIN;
SELECT receipt AS r FROM once.receive('x') \gset
SAVEPOINT a;
SELECT once.ack(:'r');
SELECT once.try_ack(:'r');
SELECT once.ack(:'r');
ROLLBACK TO a;
SELECT once.ack(:'r');
SELECT once.try_ack(:'r');
SELECT once.ack(:'r');
ROLLBACK;
SELECT payload FROM once.pop('x');

-- Released savepoints pass claims and acks on, level by level.
SELECT count(*) FROM once.send_batch('x', ARRAY['1', '2', '3', '4']::jsonb[]);
BEGIN;
SAVEPOINT a;
SELECT receipt AS r1 FROM once.receive('x') \gset
SAVEPOINT b;
SELECT receipt AS r2 FROM once.receive('x') \gset
SAVEPOINT c;
SELECT receipt AS r3 FROM once.receive('x') \gset
SELECT once.ack(:'r1');
RELEASE c;
SELECT once.ack(:'r3');
RELEASE b;
SELECT once.ack(:'r2');
RELEASE a;
COMMIT;
SELECT payload FROM once.q_x;
-- The same, but the middle one is rolled back with what it inherited.
SELECT count(*) FROM once.send_batch('x', ARRAY['5', '6']::jsonb[]);
BEGIN;
SELECT receipt AS r1 FROM once.receive('x') \gset
SAVEPOINT a;
SELECT receipt AS r2 FROM once.receive('x') \gset
SAVEPOINT b;
SELECT receipt AS r3 FROM once.receive('x') \gset
SELECT once.ack(:'r1'), once.ack(:'r2'), once.ack(:'r3');
RELEASE b;
ROLLBACK TO a;
SELECT once.try_ack(:'r2'), once.try_ack(:'r3');
SELECT count(*) FROM once.q_x;
COMMIT;
\echo :SQLSTATE
SELECT payload, attempt FROM once.peek('x');

-- nack and release act for good, whatever is rolled back.
BEGIN;
SELECT receipt AS r1 FROM once.receive('x') \gset
SAVEPOINT a;
SELECT once.nack(:'r1', '1 h');
ROLLBACK TO a;
SELECT once.ack(:'r1');
ROLLBACK TO a;
COMMIT;
SELECT payload, state FROM once.peek('x');

-- A message is given back by the subtransaction's end, not the transaction's.
SELECT once.purge('x');
SELECT once.send('x', '1') IS NOT NULL AS sent;
DO $$
DECLARE m once.message;
BEGIN
  FOR i IN 1..3 LOOP
    BEGIN
      SELECT * INTO STRICT m FROM once.receive('x');
      RAISE NOTICE 'attempt %', m.attempt;
      PERFORM once.ack(m.receipt);
      IF i < 3 THEN
        RAISE EXCEPTION 'failed';
      END IF;
    EXCEPTION WHEN raise_exception THEN
      RAISE NOTICE '%', SQLERRM;
    END;
  END LOOP;
END $$;
SELECT count(*) FROM once.q_x;

-- The classes of errors can be told apart in PL/pgSQL.
DO $$
DECLARE m once.message;
BEGIN
  PERFORM once.send('x', '1');
  BEGIN
    PERFORM once.ack('00000000-0000-0000-0000-000000000000');
  EXCEPTION WHEN SQLSTATE 'ON002' THEN
    RAISE NOTICE 'invalid receipt';
  END;
  BEGIN
    PERFORM once.send('none', '1');
  EXCEPTION WHEN SQLSTATE 'ON001' THEN
    RAISE NOTICE 'queue not found';
  END;
END $$;

-- More subtransactions than a backend's cache of them holds.
DO $$
DECLARE m once.message;
BEGIN
  PERFORM once.send_batch('x', array_fill('1'::jsonb, ARRAY[100]));
END $$;
DO $$
DECLARE m once.message;
BEGIN
  FOR i IN 1..101 LOOP
    BEGIN
      SELECT * INTO STRICT m FROM once.receive('x');
      PERFORM once.ack(m.receipt);
    EXCEPTION WHEN division_by_zero THEN
      NULL;
    END;
  END LOOP;
END $$;
SELECT count(*) FROM once.q_x;

-- try_ack works in a subtransaction of its own, and leaves nothing behind.
SELECT count(*) FROM once.send_batch('x', ARRAY['1', '2']::jsonb[]);
SELECT array_agg(receipt) AS r FROM once.lease('x', max_messages => 2) \gset
BEGIN;
SAVEPOINT a;
SELECT count(*) FROM once.try_ack_all(:'r');
ROLLBACK TO a;
SELECT count(*) FROM once.q_x;
SELECT count(*) FROM once.try_ack_all(:'r');
COMMIT;
SELECT count(*) FROM once.q_x;
SELECT * FROM once.check('x', true);
SELECT once.drop_queue('x');
