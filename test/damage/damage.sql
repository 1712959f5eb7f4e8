-- The server's side of the test of damaged indexes: it makes a queue that has every kind of page, damages its index, and tries
-- every verb on it.  All that a round does to the table is rolled back.  The index is restored from an image.

CREATE FUNCTION damage_read(relation regclass) RETURNS bytea[] AS :'library' LANGUAGE C STRICT;
CREATE FUNCTION damage_restore(relation regclass, pages bytea[]) RETURNS void AS :'library' LANGUAGE C STRICT;
CREATE FUNCTION damage_write(relation regclass, block int, at int, bytes bytea) RETURNS void AS :'library' LANGUAGE C STRICT;

CREATE TABLE image (name text PRIMARY KEY, pages bytea[]);

-- The verbs, in the order in which they are tried
CREATE TABLE verb (n int GENERATED ALWAYS AS IDENTITY, name text, statement text);
INSERT INTO verb (name, statement) VALUES
('check', $$SELECT count(*) FROM once.check('q')$$),
('slots', $$SELECT count(s::text) FROM once.slots('q') s$$),
('pages', $$SELECT count(p::text) FROM once.pages('q') p$$),
('peek', $$SELECT count(p::text) FROM once.peek('q', 5000) p$$),
('send', $$SELECT once.send('q', '1')$$),
('send urgent', $$SELECT once.send('q', '1', priority => 9)$$),
('send lane', $$SELECT once.send('q', '1', priority => 2)$$),
('send group', $$SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[6]), group_ids => ARRAY['chain 1', 'g 7', 'new', 'chain 2', 'g 99', 'chain 1'])$$),
('send groups', $$SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[400]), group_ids => (SELECT array_agg('more ' || i) FROM generate_series(1, 400) i))$$),
('send many', $$SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[450]))$$),
('send later', $$SELECT count(once.send('q', '1', delay => d)) FROM unnest(ARRAY['10 ms', '1 h', '3 h', '1 day', '41 days', '20000 days']::interval[]) d$$),
('send group later', $$SELECT once.send('q', '1', delay => '1 h', group_id => 'chain 1')$$),
('insert', $$INSERT INTO once.q_q (payload) VALUES ('1')$$),
('cancel', $$SELECT count(*) FILTER (WHERE once.cancel('q', id)) FROM (SELECT min(id) AS id FROM once.q_q GROUP BY priority, deliver_at IS NULL, group_id IS NULL) t$$),
('ack held', $$SELECT count(once.ack(receipt)) FROM (SELECT receipt FROM held WHERE group_id IS NULL AND id % 5 = 0 ORDER BY id) h$$),
('ack held group', $$SELECT count(once.ack(receipt)) FROM (SELECT receipt FROM held WHERE group_id IS NOT NULL ORDER BY id LIMIT 9) h$$),
('nack held', $$SELECT count(once.nack(receipt, '0 s', 'no')) FROM held WHERE group_id IS NULL AND id % 5 = 1$$),
('release held', $$SELECT count(once.release(receipt)) FROM held WHERE group_id IS NULL AND id % 5 = 2$$),
('release ids', $$SELECT once.release('q', (SELECT array_agg(id) FROM once.q_q WHERE id % 7 = 0))$$),
('extend held', $$SELECT count(once.extend(receipt, '2 h')) FROM held WHERE group_id IS NULL AND id % 5 = 3$$),
('try_ack_all held', $$SELECT count(*) FROM once.try_ack_all((SELECT array_agg(receipt ORDER BY id) FROM held))$$),
('receive', $$SELECT count(once.ack(receipt)) FROM (SELECT receipt FROM once.receive('q', 20) OFFSET 0) r$$),
('nack', $$SELECT count(once.nack(receipt)) FROM (SELECT receipt FROM once.receive('q', 8) OFFSET 0) r$$),
('release', $$SELECT count(once.release(receipt)) FROM (SELECT receipt FROM once.receive('q', 8) OFFSET 0) r$$),
('receive, leave', $$SELECT count(receipt) FROM once.receive('q', 30)$$),
('lease', $$SELECT count(once.extend(receipt, '1 h')) FROM (SELECT receipt FROM once.lease('q', '1 min', 20) OFFSET 0) r$$),
('pop', $$SELECT count(*) FROM once.pop('q', 300)$$),
('maintain', $$CALL once.maintain()$$),
('redrive', $$SELECT once.redrive('q')$$),
('purge_dead_letters', $$SELECT once.purge_dead_letters('q')$$),
('delete', $$DELETE FROM once.q_q WHERE id = (SELECT max(id) FROM once.q_q)$$),
('update', $$UPDATE once.q_q SET priority = 3 WHERE id = (SELECT max(id) FROM once.q_q WHERE group_id IS NULL)$$),
('pop all', $$SELECT count(*) FROM once.pop('q', 10000)$$),
('purge', $$SELECT once.purge('q')$$);

