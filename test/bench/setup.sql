-- What the benchmarks run on: the two rivals, the table of effects, and a clock.

CREATE EXTENSION pg_once;
CREATE SCHEMA bench;

-- One payload for all: 200 bytes as text.
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

-- Microseconds that a statement takes.
CREATE FUNCTION bench.timed(statement text) RETURNS float8
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    started timestamptz := clock_timestamp();
BEGIN
    EXECUTE statement;
    RETURN extract(epoch FROM clock_timestamp() - started) * 1e6;
END $$;

-- So many single receives and acks in this transaction: microseconds for each thousand of them, or for what there is.
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
