-- A table that Citus has distributed: its rows are in shards, elsewhere.  Here, Citus is its catalog of such tables, and nothing else.
SELECT once.create_queue('d', id_index => true, archive => '1 day');
SELECT once.create_queue('plain');
SELECT once.create_ledger('d', '1 day');
SELECT once.send('d', '1') AS first, once.send('d', '2', dedup_id => 'two') AS second;
SELECT receipt AS r FROM once.lease('d') \gset
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass NOT NULL, partmethod "char" NOT NULL, partkey text, colocationid integer DEFAULT 0 NOT NULL,
    repmodel "char" DEFAULT 'c' NOT NULL, autoconverted boolean DEFAULT false NOT NULL);
RESET allow_system_table_mods;
-- Whatever it says of others is nothing to a queue, and so is what does not look like it.
INSERT INTO pg_dist_partition (logicalrelid, partmethod) VALUES ('once.queue', 'n');
SELECT once.send('d', '3') AS third;
SELECT count(*) FROM once.peek('d');

-- What Citus does besides: the table's relcache entry is invalidated.
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('COMMENT ON TABLE %s IS NULL; ALTER TABLE %1$s SET (fillfactor = 100)', coalesce(NEW.logicalrelid, OLD.logicalrelid));
  RETURN NULL;
END $$;
CREATE TRIGGER tell AFTER INSERT OR DELETE ON pg_dist_partition FOR EACH ROW EXECUTE FUNCTION tell();
INSERT INTO pg_dist_partition (logicalrelid, partmethod, partkey) VALUES ('once.q_d', 'h', 'id');

-- Nothing is consumed or looked at here, and the error says what to do.  It does not matter whether Citus is loaded.
SELECT * FROM once.receive('d');
\echo :SQLSTATE
SELECT * FROM once.peek('d');
\echo :SQLSTATE
\set VERBOSITY terse
SELECT * FROM once.lease('d');
SELECT * FROM once.pop('d');
SELECT * FROM once.receive('d', wait => '1 s');
SELECT once.cancel('d', 1);
SELECT once.purge('d');
SELECT once.redrive('d');
SELECT once.check('d');
SELECT once.check('d', strict => true);
SELECT * FROM once.slots('d');
SELECT * FROM once.pages('d');
SELECT once.ack(:'r');
SELECT once.try_ack(:'r');
SELECT once.nack(:'r');
SELECT once.release(:'r');
SELECT once.extend(:'r', '1 s');
SELECT once.ack_all(ARRAY[:'r']::uuid[]);
SELECT once.try_ack_all(ARRAY[:'r']::uuid[]);
SELECT once.nack(:'r', error => 'why');
SELECT once.release('d', ARRAY[1]);
SELECT once.redrive_ids('d', ARRAY[1]);
CALL once.wait(ARRAY['plain', 'd'], '0 s');
CREATE PROCEDURE handle(m once.message) LANGUAGE plpgsql AS 'BEGIN END';
CALL once.work('d', 'handle(once.message)', 1, '0 s');
DROP PROCEDURE handle;
SET client_min_messages = warning;
SELECT problem FROM once.stat_queues WHERE queue = 'd';
RESET client_min_messages;
\set VERBOSITY default
-- maintain leaves it alone, without a word.
CALL once.maintain();

-- Sending needs Citus, which must be able to commit in two phases.  Here, a stand-in says that it can.
SELECT once.send('d', '4');
\echo :SQLSTATE
SELECT once.send_batch('d', ARRAY['4']::jsonb[]);
SET once.shard_catalog = fake;
-- Sending goes through the planner, which is what sends a row to its shard: commands within one statement, so each has a number of its own.
BEGIN;
SELECT count(once.send('d', '4')) FROM generate_series(1, 3);
SELECT count(DISTINCT cmin::text) AS commands FROM once.q_d WHERE payload = '4';
SELECT count(once.send('plain', '4')) FROM generate_series(1, 3);
SELECT count(DISTINCT cmin::text) AS command FROM once.q_plain WHERE payload = '4';
ROLLBACK;
SELECT count(*) FROM once.send_batch('d', ARRAY['5', '6']::jsonb[]);
-- Each node would remember dedup_ids of its own.
SELECT * FROM once.send_dedup('d', '7', dedup_id => 'two');
\echo :SQLSTATE
SELECT payload FROM once.q_d ORDER BY id;
-- Its owner can do with it what needs no messages.
SELECT once.alter_queue('d', max_attempts => 3);
SELECT once.pause('d', 'send'), once.resume('d');
SELECT once.grant_queue('d', 'public', 'observe'), once.revoke_queue('d', 'public', 'observe');
SELECT once.purge_dead_letters('d');
-- Others work as before.
SELECT once.send('plain', '1') AS sent;
SELECT count(once.ack(receipt)) FROM once.receive('plain');

