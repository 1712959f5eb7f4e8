-- The verbs on queues as create_queue makes them: rows go straight to heap and
-- index.  The test "fallback" runs the same on tables that need the executor.
\getenv sources PG_ABS_SRCDIR
\cd :sources
\set q plain
SELECT once.create_queue(:'q', id_index => true, retry_delay => '0', retry_delay_max => '0');
\i sql/include/verbs.sql
SELECT once.drop_queue(:'q');

-- An unlogged queue works the same.
\set q unlogged
SELECT once.create_queue(:'q', unlogged => true, id_index => true, retry_delay => '0', retry_delay_max => '0');
SELECT relname, relpersistence FROM pg_class WHERE relname LIKE 'q\_unlogged%' ORDER BY 1;
\i sql/include/verbs.sql
SELECT once.drop_queue(:'q');
