-- Which tables take rows, and lose them, without the executor.  What the executor does is a command with a number of its own.  So if a
-- statement sends or acks two messages without it, their rows have the same command number.
CREATE PROCEDURE paths(what text, ddl text) LANGUAGE plpgsql AS $$
DECLARE
  rows refcursor;
  row record;
  sends int;
  commands text[];
BEGIN
  PERFORM once.create_queue('fast', id_index => true);
  PERFORM count(*) FROM once.send_batch('fast', array_fill('1'::jsonb, ARRAY[4]));
  EXECUTE ddl;
  COMMIT;
  BEGIN
    PERFORM count(once.send('fast', '2')) FROM generate_series(1, 2);
    EXECUTE 'SELECT count(DISTINCT cmin::text) FROM once.q_fast WHERE payload = ''2''' INTO sends;
  EXCEPTION WHEN SQLSTATE 'ON009' THEN
    sends := 0;
  END;
  ROLLBACK;
  -- A cursor that was opened before still sees the rows.
  OPEN rows FOR EXECUTE 'SELECT cmax::text AS command FROM once.q_fast ORDER BY id';
  PERFORM count(once.ack(receipt)) FROM once.receive('fast', 2);
  PERFORM count(*) FROM once.pop('fast', 2);
  FOR i IN 1..4 LOOP
    FETCH rows INTO row;
    commands := commands || row.command;
  END LOOP;
  CLOSE rows;
  RAISE NOTICE '%: send %, ack %, pop %', what, (ARRAY['impossible', 'fast', 'by the executor'])[sends + 1],
    CASE WHEN commands[1] = commands[2] THEN 'fast' ELSE 'by the executor' END,
    CASE WHEN commands[3] = commands[4] THEN 'fast' ELSE 'by the executor' END;
  ROLLBACK;
  EXECUTE 'DROP TABLE once.q_fast CASCADE';
  PERFORM once.drop_queue('fast');
END $$;
CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN coalesce(NEW, OLD); END';
CREATE TABLE other (id int PRIMARY KEY);
CREATE TABLE child (id bigint);

CALL paths('as made', 'SELECT 1');
-- What is only about new rows
CALL paths('added column', 'ALTER TABLE once.q_fast ADD note text');
CALL paths('column dropped again', 'ALTER TABLE once.q_fast ADD note text; ALTER TABLE once.q_fast DROP note');
CALL paths('generated column', 'ALTER TABLE once.q_fast ADD size int GENERATED ALWAYS AS (octet_length(payload::text)) STORED');
CALL paths('check', 'ALTER TABLE once.q_fast ADD CHECK (priority > 0)');
CALL paths('default', 'ALTER TABLE once.q_fast ALTER enqueued_at SET DEFAULT now()');
CALL paths('another index', 'CREATE INDEX ON once.q_fast (enqueued_at)');
CALL paths('foreign key to another table', 'ALTER TABLE once.q_fast ADD other int REFERENCES other');
CALL paths('trigger for INSERT', 'CREATE TRIGGER t BEFORE INSERT ON once.q_fast FOR EACH ROW EXECUTE FUNCTION pass()');
CALL paths('statement trigger for INSERT', 'CREATE TRIGGER t AFTER INSERT ON once.q_fast EXECUTE FUNCTION pass()');
CALL paths('rule for INSERT', 'CREATE RULE r AS ON INSERT TO once.q_fast DO ALSO NOTIFY fast');
CALL paths('no identity, as in a shard', 'ALTER TABLE once.q_fast ALTER id DROP IDENTITY');
-- What is about rows that go
CALL paths('trigger after DELETE', 'CREATE TRIGGER t AFTER DELETE ON once.q_fast FOR EACH ROW EXECUTE FUNCTION pass()');
CALL paths('trigger before DELETE', 'CREATE TRIGGER t BEFORE DELETE ON once.q_fast FOR EACH ROW EXECUTE FUNCTION pass()');
CALL paths('statement trigger for DELETE', 'CREATE TRIGGER t BEFORE DELETE ON once.q_fast EXECUTE FUNCTION pass()');
CALL paths('trigger for TRUNCATE', 'CREATE TRIGGER t BEFORE TRUNCATE ON once.q_fast EXECUTE FUNCTION pass()');
CALL paths('rule for DELETE', 'CREATE RULE r AS ON DELETE TO once.q_fast DO ALSO NOTIFY fast');
CALL paths('foreign key to the queue', 'ALTER TABLE child ADD FOREIGN KEY (id) REFERENCES once.q_fast');
-- The executor's DELETE names the id.  Since PostgreSQL 18, old rows may have none although new ones must.
CALL paths('id may be null', 'ALTER TABLE once.q_fast DROP CONSTRAINT q_fast_pkey, ALTER id DROP IDENTITY, ALTER id DROP NOT NULL');
CALL paths('id may have been null', 'ALTER TABLE once.q_fast DROP CONSTRAINT q_fast_pkey, ALTER id DROP IDENTITY, ALTER id DROP NOT NULL;
  DO $do$ BEGIN
    IF current_setting(''server_version_num'')::int >= 180000 THEN
      EXECUTE ''ALTER TABLE once.q_fast ADD NOT NULL id NOT VALID'';
    END IF;
  END $do$');
-- What is about neither, or about both
CALL paths('trigger for UPDATE', 'CREATE TRIGGER t BEFORE UPDATE ON once.q_fast FOR EACH ROW EXECUTE FUNCTION pass()');
CALL paths('row security', 'ALTER TABLE once.q_fast ENABLE ROW LEVEL SECURITY');

-- A purge empties the table as a whole, unless a trigger is to see the rows go.
SELECT once.create_queue('purged');
ALTER TABLE once.q_purged ADD note text;
SELECT count(once.send('purged', '1')) FROM generate_series(1, 3);
SELECT pg_relation_filenode('once.q_purged') AS file \gset
SELECT once.purge('purged');
SELECT pg_relation_filenode('once.q_purged') <> :file AS truncated;
SELECT pg_relation_filenode('once.q_purged') AS file \gset
CREATE TRIGGER t BEFORE TRUNCATE ON once.q_purged EXECUTE FUNCTION pass();
SELECT count(once.send('purged', '1')) FROM generate_series(1, 3);
SELECT once.purge('purged');
SELECT pg_relation_filenode('once.q_purged') <> :file AS truncated;
-- Nor while a trigger has yet to fire, here the check of a deferred key.
DROP TRIGGER t ON once.q_purged;
CREATE TABLE tenant (id int PRIMARY KEY);
ALTER TABLE once.q_purged ADD tenant int REFERENCES tenant DEFERRABLE INITIALLY DEFERRED;
BEGIN;
INSERT INTO once.q_purged (payload, tenant) VALUES ('1', 7), ('2', 7);
SELECT once.purge('purged');
COMMIT;
SELECT pg_relation_filenode('once.q_purged') <> :file AS truncated;

SELECT once.drop_queue('purged');
DROP TABLE child, other, tenant;
DROP PROCEDURE paths;
DROP FUNCTION pass;
