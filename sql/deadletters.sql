-- Messages that are not delivered any more, and the errors of their deliveries.
SELECT once.create_queue('d', max_attempts => 2, retry_delay => '0', retry_delay_max => '0', id_index => true);
CREATE VIEW letters AS
SELECT id, reason, attempts, last_error, priority, headers, payload, enqueued_at <= dead_at AS enqueued,
       deliver_at IS NOT NULL AS delayed, expires_at FROM once.dead_letters WHERE queue = 'd';

-- A message has exactly max_attempts deliveries; whoever calls next moves it.
SELECT once.send('d', '"poison"', headers => '{"h": 1}', priority => 6, deliver_at => '2000-01-01 UTC');
BEGIN; SELECT attempt FROM once.receive('d'); ROLLBACK;
BEGIN; SELECT attempt FROM once.receive('d'); ROLLBACK;
SELECT count(*) FROM letters;
SELECT attempt, state FROM once.peek('d');
SELECT attempt FROM once.receive('d');
SELECT * FROM letters;
SELECT count(*) FROM once.q_d;
SELECT count(*) FROM once.peek('d');

-- It does so in its own transaction: rolled back, the message is dead again,
-- with no attempt added.
SELECT once.send('d', '"again"');
SELECT count(once.nack(receipt)) FROM once.lease('d');
SELECT count(once.nack(receipt)) FROM once.lease('d');
BEGIN;
SELECT * FROM once.pop('d');
SELECT attempts, payload FROM letters ORDER BY id;
ROLLBACK;
SELECT attempts, payload FROM letters ORDER BY id;
SELECT attempt, payload FROM once.peek('d');
BEGIN;
SAVEPOINT s;
SELECT * FROM once.lease('d');
SELECT count(*) FROM letters;
ROLLBACK TO s;
SELECT count(*) FROM letters;
SELECT * FROM once.lease('d');
SELECT count(*) FROM letters;
COMMIT;
SELECT attempts, payload FROM letters ORDER BY id;

-- Dead ones do not stand in the way of others, and one call that has something
-- to deliver moves at most 100; if they come first, they are out of the way.
SELECT count(*) FROM once.send_batch('d', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 250) g));
SELECT count(once.nack(receipt)) FROM once.lease('d', max_messages => 250);
SELECT count(once.nack(receipt)) FROM once.lease('d', max_messages => 250);
SELECT once.send('d', '"alive"', priority => 9);
SELECT payload FROM once.pop('d', 10);
SELECT count(*) FROM letters;
SELECT count(*) FROM once.lease('d', max_messages => 1000);
SELECT count(*) FROM letters;
SELECT count(*) FROM once.receive('d');
SELECT count(*), count(DISTINCT payload) FROM letters;
SELECT count(*) FROM once.q_d;

-- A lease that ran out at the last attempt is dead, and its holder may ack it
-- until somebody has moved it.
SELECT once.purge_dead_letters('d');
SELECT once.send('d', '"lease"') IS NOT NULL AS sent;
SELECT count(once.nack(receipt)) FROM once.lease('d');
SELECT receipt AS r, attempt FROM once.lease('d', lease => '1 ms') \gset
SELECT pg_sleep(0.01);
BEGIN;
SELECT once.ack(:'r');
ROLLBACK;
SELECT * FROM once.lease('d');
SELECT attempts, payload FROM letters;
SELECT once.ack(:'r');
\echo :SQLSTATE
SELECT once.try_ack(:'r');
SELECT once.nack(:'r');

-- The error given to nack is kept for each attempt, of live and dead messages.
SELECT once.purge_dead_letters('d');
SELECT once.send('d', '"errors"') AS id \gset
SELECT once.nack(receipt, error => 'first') FROM once.lease('d');
SELECT id - :id AS id, queue, attempt, error, failed_at <= clock_timestamp() AS failed FROM once.failures;
-- It is of the caller's transaction, while the nack itself acts at once.
BEGIN;
SELECT once.nack(receipt, '1 h', 'rolled back') FROM once.lease('d');
SELECT attempt, error FROM once.failures ORDER BY 1;
ROLLBACK;
SELECT attempt, error FROM once.failures ORDER BY 1;
SELECT attempt, state FROM once.peek('d');
SELECT once.cancel('d', :id);
SELECT count(*) FROM once.failures;

