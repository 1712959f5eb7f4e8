-- Order of delivery, and what one call hands out.
SET client_min_messages = warning;
SELECT plan(35);

SELECT once.create_queue('q', retry_delay => '0') \g /dev/null

-- Within a lane: the order of sending; lanes: strict, 9 first.
SELECT count(*) FROM once.send_batch('q', ARRAY['1', '2', '3']::jsonb[]) \g /dev/null
SELECT once.send('q', '4', priority => 0), once.send('q', '5', priority => 9), once.send('q', '6', priority => 5) \g /dev/null
SELECT once.send('q', '7') \g /dev/null
SELECT results_eq($$SELECT payload::int, priority::int FROM once.lease('q', '1 microsecond', 10)$$,
	$$VALUES (5, 9), (6, 5), (1, 4), (2, 4), (3, 4), (7, 4), (4, 0)$$,
	'urgent lanes first, each in the order of sending');
SELECT results_eq($$SELECT payload::int FROM once.lease('q', '1 microsecond', 3)$$, 'VALUES (5), (6), (1)',
	'max_messages cuts that order off');
SELECT results_eq($$SELECT payload::int FROM once.peek('q', 10)$$, 'VALUES (5), (6), (1), (2), (3), (7), (4)',
	'peek shows the same order');

-- What was given back has its old place; what is delayed comes in it when due.
SELECT count(once.nack(receipt, '0')) FROM once.lease('q', '1 hour', 3) \g /dev/null
SELECT results_eq($$SELECT payload::int FROM once.lease('q', '1 microsecond', 3)$$, 'VALUES (5), (6), (1)',
	'a nacked message keeps its place');
SELECT count(once.nack(receipt, '1 hour')) FROM once.lease('q', '1 hour', 2) \g /dev/null
SELECT results_eq($$SELECT payload::int FROM once.lease('q', '1 microsecond', 10)$$, 'VALUES (1), (2), (3), (7), (4)',
	'a delayed one holds nobody up');
SELECT results_eq($$SELECT payload::int, state FROM once.peek('q', 2)$$, $$VALUES (5, 'delayed'), (6, 'delayed')$$,
	'and is shown as delayed');
SELECT is(once.purge('q'), 7::bigint, 'purge counts what was ready, delayed and leased');

-- Ids are not the order; sending is.
INSERT INTO once.q_q (id, payload) VALUES (1002, '1'), (1001, '2');
SELECT results_eq($$SELECT id FROM once.lease('q', '1 microsecond', 2)$$, 'VALUES (1002::bigint), (1001)',
	'rows are delivered in the order in which they were inserted');
REINDEX TABLE once.q_q;
SELECT results_eq($$SELECT id FROM once.pop('q', 2)$$, 'VALUES (1001::bigint), (1002)',
	'REINDEX restores the order of ids');

-- send_batch returns ids in the order of its input, and null headers are fine.
SELECT results_eq($$SELECT s - min(s) OVER () FROM once.send_batch('q', ARRAY['1', '2', '3']::jsonb[]) AS s$$,
	'VALUES (0::bigint), (1), (2)', 'send_batch returns ids in input order');

-- All claims of a call happen at once, whatever the reader fetches.
BEGIN;
DECLARE c CURSOR FOR SELECT payload FROM once.lease('q', '1 hour', 3);
FETCH 1 FROM c \g /dev/null
SELECT is(count(*), 3::bigint, 'a call claims all it hands out before the first row is read')
  FROM once.slots('q') WHERE state = 'claimed';
COMMIT;
SELECT once.purge('q') \g /dev/null
SELECT count(*) FROM once.send_batch('q', ARRAY['1', '2', '3']::jsonb[]) \g /dev/null
SELECT payload FROM once.lease('q', '1 hour', 2) LIMIT 1 \g /dev/null
SELECT is(count(*), 2::bigint, 'LIMIT does not reduce the claims')
  FROM once.slots('q') WHERE state = 'claimed';
SELECT once.purge('q') \g /dev/null

-- delay and deliver_at.
SELECT once.send('q', '1', delay => '1 hour'), once.send('q', '2', deliver_at => now() - interval '1 hour') \g /dev/null
SELECT results_eq($$SELECT payload::int FROM once.lease('q', '1 hour', 10)$$, 'VALUES (2)',
	'a message is not delivered before it is due');
SELECT throws_ok($$SELECT once.send('q', '1', delay => '1 s', deliver_at => now())$$, '22023', NULL,
	'delay and deliver_at exclude each other');
SELECT once.purge('q') \g /dev/null

