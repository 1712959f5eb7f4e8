# The oracle: rules for stress.intended, the queue, its dead letters, its archive and stress.effect, which must be true at any time
# and in the end.

package Stress::Oracle;

use strict;
use warnings;

use Time::HiRes qw(sleep time);

sub new
{
	my ($class, $session, $queue) = @_;
	my $self = bless { session => $session, queue => $queue, table => "once.\"q_$queue\"" }, $class;
	# How the queue was set up, which another run may have done
	@{$self}{qw(policy max_attempts ttl)} = @{ ($session->rows('SELECT policy, max_attempts, ttl FROM stress.setting'))[0] };
	$self->{policy} = $self->{policy} eq 't';
	return $self;
}

# once.check must find nothing.
#
# A strict check takes its snapshot and then waits for the table's lock.  A concurrent REINDEX takes the lock and then waits for that
# snapshot.  If the check is the one that the deadlock detector ends, it is repeated.
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

# In every snapshot, each message that was intended is in the queue, or has had its effect, or is a dead letter.  No message is two
# of these, none is there twice, and there is none that was not intended.  A message that may have expired may have been dropped.
# If there is an archive, acked messages are in it, and deleted or cancelled ones are not.
sub must_balance
{
	my ($self) = @_;
	my ($archive, $dropped, $archived) = ('', 'false', '');

	if ($self->{policy})
	{
		$archive = "UNION ALL SELECT payload->>'k', 'a', NULL, NULL FROM once.\"a_$self->{queue}\" "
		  . "UNION ALL SELECT payload->>'k', 'd', NULL, NULL FROM once.dead_letters WHERE queue = '$self->{queue}' "
		  . "UNION ALL SELECT DISTINCT k, 'm', NULL, NULL::timestamptz FROM stress.moved ";
		# A message that was moved or sent again has another time of sending.
		$dropped = "(max(expires) < clock_timestamp() OR bool_or(what = 'm'))";
		$archived = "OR count(*) FILTER (WHERE what = 'a') <> "
		  . "count(*) FILTER (WHERE what = 'e' AND how NOT IN ('delete', 'cancel'))";
	}
	my @wrong = $self->{session}->rows(<<END =~ s/\s+/ /gr);
		SELECT k, string_agg(what || coalesce(':' || how, ''), ' ' ORDER BY what) FROM (
			SELECT k, 'i' AS what, NULL AS how, expires FROM stress.intended
			UNION ALL SELECT payload->>'k', 'q', NULL, NULL FROM $self->{table}
			UNION ALL SELECT k, 'e', how, NULL FROM stress.effect $archive) AS u
		GROUP BY k
		HAVING count(*) FILTER (WHERE what = 'i') <> 1
			OR count(*) FILTER (WHERE what IN ('q', 'e', 'd')) > 1
			OR (count(*) FILTER (WHERE what IN ('q', 'e', 'd')) = 0 AND NOT coalesce($dropped, false))
			$archived
		LIMIT 10
END
	return unless @wrong;
	die "out of balance (key, and where it is: intended, queue, effect by, dead letters, archive, moved): "
	  . join("\n", map { join(' | ', @$_) } @wrong) . "\n";
}

# The effects of a group are in the order of its sends.  Messages are not judged if they were sent with a delay of their own, moved or
# sent again since, deleted by others, or alive during a concurrent index build.  Returns how many were judged.
sub must_keep_order
{
	my ($self) = @_;
	my $judged = <<END =~ s/\s+/ /gr;
		SELECT i.k, i.grp, i.n, e.how, e.moment, lag(i.n) OVER (PARTITION BY i.grp ORDER BY e.moment) AS before
		FROM stress.intended i JOIN stress.effect e USING (k)
		WHERE i.grp IS NOT NULL AND NOT i.delayed AND e.how NOT IN ('delete', 'cancel')
			AND NOT EXISTS (SELECT FROM stress.moved m WHERE m.k = i.k)
			AND NOT EXISTS (SELECT FROM stress.unordered u WHERE i.moment < coalesce(u.upto, e.moment + 1) AND e.moment > u.since)
END
	my @wrong = $self->{session}->rows("SELECT grp, k, how, moment, before FROM ($judged) AS j WHERE n < before LIMIT 10");

	die "out of order (group, key, by, moment, after the number): " . join("\n", map { join(' | ', @$_) } @wrong) . "\n" if @wrong;
	return $self->{session}->value("SELECT count(before) FROM ($judged) AS j");
}

