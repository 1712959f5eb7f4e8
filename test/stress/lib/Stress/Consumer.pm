# A consumer.  It receives messages in every possible way, and stores each one's key in stress.effect, in the transaction that
# removes the message.  stress.effect has no unique constraint: what happens twice is there twice.
#
# Poison messages are never acked.  A call that receives one fails, or the message is given back with an error.  In a group, that
# also gives back the messages behind it.

package Stress::Consumer;

use strict;
use warnings;
use parent -norequire, 'Stress::Worker';

use Stress::Worker;
use Time::HiRes qw(sleep time);

# How many leases are kept at a time
my $max_held = 150;

sub step
{
	my ($self) = @_;
	my $policy = $self->{policy};

	$self->{expected} = $policy ? [ 'ON010', 'P0001' ] : [];
	my $what = $self->pick(
		receive_statement => 18,
		receive_transaction => 20,
		receive_loop => 6,
		receive_in_savepoint => 5,
		receive_waiting => 6,
		lease => 20,
		held => 45,
		pop => 10,
		row_lock => 3,
		user_delete => 3,
		user_update => 4,
		peek => 2,
		receive_failing => $policy ? 6 : 0,
		cancel => $policy && $self->{id_index} ? 4 : 0,
		redrive => $policy ? 3 : 0,
		maintain => $policy ? 2 : 0);

	$self->$what();
}

# The statement that stores the effect of a message
sub effect
{
	my ($self, $message, $how) = @_;
	return "INSERT INTO stress.effect VALUES ('$message->{k}', $message->{id}, '$how')";
}

# The statement that receives messages by a call of a verb.  Now and then it also reads their rows: none may have expired before the
# statement began.
sub taking
{
	my ($self, $call) = @_;
	my $what = "m.id, m.receipt, m.payload->>'k', m.attempt, coalesce(m.group_id, ''), m.payload ? 'p'";

	return "SELECT $what, 'f' FROM $call m" if !$self->{policy} or $self->chance(80);
	return "SELECT $what, coalesce(t.expires_at < statement_timestamp(), false) FROM $call WITH ORDINALITY m "
	  . 'LEFT JOIN ' . $self->table() . ' t USING (id) ORDER BY m.ordinality';
}

sub messages
{
	my ($self, $rows) = @_;
	my $claim = ++$self->{claims};
	return map { {
		id => $_->[0], receipt => $_->[1], k => $_->[2], attempt => $_->[3], group => $_->[4] ne '' ? "$_->[4] of $claim" : undef,
		poison => $_->[5] eq 't', expired => $_->[6] eq 't' } } @$rows;
}

sub note_attempts
{
	my ($self, @messages) = @_;
	for my $message (@messages)
	{
		die "message $message->{id} has attempt $message->{attempt}\n"
		  if $message->{attempt} < 1 or $message->{attempt} > $self->{max_attempts};
		die "message $message->{id} was delivered after its time\n" if $message->{expired};
		$self->count('redelivered') if $message->{attempt} > 1;
	}
	# An idle worker leaves the processor to the others.
	sleep(0.005) unless @messages;
}

# ---- receive ----

# Everything in one statement
sub receive_statement
{
	my ($self) = @_;
	my $n = $self->size(100);
	my $delay = $self->nack_delay();
	# Messages behind the first poison message of their group are given back with it.
	my ($state, undef, $rows) = $self->try_run($self->begin(),
		$self->{policy}
		? "WITH m AS (SELECT *, count(*) FILTER (WHERE payload ? 'p') OVER (PARTITION BY coalesce(group_id, '#' || id) "
		  . "ORDER BY ordinality ROWS UNBOUNDED PRECEDING) AS poison "
		  . "FROM once.receive('$self->{queue}', $n) WITH ORDINALITY), "
		  . "w AS (INSERT INTO stress.effect SELECT payload->>'k', id, 'receive' FROM m WHERE poison = 0 ORDER BY ordinality) "
		  . "SELECT count(CASE WHEN poison = 0 THEN once.ack(receipt) WHEN poison = 1 AND payload ? 'p' "
		  . "THEN once.nack(receipt$delay, error => stress.complaint(payload, attempt)) END) FROM m"
		: "WITH m AS (SELECT * FROM once.receive('$self->{queue}', $n)), "
		  . "w AS (INSERT INTO stress.effect SELECT payload->>'k', id, 'receive' FROM m) "
		  . "SELECT count(once.ack(receipt)) FROM m");

	$self->end($state, rollback => 12, prepare => 2);
	sleep(0.005) if $state eq '00000' and !$rows->[0][0];
}

