-- Statistics.  Functions that begin with stat_ are for the views of their names.

CREATE FUNCTION once.stat_queue(
    queue_table oid,
    OUT ready bigint,
    OUT delayed bigint,
    OUT claimed bigint,
    OUT blocked bigint,
    OUT dead bigint,
    OUT stuck bigint,
    OUT depth_error bigint,
    OUT oldest_ready interval,
    OUT oldest_claim interval,
    OUT dead_letters bigint,
    OUT dead_letters_error bigint,
    OUT index_pages bigint,
    OUT dead_rows bigint,
    OUT problem text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_stat_queue' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 10000 ROWS 1;
COMMENT ON FUNCTION once.stat_queue(oid) IS
'For the view stat_queues: one row for the queue that has this table; none if there is no such queue, or the caller may not see it.';

CREATE VIEW once.stat_queues AS
SELECT q.queue, s.*
  FROM (SELECT pg_catalog.substr(c.relname::pg_catalog.text, 3) COLLATE "C" AS queue, c.oid AS queue_table
          FROM pg_catalog.pg_class c
         WHERE c.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
           AND pg_catalog.starts_with(c.relname::pg_catalog.text, 'q_')
           AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}')) AS q
 CROSS JOIN LATERAL once.stat_queue(q.queue_table) AS s;
COMMENT ON VIEW once.stat_queues IS
'One row for each queue: what is in it at this moment. It reads a bounded number of pages of the index, waits for no lock, and works on a standby. ready, delayed, claimed, blocked, dead, stuck: numbers of messages by the states that slots and peek tell. depth_error: the largest standard error of these six; 0 if they were counted. oldest_ready: how long the oldest ready message could have been delivered already. oldest_claim: how long ago the first message was received that an open transaction still holds; leases do not tell when they began. dead_letters: messages of the queue in dead_letters, counted up to 10000. dead_letters_error: 0; NULL if there are more, and their number is what the last ANALYZE of the table has found. index_pages: size of the index, with pages that are free. dead_rows: rows of the table that VACUUM can remove. problem: why the numbers are NULL, for instance because another transaction has the table locked. Shows the queues whose table the caller may SELECT from, except those where row security applies to the caller; all of them to members of pg_monitor.';
