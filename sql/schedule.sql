-- Schedules.  Due times are made to pass by changing what was done last.
SET timezone = 'UTC';
CREATE FUNCTION runs(cron text, timezone text, after timestamptz, n int DEFAULT 3) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT to_char(r AT TIME ZONE timezone, 'Dy YYYY-MM-DD HH24:MI') || ' = ' || to_char(r, 'HH24:MI') || ' UTC' FROM once.next_runs(cron, timezone, n, after) r
$$;

-- What cron expressions mean.
SELECT e AS cron, string_agg(to_char(r, 'Dy YYYY-MM-DD HH24:MI'), ', ' ORDER BY r) AS runs
  FROM unnest(ARRAY['* * * * *', '*/20 * * * *', '5-15/5 * * * *', '50/3 * * * *', '0,30 8-9 * * *', '15 10 * * *', '0 0 1 * *', '0 12 * * MON-fri', '0 12 * * sat-sun', '0 0 * * 7', '0 0 * * 0,3', '0 6 13 * 5',
                    '0 6 */10 * 1', '0 0 29 2 *', '0 0 31 jan,APR *', '0 0 31 3/2 *', '59 23 31 12 *', ' 0	0  1 1 * ', '@yearly', '@annually', '@monthly', '@weekly', '@daily', '@Midnight', '@hourly ']) WITH ORDINALITY AS c (e, i),
       once.next_runs(e, 'UTC', 3, '2026-02-27 09:05:00') r
 GROUP BY e, i ORDER BY i;
SELECT count(*), max(r) FROM once.next_runs('0 0 * * *', n => 1000, after => '2026-01-01') r;
SELECT count(*) FROM once.next_runs('0 0 * * *', n => 0);
SELECT count(*), bool_and(r > now()) FROM once.next_runs('0 0 * * *') r;
SELECT count(*) FROM once.next_runs('0 0 30 2 *');

-- Summer time begins in Berlin on 2026-03-29 at 2:00, which is 3:00 then: what the clock leaves out is due at once.
SELECT runs('30 1 * * *', 'Europe/Berlin', '2026-03-28 12:00+01', 2);
SELECT runs('0 2 * * *', 'Europe/Berlin', '2026-03-28 12:00+01', 2);
SELECT runs('30 2 * * *', 'Europe/Berlin', '2026-03-28 12:00+01', 2);
SELECT runs('0 3 * * *', 'Europe/Berlin', '2026-03-28 12:00+01', 2);
SELECT runs('*/15 2 * * *', 'Europe/Berlin', '2026-03-28 12:00+01', 3);
SELECT runs('*/30 * * * *', 'Europe/Berlin', '2026-03-29 00:20+01', 6);
-- It ends on 2026-10-25 at 3:00, which is 2:00 then: what comes twice is due once, at first.
SELECT runs('30 1 * * *', 'Europe/Berlin', '2026-10-24 12:00+02', 2);
SELECT runs('0 2 * * *', 'Europe/Berlin', '2026-10-24 12:00+02', 2);
SELECT runs('30 2 * * *', 'Europe/Berlin', '2026-10-24 12:00+02', 2);
SELECT runs('0 3 * * *', 'Europe/Berlin', '2026-10-24 12:00+02', 2);
SELECT runs('*/30 * * * *', 'Europe/Berlin', '2026-10-25 01:20+02', 6);
-- Asked in the middle of it
SELECT runs('30 2 * * *', 'Europe/Berlin', '2026-10-25 02:30+02', 1);
SELECT runs('30 2 * * *', 'Europe/Berlin', '2026-10-25 02:29+02', 1);
SELECT runs('30 2 * * *', 'Europe/Berlin', '2026-10-25 02:15+01', 1);
-- Elsewhere: half an hour only; at midnight; a day that was left out; the other side of the earth.
SELECT runs('15 2 * * *', 'Australia/Lord_Howe', '2026-10-03 12:00+11', 2);
SELECT runs('0 0 * * *', 'America/Santiago', '2026-09-05 12:00-04', 2);
SELECT runs('0 12 * * *', 'Pacific/Apia', '2011-12-29 00:00-10', 3);
SELECT runs('30 2 * * *', 'America/New_York', '2026-03-07 12:00-05', 2);
SELECT runs('30 1 * * *', 'America/New_York', '2026-10-31 12:00-04', 2);

