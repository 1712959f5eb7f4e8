-- Making, changing and dropping queues.
SELECT once.create_queue('jobs');
SELECT queue, unlogged, id_index, retry_delay, retry_delay_max, send_paused, consume_paused FROM once.list_queues();
SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull, a.attidentity,
       pg_get_expr(d.adbin, d.adrelid) AS default_value
  FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = 'once.q_jobs'::regclass AND a.attnum > 0 ORDER BY a.attnum;
SELECT unnest(reloptions) FROM pg_class WHERE oid = 'once.q_jobs'::regclass;
SELECT indexdef FROM pg_indexes WHERE tablename = 'q_jobs';

-- A second one of the name is an error, or a notice.
SELECT once.create_queue('jobs');
\echo :SQLSTATE
SELECT once.create_queue('jobs', if_not_exists => true, retry_delay => '5 s');
SELECT retry_delay FROM once.list_queues();

-- A queue's table belongs to nobody but its owner: it is no member of the extension.
SELECT count(*) FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = 'once.q_jobs'::regclass AND deptype = 'e';

-- id_index makes a primary key, unlogged an unlogged table with its sequence.
SELECT once.create_queue('keyed', id_index => true);
SELECT once.create_queue('fast', unlogged => true);
SELECT queue, unlogged, id_index FROM once.list_queues();
SELECT indexdef FROM pg_indexes WHERE tablename = 'q_keyed' ORDER BY 1;
SELECT relname, relpersistence FROM pg_class WHERE relname LIKE 'q\_fast%' ORDER BY 1;

-- Options: what alter_queue is not given stays.
SELECT once.alter_queue('jobs', retry_delay => '2 s');
SELECT once.alter_queue('jobs', retry_delay_max => '1 min');
SELECT queue, retry_delay, retry_delay_max FROM once.list_queues() WHERE queue = 'jobs';
SELECT once.alter_queue('jobs', retry_delay => '2 min');
SELECT once.alter_queue('jobs', retry_delay => '-1 s');
SELECT once.alter_queue('jobs', retry_delay_max => '366 days');
SELECT once.create_queue('bad', retry_delay => '1 h', retry_delay_max => '1 s');
SELECT once.create_queue('bad', retry_delay => NULL);
SELECT once.create_queue('bad', unlogged => NULL);
SELECT once.alter_queue('nothing', retry_delay => '2 s');
SELECT queue FROM once.list_queues();

-- They act at once in the session that has the queue in its cache.
SELECT once.send('jobs', '1');
SET once.unacked = redeliver;
SELECT attempt FROM once.receive('jobs');
SELECT attempt, state, ready_at > now() + '500 ms' AS in_seconds FROM once.peek('jobs');
SELECT once.alter_queue('jobs', retry_delay => '0', retry_delay_max => '0');
SELECT attempt, state FROM once.peek('jobs');
SELECT attempt FROM once.receive('jobs');
-- The delay doubles with each attempt up to its maximum.
SELECT once.alter_queue('jobs', retry_delay => '1 h', retry_delay_max => '3 h');
SELECT attempt, ready_at > now() + '95 min' AND ready_at <= now() + '120 min' AS two_hours FROM once.peek('jobs');
SELECT once.alter_queue('jobs', retry_delay => '0', retry_delay_max => '0');
SELECT attempt FROM once.receive('jobs');
SELECT once.alter_queue('jobs', retry_delay => '1 h', retry_delay_max => '3 h');
SELECT attempt, ready_at > now() + '143 min' AND ready_at <= now() + '180 min' AS three_hours FROM once.peek('jobs');
-- A rolled back change was none.
BEGIN;
SELECT once.alter_queue('jobs', retry_delay => '0', retry_delay_max => '0');
SELECT attempt, state FROM once.peek('jobs');
ROLLBACK;
SELECT attempt, state FROM once.peek('jobs');
RESET once.unacked;

