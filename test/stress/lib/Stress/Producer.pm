# A producer: sends messages by every path there is, and notes each one's key in stress.intended in the same transaction.

package Stress::Producer;

use strict;
use warnings;
use parent -norequire, 'Stress::Worker';

use Stress::Worker;
use Time::HiRes qw(sleep time);

sub step
{
	my ($self) = @_;

	$self->throttle() if ++$self->{steps} % 20 == 0;
	my @statements = ($self->begin());
	for (1 .. $self->size(3))
	{
		push @statements, $self->chance(10) ? $self->aborted_part() : $self->part();
	}
	my ($state) = $self->try_run(@statements);
	$self->end($state, rollback => 12, prepare => 2);
}

# A queue that is long is slow to drain and no better a test.
sub throttle
{
	my ($self) = @_;

	while ($self->{session}->value('SELECT count(*) FROM ' . $self->table()) > $self->{max_backlog})
	{
		return if time() > $self->{until} or -e "$self->{dir}/stop";
		sleep(0.05);
	}
}

sub keys_for
{
	my ($self, $n) = @_;
	return map { "$self->{name}-" . ++$self->{last_key} } 1 .. $n;
}

sub payload
{
	my ($self, $key) = @_;
	# Some long enough to be compressed or stored out of line
	my $filler = 'x' x ($self->chance(3) ? 20000 : $self->chance(20) ? 700 : 30);
	return qq({"k": "$key", "f": "$filler"});
}

# A part of a transaction that is rolled back alone.
sub aborted_part
{
	my ($self) = @_;
	return ('SAVEPOINT s', $self->part(), 'ROLLBACK TO s');
}

sub part
{
	my ($self) = @_;
	my $how = $self->pick(send => 40, send_batch => 30, insert => 15, copy => 15);
	my @keys = $self->keys_for($how eq 'send' ? 1 : $self->size($how eq 'send_batch' ? 200 : 60));
	my $priority = $self->chance(70) ? 4 : $self->roll(10);
	my $delay = $self->chance(15) ? sprintf("'%d ms'", $self->roll(800)) : 'NULL';
	my $table = $self->table();

	$self->count("sent by $how", scalar @keys);
	my $intend = 'INSERT INTO stress.intended VALUES ' . join(', ', map { "('$_')" } @keys);
	if ($how eq 'send')
	{
		my $payload = $self->payload($keys[0]);
		return ($intend, "SELECT once.send('$self->{queue}', '$payload', delay => $delay, priority => $priority)");
	}
	if ($how eq 'send_batch')
	{
		my $payloads = join(', ', map { "'" . $self->payload($_) . "'" } @keys);
		return ($intend, "SELECT count(*) FROM once.send_batch('$self->{queue}', ARRAY[$payloads]::jsonb[], delay => $delay, priority => $priority)");
	}
	if ($how eq 'insert')
	{
		my $rows = join(', ', map { "($priority, now() + interval $delay, '" . $self->payload($_) . "')" } @keys);
		$rows =~ s/now\(\) \+ interval NULL/NULL/g;
		return ($intend, "INSERT INTO $table (priority, deliver_at, payload) VALUES $rows");
	}
	# The file is read when the statement is reached, so each has its own.
	my $file = "$self->{dir}/$self->{name}.copy" . (++$self->{copies} % 10);
	open(my $out, '>', $file) or die "could not open $file: $!\n";
	print $out "$priority\t", $self->payload($_), "\n" for @keys;
	close($out) or die "could not write $file: $!\n";
	return ($intend, "\\copy $table (priority, payload) from '$file'");
}

1;
