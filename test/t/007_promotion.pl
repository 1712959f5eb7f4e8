# A standby that is promoted in the middle of the load has a queue that works.  Each message that it had replayed has its effect
# exactly once.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = once_node('primary', 'wal_keep_size = 1GB');
my $standby = once_standby($primary, 'standby');
my $load = start_stress($primary, '--seconds', 8, '--no-drain', '--no-rebuild');

# In the middle of the load: effects have been replayed, and more will follow.
$standby->poll_query_until('postgres', q(SELECT to_regclass('stress.effect') IS NOT NULL)) or die 'no load';
$standby->poll_query_until('postgres', 'SELECT count(*) > 2000 FROM stress.effect') or die 'no effects';
clean($standby, 'stress', 'standby under load', strict => 0);
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'no promotion';
clean($standby, 'stress', 'promoted', strict => 0);
end_stress($load, 'the load on the primary goes on');

run_stress($standby, 'the oracle on the promoted server', '--only-drain');
run_stress($primary, 'the oracle on the old primary', '--only-drain');
my ($here, $there) = map { $_->safe_psql('postgres', 'SELECT count(*) FROM stress.intended') } $primary, $standby;
cmp_ok($there, '<', $here, "promoted in the middle: $there of $here messages");

# The queue is as good as any other.
run_stress($standby, 'stress test on the promoted server', '--seconds', 4, '--policy');
done_testing();
