# A database session: a psql at the other end of two pipes.
#
# Several statements are sent together.  Each has an answer with its rows and its SQLSTATE, so that a worker can decide how to go on.
# An error is an answer, not an exception.  A lost connection is an exception, of class Stress::Lost.

package Stress::Session;

use strict;
use warnings;

use IPC::Open2;
use POSIX ();

my $mark = '@@';

# If a statement has no answer within this time, something hangs.
our $patience = 60;

# new(log => FILE, setup => [STATEMENT...])
sub new
{
	my ($class, %args) = @_;
	my $self = bless { %args, answered => 0 }, $class;
	$self->connect();
	return $self;
}

sub connect
{
	my ($self) = @_;
	my ($in, $out);

	open(my $saved, '>&', \*STDERR) or die "could not save stderr: $!";
	open(STDERR, '>>', $self->{log}) or die "could not open $self->{log}: $!";
	my $pid = open2($out, $in, 'psql', '-XAtqw', '-F', "\t", '-v', 'ON_ERROR_STOP=0');
	open(STDERR, '>&', $saved) or die "could not restore stderr: $!";
	@{$self}{qw(pid in out)} = ($pid, $in, $out);
	for my $statement (@{ $self->{setup} || [] })
	{
		my ($answer) = $self->run($statement);
		die "set-up failed: $answer->{state} $answer->{message}: $statement\n" if $answer->{state} ne '00000';
	}
}

# Execute statements, and return for each a hash of state, message and rows (arrays of columns).
sub run
{
	my ($self, @statements) = @_;
	my $in = $self->{in};
	my @answers;

	local $SIG{PIPE} = 'IGNORE';
	local $SIG{ALRM} = sub { die "no answer within $patience s: @statements\n" };
	alarm $patience;
	# Read answers while a long script is being sent, so that the two pipes do not fill up.
	while (@statements)
	{
		my @some = splice(@statements, 0, 50);
		my $script = '';
		for my $statement (@some)
		{
			$script .= $statement;
			$script .= ';' unless $statement =~ /^\\/;
			$script .= "\n\\echo $mark :SQLSTATE :LAST_ERROR_MESSAGE\n";
		}
		$self->lost() unless print $in $script and $in->flush();
		push @answers, $self->answer() for @some;
	}
	alarm 0;
	return @answers;
}

# Read one answer.
sub answer
{
	my ($self) = @_;
	my $out = $self->{out};
	my @rows;

	while (defined(my $line = <$out>))
	{
		chomp $line;
		if ($line =~ /^\Q$mark\E (\w{5}) (.*)$/)
		{
			$self->{answered}++;
			return { state => $1, message => $1 eq '00000' ? '' : $2, rows => \@rows };
		}
		# The rest of a message that has several lines
		next if $line eq '';
		push @rows, [ split(/\t/, $line, -1) ];
	}
	$self->lost();
}

sub lost
{
	my ($self) = @_;
	alarm 0;
	$self->close();
	die bless {}, 'Stress::Lost';
}

# Execute one statement, which must succeed, and return its rows.
sub rows
{
	my ($self, $statement) = @_;
	my ($answer) = $self->run($statement);
	die "$answer->{state} $answer->{message}: $statement\n" if $answer->{state} ne '00000';
	return @{ $answer->{rows} };
}

# Execute one statement, which must succeed, and return its only value.
sub value
{
	my ($self, $statement) = @_;
	my ($row) = $self->rows($statement);
	return $row ? $row->[0] : undef;
}

sub close
{
	my ($self) = @_;
	return unless $self->{pid};
	local $SIG{PIPE} = 'IGNORE';
	CORE::close($self->{in});
	CORE::close($self->{out});
	waitpid($self->{pid}, 0);
	delete $self->{pid};
}

1;
