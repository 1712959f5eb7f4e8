-- Help.  All of its texts are the comments, so each comment begins with a line that is
-- one short sentence, and ends with a line that is an example.  What is not for users is
-- "Internal:".
CREATE FUNCTION once.help(topic text DEFAULT NULL)
RETURNS SETOF text
AS 'MODULE_PATHNAME', 'once_help' LANGUAGE C STABLE PARALLEL SAFE ROWS 100;
COMMENT ON FUNCTION once.help(text) IS
'Shows what there is, and how it is used.
topic: NULL: all functions, views and settings, each with a line. A topic, such
as sending: those of this topic, with examples. The name of a function, view or
setting: everything about it. once. in front of a name tells it from a topic.
Example: SELECT once.help(''send'');';
