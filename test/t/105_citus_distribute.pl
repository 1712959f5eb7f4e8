# once.distribute_queue, once.next_id and once.shards with Citus: a coordinator and two workers.  The tests need Citus in the PostgreSQL
# installation, and are skipped without it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use OnceCitus;
use OnceTest;
use PostgreSQL::Test::Utils;
use Test::More;

citus_required();
my ($coordinator, $one, $two) = citus_cluster([ 'one', 'two' ]);
my @nodes = ($coordinator, $one, $two);

sub on { my ($node, @statements) = @_; return $node->safe_psql('postgres', join(';', @statements)) }
sub value { return on($coordinator, @_) }

# Ask for shards of a queue on a node, in its own terms.
sub shards { my ($node, $what, $queue) = @_; return on($node, "SELECT $what FROM once.shards('$queue')") }

# ---- Distributed with messages that wait ----

value("SELECT once.create_queue('orders', id_index => true)",
	"SELECT count(*) FROM once.send_batch('orders', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 50) n))",
	# One is acked, one is leased, one was received before.
	"SELECT once.ack(receipt) FROM once.receive('orders')",
	"SELECT once.nack(receipt) FROM once.receive('orders')",
	"SELECT count(*) FROM once.lease('orders')");
my (undef, undef, $notices) = $coordinator->psql('postgres', "SELECT once.distribute_queue('orders', shards => 6)", on_error_die => 1);
is($notices, '', 'Citus has nothing to say');
is(value('SELECT count(*), min(id), max(id) FROM once.q_orders'), '49|2|50', 'messages that wait are in the shards, with their ids');
is(value("SELECT pg_relation_size('once.q_orders')"), 0, 'and no longer in the table itself');
is(value("SELECT shard_count, distribution_column FROM citus_tables WHERE table_name = 'once.q_orders'::regclass"), '6|id', 'as many shards as asked for');
is(value("SELECT attidentity = '' FROM pg_attribute WHERE attrelid = 'once.q_orders'::regclass AND attname = 'id'"), 't', 'id is no identity column');
is(sqlstate_of($coordinator, "SELECT once.distribute_queue('orders')"), '55000', 'it is not distributed twice');

is(on($one, "SELECT once.create_queue('orders', if_not_exists => true)"), '', 'on a worker, there is nothing to create');
is(sqlstate_of($one, "SELECT once.create_queue('orders')"), '42P07', 'nor to create again');
is(value("SELECT max_attempts FROM once.list_queues() WHERE queue = 'orders'"), 10, 'and options stay as they are');

# ---- Where the shards are ----

for my $node (@nodes)
{
	my @here = shards_on($coordinator, $node, 'orders');

	is(shards($node, "string_agg(shard, ' ' ORDER BY shard) FILTER (WHERE local)", 'orders'), join(' ', sort @here), $node->name . ': shards that are here');
	is(shards($node, 'count(*), count(DISTINCT shard), count(DISTINCT groupid), count(consumers), bool_and(host = $$127.0.0.1$$)', 'orders'),
		'6|6|2|' . @here . '|t', $node->name . ': all shards');
	is(shards($node, "count(*) FILTER (WHERE NOT local AND port = " . $node->port . ')', 'orders'), 0, $node->name . ': none is both here and elsewhere');
}
my ($shard) = shards_on($coordinator, $one, 'orders');
is(on($one, 'BEGIN', "CREATE TEMP TABLE m AS SELECT * FROM once.receive('$shard')", "SELECT shard, consumers FROM once.shards('orders') WHERE consumers > 0"),
	"$shard|1", 'a consumer');

# ---- Sent from everywhere ----

