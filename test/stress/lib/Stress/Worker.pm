# What all workers of the stress test have in common: a session, a source of random decisions, counters, the journal of commits,
# and a list of errors that may happen to them.

package Stress::Worker;

use strict;
use warnings;

use Stress::Session;
use Time::HiRes qw(time);

# Errors that are part of the load.  Any other error makes the run fail.
our %tolerated = (
	'ON003' => 'once_lease_lost',
	'ON004' => 'once_already_acked',
	'40P01' => 'deadlock_detected',
	'40001' => 'serialization_failure',
	'25P02' => 'in_failed_sql_transaction');

# new(name, kind, seed, queue, dir, until, crash (bool), policy (bool), sync_commit)
sub new
{
	my ($class, %args) = @_;
	my $self = bless { %args, count => {}, incarnation => 0 }, $class;
	srand($args{seed});
	$self->open_session();
	return $self;
}

sub open_session
{
	my ($self) = @_;
	$self->{incarnation}++;
	$self->{commits} = [];
	$self->{session} = Stress::Session->new(
		log => "$self->{dir}/$self->{name}.psql",
		setup => [
			"SET application_name = 'stress $self->{name}'",
			"SET synchronous_commit = $self->{sync_commit}",
			"SET client_min_messages = warning"
		]);
}

sub table { return 'once."q_' . $_[0]->{queue} . '"' }

# ---- Random decisions ----

# 0 .. n - 1
sub roll { return int(rand($_[1])) }

# True in this many of a hundred cases
sub chance { return rand(100) < $_[1] }

# pick(name => weight, ...)
sub pick
{
	my ($self, @weights) = @_;
	my $total = 0;
	for (my $i = 1; $i < @weights; $i += 2) { $total += $weights[$i] }
	my $at = rand($total);
	for (my $i = 0; $i < @weights; $i += 2)
	{
		$at -= $weights[ $i + 1 ];
		return $weights[$i] if $at < 0;
	}
	return $weights[-2];
}

# 1 .. max, mostly small
sub size { return 1 + int($_[1] * rand()**3) }

