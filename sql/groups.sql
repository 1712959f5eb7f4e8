-- Ordered groups: strictly in order within a group, one call's worth in flight.
SELECT once.create_queue('g', retry_delay => '0', retry_delay_max => '0', id_index => true);
SELECT once.send('g', '"a1"', group_id => 'a') IS NOT NULL AS sent;
SELECT count(*) FROM once.send_batch('g', ARRAY['"b1"', '"a2"', '"free"', '"a3"', '"b2"']::jsonb[], group_ids => ARRAY['b', 'a', NULL, 'a', 'b']);
SELECT payload, group_id FROM once.q_g ORDER BY id;
SELECT payload, group_id, state FROM once.peek('g');

-- While the head is out, the rest of its group waits; other groups do not.
BEGIN;
SELECT payload, group_id FROM once.receive('g');
SELECT payload, state FROM once.peek('g');
SELECT payload, group_id, once.ack(receipt) FROM once.receive('g', 10) WHERE group_id IS DISTINCT FROM 'a';
ROLLBACK;
SELECT receipt AS r FROM once.lease('g', '1 h') \gset
SELECT payload FROM once.receive('g', 10), LATERAL once.ack(receipt);
SELECT payload FROM once.pop('g', 10);
-- Acked, the next one is the head; acked and rolled back, it is not.
BEGIN;
SELECT once.ack(:'r');
SELECT payload FROM once.pop('g', 10);
ROLLBACK;
SELECT payload FROM once.pop('g', 10);
SELECT once.ack(:'r');
SELECT payload, attempt FROM once.pop('g', 10);
SELECT count(*) FROM once.q_g;

-- One call may take several of a group: in order, and to be acked in order.
SELECT count(*) FROM once.send_batch('g', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 5) g), group_ids => array_fill('a'::text, ARRAY[5]));
BEGIN;
SELECT array_agg(payload) AS payloads, array_agg(receipt) AS r FROM once.receive('g', 3) \gset
SELECT :'payloads' AS payloads;
SELECT once.ack((:'r'::uuid[])[2]);
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT array_agg(receipt) AS r FROM once.receive('g', 3) \gset
SELECT once.ack_all(ARRAY[(:'r'::uuid[])[1], (:'r'::uuid[])[3]]);
ROLLBACK;
BEGIN;
SELECT array_agg(receipt) AS r FROM once.receive('g', 3) \gset
SELECT once.try_ack((:'r'::uuid[])[3]);
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT array_agg(receipt) AS r FROM once.receive('g', 3) \gset
SELECT * FROM once.try_ack_all(ARRAY[(:'r'::uuid[])[2], (:'r'::uuid[])[1]]);
ROLLBACK;
BEGIN;
SELECT array_agg(receipt) AS r FROM once.receive('g', 3) \gset
SELECT once.ack_all(:'r');
COMMIT;
SELECT payload FROM once.q_g ORDER BY id;
-- Not even in the same statement, or after a savepoint takes the first ack back.
BEGIN;
SELECT array_agg(receipt) AS r FROM once.receive('g', 2) \gset
SAVEPOINT s;
SELECT once.ack((:'r'::uuid[])[1]);
ROLLBACK TO s;
SELECT once.ack((:'r'::uuid[])[2]);
ROLLBACK TO s;
SELECT once.ack(r) FROM unnest(:'r'::uuid[]) AS r;
COMMIT;
SELECT count(*) FROM once.q_g;

-- Leases: the same.
SELECT count(*) FROM once.send_batch('g', ARRAY['1', '2', '3']::jsonb[], group_ids => ARRAY['a', 'a', 'a']);
SELECT array_agg(receipt) AS r FROM once.lease('g', '1 h', 3) \gset
SELECT once.ack((:'r'::uuid[])[2]);
\echo :SQLSTATE
SELECT count(*) FROM (SELECT once.try_ack_all(ARRAY[(:'r'::uuid[])[3]])) t;
SELECT once.try_ack((:'r'::uuid[])[1]);
BEGIN;
SELECT once.ack((:'r'::uuid[])[2]);
ROLLBACK;
SELECT count(*) FROM once.try_ack_all((:'r'::uuid[])[2:3]);
SELECT count(*) FROM once.q_g;

-- Giving one back gives back those after it of the same claim, uncounted; the
-- transaction owes nothing for them, and their receipts are good for nothing.
SELECT count(*) FROM once.send_batch('g', ARRAY['1', '2', '3']::jsonb[], group_ids => ARRAY['a', 'a', 'a']);
BEGIN;
SELECT array_agg(receipt) AS r FROM once.receive('g', 3) \gset
SELECT once.ack((:'r'::uuid[])[1]);
SELECT once.nack((:'r'::uuid[])[2], error => 'not now');
SAVEPOINT s;
SELECT once.ack((:'r'::uuid[])[3]);
\echo :SQLSTATE
ROLLBACK TO s;
SELECT once.try_ack((:'r'::uuid[])[3]);
COMMIT;
SELECT payload, attempt FROM once.peek('g');
SELECT attempt, error FROM once.failures;
BEGIN;
SELECT array_agg(receipt) AS r, array_agg(attempt) AS attempts FROM once.receive('g', 3) \gset
SELECT :'attempts' AS attempts;
SELECT once.release((:'r'::uuid[])[1]);
COMMIT;
SELECT payload, attempt, state FROM once.peek('g');
-- A retried head blocks its group, a delay of the sender's does not.
SELECT array_agg(receipt) AS r FROM once.lease('g', max_messages => 2) \gset
SELECT once.nack((:'r'::uuid[])[1], '1 h');
SELECT payload, state, ready_at > now() AS later FROM once.peek('g');
SELECT payload FROM once.pop('g', 10);
SELECT once.purge('g');
SELECT once.send('g', '"later"', group_id => 'a', delay => '1 h') IS NOT NULL AS sent;
SELECT once.send('g', '"now"', group_id => 'a') IS NOT NULL AS sent;
SELECT payload FROM once.pop('g', 10);
SELECT payload, state FROM once.peek('g');
SELECT once.purge('g');

