# A database in full use: queues with claims, attempts, receipts, delays, groups, dead letters, errors, an archive and dedup_ids;
# ledgers, schedules and a worker.  Tests that carry a database elsewhere make it, compare it with the copy, and use the copy up.

package OnceLive;

use strict;
use warnings;

use Exporter 'import';
use OnceTest;
use Test::More;

our @EXPORT = qw(live_make live_read live_same live_use live_drain);

my @ledgers = ('alone', 'closed', 'open', 'fast');

# Marks thirty ids in a ledger: the arguments are its name and the first word of the ids.
my $mark = q(SELECT count(once.set_result('%1$s', id, to_jsonb(id))) FROM once.mark_processed_all('%1$s', ARRAY(SELECT '%2$s ' || i FROM generate_series(1, 30) i)) AS id);

my $states = "SELECT string_agg(concat_ws(' ', ledger, phase), ', ' ORDER BY ledger) FROM ("
  . join(' UNION ALL ', map { "SELECT '$_', last_value & 3 FROM once.l_${_}_state" } @ledgers) . ') s (ledger, phase)';

# What must be the same in the copy
my %content = (
	'slots' => "SELECT string_agg((to_jsonb(s) - 'now')::text, chr(10) ORDER BY block, slot) FROM once.slots('orders') s",
	'peek' => "SELECT string_agg(id || state || attempt || payload, chr(10) ORDER BY n) FROM once.peek('orders', 10000) WITH ORDINALITY AS p (id, attempt, e, r, priority, g, h, payload, state, n)",
	'options' => 'SELECT string_agg(l::text, chr(10) ORDER BY queue) FROM once.list_queues() l',
	'dead letters' => 'SELECT string_agg(d::text, chr(10) ORDER BY queue, id) FROM once.dead_letters d',
	'failures' => 'SELECT string_agg(f::text, chr(10) ORDER BY queue, id, attempt) FROM once.failures f',
	'archive' => 'SELECT string_agg(a::text, chr(10) ORDER BY id) FROM once.a_orders a',
	'ledgers' => 'SELECT string_agg(l::text, chr(10) ORDER BY ledger) FROM once.list_ledgers() l',
	'states of ledgers' => $states,
	(map { ("ids of $_" => "SELECT string_agg(l::text, chr(10) ORDER BY g, id) FROM (SELECT 0 AS g, * FROM once.l_${_}_0 UNION ALL SELECT 1, * FROM once.l_${_}_1) l") } @ledgers),
	'dedup_ids' => 'SELECT string_agg(d::text, chr(10) ORDER BY id) FROM (SELECT * FROM once.d_orders_0 UNION ALL SELECT * FROM once.d_orders_1) d',
	'schedules' => 'SELECT string_agg(to_jsonb(s)::text, chr(10) ORDER BY name) FROM once.list_schedules() s',
	'workers' => 'SELECT string_agg(w::text, chr(10) ORDER BY name) FROM once.worker w',
	'unlogged' => 'SELECT string_agg(u::text, chr(10) ORDER BY id) FROM once.q_u u');