-- Errors point at the field.
\set VERBOSITY default
DO $$
DECLARE
  e text;
  detail text;
BEGIN
  FOREACH e IN ARRAY ARRAY['', '* * * *', '* * * * * *', '60 * * * *', '* 24 * * *', '* * 0 * *', '* * 32 * *', '* * * 13 *', '* * * 0 *', '* * * * 8', '-1 * * * *', '5- * * * *', '5-4 * * * *', '*/0 * * * *', '*/60 * * * *',
                           '1,,2 * * * *', '1, * * * *', 'a * * * *', '* * * janu *', '* * * mon *', '* * * * ja', '1.5 * * * *', '** * * * *', '1-2-3 * * * *', '99999999999999999999 * * * *', '@reboot', '@', '@daily x', '* * L * *'] LOOP
    BEGIN
      PERFORM once.next_runs(e);
      RAISE NOTICE 'no error: %', e;
    EXCEPTION WHEN invalid_parameter_value THEN
      GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
      RAISE NOTICE '% %', rpad(e, 30), detail;
    END;
  END LOOP;
END $$;
SELECT once.next_runs('60 * * * *');
SELECT once.next_runs(NULL);
SELECT once.next_runs('* * * * *', NULL);
SELECT once.next_runs('* * * * *', 'Nowhere/Land');
SELECT once.next_runs('* * * * *', n => NULL);
SELECT once.next_runs('* * * * *', n => -1);
SELECT once.next_runs('* * * * *', n => 1001);
SELECT once.next_runs('* * * * *', after => 'infinity');

-- A schedule.
SELECT once.create_queue('s');
CREATE VIEW sent AS SELECT payload, headers - 'due_at' AS headers, group_id FROM once.q_s ORDER BY id;
SELECT once.create_schedule('nightly', 's', '30 2 * * *', payload => '"nightly"', headers => '{"a": 1}', group_id => 'g', timezone => 'Europe/Berlin');
SET client_min_messages = warning;
SELECT once.create_schedule('often', 's', every => '10 min', payload => '"often"');
SELECT name, queue, cron, every, payload, headers, group_id, timezone, catch_up, role = current_user AS mine, last_due, next_due > now() AS ahead, last_error, last_error_at FROM once.list_schedules();
CALL once.maintain();
SELECT * FROM sent;
-- What is due is sent, once.
CREATE FUNCTION pass(which text, ago interval) RETURNS void LANGUAGE sql AS $$
  UPDATE once.schedule SET begins_at = now() - '100 days 1 min'::interval, last_due = now() - ago WHERE name = which $$;
SELECT pass('nightly', '2 days'), pass('often', '11 min');
CALL once.maintain();
CALL once.maintain();
SELECT * FROM sent;
SELECT (m.headers ->> 'due_at')::timestamptz = last_due AS told, last_due <= now() AS passed, next_due > now() AS ahead FROM once.q_s m, once.list_schedules() WHERE name = m.headers ->> 'schedule' ORDER BY name;
-- In a transaction that rolls back, nothing is done.
SELECT once.purge('s');
SELECT pass('often', '11 min');
BEGIN;
CALL once.maintain();
SELECT count(*) FROM sent;
ROLLBACK;
SELECT count(*) FROM sent;
-- Nor twice by who has forgotten that it was done, as on a server that has not seen the other's: the due times are the same.
CALL once.maintain();
UPDATE once.schedule SET last_due = last_due - '10 min'::interval WHERE name = 'often';
CALL once.maintain();
SELECT * FROM sent;
SELECT once.purge('s');

