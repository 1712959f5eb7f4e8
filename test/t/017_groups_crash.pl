# The order within a group is kept across crashes of the server.  Messages that were claimed hold back their group.  If the server
# crashes in the middle of a load, the effects of each group come in the order of its sends.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = once_node('main', 'once.flush_claims = on');

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

sub crash
{
	$node->stop('immediate');
	$node->start;
}

my $receive = "SELECT string_agg(payload::text || ':' || attempt, ' ' ORDER BY n) FROM (SELECT m.*, once.ack(receipt) FROM once.receive('%s', %d) "
  . 'WITH ORDINALITY AS m (id, receipt, attempt, e, u, p, group_id, h, payload, n)) m';

# A lease of the first message holds back the others, also after a crash.  After the crash, the leased message can be acked.
value("SELECT once.create_queue('leased', retry_delay => '0 s')");
value("SELECT count(once.send('leased', to_jsonb(g || n), group_id => g)) FROM generate_series(1, 4) n, unnest('{a,b}'::text[]) g");
value("CREATE TABLE held AS SELECT id, receipt, payload FROM once.lease('leased', '1 h', 1)");
crash();
is(value("SELECT string_agg(payload #>> '{}', ' ' ORDER BY id) FROM once.peek('leased') WHERE state = 'blocked' AND group_id = 'a'"),
	'a2 a3 a4', 'leased: those behind it are blocked after the crash');
is(value(sprintf($receive, 'leased', 10)), '"b1":1 "b2":1 "b3":1 "b4":1', 'leased: only the other group is delivered');
is(value('SELECT count(once.ack(receipt)) FROM held'), '1', 'leased: its receipt is good');
crash();
is(value(sprintf($receive, 'leased', 10)), '"a2":1 "a3":1 "a4":1', 'leased: then the group goes on');

# A message whose claim has lapsed by the crash is delivered again before all messages behind it.
value("SELECT once.create_queue('open', retry_delay => '0 s')");
value("SELECT count(once.send('open', to_jsonb(n), group_id => 'a')) FROM generate_series(1, 6) n");
my $session = $node->background_psql('postgres');
is($session->query_safe("BEGIN; SELECT count(once.ack(receipt)) FROM once.receive('open', 2)"), '2', 'open: two are acked');
is(value("SELECT count(*) FROM once.receive('open', 10)"), '0', 'open: the group waits for the commit');
crash();
eval { $session->quit };
is(value(sprintf($receive, 'open', 3)), '1:2 2:2 3:1', 'open: all of it from the beginning');
crash();
is(value(sprintf($receive, 'open', 10)), '4:1 5:1 6:1', 'open: and on');

# The pause before a retry holds back the group, also if the server was down meanwhile.
value("SELECT once.create_queue('retried', retry_delay => '1 h')");
value("SELECT count(once.send('retried', to_jsonb(n), group_id => 'a')) FROM generate_series(1, 3) n");
value("SELECT count(once.nack(receipt)) FROM once.lease('retried', '1 h', 1)");
flush_wal($node);
crash();
is(value("SELECT count(*) FROM once.receive('retried', 10)"), '0', 'retried: the group waits for its first');
value("SELECT once.alter_queue('retried', retry_delay => '0 s')");
value("SELECT once.send('retried', '4', group_id => 'a')");
is(value("SELECT string_agg(state, ' ' ORDER BY id) FROM once.peek('retried')"), 'delayed blocked blocked blocked', 'retried: peek tells');
clean($node, $_, $_) for 'leased', 'open', 'retried';
$node->stop;

# A load, in the middle of which all processes are killed.  There are no concurrent builds, which do not keep the order.  On a busy
# machine one run may not get far, so runs are repeated until there was enough to judge.
for my $sync_commit ('on', 'off')
{
	my $judged = 0;

	for my $run (1 .. 6)
	{
		my $load = start_stress(undef, '--policy', '--crash', 2, '--seconds', 5, '--no-rebuild', '--sync-commit', $sync_commit,
			'--setting', 'shared_buffers=8MB', '--setting', 'wal_writer_delay=200ms');

		end_stress($load, "delivery policy, two kills, synchronous_commit $sync_commit, run $run");
		$judged += $1 if ${ $load->{output} } =~ /(\d+) effects of groups judged/;
		last if $judged > 200;
	}
	cmp_ok($judged, '>', 200, 'many effects had an order');
}
done_testing();