# Return the last line of a statement's result.
sub value
{
	my ($node, $sql) = @_;
	return (split(/\n/, $node->safe_psql('postgres', $sql) // '', -1))[-1] // '';
}

# live_make fills a database.  Returns a session whose transaction must stay open as long as the server runs.
sub live_make
{
	my ($node) = @_;

	value($node, "SELECT once.create_queue('orders', id_index => true, max_attempts => 3, retry_delay => '1 h', archive => '2 days', ttl => '30 days')");
	value($node, "SELECT once.create_queue('u', unlogged => true)");
	value($node, q(SELECT count(once.send('orders', to_jsonb(i), priority => i % 10)) FROM generate_series(1, 500) i));
	value($node, q(SELECT count(once.send('orders', to_jsonb(i), group_id => 'g' || i % 20)) FROM generate_series(501, 1500) i));
	value($node, q(SELECT count(once.send('orders', to_jsonb(i), delay => i * interval '1 min')) FROM generate_series(1501, 2500) i));
	value($node, q(SELECT count(once.send('u', to_jsonb(i))) FROM generate_series(1, 10) i));
	value($node, "SELECT count(once.ack(receipt)) FROM once.receive('orders', 50)");
	value($node, "CREATE TABLE held AS SELECT id, attempt, group_id, receipt FROM once.lease('orders', '1 day', 700)");
	value($node, "SELECT count(once.nack(receipt, '0 s', 'no ' || id)) FROM held WHERE group_id IS NULL AND id % 10 = 5");
	value($node, "UPDATE held SET receipt = NULL WHERE group_id IS NULL AND id % 10 = 5");
	# Attempts used up
	value($node, "BEGIN; SELECT count(*) FROM once.receive('orders', 20); ROLLBACK") for 1;
	value($node, "SELECT once.nack(receipt, '0 s', 'still no') FROM once.lease('orders', '1 day', 10)") for 1 .. 2;
	value($node, "SELECT count(once.nack(receipt, '0 s', 'never')) FROM (SELECT receipt FROM once.lease('orders', '1 day', 10)) l");
	value($node, 'CALL once.maintain()');
	value($node, "BEGIN; SELECT count(*) FROM once.pop('orders', 30); ROLLBACK");

	# Ledgers: one with one generation, one with two, and one whose old generation cannot be closed yet, because a transaction that has
	# written to it is still open.  Each statement is run in a session of its own, which tries at once to advance the ledger.
	value($node, "SELECT once.create_ledger('$_', '30 days', unlogged => '$_' = 'fast')") for 'alone', 'closed', 'open', 'fast';
	value($node, sprintf($mark, $_, 'first')) for 'alone', 'closed', 'fast';
	value($node, sprintf($mark, $_, 'second')) for 'closed', 'fast';
	my $holder = $node->background_psql('postgres');
	$holder->query_safe("BEGIN; SELECT once.mark_processed('open', 'held')");
	value($node, sprintf($mark, 'open', $_)) for 'first', 'second';
	value($node, "SELECT once.alter_queue('orders', dedup_window => '30 days')");
	value($node, qq(SELECT once.send('orders', '"$_"', dedup_id => '$_'))) for 'first', 'second';
	is(value($node, $states), 'alone 0, closed 2, fast 2, open 1', 'ledgers in each phase');

	value($node, q(CREATE ROLE shop LOGIN; SELECT once.grant_queue('orders', 'shop', 'produce'); GRANT EXECUTE ON FUNCTION once.create_schedule TO shop));
	value($node, q(SET client_min_messages = error; SET ROLE shop; SELECT once.create_schedule('daily', 'orders', '@daily', payload => '1')));
	value($node, "UPDATE once.schedule SET begins_at = '2026-01-01', last_due = '2026-01-01'");
	value($node, q(SET client_min_messages = error; CREATE FUNCTION handle(m once.message) RETURNS void LANGUAGE sql AS 'SELECT'; SELECT once.create_worker('w', 'u', 'handle(once.message)', 2, 10)));
	return $holder;
}

# live_read returns everything that must be the same in a copy.
sub live_read
{
	my ($node) = @_;
	my %live = map { $_ => $node->safe_psql('postgres', $content{$_}) } keys %content;

	isnt($live{$_}, '', "there is something to keep: $_") for sort keys %content;
	return \%live;
}

# live_same checks that a database has what live_read has returned.
sub live_same
{
	my ($node, $live, $what) = @_;

	is($node->safe_psql('postgres', $content{$_}), $live->{$_}, "$what, $_: the same") for sort keys %content;
	clean($node, $_, "$what, $_") for 'orders', 'u';
	return;
}

# live_use goes on where live_make has stopped.
sub live_use
{
	my ($node, $what) = @_;
	my %sent = map { $_ => value($node, "SELECT id FROM once.q_orders WHERE payload = '\"$_\"'") } 'first', 'second';

	# Leases and receipts from before the upgrade are valid, and so are new ones.
	is(value($node, "SELECT count(*) FROM once.lease('orders', '1 h', 10000) l JOIN held USING (id) WHERE held.receipt IS NOT NULL"), '0', 'leases hold');
	my $live = 'FROM held JOIN once.q_orders q USING (id) WHERE held.receipt IS NOT NULL';
	is(value($node, "SELECT count(once.ack(receipt)) FROM (SELECT receipt $live ORDER BY id) h"), value($node, "SELECT count(*) FROM held WHERE receipt IS NOT NULL"),
		'receipts from before are good');
	is(sqlstate_of($node, 'SELECT once.ack(receipt) FROM held WHERE receipt IS NOT NULL LIMIT 1'), 'ON004', 'once');
	clean($node, 'orders', "$what, after acks");

	# Ledgers still remember everything, and go on.
	is(value($node, "SELECT string_agg(ledger || ' ' || call, ', ' ORDER BY ledger, call) FROM once.list_ledgers(), unnest(ARRAY['first', 'second', 'third']) call WHERE once.is_processed(ledger, call || ' 17')"),
		'alone first, closed first, closed second, fast first, fast second, open first, open second', 'what was processed is known');
	for my $ledger (@ledgers)
	{
		is(value($node, "SELECT result FROM once.process('$ledger', 'first 17')"), '"first 17"', "$ledger: with its result");
		is(join(' ', map { value($node, sprintf($mark, $ledger, $_)) } 'first', 'second', 'third', 'third'), $ledger eq 'alone' ? '0 30 30 0' : '0 0 30 0', "$ledger: marking goes on");
		is(value($node, "SELECT once.is_processed('$ledger', 'held')"), 'f', "$ledger: what was open is not");
	}
	is(value($node, qq(SELECT once.send('orders', '"again"', dedup_id => '$_'))), $sent{$_}, "dedup_id $_: known") for 'first', 'second';

	# A schedule goes on, as the role of the same name.
	value($node, 'CREATE FUNCTION whose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.headers = NEW.headers || jsonb_build_object($a$who$a$, current_user); RETURN NEW; END $$; CREATE TRIGGER whose BEFORE INSERT ON once.q_orders FOR EACH ROW EXECUTE FUNCTION whose()');
	value($node, 'CALL once.maintain()');
	is(value($node, "SELECT count(*) || ' as ' || min(headers ->> 'who') FROM once.q_orders WHERE headers ? 'schedule'"), '1 as shop', 'a schedule goes on');
	value($node, 'DROP TRIGGER whose ON once.q_orders');

	# Functions and the rights to execute them are the same as before.
	value($node, 'CREATE ROLE clerk');
	like(($node->psql('postgres', "SET ROLE clerk; SELECT once.create_$_"))[2], qr/ERROR:  permission denied for function .*^HINT: .* GRANT EXECUTE ON FUNCTION once.* TO clerk/ms, "may not create_$_, and is told")
	  for "queue('q')", "ledger('l', '1 day')";

	cmp_ok(value($node, "SELECT once.redrive('orders')"), '>', 0, 'dead letters are sent again');
	is(value($node, "SELECT count(*) FROM once.pop('u', 100)"), '10', 'the unlogged queue has its messages');
	value($node, 'CALL once.maintain()');
	value($node, 'VACUUM once.q_orders');
	clean($node, 'orders', "$what, after VACUUM");
	return;
}

# live_drain takes all messages that are left, when all delays and leases have ended, and counts what has become of them.
sub live_drain
{
	my ($node, $what) = @_;

	value($node, 'CREATE TABLE due AS SELECT id, payload FROM once.q_orders; CREATE TABLE effect (id bigint, payload jsonb)');
	cmp_ok(value($node, 'SELECT count(*) FROM due'), '>', 1500, "$what: there is something to drain");
	value($node, q(DO $$ BEGIN
		FOR i IN 1 .. 1000 LOOP
			WITH m AS (SELECT * FROM once.receive('orders', 100)), a AS (SELECT id, payload, once.ack(receipt) FROM m)
				INSERT INTO effect SELECT id, payload FROM a;
			COMMIT;
			EXIT WHEN NOT EXISTS (SELECT FROM once.q_orders);
		END LOOP;
	END $$));
	is(value($node, 'SELECT count(*) FROM once.q_orders'), '0', "$what: nothing is left");
	is(value($node, 'SELECT count(*) FROM due FULL JOIN (SELECT id, payload FROM effect UNION ALL SELECT id, payload FROM once.dead_letters WHERE attempts = 3) became USING (id)'
				. ' WHERE due.payload IS DISTINCT FROM became.payload'),
		'0', "$what: each is done, or dead because its attempts are used up");
	is(value($node, 'SELECT count(*) - count(DISTINCT id) FROM (SELECT id FROM effect UNION ALL SELECT id FROM once.dead_letters) became'), '0', "$what: and no more than once");
	clean($node, 'orders', "$what, drained");
	return;
}

1;
