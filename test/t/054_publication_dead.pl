# A publication of all tables.  Dead letters and failures can be deleted on the publisher, and a subscriber that has these tables follows.

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

for my $node ($publisher, $subscriber)
{
	value("SELECT once.create_queue('dl', id_index => true, max_attempts => 1, retry_delay => '0', archive => '1 day', dedup_window => '1 day');"
		. "SELECT once.create_ledger('l', '1 day')", $node);
}
value('CREATE PUBLICATION everything FOR ALL TABLES');
value("CREATE SUBSCRIPTION everything CONNECTION '" . $publisher->connstr . " dbname=postgres' PUBLICATION everything WITH (copy_data = false)", $subscriber);

# same WHAT: check that both have the same rows of every table whose rows the extension deletes.
sub same
{
	my ($what) = @_;

	$publisher->wait_for_catchup('everything');
	for my $table ('dead_letter', 'failure', 'q_dl', 'queue', 'ledger', 'd_dl_0', 'd_dl_1', 'l_l_0', 'l_l_1')
	{
		my $sql = "SELECT COALESCE(string_agg(r, chr(10) ORDER BY r), 'none') FROM (SELECT (to_jsonb(t) - '{created_at,table_id}'::text[])::text AS r FROM once.$table t) t";

		is($subscriber->safe_psql('postgres', $sql), $publisher->safe_psql('postgres', $sql), "$what: $table");
	}
}

value("SELECT count(once.send('dl', to_jsonb(repeat(i::text, 3000)), dedup_id => 'd' || i)) FROM generate_series(1, 40) i");
value("SELECT count(*) FROM once.mark_processed_all('l', '{a,b}')");
value("SELECT count(once.nack(receipt, error => 'failed')) FROM once.lease('dl', max_messages => 40)");
value("SELECT count(*) FROM once.pop('dl')");
is(value('SELECT count(*) FROM once.dead_letters'), '40', 'they are dead letters');
same('dead');
is(value("SELECT once.redrive('dl', 10)"), '10', 'redriven');
is(value("SELECT once.redrive_ids('dl', ids => '{11,12}')"), '2', 'by id');
is(value("SELECT once.purge_dead_letters('dl', ids => '{13,14}')"), '2', 'deleted by id');
value("SELECT once.forget_processed('l', 'a')");
same('some are gone');
value("SELECT once.alter_queue('dl', retention => '1 ms')");
value('CALL once.maintain()');
is(value('SELECT count(*) FROM once.dead_letters'), '0', 'the retention is over');
same('all are gone');
is(value('SELECT count(*) FROM once.failures'), '0', 'and their failures');
value("SELECT count(once.nack(receipt, error => 'failed')) FROM once.lease('dl', max_messages => 12)");
value("SELECT once.alter_queue('dl', reset => '{retention}'); SELECT count(*) FROM once.pop('dl')");
is(value("SELECT once.purge_dead_letters('dl')"), '12', 'dead again, and deleted');
same('in the end');

done_testing();
