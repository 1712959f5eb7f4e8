-- Comments, and once.help, which is made of them.

-- Everything of the extension in its schema has a comment.  Its first line is one short sentence with a period, as \df+ shows it
-- in a column.  What is not for users begins with "Internal:".
CREATE VIEW comments AS
SELECT pg_describe_object(classid, objid, 0) AS what, objid, obj_description(objid, classid::regclass::name) AS text
  FROM pg_depend
 WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_once')
   AND classid IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_type'::regclass)
   -- Since PostgreSQL 17, types of arrays and of the rows of a table are members, too.
   AND NOT EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
                    WHERE classid = 'pg_type'::regclass AND t.oid = objid AND (t.typcategory = 'A' OR c.relkind <> 'c'));
SELECT count(*) > 80 AS many FROM comments;
SELECT what, split_part(text, E'\n', 1) AS first_line FROM comments
 WHERE text IS NULL OR length(split_part(text, E'\n', 1)) > 60 OR split_part(text, E'\n', 1) !~ '^[A-Z].*[^.:;]\.$' OR text ~ '\s\n|\n\n|\s$';
SELECT what FROM comments, regexp_split_to_table(text, E'\n') AS line WHERE length(line) > 80 AND line !~ '^Example: ';
-- So do the settings.
LOAD 'pg_once';
SELECT name, short_desc FROM pg_settings
 WHERE name LIKE 'once.%' AND (length(short_desc) > 60 OR short_desc !~ '^[A-Z].*[^.:;]\.$');

-- No line is long, empty or cut off, however much there is to say.  (Examples stay in one line, to be copied.)
SELECT name, line
  FROM (SELECT 'once.' || regexp_replace(regexp_replace(replace(what, '"', ''), '^.* once\.', ''), '\(.*', '') FROM comments
        UNION SELECT name FROM pg_settings WHERE name LIKE 'once.%') AS names (name), once.help(name) AS line
 WHERE (length(line) > 80 OR line ~ '\s$|\.\.$') AND line !~ '^Example: ';

-- Everything for users belongs to one topic, and everything in a topic exists.  (Except help
-- itself, and once.queue, once.ledger and once.worker, which are read by other names.)
CREATE VIEW topics AS
SELECT line AS topic, n FROM once.help() WITH ORDINALITY AS h (line, n) WHERE line ~ '^[a-z]+( [a-z]+)?$';
CREATE VIEW lines AS
SELECT topic, t.n AS topic_n, l.line, l.n FROM topics AS t, once.help(topic) WITH ORDINALITY AS l (line, n);
SELECT what FROM comments WHERE text !~ '^Internal:'
   AND regexp_replace(regexp_replace(replace(what, '"', ''), '^.* once\.', ''), '\(.*', '') NOT IN (SELECT split_part(line, ' ', 3) FROM lines WHERE line ~ '^  \S')
UNION ALL
SELECT name FROM pg_settings WHERE name LIKE 'once.%' AND name NOT IN (SELECT split_part(line, ' ', 3) FROM lines)
 ORDER BY 1;
SELECT split_part(line, ' ', 3) AS twice FROM lines WHERE line ~ '^  \S' GROUP BY 1 HAVING count(DISTINCT topic) > 1;
-- Each has an example.  (A line with an example follows it.)
SELECT split_part(line, ' ', 3) AS no_example
  FROM (SELECT topic, line, lead(line) OVER (PARTITION BY topic ORDER BY n) AS next FROM lines) AS l
 WHERE line ~ '^  \S' AND next IS DISTINCT FROM substring(next FROM '^      \S.*;$') AND topic <> 'settings';

-- The examples work.  reset_stats has nothing to reset, as this server has not loaded the library itself.
CREATE ROLE regress_once_shop;
CREATE FUNCTION ship(m once.message) RETURNS void LANGUAGE sql AS '';
SELECT once.create_queue('invoices', id_index => true, archive => '1 day');
SELECT once.send('invoices', '1');
SET client_min_messages = error;
\t
\o /dev/null
SELECT CASE topic WHEN 'consuming' THEN $$SELECT once.send('orders', '{"order": 1}');$$ END,
       replace(substr(line, 7), '''shop''', '''regress_once_shop''')
  FROM lines
 WHERE line ~ '^      \S' AND line !~ 'reset_stats|distribute_queue|once\.shards|next_id'
 ORDER BY line ~ 'drop_queue', line ~ 'drop_', topic_n, n \gexec
\o
\t
RESET client_min_messages;
SELECT once.drop_queue('invoices');
DROP FUNCTION ship;
DROP ROLE regress_once_shop;

-- What it shows
SELECT once.help();
SELECT once.help('sending');
SELECT once.help('send');
SELECT once.help('once.send') EXCEPT SELECT once.help('send');
SELECT once.help('release');
-- Nothing stands between the parentheses of a function without arguments.  Columns of a long result are broken, too.
SELECT once.help('list_queues');
SELECT once.help('get_result');
SELECT once.help('maintain') LIMIT 1;
SELECT once.help('wait');
-- (The view is for users, so it comes first.  The function is internal.)
SELECT once.help('stat_latency_buckets');
SELECT once.help('dead_letters');
SELECT once.help('message');
SELECT once.help('once.unacked');
SELECT once.help('once.remote_effects');
-- A topic comes before a view of the same name.
SELECT once.help('schedules') LIMIT 1;
SELECT once.help('once.schedules');
-- Anybody may read it, also where nothing can be written, and whatever names there are.
CREATE ROLE regress_once_stranger;
SET ROLE regress_once_stranger;
BEGIN READ ONLY;
SET LOCAL search_path = pg_temp;
SELECT once.help('resume_worker');
COMMIT;
RESET ROLE;
DROP ROLE regress_once_stranger;

-- What there is no help on
SELECT once.help('sendig');
\echo :SQLSTATE
SELECT once.help('');
SELECT once.help('once.');
SELECT once.help('Sending');
SELECT once.help('unacked');
SELECT once.help('pg_class');
SELECT once.help(repeat('x', 63));
\set VERBOSITY terse
SELECT once.help(repeat('x', 64));
SELECT once.help('once.' || repeat('send', 30));
\set VERBOSITY default
-- The table of a queue has no comment, unless somebody gives it one.
SELECT once.create_queue('q');
SELECT once.help('q_q');
COMMENT ON TABLE once.q_q IS 'Orders of the shop.';
SELECT once.help('q_q');
SELECT once.drop_queue('q');
DROP VIEW lines, topics, comments;