for my $round (1 .. 3)
{
	on($_, "SELECT once.send('orders', '\"sent\"')", "INSERT INTO once.q_orders (payload) VALUES ('\"inserted\"')",
		"SELECT count(*) FROM once.send_batch('orders', ARRAY['\"batch\"', '\"batch\"']::jsonb[])",
		"INSERT INTO once.q_orders (payload) VALUES ('\"many\"'), ('\"many\"')",
		"INSERT INTO once.q_orders (payload) SELECT '\"selected\"' FROM generate_series(1, 2)",
		"COPY once.q_orders (payload) FROM PROGRAM 'printf \"\\\"copied\\\"\\n\\\"copied\\\"\\n\"'") for @nodes;
}
is(value('SELECT count(*), count(DISTINCT id) FROM once.q_orders WHERE id > 50'), '90|90', 'ids are unique over nodes');
is(value('SELECT count(*), count(DISTINCT id >> 16) > 1, max(id) < 2 ^ 53 FROM once.q_orders WHERE id > 50 AND ((id >> 8) & 255) IN (SELECT groupid FROM pg_dist_node)'),
	'90|t|t', 'and name their nodes');
is(value('SELECT count(DISTINCT (id >> 8) & 255) FROM once.q_orders WHERE id > 50'), 3, 'all three of them');
my @ids = map { sleep 1; on($_, "SELECT once.send('orders', '1')") } map { @$_ } ([ $two, $coordinator, $one ], [ $one, $two, $coordinator ]);
is("@ids", join(' ', sort { $a <=> $b } @ids), 'ids ascend in time, whatever node they are from');

# ---- Citus can alter it ----

