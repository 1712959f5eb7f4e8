-- The other verbs by the name of a distributed queue: they go through the shards that are on this node.  Here, Citus is a stand-in: its
-- catalogs, which tell of changes as those of Citus do.
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod "char", partkey text, colocationid int);
CREATE TABLE pg_catalog.pg_dist_shard (logicalrelid regclass, shardid bigint, shardminvalue text, shardmaxvalue text);
CREATE TABLE pg_catalog.pg_dist_placement (shardid bigint, shardstate int, groupid int);
CREATE TABLE pg_catalog.pg_dist_local_group (groupid int);
CREATE TABLE pg_catalog.pg_dist_node (groupid int, shouldhaveshards bool);
RESET allow_system_table_mods;
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN ALTER TABLE once.q_d SET (fillfactor = 100); RETURN NULL; END';
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON pg_dist_partition FOR EACH STATEMENT EXECUTE FUNCTION tell();
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON pg_dist_shard FOR EACH STATEMENT EXECUTE FUNCTION tell();
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON pg_dist_placement FOR EACH STATEMENT EXECUTE FUNCTION tell();
SET once.shard_catalog = fake;
SET client_min_messages = warning;

SELECT once.create_queue('plain');
SELECT once.create_queue('d', id_index => true);
SELECT once.create_queue('d_' || n, id_index => true) FROM generate_series(1, 3) n;
DO $$
BEGIN
  FOR n IN 1..3 LOOP
    EXECUTE format('ALTER TABLE once.q_d_%s ALTER id DROP IDENTITY', n);
    EXECUTE format('ALTER INDEX once.q_d_%s_queue_idx SET (max_attempts = 1, retry_delay = 0, retry_delay_max = 0)', n);
  END LOOP;
END $$;
INSERT INTO pg_dist_partition VALUES ('once.q_d', 'h', 'id', 7);
-- In the order of hash values: 3, 2, 1.  The second is on another node.
INSERT INTO pg_dist_shard VALUES ('once.q_d', 1, '500', '999'), ('once.q_d', 2, '0', '499'), ('once.q_d', 3, '-1000', '-1');
INSERT INTO pg_dist_placement VALUES (1, 1, 5), (2, 1, 6), (3, 1, 5);
INSERT INTO pg_dist_local_group VALUES (5);
INSERT INTO pg_dist_node VALUES (5, true), (6, true);
CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$
BEGIN
  FOR n IN 1..3 LOOP
    EXECUTE format('INSERT INTO once.q_d_%s (id, payload) SELECT %1$s * 10 + i, to_jsonb(%1$s) FROM generate_series(1, 3) i', n);
  END LOOP;
END $$;

-- peek: one shard after the other
CALL fill();
SELECT id, state, payload FROM once.peek('d', 100);
SELECT id FROM once.peek('d', 4);
SELECT id FROM once.peek('d_1', 100);

-- check: a row that an index does not know.  The problem names the shard.
SELECT * FROM once.check('d');
SELECT * FROM once.check('d', strict => true);
SET allow_system_table_mods = on;
UPDATE pg_index SET indisready = false WHERE indexrelid = 'once.q_d_1_queue_idx'::regclass;
INSERT INTO once.q_d_1 (id, payload) VALUES (19, '1');
UPDATE pg_index SET indisready = true WHERE indexrelid = 'once.q_d_1_queue_idx'::regclass;
RESET allow_system_table_mods;
SELECT rule, detail FROM once.check('d', strict => true);
SELECT rule, detail FROM once.check('d_1', strict => true);
DELETE FROM once.q_d_1 WHERE id = 19;
SELECT * FROM once.check('d', strict => true);

-- slots and pages of several indexes make no sense together.
SELECT * FROM once.slots('d');
\echo :SQLSTATE
SELECT * FROM once.pages('d');
\echo :SQLSTATE
SELECT count(*) FROM once.slots('d_1');

-- cancel, wherever the message is on this node
SELECT id, once.cancel('d', id) FROM unnest(ARRAY[11, 12, 21, 31, 12, 99]) id;
SELECT id FROM once.peek('d', 100);
BEGIN;
SELECT id, once.cancel('d', 13) FROM once.receive('d', 100) WHERE once.ack(receipt) IS NOT NULL AND id < 20;
ROLLBACK;
BEGIN;
INSERT INTO once.q_d_1 (id, payload) VALUES (14, '1');
SELECT once.cancel('d', 14);
COMMIT;

