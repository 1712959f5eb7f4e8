# once.next_id: ids that ascend, are unique over sessions, and do not come again after a crash or a promotion, although ids run ahead of
# the clock and nothing of them is on disk.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = once_node('main', "shared_preload_libraries = 'pg_once'");
sub value { return $node->safe_psql('postgres', $_[0]) }

# More ids than a node can make in a second: afterwards it is a second ahead of the clock.  Returns the last one.
sub run_ahead { return $node->safe_psql('postgres', 'SELECT max(once.next_id()) FROM generate_series(1, 100000)') }

# ---- What an id consists of ----

my $time = "'2026-01-01 00:00 UTC'::timestamptz + (id >> 16) * interval '4 ms'";
is(value("SELECT $time BETWEEN clock_timestamp() - interval '1 s' AND clock_timestamp() + interval '1.1 s' FROM once.next_id() AS id"), 't', 'the time');
is(value('SELECT (id >> 8) & 255 FROM once.next_id() AS id'), 0, 'the node, without Citus');
is(value("SELECT '2026-01-01 00:00 UTC'::timestamptz + 2 ^ 37 * interval '4 ms' > '2043-06-03 21:56:53 UTC', id < 2 ^ 53 FROM once.next_id() AS id"), 't|t',
	'ids are below 2^53 until the day that the documentation names');
is(value(<<'SQL'), "7\n9", 'the node is that of Citus, also when it changes');
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_local_group (groupid int NOT NULL);
INSERT INTO pg_dist_local_group VALUES (7);
SELECT (once.next_id() >> 8) & 255;
UPDATE pg_dist_local_group SET groupid = 9;
SELECT (once.next_id() >> 8) & 255;
SQL
value('UPDATE pg_dist_local_group SET groupid = 256');
is(sqlstate_of($node, 'SELECT once.next_id()'), '54000', 'a group of Citus that is too high');
value('SET allow_system_table_mods = on; DROP TABLE pg_catalog.pg_dist_local_group');

# ---- Ascending, and unique ----

is(value(<<'SQL'), '30000|0', 'ids of a session ascend');
SELECT count(*), count(*) FILTER (WHERE id <= before) FROM (SELECT id, lag(id) OVER (ORDER BY n) AS before
  FROM (SELECT n, once.next_id() AS id FROM generate_series(1, 30000) n) AS drawn) AS pairs
SQL
{
	my $directory = PostgreSQL::Test::Utils::tempdir;
	my @runs = map { IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SELECT once.next_id() FROM generate_series(1, 20000)' ],
			'<', \undef, '>', "$directory/$_", IPC::Run::timeout(120)) } 1 .. 8;
	my (%times, $wrong);

	$_->finish for @runs;
	for (1 .. 8)
	{
		my $before = 0;

		for my $id (split(/\n/, slurp_file("$directory/$_")))
		{
			$wrong++ if $id <= $before;
			$times{ $before = $id }++;
		}
	}
	is(scalar(keys %times), 160000, 'ids of eight sessions are unique');
	is($wrong, undef, 'and ascend in each');
}

# ---- Distributing a queue, with functions that stand in for those of Citus ----

