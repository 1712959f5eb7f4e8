-- The three contracts, as the table in doc/pg_once.md states them: until when a
-- claim lasts, and what becomes of it when the transaction does not commit.
SET client_min_messages = warning;
SELECT plan(28);

SELECT once.create_queue('q', retry_delay => '0') \g /dev/null
CREATE TABLE effect (n int);

CREATE FUNCTION slot_state() RETURNS text LANGUAGE sql AS
	$$ SELECT coalesce(string_agg(concat_ws(' ', state, claim, attempts), ', ' ORDER BY lane DESC, block, slot), 'none')
	   FROM once.slots('q') WHERE state <> 'done' $$;

-- At most once: acked when returned.
SELECT once.send('q', '1') \g /dev/null
BEGIN;
SELECT results_eq($$SELECT payload::int, attempt, receipt FROM once.pop('q')$$,
	$$VALUES (1, 1, NULL::uuid)$$, 'pop returns the message, with no receipt');
SELECT is_empty($$SELECT FROM once.pop('q')$$, 'what was popped is not offered again');
ROLLBACK;
BEGIN;
SELECT results_eq($$SELECT payload::int, attempt FROM once.pop('q')$$, $$VALUES (1, 2)$$,
	'a rollback puts it back; the attempt counts');
COMMIT;
SELECT is_empty($$SELECT FROM once.pop('q')$$, 'once the pop has committed, the message is gone');
SELECT is_empty($$SELECT FROM once.q_q$$, 'and so is its row');

-- At least once: a lease is a matter of time, whatever the transaction does.
SELECT once.send('q', '2') \g /dev/null
BEGIN;
SELECT payload FROM once.lease('q', '1 hour') \g /dev/null
ROLLBACK;
SELECT is(slot_state(), 'claimed lease 1', 'a lease survives the rollback of the transaction that took it');
SELECT is_empty($$SELECT FROM once.lease('q')$$, 'while it lasts, nobody else gets the message');
SELECT once.purge('q') \g /dev/null
SELECT once.send('q', '3') \g /dev/null
SELECT receipt AS late, leased_until AS until FROM once.lease('q', '1 microsecond') \gset
SELECT results_eq($$SELECT payload::int, attempt, leased_until > now() FROM once.lease('q')$$,
	$$VALUES (3, 2, true)$$, 'when it has run out, the message is redelivered');
SELECT throws_ok(format('SELECT once.ack(%L)', :'late'), 'ON003', NULL,
	'and the late worker cannot ack it any more');
SELECT once.purge('q') \g /dev/null

-- Effectively once: effects and ack commit together or not at all.
PREPARE step AS
	WITH m AS (SELECT * FROM once.receive('q', 100)),
		 w AS (INSERT INTO effect SELECT payload::int FROM m)
	SELECT count(once.ack(receipt)) FROM m;
SELECT count(*) FROM once.send_batch('q', ARRAY['4', '5']::jsonb[]) \g /dev/null
BEGIN;
SELECT results_eq('step', 'VALUES (2::bigint)', 'one statement receives, acts and acks; count() counts the acks');
SELECT results_eq('SELECT n FROM effect ORDER BY n', 'VALUES (4), (5)', 'the effects are there');
ROLLBACK;
SELECT is_empty('SELECT FROM effect', 'a rollback undoes the effects');
SELECT is(slot_state(), 'claimed xid 1, claimed xid 1', 'and the acks, and each delivery has counted');
SELECT results_eq('step', 'VALUES (2::bigint)', 'both are redelivered');
SELECT results_eq('SELECT n FROM effect ORDER BY n', 'VALUES (4), (5)', 'and take effect once');
SELECT is_empty('SELECT FROM once.q_q', 'and are gone');
SELECT results_eq('step', 'VALUES (0::bigint)', 'an empty queue makes an empty step');

-- An attempt of a savepoint that is rolled back counts, and so does one of an
-- exception block; a release does not.
SELECT once.send('q', '6') \g /dev/null
DO $$
BEGIN
	PERFORM once.ack(receipt) FROM once.receive('q');
	RAISE SQLSTATE 'P0001';
EXCEPTION WHEN raise_exception THEN
	NULL;
END $$;
SELECT is(slot_state(), 'claimed xid 1', 'an attempt that ended in an exception block counts');
SELECT count(once.release(receipt)) FROM once.receive('q') \g /dev/null
SELECT is(slot_state(), 'ready 1', 'a released delivery does not');
SELECT count(once.nack(receipt, '0')) FROM once.receive('q') \g /dev/null
SELECT is(slot_state(), 'ready 2', 'a nacked one does');

-- Promise 4: no commit of effects without their ack.
\set ON_ERROR_STOP 0
\set VERBOSITY sqlstate
INSERT INTO effect SELECT payload::int FROM once.receive('q');
\set state :SQLSTATE
\set VERBOSITY default
\set ON_ERROR_STOP 1
SELECT is(:'state'::text, 'ON005', 'a statement that forgets its ack fails at commit');
SELECT is_empty('SELECT FROM effect WHERE n = 6', 'and has no effect');
SET once.unacked = redeliver;
INSERT INTO effect SELECT payload::int FROM once.receive('q');
RESET once.unacked;
SELECT results_eq('SELECT n FROM effect WHERE n = 6', 'VALUES (6)',
	'with once.unacked = redeliver the effect commits');
SELECT results_eq($$SELECT payload::int, attempt FROM once.pop('q')$$, 'VALUES (6, 5)',
	'and the message is delivered again');

-- Promise 1: nothing but a committed delete decides.
SELECT once.send('q', '7') \g /dev/null
DELETE FROM once.q_q;
SELECT is_empty($$SELECT FROM once.pop('q')$$, 'a message deleted by plain SQL is done');
INSERT INTO once.q_q (payload) VALUES ('8');
SELECT results_eq($$SELECT payload::int, attempt FROM once.pop('q')$$, 'VALUES (8, 1)',
	'one inserted by plain SQL is sent');

-- Promise 2: a rebuild forgets leases and attempts, never messages.
SELECT once.send('q', '9') \g /dev/null
SELECT FROM once.lease('q', '1 hour') \g /dev/null
REINDEX TABLE once.q_q;
SELECT results_eq($$SELECT payload::int, attempt FROM once.pop('q')$$, 'VALUES (9, 1)',
	'after REINDEX a leased message is offered as new');

SELECT is_empty($$SELECT * FROM once.check('q', strict => true)$$, 'the index is sound');
SELECT * FROM finish();
