-- Schedules: messages at due times.
--
-- begins_at: what every counts from.  last_due: the last due time that has been done, in
-- the same transaction that sent its message.  role_id is the role on this server; in a
-- row that comes from elsewhere it means nothing, and the name counts.
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
COMMENT ON TABLE once.schedule IS 'schedules; read it through once.list_schedules()';
SELECT pg_catalog.pg_extension_config_dump('once.schedule', '');

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
AS 'MODULE_PATHNAME', 'once_create_schedule' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.create_schedule(text, text, text, interval, jsonb, jsonb, text, text, text) IS
'Has a message sent at each due time from now on, by maintain. name: as for queues. Give one of cron and every. cron: five fields (minute, hour, day of the month, month, day of the week), with *, ranges, lists, steps and English names of three letters, or @hourly, @daily, @weekly, @monthly, @yearly; by the clock of timezone. What that clock leaves out is due when it is set forward; what it shows twice is due once, at the first time. every: 1 second to 36500 days, counted from now. payload, headers, group_id: of the message; the headers get schedule and due_at. catch_up: what is sent if due times were missed: one message for all of them (one), one for each (all), or none if the last one was more than five minutes ago (skip). Each due time has exactly one message. It is sent as the role that creates the schedule, which must have INSERT on the table each time.';

CREATE FUNCTION once.drop_schedule(name text)
RETURNS void
AS 'MODULE_PATHNAME', 'once_drop_schedule' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION once.drop_schedule(text) IS
'Drops a schedule. What it has sent stays. Waits for who is just sending for it. Only for the role that has created it, and its members.';

CREATE FUNCTION once.next_runs(
    cron text,
    timezone text DEFAULT 'UTC',
    n integer DEFAULT 5,
    after timestamptz DEFAULT NULL)
RETURNS SETOF timestamptz
AS 'MODULE_PATHNAME', 'once_next_runs' LANGUAGE C STABLE PARALLEL SAFE ROWS 5;
COMMENT ON FUNCTION once.next_runs(text, text, integer, timestamptz) IS
'The next due times of a cron expression: see create_schedule. n: 0 to 1000. after: NULL means now.';

CREATE FUNCTION once.next_due(cron text, every interval, timezone text, begins_at timestamptz, last_due timestamptz)
RETURNS timestamptz
AS 'MODULE_PATHNAME', 'once_next_due' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION once.next_due(text, interval, text, timestamptz, timestamptz) IS
'The next due time of a row of once.schedule. For list_schedules.';

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
           once.next_due(s.cron, s.every, s.timezone, s.begins_at, s.last_due),
           s.last_error, s.last_error_at, s.created_at
      FROM once.schedule s
     ORDER BY s.name;
END;
COMMENT ON FUNCTION once.list_schedules() IS
'All schedules of the database. last_due: the last due time that is done. next_due: the next one; one in the past was missed. last_error: why its last run failed, NULL if it did not. Everybody can read this.';
