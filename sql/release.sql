-- Leases whose receipts are lost are given back by the ids of their messages.
SELECT once.create_queue('q', retry_delay => '1 h', max_attempts => 3);
SELECT once.send_batch('q', ARRAY['1', '2', '3', '4', '5', '6']::jsonb[], priority => 7);
SELECT count(receipt) FROM once.lease('q', '365 days', 5);
SELECT id FROM once.peek('q', 100) WHERE state = 'claimed' ORDER BY id;

-- Those that are leased, each once; ids that are not there, not leased, or twice do no harm.
SELECT once.release('q', ARRAY[4, 2, 2, 6, -1, 9223372036854775807, -9223372036854775808]);
SELECT id, state, attempt, ready_at > now() + '364 days' AS leased FROM once.peek('q', 100) ORDER BY id;
SELECT once.release('q', ARRAY[4, 2]);
SELECT once.release('q', '{}'), once.release('q', NULL);
-- At once: not even a rollback takes it back.
BEGIN;
SELECT once.release('q', ARRAY[1]);
ROLLBACK;
SELECT id, attempt FROM once.lease('q', '1 h') WHERE id = 1;

-- The attempt has been counted, so there is an end of it.
DO $$
BEGIN
  ASSERT once.release('q', ARRAY[1]) = 1;
  ASSERT (SELECT attempt FROM once.lease('q', '1 h')) = 3;
  ASSERT once.release('q', ARRAY[1]) = 1;
END $$;
SELECT id, state, attempt FROM once.peek('q', 1);
SELECT id FROM once.pop('q', 1);
SELECT id, reason, attempts FROM once.dead_letters WHERE queue = 'q';
SELECT once.purge('q') > 0 AS purged;

-- The old receipt is worth nothing, for any verb.
SELECT once.send('q', '7') AS id \gset
SELECT receipt AS old FROM once.lease('q', '1 h') \gset
SELECT once.release('q', ARRAY[:id]);
\set VERBOSITY sqlstate
SELECT once.ack(:'old');
SELECT once.nack(:'old');
SELECT once.release(:'old');
SELECT once.extend(:'old', '1 h');
\set VERBOSITY default
SELECT once.try_ack(:'old');
-- Whoever has it now has it alone.
SELECT receipt AS new FROM once.lease('q', '1 h') \gset
SELECT once.try_ack(:'old'), once.try_ack(:'new');

-- Only leases that are not over: nothing received, nothing given back, nothing whose time is over.
SELECT once.send('q', '8') AS id \gset
BEGIN;
SELECT receipt AS own FROM once.receive('q') \gset
SELECT once.release('q', ARRAY[:id]);
SELECT once.release(:'own');
COMMIT;
SELECT receipt AS nacked FROM once.lease('q', '1 h') \gset
SELECT once.nack(:'nacked');
SELECT once.release('q', ARRAY[:id]);
SELECT state, attempt, ready_at > now() + '10 min' AS pauses FROM once.peek('q');
SELECT once.purge('q');
SELECT once.send('q', '9') AS id \gset
SELECT count(*) FROM once.lease('q', '1 us');
SELECT once.release('q', ARRAY[:id]);
SELECT once.purge('q');
-- Nor what is due later.
SELECT once.send('q', '10', delay => '1 h') AS id \gset
SELECT once.release('q', ARRAY[:id]);
SELECT once.purge('q');

-- A row that was updated in its place is the same message; one that was moved is another one.
SELECT once.send('q', '11') AS id \gset
SELECT count(*) FROM once.lease('q', '1 h');
UPDATE once.q_q SET payload = '12' WHERE id = :id;
SELECT once.release('q', ARRAY[:id]);
SELECT count(*) FROM once.lease('q', '1 h');
UPDATE once.q_q SET deliver_at = '2000-01-01' WHERE id = :id;
SELECT once.release('q', ARRAY[:id]);
SELECT payload, attempt FROM once.pop('q', 10);

-- In a group, it goes on; what the same call has leased behind it comes back with it, uncounted.
SELECT count(*) FROM once.send_batch('q', ARRAY['1', '2', '3', '4']::jsonb[], group_ids => array_fill('g'::text, ARRAY[4]));
SELECT min(id) AS head FROM once.q_q \gset
SELECT receipt AS second FROM once.lease('q', '365 days', 3) ORDER BY id OFFSET 1 LIMIT 1 \gset
SELECT payload FROM once.pop('q', 10);
SELECT once.release('q', ARRAY[:head]);
SELECT once.try_ack(:'second');
SELECT payload, state, attempt FROM once.peek('q');
SELECT payload, attempt FROM once.pop('q', 10);
-- Asked for as well, they are counted.
SELECT count(*) FROM once.send_batch('q', ARRAY['1', '2', '3', '4']::jsonb[], group_ids => array_fill('g'::text, ARRAY[4]));
SELECT count(*) FROM once.lease('q', '365 days', 3);
SELECT once.release('q', (SELECT array_agg(id ORDER BY id DESC) FROM once.q_q));
SELECT payload, attempt FROM once.pop('q', 10);
-- Not the head: its group still waits for that.
SELECT count(*) FROM once.send_batch('q', ARRAY['1', '2', '3']::jsonb[], group_ids => array_fill('g'::text, ARRAY[3]));
SELECT receipt AS first FROM once.lease('q', '365 days', 2) ORDER BY id LIMIT 1 \gset
SELECT once.release('q', ARRAY[(SELECT max(id) - 1 FROM once.q_q)]);
SELECT payload FROM once.pop('q', 10);
SELECT once.ack(:'first');
SELECT payload, attempt FROM once.pop('q', 10);

