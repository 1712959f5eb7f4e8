-- Leases whose receipts are lost, and those whose messages are moved or deleted by plain SQL.
SELECT once.create_queue('q', retry_delay => '0', max_attempts => 3);
CREATE VIEW messages AS SELECT payload, attempt, state FROM once.peek('q');

-- Without a group: ended by the ids, the delivery counts, and what is not leased stays as it is.
SELECT count(once.send('q', to_jsonb(g))) FROM generate_series(1, 4) g;
SELECT once.send('q', '5', delay => '1 h') IS NOT NULL AS sent;
SELECT receipt AS r FROM once.lease('q', '365 days') \gset
SELECT count(*) FROM once.lease('q', '365 days', 2);
SELECT * FROM messages;
SELECT once.release('q', ARRAY(SELECT id FROM once.q_q WHERE payload IN ('1', '3', '4', '5')) || 1000::bigint);
SELECT * FROM messages;
SELECT once.ack(:'r');
\echo :SQLSTATE
SELECT once.try_ack(:'r');
SELECT once.release('q', ARRAY(SELECT id FROM once.q_q));
SELECT once.release('q', '{}'), once.release('q', NULL::bigint[]), once.release('q', ARRAY(SELECT id FROM once.q_q));
SELECT payload FROM once.pop('q', 10);
SELECT once.purge('q');
-- It acts at once; a received message is not a leased one, and a message updated in its place is found.
SELECT count(once.send('q', to_jsonb(g))) FROM generate_series(1, 2) g;
SELECT payload FROM once.lease('q', '1 h');
UPDATE once.q_q SET headers = '{}' WHERE payload = '1';
BEGIN;
SELECT payload, receipt AS r FROM once.receive('q') \gset
SELECT once.release('q', ARRAY(SELECT id FROM once.q_q));
SELECT once.ack(:'r');
ROLLBACK;
SELECT * FROM messages;
SELECT payload FROM once.pop('q', 10);
-- Bad arguments; not the owner.
SELECT once.release('nowhere', ARRAY[1::bigint]);
SELECT once.release('q', ARRAY[1, NULL]::bigint[]);
SELECT once.release('q', ARRAY[[1, 2]]::bigint[]);
SELECT once.release(NULL, ARRAY[1::bigint]);
CREATE ROLE regress_once_worker;
SELECT once.grant_queue('q', 'regress_once_worker', 'consume');
SET ROLE regress_once_worker;
SELECT once.release('q', ARRAY[1::bigint]);
\echo :SQLSTATE
RESET ROLE;
SELECT once.revoke_queue('q', 'regress_once_worker', 'consume');
DROP ROLE regress_once_worker;

-- In a group: those after it that were leased with it come back, uncounted, and the group goes on.
SELECT count(once.send('q', to_jsonb(g), group_id => 'g')) FROM generate_series(1, 4) g;
SELECT count(*) FROM once.lease('q', '365 days', 2);
SELECT once.release('q', ARRAY(SELECT id FROM once.q_q WHERE payload = '1'));
SELECT * FROM messages;
SELECT payload FROM once.pop('q', 10);

-- Moved by an UPDATE, the old places do not keep the group waiting: neither for maintain, nor for who finds nothing else.
SELECT count(once.send('q', to_jsonb(g), group_id => 'g')) FROM generate_series(1, 2) g;
SELECT count(*) FROM once.lease('q', '365 days', 2);
UPDATE once.q_q SET deliver_at = now();
SELECT * FROM messages;
CALL once.maintain();
SELECT * FROM messages;
SELECT payload FROM once.pop('q', 5);
SELECT * FROM once.check('q', true);
-- Deleted, likewise.
SELECT count(once.send('q', to_jsonb(g), group_id => 'g')) FROM generate_series(3, 6) g;
SELECT count(*) FROM once.lease('q', '365 days', 2);
DELETE FROM once.q_q WHERE payload IN ('3', '4');
SELECT * FROM messages;
SELECT payload FROM once.pop('q', 5);
-- A deletion that is rolled back, and one that is open, leave the lease.
SELECT count(once.send('q', to_jsonb(g), group_id => 'g')) FROM generate_series(7, 8) g;
SELECT receipt AS r FROM once.lease('q', '365 days') \gset
BEGIN;
DELETE FROM once.q_q WHERE payload = '7';
CALL once.maintain();
ROLLBACK;
CALL once.maintain();
SELECT * FROM messages;
SELECT once.ack(:'r');
SELECT payload FROM once.pop('q', 5);
SELECT * FROM once.check('q', true);

-- Who takes messages scans the index, as far as reports of unused indexes are concerned.
BEGIN;
SELECT pg_stat_get_xact_numscans('once.q_q_queue_idx'::regclass) AS scans \gset
SELECT FROM once.receive('q');
SELECT FROM once.lease('q');
SELECT FROM once.pop('q');
SELECT pg_stat_get_xact_numscans('once.q_q_queue_idx'::regclass) - :scans AS scans;
ROLLBACK;
SELECT once.drop_queue('q');
DROP VIEW messages;
