-- Adopting: queues and ledgers whose tables are there without options, as where only the structure of a database was restored.
CREATE ROLE regress_once_owner;
CREATE ROLE regress_once_other;
GRANT EXECUTE ON FUNCTION once.create_queue, once.create_ledger TO regress_once_owner, regress_once_other;
CREATE VIEW options AS SELECT queue, owner, id_index, max_attempts, archive, ttl, created_at IS NOT NULL AS has_options FROM once.list_queues();
GRANT SELECT ON options TO PUBLIC;

SET ROLE regress_once_owner;
SELECT once.create_queue('q', max_attempts => 1, retry_delay => '0 s', retry_delay_max => '0 s', dedup_window => '1 day');
SELECT once.send('q', '"dead"');
SELECT once.nack(receipt, error => 'broken') FROM once.lease('q');
SELECT count(*) FROM once.pop('q');
SELECT once.send('q', '"failed"');
SELECT once.alter_queue('q', max_attempts => 5);
SELECT once.nack(receipt, error => 'not yet') FROM once.lease('q');
SELECT once.send('q', '"kept"', dedup_id => 'kept') AS kept \gset
RESET ROLE;
DELETE FROM once.queue;

-- It works as it is, with the options of any, which are not said to be its own.
SELECT * FROM options;
SELECT once.send('q', '"more"');
SELECT id, state, payload FROM once.peek('q');
-- An error says how to get options; so does one about a right.
SELECT once.create_queue('q', max_attempts => 3);
\echo :SQLSTATE
SET ROLE regress_once_other;
SELECT once.create_queue('q', max_attempts => 3, if_not_exists => true);
\echo :SQLSTATE
SELECT once.create_queue('q', max_attempts => 3);
SELECT * FROM options;
SET ROLE regress_once_owner;
-- Bad options are refused before.
SELECT once.create_queue('q', max_attempts => 0, if_not_exists => true);
BEGIN READ ONLY;
SELECT once.create_queue('q', if_not_exists => true);
ROLLBACK;
-- What is rolled back was none, also for the session that knows the queue.
BEGIN;
SELECT once.create_queue('q', max_attempts => 3, if_not_exists => true);
SELECT once.create_queue('q', max_attempts => 4, if_not_exists => true);
SELECT * FROM options;
ROLLBACK;
SELECT * FROM options;
SELECT once.create_queue('q', max_attempts => 3, archive => '1 day', dedup_window => '1 day', if_not_exists => true);
SELECT * FROM options;
-- Once: then it has options.
SELECT once.create_queue('q', max_attempts => 4, if_not_exists => true);
SELECT once.create_queue('q', max_attempts => 4);
SELECT * FROM options;
-- Nothing of it is lost, and the options are in force.
SELECT id, state, payload FROM once.peek('q');
SELECT queue, id, last_error FROM once.dead_letters;
SELECT queue, id, error FROM once.failures;
SELECT id = :kept AS same, duplicate FROM once.send_dedup('q', '"again"', dedup_id => 'kept');
SELECT count(*) FROM once.pop('q', 10);
SELECT payload FROM once.a_q ORDER BY id;
SELECT * FROM once.check('q');

