-- Messages of the transaction itself: cancel and purge delete them, as DELETE would, and what
-- comes of it is the same whoever else uses the table.
SELECT once.create_queue('q', id_index => true, archive => '1 day', retry_delay => '0');
CREATE VIEW left_over AS SELECT id, payload, state FROM once.peek('q');

-- cancel: sent by a verb or by INSERT, once or not at all
BEGIN;
SELECT once.send('q', '"changed my mind"') AS a, once.send('q', '"later"', delay => '1 h') AS b, once.send('q', '"kept"') AS c, once.send('q', '"once"', dedup_id => 'd') AS d \gset
INSERT INTO once.q_q (payload) VALUES ('"plain"') RETURNING id AS e \gset
SELECT once.cancel('q', :a), once.cancel('q', :b), once.cancel('q', :d), once.cancel('q', :e);
SELECT once.cancel('q', :a), once.cancel('q', :b), once.cancel('q', 1000);
-- its dedup_id is remembered all the same, as that of any message
SELECT once.send('q', '"twice"', dedup_id => 'd') = :d AS same;
COMMIT;
SELECT payload, state FROM left_over;
SELECT payload FROM once.pop('q', 10);
-- updated, in its place or not, and in subtransactions
BEGIN;
SELECT once.send('q', '"updated"') AS a, once.send('q', '"moved"') AS b, once.send('q', '"of a savepoint"') AS c \gset
UPDATE once.q_q SET payload = '"anew"' WHERE id = :a;
UPDATE once.q_q SET priority = 9 WHERE id = :b;
SAVEPOINT s;
SELECT once.cancel('q', :a), once.cancel('q', :b), once.cancel('q', :c);
SELECT count(*) FROM once.q_q;
ROLLBACK TO s;
SELECT once.cancel('q', :a), once.cancel('q', :b);
RELEASE s;
SAVEPOINT s;
SELECT once.send('q', '"gone with it"') AS d \gset
ROLLBACK TO s;
SELECT once.cancel('q', :d);
COMMIT;
SELECT payload FROM once.pop('q', 10);
-- one that was there before and is updated here: the same
SELECT once.send('q', '"theirs"') AS a \gset
BEGIN;
UPDATE once.q_q SET payload = '"ours"' WHERE id = :a;
SELECT once.cancel('q', :a);
ROLLBACK;
SELECT once.cancel('q', :a);
-- twice in a statement, or when that has changed it
CREATE FUNCTION changed(bigint) RETURNS bigint LANGUAGE sql AS $$ UPDATE once.q_q SET payload = '"changed"', priority = 5 WHERE id = $1 RETURNING id $$;
BEGIN;
SELECT once.send('q', '"twice"') AS a, once.send('q', '"changing"') AS b \gset
SELECT once.cancel('q', :a) FROM generate_series(1, 2);
SELECT once.cancel('q', changed(:b));
COMMIT;
SELECT payload FROM once.pop('q', 10);
DROP FUNCTION changed;
-- in a group, at its head and in its middle
BEGIN;
SELECT min(id) AS first, max(id) AS last FROM once.send_batch('q', ARRAY['1', '2', '3', '4']::jsonb[], group_ids => ARRAY['g', 'g', 'g', 'g']) AS id \gset
SELECT once.cancel('q', :first), once.cancel('q', :first + 2);
COMMIT;
SELECT payload, state FROM left_over;
SELECT payload FROM once.pop('q', 10);
SELECT * FROM once.check('q', true);
SELECT count(*) FROM once.a_q WHERE payload IN ('"changed my mind"', '"later"', '"once"', '"plain"', '1', '3');
-- with a trigger, which may keep the row
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN OLD.payload <> '"kept"' THEN OLD END; END $$;
CREATE TRIGGER keep BEFORE DELETE ON once.q_q FOR EACH ROW EXECUTE FUNCTION keep();
BEGIN;
SELECT once.send('q', '"slow"') AS a, once.send('q', '"kept"') AS b \gset
SELECT once.cancel('q', :a);
SELECT once.cancel('q', :b);
\echo :SQLSTATE
ROLLBACK;
SELECT * FROM left_over;

