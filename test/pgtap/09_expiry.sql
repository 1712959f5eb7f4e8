-- Messages with a time to live.
SET client_min_messages = warning;
SELECT plan(28);

SELECT once.create_queue('q', retry_delay => '0') \g /dev/null
CREATE FUNCTION letters() RETURNS text LANGUAGE sql AS
	$$ SELECT string_agg(concat_ws(' ', payload, reason, attempts), ', ' ORDER BY id) FROM once.dead_letters $$;

-- Its own: from when it could first be delivered.
SELECT once.send('q', '1', ttl => '20 ms'), once.send('q', '2', ttl => '1 hour') \g /dev/null
SELECT once.send('q', '3', ttl => '1 hour', deliver_at => now() + '1 day') \g /dev/null
SELECT ok(expires_at = enqueued_at + '1 hour', 'from sending') FROM once.q_q WHERE payload = '2';
SELECT ok(expires_at = deliver_at + '1 hour', 'or from deliver_at') FROM once.q_q WHERE payload = '3';
SELECT pg_sleep(0.03) \g /dev/null
SELECT results_eq($$SELECT payload::int, state FROM once.peek('q')$$, $$VALUES (1, 'dead'), (2, 'ready'), (3, 'delayed')$$, 'peek says who is past his time');
SELECT results_eq($$SELECT payload::int FROM once.pop('q', 10)$$, 'VALUES (2)', 'a message past its time is not delivered');
SELECT is(letters(), '1 expired 0', 'but is a dead letter');
SELECT once.purge('q'), once.purge_dead_letters('q') \g /dev/null
INSERT INTO once.q_q (payload, expires_at) VALUES ('1', now() - interval '1 s'), ('2', now() + interval '1 hour'), ('3', 'infinity'), ('4', '-infinity');
SELECT results_eq($$SELECT payload::int FROM once.pop('q', 10)$$, 'VALUES (2), (3)', 'the same for plain INSERTs');
SELECT is(letters(), '1 expired 0, 4 expired 0', 'which may say never, and at once');

-- The queue's, for messages that do not say themselves.
SELECT once.purge_dead_letters('q') \g /dev/null
INSERT INTO once.q_q (payload, enqueued_at, deliver_at, expires_at) VALUES
	('1', now() - interval '2 hours', NULL, NULL),
	('2', now() - interval '2 hours', NULL, 'infinity'),
	('3', now() - interval '2 hours', now() - interval '1 minute', NULL),
	('4', now() - interval '2 hours', NULL, now() + interval '1 hour'),
	('5', now(), now() - interval '2 hours', NULL);
SELECT is(count(*), 5::bigint, 'without a ttl nothing expires') FROM once.peek('q', 10) WHERE state = 'ready';
SELECT once.alter_queue('q', ttl => '1 hour') \g /dev/null
SELECT results_eq($$SELECT payload::int FROM once.lease('q', '1 microsecond', 10)$$, 'VALUES (2), (3), (4), (5)',
	'a ttl given later is for what is there already, from the later of sending and deliver_at');
SELECT is(letters(), '1 expired 0', 'those past it are dead letters');
SELECT once.alter_queue('q', reset => ARRAY['ttl']) \g /dev/null
SELECT once.redrive('q') \g /dev/null
SELECT results_eq($$SELECT payload::int, attempt FROM once.pop('q', 10)$$, 'VALUES (2, 2), (3, 2), (4, 2), (5, 2), (1, 1)', 'redriven, it has a time of its own again');

-- Judged when somebody would get it.
SELECT once.send('q', '1', ttl => '1 s') \g /dev/null
SELECT receipt AS r FROM once.lease('q', '1 hour') \gset
SELECT pg_sleep(1.05) \g /dev/null
SELECT is_empty($$SELECT FROM once.pop('q')$$, 'a message that expires while somebody has it');
SELECT is(letters(), NULL, 'is left to him');
SELECT is(once.try_ack(:'r'), true, 'and may be acked');
SELECT once.send('q', '2', ttl => '1 s') \g /dev/null
SELECT receipt AS r FROM once.lease('q', '1 hour') \gset
SELECT pg_sleep(1.05) \g /dev/null
SELECT once.nack(:'r', error => 'late') \g /dev/null
SELECT is_empty($$SELECT FROM once.pop('q')$$, 'if it fails then, it is not delivered again');
SELECT is(letters(), '2 expired 1', 'but has expired');
SELECT is(last_error, 'late', 'with its last error') FROM once.dead_letters;
SELECT once.purge_dead_letters('q') \g /dev/null

-- Dropped instead of kept.
SELECT once.alter_queue('q', ttl_action => 'drop', max_attempts => 1) \g /dev/null
SELECT once.send('q', '1', ttl => '20 ms'), once.send('q', '2') \g /dev/null
SELECT pg_sleep(0.03) \g /dev/null
SELECT results_eq($$SELECT payload::int FROM once.lease('q', '1 microsecond', 10)$$, 'VALUES (2)', 'with ttl_action drop, likewise');
SELECT is(letters(), NULL, 'and no dead letter');
SELECT is_empty($$SELECT FROM once.pop('q')$$, 'used-up attempts');
SELECT is(letters(), '2 attempts 1', 'make one all the same');
SELECT is_empty('SELECT FROM once.q_q', 'the rows are gone');

-- maintain does it when nobody consumes.
SELECT once.purge_dead_letters('q'), once.alter_queue('q', ttl_action => 'dead_letter') \g /dev/null
SELECT once.send('q', '1', ttl => '1 microsecond') \g /dev/null
CALL once.maintain();
SELECT is(letters(), '1 expired 0', 'maintain moves expired messages');

-- Bad arguments.
SELECT throws_ok($$SELECT once.send('q', '1', ttl => '0')$$, '22023', NULL, 'ttl 0');
SELECT throws_ok($$SELECT once.send('q', '1', ttl => '-1 s')$$, '22023', NULL, 'a negative ttl');
SELECT throws_ok($$SELECT once.send('q', '1', ttl => '36501 days')$$, '22023', NULL, 'a ttl of more than 36500 days');
SELECT throws_ok($$SELECT once.alter_queue('q', ttl_action => 'forget')$$, '22023', NULL, 'another ttl_action');
SELECT is_empty($$SELECT * FROM once.check('q', strict => true)$$, 'the index is sound');
SELECT * FROM finish();
