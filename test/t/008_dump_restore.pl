# pg_dump dumps a live queue as one snapshot sees it.  After a restore there are the same messages and options, nothing is claimed,
# and the next id is a new one.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = once_node('main');

sub value { my ($sql, $database) = @_; return (split(/\n/, $node->safe_psql($database // 'postgres', $sql) // '', -1))[-1] // '' }

value("SELECT once.create_queue('orders', id_index => true, retry_delay => '7 s', retry_delay_max => '5 min')");
value("SELECT once.create_queue('Mixed-Case_1', unlogged => true)");
value("SELECT once.create_queue('empty')");
value("SELECT once.pause('empty', 'send')");
value(q(SELECT count(once.send('orders', jsonb_build_object('n', i, 'text', repeat(md5(i::text), 100)), headers => '{"h": 1}', priority => i % 10))
	FROM generate_series(1, 2000) i));
value("SELECT once.send('orders', '\"later\"', deliver_at => '2100-01-01 00:00+00')");
value(q(SELECT count(once.send('Mixed-Case_1', '1')) FROM generate_series(1, 10)));
value("SELECT count(once.ack(receipt)) FROM once.receive('orders', 100)");
value("SELECT count(*) FROM once.lease('orders', '1 h', 500)");

# A message whose ack is not committed is still there.
my $session = $node->background_psql('postgres');
$session->query_safe("BEGIN; SELECT count(once.ack(receipt)) FROM once.receive('orders', 100)");

my $dump = $node->basedir . '/queues.dump';
my $content = 'SELECT md5(string_agg(t::text, chr(10) ORDER BY id)), count(*) FROM once.%s t';
my $options = 'SELECT string_agg(l::text, chr(10) ORDER BY queue) FROM once.list_queues() l';
my %before = (map { $_ => value(sprintf($content, $_)) } 'q_orders', '"q_Mixed-Case_1"', 'q_empty');
my $options_before = $node->safe_psql('postgres', $options);
my $last = value(q(SELECT last_value FROM once.q_orders_id_seq));
$node->command_ok([ 'pg_dump', '--format=custom', '--file', $dump, $node->connstr('postgres') ], 'pg_dump');
$session->query_safe('ROLLBACK');
$session->quit;
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->command_ok([ 'pg_restore', '--exit-on-error', '--dbname', $node->connstr('other'), $dump ], 'pg_restore');

is(value(sprintf($content, $_), 'other'), $before{$_}, "$_: the same messages") for sort keys %before;
is($node->safe_psql('other', $options), $options_before, 'the same options');
clean($node, $_, $_, database => 'other') for 'orders', 'Mixed-Case_1', 'empty';
is(value("SELECT once.send('orders', '1')", 'other'), $last + 1, 'ids go on');
like(($node->psql('other', "SELECT once.send('empty', '1')"))[2], qr/paused/, 'paused stays paused');
is(value("SELECT count(*), count(DISTINCT id), min(attempt), max(attempt) FROM once.lease('orders', '1 h', 10000)", 'other'),
	'1901|1901|1|1', 'all of them are delivered, as if for the first time');
is(value("SELECT bool_and(sorted) FROM (SELECT (priority, -id) <= lag((priority, -id)) OVER (ORDER BY n) AS sorted "
		. "FROM once.peek('orders', 10000) WITH ORDINALITY AS p (id, attempt, e, r, priority, g, h, pl, s, n) WHERE s <> 'delayed') x", 'other'),
	't', 'in the order in which they were sent');

# Under load
my $load = start_stress($node, '--seconds', 6, '--no-drain');
$node->poll_query_until('postgres', q(SELECT to_regclass('stress.effect') IS NOT NULL)) or die 'no load';
$node->poll_query_until('postgres', 'SELECT count(*) > 1000 FROM stress.effect') or die 'no effects';
$node->command_ok([ 'pg_dump', '--format=custom', '--file', "$dump.2", $node->connstr('postgres') ], 'pg_dump under load');
end_stress($load, 'the load goes on');
$node->safe_psql('postgres', 'CREATE DATABASE loaded');
$node->command_ok([ 'pg_restore', '--exit-on-error', '--dbname', $node->connstr('loaded'), "$dump.2" ], 'pg_restore');
run_stress($node, 'the oracle on the restored queue', 'database', 'loaded', '--only-drain');
done_testing();
