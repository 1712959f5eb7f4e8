-- Ledgers: ids that have been processed.

-- Options of the ledgers, like once.queue.
CREATE TABLE once.ledger (
    ledger     text COLLATE "C" NOT NULL PRIMARY KEY,
    retention  interval NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE once.ledger IS 'options of the ledgers; read it through once.list_ledgers()';
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
'Creates a ledger of processed ids: the tables once."l_<ledger>_0" and "l_<ledger>_1", owned by the caller. Names: as for queues. retention: more than 0, at most 36500 days; an id is remembered at least that long after the transaction that marked it has committed, and up to two and a quarter times as long on a ledger in use. unlogged: faster, but forgets everything in a crash. if_not_exists: a notice instead of an error; tables that are there without a retention, as where only the structure of a database was restored, become a ledger again with the one given, for their owner. EXECUTE is not granted to PUBLIC.';

CREATE FUNCTION once.alter_ledger(ledger text, retention interval)
RETURNS void
AS 'MODULE_PATHNAME', 'once_alter_ledger' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.alter_ledger(text, interval) IS
'Changes how long a ledger remembers ids, as create_ledger takes it, also those that it has already. For the owner of the tables.';

CREATE FUNCTION once.drop_ledger(ledger text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_drop_ledger' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.drop_ledger(text) IS
'Drops a ledger with all that it remembers. Waits for transactions that use it. For the owner of the tables.';

CREATE FUNCTION once.grant_ledger(ledger text, role text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_grant_ledger' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.grant_ledger(text, text) IS
'Lets a role use a ledger: grants SELECT, INSERT, UPDATE and DELETE on its tables. role: the name of a role, or public for everybody. For the owner of the tables, and who may grant these rights.';

CREATE FUNCTION once.revoke_ledger(ledger text, role text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_revoke_ledger' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.revoke_ledger(text, text) IS
'Takes back what grant_ledger has granted. For who may call grant_ledger.';

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
COMMENT ON FUNCTION once.list_ledgers() IS 'All ledgers of the database with their options.';

-- Dear, so that of several conditions in a WHERE the planner takes these last.
CREATE FUNCTION once.mark_processed(ledger text, id text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'once_mark_processed' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION once.mark_processed(text, text) IS
'Marks an id as processed, in the caller''s transaction: true if it is new, false if it has been marked before, by a transaction that has committed or by this one. Waits for an open transaction that has marked it. Also under REPEATABLE READ and SERIALIZABLE an id that was marked after the snapshot was taken is not new. id: 1 to 1000 bytes. Wants SELECT and INSERT on the ledger''s tables (once.grant_ledger).';

CREATE FUNCTION once.mark_processed_all(ledger text, ids text[])
RETURNS SETOF text
AS 'MODULE_PATHNAME', 'once_mark_processed_all' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION once.mark_processed_all(text, text[]) IS
'Marks many ids, far cheaper than one by one, and returns those that are new, in the order given, each once. All are marked before the first is returned. Two calls with the same ids in another order do not deadlock. Everything else as for mark_processed.';

CREATE FUNCTION once.is_processed(ledger text, id text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'once_is_processed' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION once.is_processed(text, text) IS
'Tells whether an id is marked as processed, by a transaction that has committed or by this one, as of now, whatever the snapshot. Never waits for who is marking it, and promises nothing: who wants to process the id calls mark_processed. Works on standbys. Wants SELECT on the ledger''s tables.';

CREATE FUNCTION once.get_result(ledger text, id text)
RETURNS TABLE (processed_at timestamptz, result jsonb)
AS 'MODULE_PATHNAME', 'once_get_result' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION once.get_result(text, text) IS
'Looks for an id like is_processed, and marks nothing. One row if it is marked: when that was, and what was given to set_result, or NULL; else none. Works on standbys. Wants SELECT on the ledger''s tables.';

CREATE FUNCTION once.forget_processed(ledger text, id text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'once_forget_processed' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION once.forget_processed(text, text) IS
'Makes an id new again, in the caller''s transaction. False: it was not marked. Waits for an open transaction that has marked or forgotten it. Wants SELECT and DELETE on the ledger''s tables.';

CREATE FUNCTION once.process(ledger text, id text)
RETURNS TABLE (first_time boolean, result jsonb)
AS 'MODULE_PATHNAME', 'once_process' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION once.process(text, text) IS
'Marks an id like mark_processed, and returns one row: first_time is true if it is new, and then result is NULL; else result is what the transaction that marked it gave to set_result. Waits for that transaction while it is open.';

CREATE FUNCTION once.set_result(ledger text, id text, result jsonb)
RETURNS void
AS 'MODULE_PATHNAME', 'once_set_result' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.set_result(text, text, jsonb) IS
'Stores what process returns to who comes later with the same id. In the transaction that has marked it, else once_not_processed. Wants SELECT and UPDATE on the ledger''s tables.';
