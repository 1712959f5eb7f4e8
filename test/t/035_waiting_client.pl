# A call that waits claims nothing if its client is gone or has cancelled the call.  A message that comes then is left as if nobody had
# asked for it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $debug_lock = '1869505381, 1';
my %waiting = (
	receive => "SELECT payload FROM once.receive('q', wait => '60 s')",
	lease => "SELECT payload FROM once.lease('q', '1 h', wait => '60 s')",
	pop => "SELECT payload FROM once.pop('q', wait => '60 s')");

my $node = once_node('main', 'client_connection_check_interval = 0', 'statement_timeout = 0', 'client_min_messages = warning');

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

value("SELECT once.create_queue('q', id_index => true)");

# Start a client that waits for a message, and wait until its backend is in the state that a condition on pg_stat_activity describes.
# With a debug point, the backend stops there if another session holds the lock.
my $asleep = "wait_event_type = 'Extension'";
my $locked = "wait_event_type = 'Lock'";
sub start_client
{
	my ($statement, $state, $point) = @_;
	my $client = { output => '' };

	{
		# The sessions that look for it must not have its name.
		local $ENV{PGAPPNAME} = 'waiter';
		local $ENV{PGOPTIONS} = $point ? "-c once.debug_point=$point" : '';
		$client->{run} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-d', $node->connstr('postgres'), '-c', $statement ],
			'<', \undef, '>&', \$client->{output}, IPC::Run::timeout(120));
	}
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'waiter' AND $state")
	  or die 'nobody waits';
	$client->{backend} = value("SELECT pid FROM pg_stat_activity WHERE application_name = 'waiter'");
	return $client;
}

# Kill the client with SIGKILL, but not its backend.
sub kill_client
{
	my ($client) = @_;

	$client->{run}->signal('KILL');
	eval { IPC::Run::finish($client->{run}) };
}

# Return what the client has printed in the end.
sub finish_client
{
	my ($client) = @_;

	IPC::Run::finish($client->{run});
	return $client->{output} =~ s/\n+\z//r;
}

sub wait_until_gone
{
	my ($client) = @_;

	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $client->{backend}") or die 'it is still there';
}

# Check that there is exactly one message, which was never delivered.  Then remove all messages for the next test.
sub is_untouched
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(value("SELECT string_agg(concat_ws(' ', payload, state, attempt, ready_at), ', ') FROM once.peek('q')"), '1 ready 0', "$what: nobody has had the message");
	is(value("SELECT attempt FROM once.receive('q') m, once.ack(m.receipt)"), '1', "$what: its first delivery is still to come");
	value("SELECT once.purge('q')");
}

# A session that holds the lock of the debug points
sub hold
{
	my $session = $node->background_psql('postgres');

	$session->query_safe("SELECT pg_advisory_lock($debug_lock)");
	return $session;
}

for my $verb (sort keys %waiting)
{
	# The client dies while its backend sleeps.  When the backend wakes, it checks the connection before it searches for messages, also
	# where the system does not report closed connections.
	for my $way ('', 'wait_client_input')
	{
		my $what = $verb . ($way ? ', by its input' : '');
		my $offset = -s $node->logfile;
		my $client = start_client($waiting{$verb}, $asleep, $way);

		kill 'STOP', $client->{backend};
		kill_client($client);
		value("SELECT once.send('q', '1')");
		kill 'CONT', $client->{backend};
		wait_until_gone($client);
		like(slurp_file($node->logfile, $offset), qr/FATAL:  connection to client lost/, "$what, asleep: the session ends");
		is_untouched("$what, asleep");
	}

	# The client dies after its backend has slept, but before the backend searches for messages.
	my $holder = hold();
	my $client = start_client($waiting{$verb}, $locked, 'wait_slept');
	kill_client($client);
	value("SELECT once.send('q', '1')");
	$holder->quit;
	wait_until_gone($client);
	is_untouched("$verb, between pause and claim");

	# The client dies while its backend waits for a lock on the table, before the first search.
	my $locker = $node->background_psql('postgres');
	$locker->query_safe('BEGIN; LOCK TABLE once.q_q IN ACCESS EXCLUSIVE MODE');
	$client = start_client($waiting{$verb}, $locked);
	kill_client($client);
	$locker->query_safe("SELECT once.send('q', '1')");
	$locker->query_safe('COMMIT');
	$locker->quit;
	wait_until_gone($client);
	is_untouched("$verb, table locked");

	# The call is cancelled or terminated after a message has come, and before its backend has searched.
	for my $end (['pg_cancel_backend', '57014'], ['pg_terminate_backend', '57P01'])
	{
		$client = start_client($waiting{$verb}, $asleep);
		kill 'STOP', $client->{backend};
		value("SELECT once.send('q', '1')");
		value("SELECT $end->[0]($client->{backend})");
		kill 'CONT', $client->{backend};
		like(finish_client($client), qr/^(ERROR|FATAL):  $end->[1]$/m, "$verb, $end->[0]: the call ends with an error");
		is_untouched("$verb, $end->[0], asleep");

		$holder = hold();
		$client = start_client($waiting{$verb}, $locked, 'wait_slept');
		value("SELECT once.send('q', '1')");
		value("SELECT $end->[0]($client->{backend})");
		like(finish_client($client), qr/^(ERROR|FATAL):  $end->[1]$/m, "$verb, $end->[0]: so it does");
		$holder->quit;
		is_untouched("$verb, $end->[0], between pause and claim");
	}
}

