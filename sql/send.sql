-- Sending: arguments, times, and what comes of bad ones.
SELECT once.create_queue('s');

-- Defaults, named arguments.
SELECT once.send('s', '{"a": 1}');
SELECT once.send(queue => 's', payload => 'null', headers => '[]', priority => 0);
SELECT once.send('s', NULL);
SELECT id, priority, payload, payload IS NULL AS no_payload, headers, deliver_at FROM once.q_s ORDER BY id;

-- delay and deliver_at
BEGIN;
SELECT once.send('s', '"delay"', delay => '1 h');
SELECT once.send('s', '"deliver_at"', deliver_at => '2100-01-01 00:00:00+00');
SELECT once.send('s', '"no delay"', delay => '0');
SELECT once.send('s', '"past"', deliver_at => '1999-01-01 00:00:00+00');
SELECT payload, deliver_at - now() > '59 min' AS later, deliver_at = '2100-01-01 00:00:00+00' AS in_2100
  FROM once.q_s WHERE id > 3 ORDER BY id;
COMMIT;
SELECT payload FROM once.pop('s', 10);
SELECT payload, state FROM once.peek('s');

-- Strict priorities: 9 first, whenever sent.
SELECT once.purge('s');
SELECT once.send('s', to_jsonb(p), priority => p) IS NOT NULL FROM unnest(ARRAY[0, 4, 9, 5, 9]) p;
SELECT payload, priority FROM once.pop('s', 10);

-- The limits, on both sides.
SELECT once.send('s', '1', priority => -1);
\echo :SQLSTATE
SELECT once.send('s', '1', priority => 10);
SELECT once.send('s', '1', priority => NULL);
\echo :SQLSTATE
SELECT once.send('s', '1', delay => '-1 us');
SELECT once.send('s', '1', delay => '36500 days') IS NOT NULL AS longest;
SELECT once.send('s', '1', delay => '36501 days');
SELECT once.send('s', '1', delay => '178000000 years');
SELECT once.send('s', '1', deliver_at => 'infinity');
SELECT once.send('s', '1', deliver_at => '-infinity');
SELECT once.send('s', '1', delay => '1 s', deliver_at => now());
SELECT once.send(NULL, '1');
SELECT once.send('nothing', '1');
\echo :SQLSTATE
SELECT once.send_batch('s', NULL);
SELECT once.send_batch('s', ARRAY['1', '2']::jsonb[], headers => ARRAY['1']::jsonb[]);
SELECT once.send_batch('s', ARRAY[['1', '2'], ['3', '4']]::jsonb[]);
SELECT once.send_batch('s', ARRAY['1']::jsonb[], priority => 10);
SELECT once.send_batch('s', ARRAY['1']::jsonb[], delay => '-1 s');
SELECT count(*) FROM once.q_s;

-- A batch: one delay and one priority for all; usable in every place a set is.
SELECT once.purge('s');
SELECT once.send_batch('s', ARRAY['1', '2']::jsonb[], delay => '1 h', priority => 8) IS NOT NULL AS sent;
SELECT count(*), min(priority), bool_and(deliver_at > now() + '59 min') FROM once.q_s;
SELECT count(*) FROM unnest(ARRAY['1', '2', '3']) WITH ORDINALITY AS u(x, n), once.send_batch('s', array_fill(x::jsonb, ARRAY[n::int]));
SELECT payload, count(*) FROM once.q_s WHERE deliver_at IS NULL GROUP BY payload ORDER BY payload;

-- Messages of another table's rows, out of line there.
CREATE TABLE big (payload jsonb);
INSERT INTO big SELECT to_jsonb(string_agg(md5(g::text), '')) FROM generate_series(1, 3000) g;
SELECT once.purge('s');
SELECT once.send('s', payload) IS NOT NULL AS sent FROM big;
SELECT count(*) FROM once.send_batch('s', (SELECT array_agg(payload) FROM big));
DELETE FROM big;
VACUUM big;
SELECT md5(payload::text) = (SELECT md5(to_jsonb(string_agg(md5(g::text), ''))::text) FROM generate_series(1, 3000) g) AS same
  FROM once.pop('s', 2);
DROP TABLE big;

