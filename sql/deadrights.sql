-- Who sees dead letters and failures, and who may do what with them: rights are
-- those on the queue's table.
CREATE ROLE regress_once_owner;
CREATE ROLE regress_once_sender;
CREATE ROLE regress_once_consumer;
CREATE ROLE regress_once_reader;
CREATE ROLE regress_once_driver;
CREATE ROLE regress_once_stranger;
GRANT EXECUTE ON FUNCTION once.create_queue TO regress_once_owner;
SET ROLE regress_once_owner;
SELECT once.create_queue('mine', max_attempts => 1, retry_delay => '0', retry_delay_max => '0');
GRANT INSERT ON once.q_mine TO regress_once_sender;
GRANT SELECT, DELETE ON once.q_mine TO regress_once_consumer;
GRANT SELECT ON once.q_mine TO regress_once_reader;
GRANT INSERT, SELECT, DELETE ON once.q_mine TO regress_once_driver;
GRANT SELECT (id) ON once.q_mine TO regress_once_stranger;
RESET ROLE;
SELECT once.create_queue('yours', max_attempts => 1, retry_delay => '0', retry_delay_max => '0');
SELECT once.send(q, to_jsonb(q)) IS NOT NULL AS sent FROM unnest(ARRAY['mine', 'yours']) AS q;
SELECT once.nack(receipt, error => 'yours') FROM once.lease('yours');
SELECT * FROM once.lease('yours');

-- A consumer writes both without any right on the tables.
SET ROLE regress_once_consumer;
SELECT once.nack(receipt, error => 'mine') FROM once.lease('mine');
SELECT * FROM once.pop('mine');
SELECT queue, last_error, payload FROM once.dead_letters;
SELECT queue, error FROM once.failures;
SELECT * FROM once.dead_letter;
SELECT * FROM once.failure;
DELETE FROM once.dead_letters;
DELETE FROM once.failures;
INSERT INTO once.failures VALUES ('yours', 1, 1, 'forged', now());
SELECT once.redrive('mine');
SELECT once.purge_dead_letters('mine');
SET ROLE regress_once_reader;
SELECT queue, payload FROM once.dead_letters;
SELECT queue, error FROM once.failures;
SELECT once.redrive('mine');
\echo :SQLSTATE
SET ROLE regress_once_sender;
SELECT count(*) FROM once.dead_letters;
SELECT count(*) FROM once.failures;
SELECT once.redrive('mine');
-- A right on some columns is none.
SET ROLE regress_once_stranger;
SELECT count(*) FROM once.dead_letters;
SELECT count(*) FROM once.failures;
SELECT once.purge_dead_letters('mine');
\echo :SQLSTATE
-- A function in the condition sees no rows that its caller may not see.
CREATE FUNCTION pg_temp.leak(q text, p jsonb) RETURNS bool LANGUAGE plpgsql COST 0.000001 AS $$ BEGIN RAISE NOTICE 'leaked: % %', q, p; RETURN true; END $$;
SELECT count(*) FROM once.dead_letters WHERE pg_temp.leak(queue, payload);
SET ROLE regress_once_reader;
CREATE FUNCTION pg_temp.leak2(q text, p jsonb) RETURNS bool LANGUAGE plpgsql COST 0.000001 AS $$ BEGIN RAISE NOTICE 'seen: % %', q, p; RETURN true; END $$;
SELECT count(*) FROM once.dead_letters WHERE pg_temp.leak2(queue, payload);

