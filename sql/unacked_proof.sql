-- The check at commit fails closed: a message that was neither acked nor given back counts as done only if it can be shown that this
-- transaction has deleted its row.  What it does to index and table meanwhile proves nothing.
\set VERBOSITY terse
SELECT once.create_queue('w', id_index => true, retry_delay => '0', retry_delay_max => '0');
SELECT once.create_queue('other', retry_delay => '0', retry_delay_max => '0');
CREATE TABLE effect (n int);
CREATE FUNCTION refill() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  TRUNCATE once.q_w RESTART IDENTITY;
  TRUNCATE effect;
  PERFORM once.send_batch('w', ARRAY['1', '2', '3']::jsonb[]);
END $$;
CREATE FUNCTION take(what text = 'w') RETURNS bigint LANGUAGE sql AS $$
  WITH m AS (SELECT payload FROM once.receive(what, 3)), e AS (INSERT INTO effect SELECT payload::int FROM m)
  SELECT count(*) FROM m $$;
SET client_min_messages = warning;
SELECT refill();

-- The index is dropped: the rows are still there, and so is the debt.
BEGIN;
SELECT take();
DROP INDEX once.q_w_queue_idx;
COMMIT;
SELECT count(*) AS effects FROM effect;
BEGIN;
SELECT take();
DROP INDEX once.q_w_queue_idx;
DELETE FROM once.q_w WHERE id < 3;
COMMIT;
BEGIN;
SELECT take();
DROP INDEX once.q_w_queue_idx;
DELETE FROM once.q_w;
COMMIT;
SELECT count(*) AS effects FROM effect;
CREATE INDEX q_w_queue_idx ON once.q_w USING once_queue (id, priority, deliver_at, group_id);

-- It is rebuilt, or replaced.
SELECT refill();
BEGIN;
SELECT take();
REINDEX INDEX once.q_w_queue_idx;
COMMIT;
BEGIN;
SELECT take();
REINDEX INDEX once.q_w_queue_idx;
DELETE FROM once.q_w;
COMMIT;
SELECT count(*) AS effects FROM effect;
-- The new index delivers the same messages to the same transaction again.  Acked once, their effects are there twice.
SELECT refill();
BEGIN;
SELECT take();
REINDEX INDEX once.q_w_queue_idx;
SELECT count(once.ack(receipt)) FROM once.receive('w', 3);
COMMIT;
BEGIN;
SELECT take();
DROP INDEX once.q_w_queue_idx;
CREATE INDEX q_w_queue_idx ON once.q_w USING once_queue (id, priority, deliver_at, group_id);
SELECT count(once.ack(receipt)) FROM once.receive('w', 3);
COMMIT;
BEGIN;
SELECT take();
REINDEX INDEX once.q_w_queue_idx;
SELECT take();
TRUNCATE once.q_w;
COMMIT;
SELECT count(*) AS effects FROM effect;
-- In a savepoint that is rolled back, nothing has happened.
BEGIN;
SELECT array_agg(receipt) AS r FROM once.receive('w', 3) \gset
SAVEPOINT s;
DROP INDEX once.q_w_queue_idx;
ROLLBACK TO s;
SELECT once.ack_all(:'r');
COMMIT;
SELECT count(*) AS messages FROM once.q_w;

