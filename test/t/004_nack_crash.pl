# A change that makes a message ready earlier survives a crash, together with the change of the page's hint, which would hide the
# message otherwise.  After a crash, deliveries count as attempts if their claim was flushed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

# The WAL writer is slow, so that WAL is flushed only on request.
my $node = once_node('main', 'wal_writer_delay = 10s', 'checkpoint_timeout = 1h');

# Fill several pages, lease everything for an hour, and make the pages' hints show that.
sub lease_all
{
	my ($queue) = @_;

	$node->safe_psql('postgres', "SELECT once.create_queue('$queue', retry_delay => '0 s')");
	$node->safe_psql('postgres', "SELECT count(*) FROM once.send_batch('$queue', array_fill('1'::jsonb, ARRAY[700]))");
	$node->safe_psql('postgres', "CREATE TABLE ${queue}_held AS SELECT id, receipt FROM once.lease('$queue', '1 h', 700)");
	is($node->safe_psql('postgres', "SELECT count(*) FROM once.lease('$queue')"), '0', "$queue: all messages are leased");
}

# Log a change of pages that are on disk in this state.
sub change_pages
{
	my ($queue) = @_;

	# The first change of a page after a checkpoint logs the whole page, with its hints.  Make another change before ours.
	$node->safe_psql('postgres', "DELETE FROM once.q_$queue WHERE id IN (5, 205, 405)");
	$node->safe_psql('postgres', "VACUUM once.q_$queue");
	cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM once.pages('$queue') WHERE earliest > now() + interval '10 min' AND done > 0"),
		'>=', 2, "$queue: hints let walkers pass the pages by");
}

sub crash
{
	$node->stop('immediate');
	$node->start;
}

lease_all($_) for qw(nacked released shortened);
$node->safe_psql('postgres', 'CHECKPOINT');
change_pages($_) for qw(nacked released shortened);
$node->safe_psql('postgres', "SELECT once.nack(receipt, '0 s') FROM nacked_held WHERE id = 3");
$node->safe_psql('postgres', 'SELECT once.release(receipt) FROM released_held WHERE id = 3');
$node->safe_psql('postgres', "SELECT once.extend(receipt, '1 us') FROM shortened_held WHERE id = 3");
flush_wal($node);
crash();
is($node->safe_psql('postgres', "SELECT id, attempt FROM once.lease('$_->[0]', '1 h', 10)"), $_->[1], "$_->[0]: offered at once after the crash")
  for [ nacked => '3|2' ], [ released => '3|1' ], [ shortened => '3|2' ];
clean($node, $_, $_) for qw(nacked released shortened);

# Leases that were on disk are still leases after a crash, and their receipts are valid.
is($node->safe_psql('postgres', "SELECT count(*) FROM once.lease('nacked', '1 h', 10)"), '0', 'other leases have survived');
is($node->safe_psql('postgres', 'SELECT count(once.ack(receipt)) FROM nacked_held WHERE id > 5 AND id NOT IN (205, 405)'), '693', 'so have their receipts');
is(sqlstate_of($node, 'SELECT once.ack(receipt) FROM nacked_held WHERE id = 3'), 'ON003', 'but not that of the nacked one');
clean($node, 'nacked', 'after acks');

# A claim that was flushed counts, although its transaction is lost.
$node->safe_psql('postgres', "SELECT once.create_queue('counted', retry_delay => '0 s')");
$node->safe_psql('postgres', "SELECT once.send('counted', '1')");
for my $attempt (1 .. 3)
{
	my $session = $node->background_psql('postgres');

	is($session->query_safe(
			"SET once.flush_claims = on; BEGIN; SELECT attempt FROM once.receive('counted')"),
		$attempt, "delivery $attempt is attempt $attempt, crash or not");
	crash();
	eval { $session->quit };
}

# The same for leases.  They have no transaction that could flush anything.
for my $attempt (4 .. 5)
{
	is($node->safe_psql('postgres', "SET once.flush_claims = on; SELECT attempt FROM once.lease('counted', '1 us')"),
		$attempt, "lease: delivery $attempt is attempt $attempt");
	crash();
}
clean($node, 'counted', 'after crashes');
done_testing();
