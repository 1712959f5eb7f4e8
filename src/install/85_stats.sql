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
    OUT waiters bigint,
    OUT dead_letters bigint,
    OUT dead_letters_error bigint,
    OUT sent bigint,
    OUT received bigint,
    OUT redelivered bigint,
    OUT acked bigint,
    OUT nacked bigint,
    OUT expired bigint,
    OUT dead_lettered bigint,
    OUT lease_lost bigint,
    OUT counted_since timestamptz,
    OUT index_pages bigint,
    OUT dead_rows bigint,
    OUT problem text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_stat_queue' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 10000 ROWS 1;
COMMENT ON FUNCTION once.stat_queue(oid) IS
'Internal: for the view stat_queues.
Returns one row for the queue that has this table; none if there is no such
queue, or the caller may not see it.';

CREATE VIEW once.stat_queues AS
SELECT q.queue, s.*, COALESCE(w.workers, 0) AS workers
  FROM (SELECT pg_catalog.substr(c.relname::pg_catalog.text, 3) COLLATE "C" AS queue, c.oid AS queue_table
          FROM pg_catalog.pg_class c
         WHERE c.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
           AND pg_catalog.starts_with(c.relname::pg_catalog.text, 'q_')
           AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}')) AS q
 CROSS JOIN LATERAL once.stat_queue(q.queue_table) AS s
  LEFT JOIN (SELECT queue, pg_catalog.sum(pg_catalog.cardinality(pids)) AS workers FROM once.workers GROUP BY queue) AS w
    ON w.queue OPERATOR(pg_catalog.=) q.queue;
COMMENT ON VIEW once.stat_queues IS
'Depths, ages and counters of each queue.
One row for each queue. It reads a bounded number of pages of the index, waits
for no lock, and works on a standby.
ready, delayed, claimed, blocked, dead, stuck: numbers of messages by the
states that slots and peek tell.
depth_error: the largest standard error of these six; 0 if they were counted.
oldest_ready: how long the oldest ready message could have been delivered
already.
oldest_claim: how long ago the first message was received that an open
transaction still holds; leases do not tell when they began.
waiters: sessions that wait for messages with once.wait, the argument wait, or
as workers; NULL if there is no shared memory for waiting.
dead_letters: messages of the queue in dead_letters, counted up to 10000.
dead_letters_error: 0; NULL if there are more, and their number is what the
last ANALYZE of the table has found.
sent to lease_lost: what has happened since counted_since (see reset_stats);
NULL unless pg_once is in shared_preload_libraries.
sent: messages put into the table by whatever path.
received: deliveries, each once more as a message is delivered again.
redelivered: those of them that followed on a failed delivery.
acked: messages done, also by pop.
nacked: calls of nack.
expired: messages taken away because their time to live had ended.
dead_lettered: messages moved to the dead letters.
lease_lost: how often a claim turned out to be lost.
index_pages: size of the index, with pages that are free.
dead_rows: rows of the table that VACUUM can remove.
problem: why the numbers are NULL, or lack those of a shard, for instance
because another transaction has the table locked.
workers: background workers that run now.
Of a distributed queue, it adds up the shards on this node.
Shows the queues whose table the caller may SELECT from, except those where
row security applies to the caller; all of them to members of pg_monitor.
Example: SELECT queue, ready, claimed, delayed, oldest_ready FROM once.stat_queues;';