-- What was missed: one for all, each, or none.
SELECT once.drop_schedule('nightly'), once.drop_schedule('often');
SELECT once.create_schedule(c, 's', every => '1 h', payload => to_jsonb(c), catch_up => c) FROM unnest(ARRAY['one', 'all', 'skip']) c;
SELECT once.create_schedule('clock_' || c, 's', to_char(now() AT TIME ZONE 'UTC' + '30 min', 'MI "* * * *"'), payload => to_jsonb('clock_' || c), catch_up => c) FROM unnest(ARRAY['one', 'all']) c;
UPDATE once.schedule SET begins_at = now() - '49 hours 30 min'::interval, last_due = NULL;
UPDATE once.schedule SET last_due = now() - '49 hours'::interval WHERE name LIKE 'clock%';
CALL once.maintain();
SELECT payload, count(*) = 49 AS all_of_them, count(*) = 1 AS one FROM sent GROUP BY payload ORDER BY 1;
SELECT name, next_due > now() AS ahead FROM once.list_schedules();
-- More than a step takes; years; not too late to be skipped.
SELECT once.purge('s');
SELECT once.drop_schedule(name) FROM once.list_schedules();
SELECT once.create_schedule('all', 's', every => '1 min', payload => '"all"', catch_up => 'all');
SELECT once.create_schedule('one', 's', '* * * * *', payload => '"one"');
SELECT once.create_schedule('skip', 's', every => '1 h', payload => '"skip"', catch_up => 'skip');
UPDATE once.schedule SET begins_at = now() - '250 min 30 s'::interval WHERE name = 'all';
UPDATE once.schedule SET begins_at = now() - '10 years'::interval WHERE name = 'one';
UPDATE once.schedule SET begins_at = now() - '10 hours 4 min'::interval WHERE name = 'skip';
CALL once.maintain();
SELECT payload, count(*) FROM sent GROUP BY payload ORDER BY 1;
SELECT once.drop_schedule(name) FROM once.list_schedules();
SELECT once.purge('s');

