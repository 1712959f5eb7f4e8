-- Receiving: how many, in which order, through which kinds of readers.
SELECT once.create_queue('r', retry_delay => '0', retry_delay_max => '0');

-- max_messages has two ends.
SELECT * FROM once.receive('r', 0);
\echo :SQLSTATE
SELECT * FROM once.receive('r', 10001);
SELECT * FROM once.receive('r', NULL);
SELECT * FROM once.lease('r', max_messages => -1);
SELECT * FROM once.pop('r', 10001);
SELECT * FROM once.peek('r', 0);
SELECT count(*) FROM once.send_batch('r', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 10001) g));
WITH m AS (SELECT * FROM once.receive('r', 10000))
SELECT count(once.ack(receipt)), min(payload::int), max(payload::int) FROM m;
SELECT payload FROM once.pop('r', 10000);
SELECT * FROM once.receive('r', 10000);

-- The result is in order of delivery, and the next call goes on behind it.
SELECT count(*) FROM once.send_batch('r', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 9) g));
BEGIN;
SELECT payload FROM once.receive('r', 3), LATERAL once.ack(receipt);
SELECT payload, once.ack(receipt) IS NOT NULL AS acked FROM once.receive('r', 2);
SELECT (m).payload, (m).id IS NOT NULL AS id FROM (SELECT once.receive('r') AS m OFFSET 0) s;
ROLLBACK;

-- All is claimed in the first call, however little of it is fetched, so what
-- was not fetched cannot be acked and the commit fails: LIMIT, cursors.
BEGIN;
SELECT count(once.ack(receipt)) FROM (SELECT * FROM once.receive('r', 5) LIMIT 2) m;
COMMIT;
\echo :SQLSTATE
BEGIN;
DECLARE c CURSOR FOR SELECT payload, once.ack(receipt) FROM once.receive('r', 3);
FETCH 1 FROM c;
SELECT payload FROM once.lease('r', max_messages => 1), LATERAL once.release(receipt);
FETCH 2 FROM c;
FETCH 1 FROM c;
COMMIT;
SELECT count(*) FROM once.q_r;
BEGIN;
DECLARE c CURSOR FOR SELECT payload, once.ack(receipt) FROM once.receive('r', 3);
FETCH 1 FROM c;
CLOSE c;
COMMIT;
-- A cursor that is never opened far enough claims nothing.
BEGIN;
DECLARE c CURSOR FOR SELECT payload FROM once.receive('r', 3);
COMMIT;
-- A holdable cursor runs at commit: its messages are too late for their acks.
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT payload FROM once.receive('r', 3);
COMMIT;
CLOSE c;
-- An unreferenced SELECT in WITH never runs: its acks do not happen.
WITH m AS (SELECT * FROM once.receive('r', 3)),
     done AS (SELECT once.ack(receipt) FROM m)
SELECT count(*) FROM m;
\echo :SQLSTATE
SELECT id, attempt FROM once.peek('r');

-- Scrolling a cursor does not claim again.
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT payload, receipt IS NOT NULL AS has_receipt FROM once.lease('r', max_messages => 2);
FETCH ALL FROM c;
FETCH BACKWARD ALL FROM c;
ROLLBACK;
SELECT payload, state FROM once.peek('r');
SELECT once.purge('r');

-- Attempts: every delivery counts, whatever became of it; release takes one back.
SELECT once.send('r', '"a"') IS NOT NULL AS sent;
BEGIN; SELECT attempt FROM once.receive('r'); ROLLBACK;
BEGIN; SELECT attempt FROM once.pop('r'); ROLLBACK;
BEGIN; SELECT attempt, once.release(receipt) FROM once.receive('r'); COMMIT;
BEGIN; SELECT attempt, once.release(receipt) FROM once.receive('r'); ROLLBACK;
SELECT attempt, once.nack(receipt) FROM once.lease('r');
BEGIN; SELECT attempt, once.nack(receipt) FROM once.receive('r'); ROLLBACK;
SELECT attempt, once.ack(receipt) FROM once.receive('r');

