# A queue keeps the same promises if its rows are inserted and deleted through SPI, because its table has a trigger.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use Test::More;

run_stress(undef, 'stress test with a trigger', '--own-server', '--seconds', 6, '--fallback', '--id-index');
run_stress(undef, 'with delivery policy', '--own-server', '--seconds', 6, '--fallback', '--policy');
done_testing();