-- What is missing is made: the index, the tables of dedup_ids, the archive.
SELECT once.send('q', '"waiting"');
SELECT once.alter_queue('q', reset => ARRAY['archive']);
RESET ROLE;
DELETE FROM once.queue;
DROP INDEX once.q_q_queue_idx;
DROP TABLE once.d_q_0, once.d_q_1;
SELECT once.pop('q');
SET ROLE regress_once_owner;
SELECT once.create_queue('q', retry_delay => '0 s', archive => '1 day', if_not_exists => true);
SELECT payload FROM once.pop('q');
SELECT payload FROM once.a_q ORDER BY id;
SELECT duplicate FROM once.send_dedup('q', '1', dedup_id => 'kept');
SELECT duplicate FROM once.send_dedup('q', '1', dedup_id => 'kept');
SELECT relname, relkind, pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relnamespace = 'once'::regnamespace AND relname ~ '^[adq]_q(_|$)' ORDER BY relname COLLATE "C";
SELECT * FROM once.check('q');
-- Half of something is an error.
RESET ROLE;
DELETE FROM once.queue;
DROP TABLE once.d_q_1;
SET ROLE regress_once_owner;
SELECT once.create_queue('q', if_not_exists => true);
\echo :SQLSTATE
SELECT * FROM options;
DROP TABLE once.d_q_0;
SELECT once.create_queue('q', if_not_exists => true);
-- What the options cannot change is a warning.
RESET ROLE;
DELETE FROM once.queue;
SELECT once.create_queue('q', unlogged => true, id_index => true, if_not_exists => true);
SELECT owner, unlogged, id_index FROM once.list_queues();
-- alter_queue gives it options as well.
DELETE FROM once.queue;
SELECT once.alter_queue('q', ttl => '1 day');
SELECT * FROM options;
-- A pause, which has been asked for, is no creation.
DELETE FROM once.queue;
SELECT once.pause('q', 'send');
SELECT once.create_queue('q', if_not_exists => true);
SELECT once.drop_queue('q');
-- The options may be there, and parts missing: their owner has them made. Others learn that the queue exists, and so does the owner of one that has all its parts.
SET ROLE regress_once_owner;
SELECT once.create_queue('q', archive => '1 day', max_attempts => 3);
SELECT once.send('q', '"waiting"');
RESET ROLE;
DROP INDEX once.q_q_queue_idx;
DROP TABLE once.d_q_0, once.d_q_1, once.a_q$3;
SET ROLE regress_once_other;
SELECT once.create_queue('q', if_not_exists => true);
RESET ROLE;
BEGIN;
SELECT once.create_queue('q', if_not_exists => true);
SELECT relname, pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relnamespace = 'once'::regnamespace AND relname ~ '^(a_q.3|d_q_.|q_q_queue_idx)$' ORDER BY relname COLLATE "C";
ROLLBACK;
SET ROLE regress_once_owner;
SELECT once.pop('q');
SELECT once.create_queue('q', max_attempts => 4, if_not_exists => true);
SELECT once.create_queue('q', max_attempts => 4, if_not_exists => true);
SELECT queue, max_attempts, archive FROM options;
SELECT payload FROM once.pop('q');
SELECT once.send('q', '1', dedup_id => 'a') = once.send('q', '1', dedup_id => 'a') AS same;
SELECT * FROM once.check('q');
SELECT count(*) FROM pg_inherits WHERE inhparent = 'once.a_q'::regclass;
-- Each part by itself.
DROP TABLE once.a_q;
SELECT once.create_queue('q', if_not_exists => true);
DROP INDEX once.q_q_queue_idx;
SELECT once.create_queue('q', if_not_exists => true);
DROP TABLE once.d_q_0, once.d_q_1;
SELECT once.create_queue('q', if_not_exists => true);
-- No archive is made that was not asked for, nor an index of columns that are not there; and what belongs to somebody else is left alone.
SELECT once.alter_queue('q', reset => ARRAY['archive']);
RESET ROLE;
ALTER TABLE once.a_q OWNER TO regress_once_other;
SET ROLE regress_once_owner;
SELECT once.alter_queue('q', archive => '1 day');
SELECT once.create_queue('q', if_not_exists => true);
RESET ROLE;
DROP TABLE once.a_q;
SET ROLE regress_once_owner;
SELECT once.create_queue('q', if_not_exists => true);
ALTER TABLE once.q_q DROP COLUMN group_id;
SELECT once.create_queue('q', if_not_exists => true);
\echo :SQLSTATE
SELECT once.drop_queue('q');
RESET ROLE;
-- An index that is of no use is left alone, and so are tables of other kinds.
SELECT once.create_queue('q');
DELETE FROM once.queue;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'once.q_q_queue_idx'::regclass;
SELECT once.create_queue('q', if_not_exists => true);
SELECT once.pop('q');
REINDEX INDEX once.q_q_queue_idx;
SELECT once.drop_queue('q');
CREATE TABLE once.q_parts (id bigint, enqueued_at timestamptz DEFAULT now(), deliver_at timestamptz, expires_at timestamptz, priority smallint, group_id text, headers jsonb, payload jsonb) PARTITION BY LIST (priority);
SELECT once.create_queue('parts', max_attempts => 3, if_not_exists => true);
SELECT queue, max_attempts FROM options;
SELECT once.drop_queue('parts');
CREATE TABLE once.q_strange (id int);
SELECT once.create_queue('strange');
SELECT once.create_queue('strange', if_not_exists => true);
\echo :SQLSTATE
DROP TABLE once.q_strange;
CREATE VIEW once.q_strange AS SELECT 1;
SELECT once.create_queue('strange', if_not_exists => true);
DROP VIEW once.q_strange;
SELECT * FROM options;

