# The replay of every record makes the same page as on the primary, byte for byte.  A standby with wal_consistency_checking panics
# at the first difference.  The load is the stress test.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = once_node('primary', 'once.log_hints = on', "wal_consistency_checking = 'all'", 'wal_keep_size = 2GB',
	'max_wal_size = 4GB');
my $standby = once_standby($primary, 'standby');
my $start = $primary->lsn('insert');

run_stress($primary, 'stress test on the primary', '--seconds', 6, '--no-drain');
run_stress($primary, 'the same with delivery policy', '--seconds', 8, '--no-drain', '--policy', '--queue', 'policy');
$primary->safe_psql('postgres', "SELECT once.send('policy', '1', delay => i * i * interval '1 min') FROM generate_series(1, 500) i");
catch_up($primary, $standby);
my $end = $primary->lsn('flush');

# The standby is alive, and like the primary.
for my $queue ('stress', 'policy')
{
	same_structure($primary, $standby, $queue, "$queue: after the load");
	clean($standby, $queue, "$queue: standby", strict => 0);
}
unlike(slurp_file($standby->logfile), qr/PANIC|inconsistent page/, 'no inconsistency on the standby');

# There are pages of all kinds.
is($standby->safe_psql('postgres', "SELECT string_agg(DISTINCT kind, ' ' ORDER BY kind) FROM once.pages('policy') WHERE kind <> 'free'"),
	'bucket directory groups lane meta schedule', 'pages of all kinds');

# There were records of the index to be checked, with the images that the check needs.
my ($records, $warnings) = run_command(
	[ 'pg_waldump', '--path', $primary->data_dir . '/pg_wal', '--start', $start, '--end', $end, '--rmgr', 'Generic', '--stats' ]);
my ($count, $image_bytes) = $records =~ /^Generic\s+(\d+)\s+\([^)]*\)\s+\d+\s+\([^)]*\)\s+(\d+)/m;
cmp_ok($count // 0, '>', 1000, 'many records of the index were written');
cmp_ok($image_bytes // 0, '>=', 1000 * 100, 'they carry images to compare with');
done_testing();