-- pause is an error for who sends or consumes, and nothing to who holds messages.
SELECT once.alter_queue('jobs', retry_delay => '0', retry_delay_max => '0');
SELECT receipt AS r FROM once.lease('jobs') \gset
SELECT once.pause('jobs', 'send');
SELECT once.send('jobs', '2');
\echo :SQLSTATE
SELECT once.send_batch('jobs', ARRAY['2']::jsonb[]);
SELECT once.pause('jobs', 'consume');
SELECT send_paused, consume_paused FROM once.list_queues() WHERE queue = 'jobs';
SELECT once.resume('jobs', 'send');
SELECT once.send('jobs', '2') IS NOT NULL AS sent;
SELECT * FROM once.receive('jobs');
\echo :SQLSTATE
SELECT * FROM once.lease('jobs');
SELECT * FROM once.pop('jobs', wait => '1 min');
SELECT once.extend(:'r', '1 min') > now() AS extended;
SELECT once.ack(:'r');
SELECT once.resume('jobs', 'consume');
SELECT once.pause('jobs');
SELECT once.resume('jobs', 'all');
SELECT payload FROM once.pop('jobs');
SELECT once.pause('jobs', 'everything');
SELECT once.pause('jobs', NULL);
SELECT once.resume('nothing');

-- drop_queue: table, sequence, options.
SELECT once.drop_queue('fast');
SELECT once.drop_queue('fast');
\echo :SQLSTATE
SELECT queue FROM once.list_queues();
SELECT count(*) FROM pg_class WHERE relname LIKE 'q\_fast%';
BEGIN;
SELECT once.drop_queue('keyed');
SELECT once.create_queue('keyed');
SELECT id_index FROM once.list_queues() WHERE queue = 'keyed';
ROLLBACK;
SELECT id_index FROM once.list_queues() WHERE queue = 'keyed';
-- Views of a queue stand in the way of dropping it.
CREATE VIEW waiting AS SELECT count(*) FROM once.q_keyed;
SELECT once.drop_queue('keyed');
DROP VIEW waiting;

-- A queue whose table was dropped by hand is gone; its options are taken over.
SELECT once.alter_queue('keyed', retry_delay => '7 s');
DROP TABLE once.q_keyed;
SELECT once.send('keyed', '1');
SELECT queue FROM once.list_queues();
SELECT once.create_queue('keyed');
SELECT queue, retry_delay FROM once.list_queues();

-- A queue without options has the defaults, until it gets some.
DELETE FROM once.queue WHERE queue = 'keyed';
SELECT once.alter_queue('keyed', retry_delay_max => '2 h');
SELECT queue, retry_delay, retry_delay_max FROM once.list_queues();

-- Rows can be moved to a new index by REINDEX, TRUNCATE and VACUUM FULL work.
SELECT count(*) FROM once.send_batch('keyed', ARRAY['1', '2', '3']::jsonb[]);
REINDEX TABLE once.q_keyed;
REINDEX INDEX CONCURRENTLY once.q_keyed_queue_idx;
SELECT payload FROM once.pop('keyed');
VACUUM FULL once.q_keyed;
SELECT payload FROM once.pop('keyed');
VACUUM once.q_keyed;
TRUNCATE once.q_keyed;
SELECT * FROM once.pop('keyed');

-- Two valid queue indexes are one too many.
\set VERBOSITY terse
CREATE INDEX ON once.q_keyed USING once_queue (id, priority, deliver_at, group_id);
\set VERBOSITY default
SELECT once.drop_queue('keyed');
SELECT once.drop_queue('jobs');

-- Every function of the extension says what it does; those that anybody may
-- call are all but two.
SELECT p.oid::regprocedure FROM pg_proc p
 WHERE p.pronamespace = 'once'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT p.oid::regprocedure FROM pg_proc p
 WHERE p.pronamespace = 'once'::regnamespace AND NOT has_function_privilege('public', p.oid, 'EXECUTE') ORDER BY 1;
SELECT p.oid::regprocedure FROM pg_proc p
 WHERE p.pronamespace = 'once'::regnamespace AND (p.proparallel <> 'u' OR p.provolatile <> 'v') ORDER BY 1;