-- What pg_dump has of them is the same, whatever its SELECT is put together of; all of it for who may read the tables themselves.
RESET ROLE;
GRANT pg_read_all_data TO regress_once_sender;
SELECT c::regclass, extcondition[n] FROM pg_extension, unnest(extconfig) WITH ORDINALITY AS t (c, n) WHERE extname = 'pg_once' AND c::regclass::text LIKE 'once.%dump' ORDER BY 1;
CREATE FUNCTION pg_temp.dumped(config text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	condition text;
BEGIN
	SELECT e.extcondition[n] INTO condition FROM pg_extension e, unnest(e.extconfig) WITH ORDINALITY AS t (c, n) WHERE e.extname = 'pg_once' AND c = config::regclass;
	SET LOCAL row_security = off;
	RETURN QUERY EXECUTE format('SELECT x::text FROM (SELECT queue, id FROM ONLY %s %s) x', config, replace(condition, '*', 'queue, id'));
END $$;
SELECT pg_temp.dumped('once.dead_letter_dump') ORDER BY 1;
SET ROLE regress_once_reader;
SELECT pg_temp.dumped('once.dead_letter_dump') ORDER BY 1;
SELECT pg_temp.dumped('once.failure_dump') ORDER BY 1;
SELECT queue, payload FROM once.dump_dead_letters() d WHERE pg_temp.leak2(queue, payload);
SET ROLE regress_once_stranger;
SELECT pg_temp.dumped('once.dead_letter_dump') ORDER BY 1;
SELECT count(*) FROM once.dump_dead_letters() d WHERE pg_temp.leak(queue, payload);
SELECT count(*) FROM once.dump_failures();
SELECT count(*) FROM once.dead_letter_dump;
SET ROLE regress_once_sender;
SELECT pg_temp.dumped('once.dead_letter_dump') ORDER BY 1;
SELECT pg_temp.dumped('once.failure_dump') ORDER BY 1;
RESET ROLE;
REVOKE pg_read_all_data FROM regress_once_sender;
-- Where it is restored, it goes to the tables themselves; nobody else gets there.
SET ROLE regress_once_owner;
INSERT INTO once.dead_letter_dump (queue, id, reason, attempts, dead_at) VALUES ('yours', 100, 'attempts', 1, now());
CREATE TEMP TABLE mine (LIKE once.dead_letter_dump);
CREATE TRIGGER restore BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION once.restore_row('dead_letter');
RESET ROLE;
BEGIN;
INSERT INTO once.dead_letter_dump (queue, id, reason, attempts, dead_at, payload) VALUES ('yours', 100, 'attempts', 1, now(), to_jsonb(repeat('long', 10000)));
INSERT INTO once.failure_dump SELECT 'yours', 100, n, repeat('e', n), now() FROM generate_series(1, 2) n;
SELECT queue, id, reason, length(payload #>> '{}') FROM once.dead_letters WHERE id = 100;
SELECT queue, id, attempt, error FROM once.failures WHERE id = 100;
SELECT count(*) FROM once.dead_letter_dump;
ROLLBACK;
CREATE TRIGGER restore BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION once.restore_row('dead_letter');
INSERT INTO mine (queue, id, reason, attempts, dead_at) VALUES ('yours', 100, 'attempts', 1, now());
\echo :SQLSTATE
CREATE TRIGGER late AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION once.restore_row('dead_letter');
ALTER TABLE mine DISABLE TRIGGER restore;
INSERT INTO mine (queue, id, reason, attempts, dead_at) VALUES ('yours', 100, 'attempts', 1, now());
\echo :SQLSTATE
DROP TABLE mine;
BEGIN;
ALTER TABLE once.failure_dump DISABLE TRIGGER ALL;
\set VERBOSITY terse
INSERT INTO once.failure_dump VALUES ('yours', 100, 1, 'e', now());
\set VERBOSITY default
ROLLBACK;
SELECT count(*) FROM once.failure_dump;

-- Redriving: INSERT, SELECT and DELETE.  Triggers of the queue run as who calls.
RESET ROLE;
CREATE TABLE who (name name);
GRANT INSERT ON who TO PUBLIC;
CREATE FUNCTION note_who() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO who VALUES (current_user); RETURN NEW; END $$;
CREATE TRIGGER note_who BEFORE INSERT ON once.q_mine FOR EACH ROW EXECUTE FUNCTION note_who();
SET ROLE regress_once_driver;
SELECT once.redrive('mine');
SELECT once.redrive('yours');
RESET ROLE;
SELECT * FROM who;
DROP TRIGGER note_who ON once.q_mine;
SELECT last_error, payload FROM once.dead_letters;

-- Row security that applies to somebody hides all of them.
SELECT once.nack(receipt, error => 'hidden') FROM once.lease('mine');
SELECT * FROM once.lease('mine');
ALTER TABLE once.q_mine ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_rows ON once.q_mine USING (true);
SET ROLE regress_once_reader;
SELECT count(*) FROM once.dead_letters;
SELECT count(*) FROM once.failures;
SELECT count(*) FROM once.dump_dead_letters();
SELECT count(*) FROM once.dump_failures();
SET ROLE regress_once_driver;
SELECT once.redrive('mine');
SET ROLE regress_once_owner;
SELECT queue, payload FROM once.dead_letters;
SELECT queue, error FROM once.failures;
SELECT once.purge_dead_letters('mine');
SELECT once.purge_dead_letters('yours');
SELECT once.drop_queue('mine');
RESET ROLE;
SELECT once.drop_queue('yours');
DROP TABLE who;
DROP FUNCTION note_who;
DROP FUNCTION pg_temp.leak, pg_temp.leak2, pg_temp.dumped;
REVOKE EXECUTE ON FUNCTION once.create_queue FROM regress_once_owner;
DROP ROLE regress_once_owner, regress_once_sender, regress_once_consumer, regress_once_reader, regress_once_driver, regress_once_stranger;
-- What a dump brings back is looked at as by an INSERT into the table itself.
INSERT INTO once.dead_letter_dump SELECT (NULL::once.dead_letter_dump).*;
SELECT count(*) FROM once.dump_dead_letters();
