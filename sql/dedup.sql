-- dedup_id: a message that repeats one sent before is not sent.
SELECT once.create_queue('d', retry_delay => '0', retry_delay_max => '0');
CREATE VIEW sent AS SELECT id, payload FROM once.q_d ORDER BY id;

-- The tables come with the queue, and a message without a dedup_id leaves them alone.
SELECT once.send('d', '1');
SELECT * FROM once.send_batch('d', ARRAY['2', '3']::jsonb[], dedup_ids => ARRAY[NULL, NULL]);
SELECT * FROM once.send_dedup('d', '4');
SELECT count(*) FROM once.d_d_0;
SELECT once.send('d', '5', dedup_id => 'a');
SELECT relname, relkind, relpersistence FROM pg_class WHERE relname LIKE 'd\_d\_%' AND relkind <> 'i' ORDER BY 1;

-- A repeat sends nothing and returns the first one's id, whatever else it says.
SELECT once.send('d', '5', dedup_id => 'a');
SELECT once.send('d', '"another"', headers => '{"h": 1}', priority => 9, delay => '1 h', ttl => '1 s', dedup_id => 'a');
SELECT once.send('d', NULL, group_id => 'g', dedup_id => 'a');
SELECT * FROM sent;
SELECT id, message_id FROM once.d_d_0;
-- Any text, byte by byte.
SELECT dedup_id, once.send('d', to_jsonb(dedup_id), dedup_id => dedup_id) = id AS repeats
  FROM (VALUES ('A', 5::bigint), ('a ', 5), (' a', 5), ('''"\', 5), ('a', 5)) AS v (dedup_id, id);
SELECT count(*) FROM sent;

-- send_dedup says which it was.
SELECT duplicate FROM once.send_dedup('d', '6', dedup_id => 'b');
SELECT once.send('d', '6', dedup_id => 'b') = id AS same, duplicate FROM once.send_dedup('d', '6', dedup_id => 'b');
SELECT once.send('d', '6', dedup_id => 'b') = id AS same, duplicate FROM once.send_dedup('d', '6', priority => 0, dedup_id => 'b');
-- One message, however it is written.
SELECT count(*) AS before FROM once.q_d \gset
SELECT (once.send_dedup('d', '7', dedup_id => 'c')).duplicate;
SELECT x.duplicate FROM (SELECT (once.send_dedup('d', '7')).*) x;
SELECT count(*) - :before AS more FROM once.q_d;

-- The memory is longer than the message's life.
SELECT once.purge('d');
SELECT once.send('d', '8', dedup_id => 'd') AS first \gset
SELECT payload, once.ack(receipt) FROM once.receive('d');
SELECT once.send('d', '8', dedup_id => 'd') = :first AS same;
SELECT once.send('d', '9', dedup_id => 'e') AS first \gset
SELECT payload FROM once.pop('d');
SELECT once.send('d', '9', dedup_id => 'e') = :first AS same;
-- purge, redrive and plain DELETE leave it alone.
SELECT once.send('d', '10', dedup_id => 'f') AS first \gset
SELECT once.purge('d');
SELECT once.send('d', '10', dedup_id => 'f') = :first AS same;
SELECT once.alter_queue('d', max_attempts => 1);
SELECT once.send('d', '11', dedup_id => 'g') AS first \gset
SELECT once.nack(receipt) FROM once.lease('d');
SELECT * FROM once.receive('d');
SELECT once.send('d', '11', dedup_id => 'g') = :first AS same;
SELECT once.redrive('d');
SELECT id = :first AS same, payload FROM once.pop('d');
SELECT once.send('d', '11', dedup_id => 'g') = :first AS same;
SELECT once.alter_queue('d', reset => ARRAY['max_attempts']);
SELECT count(*) FROM sent;

-- A batch: ids come in the order of payloads; repeats within it as well.
TRUNCATE once.q_d RESTART IDENTITY;
SELECT once.send('d', '1', dedup_id => 'h');
SELECT * FROM once.send_batch('d', ARRAY['2', '3', '4', '5', '6', '7', '8', '9']::jsonb[],
                              dedup_ids => ARRAY['i', 'h', NULL, 'i', 'j', NULL, 'j', 'h']);
SELECT * FROM sent;
SELECT * FROM once.send_batch('d', ARRAY['1', '2']::jsonb[], dedup_ids => ARRAY['j', 'i']);
SELECT * FROM once.send_batch('d', ARRAY['10', '11']::jsonb[], dedup_ids => ARRAY['k', 'k']);
SELECT * FROM once.send_batch('d', '{}'::jsonb[], dedup_ids => '{}');
SELECT count(*) FROM sent;
-- Ids are drawn in the order of the payloads, so the order survives a REINDEX.
SELECT once.purge('d');
SELECT count(DISTINCT id), bool_and(id > before) AS ascending
  FROM (SELECT id, lag(id, 1, 0::bigint) OVER (ORDER BY n) AS before
          FROM once.send_batch('d', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 5000) i),
                               dedup_ids => (SELECT array_agg(CASE WHEN i % 3 > 0 THEN 'o' || i END ORDER BY i) FROM generate_series(1, 5000) i)) WITH ORDINALITY AS s (id, n)) x;
SELECT count(*) FROM once.send_batch('d', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 6000) i),
                                     dedup_ids => (SELECT array_agg('o' || i ORDER BY i DESC) FROM generate_series(1, 6000) i));
REINDEX INDEX once.q_d_queue_idx;
SELECT count(*), bool_and(p > before) AS in_order
  FROM (SELECT payload::int AS p, lag(payload::int, 1, 0) OVER (ORDER BY n) AS before
          FROM once.pop('d', 5000) WITH ORDINALITY AS m (id, receipt, attempt, e, l, priority, g, headers, payload, n)) x;
SELECT count(*) FROM sent;
SELECT once.purge('d') > 0 AS purged;

-- In the sender's transaction: what is rolled back was never sent.
BEGIN;
SELECT duplicate FROM once.send_dedup('d', '1', dedup_id => 'l');
SELECT duplicate FROM once.send_dedup('d', '1', dedup_id => 'l');
ROLLBACK;
SELECT duplicate FROM once.send_dedup('d', '2', dedup_id => 'l');
BEGIN;
SAVEPOINT a;
SELECT duplicate FROM once.send_dedup('d', '3', dedup_id => 'm');
ROLLBACK TO a;
SELECT duplicate FROM once.send_dedup('d', '4', dedup_id => 'm');
RELEASE a;
COMMIT;
SELECT duplicate FROM once.send_dedup('d', '5', dedup_id => 'm');
DO $$
BEGIN
  BEGIN
    PERFORM once.send('d', '6', dedup_id => 'n');
    RAISE division_by_zero;
  EXCEPTION WHEN division_by_zero THEN NULL;
  END;
  PERFORM once.send('d', '7', dedup_id => 'n');
  PERFORM once.send('d', '8', dedup_id => 'n');
END $$;
SELECT payload FROM once.pop('d', 10);
-- Also the tables, where they are missing and the owner, who makes them, rolls back.
SELECT once.create_queue('r', unlogged => true);
DROP TABLE once.d_r_0, once.d_r_1;
BEGIN;
SELECT once.send('r', '1', dedup_id => 'a');
ROLLBACK;
SELECT count(*) FROM pg_class WHERE relname LIKE 'd\_r\_%';
BEGIN;
SAVEPOINT a;
SELECT once.send('r', '1', dedup_id => 'a');
ROLLBACK TO a;
SELECT duplicate FROM once.send_dedup('r', '1', dedup_id => 'a');
COMMIT;
SELECT duplicate FROM once.send_dedup('r', '1', dedup_id => 'a');
-- Nobody makes them but the owner: by sending, or by alter_queue.
CREATE ROLE regress_once_producer;
SELECT once.grant_queue('r', 'regress_once_producer', 'produce');
DROP TABLE once.d_r_0, once.d_r_1;
SET ROLE regress_once_producer;
SELECT once.send('r', '2', dedup_id => 'b');
\echo :SQLSTATE
SELECT once.send('r', '2') IS NOT NULL AS sent;
RESET ROLE;
SELECT once.alter_queue('r');
SET ROLE regress_once_producer;
SELECT duplicate FROM once.send_dedup('r', '2', dedup_id => 'b');
SELECT duplicate FROM once.send_dedup('r', '2', dedup_id => 'b');
RESET ROLE;
SELECT once.revoke_queue('r', 'regress_once_producer', 'produce');
DROP ROLE regress_once_producer;
-- They are as safe as the queue.
SELECT relname, relpersistence FROM pg_class WHERE relname LIKE 'd\_r\_%' AND relkind <> 'i' ORDER BY 1;

-- The limits, on both sides; an error marks nothing.
SELECT once.send('d', '1', dedup_id => '');
\echo :SQLSTATE
SELECT once.send('d', '1', dedup_id => repeat('x', 1001));
\echo :SQLSTATE
SELECT once.send('d', '1', dedup_id => repeat(U&'\00E4', 501));
SELECT * FROM once.send_dedup('d', '1', dedup_id => '');
SELECT duplicate FROM once.send_dedup('d', '1', dedup_id => repeat('x', 1000));
SELECT duplicate FROM once.send_dedup('d', '1', dedup_id => repeat('x', 1000));
SELECT duplicate FROM once.send_dedup('d', '1', dedup_id => repeat('x', 999) || 'y');
SELECT duplicate FROM once.send_dedup('d', '1', dedup_id => repeat(U&'\00E4', 500));
SELECT once.send_batch('d', ARRAY['1', '2']::jsonb[], dedup_ids => ARRAY['z']);
\echo :SQLSTATE
SELECT once.send_batch('d', ARRAY['1', '2']::jsonb[], dedup_ids => ARRAY['z', '']);
\echo :SQLSTATE
SELECT once.send_batch('d', ARRAY['1', '2']::jsonb[], dedup_ids => ARRAY['z', repeat('x', 1001)]);
SELECT once.send_batch('d', ARRAY['1', '2']::jsonb[], dedup_ids => ARRAY[ARRAY['z', 'z']]);
SELECT once.send('d', '1', dedup_id => 'z', priority => 10);
SELECT once.send('d', '1', dedup_id => 'z', group_id => 'g', priority => 5);
SELECT once.pause('d', 'send');
SELECT once.send('d', '1', dedup_id => 'z');
\echo :SQLSTATE
SELECT * FROM once.send_dedup('d', '1', dedup_id => 'z');
-- Also a repeat is sending.
SELECT once.send('d', '1', dedup_id => 'a');
SELECT once.resume('d');
BEGIN READ ONLY;
SELECT once.send_dedup('d', '1', dedup_id => 'z');
\echo :SQLSTATE
ROLLBACK;
SELECT duplicate FROM once.send_dedup('d', '1', dedup_id => 'z');
SELECT once.purge('d') > 0 AS purged;

-- A message that a trigger drops was not sent, and its id is not taken.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON once.q_d FOR EACH ROW WHEN (NEW.payload = '"no"') EXECUTE FUNCTION refuse();
SELECT once.send('d', '"no"', dedup_id => 'p');
\echo :SQLSTATE
SELECT once.send_batch('d', ARRAY['"yes"', '"no"']::jsonb[], dedup_ids => ARRAY['q', 'p']);
SELECT duplicate FROM once.send_dedup('d', '"yes"', dedup_id => 'p');
SELECT duplicate FROM once.send_dedup('d', '"no"', dedup_id => 'p');
SELECT count(*) FROM once.send_batch('d', ARRAY['"no"', '"yes"', '"too"']::jsonb[], dedup_ids => ARRAY['p', 'q', NULL]);
SELECT payload FROM sent;
DROP TRIGGER refuse ON once.q_d;
-- A statement trigger sees the messages that are sent, and nothing if there are none.
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE NOTICE 'sent: %', (SELECT array_agg(payload ORDER BY id) FROM changed);
  RETURN NULL;
END $$;
CREATE TRIGGER tell AFTER INSERT ON once.q_d REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION tell();
SELECT count(*) FROM once.send_batch('d', ARRAY['1', '2', '3', '4']::jsonb[], dedup_ids => ARRAY['q', 'r', NULL, 'r']);
SELECT count(*) FROM once.send_batch('d', ARRAY['1', '2']::jsonb[], dedup_ids => ARRAY['q', 'r']);
DROP TRIGGER tell ON once.q_d;
DROP FUNCTION refuse, tell;

-- Every queue for itself, and for who may send to it and nothing else.
SELECT once.create_queue('Other-1');
SELECT duplicate FROM once.send_dedup('Other-1', '1', dedup_id => 'a');
SELECT once.create_queue(repeat('n', 47));
SELECT duplicate FROM once.send_dedup(repeat('n', 47), '1', dedup_id => 'a');
SELECT duplicate FROM once.send_dedup(repeat('n', 47), '1', dedup_id => 'a');
CREATE ROLE regress_once_owner;
CREATE ROLE regress_once_producer;
GRANT EXECUTE ON FUNCTION once.create_queue TO regress_once_owner;
SET ROLE regress_once_owner;
SELECT once.create_queue('theirs');
SELECT once.grant_queue('theirs', 'regress_once_producer', 'produce');
SET ROLE regress_once_producer;
SELECT once.send('theirs', '1', dedup_id => 'a');
SELECT once.send('theirs', '1', dedup_id => 'a');
SELECT * FROM once.send_batch('theirs', ARRAY['2', '3']::jsonb[], dedup_ids => ARRAY['b', 'b']);
SELECT * FROM once.d_theirs_0;
SELECT once.send('d', '1', dedup_id => 'a');
\echo :SQLSTATE
RESET ROLE;
SELECT relname, pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relname LIKE 'd\_theirs\_%' ORDER BY 1;

-- drop_queue drops them, and what a table that was dropped by hand has left behind
-- is not the next queue's, whosever it is.
SET ROLE regress_once_owner;
SELECT once.drop_queue('theirs');
SELECT count(*) FROM pg_class WHERE relname LIKE 'd\_theirs\_%';
SELECT once.create_queue('theirs');
SELECT duplicate FROM once.send_dedup('theirs', '1', dedup_id => 'a');
DROP TABLE once.q_theirs;
RESET ROLE;
SELECT once.create_queue('theirs');
SELECT duplicate FROM once.send_dedup('theirs', '1', dedup_id => 'a');
SELECT relname, pg_get_userbyid(relowner) = current_user AS mine FROM pg_class WHERE relname LIKE 'd\_theirs\_%' ORDER BY 1;
BEGIN;
SELECT once.drop_queue('theirs');
SELECT once.create_queue('theirs');
SELECT duplicate FROM once.send_dedup('theirs', '1', dedup_id => 'a');
ROLLBACK;
SELECT duplicate FROM once.send_dedup('theirs', '1', dedup_id => 'a');

-- Its tables and the queue have different owners: their owner could have messages of the queue taken for repeats.
ALTER TABLE once.d_theirs_0 OWNER TO regress_once_producer;
ALTER TABLE once.d_theirs_1 OWNER TO regress_once_producer;
SELECT once.send('theirs', '1', dedup_id => 'a');
\echo :SQLSTATE
SELECT once.send('theirs', '1') IS NOT NULL AS sent;
ALTER TABLE once.q_theirs OWNER TO regress_once_producer;
SELECT duplicate FROM once.send_dedup('theirs', '1', dedup_id => 'a');
REASSIGN OWNED BY regress_once_producer TO CURRENT_USER;
SELECT duplicate FROM once.send_dedup('theirs', '1', dedup_id => 'a');

-- Half of it is gone: an error that says what to do.
DROP TABLE once.d_theirs_1;
SELECT once.send('theirs', '1', dedup_id => 'a');
\echo :SQLSTATE
SELECT once.send('theirs', '1') IS NOT NULL AS sent;
DROP TABLE once.d_theirs_0;
SELECT duplicate FROM once.send_dedup('theirs', '1', dedup_id => 'a');
ALTER TABLE once.d_theirs_0 DROP COLUMN id;
SELECT once.send('theirs', '1', dedup_id => 'a');
\echo :SQLSTATE
SELECT once.alter_queue('theirs', dedup_window => '1 day');
SELECT once.grant_queue('theirs', 'regress_once_producer', 'produce');
SET ROLE regress_once_producer;
SELECT once.send('theirs', '1', dedup_id => 'a');
\echo :SQLSTATE
RESET ROLE;
DROP TABLE once.d_theirs_0, once.d_theirs_1;
SELECT once.alter_queue('theirs', dedup_window => '1 day');
SELECT duplicate FROM once.send_dedup('theirs', '1', dedup_id => 'a');
-- The id of a message that is repeated must be there.
ALTER TABLE once.d_theirs_0 ALTER message_id DROP NOT NULL;
SELECT once.send('theirs', '1', dedup_id => 'a');
\echo :SQLSTATE
ALTER TABLE once.d_theirs_0 ALTER message_id SET NOT NULL;
SELECT duplicate FROM once.send_dedup('theirs', '1', dedup_id => 'a');
ALTER TABLE once.d_theirs_0 ADD COLUMN more int;
SELECT once.send('theirs', '1', dedup_id => 'a');
\echo :SQLSTATE
SELECT once.drop_queue('theirs');
REVOKE EXECUTE ON FUNCTION once.create_queue FROM regress_once_owner;
DROP ROLE regress_once_owner, regress_once_producer;

-- After the window, an id is new: not before, and some time after.
SELECT once.create_queue('w', dedup_window => '300 ms');
CREATE PROCEDURE wait_for_new() LANGUAGE plpgsql AS $$
DECLARE
  before timestamptz;
  repeats int := 0;
  was_repeat bool;
BEGIN
  before := clock_timestamp();
  SELECT duplicate INTO was_repeat FROM once.send_dedup('w', '1', dedup_id => 'a');
  ASSERT NOT was_repeat;
  COMMIT;
  LOOP
    SELECT duplicate INTO was_repeat FROM once.send_dedup('w', '1', dedup_id => 'a');
    COMMIT;
    EXIT WHEN NOT was_repeat;
    repeats := repeats + 1;
    ASSERT clock_timestamp() < before + '30 s', 'it is still remembered';
  END LOOP;
  ASSERT clock_timestamp() >= before + '300 ms', 'it was forgotten too early';
  ASSERT repeats > 0;
  ASSERT (SELECT count(*) FROM once.q_w) = 2;
END $$;
CALL wait_for_new();
DROP PROCEDURE wait_for_new;
-- A longer window is for what is remembered already.
SELECT once.alter_queue('w', dedup_window => '36500 days');
SELECT duplicate FROM once.send_dedup('w', '1', dedup_id => 'a');

SELECT queue FROM once.list_queues(), LATERAL once.check(queue, true);
DROP VIEW sent;
SELECT once.drop_queue(queue) FROM once.list_queues();
SELECT relname FROM pg_class WHERE relname LIKE 'd\_%' AND relnamespace = 'once'::regnamespace AND relname NOT LIKE 'dead%';
