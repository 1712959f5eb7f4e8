-- The archive: acked messages are kept in partitions of a table of the queue's
-- owner, and can be sent again.
SELECT once.create_queue('a', archive => '4 days', retry_delay => '0', retry_delay_max => '0', id_index => true);
CREATE VIEW archived AS
SELECT id, priority, headers, payload, attempts, archived_at <= clock_timestamp() AS archived,
       generation = floor(extract(epoch FROM archived_at) / 86400)::bigint % 8 AS day, tableoid::regclass::text = 'once."a_a$' || generation || '"' AS there
  FROM once.a_a;
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
 WHERE attrelid = 'once.a_a'::regclass AND attnum > 0 ORDER BY attnum;
SELECT c.oid::regclass, pg_get_expr(c.relpartbound, c.oid) AS bound, c.relpersistence FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = 'once.a_a'::regclass ORDER BY c.relname;
SELECT indexdef FROM pg_indexes WHERE tablename = 'a_a$7';
SELECT archive FROM once.list_queues();

-- Every kind of ack, in its transaction.
SELECT count(*) FROM once.send_batch('a', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 10) g), headers => NULL);
SELECT payload, once.ack(receipt) FROM once.receive('a');
SELECT payload, once.ack(receipt) FROM once.lease('a');
SELECT once.try_ack(receipt) FROM once.receive('a');
SELECT once.try_ack(receipt) FROM once.lease('a');
SELECT once.ack_all(array_agg(receipt)) FROM once.receive('a', 2);
SELECT count(*) FROM (SELECT once.try_ack_all(array_agg(receipt)) FROM once.lease('a', max_messages => 2)) t;
BEGIN;
SELECT payload FROM once.pop('a');
SELECT count(*) FROM archived;
ROLLBACK;
SELECT payload, attempt FROM once.pop('a', 2);
SELECT * FROM archived ORDER BY id;
-- Not what is deleted by plain SQL, cancelled, purged, expired or dead.
DELETE FROM once.q_a;
SELECT once.send('a', '"cancelled"') AS id \gset
SELECT once.cancel('a', :id);
SELECT once.send('a', '"purged"') IS NOT NULL AS sent;
SELECT once.purge('a');
SELECT once.send('a', '"expired"', ttl => '1 us') IS NOT NULL AS sent;
SELECT once.pop('a');
SELECT once.alter_queue('a', max_attempts => 1);
SELECT once.send('a', '"dead"') IS NOT NULL AS sent;
SELECT once.nack(receipt) FROM once.lease('a');
SELECT once.pop('a');
SELECT once.purge_dead_letters('a');
SELECT count(*) FROM archived;

-- An ack that fails, or is rolled back, archives nothing; nor is one done twice.
SELECT once.send('a', '"once"') IS NOT NULL AS sent;
SELECT receipt AS r FROM once.lease('a') \gset
BEGIN;
SELECT once.ack(:'r');
SAVEPOINT s;
SELECT once.try_ack(:'r');
SELECT once.ack(:'r');
ROLLBACK TO s;
SELECT count(*) FROM archived WHERE payload = '"once"';
ROLLBACK;
SELECT count(*) FROM archived WHERE payload = '"once"';
SELECT once.ack_all(ARRAY[:'r', :'r']::uuid[]);
SELECT count(*) FROM archived WHERE payload = '"once"';
SELECT once.ack(:'r');
SELECT payload, attempts FROM archived WHERE payload = '"once"';

-- replay: in the order of archiving, with new ids and a header.
SELECT once.alter_queue('a', max_attempts => 10);
TRUNCATE once.a_a;
SELECT once.send('a', '"object"', headers => '{"h": 1}', priority => 7) AS i1 \gset
SELECT once.ack(receipt) FROM once.receive('a');
SELECT once.send('a', '"none"', ttl => '1 day') AS i2 \gset
SELECT once.ack(receipt) FROM once.receive('a');
SELECT once.send('a', '"array"', headers => '[1, 2]', deliver_at => '2000-01-01 UTC') AS i3 \gset
SELECT once.ack(receipt) FROM once.receive('a');
SELECT once.send('a', NULL, headers => 'null') AS i4 \gset
SELECT once.ack(receipt) FROM once.receive('a');
SELECT once.replay('a', '-infinity', 'infinity');
SELECT id > :i4 AS new, priority, headers - 'once-replay-of' AS headers, payload, (headers->>'once-replay-of')::bigint - :i1 AS original,
       deliver_at, expires_at, enqueued_at >= now() - '1 min'::interval AS now FROM once.q_a ORDER BY id;
