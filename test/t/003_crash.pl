# The whole server is killed with SIGKILL in the middle of the load, several times.  Every committed message has its effect exactly
# once.  Without synchronous_commit, only the last commits of a session may be missing, and only recent ones.

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
