-- Queues: making and changing them.

-- For the functions that PUBLIC may not execute: its error says whom to ask.
CREATE FUNCTION once.execute_support(internal) RETURNS internal
AS 'MODULE_PATHNAME', 'once_execute_support' LANGUAGE C STRICT;
COMMENT ON FUNCTION once.execute_support(internal) IS
'Internal: the hint where EXECUTE is missing.
Planner support of the functions that PUBLIC may not execute.';

CREATE FUNCTION once.create_queue(
    queue text,
    unlogged boolean DEFAULT false,
    id_index boolean DEFAULT false,
    if_not_exists boolean DEFAULT false,
    max_attempts integer DEFAULT 10,
    retry_delay interval DEFAULT '1 s',
    retry_delay_max interval DEFAULT '1 h',
    dedup_window interval DEFAULT '5 min',
    archive interval DEFAULT NULL,
    ttl interval DEFAULT NULL,
    ttl_action text DEFAULT 'dead_letter',
    retention interval DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'once_create_queue' LANGUAGE C VOLATILE PARALLEL UNSAFE
SUPPORT once.execute_support;
COMMENT ON FUNCTION once.create_queue(text, boolean, boolean, boolean, integer, interval, interval, interval, interval, interval, text, interval) IS
'Creates a queue.
That is the table once."q_<queue>", owned by the caller, with its queue index.
queue: an ASCII letter or underscore, then ASCII letters, digits, underscores
and hyphens, at most 47 bytes; case matters.
unlogged: faster, but empty after a crash.
id_index: a primary key on id, which cancel and logical replication require.
if_not_exists: a notice instead of an error if the queue exists. If its table
exists without options, as after a restore of the structure only, the queue
gets the options given, and missing parts are created; this is only for the
owner of the table. If a queue with options has lost its index, its archive or
the tables for dedup_ids, they are created again if the caller owns the table.
max_attempts: 1 to 1000 deliveries; after the last one the message goes to
once.dead_letters.
retry_delay, retry_delay_max: 0 to 365 days. After a failed delivery a message
waits between 0.8 and 1 times retry_delay, and twice as long after each
further one, up to retry_delay_max.
dedup_window: more than 0, at most 36500 days. A message is not sent if one
with the same dedup_id was sent within that time, counted from its commit. Ids
are remembered for at least that long, and up to two and a quarter times as
long in a queue that is in use.
archive: 1 minute to 36500 days; acked messages are kept in once."a_<queue>"
for that long. NULL: not at all.
ttl: more than 0, at most 36500 days; a message expires if it is not delivered
within that time after it became due. NULL: never.
ttl_action: expired messages go to once.dead_letters (dead_letter) or are
deleted (drop).
retention: more than 0, at most 36500 days; maintain deletes dead letters that
are older. NULL: never.
EXECUTE is not granted to PUBLIC.
Example: SELECT once.create_queue(''orders'');';

CREATE FUNCTION once.alter_queue(
    queue text,
    max_attempts integer DEFAULT NULL,
    retry_delay interval DEFAULT NULL,
    retry_delay_max interval DEFAULT NULL,
    dedup_window interval DEFAULT NULL,
    archive interval DEFAULT NULL,
    ttl interval DEFAULT NULL,
    ttl_action text DEFAULT NULL,
    retention interval DEFAULT NULL,
    reset text[] DEFAULT '{}')
RETURNS void
AS 'MODULE_PATHNAME', 'once_alter_queue' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.alter_queue(text, integer, interval, interval, interval, interval, interval, text, interval, text[]) IS
'Changes options of a queue.
Each is as in create_queue, and NULL leaves it unchanged.
reset: names of options that get the default of create_queue again, which for
archive, ttl and retention means off.
Running sessions use the new options as soon as they are committed.
If Citus has distributed the queue: on the coordinator, and for all nodes.
Only for the owner of the table.
Example: SELECT once.alter_queue(''orders'', max_attempts => 5);';

CREATE FUNCTION once.grant_queue(queue text, role text, what text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_grant_queue' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.grant_queue(text, text, text) IS
'Lets a role use a queue.
what: ''produce'' for send, send_dedup and send_batch (INSERT on the table);
''consume'' for receive, lease, pop, ack, nack, release, extend, cancel and
all that ''observe'' allows (SELECT and DELETE); ''observe'' for peek, check,
slots, pages, dead letters and failures (SELECT, also on the archive if the
queue has one).
role: ''public'' means everybody.
Only for the owner of the table and those with grant options on it.
Example: SELECT once.grant_queue(''orders'', ''shop'', ''produce'');';

CREATE FUNCTION once.revoke_queue(queue text, role text, what text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_revoke_queue' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.revoke_queue(text, text, text) IS
'Takes back what grant_queue has granted.
The arguments are those of grant_queue. Both ''consume'' and ''observe''
revoke SELECT, whichever of the two has granted it. Revokes only what the
caller has granted, or the owner, if the caller is a member of the owner.
Only for the owner of the table and those with grant options on it.
Example: SELECT once.revoke_queue(''orders'', ''shop'', ''produce'');';

CREATE FUNCTION once.drop_queue(queue text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_drop_queue' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.drop_queue(text) IS
'Drops a queue with everything that belongs to it.
That is its messages, dead letters, failures, archive, and remembered
dedup_ids.
Waits for transactions that use it.
If the table was removed by a plain DROP TABLE, drops what is left of the
queue.
Only for the owner of the table, or of all tables that are left.
Example: SELECT once.drop_queue(''orders'');';

CREATE FUNCTION once.distribute_queue(
    queue text,
    by text DEFAULT 'id',
    shards integer DEFAULT 32,
    colocate_with text DEFAULT 'none')
RETURNS void
AS 'MODULE_PATHNAME', 'once_distribute_queue' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.distribute_queue(text, text, integer, text) IS
'Spreads a queue over the nodes of a Citus cluster.
Each message is in one shard, a table on one of the nodes, and is consumed
there. Messages that wait are moved to their shards; deliveries, leases and
attempts are forgotten. New ids come from next_id.
by: id, which requires an index on it, and messages can have no groups;
group_id, which keeps groups in order, and all messages must have one; or a
column that was added to the table.
shards: 1 to 64000; how many there are.
colocate_with: none; default, as in Citus; or a table distributed by a column
of the same type, whose shards stay together with those of the queue. Their
number is then that of the table''s.
Not for queues that are unlogged, have an archive or remember dedup_ids.
Only for the owner of the table who may create tables in schema once, which as
a rule is a superuser.
Example: SELECT once.distribute_queue(''orders'');';

-- The default of the column id of distributed queues, so whoever may insert calls it.
CREATE FUNCTION once.next_id()
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_next_id' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION once.next_id() IS
'Makes an id that no other node of the cluster makes.
It is 65536 times the time, in units of 4 ms since 2026-01-01 00:00 UTC, plus
256 times the number of the node (its group in Citus; 0 without Citus), plus a
counter. So ids of all nodes are in the order of their times, if the clocks
agree, and those of one node in the order of the calls. They are less than 2^53
until 2043-06-03. A node makes at most 64000 in a second; more wait.
distribute_queue makes it the default of the column id.
Requires pg_once in shared_preload_libraries.
Example: SELECT once.next_id();';

CREATE FUNCTION once.distributed_options(
    queue_table oid,
    OUT max_attempts integer,
    OUT retry_delay interval,
    OUT retry_delay_max interval,
    OUT ttl interval,
    OUT ttl_action text,
    OUT retention interval,
    OUT send_paused boolean,
    OUT consume_paused boolean)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_distributed_options' LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 1;
COMMENT ON FUNCTION once.distributed_options(oid) IS
'Internal: for list_queues.
Returns the options of the queue that has this table, as storage parameters of
its index give them; no row if the table is neither distributed by Citus nor a
shard.';

-- A queue without a row in once.queue is listed as well, with the default options.  Those of a
-- distributed queue are storage parameters of its index, which are on every node.
CREATE FUNCTION once.list_queues()
RETURNS TABLE (
    queue text,
    owner name,
    unlogged boolean,
    id_index boolean,
    max_attempts integer,
    retry_delay interval,
    retry_delay_max interval,
    dedup_window interval,
    archive interval,
    ttl interval,
    ttl_action text,
    retention interval,
    send_paused boolean,
    consume_paused boolean,
    created_at timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT n.queue,
           pg_catalog.pg_get_userbyid(c.relowner),
           c.relpersistence OPERATOR(pg_catalog.=) 'u',
           EXISTS (SELECT FROM pg_catalog.pg_index i
                   JOIN pg_catalog.pg_attribute a
                     ON a.attrelid OPERATOR(pg_catalog.=) i.indrelid
                    AND a.attnum OPERATOR(pg_catalog.=) i.indkey[0]
                   WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid
                     AND i.indisunique AND i.indisvalid
                     AND i.indnkeyatts OPERATOR(pg_catalog.=) 1
                     AND i.indpred IS NULL AND i.indexprs IS NULL
                     AND a.attname OPERATOR(pg_catalog.=) 'id'),
           COALESCE(d.max_attempts, q.max_attempts, 10),
           COALESCE(d.retry_delay, q.retry_delay, '1 s'),
           COALESCE(d.retry_delay_max, q.retry_delay_max, '1 h'),
           COALESCE(q.dedup_window, '5 min'),
           CASE WHEN d.max_attempts IS NULL THEN q.archive END,
           CASE WHEN d.max_attempts IS NULL THEN q.ttl ELSE d.ttl END,
           COALESCE(d.ttl_action, q.ttl_action, 'dead_letter'),
           CASE WHEN d.max_attempts IS NULL THEN q.retention ELSE d.retention END,
           COALESCE(d.send_paused, q.send_paused, false),
           COALESCE(d.consume_paused, q.consume_paused, false),
           q.created_at
      FROM pg_catalog.pg_class c
     CROSS JOIN LATERAL (SELECT pg_catalog.substr(c.relname::pg_catalog.text, 3) COLLATE "C") AS n (queue)
      LEFT JOIN once.queue q ON q.queue OPERATOR(pg_catalog.=) n.queue
      LEFT JOIN LATERAL once.distributed_options(c.oid) AS d ON true
     WHERE c.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
       AND pg_catalog.starts_with(c.relname::pg_catalog.text, 'q_')
       AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}')
     ORDER BY n.queue;
END;
COMMENT ON FUNCTION once.list_queues() IS
'Lists the queues of the database with their options.
id_index: whether cancel works.
created_at: NULL if the queue has no options, as after a restore of the
structure only. Then the defaults of create_queue are shown, and create_queue
with if_not_exists sets others.
Example: SELECT * FROM once.list_queues();';

CREATE FUNCTION once.pause(queue text, what text DEFAULT 'all')
RETURNS void
AS 'MODULE_PATHNAME', 'once_pause' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.pause(text, text) IS
'Stops sending to a queue, or consuming from it.
what: ''send'', ''consume'', or ''all'' for both. While it is paused, send and
send_batch, or receive, lease and pop, raise once_paused. That is an error and
not an empty result, so that nobody mistakes a paused queue for an empty one.
Messages already received or leased can still be acked, given back and
extended. Plain SQL is not stopped.
If Citus has distributed the queue: on the coordinator, and for all nodes.
Only for the owner of the table.
Example: SELECT once.pause(''orders'', ''consume'');';

CREATE FUNCTION once.resume(queue text, what text DEFAULT 'all')
RETURNS void
AS 'MODULE_PATHNAME', 'once_resume' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.resume(text, text) IS
'Ends a pause.
what: ''send'', ''consume'' or ''all'', as for pause.
Only for the owner of the table.
Example: SELECT once.resume(''orders'');';

CREATE FUNCTION once.purge(queue text)
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_purge' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.purge(text) IS
'Removes all messages of a queue and returns how many.
Delayed and leased ones, too. Truncates the table if nobody else uses it, and
otherwise deletes row by row. Either way, messages that the caller''s own
transaction has sent are removed as well.
Rows that open transactions of others hold are left; so are those that a
constraint, trigger or rule keeps, with a warning.
Only for the owner of the table.
Example: SELECT once.purge(''orders'');';

-- Sending.

CREATE FUNCTION once.send(
    queue text,
    payload jsonb,
    headers jsonb DEFAULT NULL,
    delay interval DEFAULT NULL,
    deliver_at timestamptz DEFAULT NULL,
    priority integer DEFAULT 4,
    group_id text DEFAULT NULL,
    dedup_id text DEFAULT NULL,
    ttl interval DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_send' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.send(text, jsonb, jsonb, interval, timestamptz, integer, text, text, interval) IS
'Sends a message and returns its id.
Consumers can have it when the caller''s transaction has committed.
delay, deliver_at: when the message becomes due, after 0 to 36500 days or at a
time; give only one of the two.
priority: 0 to 9, 9 is delivered first.
group_id: 1 to 1000 bytes; messages of one group are delivered strictly in
order, one call''s worth at a time, and have priority 4.
dedup_id: 1 to 1000 bytes; if a message with the same one was sent within the
queue''s dedup_window (see create_queue), nothing is sent, and the id of that
message is returned, even if it has been consumed.
Waits while the transaction that sent it is open.
ttl: more than 0, at most 36500 days; the message expires if it is not
delivered within that time after it became due.
Requires INSERT on the table.
Example: SELECT once.send(''orders'', ''{"order": 1}'');';

CREATE FUNCTION once.send_batch(
    queue text,
    payloads jsonb[],
    headers jsonb[] DEFAULT NULL,
    delay interval DEFAULT NULL,
    deliver_at timestamptz DEFAULT NULL,
    priority integer DEFAULT 4,
    group_ids text[] DEFAULT NULL,
    dedup_ids text[] DEFAULT NULL,
    ttl interval DEFAULT NULL)
RETURNS SETOF bigint
AS 'MODULE_PATHNAME', 'once_send_batch' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION once.send_batch(text, jsonb[], jsonb[], interval, timestamptz, integer, text[], text[], interval) IS
'Sends many messages at once and returns their ids.
That costs far less than one by one. The ids are in the order of payloads.
headers, group_ids, dedup_ids: NULL, or one element for each payload; NULL as
an element of group_ids means no group, and as an element of dedup_ids no
dedup_id. NULL in place of payloads, which array_agg makes of no rows, sends
nothing. Two calls with the same dedup_ids in different orders do not
deadlock.
Otherwise like send.
Requires INSERT on the table.
Example: SELECT once.send_batch(''orders'', ARRAY[''{"order": 2}'', ''{"order": 3}'']::jsonb[]);';

CREATE FUNCTION once.send_dedup(
    queue text,
    payload jsonb,
    headers jsonb DEFAULT NULL,
    delay interval DEFAULT NULL,
    deliver_at timestamptz DEFAULT NULL,
    priority integer DEFAULT 4,
    group_id text DEFAULT NULL,
    dedup_id text DEFAULT NULL,
    ttl interval DEFAULT NULL)
RETURNS TABLE (id bigint, duplicate boolean)
AS 'MODULE_PATHNAME', 'once_send_dedup' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION once.send_dedup(text, jsonb, jsonb, interval, timestamptz, integer, text, text, interval) IS
'Sends a message, and tells whether it was a repeat.
Like send, but returns one row: id, and duplicate, which is true if nothing
was sent, because id is that of a message sent before with the same dedup_id.
Requires INSERT on the table.
Example: SELECT * FROM once.send_dedup(''orders'', ''{"order": 4}'', dedup_id => ''order 4'');';

-- Consuming.

CREATE FUNCTION once.receive(
    queue text,
    max_messages integer DEFAULT 1,
    wait interval DEFAULT NULL)
RETURNS SETOF once.message
AS 'MODULE_PATHNAME', 'once_receive' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION once.receive(text, integer, interval) IS
'Claims messages until the transaction ends.
Effectively once, for effects in this database. The transaction must ack them
or give them back, or else its commit fails with once_unacked (setting
once.unacked). A rollback, also to a savepoint, gives them back after the
retry delay; the attempt counts.
max_messages: 1 to 10000.
wait: up to 60 s, for a message to come if there is none. The call must then
be a statement of its own, in READ COMMITTED. It returns early, perhaps
without a message, after it has moved dead messages, and takes nothing for a
client that is gone.
Requires SELECT and DELETE on the table.
Example: SELECT once.ack(receipt), payload FROM once.receive(''orders'', 10);';

CREATE FUNCTION once.lease(
    queue text,
    lease interval DEFAULT '30 s',
    max_messages integer DEFAULT 1,
    wait interval DEFAULT NULL)
RETURNS SETOF once.message
AS 'MODULE_PATHNAME', 'once_lease' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION once.lease(text, interval, integer, interval) IS
'Claims messages for a time.
At least once: the claim stays, whatever becomes of the calling transaction. A
message that is not acked by then goes to another consumer.
lease: more than 0, at most 365 days.
max_messages, wait: as for receive.
Requires SELECT and DELETE on the table.
Example: SELECT receipt, payload FROM once.lease(''orders'', ''2 min'', max_messages => 10);';

CREATE FUNCTION once.pop(
    queue text,
    max_messages integer DEFAULT 1,
    wait interval DEFAULT NULL)
RETURNS SETOF once.message
AS 'MODULE_PATHNAME', 'once_pop' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION once.pop(text, integer, interval) IS
'Takes messages out of the queue at once.
At most once: it acks the messages that it returns, so there is no receipt. A
rollback puts them back.
Never waits for rows that others hold. A row that a constraint, trigger or
rule keeps stays in the queue, stuck, with a warning.
max_messages, wait: as for receive.
Requires SELECT and DELETE on the table.
Example: SELECT payload FROM once.pop(''orders'');';

-- As with once.maintain, a SET clause would keep it from ending transactions.
CREATE PROCEDURE once.wait(queues text[], timeout interval, INOUT ready text DEFAULT NULL)
AS 'MODULE_PATHNAME', 'once_wait' LANGUAGE C;
COMMENT ON PROCEDURE once.wait(text[], interval, text) IS
'Sleeps until one of several queues has something.
That is something that a consumer could take.
ready: the first such queue, in the order given; NULL if there is none within
the time.
Takes nothing: call receive, lease or pop next; if another consumer was
faster, they return nothing.
queues: 1 to 100 names.
timeout: zero to 1 hour.
Ends the transaction, so that it holds no snapshot and no lock on a queue
while it sleeps; so it cannot be called in a transaction block, a function or
an EXCEPTION block. A paused queue has nothing until it is resumed.
Requires SELECT and DELETE on the tables.
Example: CALL once.wait(ARRAY[''orders'', ''invoices''], ''10 s'');';

CREATE FUNCTION once.ack(receipt uuid)
RETURNS void
AS 'MODULE_PATHNAME', 'once_ack' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.ack(uuid) IS
'Acknowledges a message: deletes it.
The deletion is part of the caller''s transaction. Raises once_lease_lost if
somebody else may have the message by now, or if another transaction has
updated it since it was received, and once_already_acked if it was acked
before, so that the caller''s effects roll back.
Requires SELECT and DELETE on the table.
Example: SELECT once.ack(receipt) FROM once.receive(''orders'');';

CREATE FUNCTION once.ack_all(receipts uuid[])
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_ack_all' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.ack_all(uuid[]) IS
'Acknowledges all of the messages, or raises an error.
Returns how many, or raises what ack raises. The same receipt twice is an
error. NULL in place of the array, which array_agg makes of no rows, means
none.
Example: SELECT once.ack_all(array_agg(receipt)) FROM once.receive(''orders'', 100);';

CREATE FUNCTION once.try_ack(receipt uuid)
RETURNS boolean
AS 'MODULE_PATHNAME', 'once_try_ack' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.try_ack(uuid) IS
'Acknowledges a message if that is still possible.
Like ack, but returns false where ack raises once_lease_lost or
once_already_acked; then nothing is deleted.
Example: SELECT once.try_ack(receipt) FROM once.lease(''orders'');';

CREATE FUNCTION once.try_ack_all(receipts uuid[])
RETURNS SETOF uuid
AS 'MODULE_PATHNAME', 'once_try_ack_all' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION once.try_ack_all(uuid[]) IS
'Acknowledges those messages that still can be.
Returns the receipts of those, in the order given and each once. NULL in place
of the array means none.
Example: SELECT * FROM once.try_ack_all(ARRAY(SELECT receipt FROM once.lease(''orders'', ''1 min'', 100)));';

CREATE FUNCTION once.nack(receipt uuid, delay interval DEFAULT NULL, error text DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'once_nack' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.nack(uuid, interval, text) IS
'Gives a message back after a failure.
The attempt counts.
delay: after what time it is delivered again, 0 to 365 days; NULL: the
queue''s retry delay for this attempt.
Takes effect at once, even if the caller''s transaction rolls back.
error: kept in once.failures, in the caller''s transaction.
Later messages of the same group that were claimed by the same call are given
back as well, and for these the attempt does not count.
Raises what ack raises.
Example: SELECT once.nack(receipt, error => ''no such customer'') FROM once.receive(''orders'');';

CREATE FUNCTION once.release(receipt uuid)
RETURNS void
AS 'MODULE_PATHNAME', 'once_release' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.release(uuid) IS
'Gives a message back unused.
It is ready at once, and the attempt does not count.
Takes effect at once, even if the caller''s transaction rolls back.
Raises what ack raises.
Example: SELECT once.release(receipt) FROM once.receive(''orders'');';

CREATE FUNCTION once.release(queue text, ids bigint[])
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_release_ids' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.release(text, bigint[]) IS
'Ends leases whose receipts are lost.
ids: those of the messages. Returns how many leases it has ended: the messages
are ready now, and the attempts stay counted. Ids that are not in the queue or
not leased now are ignored, and so are messages that a transaction has
received.
Acts at once, also when the caller''s transaction rolls back.
Later messages of a group that were leased by the same call are given back as
well, uncounted unless they are asked for.
The old receipts are lost. Reads the whole index.
Only for the owner of the table.
Example: SELECT once.release(''orders'', ARRAY[17, 18]);';

CREATE FUNCTION once.extend(receipt uuid, lease interval)
RETURNS timestamptz
AS 'MODULE_PATHNAME', 'once_extend_lease' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.extend(uuid, interval) IS
'Makes a lease end later, and returns when.
lease: how long from now. Works also after the lease has run out, as long as
nobody else has got the message.
Takes effect at once.
Raises what ack raises.
Example: SELECT once.extend(receipt, ''10 min'') FROM once.lease(''orders'');';

CREATE FUNCTION once.cancel(queue text, id bigint)
RETURNS boolean
AS 'MODULE_PATHNAME', 'once_cancel' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.cancel(text, bigint) IS
'Deletes a message that nobody has claimed.
It may be ready or delayed, or one that the caller''s transaction itself has
sent or updated. The deletion is part of the transaction. Returns false if the
message is claimed or gone.
Never waits. Raises an error if a constraint, trigger or rule keeps the row.
Requires a queue made with id_index, and SELECT and DELETE on the table.
Example: SELECT once.cancel(''invoices'', 17);';

