-- Sending to a distributed queue: messages of shards that are on this node are put there directly.  Here, Citus is a stand-in: its catalogs,
-- which tell of changes as those of Citus do.  There is nobody who sends rows on, so those of other nodes stay in the queue's own table.
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod "char", partkey text, colocationid int);
CREATE TABLE pg_catalog.pg_dist_shard (logicalrelid regclass, shardid bigint, shardminvalue text, shardmaxvalue text);
CREATE TABLE pg_catalog.pg_dist_placement (shardid bigint, shardstate int, groupid int);
CREATE TABLE pg_catalog.pg_dist_local_group (groupid int);
RESET allow_system_table_mods;
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN ALTER TABLE once.q_d SET (fillfactor = 100); RETURN NULL; END';
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON pg_dist_partition FOR EACH STATEMENT EXECUTE FUNCTION tell();
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON pg_dist_placement FOR EACH STATEMENT EXECUTE FUNCTION tell();
SET once.shard_catalog = fake;

SELECT once.create_queue('d', id_index => true);
SELECT once.create_queue('d_' || n, id_index => true) FROM generate_series(1, 3) n;
DO $$ BEGIN FOR n IN 1..3 LOOP EXECUTE format('ALTER TABLE once.q_d_%s ALTER id DROP IDENTITY', n); END LOOP; END $$;
-- The first half of the hash values and the third quarter are here.
INSERT INTO pg_dist_shard VALUES ('once.q_d', 1, '-2147483648', '-1'), ('once.q_d', 2, '0', '1073741823'), ('once.q_d', 3, '1073741824', '2147483647');
INSERT INTO pg_dist_placement VALUES (1, 1, 5), (2, 1, 5), (3, 1, 6);
INSERT INTO pg_dist_local_group VALUES (5);
INSERT INTO pg_dist_partition VALUES ('once.q_d', 'h', 'id', 7);
-- Where messages are, whether they belong there, and by how many commands they were stored there.  An INSERT is a command of its own.
CREATE VIEW places AS
  SELECT tableoid::regclass AS place, bool_and(hash BETWEEN lowest AND highest) AS right_there, count(*), count(DISTINCT cmin::text) = 1 AS together
  FROM (SELECT tableoid, hashint8(id) AS hash, -2147483648 AS lowest, -1 AS highest, cmin FROM once.q_d_1
    UNION ALL SELECT tableoid, hashint8(id), 0, 1073741823, cmin FROM once.q_d_2
    UNION ALL SELECT tableoid, hashint8(id), 1073741824, 2147483647, cmin FROM once.q_d_3
    UNION ALL SELECT tableoid, hashint8(id), 1073741824, 2147483647, cmin FROM ONLY once.q_d) x GROUP BY tableoid ORDER BY tableoid;
-- By id: ids are drawn until one belongs here.
SELECT count(once.send('d', to_jsonb(n))) FROM generate_series(1, 40) n;
SELECT * FROM places;
SELECT count(*), bool_and(id > 0), bool_and(id > before) IS NOT false AS ascending
  FROM (SELECT id, lag(id) OVER (ORDER BY n) AS before FROM once.send_batch('d', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 200) n)) WITH ORDINALITY b (id, n)) x;
SELECT place, right_there, sum(count) OVER () AS all FROM places;
-- They are delivered, and have the time of the statement.
SELECT count(*), count(DISTINCT payload), bool_and(enqueued_at BETWEEN now() - interval '1 min' AND now()) FROM once.pop('d', 1000);
SELECT * FROM places;
-- Dead letters and the like have ids: those that belong elsewhere go through Citus.
INSERT INTO once.dead_letter (queue, id, enqueued_at, dead_at, attempts, reason, priority, payload)
  SELECT 'd', id, now(), now(), 1, 'attempts', 0, '1' FROM generate_series(1000, 1099) id;
SELECT once.redrive('d');
SELECT place, right_there, sum(count) OVER () AS all FROM places;
TRUNCATE once.q_d, once.q_d_1, once.q_d_2;
-- The messages of a group would be in several shards, and in no order.  So new ones are refused; what has died can go back.
SELECT once.send('d', '1', group_id => 'g');
\echo :SQLSTATE
SELECT once.send_batch('d', ARRAY['1', '2']::jsonb[], group_ids => ARRAY[NULL, 'g']);
INSERT INTO once.dead_letter (queue, id, enqueued_at, dead_at, attempts, reason, priority, group_id, payload)
  VALUES ('d', 1000, now(), now(), 1, 'attempts', 4, 'g', '1');