# Everything in one statement, written without a thought of failures: with one poison message, nothing is done.
sub receive_failing
{
	my ($self) = @_;
	my $n = $self->size(8);
	my ($state) = $self->try_run($self->begin(),
		"WITH m AS (SELECT * FROM once.receive('$self->{queue}', $n)), "
		  . "w AS (INSERT INTO stress.effect SELECT stress.work(payload), id, 'receive' FROM m) "
		  . "SELECT count(once.ack(receipt)) FROM m");

	$self->end($state, rollback => 5);
}

# Wait for messages, in one of the two ways or in both.
sub receive_waiting
{
	my ($self) = @_;
	my $milliseconds = $self->roll(100);
	my $n = $self->size(10);

	$self->try_run("CALL once.wait(ARRAY['$self->{queue}'], '$milliseconds ms')") if $self->chance(50);
	$self->try_run('BEGIN');
	my ($state, $rows) = $self->try_run($self->taking("once.receive('$self->{queue}', $n, wait => '$milliseconds ms')"));
	my @messages = $self->messages($rows);
	for my $message (@messages)
	{
		last if $message->{poison} or $state ne '00000';
		($state) = $self->try_run($self->effect($message, 'wait'), "SELECT once.ack('$message->{receipt}')");
	}
	$state = 'P0001' if grep { $_->{poison} } @messages;
	$self->end($state, rollback => 15);
}

sub receive
{
	my ($self, $n) = @_;
	my ($state, $rows) = $self->try_run($self->taking("once.receive('$self->{queue}', $n)"));
	my @messages = $self->messages($rows);

	$self->note_attempts(@messages) if $state eq '00000';
	return ($state, @messages);
}

# Statement by statement; what happens to each message is random
sub receive_transaction
{
	my ($self) = @_;

	$self->try_run($self->begin());
	my ($state, @messages) = $self->receive($self->size(40));
	my @acks;
	my %given_back;
	my %acked_later;
	while (my $message = shift @messages)
	{
		last if $state ne '00000';
		my $group = $message->{group} // '';
		if ($given_back{$group})
		{
			$state = $self->must_be_given_back($message) if $self->chance(20);
			next;
		}
		my $fate = $message->{poison} ? $self->pick(nack => 80, fail => 20)
		  : $acked_later{$group} ? $self->pick(ack_all => 90, too_early => 10)
		  : $self->pick(ack => 60, ack_all => 20, nack => 8, release => 5, again => 5, twice => 2);
		if ($fate eq 'ack')
		{
			($state) = $self->try_run($self->effect($message, 'ack'), "SELECT once.ack('$message->{receipt}')");
		}
		elsif ($fate eq 'ack_all')
		{
			push @acks, $message;
			$acked_later{$group} = $message if $group;
		}
		elsif ($fate eq 'too_early')
		{
			$state = $self->ack_too_early($acked_later{$group}, $message);
			push @acks, $message;
		}
		elsif ($fate eq 'nack')
		{
			($state) = $self->try_run("SELECT once.nack('$message->{receipt}'" . $self->nack_delay() . $self->complaint($message) . ")");
			$given_back{$group} = 1 if $group;
		}
		elsif ($fate eq 'release')
		{
			($state) = $self->try_run("SELECT once.release('$message->{receipt}')");
			$given_back{$group} = 1 if $group;
		}
		elsif ($fate eq 'fail')
		{
			$state = 'P0001';
		}
		elsif ($fate eq 'again')
		{
			# An ack that is rolled back leaves the message claimed.
			my @finish = ($self->effect($message, 'again'), "SELECT once.ack('$message->{receipt}')");
			($state) = $self->try_run('SAVEPOINT s', @finish, 'ROLLBACK TO s', @finish);
		}
		else
		{
			# The second ack is an error that the transaction survives.
			my @answers = $self->{session}->run(
				$self->effect($message, 'twice'), "SELECT once.ack('$message->{receipt}')",
				'SAVEPOINT s', "SELECT once.ack('$message->{receipt}')", 'ROLLBACK TO s');
			$state = $answers[0]{state} ne '00000' ? $answers[0]{state} : $answers[1]{state};
			die "second ack gave $answers[3]{state} $answers[3]{message}\n"
			  if $state eq '00000' and $answers[3]{state} !~ /^(ON004|ON003)$/;
			$self->failed($answers[1], 'ack') if $state ne '00000';
		}
	}
	if (@acks and $state eq '00000')
	{
		($state) = $self->try_run((map { $self->effect($_, 'ack_all') } @acks),
			"SELECT once.ack_all('{" . join(',', map { $_->{receipt} } @acks) . "}')");
	}
	$self->pause() if $self->chance(5);
	if ($state eq '00000' and $self->chance(5))
	{
		$self->forget_one();
		return;
	}
	$self->end($state, rollback => 15, prepare => 4);
}

