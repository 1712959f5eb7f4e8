-- The archive itself, once."a_<queue>", is made by create_queue and alter_queue.

CREATE FUNCTION once.replay(queue text, since timestamptz, until timestamptz)
RETURNS bigint
AS 'MODULE_PATHNAME', 'once_replay' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.replay(text, timestamptz, timestamptz) IS
'Sends the messages of a queue that were archived from since on and before until again, in the order they were archived in, and returns how many. They have new ids and the same priority, group and payload; "once-replay-of" in their headers is the id of the original (headers that are no object are wrapped: {"once-replay-of": id, "headers": ...}). What the queue does not take is left out with a warning. Wants SELECT on the archive, once."a_<queue>", and INSERT on the table.';
