-- Producer dedup: of messages with one dedup_id one is sent.
SET client_min_messages = warning;
CREATE ROLE once_tap_producer;
SELECT plan(52);

SELECT once.create_queue('q', retry_delay => '0', id_index => true, max_attempts => 1) \g /dev/null
SELECT once.create_queue('r') \g /dev/null

-- A repeat sends nothing, and returns the id of the first.
SELECT once.send('q', '1', dedup_id => 'a') AS first \gset
SELECT is(once.send('q', '1', dedup_id => 'a'), :first::bigint, 'a repeat returns the first one''s id');
SELECT is(once.send('q', '2', '{"h": 1}', priority => 9, dedup_id => 'a'), :first::bigint, 'whatever else it says');
SELECT results_eq('SELECT id, payload::int FROM once.q_q', 'SELECT ' || :first || '::bigint, 1', 'and sends nothing');
SELECT results_eq($$SELECT id, duplicate FROM once.send_dedup('q', '1', dedup_id => 'a')$$, 'SELECT ' || :first || '::bigint, true', 'send_dedup says so');
SELECT results_eq($$SELECT duplicate FROM once.send_dedup('q', '3', dedup_id => 'b')$$, 'VALUES (false)', 'and that another one is new');
SELECT results_eq($$SELECT duplicate FROM once.send_dedup('r', '1', dedup_id => 'a')$$, 'VALUES (false)', 'as it is in another queue');
SELECT results_eq($$SELECT count(DISTINCT once.send('q', '4')) FROM generate_series(1, 3)$$, 'VALUES (3::bigint)', 'without dedup_id every message is sent');
SELECT results_eq($$SELECT count(DISTINCT once.send('q', '4', dedup_id => NULL)) FROM generate_series(1, 3)$$, 'VALUES (3::bigint)', 'and with NULL for it');
SELECT results_eq($$SELECT id IS NOT NULL, duplicate FROM once.send_dedup('q', '4')$$, 'VALUES (true, false)', 'by send_dedup too');
SELECT is((SELECT count(*) FROM once.q_q), 9::bigint, 'so many messages');

-- Ids are told apart byte by byte.
SELECT results_eq(format($$SELECT duplicate FROM once.send_dedup('q', '5', dedup_id => %L)$$, id), 'VALUES (false)', 'another id: ' || quote_literal(left(id, 10)))
  FROM (VALUES (1, 'A'), (2, ' a'), (3, 'a '), (4, 'aa'), (5, E'a\n'), (6, 'NULL'), (7, repeat('x', 1000)), (8, repeat('x', 999) || 'y')) AS v (n, id) ORDER BY n;
SELECT throws_ok(format($$SELECT once.send('q', '1', dedup_id => %L)$$, id), '22023', NULL, 'no id: ' || quote_literal(left(id, 10)))
  FROM (VALUES (1, ''), (2, repeat('x', 1001))) AS v (n, id) ORDER BY n;

-- What is remembered is that it was sent, not what became of it.
SELECT once.purge('q') \g /dev/null
SELECT is(once.send('q', '1', dedup_id => 'a'), :first::bigint, 'purged: remembered');
SELECT once.send('q', '6', dedup_id => 'c') AS id \gset
SELECT count(once.ack(receipt)) FROM once.receive('q') \g /dev/null
SELECT is(once.send('q', '6', dedup_id => 'c'), :id::bigint, 'acked: remembered');
SELECT once.send('q', '7', dedup_id => 'd') AS id \gset
SELECT FROM once.pop('q') \g /dev/null
SELECT is(once.send('q', '7', dedup_id => 'd'), :id::bigint, 'popped: remembered');
SELECT once.send('q', '8', dedup_id => 'e') AS id \gset
SELECT once.cancel('q', :id) \g /dev/null
SELECT is(once.send('q', '8', dedup_id => 'e'), :id::bigint, 'cancelled: remembered');
SELECT once.send('q', '9', dedup_id => 'f') AS id \gset
SELECT once.nack(receipt) FROM once.lease('q') \g /dev/null
SELECT FROM once.pop('q') \g /dev/null
SELECT is((SELECT reason FROM once.dead_letters WHERE id = :id), 'attempts', 'dead');
SELECT is(once.send('q', '9', dedup_id => 'f'), :id::bigint, 'dead: remembered');
SELECT is(once.redrive('q'), 1::bigint, 'redriven: it is sent, once');
SELECT is(once.send('q', '9', dedup_id => 'f'), :id::bigint, 'redriven: remembered');
SELECT is_empty($$SELECT FROM once.q_q WHERE payload <> '9'$$, 'and nothing was sent again');
TRUNCATE once.q_q;
VACUUM FULL once.q_q;
SELECT is(once.send('q', '9', dedup_id => 'f'), :id::bigint, 'truncated: remembered');