-- A run that fails says so, once; and is made up for when it can be.
SELECT once.create_schedule('failing', 's', every => '1 h', payload => '"failing"');
SELECT pass('failing', '1 h 1 min');
SELECT once.pause('s', 'send');
CALL once.maintain();
CALL once.maintain();
SELECT name, last_error, last_error_at IS NOT NULL AS dated, next_due <= now() AS missed FROM once.list_schedules();
SELECT once.resume('s', 'send');
CALL once.maintain();
SELECT * FROM sent;
SELECT name, last_error, next_due > now() AS ahead FROM once.list_schedules();
-- A trigger that would fire at the commit; and one that takes its time.
CREATE FUNCTION objects() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not by schedule'; END $$;
CREATE CONSTRAINT TRIGGER objects AFTER INSERT ON once.q_s DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION objects();
SELECT pass('failing', '2 h 1 min');
CALL once.maintain();
-- Also if a trigger defers it; and one of the caller's own transaction fires as the caller.
CREATE FUNCTION defers() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN NEW; END $$;
CREATE TRIGGER defers BEFORE INSERT ON once.q_s FOR EACH ROW EXECUTE FUNCTION defers();
CALL once.maintain();
SELECT last_error, next_due <= now() AS missed FROM once.list_schedules();
DROP TRIGGER defers ON once.q_s;
DROP TRIGGER objects ON once.q_s;
CREATE FUNCTION tells() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'as the caller: %', current_user = session_user; RETURN NULL; END $$;
CREATE TABLE deferred (id int);
CREATE CONSTRAINT TRIGGER tells AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tells();
CREATE ROLE regress_schedule_other;
GRANT EXECUTE ON FUNCTION once.create_schedule TO regress_schedule_other;
SELECT once.grant_queue('s', 'regress_schedule_other', 'produce');
SET ROLE regress_schedule_other;
SELECT once.create_schedule('other', 's', every => '1 h');
RESET ROLE;
SELECT pass('other', '2 h 1 min');
BEGIN;
INSERT INTO deferred VALUES (1);
CALL once.maintain();
SELECT count(*) FROM once.q_s WHERE headers ->> 'schedule' = 'other';
COMMIT;
SELECT once.drop_schedule('other');
DROP TABLE deferred;
DROP FUNCTION tells, defers;
DROP OWNED BY regress_schedule_other;
DROP ROLE regress_schedule_other;
SELECT once.purge('s');
SELECT pass('failing', '2 h 1 min');
CREATE FUNCTION sleeps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3600); RETURN NEW; END $$;
CREATE TRIGGER sleeps BEFORE INSERT ON once.q_s FOR EACH ROW EXECUTE FUNCTION sleeps();
SET once.maintenance_timeout = '100 ms';
CALL once.maintain();
RESET once.maintenance_timeout;
DROP TRIGGER sleeps ON once.q_s;
SELECT last_error FROM once.list_schedules();
SELECT once.drop_schedule('failing');
SELECT once.purge('s');
-- The clock is set back: nothing is due again until it has passed what is done.
SELECT once.create_schedule('back', 's', every => '1 h'), once.create_schedule('back_by_clock', 's', '* * * * *');
UPDATE once.schedule SET last_due = now() + '1 day'::interval;
CALL once.maintain();
SELECT count(*) FROM sent;
SELECT name, last_due > now() AS ahead, next_due > last_due AS after, last_error FROM once.list_schedules();
SELECT once.drop_schedule(name) FROM once.list_schedules();
-- The queue is dropped, and made again.
SELECT once.create_queue('t');
SELECT once.create_schedule('lost', 't', every => '1 h');
SELECT pass('lost', '1 h 1 min');
SELECT once.drop_queue('t');
CALL once.maintain();
SELECT once.create_queue('t');
CALL once.maintain();
SELECT count(*) FROM once.q_t;
SELECT once.drop_schedule('lost');
SELECT once.drop_queue('t');

