-- Ordered groups.
SET client_min_messages = warning;
SELECT plan(43);

SELECT once.create_queue('q', retry_delay => '0', id_index => true) \g /dev/null
CREATE PROCEDURE anew() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM once.purge('q');
	PERFORM FROM once.send_batch('q', ARRAY['1', '2', '3']::jsonb[], group_ids => ARRAY['g', 'g', 'g']);
END $$;
CREATE TABLE kept (n int, receipt uuid);
CREATE PROCEDURE lease(many int) LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM kept;
	INSERT INTO kept SELECT payload::int, receipt FROM once.lease('q', '1 hour', many);
END $$;

-- In order, one call's worth in flight, others not kept waiting.
CALL anew();
SELECT count(*) FROM once.send_batch('q', ARRAY['4', '5', '6']::jsonb[], group_ids => ARRAY['h', NULL, 'h']) \g /dev/null
SELECT results_eq($$SELECT payload::int, group_id FROM once.lease('q', '1 hour')$$, $$VALUES (1, 'g')$$, 'the first of a group');
SELECT results_eq($$SELECT payload::int FROM once.lease('q', '1 hour', 10)$$, 'VALUES (4), (5), (6)',
	'while somebody has it, nobody gets the next, but messages of other groups and of none');
SELECT results_eq($$SELECT payload::int, state FROM once.peek('q', 10)$$,
	$$VALUES (1, 'claimed'), (2, 'blocked'), (3, 'blocked'), (4, 'claimed'), (5, 'claimed'), (6, 'claimed')$$, 'peek says which wait for others');
CALL anew();
SELECT results_eq($$SELECT payload::int FROM once.lease('q', '1 hour', 2)$$, 'VALUES (1), (2)', 'one call can have several');
SELECT is_empty($$SELECT FROM once.lease('q', '1 hour', 10)$$, 'one call at a time');

-- The next one is free when all before it are done: acked and committed.
CALL anew();
CALL lease(1);
BEGIN;
SELECT once.ack(receipt) FROM kept \g /dev/null
SELECT is_empty($$SELECT FROM once.lease('q', '1 hour')$$, 'an ack counts when it has committed');
ROLLBACK;
SELECT is_empty($$SELECT FROM once.lease('q', '1 hour')$$, 'a lease holds on if its ack is rolled back');
SELECT once.ack(receipt) FROM kept \g /dev/null
SELECT results_eq($$SELECT payload::int FROM once.pop('q')$$, 'VALUES (2)', 'then the next one comes');
SELECT results_eq($$SELECT payload::int FROM once.pop('q')$$, 'VALUES (3)', 'and the next');

-- Failures hold it up.
CALL anew();
BEGIN;
SELECT FROM once.receive('q', 2) \g /dev/null
ROLLBACK;
SELECT results_eq($$SELECT payload::int, attempt FROM once.lease('q', '1 microsecond', 10)$$, 'VALUES (1, 2), (2, 2), (3, 1)', 'rolled back: the same order');
SELECT results_eq($$SELECT payload::int, attempt FROM once.lease('q', '1 microsecond', 10)$$, 'VALUES (1, 3), (2, 3), (3, 2)', 'leases run out: the same order');
CALL lease(1);
SELECT once.nack(receipt, '1 hour') FROM kept \g /dev/null
SELECT is_empty($$SELECT FROM once.lease('q', '1 hour', 10)$$, 'a group waits for the pause of its first message');
SELECT once.alter_queue('q', retry_delay => '1 hour') \g /dev/null
CALL anew();
BEGIN;
SELECT FROM once.receive('q') \g /dev/null
ROLLBACK;
SELECT is_empty($$SELECT FROM once.lease('q', '1 hour', 10)$$, 'for that after a rollback, too');
SELECT once.alter_queue('q', retry_delay => '0') \g /dev/null

-- Until it is dead, expired, cancelled or deleted.
CALL anew();
SELECT once.alter_queue('q', max_attempts => 1) \g /dev/null
SELECT FROM once.lease('q', '1 microsecond') \g /dev/null
SELECT results_eq($$SELECT payload::int FROM once.pop('q', 10)$$, 'VALUES (2), (3)', 'a dead one lets the others go');
SELECT once.alter_queue('q', max_attempts => 1000) \g /dev/null
SELECT is(once.redrive('q'), 1::bigint, 'redriven');
SELECT results_eq($$SELECT payload::int, group_id FROM once.pop('q', 10)$$, $$VALUES (1, 'g')$$, 'it is of its group again');
CALL anew();
UPDATE once.q_q SET expires_at = now() - interval '1 s' WHERE payload = '1';
SELECT results_eq($$SELECT payload::int FROM once.pop('q', 10)$$, 'VALUES (2), (3)', 'an expired one lets the others go');
CALL anew();
SELECT is(once.cancel('q', id), true, 'one that waits for others can be cancelled') FROM once.q_q WHERE payload = '2';
SELECT is(once.cancel('q', id), true, 'and so can the first') FROM once.q_q WHERE payload = '1';
SELECT results_eq($$SELECT payload::int FROM once.pop('q', 10)$$, 'VALUES (3)', 'which lets the others go');
CALL anew();
DELETE FROM once.q_q WHERE payload = '1';
SELECT results_eq($$SELECT payload::int FROM once.pop('q', 10)$$, 'VALUES (2), (3)', 'a deleted one lets the others go');
CALL anew();
UPDATE once.q_q SET group_id = 'h' WHERE payload = '1';
SELECT results_eq($$SELECT payload::int FROM once.pop('q', 10)$$, 'VALUES (2), (3), (1)', 'one that is moved elsewhere lets the others go');