-- The last one of an attempt counts: a rebuilt index counts from one again.
SELECT once.send('d', '"errors"') AS id \gset
SELECT once.nack(receipt, error => 'before the rebuild') FROM once.lease('d');
REINDEX TABLE once.q_d;
SELECT once.nack(receipt, error => 'after it') FROM once.lease('d');
SELECT attempt, error FROM once.failures;
SELECT once.nack(receipt, error => 'last') FROM once.lease('d');
SELECT attempt, error FROM once.failures ORDER BY 1;
SELECT * FROM once.pop('d');
SELECT attempts, last_error FROM letters;
SELECT attempt, error FROM once.failures ORDER BY 1;
SELECT once.purge_dead_letters('d');
SELECT count(*) FROM once.failures;

-- A nack that fails leaves no error, and one without an error takes none away.
SELECT once.send('d', '"errors"') AS id \gset
SELECT receipt AS r FROM once.lease('d') \gset
SELECT once.nack(:'r', error => 'noted');
SELECT once.nack(:'r', error => 'too late');
SELECT once.nack(receipt) FROM once.lease('d');
SELECT attempt, error FROM once.failures ORDER BY 1;
SELECT once.purge('d');

-- An ack takes them away, in its transaction; those of other messages stay.
SELECT once.alter_queue('d', max_attempts => 5);
SELECT once.send('d', '"one"'), once.send('d', '"two"') \gset
SELECT once.nack(receipt, error => payload::text) FROM once.lease('d', max_messages => 2);
BEGIN;
SELECT payload, attempt, once.ack(receipt) FROM once.receive('d');
SELECT error FROM once.failures WHERE error LIKE '%one%' OR error LIKE '%two%';
ROLLBACK;
SELECT error FROM once.failures WHERE error LIKE '%one%' OR error LIKE '%two%' ORDER BY 1;
SELECT payload, attempt, once.ack(receipt) FROM once.receive('d');
SELECT error FROM once.failures WHERE error LIKE '%one%' OR error LIKE '%two%';
SELECT payload, once.try_ack(receipt) FROM once.lease('d', max_messages => 2);
SELECT error FROM once.failures WHERE error LIKE '%one%' OR error LIKE '%two%';
SELECT once.send('d', '"popped"') IS NOT NULL AS sent;
SELECT once.nack(receipt, error => 'popped') FROM once.lease('d');
SELECT payload, attempt FROM once.pop('d');
SELECT count(*) FROM once.failures WHERE error = 'popped';

-- alter_queue is for running sessions at once: fewer attempts, and it is dead.
SELECT once.send('d', '"lowered"') IS NOT NULL AS sent;
SELECT once.nack(receipt) FROM once.lease('d');
SELECT once.nack(receipt) FROM once.lease('d');
PREPARE take AS SELECT payload, attempt FROM once.pop('d');
SELECT once.alter_queue('d', max_attempts => 2);
EXECUTE take;
SELECT attempts, payload FROM letters;
SELECT once.alter_queue('d', max_attempts => 3);
SELECT count(*) FROM letters;
DEALLOCATE take;

-- redrive: the oldest first, with id, headers, priority; attempts start again.
SELECT once.purge_dead_letters('d');
SELECT once.alter_queue('d', max_attempts => 1);
SELECT once.send('d', '"a"', headers => '{"h": "a"}', priority => 2, ttl => '1 day') AS a \gset
SELECT once.nack(receipt, error => 'a') FROM once.lease('d');
SELECT * FROM once.pop('d');
SELECT once.send('d', NULL, delay => '1 ms') AS b \gset
SELECT pg_sleep(0.01);
SELECT once.nack(receipt, error => 'b') FROM once.lease('d');
SELECT * FROM once.pop('d');
SELECT once.send('d', '"c"') AS c \gset
SELECT once.nack(receipt, error => 'c') FROM once.lease('d');
SELECT * FROM once.pop('d');
SELECT once.redrive('d', 0);
\echo :SQLSTATE
SELECT once.redrive('d', 1);
SELECT id = :a AS a, priority, headers, payload, deliver_at, expires_at, enqueued_at >= now() - '1 min'::interval AS now FROM once.q_d;
SELECT attempt, state FROM once.peek('d');
SELECT last_error FROM letters ORDER BY id;
SELECT error FROM once.failures WHERE queue = 'd' AND id IN (:a, :b, :c) ORDER BY 1;
BEGIN;
SELECT once.redrive('d');
SELECT count(*) FROM letters;
ROLLBACK;
SELECT count(*) FROM letters;
SELECT once.redrive('d', 2147483647);
SELECT once.redrive('d');
SELECT id - :a AS id, attempt, priority, headers, payload FROM once.receive('d', 3), LATERAL once.ack(receipt);
SELECT count(*) FROM letters;

