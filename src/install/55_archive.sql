-- The archive itself, once."a_<queue>", is made by create_queue and alter_queue.

CREATE FUNCTION once.replay(queue text, since timestamptz, until timestamptz)
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_replay' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.replay(text, timestamptz, timestamptz) IS
'Sends archived messages again, and returns how many.
since, until: those that were archived at or after since and before until, in
that order. They have new ids, and the same priority, group and payload.
"once-replay-of" in their headers is the id of the original; headers that are
not an object are wrapped: {"once-replay-of": id, "headers": ...}. A message
that the queue refuses is left out, with a warning.
Requires SELECT on the archive, once."a_<queue>", and INSERT on the table.
Example: SELECT once.replay(''invoices'', now() - interval ''1 hour'', now());';
