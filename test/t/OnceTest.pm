# What the TAP tests of pg_once share.

package OnceTest;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(once_node once_standby catch_up clean same_structure start_stress end_stress run_stress sqlstate_of
  flush_wal kill_server start_with_clock pgbench_scripts start_pgbench damaged_queue);

my $stress = dirname(abs_path(__FILE__)) . '/../stress/run';

# Make a primary with the extension in database postgres.  It uses UTF-8, no matter what the machine's locale is.  Checksums are on, and
# autovacuum is off, so that nothing changes by itself.  The name may be a list: the name, and options of a new node.
sub once_node
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new(ref $name ? @$name : $name);

	$node->init(allows_streaming => 1, extra => [ '--data-checksums', '--encoding=UTF8', '--locale=C' ]);
	# The module of 18 writes this whatever the node's version is.
	$node->adjust_conf('postgresql.conf', 'autovacuum_worker_slots', undef) if $node->pg_version < 18;
	$node->append_conf('postgresql.conf', "$_\n") for 'autovacuum = off', 'max_prepared_transactions = 50',
	  'max_connections = 60', 'max_wal_senders = 5', 'wal_level = logical', @settings;
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_once');
	return $node;
}

# Make a streaming standby of a primary.
sub once_standby
{
	my ($primary, $name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$primary->backup("for_$name");
	$node->init_from_backup($primary, "for_$name", has_streaming => 1);
	$node->append_conf('postgresql.conf', "$_\n") for @settings;
	$node->start;
	return $node;
}

# Flush all WAL that was written so far, also that of claims, which no commit waits for.
sub flush_wal
{
	my ($node) = @_;
	return $node->safe_psql('postgres',
		"SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'flush', '')");
}

# Wait until the standby has replayed everything.
sub catch_up
{
	my ($primary, $standby) = @_;

	flush_wal($primary);
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));
}

# Check that once.check finds nothing.
sub clean
{
	my ($node, $queue, $what, %args) = @_;
	my $strict = $args{strict} // 1 ? 'true' : 'false';
	my $found = $node->safe_psql($args{database} // 'postgres', "SELECT * FROM once.check('$queue', strict => $strict)");

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($found, '', "$what: once.check finds nothing");
}

# Check that slots and pages of the queue's index are the same on both servers.
sub same_structure
{
	my ($primary, $standby, $queue, $what) = @_;
	my $query = "SELECT p::text FROM once.pages('$queue') p UNION ALL SELECT (to_jsonb(s) - 'now')::text FROM once.slots('$queue') s";

	catch_up($primary, $standby);
	my ($here, $there) = map { $_->safe_psql('postgres', $query) } $primary, $standby;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return 1 if is($there eq $here, 1, "$what: standby is like primary");
	my %here = map { $_ => 1 } split(/\n/, $here);
	my %there = map { $_ => 1 } split(/\n/, $there);
	diag("only on the primary: $_") for grep { !$there{$_} } split(/\n/, $here);
	diag("only on the standby: $_") for grep { !$here{$_} } split(/\n/, $there);
	return 0;
}

# Start the stress test on a node, or on a server of its own if no node is given.  end_stress waits for its end.
sub start_stress
{
	my ($node, @options) = @_;
	my $output = '';

	local %ENV = $node ? (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres') : %ENV;
	delete $ENV{PGHOST} unless $node;
	if (($options[0] // '') eq 'database')
	{
		shift @options;
		$ENV{PGDATABASE} = shift @options;
	}
	my $run = IPC::Run::start([ $^X, $stress, @options ], '<', \undef, '>&', \$output, IPC::Run::timeout(300));
	return { run => $run, output => \$output };
}

sub end_stress
{
	my ($load, $what) = @_;

	IPC::Run::finish($load->{run});
	my $good = $load->{run}->result == 0;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($good, $what) or diag(${ $load->{output} });
	note(${ $load->{output} }) if $good;
	return $good;
}

sub run_stress
{
	my ($node, $what, @options) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return end_stress(start_stress($node, @options), $what);
}

# Kill the server and all its processes with SIGKILL, and start it again.
sub kill_server
{
	my ($node) = @_;
	my ($server) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;

	# Stop the postmaster first, so that it starts no backend that would be left over, waiting for locks of dead processes.
	kill 'STOP', $server;
	my @all = ($server, split(' ', `ps -o pid= --ppid $server`));

	$node->kill9;
	kill 'KILL', @all;
	# Dying processes still use the server's shared memory.
	for (1 .. 600)
	{
		last unless grep { kill 0, $_ } @all;
		select(undef, undef, undef, 0.05);
	}
	$node->start;
}

# Start a server whose clock can be set.  Returns a function that sets it to a number of seconds ahead of the machine's.
sub start_with_clock
{
	my ($node) = @_;
	my $clock = PostgreSQL::Test::Utils::tempdir . '/clock';
	my ($cc) = split(' ', `$ENV{PG_CONFIG} --cc`);
	my $source = dirname(abs_path(__FILE__)) . '/../lib/clock.c';

	system($cc, '-shared', '-fPIC', '-O2', '-o', "$clock.so", $source) == 0 or die 'the clock cannot be compiled';
	append_to_file($clock, pack('q', 0));
	local %ENV = (%ENV, LD_PRELOAD => "$clock.so", ONCE_TEST_CLOCK => $clock);
	$node->start;
	return sub
	{
		open(my $file, '+<', $clock) or die "$clock: $!";
		syswrite($file, pack('q', $_[0] * 1_000_000)) == 8 or die "$clock: $!";
		close($file);
	};
}

# Write pgbench scripts, given as NAME => [WEIGHT, TEXT], into a directory.  Returns the options that name them.
sub pgbench_scripts
{
	my ($directory, %script) = @_;

	append_to_file("$directory/$_", "$script{$_}[1]\n") for keys %script;
	return map { ('-f', "$directory/$_\@$script{$_}[0]") } sort keys %script;
}

# Start pgbench for some seconds.  Its output goes to the variable that "output" refers to.
sub start_pgbench
{
	my ($node, $output, $seconds, @options) = @_;

	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port);
	return IPC::Run::start([ $node->config_data('--bindir') . '/pgbench', '-n', '-j', 1, '-T', $seconds, '--max-tries=1', @options, 'postgres' ],
		'<', \undef, '>&', $output, IPC::Run::timeout(120 + 4 * $seconds));
}

# Make queue q, which has pages of every kind, and the functions that damage its index: see test/damage.
sub damaged_queue
{
	my ($node) = @_;
	my $here = dirname(abs_path(__FILE__)) . '/..';
	my ($cc, @flags) = split ' ', `$ENV{PG_CONFIG} --cc` . `$ENV{PG_CONFIG} --cppflags` . `$ENV{PG_CONFIG} --cflags`;
	my $library = PostgreSQL::Test::Utils::tempdir . '/damage.so';

	chomp(my $include = `$ENV{PG_CONFIG} --includedir-server`);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	command_ok([ $cc, @flags, '-fPIC', '-shared', "-I$include", "-I$here/../src", '-o', $library, "$here/damage/damage.c" ], 'module');
	return $node->command_ok(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-v', "library=$library", '-f', "$here/damage/damage.sql", '-d', $node->connstr('postgres') ], 'queue');
}

# Return the SQLSTATE that a statement ends with ('00000': none).
sub sqlstate_of
{
	my ($node, $statement, $database) = @_;
	my ($status, $out, $error) = $node->psql($database // 'postgres', $statement, extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);

	return $status == 0 ? '00000' : $error =~ /(?:ERROR|FATAL):\s+(\w{5})$/m ? $1 : $error;
}

1;
