-- Storage parameters of a queue index: the options of queues that Citus distributes.  To other queues they mean nothing.
SELECT once.create_queue(q, id_index => true, retry_delay => '0') FROM unnest(ARRAY['p', 'p_102008', 'plain']) q;
CREATE VIEW parameters AS
  SELECT c.relname, o AS parameter FROM pg_class c LEFT JOIN LATERAL unnest(c.reloptions) o ON true WHERE c.relname ~ '^q_p.*_queue_idx$';

-- The least and the greatest values of each, and those beyond.
ALTER INDEX once.q_p_queue_idx SET (max_attempts = 1, retry_delay = 0, retry_delay_max = 0, ttl = 0.000001, retention = 0.000001);
ALTER INDEX once.q_p_queue_idx SET (max_attempts = 1000, retry_delay = 31536000, retry_delay_max = 31536000, ttl = 3153600000, retention = 3153600000);
ALTER INDEX once.q_p_queue_idx SET (drop_expired, send_paused = on, consume_paused = false);
SELECT parameter FROM parameters WHERE relname = 'q_p_queue_idx';
ALTER INDEX once.q_p_queue_idx SET (max_attempts = 0);
\echo :SQLSTATE
ALTER INDEX once.q_p_queue_idx SET (max_attempts = 1001);
ALTER INDEX once.q_p_queue_idx SET (retry_delay = -0.000001);
ALTER INDEX once.q_p_queue_idx SET (retry_delay = 31536000.000001);
ALTER INDEX once.q_p_queue_idx SET (retry_delay_max = -1);
ALTER INDEX once.q_p_queue_idx SET (retry_delay_max = 31536000.000001);
ALTER INDEX once.q_p_queue_idx SET (retry_delay_max = 31535999.999999);
\echo :SQLSTATE
ALTER INDEX once.q_p_queue_idx RESET (retry_delay_max);
ALTER INDEX once.q_p_queue_idx SET (ttl = 0);
\echo :SQLSTATE
ALTER INDEX once.q_p_queue_idx SET (ttl = -0.5);
ALTER INDEX once.q_p_queue_idx SET (ttl = -2);
ALTER INDEX once.q_p_queue_idx SET (ttl = 3153600000.000001);
ALTER INDEX once.q_p_queue_idx SET (ttl = 'nan');
ALTER INDEX once.q_p_queue_idx SET (retention = 0.0000001);
ALTER INDEX once.q_p_queue_idx SET (retention = 3153600001);
ALTER INDEX once.q_p_queue_idx SET (drop_expired = maybe);
ALTER INDEX once.q_p_queue_idx SET (archive = 60);
\echo :SQLSTATE
ALTER INDEX once.q_p_queue_idx SET (fillfactor = 60);
CREATE INDEX ON once.q_plain USING once_queue (id, priority, deliver_at, group_id) WITH (ttl = 0);
ALTER INDEX once.q_p_queue_idx SET (ttl = -1, retention = -1);
ALTER INDEX once.q_p_queue_idx RESET (max_attempts, retry_delay, retry_delay_max, ttl, retention, drop_expired, send_paused, consume_paused);
SELECT * FROM parameters WHERE parameter IS NOT NULL;

-- A queue that is not distributed ignores them, and its functions leave them alone.
ALTER INDEX once.q_plain_queue_idx SET (max_attempts = 1, ttl = 0.000001, drop_expired, send_paused, consume_paused, retention = 0.000001);
SELECT once.send('plain', '1') > 0 AS sent;
SELECT payload FROM once.lease('plain', '1 us');
SELECT payload, attempt, once.ack(receipt) FROM once.receive('plain');
SELECT once.alter_queue('plain', max_attempts => 4), once.pause('plain', 'send'), once.resume('plain');
SELECT parameter FROM parameters WHERE relname = 'q_plain_queue_idx';
SELECT max_attempts, ttl, ttl_action, retention, send_paused, consume_paused FROM once.list_queues() WHERE queue = 'plain';
SELECT count(*) FROM once.distributed_options('once.q_plain'::regclass);
-- Before the queues are distributed, this session has used them.  They have options in once.queue that do not apply afterwards.
SELECT count(once.send(q, '0')) FROM unnest(ARRAY['p', 'p_102008']) q;
SELECT payload, once.ack(receipt) FROM unnest(ARRAY['p', 'p_102008']) q, once.receive(q);
SELECT once.alter_queue('p_102008', max_attempts => 1, ttl => '1 day', archive => '1 day', retention => '1 day'), once.pause('p_102008');

