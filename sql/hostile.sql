-- Nobody becomes more than he is.  Every routine of schema once, those to come as
-- well, is called by every kind of role, in a session where each name that could be
-- meant is also that of something hostile; by a superuser, on a queue whose owner is
-- hostile; and with event triggers whose functions do not qualify names.
SET client_min_messages = warning;
CREATE ROLE regress_hostile_owner LOGIN;
CREATE ROLE regress_hostile_member IN ROLE regress_hostile_owner;
CREATE ROLE regress_hostile_producer;
CREATE ROLE regress_hostile_consumer;
CREATE ROLE regress_hostile_observer;
CREATE ROLE regress_hostile_stranger;
GRANT EXECUTE ON FUNCTION once.create_queue, once.create_ledger, once.create_schedule, once.create_worker TO regress_hostile_owner;
CREATE SCHEMA hostile;
GRANT ALL ON SCHEMA hostile TO PUBLIC;

-- The queue's owner is an ordinary man, who does not qualify names either.
CREATE SCHEMA shop AUTHORIZATION regress_hostile_owner;
GRANT USAGE ON SCHEMA shop TO PUBLIC;
SET SESSION AUTHORIZATION regress_hostile_owner;
SET search_path = shop, public;
CREATE TABLE audit (what text, id bigint);
GRANT INSERT ON audit TO PUBLIC;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit VALUES (TG_OP, CASE WHEN TG_OP = 'DELETE' THEN OLD.id WHEN TG_OP = 'INSERT' THEN NEW.id END);
  RETURN COALESCE(NEW, OLD);
END $$;
CREATE FUNCTION one() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM audit WHERE false) + 1; END $$;
-- (Of the archive's partitions, the first one is not the one in use, nor will it be for decades.)
SELECT once.create_queue(q, id_index => true, archive => '7300 days', retry_delay => '0', max_attempts => 1000) FROM unnest(ARRAY['slow', 'fast']) q;
SELECT once.create_ledger('l', '1 s');
CREATE TRIGGER note BEFORE INSERT OR DELETE ON once.q_slow FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER note_emptied BEFORE TRUNCATE ON once."a_slow$0" FOR EACH STATEMENT EXECUTE FUNCTION note();
CREATE STATISTICS once_hostile ON (id + one()), generation FROM once."a_slow$0";
SELECT once.grant_queue(q, 'regress_hostile_producer', 'produce'),
       once.grant_queue(q, 'regress_hostile_consumer', 'consume'),
       once.grant_queue(q, 'regress_hostile_observer', 'observe') FROM unnest(ARRAY['slow', 'fast']) q;
SELECT once.grant_ledger('l', 'regress_hostile_consumer');
SELECT count(*) FROM once.send_batch('slow', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 500) g));
SELECT count(*) FROM once.send_batch('fast', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 500) g));
SELECT count(once.send(q, '"dead"', ttl => '1 us', dedup_id => 'd' || g)) FROM unnest(ARRAY['slow', 'fast']) q, generate_series(1, 10) g;
SELECT once.nack(receipt, error => 'failed') FROM once.lease('slow');
INSERT INTO once.a_slow (id, archived_at, generation) VALUES (1, '2000-01-01', 0);
SELECT once.create_schedule(q, q, every => '1 h') FROM unnest(ARRAY['slow', 'fast']) q;
RESET SESSION AUTHORIZATION;
UPDATE once.schedule SET begins_at = now() - '61 min'::interval;
INSERT INTO once.worker SELECT q, q, 'hostile.handler(once.message)', 1, 1, 'regress_hostile_owner', NULL, false, now() FROM unnest(ARRAY['slow', 'fast']) q;
RESET search_path;
-- Nor does the extension's owner, in what is behind the tables of dead letters and failures.
CREATE FUNCTION public.note_dead() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit VALUES (TG_OP, 0);
  RETURN COALESCE(NEW, OLD);
