-- Who may do what with a ledger: rights are those on both of its tables.
CREATE ROLE regress_once_owner;
CREATE ROLE regress_once_user;
CREATE ROLE regress_once_stranger;
CREATE ROLE "regress once ""Odd""";
CREATE VIEW grants AS
SELECT c.relname, CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END AS grantee,
       string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ', ' ORDER BY a.privilege_type) AS privileges
  FROM pg_class c, aclexplode(c.relacl) a
 WHERE c.relnamespace = 'once'::regnamespace AND c.relname ~ '^l_' AND a.grantee <> c.relowner
 GROUP BY 1, 2 ORDER BY 1, 2;
GRANT SELECT ON grants TO PUBLIC;

-- Only who was given it may create ledgers; the tables are theirs, in a schema where they can create nothing else.
SET ROLE regress_once_owner;
SELECT once.create_ledger('l', '1 day');
\echo :SQLSTATE
RESET ROLE;
GRANT EXECUTE ON FUNCTION once.create_ledger TO regress_once_owner;
SET ROLE regress_once_owner;
SELECT once.create_ledger('l', '1 day');
SELECT relname, pg_get_userbyid(relowner) AS owner FROM pg_class WHERE relnamespace = 'once'::regnamespace AND relname LIKE 'l\_%' ORDER BY relname COLLATE "C";
SELECT ledger, owner FROM once.list_ledgers();
CREATE TABLE once.mine (id int);
-- The options are read by everybody, and written by functions only.
SELECT ledger, retention FROM once.ledger;
UPDATE once.ledger SET retention = '1 us';
DELETE FROM once.ledger;
INSERT INTO once.ledger (ledger, retention) VALUES ('m', '1 day');

-- grant_ledger gives all that using takes, on both tables; revoke_ledger takes it back.
SELECT * FROM grants;
SELECT once.grant_ledger('l', 'regress_once_user');
SELECT once.grant_ledger('l', 'regress once "Odd"');
SELECT once.grant_ledger('l', 'public');
SELECT * FROM grants;
SELECT once.revoke_ledger('l', 'public');
SELECT once.revoke_ledger('l', 'regress once "Odd"');
SELECT once.revoke_ledger('l', 'regress once "Odd"');
SELECT * FROM grants;
-- TRUNCATE, as retirement does it, leaves them.
TRUNCATE once.l_l_0, once.l_l_1;
SELECT * FROM grants;
\set VERBOSITY terse
SELECT once.grant_ledger('l', 'regress_once_nobody');
\echo :SQLSTATE
SELECT once.grant_ledger('l', 'Public');
SELECT once.grant_ledger('l', '');
SELECT once.grant_ledger('l', NULL);
\echo :SQLSTATE
SELECT once.grant_ledger(NULL, 'regress_once_user');
SELECT once.grant_ledger('nothing', 'regress_once_user');
\echo :SQLSTATE
SELECT once.grant_ledger('a b', 'regress_once_user');
\echo :SQLSTATE
SELECT once.revoke_ledger('l', 'regress_once_nobody');
SELECT once.revoke_ledger('l', NULL);
SELECT once.revoke_ledger(NULL, 'regress_once_user');
SELECT once.revoke_ledger('nothing', 'regress_once_user');
BEGIN READ ONLY;
SELECT once.grant_ledger('l', 'regress_once_stranger');
\echo :SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT once.revoke_ledger('l', 'regress_once_user');
ROLLBACK;
\set VERBOSITY default

-- Who uses the ledger can do all but what is the owner's.
SET ROLE regress_once_user;
SELECT once.mark_processed('l', 'a'), once.is_processed('l', 'a'), once.forget_processed('l', 'a');
SELECT * FROM once.mark_processed_all('l', ARRAY['a', 'b']);
BEGIN;
SELECT * FROM once.process('l', 'c');
SELECT once.set_result('l', 'c', '1');
COMMIT;
SELECT * FROM once.process('l', 'c');
SELECT once.alter_ledger('l', '1 us');
\echo :SQLSTATE
SELECT once.drop_ledger('l');
\echo :SQLSTATE
SELECT once.grant_ledger('l', 'regress_once_stranger');
\echo :SQLSTATE
SELECT once.revoke_ledger('l', 'regress_once_user');
SELECT setval('once.l_l_state', 0);
TRUNCATE once.l_l_0;