# Check that a message is given back together with an earlier one of its group.
sub must_be_given_back
{
	my ($self, $message) = @_;
	my ($answer) = $self->{session}->run("SELECT once.try_ack('$message->{receipt}')");

	# Other workers may have rebuilt the index, or deleted the row.
	die "ack behind a message of its group that was given back: $answer->{state} $answer->{message}\n"
	  unless $answer->{state} eq '00000' ? $answer->{rows}[0][0] eq 'f' : $Stress::Worker::tolerated{ $answer->{state} };
	$self->count('given back with an earlier one of its group');
	return $answer->{state};
}

# Check that a message cannot be acked while an earlier one of its group is not.  Returns the state of the transaction afterwards.
sub ack_too_early
{
	my ($self, $earlier, $message) = @_;
	my @answers = $self->{session}->run('SAVEPOINT s', "SELECT once.ack('$message->{receipt}')", 'ROLLBACK TO s');
	my $state = $answers[1]{state};

	$self->count("ack in front of an earlier one of its group: $state");
	return '00000' if $state eq 'ON010' or $Stress::Worker::tolerated{$state};
	die "ack in front of an earlier one of its group gave $state $answers[1]{message}\n" if $state ne '00000';
	# Somebody may have deleted or moved the row of the earlier one.
	my ($answer) = $self->{session}->run("SELECT once.ack('$earlier->{receipt}')");
	die "ack in front of $earlier->{k}, which can still be acked, succeeded: $message->{k}\n" if $answer->{state} eq '00000';
	return $answer->{state};
}

# Commit or prepare with a message that was not acked.  That must fail.
sub forget_one
{
	my ($self) = @_;
	my ($state, @messages) = $self->receive(1);
	my $last = $self->chance(50) ? 'COMMIT' : "PREPARE TRANSACTION 'stress $self->{name} never'";

	if ($state ne '00000' or !@messages)
	{
		$self->end($state);
		return;
	}
	my ($answer) = $self->{session}->run($last);
	if ($answer->{state} eq 'ON005')
	{
		$self->count('unacked refused');
		return;
	}
	# Meanwhile the message may have been removed, by a plain DELETE, or by another consumer after a REINDEX.
	die "$last with an unacked message gave $answer->{state} $answer->{message}\n"
	  unless $answer->{state} eq '00000' or $Stress::Worker::tolerated{ $answer->{state} };
	$self->{session}->run("ROLLBACK PREPARED 'stress $self->{name} never'") if $last ne 'COMMIT';
}

