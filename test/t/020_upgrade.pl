# pg_upgrade --link keeps the files of tables and indexes.  So the new cluster has all claims, attempts, receipts, delays, groups, dead
# letters, errors, the archive, ledgers and dedup_ids.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = once_node('old');

sub value { my ($sql, $on) = @_; return (split(/\n/, ($on // $old)->safe_psql('postgres', $sql) // '', -1))[-1] // '' }

value("SELECT once.create_queue('orders', id_index => true, max_attempts => 3, retry_delay => '1 h', archive => '2 days', ttl => '30 days')");
value("SELECT once.create_queue('u', unlogged => true)");
value(q(SELECT count(once.send('orders', to_jsonb(i), priority => i % 10)) FROM generate_series(1, 500) i));
value(q(SELECT count(once.send('orders', to_jsonb(i), group_id => 'g' || i % 20)) FROM generate_series(501, 1500) i));
value(q(SELECT count(once.send('orders', to_jsonb(i), delay => i * interval '1 min')) FROM generate_series(1501, 2500) i));
value(q(SELECT count(once.send('u', to_jsonb(i))) FROM generate_series(1, 10) i));
value("SELECT count(once.ack(receipt)) FROM once.receive('orders', 50)");
value("CREATE TABLE held AS SELECT id, attempt, group_id, receipt FROM once.lease('orders', '1 day', 700)");
value("SELECT count(once.nack(receipt, '0 s', 'no ' || id)) FROM held WHERE group_id IS NULL AND id % 10 = 5");
value("UPDATE held SET receipt = NULL WHERE group_id IS NULL AND id % 10 = 5");
# Attempts used up
value("BEGIN; SELECT count(*) FROM once.receive('orders', 20); ROLLBACK") for 1;
value("SELECT once.nack(receipt, '0 s', 'still no') FROM once.lease('orders', '1 day', 10)") for 1 .. 2;
value("SELECT count(once.nack(receipt, '0 s', 'never')) FROM (SELECT receipt FROM once.lease('orders', '1 day', 10)) l");
value('CALL once.maintain()');
value("BEGIN; SELECT count(*) FROM once.pop('orders', 30); ROLLBACK");

# Ledgers: one with one generation, one with two, and one whose old generation cannot be closed yet, because a transaction that has
# written to it is still open.  Each statement is run in a session of its own, which tries at once to advance the ledger.
my $mark = q(SELECT count(once.set_result('%1$s', id, to_jsonb(id))) FROM once.mark_processed_all('%1$s', ARRAY(SELECT '%2$s ' || i FROM generate_series(1, 30) i)) AS id);
value("SELECT once.create_ledger('$_', '30 days', unlogged => '$_' = 'fast')") for 'alone', 'closed', 'open', 'fast';
value(sprintf($mark, $_, 'first')) for 'alone', 'closed', 'fast';
value(sprintf($mark, $_, 'second')) for 'closed', 'fast';
my $holder = $old->background_psql('postgres');
$holder->query_safe("BEGIN; SELECT once.mark_processed('open', 'held')");
value(sprintf($mark, 'open', $_)) for 'first', 'second';
value("SELECT once.alter_queue('orders', dedup_window => '30 days')");
my @sent = map { value(qq(SELECT once.send('orders', '"$_"', dedup_id => '$_'))) } 'first', 'second';
my $states = "SELECT string_agg(concat_ws(' ', ledger, phase), ', ' ORDER BY ledger) FROM ("
  . join(' UNION ALL ', map { "SELECT '$_', last_value & 3 FROM once.l_${_}_state" } 'alone', 'closed', 'open', 'fast') . ') s (ledger, phase)';
is(value($states), 'alone 0, closed 2, fast 2, open 1', 'ledgers in each phase');

value(q(CREATE ROLE shop LOGIN; SELECT once.grant_queue('orders', 'shop', 'produce'); GRANT EXECUTE ON FUNCTION once.create_schedule TO shop));
value(q(SET client_min_messages = error; SET ROLE shop; SELECT once.create_schedule('daily', 'orders', '@daily', payload => '1')));
value("UPDATE once.schedule SET begins_at = '2026-01-01', last_due = '2026-01-01'");
value(q(SET client_min_messages = error; CREATE FUNCTION handle(m once.message) RETURNS void LANGUAGE sql AS 'SELECT'; SELECT once.create_worker('w', 'u', 'handle(once.message)', 2, 10)));

my %content = (
	'slots' => "SELECT string_agg((to_jsonb(s) - 'now')::text, chr(10) ORDER BY block, slot) FROM once.slots('orders') s",
	'peek' => "SELECT string_agg(id || state || attempt || payload, chr(10) ORDER BY n) FROM once.peek('orders', 10000) WITH ORDINALITY AS p (id, attempt, e, r, priority, g, h, payload, state, n)",
	'options' => 'SELECT string_agg(l::text, chr(10) ORDER BY queue) FROM once.list_queues() l',
	'dead letters' => 'SELECT string_agg(d::text, chr(10) ORDER BY queue, id) FROM once.dead_letters d',
	'failures' => 'SELECT string_agg(f::text, chr(10) ORDER BY queue, id, attempt) FROM once.failures f',
	'archive' => 'SELECT string_agg(a::text, chr(10) ORDER BY id) FROM once.a_orders a',
	'ledgers' => 'SELECT string_agg(l::text, chr(10) ORDER BY ledger) FROM once.list_ledgers() l',
	'states of ledgers' => $states,
	(map { ("ids of $_" => "SELECT string_agg(l::text, chr(10) ORDER BY g, id) FROM (SELECT 0 AS g, * FROM once.l_${_}_0 UNION ALL SELECT 1, * FROM once.l_${_}_1) l") } 'alone', 'closed', 'open', 'fast'),
	'dedup_ids' => 'SELECT string_agg(d::text, chr(10) ORDER BY id) FROM (SELECT * FROM once.d_orders_0 UNION ALL SELECT * FROM once.d_orders_1) d',
	'schedules' => 'SELECT string_agg(to_jsonb(s)::text, chr(10) ORDER BY name) FROM once.list_schedules() s',
	'workers' => 'SELECT string_agg(w::text, chr(10) ORDER BY name) FROM once.worker w',
	'unlogged' => 'SELECT string_agg(u::text, chr(10) ORDER BY id) FROM once.q_u u');
my %before = map { $_ => $old->safe_psql('postgres', $content{$_}) } keys %content;
isnt($before{$_}, '', "there is something to keep: $_") for sort keys %content;
clean($old, $_, "old, $_") for 'orders', 'u';
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init(extra => ['--data-checksums']);
$new->append_conf('postgresql.conf', "autovacuum = off\nmax_connections = 60\nmax_prepared_transactions = 50\nwal_level = logical\n");
my $bin = $new->config_data('--bindir');
chdir ${PostgreSQL::Test::Utils::tmp_check};
command_ok(
	[
		'pg_upgrade', '--no-sync', '--link', '--old-datadir', $old->data_dir, '--new-datadir', $new->data_dir,
		'--old-bindir', $bin, '--new-bindir', $bin, '--socketdir', $new->host,
		'--old-port', $old->port, '--new-port', $new->port
	],
	'pg_upgrade --link');
$new->start;

is($new->safe_psql('postgres', $content{$_}), $before{$_}, "$_: the same") for sort keys %content;
clean($new, $_, "new, $_") for 'orders', 'u';

# Leases and receipts from before the upgrade are valid, and so are new ones.
is(value("SELECT count(*) FROM once.lease('orders', '1 h', 10000) l JOIN held USING (id) WHERE held.receipt IS NOT NULL", $new), '0', 'leases hold');
my $live = 'FROM held JOIN once.q_orders q USING (id) WHERE held.receipt IS NOT NULL';
is(value("SELECT count(once.ack(receipt)) FROM (SELECT receipt $live ORDER BY id) h", $new), value("SELECT count(*) FROM held WHERE receipt IS NOT NULL", $new),
	'receipts from before are good');
is(sqlstate_of($new, 'SELECT once.ack(receipt) FROM held WHERE receipt IS NOT NULL LIMIT 1'), 'ON004', 'once');
clean($new, 'orders', 'after acks');

# Ledgers still remember everything, and go on.
is(value("SELECT string_agg(ledger || ' ' || call, ', ' ORDER BY ledger, call) FROM once.list_ledgers(), unnest(ARRAY['first', 'second', 'third']) call WHERE once.is_processed(ledger, call || ' 17')", $new),
	'alone first, closed first, closed second, fast first, fast second, open first, open second', 'what was processed is known');
for my $ledger ('alone', 'closed', 'open', 'fast')
{
	is(value("SELECT result FROM once.process('$ledger', 'first 17')", $new), '"first 17"', "$ledger: with its result");
	is(join(' ', map { value(sprintf($mark, $ledger, $_), $new) } 'first', 'second', 'third', 'third'), $ledger eq 'alone' ? '0 30 30 0' : '0 0 30 0', "$ledger: marking goes on");
	is(value("SELECT once.is_processed('$ledger', 'held')", $new), 'f', "$ledger: what was open is not");
}
is(value(qq(SELECT once.send('orders', '"again"', dedup_id => '$_')), $new), shift @sent, "dedup_id $_: known") for 'first', 'second';

# A schedule goes on, as the role of the same name.
value('CREATE FUNCTION whose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.headers = NEW.headers || jsonb_build_object($a$who$a$, current_user); RETURN NEW; END $$; CREATE TRIGGER whose BEFORE INSERT ON once.q_orders FOR EACH ROW EXECUTE FUNCTION whose()', $new);
value('CALL once.maintain()', $new);
is(value("SELECT count(*) || ' as ' || min(headers ->> 'who') FROM once.q_orders WHERE headers ? 'schedule'", $new), '1 as shop', 'a schedule goes on');
value('DROP TRIGGER whose ON once.q_orders', $new);

# Functions and the rights to execute them are the same as before.
value('CREATE ROLE clerk', $new);
like(($new->psql('postgres', "SET ROLE clerk; SELECT once.create_$_"))[2], qr/ERROR:  permission denied for function .*^HINT: .* GRANT EXECUTE ON FUNCTION once.* TO clerk/ms, "may not create_$_, and is told")
  for "queue('q')", "ledger('l', '1 day')";

# The queue can be used.
cmp_ok(value("SELECT once.redrive('orders')", $new), '>', 0, 'dead letters are sent again');
is(value("SELECT count(*) FROM once.pop('u', 100)", $new), '10', 'the unlogged queue has its messages');
value('CALL once.maintain()', $new);
value('VACUUM once.q_orders', $new);
clean($new, 'orders', 'after VACUUM');
$new->stop('immediate');
$new->start;
clean($new, 'orders', 'after a crash');
run_stress($new, 'stress test on the new cluster', '--policy', '--seconds', 3);
done_testing();