-- The pause after the n-th failed delivery: 0.8 to 1 of min(retry_delay * 2^(n-1), retry_delay_max).
SELECT once.alter_queue('q', retry_delay => '100 s', retry_delay_max => '350 s') \g /dev/null
SELECT once.send('q', '1') \g /dev/null
SELECT receipt AS r FROM once.lease('q') \gset
SELECT once.nack(:'r') \g /dev/null
SELECT ok(ready_at BETWEEN clock_timestamp() + '75 s' AND clock_timestamp() + '100 s', 'first: 0.8 to 1 of retry_delay')
  FROM once.peek('q');
SELECT once.alter_queue('q', retry_delay => '0') \g /dev/null
SELECT once.purge('q') \g /dev/null
SELECT once.send('q', '1') \g /dev/null
SELECT count(once.nack(receipt, '0')) FROM once.lease('q') \g /dev/null
SELECT once.alter_queue('q', retry_delay => '100 s') \g /dev/null
SELECT count(once.nack(receipt)) FROM once.lease('q') \g /dev/null
SELECT ok(ready_at BETWEEN clock_timestamp() + '155 s' AND clock_timestamp() + '200 s', 'second: twice that')
  FROM once.peek('q');
SELECT once.alter_queue('q', retry_delay => '0') \g /dev/null
SELECT once.purge('q') \g /dev/null
SELECT once.send('q', '1') \g /dev/null
SELECT count(once.nack(receipt, '0')) FROM once.lease('q') \g /dev/null
SELECT count(once.nack(receipt, '0')) FROM once.lease('q') \g /dev/null
SELECT once.alter_queue('q', retry_delay => '100 s') \g /dev/null
SELECT count(once.nack(receipt)) FROM once.lease('q') \g /dev/null
SELECT ok(ready_at BETWEEN clock_timestamp() + '275 s' AND clock_timestamp() + '350 s', 'third: up to retry_delay_max')
  FROM once.peek('q');
SELECT once.purge('q') \g /dev/null

-- A rolled back receive is paused likewise.
SELECT once.send('q', '1') \g /dev/null
BEGIN;
SELECT FROM once.receive('q') \g /dev/null
ROLLBACK;
SELECT is_empty($$SELECT FROM once.lease('q')$$, 'a rolled back receive is redelivered after the pause, not before');
SELECT ok(ready_at BETWEEN clock_timestamp() + '75 s' AND clock_timestamp() + '100 s' AND attempt = 1 AND state = 'delayed',
	'peek says when') FROM once.peek('q');
SELECT once.purge('q') \g /dev/null

-- Bad arguments name the argument and change nothing.
SELECT throws_ok($$SELECT FROM once.receive('q', 0)$$, '22023', NULL, 'max_messages 0');
SELECT throws_ok($$SELECT FROM once.lease('q', max_messages => 10001)$$, '22023', NULL, 'max_messages 10001');
SELECT throws_ok($$SELECT FROM once.pop('q', -1)$$, '22023', NULL, 'max_messages -1');
SELECT throws_ok($$SELECT FROM once.lease('q', '0')$$, '22023', NULL, 'lease 0');
SELECT throws_ok($$SELECT FROM once.lease('q', '-1 s')$$, '22023', NULL, 'lease -1 s');
SELECT throws_ok($$SELECT once.send('q', '1', priority => 10)$$, '22023', NULL, 'priority 10');
SELECT throws_ok($$SELECT once.send('q', '1', priority => -1)$$, '22023', NULL, 'priority -1');
SELECT throws_ok($$INSERT INTO once.q_q (priority) VALUES (10)$$, '22023', NULL, 'priority 10 by plain SQL');
SELECT throws_ok($$SELECT FROM once.receive(NULL)$$, '22004', NULL, 'queue NULL');
SELECT throws_ok($$SELECT FROM once.receive('nowhere')$$, 'ON001', NULL, 'no such queue');
SELECT throws_ok($$SELECT once.create_queue('a b')$$, '42602', NULL, 'a name with a space');
SELECT throws_ok($$SELECT once.create_queue(repeat('a', 48))$$, '42602', NULL, 'a name of 48 bytes');
SELECT throws_ok($$SELECT once.create_queue('q')$$, '42P07', NULL, 'a name that is taken');
SELECT is_empty('SELECT FROM once.q_q', 'and nothing was sent');

-- Verbs are never parallel, never inlined away, never cached.
SELECT is_empty($$
	SELECT oid::regprocedure FROM pg_proc
	 WHERE pronamespace = 'once'::regnamespace AND proname NOT IN ('once_queue_handler', 'list_queues', 'list_ledgers', 'list_schedules', 'help', 'is_own_table', 'is_own_schedule', 'next_due', 'next_runs', 'worker_figures', 'distributed_options', 'next_id')
	   AND (provolatile <> 'v' OR proparallel <> 'u')$$, 'all verbs are VOLATILE PARALLEL UNSAFE');
SELECT is_empty($$
	SELECT oid::regprocedure FROM pg_proc
	 WHERE pronamespace = 'once'::regnamespace AND prosecdef$$, 'none runs as another user');
SELECT * FROM finish();
