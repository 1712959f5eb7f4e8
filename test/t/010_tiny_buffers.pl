# With very few shared buffers, walks do not pin more pages than their share, and pages are written and read again all the time.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use Test::More;

run_stress(undef, 'stress test with 1 MB of shared buffers', '--own-server', '--seconds', 8, '--producers', 4, '--consumers', 8,
	'--setting', 'shared_buffers=1MB', '--setting', 'max_connections=30');
done_testing();