-- However many pages.
SELECT count(*) FROM once.send_batch('q', array_fill('0'::jsonb, ARRAY[1000]));
SELECT count(*) FROM once.lease('q', '365 days', 1000);
SELECT once.release('q', (SELECT array_agg(id) FROM once.q_q WHERE id % 2 = 0));
SELECT count(*), min(attempt), max(attempt) FROM once.pop('q', 1000);
SELECT once.release('q', (SELECT array_agg(id) FROM once.q_q));
SELECT count(*) FROM once.pop('q', 1000);
SELECT * FROM once.check('q', strict => true);

-- For the owner; who may consume may not.
CREATE ROLE regress_release_consumer;
SELECT once.grant_queue('q', 'regress_release_consumer', 'consume');
SET ROLE regress_release_consumer;
SELECT once.release('q', ARRAY[1]);
RESET ROLE;
BEGIN READ ONLY;
SELECT once.release('q', ARRAY[1]);
ROLLBACK;
SELECT once.release('none', ARRAY[1]);
SELECT once.release(NULL, ARRAY[1]);
SELECT once.release('q', ARRAY[1, NULL]);
SELECT once.release('q', '{{1,2}}');
SELECT once.revoke_queue('q', 'regress_release_consumer', 'consume');
DROP ROLE regress_release_consumer;
SELECT once.drop_queue('q');

-- Groups go on past a first message, not to be had yet, that plain SQL has moved or
-- deleted: for the next who finds nothing else.
SELECT once.create_queue('h', retry_delay => '1 h');
SELECT once.send_batch('h', ARRAY['1', '2', '3']::jsonb[], group_ids => array_fill('g'::text, ARRAY[3]));
SELECT count(*) FROM once.lease('h', '365 days', 2);
UPDATE once.q_h SET deliver_at = '2000-01-01' WHERE payload <> '3';
SELECT payload, state, attempt FROM once.peek('h');
SELECT payload, attempt FROM once.pop('h', 5);
SELECT once.send_batch('h', ARRAY['4', '5', '6']::jsonb[], group_ids => array_fill('g'::text, ARRAY[3]));
SELECT count(*) FROM once.lease('h', '365 days', 2);
DELETE FROM once.q_h WHERE payload IN ('4', '5');
SELECT payload, state, attempt FROM once.peek('h');
SELECT payload, attempt, once.ack(receipt) FROM once.receive('h', 5);
-- One that waits after a failure likewise, and for a call that leases and waits.
SELECT once.send_batch('h', ARRAY['7', '8']::jsonb[], group_ids => array_fill('g'::text, ARRAY[2]));
SELECT once.nack(receipt) FROM once.lease('h', '1 h');
DELETE FROM once.q_h WHERE payload = '7';
SELECT payload, attempt, once.ack(receipt) FROM once.lease('h', '1 h', 5, wait => '1 min');
-- A queue in which looking for such groups is in vain does not keep the next one from it.
SELECT once.create_queue('k');
SELECT once.send_batch('k', ARRAY['1', '2']::jsonb[], group_ids => ARRAY['g', 'g']);
SELECT count(*) FROM once.lease('k', '1 h');
SELECT once.send_batch('h', ARRAY['9', '10']::jsonb[], group_ids => ARRAY['g', 'g']);
SELECT count(*) FROM once.lease('h', '1 h');
DELETE FROM once.q_h WHERE payload = '9';
SELECT (SELECT count(*) FROM once.pop('k')) AS in_vain, (SELECT payload FROM once.pop('h'));
-- A session that asks several queues in turn hardly pays more for that than one that asks a single queue.
CREATE FUNCTION pages(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || query INTO plan;
	RETURN plan->0->'Plan'->>'Shared Hit Blocks';
END $$;
SELECT once.create_queue('j');
SELECT count(*) FROM (VALUES ('j'), ('k')) AS q (name), LATERAL once.send_batch(name, ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 200) n), group_ids => ARRAY(SELECT 'g' || n % 100 FROM generate_series(1, 200) n));
SELECT count(*) FROM (VALUES ('j'), ('k')) AS q (name), LATERAL once.lease(name, '1 h', 1000);
SELECT pages('SELECT once.pop(''j''), once.pop(''k'') FROM generate_series(1, 1000)') <
	4 * pages('SELECT once.pop(''j'') FROM generate_series(1, 2000)') AS hardly_more;
