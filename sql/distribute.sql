-- once.distribute_queue, as far as it goes without Citus, and once.shards, with tables that stand in for the catalogs of Citus.
CREATE ROLE regress_distribute_owner;
CREATE ROLE regress_distribute_stranger;
GRANT EXECUTE ON FUNCTION once.create_queue TO regress_distribute_owner;
SELECT once.create_queue('d', id_index => true), once.create_queue('keyless'), once.create_queue('unlogged', unlogged => true, id_index => true),
       once.create_queue('archived', id_index => true, archive => '1 day'), once.create_queue('repeats', id_index => true);
SELECT once.send('repeats', '1', dedup_id => 'one') > 0 AS sent;

-- Arguments
\set VERBOSITY terse
SELECT once.distribute_queue(NULL);
SELECT once.distribute_queue('no such');
SELECT once.distribute_queue('nothing');
SELECT once.distribute_queue('d', by => NULL);
SELECT once.distribute_queue('d', shards => NULL);
SELECT once.distribute_queue('d', shards => 0);
SELECT once.distribute_queue('d', shards => 64001);
SELECT once.distribute_queue('d', colocate_with => NULL);
SELECT once.distribute_queue('d', colocate_with => 'nothing.at_all');
\echo :SQLSTATE
SELECT once.distribute_queue('d', colocate_with => '');
\echo :SQLSTATE
\set VERBOSITY default
SELECT once.distribute_queue('d', by => 'tenant');
\echo :SQLSTATE
SELECT once.distribute_queue('d', by => 'ctid');
SELECT once.distribute_queue('d', by => 'priority');
\echo :SQLSTATE
BEGIN READ ONLY;
SELECT once.distribute_queue('d');
ROLLBACK;

-- What a queue must be
SELECT once.distribute_queue('keyless');
\echo :SQLSTATE
SELECT once.distribute_queue('d', by => 'group_id');
\echo :SQLSTATE
SELECT once.distribute_queue('unlogged');
\echo :SQLSTATE
SELECT once.distribute_queue('archived');
\echo :SQLSTATE
SELECT once.distribute_queue('repeats');
\echo :SQLSTATE
CREATE TABLE once.q_parted (LIKE once.q_d INCLUDING DEFAULTS) PARTITION BY HASH (id);
CREATE TABLE once.q_part PARTITION OF once.q_parted FOR VALUES WITH (MODULUS 1, REMAINDER 0);
SELECT once.distribute_queue('parted');
SELECT once.distribute_queue('part');
DROP TABLE once.q_parted;
ALTER TABLE once.q_keyless DROP COLUMN headers;
SELECT once.distribute_queue('keyless', by => 'group_id');

-- A transaction that holds messages of the queue would lose their receipts, and commit without them.
SELECT once.send('d', '1') > 0 AS sent;
BEGIN;
SELECT payload FROM once.receive('d');
SELECT once.distribute_queue('d');
\echo :SQLSTATE
ROLLBACK;

-- Who may: the owner, if he may create tables in the schema.  Then there must be Citus.
SET ROLE regress_distribute_owner;
SELECT once.distribute_queue('d');
\echo :SQLSTATE
SELECT once.create_queue('mine', id_index => true);
SELECT once.distribute_queue('mine');
\echo :SQLSTATE
RESET ROLE;
SELECT once.distribute_queue('mine');
\echo :SQLSTATE
-- No code of the owner runs as a superuser.
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER note BEFORE INSERT ON once.q_mine FOR EACH ROW EXECUTE FUNCTION note();
SELECT once.distribute_queue('mine');
\echo :SQLSTATE
DROP TRIGGER note ON once.q_mine;
CREATE DOMAIN checked AS text CHECK (length(VALUE) < 10);
ALTER TABLE once.q_mine ADD COLUMN tenant checked;
SELECT once.distribute_queue('mine');
\echo :SQLSTATE
ALTER TABLE once.q_mine DROP COLUMN tenant, ADD COLUMN tenants checked[];
SELECT once.distribute_queue('mine');
CREATE TYPE pair AS (one checked, other int);
ALTER TABLE once.q_mine DROP COLUMN tenants, ADD COLUMN pairs pair[];
SELECT once.distribute_queue('mine');
DROP TYPE pair CASCADE;
DROP DOMAIN checked CASCADE;

-- With Citus, ids must be unique over nodes, and for that the library must be preloaded.
SET once.shard_catalog = fake;
SELECT once.distribute_queue('d');
\echo :SQLSTATE
SELECT once.next_id();
\echo :SQLSTATE

