-- The queue index.  Its operator classes name the column types and nothing
-- else: the index is never scanned by the planner.
CREATE FUNCTION once.once_queue_handler(internal) RETURNS index_am_handler
AS 'MODULE_PATHNAME', 'once_queue_handler' LANGUAGE C STRICT;
COMMENT ON FUNCTION once.once_queue_handler(internal) IS
'Internal: handler of the access method once_queue.';

CREATE ACCESS METHOD once_queue TYPE INDEX HANDLER once.once_queue_handler;
COMMENT ON ACCESS METHOD once_queue IS 'queue index access method';

CREATE OPERATOR CLASS once.int8_queue_ops DEFAULT FOR TYPE pg_catalog.int8
USING once_queue AS STORAGE pg_catalog.int8;

CREATE OPERATOR CLASS once.int2_queue_ops DEFAULT FOR TYPE pg_catalog.int2
USING once_queue AS STORAGE pg_catalog.int2;

CREATE OPERATOR CLASS once.timestamptz_queue_ops DEFAULT FOR TYPE pg_catalog.timestamptz
USING once_queue AS STORAGE pg_catalog.timestamptz;

CREATE OPERATOR CLASS once.text_queue_ops DEFAULT FOR TYPE pg_catalog.text
USING once_queue AS STORAGE pg_catalog.text;