-- Many, in order.
SELECT count(*) FROM once.send_batch('d', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 2500) g));
SELECT count(once.nack(receipt)) FROM once.lease('d', max_messages => 2500);
DO $$ BEGIN FOR i IN 1 .. 25 LOOP PERFORM once.pop('d'); END LOOP; END $$;
SELECT count(*) FROM letters;
SELECT once.redrive('d', 2400);
SELECT payload FROM letters ORDER BY id LIMIT 1;
SELECT count(*), bool_and(payload::text::int = n) FROM (SELECT payload, row_number() OVER () AS n FROM once.pop('d', 3000)) p;
SELECT once.purge_dead_letters('d');

-- A paused queue takes none back, and loses none.
SELECT once.send('d', '"kept"') IS NOT NULL AS sent;
SELECT once.nack(receipt) FROM once.lease('d');
SELECT * FROM once.pop('d');
SELECT once.pause('d', 'send');
SELECT once.redrive('d');
\echo :SQLSTATE
SELECT once.resume('d');
SELECT count(*) FROM letters;
-- Nor does one that has a message of that id.
INSERT INTO once.q_d (id, payload) OVERRIDING SYSTEM VALUE SELECT id, '"in the way"' FROM letters;
SELECT once.redrive('d');
SELECT payload FROM letters;

-- purge leaves dead letters alone, drop_queue does not.
SELECT once.purge('d');
SELECT count(*) FROM letters;
BEGIN;
SELECT once.drop_queue('d');
SELECT count(*) FROM once.dead_letter;
ROLLBACK;
SELECT count(*) FROM once.dead_letter;
SELECT once.send('d', '"failed"') IS NOT NULL AS sent;
SELECT once.nack(receipt, error => 'e') FROM once.lease('d');
SELECT once.drop_queue('d');
SELECT (SELECT count(*) FROM once.dead_letter), (SELECT count(*) FROM once.failure);
SELECT once.redrive('d');
\echo :SQLSTATE
SELECT once.purge_dead_letters('d');
-- A queue whose table was dropped by hand leaves them, for nobody to see; not
-- even for who wants to make a queue of that name, before they are dropped.
SELECT once.create_queue('d', max_attempts => 1, retry_delay => '0', retry_delay_max => '0');
SELECT once.send('d', '"secret"');
SELECT once.nack(receipt, error => 'secret') FROM once.lease('d');
SELECT * FROM once.pop('d');
DROP VIEW letters;
DROP TABLE once.q_d;
SELECT (SELECT count(*) FROM once.dead_letter), (SELECT count(*) FROM once.failure);
SELECT (SELECT count(*) FROM once.dead_letters), (SELECT count(*) FROM once.failures);
SELECT once.create_queue('d');
SELECT once.drop_queue('d');
SELECT (SELECT count(*) FROM once.dead_letter), (SELECT count(*) FROM once.failure);
SELECT once.create_queue('d'), once.drop_queue('d');

-- Large messages, out of line.
SELECT once.create_queue('d', max_attempts => 1, retry_delay => '0', retry_delay_max => '0');
SELECT to_jsonb(string_agg(md5(g::text), '')) AS large FROM generate_series(1, 3000) g \gset
SELECT once.send('d', :'large', headers => :'large');
SELECT once.nack(receipt, error => repeat('long ', 10000)) FROM once.lease('d');
SELECT * FROM once.pop('d');
VACUUM once.q_d;
SELECT payload = :'large' AS payload, headers = :'large' AS headers, length(last_error) FROM once.dead_letters;
SELECT once.redrive('d');
SELECT payload = :'large' AS payload, headers = :'large' AS headers FROM once.pop('d');
SELECT * FROM once.check('d', true);

