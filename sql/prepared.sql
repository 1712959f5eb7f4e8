-- Two-phase commit.  Wants max_prepared_transactions > 0; see prepared_1.out for
-- a server without.
SELECT current_setting('max_prepared_transactions')::int > 0 AS two_phase \gset
\if :two_phase
\else
\echo prepared transactions are disabled
\quit
\endif
SELECT once.create_queue('two', retry_delay => '0', retry_delay_max => '0');
SELECT count(*) FROM once.send_batch('two', ARRAY['1', '2', '3', '4']::jsonb[]);

-- PREPARE is a commit as far as forgotten acks go.
BEGIN;
SELECT payload FROM once.receive('two');
PREPARE TRANSACTION 'once_1';
\echo :SQLSTATE
SELECT count(*) FROM pg_prepared_xacts WHERE gid LIKE 'once_%';

-- While it is prepared its messages are nobody else's; afterwards they are gone ...
BEGIN;
SELECT payload, once.ack(receipt) FROM once.receive('two');
SELECT payload FROM once.pop('two');
PREPARE TRANSACTION 'once_2';
SELECT payload, state FROM once.peek('two');
BEGIN;
SELECT payload FROM once.receive('two', 10);
ROLLBACK;
COMMIT PREPARED 'once_2';
SELECT payload, attempt FROM once.peek('two');
-- ... or back.
BEGIN;
SELECT payload, attempt, once.ack(receipt) FROM once.receive('two', 10);
PREPARE TRANSACTION 'once_3';
SELECT payload FROM once.pop('two', 10);
ROLLBACK PREPARED 'once_3';
SELECT payload, attempt FROM once.receive('two', 10), LATERAL once.ack(receipt);

-- Sent in a prepared transaction: offered once it is committed.
BEGIN;
SELECT once.send('two', '"sent"') IS NOT NULL AS sent;
PREPARE TRANSACTION 'once_4';
SELECT payload FROM once.pop('two');
COMMIT PREPARED 'once_4';
SELECT payload FROM once.pop('two');

-- redeliver lets a claim through unacked: it ends with the prepared transaction.
SET once.unacked = redeliver;
SELECT once.send('two', '"again"') IS NOT NULL AS sent;
BEGIN;
SELECT payload, attempt, receipt AS r FROM once.receive('two') \gset
PREPARE TRANSACTION 'once_5';
SELECT payload FROM once.pop('two');
SELECT once.try_ack(:'r');
COMMIT PREPARED 'once_5';
SELECT payload, attempt FROM once.pop('two');
SELECT once.drop_queue('two');
