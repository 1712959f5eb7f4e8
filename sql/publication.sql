-- Publications: a message that could be sent but never deleted is found out early.
SET client_min_messages = error;
CREATE PUBLICATION regress_once_all FOR ALL TABLES;
RESET client_min_messages;
SELECT once.create_queue('keyless');
SELECT once.create_queue('keyed', id_index => true);
SELECT once.create_queue('unlogged', unlogged => true);

-- Sending works; consuming says at once what an ack would say.
SELECT once.send('keyless', '1');
SELECT once.receive('keyless');
\echo :SQLSTATE
SELECT once.lease('keyless');
SELECT once.pop('keyless');
SELECT payload, state FROM once.peek('keyless');
SELECT once.send('keyed', '1');
SELECT payload, once.ack(receipt) FROM once.receive('keyed');
SELECT once.send('unlogged', '1');
SELECT payload FROM once.pop('unlogged');

-- The ways out: a replica identity, or a publication without deletes.
ALTER TABLE once.q_keyless REPLICA IDENTITY FULL;
SELECT payload, receipt AS r FROM once.lease('keyless') \gset
ALTER TABLE once.q_keyless REPLICA IDENTITY NOTHING;
SELECT once.ack(:'r');
ALTER PUBLICATION regress_once_all SET (publish = 'insert');
SELECT once.ack(:'r');
SELECT once.create_queue('inserts_only');
DROP PUBLICATION regress_once_all;

SELECT once.drop_queue(queue) FROM once.list_queues();