-- A message that was not the first can be acked once it is.
SELECT count(*) FROM once.send_batch('g', ARRAY['1', '2']::jsonb[], group_ids => ARRAY['z', 'z']);
SELECT array_agg(receipt) AS r FROM once.lease('g', '1 h', 2) \gset
DELETE FROM once.q_g WHERE payload = '1';
SELECT once.ack((:'r'::uuid[])[2]);
SELECT count(*) FROM once.q_g;
-- An ack that is refused leaves no first message whose row is gone: the group has advanced to the next one.
SELECT count(*) FROM once.send_batch('g', ARRAY['1', '2', '3']::jsonb[], group_ids => ARRAY['z', 'z', 'z']);
SELECT array_agg(receipt) AS r FROM once.lease('g', '1 h', 3) \gset
DELETE FROM once.q_g WHERE payload = '1';
SELECT once.ack((:'r'::uuid[])[3]);
SELECT state, blocked FROM once.slots('g') WHERE state <> 'done' ORDER BY block, slot;
SELECT count(*) FROM once.try_ack_all((:'r'::uuid[])[2:3]);

-- Dead-lettering or expiry of the head frees the group; redriving keeps it.
SELECT once.alter_queue('g', max_attempts => 1);
SELECT count(*) FROM once.send_batch('g', ARRAY['"dead"', '"next"', '"last"']::jsonb[], group_ids => ARRAY['a', 'a', 'a']);
SELECT once.nack(receipt) FROM once.lease('g');
SELECT payload, state FROM once.peek('g');
SELECT payload FROM once.pop('g');
SELECT payload, group_id FROM once.dead_letters;
UPDATE once.q_g SET expires_at = now();
SELECT once.send('g', '"after"', group_id => 'a') IS NOT NULL AS sent;
SELECT payload FROM once.pop('g');
SELECT reason, payload, group_id FROM once.dead_letters ORDER BY dead_at, id;
SELECT once.redrive('g');
SELECT payload, group_id FROM once.peek('g');
SELECT payload, once.ack(receipt) FROM once.receive('g', 2);
SELECT count(*) FROM once.q_g;
SELECT once.alter_queue('g', reset => ARRAY['max_attempts']);

-- Archived and replayed, they are still of their group, and in order.
SELECT once.alter_queue('g', archive => '1 h');
SELECT count(*) FROM once.send_batch('g', ARRAY['1', '2', '3']::jsonb[], group_ids => ARRAY['a', 'b', 'a']);
SELECT payload, once.ack(receipt) FROM once.receive('g', 3);
SELECT once.replay('g', '-infinity', 'infinity');
SELECT payload, group_id FROM once.peek('g');
SELECT payload FROM once.pop('g', 3);

-- cancel takes what is not claimed, also from the middle.
SELECT once.send('g', '1', group_id => 'a') AS i1, once.send('g', '2', group_id => 'a') AS i2, once.send('g', '3', group_id => 'a') AS i3 \gset
SELECT once.cancel('g', :i2);
SELECT payload FROM once.pop('g', 3);

-- Names of 1 and of 1000 bytes; plain SQL has the same limits.
SELECT once.send('g', '1', group_id => 'x') IS NOT NULL AS sent;
SELECT once.send('g', '1', group_id => repeat('x', 1000)) IS NOT NULL AS sent;
INSERT INTO once.q_g (payload, group_id) VALUES ('2', 'x'), ('2', repeat('x', 1000));
INSERT INTO once.q_g (payload, group_id) VALUES ('2', '');
\echo :SQLSTATE
INSERT INTO once.q_g (payload, group_id) VALUES ('2', repeat('x', 1001));
INSERT INTO once.q_g (payload, group_id, priority) VALUES ('2', 'x', 5);
SELECT payload, length(group_id), state FROM once.peek('g');
SELECT count(*) FROM once.pop('g', 10);
SELECT * FROM once.check('g', true);

-- A table whose rows go through INSERT and DELETE.
CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN coalesce(NEW, OLD); END $$;
CREATE TRIGGER pass BEFORE INSERT OR DELETE ON once.q_g FOR EACH ROW EXECUTE FUNCTION pass();
SELECT once.send('g', '0', group_id => 'a') IS NOT NULL AS sent;
SELECT count(*) FROM once.send_batch('g', ARRAY['1', '2', '3']::jsonb[], group_ids => ARRAY['a', NULL, 'a']);
SELECT payload, group_id FROM once.q_g ORDER BY id;
SELECT payload FROM once.receive('g'), LATERAL once.ack(receipt);
SELECT array_agg(receipt ORDER BY payload) AS r FROM once.lease('g', max_messages => 3) \gset
SELECT once.ack((:'r'::uuid[])[3]);
\echo :SQLSTATE
SELECT once.ack_all(:'r');
SELECT * FROM once.check('g', true);
SELECT once.drop_queue('g');
DROP FUNCTION pass;
