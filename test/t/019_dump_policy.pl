# pg_dump and pg_restore keep all that a queue has: delayed messages, groups, dead letters, errors, the archive, dedup_ids and every
# option.  Only leases and attempts are forgotten, and groups are still in order.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = once_node('main');
my $other = once_node('other');
$other->safe_psql('postgres', 'CREATE DATABASE restored');

sub value { my ($sql, $on, $database) = @_; return (split(/\n/, ($on // $node)->safe_psql($database // 'postgres', $sql) // '', -1))[-1] // '' }
sub there { return value($_[0], $other, 'restored') }

value("SELECT once.create_queue('orders', id_index => true, max_attempts => 3, retry_delay => '7 s', retry_delay_max => '5 min', "
	  . "dedup_window => '1 h', archive => '2 days', ttl => '30 days', ttl_action => 'drop', retention => '90 days')");
value("SELECT once.create_queue('jobs', max_attempts => 1, retry_delay => '0 s', ttl_action => 'dead_letter')");
value("SELECT once.create_queue('Mixed-Case', archive => '1 h')");
value("SELECT once.create_queue('plain')");
value("SELECT once.pause('plain', 'consume')");
value('CREATE ROLE worker');
value('GRANT SELECT, INSERT, DELETE ON once.q_orders TO worker');
$other->safe_psql('postgres', 'CREATE ROLE worker');

# Ready, grouped, delayed, with a time to live
value(q(SELECT count(once.send('orders', to_jsonb(i), headers => '{"h": 1}', priority => i % 10)) FROM generate_series(1, 300) i));
value(q(SELECT count(once.send('orders', to_jsonb(i), group_id => 'g' || i % 20)) FROM generate_series(1, 600) i));
value(q(SELECT count(once.send('orders', to_jsonb(i), delay => i * interval '1 hour', group_id => CASE WHEN i % 2 = 0 THEN 'g1' END)) FROM generate_series(1, 200) i));
value(q(SELECT count(once.send('orders', to_jsonb(i), ttl => i * interval '1 day')) FROM generate_series(1, 50) i));
# With a dedup_id; some are done
value(q(SELECT count(*) FROM once.send_batch('plain', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 50) i),
	dedup_ids => (SELECT array_agg('id ' || i) FROM generate_series(1, 50) i))));
value("SELECT once.send('Mixed-Case', '1', dedup_id => 'mixed')");
value("DELETE FROM once.q_plain WHERE id % 2 = 0");
# Acked and archived
value("SELECT count(once.ack(receipt)) FROM once.receive('orders', 120)");
value("SELECT count(*) FROM once.pop('orders', 30)");
value(q(SELECT count(once.send('Mixed-Case', to_jsonb(i))) FROM generate_series(1, 10) i));
value("SELECT count(*) FROM once.pop('Mixed-Case', 4)");
# Failed, with an error
value("CREATE TABLE failed AS SELECT id FROM (SELECT id, once.nack(receipt, '1 h', 'no ' || id) FROM once.lease('orders', '1 h', 7)) l");
# Dead
value(q(SELECT count(once.send('jobs', to_jsonb(i), headers => '{"n": 1}', group_id => CASE WHEN i > 2 THEN 'g' END)) FROM generate_series(1, 5) i));
value("SELECT once.send('jobs', '\"late\"', ttl => '1 us')");
value("SELECT count(once.nack(receipt, error => 'broken')) FROM once.lease('jobs', '1 h', 3)");
value('CALL once.maintain()');
value("SELECT once.send('jobs', '\"alive\"')");
# Leased
value("SELECT count(*) FROM once.lease('orders', '1 h', 200)");

my %content = (
	(map { ("messages of $_" => "SELECT md5(string_agg(t::text, chr(10) ORDER BY id)), count(*) FROM once.\"q_$_\" t") } 'orders', 'jobs', 'Mixed-Case', 'plain'),
	(map { ("archive of $_" => "SELECT md5(string_agg(t::text, chr(10) ORDER BY id)), count(*) FROM once.\"a_$_\" t") } 'orders', 'Mixed-Case'),
	(map { ("dedup_ids of $_" => "SELECT string_agg(d::text, chr(10) ORDER BY id) FROM once.\"d_${_}_0\" d") } 'plain', 'Mixed-Case'),
	'options' => 'SELECT string_agg(l::text, chr(10) ORDER BY queue) FROM once.list_queues() l',
	'option table' => 'SELECT string_agg(to_jsonb(q)::text, chr(10) ORDER BY queue) FROM once.queue q',
	'dead letters' => 'SELECT string_agg(d::text, chr(10) ORDER BY queue, id) FROM once.dead_letters d',
	'failures' => 'SELECT string_agg(f::text, chr(10) ORDER BY queue, id, attempt) FROM once.failures f');
my %before = map { $_ => $node->safe_psql('postgres', $content{$_}) } keys %content;
like($before{'dead letters'}, qr/expired.*"late"/, 'there is a dead letter that expired');
like($before{'dead letters'}, qr/attempts.*broken/, 'there is one with an error');
is(value('SELECT count(*) FROM once.failures WHERE queue = $$orders$$'), '7', 'there are failures');
like($before{'archive of orders'}, qr/\|150$/, 'there is an archive');

my $dump = $node->basedir . '/policy.dump';
$node->command_ok([ 'pg_dump', '--format=custom', '--file', $dump, $node->connstr('postgres') ], 'pg_dump');
$other->command_ok([ 'pg_restore', '--exit-on-error', '--dbname', $other->connstr('restored'), $dump ], 'pg_restore');

is($other->safe_psql('restored', $content{$_}), $before{$_}, "$_: the same") for sort keys %content;
clean($other, $_, $_, database => 'restored') for 'orders', 'jobs', 'Mixed-Case', 'plain';

# Nothing is claimed, and nothing has had an attempt.  Delayed messages are still delayed.
is(there("SELECT string_agg(state || ' ' || attempt, ', ' ORDER BY state) FROM (SELECT DISTINCT state, attempt FROM once.peek('orders', 10000)) p"),
	'blocked 0, delayed 0, ready 0', 'leases and attempts are forgotten');
is(there("SELECT count(*) FROM once.peek('orders', 10000) WHERE state = 'delayed'"), '200', 'delayed messages are delayed');
my $taken = there("CREATE TABLE taken AS SELECT * FROM once.lease('orders', '1 h', 10000) WITH ORDINALITY AS l (id, receipt, attempt, enqueued_at, "
	  . 'leased_until, priority, group_id, headers, payload, n); SELECT count(*) FROM taken');
is($taken, there('SELECT count(*) FROM once.q_orders WHERE deliver_at IS NULL'),
	'everything else is delivered');
is(there('SELECT bool_and(sorted) FROM (SELECT id > lag(id, 1, 0::bigint) OVER (PARTITION BY group_id ORDER BY n) AS sorted FROM taken WHERE group_id IS NOT NULL) x'),
	't', 'groups in their order');
is(there('SELECT count(*) FROM taken WHERE attempt <> 1'), '0', 'as if for the first time');

# The options have an effect.
is(there("SELECT count(once.nack(receipt, '0 s', 'once more')) FROM (SELECT receipt FROM taken WHERE group_id IS NULL ORDER BY n LIMIT 1) t"), '1', 'a failure');
like(($other->psql('restored', "SELECT * FROM once.receive('plain')"))[2], qr/paused/, 'paused stays paused');
is(there("SELECT count(*) FROM once.pop('Mixed-Case', 1)"), '1', 'pop');
is(there('SELECT count(*) FROM once."a_Mixed-Case"'), '5', 'the archive goes on');
is(there("SELECT once.redrive('jobs')"), '4', 'dead letters can be sent again');
is(there("SELECT string_agg(payload #>> '{}', ' ' ORDER BY n) FROM (SELECT m.*, once.ack(receipt) FROM once.receive('jobs', 10) WITH ORDINALITY "
		. 'AS m (id, receipt, a, e, l, p, group_id, h, payload, n)) m'), '4 5 alive 1 2 3 late', 'and delivered');
is(there("SELECT once.replay('Mixed-Case', '-infinity', 'infinity')"), '5', 'the archive can be replayed');
is(there("SELECT count(*) FROM unnest(ARRAY['id 7', 'id 8', 'id 50']) d, once.send_dedup('plain', '1', dedup_id => d) s WHERE s.duplicate"), '3', 'repeats are repeats');
is(there('SELECT count(*) FROM once.q_plain'), '25', 'and not sent');
is(there("SELECT duplicate FROM once.send_dedup('plain', '1', dedup_id => 'id 51')"), 'f', 'others are');
value('SET ROLE worker; SELECT count(*) FROM once.peek($$orders$$)', $other, 'restored');
value('CALL once.maintain()', $other, 'restored');
clean($other, $_, "$_, in use", database => 'restored') for 'orders', 'jobs', 'Mixed-Case', 'plain';
value("SELECT once.drop_queue(queue) FROM once.list_queues()", $other, 'restored');
is(there(q(SELECT count(*) FROM pg_class WHERE relnamespace = 'once'::regnamespace AND relname ~ '^[qad]_')), '0', 'they can be dropped');
is(there('SELECT count(*) FROM once.dead_letter'), '0', 'with their dead letters');

# Under load
my $load = start_stress($node, '--policy', '--seconds', 4, '--no-drain', '--no-rebuild');
$node->poll_query_until('postgres', q(SELECT to_regclass('stress.effect') IS NOT NULL)) or die 'no load';
$node->poll_query_until('postgres', 'SELECT count(*) > 1000 FROM stress.effect') or die 'no effects';
$node->command_ok([ 'pg_dump', '--format=custom', '--file', "$dump.2", $node->connstr('postgres') ], 'pg_dump under load');
end_stress($load, 'the load goes on');
$other->safe_psql('postgres', 'CREATE DATABASE loaded');
$other->command_ok([ 'pg_restore', '--exit-on-error', '--dbname', $other->connstr('loaded'), "$dump.2" ], 'pg_restore');
run_stress($other, 'the oracle on the restored queue', 'database', 'loaded', '--policy', '--only-drain');
done_testing();