value("SELECT alter_distributed_table('once.q_orders', shard_count => 4)");
is(value('SELECT count(*) FROM once.q_orders'), 145, 'alter_distributed_table keeps the messages');
is(shards($coordinator, 'count(*)', 'orders'), 4, 'there are fewer shards now');
ok(on($one, "SELECT once.send('orders', '1')") > $ids[-1], 'and ids go on');
my ($moved) = shards_on($coordinator, $one, 'orders');
move_shard($coordinator, $moved, $one, $two, 'force_logical');
is(shards($two, 'local', 'orders') =~ tr/t//, scalar(shards_on($coordinator, $two, 'orders')), 'a shard has moved, by logical replication');
is(on($two, "SELECT local FROM once.shards('orders') WHERE shard = '$moved'"), 't', 'and is shown where it is now');
is(on($one, "SELECT local, consumers IS NULL FROM once.shards('orders') WHERE shard = '$moved'"), 'f|t', 'on both nodes');

# ---- With another table ----

value('CREATE TABLE effect (id bigint)', "SELECT create_distributed_table('effect', 'id', shard_count => 3, colocate_with => 'none')",
	"SELECT once.create_queue('near', id_index => true)", "SELECT once.distribute_queue('near', colocate_with => 'effect')");
is(value("SELECT count(DISTINCT colocation_id), min(shard_count) FROM citus_tables WHERE table_name IN ('once.q_near'::regclass, 'effect'::regclass)"), '1|3',
	'a queue that is co-located with a table has as many shards');
value('CREATE TABLE here ()');
isnt(sqlstate_of($coordinator, "SELECT once.create_queue('wrong', id_index => true); SELECT once.distribute_queue('wrong', colocate_with => 'here')"), '00000',
	'a table that is not distributed');
ok(value("SELECT once.send('wrong', '1')") < 10, 'the queue is as it was before');

isnt(sqlstate_of($one, "SELECT once.create_queue('elsewhere', id_index => true); SELECT once.distribute_queue('elsewhere')"), '00000',
	'Citus refuses to distribute a queue of a worker');
is(on($one, "SELECT once.send('elsewhere', '1')"), 1, 'which stays as it was');

# ---- By group ----

value("SELECT once.create_queue('grouped')", "SELECT once.send('grouped', '1', group_id => 'a')", "SELECT once.distribute_queue('grouped', by => 'group_id', shards => 2)");
on($_, "SELECT once.send('grouped', '2', group_id => 'b')") for @nodes;
is(value('SELECT group_id, count(*) FROM once.q_grouped GROUP BY 1 ORDER BY 1'), "a|1\nb|3", 'a queue distributed by group_id');
isnt(sqlstate_of($one, "SELECT once.send('grouped', '3')"), '00000', 'each message must have a group then');
my ($group_shard) = shards_on($coordinator, $two, 'grouped');
move_shard($coordinator, $group_shard, $two, $one, 'force_logical');
is(shards($one, 'count(*) FILTER (WHERE local)', 'grouped'), 2, 'its shards move by logical replication, too');
value("SELECT once.create_queue('tenants')", 'ALTER TABLE once.q_tenants ADD COLUMN tenant int NOT NULL DEFAULT 7', "SELECT once.send('tenants', '1')",
	"SELECT once.distribute_queue('tenants', by => 'tenant')", "SELECT once.send('tenants', '2')");
is(value('SELECT count(*), count(DISTINCT tenant) FROM once.q_tenants'), '2|1', 'by an added column');

# ---- What it refuses ----

value("SELECT once.create_queue(q, id_index => q = 'ordered') FROM unnest(ARRAY['ordered', 'unordered']) q",
	"SELECT once.send('ordered', '1', group_id => 'a')", "SELECT once.send('unordered', '1')");
is(sqlstate_of($coordinator, "SELECT once.distribute_queue('ordered')"), '55000', 'messages in groups, which would lose their order');
is(sqlstate_of($coordinator, "SELECT once.distribute_queue('unordered', by => 'group_id')"), '55000', 'messages without a group, which would have no shard');
is(value("SELECT count(*) FROM once.pop('ordered')"), 1, 'it is as it was');
for my $with ('none', 'once.q_near')
{
	my $expected = $with eq 'none' ? '0A000' : '00000';

	is(sqlstate_of($coordinator, "SET citus.shard_replication_factor = 2; SELECT once.distribute_queue('ordered', colocate_with => '$with')"), $expected,
		"shards with copies, co-located with $with: $expected");
}
is(value("SELECT max(n) FROM (SELECT count(*) AS n FROM pg_dist_placement GROUP BY shardid) x"), 1, 'there are no copies');
value('CREATE DATABASE bare');
is(sqlstate_of($coordinator, "\\c bare\nCREATE EXTENSION pg_once; SELECT once.create_queue('q', id_index => true); SELECT once.distribute_queue('q')"), '55000',
	'a database without Citus');

# ---- Prepared ----

{
	my $s = session($one);
	my ($state, $out) = $s->("BEGIN; SELECT once.send('near', '1') > 0; PREPARE TRANSACTION 'sent'");

	is("$state $out", '00000 t', 'a transaction that has put a message into a shard of its node is prepared');
	($state) = $s->("BEGIN; SET LOCAL citus.enable_local_execution = off; SELECT count(*) FROM once.q_near");
	is($state, '00000', 'and leaves nothing behind for the next one of its session');
	$s->('COMMIT');
	is(value('SELECT count(*) FROM once.q_near'), 0, 'nobody sees the message');
	is(($s->("COMMIT PREPARED 'sent'"))[0], '00000', 'until the transaction is committed');
	is(value('SELECT count(*) FROM once.q_near'), 1, 'and then it is there');
}

# ---- Whose it is ----

value('CREATE ROLE shop LOGIN', 'GRANT EXECUTE ON FUNCTION once.create_queue TO shop', 'SET ROLE shop', "SELECT once.create_queue('shops', id_index => true)");
is(sqlstate_of($coordinator, "SET ROLE shop; SELECT once.distribute_queue('shops')"), '42501', 'an owner who may not create tables in the schema');
value("SELECT once.distribute_queue('shops', shards => 2)");
for my $node ($one, $two)
{
	my ($mine) = shards_on($coordinator, $node, 'shops');
	is(on($node, "SET citus.override_table_visibility = off; SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'once.\"q_$mine\"'::regclass"), 'shop',
		$node->name . ': its shards are the owner\'s');
}
value('SET ROLE shop', "SELECT once.send('shops', '1')");
is(value('SELECT count(*) FROM once.q_shops'), 1, 'who can send');

# ---- While others send ----

{
	my ($in, $out) = ('', '');

	value("SELECT once.create_queue('busy', id_index => true)", "SELECT once.send('busy', '1')");
	my $run = IPC::Run::start([ 'psql', '-XAtq', '-d', $coordinator->connstr('postgres') ], '<', \$in, '>&', \$out, IPC::Run::timeout(120));
	$in .= "BEGIN;\nSELECT once.distribute_queue('busy', shards => 2);\nSELECT 'distributed';\n";
	$run->pump until $out =~ /^distributed$/m;
	my $sent = '';
	my $sender = IPC::Run::start([ 'psql', '-XAtq', '-d', $coordinator->connstr('postgres'), '-c', "SELECT once.send('busy', '2') > 2 ^ 48" ],
		'<', \undef, '>&', \$sent, IPC::Run::timeout(120));
	ok($coordinator->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND relation = (SELECT oid FROM pg_class WHERE relname = 'q_busy')"),
		'who sends meanwhile waits');
	$in .= "COMMIT;\n\\q\n";
	$run->finish;
	$sender->finish;
	is($sent, "t\n", 'and gets an id of the distributed queue');
	is(value('SELECT count(*) FROM once.q_busy'), 2, 'and its message is in a shard');
}

# ---- Dropped, and made again ----

# What other nodes have kept of it is there until it is dropped there, too.
on($one, "INSERT INTO once.dead_letter VALUES ('orders', 1, 'attempts', 1, NULL, now(), NULL, NULL, now(), 4, NULL, NULL, '1')");

for my $again (1, 2)
{
	value("SELECT once.drop_queue('orders')");
	is(on($one, "SELECT count(*) FROM once.dead_letter WHERE queue = 'orders'"), 2 - $again, 'dead letters of another node');
	on($one, "SELECT once.drop_queue('orders')") if $again == 1;
	is(on($_, "SET citus.override_table_visibility = off; SELECT count(*) FROM pg_class WHERE relname ~ '^q_orders'"), 0, $_->name . ': nothing is left of its tables')
	  for @nodes;
	value("SELECT once.create_queue('orders', id_index => true)");
	is(on($coordinator, "SELECT once.send('orders', '1')"), 1, 'it is a queue of one node again');
	value("SELECT once.distribute_queue('orders', shards => 2)");
	is(on($one, "SELECT count(once.send('orders', '1')) FROM generate_series(1, 10)"), 10, 'and distributed again');
	is(value('SELECT count(*) FROM once.q_orders'), 11, 'with all messages');
}
value('SET ROLE shop', "SELECT once.drop_queue('shops')");
is(value("SELECT count(*) FROM once.list_queues() WHERE queue = 'shops'"), 0, 'its owner can drop a queue that somebody else has distributed');
value('BEGIN', "SELECT once.create_queue('quick', id_index => true)", "SELECT once.send('quick', '1')", "SELECT once.distribute_queue('quick', shards => 2)",
	"SELECT once.send('quick', '2')", 'COMMIT');
is(value('SELECT count(*) FROM once.q_quick'), 2, 'all in one transaction');
value('BEGIN', "SELECT once.distribute_queue('wrong', shards => 2)", 'ROLLBACK');
is(value("SELECT payload FROM once.pop('wrong')"), 1, 'a distribution that was rolled back');

# ---- Shards on the coordinator ----

value("SELECT citus_set_node_property('127.0.0.1', " . $coordinator->port . ", 'shouldhaveshards', true)", "SELECT once.create_queue('home', id_index => true)",
	"SELECT count(once.send('home', to_jsonb(n))) FROM generate_series(1, 30) n", "SELECT once.distribute_queue('home', shards => 6)");
is(shards($coordinator, 'count(*) FILTER (WHERE local), count(DISTINCT groupid)', 'home'), '2|3', 'a coordinator with shards');
is(value('SELECT count(*) FROM once.q_home', "SELECT pg_relation_size('once.q_home')"), "30\n0", 'messages are in the shards');
is(value("SELECT count(once.send('home', '1')) FROM generate_series(1, 10)", 'SELECT count(*) FROM once.q_home'), "10\n40", 'and more are sent there');
is(value("SELECT once.drop_queue('home')", "SELECT count(*) FROM once.list_queues() WHERE queue = 'home'") =~ s/\s//gr, 0, 'dropped');

done_testing();