EXCEPTION WHEN undefined_table THEN
  RETURN COALESCE(NEW, OLD);
END $$;
CREATE TRIGGER note BEFORE INSERT OR DELETE ON once.dead_letter FOR EACH ROW EXECUTE FUNCTION public.note_dead();
CREATE TRIGGER note BEFORE INSERT OR DELETE ON once.failure FOR EACH ROW EXECUTE FUNCTION public.note_dead();
INSERT INTO once.dead_letter SELECT q, g, 'attempts', 1, NULL, now(), NULL, NULL, now(), 4, NULL, NULL, '1' FROM unnest(ARRAY['slow', 'fast']) q, generate_series(1001, 1003) g;

-- Nor does the superuser, in the function of his event triggers.
CREATE TABLE public.ddl_history (event text, tag text, what text);
GRANT INSERT ON public.ddl_history TO PUBLIC;
CREATE FUNCTION public.log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO ddl_history VALUES (tg_event, tg_tag, 'by ' || current_user);
  IF tg_event = 'ddl_command_end' THEN
    INSERT INTO ddl_history SELECT tg_event, command_tag, object_identity FROM pg_event_trigger_ddl_commands();
  ELSIF tg_event = 'sql_drop' THEN
    INSERT INTO ddl_history SELECT tg_event, object_type, object_identity FROM pg_event_trigger_dropped_objects();
  END IF;
END $$;

-- One call of each routine, with all arguments that are known here by their names.
-- What cannot be called for want of a value is told below; work, which commits, is called by itself.
CREATE FUNCTION public.hostile_value(routine name, queue text, argument text, type regtype) RETURNS text LANGUAGE sql AS $$
  SELECT CASE
    WHEN argument = 'queue' AND routine = 'create_queue' THEN '''made'''
    WHEN argument = 'ledger' AND routine = 'create_ledger' THEN '''made'''
    WHEN argument = 'cron' AND routine <> 'create_schedule' THEN '''* * * * *'''
    WHEN argument = 'name' THEN CASE WHEN routine LIKE 'create%' THEN '''made''' ELSE quote_literal(queue) END
    WHEN argument = 'every' THEN '''1 h'''
    WHEN argument = 'timezone' THEN '''UTC'''
    WHEN argument IN ('begins_at', 'last_due') THEN '''2020-01-01'''
    WHEN argument = 'queue' THEN quote_literal(queue)
    WHEN argument = 'queue_table' THEN quote_literal('once.q_' || queue) || '::pg_catalog.regclass'
    WHEN argument = 'ledger' THEN '''l'''
    WHEN argument = 'payload' THEN '''1'''
    WHEN argument = 'payloads' THEN 'ARRAY[''1'', ''2'']::pg_catalog.jsonb[]'
    WHEN argument = 'receipt' THEN format('(SELECT receipt FROM once.lease(%L, ''1 min'') LIMIT 1)', queue)
    WHEN argument = 'receipts' THEN format('ARRAY(SELECT receipt FROM once.lease(%L, ''1 min'', 2))', queue)
    WHEN argument = 'id' AND type = 'text'::regtype THEN '''x'''
    WHEN argument = 'id' THEN '200'
    WHEN argument = 'ids' AND type = 'text[]'::regtype THEN 'ARRAY[''x'', ''y'']'
    WHEN argument = 'ids' THEN 'ARRAY[1001, 1002]'
    WHEN argument = 'dedup_id' THEN '''x'''
    WHEN argument = 'dedup_ids' THEN 'ARRAY[''x'', ''y'']'
    WHEN argument IN ('result', 'headers') AND type = 'jsonb'::regtype THEN '''{"a": 1}'''
    WHEN argument = 'what' THEN CASE WHEN routine IN ('pause', 'resume') THEN '''all''' ELSE '''observe''' END
    WHEN argument = 'role_id' THEN 'NULL'
    WHEN argument = 'topic' THEN '''send'''
    WHEN argument = 'role' THEN '''regress_hostile_stranger'''
    WHEN argument = 'since' THEN '''-infinity'''
    WHEN argument = 'until' AND type = 'interval'::regtype THEN '''0'''
    WHEN argument = 'until' THEN '''infinity'''
    WHEN argument = 'handler' THEN '''hostile.handler(once.message)'''
    WHEN argument = 'strict' THEN 'true'
    WHEN argument IN ('lease', 'retention', 'archive', 'dedup_window') AND type = 'interval'::regtype THEN '''1 h'''
    WHEN argument IN ('max_messages', 'max_attempts') THEN '2'
  END
