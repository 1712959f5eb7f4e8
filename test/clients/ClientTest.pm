# What the tests of client programs share: a server with a PgBouncer before it, and programs that run beside the test.

package ClientTest;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use lib dirname(abs_path(__FILE__)) . '/../t';
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(start_servers stop_pooler have_pooler environment value hold spawn has_ended status_of until_true until_query @crews);

# Clients are of two crews: "direct" is connected to the server, and "pooled" through PgBouncer in transaction mode.  If there is no
# PgBouncer, "pooled" is connected to the server, too.  Each crew has a role of its name.
our @crews = ('direct', 'pooled');

my ($pooler) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
my ($node, $transport, $pooler_port, $pooler_pid);

sub have_pooler { return defined $pooler }

# Start a server and PgBouncer.  They can be reached by "tcp", or else by "socket".  PgBouncer changes the connections of its clients as
# often as it can.
sub start_servers
{
	($transport) = @_;
	my $address = $transport eq 'tcp' ? '127.0.0.1' : '';

	$node = once_node('main', "shared_preload_libraries = 'pg_once'", "listen_addresses = '$address'");
	$node->safe_psql('postgres', "CREATE ROLE $_ LOGIN") for @crews;
	return $node if !$pooler;

	$pooler_port = PostgreSQL::Test::Cluster::get_free_port();
	my $base = $node->basedir;
	my $server = 'host=' . $node->host . ' port=' . $node->port . ' dbname=postgres';

	append_to_file("$base/users", join('', map { qq("$_" ""\n) } @crews));
	append_to_file("$base/pgbouncer.ini", <<END);
[databases]
postgres = $server
single = $server pool_size=1
statement = $server pool_mode=statement
[pgbouncer]
pool_mode = transaction
default_pool_size = 8
min_pool_size = 8
ignore_startup_parameters = extra_float_digits
server_login_retry = 1
server_round_robin = 1
listen_addr = $address
listen_port = $pooler_port
unix_socket_dir = ${\$node->host}
auth_type = trust
auth_file = $base/users
admin_users = pooled
END
	$pooler_pid = spawn({}, 'pgbouncer', $pooler, "$base/pgbouncer.ini");
	until_true('PgBouncer listens', sub { (run_command([ 'psql', '-XAtqc', 'SELECT 1', '-d', $node->connstr('postgres') . " port=$pooler_port user=pooled" ]))[0] eq '1' });
	return $node;
}

sub stop_pooler
{
	return if !$pooler;
	kill('TERM', $pooler_pid);
	until_true('PgBouncer stops', sub { has_ended($pooler_pid) });
}

# The environment of the clients of a crew
sub environment
{
	my ($crew) = @_;
	my $port = $crew eq 'pooled' && $pooler ? $pooler_port : $node->port;
	my $host = $transport eq 'tcp' ? '127.0.0.1' : $node->host;

	return {
		PGHOST => $host, PGPORT => $port, PGUSER => $crew, PGDATABASE => 'postgres',
		JDBC_URL => "jdbc:postgresql://$host:$port/postgres?user=$crew" . ($crew eq 'pooled' ? '&prepareThreshold=0' : '')
	};
}

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

# Return a session that has locks which the test's triggers wait for.  So clients of these crews stop in the middle of their work.
sub hold
{
	my $session = $node->background_psql('postgres');

	$session->query_safe("SELECT pg_advisory_lock(hashtext('$_'))") for @_;
	return $session;
}

my %running;
my %status;

# Start a program, or a function, in the background, with variables added to its environment.  What it prints goes to the file
# NAME.output.  It has a group of its own, to be killed together with its children.
sub spawn
{
	my ($variables, $name, @program) = @_;
	my $output = $node->basedir . "/$name.output";
	my $pid = fork() // die "fork: $!";

	if (!$pid)
	{
		setpgrp();
		@ENV{ keys %$variables } = values %$variables;
		open(STDIN, '<', '/dev/null') && open(STDOUT, '>>', $output) && open(STDERR, '>&', \*STDOUT) or die "$output: $!";
		exec(@program) if !ref($program[0]);
		syswrite(STDOUT, $program[0]->()) if ref($program[0]);
		POSIX::_exit(127);
	}
	$running{$pid} = 1;
	return $pid;
}

sub has_ended
{
	my ($pid) = @_;

	if ($running{$pid} && waitpid($pid, POSIX::WNOHANG()) == $pid)
	{
		$status{$pid} = $?;
		delete $running{$pid};
	}
	return !$running{$pid};
}

sub status_of { return $status{ $_[0] } }

# Wait until something is true.  Returns how long that has taken.  A pause between two looks lasts 0.02 seconds, or as long as given.
sub until_true
{
	my ($what, $condition, $pause) = @_;
	my $started = time();

	until ($condition->())
	{
		if (time() - $started > 90)
		{
			diag(map { "---- $_:\n" . slurp_file($_) } glob($node->basedir . '/*.output'));
			diag(value(q(SELECT string_agg(concat_ws(' ', usename, state, wait_event, query), '; ') FROM pg_stat_activity WHERE usename <> 'postgres')));
			die "waited too long: $what";
		}
		sleep($pause // 0.02);
	}
	return time() - $started;
}

sub until_query { my ($what, $query) = @_; return until_true($what, sub { value("SELECT $query") eq 't' }, 0.1) }

END
{
	my $exit = $?;

	kill('-KILL', keys %running);
	$? = $exit;
}

1;
