-- Receipts: what is one, whose it is, and how long it is good.
SELECT once.create_queue('a');
SELECT once.create_queue('b');
CREATE TABLE mine (id int);

-- Not receipts.
SELECT once.ack(NULL);
\echo :SQLSTATE
SELECT once.ack('00000000-0000-0000-0000-000000000000');
\echo :SQLSTATE
SELECT once.ack('ffffffff-ffff-ffff-ffff-ffffffffffff');
SELECT once.try_ack('123e4567-e89b-12d3-a456-426614174000');
SELECT once.nack('123e4567-e89b-12d3-a456-426614174000');
SELECT once.release('123e4567-e89b-12d3-a456-426614174000');
SELECT once.extend('123e4567-e89b-12d3-a456-426614174000', '1 s');
SELECT once.ack_all(ARRAY['123e4567-e89b-12d3-a456-426614174000', NULL]::uuid[]);
SELECT once.ack_all(NULL);
SELECT once.try_ack_all(NULL);
SELECT once.ack('not a uuid');
\set VERBOSITY terse
SELECT once.extend(NULL, '1 s');
SELECT once.nack(NULL);
\set VERBOSITY default

-- Receipts that name something that is no queue, or none of ours.
CREATE FUNCTION forge(rel oid, block int DEFAULT 1, slot int DEFAULT 0, proof bigint DEFAULT 0) RETURNS uuid LANGUAGE sql
RETURN (lpad(to_hex(rel::bigint), 8, '0') || lpad(to_hex(block), 8, '0') || lpad(to_hex(slot * 16 + 1), 4, '0') || lpad(to_hex(proof), 12, '0'))::uuid;
SELECT once.ack(forge('mine'::regclass));
\echo :SQLSTATE
SELECT once.ack(forge('pg_class'::regclass));
SELECT once.ack(forge('once.queue'::regclass));
SELECT once.ack(forge('once.q_a_queue_idx'::regclass));
SELECT once.ack(forge('once.q_a_id_seq'::regclass));
SELECT once.try_ack(forge(4294967295));
-- Made up for a queue: it has delivered no such thing.
SELECT once.ack(forge('once.q_a'::regclass));
\echo :SQLSTATE
SELECT once.try_ack(forge('once.q_a'::regclass)), once.try_ack(forge('once.q_a'::regclass, 1000)), once.try_ack(forge('once.q_a'::regclass, 1, 4095));
SELECT once.send('a', '1'), once.send('b', '1');
SELECT receipt AS ra FROM once.lease('a') \gset
SELECT receipt AS rb FROM once.lease('b') \gset
SELECT once.try_ack(forge('once.q_a'::regclass, 1, 0, proof)) FROM generate_series(0, 99) proof GROUP BY 1;
-- That of another queue is that of another queue.
SELECT once.try_ack(forge('once.q_b'::regclass)::text::uuid);
SELECT once.ack(overlay(:'ra' PLACING lpad(to_hex('once.q_b'::regclass::oid::bigint), 8, '0') FROM 1 FOR 8)::uuid);

-- Receipts of several queues in one array.
SELECT once.ack_all(ARRAY[:'ra', :'rb', :'ra']::uuid[]);
SELECT array_position(ARRAY[:'ra', :'rb']::uuid[], r) FROM once.try_ack_all(ARRAY[:'rb', :'ra', :'rb']::uuid[]) r;

-- A rebuilt index has forgotten its leases: their receipts are stale, the messages ready.
SELECT once.send('a', '2');
SELECT receipt AS ra FROM once.lease('a') \gset
REINDEX INDEX once.q_a_queue_idx;
SELECT once.ack(:'ra');
SELECT once.try_ack(:'ra');
SELECT payload, attempt, receipt AS ra FROM once.lease('a') \gset
SELECT :payload AS payload, :attempt AS attempt;
SELECT once.ack(:'ra');
-- TRUNCATE as well; VACUUM FULL too.
SELECT once.send('a', '3');
SELECT receipt AS ra FROM once.lease('a') \gset
TRUNCATE once.q_a;
SELECT once.ack(:'ra');
SELECT once.send('a', '4');
SELECT receipt AS ra FROM once.lease('a') \gset
VACUUM FULL once.q_a;
SELECT once.ack(:'ra');
SELECT payload FROM once.pop('a');
-- A plain VACUUM does not disturb them.
SELECT count(*) FROM once.send_batch('a', ARRAY['5', '6', '7']::jsonb[]);
SELECT array_agg(receipt) AS r FROM once.lease('a', max_messages => 3) \gset
SELECT once.ack((:'r'::uuid[])[1]);
VACUUM once.q_a;
SELECT once.try_ack((:'r'::uuid[])[1]), once.try_ack((:'r'::uuid[])[2]), once.try_ack((:'r'::uuid[])[3]);

-- The queue is gone, and another of that name has nothing to do with it.
SELECT once.send('b', '2');
SELECT receipt AS rb FROM once.lease('b') \gset
SELECT once.drop_queue('b');
SELECT once.ack(:'rb');
\echo :SQLSTATE
SELECT once.create_queue('b');
SELECT once.try_ack(:'rb');
SELECT once.nack(:'rb');

DROP FUNCTION forge;
DROP TABLE mine;
SELECT once.drop_queue('a'), once.drop_queue('b');
