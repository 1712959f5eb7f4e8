# The keys of a ledger's generations, whose pages are read without the server's index scan, are compared with a model.  With all kinds
# and numbers of ids, exactly those are new that have not been marked, while pages are split and deleted.
#
# Each session has ids of its own, which lie between those of the others.  It knows which ones it has marked by rows of a table, which
# are written in the same transaction.  ONCE_LEDGER_SECONDS=... is how long the sessions run.

use strict;
use warnings;

use IPC::Run;
use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{ONCE_LEDGER_SECONDS} // 8;
my $sessions = 3;
my $node = once_node('main', 'shared_buffers = 32MB', 'fsync = off');
my $scripts = PostgreSQL::Test::Utils::tempdir();

sub value { return $node->safe_psql('postgres', $_[0]) // '' }

value(<<'END');
	CREATE EXTENSION amcheck;
	CREATE EXTENSION pageinspect;
	SELECT once.create_ledger('l', '1 day');

	-- Of all kinds: short ones; long ones that have all but the end in common, so that inner pages have room for a few only;
	-- such that are compressed in the index; of which each is the beginning of the next; of bytes above 127; and just long ones.
	CREATE TABLE ids AS
	SELECT n, CASE n / 10 % 6
		WHEN 0 THEN reverse(n::text)
		WHEN 1 THEN (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 30) i) || n
		WHEN 2 THEN repeat('x', 600) || n
		WHEN 3 THEN CASE WHEN n < 9000 THEN repeat('p', 1 + n / 60 * 6 + n % 10 % 6) || CASE WHEN n % 10 < 6 THEN '' ELSE '.' || n END ELSE 'p' || n END
		WHEN 4 THEN chr(200 + n % 1000) || chr(233) || n
		ELSE md5(n::text) || (SELECT string_agg(md5(n || '.' || i), '') FROM generate_series(1, 30) i) END COLLATE "C" AS id
	FROM generate_series(0, 23999) n;
	ALTER TABLE ids ADD PRIMARY KEY (n);
	CREATE UNIQUE INDEX ON ids (id);
	CREATE TABLE model (n int PRIMARY KEY);

	-- Some of a session's ids: a range of them, in order, or any.
	CREATE FUNCTION some_ids(session int) RETURNS int[] LANGUAGE plpgsql AS $$
	DECLARE
		many int := CASE WHEN random() < 0.3 THEN 1 WHEN random() < 0.7 THEN 40 ELSE 400 END;
		first int := (random() * 7000)::int;
	BEGIN
		RETURN CASE WHEN random() < 0.4
			THEN ARRAY(SELECT n FROM ids WHERE n % 3 = session AND n / 3 BETWEEN first AND first + many ORDER BY id)
			ELSE ARRAY(SELECT (random() * 7999)::int * 3 + session FROM generate_series(1, many)) END;
	END $$;
	CREATE FUNCTION texts(ns int[]) RETURNS text[] LANGUAGE sql
	RETURN ARRAY(SELECT id FROM unnest(ns) WITH ORDINALITY AS u (n, o) JOIN ids USING (n) ORDER BY o);

	CREATE FUNCTION mark(ns int[]) RETURNS int LANGUAGE plpgsql AS $$
	DECLARE
		new int[] := ARRAY(SELECT n FROM unnest(ns) WITH ORDINALITY AS u (n, o)
						   WHERE NOT EXISTS (SELECT FROM model m WHERE m.n = u.n) GROUP BY n ORDER BY min(o));
		told text[] := ARRAY(SELECT * FROM once.mark_processed_all('l', texts(ns)));
	BEGIN
		IF told <> texts(new) THEN
			RAISE 'of % these were new: %, and these were told: %', ns, new, told;
		END IF;
		INSERT INTO model SELECT unnest(new);
		RETURN cardinality(new);
	END $$;
	CREATE FUNCTION mark_and_undo(ns int[]) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM mark(ns);
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
	END $$;
	CREATE FUNCTION mark_singly(ns int[]) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. least(cardinality(ns), 20) LOOP
			PERFORM mark(ns[i : i]);
		END LOOP;
	END $$;
	CREATE FUNCTION forget(ns int[]) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		x record;
	BEGIN
		FOR x IN SELECT id, ids.n, m.n IS NOT NULL AS marked FROM ids LEFT JOIN model m USING (n) WHERE n = ANY (ns) LOOP
			IF once.forget_processed('l', x.id) <> x.marked THEN
				RAISE '%: marked is %', x.n, x.marked;
			END IF;
		END LOOP;
		DELETE FROM model WHERE n = ANY (ns);
	END $$;
	CREATE FUNCTION look(ns int[]) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		ASSERT NOT EXISTS (SELECT FROM ids LEFT JOIN model m USING (n) WHERE n = ANY (ns) AND once.is_processed('l', id) <> (m.n IS NOT NULL));
	END $$;
