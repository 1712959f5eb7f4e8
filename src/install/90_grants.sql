-- Whoever creates the extension may have set default privileges.  These are meant
-- for that user's own tables and functions, and not for what holds everybody's
-- messages.  So what they have granted here is revoked first.
DO LANGUAGE plpgsql $$
DECLARE
    g record;
BEGIN
    FOR g IN
        SELECT o.what, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END AS role
          FROM (SELECT 'SCHEMA once' AS what, n.nspacl AS acl, n.nspowner AS owner
                  FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) 'once'
                 UNION ALL
                SELECT 'TABLE ' OPERATOR(pg_catalog.||) c.oid::pg_catalog.regclass::pg_catalog.text, c.relacl, c.relowner
                  FROM pg_catalog.pg_class c
                 WHERE c.relnamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,v}')
                 UNION ALL
                SELECT 'ROUTINE ' OPERATOR(pg_catalog.||) p.oid::pg_catalog.regprocedure::pg_catalog.text, p.proacl, p.proowner
                  FROM pg_catalog.pg_proc p
                 WHERE p.pronamespace OPERATOR(pg_catalog.=) 'once'::pg_catalog.regnamespace
                 UNION ALL
                SELECT 'TYPE once.message', t.typacl, t.typowner
                  FROM pg_catalog.pg_type t WHERE t.oid OPERATOR(pg_catalog.=) 'once.message'::pg_catalog.regtype) AS o,
               pg_catalog.aclexplode(o.acl) AS a
         WHERE a.grantee OPERATOR(pg_catalog.<>) o.owner
         GROUP BY 1, 2
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON %s FROM %s', g.what, g.role);
    END LOOP;
END $$;
GRANT USAGE ON SCHEMA once TO PUBLIC;
GRANT USAGE ON TYPE once.message TO PUBLIC;

-- Options and names are not secret, and pg_dump reads these tables, perhaps as
-- another role than the extension's owner.
GRANT SELECT ON TABLE once.queue, once.ledger, once.worker, once.workers, once.schedules, once.dead_letters, once.failures,
    once.dead_letter_dump, once.failure_dump, once.schedule_dump, once.stat_queues, once.top, once.consumers, once.progress,
    once.stat_latency, once.stat_latency_buckets TO PUBLIC;

-- Every verb checks the caller's rights on the queue's own table, so everybody may
-- execute it.  Only the functions that create tables, or have the server work by
-- itself, must be granted one by one.
REVOKE ALL ON ALL ROUTINES IN SCHEMA once FROM PUBLIC;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA once TO PUBLIC;
REVOKE EXECUTE ON FUNCTION once.create_ledger(text, interval, boolean, boolean) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION once.create_queue(text, boolean, boolean, boolean, integer, interval, interval, interval, interval, interval, text, interval) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION once.execute_support(internal) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION once.once_queue_handler(internal) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION once.restore_row() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION once.create_schedule(text, text, text, interval, jsonb, jsonb, text, text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION once.create_worker(text, text, regprocedure, integer, integer) FROM PUBLIC;
