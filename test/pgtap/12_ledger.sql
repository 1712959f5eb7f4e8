-- Ledgers: an id is new once, and its result is there for who comes later.
SET client_min_messages = warning;
SELECT plan(76);

CREATE TABLE effect (id text);
SELECT once.create_ledger('l', '1 day') \g /dev/null

-- Marking.
SELECT is(once.mark_processed('l', 'a'), true, 'an id is new the first time');
SELECT is(once.mark_processed('l', 'a'), false, 'and not the second time');
SELECT is(once.mark_processed('l', 'A'), true, 'capitals count');
SELECT is(once.mark_processed('l', 'a '), true, 'and so do spaces');
SELECT once.create_ledger('m', '1 day') \g /dev/null
SELECT is(once.mark_processed('m', 'a'), true, 'each ledger knows its own ids');
SELECT is(once.is_processed('l', 'a'), true, 'is_processed tells');
SELECT is(once.is_processed('l', 'b'), false, 'and marks nothing');
SELECT is(once.is_processed('l', 'b'), false, 'however often it is asked');

-- With the effect, or not at all.
BEGIN;
INSERT INTO effect SELECT 'b' WHERE once.mark_processed('l', 'b');
SELECT is(once.is_processed('l', 'b'), true, 'the transaction itself knows what it has marked');
ROLLBACK;
SELECT is(once.is_processed('l', 'b'), false, 'a rollback takes the mark back');
SELECT is_empty('SELECT FROM effect', 'with the effect');
BEGIN;
SAVEPOINT s;
INSERT INTO effect SELECT 'b' WHERE once.mark_processed('l', 'b');
ROLLBACK TO s;
SELECT is(once.mark_processed('l', 'b'), true, 'a rollback to a savepoint does, too');
ROLLBACK;
CREATE PROCEDURE handle(key text, fails boolean DEFAULT false) LANGUAGE plpgsql AS $$
BEGIN
	IF once.mark_processed('l', key) THEN
		INSERT INTO effect VALUES (key);
		IF fails THEN
			RAISE 'failed';
		END IF;
	END IF;
END $$;
SELECT throws_ok($$CALL handle('c', fails => true)$$, 'P0001', NULL, 'a handler that fails');
CALL handle('c');
CALL handle('c');
CALL handle('c', fails => true);
SELECT results_eq('SELECT id FROM effect', ARRAY['c'], 'can be called as often as one likes, and has one effect');

-- Forgetting.
SELECT is(once.forget_processed('l', 'a'), true, 'forget_processed makes an id new again');
SELECT is(once.forget_processed('l', 'a'), false, 'once');
SELECT is(once.mark_processed('l', 'a'), true, 'so that it can be processed again');
BEGIN;
SELECT once.forget_processed('l', 'a') \g /dev/null
ROLLBACK;
SELECT is(once.is_processed('l', 'a'), true, 'and forgetting can be rolled back');

-- Many at once.
SELECT results_eq($$SELECT * FROM once.mark_processed_all('l', ARRAY['e', 'a', 'd', 'e', 'c', 'f'])$$, ARRAY['e', 'd', 'f'], 'mark_processed_all returns the new ones, in the order given, each once');
SELECT is_empty($$SELECT * FROM once.mark_processed_all('l', ARRAY['d', 'e', 'f'])$$, 'and marks them all');
SELECT is_empty($$SELECT * FROM once.mark_processed_all('l', '{}')$$, 'also when there are none');

