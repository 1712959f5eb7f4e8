-- Senders choose the names of groups, but not their hashes: these have a key that each build of an index draws.
SELECT once.create_queue('g'), once.create_queue('h'), once.create_queue('p');

-- Names that share the low ten bits of PostgreSQL's own hash, and pairs that share all of it.
CREATE TABLE crafted AS
SELECT 'g' || i AS name FROM generate_series(1, 1200000) AS i WHERE hashtext('g' || i) & 1023 = 77;
SELECT count(*) > 1000 AS enough, count(DISTINCT hashtext(name) & 1023) FROM crafted;
CREATE TABLE pairs AS
SELECT row_number() OVER () AS n, min(name) AS a, max(name) AS b
  FROM (SELECT 'pair ' || i AS name FROM generate_series(1, 400000) AS i) AS names
 GROUP BY hashtext(name) HAVING count(*) = 2;
SELECT count(*) > 5 AS enough FROM pairs;

-- The directory holds the former in parts that are one page each; a part that cannot be split any more would have further
-- pages.
SELECT count(*) > 1000 AS sent FROM once.send_batch('g', (SELECT array_agg('1'::jsonb) FROM crafted), group_ids => (SELECT array_agg(name) FROM crafted));
SELECT kind, count(*) > 3 AS many, count(next) AS further FROM once.pages('g') WHERE kind = 'groups' GROUP BY kind;

-- The two of a pair do not wait for each other.
SELECT count(*) > 10 AS sent FROM once.send_batch('p', (SELECT array_agg(to_jsonb(n)) FROM pairs, generate_series(1, 2)), group_ids => (SELECT array_agg(name) FROM pairs, unnest(ARRAY[a, b]) AS name));
SELECT count(*) FILTER (WHERE blocked) AS blocked, count(*) = count(DISTINCT group_hash) AS apart FROM once.slots('p');

-- What once.slots shows tells slots of one group, and no more: not the part of the directory, nor the same in another queue.
CREATE FUNCTION shown(queue text, name text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  hashes bigint[];
BEGIN
  EXECUTE format('SELECT array_agg(DISTINCT s.group_hash) FROM once.slots(%L) s JOIN once.%I q ON q.ctid = s.row_ctid WHERE q.group_id = %L', queue, 'q_' || queue, name) INTO hashes;
  ASSERT cardinality(hashes) = 1;
  RETURN hashes[1];
END $$;
SELECT count(*) FROM once.send_batch('h', ARRAY['1', '2', '3']::jsonb[], group_ids => ARRAY['a', 'b', 'a']);
SELECT once.send('g', '1', group_id => 'a') IS NOT NULL AS sent;
SELECT shown('h', 'a') AS was \gset
SELECT shown('h', 'a') > 0 AS positive, shown('h', 'a') <> shown('h', 'b') AS other_group, shown('h', 'a') <> shown('g', 'a') AS other_queue;

-- Sessions agree on it, and transactions that made the queue themselves.
\c -
SELECT once.send('h', '4', group_id => 'a') IS NOT NULL AS sent;
SELECT shown('h', 'a') = :was AS same;
BEGIN;
SELECT once.create_queue('new');
SELECT count(*) FROM once.send_batch('new', ARRAY['1', '2']::jsonb[], group_ids => ARRAY['a', 'b']);
TRUNCATE once.q_new;
SELECT count(*) FROM once.send_batch('new', ARRAY['1', '2']::jsonb[], group_ids => ARRAY['a', 'b']);
SELECT count(*) FROM once.send_batch('new', ARRAY['3', '4']::jsonb[], group_ids => ARRAY['a', 'b']);
COMMIT;
SELECT payload, attempt FROM once.pop('new', 1);
SELECT payload FROM once.lease('new', '1 h', 1);
SELECT payload FROM once.lease('new', '1 h', 10);
SELECT * FROM once.check('new', strict => true);

-- A rebuilt index has another key; the order of each group stays.
REINDEX INDEX once.q_h_queue_idx;
SELECT shown('h', 'a') <> :was AS other_key;
SELECT shown('h', 'a') AS was \gset
VACUUM FULL once.q_h;
SELECT shown('h', 'a') <> :was AS other_key;
SELECT shown('h', 'a') AS was \gset
REINDEX INDEX CONCURRENTLY once.q_h_queue_idx;
SELECT shown('h', 'a') <> :was AS other_key;
SELECT once.send('h', '5', group_id => 'b') IS NOT NULL AS sent;
SELECT payload, group_id FROM once.pop('h', 10);
REINDEX INDEX once.q_g_queue_idx;
SELECT count(*) > 1000 AS popped FROM once.pop('g', 10000);
SELECT rule, detail FROM once.check('g', strict => true) UNION ALL SELECT rule, detail FROM once.check('h', strict => true);

-- Tests alone can have a key that is known, and only superusers.
CREATE ROLE once_sender;
SET ROLE once_sender;
SET once.debug_group_key = on;
RESET ROLE;
DROP ROLE once_sender;

SELECT once.drop_queue('g'), once.drop_queue('h'), once.drop_queue('p'), once.drop_queue('new');
DROP TABLE crafted, pairs;
DROP FUNCTION shown;
