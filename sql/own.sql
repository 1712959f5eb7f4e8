-- cancel and purge in the transaction that sent: one's own messages are there to
-- be taken back, whoever else has the table open.
SELECT once.create_queue('o', id_index => true, archive => '1 day', retry_delay => '0');

-- What is taken back is not sent, and not archived.
BEGIN;
SELECT once.send('o', '"changed my mind"') AS id \gset
SELECT once.cancel('o', :id);
SELECT once.cancel('o', :id);
SELECT state FROM once.peek('o');
COMMIT;
SELECT state FROM once.peek('o');
SELECT count(*) FROM once.a_o;
-- Also by the statement that sends it.
SELECT once.cancel('o', once.send('o', '"at once"'));
SELECT count(*) FROM once.q_o;

-- Rolled back to a savepoint, it is sent all the same; so it is in a subtransaction
-- of another level than that of the sending, in either way.
BEGIN;
SELECT once.send('o', '"kept"') AS id \gset
SAVEPOINT a;
SELECT once.cancel('o', :id);
ROLLBACK TO a;
SELECT state FROM once.peek('o');
COMMIT;
SELECT payload FROM once.pop('o', 10);
BEGIN;
SAVEPOINT a;
SELECT once.send('o', '"of a savepoint"') AS id \gset
RELEASE a;
SAVEPOINT b;
SELECT once.cancel('o', :id);
RELEASE b;
COMMIT;
BEGIN;
SELECT once.send('o', '"twice"') AS id \gset
SAVEPOINT a;
SELECT once.cancel('o', :id);
ROLLBACK TO a;
SELECT once.cancel('o', :id);
COMMIT;
SELECT payload FROM once.pop('o', 10);
-- A message whose savepoint was rolled back is none.
BEGIN;
SAVEPOINT a;
SELECT once.send('o', '"gone"') AS id \gset
ROLLBACK TO a;
SELECT once.cancel('o', :id);
COMMIT;

-- Delayed, urgent, and in the middle of a group, whose others stay in order.
BEGIN;
SELECT once.send('o', '"later"', delay => '3 days') AS id \gset
SELECT once.cancel('o', :id);
SELECT once.send('o', '"urgent"', priority => 9) AS id \gset
SELECT once.cancel('o', :id);
COMMIT;
SELECT count(*) FROM once.q_o;
SELECT once.send('o', '0', group_id => 'g');
BEGIN;
SELECT array_agg(id) AS ids FROM once.send_batch('o', ARRAY['1', '2', '3', '4']::jsonb[],
  group_ids => ARRAY['g', 'g', 'g', 'g']) AS id \gset
SELECT once.cancel('o', (:'ids'::bigint[])[2]);
SELECT once.cancel('o', (:'ids'::bigint[])[4]);
SAVEPOINT a;
SELECT once.cancel('o', (:'ids'::bigint[])[3]);
ROLLBACK TO a;
COMMIT;
SELECT rule FROM once.check('o', strict => true);
SELECT payload FROM once.pop('o', 1);
SELECT payload FROM once.pop('o', 10);
-- All of a new group.
BEGIN;
SELECT once.cancel('o', id) FROM once.send_batch('o', ARRAY['1', '2']::jsonb[], group_ids => ARRAY['h', 'h']) AS id;
COMMIT;
SELECT once.send('o', '3', group_id => 'h') > 0 AS sent;
SELECT payload FROM once.pop('o', 10);

-- A dedup_id stays remembered, as with a message that was sent before; who wants
-- it forgotten rolls back to a savepoint.
BEGIN;
SELECT once.send('o', '1', dedup_id => 'd') AS id \gset
SELECT once.cancel('o', :id);
SELECT id = :id AS same, duplicate FROM once.send_dedup('o', '2', dedup_id => 'd');
COMMIT;
SELECT id = :id AS same, duplicate FROM once.send_dedup('o', '3', dedup_id => 'd');
SELECT count(*) FROM once.q_o;
BEGIN;
SAVEPOINT a;
SELECT FROM once.send('o', '1', dedup_id => 'e');
ROLLBACK TO a;
SELECT duplicate FROM once.send_dedup('o', '2', dedup_id => 'e');
COMMIT;
SELECT payload FROM once.pop('o', 10);

-- What the transaction has updated is its own as well, whether it has found room in
-- its place, has moved to another or is somebody else's for a time.
SELECT FROM once.send_batch('o', ARRAY['1', '2', '3']::jsonb[]);
BEGIN;
UPDATE once.q_o SET payload = '10' WHERE payload = '1';
UPDATE once.q_o SET payload = '20', priority = 9 WHERE payload = '2';
SELECT payload, once.cancel('o', id) FROM once.q_o ORDER BY id;
COMMIT;
SELECT count(*) FROM once.q_o;
SELECT once.send('o', '1') > 0 AS sent;
SELECT receipt AS r FROM once.lease('o') \gset
BEGIN;
UPDATE once.q_o SET payload = '10';
SELECT once.cancel('o', id) FROM once.q_o;
COMMIT;
SELECT once.ack(:'r');
-- What it has received it has claimed, and it acks that.
SELECT once.send('o', '1') > 0 AS sent;
BEGIN;
SELECT id, receipt AS r FROM once.receive('o') \gset
SELECT once.cancel('o', :id);
SELECT once.ack(:'r');
COMMIT;
SELECT count(*) FROM once.q_o;

