-- A procedure with a SET clause could not commit: the C code pins what it must.
CREATE PROCEDURE once.maintain()
AS 'MODULE_PATHNAME', 'once_maintain' LANGUAGE C;
COMMENT ON PROCEDURE once.maintain() IS
'Does what has to be done now and then, for every queue whose table the caller may SELECT and DELETE from: brings due messages into their place, takes away messages that are expired or have used up their attempts (not from a queue whose consumption is paused), deletes dead letters older than the queue''s retention and failures of messages that are gone, and empties partitions of the archive whose time is over; and for queues and for every ledger that the caller may mark ids in, it makes room for new ids and forgets those that have been kept long enough. Commits after each step unless it is called within a transaction. What is locked is left for the next call; a message that cannot be taken away is stuck, with a warning, and an error in one queue is a warning.';
