# No id is new twice within the retention, and none is forgotten within it, no matter what sessions do and what kills them: single
# marks, arrays, results, savepoints, rollbacks, prepared and long transactions, all isolation levels, turns all the time, SIGKILL.
#
# A session that is told that an id is new stores an effect in the same transaction, with the time after the call.  The retention
# begins with the commit, whose time the server keeps.  So if an id has two effects, the time of the later one must be at least the
# retention after the commit of the earlier one, unless the id was forgotten on request in between.  ONCE_LEDGER_SECONDS=... is how
# long each round takes.

use strict;
use warnings;

use IPC::Run;
use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{ONCE_LEDGER_SECONDS} // 4;
my $retention = '300 ms';
# Where changes are decoded, only one session marks at a time.
my $node = once_node('main', 'wal_level = replica', 'restart_after_crash = on', 'wal_writer_delay = 10ms', 'deadlock_timeout = 100ms',
	'idle_in_transaction_session_timeout = 2s', 'track_commit_timestamp = on');
my $scripts = PostgreSQL::Test::Utils::tempdir();

sub value { return $node->safe_psql('postgres', $_[0]) // '' }

value(<<END);
	CREATE EXTENSION amcheck;
	CREATE TABLE effect (id text, after timestamptz, result jsonb);
	CREATE TABLE forgotten (id text, after timestamptz);
	CREATE TABLE lost (id text, why text, at timestamptz DEFAULT clock_timestamp());
	SELECT once.create_ledger('l', '$retention');

	-- Few of them, of all lengths; some are too long for an index tuple to keep them as they are.
	CREATE FUNCTION an_id(n int) RETURNS text LANGUAGE sql IMMUTABLE
	RETURN 'id' || repeat('x', CASE n % 5 WHEN 0 THEN 0 WHEN 1 THEN 40 WHEN 2 THEN 600 ELSE 7 END) || n;
	CREATE FUNCTION some_ids(many int) RETURNS text[] LANGUAGE sql VOLATILE
	RETURN ARRAY(SELECT an_id((random() * 400)::int) FROM generate_series(1, 1 + (random() * many)::int));

	CREATE FUNCTION mark(ids text[]) RETURNS void LANGUAGE plpgsql AS \$\$
	DECLARE
		new text[] := ARRAY(SELECT * FROM once.mark_processed_all('l', ids));
	BEGIN
		INSERT INTO effect SELECT id, clock_timestamp() FROM unnest(new) AS id;
	END \$\$;

	CREATE FUNCTION mark_singly(ids text[]) RETURNS void LANGUAGE plpgsql AS \$\$
	DECLARE
		id text;
	BEGIN
		-- In one order, or they would deadlock
		FOR id IN SELECT DISTINCT i COLLATE "C" FROM unnest(ids) AS i ORDER BY 1 LOOP
			IF once.mark_processed('l', id) THEN
				INSERT INTO effect VALUES (id, clock_timestamp());
			END IF;
		END LOOP;
	END \$\$;

	CREATE FUNCTION mark_and_undo(ids text[]) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		PERFORM mark(ids);
		RAISE 'undo';
	EXCEPTION WHEN raise_exception THEN
	END \$\$;

	-- An id that all want at the same time, and what is around it
	CREATE FUNCTION storm() RETURNS void LANGUAGE sql
	RETURN mark(ARRAY(SELECT 's' || floor(extract(epoch FROM clock_timestamp()) * 40) + n FROM generate_series(-1, 1) n WHERE random() < 0.7));

	-- Ids of their own are forgotten, and some of them marked again at once
	CREATE FUNCTION forget(many int) RETURNS void LANGUAGE plpgsql AS \$\$
	DECLARE
		id text;
	BEGIN
		FOR id IN SELECT DISTINCT 'f' || (random() * 30)::int FROM generate_series(1, many) ORDER BY 1 LOOP
			IF random() < 0.4 AND once.forget_processed('l', id) THEN
				INSERT INTO forgotten VALUES (id, clock_timestamp());
			END IF;
			IF random() < 0.7 AND once.mark_processed('l', id) THEN
				INSERT INTO effect VALUES (id, clock_timestamp());
			END IF;
		END LOOP;
	END \$\$;

	-- A repeat gets the result of the first, and that is one that is not older than the time for which it is kept for sure.
	CREATE FUNCTION process(id text) RETURNS void LANGUAGE plpgsql AS \$\$
	DECLARE
		done record;
		token jsonb := jsonb_build_object('id', id, 'token', random(), 'pad', repeat('y', (random() * 3000)::int));
	BEGIN
		SELECT * INTO done FROM once.process('l', 'p' || id);
		IF done.first_time THEN
			PERFORM once.set_result('l', 'p' || id, token);
			INSERT INTO effect VALUES ('p' || id, clock_timestamp(), token);
		ELSIF done.result->>'id' IS DISTINCT FROM id THEN
			INSERT INTO lost VALUES (id, 'wrong result');
		END IF;
	END \$\$;

	-- What was committed a moment ago is known.
	CREATE PROCEDURE mark_and_look() LANGUAGE plpgsql AS \$\$
	DECLARE
		marked text[] := some_ids(5);
		e effect;
		known boolean;
	BEGIN
		PERFORM mark(marked);
		COMMIT;
		FOR e IN SELECT DISTINCT ON (id) * FROM effect WHERE id = ANY (marked) ORDER BY id, after DESC LOOP
			known := once.is_processed('l', e.id);
			IF NOT known AND clock_timestamp() < e.after + interval '$retention' THEN
				INSERT INTO lost VALUES (e.id, 'not known');
			END IF;
		END LOOP;
	END \$\$;
END

my %script = (
	array => [ 8, 'SELECT mark(some_ids(50));' ],
	single => [ 6, 'SELECT mark_singly(some_ids(5));' ],
	process => [ 6, "SELECT process('id' || (random() * 100)::int);" ],
	look => [ 4, 'CALL mark_and_look();' ],
	storm => [ 3, 'SELECT storm();' ],
	storm_long => [ 1, "BEGIN;\nSELECT storm();\n\\sleep 3 ms\nCOMMIT;" ],
	storm_undo => [ 1, "BEGIN;\nSELECT storm();\n\\sleep 3 ms\nROLLBACK;" ],
	undo => [ 3, 'SELECT mark_and_undo(some_ids(20));' ],
	rollback => [ 3, "BEGIN;\nSELECT mark(some_ids(20));\nROLLBACK;" ],
	savepoint => [ 3, "BEGIN;\nSAVEPOINT a;\nSELECT mark(some_ids(20));\nROLLBACK TO a;\nSELECT process('id' || (random() * 100)::int);\nCOMMIT;" ],
	repeatable => [ 3, "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT count(*) FROM lost;\n\\sleep 20 ms\nSELECT mark(some_ids(10));\nCOMMIT;" ],
	serializable => [ 2, "BEGIN ISOLATION LEVEL SERIALIZABLE;\nSELECT txid_current();\nSELECT mark_singly(some_ids(3));\nCOMMIT;" ],
	long => [ 1, "BEGIN;\nSELECT mark(some_ids(3));\n\\sleep 500 ms\nCOMMIT;" ],
	prepared => [ 1, "SELECT quote_literal('p' || (random() * 1e15)::bigint) AS gid \\gset\n"
		  . "BEGIN;\nSELECT mark(some_ids(3));\nPREPARE TRANSACTION :gid;\n\\sleep 30 ms\nCOMMIT PREPARED :gid;" ],
	forget => [ 4, 'SELECT forget(4);' ],
	held => [ 1, "BEGIN;\nSELECT forget(2);\n\\sleep 200 ms\nCOMMIT;" ],
	locked => [ 1, "BEGIN;\nLOCK TABLE once.l_l_0, once.l_l_1 IN ACCESS SHARE MODE;\n\\sleep 200 ms\nCOMMIT;" ],
	vacuum => [ 1, 'VACUUM (INDEX_CLEANUP ON) once.l_l_0, once.l_l_1;' ],
	maintain => [ 3, "CALL once.maintain();\n\\sleep 10 ms" ]);
my @scripts = pgbench_scripts($scripts, %script);

# Statements of the sessions that mark the same ids, and of the session that holds them up
my @storm = pgbench_scripts(PostgreSQL::Test::Utils::tempdir(),
	(map { $_ => [ 1, $script{$_}[1] ] } grep { /storm|forget|maintain|process/ } keys %script),
	hold => [ 4, "SELECT pg_advisory_lock(1869505381, 1);\n\\sleep 5 ms\nSELECT pg_advisory_unlock(1869505381, 1);" ]);

sub resolve_prepared
{
	for (1 .. 3)
	{
		for my $gid (split(/\n/, value('SELECT quote_literal(gid) FROM pg_prepared_xacts')))
		{
			$node->psql('postgres', (rand() < 0.5 ? 'COMMIT' : 'ROLLBACK') . " PREPARED $gid");
		}
	}
}

# Run sessions for some seconds; in the middle of that, something happens.  point: the sessions mark the same ids, and now and then all
# that come to this debug point are held up for a moment.
sub round
{
	my ($what, $event, $point) = @_;
	my $output = '';

	local $ENV{PGOPTIONS} = $point ? "-c once.debug_point=$point" : '';
	my $run = start_pgbench($node, \$output, $seconds, '-c', 10, $point ? @storm : @scripts);
	select(undef, undef, undef, $seconds * (0.4 + 0.4 * rand()));
	$event->() if $event;
	eval { IPC::Run::finish($run) };
	note($output);
	# Errors after a kill, and of a deadlock between transactions with several calls
	my @unexpected = grep { !/perhaps the backend died|FATAL:  (terminating connection|the database system is)|Run was aborted|connection to server|deadlock detected/ }
	  grep { /ERROR|FATAL|PANIC|error/ } split(/\n/, $output);
	is(join("\n", @unexpected), '', "$what: no other errors than those of the kill");
	resolve_prepared();
}

sub backend { return value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1") }

round('quiet');
# Only one at a time: two of them would deadlock, and leave invalid indexes behind.
round('reindexed', sub { value("REINDEX TABLE CONCURRENTLY once.l_l_$_") for 0, 1, 0, 1 });
round('held behind the look', undef, 'ledger_before_insert');
round('held before the key', undef, 'ledger_before_index');
round('terminated', sub { value("SELECT pg_terminate_backend(" . backend() . ")") for 1 .. 3 });
round('backend killed', sub {
	my $offset = -s $node->logfile;

	kill 'KILL', backend();
	$node->wait_for_log(qr/database system is ready to accept connections/, $offset);
});
round('server killed', sub { kill_server($node) });

is(value(<<END), '', 'no id is new twice within the retention');
	SELECT id, after, before, committed, after - committed FROM (
		SELECT id, after, lag(after) OVER e AS before, lag(pg_xact_commit_timestamp(xmin)) OVER e AS committed
		FROM effect WINDOW e AS (PARTITION BY id ORDER BY after)) AS e
	WHERE after - committed < interval '$retention'
		AND NOT EXISTS (SELECT FROM forgotten AS f WHERE f.id = e.id AND f.after > before AND f.after <= e.after)
	ORDER BY after LIMIT 10
END
is(value('SELECT * FROM lost LIMIT 10'), '', 'none is forgotten within it, and results are those of the first');
cmp_ok(value('SELECT count(*) FROM (SELECT FROM effect GROUP BY id HAVING count(*) > 2) AS e'), '>', 50, 'many were forgotten after it');
is(value("SELECT count(bt_index_check(indexrelid, true)) FROM pg_index WHERE indrelid IN ('once.l_l_0'::regclass, 'once.l_l_1'::regclass)"),
	'2', 'keys and tables agree');
value("CALL once.maintain(); SELECT pg_sleep(0.4); CALL once.maintain(); SELECT pg_sleep(0.4); CALL once.maintain()");
is(value("SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_class'::regclass"), '0', 'no lock is left');
cmp_ok(value("SELECT pg_relation_size('once.l_l_0') + pg_relation_size('once.l_l_1')"), '<', 2_000_000, 'and the ledger does not grow');
$node->stop;
done_testing();
