# A message whose processing ends its client, its backend or the whole server becomes a dead letter, after exactly as many deliveries
# as it may have.  The messages behind it are delivered.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = once_node('main', 'restart_after_crash = on', 'wal_writer_delay = 10s', 'once.flush_claims = on');

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

# The work that some messages ask for.  The server's log shows the delivery, no matter how the transaction ends.
value('CREATE TABLE effect (queue text, id bigint)');
value(q(CREATE FUNCTION work(queue text, m once.message) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		RAISE LOG 'delivery of % % attempt %', queue, m.payload #>> '{}', m.attempt;
		IF m.payload = '"terminate"' THEN
			PERFORM pg_terminate_backend(pg_backend_pid());
			PERFORM pg_sleep(60);
		ELSIF m.payload = '"kill"' THEN
			COPY (SELECT) TO PROGRAM 'kill -9 $PPID';
		END IF;
		RETURN queue;
	END $$));

# The deliveries that the log shows
sub deliveries { return join(' ', slurp_file($node->logfile) =~ /delivery of \Q$_[0]\E attempt (\d+)/g) }

# Work until nothing is left.  Returns how often that failed.  The server restarts after each failure of the queue "killed".
sub work_off
{
	my ($queue) = @_;
	my $failed = 0;

	for (1 .. 20)
	{
		my $offset = -s $node->logfile;
		my ($status) = $node->psql('postgres', <<END, timeout => 60);
			WITH m AS MATERIALIZED (SELECT m, m.id, m.receipt FROM once.receive('$queue') m),
			w AS (INSERT INTO effect SELECT work('$queue', m), id FROM m)
			SELECT count(once.ack(receipt)) FROM m
END
		if ($status != 0)
		{
			$failed++;
			# An answer proves nothing, because the server may not have begun to restart.
			$node->wait_for_log(qr/database system is ready to accept connections/, $offset) if $queue eq 'killed';
		}
		last if value("SELECT count(*) FROM once.q_$queue") == 0;
	}
	return $failed;
}

my %poison = (terminated => 'terminate', killed => 'kill', grouped => 'terminate');
for my $queue (sort keys %poison)
{
	my $group = $queue eq 'grouped' ? "'g'" : 'NULL';

	value("SELECT once.create_queue('$queue', max_attempts => 3, retry_delay => '0 s')");
	value("SELECT count(once.send('$queue', payload, group_id => $group)) FROM (VALUES (jsonb '1'), ('\"$poison{$queue}\"'), ('2')) v (payload)");
	is(work_off($queue), 3, "$queue: three transactions failed");
	is(deliveries("$queue $poison{$queue}"), '1 2 3', "$queue: poison is delivered three times");
	is(value("SELECT reason, attempts, payload, group_id FROM once.dead_letters WHERE queue = '$queue'"),
		"attempts|3|\"$poison{$queue}\"|" . ($queue eq 'grouped' ? 'g' : ''), "$queue: then it is a dead letter");
	is(value("SELECT count(*), count(DISTINCT id) FROM effect WHERE queue = '$queue'"), '2|2', "$queue: the others had their effect once");
	is(deliveries("$queue $_"), '1', "$queue: and were delivered once") for 1, 2;
	clean($node, $queue, $queue);
}
is(scalar(() = slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/g), 3, 'the server was restarted three times');

# If nobody asks for messages any more, maintain() finds those that are dead.
value("SELECT once.create_queue('left', max_attempts => 1, retry_delay => '0 s')");
value("SELECT once.send('left', '\"terminate\"')");
isnt(($node->psql('postgres', "SELECT work('left', m) FROM once.receive('left') m"))[0], 0, 'left: the backend is gone');
is(value('SELECT count(*) FROM once.q_left'), '1', 'left: the message stays where it is');
value('CALL once.maintain()');
is(value('SELECT count(*) FROM once.q_left'), '0', 'left: maintain() takes it away');
is(value("SELECT reason, attempts, payload FROM once.dead_letters WHERE queue = 'left'"), 'attempts|1|"terminate"', 'left: to the dead letters');

# A dead letter that is sent again begins with the first attempt.
is(value("SELECT once.redrive('terminated')"), '1', 'sent again');
is(work_off('terminated'), 3, 'it fails as often');
is(deliveries('terminated terminate'), '1 2 3 1 2 3', 'with attempts from 1');
is(value("SELECT reason, attempts, payload FROM once.dead_letters WHERE queue = 'terminated'"), 'attempts|3|"terminate"', 'and is dead again');
clean($node, $_, "$_, in the end") for sort keys %poison, 'left';
done_testing();
