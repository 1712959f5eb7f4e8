# A throw-away server for the stress test, which can be killed and restarted.

package Stress::Server;

use strict;
use warnings;

use File::Temp qw(tempdir);
use Time::HiRes qw(sleep time);

# PostgreSQL does not run as root.  If we are root, everything runs as another user.
sub drop_privileges
{
	return if $> != 0;
	my ($name) = grep { defined getpwnam($_) } qw(postgres nobody);
	my (undef, undef, $uid, $gid) = getpwnam($name);
	$ENV{HOME} = '/';
	$( = $gid;
	$) = "$gid $gid";
	require POSIX;
	POSIX::setuid($uid) or die "could not become user $name: $!\n";
}

# new(dir, settings => [...])
sub new
{
	my ($class, %args) = @_;
	my $self = bless \%args, $class;

	$self->{data} = "$self->{dir}/data";
	$self->command('initdb', '--pgdata', $self->{data}, '--username=postgres', '--auth=trust', '--encoding=UTF8',
		'--no-locale', '--data-checksums', '--no-instructions', '--no-sync');
	mkdir("$self->{dir}/socket", 0700);
	open(my $conf, '>>', "$self->{data}/postgresql.conf") or die "could not open postgresql.conf: $!\n";
	print $conf "$_\n" for "listen_addresses = ''", "unix_socket_directories = '$self->{dir}/socket'",
	  'fsync = off', 'max_connections = 60', 'max_prepared_transactions = 50', 'autovacuum_naptime = 1s',
	  'max_wal_size = 1GB', 'restart_after_crash = off', "log_line_prefix = '%m [%p] %q%a '",
	  @{ $self->{settings} || [] };
	close($conf) or die "could not write postgresql.conf: $!\n";
	delete $ENV{$_} for grep { /^PG/ } keys %ENV;
	@ENV{qw(PGHOST PGPORT PGUSER PGDATABASE)} = ("$self->{dir}/socket", 5432, 'postgres', 'postgres');
	$self->start();
	return $self;
}

sub command
{
	my ($self, @command) = @_;
	my $log = "$self->{dir}/commands";
	system(join(' ', map { "'$_'" } @command) . " >>'$log' 2>&1 </dev/null") == 0
	  or die "@command failed: see $log\n";
}

sub start
{
	my ($self) = @_;
	my $deadline = time() + 60;
	my $log = "$self->{dir}/server.log";

	# After a kill, the shared memory of the dead server may be in use for another moment.
	until (eval { $self->command('pg_ctl', '--pgdata', $self->{data}, '--log', $log, '--wait', '--timeout=60', 'start'); 1 })
	{
		die "$@(and $log)\n" if time() > $deadline;
		sleep(0.2);
	}
	open(my $file, '<', "$self->{data}/postmaster.pid") or die "no postmaster.pid: $!\n";
	$self->{pid} = <$file> + 0;
	$self->{owner} = $$;
}

# Kill all processes of the server with SIGKILL.  The postmaster is stopped first.  Otherwise a backend that it starts meanwhile would
# be left over, waiting for locks of dead processes.
sub kill_all
{
	my ($self) = @_;

	kill 'STOP', $self->{pid};
	my @children = grep { parent_of($_) == $self->{pid} } map { m,/(\d+)$, } glob('/proc/[0-9]*');

	kill 'KILL', $self->{pid}, @children;
	delete $self->{pid};
}

sub parent_of
{
	open(my $file, '<', "/proc/$_[0]/stat") or return 0;
	my $line = <$file> // '';
	return $line =~ /.*\) \S (\d+)/ ? $1 : 0;
}

sub stop
{
	my ($self, $mode) = @_;
	return unless $self->{pid} and $self->{owner} == $$;
	delete $self->{pid};
	eval { $self->command('pg_ctl', '--pgdata', $self->{data}, '--wait', '--mode', $mode // 'fast', 'stop') };
}

sub DESTROY
{
	my ($self) = @_;
	local $?;
	$self->stop('immediate');
}

1;