# An exception block for each message, as in application code.  More than 64 of them make the subtransactions overflow.
sub receive_loop
{
	my ($self) = @_;
	my $n = $self->size(100);
	my $bad = 2 + $self->roll(20);
	my $complaint = $self->{policy} ? ', error => stress.complaint(m.payload, m.attempt)' : '';
	my ($given_back, $lost) = ('', '');
	if ($self->{policy})
	{
		# The claims on messages behind one that was given back, in its group, are lost with it.
		$given_back = 'given_back := given_back || m.group_id;';
		$lost = "WHEN SQLSTATE 'ON003' THEN IF m.group_id = ANY (given_back) THEN NULL; ELSE RAISE; END IF;";
	}
	my ($state) = $self->try_run('BEGIN', <<END =~ s/\s+/ /gr);
		DO \$\$
		DECLARE
			m once.message;
			i int := 0;
			given_back text[] := '{}';
		BEGIN
			FOR m IN SELECT * FROM once.receive('$self->{queue}', $n) LOOP
				i := i + 1;
				BEGIN
					INSERT INTO stress.effect VALUES (stress.work(m.payload), m.id, 'loop');
					PERFORM once.ack(m.receipt);
					IF i % $bad = 0 THEN
						RAISE EXCEPTION 'processing failed';
					END IF;
				EXCEPTION
					WHEN raise_exception THEN
						$given_back
						IF i % 2 = 0 OR m.payload ? 'p' THEN
							PERFORM once.nack(m.receipt, '20 ms'$complaint);
						ELSE
							PERFORM once.release(m.receipt);
						END IF;
					$lost
				END;
			END LOOP;
		END
		\$\$
END
	$self->end($state, rollback => 10);
}

# When a subtransaction is rolled back, its claims are given back, while the transaction goes on.
sub receive_in_savepoint
{
	my ($self) = @_;
	my $n = $self->size(20);
	my $finish = "WITH m AS (SELECT * FROM once.receive('$self->{queue}', $n)), "
	  . "w AS (INSERT INTO stress.effect SELECT stress.work(payload), id, 'savepoint' FROM m) "
	  . "SELECT count(once.ack(receipt)) FROM m";
	my ($state) = $self->try_run($self->begin(),
		'SAVEPOINT a', $finish, 'ROLLBACK TO a', 'RELEASE a',
		'SAVEPOINT b', $finish, 'SAVEPOINT c', $finish, 'ROLLBACK TO c', 'RELEASE b');

	$self->pause() if $self->chance(20);
	$self->end($state, rollback => 10);
}

sub pause { sleep(rand(0.1)) }

sub nack_delay
{
	my ($self) = @_;
	return $self->pick('', 1, ", '0 s'", 1, sprintf(", '%d ms'", $self->roll(300)), 1);
}

# The error that is reported for a failed delivery
sub complaint
{
	my ($self, $message) = @_;
	return '' if !$self->{policy} or $self->chance(30);
	return ", error => '$message->{k} $message->{attempt}'";
}

# ---- pop ----

sub pop
{
	my ($self) = @_;
	# With one poison message, all have failed.
	my $n = $self->size($self->{policy} ? 15 : 50);
	my ($state) = $self->try_run($self->begin(),
		"INSERT INTO stress.effect SELECT stress.work(payload), id, 'pop' FROM once.pop('$self->{queue}', $n)");

	$self->end($state, rollback => 15, prepare => 3);
}

# ---- lease ----

sub lease
{
	my ($self) = @_;
	return if @{ $self->{held} ||= [] } >= $max_held;
	my $milliseconds = 5 + $self->roll($self->chance(20) ? 40 : 800);
	my $n = $self->size(30);
	my $statement = $self->taking("once.lease('$self->{queue}', '$milliseconds ms', $n)");
	my $rows;
	my $state;

	if ($self->chance(20))
	{
		# A lease does not depend on its transaction.
		($state, undef, $rows) = $self->try_run($self->begin(), $statement, $self->pick('COMMIT', 1, 'ROLLBACK', 1));
		$self->{session}->rows('ROLLBACK') if $state ne '00000';
	}
	else
	{
		($state, $rows) = $self->try_run($statement);
	}
	return if $state ne '00000';
	my @messages = $self->messages($rows);
	$self->note_attempts(@messages);
	# Some become due too late.  Those of one group become due together.
	my %due;
	for my $message (@messages)
	{
		my $due = time() + $milliseconds * rand(1.2) / 1000;
		$message->{due} = $message->{group} ? $due{ $message->{group} } //= $due : $due;
	}
	push @{ $self->{held} }, @messages;
}

