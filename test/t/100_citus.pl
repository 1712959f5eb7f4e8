# Queues that Citus has distributed: what their verbs do on each node, what is refused, and that effects and acks are committed together
# over several nodes.  A coordinator and two workers.  The tests need Citus in the PostgreSQL installation, and are skipped without it.

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

# Two-phase transactions that a crash leaves undecided are left for the test to decide.
my ($coordinator, $one, $two) = citus_cluster([ 'one', 'two' ], 'citus.recover_2pc_interval = -1', "once.debug_fallback = '1 h'");

# Two messages are sent before the queue is distributed.
$coordinator->safe_psql('postgres', <<'SQL');
SELECT once.create_queue('orders', id_index => true, retry_delay => '0', retry_delay_max => '0');
SELECT count(*) FROM once.send_batch('orders', ARRAY['1', '2']::jsonb[]);
SELECT once.distribute_queue('orders', shards => 4);
CREATE TABLE effect (id bigint, n bigint);
SELECT create_distributed_table('effect', 'id', colocate_with => 'once.q_orders');
SQL

# An id whose row is in a shard of this number, or on this node
sub id_for
{
	my ($where) = @_;

	return $coordinator->safe_psql('postgres', "SELECT min(n) FROM generate_series(1000000, 1001000) n JOIN citus_shards s "
		. "ON s.shardid = get_shard_id_for_distribution_column('effect', n) WHERE s.table_name = 'effect'::regclass AND s.nodeport = " . $where->port);
}

is($coordinator->safe_psql('postgres', 'SELECT count(*) FROM once.q_orders'), 2, 'messages from before the distribution are in the shards');
is($coordinator->safe_psql('postgres', "SELECT pg_relation_size('once.q_orders')"), 0, 'and no longer in the table of the coordinator');

# ---- The shards ----

for my $node ($coordinator, $one, $two)
{
	is($node->safe_psql('postgres', "SELECT port, count(*), bool_or(local), bool_and(local) FROM once.shards('orders') GROUP BY port ORDER BY port = " . $two->port),
		join("\n", map { my $local = $_ == $node ? 't' : 'f'; $_->port . "|2|$local|$local" } $one, $two), $node->name . ': once.shards');
	is($node->safe_psql('postgres', "SELECT string_agg(shard, ' ' ORDER BY shard) FROM once.shards('orders') WHERE port = " . $one->port),
		join(' ', shards_on($coordinator, $one, 'orders')), $node->name . ': their names');
}

# ---- What is refused ----

for my $node ($coordinator, $one, $two)
{
	my $name = $node->name;

	is(sqlstate_of($node, "SELECT once.send('orders', '1', dedup_id => 'a')"), '0A000', "$name: a dedup_id");
	is(sqlstate_of($node, 'CALL once.maintain()'), '00000', "$name: once.maintain");
	is(sqlstate_of($node, $_), $node == $coordinator ? '0A000' : '00000', "$name: $_")
	  for "SELECT once.ack(receipt) FROM once.receive('orders')", "SELECT * FROM once.lease('orders', '1 ms')", "SELECT * FROM once.pop('orders')",
	  "CALL once.wait(ARRAY['orders'], '0 s')";
}
my ($shard) = shards_on($coordinator, $one, 'orders');
is(sqlstate_of($one, "SELECT once.send('$shard', '1')"), '0A000', 'nothing is sent to a shard by its name');
is(sqlstate_of($one, "SET once.debug_point = citus_symbols_missing; SELECT * FROM once.receive('orders')"), '0A000',
	'nothing is received if Citus cannot be asked for two-phase commit');
is(sqlstate_of($one, "SET once.debug_point = citus_symbols_missing; SELECT once.send('orders', '1')"), '0A000', 'and nothing is sent');

# ---- Sent from everywhere, consumed on the nodes of the shards ----

$coordinator->safe_psql('postgres', 'DELETE FROM once.q_orders');
$_->safe_psql('postgres', "SELECT count(once.send('orders', to_jsonb(n))) FROM generate_series(1, 30) n;"
	. "INSERT INTO once.q_orders (payload) SELECT to_jsonb(n) FROM generate_series(31, 40) n") for $coordinator, $one, $two;
