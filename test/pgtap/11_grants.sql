-- grant_queue: what each of the three words lets a role do, and who may say them.
SET client_min_messages = warning;
CREATE ROLE once_tap_owner;
CREATE ROLE once_tap_producer;
CREATE ROLE once_tap_consumer;
CREATE ROLE once_tap_observer;
CREATE ROLE once_tap_helper;
CREATE ROLE once_tap_stranger;

GRANT EXECUTE ON FUNCTION once.create_queue TO once_tap_owner;
SET ROLE once_tap_owner;
SELECT once.create_queue('q', id_index => true, max_attempts => 1000, retry_delay => '0', archive => '1 day') \g /dev/null
SELECT once.send('q', '1') \g /dev/null
SELECT once.send('q', '2') \g /dev/null

-- What happens when a role runs a statement; whatever it does is undone.  $1
-- is the receipt of a lease that is over.
RESET ROLE;
CREATE FUNCTION attempt(who text, what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r uuid;
	message text;
BEGIN
	SELECT receipt INTO STRICT r FROM once.lease('q', '1 microsecond');
	BEGIN
		EXECUTE format('SET LOCAL ROLE %I', 'once_tap_' || who);
		EXECUTE what USING r;
		RAISE SQLSTATE 'P0001';
	EXCEPTION
		WHEN raise_exception THEN
			RETURN 'yes';
		WHEN insufficient_privilege THEN
			GET STACKED DIAGNOSTICS message = MESSAGE_TEXT;
			RETURN CASE WHEN message ~ 'queue "q"$' THEN 'no' ELSE message END;
		WHEN OTHERS THEN
			RETURN SQLSTATE;
	END;
END $$;

CREATE TABLE cell (n serial, who text, what text, expected text);
INSERT INTO cell (who, what, expected)
SELECT v.who, s.what, v.expected
  FROM (VALUES
	--																producer consumer observer
	('SELECT once.send(''q'', ''3'')',								'yes', 'no',  'no'),
	('SELECT once.send_dedup(''q'', ''3'', dedup_id => ''d'')',		'yes', 'no',  'no'),
	('SELECT once.send_batch(''q'', ARRAY[''3'', ''4'']::jsonb[])',	'yes', 'no',  'no'),
	('SELECT once.receive(''q'')',									'no',  'yes', 'no'),
	('SELECT once.lease(''q'', ''1 microsecond'')',					'no',  'yes', 'no'),
	('SELECT once.pop(''q'')',										'no',  'yes', 'no'),
	('SELECT once.ack($1)',											'no',  'yes', 'no'),
	('SELECT once.ack_all(ARRAY[$1])',								'no',  'yes', 'no'),
	('SELECT once.try_ack($1)',										'no',  'yes', 'no'),
	('SELECT once.try_ack_all(ARRAY[$1])',							'no',  'yes', 'no'),
	('SELECT once.nack($1, ''0'', ''e'')',							'no',  'yes', 'no'),
	('SELECT once.release($1)',										'no',  'yes', 'no'),
	('SELECT once.extend($1, ''1 microsecond'')',					'no',  'yes', 'no'),
	('SELECT once.cancel(''q'', 2)',								'no',  'yes', 'no'),
	('SELECT once.check(''q'', strict => true)',					'no',  'yes', 'no'),
	('SELECT once.peek(''q'')',										'no',  'yes', 'yes'),
	('SELECT once.slots(''q'')',									'no',  'yes', 'yes'),
	('SELECT once.pages(''q'')',									'no',  'yes', 'yes'),
	('SELECT once.check(''q'')',									'no',  'yes', 'yes'),
	('SELECT once.redrive(''q'')',									'no',  'no',  'no'),
	('SELECT once.purge(''q'')',									'no',  'no',  'no'),
	('SELECT once.pause(''q'')',									'no',  'no',  'no'),
	('SELECT once.alter_queue(''q'', ttl => ''1 s'')',				'no',  'no',  'no'),
	('SELECT once.drop_queue(''q'')',								'no',  'no',  'no'),
	('SELECT once.grant_queue(''q'', ''public'', ''produce'')',		'no',  'no',  'no'),
	('SELECT once.grant_queue(''q'', ''public'', ''consume'')',		'no',  'no',  'no'),
	('SELECT once.grant_queue(''q'', ''public'', ''observe'')',		'no',  'no',  'no'),
	('SELECT once.revoke_queue(''q'', ''once_tap_consumer'', ''consume'')',	'no',  'no',  'no'))
	AS s (what, producer, consumer, observer),
	LATERAL (VALUES ('producer', s.producer), ('consumer', s.consumer), ('observer', s.observer)) AS v (who, expected);

SELECT plan((SELECT count(*)::int * 3 FROM cell) + 17);

-- Nobody may do anything; then what the word says; then nothing again.
SELECT format('SELECT is(attempt(%L, %L), %L, %L)', who, what, 'no', concat_ws(' ', 'before:', who, what)) FROM cell ORDER BY n \gexec
SET ROLE once_tap_owner;
SELECT lives_ok($$SELECT once.grant_queue('q', 'once_tap_producer', 'produce')$$, 'the owner grants: produce');
SELECT lives_ok($$SELECT once.grant_queue('q', 'once_tap_consumer', 'consume')$$, 'consume');
SELECT lives_ok($$SELECT once.grant_queue('q', 'once_tap_observer', 'observe')$$, 'observe');
RESET ROLE;
SELECT format('SELECT is(attempt(%L, %L), %L, %L)', who, what, expected,
			  concat_ws(' ', who, CASE expected WHEN 'yes' THEN 'may' ELSE 'may not' END, what)) FROM cell ORDER BY n \gexec
SELECT is(has_table_privilege('once_tap_' || who, 'once.a_q', 'SELECT'), who = 'observer', who || ': the archive')
  FROM (VALUES ('producer'), ('consumer'), ('observer')) AS w (who);

-- Who has the grant option may, too, and takes back only his own.
SET ROLE once_tap_owner;
GRANT INSERT ON once.q_q TO once_tap_helper WITH GRANT OPTION;
SET ROLE once_tap_helper;
SELECT lives_ok($$SELECT once.grant_queue('q', 'once_tap_stranger', 'produce')$$, 'with the grant option');
SELECT is(has_table_privilege('once_tap_stranger', 'once.q_q', 'INSERT'), true, 'one grants');
SELECT lives_ok($$SELECT once.revoke_queue('q', 'once_tap_producer', 'produce')$$, 'and revokes');
SELECT is(has_table_privilege('once_tap_producer', 'once.q_q', 'INSERT'), true, 'what one has granted, not others');
SELECT lives_ok($$SELECT once.revoke_queue('q', 'once_tap_stranger', 'produce')$$, 'and revokes');
SELECT is(has_table_privilege('once_tap_stranger', 'once.q_q', 'INSERT'), false, 'what one has granted');
RESET ROLE;

SELECT throws_ok($$SELECT once.grant_queue('q', 'once_tap_nobody', 'produce')$$, '42704', NULL, 'no such role');
SELECT throws_ok($$SELECT once.grant_queue('nowhere', 'once_tap_producer', 'produce')$$, 'ON001', NULL, 'no such queue');
SET ROLE once_tap_owner;
SELECT lives_ok($$SELECT once.revoke_queue('q', 'once_tap_producer', 'produce')$$, 'the owner revokes: produce');
SELECT lives_ok($$SELECT once.revoke_queue('q', 'once_tap_consumer', 'consume')$$, 'consume');
SELECT lives_ok($$SELECT once.revoke_queue('q', 'once_tap_observer', 'observe')$$, 'observe');
RESET ROLE;
SELECT format('SELECT is(attempt(%L, %L), %L, %L)', who, what, 'no', concat_ws(' ', 'after:', who, what)) FROM cell ORDER BY n \gexec

SELECT * FROM finish();
DROP OWNED BY once_tap_owner, once_tap_producer, once_tap_consumer, once_tap_observer, once_tap_helper, once_tap_stranger;
DROP ROLE once_tap_owner, once_tap_producer, once_tap_consumer, once_tap_observer, once_tap_helper, once_tap_stranger;