SELECT once.redrive('d');
SELECT sum(count) FROM places;
TRUNCATE once.q_d, once.q_d_1, once.q_d_2;
-- Rules are those of the distributed table, and hold for all messages.
CREATE TABLE noted (id bigint);
CREATE RULE note AS ON INSERT TO once.q_d DO ALSO INSERT INTO noted VALUES (new.id);
SELECT count(once.send('d', to_jsonb(n))) FROM generate_series(1, 10) n;
SELECT count(*) FROM noted;
DROP RULE note ON once.q_d;
DROP TABLE noted;
TRUNCATE once.q_d;

-- By group: all messages of a group are in the same shard, in their order.  Those without a group have no shard.
UPDATE pg_dist_partition SET partkey = 'group_id';
SELECT count(*) FROM once.send_batch('d', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 200) n), group_ids => ARRAY(SELECT 'g' || n % 20 FROM generate_series(1, 200) n));
SELECT once.send('d', '0');
\echo :SQLSTATE
SELECT once.send_batch('d', ARRAY['1', '2']::jsonb[], group_ids => ARRAY['g', NULL]);
SELECT sum(count), bool_and(right_there) FROM (
  SELECT count(*), bool_and(hashtext(group_id) < 0) AS right_there FROM once.q_d_1 UNION ALL SELECT count(*), bool_and(hashtext(group_id) BETWEEN 0 AND 1073741823) FROM once.q_d_2
  UNION ALL SELECT count(*), bool_and(hashtext(group_id) > 1073741823) FROM once.q_d) x;
SELECT count(*) > 0 AS some, bool_and(payload::int > before) AS in_order FROM (
  SELECT payload, lag(payload::int) OVER (PARTITION BY group_id ORDER BY n) AS before FROM once.pop('d', 1000) WITH ORDINALITY m (id, receipt, attempt, enqueued_at, leased_until, priority, group_id, headers, payload, n)) x;
TRUNCATE once.q_d, once.q_d_1, once.q_d_2;

-- By another column, whose value nobody gives: its default, through Citus.
ALTER TABLE once.q_d ADD COLUMN tenant int;
UPDATE pg_dist_partition SET partkey = 'tenant';
SELECT once.send('d', '1');
\echo :SQLSTATE
SELECT count(*) FROM once.send_batch('d', '{}');
SELECT once.create_schedule('s', 'd', every => '1 min');
\echo :SQLSTATE
ALTER TABLE once.q_d ALTER tenant SET DEFAULT 1;
-- Dead letters do not have it, and would get another one.
SELECT once.redrive('d');
\echo :SQLSTATE
SELECT once.send('d', '1') > 0 AS sent;
SELECT count(*) FROM once.q_d;
ALTER TABLE once.q_d DROP COLUMN tenant;
TRUNCATE once.q_d;
-- A shard that was altered, so that its rows cannot be put there directly: through Citus
UPDATE pg_dist_partition SET partkey = 'id';
ALTER TABLE once.q_d_1 ADD CHECK (priority < 100);
SELECT count(*) FROM once.send_batch('d', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 40) n));
SELECT (SELECT count(*) FROM once.q_d_1) AS one, (SELECT count(*) > 0 FROM once.q_d_2) AS two, (SELECT count(*) > 0 AND bool_and(hashint8(id) < 0) FROM once.q_d) AS elsewhere;
TRUNCATE once.q_d, once.q_d_1, once.q_d_2;
-- No shard is here.
UPDATE pg_dist_placement SET groupid = 6;
SELECT count(once.send('d', to_jsonb(n))) FROM generate_series(1, 10) n;
SELECT count(*) FROM once.q_d;

SET allow_system_table_mods = on;
DROP TABLE pg_catalog.pg_dist_partition, pg_catalog.pg_dist_shard, pg_catalog.pg_dist_placement, pg_catalog.pg_dist_local_group;
RESET allow_system_table_mods;
DROP VIEW places;
DROP FUNCTION tell;
SELECT once.drop_queue(q) FROM unnest(ARRAY['d', 'd_1', 'd_2', 'd_3']) q;