-- A stranger can do nothing, and learns which ledger and what it takes, before any lock is taken.
SET ROLE regress_once_stranger;
SELECT once.mark_processed('l', 'd');
\echo :SQLSTATE
SELECT once.mark_processed_all('l', ARRAY['d']);
SELECT once.mark_processed_all('l', '{}');
SELECT once.is_processed('l', 'a');
SELECT once.get_result('l', 'a');
SELECT once.forget_processed('l', 'a');
SELECT once.process('l', 'c');
SELECT once.set_result('l', 'c', '2');
SELECT once.alter_ledger('l', '1 us');
SELECT once.drop_ledger('l');
SELECT once.grant_ledger('l', 'regress_once_stranger');
SELECT * FROM once.list_ledgers() WHERE false;
\set VERBOSITY terse
BEGIN;
SAVEPOINT s;
SELECT once.mark_processed('l', 'd');
ROLLBACK TO s;
SELECT once.is_processed('l', 'd');
ROLLBACK TO s;
SELECT once.drop_ledger('l');
ROLLBACK TO s;
SELECT once.grant_ledger('l', 'regress_once_stranger');
ROLLBACK TO s;
SELECT count(*) FROM pg_locks WHERE relation IN ('once.l_l_0'::regclass, 'once.l_l_1'::regclass) AND pid = pg_backend_pid();
COMMIT;
\set VERBOSITY default

