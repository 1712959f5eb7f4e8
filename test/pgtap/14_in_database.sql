-- What happens in the database by itself, as the tables in doc/pg_once-reference.md state it: what a handler's error means
-- for its message, when a schedule is due while clocks change, and what is sent for due times that were missed.
SET client_min_messages = error;
SELECT plan(15);

SELECT once.create_queue('q', retry_delay => '1 h', max_attempts => 5) \g /dev/null
CREATE TABLE effect (n int);
CREATE FUNCTION handle(m once.message) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO effect VALUES (m.attempt);
	IF m.payload ->> 'code' IS NOT NULL THEN
		RAISE 'as asked' USING ERRCODE = m.payload ->> 'code', DETAIL = coalesce(m.payload ->> 'detail', '');
	END IF;
END $$;
CREATE VIEW fate AS
	SELECT state, attempt, round(extract(epoch FROM ready_at - now()) / 60) AS minutes FROM once.peek('q')
	 UNION ALL
	SELECT reason COLLATE "default", attempts, NULL FROM once.dead_letters;

-- The handler's error decides about the message; its effects are rolled back in each case.
SELECT once.send('q', '{}') \g /dev/null
CALL once.work('q', 'handle(once.message)', until => '0');
SELECT is_empty('SELECT * FROM fate', 'without an error, the message is done');
SELECT results_eq('SELECT n FROM effect', 'VALUES (1)', 'and has its effects');
TRUNCATE effect;
SELECT once.send('q', '{"code": "P0001"}') \g /dev/null
CALL once.work('q', 'handle(once.message)', until => '0');
SELECT results_eq('SELECT state, attempt, minutes BETWEEN 30 AND 90 FROM fate', $$VALUES ('delayed', 1, true)$$, 'any error: after the retry delay, counted');
SELECT once.purge('q') \g /dev/null
SELECT once.send('q', '{"code": "ON021", "detail": "5 min"}') \g /dev/null
CALL once.work('q', 'handle(once.message)', until => '0');
SELECT results_eq('SELECT state, attempt, minutes::int FROM fate', $$VALUES ('delayed', 1, 5)$$, 'once_retry_in: after that time, counted');
SELECT once.purge('q') \g /dev/null
SELECT once.send('q', '{"code": "ON022"}') \g /dev/null
CALL once.work('q', 'handle(once.message)', until => '0');
SELECT results_eq('SELECT state, attempt FROM fate', $$VALUES ('rejected', 1)$$, 'once_reject: a dead letter at once');
SELECT once.purge_dead_letters('q') \g /dev/null
SELECT is_empty('SELECT FROM effect', 'no error has left an effect');

-- When the clock of Berlin is set forward by an hour (at 2:00 on 2026-03-29) and back (at 3:00 on 2026-10-25)
SELECT results_eq($$SELECT once.next_runs('30 2 * * *', 'Europe/Berlin', 2, '2026-03-28 12:00+00')$$, $$VALUES ('2026-03-29 03:00+02'::timestamptz), ('2026-03-30 02:30+02')$$,
	'a time that does not exist is due at the next instant');
SELECT results_eq($$SELECT once.next_runs('30 2 * * *', 'Europe/Berlin', 2, '2026-10-24 12:00+00')$$, $$VALUES ('2026-10-25 02:30+02'::timestamptz), ('2026-10-26 02:30+01')$$,
	'one that comes twice is due once, the first time');
SELECT results_eq($$SELECT once.next_runs('0 12 13 * fri', 'UTC', 3, '2026-02-07')$$, $$VALUES ('2026-02-13 12:00+00'::timestamptz), ('2026-02-20 12:00+00'), ('2026-02-27 12:00+00')$$,
	'if both days are restricted, one of them must match');
SELECT throws_ok($$SELECT once.create_schedule('s', 'q', '0 0 30 2 *')$$, '22023', NULL, 'a day that never comes is an error');

-- Due times that were missed: catch_up decides how many messages there are, and each due time has one.
SELECT once.create_schedule(c, 'q', every => '1 h', catch_up => c) FROM unnest(ARRAY['one', 'all', 'skip']) c \g /dev/null
UPDATE once.schedule SET begins_at = now() - '3 h 30 min'::interval;
CALL once.maintain();
SELECT results_eq($$SELECT headers ->> 'schedule', count(*) FROM once.q_q GROUP BY 1 ORDER BY 1$$, $$VALUES ('all', 3::bigint), ('one', 1)$$, 'all of them, one for all, or none');
CALL once.maintain();
SELECT results_eq('SELECT count(*) FROM once.q_q', 'VALUES (4::bigint)', 'a second call sends nothing');
UPDATE once.schedule SET last_due = NULL;
CALL once.maintain();
SELECT results_eq('SELECT count(*) FROM once.q_q', 'VALUES (4::bigint)', 'nor does a server that has not seen that they were sent');
SELECT results_eq('SELECT count(*) FROM once.list_schedules() WHERE next_due > now() AND last_error IS NULL', 'VALUES (3::bigint)', 'all are up to date');
SELECT once.drop_queue('q') \g /dev/null
SELECT throws_ok($$SELECT once.drop_schedule('none')$$, 'ON023', NULL, 'a schedule that does not exist has its own error');
