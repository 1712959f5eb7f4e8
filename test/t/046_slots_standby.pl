# once.slots shows the same on a standby as on the primary, also for messages whose transactions are open there, and for claims that have
# lapsed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = once_node('main', 'fsync = off');
my $standby = once_standby($node, 'standby');

sub value { my ($sql, $on) = @_; return join(' ', split(/\n/, ($on // $node)->safe_psql('postgres', $sql) // '')) }

value("SELECT once.create_queue('q', max_attempts => 2, retry_delay => '1 h')");
value("SELECT count(*) FROM once.send_batch('q', ARRAY(SELECT to_jsonb(i) FROM generate_series(1, 6) i))");

# In this order: delayed after a rollback, leased, delayed after a lease, received and acked, received, deleted, uncommitted; dead
my @session = map { $node->background_psql('postgres') } 1 .. 3;
value("BEGIN; SELECT id FROM once.receive('q'); ROLLBACK");
value("SELECT id FROM once.lease('q', '1 h')");
value("SELECT id FROM once.lease('q', '1 microsecond')");
$session[0]->query_safe("BEGIN; SELECT count(once.ack(receipt)) FROM once.receive('q')");
$session[1]->query_safe("BEGIN; SAVEPOINT s; SELECT payload FROM once.receive('q')");
$session[2]->query_safe("BEGIN; DELETE FROM once.q_q WHERE payload = '6'; SELECT once.send('q', '7')");
value("SELECT once.send('q', '8', priority => 0)");
value("SELECT once.nack(receipt, '0') FROM once.lease('q')") for 1 .. 2;

my $now = "SELECT now FROM once.slots('q') ORDER BY block, slot";
my $state = "SELECT state FROM once.slots('q') ORDER BY block, slot";
my %here = (now => value($now), state => value($state));
catch_up($node, $standby);
is(value($now, $standby), $here{now}, 'open: the standby tells the same');
is($here{now}, 'delayed claimed delayed claimed claimed claimed uncommitted dead', 'open: that is so');
is($here{state}, 'ready claimed ready claimed claimed appended appended ready', 'open: as it is on disk');

# All transactions and leases end, and no walk comes by.
$session[0]->query_safe('COMMIT');
$session[1]->query_safe('ROLLBACK');
$session[2]->query_safe('COMMIT');
$_->quit for @session;
%here = (now => value($now), state => value($state));
catch_up($node, $standby);
is(value($now, $standby), $here{now}, 'ended: the standby tells the same');
is($here{now}, 'delayed claimed delayed done delayed done ready dead', 'ended: that is so');
is($here{state}, 'ready claimed ready claimed claimed appended appended ready', 'ended: on disk nothing has changed');
is(value("SELECT count(*) FILTER (WHERE state = 'claimed') || ' on disk, ' || count(*) FILTER (WHERE now = 'claimed') || ' now' FROM once.slots('q')", $standby),
	'3 on disk, 1 now', 'who counts claims by the state on disk counts too many');
clean($node, 'q', 'in the end');
done_testing();
