-- A rebuild of the index puts messages into the order of their ids.  What has had another
-- place comes back before younger ones, in a group as well, as the documentation says.
SELECT once.create_queue('q', max_attempts => 1, retry_delay => '0');
CREATE VIEW places AS SELECT array_agg(payload) AS payloads FROM (SELECT payload FROM once.peek('q')) m;
-- sent one after the other: the same order
SELECT count(once.send('q', to_jsonb(g), group_id => 'g')) FROM generate_series(1, 4) g;
SELECT * FROM places;
REINDEX INDEX once.q_q_queue_idx;
SELECT * FROM places;
-- redriven
SELECT once.nack(receipt) FROM once.lease('q');
CALL once.maintain();
SELECT once.redrive('q');
SELECT * FROM places;
REINDEX INDEX once.q_q_queue_idx;
SELECT * FROM places;
SELECT count(*) FROM once.pop('q', 10);
-- due later than others behind it
SELECT count(once.send('q', to_jsonb(g), group_id => 'g', delay => CASE g WHEN 5 THEN '20 ms'::interval END)) FROM generate_series(5, 7) g;
SELECT pg_sleep(0.03);
CALL once.maintain();
SELECT * FROM places;
VACUUM FULL once.q_q;
SELECT * FROM places;
SELECT count(*) FROM once.pop('q', 10);
-- made a new one
SELECT count(once.send('q', to_jsonb(g), group_id => 'g')) FROM generate_series(8, 10) g;
UPDATE once.q_q SET deliver_at = now() WHERE payload = '8';
SELECT * FROM places;
REINDEX TABLE once.q_q;
SELECT * FROM places;
SELECT count(*) FROM once.pop('q', 10);
-- with ids that do not grow
INSERT INTO once.q_q (id, payload, group_id) VALUES (1000, '11', 'g'), (999, '12', 'g'), (998, '13', 'g');
SELECT * FROM places;
REINDEX INDEX once.q_q_queue_idx;
SELECT * FROM places;
SELECT count(*) FROM once.pop('q', 10);
SELECT once.drop_queue('q');
DROP VIEW places;

-- What is not read of a call's messages: pop is done with it all the same, receive finds it out
-- at the commit, and a lease goes on.
SELECT once.create_queue('q', retry_delay => '0');
SELECT count(*) FROM once.send_batch('q', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 8) g));
SELECT payload FROM once.pop('q', 2) LIMIT 1;
SELECT EXISTS (SELECT FROM once.pop('q', 2));
CREATE FUNCTION one() RETURNS jsonb LANGUAGE sql AS $$ SELECT payload FROM once.pop('q', 2) $$;
SELECT one();
SELECT count(*) AS left_over FROM once.q_q;
SELECT payload, once.ack(receipt) FROM once.receive('q', 2) LIMIT 1;
\echo :SQLSTATE
SELECT payload, state FROM once.peek('q');
SELECT payload FROM once.lease('q', max_messages => 2) LIMIT 1;
SELECT payload, state FROM once.peek('q');
DROP FUNCTION one;
SELECT once.drop_queue('q');
