-- Queues: making and changing them.

-- Of the functions that PUBLIC may not execute: it tells who to ask.
CREATE FUNCTION once.execute_support(internal) RETURNS internal
AS 'MODULE_PATHNAME', 'once_execute_support' LANGUAGE C STRICT;
COMMENT ON FUNCTION once.execute_support(internal) IS 'planner support of create_queue and create_ledger';

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
'Creates a queue: the table once."q_<queue>", owned by the caller, with its queue index. Names: a letter or underscore, then letters, digits, underscores and hyphens, at most 47 bytes; capitals count. unlogged: faster, but empty after a crash. id_index: a primary key on id, which cancel and logical replication want. if_not_exists: a notice instead of an error; a queue whose table is there without options, as where only the structure of a database was restored, gets those given, and what else is missing of it is made, for the owner of the table. max_attempts: 1 to 1000 deliveries, then the message goes to once.dead_letters. retry_delay, retry_delay_max: 0 to 365 days; after a failed delivery a message waits about retry_delay (between 0.8 of it and all of it), and twice as long after each further one, up to retry_delay_max. dedup_window: more than 0, at most 36500 days; a message with the dedup_id of one sent within that time, from its commit, is not sent; ids are remembered at least that long, and up to two and a quarter times as long on a queue in use. archive: 1 minute to 36500 days; acked messages are kept in once."a_<queue>" for that long; NULL for not at all. ttl: more than 0, at most 36500 days; a message not delivered within that time from when it first could be has expired; NULL for never. ttl_action: expired messages go to once.dead_letters (dead_letter) or are deleted (drop). retention: more than 0, at most 36500 days; maintain deletes dead letters older than that; NULL for never. EXECUTE is not granted to PUBLIC.';

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
'Changes options of a queue, as create_queue takes them; NULL leaves one as it is. reset: names of options that go back to what create_queue assumes, so archive, ttl and retention are off. Running sessions follow as soon as it is committed. For the owner of the table.';