-- TRUNCATE does away with the messages, whatever comes into their places, with whatever ids.
SELECT refill();
BEGIN;
SELECT take();
TRUNCATE once.q_w;
COMMIT;
SELECT count(*) AS effects FROM effect;
SELECT refill();
SELECT array_agg(ctid ORDER BY id) AS places FROM once.q_w \gset
BEGIN;
SELECT take();
TRUNCATE once.q_w RESTART IDENTITY;
INSERT INTO once.q_w (payload) VALUES ('11'), ('12'), ('13');
SELECT array_agg(ctid ORDER BY id) = :'places' AS "same places", array_agg(id ORDER BY id) AS ids FROM once.q_w;
SELECT take();
COMMIT;
SELECT count(*) AS effects FROM effect;
SELECT array_agg(payload ORDER BY id) AS messages FROM once.peek('w');
-- In a savepoint: as long as that is not rolled back.
SELECT refill();
BEGIN;
SELECT take();
SAVEPOINT s;
TRUNCATE once.q_w;
ROLLBACK TO s;
COMMIT;
BEGIN;
SELECT take();
SAVEPOINT a;
SAVEPOINT b;
TRUNCATE once.q_w;
RELEASE b;
ROLLBACK TO a;
COMMIT;
BEGIN;
SAVEPOINT a;
SELECT take();
SAVEPOINT b;
TRUNCATE once.q_w;
RELEASE b;
RELEASE a;
COMMIT;
SELECT count(*) AS effects FROM effect;
-- One that fails has done nothing.
SELECT refill();
CREATE TABLE reader (id bigint REFERENCES once.q_w);
BEGIN;
SELECT take();
SAVEPOINT s;
TRUNCATE once.q_w;
ROLLBACK TO s;
COMMIT;
BEGIN;
SELECT take();
TRUNCATE once.q_w CASCADE;
COMMIT;
SELECT count(*) AS effects FROM effect;
DROP TABLE reader;
-- One of another queue settles nothing here.
SELECT refill();
SELECT once.send('other', '7') > 0 AS sent;
BEGIN;
SELECT take();
SELECT take('other');
TRUNCATE once.q_other;
COMMIT;
BEGIN;
SELECT take();
TRUNCATE once.q_w, once.q_other;
COMMIT;
SELECT count(*) AS effects FROM effect;
-- In place, without a new file: the transaction has made the present one itself.
SELECT refill();
BEGIN;
CLUSTER once.q_w USING q_w_pkey;
SELECT pg_relation_filenode('once.q_w') AS file \gset
SELECT take();
TRUNCATE once.q_w;
SELECT pg_relation_filenode('once.q_w') = :file AS "same file";
INSERT INTO once.q_w (payload) VALUES ('11');
COMMIT;
SELECT count(*) AS effects FROM effect;

-- A rewrite is no deletion: the rows live on elsewhere.  What becomes of them there is not known any more.
SELECT refill();
BEGIN;
SELECT take();
CLUSTER once.q_w USING q_w_pkey;
COMMIT;
BEGIN;
SELECT take();
ALTER TABLE once.q_w ADD COLUMN at timestamptz DEFAULT clock_timestamp();
COMMIT;
BEGIN;
SELECT take();
CLUSTER once.q_w USING q_w_pkey;
DELETE FROM once.q_w;
COMMIT;
BEGIN;
SELECT take();
CLUSTER once.q_w USING q_w_pkey;
TRUNCATE once.q_w;
COMMIT;
-- Nor does the old place say anything then: where message 2 was, there is message 3, which this transaction has acknowledged.  The
-- place before it is that of a row that was never committed: CLUSTER leaves that out, whoever may still see what was deleted.
BEGIN;
TRUNCATE once.q_w RESTART IDENTITY;
SAVEPOINT s;
SELECT FROM once.send('w', '1');
ROLLBACK TO s;
SELECT FROM once.send_batch('w', ARRAY['2', '3']::jsonb[]);
COMMIT;
BEGIN;
SELECT array_agg(receipt ORDER BY id) AS r, array_agg(id ORDER BY id) AS ids FROM once.receive('w', 3) \gset
SELECT ctid, id FROM once.q_w ORDER BY id;
SELECT :'ids' AS ids, once.ack((:'r'::uuid[])[2]);
CLUSTER once.q_w USING q_w_pkey;
SELECT ctid, id FROM once.q_w;
COMMIT;
SELECT count(*) AS effects FROM effect;

-- An UPDATE moves a message, within its page or out of it; its newest version is what counts.
SELECT refill();
BEGIN;
SELECT take();
UPDATE once.q_w SET headers = '0';
COMMIT;
BEGIN;
SELECT take();
UPDATE once.q_w SET priority = 7;
UPDATE once.q_w SET payload = payload;
COMMIT;
BEGIN;
SELECT take();
UPDATE once.q_w SET headers = '0';
UPDATE once.q_w SET priority = 7;
SAVEPOINT s;
DELETE FROM once.q_w;
ROLLBACK TO s;
DELETE FROM once.q_w WHERE id < 3;
COMMIT;
BEGIN;
SELECT take();
UPDATE once.q_w SET headers = '0';
UPDATE once.q_w SET priority = 7;
DELETE FROM once.q_w;
COMMIT;
SELECT count(*) AS effects FROM effect;