-- purge: the same, whether it truncates the table or goes row by row
BEGIN;
SELECT count(once.send('q', to_jsonb(g))) FROM generate_series(1, 3) g;
SELECT once.send('q', '"kept"') IS NOT NULL AS sent;
SELECT once.purge('q');
COMMIT;
SELECT payload FROM left_over;
DROP TRIGGER keep ON once.q_q;
SELECT once.purge('q');
SELECT once.send('q', '"before"') IS NOT NULL AS sent;
BEGIN;
SELECT count(once.send('q', to_jsonb(g))) FROM generate_series(1, 3) g;
SELECT once.purge('q');
ROLLBACK;
SELECT count(*) FROM left_over;
BEGIN;
SELECT count(once.send('q', to_jsonb(g), delay => (g % 2) * interval '1 h', group_id => 'g')) FROM generate_series(1, 3) g;
UPDATE once.q_q SET payload = '"anew"' WHERE payload = '2';
DECLARE c CURSOR FOR SELECT FROM once.q_q;
FETCH c;
SELECT once.purge('q');
CLOSE c;
SAVEPOINT s;
SELECT once.send('q', '4') IS NOT NULL AS sent;
DECLARE c CURSOR FOR SELECT FROM once.q_q;
SELECT once.purge('q');
ROLLBACK TO s;
COMMIT;
SELECT count(*) FROM left_over;
SELECT count(*) FROM once.q_q;

-- A committed message that this transaction has updated in place can be cancelled, as nobody has claimed it.  The statement that updates
-- it can do that as well.  peek shows such a message as it shows one that another transaction is updating.
SELECT once.send('q', '"before"') AS b \gset
BEGIN;
UPDATE once.q_q SET payload = '"anew"' WHERE id = :b;
SELECT payload, state FROM once.peek('q');
SAVEPOINT s;
SELECT once.cancel('q', :b), once.cancel('q', :b);
SELECT payload, state FROM once.peek('q');
ROLLBACK TO s;
WITH u AS (UPDATE once.q_q SET headers = '1' WHERE id = :b RETURNING id) SELECT once.cancel('q', id) FROM u;
ROLLBACK;
SELECT payload, state FROM once.peek('q');
-- the same for a delayed one, and for one in the middle of a group
SELECT once.send('q', '"later"', delay => '1 h') AS l, once.send('q', '1', group_id => 'g') IS NOT NULL AS sent, once.send('q', '2', group_id => 'g') AS m, once.send('q', '3', group_id => 'g') IS NOT NULL AS sent \gset
BEGIN;
UPDATE once.q_q SET headers = '1' WHERE id IN (:l, :m);
SELECT once.cancel('q', :l), once.cancel('q', :m);
ROLLBACK;
BEGIN;
UPDATE once.q_q SET headers = '1' WHERE id IN (:l, :m);
SELECT once.cancel('q', :l), once.cancel('q', :m);
COMMIT;
SELECT payload, state FROM once.peek('q');
SELECT payload FROM once.pop('q', 3);
-- A message that the same statement has updated can be acked, received or leased.
SELECT count(once.send('q', to_jsonb(g))) FROM generate_series(1, 3) g;
WITH m AS (SELECT * FROM once.receive('q')), u AS (UPDATE once.q_q q SET headers = '1' FROM m WHERE q.id = m.id RETURNING m.receipt) SELECT once.ack(receipt) FROM u;
SELECT receipt AS r FROM once.lease('q') \gset
WITH u AS (UPDATE once.q_q SET headers = '1' WHERE payload = '2' RETURNING id) SELECT once.try_ack(:'r') FROM u;
SELECT receipt AS r FROM once.lease('q') \gset
WITH u AS (UPDATE once.q_q SET headers = '1' RETURNING id) SELECT once.ack(:'r') FROM u;
SELECT headers, payload FROM once.a_q WHERE payload IN ('1', '2', '3') AND headers IS NOT NULL;
-- and with a trigger
SELECT once.send('q', '"before"') AS b \gset
CREATE TRIGGER keep BEFORE DELETE ON once.q_q FOR EACH ROW EXECUTE FUNCTION keep();
BEGIN;
UPDATE once.q_q SET payload = '"anew"' WHERE id = :b;
SELECT once.cancel('q', :b);
COMMIT;
SELECT * FROM once.peek('q');
SELECT * FROM once.check('q', true);
SELECT once.drop_queue('q');
DROP VIEW left_over;
DROP FUNCTION keep;
