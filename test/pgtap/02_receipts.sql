-- What a receipt is worth: one test for each cell of the table of receipt
-- states (rows) and verbs (columns).
SET client_min_messages = warning;
SELECT once.create_queue('q', retry_delay => '0') \g /dev/null

CREATE TABLE kept (receipt uuid);

-- Bring a message of queue "q" into a state, and keep a receipt of it.
CREATE PROCEDURE prepare(state text) LANGUAGE plpgsql AS $$
DECLARE
	r uuid;
BEGIN
	DELETE FROM kept;
	TRUNCATE once.q_q;
	PERFORM once.send('q', '1');
	COMMIT;

	CASE state
		WHEN 'leased', 'acked by this transaction' THEN
			SELECT receipt INTO STRICT r FROM once.lease('q', '1 hour');
		WHEN 'received' THEN
			NULL;				-- by the transaction that uses it
		WHEN 'received, rolled back' THEN
			BEGIN
				SELECT receipt INTO STRICT r FROM once.receive('q');
				RAISE SQLSTATE 'P0001';
			EXCEPTION WHEN raise_exception THEN
				NULL;
			END;
		ELSE
			SELECT receipt INTO STRICT r FROM once.lease('q', '1 microsecond');
	END CASE;

	CASE state
		WHEN 'claimed since' THEN
			PERFORM FROM once.lease('q', '1 hour');
		WHEN 'claimed since, and that is over' THEN
			PERFORM FROM once.lease('q', '1 microsecond');
		WHEN 'nacked' THEN
			PERFORM once.nack(r, '0');
		WHEN 'nacked with delay' THEN
			PERFORM once.nack(r, '1 hour');
		WHEN 'released' THEN
			PERFORM once.release(r);
		WHEN 'rebuilt' THEN
			REINDEX TABLE once.q_q;
		WHEN 'truncated' THEN
			TRUNCATE once.q_q;
		WHEN 'moved by UPDATE' THEN
			UPDATE once.q_q SET priority = 5;
		WHEN 'renewed by UPDATE' THEN
			UPDATE once.q_q SET payload = '2';
		WHEN 'page recycled' THEN
			-- finish the page, see it unlinked, and have it used again
			PERFORM FROM once.send_batch('q', array_fill('2'::jsonb, ARRAY[1000]));
			COMMIT;
			PERFORM FROM once.pop('q', 10000);
			COMMIT;
			PERFORM FROM once.pop('q');
			COMMIT;
			ASSERT EXISTS (SELECT FROM once.pages('q') WHERE kind = 'free');
			PERFORM FROM once.send_batch('q', array_fill('2'::jsonb, ARRAY[2000]));
			COMMIT;
			ASSERT NOT EXISTS (SELECT FROM once.pages('q') WHERE kind = 'free');
		WHEN 'acked' THEN
			PERFORM once.ack(r);
		WHEN 'deleted by plain SQL' THEN
			DELETE FROM once.q_q;
		WHEN 'queue dropped' THEN
			PERFORM once.drop_queue('q');
			PERFORM once.create_queue('q', retry_delay => '0');
			PERFORM once.send('q', '1');
		WHEN 'never a receipt' THEN
			r := '11111111-2222-4333-8444-555555555555';
		WHEN 'forged' THEN
			-- right but for the last digit of the proof
			r := (left(r::text, 35) || translate(right(r::text, 1), '0123456789abcdef', '123456789abcdef0'))::uuid;
		WHEN 'null' THEN
			r := NULL;
		ELSE
			NULL;
	END CASE;
	INSERT INTO kept VALUES (r);
END $$;

-- What has a verb done?
CREATE FUNCTION effect() RETURNS text LANGUAGE sql AS $$
	SELECT CASE
		WHEN NOT EXISTS (SELECT FROM once.q_q) THEN 'deleted'
		ELSE (SELECT string_agg(concat_ws(' ', state, claim,
										  CASE WHEN ready_at > clock_timestamp() + '59 min' THEN 'for an hour' END), ', ')
			  FROM once.slots('q') WHERE state <> 'done') END
$$;

