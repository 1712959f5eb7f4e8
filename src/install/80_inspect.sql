-- Inspection.  It changes nothing, and works on a standby too.

CREATE FUNCTION once.peek(
    queue text,
    max_messages integer DEFAULT 10,
    OUT id bigint,
    OUT attempt integer,
    OUT enqueued_at timestamptz,
    OUT ready_at timestamptz,
    OUT priority smallint,
    OUT group_id text,
    OUT headers jsonb,
    OUT payload jsonb,
    OUT state text,
    OUT error text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_peek' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION once.peek(text, integer) IS
'Shows the first messages of a queue.
It claims nothing. They are in the order of delivery; delayed ones come last.
attempt: deliveries so far.
ready_at: when a delayed message becomes due, or when a lease ends; NULL if
ready.
state: ready; delayed; claimed (also if an open transaction has locked or
deleted the row); blocked (another message of the group comes first); dead
(attempts used up, or expired; the next consumer, or maintain, takes it away);
stuck (it could not be taken away or popped because of error, and this is
tried again at ready_at).
A value that cannot be read is NULL, and error says why.
Requires SELECT on the table.
Example: SELECT id, attempt, state, payload FROM once.peek(''orders'');';

CREATE FUNCTION once.check(
    queue text,
    strict boolean DEFAULT false,
    OUT rule text,
    OUT block bigint,
    OUT slot integer,
    OUT detail text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_check' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION once.check(text, boolean) IS
'Verifies the index of a queue against its table.
Returns one row for each broken rule, so none if all is well.
strict: locks out writers meanwhile, and checks also what others could be
changing.
REINDEX repairs what it finds.
Requires SELECT on the table. strict can keep senders and consumers waiting,
and requires UPDATE, DELETE or TRUNCATE as well.
Example: SELECT * FROM once.check(''orders'');';

CREATE FUNCTION once.slots(
    queue text,
    OUT lane integer,
    OUT block bigint,
    OUT slot integer,
    OUT state text,
    OUT now text,
    OUT claim text,
    OUT claim_xid xid8,
    OUT row_ctid tid,
    OUT attempts integer,
    OUT ready_at timestamptz,
    OUT scheduled boolean,
    OUT group_hash bigint,
    OUT blocked boolean,
    OUT stuck integer)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_slots' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION once.slots(text) IS
'Shows the slots of a queue index.
There is one for each row that the index knows.
state: as on disk; a claim stays there until somebody comes by after it has
ended.
now: the state of the message, as peek shows it (ready, delayed, claimed,
blocked, dead or stuck), or uncommitted (the sender''s transaction is open),
or done (the row is gone).
scheduled: due later, and not in its lane yet.
group_hash: a number for the message''s group, the same for all of the group
until the index is rebuilt; NULL without a group.
blocked: another message of the group comes first.
stuck: how often in a row the message could not be taken away.
Requires SELECT on the table.
Example: SELECT now AS state, count(*) FROM once.slots(''orders'') GROUP BY now;';

CREATE FUNCTION once.pages(
    queue text,
    OUT block bigint,
    OUT kind text,
    OUT lane integer,
    OUT seq bigint,
    OUT next bigint,
    OUT slots integer,
    OUT done integer,
    OUT first_unfinished integer,
    OUT earliest timestamptz,
    OUT owner xid8)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'once_pages' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION once.pages(text) IS
'Shows the pages of a queue index.
They are shown with their hints, as they are on disk.
Requires SELECT on the table.
Example: SELECT kind, count(*), sum(slots) AS slots FROM once.pages(''orders'') GROUP BY kind;';

