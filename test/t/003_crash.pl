# kill -9 of the whole server in the middle of the load, several times: every committed message has its effect exactly once,
# and without synchronous_commit the commits that are missing are a session's last ones, and fresh.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use Test::More;

run_stress(undef, 'three kills, synchronous_commit on', '--crash', 3, '--seconds', 8, '--sync-commit', 'on',
	'--setting', 'shared_buffers=4MB');
run_stress(undef, 'three kills, synchronous_commit off', '--crash', 3, '--seconds', 8, '--sync-commit', 'off',
	'--setting', 'wal_writer_delay=200ms');
done_testing();
