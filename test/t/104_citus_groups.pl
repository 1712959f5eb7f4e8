# Ordered groups in a queue that Citus has distributed by group_id, while shards are moved, and nodes are killed in the middle of moves.
# Each message that was sent must have its effect exactly once, and the messages of each group must be in order.  OnceCitus.pm has the
# load and the oracle.
#
# ONCE_CITUS_SECONDS: for how long shards are moved, at least.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use OnceCitus;
use OnceTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

citus_required();
my $end = time() + ($ENV{ONCE_CITUS_SECONDS} // 0);

# What a crash leaves undecided, and what a move leaves behind when it fails, is seen to soon.
my @nodes = citus_cluster([ 'one', 'two' ], 'citus.recover_2pc_interval = 1s', 'citus.defer_shard_delete_interval = 1s');
my ($coordinator, $one, $two) = @nodes;
my $load = load_start($coordinator, kind => 'grouped', nodes => [ $one, $two ], from => \@nodes);
load_is_killed($load);
my ($moves, $broken, $kills) = (0, 0, 0);

# Any shard, the node where it is, and the other worker
sub any_shard
{
	my @all = map { [ $_, $one, $two ] } shards_on($coordinator, $one, 'orders');

	push @all, map { [ $_, $two, $one ] } shards_on($coordinator, $two, 'orders');
	return @{ $all[ rand @all ] };
}

do
{
	for my $mode ('block_writes', 'force_logical', 'auto', 'block_writes')
	{
		move_shard($coordinator, any_shard(), $mode);
		$moves++;
	}
	for my $victim (@nodes)
	{
		my ($shard, $from, $to) = any_shard();
		my ($number) = $shard =~ /_(\d+)$/;
		my $done = '';
		my $move = IPC::Run::start([ 'psql', '-XAtq', '-d', $coordinator->connstr('postgres'), '-c',
			"SELECT 'moved' FROM citus_move_shard_placement($number, '127.0.0.1', " . $from->port . ", '127.0.0.1', " . $to->port . ", 'force_logical')" ],
			'<', \undef, '>&', \$done, IPC::Run::timeout(180));

		# A move takes about two seconds.
		sleep(rand(1.5));
		kill_server($victim);
		$move->finish;
		$kills++;
		$done =~ /^moved/ ? $moves++ : $broken++;
	}
} while (time() < $end);
load_is_right($load, "$moves moves, $kills kills, $broken moves broken by them");

done_testing();