-- purge leaves the messages of other nodes.
TRUNCATE once.q_d_1, once.q_d_2, once.q_d_3;
CALL fill();
BEGIN;
SELECT count(*) FROM once.lease('d', '1 h', 2);
INSERT INTO once.q_d_3 (id, payload) VALUES (34, '3');
SELECT once.purge('d');
ROLLBACK;
SELECT once.purge('d');
SELECT once.purge('d');
SELECT count(*) FROM once.q_d_2;
TRUNCATE once.q_d_2;

-- release of leases by the ids of messages
CALL fill();
SELECT count(*) FROM once.lease('d', '1 h', 100);
SELECT once.release('d', ARRAY[11, 32, 21, 99]);
SELECT once.release('d', '{}');
SELECT id FROM once.peek('d', 100) WHERE state <> 'claimed';
SELECT once.purge('d');
SELECT count(*) FROM once.dead_letters;
TRUNCATE once.q_d_1, once.q_d_2, once.q_d_3;

-- Dead letters and failures go by the name of the queue.
CALL fill();
CREATE VIEW letters AS SELECT queue, id, reason, last_error FROM once.dead_letters ORDER BY id;
SELECT count(once.nack(receipt, error => 'error of ' || id)) FROM once.lease('d', '1 h', 100);
SELECT queue, id, error FROM once.failures ORDER BY id;
-- maintain moves what is dead in the shards.
CALL once.maintain();
SELECT * FROM letters;
SELECT count(*) FROM once.q_d_1;
-- Those that have expired, too; but not those of other nodes.
INSERT INTO once.q_d_1 (id, payload, expires_at) VALUES (18, '1', now() - interval '1 s');
INSERT INTO once.q_d_2 (id, payload, expires_at) VALUES (28, '2', now() - interval '1 s');
INSERT INTO once.q_d_3 (id, payload, deliver_at) VALUES (38, '3', now() - interval '1 s');
CALL once.maintain();
SELECT id, reason FROM letters WHERE reason = 'expired';
SELECT id FROM once.q_d_1 UNION ALL SELECT id FROM once.q_d_2 WHERE id = 28 UNION ALL SELECT id FROM once.q_d_3;
-- Failures of messages that are in one shard or the other are kept, and others are not.
ALTER INDEX once.q_d_1_queue_idx SET (max_attempts = 5);
ALTER INDEX once.q_d_3_queue_idx SET (max_attempts = 5);
INSERT INTO once.q_d_1 (id, payload) VALUES (15, '1');
INSERT INTO once.q_d_3 (id, payload) VALUES (35, '3'), (36, '3');
SELECT count(once.nack(receipt, error => 'error of ' || id)) FROM once.lease('d', '1 h', 100);
DELETE FROM once.q_d_3 WHERE id = 36;
CALL once.maintain();
SELECT queue, id, error FROM once.failures WHERE id % 10 > 4 ORDER BY id;
SELECT once.purge('d');
CALL once.maintain();
SELECT id FROM once.failures WHERE id % 10 > 4 ORDER BY id;

-- redrive: the messages go where Citus sends them.  Here, they stay in the table of the queue.
SELECT once.redrive('d_1');
\echo :SQLSTATE
SELECT once.redrive('d', 2);
-- One that the queue does not take stays.
SELECT once.redrive_ids('d', ARRAY[11, 13, 31]);
SELECT id, payload FROM once.q_d ORDER BY id;
SELECT * FROM letters;
SELECT once.purge_dead_letters('d_1');
\echo :SQLSTATE
SELECT once.purge_dead_letters('d', ARRAY[32]), once.purge_dead_letters('d');
SELECT * FROM letters;
SELECT count(*) FROM once.failures;
DELETE FROM once.q_d;
-- Retention
DELETE FROM once.q_d_1;
DELETE FROM once.q_d_3;
INSERT INTO once.q_d_1 (id, payload, expires_at) VALUES (17, '1', now() - interval '1 s');
CALL once.maintain();
SELECT id FROM letters;
ALTER INDEX once.q_d_queue_idx SET (retention = 0.000001);
CALL once.maintain();
SELECT id FROM letters;
ALTER INDEX once.q_d_queue_idx RESET (retention);
-- replay needs an archive, which a distributed queue has not.
SELECT once.replay('d', '-infinity', now());

-- Statistics: sums, under the name of the queue only
TRUNCATE once.q_d_1, once.q_d_2, once.q_d_3;
CALL fill();
INSERT INTO once.q_d_1 (id, payload, deliver_at) VALUES (15, '1', now() + interval '1 h'), (16, '1', now() + interval '1 h');
INSERT INTO once.q_d_3 (id, payload, deliver_at) VALUES (35, '3', now() + interval '1 h');
INSERT INTO once.q_d_1 (id, payload, expires_at) VALUES (17, '1', now() - interval '1 s');
SELECT count(*) FROM once.lease('d_1', '1 h', 3);
SELECT count(*) FROM once.lease('d_3', '1 h', 1);
SELECT queue, ready, delayed, claimed, dead, depth_error, oldest_ready IS NULL AS none_ready, dead_letters, index_pages >= 4 AS pages, problem
  FROM once.stat_queues ORDER BY queue;
