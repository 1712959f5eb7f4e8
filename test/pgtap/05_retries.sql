-- Deliveries that failed: whatever way, they count, and the message waits.
SET client_min_messages = warning;
SELECT plan(35);

SELECT once.create_queue('q', retry_delay => '100 s', retry_delay_max => '1000 s', max_attempts => 3) \g /dev/null

-- How the only message of the queue stands.
CREATE FUNCTION waits(low interval, high interval, tries int) RETURNS boolean LANGUAGE sql AS $$
	SELECT count(*) = 1 AND bool_and(attempt = tries AND state = 'delayed'
									 AND ready_at BETWEEN clock_timestamp() + low - '10 s'::interval AND clock_timestamp() + high)
	  FROM once.peek('q') $$;
CREATE PROCEDURE anew() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM once.purge('q');
	PERFORM once.send('q', '1');
END $$;

-- The pause after the first delivery that failed: 80 to 100 s, in all cases.
CALL anew();
BEGIN;
SELECT FROM once.receive('q') \g /dev/null
ROLLBACK;
SELECT ok(waits('80 s', '100 s', 1), 'receive, rolled back');
CALL anew();
DO $$
BEGIN
	PERFORM once.ack(receipt) FROM once.receive('q');
	RAISE SQLSTATE 'P0001';
EXCEPTION WHEN raise_exception THEN
	NULL;
END $$;
SELECT ok(waits('80 s', '100 s', 1), 'receive, rolled back by an exception block');
CALL anew();
BEGIN;
SELECT FROM once.pop('q') \g /dev/null
ROLLBACK;
SELECT ok(waits('80 s', '100 s', 1), 'pop, rolled back');
CALL anew();
SELECT FROM once.lease('q', '1 microsecond') \g /dev/null
SELECT ok(waits('80 s', '100 s', 1), 'lease, run out');
CALL anew();
SELECT count(once.nack(receipt)) FROM once.lease('q', '1 hour') \g /dev/null
SELECT ok(waits('80 s', '100 s', 1), 'nack of a lease');
CALL anew();
SELECT count(once.nack(receipt)) FROM once.receive('q') \g /dev/null
SELECT ok(waits('80 s', '100 s', 1), 'nack of a receive');

-- The statement that fails at commit is a delivery that failed, too.
CALL anew();
\set ON_ERROR_STOP 0
\set VERBOSITY sqlstate
SELECT FROM once.receive('q') \g /dev/null
\set VERBOSITY default
\set ON_ERROR_STOP 1
SELECT ok(waits('80 s', '100 s', 1), 'receive, not acked');

-- While it waits, nobody gets it; everybody sees the same time.
SELECT is_empty($$SELECT FROM once.lease('q')$$, 'nobody gets it before its time');
SELECT is(count(DISTINCT ready_at), 1::bigint, 'everybody sees the same time')
  FROM (SELECT ready_at FROM once.peek('q') UNION ALL SELECT ready_at FROM once.peek('q')) AS looks;

-- Twice as long each time, up to retry_delay_max.
SELECT once.alter_queue('q', max_attempts => 1000) \g /dev/null
CREATE PROCEDURE fail(tries int) LANGUAGE plpgsql AS $$
BEGIN
	CALL anew();
	COMMIT;
	FOR i IN 2 .. tries LOOP
		PERFORM once.nack(receipt, '0') FROM once.lease('q');
	END LOOP;
	PERFORM once.nack(receipt) FROM once.lease('q');
END $$;
CALL fail(2);
SELECT ok(waits('160 s', '200 s', 2), 'the second pause is twice the first');
CALL fail(3);
SELECT ok(waits('320 s', '400 s', 3), 'the third four times');
CALL fail(5);
SELECT ok(waits('800 s', '1000 s', 5), 'up to retry_delay_max');
CALL fail(900);
SELECT ok(waits('800 s', '1000 s', 900), 'however many there were');

-- Messages that failed together do not come back together.
SELECT once.purge('q') \g /dev/null
SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[200])) \g /dev/null
SELECT count(once.nack(receipt)) FROM once.lease('q', max_messages => 200) \g /dev/null
SELECT ok(max(ready_at) - min(ready_at) BETWEEN '10 s' AND '21 s', 'pauses are spread over a fifth of the longest')
  FROM once.peek('q', 200);