-- Results.
BEGIN;
SELECT results_eq($$SELECT * FROM once.process('l', 'r')$$, 'VALUES (true, NULL::jsonb)', 'process: the first time, there is no result');
SELECT lives_ok($$SELECT once.set_result('l', 'r', '{"status": 201}')$$, 'who has marked an id gives it one');
COMMIT;
SELECT results_eq($$SELECT * FROM once.process('l', 'r')$$, $$VALUES (false, '{"status": 201}'::jsonb)$$, 'who comes later gets it');
SELECT results_eq($$SELECT * FROM once.process('l', 'r')$$, $$VALUES (false, '{"status": 201}'::jsonb)$$, 'every time');
SELECT results_eq($$SELECT (once.process('l', 'r')).*$$, $$VALUES (false, '{"status": 201}'::jsonb)$$, 'written either way');
SELECT is(once.mark_processed('l', 'r'), false, 'process marks like mark_processed');
SELECT results_eq($$SELECT * FROM once.process('l', 'a')$$, 'VALUES (false, NULL::jsonb)', 'and what has no result has none');
SELECT results_eq($$SELECT result, processed_at <= now() FROM once.get_result('l', 'r')$$, $$VALUES ('{"status": 201}'::jsonb, true)$$, 'get_result shows it');
SELECT results_eq($$SELECT result FROM once.get_result('l', 'a')$$, 'VALUES (NULL::jsonb)', 'and that there is none');
SELECT is_empty($$SELECT FROM once.get_result('l', 'unheard of')$$, 'and nothing of an id that is not marked');
SELECT is(once.is_processed('l', 'unheard of'), false, 'which stays so');
SELECT throws_ok($$SELECT once.set_result('l', 'r', '0')$$, 'ON012', NULL, 'another transaction cannot replace a result');
SELECT throws_ok($$SELECT once.set_result('l', 'nobody', '0')$$, 'ON012', NULL, 'nor give one to an id that is not marked');
BEGIN;
SELECT FROM once.process('l', 's') \g /dev/null
SELECT once.set_result('l', 's', '1') \g /dev/null
SELECT once.set_result('l', 's', '2') \g /dev/null
SELECT results_eq($$SELECT * FROM once.process('l', 's')$$, $$VALUES (false, '2'::jsonb)$$, 'the same one can');
ROLLBACK;
SELECT results_eq($$SELECT * FROM once.process('l', 's')$$, 'VALUES (true, NULL::jsonb)', 'a result is rolled back with its mark');

-- Ids.
SELECT is(once.mark_processed('l', repeat('x', 1000)), true, 'an id may have 1000 bytes');
SELECT is(once.mark_processed('l', repeat('x', 999) || 'y'), true, 'all of which count');
SELECT is(once.mark_processed('l', repeat('x', 999)), true, 'and so does the length');
SELECT throws_ok(format('SELECT once.mark_processed(%L, %L)', 'l', repeat('x', 1001)), '22023', 'id must be between 1 and 1000 bytes long', '1001 are too many');
SELECT throws_ok($$SELECT once.mark_processed('l', '')$$, '22023', 'id must be between 1 and 1000 bytes long', 'none are too few');
SELECT throws_ok($$SELECT once.mark_processed('l', NULL)$$, '22004', 'id must not be null', 'NULL is no id');
SELECT throws_ok($$SELECT once.mark_processed_all('l', ARRAY['new', ''])$$, '22023', NULL, 'nor is it in an array');
SELECT throws_ok($$SELECT once.mark_processed_all('l', ARRAY['new', NULL])$$, '22004', 'ids must not contain nulls', 'not even NULL');
SELECT is(once.is_processed('l', 'new'), false, 'and then none of them is marked');

-- Making, changing and dropping.
SELECT is(string_agg(concat_ws(' ', ledger, unlogged, retention), ', ' ORDER BY ledger), 'l f 1 day, m f 1 day', 'list_ledgers shows them') FROM once.list_ledgers();
SELECT throws_ok($$SELECT once.create_ledger('l', '2 days')$$, '42P07', NULL, 'a second one of the name is an error');
SELECT lives_ok($$SELECT once.create_ledger('l', '2 days', if_not_exists => true)$$, 'unless if_not_exists is given');
SELECT is(retention, '1 day', 'which changes nothing') FROM once.list_ledgers() WHERE ledger = 'l';
SELECT throws_ok($$SELECT once.create_ledger('n', '0')$$, '22023', NULL, 'a retention of nothing');
SELECT throws_ok($$SELECT once.create_ledger('n', '36501 days')$$, '22023', NULL, 'or of more than a hundred years');
SELECT throws_ok($$SELECT once.create_ledger('n', NULL)$$, '22004', NULL, 'or none');
SELECT throws_ok($$SELECT once.create_ledger('7', '1 day')$$, '42602', NULL, 'a bad name');
SELECT throws_ok(format('SELECT once.%s', call), 'ON011', 'ledger "nowhere" does not exist', 'no such ledger: ' || call)
  FROM (VALUES ($$mark_processed('nowhere', 'a')$$), ($$is_processed('nowhere', 'a')$$), ($$process('nowhere', 'a')$$), ($$get_result('nowhere', 'a')$$), ($$alter_ledger('nowhere', '1 day')$$), ($$drop_ledger('nowhere')$$)) AS calls (call);
