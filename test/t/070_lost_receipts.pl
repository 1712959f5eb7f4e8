# Leases whose receipts are lost can be ended by a release by ids.  Groups whose leased first message was deleted or moved by plain SQL go
# on.  Both survive a crash, and are replayed byte for byte.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = once_node('main', 'wal_writer_delay = 10s', 'checkpoint_timeout = 1h', 'once.log_hints = on', 'wal_keep_size = 1GB',
	"wal_consistency_checking = 'all'");
my $standby = once_standby($node, 'standby');

sub value { return $node->safe_psql('postgres', $_[0]) }

# Several pages on which everything is leased, with hints that show that
value("SELECT once.create_queue('$_', retry_delay => '0 s')") for qw(released headless);
value("SELECT count(*) FROM once.send_batch('released', array_fill('1'::jsonb, ARRAY[700]))");
is(value("SELECT count(*) FROM once.lease('released', '365 days', 700)"), '700', 'all messages are leased');
is(value("SELECT count(*) FROM once.lease('released')"), '0', 'nothing is left');
cmp_ok(value("SELECT count(*) FROM once.pages('released') WHERE earliest > now() + '1 day'"), '>=', 2, 'hints let walkers pass the pages by');

# Chains of three whose first is leased, over several pages.
value("SELECT count(*) FROM once.send_batch('headless', array_fill('1'::jsonb, ARRAY[900]), group_ids => (SELECT array_agg('g' || n % 300) FROM generate_series(1, 900) n))");
is(value("SELECT count(*) FROM once.lease('headless', '365 days', 300)"), '300', 'the first of each group is leased');
value('CHECKPOINT');

sub crash
{
	flush_wal($node);
	$node->stop('immediate');
	$node->start;
}

is(value("SELECT once.release('released', ARRAY[3, 203, 403, 9999])"), '3', 'three leases are ended');
crash();
is(value("SELECT string_agg(id || ':' || attempt, ' ' ORDER BY id) FROM once.lease('released', '1 h', 10)"), '3:2 203:2 403:2',
	'they are offered at once after the crash, and the attempts have been counted');
is(value("SELECT count(*) FROM once.lease('released')"), '0', 'other leases have survived');
same_structure($node, $standby, 'released', 'released');

# Move the leased messages of one half of the groups, and delete those of the other half.
value('DELETE FROM once.q_headless WHERE id <= 300 AND id % 2 = 0');
value("UPDATE once.q_headless SET deliver_at = '2000-01-01' WHERE id <= 300 AND id % 2 = 1");
value('CALL once.maintain()');
crash();
is(value("SELECT count(*) FROM once.slots('headless') WHERE state = 'claimed'"), '0', 'no lease is left after the crash');
is(value("SELECT count(*) FROM once.slots('headless') WHERE NOT blocked AND state IN ('ready', 'appended')"), '300', 'each group has its first message');
same_structure($node, $standby, 'headless', 'headless');
my $popped = 0;
$popped += value("SELECT count(*) FROM once.pop('headless', 1000)") for 1 .. 5;
is($popped, 750, 'all that is there is delivered');

clean($node, $_, $_) for qw(released headless);
catch_up($node, $standby);
clean($standby, $_, "standby: $_", strict => 0) for qw(released headless);
unlike(slurp_file($standby->logfile), qr/PANIC|inconsistent page/, 'no inconsistency on the standby');
done_testing();
