-- Names of queues: what may be one, and that capitals and hyphens are kept.
SELECT once.create_queue('Orders');
SELECT once.create_queue('orders');
SELECT once.create_queue('_a-B_9');
SELECT once.create_queue(repeat('n', 47), id_index => true);
SELECT once.send('Orders', '1'), once.send('orders', '2'), once.send('_a-B_9', '3'), once.send(repeat('n', 47), '4');
SELECT payload FROM once."q_Orders";
SELECT payload FROM once.q_orders;
SELECT payload FROM once.pop('_a-B_9');
SELECT once.cancel(repeat('n', 47), 1);
SELECT relname, relkind FROM pg_class WHERE relnamespace = 'once'::regnamespace AND relname LIKE 'q\_%' ORDER BY relname COLLATE "C";

-- A queue's name may be that of another's index or sequence, but only one can have it.
SELECT once.create_queue('orders_queue_idx');
SELECT once.create_queue('orders_id_seq', if_not_exists => true);
SELECT once.create_queue('late_queue_idx');
SELECT once.create_queue('late', id_index => true);
SELECT once.send('late', '1'), once.send('late_queue_idx', '1');
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'once.q_late'::regclass ORDER BY 1;

-- Everything else is refused, whatever is wanted of the queue.
SELECT once.create_queue('');
SELECT once.create_queue('1st');
SELECT once.create_queue('-a');
SELECT once.create_queue('a.b');
SELECT once.create_queue('a b');
SELECT once.create_queue('a"b');
SELECT once.create_queue('a&b');
SELECT once.create_queue('größe');
SELECT once.create_queue('Ωmega');
SELECT once.create_queue('a٣');
SELECT once.create_ledger('größe', '1 day');
SELECT once.create_queue(repeat('n', 48));
SELECT once.create_queue(NULL);
SELECT once.send('a"; DROP TABLE x; --', '1');
\echo :SQLSTATE
SELECT * FROM once.receive('once.q_orders');
SELECT once.drop_queue('nobody''s');

-- Others' tables in the schema are no queues, nor are tables elsewhere.
CREATE TABLE q_elsewhere (id int);
SELECT once.send('elsewhere', '1');
\echo :SQLSTATE
SELECT once.send('queue', '1');
DROP TABLE q_elsewhere;
CREATE VIEW once.q_view AS SELECT 1 AS id;
SELECT once.send('view', '1');
DROP VIEW once.q_view;
CREATE TABLE once.q_indexless (LIKE once.q_orders INCLUDING IDENTITY INCLUDING DEFAULTS);
SELECT once.send('indexless', '1');
SELECT * FROM once.receive('indexless');
\echo :SQLSTATE
CREATE INDEX ON once.q_indexless USING once_queue (id, priority, deliver_at, group_id);
SELECT payload FROM once.pop('indexless');

-- What works as a queue is listed as one.
SELECT once.drop_queue(queue) FROM once.list_queues();
