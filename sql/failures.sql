-- Failures belong to a message, not to its id: ids come again.
SELECT once.create_queue('f', max_attempts => 3, retry_delay => '0', id_index => true);
CREATE VIEW failures AS
SELECT f.id, f.attempt, f.error, m.id IS NOT NULL AS in_queue
  FROM once.failures f LEFT JOIN once.q_f m ON (m.id, m.enqueued_at) = (f.id, f.enqueued_at) ORDER BY f.failed_at;

-- TRUNCATE .. RESTART IDENTITY: the new message has not failed, nor does it die
-- of what the old one died of.
SELECT once.send('f', '"old"');
SELECT once.nack(receipt, error => 'of the old one') FROM once.lease('f');
SELECT * FROM failures;
TRUNCATE once.q_f RESTART IDENTITY;
SELECT once.send('f', '"new"');
SELECT * FROM failures;
SELECT once.nack(receipt, error => 'of the new one') FROM once.lease('f');
SELECT * FROM failures;
SELECT once.nack(receipt) FROM once.lease('f');
SELECT once.nack(receipt) FROM once.lease('f');
SELECT * FROM once.pop('f');
SELECT id, payload, attempts, last_error FROM once.dead_letters;
-- maintain sweeps up the old one's, and leaves those of dead letters.
CALL once.maintain();
SELECT * FROM failures;

-- Two dead letters of one id: each has its own, loses its own, and only that.
TRUNCATE once.q_f RESTART IDENTITY;
SELECT once.alter_queue('f', max_attempts => 1);
SELECT once.send('f', '"newer"');
SELECT once.nack(receipt, error => 'of the newer one') FROM once.lease('f');
SELECT * FROM once.pop('f');
SELECT id, payload, last_error FROM once.dead_letters ORDER BY dead_at;
CALL once.maintain();
SELECT id, attempt, error FROM failures;
SELECT once.redrive('f', 1);
SELECT id, payload, last_error FROM once.dead_letters;
SELECT id, attempt, error FROM failures;
-- One id, two messages: an id that is asked for is that of both.
SELECT once.purge('f');
INSERT INTO once.dead_letter (queue, id, reason, attempts, dead_at, payload) VALUES ('f', 1, 'attempts', 1, now(), '"newest"');
INSERT INTO once.failure (queue, id, attempt, error, failed_at) VALUES ('f', 1, 1, 'without a time', now());
SELECT id, payload, last_error FROM once.dead_letters ORDER BY dead_at;
SELECT once.purge_dead_letters('f', ids => '{1}');
SELECT count(*) FROM failures;

-- An ack, a pop, a cancel and an expiry that drops take the message's own.
TRUNCATE once.q_f RESTART IDENTITY;
SELECT once.alter_queue('f', max_attempts => 3, ttl_action => 'drop');
SELECT count(*) FROM once.send_batch('f', ARRAY['1', '2', '3', '4']::jsonb[]);
SELECT once.nack(receipt, error => 'old ' || payload::text) FROM once.lease('f', max_messages => 4);
TRUNCATE once.q_f RESTART IDENTITY;
SELECT count(*) FROM once.send_batch('f', ARRAY['1', '2', '3', '4']::jsonb[]);
SELECT once.nack(receipt, error => 'new ' || payload::text) FROM once.lease('f', max_messages => 4);
SELECT id, once.ack(receipt) FROM once.receive('f');
SELECT id FROM once.pop('f');
SELECT once.cancel('f', 3);
UPDATE once.q_f SET expires_at = now() WHERE id = 4;
SELECT id FROM once.pop('f');
SELECT error FROM failures;
CALL once.maintain();
SELECT error FROM failures;

-- One that the transaction has locked itself is forgotten as well.
SELECT count(once.send('f', '5'));
SELECT once.nack(receipt, error => 'locked') FROM once.lease('f');
BEGIN;
SELECT error FROM once.failure FOR UPDATE;
SELECT attempt FROM once.pop('f');
COMMIT;
SELECT error FROM failures;

-- An id that is given again by hand.
SELECT once.alter_queue('f', reset => ARRAY['ttl_action']);
INSERT INTO once.q_f (id, payload) OVERRIDING SYSTEM VALUE VALUES (77, '"by hand"');
SELECT once.nack(receipt, error => 'of the first 77') FROM once.lease('f');
DELETE FROM once.q_f;
INSERT INTO once.q_f (id, payload) OVERRIDING SYSTEM VALUE VALUES (77, '"by hand again"');
SELECT * FROM failures;
SELECT once.nack(receipt) FROM once.lease('f', max_messages => 1);
UPDATE once.q_f SET expires_at = now();
SELECT * FROM once.pop('f');
SELECT id, payload, last_error FROM once.dead_letters;
DROP VIEW failures;
SELECT once.drop_queue('f');
SELECT count(*) FROM once.failure;
