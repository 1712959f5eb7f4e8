# Options and pauses of a queue that Citus has distributed: they are set on the coordinator, hold on every node, and go along with shards
# that move, are split, or come to a new node.  Dead letters, which are on the node of the shard under the queue's name, and dropping.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceCitus;
use OnceTest;
use PostgreSQL::Test::Utils;
use Test::More;

citus_required();
my ($coordinator, $one, $two) = citus_cluster([ 'one', 'two' ]);
my @workers = ($one, $two);

$coordinator->safe_psql('postgres', $_)
  for "SELECT once.create_queue('orders', id_index => true, max_attempts => 3, retry_delay => '0', retry_delay_max => '0')",
  "SELECT once.distribute_queue('orders', shards => 4)";

# Each node has a session that knows the queue from before each change of an option.
my %session = map { $_->name => session($_) } $coordinator, @workers;
sub in_session
{
	my ($node, $statement) = @_;
	my ($state, $out) = $session{ $node->name }->($statement);

	return $state eq '00000' ? $out : $state;
}

# Change the queue.
sub on_coordinator
{
	$coordinator->safe_psql('postgres', "SELECT once.$_[0]");
}

# Send so many messages, to shards on all nodes.
sub send_messages
{
	my ($n) = @_;
	$coordinator->safe_psql('postgres', "SELECT count(once.send('orders', to_jsonb(n))) FROM generate_series(1, $n) n");
}

# How many messages are on a node, or in a shard there
sub messages
{
	my ($node, $queue) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM once.peek('" . ($queue // 'orders') . "', 1000)");
}

# The dead letters of a node
sub dead_letters
{
	my ($node) = @_;
	return $node->safe_psql('postgres', 'SELECT queue, reason, attempts, last_error, count(*) FROM once.dead_letters GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4');
}

