-- Options of a queue: their ranges, who sees them, and since when.
SET client_min_messages = warning;

CREATE TABLE bad (n serial, option text, value text);
INSERT INTO bad (option, value) VALUES
	('max_attempts', '0'), ('max_attempts', '-1'), ('max_attempts', '1001'),
	('retry_delay', '-1 s'), ('retry_delay', '366 days'),
	('retry_delay_max', '-1 s'), ('retry_delay_max', '366 days'),
	('dedup_window', '0'), ('dedup_window', '-1 s'), ('dedup_window', '36500 days 1 us'),
	('archive', '0'), ('archive', '59 s'), ('archive', '-1 day'), ('archive', '36501 days'),
	('ttl', '0'), ('ttl', '-1 s'), ('ttl', '36501 days'),
	('ttl_action', 'keep'), ('ttl_action', ''),
	('retention', '0'), ('retention', '-1 s'), ('retention', '36501 days');
CREATE TABLE good (n serial, option text, value text, back text);
INSERT INTO good (option, value, back) VALUES
	('max_attempts', '1', '10'), ('max_attempts', '1000', '10'),
	('retry_delay', '00:00:00', '00:00:01'), ('retry_delay', '01:00:00', '00:00:01'),
	('retry_delay_max', '365 days', '01:00:00'), ('retry_delay_max', '00:00:01', '01:00:00'),
	('dedup_window', '00:00:00.000001', '00:05:00'), ('dedup_window', '36500 days', '00:05:00'),
	('ttl', '00:00:00.000001', NULL), ('ttl', '36500 days', NULL),
	('ttl_action', 'drop', 'dead_letter'),
	('retention', '00:00:00.000001', NULL), ('retention', '36500 days', NULL);

SELECT plan((SELECT count(*)::int * 2 FROM bad) + (SELECT count(*)::int * 4 FROM good) + 11);
SELECT once.create_queue('q') \g /dev/null
CREATE FUNCTION options() RETURNS text LANGUAGE sql AS
	$$ SELECT concat_ws(' ', max_attempts, retry_delay, retry_delay_max, dedup_window, archive, ttl, ttl_action, retention) FROM once.list_queues() WHERE queue = 'q' $$;
SELECT is(options(), '10 00:00:01 01:00:00 00:05:00 dead_letter', 'what an option is unless it is set');

-- Out of range: an error, which changes nothing.
SELECT format('SELECT throws_ok(%L, ''22023'', NULL, %L)', format('SELECT once.%s(%L, %I => %L)', call, queue, option, value), concat_ws(' ', call, option, value))
  FROM bad, (VALUES ('alter_queue', 'q'), ('create_queue', 'r')) AS calls (call, queue) ORDER BY n, call \gexec
SELECT is(options(), '10 00:00:01 01:00:00 00:05:00 dead_letter', 'an error changes nothing');
SELECT is_empty($$SELECT FROM once.list_queues() WHERE queue = 'r'$$, 'and makes no queue');

-- In range: set, and reset.
SELECT format('SELECT lives_ok(%L, %L)', format('SELECT once.alter_queue(%L, %I => %L)', 'q', option, value), concat_ws(' ', option, value)),
	   format($$SELECT is(%1$I::text, %2$L, 'list_queues shows it') FROM once.list_queues() WHERE queue = 'q'$$, option, value),
	   format('SELECT lives_ok(%L, %L)', format('SELECT once.alter_queue(%L, reset => ARRAY[%L])', 'q', option), 'reset'),
	   format($$SELECT is(%1$I::text, %2$L, 'and that it is reset') FROM once.list_queues() WHERE queue = 'q'$$, option, back)
  FROM good ORDER BY n \gexec
SELECT throws_ok($$SELECT once.alter_queue('q', max_attempts => 5, reset => ARRAY['max_attempts'])$$, '22023', NULL, 'set and reset at once');
SELECT throws_ok($$SELECT once.alter_queue('q', reset => ARRAY['colour'])$$, '22023', NULL, 'resetting what is no option');
SELECT throws_ok($$SELECT once.alter_queue('q', retry_delay => '2 hours')$$, '22023', NULL, 'a retry_delay of more than retry_delay_max');
SELECT throws_ok($$SELECT once.alter_queue('nowhere', max_attempts => 5)$$, 'ON001', NULL, 'no such queue');
SELECT is(options(), '10 00:00:01 01:00:00 00:05:00 dead_letter', 'none of which changes anything');

-- NULL leaves an option as it is; a rollback takes the change back.
SELECT once.alter_queue('q', max_attempts => 7, ttl => '1 day') \g /dev/null
SELECT once.alter_queue('q', retention => '2 days') \g /dev/null
SELECT is(options(), '7 00:00:01 01:00:00 00:05:00 1 day dead_letter 2 days', 'what is not named stays');
BEGIN;
SELECT once.alter_queue('q', max_attempts => 1) \g /dev/null
ROLLBACK;
SELECT is(options(), '7 00:00:01 01:00:00 00:05:00 1 day dead_letter 2 days', 'a rollback takes a change back');
SELECT is_empty($$SELECT * FROM once.check('q', strict => true)$$, 'the index is sound');
SELECT * FROM finish();