sub count { $_[0]->{count}{ $_[1] } += $_[2] // 1 }

# ---- Transactions ----

# Run statements.  Returns the state of the first one that failed ('00000': none), and the rows of each.
sub try_run
{
	my ($self, @statements) = @_;
	my @answers = $self->{session}->run(@statements);
	my $state = '00000';

	for my $i (0 .. $#answers)
	{
		next if $answers[$i]{state} eq '00000' or $state ne '00000';
		$state = $answers[$i]{state};
		$self->failed($answers[$i], $statements[$i], @{ $self->{expected} || [] });
	}
	return ($state, map { $_->{rows} } @answers);
}

sub failed
{
	my ($self, $answer, $statement, @expected) = @_;
	my $state = $answer->{state};

	die "unexpected error $state $answer->{message}: $statement\n"
	  unless $tolerated{$state} or grep { $_ eq $state } @expected;
	$self->count("error $state");
}

# Begin a transaction, mostly with the default isolation level.
sub begin
{
	my ($self) = @_;
	return $self->chance(90) ? 'BEGIN' : 'BEGIN ISOLATION LEVEL ' . $self->pick('REPEATABLE READ', 1, 'SERIALIZABLE', 1);
}

# End a transaction whose statements have ended with this state: commit, roll back or prepare.  Returns true if its effects are
# committed.
sub end
{
	my ($self, $state, %weight) = @_;
	my $how = $state ne '00000' ? 'rollback' : $self->pick(commit => 100, %weight);

	if ($how eq 'rollback')
	{
		$self->{session}->rows('ROLLBACK');
		$self->count('transactions rolled back');
		return 0;
	}
	if ($how eq 'prepare')
	{
		return $self->prepare();
	}
	return $self->commit();
}

# The n-th commit of a session leaves a row with that number.  After a crash, the missing ones must be the last ones.
sub commit
{
	my ($self) = @_;
	my @statements = ('COMMIT');

	if ($self->{crash} or $self->{policy})
	{
		my $n = @{ $self->{commits} } + 1;
		unshift @statements,
		  "INSERT INTO stress.journal VALUES ('$self->{name}', $self->{incarnation}, $n)";
	}
	my ($state) = $self->try_run(@statements);
	if ($state ne '00000')
	{
		$self->{session}->rows('ROLLBACK');
		return 0;
	}
	push @{ $self->{commits} }, time();
	$self->count('transactions committed');
	return 1;
}

# Prepare, and leave the decision to the resolver.  A worker that waits for another transaction could not decide its own.
sub prepare
{
	my ($self) = @_;
	my ($state) = $self->try_run("PREPARE TRANSACTION 'stress $self->{name} " . ++$self->{prepared} . "'");

	if ($state ne '00000')
	{
		$self->{session}->rows('ROLLBACK');
		return 0;
	}
	$self->count('transactions prepared');
	return 0;
}

# ---- Life ----

sub over
{
	my ($self) = @_;
	return time() >= $self->{until} || -e "$self->{dir}/stop";
}

# Work until the time is up, across crashes of the server.
sub live
{
	my ($self) = @_;

	until ($self->over())
	{
		eval { $self->step(); 1 } or $self->survive($@);
	}
	$self->{session}->close();
}

# A lost connection is expected if the server is killed, or if a killer terminates backends.
sub survive
{
	my ($self, $error) = @_;
	my $lost = time();
	my $deadline = $lost + 60;

	die $error unless ref $error and $error->isa('Stress::Lost') and ($self->{crash} or $self->{policy});
	my ($commits, $incarnation) = @{$self}{qw(commits incarnation)};
	# The next session may be terminated as soon as it exists.
	until (eval { $self->open_session(); $self->check_journal($incarnation, $commits, $lost); 1 })
	{
		my $reason = $@;
		$self->{incarnation} = $incarnation;
		die ref $reason ? "the server does not come back\n" : $reason
		  if time() > $deadline
		  or !(ref $reason or $reason =~ /^57P03/);
		select(undef, undef, undef, 0.1);
	}
	$self->count('reconnections');
}

# The missing commits of a session must be its last ones.  A commit that was reported may be missing only with synchronous_commit =
# off, and only if it was reported shortly before the crash.  That is the last one before the connection was lost: the next one may
# have come before the new session could ask.
sub check_journal
{
	my ($self, $incarnation, $commits, $lost) = @_;
	my ($row) = $self->{session}->rows(
		"SELECT count(*), coalesce(max(n), 0) FROM stress.journal WHERE worker = '$self->{name}' AND incarnation = $incarnation");
	my ($present, $last) = @$row;
	my $reported = @$commits;
	my $who = "$self->{name} before crash $incarnation";

	die "$who: commit $last is there, but only $present commits are\n" if $present != $last;
	die "$who: $last commits are there, $reported were reported\n" if $last > $reported + 1;
	return if $last >= $reported;
	die "$who: $reported commits were reported, $last are there\n" if $self->{sync_commit} ne 'off' or !$self->{crash};

	open(my $file, '<', "$self->{dir}/crashes") or die "no record of crashes: $!\n";
	my @crashes = grep { $_ <= $lost } <$file> or die "$who: commits are missing, and no crash was noted\n";
	my $age = $crashes[-1] - $commits->[$last];
	die sprintf("%s: a commit reported %.3f s before the crash is missing\n", $who, $age) if $age > $self->{max_loss};
	$self->count('commits lost in crashes', $reported - $last);
	my $worst = $self->{count}{'oldest commit lost, ms'} // 0;
	$self->{count}{'oldest commit lost, ms'} = int(1000 * $age) if 1000 * $age > $worst;
}

1;