-- A deletion that is rolled back is none.
SELECT refill();
BEGIN;
SELECT take();
SAVEPOINT s;
DELETE FROM once.q_w;
ROLLBACK TO s;
COMMIT;
-- One that a foreign key brings about is one.
CREATE TABLE author (id bigint PRIMARY KEY);
INSERT INTO author SELECT id FROM once.q_w;
ALTER TABLE once.q_w ADD CONSTRAINT author FOREIGN KEY (id) REFERENCES author ON DELETE CASCADE;
BEGIN;
SELECT take();
DELETE FROM author;
COMMIT;
SELECT count(*) AS effects FROM effect;
ALTER TABLE once.q_w DROP CONSTRAINT author;
DROP TABLE author;

-- The table goes by another name, elsewhere, or becomes a partition. (ALTER TABLE would be refused here.)
SELECT refill();
BEGIN;
SELECT take();
UPDATE pg_class SET relname = 'x' WHERE oid = 'once.q_w'::regclass;
COMMIT;
BEGIN;
SELECT take();
UPDATE pg_class SET relnamespace = 'public'::regnamespace WHERE oid = 'once.q_w'::regclass;
COMMIT;
BEGIN;
SELECT take();
UPDATE pg_class SET relname = 'x', relnamespace = 'public'::regnamespace WHERE oid = 'once.q_w'::regclass;
SAVEPOINT s;
DELETE FROM x WHERE id < 3;
COMMIT;
BEGIN;
SELECT take();
UPDATE pg_class SET relname = 'x' WHERE oid = 'once.q_w'::regclass;
DELETE FROM once.x;
UPDATE pg_class SET relname = 'q_w' WHERE oid = 'once.x'::regclass;
COMMIT;
SELECT count(*) AS effects FROM effect;
SELECT refill();
BEGIN;
CREATE TABLE parent (LIKE once.q_w) PARTITION BY LIST (priority);
CREATE TABLE part_0 PARTITION OF parent FOR VALUES IN (0);
SELECT take();
ALTER TABLE once.q_w ALTER id DROP IDENTITY;
ALTER TABLE parent ATTACH PARTITION once.q_w FOR VALUES IN (4);
SAVEPOINT s;
UPDATE parent SET priority = 0;
SELECT count(*) FROM part_0;
COMMIT;
BEGIN;
CREATE TABLE parent (LIKE once.q_w) PARTITION BY LIST (priority);
SELECT take();
ALTER TABLE once.q_w ALTER id DROP IDENTITY;
ALTER TABLE parent ATTACH PARTITION once.q_w FOR VALUES IN (4);
TRUNCATE parent;
ALTER TABLE parent DETACH PARTITION once.q_w;
DROP TABLE parent;
COMMIT;
ALTER TABLE once.q_w ALTER id ADD GENERATED BY DEFAULT AS IDENTITY;
SELECT count(*) AS effects FROM effect;

-- Dropping the table does away with the messages, also when the index goes first, and under another name.
SELECT refill();
BEGIN;
SELECT take();
SAVEPOINT s;
SELECT once.drop_queue('w');
ROLLBACK TO s;
COMMIT;
BEGIN;
SELECT take();
DROP INDEX once.q_w_queue_idx;
UPDATE pg_type SET typname = 'x' WHERE oid = 'once.q_w'::regtype;
UPDATE pg_class SET relname = 'x' WHERE oid = 'once.q_w'::regclass;
CREATE TABLE once.q_w ();
DROP TABLE once.q_w, once.x;
COMMIT;
SELECT count(*) AS effects FROM effect;

SELECT once.drop_queue('other');
DROP FUNCTION take, refill;
DROP TABLE effect;
SELECT once.drop_queue('w');
