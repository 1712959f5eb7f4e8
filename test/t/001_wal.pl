# After every kind of change, a standby is like its primary: everything that an index page says has been logged.
#
# With once.log_hints this includes hints, so slots and pages must be the same in every column.  Functions that only read work on
# the standby; those that claim or change something are refused there.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $primary = once_node('primary', 'once.log_hints = on');
my $standby = once_standby($primary, 'standby', 'hot_standby_feedback = on');

sub step
{
	my ($what, @statements) = @_;
	my $result = '';

	$result = $primary->safe_psql('postgres', $_) for @statements;
	same_structure($primary, $standby, 'q', $what);
	return $result;
}

# The receipts of leased messages are kept in a table, because another session needs them.
my $lease = "INSERT INTO held SELECT id, receipt FROM once.lease('q', '1 h', %d)";
my $finish = "SELECT count(once.ack(receipt)) FROM once.receive('q', %d)";

step('create_queue', "SELECT once.create_queue('q', retry_delay => '0 s')",
	'CREATE TABLE held (id bigint, receipt uuid)');
step('send', "SELECT once.send('q', '1')");
step('send_batch over several pages', "SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[1000]))");
step('other lanes, and delays', "SELECT once.send('q', '2', priority => i % 10) FROM generate_series(1, 50) i",
	"SELECT once.send('q', '3', delay => '1 h') FROM generate_series(1, 300)");
step('plain INSERT and COPY', 'INSERT INTO once.q_q (payload) SELECT to_jsonb(i) FROM generate_series(1, 300) i',
	q(COPY once.q_q (payload) FROM PROGRAM 'echo 4'));
step('send, rolled back', "BEGIN; SELECT once.send_batch('q', array_fill('1'::jsonb, ARRAY[300])); ROLLBACK");
step('receive and ack', sprintf($finish, 100));
step('receive and ack, rolled back', "BEGIN; " . sprintf($finish, 150) . '; ROLLBACK');
step('receive in a subtransaction that is rolled back',
	"BEGIN; SAVEPOINT s; SELECT count(*) FROM once.receive('q', 5); ROLLBACK TO s; " . sprintf($finish, 5) . '; COMMIT');
step('lease', sprintf($lease, 400));
step('a walk that passes leased pages', "SELECT count(*) FROM once.pop('q', 1)");
step('nack', "SELECT once.nack(receipt, '1 h') FROM held WHERE id % 7 = 0");
step('nack to be delivered now', "SELECT once.nack(receipt, '0 s') FROM held WHERE id % 7 = 1");
step('release', 'SELECT once.release(receipt) FROM held WHERE id % 7 = 2');
step('extend', "SELECT once.extend(receipt, '2 h') FROM held WHERE id % 7 = 3");
step('ack of leases', 'SELECT once.ack(receipt) FROM held WHERE id % 7 = 4');
step('a walk over acked leases', "SELECT count(*) FROM once.pop('q', 1)");
step('ack of leases, rolled back', 'BEGIN; SELECT once.ack(receipt) FROM held WHERE id % 7 = 5; ROLLBACK');
step('pop', "SELECT count(*) FROM once.pop('q', 200)");
step('pop, rolled back', "BEGIN; SELECT count(*) FROM once.pop('q', 200); ROLLBACK");
step('HOT UPDATE and another', q(UPDATE once.q_q SET headers = '{}' WHERE id % 50 = 0), 'UPDATE once.q_q SET priority = 6 WHERE id % 50 = 1');
step('DELETE and VACUUM', 'DELETE FROM once.q_q WHERE id % 3 = 0', 'VACUUM once.q_q');
step('unlinking', sprintf($finish, 10000), sprintf($finish, 10000), 'VACUUM once.q_q');
my $free = $primary->safe_psql('postgres', "SELECT count(*) FROM once.pages('q') WHERE kind = 'free'");
cmp_ok($free, '>', 0, 'there are free pages');
step('reuse of pages', "SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[1000]))");
cmp_ok($primary->safe_psql('postgres', "SELECT count(*) FROM once.pages('q') WHERE kind = 'free'"),
	'<', $free, 'free pages have been used');
step('REINDEX', 'REINDEX INDEX once.q_q_queue_idx');
step('REINDEX CONCURRENTLY', 'REINDEX INDEX CONCURRENTLY once.q_q_queue_idx');
step('VACUUM FULL', 'VACUUM FULL once.q_q');
step('CREATE INDEX on a filled table', 'DROP INDEX once.q_q_queue_idx',
	'CREATE INDEX q_q_queue_idx ON once.q_q USING once_queue (id, priority, deliver_at, group_id)');
step('receive after it', sprintf($finish, 10));

# Functions that only read
my $query = "SELECT count(*), min(id), max(id), sum(attempt) FROM once.peek('q', 10000)";
is($standby->safe_psql('postgres', $query), $primary->safe_psql('postgres', $query), 'peek on the standby');
clean($standby, 'q', 'standby', strict => 0);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM once.list_queues()'), '1', 'list_queues on the standby');

# Functions that claim or change something
my $receipt = $primary->safe_psql('postgres', "SELECT receipt FROM once.lease('q')");
catch_up($primary, $standby);
for my $call (
	"once.send('q', '1')", "once.send_batch('q', ARRAY['1'::jsonb])", "once.receive('q')", "once.lease('q')", "once.pop('q')",
	"once.ack('$receipt')", "once.try_ack('$receipt')", "once.ack_all('{$receipt}')", "once.try_ack_all('{$receipt}')",
	"once.nack('$receipt')", "once.release('$receipt')", "once.extend('$receipt', '1 h')", "once.purge('q')",
	"once.send_dedup('q', '1', dedup_id => 'a')", "once.grant_queue('q', 'public', 'produce')", "once.revoke_queue('q', 'public', 'produce')",
	"once.create_queue('r')", "once.drop_queue('q')", "once.pause('q')", "once.check('q', strict => true)")
{
	my $state = sqlstate_of($standby, "SELECT $call");
	my $name = $call =~ s/\(.*//r;

	# "strict" needs a lock that cannot be taken on a standby
	like($state, $name eq 'once.check' ? qr/^(25006|55000)$/ : qr/^25006$/, "$name is refused on the standby");
}
is(sqlstate_of($standby, "CALL once.wait(ARRAY['q'], '1 s')"), '25006', 'once.wait is refused on the standby');

step('TRUNCATE', 'TRUNCATE once.q_q');
is($standby->safe_psql('postgres', "SELECT count(*) FROM once.peek('q')"), '0', 'TRUNCATE empties the standby');
done_testing();