-- Ledgers.
SET ROLE regress_once_owner;
SELECT once.create_ledger('l', '1 day');
BEGIN;
SELECT first_time, once.set_result('l', 'old', '1') FROM once.process('l', 'old');
COMMIT;
CALL once.maintain();
SELECT once.mark_processed('l', 'young');
RESET ROLE;
DELETE FROM once.ledger;
\c -
-- It is none without a retention, and an error says how it comes to one.
SELECT count(*) FROM once.list_ledgers();
SELECT once.mark_processed('l', 'new');
\echo :SQLSTATE
\set VERBOSITY terse
SELECT once.is_processed('l', 'old');
SELECT * FROM once.get_result('l', 'old');
SELECT once.alter_ledger('l', '2 days');
SELECT once.grant_ledger('l', 'public');
\set VERBOSITY default
SELECT once.create_ledger('l', '2 days');
\echo :SQLSTATE
SET ROLE regress_once_other;
SELECT once.create_ledger('l', '2 days', if_not_exists => true);
\echo :SQLSTATE
SET ROLE regress_once_owner;
BEGIN;
SELECT once.create_ledger('l', '3 days', if_not_exists => true);
SELECT retention FROM once.list_ledgers();
SELECT once.mark_processed('l', 'new');
ROLLBACK;
SELECT once.mark_processed('l', 'new');
SELECT count(*) FROM once.list_ledgers();
SELECT once.create_ledger('l', '2 days', unlogged => true, if_not_exists => true);
SELECT ledger, owner, unlogged, retention, created_at IS NOT NULL AS has_options FROM once.list_ledgers();
SELECT once.create_ledger('l', '3 days', if_not_exists => true);
SELECT retention FROM once.list_ledgers();
SELECT once.mark_processed('l', 'old'), once.mark_processed('l', 'young'), once.mark_processed('l', 'new');
SELECT result FROM once.get_result('l', 'old');
SELECT once.drop_ledger('l');
-- Where the state has not come with the rows, all of them count.
SELECT once.create_ledger('l', '1 day');
SELECT once.mark_processed('l', 'old');
CALL once.maintain();
SELECT once.mark_processed('l', 'young');
SELECT setval('once.l_l_state', 0, false);
SELECT once.is_processed('l', 'old'), once.is_processed('l', 'young');
RESET ROLE;
DELETE FROM once.ledger;
\c -
SET ROLE regress_once_owner;
SELECT once.create_ledger('l', '1 day', if_not_exists => true);
SELECT once.is_processed('l', 'old'), once.is_processed('l', 'young');
SELECT once.mark_processed('l', 'old'), once.mark_processed('l', 'young');
CALL once.maintain();
SELECT once.mark_processed('l', 'old'), once.mark_processed('l', 'young');
SELECT once.drop_ledger('l');
-- Part of one, or one that has been altered, is an error.
SELECT once.create_ledger('l', '1 day');
RESET ROLE;
DELETE FROM once.ledger;
\c -
SET ROLE regress_once_owner;
SELECT setval('once.l_l_state', 3);
SELECT once.create_ledger('l', '1 day', if_not_exists => true);
SELECT setval('once.l_l_state', 0);
ALTER TABLE once.l_l_1 ADD CHECK (id <> 'a');
SELECT once.create_ledger('l', '1 day', if_not_exists => true);
\echo :SQLSTATE
ALTER TABLE once.l_l_1 DROP CONSTRAINT l_l_1_id_check;
ALTER TABLE once.l_l_0 DROP CONSTRAINT l_l_0_pkey;
SELECT once.create_ledger('l', '1 day', if_not_exists => true);
\echo :SQLSTATE
DROP TABLE once.l_l_1;
SELECT once.create_ledger('l', '1 day', if_not_exists => true);
\echo :SQLSTATE
SELECT once.create_ledger('l', '1 day');
SELECT once.mark_processed('l', 'new');
SELECT once.drop_ledger('l');
SELECT once.create_ledger('l', '1 day', if_not_exists => true);
-- One whose tables do not have one owner is nobody's but a superuser's.
RESET ROLE;
DELETE FROM once.ledger;
\c -
ALTER TABLE once.l_l_1 OWNER TO regress_once_other;
SET ROLE regress_once_owner;
SELECT once.create_ledger('l', '1 day', if_not_exists => true);
RESET ROLE;
SELECT once.create_ledger('l', '1 day', if_not_exists => true);
\echo :SQLSTATE
SELECT once.drop_ledger('l');
SELECT relname FROM pg_class WHERE relnamespace = 'once'::regnamespace AND relname ~ '^[adlq]_' ORDER BY 1;
DROP VIEW options;
REVOKE EXECUTE ON FUNCTION once.create_queue, once.create_ledger FROM regress_once_owner, regress_once_other;
DROP ROLE regress_once_owner, regress_once_other;
