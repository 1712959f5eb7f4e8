-- Looking at queues: peek, slots, pages, check.
SELECT once.create_queue('look', retry_delay => '1 h', retry_delay_max => '1 h');
SELECT * FROM once.peek('look');
SELECT * FROM once.check('look');
SELECT kind, count(*) FROM once.pages('look') GROUP BY kind ORDER BY kind;

-- One message in each state, in the order they would be handed out.
SELECT once.send('look', '"failed"', priority => 9), once.send('look', '"leased"', priority => 8);
BEGIN; SELECT payload FROM once.receive('look'); ROLLBACK;
SELECT payload FROM once.lease('look', '1 h');
SELECT once.send('look', '"held"', priority => 7, headers => '{"h": 1}'), once.send('look', '"ready"', priority => 5), once.send('look', '"delayed"', priority => 5, delay => '1 h');
BEGIN;
SELECT payload FROM once.receive('look');
SELECT attempt, ready_at > now() + '47 min' AS in_an_hour, priority, group_id, headers, payload, state,
       enqueued_at <= now() AS enqueued FROM once.peek('look');
SELECT lane, slot, state, now, claim, claim_xid = pg_current_xact_id() AS ours, row_ctid, attempts FROM once.slots('look') ORDER BY lane DESC, slot;
ROLLBACK;
SELECT payload FROM once.peek('look', 2);
-- Nothing was claimed by looking.
SELECT payload, attempt FROM once.pop('look');
-- What another transaction has not committed is not there.
BEGIN;
SELECT once.send('look', '"own"', priority => 9) IS NOT NULL AS sent;
SELECT payload FROM once.peek('look', 1);
ROLLBACK;
SELECT once.purge('look');
SELECT * FROM once.peek('look');
SELECT kind, lane, next IS NULL AS last FROM once.pages('look') ORDER BY block;
SELECT * FROM once.check('look', strict => true);
SELECT once.check('look', NULL);

-- Finished pages leave the lane, and are used again.
SELECT count(*) FROM once.send_batch('look', array_fill('1'::jsonb, ARRAY[2000]));
SELECT count(*) AS pages FROM once.pages('look') \gset
SELECT count(*) FROM once.pop('look', 2000);
SELECT * FROM once.pop('look');
VACUUM once.q_look;
SELECT count(*) > 0 AS free FROM once.pages('look') WHERE kind = 'free';
SELECT count(*) FROM once.send_batch('look', array_fill('1'::jsonb, ARRAY[2000]));
SELECT count(*) - :pages < 3 AS reused FROM once.pages('look');
SELECT * FROM once.check('look', strict => true);
-- The planner does not know the index; SQL reads the table as ever.
EXPLAIN (COSTS OFF) SELECT * FROM once.q_look WHERE id = 1;
SELECT once.drop_queue('look');