# The same if the server cancels the call by itself
my $client = start_client("SET statement_timeout = '3 s'; $waiting{lease}", $asleep);
kill 'STOP', $client->{backend};
value("SELECT once.send('q', '1'), pg_sleep(3.1)");
kill 'CONT', $client->{backend};
is(finish_client($client), 'ERROR:  57014', 'statement_timeout ends the call');
is_untouched('statement_timeout');

# A client that is still there gets the message, also if it has sent more that has not been read yet.
for my $way ('', 'wait_client_input')
{
	my $what = $way ? 'by its input' : 'as reported';

	$client = start_client($waiting{pop}, $asleep, $way);
	value("SELECT once.send('q', '1')");
	is(finish_client($client), '1', "$what: a client that waits gets the message");

	my $script = $node->basedir . "/pipeline$way";
	append_to_file($script, "\\startpipeline\n$waiting{pop};\nSELECT 2;\n\\endpipeline\n");
	my $output = '';
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGAPPNAME => 'waiter', PGOPTIONS => $way ? "-c once.debug_point=$way" : '');
	my $run = IPC::Run::start([ 'pgbench', '-n', '-t', 1, '-M', 'extended', '-f', $script, 'postgres' ], '<', \undef, '>&', \$output, IPC::Run::timeout(120));
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'waiter' AND $asleep") or die 'nobody waits';
	value("SELECT once.send('q', '1')");
	IPC::Run::finish($run);
	like($output, qr{number of transactions actually processed: 1/1}, "$what: so does one that has sent more");
	is(value('SELECT count(*) FROM once.q_q'), '0', "$what: the message is gone");
}

# A message that comes while a transaction waits is younger than the transaction.
$client = start_client("BEGIN; SELECT now() > enqueued_at, clock_timestamp() > enqueued_at FROM once.pop('q', wait => '60 s')", $asleep);
value("SELECT once.send('q', '1')");
is(finish_client($client), 'f|t', 'now() is older than the message, clock_timestamp() is not');

# A session that has to poll is told so, once.
my $told = 0;
$node->psql('postgres', "SET client_min_messages = notice; SELECT once.pop('q', wait => '1 ms'); SELECT once.pop('q', wait => '1 ms')", stderr => \my $notices);
$told++ while $notices =~ /^(?:psql:.*)?NOTICE:  waiting for messages is polling/mg;
is($told, value("SELECT count(*) FROM (SELECT current_setting('server_version_num')::int) v (n) WHERE n < 170000"), 'polling is told once, before PostgreSQL 17');
$node->psql('postgres', "SET client_min_messages = notice; SET once.wake = off; SELECT once.pop('q', wait => '1 ms')", stderr => \$notices);
is($notices, '', 'a session that wants to poll is not told');

# A process without a client can wait, too: here, one that applies replicated changes.
value("CREATE TABLE asked (t text); CREATE PUBLICATION p FOR TABLE asked; SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', <<END);
	CREATE EXTENSION pg_once;
	SELECT once.create_queue('q', id_index => true);
	CREATE TABLE asked (t text);
	CREATE TABLE answer (payload jsonb);
	CREATE FUNCTION ask() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.answer SELECT payload FROM once.pop(''q'', wait => ''60 s''); RETURN NEW; END';
	CREATE TRIGGER ask BEFORE INSERT ON asked FOR EACH ROW EXECUTE FUNCTION ask();
	ALTER TABLE asked ENABLE ALWAYS TRIGGER ask;
END
my $connection = $node->connstr('postgres') =~ s/'/''/gr;
$node->safe_psql('other', "CREATE SUBSCRIPTION s CONNECTION '$connection' PUBLICATION p WITH (create_slot = false, slot_name = s, copy_data = false)");
value("INSERT INTO asked VALUES ('please')");
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type LIKE 'logical replication%' AND $asleep") or die 'it does not wait';
$node->safe_psql('other', "SELECT once.send('q', '1')");
$node->poll_query_until('other', 'SELECT count(*) = 1 FROM answer') or die 'it gets nothing';
pass('a background worker waits and gets the message');
$node->safe_psql('other', 'DROP SUBSCRIPTION s');

clean($node, 'q', 'in the end');

# So can a server in single-user mode.
value("SELECT once.send('q', '1', delay => '2 s')");
$node->stop;
my $output = '';
IPC::Run::run([ 'postgres', '--single', '-D', $node->data_dir, 'postgres' ], '<', \"$waiting{pop}\n", '>&', \$output, IPC::Run::timeout(120));
like($output, qr/payload = "1"/, 'so does a server without clients');
done_testing();
