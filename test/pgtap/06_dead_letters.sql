-- Dead letters: what is kept, moved by whom, and how it comes back.
SET client_min_messages = warning;
SELECT plan(43);

SELECT once.create_queue('q', retry_delay => '0', max_attempts => 1, id_index => true) \g /dev/null

-- What is kept of a message.
SELECT once.send('q', '{"n": 1}', '{"h": 1}', group_id => 'g', ttl => '1 day') AS id \gset
SELECT enqueued_at, expires_at FROM once.q_q \gset
SELECT receipt AS r FROM once.lease('q') \gset
SELECT once.nack(:'r', error => 'why') \g /dev/null
SELECT is_empty('SELECT FROM once.dead_letters', 'a message whose attempts are used up is in the queue until somebody comes');
SELECT is_empty($$SELECT FROM once.lease('q')$$, 'who comes does not get it');
SELECT results_eq('SELECT queue, id, reason, attempts, last_error, enqueued_at, deliver_at, expires_at, priority, group_id, headers, payload FROM once.dead_letters',
	format($$VALUES ('q' COLLATE "C", %s::bigint, 'attempts' COLLATE "C", 1, 'why', %L::timestamptz, NULL::timestamptz, %L::timestamptz, 4::smallint, 'g', '{"h": 1}'::jsonb, '{"n": 1}'::jsonb)$$,
		   :'id', :'enqueued_at', :'expires_at'),
	'but moves it to the dead letters, with all that it was');
SELECT ok(dead_at BETWEEN enqueued_at AND clock_timestamp(), 'and the time') FROM once.dead_letters;

-- Redriving.
SELECT is(once.redrive('q'), 1::bigint, 'redrive sends it again');
SELECT results_eq('SELECT id, deliver_at, expires_at, priority, group_id, headers, payload FROM once.q_q',
	format($$VALUES (%s::bigint, NULL::timestamptz, NULL::timestamptz, 4::smallint, 'g', '{"h": 1}'::jsonb, '{"n": 1}'::jsonb)$$, :'id'),
	'with its id, headers, payload, group and priority');
SELECT is_empty('SELECT FROM once.dead_letters', 'and it is no dead letter any more');
SELECT results_eq($$SELECT attempt FROM once.lease('q', '1 microsecond')$$, 'VALUES (1)', 'its attempts start again');
BEGIN;
SELECT FROM once.pop('q') \g /dev/null
SELECT is(count(*), 1::bigint, 'and end again') FROM once.dead_letters;
ROLLBACK;
SELECT is_empty('SELECT FROM once.dead_letters', 'a mover that rolls back has moved nothing');
SELECT results_eq($$SELECT attempt, state FROM once.peek('q')$$, $$VALUES (1, 'dead')$$, 'and has counted no attempt');
SELECT FROM once.pop('q') \g /dev/null
BEGIN;
SELECT is(once.redrive('q'), 1::bigint, 'a redriver can roll back');
ROLLBACK;
SELECT is(count(*), 1::bigint, 'too') FROM once.dead_letters;
SELECT is(once.purge_dead_letters('q'), 1::bigint, 'purge_dead_letters forgets them');
SELECT is_empty('SELECT FROM once.dead_letters', 'for good');
SELECT is(once.redrive('q'), 0::bigint, 'there is nothing to redrive then');

-- The oldest first, as many as wanted.
CREATE PROCEDURE die(first int, last int) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM once.send_batch('q', (SELECT array_agg(to_jsonb(n) ORDER BY n) FROM generate_series(first, last) AS n));
	COMMIT;
	PERFORM FROM once.lease('q', '1 microsecond', 10000);
	COMMIT;
	PERFORM FROM once.lease('q', '1 microsecond', 10000);
END $$;
CALL die(3, 4);
CALL die(1, 2);
SELECT is(once.redrive('q', 3), 3::bigint, 'redrive takes at most max_messages');
SELECT results_eq($$SELECT payload::int FROM once.pop('q', 10)$$, 'VALUES (3), (4), (1)', 'those that died first first');
SELECT throws_ok($$SELECT once.redrive('q', 0)$$, '22023', NULL, 'redrive of none');

-- Those of some ids, and all that can go.
SELECT once.purge_dead_letters('q') \g /dev/null
CALL die(1, 4);
SELECT array_agg(id) AS odd FROM once.dead_letters WHERE payload::int % 2 = 1 \gset
SELECT is(once.redrive_ids('q', ids => :'odd'::bigint[] || 0::bigint), 2::bigint, 'redrive takes ids');
SELECT results_eq($$SELECT payload::int FROM once.pop('q', 10)$$, 'VALUES (1), (3)', 'and sends no others');
SELECT is(once.redrive_ids('q', ids => (SELECT array_agg(id) FROM once.dead_letters WHERE false)), 0::bigint, 'none is none');
SELECT is(once.purge_dead_letters('q', ids => (SELECT array_agg(id) FROM once.dead_letters WHERE payload = '4')), 1::bigint, 'purge_dead_letters, too');
SELECT is(string_agg(payload::text, ' '), '2', 'leaves the others') FROM once.dead_letters;
CALL die(5, 6);
ALTER TABLE once.q_q ADD CONSTRAINT no_twos CHECK (payload <> '2');
SELECT is(once.redrive('q', 2), 2::bigint, 'what the queue does not take is left out');
SELECT is(string_agg(payload::text, ' '), '2', 'and stays') FROM once.dead_letters;
ALTER TABLE once.q_q DROP CONSTRAINT no_twos;
SELECT once.purge('q') \g /dev/null