$$;
-- once.wait cannot be called in a transaction block, so :attack calls it directly.
CREATE TABLE public.hostile_call (routine name, queue text, call text);
GRANT SELECT ON public.hostile_call TO PUBLIC;
INSERT INTO public.hostile_call
SELECT p.proname, q.queue,
       CASE p.proname WHEN 'set_result' THEN 'SELECT once.mark_processed(''l'', ''x''); ' ELSE '' END ||
       format(CASE p.prokind WHEN 'p' THEN 'CALL once.%I(%s)' ELSE 'SELECT * FROM once.%I(%s)' END, p.proname, string_agg(format('%I => %s', a.name, v.value), ', ' ORDER BY a.n) FILTER (WHERE v.value IS NOT NULL))
  FROM pg_proc p
 CROSS JOIN unnest(ARRAY['slow', 'fast']) AS q (queue)
  LEFT JOIN LATERAL unnest(p.proargnames[:p.pronargs], p.proargtypes::oid[]) WITH ORDINALITY AS a (name, type, n) ON true
  LEFT JOIN LATERAL public.hostile_value(p.proname, q.queue, a.name, a.type::regtype) AS v (value) ON true
 WHERE p.pronamespace = 'once'::regnamespace AND p.proname NOT IN ('wait', 'work') AND p.prorettype NOT IN ('index_am_handler'::regtype, 'internal'::regtype, 'trigger'::regtype)
 GROUP BY p.oid, p.proname, q.queue;

