# Queues that Citus has distributed, while their shards are moved to other nodes in every mode, and split; while a node is added and gets
# its share of the shards, and while a node gives all of them away.  Each message that was sent must have its effect exactly once.
# OnceCitus.pm has the load and the oracle.  Before that, what becomes of leases when a shard moves.
#
# ONCE_CITUS_SECONDS: for how long shards are moved to and fro, at least.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceCitus;
use OnceTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

citus_required();
my $seconds = $ENV{ONCE_CITUS_SECONDS} // 0;

# What moves leave behind is dropped by the next move, or when it is asked for.
my @settings = ('citus.recover_2pc_interval = 1s', 'citus.defer_shard_delete_interval = -1');
my ($coordinator, $one, $two) = citus_cluster([ 'one', 'two' ], @settings);

# ---- Leases ----

# Whoever has leased a message learns that its shard has moved when he acks it, whether his session knows the queue already or not.
$coordinator->safe_psql('postgres', $_)
  for "SELECT once.create_queue('held', id_index => true)", "SELECT once.distribute_queue('held', shards => 1)",
  "SELECT count(once.send('held', to_jsonb(n))) FROM generate_series(1, 30) n";
my ($from, $to) = shards_on($coordinator, $one, 'held') ? ($one, $two) : ($two, $one);
for my $mode ('block_writes', 'force_logical')
{
	my ($shard) = shards_on($coordinator, $from, 'held');
	my $consumer = session($from);
	my ($state, $leased) = $consumer->("SELECT receipt FROM once.lease('held', '1 h', 1000)");
	my @receipts = split(/\n/, $leased);

	is($state, '00000', "$mode: messages are leased");
	is(scalar(@receipts), 30, 'all of them');
	move_shard($coordinator, $shard, $from, $to, $mode);
	is(($consumer->("SELECT once.$_"))[0], 'ON003', "$mode: once.$_") for map { ("ack('$_')", "nack('$_')", "release('$_')", "extend('$_', '1 h')") } @receipts[ 0 .. 1 ];
	is(sqlstate_of($from, "SELECT once.ack('$receipts[0]')"), 'ON003', "$mode: in another session");
	is($from->safe_psql('postgres', "SELECT once.try_ack('$receipts[0]')"), 'f', "$mode: once.try_ack");
	is_deeply([ $consumer->("SELECT FROM once.receive('held')") ], [ '00000', '' ], "$mode: nothing is left on the node");
	is($to->safe_psql('postgres', "SELECT count(once.release(receipt)) FROM once.lease('held', '1 h', 1000)"), 30, "$mode: all are delivered where the shard is now");
	$coordinator->safe_psql('postgres', 'CALL citus_cleanup_orphaned_resources()');
	is(($consumer->("SELECT once.$_('$receipts[0]')"))[0], 'ON001', "$mode: once.$_, when Citus has dropped what it has left behind") for 'ack', 'try_ack';
	($from, $to) = ($to, $from);
}
is($from->safe_psql('postgres', "SELECT count(once.ack(receipt)) FROM once.receive('held', 1000)"), 30, 'and acked');

# ---- Effects ----

my $load = load_start($coordinator, nodes => [ $one, $two ], from => [ $coordinator, $one ]);
my $end = time() + $seconds;
my $moves = 0;

# Do something with shards while messages are sent and consumed.
sub under_load
{
	my ($what, $action) = @_;
	my $sent = load_sent($load);
	my $begin = time();

	$action->();
	ok($coordinator->poll_query_until('postgres', "SELECT count(*) > $sent FROM intended"), sprintf('%s, with %d messages sent, in %.1f s', $what, load_sent($load) - $sent, time() - $begin));
}

do
{
	for my $mode ('block_writes', 'force_logical', 'auto')
	{
		for my $from ($one, $two)
		{
			my $to = $from == $one ? $two : $one;
			my @shards = shards_on($coordinator, $from, 'orders');
			my $shard = $shards[ rand @shards ];

			under_load("$mode: $shard moves from " . $from->name, sub { move_shard($coordinator, $shard, $from, $to, $mode) });
			$moves++;
		}
	}
} while (time() < $end);

# Citus raises this error when it has planned an INSERT, and a shard is split before it has locked that.
$load->{expected} .= '|XX000: could not find valid entry for shard';
for my $to ([ $two, $one ], [ $one, $one ])
{
	my ($shard) = shards_on($coordinator, $one, 'orders');

	under_load("$shard is split", sub { split_shard($coordinator, $shard, @$to) });
	$moves++;
}

my $three = citus_node('three', @settings);
under_load('a node is added', sub { citus_join($coordinator, $three) });
load_grow($load, $three);
under_load('shards are rebalanced', sub { $coordinator->safe_psql('postgres', "SELECT rebalance_table_shards('once.q_orders', shard_transfer_mode => 'force_logical')") });
my $gained = shards_on($coordinator, $three, 'orders');
ok($gained > 0, 'the new node has shards');
my $given = shards_on($coordinator, $one, 'orders');
under_load('a node is drained', sub { $coordinator->safe_psql('postgres', "SELECT citus_drain_node('127.0.0.1', " . $one->port . ", 'block_writes')") });
is(scalar(shards_on($coordinator, $one, 'orders')), 0, 'the drained node has no shards');
is(sqlstate_of($one, "SELECT * FROM once.receive('orders')"), '0A000', 'and whoever consumes there is told');
load_leave($load, $one);
load_is_right($load, 'after ' . ($moves + $gained + $given) . ' moves and splits');
ok($three->safe_psql('postgres', 'SELECT count(*) FROM here') > 0, 'the new node has processed messages');

done_testing();
