-- Waiting for messages: how long it takes, and what ends it.
CREATE FUNCTION count_waiting(from_what text, OUT messages bigint, OUT at_once boolean) LANGUAGE plpgsql AS $$
DECLARE
  before timestamptz := clock_timestamp();
BEGIN
  EXECUTE 'SELECT count(*) FROM ' || from_what INTO messages;
  at_once := clock_timestamp() < before + '10 s';
  ASSERT at_once OR clock_timestamp() >= before + '20 s', 'the wait was cut short';
END $$;
CREATE VIEW letters AS SELECT queue, payload, reason FROM once.dead_letters;

-- Without messages, it takes as long as was asked for; with one, no time.
SELECT once.create_queue('w', max_attempts => 1, retry_delay => '0', retry_delay_max => '0');
-- (Before PostgreSQL 17, waiting is polling here, and the first wait says so.)
SET client_min_messages = warning;
DO $$
DECLARE
  before timestamptz := clock_timestamp();
BEGIN
  PERFORM FROM once.lease('w', wait => '300 ms');
  ASSERT clock_timestamp() >= before + '300 ms', 'the wait was cut short';
END $$;
RESET client_min_messages;
SELECT once.send('w', '1') > 0 AS sent;
SELECT * FROM count_waiting($$once.pop('w', wait => '20 s')$$);

-- Who has moved a dead message waits no more, so that the move is committed, whatever he was about to do.
SELECT count(*) FROM once.send_batch('w', ARRAY['1', '2', '3', '4', '5']::jsonb[]);
SELECT count(*) FROM once.lease('w', '1 microsecond', 3);
SELECT pg_sleep(0.01);
SELECT * FROM count_waiting($$once.receive('w', wait => '20 s') m, once.ack(m.receipt)$$);
SELECT count(once.ack(receipt)) FROM once.receive('w', 10);
SELECT count(*) FROM once.send_batch('w', ARRAY['6', '7']::jsonb[]);
SELECT count(*) FROM once.lease('w', '1 microsecond', 3);
SELECT pg_sleep(0.01);
SELECT * FROM count_waiting($$once.receive('w', wait => '20 s')$$);
SELECT * FROM letters ORDER BY payload;
SELECT once.send('w', '8') > 0 AS sent;
SELECT count(*) FROM once.lease('w', '1 microsecond');
SELECT pg_sleep(0.01);
SELECT * FROM count_waiting($$once.lease('w', wait => '20 s')$$);
SELECT once.send('w', '9') > 0 AS sent;
SELECT count(*) FROM once.lease('w', '1 microsecond');
SELECT pg_sleep(0.01);
SELECT * FROM count_waiting($$once.pop('w', wait => '20 s')$$);
SELECT * FROM letters ORDER BY payload;

-- The same for those that have expired, also if they are dropped, and where triggers have a say.
SELECT once.send('w', '10', ttl => '1 microsecond') > 0 AS sent;
SELECT * FROM count_waiting($$once.receive('w', wait => '20 s')$$);
SELECT * FROM letters WHERE reason = 'expired';
SELECT once.alter_queue('w', ttl_action => 'drop');
SELECT once.send('w', '11', ttl => '1 microsecond') > 0 AS sent;
SELECT * FROM count_waiting($$once.pop('w', wait => '20 s')$$);
CREATE TABLE went (payload jsonb);
CREATE FUNCTION went() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO went VALUES (OLD.payload); RETURN OLD; END $$;
CREATE TRIGGER went BEFORE DELETE ON once.q_w FOR EACH ROW EXECUTE FUNCTION went();
SELECT once.send('w', '12', ttl => '1 microsecond') > 0 AS sent;
SELECT * FROM count_waiting($$once.lease('w', wait => '20 s')$$);
SELECT * FROM went;
SELECT count(*) FROM once.q_w;

-- What can be delivered comes along.  A lease does not go past a dead message of its group before the move is committed.
SELECT once.create_queue('g', max_attempts => 1, retry_delay => '0', retry_delay_max => '0');
SELECT count(once.send('g', i::text::jsonb, group_id => 'g')) FROM generate_series(1, 2) i;
SELECT count(*) FROM once.lease('g', '1 microsecond');
SELECT pg_sleep(0.01);
SELECT * FROM count_waiting($$once.lease('g', '1 h', wait => '20 s')$$);
SELECT * FROM letters WHERE queue = 'g';
SELECT * FROM count_waiting($$once.lease('g', '1 microsecond', wait => '20 s')$$);
SELECT once.send('g', '3', group_id => 'g') > 0 AS sent;
SELECT pg_sleep(0.01);
SELECT * FROM count_waiting($$once.pop('g', wait => '20 s')$$);
SELECT * FROM letters WHERE queue = 'g' ORDER BY payload;

SELECT * FROM once.check('w', strict => true);
SELECT * FROM once.check('g', strict => true);
SELECT once.drop_queue('w');
SELECT once.drop_queue('g');
DROP VIEW letters;
DROP TABLE went;
DROP FUNCTION went, count_waiting;