-- A ledger's tables, of those of a queue's dedup_ids too: each node would know ids of its own.
SELECT once.mark_processed('d', 'a');
INSERT INTO pg_dist_partition (logicalrelid, partmethod, partkey) VALUES ('once.l_d_1', 'h', 'id');
SELECT once.mark_processed('d', 'a');
SELECT once.is_processed('d', 'a');
DELETE FROM pg_dist_partition WHERE logicalrelid = 'once.l_d_1'::regclass;
SELECT once.mark_processed('d', 'a');

-- Distributed no more: there is what was left behind here.
DELETE FROM pg_dist_partition WHERE logicalrelid = 'once.q_d'::regclass;
SELECT payload, once.ack(receipt) FROM once.receive('d', 10) ORDER BY id;
-- Of an archive, too.
INSERT INTO pg_dist_partition (logicalrelid, partmethod, partkey)
  SELECT oid, 'h', 'id' FROM pg_class WHERE relnamespace = 'once'::regnamespace AND relname ~ '^a_d\$' AND relkind = 'r';
SELECT once.send('d', '8') > 0 AS sent;
SELECT regexp_replace(tableoid::regclass::text, '\d', 'n') AS archived, payload FROM once.a_d ORDER BY archived_at DESC LIMIT 1;
\set VERBOSITY terse
DO $$
DECLARE
  m once.message;
BEGIN
  SET LOCAL client_min_messages = error;
  SELECT * INTO m FROM once.receive('d');
  PERFORM once.ack(m.receipt);
END $$;
\set VERBOSITY default
SELECT payload FROM once.a_d ORDER BY archived_at DESC LIMIT 1;

-- A shard: a table with the name of the distributed one and a number that Citus has given.  It has no identity column.
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_shard (logicalrelid regclass NOT NULL, shardid bigint NOT NULL, shardstorage "char" NOT NULL,
    shardminvalue text, shardmaxvalue text);
CREATE UNIQUE INDEX pg_dist_shard_shardid_index ON pg_catalog.pg_dist_shard (shardid);
CREATE TABLE pg_catalog.pg_dist_placement (shardid bigint NOT NULL, shardstate int NOT NULL, groupid int NOT NULL);
CREATE TABLE pg_catalog.pg_dist_local_group (groupid int NOT NULL);
RESET allow_system_table_mods;
CREATE PROCEDURE make_shard(name text, shard bigint) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM once.create_queue(name);
  EXECUTE format('ALTER TABLE once.q_%s ALTER id DROP IDENTITY', name);
  INSERT INTO pg_dist_shard VALUES ('once.q_d', shard, 't', 0, 1);
  EXECUTE format('INSERT INTO once.q_%s (id, payload) SELECT n, n::text::jsonb FROM generate_series(1, 4) n', name);