is($coordinator->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM once.q_orders'), '120|120', 'ids are unique over nodes');
is($coordinator->safe_psql('postgres', 'SELECT max(id) < 2::numeric ^ 53 FROM once.q_orders'), 't', 'and can be read by every parser of JSON');

for my $node ($one, $two)
{
	my $name = $node->name;
	my $prepared = 'SELECT count(*) FROM pg_dist_transaction';
	my $before = $node->safe_psql('postgres', $prepared);

	# Effects are in the shard of the message's id, which is on the same node.
	ok($node->safe_psql('postgres', "SELECT count(*) FROM once.peek('orders', 1000)") > 0, "$name: there are messages");
	$node->safe_psql('postgres', <<SQL);
BEGIN;
CREATE TEMP TABLE m ON COMMIT DROP AS SELECT * FROM once.receive('orders', 1000);
DO \$\$
DECLARE
  r record;
BEGIN
  FOR r IN SELECT * FROM m LOOP
    INSERT INTO effect VALUES (r.id, (r.payload#>>'{}')::bigint);
    PERFORM once.ack(r.receipt);
  END LOOP;
END \$\$;
COMMIT;
SQL
	is($node->safe_psql('postgres', "SELECT count(*) FROM once.receive('orders', 1000)"), 0, "$name: one call gets the messages of all shards");
	clean($node, 'orders', $name);
	is($node->safe_psql('postgres', $prepared), $before, "$name: transactions of one node are not prepared");
}
is($coordinator->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM effect'), '120|120', 'each message has one effect');
is($coordinator->safe_psql('postgres', 'SELECT count(*) FROM once.q_orders'), 0, 'none is left');

# A node's own shards are preferred.
for my $node ($one, $two)
{
	$node->safe_psql('postgres', "SELECT count(once.send('orders', '1')) FROM generate_series(1, 20)");
	is($node->safe_psql('postgres', "SELECT count(once.ack(receipt)) FROM once.receive('orders', 100)"), 20, $node->name . ': what is sent on a node stays there');
}

# The nodes in turns, and each has a session of its own.  A node's first ids are ahead of its clock, by a second.
sleep(1.5);
for my $n (1 .. 9)
{
	my $node = ($coordinator, $one, $two)[ $n % 3 ];
	$node->safe_psql('postgres', "SELECT once.send('orders', '$n'), pg_sleep(0.005)");
}
is($coordinator->safe_psql('postgres', "SELECT string_agg(payload::text, '' ORDER BY id) FROM once.q_orders"), '123456789', 'ids tell in which order nodes have sent');
is($one->safe_psql('postgres', "SELECT count(*) FROM once.pop('orders', 100)") + $two->safe_psql('postgres', "SELECT count(*) FROM once.pop('orders', 100)"), 9,
	'once.pop');

# ---- Waiting ----

# Nobody looks by himself here, as if messages came only by wake-ups.  A consumer waits on node one, and is woken once: by what it prints.
sub start_waiter
{
	my ($statement) = @_;
	my %waiter = (out => '');

	$waiter{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $one->connstr('postgres'), '-c', $statement ], '<', \undef, '>&', \$waiter{out}, IPC::Run::timeout(120));
	$one->poll_query_until('postgres', "SELECT waiters = 1 FROM once.stat_queues WHERE queue = 'orders'") or die "nobody waits: $waiter{out}";
	$one->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%once.%wait%' AND wait_event_type = 'Extension' AND pid <> pg_backend_pid())")
	  or die 'nobody sleeps';
	return \%waiter;
}

my %ways = (
	receive => "SELECT id, once.ack(receipt) IS NOT NULL FROM once.receive('orders', wait => '60 s')",
	lease => "SELECT id, once.ack(receipt) IS NOT NULL FROM once.lease('orders', '1 min', wait => '60 s')",
	pop => "SELECT id, true FROM once.pop('orders', wait => '60 s')");
for my $from ($coordinator, $one, $two)
{
	for my $way (sort keys %ways)
	{
		my $id = id_for($one);
		my $waiter = start_waiter($ways{$way});
		my $sent = time();

		$from->safe_psql('postgres', "INSERT INTO once.q_orders (id, payload) VALUES ($id, '1')");
		$waiter->{run}->finish;
		is($waiter->{out}, "$id|t\n", "once.$way: a message that is inserted on " . $from->name . ' wakes a waiter');
		cmp_ok(time() - $sent, '<', 30, 'at once');
	}

	# What a worker sends stays there.  So the other one has to name the id.  From the coordinator, messages are sent until one arrives.
	my $send = $from == $two ? 'INSERT INTO once.q_orders (id, payload) VALUES (' . id_for($one) . ", '1')" : "SELECT once.send('orders', '1')";
	my $waiter = start_waiter("CALL once.wait(ARRAY['orders'], '60 s')");
	my $sent = time();
	for (my $tries = 0; $tries < 50 and $one->safe_psql('postgres', "SELECT count(*) FROM once.peek('orders')") == 0; $tries++)
	{
		$from->safe_psql('postgres', $send);
	}
	$waiter->{run}->finish;
	is($waiter->{out}, "orders\n", 'once.wait: a message that is sent on ' . $from->name . ' wakes a waiter');
	cmp_ok(time() - $sent, '<', 30, 'at once');
	$_->safe_psql('postgres', "SELECT once.purge('orders')") for $one, $two;
}
is($one->safe_psql('postgres', "SELECT waiters FROM once.stat_queues WHERE queue = 'orders'"), 0, 'nobody waits any more');

# ---- Acks in shards do not go through the executor, and a shard is a queue by its own name as well ----

$coordinator->safe_psql('postgres', "SELECT count(once.send('orders', '1')) FROM generate_series(1, 60)");
is($one->safe_psql('postgres', <<SQL), 1, 'the acks of one statement are one command');
BEGIN;
DECLARE rows CURSOR FOR SELECT cmax::text FROM once.q_$shard ORDER BY id LIMIT 5;
CREATE TEMP TABLE acked AS SELECT receipt FROM once.receive('$shard', 5);
SELECT FROM (SELECT count(once.ack(receipt)) FROM acked) a;
CREATE TEMP TABLE seen (command text);
DO \$\$
DECLARE
  c refcursor := 'rows';
  r record;
BEGIN
  FOR i IN 1..5 LOOP
    FETCH c INTO r;
    INSERT INTO seen VALUES (r.cmax);
  END LOOP;
END \$\$;
SELECT count(DISTINCT command) FROM seen;
ROLLBACK;
SQL
clean($one, $shard, "shard $shard");

is($coordinator->safe_psql('postgres', 'SELECT count(*) FROM once.q_orders'), 60, 'which was rolled back');
my $rest = $two->safe_psql('postgres', "SELECT count(*) FROM once.peek('orders', 1000)");
ok($rest > 0, 'there are messages on the other node');
is($two->safe_psql('postgres', "SELECT once.purge('orders')"), $rest, 'they are purged there');
is($two->safe_psql('postgres', "SELECT count(*) FROM once.peek('orders')"), 0, 'none is left there');
is($coordinator->safe_psql('postgres', 'SELECT count(*) FROM once.q_orders'), 60 - $rest, 'and those of the first node are left');

# ---- What Citus runs on other nodes, and how it reaches the shards of this one ----

# A query that Citus gives to the nodes in parts, each of which could commit although the query fails.
$coordinator->safe_psql('postgres', 'CREATE TABLE many (a int)');
$coordinator->safe_psql('postgres', "SELECT create_distributed_table('many', 'a'); INSERT INTO many SELECT generate_series(1, 20)");
my $queued = $coordinator->safe_psql('postgres', 'SELECT count(*) FROM once.q_orders');
isnt(sqlstate_of($_, "SELECT a, once.send('orders', to_jsonb(1 / (a - 7))) FROM many"), '00000', $_->name . ': nothing is sent by a part of a query')
  for $coordinator, $one;
isnt(sqlstate_of($_, "SELECT a, (SELECT count(*) FROM once.pop('orders', a)) FROM many"), '00000', $_->name . ': nothing is consumed by a part of a query')
  for $coordinator, $one;
is($coordinator->safe_psql('postgres', 'SELECT count(*) FROM once.q_orders'), $queued, 'and nothing was');
# A transaction sees what it has sent, however Citus reaches the shards of its own node.
is($one->safe_psql('postgres', "BEGIN; $_ SELECT once.send('orders', '\"seen\"') \\g /dev/null\nSELECT count(*) - $queued FROM once.q_orders; ROLLBACK"), 1, "seen: $_")
  for '', 'SET LOCAL citus.enable_local_execution = off;', 'EXPLAIN SELECT * FROM many \g /dev/null'."\n";

# ---- Effects on another node ----

# Let a consumer on a worker process a message whose effect is on the other worker, and kill it when Citus has done its part of the commit
# and the server has not.  Then a second consumer processes the message.  Returns how many effects there are after each of the two.
sub crash_in_commit
{
	my ($point) = @_;
	my $id = id_for($two);
	my $process = "SELECT count(once.ack(receipt)) FROM once.receive('orders');\nINSERT INTO effect VALUES ($id, 0);";
	my $count = "SELECT count(*) FROM effect WHERE id = $id";
	my ($consumer, $out, $holder, $held) = ('', '', '', '');

	$coordinator->safe_psql('postgres', "DELETE FROM effect WHERE id = $id");
	my $before = $one->safe_psql('postgres', "SELECT count(*) FROM once.peek('orders', 1000)");

	# PostgreSQL empties the temporary table between Citus's part and its own.  There the consumer waits for whoever has the table locked.
	my $run = IPC::Run::start([ 'psql', '-XAtq', '-d', $one->connstr('postgres') ], '<', \$consumer, '>&', \$out, IPC::Run::timeout(120));
	$consumer .= "SET once.debug_point = '$point';\nCREATE TEMP TABLE gate (n int) ON COMMIT DELETE ROWS;\nSELECT 'gate ' || pg_my_temp_schema()::regnamespace;\n";
	$run->pump until $out =~ /^gate (\w+)$/m;
	my $gate = "$1.gate";
	my $lock = IPC::Run::start([ 'psql', '-XAtq', '-d', $one->connstr('postgres') ], '<', \$holder, '>&', \$held, IPC::Run::timeout(120));
	$holder .= "BEGIN;\nLOCK TABLE $gate IN ACCESS SHARE MODE;\nSELECT 'locked';\n";
	$lock->pump until $held =~ /^locked$/m;
	$consumer .= "BEGIN;\nINSERT INTO gate VALUES (1);\n$process\nSELECT 'pid ' || pg_backend_pid();\nCOMMIT;\n";
	$run->pump until $out =~ /^pid (\d+)$/m;
	my $pid = $1;
	$one->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $pid AND NOT granted)") or die "no commit: $out";
	kill_server($one);
	$_->kill_kill(grace => 0.1) for $run, $lock;
	$one->safe_psql('postgres', 'SELECT recover_prepared_transactions()');

	my $first = $coordinator->safe_psql('postgres', $count);
	is($one->safe_psql('postgres', "SELECT count(*) FROM once.peek('orders', 1000)"), $before, "$point: the message is still there");
	$one->safe_psql('postgres', "BEGIN; $process COMMIT");
	is($one->safe_psql('postgres', "SELECT count(*) FROM once.peek('orders', 1000)"), $before - 1, "$point: and is processed then");
	return "$first " . $coordinator->safe_psql('postgres', $count);
}

is(crash_in_commit('remote_one_phase'), '1 2', 'without two-phase commit, a crash doubles the effect');
is(crash_in_commit(''), '0 1', 'with it, the effect happens once');
is($one->safe_psql('postgres', 'SELECT count(*) FROM pg_dist_transaction'), 1, 'the transaction of two nodes that succeeded was prepared');

# ---- Or none ----

my ($here, $there) = map { id_for($_) } $one, $two;
my $ack = "SELECT count(once.ack(receipt)) FROM once.receive('orders');";

is(sqlstate_of($one, "SET once.remote_effects = error; BEGIN; $ack INSERT INTO effect VALUES ($here, 1); COMMIT"), '00000',
	'once.remote_effects = error: effects of the same node');
is(sqlstate_of($one, "SET once.remote_effects = error; BEGIN; $ack INSERT INTO effect VALUES ($there, -7); COMMIT"), 'ON014',
	'once.remote_effects = error: effects on another node');
is($coordinator->safe_psql('postgres', 'SELECT count(*) FROM effect WHERE n = -7'), 0, 'which have not happened');

# A queue and a ledger that are not distributed are not in the catalogs of Citus, but are changed by the same transaction.
$coordinator->safe_psql('postgres', "SELECT once.create_queue('plain'); SELECT once.create_ledger('l', '1 day')");
is(sqlstate_of($coordinator, "SET once.remote_effects = error; BEGIN; SELECT once.send('plain', '1'); INSERT INTO effect VALUES ($there, -7); COMMIT"), 'ON014',
	'a queue of one node');
is(sqlstate_of($coordinator, "SET once.remote_effects = error; BEGIN; SELECT once.mark_processed('l', 'a'); INSERT INTO effect VALUES ($there, -7); COMMIT"), 'ON014',
	'a ledger');

# ---- Citus must be loaded first ----

$two->stop;
$two->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_once, citus'");
is($two->start(fail_ok => 1), 0, 'the server does not start with the libraries in the wrong order');
like(slurp_file($two->logfile), qr/Citus has to be loaded first/, 'and says why');

done_testing();
