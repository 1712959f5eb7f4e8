# Prepared transactions keep what they have claimed, deleted and sent, across restarts and crashes, until they are committed or
# rolled back.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = once_node('main');

# The last value that the statements return
sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

value("SELECT once.create_queue('q', retry_delay => '0 s')");
value('CREATE TABLE effect (id bigint)');
value("SELECT count(once.send('q', to_jsonb(i))) FROM generate_series(1, 4) i");
value("CREATE TABLE held AS SELECT id, receipt FROM once.lease('q', '1 h', 1)");

my $finish = "WITH m AS (SELECT * FROM once.receive('q')), w AS (INSERT INTO effect SELECT id FROM m) SELECT count(once.ack(receipt)) FROM m";
value("BEGIN; $finish; PREPARE TRANSACTION 'received'");
value("BEGIN; INSERT INTO effect SELECT id FROM once.pop('q'); PREPARE TRANSACTION 'popped'");
value("BEGIN; INSERT INTO effect SELECT id FROM held; SELECT once.ack(receipt) FROM held; PREPARE TRANSACTION 'acked'");
value("BEGIN; $finish; PREPARE TRANSACTION 'undone'");
value("BEGIN; SELECT once.send('q', '5'); PREPARE TRANSACTION 'sent'");

# PREPARE fails with a claim that is neither acked nor given back; a claim that was given back does no harm.
value("SELECT once.send('q', '6')");
is(sqlstate_of($node, "BEGIN; SELECT id FROM once.receive('q'); PREPARE TRANSACTION 'unacked'"), 'ON005',
	'PREPARE with an unacked message fails');
is(sqlstate_of($node, "BEGIN; SELECT once.release(receipt) FROM once.receive('q'); PREPARE TRANSACTION 'released'"), '00000',
	'PREPARE after release succeeds');
value("ROLLBACK PREPARED 'released'");
is(value("SELECT attempt, count(once.ack(receipt)) FROM once.receive('q') GROUP BY attempt"), '2|1',
	'the refused delivery counts, the released one does not');

for my $how ('fast', 'immediate')
{
	$node->stop($how);
	$node->start;
	is(value("SELECT count(*) FROM once.receive('q', 10)"), '0', "after $how stop: nothing of theirs is offered");
	is(value("SELECT count(*) FROM once.lease('q', '1 s', 10)"), '0', "after $how stop: nor leased");
	is(value("SELECT string_agg(state, ' ' ORDER BY id) FROM once.peek('q')"), 'claimed claimed claimed claimed',
		"after $how stop: peek shows the claims");
	clean($node, 'q', "after $how stop", strict => 0);
}
value("COMMIT PREPARED '$_'") for qw(received popped acked sent);
is(value('SELECT count(*), count(DISTINCT id) FROM effect'), '3|3', 'committed ones have had their effect');
is(sqlstate_of($node, 'SELECT once.ack(receipt) FROM held'), 'ON004', 'the lease has been acked');
is(value("SELECT string_agg(payload::text, ' ' ORDER BY id) FROM once.peek('q') WHERE state <> 'claimed'"), '5',
	'what was sent is there, what is undecided is not');
value("ROLLBACK PREPARED 'undone'");
is(value("SELECT string_agg(payload::text || ':' || attempt, ' ' ORDER BY id) FROM (SELECT *, once.ack(receipt) FROM once.receive('q', 10)) m"),
	'4:2 5:1', 'a claim that was rolled back is delivered again, and counts');
is(value('SELECT count(*) FROM once.q_q'), '0', 'nothing is left');
clean($node, 'q', 'in the end');
done_testing();