-- COPY and INSERT ... SELECT enqueue too; ids keep the order they were drawn in.
COPY once.q_s (payload) FROM stdin;
"copied"
"also copied"
\.
INSERT INTO once.q_s (payload, priority) SELECT to_jsonb(g), 9 FROM generate_series(1, 3) g;
SELECT payload FROM once.pop('s', 10);
-- ttl counts from when a message can first be delivered, and lands in expires_at.
SELECT once.send('s', '1', ttl => '1 h') IS NOT NULL AS sent;
SELECT once.send('s', '2', ttl => '2 h', delay => '1 day') IS NOT NULL AS sent;
SELECT once.send('s', '3', ttl => '36500 days', deliver_at => '2100-01-01 UTC') IS NOT NULL AS sent;
SELECT once.send('s', '4', ttl => '1 us', deliver_at => '2000-01-01 UTC') IS NOT NULL AS sent;
SELECT once.send('s', '5') IS NOT NULL AS sent;
SELECT count(*) FROM once.send_batch('s', ARRAY['6', '7']::jsonb[], ttl => '1 day');
SELECT payload, expires_at - greatest(enqueued_at, deliver_at) AS ttl FROM once.q_s ORDER BY id;
SELECT once.send('s', '1', ttl => '0');
\echo :SQLSTATE
SELECT once.send('s', '1', ttl => '-1 s');
SELECT once.send('s', '1', ttl => '36500 days 1 us');
SELECT once.send('s', '1', ttl => '30 days', deliver_at => '294276-12-31 UTC');
SELECT once.send_batch('s', ARRAY['1']::jsonb[], ttl => '0');
SELECT once.purge('s');

-- A group's name has 1 to 1000 bytes, and the group no priority.
SELECT once.send('s', '1', group_id => '');
\echo :SQLSTATE
SELECT once.send('s', '1', group_id => repeat('g', 1001));
SELECT once.send('s', '1', group_id => 'g', priority => 5);
\echo :SQLSTATE
SELECT once.send_batch('s', ARRAY['1', '2']::jsonb[], group_ids => ARRAY['g']);
SELECT once.send_batch('s', ARRAY['1', '2']::jsonb[], group_ids => ARRAY['g', '']);
SELECT once.send_batch('s', ARRAY['1', '2']::jsonb[], group_ids => ARRAY[ARRAY['g', 'h']]);
SELECT once.send_batch('s', ARRAY['1', '2']::jsonb[], group_ids => ARRAY[NULL, 'g'], priority => 3);
SELECT count(*) FROM once.send_batch('s', ARRAY['1', '2']::jsonb[], group_ids => ARRAY[NULL, NULL], priority => 3);
SELECT count(*) FROM once.q_s;
SELECT once.purge('s');

-- Out of range for the index whoever inserts; groups are not there yet.
INSERT INTO once.q_s (payload, priority) VALUES ('1', 10);

-- A prepared statement and a function, as drivers and applications send.
PREPARE send(text, jsonb) AS SELECT once.send($1, $2);
EXECUTE send('s', '"prepared"') \gset
EXECUTE send('s', '"prepared again"') \gset
DEALLOCATE send;
CREATE FUNCTION place_order(o jsonb) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN once.send('s', o); END $$;
SELECT place_order('"from a function"') IS NOT NULL AS sent;
DROP FUNCTION place_order;
SELECT payload FROM once.pop('s', 10);
SELECT * FROM once.check('s', true);
SELECT once.drop_queue('s');

-- A procedure that commits is one statement, however long it runs: there, messages have the time of their transaction, by whatever path.
SELECT once.create_queue('p');
DO $$ BEGIN
  PERFORM pg_sleep(0.01);
  COMMIT;
  ASSERT now() > statement_timestamp();
  PERFORM once.send('p', '1', ttl => '1 h');
  PERFORM once.send_batch('p', ARRAY['2', '3']::jsonb[]);
  INSERT INTO once.q_p (payload) VALUES ('4');
  ASSERT (SELECT count(*) = 4 AND bool_and(enqueued_at = now()) FROM once.q_p);
  ASSERT (SELECT count(*) = 1 AND bool_and(expires_at = now() + '1 h') FROM once.q_p WHERE expires_at IS NOT NULL);
END $$;
SELECT count(*) FROM once.q_p;
SELECT once.drop_queue('p');