-- As which role: the one that has created it, whoever runs it, if he could be that role; as long as it may send.
CREATE ROLE regress_schedule_creator;
CREATE ROLE regress_schedule_member IN ROLE regress_schedule_creator;
CREATE ROLE regress_schedule_stranger;
CREATE TABLE who (role name);
GRANT INSERT ON who TO PUBLIC;
CREATE FUNCTION who() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.who VALUES (current_user); RETURN NEW; END $$;
CREATE TRIGGER who BEFORE INSERT ON once.q_s FOR EACH ROW EXECUTE FUNCTION who();
SET ROLE regress_schedule_creator;
SELECT once.create_schedule('theirs', 's', every => '1 h');
RESET ROLE;
GRANT EXECUTE ON FUNCTION once.create_schedule TO regress_schedule_creator;
SET ROLE regress_schedule_creator;
SELECT once.create_schedule('theirs', 's', every => '1 h');
RESET ROLE;
SELECT once.grant_queue('s', 'regress_schedule_creator', 'produce');
SET ROLE regress_schedule_creator;
SELECT once.create_schedule('theirs', 's', every => '1 h', payload => '"secret"', headers => '{"a": "secret"}', group_id => 'secret');
RESET ROLE;
-- Everybody sees that it is there, and members of the role what it sends.
SET ROLE regress_schedule_stranger;
SELECT name, queue, every, payload, headers, group_id, role FROM once.list_schedules();
SELECT count(*) FROM once.dump_schedules();
SELECT FROM once.schedule;
SET ROLE regress_schedule_member;
SELECT name, queue, every, payload, headers, group_id, role FROM once.list_schedules();
SELECT count(*) FROM once.dump_schedules();
RESET ROLE;
SELECT pass('theirs', '1 h 1 min');
SET ROLE regress_schedule_stranger;
CALL once.maintain();
SELECT once.drop_schedule('theirs');
RESET ROLE;
SELECT count(*) FROM sent;
SET ROLE regress_schedule_member;
CALL once.maintain();
RESET ROLE;
SELECT * FROM who;
SELECT pass('theirs', '2 h 1 min');
CALL once.maintain();
SELECT * FROM who;
SELECT once.revoke_queue('s', 'regress_schedule_creator', 'produce');
SELECT pass('theirs', '1 h 1 min');
CALL once.maintain();
SELECT last_error FROM once.list_schedules();
-- A role that is renamed keeps it; one that has the name now does not get it.
SELECT once.grant_queue('s', 'regress_schedule_creator', 'produce');
REVOKE EXECUTE ON FUNCTION once.create_schedule FROM regress_schedule_creator;
ALTER ROLE regress_schedule_creator RENAME TO regress_schedule_renamed;
CREATE ROLE regress_schedule_creator;
SELECT once.grant_queue('s', 'regress_schedule_creator', 'produce');
TRUNCATE who;
CALL once.maintain();
SELECT * FROM who;
REASSIGN OWNED BY regress_schedule_renamed TO regress_schedule_creator;
DROP OWNED BY regress_schedule_renamed;
DROP ROLE regress_schedule_renamed;
SELECT pass('theirs', '1 h 1 min');
CALL once.maintain();
SELECT last_error FROM once.list_schedules();
SET ROLE regress_schedule_creator;
SELECT once.drop_schedule('theirs');
RESET ROLE;
-- In a row from elsewhere the name counts.
UPDATE once.schedule SET role_id = '1/' || substr(role_id, strpos(role_id, '/') + 1);
CALL once.maintain();
SELECT * FROM who;
SET ROLE regress_schedule_member;
SELECT once.drop_schedule('theirs');
RESET ROLE;
SET ROLE regress_schedule_creator;
SELECT once.drop_schedule('theirs');
RESET ROLE;
DROP TRIGGER who ON once.q_s;

-- Bad arguments.
SELECT once.create_schedule(NULL, 's', every => '1 h');
SELECT once.create_schedule('a b', 's', every => '1 h');
SELECT once.create_schedule('x', NULL, every => '1 h');
SELECT once.create_schedule('x', 'none', every => '1 h');
SELECT once.create_schedule('x', 's');
SELECT once.create_schedule('x', 's', '* * * * *', '1 h');
SELECT once.create_schedule('x', 's', '* * * * * *');
SELECT once.create_schedule('x', 's', '0 0 31 feb *');
SELECT once.create_schedule('x', 's', every => '999 ms');
SELECT once.create_schedule('x', 's', every => '36501 days');
SELECT once.create_schedule('x', 's', every => '1 h', timezone => 'Nowhere');
SELECT once.create_schedule('x', 's', every => '1 h', timezone => NULL);
SELECT once.create_schedule('x', 's', every => '1 h', catch_up => 'none');
SELECT once.create_schedule('x', 's', every => '1 h', catch_up => NULL);
SELECT once.create_schedule('x', 's', every => '1 h', headers => '1');
SELECT once.create_schedule('x', 's', every => '1 h', group_id => '');
SELECT once.drop_schedule('x');
SELECT once.drop_schedule(NULL);
SELECT count(*) FROM once.list_schedules();
SELECT once.create_schedule('x', 's', every => '1 s'), once.create_schedule('y', 's', every => '36500 days');
SELECT once.create_schedule('x', 's', every => '1 s');
SELECT count(*) FROM once.list_schedules();
SELECT once.drop_schedule('x'), once.drop_schedule('y');
BEGIN READ ONLY;
SELECT once.create_schedule('x', 's', every => '1 h');
ROLLBACK;

DROP VIEW sent;
SELECT once.drop_queue('s');
DROP FUNCTION runs, pass, objects, sleeps;
DROP TABLE who;
DROP FUNCTION who;
DROP ROLE regress_schedule_creator, regress_schedule_member, regress_schedule_stranger;