# Do something with leases that are due.
sub held
{
	my ($self) = @_;
	my @due = grep { $_->{due} <= time() } @{ $self->{held} || [] };

	return unless @due;
	splice(@due, $self->size(20)) if @due > 20;
	if (my @poison = grep { $_->{poison} } @due)
	{
		my ($first) = @poison;
		$self->held_nack($first) if $self->chance(70);
		$self->forget_held(grep { $_ == $first or ($first->{group} // '') eq ($_->{group} // '-') } @{ $self->{held} });
		return;
	}
	my $what = $self->pick(ack => 35, ack_all => 20, try_ack => 10, try_ack_all => 15, nack => 7, release => 5, extend => 8);
	my $finished = $self->can("held_$what")->($self, @due);
	$self->forget_held(@due) if $finished;
}

sub forget_held
{
	my ($self, @messages) = @_;
	my %over = map { $_->{receipt} => 1 } @messages;
	$self->{held} = [ grep { !$over{ $_->{receipt} } } @{ $self->{held} } ];
}

# Returns true if these receipts are not needed any more.
sub held_ack
{
	my ($self, @due) = @_;
	my ($state) = $self->try_run($self->begin(),
		map { ($self->effect($_, 'lease'), "SELECT once.ack('$_->{receipt}')") } @due);

	# One stale receipt makes the whole transaction fail.  Next time, they are acked one by one.
	my $committed = $self->end($state, rollback => 12, prepare => 3);
	return 1 if $committed or @due == 1;
	my $due = time() + rand(0.2);
	$_->{due} = $due for @due;
	return $self->chance(30);
}

sub held_ack_all
{
	my ($self, @due) = @_;
	my ($state) = $self->try_run($self->begin(), (map { $self->effect($_, 'lease all') } @due),
		"SELECT once.ack_all('{" . join(',', map { $_->{receipt} } @due) . "}')");

	$self->end($state, rollback => 12);
	return 1;
}

sub held_try_ack
{
	my ($self, @due) = @_;

	$self->try_run($self->begin());
	my $state = '00000';
	for my $message (@due)
	{
		my $rows;
		($state, $rows) = $self->try_run("SELECT once.try_ack('$message->{receipt}')");
		last if $state ne '00000';
		next if $rows->[0][0] ne 't';
		($state) = $self->try_run($self->effect($message, 'try'));
	}
	$self->end($state, rollback => 12);
	return 1;
}

sub held_try_ack_all
{
	my ($self, @due) = @_;
	my %by_receipt = map { $_->{receipt} => $_ } @due;
	my ($state, undef, $rows) = $self->try_run($self->begin(),
		"SELECT once.try_ack_all('{" . join(',', map { $_->{receipt} } @due) . "}')");

	($state) = $self->try_run(map { $self->effect($by_receipt{ $_->[0] }, 'try all') } @$rows) if $state eq '00000' and @$rows;
	$self->end($state, rollback => 12, prepare => 3);
	return 1;
}

sub held_nack
{
	my ($self, @due) = @_;
	$self->try_run(map { "SELECT once.nack('$_->{receipt}'" . $self->nack_delay() . $self->complaint($_) . ")" } @due);
	return 1;
}

sub held_release
{
	my ($self, @due) = @_;
	$self->try_run(map { "SELECT once.release('$_->{receipt}')" } @due);
	return 1;
}

sub held_extend
{
	my ($self, @due) = @_;
	my $milliseconds = 10 + $self->roll(200);

	$self->try_run(map { "SELECT once.extend('$_->{receipt}', '$milliseconds ms')" } @due);
	$_->{due} = time() + $milliseconds * rand(2) / 1000 for @due;
	return 0;
}

# ---- Plain SQL on the queue's table ----

sub some_row
{
	my ($self) = @_;
	my $table = $self->table();
	my $offset = $self->roll(40);
	return "(SELECT id FROM $table OFFSET $offset LIMIT 1)";
}

sub row_lock
{
	my ($self) = @_;
	my $table = $self->table();
	my $n = $self->size(10);
	my $strength = $self->pick('UPDATE', 1, 'SHARE', 1, 'KEY SHARE', 1);
	my ($state) = $self->try_run('BEGIN',
		"SELECT count(*) FROM (SELECT id FROM $table LIMIT $n FOR $strength SKIP LOCKED) l");

	$self->pause();
	$self->end($state, rollback => 100);
}

# A deleted message will have no other effect.  So the deletion counts as its effect.
sub user_delete
{
	my ($self) = @_;
	my $table = $self->table();
	my ($state) = $self->try_run($self->begin(),
		"WITH d AS (DELETE FROM $table WHERE id = " . $self->some_row() . " RETURNING id, payload->>'k' AS k) "
		  . "INSERT INTO stress.effect SELECT k, id, 'delete' FROM d");

	$self->end($state, rollback => 30);
}

sub user_update
{
	my ($self) = @_;
	my $table = $self->table();
	# If the column is indexed, the message moves.  If not, it keeps its place if there is room on its heap page.
	my @set = (
		q(headers = '{"h": 1}') => 1,
		'priority = CASE WHEN group_id IS NULL THEN ' . $self->roll(10) . ' ELSE 4 END' => 1);
	push @set, "group_id = group_id || ' moved'" => 0.5, "deliver_at = now() + interval '200 ms'" => 0.5 if $self->{policy};
	my $set = $self->pick(@set);
	my ($state) = $self->try_run($self->begin(),
		"WITH u AS (UPDATE $table SET $set WHERE id = " . $self->some_row() . " RETURNING payload->>'k' AS k) "
		  . 'INSERT INTO stress.moved SELECT k FROM u');

	$self->pause() if $self->chance(20);
	$self->end($state, rollback => 30, prepare => 5);
}

# A cancelled message will have no other effect, either.
sub cancel
{
	my ($self) = @_;
	my $table = $self->table();
	my $offset = $self->roll(40);
	my ($state) = $self->try_run($self->begin(),
		"WITH c AS MATERIALIZED (SELECT id, payload->>'k' AS k, once.cancel('$self->{queue}', id) AS done FROM "
		  . "(SELECT id, payload FROM $table OFFSET $offset LIMIT 2) t) "
		  . "INSERT INTO stress.effect SELECT k, id, 'cancel' FROM c WHERE done");

	$self->end($state, rollback => 30, prepare => 3);
}

# Dead letters are sent again, behind messages that have been sent meanwhile.  They get the time of the statement that sends them.
sub redrive
{
	my ($self) = @_;
	my $table = $self->table();
	my $n = $self->pick('NULL', 1, $self->size(20), 3);
	my ($state, undef, $expired, $rows) = $self->try_run($self->begin(),
		"SELECT count(*) FROM once.dead_letters WHERE queue = '$self->{queue}' AND reason = 'expired'",
		"SELECT once.redrive('$self->{queue}', max_messages => $n), set_config('stress.redriven_at', statement_timestamp()::text, true)",
		"INSERT INTO stress.moved SELECT payload->>'k' FROM $table WHERE enqueued_at = current_setting('stress.redriven_at')::timestamptz");

	return unless $self->end($state, rollback => 30, prepare => 3);
	$self->count('redriven', $rows->[0][0]);
	$self->count('expired ones among the dead letters', $expired->[0][0]);
}

# In a transaction of ours, maintain cannot have its own, so it works in ours.
sub maintain
{
	my ($self) = @_;
	my ($state) = $self->try_run($self->begin(), 'CALL once.maintain()');

	$self->end($state, rollback => 30, prepare => 3);
}

sub peek
{
	my ($self) = @_;
	$self->try_run("SELECT count(*) FROM once.peek('$self->{queue}', 50)");
}

1;