-- A table with a trigger: row by row, through the executor.
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE '% %', tg_op, old.payload; RETURN old; END $$;
CREATE TRIGGER note BEFORE DELETE ON once.q_o FOR EACH ROW EXECUTE FUNCTION note();
BEGIN;
SELECT once.send('o', '1') AS id \gset
SELECT once.cancel('o', :id);
SELECT once.send('o', '2') > 0 AS sent;
SELECT once.purge('o');
COMMIT;
SELECT count(*) FROM once.q_o;
-- One that sends for each that is deleted does not keep purge going for ever: what
-- is sent meanwhile stays.
CREATE FUNCTION tombstone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM once.send('o', '"tombstone"'); RETURN NULL; END $$;
CREATE TRIGGER tombstone AFTER DELETE ON once.q_o FOR EACH ROW EXECUTE FUNCTION tombstone();
BEGIN;
SELECT FROM once.send_batch('o', ARRAY['1', '2']::jsonb[]);
SELECT once.purge('o');
SELECT payload FROM once.q_o;
ROLLBACK;
DROP TRIGGER tombstone ON once.q_o;
DROP TRIGGER note ON once.q_o;
DROP FUNCTION note, tombstone;

-- purge does the same whether it truncates or deletes.  The first time it has the
-- table to itself, then a cursor of its own has it open; for what others hold, see
-- the isolation spec purge-own.
CREATE PROCEDURE pg_temp.purge(cursor boolean) LANGUAGE plpgsql AS $$
DECLARE
  c refcursor;
  file oid = pg_relation_filenode('once.q_o');
BEGIN
  PERFORM once.send_batch('o', ARRAY['1', '2', '3']::jsonb[]);
  PERFORM once.send('o', '4', delay => '1 day');
  COMMIT;
  -- Its own, a leased one, one that it has updated, one sent by the same statement.
  PERFORM FROM once.lease('o');
  PERFORM once.send('o', '5');
  PERFORM once.send('o', '6', group_id => 'g');
  PERFORM once.send('o', '7', delay => '2 days');
  UPDATE once.q_o SET payload = '30' WHERE payload = '3';
  UPDATE once.q_o SET priority = 9 WHERE payload = '2';
  IF cursor THEN
    OPEN c FOR SELECT FROM once.q_o;
    FETCH c INTO c;
  END IF;
  RAISE NOTICE 'purged: %, left: %',
    (SELECT p FROM (SELECT once.send('o', '8') AS id OFFSET 0) AS s, LATERAL once.purge('o' || left(s.id::text, 0)) AS p),
    (SELECT count(*) FROM once.q_o);
  COMMIT;
  RAISE NOTICE 'left: %, truncated: %', (SELECT count(*) FROM once.q_o), file <> pg_relation_filenode('once.q_o');
END $$;
CALL pg_temp.purge(false);
CALL pg_temp.purge(true);
SELECT rule FROM once.check('o', strict => true);
SELECT count(*) FROM once.a_o;

-- Rolled back to a savepoint, it has removed nothing.
SELECT once.send('o', '1') > 0 AS sent;
BEGIN;
SELECT once.send('o', '2') > 0 AS sent;
SAVEPOINT a;
SELECT once.purge('o');
ROLLBACK TO a;
DECLARE c CURSOR FOR SELECT FROM once.q_o;
FETCH c;
SELECT once.purge('o');
ROLLBACK TO a;
SELECT once.send('o', '3') > 0 AS sent;
COMMIT;
SELECT payload FROM once.pop('o', 10);

-- What the transaction has received it keeps, and acks.
SELECT FROM once.send_batch('o', ARRAY['1', '2']::jsonb[]);
BEGIN;
SELECT receipt AS r FROM once.receive('o') \gset
SELECT once.send('o', '3') > 0 AS sent;
SELECT once.purge('o');
SELECT payload FROM once.q_o;
SELECT once.ack(:'r');
COMMIT;
SELECT count(*) FROM once.q_o;

-- Many pages of them, of which walkers know that they wait for this transaction.
BEGIN;
SELECT count(*) FROM once.send_batch('o', array_fill('1'::jsonb, ARRAY[1000]));
SELECT count(*) FROM once.receive('o');
DECLARE c CURSOR FOR SELECT FROM once.q_o;
FETCH c;
SELECT once.purge('o');
COMMIT;
SELECT count(*) FROM once.q_o;

-- Published: whatever a subscriber is told of, be it DELETE or TRUNCATE, rows are
-- deleted.
SET client_min_messages = error;
CREATE PUBLICATION p FOR TABLE once.q_o WITH (publish = 'insert, delete');
RESET client_min_messages;
SELECT once.send('o', '1') > 0 AS sent;
SELECT pg_relation_filenode('once.q_o') AS file \gset
SELECT once.purge('o');
SELECT pg_relation_filenode('once.q_o') = :file AS same_file;
DROP PUBLICATION p;
SELECT once.send('o', '1') > 0 AS sent;
SELECT once.purge('o');
SELECT pg_relation_filenode('once.q_o') = :file AS same_file;
SELECT once.drop_queue('o');