END

my @load = pgbench_scripts($scripts,
	commit => [ 8, 'SELECT mark(some_ids(:client_id));' ],
	singly => [ 2, 'SELECT mark_singly(some_ids(:client_id));' ],
	undone => [ 4, "BEGIN;\nSELECT mark(some_ids(:client_id));\nROLLBACK;" ],
	savepoint => [ 3, 'SELECT mark_and_undo(some_ids(:client_id));' ],
	forget => [ 4, 'SELECT forget(some_ids(:client_id));' ],
	look => [ 2, 'SELECT look(some_ids(:client_id));' ]);
my @care = pgbench_scripts($scripts,
	vacuum => [ 6, "VACUUM (INDEX_CLEANUP ON) once.l_l_0, once.l_l_1;\n\\sleep 50 ms" ],
	reindex => [ 1, "REINDEX TABLE CONCURRENTLY once.l_l_1;\nREINDEX TABLE CONCURRENTLY once.l_l_0;\n\\sleep 100 ms" ],
	long => [ 1, "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT count(*) FROM model WHERE n < 0;\n\\sleep 300 ms\nCOMMIT;" ]);

# Run sessions for some seconds.  Then the model must be right, also for other sessions.
sub round
{
	my ($what) = @_;
	my ($load, $care) = ('', '');
	my @runs = (start_pgbench($node, \$load, $seconds, '-c', $sessions, @load), start_pgbench($node, \$care, $seconds, '-c', 1, @care));

	IPC::Run::finish($_) for @runs;
	is(join('', grep { /ERROR|FATAL|PANIC|error/ } split(/^/, $load . $care)), '', "$what: what was new was told");
	note($load, $care);
	is(value('SELECT count(*) FROM ids LEFT JOIN model m USING (n) WHERE once.is_processed(\'l\', id) <> (m.n IS NOT NULL)'), '0',
		"$what: is_processed agrees");
	is(value('SELECT count(*) FROM (SELECT id FROM once.l_l_0 UNION ALL SELECT id FROM once.l_l_1) AS r') - value('SELECT count(*) FROM model'), 0,
		"$what: there are as many rows");
	is(value("SELECT count(bt_index_check(indexrelid, true)) FROM pg_index WHERE indrelid IN ('once.l_l_0'::regclass, 'once.l_l_1'::regclass)"),
		'2', "$what: keys and tables agree");
}

# With an empty table.  Then with an old generation that was filled in one call, in random order, and an empty current one.
is(value("SELECT once.is_processed('l', 'a'), once.forget_processed('l', 'a'), mark('{}')"), 'f|f|0', 'an empty table');
is(value('SELECT mark(ARRAY(SELECT n FROM ids WHERE n % 4 = 0 ORDER BY random()))'), '6000', 'many at once');
value('CALL once.maintain()');
is(value('SELECT concat(last_value & 3, last_value >> 2 & 1) FROM once.l_l_state'), '21', 'an old generation, and an empty one');
cmp_ok(value("SELECT level FROM bt_metap('once.l_l_0_pkey')"), '>=', 3, 'the key has many levels');
round('load');

# Mark all ids that are left in one call, in random order.
value('BEGIN; SELECT mark(ARRAY(SELECT n FROM ids ORDER BY random())); ROLLBACK; VACUUM once.l_l_1');
is(value('SELECT mark(ARRAY(SELECT n FROM ids ORDER BY random() LIMIT 8000)) > 0'), 't', 'many at once, of which some are known');
is(value('SELECT mark(ARRAY(SELECT n FROM ids ORDER BY random())) > 0'), 't', 'and all of them');
is(value("SELECT mark(ARRAY(SELECT n FROM ids ORDER BY $_))"), '0', "none is new, by $_") for 'n', 'id DESC';

# A search for one id prunes the page of its row, as an index scan does.  So versions that set_result has replaced make room for new
# ones.
value("SELECT once.create_ledger('r', '1 day')");
value(<<'END');
	DO $$ BEGIN
		FOR i IN 1 .. 3000 LOOP
			PERFORM once.process('r', i::text);
			PERFORM once.set_result('r', i::text, to_jsonb(repeat('x', 40)));
			COMMIT;
		END LOOP;
	END $$;
END
cmp_ok(value("SELECT (pg_relation_size('once.l_r_0') + pg_relation_size('once.l_r_1')) / 8192"), '<=', 46, 'replaced rows make room (else 54 pages)');
$node->stop;
done_testing();
