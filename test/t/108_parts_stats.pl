# What is counted of a distributed queue: sums over its shards on this node, under its own name.  And when its changes are in the log.  Citus is
# a stand-in here: its catalogs.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = once_node('main', 'fsync = off', 'shared_preload_libraries = pg_once', 'wal_level = logical', 'wal_writer_delay = 10s', 'autovacuum = off');

sub value { my ($sql) = @_; return join(' ', split(/\n/, $node->safe_psql('postgres', "SET once.shard_catalog = fake; $sql") // '')) }

# The counters of all queues that are not zero
my @counters = qw(sent received redelivered acked nacked expired dead_lettered lease_lost);
sub counters
{
	my $list = join(', ', map { "NULLIF(format('$_ %s', $_), '$_ 0')" } @counters);

	return value("SELECT string_agg(concat_ws(', ', queue, $list), '; ' ORDER BY queue) FROM once.stat_queues");
}

value(<<'EOS');
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod "char", partkey text, colocationid int);
CREATE TABLE pg_catalog.pg_dist_shard (logicalrelid regclass, shardid bigint, shardminvalue text, shardmaxvalue text);
CREATE TABLE pg_catalog.pg_dist_placement (shardid bigint, shardstate int, groupid int);
CREATE TABLE pg_catalog.pg_dist_local_group (groupid int);
CREATE TABLE pg_catalog.pg_dist_node (groupid int, shouldhaveshards bool);
SELECT once.create_queue(q, id_index => true) FROM unnest(ARRAY['d', 'd_1', 'd_2', 'd_3']) q;
ALTER TABLE once.q_d_1 ALTER id DROP IDENTITY;
ALTER TABLE once.q_d_2 ALTER id DROP IDENTITY;
ALTER TABLE once.q_d_3 ALTER id DROP IDENTITY;
ALTER INDEX once.q_d_1_queue_idx SET (max_attempts = 2, retry_delay = 0, retry_delay_max = 0);
ALTER INDEX once.q_d_2_queue_idx SET (max_attempts = 2, retry_delay = 0, retry_delay_max = 0);
INSERT INTO pg_dist_partition VALUES ('once.q_d', 'h', 'id', 7);
INSERT INTO pg_dist_shard VALUES ('once.q_d', 1, '-1000', '-1'), ('once.q_d', 2, '0', '499'), ('once.q_d', 3, '500', '999');
INSERT INTO pg_dist_placement VALUES (1, 1, 1), (2, 1, 1), (3, 1, 2);
INSERT INTO pg_dist_local_group VALUES (1);
INSERT INTO pg_dist_node VALUES (1, true), (2, true);
ALTER TABLE once.q_d SET (fillfactor = 100);
EOS

# ---- Counters and latencies ----

is(counters(), 'd', 'nothing so far, and no row for a shard');
value("INSERT INTO once.q_d_1 (id, payload) SELECT n, '1' FROM generate_series(11, 14) n");
value("INSERT INTO once.q_d_2 (id, payload) SELECT n, '1' FROM generate_series(21, 25) n");
value("INSERT INTO once.q_d_3 (id, payload) VALUES (31, '1')");
is(counters(), 'd, sent 9', 'what is in the shards on this node was sent');
value("SELECT count(once.nack(receipt)) FROM once.lease('d', '1 h', 100) WHERE id IN (11, 21)");
value("SELECT once.release('d', ARRAY[12, 13, 14, 22, 23, 24, 25])");
value("SELECT CASE WHEN id IN (11, 12, 21, 22) THEN once.ack(receipt) ELSE once.release(receipt) END FROM once.lease('d', '1 h', 100)");
is(counters() =~ s/redelivered \d+/redelivered n/r, 'd, sent 9, received 18, redelivered n, acked 4, nacked 2', 'sums over the shards');
is(value("SELECT string_agg(queue || ' ' || messages, ', ') FROM once.stat_latency"), 'd 4', 'latencies');
is(value("SELECT queue || ' ' || sum(messages) || ' ' || max(total) FROM once.stat_latency_buckets GROUP BY queue"), 'd 4 4', 'and their buckets');
my ($receipt) = value("SELECT receipt FROM once.lease('d_1', '1 h')") =~ /(\S+)$/;
value("SELECT once.release('d', ARRAY[13, 14])");
value("SELECT once.try_ack('$receipt')");
like(counters(), qr/, lease_lost 1$/, 'a lost lease of a shard');
value("SELECT once.reset_stats('d')");
is(counters(), 'd', 'they begin anew together');
is(value("SELECT count(counted_since) FROM once.stat_queues WHERE counted_since > now() - interval '1 min'"), '1', 'and since when');

# ---- Who holds messages, and who waits ----

value("TRUNCATE once.q_d_1, once.q_d_2");
value("INSERT INTO once.q_d_1 (id, payload) SELECT n, '1' FROM generate_series(11, 14) n");
value("INSERT INTO once.q_d_2 (id, payload) SELECT n, '1' FROM generate_series(21, 25) n");
my $lessee = do { local $ENV{PGAPPNAME} = 'lessee'; $node->background_psql('postgres') };
$lessee->query_safe('SET once.shard_catalog = fake');
$lessee->query_safe("SELECT once.lease('d', '1 h', 7)");
my $consumers = "SELECT string_agg(concat_ws(' ', queue, what, application_name, messages), ', ' ORDER BY what, application_name) FROM once.consumers";
is(value($consumers), 'd leased lessee 7', 'one session has leased messages of both shards');
$lessee->query_safe("SELECT once.ack(receipt) FROM once.lease('d', '1 h', 1)");
is(value($consumers), 'd leased lessee 7', 'and has ended another lease');
value("SELECT count(*) FROM once.pop('d', 100)");
my $waiter = do { local $ENV{PGAPPNAME} = 'waiter'; $node->background_psql('postgres') };
$waiter->query_safe('SET once.shard_catalog = fake');
$waiter->query_until(qr/waits/, "\\echo waits\nCALL once.wait('{d}', '60 s');\n");
$node->poll_query_until('postgres', "SELECT sum(waiters) = 1 FROM once.stat_queues") or die 'nobody waits';
is(value($consumers), 'd leased lessee 7, d waiting waiter 0', 'a session that waits for both shards is one');
value("INSERT INTO once.q_d_2 (id, payload) VALUES (29, '1')");
$waiter->quit;
is(value("SELECT sum(waiters) FROM once.stat_queues"), '0', 'and when it has ended');
$lessee->quit;

# ---- Progress ----

value("TRUNCATE once.q_d_1, once.q_d_2");
value("INSERT INTO once.q_d_1 (id, payload) SELECT n, '1' FROM generate_series(1, 15000) n");
my $gate = $node->background_psql('postgres');
$gate->query_safe("SELECT pg_advisory_lock(1869505381, 1)");
my $purge = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SET once.shard_catalog = fake', '-c', "SET once.debug_point = 'purge_round'", '-c', "SELECT once.purge('d')" ], '<', \undef, '>&', \my $purged, IPC::Run::timeout(60));
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND locktype = 'advisory'") or die 'no purge';
is(value("SELECT queue, work, done FROM once.progress"), 'd|purge|10000', 'a purge shows how far it has come');
$gate->query_safe('SELECT pg_advisory_unlock(1869505381, 1)');
IPC::Run::finish($purge);
is($purged, "15000\n", 'it goes on');
$gate->quit;

# ---- Commits that do not wait for the log ----

# Citus moves a shard by logical replication of what is in the log when nobody has the shard any more.  So whoever has had it waits for the
# log, whatever synchronous_commit says, while there is a slot.  The WAL writer sleeps for ten seconds.
value("INSERT INTO once.q_d_1 (id, payload) SELECT n, '1' FROM generate_series(1, 10) n");
value("SELECT pg_create_logical_replication_slot('move', 'pgoutput')");
my $async = $node->background_psql('postgres');
$async->query_safe('SET once.shard_catalog = fake; SET synchronous_commit = off');
my @flushed = map
{
	$async->query_safe("BEGIN; SELECT FROM once.pop('d', 1)");
	my $before = $async->query_safe('SELECT pg_current_wal_insert_lsn()');
	$async->query_safe('COMMIT');
	$async->query_safe("SELECT pg_current_wal_flush_lsn() > '$before'");
} 1 .. 5;
is("@flushed", 't t t t t', 'commits of those who have had a shard are in the log at once');
$async->quit;

done_testing();