-- A failed delivery waits for the retry delay; nack with a delay overrides it.
SELECT once.alter_queue('r', retry_delay => '1 h', retry_delay_max => '1 h');
SELECT once.send('r', '"a"') IS NOT NULL AS sent;
BEGIN; SELECT attempt FROM once.receive('r'); ROLLBACK;
SELECT * FROM once.receive('r');
SELECT attempt, state, ready_at > now() + '47 min' AND ready_at <= now() + '60 min' AS in_an_hour FROM once.peek('r');
SELECT once.alter_queue('r', retry_delay => '0', retry_delay_max => '0');
SELECT once.purge('r');
SELECT once.send('r', '"a"') IS NOT NULL AS sent;
SELECT attempt, once.nack(receipt, '1 h') FROM once.lease('r');
SELECT * FROM once.receive('r');
SELECT attempt, state, ready_at > now() + '47 min' AND ready_at <= now() + '60 min' AS in_an_hour FROM once.peek('r');
SELECT once.purge('r');

-- wait: up to a minute; it sees what was there before and comes back empty otherwise.
SELECT * FROM once.receive('r', wait => '-1 s');
SELECT * FROM once.receive('r', wait => '61 s');
SELECT * FROM once.receive('r', wait => '0');
-- (Before PostgreSQL 17, waiting is polling here, and the first wait says so.)
SET client_min_messages = warning;
SELECT * FROM once.lease('r', wait => '50 ms');
RESET client_min_messages;
SELECT once.send('r', '"a"') IS NOT NULL AS sent;
SELECT payload FROM once.pop('r', wait => '60 s');
-- It sleeps no longer than until the next message is ready.
SELECT once.send('r', '"soon"', delay => '200 ms') IS NOT NULL AS sent;
SELECT payload FROM once.pop('r', wait => '60 s');

-- Leases: bounds, and the end of one.
SELECT * FROM once.lease('r', '0');
SELECT * FROM once.lease('r', '-1 s');
SELECT * FROM once.lease('r', '366 days');
SELECT * FROM once.lease('r', NULL);
SELECT once.send('r', '"a"') IS NOT NULL AS sent;
SELECT receipt AS first FROM once.lease('r', '1 us') \gset
SELECT attempt, receipt AS second FROM once.lease('r', '1 h', wait => '60 s') \gset
SELECT :attempt AS attempt;
SELECT once.ack(:'first');
\echo :SQLSTATE
SELECT once.try_ack(:'first');
SELECT once.extend(:'first', '1 h');
SELECT once.release(:'first');
SELECT once.nack(:'first');
SELECT once.ack(:'second');
-- A lease that ended, and that nobody took since: its holder may still do all.
SELECT count(*) FROM once.send_batch('r', ARRAY['1', '2', '3', '4']::jsonb[]);
SELECT array_agg(receipt) AS r FROM once.lease('r', '1 us', 4) \gset
SELECT once.ack((:'r'::uuid[])[1]);
SELECT once.try_ack((:'r'::uuid[])[2]);
SELECT once.extend((:'r'::uuid[])[3], '1 h') > now() AS extended;
SELECT once.nack((:'r'::uuid[])[4], '1 h');
SELECT payload, state FROM once.peek('r');
SELECT once.ack((:'r'::uuid[])[3]);
SELECT once.purge('r');
-- Leases do not end with the transaction that took them.
BEGIN; SELECT once.send('r', '"a"') IS NOT NULL AS sent; COMMIT;
BEGIN; SELECT attempt FROM once.lease('r', '1 h'); ROLLBACK;
SELECT attempt, state FROM once.peek('r');
-- Only leases can be extended.
SELECT once.purge('r');
BEGIN;
SELECT once.send('r', '"a"') IS NOT NULL AS sent;
COMMIT;
BEGIN;
SELECT once.extend(receipt, '1 h') FROM once.receive('r');
\echo :SQLSTATE
ROLLBACK;
SELECT * FROM once.check('r', true);
SELECT once.drop_queue('r');