# Let the deliveries of all messages on all workers fail until none is left, and check that each message is delivered so often, and is a
# dead letter then.
sub all_fail
{
	my ($attempts, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	for my $node (@workers)
	{
		my $n = messages($node);
		my @delivered;

		cmp_ok($n, '>', 0, "$what: there are messages on " . $node->name);
		while (@delivered < 20)
		{
			my $count = in_session($node, "SELECT count(once.nack(receipt, error => 'broken')) FROM once.receive('orders', 1000)");
			last if $count eq '0';
			push @delivered, $count;
		}
		is("@delivered", join(' ', ($n) x $attempts), "$what: deliveries on " . $node->name);
		is(messages($node), 0, "$what: no message is left there");
		is(dead_letters($node), "orders|attempts|$attempts|broken|$n", "$what: but dead letters under the queue's name");
	}
}

sub purge_dead_letters
{
	$_->safe_psql('postgres', "SELECT once.purge_dead_letters('orders')") for @workers;
}

# Any shard that is on a node
sub shard_on
{
	my ($node) = @_;
	return (shards_on($coordinator, $node, 'orders'))[0];
}

# ---- Attempts, and dead letters ----

send_messages(60);
all_fail(3, 'given before the distribution');

for my $node (@workers)
{
	my $name = $node->name;
	my $dead = $node->safe_psql('postgres', "SELECT string_agg(id::text, ' ' ORDER BY id) FROM once.dead_letters");
	my $n = () = $dead =~ /\d+/g;

	is($node->safe_psql('postgres', "SELECT count(DISTINCT id) FROM once.failures WHERE queue = 'orders'"), $n, "$name: their failures");
	is($node->safe_psql('postgres', "SELECT once.redrive('orders')"), $n, "$name: redrive");
	is(dead_letters($node), '', "$name: no dead letter is left");
	is($coordinator->safe_psql('postgres', "SELECT string_agg(id::text, ' ' ORDER BY id) FROM once.q_orders"), $dead, "$name: they are in the queue again");
	is($node->safe_psql('postgres', "SELECT string_agg(id::text, ' ' ORDER BY id) FROM once.pop('orders', 1000)"), $dead, "$name: and are delivered there");
}

# ---- alter_queue ----

on_coordinator("alter_queue('orders', max_attempts => 2)");
send_messages(60);
all_fail(2, 'max_attempts');
purge_dead_letters();
is($_->safe_psql('postgres', "SELECT max_attempts, retry_delay, ttl FROM once.list_queues() WHERE queue = 'orders'"), '2|00:00:00|', $_->name . ': once.list_queues')
  for $coordinator, @workers;
for my $node (@workers)
{
	isnt(sqlstate_of($node, "SELECT once.$_"), '00000', $node->name . ": refused: $_")
	  for "alter_queue('orders', max_attempts => 4)", "pause('orders')", "drop_queue('orders')";
}
isnt(sqlstate_of($coordinator, "SELECT once.$_"), '00000', "refused: $_") for "alter_queue('orders', archive => '1 day')";

my $moved = shard_on($one);
send_messages(60);
move_shard($coordinator, $moved, $one, $two, 'force_logical');
cmp_ok(messages($two, $moved), '>', 0, 'a shard has moved, and has messages');
all_fail(2, 'after a move');
purge_dead_letters();

split_shard($coordinator, $moved, $two, $one);
is(scalar(shards_on($coordinator, $_, 'orders')), $_ == $one ? 2 : 3, 'a shard was split: ' . $_->name) for @workers;
send_messages(60);
all_fail(2, 'after a split');
purge_dead_letters();

on_coordinator("alter_queue('orders', reset => ARRAY['max_attempts'])");
send_messages(60);
all_fail(10, 'the default');
purge_dead_letters();

# ---- Delays ----

on_coordinator("alter_queue('orders', retry_delay => '1 h', retry_delay_max => '1 h')");
send_messages(60);
for my $node (@workers)
{
	my $n = messages($node);

	is(in_session($node, "SELECT count(once.nack(receipt)) FROM once.receive('orders', 1000)"), $n, $node->name . ': messages are given back');
	is($node->safe_psql('postgres', "SELECT count(*) FROM once.peek('orders', 1000) WHERE ready_at > now() + interval '45 min'"), $n, $node->name . ': for the retry delay');
	is(in_session($node, "SELECT once.purge('orders')"), $n, $node->name . ': once.purge');
}
on_coordinator("alter_queue('orders', retry_delay => '0', retry_delay_max => '0')");

# ---- Expiry, and the age of dead letters ----

on_coordinator("alter_queue('orders', ttl => '1 ms')");
send_messages(60);
for my $node (@workers)
{
	my $n = messages($node);

	is(in_session($node, "SELECT count(*) FROM once.receive('orders', 1000)"), 0, $node->name . ': nothing is delivered after its time to live');
	is(dead_letters($node), "orders|expired|0||$n", $node->name . ': it is dead');
}
on_coordinator("alter_queue('orders', ttl_action => 'drop')");
send_messages(60);
on_coordinator("alter_queue('orders', retention => '1 ms')");
for my $node (@workers)
{
	my $before = dead_letters($node);

	is(in_session($node, "SELECT count(*) FROM once.receive('orders', 1000)"), 0, $node->name . ': nothing is delivered with ttl_action');
	is(messages($node), 0, $node->name . ': it is gone');
	is(dead_letters($node), $before, $node->name . ': and not dead');
	$node->safe_psql('postgres', 'CALL once.maintain()');
	is(dead_letters($node), '', $node->name . ': dead letters are deleted by their age');
}
on_coordinator("alter_queue('orders', reset => ARRAY['ttl', 'ttl_action', 'retention'])");

# ---- Pauses ----

# What sending and consuming say on a node, in its session and in a new one, under the queue's name and that of a shard
sub states
{
	my ($node) = @_;
	my @send = ("once.send('orders', '1')", "once.send_batch('orders', ARRAY['1', '2']::jsonb[])");
	my @consume = ("once.ack(receipt) FROM once.receive('orders')", "* FROM once.lease('orders', '1 ms')", "* FROM once.pop('orders')");
	my ($shard) = shards_on($coordinator, $node, 'orders');

	push @consume, "* FROM once.pop('$shard')" if defined $shard;
	my $tell = sub
	{
		my %states = map { $_ => 1 } map { ((sqlstate_of($node, "SELECT $_")), ($session{ $node->name }->("SELECT $_"))[0]) } @_;
		return join(' ', sort keys %states);
	};
	return 'send ' . $tell->(@send) . ', consume ' . ($node == $coordinator ? '' : $tell->(@consume));
}

sub paused
{
	my ($send, $consume, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(states($_), "send $send, consume " . ($_ == $coordinator ? '' : $consume), "$what: " . $_->name) for $coordinator, @workers;
}

paused('00000', '00000', 'not paused');
on_coordinator("pause('orders', 'consume')");
paused('00000', 'ON008', 'paused for consumers');
$moved = shard_on($two);
move_shard($coordinator, $moved, $two, $one, 'block_writes');
is(sqlstate_of($one, "SELECT * FROM once.pop('$moved')"), 'ON008', 'a shard that moves stays paused');
paused('00000', 'ON008', 'after a move');
on_coordinator("pause('orders', 'send')");
on_coordinator("resume('orders', 'consume')");
paused('ON008', '00000', 'paused for producers');
is($_->safe_psql('postgres', "SELECT send_paused, consume_paused FROM once.list_queues() WHERE queue = 'orders'"), 't|f', $_->name . ': once.list_queues')
  for $coordinator, @workers;

# ---- A new node ----

on_coordinator("alter_queue('orders', max_attempts => 4)");
my $three = citus_node('three');
citus_join($coordinator, $three);
$session{three} = session($three);
$moved = shard_on($one);
move_shard($coordinator, $moved, $one, $three, 'block_writes');
push @workers, $three;
paused('ON008', '00000', 'on a new node');
on_coordinator("resume('orders')");
paused('00000', '00000', 'resumed');
$coordinator->safe_psql('postgres', 'DELETE FROM once.q_orders');
send_messages(100);
all_fail(4, 'on a new node');

# ---- Dropping ----

# Moves leave the old tables behind.  Citus drops them by itself some time later.
$coordinator->safe_psql('postgres', 'CALL citus_cleanup_orphaned_resources()');

# Dead letters of other nodes are not dropped along with the queue.
for my $node (@workers)
{
	isnt(dead_letters($node), '', $node->name . ': there are dead letters');
	cmp_ok($node->safe_psql('postgres', "SELECT once.purge_dead_letters('orders')"), '>', 0, $node->name . ': they are deleted');
}
on_coordinator("drop_queue('orders')");
for my $node ($coordinator, @workers)
{
	my $name = $node->name;

	is($node->safe_psql('postgres', "SET citus.override_table_visibility = off; SELECT string_agg(relname, ' ') FROM pg_class WHERE relname LIKE 'q\\_orders%'"), '',
		"$name: the table and its shards are gone");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM once.list_queues()'), 0, "$name: no queue is listed");
	is(sqlstate_of($node, "SELECT $_"), 'ON001', "$name: $_")
	  for "once.send('orders', '1')", "* FROM once.receive('orders')", "* FROM once.pop('$moved')";
}

# So a queue of the same name has nothing of the one before.
on_coordinator("create_queue('orders', id_index => true)");
on_coordinator("distribute_queue('orders', shards => 6)");
for my $node ($coordinator, @workers)
{
	is(dead_letters($node), '', $node->name . ': a new queue has no dead letters');
	is($node->safe_psql('postgres', "SELECT max_attempts, retry_delay FROM once.list_queues() WHERE queue = 'orders'"), '10|00:00:01', $node->name . ': and the default options');
}

done_testing();
