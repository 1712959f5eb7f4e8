-- What is known by its name: renaming or moving it is refused, and where that could not be, nothing is deleted, or handed to another queue.
-- A session in which the library is not loaded yet can rename; each of these is a new one.
CREATE ROLE regress_once_a;
CREATE ROLE regress_once_b;
GRANT EXECUTE ON FUNCTION once.create_queue, once.create_ledger TO regress_once_a, regress_once_b;
GRANT CREATE ON SCHEMA public TO regress_once_a;
-- A queue with all that a queue can have: a pause, an archive, a dead letter with its failure, a dedup_id, a message
CREATE PROCEDURE make(name text) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM once.create_queue(name, max_attempts => 1, retry_delay => '0', retry_delay_max => '0', archive => '1 day');
  PERFORM once.send(name, '"dead"'), once.send(name, '"done"', dedup_id => 'done'), once.send(name, '"alive"');
  COMMIT;
  PERFORM once.nack(receipt, error => 'broken') FROM once.lease(name);
  COMMIT;
  PERFORM FROM once.pop(name);
  PERFORM once.pause(name, 'send');
END $$;
GRANT EXECUTE ON PROCEDURE make TO PUBLIC;
CREATE VIEW has AS
  SELECT q.queue, owner, send_paused, archive, created_at IS NOT NULL AS options, (SELECT count(*) FROM once.dead_letter d WHERE d.queue = q.queue) AS dead,
         (SELECT count(*) FROM once.failure f WHERE f.queue = q.queue) AS failures FROM once.list_queues() q;
-- What is left under a name, whoever sees it
CREATE FUNCTION left_of(name text) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ', (SELECT count(*) || ' dead' FROM once.dead_letter WHERE queue = name), (SELECT count(*) || ' failed' FROM once.failure WHERE queue = name),
    (SELECT string_agg(relname, ' ' ORDER BY relname COLLATE "C") FROM pg_class
      WHERE relnamespace = 'once'::regnamespace AND relkind IN ('r', 'p', 'S') AND relname !~ '\$' AND relname ~ ('^[adq]_' || name || '(_[0-9]|_state)?$')),
    (SELECT 'options' FROM once.queue WHERE queue = name))
$$;
SET ROLE regress_once_a;
CALL make('old');
SELECT once.create_ledger('l', '1 day');
RESET ROLE;
SELECT * FROM has;
SELECT left_of('old');