CREATE FUNCTION outcome(state text, verb text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r uuid;
	result text;
BEGIN
	SELECT receipt INTO r FROM kept;
	IF state = 'received' THEN
		SELECT receipt INTO STRICT r FROM once.receive('q');
	ELSIF state = 'acked by this transaction' THEN
		PERFORM once.ack(r);
	END IF;

	BEGIN
		CASE verb
			WHEN 'ack' THEN
				PERFORM once.ack(r);
				result := effect();
			WHEN 'ack_all' THEN
				result := once.ack_all(ARRAY[r]) || ' ' || effect();
			WHEN 'try_ack' THEN
				result := once.try_ack(r);
				IF result = 'true' THEN
					result := effect();
				END IF;
			WHEN 'try_ack_all' THEN
				SELECT string_agg((t = r)::text, ' ') INTO result FROM once.try_ack_all(ARRAY[r, r]) AS t;
				result := CASE WHEN result = 'true' THEN effect() ELSE coalesce(result, 'false') END;
			WHEN 'nack' THEN
				PERFORM once.nack(r, '1 hour');
				result := effect();
			WHEN 'release' THEN
				PERFORM once.release(r);
				result := effect();
			WHEN 'extend' THEN
				ASSERT once.extend(r, '1 hour') > clock_timestamp() + '59 min';
				result := effect();
		END CASE;
	EXCEPTION WHEN OTHERS THEN
		result := SQLSTATE;
	END;

	-- owe nothing at commit
	IF state = 'received' THEN
		PERFORM once.try_ack(r);
	END IF;
	RETURN result;
END $$;

-- The table.  ack also stands for ack_all, try_ack for try_ack_all, nack for
-- release.
CREATE TABLE cell (n serial, state text, verb text, expected text);
INSERT INTO cell (state, verb, expected)
SELECT s.state, v.verb, v.expected
  FROM (VALUES
	('leased',							'deleted', 'deleted', 'acts', 'acts'),
	('received',						'deleted', 'deleted', 'acts', '55000'),
	('lease over',						'deleted', 'deleted', 'acts', 'acts'),
	('received, rolled back',			'deleted', 'deleted', 'acts', '55000'),
	('renewed by UPDATE',				'deleted', 'deleted', 'acts', 'acts'),
	('claimed since',					'ON003', 'false', 'ON003', 'ON003'),
	('claimed since, and that is over',	'ON003', 'false', 'ON003', 'ON003'),
	('nacked',							'ON003', 'false', 'ON003', 'ON003'),
	('nacked with delay',				'ON003', 'false', 'ON003', 'ON003'),
	('released',						'ON003', 'false', 'ON003', 'ON003'),
	('rebuilt',							'ON003', 'false', 'ON003', 'ON003'),
	('truncated',						'ON003', 'false', 'ON003', 'ON003'),
	('moved by UPDATE',					'ON003', 'false', 'ON003', 'ON003'),
	('page recycled',					'ON003', 'false', 'ON003', 'ON003'),
	('forged',							'ON003', 'false', 'ON003', 'ON003'),
	('acked',							'ON004', 'false', 'ON004', 'ON004'),
	('acked by this transaction',		'ON004', 'false', 'ON004', 'ON004'),
	('deleted by plain SQL',			'ON004', 'false', 'ON004', 'ON004'),
	('queue dropped',					'ON001', 'ON001', 'ON001', 'ON001'),
	('never a receipt',					'ON002', 'ON002', 'ON002', 'ON002'),
	('null',							'ON002', 'ON002', 'ON002', 'ON002'))
	AS s (state, ack, try, back, extend),
	LATERAL (VALUES
	(1, 'ack', s.ack),
	(2, 'ack_all', CASE s.ack WHEN 'deleted' THEN '1 deleted' ELSE s.ack END),
	(3, 'try_ack', s.try),
	(4, 'try_ack_all', s.try),
	(5, 'nack', CASE s.back WHEN 'acts' THEN 'ready for an hour' ELSE s.back END),
	(6, 'release', CASE s.back WHEN 'acts' THEN 'ready' ELSE s.back END),
	(7, 'extend', CASE s.extend WHEN 'acts' THEN 'claimed lease for an hour' ELSE s.extend END))
	AS v (n, verb, expected)
 ORDER BY v.n;

SELECT plan((SELECT count(*)::int FROM cell) + 7);
SELECT format('CALL prepare(%L)', state),
	   format('SELECT is(outcome(%L, %L), %L, %L)', state, verb, expected, verb || ', ' || state)
  FROM cell ORDER BY n \gexec

-- nack, release and extend survive the rollback of the caller.
CALL prepare('leased');
BEGIN;
SELECT once.nack(receipt, '1 hour') FROM kept \g /dev/null
ROLLBACK;
SELECT is(effect(), 'ready for an hour', 'a nack survives rollback');
CALL prepare('leased');
BEGIN;
SELECT once.release(receipt) FROM kept \g /dev/null
ROLLBACK;
SELECT is(effect(), 'ready', 'a release survives rollback');
CALL prepare('lease over');
BEGIN;
SELECT once.extend(receipt, '1 hour') FROM kept \g /dev/null
ROLLBACK;
SELECT is(effect(), 'claimed lease for an hour', 'an extension survives rollback');

-- An ack does not.
CALL prepare('leased');
BEGIN;
SELECT once.ack(receipt) FROM kept \g /dev/null
ROLLBACK;
SELECT is(effect(), 'claimed lease for an hour', 'an ack does not, and the lease still holds');
SELECT is(outcome('leased', 'ack'), 'deleted', 'so that it can be acked again');

-- The same receipt twice, and one bad receipt among good ones.
CALL prepare('leased');
SELECT throws_ok('SELECT once.ack_all(ARRAY[receipt, receipt]) FROM kept', 'ON004', NULL,
	'the same receipt twice is an error for ack_all');
SELECT is(effect(), 'claimed lease for an hour', 'which then acks nothing');

SELECT * FROM finish();
