# Queues that Citus has distributed, while nodes are killed: a coordinator and two workers, of which each is killed again and again, with
# producers and consumers at work.  Each message that was sent must have its effect exactly once, no matter whether the effect is on the
# node of the message or on another one.  OnceCitus.pm has the load and the oracle.
#
# ONCE_CITUS_SECONDS: how long the load lasts.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceCitus;
use OnceTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

citus_required();
my $seconds = $ENV{ONCE_CITUS_SECONDS} // 24;

# What a crash leaves undecided is decided soon.
my @nodes = citus_cluster([ 'one', 'two' ], 'citus.recover_2pc_interval = 1s');
my ($coordinator, $one, $two) = @nodes;

my $load = load_start($coordinator, nodes => [ $one, $two ], from => \@nodes);
load_is_killed($load);
my $end = time() + $seconds;
my $kills = 0;
while (time() < $end)
{
	my $node = $nodes[ $kills++ % @nodes ];

	sleep(1 + rand(2));
	kill_server($node);
	my $sent = load_sent($load);
	ok($coordinator->poll_query_until('postgres', "SELECT count(*) > $sent FROM intended"), 'after a kill of ' . $node->name . ", messages are sent: more than $sent");
}
load_is_right($load, "$kills kills");

done_testing();
