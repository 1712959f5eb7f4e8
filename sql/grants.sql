-- grant_queue and revoke_queue: rights by what they are for, by GRANT and REVOKE.
CREATE ROLE regress_once_owner;
CREATE ROLE regress_once_producer;
CREATE ROLE regress_once_consumer;
CREATE ROLE regress_once_observer;
CREATE ROLE regress_once_helper;
CREATE ROLE regress_once_stranger;
CREATE ROLE "regress once ""Odd""";
GRANT EXECUTE ON FUNCTION once.create_queue TO regress_once_owner;
CREATE VIEW grants AS
SELECT c.relname, CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END AS grantee,
       string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ', ' ORDER BY a.privilege_type) AS privileges
  FROM pg_class c, aclexplode(c.relacl) a
 WHERE c.relnamespace = 'once'::regnamespace AND c.relname ~ '^[qa]_' AND a.grantee <> c.relowner
 GROUP BY 1, 2 ORDER BY 1, 2;
GRANT SELECT ON grants TO PUBLIC;

SET ROLE regress_once_owner;
SELECT once.create_queue('g', id_index => true, retry_delay => '0', retry_delay_max => '0');
SELECT once.grant_queue('g', 'regress_once_producer', 'produce');
SELECT once.grant_queue('g', 'regress_once_consumer', 'consume');
SELECT once.grant_queue('g', 'regress_once_observer', 'observe');
SELECT * FROM grants;

-- produce is for sending, and nothing else.
SET ROLE regress_once_producer;
SELECT once.send('g', '1');
SELECT * FROM once.send_batch('g', ARRAY['2', '3', '4', '5']::jsonb[]);
SELECT * FROM once.receive('g');
\echo :SQLSTATE
SELECT * FROM once.peek('g');
SELECT once.redrive('g');

-- consume is for all that consuming takes.
SET ROLE regress_once_consumer;
SELECT payload FROM once.peek('g', 1);
SELECT payload, once.ack(receipt) FROM once.receive('g');
SELECT payload FROM once.pop('g');
SELECT receipt AS r FROM once.lease('g') \gset
SELECT once.extend(:'r', '1 h') > now() AS extended;
SELECT once.nack(:'r', error => 'no');
SELECT receipt AS r FROM once.lease('g') \gset
SELECT once.release(:'r');
SELECT once.cancel('g', 4);
SELECT id, error FROM once.failures;
SELECT once.send('g', '6');
\echo :SQLSTATE
SELECT once.purge('g');

-- observe is for looking.
SET ROLE regress_once_observer;
SELECT payload FROM once.peek('g');
SELECT count(*) FROM once.check('g');
SELECT count(*) > 0 AS some FROM once.slots('g');
SELECT count(*) > 0 AS some FROM once.pages('g');
SELECT id, error FROM once.failures;
SELECT * FROM once.pop('g');
\echo :SQLSTATE

-- Who may grant: neither those who have the rights, nor others; the error names the queue.
SELECT once.grant_queue('g', 'regress_once_stranger', 'observe');
\echo :SQLSTATE
SELECT once.revoke_queue('g', 'regress_once_producer', 'produce');
SET ROLE regress_once_stranger;
BEGIN;
SELECT once.grant_queue('g', 'regress_once_stranger', 'consume');
\echo :SQLSTATE
ROLLBACK;
SELECT once.revoke_queue('g', 'regress_once_consumer', 'consume');
-- Before any lock is taken.
BEGIN;
SAVEPOINT a;
SELECT once.grant_queue('g', 'regress_once_stranger', 'produce');
ROLLBACK TO a;
SELECT count(*) FROM pg_locks WHERE relation = 'once.q_g'::regclass AND pid = pg_backend_pid();
COMMIT;