-- Shards
SELECT * FROM once.shards('d');
\echo :SQLSTATE
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass NOT NULL, partmethod "char" NOT NULL, partkey text, colocationid integer DEFAULT 0 NOT NULL,
    repmodel "char" DEFAULT 'c' NOT NULL, autoconverted boolean DEFAULT false NOT NULL);
CREATE TABLE pg_catalog.pg_dist_shard (logicalrelid regclass NOT NULL, shardid bigint NOT NULL, shardstorage "char" NOT NULL,
    shardminvalue text, shardmaxvalue text);
CREATE TABLE pg_catalog.pg_dist_placement (shardid bigint NOT NULL, shardstate int NOT NULL, groupid int NOT NULL);
CREATE TABLE pg_catalog.pg_dist_local_group (groupid int NOT NULL);
CREATE TYPE pg_catalog.noderole AS ENUM ('primary', 'secondary', 'unavailable');
CREATE TABLE pg_catalog.pg_dist_node (nodeid int NOT NULL, groupid int NOT NULL, nodename text NOT NULL, nodeport int NOT NULL, noderole noderole NOT NULL);
RESET allow_system_table_mods;
SELECT once.create_queue('d_102008', id_index => true), once.create_queue('d_102010', id_index => true);
ALTER TABLE once.q_d_102008 ALTER id DROP IDENTITY;
ALTER TABLE once.q_d_102010 ALTER id DROP IDENTITY;
INSERT INTO pg_dist_local_group VALUES (3);
INSERT INTO pg_dist_node VALUES (1, 0, 'coordinator', 5432, 'primary'), (2, 3, 'standby', 5433, 'secondary'), (3, 3, 'here', 5432, 'primary'), (4, 4, 'there', 5432, 'primary');
INSERT INTO pg_dist_partition (logicalrelid, partmethod, partkey) VALUES ('once.q_d', 'h', 'id');
INSERT INTO pg_dist_shard SELECT 'once.q_d', n, 't', n, n FROM unnest(ARRAY[102010, 102009, 102008]) n;
-- One copy is being moved away, and one is on a node that is not known.
INSERT INTO pg_dist_placement VALUES (102008, 1, 3), (102009, 1, 4), (102010, 1, 3), (102010, 4, 4), (102011, 1, 3);
ALTER TABLE once.q_d SET (fillfactor = 100);
SELECT * FROM once.shards('d');
UPDATE pg_dist_placement SET groupid = 5 WHERE shardid = 102009;
INSERT INTO once.q_d_102010 (id) SELECT generate_series(1, 3);
-- Whoever holds messages is a consumer of its shard.
BEGIN;
SELECT id FROM once.receive('d_102010', 2);
SELECT shard, groupid, host, port, local, consumers FROM once.shards('d');
ROLLBACK;
-- Rights are those of the statistics.
SET ROLE regress_distribute_stranger;
SELECT * FROM once.shards('d');
\echo :SQLSTATE
RESET ROLE;
GRANT SELECT ON once.q_d, once.q_d_102008, once.q_d_102010 TO regress_distribute_stranger;
SET ROLE regress_distribute_stranger;
SELECT count(*), count(consumers) FROM once.shards('d');
RESET ROLE;
SELECT * FROM once.shards('keyless');
SELECT * FROM once.shards('d_102008');
SELECT * FROM once.shards('nothing');
SELECT * FROM once.shards(NULL);
-- What is distributed, or a shard, is not distributed again.
SELECT once.distribute_queue('d');
\echo :SQLSTATE
SELECT once.distribute_queue('d_102008');
\echo :SQLSTATE
-- A shard is not dropped alone.
SELECT once.drop_queue('d_102008');
\echo :SQLSTATE

SET allow_system_table_mods = on;
DROP TABLE pg_catalog.pg_dist_partition, pg_catalog.pg_dist_shard, pg_catalog.pg_dist_placement, pg_catalog.pg_dist_local_group, pg_catalog.pg_dist_node;
DROP TYPE pg_catalog.noderole;
RESET allow_system_table_mods;
RESET once.shard_catalog;
DROP FUNCTION note;
SELECT once.drop_queue(queue) FROM once.list_queues();
REVOKE EXECUTE ON FUNCTION once.create_queue FROM regress_distribute_owner;
DROP ROLE regress_distribute_owner, regress_distribute_stranger;
