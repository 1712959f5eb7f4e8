-- The tables and functions of the benchmarks: the two rivals, the table of effects, and a clock.

CREATE EXTENSION pg_once;
CREATE SCHEMA bench;

-- All messages have the same payload: 200 bytes as text.
CREATE FUNCTION bench.payload() RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN jsonb_build_object('customer', 4711, 'order', 1234567, 'note', repeat('x', 150));

-- The textbook queue: a table with a key, consumed by DELETE and SKIP LOCKED.
CREATE TABLE bench.textbook (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    enqueued_at timestamptz NOT NULL DEFAULT now(),
    payload     jsonb NOT NULL
);

-- The visibility-timeout queue: reading a message moves it into the future, acking it deletes it.
CREATE TABLE bench.timeout (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    read_ct     integer NOT NULL DEFAULT 0,
    enqueued_at timestamptz NOT NULL DEFAULT now(),
    vt          timestamptz NOT NULL DEFAULT now(),
    payload     jsonb NOT NULL
);
CREATE INDEX timeout_vt_idx ON bench.timeout (vt);

-- pg_once, and a second queue that warms up a session without touching the first.
SELECT once.create_queue('bench');
SELECT once.create_queue('warm');

-- What consumers do with a message, in the transaction of the ack.
CREATE TABLE bench.effect (message bigint NOT NULL, customer integer NOT NULL);

-- How many microseconds a statement takes
CREATE FUNCTION bench.timed(statement text) RETURNS float8
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    started timestamptz := clock_timestamp();
BEGIN
    EXECUTE statement;
    RETURN extract(epoch FROM clock_timestamp() - started) * 1e6;
END $$;

-- Make "total" single receives and acks in this transaction.  Returns the microseconds for each slice of them.
CREATE FUNCTION bench.receive_singly(total integer, slice integer) RETURNS SETOF float8
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    started timestamptz;
    acked integer;
BEGIN
    FOR part IN 1 .. total / slice LOOP
        started := clock_timestamp();
        FOR i IN 1 .. slice LOOP
            SELECT count(once.ack(receipt)) INTO acked FROM once.receive('bench');
            IF acked <> 1 THEN
                RAISE EXCEPTION 'false empty: receive returned nothing though messages are there';
            END IF;
        END LOOP;
        RETURN NEXT extract(epoch FROM clock_timestamp() - started) * 1e6;
    END LOOP;
END $$;

CREATE FUNCTION bench.receive_warm() RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM once.ack(receipt) FROM once.receive('warm');
    PERFORM once.ack(receipt) FROM once.receive('warm');
END $$;

-- Counters of the fan benchmark: they do not roll back, and nobody waits for them.
CREATE SEQUENCE bench.sent MINVALUE 0 START 0 INCREMENT 10;
CREATE SEQUENCE bench.begun MINVALUE 0 START 0;
CREATE SEQUENCE bench.empty MINVALUE 0 START 0;
CREATE SEQUENCE bench.false_empty MINVALUE 0 START 0;

-- The usual way to remember ids
CREATE TABLE bench.processed (id text COLLATE "C" PRIMARY KEY, processed_at timestamptz NOT NULL DEFAULT now());

-- The least that can be done to store ids
CREATE TABLE bench.kept (id text COLLATE "C" NOT NULL, processed_at timestamptz NOT NULL DEFAULT now());

-- Make this many calls with a thousand ids each, every step-th one from a number on.  Returns the microseconds for each call.
CREATE FUNCTION bench.mark_ledger(first bigint, calls integer, step integer) RETURNS float8
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    ids text[];
    started timestamptz;
    marked bigint;
    total float8 := 0;
BEGIN
    FOR batch IN 0 .. calls - 1 LOOP
        ids := ARRAY(SELECT md5((first + (batch * 1000 + n) * step)::text) FROM generate_series(0, 999) AS n);
        started := clock_timestamp();
        SELECT count(*) INTO marked FROM once.mark_processed_all('bench', ids);
        total := total + extract(epoch FROM clock_timestamp() - started);
    END LOOP;
    RETURN total * 1e6 / calls;
END $$;

CREATE FUNCTION bench.mark_rival(first bigint, calls integer, step integer) RETURNS float8
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    ids text[];
    started timestamptz;
    total float8 := 0;
BEGIN
    FOR batch IN 0 .. calls - 1 LOOP
        ids := ARRAY(SELECT md5((first + (batch * 1000 + n) * step)::text) FROM generate_series(0, 999) AS n);
        started := clock_timestamp();
        INSERT INTO bench.processed (id) SELECT unnest(ids) ON CONFLICT DO NOTHING;
        total := total + extract(epoch FROM clock_timestamp() - started);
    END LOOP;
    RETURN total * 1e6 / calls;
END $$;

-- The same for ids beyond those that were loaded: new ids, or once more those of the last call.
CREATE SEQUENCE bench.more START 1000000000;
CREATE FUNCTION bench.mark_more(kind text, calls integer, fresh boolean) RETURNS float8
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    ids text[];
    started timestamptz;
    marked bigint;
    total float8 := 0;
    first bigint;
BEGIN
    IF fresh THEN
        PERFORM setval('bench.more', nextval('bench.more') + calls * 1000);
    END IF;
    SELECT last_value - calls * 1000 INTO first FROM bench.more;
    FOR batch IN 0 .. calls - 1 LOOP
        ids := ARRAY(SELECT CASE kind WHEN 'random' THEN md5(n::text) ELSE 'z' || lpad(n::text, 31, '0') END
                     FROM generate_series(first + batch * 1000, first + batch * 1000 + 999) AS n);
        started := clock_timestamp();
        SELECT count(*) INTO marked FROM once.mark_processed_all('flat', ids);
        total := total + extract(epoch FROM clock_timestamp() - started);
        IF marked <> (CASE WHEN fresh THEN 1000 ELSE 0 END) THEN
            RAISE EXCEPTION '% of 1000 ids were new', marked;
        END IF;
    END LOOP;
    RETURN total * 1e6 / calls;
END $$;
