# What is a receipt worth in a copy of the database that has handed it out?  In a copy by CREATE DATABASE .. TEMPLATE it is refused,
# although the copy's pages are the same.  On a promoted standby, which replaces the original, it is valid as before.  A base backup
# that is restored beside the original cannot be told from a standby, so the receipt is valid on both, each on its own account.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = once_node('main');

sub value { my ($sql, $on, $database) = @_; return (split(/\n/, ($on // $node)->safe_psql($database // 'postgres', $sql) // '', -1))[-1] // '' }

# Leased messages, plain ones and two of a group, and one that is not leased
sub lease
{
	my ($database) = @_;

	value("SELECT once.create_queue('orders')", $node, $database);
	value("SELECT count(once.send('orders', to_jsonb(i), group_id => CASE WHEN i > 6 THEN 'g' END)) FROM generate_series(1, 8) i", $node, $database);
	my @receipts = split(/\n/, $node->safe_psql($database, "SELECT receipt FROM once.lease('orders', '1 day', 10)"));
	is(@receipts, 8, "$database: eight are leased");
	value(q(SELECT once.send('orders', '"ready"')), $node, $database);
	return @receipts;
}

sub ids { my ($on, $database) = @_; return value("SELECT string_agg(id::text, ' ' ORDER BY id) FROM once.q_orders", $on, $database) }

# CREATE DATABASE .. TEMPLATE, with both strategies
$node->safe_psql('postgres', 'CREATE DATABASE original');
$node->safe_psql('original', 'CREATE EXTENSION pg_once');
my @receipts = lease('original');
for my $strategy ('wal_log', 'file_copy')
{
	$node->safe_psql('postgres', "CREATE DATABASE $strategy TEMPLATE original STRATEGY = $strategy");
	is(value("SELECT 'once.q_orders'::regclass::oid", $node, $strategy), value("SELECT 'once.q_orders'::regclass::oid", $node, 'original'), "$strategy: the same oids");
	is($node->safe_psql($strategy, "SELECT * FROM once.slots('orders')"), $node->safe_psql('original', "SELECT * FROM once.slots('orders')"), "$strategy: the same slots");
	my $before = $node->safe_psql($strategy, "SELECT * FROM once.slots('orders')");
	for my $receipt (@receipts[0, 6])
	{
		is(sqlstate_of($node, "SELECT once.$_", $strategy), 'ON003', "$strategy: no $_")
		  for "ack('$receipt')", "ack_all(ARRAY['$receipt'::uuid])", "nack('$receipt')", "release('$receipt')", "extend('$receipt', '2 days')";
		is(value("SELECT once.try_ack('$receipt')", $node, $strategy), 'f', "$strategy: no try_ack");
	}
	is($node->safe_psql($strategy, "SELECT * FROM once.slots('orders')"), $before, "$strategy: nothing has been done");
	is(value("SELECT payload FROM once.pop('orders', 10)", $node, $strategy), '"ready"', "$strategy: what is leased there is leased here");
	is(ids($node, $strategy), '1 2 3 4 5 6 7 8', "$strategy: and not lost");
	clean($node, 'orders', $strategy, database => $strategy);

	# The copy's own receipts are valid.
	value(q(SELECT once.send('orders', '"own"')), $node, $strategy);
	is(value("SELECT count(once.ack(receipt)) FROM once.lease('orders', '1 day', 10)", $node, $strategy), '1', "$strategy: its own receipts are good");
}

# Receipts stay valid when the original itself is altered.
my $oid = value("SELECT oid FROM pg_database WHERE datname = 'original'");
$node->safe_psql('postgres', 'ALTER DATABASE original RENAME TO renamed');
is(value("SELECT once.try_ack('$receipts[0]')", $node, 'renamed'), 't', 'good in a database that has been renamed');
mkdir $node->basedir . '/space' or die;
$node->safe_psql('postgres', "CREATE TABLESPACE space LOCATION '" . $node->basedir . "/space'");
$node->safe_psql('postgres', 'ALTER DATABASE renamed SET TABLESPACE space');
is(value("SELECT once.try_ack('$receipts[1]')", $node, 'renamed'), 't', 'or moved');
kill_server($node);
is(value("SELECT once.try_ack('$receipts[2]')", $node, 'renamed'), 't', 'or brought back by crash recovery');
is(value("SELECT oid FROM pg_database WHERE datname = 'renamed'"), $oid, 'which is the same database');
$node->safe_psql('postgres', "DROP DATABASE $_") for 'renamed', 'wal_log', 'file_copy';
$node->safe_psql('postgres', 'DROP TABLESPACE space');

# A base backup, and a standby
@receipts = lease('postgres');
my $dump = $node->basedir . '/orders.dump';
$node->command_ok([ 'pg_dump', '--format=custom', '--file', $dump, $node->connstr('postgres') ], 'pg_dump');
my $standby = once_standby($node, 'standby');
$node->backup('copy');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'copy');
$copy->start;

is(value("SELECT once.try_ack('$receipts[0]')", $copy), 't', 'a restored backup: good');
is(sqlstate_of($copy, "SELECT once.ack('$receipts[0]')"), 'ON004', 'a restored backup: once');
is(ids($copy), '2 3 4 5 6 7 8 9', 'a restored backup: acknowledged');
is(ids(), '1 2 3 4 5 6 7 8 9', 'the original: not');
is(value("SELECT once.try_ack('$receipts[0]')"), 't', 'the original: good, too');
# After a message has been delivered again on one of them, the new receipt is valid only there.
my ($second) = $receipts[1];
value("SELECT once.release('$second')", $copy);
value("SELECT once.release('$second')");
is(value("SELECT string_agg(id || ' ' || attempt, ', ' ORDER BY id) FROM once.lease('orders', '1 day', 10)", $copy), '2 1, 9 1', 'a restored backup: delivered anew');
my $new = value("SELECT receipt FROM once.lease('orders', '1 day', 10) WHERE id = 2");
is(sqlstate_of($copy, "SELECT once.ack('$new')"), 'ON003', 'a restored backup: no receipt that the original has handed out since');
is(value("SELECT once.try_ack('$new')"), 't', 'the original: its own is good');
clean($_, 'orders', $_->name) for $node, $copy;

# The standby is promoted.
catch_up($node, $standby);
$node->stop('immediate');
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'no promotion';
is(value("SELECT once.extend('$receipts[2]', '2 days') > now()", $standby), 't', 'promoted: extend');
is(value("SELECT string_agg(x::text, ' ') FROM unnest(ARRAY[once.try_ack('$receipts[2]'), once.try_ack('$receipts[3]')]) x", $standby), 'true true', 'promoted: good');
is(value("SELECT once.try_ack('$receipts[0]')", $standby), 'f', 'promoted: what was acknowledged before is');
is(value("SELECT count(*) FROM once.try_ack_all(ARRAY['$receipts[6]', '$receipts[7]']::uuid[])", $standby), '2', 'promoted: good in a group');
is(ids($standby), '5 6 9', 'promoted: acknowledged');
clean($standby, 'orders', 'promoted');

# Where a dump is restored, no message is leased, and receipts are refused.
$standby->safe_psql('postgres', 'CREATE DATABASE restored');
$standby->command_ok([ 'pg_restore', '--exit-on-error', '--dbname', $standby->connstr('restored'), $dump ], 'pg_restore');
like(sqlstate_of($standby, "SELECT once.ack('$receipts[0]')", 'restored'), qr/^ON00[13]$/, 'restored dump: no receipt is good');
is(value("SELECT count(once.ack(receipt)) FROM once.lease('orders', '1 day', 10)", $standby, 'restored'), '9', 'restored dump: all are delivered');
done_testing();
