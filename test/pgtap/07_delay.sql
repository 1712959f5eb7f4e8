-- Messages that are due later.
SET client_min_messages = warning;
SELECT plan(25);

SELECT once.create_queue('q', retry_delay => '0', id_index => true) \g /dev/null

-- Not before its time, whichever way it is said; after it as any other.
SELECT once.send('q', '1', delay => '1 hour') \g /dev/null
SELECT once.send('q', '2', deliver_at => now() + '1 hour') \g /dev/null
INSERT INTO once.q_q (payload, deliver_at) VALUES ('3', now() + '1 hour');
SELECT count(*) FROM once.send_batch('q', ARRAY['4', '5']::jsonb[], delay => '1 hour') \g /dev/null
SELECT once.send('q', '6', delay => '36500 days'), once.send('q', '7', deliver_at => '9999-12-31 UTC') \g /dev/null
SELECT is_empty($$SELECT FROM once.lease('q', '1 microsecond', 10)$$, 'a message is not delivered before it is due');
SELECT results_eq($$SELECT state, count(*) FROM once.peek('q', 10) GROUP BY 1$$, $$VALUES ('delayed', 7::bigint)$$, 'peek says so');
SELECT once.send('q', '9'), once.send('q', '10', deliver_at => now() - interval '1 hour'), once.send('q', '11', delay => '0') \g /dev/null
SELECT results_eq($$SELECT payload::int FROM once.pop('q', 20)$$, 'VALUES (9), (10), (11)', 'those that are due hide behind none of them');
SELECT once.send('q', '13', delay => '20 ms'), once.send('q', '14', deliver_at => clock_timestamp() + interval '30 ms') \g /dev/null
SELECT pg_sleep(0.05) \g /dev/null
SELECT results_eq($$SELECT payload::int, attempt FROM once.pop('q', 20)$$, 'VALUES (13, 1), (14, 1)', 'after its time it is');
SELECT once.send('q', '15', delay => '1 microsecond') \g /dev/null
SELECT results_eq($$SELECT payload::int FROM once.pop('q', 20)$$, 'VALUES (15)', 'down to a microsecond');

-- Rebuilt, they wait on.
REINDEX TABLE once.q_q;
SELECT is_empty($$SELECT FROM once.lease('q', '1 microsecond', 10)$$, 'REINDEX does not forget the times');
SELECT results_eq($$SELECT state, count(*) FROM once.peek('q', 10) GROUP BY 1$$, $$VALUES ('delayed', 7::bigint)$$, 'of any');

-- An UPDATE of the time.
UPDATE once.q_q SET deliver_at = NULL WHERE payload = '2';
UPDATE once.q_q SET deliver_at = now() - interval '1 hour' WHERE payload = '1';
SELECT results_eq($$SELECT payload::int FROM once.pop('q', 20)$$, 'VALUES (2), (1)', 'an UPDATE can bring a message forward');

-- cancel, purge, plain DELETE.
SELECT is(once.cancel('q', id), true, 'a message that is not due can be cancelled') FROM once.q_q WHERE payload = '3';
DELETE FROM once.q_q WHERE payload = '4';
SELECT is(once.purge('q'), 3::bigint, 'purge removes those that are not due, too');
BEGIN;
SELECT once.send('q', '16', delay => '20 ms') \g /dev/null
ROLLBACK;
SELECT pg_sleep(0.03) \g /dev/null
SELECT is_empty($$SELECT FROM once.pop('q')$$, 'what was not committed never comes');

-- The order of those that are due: by time, then as sent; lanes first.
SELECT count(once.send('q', p, deliver_at => now() + interval '300 ms' + t * interval '1 ms', priority => l))
  FROM (VALUES ('1'::jsonb, 3, 4), ('2', 2, 4), ('3', 1, 4), ('4', 1, 4), ('5', 3, 9), ('6', 1, 0)) AS v (p, t, l) \g /dev/null
