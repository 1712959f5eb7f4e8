-- once.wait tells which of several queues has something.
SELECT once.create_queue('a', retry_delay => '0', retry_delay_max => '0'), once.create_queue('b', max_attempts => 1, retry_delay => '0', retry_delay_max => '0');

-- At first no queue has anything; then the first one that has is returned, in the order given.  The message is not taken.
CALL once.wait(ARRAY['a', 'b'], '0');
-- (Before PostgreSQL 17, waiting is polling here, and the first wait says so.)
SET client_min_messages = warning;
CALL once.wait(ARRAY['a', 'b'], '10 ms');
RESET client_min_messages;
SELECT once.send('b', '1') > 0 AS sent;
CALL once.wait(ARRAY['a', 'b'], '1 h');
CALL once.wait(queues => ARRAY['b'], timeout => '0', ready => 'whatever');
SELECT once.send('a', '2') > 0 AS sent;
CALL once.wait(ARRAY['a', 'b'], '1 h');
CALL once.wait(ARRAY['b', 'a'], '1 h');
SELECT q, payload, state, attempt FROM (VALUES ('a'), ('b')) AS v (q), once.peek(q) ORDER BY q;

-- A message that cannot be delivered now does not count; a dead one does, as receive would take it away.
SELECT payload FROM once.lease('a', '1 h');
CALL once.wait(ARRAY['a'], '0');
SELECT once.send('a', '3', delay => '1 h') > 0 AS sent;
CALL once.wait(ARRAY['a'], '0');
SELECT payload FROM once.lease('b', '1 microsecond');
SELECT pg_sleep(0.01);
CALL once.wait(ARRAY['a', 'b'], '1 h');
SELECT count(*) FROM once.receive('b');
CALL once.wait(ARRAY['a', 'b'], '0');
SELECT queue, payload, reason FROM once.dead_letters;
SELECT once.send('a', '4', group_id => 'g') > 0 AS sent, once.send('a', '5', group_id => 'g') > 0 AS sent;
SELECT payload FROM once.lease('a', '1 h');
CALL once.wait(ARRAY['a'], '0');

-- A paused queue has nothing.  The others are not affected.
SELECT once.send('a', '6') > 0 AS sent, once.send('b', '7') > 0 AS sent;
SELECT once.pause('a', 'consume');
CALL once.wait(ARRAY['a', 'b'], '1 h');
CALL once.wait(ARRAY['a'], '0');
SELECT once.resume('a');
CALL once.wait(ARRAY['a', 'b'], '1 h');

-- It also works by polling, and in a DO block, where it commits what was done before.
SET once.wake = off;
CALL once.wait(ARRAY['a'], '1 h');
SELECT once.purge('a');
CALL once.wait(ARRAY['a'], '30 ms');
RESET once.wake;
CREATE TABLE done (t text);
DO $$
DECLARE
  ready text;
BEGIN
  INSERT INTO done VALUES ('before');
  CALL once.wait(ARRAY['a', 'b'], '1 h', ready);
  INSERT INTO done VALUES (ready);
  ROLLBACK;
END $$;
TABLE done;

-- It is refused where it could not end the transaction, and in a read-only transaction.
BEGIN;
CALL once.wait(ARRAY['a'], '0');
ROLLBACK;
CREATE FUNCTION waits() RETURNS void LANGUAGE plpgsql AS $$ DECLARE ready text; BEGIN CALL once.wait(ARRAY['a'], '0', ready); END $$;
SELECT waits();
DO $$
DECLARE
  ready text;
BEGIN
  CALL once.wait(ARRAY['a'], '0', ready);
EXCEPTION WHEN division_by_zero THEN
  NULL;
END $$;
SET default_transaction_read_only = on;
CALL once.wait(ARRAY['a'], '0');
RESET default_transaction_read_only;

-- The isolation level does not matter, because each look is a transaction of its own.
SET default_transaction_isolation = 'serializable';
CALL once.wait(ARRAY['a', 'b'], '1 h');
CALL once.wait(ARRAY['a'], '20 ms');
RESET default_transaction_isolation;

-- Arguments
CALL once.wait(NULL, '0');
CALL once.wait(ARRAY['a'], NULL);
CALL once.wait(ARRAY[]::text[], '0');
CALL once.wait(ARRAY['a', NULL], '0');
CALL once.wait(ARRAY[['a'], ['b']], '0');
CALL once.wait(ARRAY['a', 'b', 'a'], '0');
CALL once.wait(ARRAY['a', 'no such queue'], '0');
CALL once.wait(ARRAY['a', 'nosuch'], '0');
CALL once.wait(ARRAY['b'], '-1 microsecond');
CALL once.wait(ARRAY['b'], '1 h 1 microsecond');
DO $$ BEGIN PERFORM once.create_queue('w' || i) FROM generate_series(1, 101) AS i; END $$;
SELECT array_agg('w' || i) AS hundred FROM generate_series(1, 100) AS i \gset
CALL once.wait(:'hundred', '10 ms');
SELECT once.send('w100', '1') > 0 AS sent;
CALL once.wait(:'hundred', '1 h');
CALL once.wait(:'hundred'::text[] || ARRAY['w101'], '0');

-- The caller needs the rights of a consumer.
CREATE ROLE regress_waiter;
SELECT once.grant_queue('a', 'regress_waiter', 'consume'), once.grant_queue('b', 'regress_waiter', 'observe');
SET ROLE regress_waiter;
CALL once.wait(ARRAY['a'], '0');
CALL once.wait(ARRAY['a', 'b'], '0');
RESET ROLE;

SELECT count(once.drop_queue(queue)) FROM once.list_queues();
DROP FUNCTION waits;
DROP TABLE done;
DROP ROLE regress_waiter;
