-- Options of the queues.  The table of a queue is found by name, so that a dump
-- restores both whatever their oids.  table_id says for which table the row was
-- written, and in which database.  So a table that was renamed or moved is not
-- mistaken for another.  In a row that comes from elsewhere it means nothing.
--
-- A queue without a row here has the defaults; create_queue with if_not_exists
-- writes a row for it.  A row without a table is left over from a plain DROP TABLE;
-- create_queue overwrites it if nothing else of the queue is left.
--
-- Rows are written by create_queue, alter_queue, pause, resume and drop_queue, which
-- tell running sessions.  A plain UPDATE does not tell them.
CREATE TABLE once.queue (
    queue           text COLLATE "C" NOT NULL PRIMARY KEY,
    max_attempts    integer NOT NULL DEFAULT 10,
    retry_delay     interval NOT NULL DEFAULT '1 s',
    retry_delay_max interval NOT NULL DEFAULT '1 h',
    dedup_window    interval NOT NULL DEFAULT '5 min',
    archive         interval,
    ttl             interval,
    ttl_action      text COLLATE "C" NOT NULL DEFAULT 'dead_letter',
    retention       interval,
    send_paused     boolean NOT NULL DEFAULT false,
    consume_paused  boolean NOT NULL DEFAULT false,
    created_at      timestamptz NOT NULL DEFAULT pg_catalog.now(),
    table_id        text COLLATE "C"
);
COMMENT ON TABLE once.queue IS
'Options of the queues.
Read them through once.list_queues(), and change them with once.alter_queue().';
SELECT pg_catalog.pg_extension_config_dump('once.queue', '');