-- A sender's delay does not hold it up.
CALL anew();
SELECT once.send('q', '4', delay => '1 s', group_id => 'g') \g /dev/null
SELECT once.send('q', '5', group_id => 'g') \g /dev/null
SELECT results_eq($$SELECT payload::int FROM once.lease('q', '1 microsecond', 4)$$, 'VALUES (1), (2), (3), (5)', 'a delayed message keeps nobody waiting');
SELECT pg_sleep(1.05) \g /dev/null
SELECT results_eq($$SELECT payload::int FROM once.lease('q', '1 microsecond', 10)$$, 'VALUES (1), (2), (3), (5), (4)', 'and takes its place when it is due');
SELECT once.send('q', '6', group_id => 'g') \g /dev/null
SELECT results_eq($$SELECT payload::int FROM once.pop('q', 10)$$, 'VALUES (1), (2), (3), (5), (4), (6)', 'which it then has');

-- Acking in order.
CALL anew();
CALL lease(3);
SELECT throws_ok('SELECT once.ack(receipt) FROM kept WHERE n = 2', 'ON010', NULL, 'acking the second before the first is an error');
SELECT throws_ok('SELECT once.try_ack(receipt) FROM kept WHERE n = 2', 'ON010', NULL, 'for try_ack as well');
SELECT throws_ok('SELECT once.ack_all(array_agg(receipt ORDER BY n DESC)) FROM kept', 'ON010', NULL, 'and for an array in the wrong order');
SELECT is(count(*), 3::bigint, 'which acks none of them') FROM once.q_q;
SELECT is(once.ack_all(array_agg(receipt ORDER BY n)), 3::bigint, 'in the right order it is none') FROM kept;

-- Giving back.
CALL anew();
CALL lease(3);
SELECT once.nack(receipt, '0') FROM kept WHERE n = 2 \g /dev/null
SELECT results_eq('SELECT n, once.try_ack(receipt) FROM kept WHERE n > 1 ORDER BY n', 'VALUES (2, false), (3, false)', 'giving back one gives back those after it');
SELECT is(once.try_ack(receipt), true, 'not those before it') FROM kept WHERE n = 1;
SELECT results_eq($$SELECT payload::int, attempt FROM once.pop('q', 10)$$, 'VALUES (2, 2), (3, 1)', 'and counts no attempt of theirs');
CALL anew();
BEGIN;
SELECT once.nack(receipt, '0') FROM once.receive('q', 3) LIMIT 1 \g /dev/null
COMMIT;
SELECT results_eq($$SELECT payload::int, attempt FROM once.pop('q', 10)$$, 'VALUES (1, 2), (2, 1), (3, 1)', 'they are not owed at commit');

-- Rebuilt: the order of ids.
CALL anew();
REINDEX TABLE once.q_q;
SELECT results_eq($$SELECT payload::int FROM once.lease('q', '1 hour', 2)$$, 'VALUES (1), (2)', 'REINDEX keeps the order');
SELECT is_empty($$SELECT FROM once.lease('q', '1 hour', 2)$$, 'and the groups');

-- Bad arguments.
SELECT throws_ok($$SELECT once.send('q', '1', group_id => '')$$, '22023', NULL, 'an empty group');
SELECT throws_ok($$SELECT once.send('q', '1', group_id => repeat('x', 1001))$$, '22023', NULL, 'a group of 1001 bytes');
SELECT throws_ok($$SELECT once.send('q', '1', group_id => 'g', priority => 5)$$, '22023', NULL, 'a group with a priority');
SELECT throws_ok($$SELECT FROM once.send_batch('q', ARRAY['1', '2']::jsonb[], group_ids => ARRAY['g'])$$, '22023', NULL, 'more messages than groups');
SELECT throws_ok($$INSERT INTO once.q_q (group_id, priority) VALUES ('g', 5)$$, '22023', NULL, 'the same by plain SQL');
SELECT lives_ok($$SELECT once.send('q', '1', group_id => repeat('x', 1000))$$, 'a group of 1000 bytes');

SELECT is_empty($$SELECT * FROM once.check('q', strict => true)$$, 'the index is sound');
SELECT * FROM finish();