SELECT count(*) FROM archived;
SELECT payload, attempt FROM once.pop('a', 10);
-- What was replayed is archived as well; its replay names it, not the original.
SELECT once.purge('a');
SELECT min(archived_at) AS m FROM once.a_a WHERE headers ? 'once-replay-of' \gset
SELECT once.replay('a', :'m', 'infinity');
SELECT headers - 'once-replay-of' AS headers, (headers->>'once-replay-of')::bigint > :i4 AS replayed FROM once.q_a ORDER BY id;
SELECT once.purge('a');
-- since is part of the time, until is not.
TRUNCATE once.a_a;
INSERT INTO once.a_a (id, priority, payload, attempts, archived_at, generation)
SELECT g, 4, to_jsonb(g), 1, '2026-01-01 UTC'::timestamptz + g * '1 s'::interval, 0 FROM generate_series(1, 2500) g;
SELECT once.replay('a', '2026-01-01 00:00:01 UTC', '2026-01-01 00:00:03 UTC');
SELECT payload FROM once.q_a ORDER BY id;
SELECT once.purge('a');
SELECT once.replay('a', '2026-01-01 00:00:01 UTC', '2026-01-01 00:00:01 UTC');
SELECT once.replay('a', '2026-01-01 UTC', '2027-01-01 UTC');
SELECT count(*), bool_and(payload::text::bigint = id - (SELECT min(id) FROM once.q_a) + 1) FROM once.q_a;
SELECT once.purge('a');
SELECT once.replay('a', 'infinity', '-infinity');
\echo :SQLSTATE
SELECT once.replay('a', NULL, now());
\echo :SQLSTATE
SELECT once.replay('a', now(), NULL);
SELECT once.pause('a', 'send');
SELECT once.replay('a', '2026-01-01', '2027-01-01');
\echo :SQLSTATE
SELECT once.resume('a');
SELECT once.replay('nothing', now(), now());

-- Large messages, out of line.
TRUNCATE once.a_a;
SELECT to_jsonb(string_agg(md5(g::text), '')) AS large FROM generate_series(1, 3000) g \gset
SELECT count(*) FROM once.send_batch('a', ARRAY[:'large', :'large', :'large']::jsonb[]);
SELECT once.ack(receipt) FROM once.receive('a');
SELECT once.ack(receipt) FROM once.lease('a');
SELECT payload = :'large' AS same FROM once.pop('a');
VACUUM once.q_a;
SELECT payload = :'large' AS same FROM once.a_a;
SELECT once.replay('a', '-infinity', 'infinity');
SELECT payload = :'large' AS same FROM once.pop('a', 3);

-- On and off, for running sessions at once; the table stays.
TRUNCATE once.a_a;
SELECT once.send('a', '"off"') IS NOT NULL AS sent;
BEGIN;
SELECT receipt AS r FROM once.receive('a') \gset
SELECT once.alter_queue('a', reset => ARRAY['archive']);
SELECT once.ack(:'r');
COMMIT;
SELECT count(*) FROM once.a_a;
SELECT once.send('a', '"on"') IS NOT NULL AS sent;
BEGIN;
SELECT receipt AS r FROM once.receive('a') \gset
SELECT once.alter_queue('a', archive => '1 min');
SELECT once.ack(:'r');
COMMIT;
SELECT payload, generation = floor(extract(epoch FROM archived_at) / 15)::bigint % 8 AS quarter FROM once.a_a;

-- A queue that has none, and then gets one.
SELECT once.create_queue('later', unlogged => true);
SELECT once.replay('later', '-infinity', 'infinity');
\echo :SQLSTATE
SELECT once.send('later', '1');
SELECT once.pop('later') IS NOT NULL AS popped;
BEGIN;
SELECT once.alter_queue('later', archive => '1 h');
ROLLBACK;
SELECT to_regclass('once.a_later');
SELECT once.alter_queue('later', archive => '1 h');
SELECT once.send('later', '2');
SELECT payload FROM once.pop('later');
SELECT payload FROM once.a_later;
SELECT relpersistence, count(*) FROM pg_class WHERE relname ~ '^a_later\$[0-7]$' GROUP BY 1;
SELECT once.drop_queue('later');
SELECT count(*) FROM pg_class WHERE relname LIKE 'a\_later%';