-- Where the library is loaded, all of it is refused; what is found otherwise than by its name, and names of others, are not.
CREATE TABLE once.helper (id int);
CREATE FUNCTION try(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE command;
  RAISE EXCEPTION USING errcode = 'WORKS';
EXCEPTION WHEN OTHERS THEN
  RETURN CASE SQLSTATE WHEN 'WORKS' THEN 'works' ELSE SQLSTATE || ' ' || sqlerrm END;
END $$;
SELECT command, try(command) FROM unnest(ARRAY[
  'ALTER TABLE once.q_old RENAME TO q_new', 'ALTER TABLE once.q_old SET SCHEMA public', 'ALTER INDEX once.q_old RENAME TO q_new', 'ALTER TABLE once.a_old RENAME TO a_new',
  'ALTER TABLE once.a_old SET SCHEMA public', 'ALTER TABLE once."a_old$3" RENAME TO x', 'ALTER TABLE once.d_old_0 RENAME TO x', 'ALTER TABLE once.d_old_1 SET SCHEMA public',
  'ALTER SEQUENCE once.d_old_state RENAME TO x', 'ALTER TABLE once.d_old_state RENAME TO x', 'ALTER TABLE once.l_l_0 RENAME TO l_m_0', 'ALTER TABLE once.l_l_0 SET SCHEMA public', 'ALTER TABLE once.l_l_1 RENAME TO x',
  'ALTER SEQUENCE once.l_l_state RENAME TO x', 'ALTER TABLE once.queue RENAME TO x', 'ALTER TABLE once.ledger RENAME TO x', 'ALTER TABLE once.dead_letter SET SCHEMA public',
  'ALTER VIEW once.failures RENAME TO x', 'ALTER SCHEMA once RENAME TO twice', 'ALTER EXTENSION pg_once SET SCHEMA public',
  'ALTER INDEX once.q_old_queue_idx RENAME TO x', 'ALTER SEQUENCE once.q_old_id_seq RENAME TO x', 'ALTER INDEX once.l_l_0_pkey RENAME TO x', 'ALTER TABLE once.l_l_0 RENAME CONSTRAINT l_l_0_pkey TO x',
  'ALTER TABLE once.helper RENAME TO q_helper', 'ALTER TABLE once.helper SET SCHEMA public', 'ALTER TABLE once.q_old RENAME payload TO x', 'ALTER TABLE once.q_old OWNER TO regress_once_b']) command;
-- It says why, and what to do.
ALTER TABLE once.q_old RENAME TO q_new;
ALTER TABLE once.l_l_0 RENAME TO l_m_0;
ALTER TABLE once.queue RENAME TO x;
ALTER SCHEMA once RENAME TO twice;
-- A table that is nobody's queue's is nobody's business; and one that a tool has made to put it in place of another can be put there.
CREATE TABLE once.q_old_16400 (LIKE once.q_old INCLUDING ALL);
CREATE TABLE once.a_helper (id int);
CREATE TABLE once.d_helper_0 (id int);
CREATE TABLE once.l_helper_1 (id int);
SELECT command, try(command) FROM unnest(ARRAY['DROP TABLE once.q_old; ALTER TABLE once.q_old_16400 RENAME TO q_old', 'ALTER TABLE once.a_helper RENAME TO x', 'ALTER TABLE once.d_helper_0 RENAME TO x', 'ALTER TABLE once.l_helper_1 SET SCHEMA public']) command;
DROP TABLE once.q_old_16400, once.helper, once.a_helper, once.d_helper_0, once.l_helper_1;
-- An index and a sequence by another name do as well.
ALTER INDEX once.q_old_queue_idx RENAME TO other_idx;
ALTER SEQUENCE once.q_old_id_seq RENAME TO other_seq;
SELECT once.resume('old', 'send');
SELECT once.send('old', '1') > 0 AS sent;
SELECT payload FROM once.pop('old');
SELECT once.pause('old', 'send');
-- What extensions and the server itself rename passes.
REINDEX INDEX CONCURRENTLY once.other_idx;
VACUUM FULL once.q_old;
-- The owner may not rename, and may move his table elsewhere, were it not refused.
SET ROLE regress_once_a;
ALTER TABLE once.q_old RENAME TO q_new;
ALTER TABLE once.q_old SET SCHEMA public;
RESET ROLE;

-- Renamed all the same: no verb takes it for another queue.
\c -
ALTER TABLE once.q_old RENAME TO q_new;
SELECT * FROM has;
SELECT call, try('SELECT ' || call) FROM unnest(ARRAY[
  $$once.send('new', '1')$$, $$once.send_batch('new', '{1}')$$, $$once.pop('new')$$, $$once.receive('new')$$, $$once.lease('new')$$, $$once.peek('new')$$, $$once.check('new')$$, $$once.slots('new')$$, $$once.pages('new')$$,
  $$once.purge('new')$$, $$once.redrive('new')$$, $$once.purge_dead_letters('new')$$, $$once.replay('new', '-infinity', 'infinity')$$, $$once.alter_queue('new')$$, $$once.pause('new')$$, $$once.resume('new')$$,
  $$once.grant_queue('new', 'public', 'consume')$$, $$once.cancel('new', 1)$$, $$once.drop_queue('new')$$, $$once.create_queue('new')$$,
  $$once.send('old', '1')$$, $$once.redrive('old')$$, $$once.purge_dead_letters('old')$$, $$once.drop_queue('old')$$, $$once.create_queue('old')$$, $$once.create_queue('old', if_not_exists => true)$$]) call;
SELECT once.send('new', '1');
CALL once.maintain();
SET ROLE regress_once_b;
SELECT once.create_queue('old');
SELECT once.drop_queue('old');
RESET ROLE;
SELECT left_of('old'), left_of('new');
-- A receipt names the table, whatever it is called.
\c -
ALTER TABLE once.q_new RENAME TO q_old;
SELECT receipt FROM once.lease('old', '1 h') \gset
\c -
ALTER TABLE once.q_old RENAME TO q_new;
SELECT once.ack(:'receipt');
\echo :SQLSTATE
SELECT once.try_ack(:'receipt');
-- Its own name can be given back, here as well, and all of it is there.
ALTER TABLE once.q_new RENAME TO q_old;
SELECT once.ack(:'receipt');
SELECT * FROM has;
SELECT queue, payload, last_error FROM once.dead_letters;
SELECT count(*) FROM once.a_old;
SELECT once.resume('old');
SELECT duplicate FROM once.send_dedup('old', '1', dedup_id => 'done');
SELECT once.pause('old', 'send');

SELECT once.is_own_table('once.q_old'::regclass), once.is_own_table('once.queue'::regclass), once.is_own_table('pg_class'::regclass), once.is_own_table(0), once.is_own_table(NULL);
-- Another table in its place: what belongs to the first one is not shown to, nor deleted by, who owns the second.
\c -
ALTER TABLE once.q_old RENAME TO q_kept;
CREATE TABLE once.q_old (LIKE once.q_kept INCLUDING ALL);
ALTER TABLE once.q_old OWNER TO regress_once_b;
SET ROLE regress_once_b;
SELECT once.send('old', '1');
SELECT once.redrive('old');
\echo :SQLSTATE
SELECT once.purge_dead_letters('old');
\echo :SQLSTATE
SELECT once.drop_queue('old');
\echo :SQLSTATE
SELECT once.alter_queue('old', max_attempts => 7);
\echo :SQLSTATE
SELECT (SELECT count(*) FROM once.dead_letters) AS dead_letters, (SELECT count(*) FROM once.failures) AS failures,
       (SELECT count(*) FROM once.dump_dead_letters()) AS dumped, (SELECT count(*) FROM once.dump_failures()) AS dumped_failures;
RESET ROLE;
SELECT left_of('old');
SELECT once.send('kept', '1');
-- Nor if the first one is made a queue of its new name.
BEGIN;
SELECT once.create_queue('kept', if_not_exists => true);
SELECT once.send('old', '1');
ROLLBACK;
DROP TABLE once.q_old;
SELECT once.send('kept', '1');
\c -
ALTER TABLE once.q_kept RENAME TO q_old;
SELECT * FROM has;

-- Elsewhere, it is no queue, and its name is not free.
\c -
ALTER TABLE once.q_old SET SCHEMA public;
SELECT once.send('old', '1');
SELECT once.create_queue('old');
SELECT once.drop_queue('old');
SELECT left_of('old');
ALTER TABLE q_old SET SCHEMA once;
SELECT * FROM has;

-- Who does not want the old name back makes a queue of the new one, which has nothing else. What is left of the old one is its owner's.
\c -
ALTER TABLE once.q_old RENAME TO q_new;
SET ROLE regress_once_b;
SELECT once.create_queue('new', if_not_exists => true);
SET ROLE regress_once_a;
SELECT once.create_queue('new', if_not_exists => true);
SELECT once.send('new', '1') > 0 AS sent;
RESET ROLE;
SELECT * FROM has;
SELECT left_of('old'), left_of('new');
SET ROLE regress_once_b;
SELECT once.create_queue('old');
SELECT once.drop_queue('old');
\echo :SQLSTATE
SET ROLE regress_once_a;
SELECT once.create_queue('old');
SELECT once.drop_queue('old');
SELECT once.drop_queue('old');
RESET ROLE;
SELECT left_of('old'), left_of('new');
SET ROLE regress_once_b;
SELECT once.create_queue('old'), once.drop_queue('old');
RESET ROLE;
SELECT once.drop_queue('new');

-- DROP TABLE instead of drop_queue: the same. Who owns what is left deletes it, or a superuser.
SET ROLE regress_once_a;
CALL make('d');
DROP TABLE once.q_d;
SELECT * FROM once.dead_letters;
SELECT once.create_queue('d');
SET ROLE regress_once_b;
SELECT once.create_queue('d');
SELECT once.create_queue('d', if_not_exists => true);
SELECT once.drop_queue('d');
RESET ROLE;
SELECT left_of('d');
BEGIN READ ONLY;
SELECT once.drop_queue('d');
ROLLBACK;
SELECT once.drop_queue('d');
SELECT left_of('d');
-- What remembers dedup_ids, and nothing else, is not in the way of its owner; in that of others it is.
SET ROLE regress_once_a;
SELECT once.create_queue('d');
SELECT once.send('d', '1', dedup_id => 'done') > 0 AS sent;
DROP TABLE once.q_d;
SET ROLE regress_once_b;
SELECT once.create_queue('d');
SET ROLE regress_once_a;
SELECT once.create_queue('d');
SELECT duplicate FROM once.send_dedup('d', '1', dedup_id => 'done');
SELECT once.drop_queue('d');
-- A failure alone is somebody's text, too; what belongs to two is a superuser's.
CALL make('d');
SELECT once.purge_dead_letters('d');
SELECT once.alter_queue('d', max_attempts => 9, reset => '{archive}');
SELECT once.nack(receipt, error => 'secret') FROM once.lease('d');
DROP TABLE once.q_d;
SELECT once.create_queue('d');
RESET ROLE;
ALTER TABLE once.a_d OWNER TO regress_once_b;
SET ROLE regress_once_a;
SELECT once.drop_queue('d');
SET ROLE regress_once_b;
SELECT once.drop_queue('d');
RESET ROLE;
SELECT once.drop_queue('d');
-- DROP OWNED leaves dead letters that nobody can be told to own.
SET ROLE regress_once_a;
CALL make('d');
RESET ROLE;
DROP OWNED BY regress_once_a;
SELECT left_of('d');
SET ROLE regress_once_b;
SELECT once.create_queue('d');
SELECT once.drop_queue('d');
RESET ROLE;
SELECT once.drop_queue('d');
SELECT left_of('d');
SELECT once.drop_queue('d');
GRANT EXECUTE ON FUNCTION once.create_queue, once.create_ledger TO regress_once_a;

-- Of a row of options that comes from elsewhere (a dump, a subscription, a template), the table cannot be told: what counts is the name.
CALL make('e');
SELECT regexp_replace(table_id, '\d+', 'system') = 'system/' || (SELECT oid FROM pg_database WHERE datname = current_database()) || '/' || 'once.q_e'::regclass::oid AS known FROM once.queue WHERE queue = 'e';
UPDATE once.queue SET table_id = regexp_replace(table_id, '^\d+', '1');
\c -
ALTER TABLE once.q_e RENAME TO q_f;
SELECT once.send('f', '1') > 0 AS sent;
SELECT once.create_queue('e');
SELECT once.drop_queue('f');
SELECT left_of('e');
SELECT once.drop_queue('e');
SELECT left_of('e');
-- Until its options are written again
CALL make('e');
UPDATE once.queue SET table_id = NULL;
SELECT once.resume('e');
SELECT table_id IS NOT NULL AS known FROM once.queue;
SELECT once.drop_queue('e');

-- The schema by another name: nothing works, and nothing is lost.
CALL make('s');
\c -
ALTER SCHEMA once RENAME TO twice;
SELECT twice.send('s', '1');
\echo :SQLSTATE
ALTER SCHEMA twice RENAME TO once;
\c -
SELECT * FROM has;
SELECT once.drop_queue('s');
-- The same with tables that are part of something: an error or a warning, until they have their names back.
CALL make('p');
SELECT once.resume('p');
SELECT once.create_ledger('l', '1 day');
SELECT once.mark_processed('l', 'a');
\c -
ALTER TABLE once.d_p_1 RENAME TO d_p_2;
ALTER TABLE once.l_l_0 RENAME TO l_m_0;
ALTER TABLE once.a_p RENAME TO a_other;
DO $$ BEGIN FOR i IN 0 .. 7 LOOP EXECUTE format('ALTER TABLE once.%I RENAME TO %I', 'a_p$' || i, 'a_other$' || i); END LOOP; END $$;
SELECT once.send('p', '1', dedup_id => 'done');
SELECT once.mark_processed('l', 'a');
SELECT once.mark_processed('m', 'a');
SELECT once.create_ledger('m', '1 day');
SELECT once.create_ledger('m', '1 day', if_not_exists => true);
\set VERBOSITY sqlstate
SELECT count(*) FROM once.pop('p');
\set VERBOSITY default
SELECT once.replay('p', '-infinity', 'infinity');
ALTER TABLE once.d_p_2 RENAME TO d_p_1;
ALTER TABLE once.l_m_0 RENAME TO l_l_0;
ALTER TABLE once.a_other RENAME TO a_p;
DO $$ BEGIN FOR i IN 0 .. 7 LOOP EXECUTE format('ALTER TABLE once.%I RENAME TO %I', 'a_other$' || i, 'a_p$' || i); END LOOP; END $$;
SELECT duplicate FROM once.send_dedup('p', '1', dedup_id => 'done');
SELECT once.mark_processed('l', 'a');
SELECT once.replay('p', '-infinity', 'infinity');
SELECT once.drop_queue('p'), once.drop_ledger('l');
SELECT left_of('p');

-- A database that does not have the extension can have tables of these names, and do with them what it wants, where the library is loaded.
SELECT current_database() AS here \gset
CREATE DATABASE regress_once_other TEMPLATE template0;
\c regress_once_other
LOAD 'pg_once';
CREATE SCHEMA once;
CREATE TABLE once.q_x (id int);
CREATE TABLE once.queue (id int);
ALTER TABLE once.queue RENAME TO x;
ALTER TABLE once.q_x RENAME TO y;
ALTER SCHEMA once RENAME TO twice;
\c :here
DROP DATABASE regress_once_other;
-- Something else than a table that belongs to the extension is found by what it is.
SELECT command, try(command) FROM unnest(ARRAY['ALTER TYPE once.message RENAME TO x', 'ALTER FUNCTION once.check RENAME TO x', 'ALTER INDEX once.dead_letter_queue_idx RENAME TO x']) command;
-- An index of the extension that was renamed all the same is missed, and nothing is.
\c
SELECT once.create_queue('p', max_attempts => 1) IS NOT NULL AS made;
SELECT once.send('p', '"dead"') IS NOT NULL AS sent;
SELECT once.nack(receipt) FROM once.lease('p');
SELECT count(*) FROM once.receive('p');
\c
ALTER INDEX once.dead_letter_queue_idx RENAME TO x;
SELECT once.redrive('p');
\echo :SQLSTATE
\c
ALTER INDEX once.x RENAME TO dead_letter_queue_idx;
SELECT once.redrive('p');
SELECT payload FROM once.pop('p');
SELECT once.drop_queue('p');

DROP VIEW has;
DROP FUNCTION left_of, try;
DROP PROCEDURE make;
DROP OWNED BY regress_once_a, regress_once_b;
DROP ROLE regress_once_a, regress_once_b;
SELECT count(*) FROM once.queue;
