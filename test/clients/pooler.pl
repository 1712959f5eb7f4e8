# What works through PgBouncer, and what does not.  (That workers do, the tests of the drivers show.)

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use ClientTest;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'there is no PgBouncer' if !have_pooler();

my $node = start_servers('socket');
my $port = environment('pooled')->{PGPORT};

# The databases of PgBouncer have different pools: transaction mode, a single connection, and statement mode.
sub pool { return $node->connstr('postgres') . " port=$port user=pooled dbname=$_[0]" }

# Execute statements through PgBouncer, with one connection.  Returns what they print, with the SQLSTATE of errors.
sub pooled
{
	my ($pool, @statements) = @_;
	my ($out, $error) = run_command([ 'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-d', pool($pool), map { ('-c', $_) } @statements ]);

	return join(' ', $out =~ s/\n+/ /gr, $error =~ /(?:ERROR|FATAL):  (\w{5})/g) =~ s/^ +| +$//gr;
}

value("SELECT once.create_queue('orders'), once.grant_queue('orders', 'pooled', 'consume'), once.grant_queue('orders', 'pooled', 'produce')");
value('CREATE TABLE shipment (order_no int); GRANT INSERT ON shipment TO pooled');

# SET LOCAL belongs to its transaction.
value("SELECT once.send('orders', '1')");
is(pooled('single', 'BEGIN', "SET LOCAL once.unacked = 'redeliver'", "SELECT payload FROM once.receive('orders')", 'COMMIT', 'SHOW once.unacked'),
	'1 error', 'SET LOCAL in a transaction');
value("SELECT once.purge('orders')");

# SET belongs to the connection to the server, and stays there for others.
is(pooled('single', 'SET once.flush_claims = on'), '', 'SET');
is(pooled('single', 'SHOW once.flush_claims'), 'on', 'the next client has it');
pooled('single', 'RESET once.flush_claims');

# So do prepared statements.
is(pooled('single', 'PREPARE p AS SELECT 1'), '', 'PREPARE');
is(pooled('single', 'PREPARE p AS SELECT 2'), '42P05', 'the next client cannot use the name');
pooled('single', 'DEALLOCATE p');

# Options of the connection are refused.
unlike((run_command([ 'psql', '-XAtqc', 'SELECT 1', '-d', pool('postgres') . " options='-c once.flush_claims=on'" ]))[0], qr/1/, 'options of a connection');

# A receipt of a lease is good for any connection.
value("SELECT once.send('orders', '2')");
my $receipt = pooled('postgres', "SELECT receipt FROM once.lease('orders')");
is(pooled('single', "SELECT once.try_ack('$receipt')"), 't', 'a lease is acknowledged by another connection');

# In statement mode there are no transactions, but single statements work.
value("SELECT once.send('orders', '3')");
is(pooled('statement', 'BEGIN'), '08P01', 'statement mode: BEGIN');
is(pooled('statement', "WITH m AS (SELECT * FROM once.receive('orders', 10)), s AS (INSERT INTO shipment SELECT payload::int FROM m) SELECT count(once.ack(receipt)) FROM m"),
	'1', 'statement mode: everything in one statement');
is(value('SELECT order_no FROM shipment'), '3', 'with its effect');

# A call that waits keeps its connection to the server.  Others wait for one, unless the pool has more.
my $waiter = spawn({}, 'waiter', 'psql', '-XAtqc', "SELECT payload FROM once.pop('orders', wait => '60 s')", '-d', pool('single'));
my $asleep = "backend_type = 'client backend' AND wait_event_type = 'Extension'";
until_query('a call waits', "EXISTS (SELECT FROM pg_stat_activity WHERE $asleep)");
my $sender = spawn({}, 'sender', 'psql', '-XAtqc', "SELECT once.send('orders', '4')", '-d', pool('single'));
# The columns are: database, user, clients that have a connection, clients that wait for one.
until_true('another client waits for the pool', sub { pooled('pgbouncer', 'SHOW POOLS') =~ /\bsingle\|pooled\|1\|1\|/ });
ok(!has_ended($sender), 'a client of the same pool has to wait');
is(pooled('postgres', "SELECT once.send('orders', '5') > 0"), 't', 'a client of another pool has not');
until_true('the call ends', sub { has_ended($waiter) && has_ended($sender) });
is(slurp_file($node->basedir . '/waiter.output'), "5\n", 'the call returns');
is(pooled('postgres', "SELECT payload FROM once.pop('orders')"), '4', 'and the other client goes on');

# The process id that PgBouncer tells a client is not that of the server's process.  But PgBouncer passes a cancellation on.
$waiter = spawn({}, 'waiter2', 'psql', '-XAtqc', "SELECT payload FROM once.pop('orders', wait => '60 s')", '-d', pool('postgres'));
until_query('a call waits', "EXISTS (SELECT FROM pg_stat_activity WHERE $asleep)");
kill('INT', $waiter);
cmp_ok(until_true('it ends', sub { has_ended($waiter) }), '<', 10, 'a call that waits is cancelled');

# If its client dies, the call takes nothing.
$waiter = spawn({}, 'waiter3', 'psql', '-XAtqc', "SELECT payload FROM once.pop('orders', wait => '60 s')", '-d', pool('postgres'));
until_query('a call waits', "EXISTS (SELECT FROM pg_stat_activity WHERE $asleep)");
kill('KILL', $waiter);
until_query('its session ends', "NOT EXISTS (SELECT FROM pg_stat_activity WHERE $asleep)");
value("SELECT once.send('orders', '6')");
is(pooled('postgres', "SELECT attempt FROM once.peek('orders')"), '0', 'a client that was killed takes nothing');

clean($node, 'orders', 'in the end');
stop_pooler();
done_testing();