-- nack with a delay; release.
CALL anew();
SELECT count(once.nack(receipt, '7 days')) FROM once.lease('q') \g /dev/null
SELECT ok(waits('7 days', '7 days', 1), 'nack sets the pause itself');
CALL anew();
SELECT count(once.release(receipt)) FROM once.lease('q') \g /dev/null
SELECT results_eq($$SELECT attempt, state FROM once.peek('q')$$, $$VALUES (0, 'ready')$$,
	'release counts nothing, and the message is ready at once');
SELECT receipt AS r FROM once.lease('q', '1 hour') \gset
SELECT throws_ok(format($$SELECT once.nack(%L, '-1 s')$$, :'r'), '22023', NULL, 'a negative delay');
SELECT throws_ok(format($$SELECT once.nack(%L, '366 days')$$, :'r'), '22023', NULL, 'a delay of more than a year');

-- max_attempts deliveries, no more and no fewer.
SELECT once.alter_queue('q', max_attempts => 3, retry_delay => '0', retry_delay_max => '0') \g /dev/null
CALL anew();
SELECT results_eq($$SELECT attempt FROM once.lease('q', '1 microsecond')$$, 'VALUES (1)', 'the first of three deliveries');
BEGIN;
SELECT results_eq($$SELECT attempt FROM once.pop('q')$$, 'VALUES (2)', 'the second');
ROLLBACK;
SELECT count(once.release(receipt)) FROM once.lease('q') \g /dev/null
SELECT results_eq($$SELECT attempt FROM once.lease('q', '1 microsecond')$$, 'VALUES (3)', 'the third; a release is none');
SELECT results_eq($$SELECT state FROM once.peek('q')$$, $$VALUES ('dead')$$, 'then it is dead');
SELECT is_empty($$SELECT FROM once.lease('q')$$, 'and is not delivered');
SELECT results_eq($$SELECT reason = 'attempts', attempts FROM once.dead_letters$$, $$VALUES (true, 3)$$, 'but a dead letter');
SELECT is_empty('SELECT FROM once.q_q', 'and not in the queue');

-- Errors.
SELECT once.send('q', '2') AS id \gset
SELECT receipt AS r FROM once.lease('q') \gset
SELECT once.nack(:'r', error => 'first') \g /dev/null
SELECT receipt AS r FROM once.lease('q') \gset
SELECT once.nack(:'r', error => 'second') \g /dev/null
SELECT results_eq(format('SELECT attempt, error FROM once.failures WHERE id = %s ORDER BY attempt', :'id'),
	$$VALUES (1, 'first'), (2, 'second')$$, 'failures has the error of each attempt');
BEGIN;
SELECT count(once.nack(receipt, error => 'lost')) FROM once.lease('q') \g /dev/null
ROLLBACK;
SELECT is(count(*), 2::bigint, 'an error is lost with the transaction of its nack') FROM once.failures;
SELECT results_eq($$SELECT attempt, state FROM once.peek('q')$$, $$VALUES (3, 'dead')$$, 'the nack is not');
SELECT FROM once.pop('q') \g /dev/null
SELECT results_eq(format('SELECT last_error FROM once.dead_letters WHERE id = %s', :'id'), $$VALUES ('second')$$,
	'the dead letter has the last error');
SELECT is(count(*), 2::bigint, 'and failures all of them') FROM once.failures;
SELECT once.redrive('q') \g /dev/null
SELECT is_empty('SELECT FROM once.failures', 'a redriven message has none');
SELECT once.purge('q') \g /dev/null
SELECT once.send('q', '3') \g /dev/null
SELECT count(once.nack(receipt, error => 'once')) FROM once.lease('q') \g /dev/null
BEGIN;
SELECT count(once.ack(receipt)) FROM once.receive('q') \g /dev/null
SELECT is_empty('SELECT FROM once.failures', 'an acked one has none');
ROLLBACK;
SELECT is(count(*), 1::bigint, 'if the ack is committed') FROM once.failures;
SELECT once.alter_queue('q', max_attempts => 1000) \g /dev/null
SELECT FROM once.pop('q') \g /dev/null
SELECT is_empty('SELECT FROM once.failures', 'nor a popped one');

SELECT is_empty($$SELECT * FROM once.check('q', strict => true)$$, 'the index is sound');
SELECT * FROM finish();
