-- A distributed queue by its own name: consumers get the messages of the shards that are on this node.  Here, Citus is a stand-in: its
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

SELECT once.create_queue('d');
SELECT once.create_queue('d_' || n) FROM generate_series(1, 4) n;
DO $$ BEGIN FOR n IN 1..4 LOOP EXECUTE format('ALTER TABLE once.q_d_%s ALTER id DROP IDENTITY', n); EXECUTE format('ALTER INDEX once.q_d_%s_queue_idx SET (retry_delay = 0, retry_delay_max = 0)', n); END LOOP; END $$;
INSERT INTO pg_dist_partition VALUES ('once.q_d', 'h', 'id', 7);
-- In the order of hash values: 3, 1, 2, 4.  The third is on another node.
INSERT INTO pg_dist_shard VALUES ('once.q_d', 1, '-500', '-1'), ('once.q_d', 2, '0', '499'), ('once.q_d', 3, '-1000', '-501'), ('once.q_d', 4, '500', '999');
INSERT INTO pg_dist_placement VALUES (1, 1, 5), (2, 1, 6), (3, 1, 5), (4, 1, 5);
INSERT INTO pg_dist_local_group VALUES (5);
INSERT INTO pg_dist_node VALUES (5, true), (6, true);

-- Messages of shards 1, 3 and 4 are delivered, and those of 2 are not.  A call that may take more goes on with the next shard.
CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$
BEGIN
  FOR n IN 1..4 LOOP
    EXECUTE format('INSERT INTO once.q_d_%s (id, payload) SELECT %1$s * 10 + i, to_jsonb(%1$s) FROM generate_series(1, 3) i', n);
  END LOOP;
END $$;
CALL fill();
SELECT count(*), count(DISTINCT payload), bool_or(payload = '2') AS elsewhere FROM once.pop('d', 2);
SELECT count(*), count(DISTINCT payload), bool_or(payload = '2') AS elsewhere FROM once.pop('d', 100);
SELECT count(*) FROM once.pop('d', 100);
-- Each call begins where the last one has ended, so that all get their turn.
CALL fill();
SELECT array_agg(DISTINCT payload ORDER BY payload) FROM generate_series(1, 3) i, once.pop('d', i - i + 1);
SELECT array_agg(DISTINCT payload ORDER BY payload) FROM generate_series(1, 3) i, once.pop('d', i - i + 1);
-- Receipts name the shard.  They are acked, given back and extended as ever, in any order.
BEGIN;
CREATE TEMP TABLE got AS SELECT * FROM once.receive('d', 100);
SELECT count(*), count(DISTINCT payload) FROM got;
SELECT count(once.ack(receipt)) FROM got WHERE payload <> '4';
SELECT count(once.nack(receipt)) FROM got WHERE payload = '4';
COMMIT;
DROP TABLE got;
SELECT payload, attempt, once.ack(receipt) FROM once.lease('d', '1 h');
SELECT count(*) FROM once.pop('d', 100);
-- A transaction may receive again and again, and what it has not acked is delivered again.
CALL fill();
BEGIN;
SELECT count(*) FROM once.receive('d', 4);
SELECT count(*) FROM once.receive('d', 4);
SELECT count(*) FROM once.receive('d', 4);
ROLLBACK;
SELECT count(*), min(attempt), max(attempt) FROM once.lease('d', '1 h', 100);
SELECT count(*) FROM once.lease('d', '1 h', 100);
DELETE FROM once.q_d_1;
DELETE FROM once.q_d_3;
DELETE FROM once.q_d_4;

-- A call that fails in one part has delivered nothing of the others: their attempts are not counted.
CALL fill();
CREATE PROCEDURE fail(n int) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('ALTER TABLE once.q_d_%s RENAME headers TO heads', n);
  BEGIN
    PERFORM count(*) FROM once.receive('d', 100);
  EXCEPTION WHEN OTHERS THEN RAISE INFO '% %', SQLSTATE, SQLERRM;
  END;
  BEGIN
    PERFORM count(*) FROM once.pop('d', 100);
  EXCEPTION WHEN OTHERS THEN RAISE INFO '% %', SQLSTATE, SQLERRM;
  END;
  EXECUTE format('ALTER TABLE once.q_d_%s RENAME heads TO headers', n);
END $$;
CALL fail(1);
CALL fail(3);
CALL fail(4);
DROP PROCEDURE fail;
SELECT count(*), min(attempt), max(attempt) FROM once.receive('d', 100) WHERE once.ack(receipt) IS NOT NULL;
SELECT count(*) FROM once.pop('d', 100);

-- A shard that comes to this node, and one that leaves it
CALL fill();
UPDATE pg_dist_placement SET groupid = 11 - groupid WHERE shardid IN (2, 3);
SELECT array_agg(DISTINCT payload ORDER BY payload) FROM once.pop('d', 100);
-- A shard whose table comes later than its row in the catalogs, and nobody tells of that
INSERT INTO pg_dist_shard VALUES ('once.q_d', 5, '1000', '1100');
INSERT INTO pg_dist_placement VALUES (5, 1, 5);
SELECT count(*) FROM once.pop('d', 100);
SELECT once.create_queue('d_5', max_attempts => 3);
-- A queue with ids of its own is no shard, whatever its name.
SELECT max_attempts FROM once.list_queues() WHERE queue = 'd_5';
SELECT queue, ready FROM once.stat_queues WHERE queue LIKE 'd\_5';
ALTER TABLE once.q_d_5 ALTER id DROP IDENTITY;
INSERT INTO once.q_d_5 (id, payload) VALUES (50, '5');
SELECT payload FROM once.pop('d', 100);
SELECT max_attempts FROM once.list_queues() WHERE queue = 'd_5';
SELECT queue, ready FROM once.stat_queues WHERE queue LIKE 'd\_5';
DELETE FROM pg_dist_placement WHERE shardid = 5;
DELETE FROM pg_dist_shard WHERE shardid = 5;
-- A shard of which there are copies is not delivered, and neither is the rest.
INSERT INTO pg_dist_placement VALUES (1, 1, 6);
SELECT count(*) FROM once.pop('d', 100);
\echo :SQLSTATE
DELETE FROM pg_dist_placement WHERE shardid = 1 AND groupid = 6;

