-- A procedure with a SET clause could not commit.  So the C code sets search_path itself.
CREATE PROCEDURE once.maintain()
AS 'MODULE_PATHNAME', 'once_maintain' LANGUAGE C;
COMMENT ON PROCEDURE once.maintain() IS
'Does what has to be done now and then.
Sends the messages of schedules that are due, as the roles that created these,
if the caller could SET ROLE to them. Then, for every queue whose table the
caller may SELECT and DELETE from: moves messages that have become due to
their lanes; lets groups go on whose first message plain SQL has deleted or
moved; takes away messages that have expired or used up their attempts (unless
consumption is paused); deletes dead letters older than the queue''s
retention, and failures of messages that are gone; empties partitions of the
archive whose time is up. For these queues, and for every ledger that the
caller may mark ids in, it also forgets ids that have been kept long enough
and makes room for new ones. If there are queues or ledgers, and the caller
has these rights on none of them, that is a warning.
Commits after each step, unless it is called within a transaction. What is
locked is left for the next call. A message that cannot be taken away is
stuck, with a warning. An error in one queue, of whatever kind, becomes a
warning, and once.maintenance_timeout limits the time for each queue. Triggers
run as the owner of the table if the caller could SET ROLE to the owner, and
otherwise as the caller.
Example: CALL once.maintain();';
