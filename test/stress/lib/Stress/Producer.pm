# A producer.  It sends messages in every possible way, and stores each one's key in stress.intended, in the same transaction.
# Some are sent with a dedup_id, several times: they must be there once.  With --policy, messages have groups, delays and times to
# live, and some are poison: no consumer will ever ack them.

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

# A longer queue takes longer to drain, and is not a better test.
sub throttle
{
	my ($self) = @_;

	while ($self->{session}->value('SELECT count(*) FROM ' . $self->table()) > $self->{max_backlog})
	{
		return if time() > $self->{until} or -e "$self->{dir}/stop";
		sleep(0.05);
	}
}

# Make this many messages to send.  Each has a key, a number, a payload, and perhaps a group.  A group belongs to one producer, so its
# messages are inserted in the order of their numbers.
sub messages
{
	my ($self, $n) = @_;
	my @kind = $self->{policy} ? (none => 40, hot => 25, cold => 35) : (none => 1);
	my $kind = $self->pick(@kind);
	my $mixed = $self->chance(50);
	my @messages;

	for (1 .. $n)
	{
		my $message = { n => ++$self->{last_key}, key => "$self->{name}-$self->{last_key}" };
		$kind = $self->pick(@kind) if $mixed;
		my $groups = { none => 0, hot => 2, cold => 200 }->{$kind};
		$message->{group} = "$self->{name} $kind " . $self->roll($groups) if $groups and ($mixed or !@messages);
		$message->{group} = $messages[0]{group} if $groups and !$mixed and @messages;
		$message->{poison} = 1 if $self->{policy} and $self->chance(0.3);
		$message->{payload} = $self->payload($message);
		push @messages, $message;
	}
	return @messages;
}

sub payload
{
	my ($self, $message) = @_;
	# Some are long enough to be compressed or stored out of line.
	my $filler = 'x' x ($self->chance(3) ? 20000 : $self->chance(20) ? 700 : 30);
	my $poison = $message->{poison} ? ', "p": true' : '';
	return qq({"k": "$message->{key}", "f": "$filler"$poison});
}

# A part of the transaction is rolled back.
sub aborted_part
{
	my ($self) = @_;
	return ('SAVEPOINT s', $self->part(), 'ROLLBACK TO s');
}

# What is stored about messages that are sent with this delay and time to live.  The time from which on they may expire is rather too
# early, because the sender reads the clock after the transaction has begun.
sub intend
{
	my ($self, $delay, $ttl, @messages) = @_;
	my $expires = "now() + coalesce(${delay}::interval, '0 s') + interval " . ($ttl ne 'NULL' ? $ttl : "'$self->{ttl}'");
	$expires = 'NULL' if !$self->{policy} or $ttl eq "'infinity'";
	my $delayed = $delay ne 'NULL' ? 'true' : 'false';

	return 'INSERT INTO stress.intended (k, grp, n, delayed, expires, poison) VALUES ' . join(', ',
		map { sprintf("('%s', %s, %d, $delayed, $expires, %s)", $_->{key}, quote($_->{group}), $_->{n}, $_->{poison} ? 'true' : 'false') }
		  @messages);
}

sub quote { return defined $_[0] ? "'$_[0]'" : 'NULL' }

sub part
{
	my ($self) = @_;
	return $self->repeated_part() if $self->{dedup} and $self->chance(12);
	my $how = $self->pick(send => 40, send_batch => 30, insert => 15, copy => 15);
	my @messages = $self->messages($how eq 'send' ? 1 : $self->size($how eq 'send_batch' ? 200 : 60));
	my $grouped = grep { defined $_->{group} } @messages;
	my $priority = $self->chance(70) ? 4 : $self->roll(10);
	my $delay = $self->chance(15) ? sprintf("'%d ms'", $self->roll($self->{policy} && $self->chance(10) ? 3000 : 800)) : 'NULL';
	my $ttl = $self->{policy} && $self->chance(6) ? sprintf("'%d ms'", $self->size(2000)) : 'NULL';
	my $table = $self->table();

	$self->count("sent by $how", scalar @messages);
	$self->count('sent to groups', $grouped) if $grouped;
	return $self->part_by_verb($how, $delay, $ttl, $grouped ? 4 : $priority, @messages) if $how =~ /^send/;
	if ($how eq 'insert')
	{
		$ttl = "'infinity'" if $self->{policy} and $self->chance(5);
		my $deliver_at = $delay ne 'NULL' ? "now() + interval $delay" : 'NULL';
		my $expires_at = $ttl eq "'infinity'" ? $ttl : $ttl ne 'NULL' ? "coalesce($deliver_at, now()) + interval $ttl" : 'NULL';
		my $rows = join(', ', map {
			"($deliver_at, $expires_at, " . ($_->{group} ? 4 : $priority) . ', ' . quote($_->{group}) . ", '$_->{payload}')" } @messages);
		return ($self->intend($delay, $ttl, @messages),
			"INSERT INTO $table (deliver_at, expires_at, priority, group_id, payload) VALUES $rows");
	}
	# The file is read when the statement is executed, so each statement has a file of its own.
	my $file = "$self->{dir}/$self->{name}.copy" . (++$self->{copies} % 10);
	open(my $out, '>', $file) or die "could not open $file: $!\n";
	print $out join("\t", $_->{group} ? 4 : $priority, $_->{group} // '\N', $_->{payload}), "\n" for @messages;
	close($out) or die "could not write $file: $!\n";
	return ($self->intend('NULL', 'NULL', @messages), "\\copy $table (priority, group_id, payload) from '$file'");
}

sub part_by_verb
{
	my ($self, $how, $delay, $ttl, $priority, @messages) = @_;
	my $options = "delay => $delay, priority => $priority";
	$options .= ", ttl => $ttl" if $ttl ne 'NULL';
	my $intend = $self->intend($delay, $ttl, @messages);
	# The order in a group must be that of the numbers, so its messages cannot be sent again later.
	my $dedup = !(grep { $_->{group} } @messages) && $self->chance(30);

	if ($how eq 'send')
	{
		$options .= ", dedup_id => '$messages[0]{key}'" if $dedup;
		$options .= ", group_id => '$messages[0]{group}'" if $messages[0]{group};
		return $self->remember($dedup, $intend, "SELECT once.send('$self->{queue}', '$messages[0]{payload}', $options)");
	}
	my $payloads = join(', ', map { "'$_->{payload}'" } @messages);
	$options .= ', group_ids => ARRAY[' . join(', ', map { quote($_->{group}) } @messages) . ']::text[]' if grep { $_->{group} } @messages;
	$options .= ', dedup_ids => ARRAY[' . join(', ', map { "'$_->{key}'" } @messages) . ']' if $dedup;
	return $self->remember($dedup, $intend, "SELECT count(*) FROM once.send_batch('$self->{queue}', ARRAY[$payloads]::jsonb[], $options)");
}

# Store statements that may be executed once more, no matter how the transaction ends.
sub remember
{
	my ($self, $dedup, $intend, $send) = @_;

	return ($intend, $send) unless $dedup;
	push @{ $self->{dedup} }, [ "$intend ON CONFLICT DO NOTHING", $send ];
	shift @{ $self->{dedup} } if @{ $self->{dedup} } > 20;
	return ($intend, $send);
}

# Send the same messages once more: those of the present transaction, or of one that was committed, rolled back or prepared.
sub repeated_part
{
	my ($self) = @_;

	$self->count('sent again');
	return @{ $self->{dedup}[ rand @{ $self->{dedup} } ] };
}

1;