-- Queue p is distributed, and p_102008 is a shard of it.  Citus is a stand-in: catalogs with its columns.  Nobody carries parameters here.
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod "char", colocationid int, partkey text);
CREATE TABLE pg_catalog.pg_dist_shard (logicalrelid regclass, shardid bigint, shardminvalue text, shardmaxvalue text);
CREATE TABLE pg_catalog.pg_dist_placement (shardid bigint, shardstate int, groupid int);
CREATE TABLE pg_catalog.pg_dist_local_group (groupid int);
RESET allow_system_table_mods;
INSERT INTO pg_dist_shard VALUES ('once.q_p', 102008, '0');
INSERT INTO pg_dist_placement VALUES (102008, 1, 0);
INSERT INTO pg_dist_local_group VALUES (0);
INSERT INTO pg_dist_partition VALUES ('once.q_p', 'h', 7);
ALTER TABLE once.q_p_102008 ALTER id DROP IDENTITY;
-- What Citus does besides: the table's relcache entry is invalidated.
COMMENT ON TABLE once.q_p IS NULL;
ALTER TABLE once.q_p SET (fillfactor = 100);
SET once.shard_catalog = fake;
CREATE VIEW options AS
  SELECT queue, max_attempts, retry_delay, retry_delay_max, archive, ttl, ttl_action, retention, send_paused, consume_paused
    FROM once.list_queues() WHERE queue ~ '^p(_|$)';

-- The shard has the defaults, and not what was set under its name.
SELECT * FROM options;
INSERT INTO once.q_p_102008 (id, payload) SELECT n, n::text::jsonb FROM generate_series(1, 3) n;
SELECT payload FROM once.pop('p_102008');
SELECT count(*) FROM once.a_p_102008;
-- max_attempts, at once, and in messages that are there already; with a rollback in between.
SELECT payload FROM once.lease('p_102008', '1 us');
BEGIN;
ALTER INDEX once.q_p_102008_queue_idx SET (max_attempts = 1, retry_delay = 0);
SELECT id, state FROM once.peek('p_102008') ORDER BY id;
ROLLBACK;
SELECT id, state FROM once.peek('p_102008') ORDER BY id;
ALTER INDEX once.q_p_102008_queue_idx SET (max_attempts = 1, retry_delay = 0);
SELECT id, state FROM once.peek('p_102008') ORDER BY id;
SELECT payload FROM once.pop('p_102008');
SELECT id, reason, attempts FROM once.dead_letters;
ALTER INDEX once.q_p_102008_queue_idx RESET (max_attempts);
-- retry_delay and retry_delay_max
INSERT INTO once.q_p_102008 (id, payload) VALUES (4, '4');
SELECT receipt AS r FROM once.lease('p_102008', '1 h') \gset
SELECT once.nack(:'r');
SELECT receipt AS r FROM once.lease('p_102008', '1 h') \gset
ALTER INDEX once.q_p_102008_queue_idx SET (retry_delay = 600, retry_delay_max = 900);
SELECT once.nack(:'r');
SELECT state, ready_at - now() BETWEEN '11 min 50 s' AND '15 min' AS in_time FROM once.peek('p_102008');
-- ttl and drop_expired
SELECT once.cancel('p_102008', 4);
INSERT INTO once.q_p_102008 (id, payload, enqueued_at) VALUES (5, '5', now() - interval '2 min'), (6, '6', now() - interval '1 min');
ALTER INDEX once.q_p_102008_queue_idx SET (ttl = 90.5);
SELECT payload, once.ack(receipt) FROM once.receive('p_102008');
SELECT id, reason FROM once.dead_letters WHERE id > 4;
INSERT INTO once.q_p_102008 (id, payload, enqueued_at) VALUES (7, '7', now() - interval '2 min'), (8, '8', now());
ALTER INDEX once.q_p_102008_queue_idx SET (drop_expired);
SELECT payload, once.ack(receipt) FROM once.receive('p_102008');
SELECT id, reason FROM once.dead_letters WHERE id > 4;
-- retention: of dead letters that are older.
CALL once.maintain();
SELECT id FROM once.dead_letters ORDER BY id;
ALTER INDEX once.q_p_queue_idx SET (retention = 0.000001);
CALL once.maintain();
SELECT count(*) FROM once.dead_letters;
ALTER INDEX once.q_p_queue_idx RESET (retention);
ALTER INDEX once.q_p_102008_queue_idx SET (retention = 0.000001);
-- Pauses
INSERT INTO once.q_p_102008 (id, payload) VALUES (9, '9');
ALTER INDEX once.q_p_102008_queue_idx SET (consume_paused);
SELECT payload FROM once.pop('p_102008');
\echo :SQLSTATE
ALTER INDEX once.q_p_102008_queue_idx RESET (consume_paused);
SELECT payload FROM once.pop('p_102008');
SELECT count(once.send('p', '1')) FROM generate_series(1, 2);
ALTER INDEX once.q_p_queue_idx SET (send_paused = true);
SELECT once.send('p', '1');
\echo :SQLSTATE
ALTER INDEX once.q_p_queue_idx SET (send_paused = false);
SELECT once.send('p', '1') > 0 AS sent;
SELECT * FROM options;
-- Without an index that can be used, there are the defaults.
ALTER INDEX once.q_p_queue_idx SET (send_paused, max_attempts = 7);
SELECT * FROM options WHERE queue = 'p';
DROP INDEX once.q_p_queue_idx;
SELECT once.send('p', '1') > 0 AS sent;
SELECT * FROM options WHERE queue = 'p';
SELECT once.pause('p');
\echo :SQLSTATE
CREATE INDEX "q_p ""_queue_idx" ON once.q_p USING once_queue (id, priority, deliver_at, group_id) WITH (send_paused='true', max_attempts='8', ttl='-1', retry_delay='0.500000');
SELECT once.send('p', '1') > 0 AS sent;
SELECT * FROM options WHERE queue = 'p';

