-- What every queue does, whichever way its rows go.  Wants a fresh queue with
-- id_index and without retry delay, its name in :q.
SELECT 'once.q_' || :'q' AS t \gset

-- Sending returns ids; receiving is in order of priority, then of sending.
SELECT once.send(:'q', '{"n": 1}');
SELECT once.send(:'q', '{"n": 2}', headers => '{"h": true}', priority => 7);
SELECT * FROM once.send_batch(:'q', ARRAY['{"n": 3}', '{"n": 4}', NULL]::jsonb[],
                              headers => ARRAY[NULL, '{"h": 4}', NULL]::jsonb[]);
SELECT * FROM once.send_batch(:'q', '{}');
SELECT id, priority, headers, payload, deliver_at IS NULL AS at_once,
       enqueued_at <= statement_timestamp() AS enqueued, group_id
  FROM :t ORDER BY id;

-- A received message comes with all its columns, and an ack deletes its row.
BEGIN;
CREATE TEMP TABLE got ON COMMIT DROP AS SELECT * FROM once.receive(:'q');
SELECT id, attempt, leased_until, priority, group_id, headers, payload,
       enqueued_at <= now() AS enqueued, receipt IS NOT NULL AS has_receipt
  FROM got;
SELECT once.ack(receipt) FROM got;
COMMIT;
SELECT id FROM :t ORDER BY id;

-- One statement does a whole step: count() counts acks.
CREATE TEMP TABLE effect (n int);
WITH m AS (SELECT * FROM once.receive(:'q', 2)),
     w AS (INSERT INTO effect SELECT (payload->>'n')::int FROM m)
SELECT count(once.ack(receipt)) FROM m;
SELECT n FROM effect ORDER BY n;
SELECT id FROM :t ORDER BY id;

-- A rollback takes effect and ack back, and the attempt counts.
BEGIN;
WITH m AS (SELECT * FROM once.receive(:'q', 10)),
     w AS (INSERT INTO effect SELECT (payload->>'n')::int FROM m)
SELECT count(once.ack(receipt)) FROM m;
ROLLBACK;
SELECT n FROM effect ORDER BY n;
SELECT id, attempt, state FROM once.peek(:'q');

-- pop: acked when returned, no receipt; a rollback brings the message back.
BEGIN;
SELECT id, attempt, receipt, leased_until FROM once.pop(:'q');
SELECT id FROM once.pop(:'q');
ROLLBACK;
SELECT id, attempt, payload FROM once.pop(:'q', 10);
SELECT count(*) FROM :t;

-- Ids are drawn in the order of the array, and stored in it.
SELECT count(*), min(id), max(id) FROM once.send_batch(:'q', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 2500) g)) AS id;
SELECT count(*), bool_and(payload::text::bigint = id - (SELECT min(id) FROM :t) + 1) FROM :t;
SELECT count(*), sum(payload::text::int) FROM once.pop(:'q', 1000);
SELECT count(*), min(payload::text::int), max(payload::text::int) FROM once.pop(:'q', 10000);

-- lease: the same message is not offered twice; ack, nack, release and extend.
SELECT once.send(:'q', '"leased"') AS id \gset
SELECT receipt AS r, leased_until > now() + '50 s' AND leased_until < now() + '2 min' AS good
  FROM once.lease(:'q', '1 min') \gset
SELECT :'good' AS leased;
SELECT * FROM once.lease(:'q');
SELECT id - :id AS id, attempt, state FROM once.peek(:'q');
SELECT once.extend(:'r', '1 h') > now() + '30 min' AS extended;
SELECT once.nack(:'r');
SELECT once.ack(:'r');
SELECT receipt AS r, attempt FROM once.lease(:'q') \gset
SELECT :attempt AS attempt;
SELECT once.release(:'r');
SELECT receipt AS r, attempt FROM once.lease(:'q') \gset
SELECT :attempt AS attempt;
SELECT once.nack(:'r', '1 h');
SELECT * FROM once.lease(:'q');
SELECT id - :id AS id, attempt, state, ready_at > now() + '30 min' AS later FROM once.peek(:'q');
SELECT once.cancel(:'q', :id), once.cancel(:'q', :id);

-- An ack that rolls back leaves the lease as it was.
SELECT once.send(:'q', '"kept"') AS id \gset
SELECT receipt AS r FROM once.lease(:'q') \gset
BEGIN;
SELECT once.ack(:'r');
SELECT count(*) FROM :t;
ROLLBACK;
SELECT * FROM once.lease(:'q');
SELECT once.cancel(:'q', :id);
SELECT once.try_ack(:'r'), once.try_ack(:'r');
SELECT once.ack(:'r');

-- Many at once: ack_all acks all of them or none, try_ack_all what it can.
SELECT count(*) FROM once.send_batch(:'q', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 5) g));
SELECT array_agg(receipt) AS r FROM once.lease(:'q', max_messages => 5) \gset
SELECT once.ack_all(:'r'::uuid[] || (:'r'::uuid[])[1]);
SELECT count(*) FROM :t;
SELECT once.ack((:'r'::uuid[])[2]);
SELECT once.nack((:'r'::uuid[])[4]);
SELECT once.ack_all(:'r');
SELECT count(*) FROM :t;
SELECT array_position(:'r'::uuid[], acked) FROM once.try_ack_all(:'r'::uuid[] || :'r'::uuid[]) AS acked;
SELECT once.ack_all('{}'), (SELECT count(*) FROM once.try_ack_all('{}'));
SELECT payload FROM once.pop(:'q', 5);