-- wait and work
SET client_min_messages = warning;
CALL once.wait(ARRAY['d'], '0 s');
CALL fill();
CALL once.wait(ARRAY['d'], '0 s');
CREATE TABLE handled (payload jsonb);
CREATE PROCEDURE handle(m once.message) LANGUAGE sql AS 'INSERT INTO handled SELECT (m).payload';
CALL once.work('d', 'handle(once.message)', 2, '0 s');
SELECT payload, count(*) FROM handled GROUP BY 1 ORDER BY 1;
DROP PROCEDURE handle;
DROP TABLE handled;
SELECT * FROM once.receive('d', wait => '10 ms');

-- A node without shards: nothing, if Citus may give it some; else an error, since one could wait for ever.
UPDATE pg_dist_placement SET groupid = 6;
SELECT * FROM once.receive('d', wait => '10 ms');
CALL once.wait(ARRAY['d'], '10 ms');
UPDATE pg_dist_node SET shouldhaveshards = false WHERE groupid = 5;
SELECT * FROM once.receive('d');
\echo :SQLSTATE
CALL once.wait(ARRAY['d'], '10 ms');
\echo :SQLSTATE
CREATE PROCEDURE handle(m once.message) LANGUAGE sql AS '';
SELECT once.create_worker('w', 'd', 'handle(once.message)');
\echo :SQLSTATE
DROP PROCEDURE handle;
UPDATE pg_dist_node SET shouldhaveshards = true;
UPDATE pg_dist_placement SET groupid = 5;

RESET client_min_messages;
-- A table that is distributed in another way than by hash values is refused.
UPDATE pg_dist_partition SET partmethod = 'r';
SELECT * FROM once.receive('d');
\echo :SQLSTATE
SELECT once.send('d', '1');
\echo :SQLSTATE
UPDATE pg_dist_partition SET partmethod = 'h';
-- The right to consume is that on the queue and on the shard.
CREATE ROLE parts_consumer;
GRANT USAGE ON SCHEMA once TO parts_consumer;
SET ROLE parts_consumer;
SELECT * FROM once.receive('d');
\echo :SQLSTATE
RESET ROLE;
GRANT SELECT, DELETE ON once.q_d, once.q_d_1, once.q_d_2, once.q_d_3, once.q_d_4 TO parts_consumer;
CALL fill();
SET ROLE parts_consumer;
SELECT count(once.ack(receipt)) FROM once.receive('d', 100);
RESET ROLE;

-- Citus drops and makes the distributed table anew when it tells a node of everything once more.  The shards stay.
CALL fill();
SELECT count(*) FROM once.pop('d', 1);
SET client_min_messages = warning;
SELECT once.drop_queue('d');
SELECT count(*) FROM once.peek('d_1', 100);
SELECT once.create_queue('d');
UPDATE pg_dist_shard SET logicalrelid = 'once.q_d';
UPDATE pg_dist_partition SET logicalrelid = 'once.q_d';
RESET client_min_messages;
SELECT once.pause('d_1');
\echo :SQLSTATE
SELECT count(*), count(DISTINCT payload) FROM once.pop('d', 100);
-- A queue that is distributed itself is no shard of another one, whatever its name.
SELECT once.create_queue('d_9'), once.create_queue('d_9_21');
ALTER TABLE once.q_d_9 ALTER id DROP IDENTITY;
ALTER TABLE once.q_d_9_21 ALTER id DROP IDENTITY;
INSERT INTO pg_dist_shard VALUES ('once.q_d_9', 21, NULL, NULL);
INSERT INTO pg_dist_placement VALUES (21, 1, 5);
INSERT INTO pg_dist_partition VALUES ('once.q_d_9', 'h', 'id', 8);
ALTER TABLE once.q_d_9 SET (fillfactor = 100);
INSERT INTO once.q_d_9_21 (id, payload) VALUES (1, '1'), (2, '2');
SELECT queue, ready FROM once.stat_queues WHERE queue LIKE 'd\_9%';
SELECT once.alter_queue('d_9', max_attempts => 7);
SELECT count(*) FROM once.pop('d_9', 1);
SELECT count(*) FROM once.pop('d_9_21', 1);

SET allow_system_table_mods = on;
DROP TABLE pg_catalog.pg_dist_partition, pg_catalog.pg_dist_shard, pg_catalog.pg_dist_placement, pg_catalog.pg_dist_local_group, pg_catalog.pg_dist_node;
RESET allow_system_table_mods;
DROP FUNCTION tell;
DROP PROCEDURE fill;
SELECT once.drop_queue(q) FROM unnest(ARRAY['d', 'd_1', 'd_2', 'd_3', 'd_4', 'd_5', 'd_9', 'd_9_21']) q;
DROP OWNED BY parts_consumer;
DROP ROLE parts_consumer;
