-- Consuming in the database.

-- A procedure with a SET clause could not commit.  So the C code qualifies names itself.
CREATE PROCEDURE once.work(
    queue text,
    handler regprocedure,
    max_messages integer DEFAULT 1,
    until interval DEFAULT NULL)
AS 'MODULE_PATHNAME', 'once_work' LANGUAGE C;
COMMENT ON PROCEDURE once.work(text, regprocedure, integer, interval) IS
'Consumes from a queue, by a function of yours.
Receives messages, calls the handler with each in a subtransaction, acks it
and commits, and waits while there is nothing.
handler: a function or procedure with one argument, once.message, or
once.message[] for all messages of a transaction at once; the caller must have
EXECUTE on it.
If it raises an error, its effects are rolled back, and the message is given
back with the error (see nack); SQLSTATE ON020 means release, ON021 to retry
after the interval in the error''s detail, and ON022 to reject: the message
goes to once.dead_letters at once.
max_messages: 1 to 10000 messages for one transaction.
until: 0 to 36500 days; after that time it takes no more messages. With 0 it
returns when it finds none. NULL: never.
While consumption is paused, it waits.
A message that was delivered before is handled in a transaction of its own.
Cannot be called within a transaction block, a function or an EXCEPTION block.
Requires SELECT and DELETE on the table.
Example: CALL once.work(''orders'', ''ship(once.message)'', until => ''0'');';
