# What rests is left to rest: the launcher makes no pass where nothing is due.  Whatever will become due ends the rest, also if it
# comes while a pass finds that there is nothing.
#
# The first full pass is held for two seconds.  So the next full one, which leaves out nothing, comes after 200 seconds, and has no
# part in what is seen here.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $debug_lock = '1869505381, 1';
my $node = once_node('main', "shared_preload_libraries = 'pg_once'", 'once.maintenance_interval = 0', "log_min_messages = 'debug1'");

sub value { return $node->safe_psql('postgres', $_[0]) }
sub set { $node->append_conf('postgresql.conf', $_[0]); $node->reload; return }
my $database = value("SELECT oid FROM pg_database WHERE datname = 'postgres'");

# How often a pass has been started in the database
sub passes { my $n = () = slurp_file($node->logfile) =~ /starting background worker process "pg_once maintenance of database $database"/g; return $n }

# Waits for this to become true, for half a minute at most.
sub comes
{
	my ($test, $what) = @_;
	my $until = time + 30;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	sleep(0.1) while !$test->() && time < $until;
	return ok($test->(), $what);
}

sub in_lane { return value("SELECT count(*) FROM once.slots('q') WHERE scheduled") eq '0' }

# Waits until there has been no pass for three intervals.
sub rests
{
	my ($what) = @_;
	my ($n, $since) = (passes(), time);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return comes(sub { ($n, $since) = (passes(), time) if passes() != $n; return time - $since > 3 }, $what);
}

sub ends_rest
{
	my ($sql, $what) = @_;
	my $n = passes();

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	value($sql);
	return comes(sub { return passes() > $n }, "$what ends the rest");
}

value("SELECT once.create_queue('q')");
my $holder = $node->background_psql('postgres');
$holder->query_safe("SELECT pg_advisory_lock($debug_lock)");
set("once.debug_point = 'rest_before_settle'\nonce.maintenance_interval = 1s");
comes(sub { return value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_once maintenance' AND wait_event = 'advisory'") eq '1' }, 'a pass has seen that nothing is due');
value("SELECT once.send('q', '1', delay => '5 s')");
sleep 2;
set("once.debug_point = ''");
$holder->query_safe("SELECT pg_advisory_unlock($debug_lock)");
$holder->quit;
comes(\&in_lane, 'a message that came then does not have to wait for the next full pass');
rests('the database comes to rest');

ends_rest("SELECT once.send('q', '2', delay => '2 s')", 'a message for later');
comes(\&in_lane, 'and it comes into its lane');
rests('then it rests again');
ends_rest("INSERT INTO once.q_q (payload, deliver_at) VALUES ('3', now() + '2 s')", 'a row that is inserted');
comes(\&in_lane, 'and it comes into its lane');
rests('then it rests again');
ends_rest("SELECT once.alter_queue('q', retention => '1 h')", 'an option');
value("SELECT once.alter_queue('q', reset => ARRAY['retention'])");
rests('without the option it rests again');
ends_rest("SELECT once.create_queue('new')", 'a queue');
rests('of which nothing is due');
ends_rest("SELECT once.create_ledger('l', retention => '1 h')", 'a ledger');
value("SELECT once.drop_ledger('l')");
rests('without it, it rests again');
value("SELECT once.send('q', '4')");
my $n = passes();
sleep 3;
is(passes(), $n, 'a message for now does not');
ends_rest("SELECT once.send_dedup('q', '5', dedup_id => 'x')", 'a dedup_id');

# Of a distributed queue, shards rest, and the queue and its database do not.  Citus is a stand-in here: its catalogs.
set('once.shard_catalog = fake');
value(<<'EOS');
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod "char", partkey text, colocationid int);
CREATE TABLE pg_catalog.pg_dist_shard (logicalrelid regclass, shardid bigint, shardminvalue text, shardmaxvalue text);
CREATE TABLE pg_catalog.pg_dist_placement (shardid bigint, shardstate int, groupid int);
CREATE TABLE pg_catalog.pg_dist_local_group (groupid int);
SELECT once.create_queue(q) FROM unnest(ARRAY['d', 'd_1', 'd_2']) q;
INSERT INTO pg_dist_shard VALUES ('once.q_d', 1, '-1000', '-1'), ('once.q_d', 2, '0', '1000');
INSERT INTO pg_dist_placement VALUES (1, 1, 0), (2, 1, 0);
INSERT INTO pg_dist_local_group VALUES (0);
INSERT INTO pg_dist_partition VALUES ('once.q_d', 'h', 'id', 7);
ALTER TABLE once.q_d SET (fillfactor = 100);
EOS
$n = passes();
comes(sub { return passes() > $n + 4 }, 'a database with a distributed queue does not rest');
value("INSERT INTO once.q_d_2 (id, payload, deliver_at) VALUES (1, '1', now() + interval '2 s')");
comes(sub { return value("SELECT count(*) FROM once.slots('d_2') WHERE NOT scheduled") eq '1' }, 'a message for later comes into its lane in a shard that has rested');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|maintenance of .* failed/, 'there was no trouble');
done_testing();
