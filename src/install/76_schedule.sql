-- Schedules: messages at due times.
--
-- begins_at: what every counts from.  last_due: the last due time that has been done, in
-- the same transaction that sent its message.  role_id is the role on this server.  In a
-- row that comes from another server it means nothing, and the name counts.
--
-- No user has rights on the table, because payloads and headers are only for members of
-- the role.
CREATE TABLE once.schedule (
    name          text COLLATE "C" NOT NULL PRIMARY KEY,
    queue         text COLLATE "C" NOT NULL,
    cron          text,
    every         interval,
    payload       jsonb,
    headers       jsonb,
    group_id      text,
    timezone      text NOT NULL,
    catch_up      text COLLATE "C" NOT NULL,
    role          name NOT NULL,
    role_id       text COLLATE "C",
    created_at    timestamptz NOT NULL,
    begins_at     timestamptz NOT NULL,
    last_due      timestamptz,
    last_error    text,
    last_error_at timestamptz
);
COMMENT ON TABLE once.schedule IS
'Internal: what the view schedules shows.';

CREATE FUNCTION once.create_schedule(
    name text,
    queue text,
    cron text DEFAULT NULL,
    every interval DEFAULT NULL,
    payload jsonb DEFAULT NULL,
    headers jsonb DEFAULT NULL,
    group_id text DEFAULT NULL,
    timezone text DEFAULT 'UTC',
    catch_up text DEFAULT 'one')
RETURNS void
AS 'MODULE_PATHNAME', 'once_create_schedule' LANGUAGE C VOLATILE PARALLEL UNSAFE
SUPPORT once.execute_support;
COMMENT ON FUNCTION once.create_schedule(text, text, text, interval, jsonb, jsonb, text, text, text) IS
'Has a message sent at each due time from now on.
The server does that by itself if the library is in shared_preload_libraries,
and otherwise once.maintain().
name: as for queues. Give one of cron and every.
cron: five fields (minute, hour, day of the month, month, day of the week),
with *, ranges, lists, steps and English names of three letters, or @hourly,
@daily, @weekly, @monthly, @yearly; by the clock of timezone. If both days are
restricted, one of them must match. A time that the clock skips is due when
the clock is set forward; a time that it shows twice is due once, at the first
time.
every: 1 second to 36500 days, counted from now; a month has 30 days.
payload, headers, group_id: of the message; the headers get schedule and
due_at.
catch_up: what is sent if due times were missed: one message for all of them
(one), one for each (all), or none if the last one was more than five minutes
ago (skip).
Each due time has exactly one message. It is sent as the role that creates the
schedule, which must have INSERT on the table each time.
EXECUTE is not granted to PUBLIC.
Example: SELECT once.create_schedule(''report'', ''orders'', ''30 6 * * mon-fri'', timezone => ''Europe/Berlin'');';

CREATE FUNCTION once.drop_schedule(name text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_drop_schedule' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.drop_schedule(text) IS
'Drops a schedule.
What it has sent stays.
Waits for a session that is just running it.
Only for members of the role that created it.
Example: SELECT once.drop_schedule(''report'');';

CREATE FUNCTION once.next_runs(
    cron text,
    timezone text DEFAULT 'UTC',
    n integer DEFAULT 5,
    after timestamptz DEFAULT NULL)
RETURNS SETOF timestamptz
AS 'MODULE_PATHNAME', 'once_next_runs' LANGUAGE C STABLE PARALLEL SAFE ROWS 5;
COMMENT ON FUNCTION once.next_runs(text, text, integer, timestamptz) IS
'Returns the next due times of a cron expression.
cron, timezone: see create_schedule.
n: 0 to 1000.
after: NULL means now.
Example: SELECT once.next_runs(''30 2 * * *'', ''Europe/Berlin'');';

CREATE FUNCTION once.next_due(cron text, every interval, timezone text, begins_at timestamptz, last_due timestamptz)
RETURNS timestamptz
AS 'MODULE_PATHNAME', 'once_next_due' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION once.next_due(text, interval, text, timestamptz, timestamptz) IS
'Internal: for the view schedules.
Returns the next due time of a row of once.schedule.';

CREATE FUNCTION once.is_own_schedule(role name, role_id text) RETURNS boolean
AS 'MODULE_PATHNAME', 'once_is_own_schedule' LANGUAGE C STABLE PARALLEL SAFE COST 10;
COMMENT ON FUNCTION once.is_own_schedule(name, text) IS
'Internal: for the view schedules.
Tells whether the caller is a member of the role of a row of once.schedule.';

CREATE VIEW once.schedules WITH (security_barrier) AS
SELECT s.name, s.queue, s.cron, s.every,
       CASE WHEN once.is_own_schedule(s.role, s.role_id) THEN s.payload END AS payload,
       CASE WHEN once.is_own_schedule(s.role, s.role_id) THEN s.headers END AS headers,
       CASE WHEN once.is_own_schedule(s.role, s.role_id) THEN s.group_id END AS group_id,
       s.timezone, s.catch_up, s.role, s.last_due,
       once.next_due(s.cron, s.every, s.timezone, s.begins_at, s.last_due) AS next_due,
       CASE WHEN once.is_own_schedule(s.role, s.role_id) THEN s.last_error END AS last_error,
       s.last_error_at, s.created_at
  FROM once.schedule s;
COMMENT ON VIEW once.schedules IS
'The schedules of the database.
The columns are those of list_schedules.
Example: SELECT name, next_due, last_error FROM once.schedules;';

CREATE FUNCTION once.list_schedules()
RETURNS TABLE (
    name text,
    queue text,
    cron text,
    every interval,
    payload jsonb,
    headers jsonb,
    group_id text,
    timezone text,
    catch_up text,
    role name,
    last_due timestamptz,
    next_due timestamptz,
    last_error text,
    last_error_at timestamptz,
    created_at timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.name, s.queue, s.cron, s.every, s.payload, s.headers, s.group_id, s.timezone, s.catch_up, s.role, s.last_due,
           s.next_due, s.last_error, s.last_error_at, s.created_at
      FROM once.schedules s
     ORDER BY s.name;
END;
COMMENT ON FUNCTION once.list_schedules() IS
'Lists the schedules of the database.
role: the role that created it.
last_due: the last due time that is done.
next_due: the next one; if it is in the past, it was missed.
last_error: why the last run failed, NULL if it did not fail.
Everybody can read this, but payload, headers, group_id and last_error are
shown to members of the role only.
Example: SELECT name, next_due, last_error FROM once.list_schedules();';

-- For pg_dump, as in 50_dead.sql
CREATE FUNCTION once.dump_schedules() RETURNS SETOF once.schedule
AS 'MODULE_PATHNAME', 'once_dump_schedules' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION once.dump_schedules() IS
'Internal: for pg_dump, the rows of once.schedule.
All of them if the caller may SELECT from that table, and otherwise those
whose role the caller is a member of.';

CREATE TABLE once.schedule_dump (LIKE once.schedule, CONSTRAINT restored_without_disable_triggers CHECK (false));
COMMENT ON TABLE once.schedule_dump IS
'Internal: for pg_dump; never has rows.
What is inserted here goes to once.schedule.';
CREATE TRIGGER restore BEFORE INSERT ON once.schedule_dump FOR EACH ROW EXECUTE FUNCTION once.restore_row('schedule');
ALTER TABLE once.schedule_dump ENABLE ALWAYS TRIGGER restore;
SELECT pg_catalog.pg_extension_config_dump('once.schedule_dump', 'WHERE false UNION ALL SELECT * FROM once.dump_schedules()');