-- With the grant option one may hand on what one has it for, all of it or nothing.
SET ROLE regress_once_owner;
GRANT SELECT ON once.q_g TO regress_once_helper WITH GRANT OPTION;
SET ROLE regress_once_helper;
SELECT once.grant_queue('g', 'regress_once_stranger', 'observe');
SELECT once.grant_queue('g', 'regress_once_stranger', 'consume');
SELECT once.grant_queue('g', 'regress_once_stranger', 'produce');
SELECT * FROM grants WHERE grantee = 'regress_once_stranger';
-- One takes back what one has given, not what others have.
SELECT once.revoke_queue('g', 'regress_once_observer', 'observe');
SELECT * FROM grants WHERE grantee = 'regress_once_observer';
SELECT once.revoke_queue('g', 'regress_once_stranger', 'observe');
SELECT * FROM grants WHERE grantee = 'regress_once_stranger';
-- The options may have come by different ways.
RESET ROLE;
GRANT regress_once_observer TO regress_once_helper;
SET ROLE regress_once_owner;
GRANT DELETE ON once.q_g TO regress_once_observer WITH GRANT OPTION;
SET ROLE regress_once_helper;
SELECT once.grant_queue('g', 'regress_once_stranger', 'consume');
SELECT * FROM grants WHERE grantee = 'regress_once_stranger';
SELECT once.revoke_queue('g', 'regress_once_stranger', 'consume');
SELECT * FROM grants WHERE grantee = 'regress_once_stranger';

-- revoke_queue takes away what grant_queue with the same arguments gave.
SET ROLE regress_once_owner;
REVOKE SELECT ON once.q_g FROM regress_once_helper;
REVOKE DELETE ON once.q_g FROM regress_once_observer;
SELECT once.revoke_queue('g', 'regress_once_producer', 'produce');
SELECT once.revoke_queue('g', 'regress_once_consumer', 'consume');
SELECT once.revoke_queue('g', 'regress_once_observer', 'observe');
SELECT * FROM grants;
SET ROLE regress_once_producer;
SELECT once.send('g', '1');
SET ROLE regress_once_consumer;
SELECT * FROM once.receive('g');
SET ROLE regress_once_observer;
SELECT * FROM once.peek('g');
-- Again: nothing happens, as in REVOKE.
SET ROLE regress_once_owner;
SELECT once.revoke_queue('g', 'regress_once_observer', 'observe');

-- The archive belongs to what an observer sees, if there is one.
SELECT once.alter_queue('g', archive => '1 day');
SELECT once.grant_queue('g', 'regress_once_observer', 'observe');
SELECT once.grant_queue('g', 'regress_once_consumer', 'consume');
SELECT * FROM grants;
SET ROLE regress_once_consumer;
SELECT count(*) FROM once.pop('g');
SET ROLE regress_once_observer;
SELECT count(*) FROM once.a_g;
SET ROLE regress_once_owner;
GRANT SELECT ON once.q_g TO regress_once_helper WITH GRANT OPTION;
SET ROLE regress_once_helper;
SELECT once.grant_queue('g', 'regress_once_stranger', 'observe');
\echo :SQLSTATE
SELECT * FROM grants WHERE grantee = 'regress_once_stranger';
SET ROLE regress_once_owner;
SELECT once.revoke_queue('g', 'regress_once_observer', 'observe');
SELECT once.revoke_queue('g', 'regress_once_consumer', 'consume');
SELECT * FROM grants;
REVOKE SELECT ON once.q_g FROM regress_once_helper;

-- A rolled back grant was none.
BEGIN;
SELECT once.grant_queue('g', 'regress_once_observer', 'observe');
ROLLBACK;
SELECT * FROM grants;

