# Somebody sets the server's clock.  How long a call waits does not depend on that.  Leases, delays and remembered ids do, as
# doc/pg_once-delivery.md says.  No message is lost.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

plan skip_all => 'the clock is set in the way of Linux' if $^O ne 'linux';

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\nclient_min_messages = warning\n");
my $set_clock = start_with_clock($node);
sub set_clock { return $set_clock->(@_) }

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

value('CREATE EXTENSION pg_once');
set_clock(3600);
cmp_ok(abs(value('SELECT extract(epoch FROM clock_timestamp())') - time - 3600), '<', 600, 'the clock can be set');
set_clock(0);

# Make a call that waits for this many seconds, while "meanwhile" happens.  Returns what it got, and how long that took.
sub waited
{
	my ($seconds, $meanwhile) = @_;
	my $output = '';
	my $begun = clock_gettime(CLOCK_MONOTONIC);

	local $ENV{PGAPPNAME} = 'waiter';
	my $run = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SELECT payload FROM once.pop('q', wait => '$seconds s')" ],
		'<', \undef, '>&', \$output, IPC::Run::timeout(60));
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'waiter' AND wait_event_type = 'Extension'")
	  or die 'nobody waits';
	$meanwhile->();
	eval { IPC::Run::finish($run); 1 } or $run->kill_kill;
	return ($output =~ s/\n+\z//r, clock_gettime(CLOCK_MONOTONIC) - $begun);
}

# The length of a wait
value("SELECT once.create_queue('q')");
for my $jump (-7200, 7200)
{
	my $what = $jump < 0 ? 'set back' : 'set forward';

	set_clock(0);
	my ($got, $took) = waited(4, sub { set_clock($jump) });
	is($got, '', "$what: there was nothing");
	cmp_ok($took, '>=', 4, "$what: it waited as long as it was to");
	cmp_ok($took, '<', 40, "$what: and no longer");

	set_clock(0);
	($got, $took) = waited(40, sub { set_clock($jump); value("SELECT once.send('q', '1')") });
	is($got, '1', "$what: what comes then is found");
	cmp_ok($took, '<', 40, "$what: in time");
}

# Delays are times of day.  A call that waits notices that a message has become due.
set_clock(0);
value("SELECT once.send('q', '2', delay => '1 h')");
my ($got, $took) = waited(40, sub { set_clock(7200) });
is($got, '2', 'set forward: a delayed message is due');
cmp_ok($took, '<', 40, 'who waits notices');
value("SELECT once.send('q', '3', delay => '1 h')");
set_clock(0);
value("SELECT once.send('q', '4', delay => '1 s')");
is((waited(40, sub { }))[0], '4', 'set back: what is sent now is due in its time');
is(value("SELECT state FROM once.peek('q')"), 'delayed', 'what was sent before is due when the clock says so');
set_clock(3 * 3600);
is(value("SELECT payload FROM once.pop('q', wait => '40 s')"), '3', 'and is due then');

# A lease lapses if the clock is set past its end.  The message is delivered once more, and the ack is refused.
set_clock(0);
value("SELECT once.send('q', '5')");
my $receipt = value("SELECT receipt FROM once.lease('q', '1 h')");
set_clock(7200);
is(value("SELECT attempt FROM once.lease('q', '1 h', wait => '40 s')"), '2', 'set forward: a lease is over');
is(sqlstate_of($node, "SELECT once.ack('$receipt')"), 'ON003', 'and its receipt is stale');
set_clock(0);
is(value("SELECT count(*) FROM once.pop('q')"), '0', 'set back: a lease lasts');
set_clock(4 * 3600);
is(value("SELECT attempt FROM once.pop('q', wait => '40 s')"), '3', 'until the clock says that it is over');

# Ids are forgotten if the clock is set past their retention.
set_clock(0);
value("SELECT once.create_ledger('l', retention => '1 h')");
value("SELECT once.mark_processed('l', 'a')");
value("SELECT once.mark_processed('l', 'b')");
is(value("SELECT once.mark_processed('l', 'a')"), 'f', 'an id is known');
set_clock(-7200);
is(value("SELECT once.mark_processed('l', 'a')"), 'f', 'set back: it still is');
set_clock(7200);
value("SELECT once.mark_processed('l', 'c')");
is(value("SELECT once.mark_processed('l', 'a')"), 't', 'set forward beyond the retention: it is forgotten');
is(value("SELECT once.mark_processed('l', 'c')"), 'f', 'but not what was marked since');

set_clock(0);
value("SELECT once.alter_queue('q', dedup_window => '1 h')");
my $id = value("SELECT once.send('q', '6', dedup_id => 'a')");
value("SELECT once.send('q', '7', dedup_id => 'b')");
is(value("SELECT once.send('q', '6', dedup_id => 'a')"), $id, 'a dedup_id is known');
set_clock(7200);
value("SELECT once.send('q', '8', dedup_id => 'c')");
isnt(value("SELECT once.send('q', '6', dedup_id => 'a')"), $id, 'set forward beyond the window: it is forgotten');

is(value("SELECT string_agg(payload::text, ' ') FROM once.pop('q', 10)"), '6 7 8 6', 'no message is lost');
is(value("SELECT count(*) FROM once.q_q"), '0', 'none is left');
clean($node, 'q', 'in the end');
done_testing();