-- What is hostile, of whoever calls hostile.prepare: names of all kinds, with code
-- that tells if it runs as somebody else than who has made it.
CREATE FUNCTION hostile.tell(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF current_user OPERATOR(pg_catalog.<>) session_user THEN
    RAISE WARNING 'code of % runs as %: %', session_user, current_user, what;
  END IF;
END $$;
CREATE FUNCTION hostile.handler(m once.message) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM hostile.tell('handler'); END $$;
CREATE FUNCTION hostile.tell_domain(what text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM hostile.tell('domain ' || what); RETURN true; END $$;
CREATE FUNCTION hostile.spy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM hostile.tell(TG_TABLE_NAME);
  RETURN COALESCE(NEW, OLD);
END $$;
CREATE FUNCTION hostile.prepare() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  r record;
BEGIN
  CREATE TEMP TABLE audit (what text, id bigint);
  CREATE TEMP TABLE ddl_history (event text, tag text, what text);
  CREATE TEMP TABLE queue (LIKE once.queue);
  CREATE TEMP TABLE ledger (LIKE once.ledger);
  CREATE TEMP TABLE schedule (LIKE once.schedule_dump);
  CREATE TEMP TABLE worker (LIKE once.worker);
  CREATE TEMP TABLE dead_letter (queue text, id bigint, dead_at timestamptz);
  CREATE TEMP TABLE failure (queue text, id bigint);
  CREATE TEMP TABLE q_slow (id bigint);
  CREATE TEMP TABLE q_fast (id bigint);
  CREATE TEMP TABLE pg_class (oid oid, relname name);
  CREATE TEMP TABLE pg_namespace (oid oid, nspname name);
  CREATE TEMP TABLE taken (id bigint);
  CREATE TEMP TABLE gone (id bigint);
  FOR r IN SELECT unnest(ARRAY['int2', 'int4', 'int8', 'text', 'name', 'tid', 'oid', 'bool', 'uuid', 'jsonb', 'interval', 'timestamptz']) AS type LOOP
    EXECUTE format('CREATE DOMAIN pg_temp.%1$I AS pg_catalog.%1$I CHECK (hostile.tell_domain(%1$L))', r.type);
  END LOOP;
  FOR r IN SELECT relname FROM pg_catalog.pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r' LOOP
    EXECUTE format('GRANT ALL ON pg_temp.%I TO PUBLIC', r.relname);
    EXECUTE format('CREATE TRIGGER spy BEFORE INSERT OR UPDATE OR DELETE ON pg_temp.%I FOR EACH ROW EXECUTE FUNCTION hostile.spy()', r.relname);
  END LOOP;
END $$;
-- Functions and operators, better fits than those of pg_catalog, and first in the path.
DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['text', 'name', 'bigint', 'integer', 'timestamptz', 'oid', 'tid'] LOOP
    EXECUTE format('CREATE FUNCTION hostile.eq(%1$s, %1$s) RETURNS bool LANGUAGE plpgsql AS $f$ BEGIN PERFORM hostile.tell(''= %1$s''); RETURN $1 OPERATOR(pg_catalog.=) $2; END $f$', t);
    EXECUTE format('CREATE OPERATOR hostile.= (FUNCTION = hostile.eq, LEFTARG = %1$s, RIGHTARG = %1$s)', t);
    CONTINUE WHEN t IN ('name', 'oid', 'tid');
    EXECUTE format('CREATE FUNCTION hostile.ge(%1$s, %1$s) RETURNS bool LANGUAGE plpgsql AS $f$ BEGIN PERFORM hostile.tell(''>= %1$s''); RETURN $1 OPERATOR(pg_catalog.>=) $2; END $f$', t);
    EXECUTE format('CREATE OPERATOR hostile.>= (FUNCTION = hostile.ge, LEFTARG = %1$s, RIGHTARG = %1$s)', t);
  END LOOP;
END $$;
CREATE FUNCTION hostile.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM hostile.tell('now'); RETURN pg_catalog.now(); END $$;
CREATE FUNCTION hostile.substr(text, int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM hostile.tell('substr'); RETURN pg_catalog.substr($1, $2); END $$;
CREATE FUNCTION hostile.has_table_privilege(oid, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM hostile.tell('has_table_privilege'); RETURN true; END $$;
CREATE FUNCTION hostile.row_security_active(oid) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM hostile.tell('row_security_active'); RETURN false; END $$;
CREATE FUNCTION hostile.unnest(bigint[]) RETURNS SETOF bigint LANGUAGE plpgsql AS $$ BEGIN PERFORM hostile.tell('unnest'); RETURN QUERY SELECT * FROM pg_catalog.unnest($1); END $$;

-- Tries a call and takes it back.  What is claimed, and what is said, stays.
CREATE FUNCTION hostile.try(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE call;
  RAISE EXCEPTION USING ERRCODE = 'ZZZZZ';
EXCEPTION
  WHEN SQLSTATE 'ZZZZZ' THEN RETURN 'ok';
  WHEN OTHERS THEN RETURN SQLSTATE;
END $$;
CREATE TABLE public.hostile_result (role name DEFAULT session_user, routine name, result text);
GRANT INSERT ON public.hostile_result TO PUBLIC;
\set prepare 'SELECT hostile.prepare(); SET search_path = hostile, pg_temp, shop, public, pg_catalog;'
\set attack 'INSERT INTO public.hostile_result (routine, result) SELECT routine, hostile.try(call) FROM public.hostile_call; CALL once.maintain(); CALL once.maintain(); CALL once.wait(ARRAY[''slow'', ''fast''], ''0'');'
\set forget 'RESET search_path; DISCARD TEMP;'

-- With triggers as they are, and with those that only replication fires.
CREATE EVENT TRIGGER log_start ON ddl_command_start EXECUTE FUNCTION public.log_ddl();
CREATE EVENT TRIGGER log_end ON ddl_command_end EXECUTE FUNCTION public.log_ddl();
CREATE EVENT TRIGGER log_drop ON sql_drop EXECUTE FUNCTION public.log_ddl();
ALTER EVENT TRIGGER log_start ENABLE ALWAYS;
ALTER EVENT TRIGGER log_end ENABLE ALWAYS;
ALTER EVENT TRIGGER log_drop ENABLE ALWAYS;
SET SESSION AUTHORIZATION regress_hostile_producer;
:prepare :attack :forget
SET SESSION AUTHORIZATION regress_hostile_consumer;
:prepare :attack :forget
SET SESSION AUTHORIZATION regress_hostile_observer;
:prepare :attack :forget
SET SESSION AUTHORIZATION regress_hostile_stranger;
:prepare :attack :forget
SET SESSION AUTHORIZATION regress_hostile_owner;
:prepare :attack :forget
-- Who is a member of the owner may be him anyway: he alone runs code of his as the owner.
SET client_min_messages = error;
SET SESSION AUTHORIZATION regress_hostile_member;
:prepare :attack :forget
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
SET session_replication_role = replica;
SET SESSION AUTHORIZATION regress_hostile_producer;
:prepare :attack :forget
SET SESSION AUTHORIZATION regress_hostile_consumer;
:prepare :attack :forget
SET SESSION AUTHORIZATION regress_hostile_owner;
:prepare :attack :forget
RESET SESSION AUTHORIZATION;
RESET session_replication_role;
-- (reset_stats has nothing to reset, as this server has not loaded the library itself.)
UPDATE public.hostile_result SET result = 'ok' WHERE routine = 'reset_stats' AND result = '55000' AND role = 'regress_hostile_owner';
DELETE FROM public.hostile_result WHERE routine = 'reset_stats' AND result = '55000';
-- (Nor can it make ids for several nodes, and nothing is distributed here.)
UPDATE public.hostile_result SET result = 'ok'
 WHERE routine = 'next_id' AND result = '55000' OR routine IN ('distribute_queue', 'shards', 'shard_places') AND result = '0A000';
SELECT DISTINCT role, routine, result FROM public.hostile_result WHERE result NOT IN ('42501', 'ok') ORDER BY 1, 2, 3;
-- Every routine has been called with success by somebody.
SELECT DISTINCT routine FROM public.hostile_call EXCEPT SELECT routine FROM public.hostile_result WHERE result = 'ok' ORDER BY 1;
-- What a stranger can do.
SELECT DISTINCT routine FROM public.hostile_result WHERE role = 'regress_hostile_stranger' AND result = 'ok' ORDER BY 1;

-- The consumer loop, of a consumer, and of a superuser in whose path the handler's names are hostile.
SET SESSION AUTHORIZATION regress_hostile_owner;
SELECT once.create_queue('loop');
SELECT once.grant_queue('loop', 'regress_hostile_consumer', 'consume');
SELECT count(*) FROM once.send_batch('loop', ARRAY['1', '2']::jsonb[]);
SET SESSION AUTHORIZATION regress_hostile_stranger;
:prepare CALL once.work('loop', 'hostile.handler(once.message)', until => '0'); :forget
SET SESSION AUTHORIZATION regress_hostile_consumer;
:prepare CALL once.work('loop', 'hostile.handler(once.message)', until => '0'); :forget
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM once.q_loop;

-- Now the owner is hostile, and a superuser calls: which routines run the code of the
-- queue's owner as the superuser?  Those that insert or delete rows, as INSERT and DELETE
-- would, and no others.  (An error of class 53 is nothing that one row could be left out for.)
SET SESSION AUTHORIZATION regress_hostile_owner;
CREATE OR REPLACE FUNCTION shop.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_user <> 'regress_hostile_owner' THEN RAISE EXCEPTION USING ERRCODE = '53ZZ1'; END IF;
  RETURN COALESCE(NEW, OLD);
END $$;
CREATE OR REPLACE FUNCTION shop.one() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
  IF current_user <> 'regress_hostile_owner' THEN RAISE EXCEPTION USING ERRCODE = '53ZZ1'; END IF;
  RETURN 1;
END $$;
ALTER TABLE once.q_fast ADD CHECK (id >= shop.one());
ALTER TABLE once.l_l_0 ADD CHECK (length(id) >= shop.one());
SELECT count(once.send(q, '"dead"', ttl => '1 us', priority => 9)) FROM unnest(ARRAY['slow', 'fast']) q, generate_series(1, 10);
RESET SESSION AUTHORIZATION;
DELETE FROM public.hostile_result;
SET constraint_exclusion = on;
INSERT INTO public.hostile_result (routine, result) SELECT routine, hostile.try(call) FROM public.hostile_call;
SELECT DISTINCT routine FROM public.hostile_result WHERE result = '53ZZ1' ORDER BY 1;
-- As the owner, maintain() can.
SET SESSION AUTHORIZATION regress_hostile_owner;
SELECT count(once.send(q, '"doomed"', ttl => '1 us')) FROM unnest(ARRAY['slow', 'fast']) q, generate_series(1, 10);
RESET SESSION AUTHORIZATION;
CALL once.maintain();
RESET constraint_exclusion;
SELECT count(*) AS dead_left FROM once.q_slow WHERE payload = '"doomed"';

-- What came of it all: nobody is more than he was, and nothing is anybody else's.
SELECT rolname, rolsuper, rolcreaterole FROM pg_roles WHERE rolname LIKE 'regress\_hostile%' AND (rolsuper OR rolcreaterole);
SELECT m.roleid::regrole, m.member::regrole FROM pg_auth_members m WHERE m.member::regrole::text LIKE 'regress\_hostile%' AND m.roleid::regrole::text LIKE 'regress\_hostile%';
SELECT relname, relowner::regrole FROM pg_class WHERE relnamespace = 'once'::regnamespace AND (relname LIKE '%made%' OR (relkind IN ('r', 'p') AND relname ~ '_(slow|fast|l)(_|$)' AND relowner <> 'regress_hostile_owner'::regrole));

-- An event trigger whose function qualifies nothing does as ever: it finds what the caller
-- finds, as the caller.  (It fails whatever looks for a name in a path of our own.)
TRUNCATE public.ddl_history;
SET SESSION AUTHORIZATION regress_hostile_owner;
SELECT once.create_queue('logged', archive => '1 h');
SELECT once.create_ledger('logged', '1 h');
SELECT once.grant_queue('logged', 'regress_hostile_stranger', 'observe');
SELECT once.drop_queue('logged');
SELECT once.drop_ledger('logged');
RESET SESSION AUTHORIZATION;
SELECT event, tag, what FROM public.ddl_history WHERE what LIKE 'by %';
SELECT event, tag, count(*), array_agg(what ORDER BY what COLLATE "C") FILTER (WHERE what ~ '^once\.[a-z_]*$') FROM public.ddl_history WHERE what NOT LIKE 'by %' AND tag <> 'table constraint' GROUP BY 1, 2 ORDER BY 1, 2;
DROP EVENT TRIGGER log_start;
DROP EVENT TRIGGER log_end;
DROP EVENT TRIGGER log_drop;

-- One owner keeps a superuser's maintain() from the queues of nobody else, whatever his
-- triggers do.
SELECT once.create_queue('victim');
-- (What is stuck already would be tried again some time later.)
\set one_dead 'TRUNCATE once.q_slow, once.q_fast; SELECT count(once.send(q, ''"dead"'', ttl => ''1 us'')) AS sent FROM unnest(ARRAY[''slow'', ''fast'', ''victim'']) q;'
CREATE FUNCTION public.victims() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM once.dead_letter WHERE queue = 'victim' $$;
CREATE FUNCTION hostile.hold_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'held up' USING ERRCODE = '57014'; END $$;
SET SESSION AUTHORIZATION regress_hostile_owner;
ALTER TABLE once.q_fast DROP CONSTRAINT q_fast_id_check;
DROP TRIGGER note ON once.q_slow;
CREATE TRIGGER hold_up BEFORE DELETE ON once.q_slow FOR EACH ROW EXECUTE FUNCTION hostile.hold_up();
CREATE TRIGGER hold_up BEFORE DELETE ON once.q_fast FOR EACH ROW EXECUTE FUNCTION hostile.hold_up();
RESET SESSION AUTHORIZATION;
\set VERBOSITY terse
:one_dead
CALL once.maintain();
SELECT public.victims();
CREATE OR REPLACE FUNCTION hostile.hold_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ASSERT false, 'held up'; END $$;
:one_dead
CALL once.maintain();
SELECT public.victims();
-- A message that its trigger has received and left.
CREATE OR REPLACE FUNCTION hostile.hold_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM once.receive('other'); RETURN OLD; END $$;
SET SESSION AUTHORIZATION regress_hostile_owner;
SELECT once.create_queue('other');
SELECT count(*) FROM once.send_batch('other', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 100) g));
RESET SESSION AUTHORIZATION;
:one_dead
CALL once.maintain();
SELECT public.victims();
-- One more dead message for each that goes.
CREATE OR REPLACE FUNCTION hostile.hold_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('INSERT INTO once.%I (payload, expires_at) VALUES (''"again"'', ''-infinity'')', TG_TABLE_NAME);
  RETURN OLD;
END $$;
:one_dead
CALL once.maintain();
SELECT public.victims();
SELECT count(*) > 0 AS some_left, count(*) < 1000 AS not_for_ever FROM once.q_slow WHERE payload = '"again"';
-- It takes its time, and does not listen.
CREATE OR REPLACE FUNCTION hostile.hold_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_sleep(3600);
  RETURN OLD;
EXCEPTION WHEN query_canceled THEN
  PERFORM pg_sleep(3600);
  RETURN OLD;
END $$;
:one_dead
SET once.maintenance_timeout = '50 ms';
CALL once.maintain();
RESET once.maintenance_timeout;
SELECT public.victims();
-- A trigger that would fire at the commit.
CREATE OR REPLACE FUNCTION hostile.hold_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'held up at the commit'; END $$;
SET SESSION AUTHORIZATION regress_hostile_owner;
DROP TRIGGER hold_up ON once.q_slow;
DROP TRIGGER hold_up ON once.q_fast;
CREATE CONSTRAINT TRIGGER hold_up AFTER DELETE ON once.q_slow DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hostile.hold_up();
RESET SESSION AUTHORIZATION;
:one_dead
SET SESSION AUTHORIZATION regress_hostile_owner;
CALL once.maintain();
RESET SESSION AUTHORIZATION;
:one_dead
CALL once.maintain();
SELECT public.victims();
-- Nor can it be deferred until the caller is himself again.
CREATE FUNCTION hostile.defer() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN OLD; END $$;
SET SESSION AUTHORIZATION regress_hostile_owner;
CREATE TRIGGER defer BEFORE DELETE ON once.q_slow FOR EACH ROW EXECUTE FUNCTION hostile.defer();
RESET SESSION AUTHORIZATION;
:one_dead
CALL once.maintain();
DROP TRIGGER defer ON once.q_slow;
-- What fails in the commit itself: of a consumer, whose triggers are not restricted.
CREATE OR REPLACE FUNCTION hostile.hold_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  CREATE TEMP TABLE IF NOT EXISTS parent (id int PRIMARY KEY) ON COMMIT DELETE ROWS;
  CREATE TEMP TABLE IF NOT EXISTS child (id int REFERENCES parent) ON COMMIT PRESERVE ROWS;
  RETURN OLD;
END $$;
SET SESSION AUTHORIZATION regress_hostile_owner;
DROP TRIGGER hold_up ON once.q_slow;
CREATE TRIGGER hold_up BEFORE DELETE ON once.q_slow FOR EACH ROW EXECUTE FUNCTION hostile.hold_up();
RESET SESSION AUTHORIZATION;
SELECT once.grant_queue('victim', 'regress_hostile_consumer', 'consume');
:one_dead
SET SESSION AUTHORIZATION regress_hostile_consumer;
CALL once.maintain();
RESET SESSION AUTHORIZATION;
SELECT public.victims();
-- statement_timeout is heard also when the limit has struck before.
CREATE OR REPLACE FUNCTION hostile.hold_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_sleep(3600);
  RETURN OLD;
EXCEPTION WHEN query_canceled THEN
  PERFORM pg_sleep(3600);
  RETURN OLD;
END $$;
:one_dead
SET once.maintenance_timeout = '50 ms';
SET statement_timeout = '500 ms';
CALL once.maintain();
RESET once.maintenance_timeout;
RESET statement_timeout;
-- A cancellation from outside ends it.
:one_dead
SET statement_timeout = '50 ms';
SET SESSION AUTHORIZATION regress_hostile_owner;
CREATE OR REPLACE FUNCTION shop.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3600); RETURN OLD; END $$;
DROP TRIGGER hold_up ON once.q_slow;
CREATE TRIGGER note BEFORE DELETE ON once.q_slow FOR EACH ROW EXECUTE FUNCTION shop.note();
CALL once.maintain();
RESET SESSION AUTHORIZATION;
RESET statement_timeout;
\set VERBOSITY default

-- Default privileges are the owner's own.
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO regress_hostile_stranger;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO regress_hostile_stranger;
SET SESSION AUTHORIZATION regress_hostile_owner;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO regress_hostile_observer;
SELECT once.create_queue('defaults', archive => '1 h', id_index => true);
SELECT once.create_ledger('defaults', '1 h');
ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM regress_hostile_observer;
RESET SESSION AUTHORIZATION;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM regress_hostile_stranger;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SEQUENCES FROM regress_hostile_stranger;
SELECT a.grantee::regrole, a.privilege_type, count(*), array_agg(c.relname ORDER BY c.relname COLLATE "C")
  FROM pg_class c, aclexplode(c.relacl) a
 WHERE c.relnamespace = 'once'::regnamespace AND c.relname LIKE '%defaults%' AND a.grantee <> c.relowner GROUP BY 1, 2;
SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'once'::regnamespace AND relname LIKE '%defaults%';

-- No name of a queue shares the lock of another one, or of a ledger: these would in 16 bits.
SELECT 'n' || min(g) AS one, 'n' || max(g) AS two FROM generate_series(1, 2000) g GROUP BY hashtext('n' || g) & 65535 HAVING count(*) > 1 ORDER BY min(g) LIMIT 1 \gset
SELECT once.create_queue(:'one'), once.create_queue(:'two');
BEGIN;
SELECT once.pause(:'one'), once.pause(:'two');
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'userlock';
ROLLBACK;

SELECT count(once.drop_schedule(name)) FROM once.list_schedules();
SELECT count(once.drop_worker(name)) FROM once.workers;
SELECT once.drop_queue(queue) FROM once.list_queues();
SELECT once.drop_ledger(ledger) FROM once.list_ledgers();
DROP SCHEMA hostile CASCADE;
DROP OWNED BY regress_hostile_owner;
DROP TABLE public.ddl_history, public.hostile_call, public.hostile_result;
DROP TRIGGER note ON once.dead_letter;
DROP TRIGGER note ON once.failure;
DROP FUNCTION public.log_ddl, public.hostile_value, public.victims, public.note_dead;
DROP ROLE regress_hostile_owner, regress_hostile_member, regress_hostile_producer, regress_hostile_consumer, regress_hostile_observer, regress_hostile_stranger;
