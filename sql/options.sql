-- The options of a queue: defaults, both sides of each limit, and that a change
-- is for running sessions at once.
CREATE VIEW options AS
SELECT queue, max_attempts, retry_delay, retry_delay_max, dedup_window, archive, ttl, ttl_action, retention FROM once.list_queues();

SELECT once.create_queue('plain');
SELECT once.create_queue('full', max_attempts => 3, retry_delay => '2 s', retry_delay_max => '2 min',
                         dedup_window => '2 h', ttl => '1 day', ttl_action => 'drop', retention => '30 days');
SELECT * FROM options;

-- Limits.
SELECT once.create_queue('bad', max_attempts => 0);
\echo :SQLSTATE
SELECT once.create_queue('bad', max_attempts => 1001);
SELECT once.create_queue('bad', max_attempts => NULL);
\echo :SQLSTATE
SELECT once.create_queue('bad', retry_delay => '-1 us');
SELECT once.create_queue('bad', retry_delay_max => '366 days');
SELECT once.create_queue('bad', retry_delay => NULL);
SELECT once.create_queue('bad', retry_delay_max => NULL);
SELECT once.create_queue('bad', dedup_window => '0');
\echo :SQLSTATE
SELECT once.create_queue('bad', dedup_window => '-1 us');
SELECT once.create_queue('bad', dedup_window => '36500 days 1 us');
SELECT once.create_queue('bad', dedup_window => NULL);
\echo :SQLSTATE
SELECT once.create_queue('bad', ttl => '0');
\echo :SQLSTATE
SELECT once.create_queue('bad', ttl => '-1 s');
SELECT once.create_queue('bad', ttl => '36500 days 1 us');
SELECT once.create_queue('bad', ttl_action => 'forget');
SELECT once.create_queue('bad', ttl_action => NULL);
SELECT once.create_queue('bad', archive => '59.999999 s');
SELECT once.create_queue('bad', archive => '36501 days');
SELECT once.create_queue('bad', retention => '0');
SELECT once.create_queue('bad', retention => '36501 days');
-- One delay alone may not fit the other's default.
SELECT once.create_queue('bad', retry_delay => '2 h');
SELECT once.create_queue('bad', retry_delay_max => '0.5 s');
SELECT once.create_queue('least', max_attempts => 1, retry_delay => '0', retry_delay_max => '0', dedup_window => '1 us', ttl => '1 us', ttl_action => 'dead_letter', retention => '1 us');
SELECT once.create_queue('most', max_attempts => 1000, retry_delay => '365 days', retry_delay_max => '365 days', dedup_window => '36500 days', ttl => '36500 days', retention => '36500 days');
SELECT * FROM options;

-- alter_queue has the same limits, and changes nothing when one argument is bad.
SELECT once.alter_queue('full', max_attempts => 0);
SELECT once.alter_queue('full', max_attempts => 1001);
SELECT once.alter_queue('full', dedup_window => '0');
SELECT once.alter_queue('full', dedup_window => '36500 days 1 us');
SELECT once.alter_queue('full', ttl => '0');
SELECT once.alter_queue('full', ttl => '36501 days');
SELECT once.alter_queue('full', ttl_action => '');
SELECT once.alter_queue('full', archive => '1 s');
SELECT once.alter_queue('full', archive => '36501 days');
SELECT once.alter_queue('full', retention => '-1 day');
SELECT once.alter_queue('full', retention => '36501 days');
SELECT once.alter_queue('full', max_attempts => 5, retry_delay => '1 h');
SELECT * FROM options WHERE queue = 'full';

-- What is not named stays; reset goes back to what create_queue assumes.
SELECT once.alter_queue('full');
SELECT once.alter_queue('full', max_attempts => 1000);
SELECT once.alter_queue('full', max_attempts => 1);
SELECT * FROM options WHERE queue = 'full';
SELECT once.alter_queue('full', max_attempts => 7, dedup_window => '36500 days', ttl => '2 days', retention => '36500 days');
SELECT * FROM options WHERE queue = 'full';
SELECT once.alter_queue('full', ttl_action => 'dead_letter', reset => ARRAY['ttl', 'retention']);
SELECT * FROM options WHERE queue = 'full';
SELECT once.alter_queue('full', reset => ARRAY['max_attempts', 'retry_delay', 'retry_delay_max', 'dedup_window', 'archive', 'ttl', 'ttl_action', 'retention']);
SELECT * FROM options WHERE queue IN ('full', 'plain');
SELECT once.alter_queue('full', ttl => '1 s', reset => ARRAY['ttl']);
SELECT once.alter_queue('full', dedup_window => '1 s', reset => ARRAY['dedup_window']);
SELECT once.alter_queue('full', reset => ARRAY['unlogged']);
SELECT once.alter_queue('full', reset => ARRAY['ttl', NULL]);
SELECT once.alter_queue('full', reset => NULL);
-- The two delays are compared after the change.
SELECT once.alter_queue('full', retry_delay => '2 h', retry_delay_max => '3 h');
SELECT once.alter_queue('full', reset => ARRAY['retry_delay_max']);
SELECT once.alter_queue('full', retry_delay => '1 min', reset => ARRAY['retry_delay_max']);
SELECT * FROM options WHERE queue = 'full';

-- A queue without a row of options has the defaults, also when one is changed.
DELETE FROM once.queue WHERE queue = 'full';
SELECT once.alter_queue('full', ttl => '1 h');
SELECT * FROM options WHERE queue = 'full';

SELECT once.drop_queue(queue) FROM once.list_queues();
DROP VIEW options;