-- Try all verbs, one after another, and roll everything back.  Returns the errors.
CREATE FUNCTION try_verbs(OUT name text, OUT state text, OUT message text) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
  v verb;
  detail text;
  names text[];
  states text[];
  messages text[];
BEGIN
  BEGIN
    FOR v IN SELECT * FROM verb ORDER BY n LOOP
      BEGIN
        EXECUTE v.statement;
      EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
        names := names || v.name;
        states := states || state;
        messages := messages || concat_ws(' / ', message, nullif(detail, ''));
      END;
    END LOOP;
    RAISE SQLSTATE 'DA000';
  EXCEPTION WHEN SQLSTATE 'DA000' THEN NULL;
  END;
  RETURN QUERY SELECT * FROM unnest(names, states, messages);
END $$;

-- Remove all messages that are offered, and roll that back.  Returns which messages are missing of those that are offered without
-- damage, which came twice, and which came in the wrong order of their group.
CREATE TABLE available (image text, id bigint);
CREATE FUNCTION drain(image_name text, OUT state text, OUT message text, OUT n int, OUT dead int, OUT missing bigint[], OUT twice bigint[], OUT misplaced bigint[]) LANGUAGE plpgsql AS $$
DECLARE
  before int := -1;
BEGIN
  n := 0;
  state := '00000';
  BEGIN
    CREATE TEMP TABLE had (n serial, id bigint, group_id text) ON COMMIT DROP;
    CREATE TEMP TABLE known ON COMMIT DROP AS SELECT d.id FROM once.dead_letters d WHERE d.queue = 'q';
    WHILE n > before LOOP
      before := n;
      INSERT INTO had (id, group_id) SELECT m.id, m.group_id FROM once.pop('q', 10000) m;
      SELECT count(*) INTO n FROM had;
    END LOOP;
    SELECT array_agg(h.id) INTO misplaced FROM (SELECT h.id, lag(h.id) OVER (PARTITION BY group_id ORDER BY h.n) AS before FROM had h WHERE group_id IS NOT NULL) h WHERE h.before > h.id;
    INSERT INTO had (id) SELECT d.id FROM once.dead_letters d WHERE d.queue = 'q' AND d.id NOT IN (SELECT k.id FROM known k);
    GET DIAGNOSTICS dead = ROW_COUNT;
    SELECT array_agg(h.id) INTO twice FROM (SELECT h.id FROM had h GROUP BY h.id HAVING count(*) > 1) h;
    SELECT array_agg(a.id) INTO missing FROM available a WHERE a.image = image_name AND a.id NOT IN (SELECT h.id FROM had h);
    IF NOT EXISTS (SELECT FROM available a WHERE a.image = image_name) THEN
      missing := (SELECT array_agg(h.id) FROM had h);
    END IF;
    RAISE SQLSTATE 'DA000';
  EXCEPTION
    WHEN SQLSTATE 'DA000' THEN NULL;
    WHEN OTHERS THEN GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
  END;
END $$;

-- Restore the index, and damage it: write bytes at some places of some blocks.  The counts of wake-ups change, so that no session
-- relies on what it remembers.
CREATE SEQUENCE restored;
CREATE PROCEDURE damage(image_name text, blocks int[], places int[], pieces bytea[]) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM damage_restore('once.q_q_queue_idx', pages) FROM image WHERE name = image_name;
  PERFORM damage_write('once.q_q_queue_idx', 0, 24 + 392, string_agg(int4send((nextval('restored') * 7919 % 1000000007)::int), '')) FROM generate_series(0, 255);
  PERFORM damage_write('once.q_q_queue_idx', blocks[i], places[i], pieces[i]) FROM generate_subscripts(blocks, 1) i;
END $$;

-- A round: what check finds, whether all messages can be removed, and which errors the verbs raise; then REINDEX, and whether the
-- queue is in order again.
CREATE FUNCTION round(image_name text, blocks int[], places int[], pieces bytea[]) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  result jsonb := '{}';
  faults jsonb;
  state text;
  message text;