-- What keeps a dead message costs that message alone.
CREATE TABLE refers (id bigint REFERENCES once.q_q (id));
SELECT once.send('q', '"kept"') AS id \gset
SELECT FROM once.lease('q', '1 microsecond') \g /dev/null
INSERT INTO refers VALUES (:id);
SELECT once.send('q', '"behind"') \g /dev/null
SELECT results_eq($$SELECT payload, attempt FROM once.receive('q'), LATERAL once.ack(receipt)$$, $$VALUES ('"behind"'::jsonb, 1)$$, 'what is behind it is delivered');
SELECT results_eq($$SELECT payload, attempt, state, error LIKE '%refers%' FROM once.peek('q')$$, $$VALUES ('"kept"'::jsonb, 1, 'stuck', true)$$, 'it is stuck, with the error');
SELECT throws_ok(format('SELECT once.cancel(%L, %s)', 'q', :id), '23503', NULL, 'cancel of it raises that');
DROP TABLE refers;
SELECT pg_sleep(1.1) \g /dev/null
SELECT FROM once.receive('q') \g /dev/null
SELECT is(string_agg(payload #>> '{}', ' ' ORDER BY id), '2 kept', 'when the obstacle is gone, so is it') FROM once.dead_letters;
SELECT throws_ok($$SELECT once.redrive('nowhere')$$, 'ON001', NULL, 'redrive of no queue');
SELECT once.purge_dead_letters('q') \g /dev/null

-- Dead ones hide nothing, and a call moves 100 of them beside what it delivers.
SELECT count(*) FROM once.send_batch('q', (SELECT array_agg(to_jsonb(n)) FROM generate_series(1, 250) AS n)) \g /dev/null
SELECT count(*) FROM once.lease('q', '1 microsecond', 250) \g /dev/null
SELECT once.send('q', '"alive"') \g /dev/null
SELECT results_eq($$SELECT payload FROM once.lease('q', '1 hour', 10)$$, $$VALUES ('"alive"'::jsonb)$$, 'dead messages hide no others');
SELECT cmp_ok(count(*), '>=', 100::bigint, 'a call moves 100 of them or more') FROM once.dead_letters;
SELECT FROM once.lease('q') \g /dev/null
SELECT FROM once.lease('q') \g /dev/null
SELECT FROM once.lease('q') \g /dev/null
SELECT results_eq('SELECT count(*), count(DISTINCT payload) FROM once.dead_letters', 'VALUES (250::bigint, 250::bigint)', 'some calls all of them, each once');
SELECT is(once.purge('q'), 1::bigint, 'purge empties the queue');
SELECT is(count(*), 250::bigint, 'not the dead letters') FROM once.dead_letters;
SELECT once.purge_dead_letters('q') \g /dev/null

-- maintain does it when nobody consumes.
SELECT count(*) FROM once.send_batch('q', (SELECT array_agg(to_jsonb(n)) FROM generate_series(1, 300) AS n)) \g /dev/null
SELECT count(*) FROM once.lease('q', '1 microsecond', 300) \g /dev/null
CALL once.maintain();
SELECT is(count(*), 300::bigint, 'maintain moves all of them') FROM once.dead_letters;
SELECT once.alter_queue('q', retention => '1 microsecond') \g /dev/null
CALL once.maintain();
SELECT is_empty('SELECT FROM once.dead_letters', 'and deletes those older than retention');
SELECT once.alter_queue('q', reset => ARRAY['retention']) \g /dev/null

-- A late ack is good until somebody comes.
SELECT once.send('q', '"late"') \g /dev/null
SELECT receipt AS r FROM once.lease('q', '1 microsecond') \gset
SELECT is(once.try_ack(:'r'), true, 'who is late with the last delivery may ack it while nobody has come');
SELECT once.send('q', '"too late"') \g /dev/null
SELECT receipt AS r FROM once.lease('q', '1 microsecond') \gset
SELECT FROM once.lease('q') \g /dev/null
SELECT throws_ok(format('SELECT once.ack(%L)', :'r'), 'ON003', NULL, 'and not when it has been moved');
SELECT is(count(*), 1::bigint, 'so it is a dead letter or acked, never both') FROM once.dead_letters;

-- They go with their queue.
SELECT is_empty($$SELECT * FROM once.check('q', strict => true)$$, 'the index is sound');
SELECT once.drop_queue('q') \g /dev/null
SELECT once.create_queue('q') \g /dev/null
SELECT is_empty('SELECT FROM once.dead_letters', 'a queue of the same name does not inherit them');
SELECT * FROM finish();