# No message has had more deliveries than it may have.  Each dead letter has a good reason.  Each error belongs to the delivery for
# which it was reported.
sub must_keep_policy
{
	my ($self) = @_;
	my $dead = "once.dead_letters WHERE queue = '$self->{queue}'";

	return unless $self->{policy};
	$self->must_be_none($_->[0], $_->[1]) for
	  [ 'attempts beyond the last' => "SELECT * FROM once.slots('$self->{queue}') WHERE state <> 'done' AND attempts > $self->{max_attempts}" ],
	  [ 'dead letters without a reason' => "SELECT id, reason, attempts, enqueued_at, deliver_at, expires_at, dead_at FROM $dead "
		  . "AND CASE reason WHEN 'attempts' THEN attempts <> $self->{max_attempts} "
		  . "WHEN 'expired' THEN attempts > $self->{max_attempts} "
		  . "OR coalesce(expires_at, greatest(enqueued_at, deliver_at) + interval '$self->{ttl}', 'infinity') > clock_timestamp() "
		  . 'ELSE true END' ],
	  [ 'messages of another group' => "SELECT m.k, m.group_id, i.grp FROM (SELECT payload->>'k' AS k, group_id FROM $self->{table} "
		  . "UNION ALL SELECT payload->>'k', group_id FROM $dead) AS m JOIN stress.intended i USING (k) "
		  . "WHERE regexp_replace(m.group_id, '( moved)+\$', '') IS DISTINCT FROM i.grp" ],
	  [ 'errors of other deliveries' => 'SELECT m.k, f.attempt, f.error FROM once.failures f JOIN ('
		  . "SELECT id, enqueued_at, payload->>'k' AS k FROM $self->{table} UNION ALL SELECT id, enqueued_at, payload->>'k' FROM $dead) AS m "
		  . 'USING (id, enqueued_at) '
		  . "WHERE f.queue = '$self->{queue}' AND f.error <> m.k || ' ' || f.attempt" ],
	  [ 'last errors of others' => "SELECT id, payload->>'k', attempts, last_error FROM $dead "
		  . "AND last_error NOT LIKE (payload->>'k') || ' %'" ];
}

sub must_be_none
{
	my ($self, $what, $query) = @_;
	my @rows = $self->{session}->rows("$query LIMIT 10");
	die "$what: " . join("\n", map { join(' | ', @$_) } @rows) . "\n" if @rows;
}

# Commit or roll back prepared transactions that are left over.
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

# No other worker runs any more.  Then all messages that are left must be offered to the first call after they are due, and in the
# end every message that was intended must have one effect.
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
	return $self->must_drain_by_policy() if $self->{policy};

	# A failed delivery is due again a retry delay after its claim.  That is at most a second here.
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

# The same if messages are in groups, die and expire.  Poison messages are given back until they are dead letters.  Then all dead
# letters are sent again, and have their effect.
sub must_drain_by_policy
{
	my ($self) = @_;
	my $session = $self->{session};
	my $table = $self->{table};
	my $drained = 0;

	$self->must_keep_order();
	$self->must_keep_policy();
	$drained += $self->must_empty("payload ? 'p'", 'drain');
	$self->must_balance();
	$self->must_keep_order();
	$self->must_keep_policy();
	$self->must_be_none('poison messages that somebody finished', 'SELECT i.k, e.how FROM stress.intended i JOIN stress.effect e USING (k) '
		. "WHERE i.poison AND e.how NOT IN ('delete', 'cancel')");
	$session->rows('CALL once.maintain()');
	$self->must_be_none('errors of messages that are gone', "SELECT f.* FROM once.failures f WHERE queue = '$self->{queue}' "
		. "AND NOT EXISTS (SELECT FROM once.dead_letters d WHERE d.queue = f.queue AND d.id = f.id)");

	$session->rows("SELECT once.alter_queue('$self->{queue}', reset => '{ttl}')");
	my $dead = () = $session->rows(
		"INSERT INTO stress.moved SELECT payload->>'k' FROM once.dead_letters WHERE queue = '$self->{queue}' RETURNING k");
	my $redriven = $session->value("SELECT once.redrive('$self->{queue}')");
	die "$redriven of $dead dead letters were sent again\n" if $redriven != $dead;
	$self->must_balance();
	my $redrained = $self->must_empty('false', 'redriven');
	die "$redrained of $redriven dead letters were delivered\n" if $redriven != $redrained;
	$self->must_balance();
	$self->must_be_none('dead letters', "SELECT * FROM once.dead_letters WHERE queue = '$self->{queue}'");
	$self->must_be_none('failures', "SELECT * FROM once.failures WHERE queue = '$self->{queue}'");
	$self->must_be_none('ids that come twice', 'SELECT id, count(*) FROM stress.effect GROUP BY id HAVING count(*) > 1');
	$self->must_check(1);
	$session->rows("VACUUM $table");
	$self->must_check(1);
	return $drained + $redrained;
}

# Receive messages until none is left.  Those that are not poison have their effect and are acked.
sub must_empty
{
	my ($self, $poison, $how) = @_;
	my $session = $self->{session};
	my $finished = 0;
	my $last = time();

	while ((my $left = $session->value("SELECT count(*) FROM $self->{table}")) > 0)
	{
		my ($row) = $session->rows(<<END =~ s/\s+/ /gr);
			WITH m AS (SELECT *, count(*) FILTER (WHERE $poison) OVER (PARTITION BY coalesce(group_id, '#' || id)
					ORDER BY ordinality ROWS UNBOUNDED PRECEDING) AS poison
				FROM once.receive('$self->{queue}', 10000) WITH ORDINALITY),
			w AS (INSERT INTO stress.effect SELECT payload->>'k', id, '$how' FROM m WHERE poison = 0 ORDER BY ordinality)
			SELECT count(*), count(CASE WHEN poison = 0 THEN once.ack(receipt) END),
				count(CASE WHEN poison = 1 AND ($poison) THEN once.nack(receipt, '0 s') END) FROM m
END
		$finished += $row->[1];
		if ($row->[0] or $left > $session->value("SELECT count(*) FROM $self->{table}"))
		{
			$last = time();
			next;
		}
		$self->stuck($left) if time() > $last + 15;
		sleep(0.1);
	}
	return $finished;
}

# Show the state of messages that are due and were not offered.
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
