-- The schema is a member of the extension: CREATE SCHEMA fails when somebody
-- has made one of that name before, so nothing of theirs can be mixed up with
-- what is made here.  Only its owner can create anything in it.
CREATE SCHEMA once;
COMMENT ON SCHEMA once IS 'message queues that commit with your own transaction';

CREATE TYPE once.message AS (
    id           bigint,
    receipt      uuid,
    attempt      integer,
    enqueued_at  timestamptz,
    leased_until timestamptz,
    priority     smallint,
    group_id     text,
    headers      jsonb,
    payload      jsonb
);
COMMENT ON TYPE once.message IS
'A message, as receive, lease and pop return it.
receipt: what ack, nack, release and extend take; NULL from pop.
attempt: the number of this delivery, from 1.
leased_until: only from lease.
Example: SELECT (m).id, (m).payload FROM once.pop(''orders'') AS m;';