CREATE FUNCTION once.stat_latency(
    queue_table oid,
    OUT messages bigint,
    OUT p50 interval,
    OUT p90 interval,
    OUT p99 interval,
    OUT counted_since timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_stat_latency' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION once.stat_latency(oid) IS
'Internal: for the view stat_latency.
Returns one row for the queue that has this table; none if it is not counted,
or the caller may not see it.';

CREATE FUNCTION once.stat_latency_buckets(
    queue_table oid,
    OUT below interval,
    OUT messages bigint,
    OUT total bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_stat_latency_buckets' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 24;
COMMENT ON FUNCTION once.stat_latency_buckets(oid) IS
'Internal: for the view stat_latency_buckets.
Returns the buckets of the queue that has this table.';

CREATE VIEW once.stat_latency AS
SELECT q.queue, s.*
  FROM (SELECT pg_catalog.substr(c.relname::pg_catalog.text, 3) COLLATE "C" AS queue, c.oid AS queue_table
          FROM pg_catalog.pg_class c
         WHERE c.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
           AND pg_catalog.starts_with(c.relname::pg_catalog.text, 'q_')
           AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}')) AS q
 CROSS JOIN LATERAL once.stat_latency(q.queue_table) AS s;
COMMENT ON VIEW once.stat_latency IS
'How long messages took from send to ack, by queue.
messages: those acked since counted_since (see reset_stats).
p50, p90, p99: half, nine tenths and 99 percent of them took no longer than
that.
It is computed from numbers by powers of two, so it is between half and twice
the true value. Delays count as well. Empty unless pg_once is in
shared_preload_libraries.
Shows the same queues as stat_queues.
Example: SELECT queue, messages, p50, p99 FROM once.stat_latency;';

CREATE VIEW once.stat_latency_buckets AS
SELECT q.queue, s.*
  FROM (SELECT pg_catalog.substr(c.relname::pg_catalog.text, 3) COLLATE "C" AS queue, c.oid AS queue_table
          FROM pg_catalog.pg_class c
         WHERE c.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
           AND pg_catalog.starts_with(c.relname::pg_catalog.text, 'q_')
           AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}')) AS q
 CROSS JOIN LATERAL once.stat_latency_buckets(q.queue_table) AS s;
COMMENT ON VIEW once.stat_latency_buckets IS
'The histogram behind stat_latency.
messages: how many took at least half of "below", and less than it; the first
bucket also has shorter ones.
total: how many took less than "below". In the last possible bucket, below is
NULL: it has no end.
Example: SELECT below, total FROM once.stat_latency_buckets WHERE queue = ''orders'';';

CREATE FUNCTION once.stat_consumers(
    queue_table oid,
    OUT what text,
    OUT pid integer,
    OUT xid xid8,
    OUT since timestamptz,
    OUT until timestamptz,
    OUT messages bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_stat_consumers' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 10000 ROWS 10;
COMMENT ON FUNCTION once.stat_consumers(oid) IS
'Internal: for the view consumers.
Returns who holds messages of the queue that has this table, or waits for
some.';

CREATE VIEW once.consumers AS
SELECT q.queue, s.what, s.pid, a.usename, a.application_name, a.client_addr, a.state, s.xid, s.since, s.until, s.messages
  FROM (SELECT pg_catalog.substr(c.relname::pg_catalog.text, 3) COLLATE "C" AS queue, c.oid AS queue_table
          FROM pg_catalog.pg_class c
         WHERE c.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
           AND pg_catalog.starts_with(c.relname::pg_catalog.text, 'q_')
           AND c.relkind OPERATOR(pg_catalog.=) 'r') AS q
 CROSS JOIN LATERAL once.stat_consumers(q.queue_table) AS s
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) s.pid;
COMMENT ON VIEW once.consumers IS
'Who holds messages or waits for some, by queue.
what: received, by a transaction that is open (xid), also if it has taken
messages away, or has rows locked by plain SQL; leased; waiting, if there is
shared memory for waiting.
pid, usename, application_name, client_addr, state: the session, as in
pg_stat_activity; NULL if there is none, as for a prepared transaction, and on
a standby.
since: when the first of the messages was claimed, or the wait began; NULL if
that is not known.
until: when the last lease ends.
messages: how many; 0 of those who wait.
The index tells who has received. Of leases it tells only how many there are:
these are in a row without a session, except those that sessions have told of,
which requires pg_once in shared_preload_libraries. Of a long queue, the
beginning and a sample are read.
Shows the same queues as stat_queues.
Example: SELECT queue, what, pid, since, messages FROM once.consumers;';

CREATE FUNCTION once.stat_progress(
    OUT queue_table oid,
    OUT pid integer,
    OUT work text,
    OUT since timestamptz,
    OUT done bigint,
    OUT total bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_stat_progress' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION once.stat_progress() IS
'Internal: for the view progress.
Returns what sessions are at.';

CREATE VIEW once.progress AS
SELECT pg_catalog.substr(c.relname::pg_catalog.text, 3) COLLATE "C" AS queue, s.work, s.pid, a.usename, a.application_name, s.since, s.done, s.total
  FROM once.stat_progress() AS s
  JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) s.queue_table
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) s.pid;
COMMENT ON VIEW once.progress IS
'Long work on queues that sessions are at now.
work: purge, redrive, replay or maintain.
done: messages so far; with maintain, steps.
total: how many there are; NULL if that is not known.
Requires pg_once in shared_preload_libraries. (pg_stat_progress_create_index
shows the building of an index.) Shows the same queues as stat_queues.
Example: SELECT queue, work, pid, done, total FROM once.progress;';

CREATE FUNCTION once.shard_places(
    queue text,
    OUT shard text,
    OUT groupid integer,
    OUT host text,
    OUT port integer,
    OUT local boolean,
    OUT shard_table oid)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_shard_places' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 32;
COMMENT ON FUNCTION once.shard_places(text) IS
'Internal: for shards.
shard_table: NULL if it is on another node.';

CREATE FUNCTION once.shard_consumers(queue_table oid)
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_shard_consumers' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION once.shard_consumers(oid) IS
'Internal: for shards.
Returns how many hold messages of the shard or wait for some.';

CREATE FUNCTION once.shards(queue text)
RETURNS TABLE (
    shard text,
    groupid integer,
    host text,
    port integer,
    local boolean,
    consumers bigint)
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 32
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT p.shard, p.groupid, p.host, p.port, p.local,
           CASE WHEN p.local THEN once.shard_consumers(p.shard_table) END
      FROM once.shard_places(shards.queue) AS p;
END;
COMMENT ON FUNCTION once.shards(text) IS
'Shows the shards of a distributed queue and where they are.
shard: the name that it has as a queue, on its node.
groupid, host, port: the node, as in pg_dist_node of Citus.
local: whether that is this node.
consumers: sessions and transactions that hold messages of it or wait for some,
all leases together count as one; NULL if it is on another node.
Only for those who may SELECT from the table, and members of pg_monitor.
Example: SELECT * FROM once.shards(''orders'');';

CREATE FUNCTION once.reset_stats(queue text DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'once_reset_stats' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.reset_stats(text) IS
'Sets the counters of a queue to zero.
Its latencies, too; they count from now on.
queue: NULL means those of all queues that the caller owns.
Acts at once, also when the transaction rolls back, and on a standby.
Requires pg_once in shared_preload_libraries.
Only for the owner of the table.
Example: SELECT once.reset_stats(''orders'');';

-- Not made of the views: the planner does not know what they cost, and may read one of
-- them anew for each row of another.
CREATE VIEW once.top AS
SELECT t.*
  FROM (SELECT pg_catalog.substr(k.relname::pg_catalog.text, 3) COLLATE "C" AS queue,
               s.ready, s.claimed, s.delayed, s.blocked, s.dead_letters,
               s.oldest_ready, s.oldest_claim,
               s.sent, s.acked, s.redelivered,
               l.p50, l.p99,
               c.consumers,
               CASE WHEN s.problem IS NOT NULL THEN s.problem
                    WHEN s.stuck OPERATOR(pg_catalog.>) 0 THEN 'stuck messages'
                    WHEN s.oldest_claim OPERATOR(pg_catalog.>) '5 min'::pg_catalog.interval THEN 'messages are held for long'
                    WHEN s.oldest_ready OPERATOR(pg_catalog.>) '1 min'::pg_catalog.interval
                         AND c.consumers OPERATOR(pg_catalog.=) 0 THEN 'nobody consumes'
                    WHEN s.dead OPERATOR(pg_catalog.>) 0
                         AND c.consumers OPERATOR(pg_catalog.=) 0 THEN 'dead messages wait for maintain'
                    WHEN s.oldest_ready OPERATOR(pg_catalog.>) '1 min'::pg_catalog.interval THEN 'consumers are behind'
               END AS trouble
          FROM pg_catalog.pg_class k
         CROSS JOIN LATERAL once.stat_queue(k.oid) AS s
          LEFT JOIN LATERAL once.stat_latency(k.oid) AS l ON true
         CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS consumers FROM once.stat_consumers(k.oid)) AS c
         WHERE k.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
           AND pg_catalog.starts_with(k.relname::pg_catalog.text, 'q_')
           AND k.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}')) AS t
 ORDER BY t.trouble IS NULL, t.oldest_ready DESC NULLS LAST, t.queue
 LIMIT 40;
COMMENT ON VIEW once.top IS
'The 40 queues that need attention most, for \watch.
First those with trouble, then those whose oldest ready message is the oldest.
consumers: rows of the view consumers.
trouble: what seems to be wrong.
The other columns are those of stat_queues and stat_latency.
Example: SELECT * FROM once.top;';