-- alter_queue, pause and resume write the row and all parameters.
SELECT once.alter_queue('p', max_attempts => 3, retry_delay => '1.000001 s', retry_delay_max => '1 month', ttl => '100 years -25 days', ttl_action => 'drop', retention => '1 us');
SELECT parameter FROM parameters WHERE relname ~ '"';
SELECT * FROM options WHERE queue = 'p';
SELECT once.alter_queue('p', reset => ARRAY['ttl', 'ttl_action', 'retention', 'retry_delay', 'retry_delay_max']);
SELECT once.pause('p', 'send');
SELECT once.send('p', '1');
SELECT once.pause('p');
SELECT parameter FROM parameters WHERE relname ~ '"';
SELECT once.resume('p', 'send');
SELECT once.send('p', '1') > 0 AS sent;
BEGIN;
SELECT once.resume('p');
SELECT consume_paused FROM options WHERE queue = 'p';
ROLLBACK;
SELECT consume_paused FROM options WHERE queue = 'p';
SELECT once.resume('p');
SELECT parameter FROM parameters WHERE relname ~ '"';
SELECT max_attempts, retry_delay, ttl, ttl_action, retention, send_paused, consume_paused FROM once.queue WHERE queue = 'p';
-- What changes nothing, and what cannot be.
SELECT once.alter_queue('p', dedup_window => '5 min', reset => ARRAY['archive']);
SELECT once.alter_queue('p', dedup_window => '6 min');
\echo :SQLSTATE
SELECT once.alter_queue('p', archive => '1 day');
\echo :SQLSTATE
SELECT once.alter_queue('p', retry_delay => '2 h');
-- A shard has no options of its own.
SELECT once.alter_queue('p_102008', max_attempts => 5);
\echo :SQLSTATE
SELECT once.pause('p_102008');
SELECT once.resume('p_102008');
-- A queue without a row gets one, and the parameters.
DELETE FROM once.queue WHERE queue ~ '^p(_|$)';
SELECT once.create_queue('p', max_attempts => 6, if_not_exists => true);
SELECT parameter FROM parameters WHERE relname ~ '"' AND parameter ~ 'max_attempts';
DELETE FROM once.queue WHERE queue = 'p';
SELECT once.create_queue('p', archive => '1 day', if_not_exists => true);
SELECT once.create_queue('p_102008', if_not_exists => true);
-- Only the owner, and only where Citus can be asked.
CREATE ROLE parameters_owner;
ALTER TABLE once.q_p OWNER TO parameters_owner;
SET ROLE parameters_owner;
SET search_path = '';
SELECT once.alter_queue('p', max_attempts => 7);
RESET search_path;
RESET ROLE;
SELECT parameter FROM parameters WHERE relname ~ '"' AND parameter ~ 'max_attempts';
ALTER TABLE once.q_p OWNER TO CURRENT_USER;
SET ROLE parameters_owner;
SELECT once.alter_queue('p', max_attempts => 8);
ALTER INDEX once."q_p ""_queue_idx" SET (max_attempts = 8);
RESET ROLE;
DROP ROLE parameters_owner;
RESET once.shard_catalog;
SELECT once.alter_queue('p', max_attempts => 8);
\echo :SQLSTATE

SET allow_system_table_mods = on;
DROP TABLE pg_dist_partition, pg_dist_shard, pg_dist_placement, pg_dist_local_group;
RESET allow_system_table_mods;
DROP VIEW options, parameters;
SELECT once.drop_queue(q) FROM unnest(ARRAY['p', 'p_102008', 'plain']) q;