CREATE FUNCTION once.grant_queue(queue text, role text, what text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_grant_queue' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.grant_queue(text, text, text) IS
'Lets a role use a queue. what: ''produce'' for send, send_dedup and send_batch (INSERT on the table); ''consume'' for receive, lease, pop, ack, nack, release, extend, cancel and what observe is for (SELECT and DELETE); ''observe'' for peek, check, slots, pages, and to see dead letters and failures (SELECT, on the archive as well if the queue has one). role: ''public'' for everybody. For the owner of the table, and who has its grant options.';

CREATE FUNCTION once.revoke_queue(queue text, role text, what text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_revoke_queue' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.revoke_queue(text, text, text) IS
'Takes back what grant_queue with the same arguments has granted, by REVOKE: so SELECT is taken by ''consume'' and by ''observe'' alike, whichever of the two has granted it. Only what the caller has granted, or the owner if the caller may act for him. For the owner of the table, and who has its grant options.';

CREATE FUNCTION once.drop_queue(queue text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_drop_queue' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.drop_queue(text) IS
'Drops a queue with all its messages, dead letters, failures, its archive, and the dedup_ids it remembers. Waits for transactions that use it. For the owner of the table.';

-- A queue without a row in once.queue is one, with the options of any.
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
           COALESCE(q.max_attempts, 10),
           COALESCE(q.retry_delay, '1 s'),
           COALESCE(q.retry_delay_max, '1 h'),
           COALESCE(q.dedup_window, '5 min'),
           q.archive, q.ttl,
           COALESCE(q.ttl_action, 'dead_letter'),
           q.retention,
           COALESCE(q.send_paused, false),
           COALESCE(q.consume_paused, false),
           q.created_at
      FROM pg_catalog.pg_class c
     CROSS JOIN LATERAL (SELECT pg_catalog.substr(c.relname::pg_catalog.text, 3) COLLATE "C") AS n (queue)
      LEFT JOIN once.queue q ON q.queue OPERATOR(pg_catalog.=) n.queue
     WHERE c.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
       AND pg_catalog.starts_with(c.relname::pg_catalog.text, 'q_')
       AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}')
     ORDER BY n.queue;
END;
COMMENT ON FUNCTION once.list_queues() IS
'All queues of the database with their options. id_index: whether cancel works. created_at: NULL if there are no options of the queue, as where only the structure of a database was restored; the ones shown are what create_queue assumes, and create_queue with if_not_exists gives it others.';

CREATE FUNCTION once.pause(queue text, what text DEFAULT 'all')
RETURNS void
AS 'MODULE_PATHNAME', 'once_pause' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.pause(text, text) IS
'Stops sending to a queue (''send''), consuming from it (''consume''), or both (''all''). While paused, send and send_batch, or receive, lease and pop, raise once_paused: an error, not an empty result, so that nobody mistakes a paused queue for an empty one. Messages that are out may still be acked, given back and extended; plain SQL is not stopped. For the owner of the table.';

CREATE FUNCTION once.resume(queue text, what text DEFAULT 'all')
RETURNS void
AS 'MODULE_PATHNAME', 'once_resume' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.resume(text, text) IS
'Ends what pause began: ''send'', ''consume'' or ''all''. For the owner of the table.';

CREATE FUNCTION once.purge(queue text)
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_purge' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.purge(text) IS
'Removes the messages of a queue, also delayed and leased ones and those that the calling transaction has sent, and returns how many. Leaves the rows that open transactions hold (of the calling one: what it has received), and, with a warning, those that a constraint, trigger or rule keeps. Receipts from before are refused afterwards; if it is rolled back, they may be, and the messages are there again. Truncates the table when nobody else uses it; otherwise deletes row by row, to the same effect. For the owner of the table.';

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
'Sends a message in the caller''s transaction and returns its id. delay (0 to 36500 days) or deliver_at: not delivered before; only one of the two. priority: 0 to 9, 9 first. group_id: 1 to 1000 bytes; messages of one group are delivered strictly in order, one call''s worth at a time, and have priority 4. dedup_id: 1 to 1000 bytes; if a message with the same one has been sent within the queue''s dedup_window (see create_queue), nothing is sent, and the id of that message is returned, also when it has been consumed; if its transaction is still open, this waits for its end. ttl: more than 0, at most 36500 days; if not delivered within that time from when it first could be, the message has expired. Wants INSERT on the table.';

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
'Sends many messages at once, far cheaper than one by one, and returns their ids in the order of payloads. headers, group_ids, dedup_ids: NULL, or one element for each payload; a NULL in group_ids is no group, and one in dedup_ids a message that repeats none. Two calls with the same dedup_ids in another order do not deadlock. Everything else as for send. Wants INSERT on the table.';

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
'As send, for those who want to know: one row with the message''s id, and whether it is that of a message sent before with the same dedup_id, so that nothing was sent. Wants INSERT on the table.';

-- Consuming.

CREATE FUNCTION once.receive(
    queue text,
    max_messages integer DEFAULT 1,
    wait interval DEFAULT NULL)
RETURNS SETOF once.message
AS 'MODULE_PATHNAME', 'once_receive' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION once.receive(text, integer, interval) IS
'Effectively once, for effects in this database: claims messages until the calling transaction ends, which must ack them or give them back, or its commit fails with once_unacked (setting once.unacked). A rollback, also to a savepoint, gives them back after the retry delay; the attempt counts. max_messages: 1 to 10000. wait: up to 60 s for a message when there is none; a statement of its own then, and READ COMMITTED only; it ends early, perhaps without a message, when dead messages have been moved or when somebody waits for a lock on the queue that the call stands in the way of, and takes nothing for a client that is gone. Wants SELECT and DELETE on the table.';

CREATE FUNCTION once.lease(
    queue text,
    lease interval DEFAULT '30 s',
    max_messages integer DEFAULT 1,
    wait interval DEFAULT NULL)
RETURNS SETOF once.message
AS 'MODULE_PATHNAME', 'once_lease' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION once.lease(text, interval, integer, interval) IS
'At least once: claims messages for a time, whatever the calling transaction does. Who has not acked a message by then has lost it to the next consumer. lease: more than 0, at most 365 days. max_messages, wait: as for receive. Wants SELECT and DELETE on the table.';

CREATE FUNCTION once.pop(
    queue text,
    max_messages integer DEFAULT 1,
    wait interval DEFAULT NULL)
RETURNS SETOF once.message
AS 'MODULE_PATHNAME', 'once_pop' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION once.pop(text, integer, interval) IS
'At most once: takes messages out of the queue, acked as they are returned; there is no receipt. A rollback puts them back. Never waits for rows that others hold; a row that a constraint, trigger or rule keeps is left, stuck, with a warning. max_messages, wait: as for receive. Wants SELECT and DELETE on the table.';

CREATE FUNCTION once.ack(receipt uuid)
RETURNS void
AS 'MODULE_PATHNAME', 'once_ack' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.ack(uuid) IS
'Deletes the message in the caller''s transaction. Raises once_lease_lost when the claim is somebody else''s by now, or when another transaction has updated the message since it was received, and once_already_acked when the message is gone, so that the caller''s effects roll back. Wants SELECT and DELETE on the table.';

CREATE FUNCTION once.ack_all(receipts uuid[])
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_ack_all' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.ack_all(uuid[]) IS
'Acks all of the receipts, or raises what ack raises, and returns how many. The same receipt twice is an error.';

CREATE FUNCTION once.try_ack(receipt uuid)
RETURNS boolean
AS 'MODULE_PATHNAME', 'once_try_ack' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.try_ack(uuid) IS
'Like ack, but returns false where ack raises once_lease_lost or once_already_acked; nothing is deleted then.';

CREATE FUNCTION once.try_ack_all(receipts uuid[])
RETURNS SETOF uuid
AS 'MODULE_PATHNAME', 'once_try_ack_all' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION once.try_ack_all(uuid[]) IS
'Acks those of the receipts that still can be, and returns them in their order, each once.';

CREATE FUNCTION once.nack(receipt uuid, delay interval DEFAULT NULL, error text DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'once_nack' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.nack(uuid, interval, text) IS
'Gives a message back after a failure: it is delivered again after delay (0 to 365 days), by default after the queue''s retry delay for this attempt; the attempt counts. Acts at once, also when the caller''s transaction rolls back. error: kept in once.failures, in the caller''s transaction. Later messages of its group that were claimed by the same call are given back as well, uncounted. Raises what ack raises.';

CREATE FUNCTION once.release(receipt uuid)
RETURNS void
AS 'MODULE_PATHNAME', 'once_release' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.release(uuid) IS
'Gives a message back unused: it is ready now, and the attempt does not count. Acts at once, also when the caller''s transaction rolls back. Raises what ack raises.';

CREATE FUNCTION once.extend(receipt uuid, lease interval)
RETURNS timestamptz
AS 'MODULE_PATHNAME', 'once_extend_lease' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.extend(uuid, interval) IS
'Makes a lease end that much from now, and returns when; also one that has run out, as long as nobody else has got the message. Acts at once. Raises what ack raises.';

CREATE FUNCTION once.cancel(queue text, id bigint)
RETURNS boolean
AS 'MODULE_PATHNAME', 'once_cancel' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.cancel(text, bigint) IS
'Deletes a message that nobody has claimed, ready or delayed, in the caller''s transaction; also one that this has sent or updated itself. It is not archived, and its dedup_id stays remembered. False when it is claimed or gone; never waits. An error if a constraint, trigger or rule keeps its row. Wants a queue made with id_index, and SELECT and DELETE on the table.';

