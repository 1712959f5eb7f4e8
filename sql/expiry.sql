-- Messages past their time are never delivered, whichever way they came and
-- whoever calls.
SELECT once.create_queue('e', retry_delay => '0', retry_delay_max => '0', id_index => true);
CREATE VIEW letters AS
SELECT reason, attempts, last_error, expires_at <= dead_at AS expired, payload FROM once.dead_letters ORDER BY dead_at, id;

-- A time to live of the message's own.
SELECT once.send('e', '"gone"', ttl => '1 us') IS NOT NULL AS sent;
SELECT once.send('e', '"stays"', ttl => '1 h') IS NOT NULL AS sent;
SELECT payload FROM once.pop('e', 5);
SELECT * FROM letters;
INSERT INTO once.q_e (payload, expires_at) VALUES ('"plain SQL, gone"', now()), ('"plain SQL, stays"', now() + '1 day');
SELECT payload, once.ack(receipt) FROM once.receive('e', 5);
SELECT payload FROM letters;
INSERT INTO once.q_e (payload, expires_at) VALUES ('"minus infinity"', '-infinity'), ('"infinity"', 'infinity');
SELECT payload, once.ack(receipt) FROM once.lease('e', max_messages => 5);
SELECT payload FROM letters;

-- It counts from when the message could first be delivered.
SELECT once.send('e', '"past due"', ttl => '1 h', deliver_at => '2000-01-01 UTC') IS NOT NULL AS sent;
SELECT payload FROM once.pop('e');

-- Under a valid claim it may still be acked; not delivered again, though.
SELECT once.purge_dead_letters('e');
SELECT once.send('e', '"claimed"', ttl => '1 h') IS NOT NULL AS sent;
SELECT receipt AS r FROM once.lease('e', '1 h') \gset
UPDATE once.q_e SET expires_at = now();
SELECT * FROM once.pop('e');
BEGIN; SELECT once.ack(:'r'); ROLLBACK;
SELECT once.nack(:'r', error => 'too slow');
SELECT * FROM once.pop('e');
SELECT * FROM letters;
SELECT error FROM once.failures;
-- Redriven, it has no time to live of its own.
SELECT once.redrive('e');
SELECT payload, attempt FROM once.pop('e');
SELECT count(*) FROM once.failures;

-- The queue's time to live is for messages that are in it already as well, and
-- at once in a session that has the queue in its cache.
SELECT count(*) FROM once.send_batch('e', ARRAY['1', '2']::jsonb[]);
INSERT INTO once.q_e (payload, enqueued_at) VALUES ('"yesterday"', now() - '1 day'::interval);
INSERT INTO once.q_e (payload, enqueued_at, expires_at) VALUES ('"told otherwise"', now() - '1 day'::interval, 'infinity');
INSERT INTO once.q_e (payload, enqueued_at, deliver_at) VALUES ('"due now"', now() - '1 day'::interval, now());
SELECT count(*) FROM once.peek('e');
PREPARE take AS SELECT payload FROM once.pop('e', 10);
BEGIN;
EXECUTE take;
ROLLBACK;
SELECT once.alter_queue('e', ttl => '1 h');
EXECUTE take;
SELECT reason, attempts, payload FROM once.dead_letters;
SELECT once.alter_queue('e', reset => ARRAY['ttl']);
INSERT INTO once.q_e (payload, enqueued_at) VALUES ('"yesterday"', now() - '1 day'::interval);
EXECUTE take;
DEALLOCATE take;
SELECT once.purge_dead_letters('e');

-- ttl_action drop: they are deleted and not kept, with what is known of them.
SELECT once.alter_queue('e', ttl_action => 'drop');
SELECT once.send('e', '"dropped"') IS NOT NULL AS sent;
SELECT once.nack(receipt, error => 'forgotten') FROM once.lease('e');
SELECT count(*) FROM once.failures;
UPDATE once.q_e SET expires_at = now();
BEGIN;
SELECT * FROM once.lease('e');
SELECT count(*) FROM once.q_e;
ROLLBACK;
SELECT count(*) FROM once.q_e;
SELECT * FROM once.lease('e');
SELECT count(*) FROM once.q_e;
SELECT count(*) FROM letters;
SELECT count(*) FROM once.failures;
-- Used-up attempts go to the dead letters all the same.
SELECT once.alter_queue('e', max_attempts => 1);
SELECT once.send('e', '"used up"') IS NOT NULL AS sent;
SELECT once.nack(receipt) FROM once.lease('e');
SELECT * FROM once.pop('e');
SELECT reason, payload FROM letters;
SELECT once.purge_dead_letters('e');
-- What is both has used up its attempts, and so is kept.
SELECT once.send('e', '"both"', ttl => '1 h') IS NOT NULL AS sent;
SELECT once.nack(receipt) FROM once.lease('e');
UPDATE once.q_e SET expires_at = now();
SELECT * FROM once.pop('e');
SELECT reason, attempts, payload FROM letters;
SELECT once.alter_queue('e', reset => ARRAY['ttl_action']);

-- cancel and purge ask for no time.
SELECT once.send('e', '"cancelled"', ttl => '1 us') AS id \gset
SELECT once.cancel('e', :id);
SELECT once.send('e', '"purged"', ttl => '1 us') IS NOT NULL AS sent;
SELECT once.purge('e');
SELECT payload FROM letters;

-- An expired message stays what it is until somebody calls; peek says so.
SELECT once.send('e', '"expired"', ttl => '1 us') IS NOT NULL AS sent;
SELECT payload, state FROM once.peek('e');
SELECT * FROM once.check('e', true);

-- A table with its columns in another order, and more of them.
ALTER TABLE once.q_e ADD COLUMN note text DEFAULT 'note', DROP COLUMN expires_at;
SELECT * FROM once.pop('e');
\echo :SQLSTATE
ALTER TABLE once.q_e ADD COLUMN expires_at timestamptz;
SELECT payload FROM once.pop('e');
SELECT once.send('e', '"gone"', ttl => '1 us') IS NOT NULL AS sent;
SELECT once.send('e', '"stays"', ttl => '1 day') IS NOT NULL AS sent;
SELECT payload FROM once.pop('e', 5);
SELECT reason, payload FROM letters;
SELECT * FROM once.check('e', true);
DROP VIEW letters;
SELECT once.drop_queue('e');
