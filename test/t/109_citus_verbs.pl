# What is done with a distributed queue besides consuming: each node looks at, purges, maintains and counts the messages of the shards that it
# has, under the name of the queue, and what has died on it is sent again to wherever its shard is by then.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceCitus;
use OnceTest;
use PostgreSQL::Test::Utils;
use Test::More;

citus_required();
my ($coordinator, $one, $two) = citus_cluster([ 'one', 'two' ], 'citus.recover_2pc_interval = -1');
my @workers = ($one, $two);

sub value { my ($node, $sql) = @_; return $node->safe_psql('postgres', $sql) }

# The ids of the messages that a node has: as its own peek tells, and as Citus does, which is asked which shard has them
sub ids { my ($node) = @_; return value($node, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM once.peek('orders', 10000)") }
sub ids_of_citus
{
	my ($node) = @_;
	my $shards = join(', ', map { /_(\d+)$/ } shards_on($coordinator, $node, 'orders'));

	return value($coordinator, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM once.q_orders WHERE get_shard_id_for_distribution_column('once.q_orders', id) IN ($shards)");
}

sub send_messages { my ($n, $how) = @_; value($coordinator, "SELECT count(once.send('orders', to_jsonb(n)" . ($how // '') . ")) FROM generate_series(1, $n) n") }
sub figures { my ($node, $columns) = @_; return value($node, "SELECT $columns FROM once.stat_queues WHERE queue ~ '^orders'") }

value($coordinator, "SELECT once.create_queue('orders', id_index => true, max_attempts => 1, retry_delay => '0', retry_delay_max => '0')");
value($coordinator, "SELECT once.distribute_queue('orders', shards => 6)");
send_messages(60);

# ---- Looking ----

for my $node (@workers)
{
	my $name = $node->name;
	my @ids = split(/ /, ids($node));

	cmp_ok(scalar(@ids), '>', 0, "$name has messages");
	is("@ids", ids_of_citus($node), "$name: peek shows those of its shards");
	is(value($node, "SELECT count(*) FROM once.check('orders', strict => true)"), 0, "$name: check");
	is(figures($node, 'queue, ready, sent, dead_letters, problem'), 'orders|' . @ids . '|' . @ids . '|0|', "$name: one row of statistics, with sums");
	is(sqlstate_of($node, "SELECT once.slots('orders')"), '0A000', "$name: slots");
}
is(figures($coordinator, 'queue, ready, problem'), 'orders|0|', 'the coordinator has none');
is(sqlstate_of($coordinator, "SELECT once.$_"), '0A000', "and refuses $_") for "peek('orders')", "check('orders')", "purge('orders')", "cancel('orders', 1)";

# ---- Schedules ----

# The coordinator sends through Citus, and a worker puts messages into its own shards.
for my $node ($coordinator, $one)
{
	my $name = $node->name;
	my $prepared = value($node, 'SELECT count(*) FROM pg_dist_transaction');

	value($node, "SELECT once.create_schedule('$name', 'orders', every => '1 s', payload => '\"$name\"')");
	for (1 .. 600)
	{
		value($node, 'CALL once.maintain()');
		last if value($coordinator, "SELECT count(*) FROM once.q_orders WHERE payload = '\"$name\"'") > 0;
		select(undef, undef, undef, 0.1);
	}
	is(value($node, "SELECT last_error IS NULL FROM once.schedules WHERE name = '$name'"), 't', "$name: a schedule");
	value($node, "SELECT once.drop_schedule('$name')");

	# The due time is noted on the node of the schedule.  Citus has noted the transaction if it prepared the sending on another node.
	is(value($node, "SELECT count(*) > $prepared FROM pg_dist_transaction"), $node == $coordinator ? 't' : 'f', "$name: two-phase commit, if it takes two nodes");
	my $sent = value($coordinator, "SELECT count(*) FROM once.q_orders WHERE payload = '\"$name\"'");
	cmp_ok($sent, '>', 0, "$name: its messages");
	value($_, "SELECT count(once.cancel('orders', id)) FROM once.peek('orders', 1000) WHERE payload = '\"$name\"'") for @workers;
	is(value($coordinator, "SELECT count(*) FROM once.q_orders WHERE payload = '\"$name\"'"), 0, "$name: they are gone again");
}

# ---- cancel and release ----

my ($id) = split(/ /, ids($one));
is(value($two, "SELECT once.cancel('orders', $id)"), 'f', 'a message is not cancelled on another node');
is(value($one, "SELECT once.cancel('orders', $id)"), 't', 'but where it is');
is(value($coordinator, "SELECT count(*) FROM once.q_orders WHERE id = $id"), 0, 'it is gone');
my $n = split(/ /, ids($one));
is(value($one, "SELECT count(*) FROM once.lease('orders', '1 h', 1000)"), $n, 'leases');
is(figures($one, 'ready, claimed'), "0|$n", 'are counted');
my $all = join(', ', split(/ /, ids($one) . ' ' . ids($two)));
is(value($two, "SELECT once.release('orders', ARRAY[$all])"), 0, 'the other node has no such leases');
is(value($one, "SELECT once.release('orders', ARRAY[$all])"), $n, 'and this one ends all of its own');

# ---- maintain, and what has died ----

is(value($_, "SELECT once.purge('orders') > 0"), 't', 'purge on ' . $_->name) for $one;
isnt(ids($two), '', 'leaves the messages of the other node');
value($two, "SELECT once.purge('orders')");
send_messages(60, ", ttl => '1 ms'");
value($_, 'CALL once.maintain()') for $coordinator, @workers;
my %dead = map { $_->name => value($_, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM once.dead_letters WHERE queue = 'orders' AND reason = 'expired'") } @workers;
is(scalar(split(/ /, join(' ', values %dead))), 60, 'maintain moves what has expired on each node');
is(value($coordinator, 'SELECT count(*) FROM once.q_orders'), 0, 'and nothing is left');

my $moved = (shards_on($coordinator, $one, 'orders'))[0];
move_shard($coordinator, $moved, $one, $two, 'block_writes');
is(value($one, "SELECT once.redrive('orders', 1) + once.redrive('orders')"), scalar(split(/ /, $dead{one})), 'redrive, after one of the shards has moved');
is(value($one, 'SELECT count(*) FROM once.dead_letters'), 0, 'no dead letter is left');
is(join(' ', sort { $a <=> $b } split(/ /, ids($one) . ' ' . ids($two))), $dead{one}, 'each message is in its shard, under its id');
is(ids($_), ids_of_citus($_), 'on ' . $_->name) for @workers;
isnt(ids($two), '', 'also in the one that has moved');
is(value($two, "SELECT once.purge_dead_letters('orders')"), scalar(split(/ /, $dead{two})), 'purge_dead_letters');

# Failures of all shards are kept, and those that belong to no message are not.
$n = split(/ /, ids($two));
value($coordinator, "SELECT once.alter_queue('orders', max_attempts => 5)");
is(value($two, "SELECT count(once.nack(receipt, error => 'why')) FROM once.lease('orders', '1 h', 1000)"), $n, 'failures');
value($two, 'CALL once.maintain()');
is(value($two, 'SELECT count(*) FROM once.failures'), $n, 'are kept while there are the messages');
move_shard($coordinator, $moved, $two, $one, 'block_writes');
value($two, 'CALL once.maintain()');
is(value($two, 'SELECT count(*) FROM once.failures'), scalar(my @left = split(/ /, ids($two))), 'and go with the shard');

# Retention
value($_, "SELECT once.purge('orders')") for @workers;
send_messages(20, ", ttl => '1 ms'");
value($_, 'CALL once.maintain()') for @workers;
isnt(value($one, 'SELECT count(*) FROM once.dead_letters'), 0, 'dead letters again');
value($coordinator, "SELECT once.alter_queue('orders', retention => '1 ms')");
value($_, 'CALL once.maintain()') for @workers;
is(value($_, 'SELECT count(*) FROM once.dead_letters'), 0, 'retention on ' . $_->name) for @workers;

# ---- Another role ----

value($coordinator, 'CREATE ROLE clerk LOGIN');
value($coordinator, "SELECT once.grant_queue('orders', 'clerk', 'consume')");
value($_, 'GRANT USAGE ON SCHEMA once TO clerk') for $coordinator, @workers;
send_messages(20);
my @ids = split(/ /, ids($one));
sub as_clerk { my ($node, $sql) = @_; return $node->safe_psql('postgres', $sql, extra_params => [ '-U', 'clerk' ]) }
is(as_clerk($one, "SELECT count(*) FROM once.peek('orders', 100)"), scalar(@ids), 'a consumer looks');
is(as_clerk($one, "SELECT queue, ready, problem FROM once.stat_queues"), 'orders|' . @ids . '|', 'counts');
is(as_clerk($one, "SELECT once.cancel('orders', $ids[0])"), 't', 'and cancels');
is(as_clerk($one, 'SET client_min_messages = warning; CALL once.maintain()'), '', 'and maintains');

done_testing();