-- A table whose rows go through DELETE and INSERT.
CREATE TABLE audit (op text, payload jsonb);
CREATE FUNCTION audit_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit VALUES (TG_OP, coalesce(NEW.payload, OLD.payload));
  RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER audit BEFORE INSERT OR DELETE ON once.q_d FOR EACH ROW EXECUTE FUNCTION audit_row();
SELECT count(*) FROM once.send_batch('d', ARRAY['1', '2', '3']::jsonb[]);
SELECT once.nack(receipt, error => 'e' || (payload::text)) FROM once.lease('d', max_messages => 2);
BEGIN;
SELECT payload FROM once.pop('d', 5);
ROLLBACK;
SELECT payload, once.ack(receipt) FROM once.receive('d', 5);
SELECT payload, last_error FROM once.dead_letters ORDER BY id;
SELECT once.redrive('d');
SELECT payload, attempt FROM once.pop('d', 5);
SELECT * FROM audit;
SELECT (SELECT count(*) FROM once.dead_letter), (SELECT count(*) FROM once.failure);
-- A trigger that keeps the row keeps the message: no dead letter then.
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER keep BEFORE DELETE ON once.q_d FOR EACH ROW EXECUTE FUNCTION keep();
SELECT once.send('d', '"kept"') IS NOT NULL AS sent;
SELECT once.nack(receipt) FROM once.lease('d');
SELECT * FROM once.lease('d');
\echo :SQLSTATE
SELECT count(*) FROM once.dead_letter;
SELECT state, error FROM once.peek('d');
DROP TRIGGER keep ON once.q_d;
SELECT pg_sleep(1.1);
SELECT * FROM once.lease('d');
SELECT count(*) FROM once.dead_letter;
SELECT * FROM once.check('d', true);
SELECT once.drop_queue('d');
DROP TABLE audit;
DROP FUNCTION audit_row, keep;

-- redrive takes a thousand at a time, goes on where it was, and does not walk
-- over what it has deleted: each letter's entry is read once.  (The queue's name is new,
-- so there are no entries of others.)
SELECT once.create_queue('many');
INSERT INTO once.q_many (payload, expires_at) SELECT to_jsonb(g), '-infinity' FROM generate_series(1, 3500) g;
SELECT count(*) FROM once.receive('many');
SELECT count(*) FROM once.dead_letters;
BEGIN;
SELECT pg_stat_get_xact_tuples_returned('once.dead_letter_queue_idx'::regclass) AS before \gset
SELECT once.redrive('many', 3200);
SELECT pg_stat_get_xact_tuples_returned('once.dead_letter_queue_idx'::regclass) - :before AS read;
SELECT count(*), min(payload::int) FROM once.dead_letters;
ROLLBACK;
-- All of them may have died at once.
UPDATE once.dead_letter SET dead_at = '2026-01-01';
SELECT once.redrive('many', 2500), once.redrive('many');
SELECT count(*), count(DISTINCT id), min(id), max(id) FROM once.q_many;
SELECT bool_and(id = n) AS in_order FROM (SELECT id, row_number() OVER () AS n FROM once.pop('many', 3500)) m;
-- purge_dead_letters takes ten thousand at a time, and their failures with them.
INSERT INTO once.dead_letter (queue, id, reason, attempts, dead_at) SELECT 'many', g, 'attempts', 1, '2026-01-01' FROM generate_series(1, 20001) g;
INSERT INTO once.failure SELECT 'many', g, 1, 'failed', '2026-01-01' FROM generate_series(1, 20002) g;
SELECT once.purge_dead_letters('many');
SELECT (SELECT count(*) FROM once.dead_letter), (SELECT array_agg(id) FROM once.failure) AS not_theirs;
SELECT once.drop_queue('many');
-- Whoever moves a message in passing does not wait.  So VACUUM must not shorten the tables: its lock would keep him off.
VACUUM once.dead_letter, once.failure;
SELECT pg_relation_size('once.dead_letter') > 0 AS kept, pg_relation_size('once.failure') > 0 AS kept_too;
SELECT count(*) FROM pg_class c JOIN pg_class toast ON toast.oid = c.reltoastrelid
  WHERE c.oid IN ('once.dead_letter'::regclass, 'once.failure'::regclass) AND 'vacuum_truncate=off' = ALL (c.reloptions || toast.reloptions);