SELECT pg_sleep(0.35) \g /dev/null
SELECT once.send('q', '7', priority => 9), once.send('q', '8') \g /dev/null
SELECT results_eq($$SELECT payload::int FROM once.pop('q', 20) WHERE priority = 9 OR priority = 0$$, 'VALUES (7), (5), (6)',
	'priorities hold for delayed messages, which come behind those that were sent until they are noticed');
SELECT count(once.send('q', p, deliver_at => now() + interval '300 ms' + t * interval '1 ms'))
  FROM (VALUES ('1'::jsonb, 3), ('2', 2), ('3', 1), ('4', 1)) AS v (p, t) \g /dev/null
SELECT pg_sleep(0.35) \g /dev/null
SELECT results_eq($$SELECT payload::int FROM once.pop('q', 20)$$, 'VALUES (3), (4), (2), (1)',
	'noticed together, they are delivered in the order of their times, then of sending');

-- Many, at random times, each once and none early.
SELECT count(*) FROM once.send_batch('q', (SELECT array_agg(to_jsonb(n)) FROM generate_series(1, 500) AS n), delay => '1 day') \g /dev/null
INSERT INTO once.q_q (payload, deliver_at)
SELECT to_jsonb(n), clock_timestamp() + random() * interval '0.3 s' FROM generate_series(1001, 3000) AS n;
CREATE TABLE got (n int, early boolean);
DO $$
BEGIN
	FOR i IN 1 .. 50 LOOP
		INSERT INTO got SELECT payload::int, false FROM once.pop('q', 100);
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
	INSERT INTO got SELECT payload::int, false FROM once.pop('q', 10000);
END $$;
SELECT results_eq('SELECT count(*), count(DISTINCT n), min(n), max(n) FROM got', 'VALUES (2000::bigint, 2000::bigint, 1001, 3000)',
	'messages at random times come once each, and no other');
SELECT is(count(*), 500::bigint, 'the others are still there') FROM once.q_q;
SELECT once.purge('q') \g /dev/null

-- maintain brings them into their place when nobody consumes.
SELECT once.send('q', '1', delay => '20 ms') \g /dev/null
SELECT pg_sleep(0.03) \g /dev/null
CALL once.maintain();
SELECT once.send('q', '2') \g /dev/null
SELECT results_eq($$SELECT payload::int FROM once.pop('q', 20)$$, 'VALUES (1), (2)', 'maintain notices what is due');

-- A receive that waits, waits for the time.
SELECT once.send('q', '1', delay => '100 ms') \g /dev/null
SELECT clock_timestamp() AS before \gset
SELECT results_eq($$SELECT payload::int FROM once.pop('q', wait => '30 s')$$, 'VALUES (1)', 'a pop that waits gets it when it is due');
SELECT ok(clock_timestamp() - :'before'::timestamptz < '20 s', 'not much later');

-- Bad arguments.
SELECT throws_ok($$SELECT once.send('q', '1', delay => '-1 s')$$, '22023', NULL, 'a negative delay');
SELECT throws_ok($$SELECT once.send('q', '1', delay => '36501 days')$$, '22023', NULL, 'a delay of more than 36500 days');
SELECT throws_ok($$SELECT once.send('q', '1', deliver_at => 'infinity')$$, '22023', NULL, 'deliver_at infinity');
SELECT throws_ok($$INSERT INTO once.q_q (deliver_at) VALUES ('infinity')$$, '22023', NULL, 'the same by plain SQL');
SELECT throws_ok($$SELECT FROM once.send_batch('q', ARRAY['1']::jsonb[], delay => '-1 s')$$, '22023', NULL, 'a negative delay of a batch');
SELECT is_empty('SELECT FROM once.q_q', 'send nothing');
SELECT is_empty($$SELECT * FROM once.check('q', strict => true)$$, 'the index is sound');
SELECT * FROM finish();