-- public is everybody, in these letters; other roles are taken by their names.
SELECT once.grant_queue('g', 'public', 'produce');
SELECT once.grant_queue('g', 'regress once "Odd"', 'observe');
SELECT * FROM grants;
SET ROLE regress_once_stranger;
SELECT once.send('g', '7') IS NOT NULL AS sent;
SET ROLE "regress once ""Odd""";
SELECT count(*) FROM once.peek('g');
SET ROLE regress_once_owner;
SET quote_all_identifiers = on;
SELECT once.revoke_queue('g', 'public', 'produce');
RESET quote_all_identifiers;
SELECT * FROM grants;
SELECT once.grant_queue('g', 'Public', 'produce');
\echo :SQLSTATE
SELECT once.grant_queue('g', '"public"', 'produce');
SELECT once.grant_queue('g', 'REGRESS_ONCE_PRODUCER', 'produce');
SELECT once.grant_queue('g', 'current_user', 'produce');
SELECT once.grant_queue('g', 'none', 'produce');
SELECT once.grant_queue('g', '', 'produce');
SELECT once.grant_queue('g', 'regress_once_producer, regress_once_consumer', 'produce');
-- A name that is too long is not cut off to that of another role.
RESET ROLE;
SELECT rpad('regress_once_long_', 63, 'x') AS long \gset
CREATE ROLE :long;
SELECT once.grant_queue('g', :'long' || 'x', 'produce');
SELECT once.grant_queue('g', :'long', 'produce');
SELECT once.revoke_queue('g', :'long', 'produce');
DROP ROLE :long;
SET ROLE regress_once_owner;

-- Bad arguments.
SELECT once.grant_queue('g', 'regress_once_producer', 'send');
\echo :SQLSTATE
SELECT once.revoke_queue('g', 'regress_once_producer', 'Produce');
SELECT once.grant_queue('g', 'regress_once_producer', NULL);
\echo :SQLSTATE
SELECT once.grant_queue('g', NULL, 'produce');
SELECT once.grant_queue(NULL, 'regress_once_producer', 'produce');
SELECT once.grant_queue('nothing', 'regress_once_producer', 'produce');
\echo :SQLSTATE
SELECT once.revoke_queue('a b', 'regress_once_producer', 'produce');
BEGIN READ ONLY;
SELECT once.grant_queue('g', 'regress_once_producer', 'produce');
\echo :SQLSTATE
ROLLBACK;

-- Names that must be quoted, and a search_path that leads astray.
SELECT once.create_queue('Mixed-Case', archive => '1 day');
CREATE TEMP TABLE "q_Mixed-Case" ();
SET search_path = pg_temp;
SELECT once.grant_queue('Mixed-Case', 'regress_once_observer', 'observe');
SELECT once.grant_queue('Mixed-Case', 'regress_once_producer', 'produce');
RESET search_path;
SELECT * FROM grants;
SELECT once.drop_queue('Mixed-Case');
SELECT once.drop_queue('g');

RESET ROLE;
DROP VIEW grants;
DROP TABLE pg_temp."q_Mixed-Case";
REVOKE EXECUTE ON FUNCTION once.create_queue FROM regress_once_owner;
DROP ROLE regress_once_owner, regress_once_producer, regress_once_consumer, regress_once_observer, regress_once_helper, regress_once_stranger, "regress once ""Odd""";

-- An archive of the name that is somebody else's is not in the way of who owns the queue.
CREATE ROLE regress_once_before;
CREATE ROLE regress_once_after;
CREATE ROLE regress_once_observer;
GRANT EXECUTE ON FUNCTION once.create_queue TO regress_once_before, regress_once_after;
SET SESSION AUTHORIZATION regress_once_before;
SELECT once.create_queue('left', archive => '1 h');
RESET SESSION AUTHORIZATION;
ALTER TABLE once.q_left OWNER TO regress_once_after;
SET SESSION AUTHORIZATION regress_once_after;
SELECT once.grant_queue('left', 'regress_once_observer', 'observe');
RESET SESSION AUTHORIZATION;
SELECT has_table_privilege('regress_once_observer', 'once.q_left', 'SELECT') AS queue,
       has_table_privilege('regress_once_observer', 'once.a_left', 'SELECT') AS archive;
DROP OWNED BY regress_once_before, regress_once_after, regress_once_observer;
DROP ROLE regress_once_before, regress_once_after, regress_once_observer;
