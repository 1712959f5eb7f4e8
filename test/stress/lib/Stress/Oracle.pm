# The oracle: what must hold of stress.intended, the queue and stress.effect, at any time and in the end.

package Stress::Oracle;

use strict;
use warnings;

use Time::HiRes qw(sleep time);

sub new
{
	my ($class, $session, $queue) = @_;
	return bless { session => $session, queue => $queue, table => "once.\"q_$queue\"" }, $class;
}

# once.check finds nothing.
#
# A strict check waits for the table's lock with its snapshot taken, and a concurrent REINDEX for that snapshot with its lock
# taken.  When it is the check that has to give way, it is made again.
sub must_check
{
	my ($self, $strict) = @_;
	my $check = "SELECT * FROM once.check('$self->{queue}', strict => " . ($strict ? 'true' : 'false') . ")";
	my $answer;
	for (1 .. 10)
	{
		($answer) = $self->{session}->run($check);
		last if $answer->{state} ne '40P01';
	}
	die "$answer->{state} $answer->{message}: $check\n" if $answer->{state} ne '00000';
	my @faults = @{ $answer->{rows} };
	return unless @faults;
	splice(@faults, 10) if @faults > 10;
	die 'once.check found: ' . join("\n", map { join(' | ', @$_) } @faults) . "\n";
}

# In any one snapshot, a message that was intended is in the queue, or has its effect, but not both and nothing twice; and
# there is nothing that was not intended.
sub must_balance
{
	my ($self) = @_;
	my @wrong = $self->{session}->rows(<<END =~ s/\s+/ /gr);
		SELECT k, sum(i), sum(q), sum(e), max(how) FROM (
			SELECT k, 1 AS i, 0 AS q, 0 AS e, NULL AS how FROM stress.intended
			UNION ALL SELECT payload->>'k', 0, 1, 0, NULL FROM $self->{table}
			UNION ALL SELECT k, 0, 0, 1, how FROM stress.effect) AS u
		GROUP BY k HAVING sum(i) <> 1 OR sum(q) + sum(e) <> 1 LIMIT 10
END
	return unless @wrong;
	die "out of balance (key, intended, in the queue, effects, by): "
	  . join("\n", map { join(' | ', @$_) } @wrong) . "\n";
}

# Prepared transactions that nobody finished
sub finish_prepared
{
	my ($self) = @_;
	my $n = 0;
	for my $row ($self->{session}->rows("SELECT gid FROM pg_prepared_xacts WHERE gid LIKE 'stress %' AND database = current_database()"))
	{
		$self->{session}->rows((++$n % 2 ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$row->[0]'");
	}
	return $n;
}

sub wait_for
{
	my ($self, $seconds, $what, $query) = @_;
	my $deadline = time() + $seconds;
	until ($self->{session}->value($query) eq 't')
	{
		die "waited in vain for: $what\n" if time() > $deadline;
		sleep(0.05);
	}
}

# With nobody else at work: everything that is left is offered to the first who asks, once it is due; and in the end
# everything that was intended has one effect.
sub must_drain
{
	my ($self) = @_;
	my $session = $self->{session};

	$self->wait_for(30, 'the end of other transactions', <<END =~ s/\s+/ /gr);
		SELECT count(*) = 0 FROM pg_stat_activity
		WHERE application_name LIKE 'stress %' AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL
END
	$self->must_balance();
	$self->must_check(1);

	# A delivery that failed is due by the retry delay after its claim, which is at most a second here.
	$self->wait_for(60, 'all messages to be due', <<END =~ s/\s+/ /gr);
		SELECT coalesce(max(ready_at), '-infinity') + interval '1 s' < clock_timestamp()
		FROM once.slots('$self->{queue}') WHERE state <> 'done'
END
	my $left = $session->value("SELECT count(*) FROM $self->{table}");
	my $drained = 0;
	while ($drained < $left)
	{
		my $n = $session->value("WITH m AS (SELECT * FROM once.receive('$self->{queue}', 10000)), "
			  . "w AS (INSERT INTO stress.effect SELECT payload->>'k', id, 'drain' FROM m) "
			  . "SELECT count(once.ack(receipt)) FROM m");
		$drained += $n;
		last if $n < 10000;
	}
	$self->stuck($left - $drained) if $drained != $left;
	$self->must_balance();
	die "the queue is not empty\n" if $session->value("SELECT count(*) FROM $self->{table}") > 0;
	$self->must_check(1);
	$session->rows("VACUUM $self->{table}");
	$self->must_check(1);
	return $drained;
}

# Messages that are due and were not offered: show how they stand.
sub stuck
{
	my ($self, $n) = @_;
	my $text = "$n messages were not offered although they are due:\n";

	for my $query (
		"SELECT id, ctid, xmin, xmax, enqueued_at, deliver_at, priority FROM $self->{table} LIMIT 5",
		"SELECT s.* FROM once.slots('$self->{queue}') s JOIN $self->{table} t ON t.ctid = s.row_ctid WHERE state <> 'done' LIMIT 5",
		"SELECT * FROM once.pages('$self->{queue}') WHERE done < slots LIMIT 10",
		"SELECT count(*), clock_timestamp() FROM once.receive('$self->{queue}', 10000)")
	{
		my ($answer) = $self->{session}->run('SET once.unacked = redeliver', $query)
		  ? ($self->{session}->run($query))[0] : ();
		$text .= "$query\n" . join('', map { '  ' . join(' | ', @$_) . "\n" } @{ $answer->{rows} });
	}
	die $text;
}

1;