-- No ack fails for want of a partition, or because of what was made of it.  (With
-- an archive that long, it is the same one for a quarter of a century.)
SELECT once.alter_queue('a', archive => '36500 days');
TRUNCATE once.a_a;
SELECT count(*) FROM once.send_batch('a', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 12) g));
SELECT floor(extract(epoch FROM now()) / (36500::bigint * 86400 / 4))::bigint % 8 AS g \gset
\set p 'once."a_a$' :g '"'
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the trigger ran'; END $$;
CREATE TRIGGER keep BEFORE INSERT ON :p FOR EACH ROW EXECUTE FUNCTION keep();
SELECT payload, once.ack(receipt) FROM once.receive('a');
DROP TRIGGER keep ON :p;
ALTER TABLE :p ADD CONSTRAINT negative CHECK (id < 0) NOT VALID;
SELECT payload FROM once.pop('a', 2);
ALTER TABLE :p DROP CONSTRAINT negative;
CREATE UNIQUE INDEX broken ON :p (archived_at);
SELECT payload, once.ack(receipt) FROM once.lease('a');
DROP INDEX once.broken;
CREATE INDEX broken ON :p ((1 / (id - id)));
SELECT payload, once.ack(receipt) FROM once.lease('a');
DROP INDEX once.broken;
CREATE INDEX broken ON :p (id) WHERE 1 / (id - id) > 0;
SELECT payload, once.ack(receipt) FROM once.lease('a');
DROP INDEX once.broken;
ALTER TABLE once.a_a ADD COLUMN note text;
SELECT payload, once.ack(receipt) FROM once.lease('a');
ALTER TABLE once.a_a DROP COLUMN note;
SELECT payload, once.ack(receipt) FROM once.lease('a');
SELECT count(*) FROM once.a_a;
DROP TABLE :p;
SELECT payload, once.ack(receipt) FROM once.lease('a');
DROP VIEW archived;
DROP TABLE once.a_a;
SELECT payload, once.ack(receipt) FROM once.lease('a');
SELECT once.alter_queue('a', archive => '36500 days');
SELECT payload, once.ack(receipt) FROM once.lease('a');
CREATE INDEX ON once.a_a USING gin (payload);
SELECT payload, once.ack(receipt) FROM once.lease('a');
SELECT payload FROM once.a_a;
ALTER TABLE once.a_a DETACH PARTITION :p;
SELECT once.send('a', '"detached"') IS NOT NULL AS sent;
SELECT payload FROM once.pop('a', 2);
SELECT payload FROM :p;
DROP TABLE :p;
DROP FUNCTION keep;

-- A table whose rows go through DELETE.
SELECT once.drop_queue('a');
SELECT once.create_queue('a', archive => '1 h');
CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$;
CREATE TRIGGER pass BEFORE DELETE ON once.q_a FOR EACH ROW EXECUTE FUNCTION pass();
ALTER TABLE once.q_a ADD COLUMN note text DEFAULT 'note';
SELECT count(*) FROM once.send_batch('a', ARRAY['1', '2', '3']::jsonb[]);
SELECT payload, once.ack(receipt) FROM once.receive('a');
SELECT payload, once.try_ack(receipt) FROM once.lease('a');
SELECT payload FROM once.pop('a');
SELECT id, payload, attempts FROM once.a_a ORDER BY id;
SELECT once.replay('a', '-infinity', 'infinity');
SELECT payload, note FROM once.q_a ORDER BY id;
SELECT once.drop_queue('a');
DROP FUNCTION pass;

