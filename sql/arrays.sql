-- Arguments that are arrays: one rule for all of them. Who adds one adds its calls here.
CREATE TABLE argument (function text, argument text, type text, call text);
INSERT INTO argument VALUES
  ('alter_queue', 'reset', 'text[]', $$once.alter_queue('q', reset => %s)$$),
  ('send_batch', 'payloads', 'jsonb[]', $$count(*) FROM once.send_batch('q', %s)$$),
  ('send_batch', 'headers', 'jsonb[]', $$count(*) FROM once.send_batch('q', ARRAY['1', '2']::jsonb[], headers => %s)$$),
  ('send_batch', 'group_ids', 'text[]', $$count(*) FROM once.send_batch('q', ARRAY['1', '2']::jsonb[], group_ids => %s)$$),
  ('send_batch', 'dedup_ids', 'text[]', $$count(*) FROM once.send_batch('q', ARRAY['1', '2']::jsonb[], dedup_ids => %s)$$),
  ('ack_all', 'receipts', 'uuid[]', $$once.ack_all(%s)$$),
  ('try_ack_all', 'receipts', 'uuid[]', $$count(*) FROM once.try_ack_all(%s)$$),
  ('release', 'ids', 'bigint[]', $$once.release('q', ids => %s)$$),
  ('redrive_ids', 'ids', 'bigint[]', $$once.redrive_ids('q', ids => %s)$$),
  ('purge_dead_letters', 'ids', 'bigint[]', $$once.purge_dead_letters('q', ids => %s)$$),
  ('mark_processed_all', 'ids', 'text[]', $$count(*) FROM once.mark_processed_all('l', %s)$$),
  ('wait', 'queues', 'text[]', $$CALL once.wait(%s, '0')$$);
SELECT proname AS function, a.name AS argument, format_type(a.type, NULL) AS type
  FROM pg_proc, unnest(proargnames, proargtypes::oid[]) AS a (name, type)
 WHERE pronamespace = 'once'::regnamespace AND format_type(a.type, NULL) LIKE '%[]'
EXCEPT SELECT function, argument, type FROM argument;

CREATE FUNCTION outcome(call text, argument text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  result text;
BEGIN
  EXECUTE CASE WHEN call LIKE 'CALL %' THEN '' ELSE 'SELECT ' END || format(call, argument) INTO result;
  RETURN result;
EXCEPTION WHEN OTHERS THEN
  RETURN SQLSTATE || ' ' || sqlerrm;
END $$;
SELECT once.create_queue('q'), once.create_ledger('l', '1 day');
-- An array of arrays is refused, however small.
SELECT function, argument, outcome(call, format('%L::%s', '{{1,2}}', type)) AS of_two FROM argument WHERE type <> 'uuid[]' ORDER BY ctid;
SELECT function, argument, outcome(call, format('ARRAY[[%L, %L]]::%s', gen_random_uuid(), gen_random_uuid(), type)) AS of_two, outcome(call, format('ARRAY[[%L]]::%s', gen_random_uuid(), type)) AS of_one
  FROM argument WHERE type = 'uuid[]' ORDER BY ctid;
-- An empty array is none. So is NULL, which array_agg makes of no rows; and of what may come with payloads, none has any.
SELECT function, argument, outcome(call, format('%L::%s', '{}', type)) AS empty, outcome(call, format('NULL::%s', type)) AS nothing FROM argument ORDER BY ctid;
-- A NULL in it is refused but where a message may have none.
SELECT function, argument, outcome(call, format('%L::%s', '{NULL,NULL}', type)) AS nulls FROM argument ORDER BY ctid;
-- Where it begins to count is all the same.
SELECT outcome(call, format('%L::%s', CASE type WHEN 'uuid[]' THEN '[7:7]={00000000-0000-0000-0000-000000000000}' ELSE '[7:8]={1,2}' END, type)) AS counted_from_seven, function, argument FROM argument ORDER BY ctid;
-- Nothing of what was refused has happened: receipts in an array of arrays are as good as before.
SELECT once.purge('q') > 0 AS purged;
SELECT count(*) FROM once.send_batch('q', ARRAY['1', '2']::jsonb[]);
SELECT array_agg(receipt) AS receipts, ARRAY[array_agg(receipt)] AS nested FROM once.lease('q', '1 h', 2) \gset
SELECT once.ack_all(:'nested');
SELECT * FROM once.try_ack_all(:'nested');
SELECT once.ack_all(:'receipts');
-- So what nothing was received of need not be treated specially.
SELECT once.ack_all(array_agg(receipt)) FROM once.receive('q', 10);
SELECT t.* FROM (SELECT array_agg(receipt) AS receipts FROM once.receive('q', 10)) r, once.try_ack_all(r.receipts) t;
SELECT m.* FROM (SELECT array_agg(payload::text) AS ids FROM once.receive('q', 10)) r, once.mark_processed_all('l', r.ids) m;
SELECT s.* FROM (SELECT array_agg(payload) AS payloads FROM once.receive('q', 10)) r, once.send_batch('q', r.payloads) s;
DROP FUNCTION outcome;
DROP TABLE argument;
SELECT once.drop_queue('q'), once.drop_ledger('l');