END $$;
CALL make_shard('d_102008', 102008);
INSERT INTO pg_dist_placement VALUES (102008, 1, 0);
INSERT INTO pg_dist_local_group VALUES (0);
-- These are not shards: of another table, or with no such number.
CALL make_shard('e_102009', 102009);
CALL make_shard('d_0102010', 102010);
CALL make_shard('d_102011x', 102011);
CALL make_shard('d_99999999999999999999', 102012);
RESET once.shard_catalog;
SELECT count(once.ack(receipt)) FROM once.receive('d_102008');
\echo :SQLSTATE
SELECT q, (SELECT count(once.ack(receipt)) FROM once.receive(q)) FROM unnest(ARRAY['e_102009', 'd_0102010', 'd_102011x', 'd_99999999999999999999']) q;
SET once.shard_catalog = fake;
-- A shard of a table that is distributed no more
SELECT payload, once.ack(receipt) FROM once.receive('d_102008');
\echo :SQLSTATE
INSERT INTO pg_dist_partition (logicalrelid, partmethod, partkey) VALUES ('once.q_d', 'h', 'id');
SELECT payload, once.ack(receipt) FROM once.receive('d_102008');
SELECT count(*) FROM once.peek('d_102008');
-- Messages come through the distributed table, so that they are where Citus finds them.
SELECT once.send('d_102008', '5');
\echo :SQLSTATE
SELECT once.redrive('d_102008');

-- The messages of a table that Citus has distributed, and has emptied then, are in its shards: those that were received are not done.
SELECT once.create_queue('copied'), once.send('copied', '1') > 0 AS sent;
BEGIN;
SELECT payload FROM once.receive('copied');
INSERT INTO pg_dist_partition (logicalrelid, partmethod, partkey) VALUES ('once.q_copied', 'h', 'id');
TRUNCATE once.q_copied;
COMMIT;
\echo :SQLSTATE
SELECT once.drop_queue('copied');

-- Effects on other nodes.  Before a transaction commits that has changed a queue here, Citus is asked for two-phase commit.  once.debug_point
-- says what Citus knows of the transaction: it is at work on this node (citus_local), or on others, too (citus_remote).
SET once.debug_point = citus_remote;
SELECT once.send('plain', '1') > 0 AS sent;
SELECT count(once.ack(receipt)) FROM once.receive('plain');
SELECT count(*) FROM once.pop('d_102008');
SELECT once.mark_processed('d', 'b');
SELECT once.forget_processed('d', 'b');
BEGIN;
SAVEPOINT s;
SELECT receipt AS r FROM once.lease('d_102008') \gset
RELEASE s;
SELECT once.ack(:'r');
COMMIT;
-- Nothing was changed here: Citus is not asked.
SELECT count(*) FROM once.peek('d_102008');
SELECT count(*) FROM once.receive('plain');
SELECT once.is_processed('d', 'a');
-- What goes to the distributed table, Citus sees itself, but not what else was written here.  (Here, that is the message.)
SELECT once.send('d', '9') > 0 AS sent;
-- A transaction that is rolled back leaves nothing behind for the next one.
BEGIN;
SELECT once.send('plain', '1') > 0 AS sent;
ROLLBACK;
CREATE TABLE effect ();
-- Where the transaction is not coordinated, Citus is not asked.
SET once.debug_point = '';
SELECT once.send('plain', '1') > 0 AS sent;
SET once.debug_point = citus_local;
SELECT once.send('plain', '1') > 0 AS sent;
-- Or it is an error, unless all is on this node.
SET once.remote_effects = error;
SELECT once.send('plain', '1') > 0 AS sent;
SET once.debug_point = citus_remote;
SELECT once.send('plain', '2') > 0 AS sent;
\echo :SQLSTATE
SELECT once.mark_processed('d', 'c');
SELECT once.send('d', '9') > 0 AS sent;
SET once.debug_point = '';
SELECT payload FROM once.pop('plain', 10);
SET once.remote_effects = off;
RESET once.remote_effects;
RESET once.debug_point;
RESET once.shard_catalog;

SET allow_system_table_mods = on;
DROP TABLE pg_catalog.pg_dist_partition, pg_catalog.pg_dist_shard, pg_catalog.pg_dist_placement, pg_catalog.pg_dist_local_group;
RESET allow_system_table_mods;
DROP FUNCTION tell;
DROP PROCEDURE make_shard;
DROP TABLE effect;
SELECT once.drop_queue(q) FROM unnest(ARRAY['d', 'plain', 'd_102008', 'e_102009', 'd_0102010', 'd_102011x', 'd_99999999999999999999']) q;
SELECT once.drop_ledger('d');
