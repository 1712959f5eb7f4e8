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

-- Nothing is consumed or looked at here, and the error says what to do.
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
\set VERBOSITY default
-- maintain leaves it alone, without a word.
CALL once.maintain();

-- Sending goes through the planner, which is what sends a row to its shard: commands within one statement, so each has a number of its own.
BEGIN;
SELECT count(once.send('d', '4')) FROM generate_series(1, 3);
SELECT count(DISTINCT cmin::text) AS commands FROM once.q_d WHERE payload = '4';
SELECT count(once.send('plain', '4')) FROM generate_series(1, 3);
SELECT count(DISTINCT cmin::text) AS command FROM once.q_plain WHERE payload = '4';
ROLLBACK;
SELECT count(*) FROM once.send_batch('d', ARRAY['5', '6']::jsonb[]);
SELECT * FROM once.send_dedup('d', '7', dedup_id => 'two');
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

SET allow_system_table_mods = on;
DROP TABLE pg_catalog.pg_dist_partition;
RESET allow_system_table_mods;
DROP FUNCTION tell;
SELECT once.drop_queue('d'), once.drop_queue('plain'), once.drop_ledger('d');