ALTER TABLE once.l_m_0 ADD COLUMN more int;
SELECT throws_ok($$SELECT once.mark_processed('m', 'b')$$, 'ON013', 'ledger "m" cannot be used', 'a ledger whose tables have been altered is not used');
SELECT lives_ok($$SELECT once.drop_ledger('m')$$, 'but can be dropped');
SELECT is_empty($$SELECT FROM pg_class WHERE relnamespace = 'once'::regnamespace AND relname LIKE 'l\_m\_%' UNION ALL SELECT FROM once.ledger WHERE ledger = 'm'$$, 'and nothing is left of it');
SELECT ok('once.ledger'::regclass = ANY (extconfig), 'the options are part of a dump') FROM pg_extension WHERE extname = 'pg_once';

-- Who may use it.
CREATE ROLE once_tap_clerk;
SET ROLE once_tap_clerk;
SELECT throws_ok($$SELECT once.mark_processed('l', 'g')$$, '42501', 'permission denied for ledger "l"', 'a role without rights');
SELECT throws_ok($$SELECT once.create_ledger('mine', '1 day')$$, '42501', NULL, 'may not make one either');
RESET ROLE;
SELECT once.grant_ledger('l', 'once_tap_clerk') \g /dev/null
SET ROLE once_tap_clerk;
SELECT ok(once.mark_processed('l', 'g') AND once.forget_processed('l', 'g'), 'grant_ledger gives it all it takes');
SELECT throws_ok($$SELECT once.alter_ledger('l', '1 s')$$, '42501', 'must be owner of ledger "l"', 'but what is the owner''s');
RESET ROLE;
SELECT once.revoke_ledger('l', 'once_tap_clerk') \g /dev/null
SET ROLE once_tap_clerk;
SELECT throws_ok($$SELECT once.is_processed('l', 'g')$$, '42501', NULL, 'revoke_ledger takes it back');
RESET ROLE;

-- Retention: at least that long, whoever calls what.
CREATE PROCEDURE work(until_new text) LANGUAGE plpgsql AS $$
DECLARE
	n int := 0;
BEGIN
	WHILE once.is_processed('l', until_new) AND n < 5000 LOOP
		CALL once.maintain();
		PERFORM pg_sleep(0.005);
		n := n + 1;
	END LOOP;
END $$;
CALL once.maintain();
CALL once.maintain();
SELECT once.mark_processed('l', 'young') \g /dev/null
CALL once.maintain();
SELECT is(once.is_processed('l', 'a'), true, 'what is younger than the retention is known');
SELECT is(once.mark_processed('l', 'a'), false, 'and not new');
SELECT results_eq($$SELECT * FROM once.process('l', 'r')$$, $$VALUES (false, '{"status": 201}'::jsonb)$$, 'and has its result');
-- And forgotten after it, if somebody marks something or calls maintain.
SELECT once.alter_ledger('l', '1 ms') \g /dev/null
CALL work(until_new => 'r');
SELECT is_empty($$SELECT FROM once.get_result('l', 'r')$$, 'what is older has no result');
SELECT results_eq($$SELECT * FROM once.process('l', 'r')$$, 'VALUES (true, NULL::jsonb)', 'what is older is forgotten, with its result');
CALL work(until_new => 'young');
SELECT is(once.mark_processed('l', 'young'), true, 'all of it, in time');
SELECT once.alter_ledger('l', '1 day') \g /dev/null
SELECT once.forget_processed('l', 'last'), once.mark_processed('l', 'last') \g /dev/null
CALL once.maintain();
SELECT is(once.mark_processed('l', 'last'), false, 'a longer retention is kept from then on');
SELECT once.drop_ledger('l') \g /dev/null
SELECT is_empty('SELECT FROM once.list_ledgers()', 'no ledger is left');
SELECT * FROM finish();
DROP ROLE once_tap_clerk;
