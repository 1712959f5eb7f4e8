# With a steady flow of messages the index does not grow, no matter what holds back VACUUM: walks unlink spent pages, anywhere in the
# list, and the pages are used again.  VACUUM runs at the same time.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = once_node('main');

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }
sub pages { return value("SELECT count(*) FROM once.pages('q')") }

my $send = "SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[1000]))";
my $finish = "SELECT count(once.ack(receipt)) FROM once.receive('q', 1000)";

value("SELECT once.create_queue('q', retry_delay => '0 s')");

# A snapshot that keeps every dead row, a lease that stays at the head, and messages for much later
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM once.q_q');
value("SELECT count(once.send('q', '1')) FROM generate_series(1, 10)");
value("CREATE TABLE held AS SELECT receipt FROM once.lease('q', '1 h', 1)");
value("SELECT count(once.send('q', '1', delay => '1 h')) FROM generate_series(1, 5)");
value($_) for $send, $finish, $send, $finish, $send, $finish;
my $small = pages();

# A thousand messages in, a thousand out, while VACUUM runs
my $vacuum = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-v', 'ON_ERROR_STOP=1' ],
	'<', \("VACUUM once.q_q;\n" x 200), '>', \my $out, '2>', \my $error, IPC::Run::timeout(180));
my $moved = 0;
$moved += value("$send; $finish") for 1 .. 60;
cmp_ok($moved, '>=', 59_900, 'all of it was delivered');
IPC::Run::finish($vacuum);
is($error, '', 'VACUUM ran meanwhile');
cmp_ok(pages(), '<=', $small + 10, "the index has not grown with 60 times as many messages ($small pages before)");
cmp_ok(value('SELECT pg_relation_size($$once.q_q$$) / 8192'), '>', pages(), 'while the table has, for its dead rows are kept');
clean($node, 'q', 'with a held snapshot');
is(value('SELECT count(once.ack(receipt)) FROM held'), '1', 'the lease at the head has stayed where it was');

# Without the snapshot, VACUUM removes dead rows, and the space and the line pointers of the heap are used again.
$holder->query_safe('COMMIT');
$holder->quit;
value('VACUUM once.q_q');
clean($node, 'q', 'after VACUUM');
my $heap = value('SELECT pg_relation_size($$once.q_q$$)');
value("$send; $finish; VACUUM once.q_q") for 1 .. 20;
is(value('SELECT pg_relation_size($$once.q_q$$)'), $heap, 'the table has stopped to grow');
cmp_ok(pages(), '<=', $small + 10, 'and the index has not begun');
clean($node, 'q', 'after reuse of line pointers');

# A burst leaves free pages, which serve the next one.
value($send) for 1 .. 20;
my $large = pages();
value($finish) for 1 .. 20;
value('VACUUM once.q_q');
cmp_ok(value("SELECT count(*) FROM once.pages('q') WHERE kind = 'free'"), '>', $large / 2, 'the burst has left free pages');
value($send) for 1 .. 20;
cmp_ok(pages(), '<=', $large + 1, 'the next burst uses them');
clean($node, 'q', 'after a burst');

# Sends that are rolled back leave slots, which VACUUM or a walk ends.
value("BEGIN; $send; ROLLBACK") for 1 .. 10;
value('VACUUM once.q_q');
value($finish) for 1 .. 22;
is(value('SELECT count(*) FROM once.q_q'), '5', 'only the delayed messages are left');
value('VACUUM once.q_q');
is(value("SELECT count(*) FROM once.slots('q') WHERE state <> 'done'"), '5', 'as in the index');
clean($node, 'q', 'in the end');

# VACUUM finds pages of zeros, which a crash can leave, no matter whether there are rows to delete.
sub leave_new_pages
{
	my $path = $node->data_dir . '/' . value("SELECT pg_relation_filepath('once.q_new_queue_idx')");
	$node->stop;
	open(my $file, '>>:raw', $path) or die $!;
	print $file "\0" x (3 * 8192);
	close($file);
	$node->start;
	return;
}

sub kinds { return value("SELECT string_agg(kind || ' ' || n, ', ' ORDER BY kind) FROM (SELECT kind, count(*) AS n FROM once.pages('new') GROUP BY kind) k") }

value("SELECT once.create_queue('new')");
value("SELECT once.send('new', '1')");
leave_new_pages();
is(kinds(), 'lane 1, meta 1, new 3', 'pages that a crash has left');
value('VACUUM once.q_new');
is(kinds(), 'free 3, lane 1, meta 1', 'VACUUM finds them with nothing to delete');
leave_new_pages();
value('DELETE FROM once.q_new');
value('VACUUM once.q_new');
is(kinds(), 'free 6, lane 1, meta 1', 'and with something');
clean($node, 'new', 'after pages of zeros');

# The search for them obeys the cost limits of VACUUM: it sleeps now and then, and it leaves what others have in the buffers.
value("SELECT once.create_queue('idle')");
value("SELECT count(*) FROM once.send_batch('idle', array_fill('1'::jsonb, ARRAY[120000]))");
value('DELETE FROM once.q_idle');
value('VACUUM once.q_idle');
my $free = value("SELECT count(*) FROM once.pages('idle') WHERE kind = 'free'");
cmp_ok($free, '>', 500, 'an index of free pages');
$node->append_conf('postgresql.conf', "shared_buffers = '32 MB'\n");
$node->restart;
value('VACUUM once.q_idle');
my $plan = $node->safe_psql('postgres', "EXPLAIN (ANALYZE, BUFFERS, COSTS off, TIMING off, SUMMARY off) SELECT FROM once.pages('idle')");
my ($read) = $plan =~ /read=(\d+)/;
cmp_ok($read // 0, '>', $free - 300, 'VACUUM keeps its pages in few buffers');
cmp_ok(value("SET vacuum_cost_limit = 1; SET vacuum_cost_page_hit = 1; SET vacuum_cost_delay = '2 ms'; CREATE TEMP TABLE begun AS SELECT clock_timestamp() AS at; VACUUM once.q_idle; SELECT extract(epoch FROM clock_timestamp() - at) FROM begun"),
	'>', $free * 0.002, 'and naps for each');
done_testing();
