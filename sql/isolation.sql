-- The verbs at each isolation level, and in transactions that may not write.
SELECT once.create_queue('i', id_index => true, retry_delay => '0', retry_delay_max => '0');
SELECT count(*) FROM once.send_batch('i', ARRAY(SELECT to_jsonb(g) FROM generate_series(1, 12) g));

BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT payload, once.ack(receipt) FROM once.receive('i', 2);
SELECT payload FROM once.pop('i');
SELECT receipt AS r FROM once.lease('i') \gset
SELECT once.extend(:'r', '1 h') > now() AS extended;
SELECT once.ack(:'r');
SELECT once.send('i', '"rr"') IS NOT NULL AS sent;
SELECT once.cancel('i', 6);
COMMIT;

BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT payload, once.ack(receipt) FROM once.receive('i', 2);
SELECT payload FROM once.pop('i');
SELECT receipt AS r FROM once.lease('i') \gset
SELECT once.nack(:'r');
SELECT receipt AS r FROM once.lease('i') \gset
SELECT once.try_ack(:'r');
SELECT once.send('i', '"serializable"') IS NOT NULL AS sent;
COMMIT;

BEGIN ISOLATION LEVEL READ UNCOMMITTED;
SELECT payload, once.ack(receipt) FROM once.receive('i');
COMMIT;
SELECT payload FROM once.peek('i');

-- wait needs a new snapshot for each look.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM once.receive('i', wait => '1 s');
\echo :SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT * FROM once.lease('i', wait => '0');
ROLLBACK;

-- A transaction's snapshot decides what is offered: not what was sent later.
SELECT once.purge('i');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM once.q_i;
SELECT * FROM once.receive('i');
COMMIT;

-- Read-only transactions can look, and nothing else.
SELECT once.send('i', '1') IS NOT NULL AS sent;
SELECT receipt AS r FROM once.lease('i') \gset
BEGIN READ ONLY;
SELECT payload, state FROM once.peek('i');
SELECT count(*) FROM once.slots('i') WHERE state = 'claimed';
SELECT count(*) > 1 AS pages FROM once.pages('i');
SELECT count(*) FROM once.check('i');
SELECT queue FROM once.list_queues();
SAVEPOINT a;
SELECT once.send('i', '1');
\echo :SQLSTATE
ROLLBACK TO a;
SELECT once.send_batch('i', ARRAY['1']::jsonb[]);
ROLLBACK TO a;
SELECT once.receive('i');
ROLLBACK TO a;
SELECT once.lease('i');
ROLLBACK TO a;
SELECT once.pop('i');
ROLLBACK TO a;
SELECT once.ack(:'r');
ROLLBACK TO a;
SELECT once.ack_all(ARRAY[:'r']::uuid[]);
ROLLBACK TO a;
SELECT once.try_ack(:'r');
ROLLBACK TO a;
SELECT once.try_ack_all(ARRAY[:'r']::uuid[]);
ROLLBACK TO a;
SELECT once.nack(:'r');
ROLLBACK TO a;
SELECT once.release(:'r');
ROLLBACK TO a;
SELECT once.extend(:'r', '1 h');
ROLLBACK TO a;
SELECT once.cancel('i', 1);
ROLLBACK TO a;
SELECT once.purge('i');
ROLLBACK TO a;
SELECT once.create_queue('j');
ROLLBACK TO a;
SELECT once.alter_queue('i');
ROLLBACK TO a;
SELECT once.pause('i');
ROLLBACK TO a;
SELECT once.resume('i');
ROLLBACK TO a;
SELECT once.drop_queue('i');
ROLLBACK;
SELECT once.ack(:'r');
SELECT * FROM once.check('i', true);
SELECT once.drop_queue('i');
