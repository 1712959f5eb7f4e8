-- Publications: a message that could be sent but never deleted is found out early.
SET client_min_messages = error;
CREATE PUBLICATION regress_once_all FOR ALL TABLES;
RESET client_min_messages;
SELECT once.create_queue('keyless');
SELECT once.create_queue('keyed', id_index => true);
SELECT once.create_queue('unlogged', unlogged => true);

-- Sending works; consuming says at once what an ack would say.
SELECT once.send('keyless', '1');
SELECT once.receive('keyless');
\echo :SQLSTATE
SELECT once.lease('keyless');
SELECT once.pop('keyless');
SELECT payload, state FROM once.peek('keyless');
SELECT once.send('keyed', '1');
SELECT payload, once.ack(receipt) FROM once.receive('keyed');
SELECT once.send('unlogged', '1');
SELECT payload FROM once.pop('unlogged');

-- The ways out: a replica identity, or a publication without deletes.
ALTER TABLE once.q_keyless REPLICA IDENTITY FULL;
SELECT payload, receipt AS r FROM once.lease('keyless') \gset
ALTER TABLE once.q_keyless REPLICA IDENTITY NOTHING;
SELECT once.ack(:'r');
ALTER PUBLICATION regress_once_all SET (publish = 'insert');
SELECT once.ack(:'r');
SELECT once.create_queue('inserts_only');
DROP PUBLICATION regress_once_all;

-- Every table of ours has a replica identity if rows of it are deleted: rows of an archive's
-- partitions are not, these are emptied; and what is for dumps never has any.
SELECT once.create_queue('all', id_index => true, archive => '1 day', dedup_window => '1 day');
SELECT once.create_ledger('all', '1 day');
SELECT relname FROM pg_class c
 WHERE relnamespace = 'once'::regnamespace AND relkind IN ('r', 'p') AND relname NOT LIKE 'a\_%' AND relname NOT LIKE '%\_dump'
   AND CASE relreplident WHEN 'f' THEN false WHEN 'd' THEN NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary) ELSE true END
 ORDER BY 1;
-- So dead letters leave while deletes are published, by whichever way, and failures with them.
SET client_min_messages = error;
CREATE PUBLICATION regress_once_all FOR ALL TABLES;
RESET client_min_messages;
SELECT once.alter_queue('all', max_attempts => 1, retry_delay => '0', retention => '1 ms');
SELECT count(once.send('all', to_jsonb(g))) FROM generate_series(1, 3) g;
SELECT count(once.nack(receipt, error => 'e')) FROM once.lease('all', max_messages => 3);
SELECT * FROM once.pop('all');
SELECT once.redrive('all', 1), once.purge_dead_letters('all', ARRAY(SELECT max(id) FROM once.dead_letters));
SELECT pg_sleep(0.01);
CALL once.maintain();
SELECT (SELECT count(*) FROM once.dead_letter) AS dead_letters, (SELECT count(*) FROM once.failure) AS failures;
DROP PUBLICATION regress_once_all;
SELECT once.drop_ledger('all');


-- maintain says so once, with the number of the others, and only of queues that have something to delete: not of those that are empty,
-- nor of messages that wait for consumers or for their time.
SELECT once.purge(queue) FROM once.list_queues();
SET client_min_messages = error;
CREATE PUBLICATION regress_once_all FOR ALL TABLES;
RESET client_min_messages;
CALL once.maintain();
INSERT INTO once.q_keyless (payload, deliver_at) VALUES ('1', NULL), ('2', now() + '1 h');
INSERT INTO once.q_keyless (payload, deliver_at, expires_at) VALUES ('3', now() + '1 h', '2000-01-01');
CALL once.maintain();
INSERT INTO once.q_keyless (payload, expires_at) VALUES ('4', '2000-01-01');
CALL once.maintain();
INSERT INTO once.q_inserts_only (payload) VALUES ('1');
CALL once.maintain();
INSERT INTO once.q_inserts_only (payload, expires_at) VALUES ('2', '2000-01-01');
CALL once.maintain();
-- A queue that has a replica identity is maintained.
INSERT INTO once.q_keyed (payload, expires_at) VALUES ('2', '2000-01-01');
ALTER TABLE once.q_keyless REPLICA IDENTITY FULL;
CALL once.maintain();
ALTER TABLE once.q_keyless REPLICA IDENTITY DEFAULT;
SELECT queue, payload FROM once.dead_letters ORDER BY queue, payload;
DROP PUBLICATION regress_once_all;
CALL once.maintain();

-- A publication may leave out columns of the replica identity, and then it forbids deletes as well: by its list of columns or, since
-- PostgreSQL 18, because they are generated.
SELECT once.create_queue('generated');
ALTER TABLE once.q_generated ADD size int GENERATED ALWAYS AS (octet_length(payload::text)) STORED, REPLICA IDENTITY FULL;
SELECT once.send('generated', '1');
SELECT receipt AS r FROM once.lease('generated') \gset
SET client_min_messages = error;
DO $$ BEGIN
  IF current_setting('server_version_num')::int >= 180000 THEN
    CREATE PUBLICATION regress_once_some FOR TABLE once.q_generated;
  ELSE
    CREATE PUBLICATION regress_once_some FOR TABLE once.q_generated (id);
  END IF;
END $$;
RESET client_min_messages;
\set VERBOSITY terse
SELECT once.receive('generated');
\echo :SQLSTATE
SELECT once.ack(:'r');
\echo :SQLSTATE
-- Again, maintain says so only if there is something to delete.
CALL once.maintain();
INSERT INTO once.q_generated (payload, expires_at) VALUES ('2', '2000-01-01');
CALL once.maintain();
\set VERBOSITY default
DROP PUBLICATION regress_once_some;
SELECT once.ack(:'r');
CALL once.maintain();
SELECT payload FROM once.dead_letters WHERE queue = 'generated';

SELECT once.drop_queue(queue) FROM once.list_queues();