-- Rights: the archive is the queue's owner's, whoever makes it; who acks needs
-- none on it; who replays needs SELECT on it and INSERT on the queue.
CREATE ROLE regress_once_owner;
CREATE ROLE regress_once_heir;
CREATE ROLE regress_once_consumer;
CREATE ROLE regress_once_replayer;
GRANT EXECUTE ON FUNCTION once.create_queue TO regress_once_owner;
SET ROLE regress_once_owner;
SELECT once.create_queue('a');
GRANT SELECT, DELETE ON once.q_a TO regress_once_consumer;
GRANT INSERT ON once.q_a TO regress_once_replayer, regress_once_consumer;
RESET ROLE;
SELECT once.alter_queue('a', archive => '36500 days');
SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relname ~ '^a_a(\$[0-7])?$' ORDER BY 1;
SELECT DISTINCT pg_get_userbyid(c.relowner) FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid WHERE i.indrelid::regclass::text ~ 'a_a\$';
SELECT once.send('a', '"owned"');
SET ROLE regress_once_consumer;
SELECT payload, once.ack(receipt) FROM once.receive('a');
SELECT * FROM once.a_a;
SELECT once.replay('a', '-infinity', 'infinity');
\echo :SQLSTATE
SET ROLE regress_once_owner;
GRANT SELECT ON once.a_a TO regress_once_replayer;
SET ROLE regress_once_replayer;
SELECT once.replay('a', '-infinity', 'infinity');
SET ROLE regress_once_owner;
REVOKE INSERT ON once.q_a FROM regress_once_replayer;
SET ROLE regress_once_replayer;
SELECT once.replay('a', '-infinity', 'infinity');
-- Messages of a queue that was given away do not go to who had it before.
RESET ROLE;
ALTER TABLE once.q_a OWNER TO regress_once_heir;
SELECT payload FROM once.pop('a');
SET ROLE regress_once_heir;
SELECT once.alter_queue('a', archive => '2 h');
\echo :SQLSTATE
SELECT once.drop_queue('a');
RESET ROLE;
SELECT to_regclass('once.q_a'), to_regclass('once.a_a');
SELECT once.create_queue('a', archive => '1 h');
DROP TABLE once.a_a;
REVOKE EXECUTE ON FUNCTION once.create_queue FROM regress_once_owner;
DROP ROLE regress_once_owner, regress_once_heir, regress_once_consumer, regress_once_replayer;

-- An index that does not take long values takes none, so that no ack fails.
SELECT once.create_queue('a', archive => '1 h', retry_delay => '0');
SELECT string_agg(md5(g::text), '') AS long FROM generate_series(1, 1000) g \gset
CREATE INDEX payload_gin ON once.a_a USING gin (payload);
CREATE INDEX payload_hash ON once.a_a USING hash (payload);
CREATE INDEX group_btree ON once.a_a (group_id, id) INCLUDE (priority);
SELECT once.send('a', to_jsonb(:'long'::text), group_id => 'g') AS id;
SELECT id, once.ack(receipt) FROM once.receive('a');
SELECT id, length(payload::text) FROM once.a_a;
TRUNCATE once.a_a;
CREATE INDEX payload_btree ON once.a_a (archived_at) INCLUDE (payload);
SELECT once.send('a', to_jsonb(:'long'::text)) AS id;
-- The warning names a partition, which depends on the clock.
SET client_min_messages = error;
DO $$ BEGIN PERFORM once.ack(receipt) FROM once.receive('a'); END $$;
SELECT (SELECT count(*) FROM once.a_a) AS archived, (SELECT count(*) FROM once.q_a) AS left_over;
DROP INDEX once.payload_btree;

-- Nor if the queue's table has lost a column since the message was delivered.
SELECT once.send('a', '1') AS id;
SELECT set_config('test.receipt', receipt::text, false) IS NOT NULL AS leased FROM once.lease('a');
ALTER TABLE once.q_a DROP COLUMN headers;
DO $$ BEGIN PERFORM once.ack(current_setting('test.receipt')::uuid); END $$;
RESET client_min_messages;
SELECT (SELECT count(*) FROM once.a_a) AS archived, (SELECT count(*) FROM once.q_a) AS left_over;
SELECT once.drop_queue('a');

-- Messages popped by one call are replayed in the order they were popped in.
SELECT once.create_queue('a', archive => '1 h');
SELECT once.send('a', to_jsonb(g), priority => g) FROM generate_series(1, 3) g;
SELECT payload FROM once.pop('a', 3);
SELECT payload FROM once.a_a ORDER BY archived_at;
SELECT count(DISTINCT archived_at) FROM once.a_a;

-- The name of an archive that is that of something else.
SELECT once.create_queue('a_archived_at_idx', archive => '1 h');
SELECT once.create_queue('a_archived_at_idx');
SELECT once.alter_queue('a_archived_at_idx', archive => '1 h');
\echo :SQLSTATE
SELECT once.replay('a_archived_at_idx', '-infinity', 'infinity');
\echo :SQLSTATE
SELECT once.drop_queue('a_archived_at_idx');
SELECT once.drop_queue('a');