-- A delayed message waits; cancel and purge do not.
SELECT once.send(:'q', '"due"', deliver_at => '2000-01-01'), once.send(:'q', '"later"', delay => '1 day') AS later \gset
SELECT once.send(:'q', '"much later"', deliver_at => now() + '2 days');
SELECT payload FROM once.pop(:'q', 5);
SELECT state, payload, ready_at - now() > '23 h' AS far FROM once.peek(:'q');
SELECT once.cancel(:'q', :later);
SELECT once.send(:'q', '"leased"');
SELECT payload FROM once.lease(:'q');
SELECT once.purge(:'q');
SELECT count(*) FROM :t;
SELECT once.purge(:'q');

-- Within a transaction that has messages to ack, purge leaves these alone.
SELECT count(*) FROM once.send_batch(:'q', ARRAY['1', '2', '3']::jsonb[]);
BEGIN;
SELECT receipt AS r FROM once.receive(:'q') \gset
SELECT once.purge(:'q');
SELECT payload FROM :t;
SELECT once.ack(:'r');
COMMIT;

-- Large messages, out of line.
SELECT to_jsonb(string_agg(md5(g::text), '')) AS large FROM generate_series(1, 3000) g \gset
SELECT once.send(:'q', :'large') IS NOT NULL AS sent;
SELECT payload = :'large' AS same FROM once.lease(:'q');
SELECT once.purge(:'q');
SELECT count(*) FROM once.send_batch(:'q', ARRAY[:'large', '1', :'large']::jsonb[]);
SELECT payload = :'large' AS same FROM once.pop(:'q', 3);

-- A message is not offered before its sender commits, not even to the sender.
BEGIN;
SELECT once.send(:'q', '"mine"') IS NOT NULL AS sent;
SELECT * FROM once.receive(:'q');
COMMIT;
SELECT payload FROM once.pop(:'q');

-- Plain SQL enqueues and deletes like the verbs.
INSERT INTO :t (payload, priority) VALUES ('"plain"', 0), ('"urgent"', 9);
SELECT payload, priority FROM once.receive(:'q', 2), LATERAL once.ack(receipt);
INSERT INTO :t (payload) VALUES ('"deleted"');
SELECT receipt AS r FROM once.lease(:'q') \gset
DELETE FROM :t;
SELECT once.ack(:'r');
SELECT once.nack(:'r');
SELECT once.release(:'r');
SELECT once.extend(:'r', '1 min');
SELECT * FROM once.lease(:'q');

-- An UPDATE in place keeps the claim, one that moves the message does not.
INSERT INTO :t (payload) VALUES ('"updated"');
SELECT receipt AS r, id FROM once.lease(:'q') \gset
UPDATE :t SET headers = '1';
SELECT once.cancel(:'q', :id);
SELECT once.ack(:'r');
INSERT INTO :t (payload) VALUES ('"moved"');
SELECT receipt AS r, id FROM once.lease(:'q') \gset
UPDATE :t SET priority = 5;
SELECT once.ack(:'r');
SELECT once.try_ack(:'r');
SELECT payload, attempt FROM once.lease(:'q');
INSERT INTO :t (payload) VALUES ('"updated, cancelled"') RETURNING id \gset
UPDATE :t SET headers = '1' WHERE id = :id;
SELECT once.cancel(:'q', :id);
SELECT once.purge(:'q');

-- Groups: one call's worth at a time, in order; giving back gives back the rest.
SELECT count(*) FROM once.send_batch(:'q', ARRAY['"a1"', '"b1"', '"a2"', '"a3"']::jsonb[], group_ids => ARRAY['a', 'b', 'a', 'a']);
SELECT array_agg(receipt) AS r FROM once.lease(:'q', max_messages => 3) \gset
SELECT payload FROM once.lease(:'q');
SELECT once.ack((:'r'::uuid[])[3]);
SELECT once.ack_all((:'r'::uuid[])[1:2]);
SELECT once.nack((:'r'::uuid[])[3], error => 'not yet');
SELECT payload, group_id, attempt FROM once.pop(:'q', 2);
SELECT count(*) FROM once.failures WHERE queue = :'q';

-- What has expired or used up its attempts is moved by whoever comes next, and
-- redriven as it was.
SELECT once.alter_queue(:'q', max_attempts => 1);
SELECT once.send(:'q', '"expired"', headers => '{"h": 1}', ttl => '1 us') IS NOT NULL AS sent;
SELECT once.send(:'q', '"poison"', priority => 6) AS id \gset
SELECT once.send(:'q', '"good"', ttl => '1 day') IS NOT NULL AS sent;
SELECT once.nack(receipt, error => 'of poison') FROM once.lease(:'q');
SELECT payload FROM once.pop(:'q', 5);
SELECT reason, attempts, last_error, priority, headers, payload FROM once.dead_letters WHERE queue = :'q' ORDER BY id;
SELECT once.redrive(:'q');
SELECT id = :id AS same, attempt, headers, payload FROM once.receive(:'q', 2), LATERAL once.ack(receipt);
SELECT count(*) FROM once.failures WHERE queue = :'q';
SELECT once.alter_queue(:'q', reset => ARRAY['max_attempts']);

SELECT * FROM once.check(:'q', strict => true);
DROP TABLE effect;
