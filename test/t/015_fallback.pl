# A queue whose rows are inserted and deleted by way of SPI, because its table has a trigger, keeps the same promises.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use Test::More;

run_stress(undef, 'stress test with a trigger', '--own-server', '--seconds', 6, '--fallback', '--id-index');
run_stress(undef, 'with delivery policy', '--own-server', '--seconds', 6, '--fallback', '--policy');
done_testing();
