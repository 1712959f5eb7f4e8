# Waiters are cancelled and terminated at random while messages come.  Each message is delivered all the same, and no wake-up is
# lost: nobody looks by itself here, so a message whose wake-up is lost would stay.

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

# Each consumer connects again and again, and waits in one of these ways.  Leases are short, because those of killed sessions last.
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
for my $name ('rollback', map { ($_) x 2 } qw(pop receive lease procedure))
{
	append_to_file("$dir/$name.sql", "$ways{$name};\n") unless -e "$dir/$name.sql";
	local $ENV{PGAPPNAME} = "waiter $name";
	push @consumers, IPC::Run::start([ 'sh', '-c', 'until [ -e "$1/stop" ]; do psql -XAtq -d "$2" -f "$1/$3.sql"; done >>"$1/$3.log" 2>&1',
			'sh', $dir, $db, $name ], '<', \undef);
}

my $session = $node->background_psql('postgres');
my $n = 0;
my ($killed, $cancelled) = (0, 0);
for my $round (1 .. 6)
{
	for (1 .. 25)
	{
		my $sent = join(', ', map { '(' . ++$n . ')' } 1 .. 1 + rand(3));
		$session->query_safe("WITH s AS (INSERT INTO sent VALUES $sent RETURNING n) SELECT count(once.send('q', jsonb_build_object('n', n))) FROM s");
		my $how = rand() < 0.5 ? 'terminate' : 'cancel';
		$how eq 'cancel' ? $cancelled++ : $killed++;
		$session->query_safe("SELECT count(pg_${how}_backend(pid)) FROM (SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'waiter %' ORDER BY random() LIMIT 1) a");
		sleep(rand(0.03));
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
note("$n messages, $killed waiters terminated, $cancelled cancelled");

append_to_file("$dir/stop", '');
for my $consumer (@consumers)
{
	$session->query_safe("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'waiter %'");
	IPC::Run::finish($consumer);
}
$session->quit;
clean($node, 'q', 'in the end');
done_testing();
