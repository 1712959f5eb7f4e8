# Waiters are cancelled and terminated at random while messages come.  Nobody looks by itself here, so a message would stay if its
# wake-up were lost with a waiter.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seed = $ENV{ONCE_SEED} // time() * 1000 % 1_000_000;
srand($seed);
note("seed $seed");

my $node = once_node('main', 'shared_preload_libraries = pg_once', "once.debug_fallback = '1 h'");
my $db = $node->connstr('postgres');
$node->safe_psql('postgres', "SELECT once.create_queue(q, retry_delay => '0', retry_delay_max => '0', max_attempts => 1000) FROM unnest('{q,other}'::text[]) q;"
	. 'CREATE TABLE sent (n int PRIMARY KEY); CREATE TABLE effect (n int)');

# Each consumer waits again and again, in one of these ways.  Leases are short, because those of killed sessions last.
my $insert = "INSERT INTO effect SELECT (payload->>'n')::int FROM";
my %ways = (
	pop => "$insert once.pop('q', wait => '60 s')",
	receive => "WITH m AS (SELECT * FROM once.receive('q', 3, wait => '60 s')), e AS ($insert m) SELECT count(once.ack(receipt)) FROM m",
	lease => "DO \$\$ DECLARE m once.message; BEGIN SELECT * INTO m FROM once.lease('q', '1 s', wait => '60 s'); "
	  . "INSERT INTO effect VALUES ((m.payload->>'n')::int); PERFORM once.ack(m.receipt); END \$\$",
	procedure => "CALL once.wait(ARRAY['other', 'q'], '1 h'); $insert once.pop('q')",
	rollback => "BEGIN; SELECT FROM once.receive('q', wait => '60 s'); ROLLBACK");
my $dir = $PostgreSQL::Test::Utils::tmp_check;
my @consumers;
append_to_file("$dir/$_.sql", "$ways{$_};\n") for keys %ways;
start_round(0);
for my $name ('rollback', map { ($_) x 3 } qw(pop receive lease procedure))
{
	# After an error, it rests until the next round: a consumer that begins to wait looks at first, and would find what was lost.
	my $loop = 'until [ -e "$1/stop" ]; do psql -XAtq -v ON_ERROR_STOP=1 -d "$2" -f "$1/$3.sql" || '
	  . '{ r=$(cat "$1/round"); until [ "$(cat "$1/round")" != "$r" ] || [ -e "$1/stop" ]; do sleep 0.1; done; }; done >>"$1/$3.log" 2>&1';
	local $ENV{PGAPPNAME} = "waiter $name";
	push @consumers, IPC::Run::start([ 'sh', '-c', $loop, 'sh', $dir, $db, $name ], '<', \undef);
}

# The file is replaced at once, so that nobody reads a part of it.
sub start_round
{
	my ($round) = @_;
	append_to_file("$dir/round.new", $round);
	rename("$dir/round.new", "$dir/round") or die "could not rename: $!\n";
}

my $waiters = "FROM pg_stat_activity WHERE application_name LIKE 'waiter %' AND wait_event_type = 'Extension'";

# Send some messages, and end one of the waiters: mostly the one that is woken.  Some are stopped until the messages are there, so that
# they are ended between their wake-up and their look.
sub send_and_end
{
	my ($session, $values) = @_;
	my $how = rand() < 0.5 ? 'terminate' : 'cancel';
	my $pid = $session->query_safe("SELECT pid $waiters ORDER BY " . (rand() < 0.7 ? 'query_start' : 'random()') . ' LIMIT 1');
	my $send = "WITH s AS (INSERT INTO sent VALUES $values RETURNING n) SELECT count(once.send('q', jsonb_build_object('n', n))) FROM s";
	my $end = "SELECT pg_${how}_backend(" . ($pid || 0) . ')';
	my $stop = $pid && rand() < 0.5;

	if ($stop)
	{
		kill 'STOP', $pid;
		# It goes on in any case, even if it has a lock that the sender needs.
		system("(sleep 0.1; kill -CONT $pid) >/dev/null 2>&1 &");
	}
	if ($stop or rand() < 0.5)
	{
		$session->query_safe($send);
		$session->query_safe($end);
	}
	else
	{
		$session->query_safe("BEGIN; $send; $end; COMMIT");
	}
}

my $session = $node->background_psql('postgres');
$session->query_safe('SET client_min_messages = error');
my $n = 0;
for my $round (1 .. 8)
{
	# Those that were ended last have come to rest by now, mostly.
	sleep(0.5);
	start_round($round);
	$node->poll_query_until('postgres', "SELECT count(*) >= 8 $waiters") or die "the consumers do not wait\n";
	for (1 .. 6)
	{
		send_and_end($session, join(', ', map { '(' . ++$n . ')' } 1 .. 1 + rand(2)));
		sleep(rand(0.02));
	}
	# Nothing else is done until all messages have had their effect.
	my $deadline = time() + 30;
	my $left;
	while (($left = $session->query_safe('SELECT count(*) FROM sent LEFT JOIN effect USING (n) WHERE effect.n IS NULL')) > 0 and time() < $deadline)
	{
		sleep(0.1);
	}
	is($left, '0', "round $round: all messages were delivered");
	last if $left;
}
is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT n) FROM effect'), '0', 'each of them once');

append_to_file("$dir/stop", '');
for my $consumer (@consumers)
{
	$session->query_safe("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'waiter %'");
	IPC::Run::finish($consumer);
}
$session->quit;
clean($node, 'q', 'in the end');
done_testing();