SELECT once.drop_queue('j');
DROP FUNCTION pages;
SELECT once.drop_queue('k');
-- maintain does so for all groups at once, whatever else there is.
SELECT count(*) FROM once.send_batch('h', (SELECT array_agg(to_jsonb(n)) FROM generate_series(1, 2000) n), group_ids => (SELECT array_agg('g' || n % 1000) FROM generate_series(1, 2000) n));
SELECT count(*) FROM once.lease('h', '365 days', 1000);
SELECT count(*) FROM once.slots('h') WHERE state = 'claimed' AND NOT blocked;
DELETE FROM once.q_h WHERE payload::int <= 1000;
CALL once.maintain();
SELECT count(*), bool_or(state = 'claimed') FROM once.slots('h') WHERE state NOT IN ('done', 'ended') AND NOT blocked;
SELECT count(*) FROM once.pop('h', 1000);
-- Without maintain, each walk that finds nothing looks at some.
SELECT count(*) FROM once.send_batch('h', (SELECT array_agg(to_jsonb(n)) FROM generate_series(1, 2000) n), group_ids => (SELECT array_agg('g' || n % 1000) FROM generate_series(1, 2000) n));
SELECT count(*) FROM once.lease('h', '365 days', 1000);
DELETE FROM once.q_h WHERE payload::int <= 1000;
DO $$
DECLARE
  popped int := 0;
  calls int := 0;
BEGIN
  WHILE popped < 1000 AND calls < 100 LOOP
    popped := popped + (SELECT count(*) FROM once.pop('h', 1000));
    calls := calls + 1;
  END LOOP;
  ASSERT popped = 1000, format('%s in %s calls', popped, calls);
END $$;
-- More than one walk looks at in one group, of one claim: still in one call.
SELECT count(*) FROM once.send_batch('h', (SELECT array_agg(to_jsonb(n)) FROM generate_series(1, 1001) n), group_ids => array_fill('g'::text, ARRAY[1001]));
SELECT count(*) FROM once.lease('h', '365 days', 1000);
DELETE FROM once.q_h WHERE payload::int <= 1000;
SELECT payload, attempt FROM once.pop('h', 5);
-- maintain does it in steps, of which each has an end, however many groups there are, or
-- messages in one; and there is an end of the time, which loses nothing.
ALTER TABLE once.q_h SET (autovacuum_enabled = off);
CREATE VIEW waiting AS SELECT count(*) AS groups FROM once.slots('h') WHERE state = 'claimed' AND NOT blocked;
INSERT INTO once.q_h (payload, group_id) SELECT to_jsonb(n), 'g' || n % 6000 FROM generate_series(0, 11999) n;
DO $$ BEGIN FOR i IN 1 .. 6 LOOP PERFORM once.lease('h', '365 days', 1000); END LOOP; END $$;
DELETE FROM once.q_h WHERE payload::int < 6000;
SELECT * FROM waiting;
SET once.maintenance_timeout = '1 ms';
CALL once.maintain();
RESET once.maintenance_timeout;
SELECT groups BETWEEN 1 AND 5999 AS some_left FROM waiting;
CALL once.maintain();
SELECT * FROM waiting;
SELECT once.purge('h');
INSERT INTO once.q_h (payload, group_id) SELECT to_jsonb(n), 'g' FROM generate_series(0, 12000) n;
SELECT count(*) FROM once.lease('h', '365 days', 10000);
DELETE FROM once.q_h WHERE payload::int < 12000;
CALL once.maintain();
SELECT payload, state FROM once.peek('h');
SELECT state, blocked FROM once.slots('h') WHERE state NOT IN ('done', 'ended');
DROP VIEW waiting;
SELECT payload, attempt FROM once.pop('h', 5);
SELECT * FROM once.check('h', strict => true);
SELECT once.drop_queue('h');

-- What this very transaction has deleted does not hold up the groups beside it.
SELECT once.create_queue('s');
SELECT count(*) FROM once.send_batch('s', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 13) g), group_ids => ARRAY(SELECT g::text FROM generate_series(1, 13) g));
SELECT count(*) FROM once.lease('s', '1 h', 13);
SELECT count(*) FROM once.send_batch('s', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 10) g), group_ids => ARRAY(SELECT g::text FROM generate_series(1, 10) g));
SELECT count(*) FROM once.send_batch('s', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 600) g), group_ids => ARRAY(SELECT (11 + g % 3)::text FROM generate_series(1, 600) g));
DELETE FROM once.q_s WHERE id <= 10;
BEGIN;
DELETE FROM once.q_s WHERE group_id::int > 10;
SELECT count(*) FROM once.pop('s', 20);
ROLLBACK;
SELECT * FROM once.check('s', true);
SELECT once.drop_queue('s');