-- A batch
SELECT results_eq($$SELECT array_agg(s = first ORDER BY n) FROM (SELECT s, n, min(s) OVER (PARTITION BY d[n]) AS first FROM (SELECT ARRAY['g', 'h', 'g', NULL, 'h', 'g'] AS d) d,
	once.send_batch('q', ARRAY['1', '2', '3', '4', '5', '6']::jsonb[], dedup_ids => d) WITH ORDINALITY AS u (s, n)) x$$, $$VALUES ('{t,t,t,t,t,t}'::boolean[])$$, 'repeats within a batch get the first one''s id');
SELECT results_eq('SELECT payload::int FROM once.q_q ORDER BY id', 'VALUES (1), (2), (4)', 'and the others are sent');
SELECT results_eq('SELECT payload::int FROM once.pop($$q$$, 10)', 'VALUES (1), (2), (4)', 'in their order');
SELECT results_eq($$SELECT count(DISTINCT s), count(*) FROM once.send_batch('q', ARRAY['7', '8', '9']::jsonb[], dedup_ids => ARRAY['h', 'h', 'i']) AS s$$, 'VALUES (2::bigint, 3::bigint)', 'a batch with repeats of an earlier one');
SELECT results_eq('SELECT payload::int FROM once.q_q', 'VALUES (9)', 'sends the rest');
SELECT throws_ok($$SELECT once.send_batch('q', ARRAY['1', '2']::jsonb[], dedup_ids => ARRAY['j'])$$, '22023', NULL, 'dedup_ids: as many as payloads');
SELECT throws_ok($$SELECT once.send_batch('q', ARRAY['1', '2']::jsonb[], dedup_ids => ARRAY['j', ''])$$, '22023', NULL, 'dedup_ids: none is empty');
SELECT results_eq($$SELECT duplicate FROM once.send_dedup('q', '1', dedup_id => 'j')$$, 'VALUES (false)', 'and an error takes no id');

-- What is rolled back was not sent.
BEGIN;
SELECT once.send('q', '1', dedup_id => 'k') AS id \gset
SELECT is(once.send('q', '1', dedup_id => 'k'), :id::bigint, 'a repeat in the same transaction');
ROLLBACK;
SELECT results_eq($$SELECT duplicate FROM once.send_dedup('q', '1', dedup_id => 'k')$$, 'VALUES (false)', 'after a rollback the id is new');
BEGIN;
SAVEPOINT a;
SELECT once.send('q', '1', dedup_id => 'l') \g /dev/null
ROLLBACK TO a;
SELECT results_eq($$SELECT duplicate FROM once.send_dedup('q', '1', dedup_id => 'l')$$, 'VALUES (false)', 'as after one to a savepoint');
COMMIT;
SELECT results_eq($$SELECT duplicate FROM once.send_dedup('q', '1', dedup_id => 'l')$$, 'VALUES (true)', 'and then it is taken');
SELECT once.pause('q', 'send') \g /dev/null
SELECT throws_ok($$SELECT once.send('q', '1', dedup_id => 'm')$$, 'ON008', NULL, 'paused: refused');
SELECT throws_ok($$SELECT once.send('q', '1', dedup_id => 'l')$$, 'ON008', NULL, 'paused: repeats as well');
SELECT once.resume('q') \g /dev/null
SELECT results_eq($$SELECT duplicate FROM once.send_dedup('q', '1', dedup_id => 'm')$$, 'VALUES (false)', 'and no id was taken');

-- Who may send may send with a dedup_id, also the first time.
SELECT once.create_queue('s') \g /dev/null
SELECT once.grant_queue('s', 'once_tap_producer', 'produce') \g /dev/null
SET ROLE once_tap_producer;
SELECT results_eq($$SELECT duplicate FROM once.send_dedup('s', '1', dedup_id => 'a')$$, 'VALUES (false)', 'INSERT is enough');
SELECT results_eq($$SELECT duplicate FROM once.send_dedup('s', '1', dedup_id => 'a')$$, 'VALUES (true)', 'to repeat as well');
SELECT throws_ok('SELECT * FROM once.d_s_0', '42501', NULL, 'and no more is given');
SELECT throws_ok($$SELECT once.send('q', '1', dedup_id => 'a')$$, '42501', NULL, 'without it even a repeat is refused');
RESET ROLE;

-- With the queue the memory goes.
SELECT once.drop_queue('s'), once.create_queue('s') \g /dev/null
SELECT results_eq($$SELECT duplicate FROM once.send_dedup('s', '1', dedup_id => 'a')$$, 'VALUES (false)', 'a queue of the same name remembers nothing');
SELECT once.drop_queue('s') \g /dev/null
SELECT is_empty($$SELECT FROM pg_class WHERE relname LIKE 'd\_s\_%'$$, 'and nothing is left of it');
SELECT is_empty($$SELECT * FROM once.check('q', strict => true)$$, 'the index is sound');
SELECT * FROM finish();
DROP ROLE once_tap_producer;
