-- Ledgers: ids that have been processed.

-- Options of the ledgers, like once.queue.
CREATE TABLE once.ledger (
    ledger     text COLLATE "C" NOT NULL PRIMARY KEY,
    retention  interval NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE once.ledger IS
'Options of the ledgers.
Read them through once.list_ledgers(), and change them with
once.alter_ledger().';
SELECT pg_catalog.pg_extension_config_dump('once.ledger', '');

CREATE FUNCTION once.create_ledger(
    ledger text,
    retention interval,
    unlogged boolean DEFAULT false,
    if_not_exists boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'once_create_ledger' LANGUAGE C VOLATILE PARALLEL UNSAFE
SUPPORT once.execute_support;
COMMENT ON FUNCTION once.create_ledger(text, interval, boolean, boolean) IS
'Creates a ledger of processed ids.
That is the tables once."l_<ledger>_0" and "l_<ledger>_1", owned by the
caller.
ledger: a name, as for queues.
retention: more than 0, at most 36500 days. An id is remembered for at least
that long after the transaction that marked it has committed, and up to two
and a quarter times as long in a ledger that is in use.
unlogged: faster, but forgets everything in a crash.
if_not_exists: a notice instead of an error if the ledger exists. If its
tables exist without a retention, as after a restore of the structure only,
they become a ledger again with the retention given; this is only for their
owner.
EXECUTE is not granted to PUBLIC.
Example: SELECT once.create_ledger(''webhooks'', retention => ''7 days'');';

CREATE FUNCTION once.alter_ledger(ledger text, retention interval)
RETURNS void
AS 'MODULE_PATHNAME', 'once_alter_ledger' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.alter_ledger(text, interval) IS
'Changes how long a ledger remembers ids.
retention: as in create_ledger. Applies also to the ids that the ledger has
already.
Only for the owner of the tables.
Example: SELECT once.alter_ledger(''webhooks'', retention => ''14 days'');';

CREATE FUNCTION once.drop_ledger(ledger text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_drop_ledger' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.drop_ledger(text) IS
'Drops a ledger with all that it remembers.
Waits for transactions that use it.
Only for the owner of the tables.
Example: SELECT once.drop_ledger(''webhooks'');';

CREATE FUNCTION once.grant_ledger(ledger text, role text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_grant_ledger' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.grant_ledger(text, text) IS
'Lets a role use a ledger.
Grants SELECT, INSERT, UPDATE and DELETE on its tables.
role: ''public'' means everybody.
Only for the owner of the tables and those who may grant these rights.
Example: SELECT once.grant_ledger(''webhooks'', ''shop'');';

CREATE FUNCTION once.revoke_ledger(ledger text, role text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_revoke_ledger' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.revoke_ledger(text, text) IS
'Takes back what grant_ledger has granted.
Only for those who may call grant_ledger.
Example: SELECT once.revoke_ledger(''webhooks'', ''shop'');';

CREATE FUNCTION once.list_ledgers()
RETURNS TABLE (
    ledger text,
    owner name,
    unlogged boolean,
    retention interval,
    created_at timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT l.ledger,
           pg_catalog.pg_get_userbyid(c.relowner),
           c.relpersistence OPERATOR(pg_catalog.=) 'u',
           l.retention, l.created_at
      FROM once.ledger l
      JOIN pg_catalog.pg_class c
        ON c.relname OPERATOR(pg_catalog.=) ('l_' OPERATOR(pg_catalog.||) l.ledger OPERATOR(pg_catalog.||) '_0')
      JOIN pg_catalog.pg_namespace n
        ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
       AND n.nspname OPERATOR(pg_catalog.=) 'once'
     ORDER BY l.ledger;
END;
COMMENT ON FUNCTION once.list_ledgers() IS
'Lists the ledgers of the database with their options.
Example: SELECT * FROM once.list_ledgers();';

-- The cost is high so that the planner evaluates these last of several conditions in
-- a WHERE.
CREATE FUNCTION once.mark_processed(ledger text, id text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'once_mark_processed' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION once.mark_processed(text, text) IS
'Marks an id as processed; true if it is new.
The mark is part of the caller''s transaction. Returns false if it was marked
before, by this transaction or by one that has committed.
Waits for an open transaction that has marked it. Under REPEATABLE READ and
SERIALIZABLE, too, an id is not new if it was marked after the snapshot was
taken.
id: 1 to 1000 bytes.
Requires SELECT and INSERT on the ledger''s tables (once.grant_ledger).
Example: SELECT once.mark_processed(''webhooks'', ''evt_1'');';

CREATE FUNCTION once.mark_processed_all(ledger text, ids text[])
RETURNS SETOF text
AS 'MODULE_PATHNAME', 'once_mark_processed_all' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION once.mark_processed_all(text, text[]) IS
'Marks many ids, and returns those that are new.
That costs far less than one by one. The ids are returned in the order given,
and each once. NULL in place of the array, which array_agg makes of no rows,
means none. All are marked before the first is returned. Two calls with the
same ids in different orders do not deadlock.
Otherwise like mark_processed.
Example: SELECT * FROM once.mark_processed_all(''webhooks'', ARRAY[''evt_1'', ''evt_2'']);';

CREATE FUNCTION once.is_processed(ledger text, id text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'once_is_processed' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION once.is_processed(text, text) IS
'Tells whether an id is marked as processed.
It may be marked by this transaction or by one that has committed, as of now,
whatever the snapshot.
Never waits for a transaction that is marking the id. So the answer may be out
of date at once: to process an id, call mark_processed.
Works on standbys.
Requires SELECT on the ledger''s tables.
Example: SELECT once.is_processed(''webhooks'', ''evt_1'');';

CREATE FUNCTION once.get_result(ledger text, id text)
RETURNS TABLE (processed_at timestamptz, result jsonb)
AS 'MODULE_PATHNAME', 'once_get_result' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION once.get_result(text, text) IS
'Returns what is stored for an id, and marks nothing.
Searches for the id like is_processed. Returns one row if the id is marked:
when that was, and what was given to set_result, or NULL. Otherwise returns no
row.
Works on standbys.
Requires SELECT on the ledger''s tables.
Example: SELECT * FROM once.get_result(''webhooks'', ''evt_1'');';

CREATE FUNCTION once.forget_processed(ledger text, id text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'once_forget_processed' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION once.forget_processed(text, text) IS
'Makes an id new again.
It does that in the caller''s transaction. Returns false if it was not marked.
Waits for an open transaction that has marked or forgotten it.
Requires SELECT and DELETE on the ledger''s tables.
Example: SELECT once.forget_processed(''webhooks'', ''evt_2'');';

CREATE FUNCTION once.process(ledger text, id text)
RETURNS TABLE (first_time boolean, result jsonb)
AS 'MODULE_PATHNAME', 'once_process' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION once.process(text, text) IS
'Marks an id, or returns the result of the first time.
Marks like mark_processed, and returns one row. If the id is new, first_time
is true and result is NULL. Otherwise first_time is false, and result is what
the transaction that marked the id gave to set_result.
Waits for that transaction while it is open.
Example: SELECT * FROM once.process(''webhooks'', ''evt_3'');';

CREATE FUNCTION once.set_result(ledger text, id text, result jsonb)
RETURNS void
AS 'MODULE_PATHNAME', 'once_set_result' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.set_result(text, text, jsonb) IS
'Stores the result of an id, for process to return.
Later callers of process with the same id get it. Must be called in the
transaction that has marked the id; otherwise it raises once_not_processed.
Requires SELECT and UPDATE on the ledger''s tables.
Example: SELECT once.set_result(''webhooks'', ''evt_4'', ''{"status": 201}'') FROM once.process(''webhooks'', ''evt_4'') WHERE first_time;';
