-- Who may do what: rights are those on the queue's own table.
SET client_min_messages = warning;
CREATE ROLE once_tap_owner;
CREATE ROLE once_tap_sender;
CREATE ROLE once_tap_consumer;
CREATE ROLE once_tap_observer;
CREATE ROLE once_tap_deleter;
CREATE ROLE once_tap_stranger;

GRANT EXECUTE ON FUNCTION once.create_queue TO once_tap_owner;
SET ROLE once_tap_owner;
SELECT once.create_queue('q', id_index => true, max_attempts => 1000, retry_delay => '0') \g /dev/null
GRANT INSERT ON once.q_q TO once_tap_sender;
GRANT SELECT, DELETE ON once.q_q TO once_tap_consumer;
GRANT SELECT ON once.q_q TO once_tap_observer;
GRANT DELETE ON once.q_q TO once_tap_deleter;
RESET ROLE;
SELECT once.send('q', '1') \g /dev/null
SELECT once.send('q', '2') \g /dev/null

-- What happens when a role runs a statement; whatever it does is undone.  $1
-- is the receipt of a lease that is over.
CREATE FUNCTION attempt(who text, what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r uuid;
BEGIN
	SELECT receipt INTO STRICT r FROM once.lease('q', '1 microsecond');
	BEGIN
		EXECUTE format('SET LOCAL ROLE %I', who);
		EXECUTE what USING r;
		RAISE SQLSTATE 'P0001';
	EXCEPTION
		WHEN raise_exception THEN
			RETURN 'yes';
		WHEN insufficient_privilege THEN
			RETURN 'no';
		WHEN OTHERS THEN
			RETURN SQLSTATE;
	END;
END $$;

CREATE TABLE cell (n serial, who text, what text, expected text);
INSERT INTO cell (who, what, expected)
SELECT 'once_tap_' || v.who, s.what, v.expected
  FROM (VALUES
	--																owner  sender consumer observer deleter stranger
	('SELECT once.send(''q'', ''3'')',								'yes', 'yes', 'no',  'no',  'no', 'no'),
	('SELECT once.send_batch(''q'', ARRAY[''3'', ''4'']::jsonb[])',	'yes', 'yes', 'no',  'no',  'no', 'no'),
	('INSERT INTO once.q_q (payload) VALUES (''3'')',				'yes', 'yes', 'no',  'no',  'no', 'no'),
	('SELECT once.receive(''q'')',									'yes', 'no',  'yes', 'no',  'no', 'no'),
	('SELECT once.lease(''q'', ''1 microsecond'')',					'yes', 'no',  'yes', 'no',  'no', 'no'),
	('SELECT once.pop(''q'')',										'yes', 'no',  'yes', 'no',  'no', 'no'),
	('SELECT once.ack($1)',											'yes', 'no',  'yes', 'no',  'no', 'no'),
	('SELECT once.ack_all(ARRAY[$1])',								'yes', 'no',  'yes', 'no',  'no', 'no'),
	('SELECT once.try_ack($1)',										'yes', 'no',  'yes', 'no',  'no', 'no'),
	('SELECT once.try_ack_all(ARRAY[$1])',							'yes', 'no',  'yes', 'no',  'no', 'no'),
	('SELECT once.nack($1, ''0'')',									'yes', 'no',  'yes', 'no',  'no', 'no'),
	('SELECT once.nack($1, error => ''e'')',						'yes', 'no',  'yes', 'no',  'no', 'no'),
	('SELECT once.release($1)',										'yes', 'no',  'yes', 'no',  'no', 'no'),
	('SELECT once.extend($1, ''1 microsecond'')',					'yes', 'no',  'yes', 'no',  'no', 'no'),
	('SELECT once.cancel(''q'', 2)',								'yes', 'no',  'yes', 'no',  'no', 'no'),
	('SELECT once.peek(''q'')',										'yes', 'no',  'yes', 'yes', 'no', 'no'),
	('SELECT once.slots(''q'')',									'yes', 'no',  'yes', 'yes', 'no', 'no'),
	('SELECT once.pages(''q'')',									'yes', 'no',  'yes', 'yes', 'no', 'no'),
	('SELECT once.check(''q'')',									'yes', 'no',  'yes', 'yes', 'no', 'no'),
	('SELECT once.alter_queue(''q'', retry_delay => ''1 s'')',		'yes', 'no',  'no',  'no',  'no', 'no'),
	('SELECT once.pause(''q'')',									'yes', 'no',  'no',  'no',  'no', 'no'),
	('SELECT once.resume(''q'')',									'yes', 'no',  'no',  'no',  'no', 'no'),
	('SELECT once.purge(''q'')',									'yes', 'no',  'no',  'no',  'no', 'no'),
	('SELECT once.redrive(''q'')',									'yes', 'no',  'no',  'no',  'no', 'no'),
	('SELECT once.redrive_ids(''q'', ids => ''{1}'')',					'yes', 'no',  'no',  'no',  'no', 'no'),
	('SELECT once.purge_dead_letters(''q'')',						'yes', 'no',  'no',  'no',  'no', 'no'),
	('SELECT once.purge_dead_letters(''q'', ids => ''{1}'')',		'yes', 'no',  'no',  'no',  'no', 'no'),
	('CALL once.maintain()',										'yes', 'yes', 'yes', 'yes', 'yes', 'yes'),
	('SELECT * FROM once.dead_letters, once.failures',				'yes', 'yes', 'yes', 'yes', 'yes', 'yes'),
	('SELECT * FROM once.dead_letter',								'no',  'no',  'no',  'no',  'no', 'no'),
	('SELECT * FROM once.failure',									'no',  'no',  'no',  'no',  'no', 'no'),
	('SELECT once.drop_queue(''q'')',								'yes', 'no',  'no',  'no',  'no', 'no'),
	('SELECT once.create_queue(''r'')',								'yes', 'no',  'no',  'no',  'no', 'no'),
	('SELECT * FROM once.list_queues()',							'yes', 'yes', 'yes', 'yes', 'yes', 'yes'),
	('SELECT * FROM once.queue',									'yes', 'yes', 'yes', 'yes', 'yes', 'yes'),
	('UPDATE once.queue SET send_paused = true',					'no',  'no',  'no',  'no',  'no', 'no'),
	('DELETE FROM once.queue',										'no',  'no',  'no',  'no',  'no', 'no'),
	('CREATE TABLE once.mine ()',									'no',  'no',  'no',  'no',  'no', 'no'),
	('SET once.debug_point = ''here''',								'no',  'no',  'no',  'no',  'no', 'no'))
	AS s (what, owner, sender, consumer, observer, deleter, stranger),
	LATERAL (VALUES
	('owner', s.owner), ('sender', s.sender), ('consumer', s.consumer),
	('observer', s.observer), ('deleter', s.deleter), ('stranger', s.stranger))
	AS v (who, expected);

SELECT plan((SELECT count(*)::int FROM cell) + 4);
SELECT format('SELECT is(attempt(%L, %L), %L, %L)', who, what, expected,
			  concat_ws(' ', replace(who, 'once_tap_', ''), CASE expected WHEN 'yes' THEN 'may' ELSE 'may not' END, what))
  FROM cell ORDER BY n \gexec

-- A receipt that is made up leads nowhere and locks nothing: it may name any
-- relation.
CREATE FUNCTION forge(relid oid) RETURNS uuid LANGUAGE sql AS
	$$ SELECT (lpad(to_hex(relid::bigint), 8, '0') || '00000001' || '0001' || '000000000000')::uuid $$;
CREATE TABLE secret ();
SELECT throws_ok(format('SELECT once.ack(%L)', forge('secret'::regclass)), 'ON001', NULL,
	'a receipt that names a table that is no queue');
SELECT throws_ok(format('SELECT once.ack(%L)', forge('pg_class'::regclass)), 'ON001', NULL,
	'a receipt that names a catalog');
SELECT throws_ok(format('SELECT once.ack(%L)', forge('once.q_q_queue_idx'::regclass)), 'ON001', NULL,
	'a receipt that names an index');
SELECT throws_ok(format('SELECT once.ack(%L)', forge('once.q_q'::regclass)), 'ON003', NULL,
	'a receipt with a guessed proof');

SELECT * FROM finish();
DROP OWNED BY once_tap_owner, once_tap_sender, once_tap_consumer, once_tap_observer, once_tap_deleter, once_tap_stranger;
DROP ROLE once_tap_owner, once_tap_sender, once_tap_consumer, once_tap_observer, once_tap_deleter, once_tap_stranger;
