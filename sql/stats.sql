-- What the queues hold: the view stat_queues.  The server has not loaded the
-- library when it started, so nothing is counted, and a session is told so once.
-- test/t/082_stats.pl has the rest.
CREATE FUNCTION pg_temp.depths(queue text) RETURNS text LANGUAGE sql AS $$
  SELECT format('%s ready, %s delayed, %s claimed, %s blocked, %s dead, %s stuck; %s dead letters%s', ready, delayed, claimed, blocked, dead, stuck, dead_letters,
                CASE WHEN depth_error > 0 THEN '; estimated' END || COALESCE('; ' || problem, ''))
    FROM once.stat_queues s WHERE s.queue = $1
$$;
SELECT once.create_queue('full', retry_delay => '1 h', max_attempts => 2), once.create_queue('empty');
-- (From version 17 on, waiters are known without the library's being loaded at the start.)
SELECT to_jsonb(s) - 'waiters' AS empty FROM once.stat_queues s WHERE queue = 'empty';
SELECT queue, problem FROM once.stat_queues ORDER BY queue;

-- One after the other, as messages go through their states.
SELECT count(*) FROM once.send_batch('full', array_fill('1'::jsonb, ARRAY[10]));
SELECT pg_temp.depths('full');
SELECT count(*) FROM once.send_batch('full', array_fill('2'::jsonb, ARRAY[3]), group_ids => ARRAY['g', 'g', 'g']);
SELECT once.send('full', '3', delay => '1 h') IS NOT NULL;
SELECT pg_temp.depths('full');
SELECT count(*) FROM once.lease('full', '1 h', 2);
BEGIN;
SELECT count(*) FROM once.receive('full', 3);
SELECT pg_temp.depths('full');
SELECT oldest_claim BETWEEN '0' AND '1 min' FROM once.stat_queues WHERE queue = 'full';
ROLLBACK;
SELECT pg_temp.depths('full');
SELECT oldest_claim IS NULL FROM once.stat_queues WHERE queue = 'full';
-- An ack that is not committed; a message that is not committed
BEGIN;
SELECT once.ack(receipt) IS NOT NULL FROM once.receive('full');
SELECT once.send('full', '4') IS NOT NULL;
SELECT pg_temp.depths('full');
COMMIT;
-- The slot of the one that was acked is still there.
SELECT state, count(*) FROM once.slots('full') GROUP BY state ORDER BY state COLLATE "C";
SELECT pg_temp.depths('full');
-- The first message of the group is acked, and no walk has come by.
SELECT count(*) FROM once.lease('full', '1 h', 4);
SELECT payload, count(once.ack(receipt)) FROM once.lease('full', '1 h') GROUP BY payload;
SELECT pg_temp.depths('full');
-- Dead ones, before and after they are taken away
SELECT once.send('full', '5', ttl => '1 us') IS NOT NULL;
SELECT pg_temp.depths('full');
CALL once.maintain();
SELECT pg_temp.depths('full');
-- Stuck ones
CREATE FUNCTION pg_temp.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'kept'; END $$;
CREATE TRIGGER keep BEFORE DELETE ON once.q_full FOR EACH ROW WHEN (OLD.payload = '6') EXECUTE FUNCTION pg_temp.keep();
SELECT once.send('full', '6', priority => 9) IS NOT NULL;
SET client_min_messages = error;
SELECT payload FROM once.pop('full') WHERE payload = '6';
RESET client_min_messages;
SELECT pg_temp.depths('full');
DROP TRIGGER keep ON once.q_full;
-- What is the same: what slots tells of each
SELECT now, count(*) FROM once.slots('full') WHERE now <> 'done' GROUP BY now ORDER BY now COLLATE "C";

-- How long the oldest could have been delivered: since it was due
SELECT once.purge('full') > 0;
INSERT INTO once.q_full (payload, enqueued_at, deliver_at) VALUES ('1', now() - interval '2 h', now() - interval '1 h'), ('2', now() - interval '30 min', NULL);
SELECT date_trunc('min', oldest_ready) FROM once.stat_queues WHERE queue = 'full';
DELETE FROM once.q_full WHERE payload = '1';
SELECT date_trunc('min', oldest_ready) FROM once.stat_queues WHERE queue = 'full';

-- A long queue is estimated.  Here "long" is three pages: first a sample of the
-- pages in lists, then of the blocks of the file, most of which are free.  All
-- messages are alike, so the estimate is good.
SELECT once.create_queue('long');
SELECT count(*) FROM once.send_batch('long', array_fill('1'::jsonb, ARRAY[20300]));
VACUUM once.q_long;
SET once.debug_point = 'sample_linked';
SELECT abs(ready - 20300) <= 2 * depth_error AS near, depth_error BETWEEN 1 AND 4000 AS estimated, claimed, oldest_ready < '1 h' AS oldest FROM once.stat_queues WHERE queue = 'long';
SET once.debug_point = 'sample_file';
SELECT abs(ready - 20300) <= 3 * depth_error AS near, depth_error BETWEEN 1 AND 4000 AS estimated, claimed, oldest_ready < '1 h' AS oldest FROM once.stat_queues WHERE queue = 'long';
-- What is claimed at the beginning is counted.
SELECT count(*) FROM once.lease('long', '1 h', 7);
SELECT claimed FROM once.stat_queues WHERE queue = 'long';
-- The lists are short now, and the file is as long as ever.
RESET once.debug_point;
SELECT count(*) FROM once.pop('long', 10000);
SELECT count(*) FROM once.pop('long', 10000);
SELECT pg_temp.depths('long');
SET once.debug_point = 'sample_file';
SELECT count(*) FROM once.send_batch('long', array_fill('1'::jsonb, ARRAY[2000]));
SELECT abs(ready - 2293) <= 4 * depth_error AS near FROM once.stat_queues WHERE queue = 'long';
RESET once.debug_point;
SELECT pg_temp.depths('long');

-- Dead letters beyond what is counted are those of the last ANALYZE.
INSERT INTO once.dead_letter (queue, id, reason, attempts, dead_at) SELECT 'long', i, 'attempts', 1, now() FROM generate_series(1, 12000) i;
SELECT dead_letters, dead_letters_error FROM once.stat_queues WHERE queue = 'long';
ANALYZE once.dead_letter;
SELECT dead_letters BETWEEN 11000 AND 13000 AS near, dead_letters_error FROM once.stat_queues WHERE queue = 'long';
SELECT once.purge_dead_letters('long');

-- What cannot be read is told, and hides nothing of the others.
CREATE TABLE once.q_part (LIKE once.q_empty) PARTITION BY RANGE (id);
ALTER TABLE once.q_empty DROP COLUMN expires_at;
SELECT queue, ready IS NULL AS unknown, problem FROM once.stat_queues ORDER BY queue COLLATE "C";
DROP TABLE once.q_part;
SELECT * FROM once.stat_queue(0);
SELECT * FROM once.stat_queue('pg_class'::regclass);

-- Who may see what
CREATE ROLE regress_stats_reader;
CREATE ROLE regress_stats_monitor;
CREATE ROLE regress_stats_stranger;
GRANT pg_monitor TO regress_stats_monitor;
SELECT once.grant_queue('long', 'regress_stats_reader', 'observe'), once.grant_queue('full', 'regress_stats_reader', 'observe');
ALTER TABLE once.q_full ENABLE ROW LEVEL SECURITY;
SET ROLE regress_stats_reader;
SELECT queue FROM once.stat_queues ORDER BY queue COLLATE "C";
SELECT count(*) FROM once.stat_queue('once.q_empty'::regclass);
SET ROLE regress_stats_monitor;
SELECT queue, ready FROM once.stat_queues ORDER BY queue COLLATE "C";
SELECT * FROM once.peek('full');
SET ROLE regress_stats_stranger;
SELECT count(*) FROM once.stat_queues;
SELECT once.reset_stats('full');
RESET ROLE;
DROP OWNED BY regress_stats_reader, regress_stats_monitor, regress_stats_stranger;
DROP ROLE regress_stats_reader, regress_stats_monitor, regress_stats_stranger;

-- Nothing is counted here.
SELECT sent, received, counted_since FROM once.stat_queues WHERE queue = 'long';
SELECT count(*) FROM once.stat_latency;
SELECT count(*) FROM once.stat_latency_buckets;
SELECT once.reset_stats();
SELECT once.reset_stats('long');
SELECT once.reset_stats('no name');
SELECT once.drop_queue(q) FROM unnest(ARRAY['full', 'empty', 'long']) q;