BEGIN
  CALL damage(image_name, blocks, places, pieces);
  BEGIN
    SELECT jsonb_agg(concat_ws(' ', c.rule, c.block, c.slot, c.detail)) INTO faults FROM once.check('q', strict => true) c;
  EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
    faults := jsonb_build_array('error ' || state || ' ' || message);
  END;
  result := jsonb_build_object('faults', coalesce(faults, '[]'), 'drain', (SELECT to_jsonb(d) FROM drain(image_name) d));
  CALL damage(image_name, blocks, places, pieces);
  result := result || jsonb_build_object('errors', (SELECT coalesce(jsonb_agg(concat_ws(' ', v.state, v.name, v.message)), '[]') FROM try_verbs() v));
  RETURN result || mend();
END $$;

CREATE FUNCTION mend() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  faults jsonb;
BEGIN
  REINDEX INDEX once.q_q_queue_idx;
  SELECT jsonb_agg(concat_ws(' ', c.rule, c.block, c.slot, c.detail)) INTO faults FROM once.check('q', strict => true) c;
  RETURN jsonb_build_object('after', coalesce(faults, '[]'), 'kept', (SELECT count(*) FROM once.q_q) = (SELECT messages FROM expected));
END $$;

-- The queue
SELECT once.create_queue('q', id_index => true, max_attempts => 3, retry_delay => '0 s', retry_delay_max => '0 s');
SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[1400]));
SELECT count(*) FROM once.pop('q', 1400);
SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[420]), group_ids => (SELECT array_agg('g ' || i) FROM generate_series(1, 420) i));
SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[450]), group_ids => (SELECT array_agg('chain ' || i % 3) FROM generate_series(1, 450) i));
SELECT count(*) FROM unnest(ARRAY[0, 7, 9]) AS p, once.send_batch('q', array_fill('1'::jsonb, ARRAY[20]), priority => p);
SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[230]), priority => 7);
SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[10]));
-- Claims of each kind
SELECT count(once.ack(receipt)) FROM (SELECT receipt FROM once.receive('q', 6) OFFSET 0) r;
CREATE TABLE held AS SELECT id, group_id, receipt FROM once.lease('q', '10 days', 300);
SELECT count(*) FROM once.lease('q', '1 ms', 20);
BEGIN;
SELECT count(receipt) FROM once.receive('q', 15);
ROLLBACK;
-- Free pages
SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[2600]), priority => 8);
DELETE FROM once.q_q WHERE priority = 8;
SELECT count(*) FROM once.lease('q', '1 ms', 1);
-- Dead letters, and dead messages that are still in the queue
SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[8]), priority => 9);
CREATE FUNCTION kill(n int) RETURNS void LANGUAGE sql AS $$ SELECT count(once.nack(receipt, '0 s')) FROM (SELECT receipt FROM once.lease('q', '1 h', 4) OFFSET 0) l $$;
SELECT kill(n) FROM generate_series(1, 3) n;
CALL once.maintain();
SELECT kill(n) FROM generate_series(1, 3) n;
-- Chains whose first message is gone: they must go on.
INSERT INTO image SELECT 'older', damage_read('once.q_q_queue_idx');
DELETE FROM once.q_q WHERE id IN (SELECT min(id) FROM once.q_q WHERE group_id IN ('chain 1', 'g 300', 'g 301') GROUP BY group_id);
SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[250]), delay => '6 h');
SELECT count(*) FROM unnest(ARRAY['2 days', '50 days', '3000 days']::interval[]) AS d, once.send_batch('q', array_fill('1'::jsonb, ARRAY[5]), delay => d);
SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[10]), delay => '6 h', group_ids => (SELECT array_agg('chain ' || i % 3) FROM generate_series(1, 10) i));
SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[220]), delay => '700 ms');
SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[10]), delay => '700 ms', priority => 7);
SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[10]), delay => '700 ms', group_ids => (SELECT array_agg('chain ' || i % 3) FROM generate_series(1, 10) i));
SELECT count(once.send('q', '1', delay => '40 ms')) FROM generate_series(1, 20) i;
INSERT INTO image SELECT 'plain', damage_read('once.q_q_queue_idx');
CREATE TABLE expected AS SELECT count(*) AS messages FROM once.q_q;