value(<<'SQL');
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass NOT NULL, partmethod "char" NOT NULL, partkey text, colocationid int NOT NULL DEFAULT 0);
CREATE TABLE public.called (what text, path text DEFAULT current_setting('search_path'), level text DEFAULT current_setting('client_min_messages'));
CREATE FUNCTION pg_catalog.create_distributed_table(table_name regclass, distribution_column text, kind text DEFAULT 'hash', colocate_with text DEFAULT 'default',
    shard_count int DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.called VALUES (format('%s by %s, %s, %s', $1, $2, $4, $5));
  INSERT INTO pg_dist_partition VALUES ($1, 'h', $2);
  EXECUTE format('ALTER TABLE %s SET (fillfactor = 100)', $1);
END $$;
CREATE FUNCTION pg_catalog.truncate_local_data_after_distributing_table(t regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('TRUNCATE %s', $1);
END $$;
SELECT once.create_queue('d', id_index => true), once.create_queue('g'), once.create_queue('full');
ALTER TABLE once.q_full REPLICA IDENTITY FULL;
CREATE SCHEMA mine;
CREATE TABLE mine.orders ();
SELECT once.send('d', '1');
SQL
value(<<'SQL');
SET once.shard_catalog = fake;
SET search_path = mine;
SELECT once.distribute_queue('d');
SELECT once.distribute_queue('g', 'group_id', 7, 'orders');
SELECT once.distribute_queue('full', 'id', 1, 'default');
SQL
is(value('SELECT what, path, level FROM public.called ORDER BY what'), <<'SQL' =~ s/\n\z//r, 'what Citus is asked for');
once.q_d by id, none, 32|pg_catalog, pg_temp|warning
once.q_full by id, default, 1|pg_catalog, pg_temp|warning
once.q_g by group_id, mine.orders, |pg_catalog, pg_temp|warning
SQL
is(value(<<'SQL'), "q_d||once.next_id()|d\nq_full||once.next_id()|f\nq_g||once.next_id()|f", 'ids, and what identifies a row');
SELECT relname, attidentity, pg_get_expr(adbin, adrelid), relreplident FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND attname = 'id'
  JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum WHERE relname IN ('q_d', 'q_g', 'q_full') ORDER BY 1
SQL
is(value("SELECT count(*) FROM once.q_d"), 0, 'what was in the table itself is gone');
is(value(<<'SQL'), "t\n3|t\nt", 'messages get such ids, in their order');
SET once.shard_catalog = fake;
SELECT once.send('d', '2') > 2 ^ 48;
SELECT count(DISTINCT id), min(id) > 2 ^ 48 FROM once.send_batch('d', ARRAY['3', '4', '5']::jsonb[]) AS id;
SELECT array_agg(payload ORDER BY id) = ARRAY['2', '3', '4', '5']::jsonb[] FROM once.q_d;
SQL
value(<<'SQL');
SELECT once.drop_queue('d'), once.drop_queue('g'), once.drop_queue('full');
SET allow_system_table_mods = on;
DROP TABLE pg_catalog.pg_dist_partition;
DROP FUNCTION pg_catalog.create_distributed_table(regclass, text, text, text, int), pg_catalog.truncate_local_data_after_distributing_table(regclass);
SQL

# ---- Crash, and promotion ----

SKIP: {
	skip 'the clock is set in the way of Linux', 7 if $^O ne 'linux';

	# The server is killed and starts again, and by its clock that takes no time.
	my $last = run_ahead();
	my $killed = time;
	kill_server($node);
	$node->stop;
	my $set_clock = start_with_clock($node);
	$set_clock->($killed - time);
	cmp_ok(value('SELECT once.next_id()'), '>', $last, 'ids go on after a crash');
	$last = run_ahead();
	is(value("SELECT $time <= clock_timestamp() + interval '1.1 s' FROM once.next_id() AS id"), 't', 'they are a second ahead of the clock at most');

	# The clock is set back.
	$set_clock->($killed - time - 30);
	is(sqlstate_of($node, "SET statement_timeout = '100 ms'; SELECT once.next_id()"), '57014', 'a call waits for the clock, and can be cancelled');
	$set_clock->(-3600);
	is(sqlstate_of($node, 'SELECT once.next_id()'), '55000', 'a clock that is far behind');
	$set_clock->(-40 * 366 * 86400);
	is(sqlstate_of($node, 'SELECT once.next_id()'), '55000', 'a clock that is before 2026');
	$set_clock->(0);
	cmp_ok(value('SELECT once.next_id()'), '>', $last, 'ids go on');
	cmp_ok(value('SELECT once.next_id()'), '<', 2**53, 'and none is too large');
	$node->restart;
}

my $standby = once_standby($node, 'standby');
is(sqlstate_of($standby, 'SELECT once.next_id()'), '25006', 'a standby makes none');
catch_up($node, $standby);
my $last = run_ahead();
$node->stop('immediate');
$standby->promote;
cmp_ok($standby->safe_psql('postgres', 'SELECT once.next_id()'), '>', $last, 'ids go on after a promotion');

# ---- Without shared memory ----

$standby->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$standby->restart;
is(sqlstate_of($standby, 'SELECT once.next_id()'), '55000', 'the library must be preloaded');
my (undef, undef, $stderr) = $standby->psql('postgres', 'SELECT once.next_id()');
like($stderr, qr/HINT:  Add "pg_once" to shared_preload_libraries/, 'and the hint says so');

done_testing();