-- Each verb with each right missing on either table.
RESET ROLE;
CREATE FUNCTION attempt(what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	BEGIN
		EXECUTE what;
		RAISE SQLSTATE 'P0099';
	EXCEPTION
		WHEN SQLSTATE 'P0099' THEN
			RETURN 'may';
		WHEN insufficient_privilege THEN
			GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
			RETURN CASE WHEN sqlerrm = 'permission denied for ledger "l"' AND detail LIKE 'This requires % on tables once.l_l_0, once.l_l_1.' THEN 'may not' ELSE sqlerrm END;
	END;
END $$;
CREATE TABLE outcome (verb text, lacking text, on_table text, result text);
DO $$
DECLARE
	lacking text;
	verb text;
	result text;
BEGIN
	FOREACH lacking IN ARRAY ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'] LOOP
		FOR i IN 0 .. 1 LOOP
			EXECUTE format('REVOKE %s ON once.l_l_%s FROM regress_once_user', lacking, i);
			FOREACH verb IN ARRAY ARRAY['once.mark_processed(''l'', ''new'')', 'once.mark_processed_all(''l'', ARRAY[''new''])', 'once.is_processed(''l'', ''a'')', 'once.get_result(''l'', ''a'')',
										'once.forget_processed(''l'', ''a'')', 'once.process(''l'', ''a'')', 'once.set_result(''l'', ''mine'', ''1'')'] LOOP
				PERFORM once.forget_processed('l', 'mine'), once.mark_processed('l', 'mine');
				SET LOCAL ROLE regress_once_user;
				result := attempt('SELECT ' || verb);
				RESET ROLE;
				INSERT INTO outcome VALUES (substring(verb FROM '\.(.*?)\('), lacking, 'l_l_' || i, result);
			END LOOP;
			EXECUTE format('GRANT %s ON once.l_l_%s TO regress_once_user', lacking, i);
		END LOOP;
	END LOOP;
END $$;
SELECT verb, string_agg(lacking || ' on ' || on_table, ', ' ORDER BY lacking DESC, on_table) FILTER (WHERE result = 'may not') AS needs, count(*), string_agg(result, ', ') FILTER (WHERE result NOT IN ('may', 'may not')) AS other
  FROM outcome GROUP BY verb ORDER BY verb COLLATE "C";
DROP TABLE outcome;
-- The right to some columns is not enough.
REVOKE ALL ON once.l_l_0, once.l_l_1 FROM regress_once_user;
GRANT SELECT (id), INSERT (id) ON once.l_l_0, once.l_l_1 TO regress_once_user;
SET ROLE regress_once_user;
SELECT once.is_processed('l', 'a');
RESET ROLE;
REVOKE SELECT (id), INSERT (id) ON once.l_l_0, once.l_l_1 FROM regress_once_user;
-- Rights by way of a role, or of one that may read and write all.
GRANT regress_once_owner TO regress_once_stranger;
SET ROLE regress_once_stranger;
SELECT once.mark_processed('l', 'by way of the owner'), once.is_processed('l', 'a');
RESET ROLE;
REVOKE regress_once_owner FROM regress_once_stranger;
GRANT pg_read_all_data, pg_write_all_data TO regress_once_stranger;
SET ROLE regress_once_stranger;
SELECT once.mark_processed('l', 'by way of all'), once.is_processed('l', 'a');
RESET ROLE;
REVOKE pg_read_all_data, pg_write_all_data FROM regress_once_stranger;
-- Without USAGE on the schema there is nothing at all.
GRANT SELECT, INSERT ON once.l_l_0, once.l_l_1 TO regress_once_user;
REVOKE USAGE ON SCHEMA once FROM PUBLIC;
SET ROLE regress_once_user;
SELECT once.mark_processed('l', 'e');
RESET ROLE;
GRANT USAGE ON SCHEMA once TO PUBLIC;

-- Who has the grant options may grant, also if they have come by way of several roles.
CREATE ROLE regress_once_granter;
CREATE ROLE regress_once_half;
CREATE ROLE regress_once_other_half;
GRANT regress_once_half, regress_once_other_half TO regress_once_granter;
GRANT SELECT, INSERT, UPDATE ON once.l_l_0, once.l_l_1 TO regress_once_half WITH GRANT OPTION;
SET ROLE regress_once_granter;
SELECT once.grant_ledger('l', 'regress_once_stranger');
RESET ROLE;
GRANT DELETE ON once.l_l_0 TO regress_once_other_half WITH GRANT OPTION;
SET ROLE regress_once_granter;
\set VERBOSITY terse
SELECT once.grant_ledger('l', 'regress_once_stranger');
\set VERBOSITY default
RESET ROLE;
GRANT DELETE ON once.l_l_1 TO regress_once_other_half WITH GRANT OPTION;
SET ROLE regress_once_granter;
SELECT once.grant_ledger('l', 'regress_once_stranger');
SELECT relname, privileges FROM grants WHERE grantee = 'regress_once_stranger';
SELECT once.revoke_ledger('l', 'regress_once_stranger');
SELECT relname, privileges FROM grants WHERE grantee = 'regress_once_stranger';
RESET ROLE;
REVOKE ALL ON once.l_l_0, once.l_l_1 FROM regress_once_half, regress_once_other_half CASCADE;
DROP ROLE regress_once_granter, regress_once_half, regress_once_other_half;

-- Ids are forgotten at the call of one who may only mark them, as the owner.
CREATE PROCEDURE mark_until_forgotten(ledger text, id text) LANGUAGE plpgsql AS $$
DECLARE
	n int := 0;
BEGIN
	WHILE once.is_processed(ledger, id) LOOP
		IF n > 5000 THEN
			RAISE 'ledger % does not forget', ledger;
		END IF;
		PERFORM once.mark_processed(ledger, 'other ' || n);
		COMMIT;
		PERFORM pg_sleep(0.002);
		n := n + 1;
	END LOOP;
END $$;
CREATE PROCEDURE mark_for_a_while(ledger text) LANGUAGE plpgsql AS $$
BEGIN
	FOR n IN 1 .. 10 LOOP
		PERFORM once.mark_processed(ledger, 'some ' || n);
		COMMIT;
		PERFORM pg_sleep(0.002);
	END LOOP;
END $$;
SET ROLE regress_once_owner;
SELECT once.create_ledger('brief', '1 ms');
GRANT SELECT, INSERT ON once.l_brief_0, once.l_brief_1 TO regress_once_user;
SET ROLE regress_once_user;
SELECT once.mark_processed('brief', 'a');
CALL mark_until_forgotten('brief', 'a');
SELECT once.mark_processed('brief', 'a');
CALL mark_until_forgotten('brief', 'a');
SELECT current_user, once.mark_processed('brief', 'a');
RESET ROLE;
-- Both tables must have one owner: if not, that is an error at once, also in a session that knows the ledger, and whichever table is in use.
SET ROLE regress_once_owner;
SELECT once.create_ledger('split', '1 day');
SELECT once.grant_ledger('split', 'regress_once_user');
SET ROLE regress_once_user;
SELECT once.mark_processed('split', 'a');
RESET ROLE;
ALTER TABLE once.l_split_1 OWNER TO regress_once_stranger;
SET ROLE regress_once_user;
SELECT once.mark_processed('split', 'b');
\echo :SQLSTATE
SELECT once.is_processed('split', 'b');
SELECT once.forget_processed('split', 'b');
RESET ROLE;
ALTER TABLE once.l_split_0 OWNER TO regress_once_stranger;
SET ROLE regress_once_user;
SELECT once.is_processed('split', 'a'), once.mark_processed('split', 'b');
RESET ROLE;
ALTER TABLE once.l_split_0 OWNER TO regress_once_owner;
SET ROLE regress_once_user;
SELECT once.mark_processed('split', 'b');
RESET ROLE;
SELECT once.drop_ledger('split');
-- They are forgotten with the rights of a new owner.
ALTER TABLE once.l_brief_0 OWNER TO regress_once_stranger;
ALTER TABLE once.l_brief_1 OWNER TO regress_once_stranger;
SET ROLE regress_once_user;
SELECT once.mark_processed('brief', 'b');
CALL mark_until_forgotten('brief', 'b');
SELECT once.mark_processed('brief', 'b');
CALL mark_until_forgotten('brief', 'b');
-- It takes the owner of both to change it.
RESET ROLE;
ALTER TABLE once.l_brief_0 OWNER TO regress_once_owner;
SET ROLE regress_once_owner;
SELECT once.alter_ledger('brief', '1 day');
SELECT once.drop_ledger('brief');
RESET ROLE;
DROP TABLE once.l_brief_0;
SET ROLE regress_once_owner;
SELECT once.drop_ledger('brief');
SET ROLE regress_once_stranger;
SELECT once.drop_ledger('brief');
SELECT once.drop_ledger('brief');
-- An owner who may not truncate keeps what he has, and marking goes on.
SET ROLE regress_once_owner;
SELECT once.create_ledger('brief', '1 ms');
GRANT SELECT, INSERT ON once.l_brief_0, once.l_brief_1 TO regress_once_user;
REVOKE TRUNCATE ON once.l_brief_0, once.l_brief_1 FROM regress_once_owner;
SET ROLE regress_once_user;
CALL mark_for_a_while('brief');
SELECT once.mark_processed('brief', 'b');
RESET ROLE;
SELECT count(*) > 0 AS kept FROM once.l_brief_0;
GRANT TRUNCATE ON once.l_brief_0, once.l_brief_1 TO regress_once_owner;
SET ROLE regress_once_user;
SELECT once.is_processed('brief', 'b');
CALL mark_until_forgotten('brief', 'b');
RESET ROLE;
SELECT once.drop_ledger('brief');

-- Names that shadow ours do not get in: search_path of the caller is not used.
CREATE SCHEMA trap AUTHORIZATION regress_once_owner;
SET ROLE regress_once_owner;
CREATE FUNCTION trap.trapped(text, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION trap.trapped(name, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION trap.joined(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.trapped);
CREATE OPERATOR trap.= (LEFTARG = name, RIGHTARG = text, FUNCTION = trap.trapped);
CREATE OPERATOR trap.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.joined);
CREATE FUNCTION trap.setval(regclass, bigint, boolean) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION trap.pg_get_userbyid(oid) RETURNS name LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE DOMAIN trap.text AS pg_catalog.int4;
CREATE DOMAIN trap.jsonb AS pg_catalog.int4;
CREATE DOMAIN trap.timestamptz AS pg_catalog.int4;
CREATE DOMAIN trap.int8 AS pg_catalog.int4;
CREATE COLLATION trap."C" (provider = libc, locale = 'C');
CREATE TABLE trap.ledger (ledger text);
CREATE TABLE trap.l_shadow_0 (id text);
CREATE TABLE trap.l_shadow_1 (id text);
SET search_path = trap, pg_catalog;
SELECT once.create_ledger('shadow', '1 ms');
SELECT once.grant_ledger('shadow', 'regress_once_user');
SELECT ledger, owner FROM once.list_ledgers();
SELECT once.mark_processed('shadow', 'a'), once.mark_processed('shadow', 'a'), once.is_processed('shadow', 'a'), once.forget_processed('shadow', 'a');
SELECT * FROM once.mark_processed_all('shadow', ARRAY['a', 'b']);
SELECT p.first_time, once.set_result('shadow', 'c', '1') FROM once.process('shadow', 'c') p;
CALL public.mark_until_forgotten('shadow', 'c');
SELECT once.alter_ledger('shadow', '1 day');
SELECT once.revoke_ledger('shadow', 'regress_once_user');
SELECT once.drop_ledger('shadow');
RESET search_path;
RESET ROLE;

SELECT once.drop_ledger(ledger) FROM once.list_ledgers();
SET client_min_messages = warning;
DROP SCHEMA trap CASCADE;
RESET client_min_messages;
DROP PROCEDURE mark_until_forgotten, mark_for_a_while;
DROP FUNCTION attempt;
DROP VIEW grants;
REVOKE EXECUTE ON FUNCTION once.create_ledger FROM regress_once_owner;
DROP ROLE regress_once_owner, regress_once_user, regress_once_stranger, "regress once ""Odd""";