SELECT queue, what, messages FROM once.consumers ORDER BY queue;
BEGIN;
SELECT count(*) FROM once.receive('d', 100);
SELECT queue, what, pid = pg_backend_pid() AS own, messages FROM once.consumers ORDER BY queue, what;
ROLLBACK;
SELECT queue, claimed, trouble FROM once.top ORDER BY queue;
-- A shard that cannot be read is named, and the other one counts.
ALTER TABLE once.q_d_1 RENAME deliver_at TO due;
SELECT queue, ready, delayed, claimed, problem FROM once.stat_queues WHERE queue = 'd';
ALTER TABLE once.q_d_1 RENAME due TO deliver_at;
-- If the shards cannot be found, that is told, too.
UPDATE pg_dist_partition SET partmethod = 'r';
SELECT queue, ready, claimed, problem FROM once.stat_queues WHERE queue = 'd';
SELECT * FROM once.consumers WHERE queue = 'd';
SELECT * FROM once.peek('d');
\echo :SQLSTATE
CALL once.maintain();
UPDATE pg_dist_partition SET partmethod = 'h';

-- Rights: those on the queue and on its shards.
CREATE ROLE parts_reader;
GRANT USAGE ON SCHEMA once TO parts_reader;
SET ROLE parts_reader;
SELECT * FROM once.peek('d');
\echo :SQLSTATE
SELECT once.cancel('d', 11);
SELECT once.purge('d');
SELECT once.release('d', ARRAY[11]);
SELECT queue, ready FROM once.stat_queues;
RESET ROLE;
INSERT INTO once.q_d_1 (id, payload, expires_at) VALUES (18, '1', now() - interval '1 s');
CALL once.maintain();
GRANT SELECT ON once.q_d TO parts_reader;
SET ROLE parts_reader;
SELECT * FROM once.peek('d');
\echo :SQLSTATE
SELECT queue, ready, problem FROM once.stat_queues;
SELECT queue, id FROM once.dead_letters ORDER BY id;
RESET ROLE;
GRANT SELECT ON once.q_d_1, once.q_d_2, once.q_d_3 TO parts_reader;
SET ROLE parts_reader;
SELECT count(*) FROM once.peek('d', 100);
SELECT * FROM once.check('d');
SELECT once.check('d', strict => true);
SELECT queue, ready + claimed AS n, problem FROM once.stat_queues;
SELECT once.cancel('d', 11);
SELECT once.purge('d');
RESET ROLE;
-- A consumer maintains what it may consume from.
GRANT DELETE ON once.q_d, once.q_d_1 TO parts_reader;
INSERT INTO once.q_d_1 (id, payload, expires_at) VALUES (19, '1', now() - interval '1 s');
INSERT INTO once.q_d_3 (id, payload, expires_at) VALUES (39, '1', now() - interval '1 s');
SET ROLE parts_reader;
CALL once.maintain();
SELECT once.cancel('d', 99);
RESET ROLE;
SELECT id FROM letters;

-- A node without shards: there is nothing, or never will be.
UPDATE pg_dist_placement SET groupid = 6;
SELECT * FROM once.peek('d');
SELECT once.purge('d'), once.cancel('d', 11), once.release('d', ARRAY[11]);
SELECT queue, ready, claimed, depth_error, index_pages, problem FROM once.stat_queues WHERE queue = 'd';
CALL once.maintain();
UPDATE pg_dist_node SET shouldhaveshards = false WHERE groupid = 5;
SELECT * FROM once.peek('d');
\echo :SQLSTATE
SELECT * FROM once.check('d');
SELECT once.purge('d');
SELECT queue, ready, problem FROM once.stat_queues WHERE queue = 'd';
CALL once.maintain();
SELECT once.redrive('d');

SET allow_system_table_mods = on;
DROP TABLE pg_catalog.pg_dist_partition, pg_catalog.pg_dist_shard, pg_catalog.pg_dist_placement, pg_catalog.pg_dist_local_group, pg_catalog.pg_dist_node;
RESET allow_system_table_mods;
DROP VIEW letters;
DROP FUNCTION tell;
DROP PROCEDURE fill;
SELECT once.drop_queue(q) FROM unnest(ARRAY['plain', 'd', 'd_1', 'd_2', 'd_3']) q;
DROP OWNED BY parts_reader;
DROP ROLE parts_reader;
