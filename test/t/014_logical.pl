# Logical replication.  A queue that is published needs a key for its acks, as any published table does for deletions.  If it has
# one, a subscriber's queue of the same name has the same messages, and consumers of its own.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $publisher = once_node('publisher');
my $subscriber = once_node('subscriber');

sub value { my ($sql, $node) = @_; return (split(/\n/, ($node // $publisher)->safe_psql('postgres', $sql) // '', -1))[-1] // '' }

# Without a key
value("SELECT once.create_queue('bare')");
value('CREATE PUBLICATION bare FOR TABLE once.q_bare');
value("SELECT once.send('bare', '1')");
is(sqlstate_of($publisher, 'DELETE FROM once.q_bare'), '55000', 'without a key DELETE is refused');
is(sqlstate_of($publisher, "SELECT once.ack(receipt) FROM once.receive('bare')"), '55000', 'so is ack');
is(sqlstate_of($publisher, "SELECT id FROM once.pop('bare')"), '55000', 'so is pop');
value('DROP PUBLICATION bare');
value("SELECT once.alter_queue('bare', retry_delay => '0 s')");
is(value("SELECT count(*) FROM once.q_bare"), '1', 'the message is still there');
value('ALTER TABLE once.q_bare REPLICA IDENTITY FULL');
value('CREATE PUBLICATION bare FOR TABLE once.q_bare');
$publisher->poll_query_until('postgres', "SELECT count(once.ack(receipt)) = 1 FROM once.receive('bare')") or die 'not acked';
is(value('SELECT count(*) FROM once.q_bare'), '0', 'with REPLICA IDENTITY FULL it is acked');

my ($status, $out, $warning) = $publisher->psql('postgres', "CREATE PUBLICATION everything FOR ALL TABLES; SELECT once.create_queue('warned')");
like($warning, qr/WARNING/, 'create_queue warns of a publication that wants a key');
value('DROP PUBLICATION everything');

# With a key
for my $node ($publisher, $subscriber)
{
	value("SELECT once.create_queue('orders', id_index => true, retry_delay => '0 s')", $node);
}
value('CREATE PUBLICATION orders FOR TABLE once.q_orders');
value("SELECT count(once.send('orders', to_jsonb(i))) FROM generate_series(1, 100) i");
value("CREATE SUBSCRIPTION orders CONNECTION '" . $publisher->connstr . " dbname=postgres' PUBLICATION orders", $subscriber);
$subscriber->wait_for_subscription_sync($publisher, 'orders');
value("SELECT count(*) FROM once.send_batch('orders', array_fill('0'::jsonb, ARRAY[100]))");
value("BEGIN; SELECT once.send('orders', '1'); ROLLBACK");
value("SELECT count(once.ack(receipt)) FROM once.receive('orders', 50)");
value("SELECT count(*) FROM once.pop('orders', 20)");
value("SELECT count(*) FROM once.lease('orders', '1 h', 10)");
$publisher->wait_for_catchup('orders');
is(value('SELECT count(*), min(id), max(id) FROM once.q_orders', $subscriber), value('SELECT count(*), min(id), max(id) FROM once.q_orders'),
	'the subscriber has the same messages');
clean($subscriber, 'orders', 'subscriber');
is(value("SELECT count(*), count(DISTINCT id) FROM once.receive('orders', 1000), LATERAL once.ack(receipt)", $subscriber), '130|130',
	'and hands them out on its own');
value("SELECT count(*) FROM once.pop('orders', 50)");
value("SELECT once.send('orders', '\"last\"')");
$publisher->wait_for_catchup('orders');
is(value('SELECT payload FROM once.q_orders', $subscriber), '"last"', 'deletes of what is gone are passed over');
clean($_, 'orders', 'in the end') for $publisher, $subscriber;

# A ledger: if two sessions mark the same id at once, the second one leaves nothing in the stream that a subscription would stop at.
value("SELECT once.create_ledger('l', '1 day'); SELECT once.mark_processed('l', 'old'); CALL once.maintain()");
value("SELECT pg_create_logical_replication_slot('changes', 'test_decoding')");
my ($first, $second, $keeper) = map { $publisher->background_psql('postgres') } 1 .. 3;
$keeper->query_safe('SELECT pg_advisory_lock(1869505381, 1)');
$_->query_safe("SET once.debug_point = 'ledger_before_index'") for $first, $second;
$_->query_until(qr/begun/, "\\echo begun\nSELECT count(*) FROM once.mark_processed_all('l', '{a,b,c}');\n") for $first, $second;
$publisher->poll_query_until('postgres', "SELECT count(*) = 2 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%mark_processed_all%'")
  or die 'they do not wait';
$keeper->query_safe('SELECT pg_advisory_unlock(1869505381, 1)');
$_->query_safe('SELECT 1') for $first, $second;
is($publisher->safe_psql('postgres', "SELECT regexp_replace(data, ' processed_at.*', '') FROM pg_logical_slot_get_changes('changes', NULL, NULL) WHERE data LIKE '%l_l_%' ORDER BY 1"),
	join("\n", map { "table once.l_l_1: INSERT: id[text]:'$_'" } 'a', 'b', 'c'), 'ledger: each id is inserted once, and nothing is taken back');

# A marker waits for a transaction that has marked and forgotten the id.  Otherwise the changes of that transaction would come later in
# the stream than those of the marker.
$keeper->query_safe("BEGIN; SELECT once.mark_processed('l', 'd'); SELECT once.forget_processed('l', 'd')");
$first->query_safe('RESET once.debug_point');
$first->query_until(qr/begun/, "\\echo begun\nSELECT once.mark_processed('l', 'd');\n");
$publisher->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'transactionid' AND query LIKE '%mark_processed%'")
  or die 'nobody waits';
$keeper->query_safe('COMMIT');
$first->query_safe('SELECT 1');
is($publisher->safe_psql('postgres', "SELECT regexp_replace(data, '.*l_l_1: (\\w+): .*', '\\1') FROM pg_logical_slot_get_changes('changes', NULL, NULL) WHERE data LIKE '%l_l_%'"),
	"INSERT\nDELETE\nINSERT", 'ledger: what is forgotten at once goes before what is marked next');
$_->quit for $first, $second, $keeper;
done_testing();
