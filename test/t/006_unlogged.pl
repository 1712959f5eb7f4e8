# After a crash, an unlogged queue is empty and works, and receipts from before are refused.  A clean restart keeps its messages.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = once_node('main', 'wal_writer_delay = 10s');
my $standby = once_standby($node, 'standby');

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

value("SELECT once.create_queue('u', unlogged => true, retry_delay => '0 s')");
value("SELECT count(*) FROM once.send_batch('u', array_fill('1'::jsonb, ARRAY[999]))");
value("SELECT once.send('u', '1', dedup_id => 'a')");
value("SELECT once.create_queue('l', retry_delay => '0 s')");
my $first = value("SELECT once.send('l', '1', dedup_id => 'a')");
value("CREATE TABLE held AS SELECT id, receipt FROM once.lease('u', '1 h', 300)");
clean($node, 'u', 'before');

# It writes no WAL, which would be of no use.
my $before = $node->lsn('insert');
value("SELECT count(*) FROM once.lease('u', '1 ms', 300)");
is(value("SELECT pg_wal_lsn_diff('" . $node->lsn('insert') . "', '$before') < 10000"), 't', 'claims write no WAL');

$node->restart;
is(value("SELECT count(*) FROM once.q_u"), '1000', 'a clean restart keeps the messages');
is(value("SELECT duplicate FROM once.send_dedup('u', '1', dedup_id => 'a')"), 't', 'and the dedup_ids');
is(value('SELECT count(once.ack(receipt)) FROM held WHERE id <= 10'), '10', 'and the receipts');
clean($node, 'u', 'after a restart');

for my $round (1, 2)
{
	$node->stop('immediate');
	$node->start;
	is(value('SELECT count(*) FROM once.q_u'), '0', "crash $round: the queue is empty");
	is(value("SELECT count(*) FROM once.receive('u', 10)"), '0', "crash $round: nothing is offered");
	is(sqlstate_of($node, 'SELECT once.ack(receipt) FROM held WHERE id = 11'), 'ON003', "crash $round: old receipts are refused");
	clean($node, 'u', "crash $round");
	# Messages that were lost can be sent again; a message that was not lost is not sent twice.
	is(value("SELECT duplicate FROM once.send_dedup('u', '1', dedup_id => 'a')"), 'f', "crash $round: dedup_ids went with the messages");
	is(value("SELECT once.send('u', '1', dedup_id => 'a') = id FROM once.q_u"), 't', "crash $round: and are remembered from then on");
	is(value("SELECT once.send('l', '1', dedup_id => 'a')"), $first, "crash $round: a logged queue has not forgotten");
	is(value('SELECT count(*) FROM once.q_l'), '1', "crash $round: nor sent it again");
	is(value("SELECT count(*) FROM once.send_batch('u', array_fill('1'::jsonb, ARRAY[999]))"), '999', "crash $round: it takes messages");
	is(value("SELECT count(*) FROM once.lease('u', '1 h', 200)"), '200', "crash $round: and hands them out");
	is(sqlstate_of($node, 'SELECT once.ack(receipt) FROM held WHERE id = 11'), 'ON003', "crash $round: old receipts are still refused");
	is(value("SELECT count(once.ack(receipt)) FROM once.receive('u', 500)"), '500', "crash $round: and acks them");
	clean($node, 'u', "crash $round, in use");
}

# The standby has only the definition.
catch_up($node, $standby);
is(sqlstate_of($standby, "SELECT * FROM once.peek('u')"), '0A000', 'peek at an unlogged queue is refused on a standby');
like(($standby->psql('postgres', "SELECT * FROM once.peek('u')"))[2], qr/queue "u" during recovery/, 'which is named');

# After the crash, a transaction id is assigned again that a receipt from before the crash contains, and it claims the same slot of
# the same page.  The old receipt must not be valid for the new message.  Whether the id is assigned again depends on what else was
# flushed before the crash, so this is tried until it is.
my ($receipt, $xid);
my $again = 0;

sub receive_and_leave
{
	my $session = $node->background_psql('postgres');
	my ($r, undef, $x) = split /\|/,
	  $session->query_safe("BEGIN; SELECT receipt, payload, pg_current_xact_id() FROM once.receive('u')");
	return ($session, $r, $x);
}

for my $try (1 .. 10)
{
	value('TRUNCATE once.q_u');
	$node->stop('immediate');
	$node->start;
	value('CHECKPOINT');
	value("SELECT once.send('u', '1')");
	value('SELECT txid_current()') for 1 .. 3;
	(my $session, $receipt, $xid) = receive_and_leave();
	$node->stop('immediate');
	$node->start;
	eval { $session->quit };

	value("SELECT once.send('u', '2')");
	value('SELECT txid_current()') while value('SELECT txid_snapshot_xmax(txid_current_snapshot())') < $xid;
	($session, undef, my $second) = receive_and_leave();
	$session->query_safe('ROLLBACK');
	$session->quit;
	$again = $second == $xid;
	last if $again;
}
ok($again, 'the id of a lost transaction is assigned again');
is(value("SELECT once.try_ack('$receipt')"), 'f', 'its receipt does not fit what that claims');
value("SELECT once.pop('u', 10)");
is(value("SELECT count(*) FROM once.send_batch('u', array_fill('1'::jsonb, ARRAY[1000]))"), '1000', 'messages again');
is(value("SELECT count(once.ack(receipt)) FROM once.receive('u', 500)"), '500', 'of which half are left');

# Changing a queue to unlogged or logged keeps the messages.
value('ALTER TABLE once.q_u SET LOGGED');
clean($node, 'u', 'SET LOGGED');
$node->stop('immediate');
$node->start;
is(value("SELECT count(once.ack(receipt)) FROM once.receive('u', 10000)"), '500', 'a logged queue keeps its messages in a crash');
$node->stop('immediate');
$node->start;
clean($node, 'u', 'logged, after a crash');
done_testing();
