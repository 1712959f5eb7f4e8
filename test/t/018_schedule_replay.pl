# The schedule of delayed messages and the order of groups are replayed exactly.  After every step, a standby has the same pages and
# slots, byte for byte under wal_consistency_checking.  After a crash, a restart or a promotion, both servers deliver messages when they
# are due, no earlier and no later.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = once_node('primary', 'once.log_hints = on', "wal_consistency_checking = 'all'", 'max_wal_size = 4GB');
my $standby = once_standby($primary, 'standby', 'hot_standby_feedback = on');
my @queues = ('delayed', 'grouped');

sub value { my ($sql, $node) = @_; return (split(/\n/, ($node // $primary)->safe_psql('postgres', $sql) // '', -1))[-1] // '' }

sub step
{
	my ($what, @statements) = @_;

	value($_) for @statements;
	same_structure($primary, $standby, $_, "$what: $_") for @queues;
	clean($primary, $_, $what, strict => 0) for @queues;
}

sub crash
{
	my ($node) = @_;
	$node->stop('immediate');
	$node->start;
}

# The states of the messages of each delay, except those that may become due at any moment
sub standing
{
	my ($node) = @_;
	return $node->safe_psql('postgres', "SELECT headers->>'delay', state, count(*) FROM once.peek('delayed', 10000) "
		  . "WHERE headers->>'delay' NOT IN ('1500 ms', '4 s') GROUP BY 1, 2 ORDER BY 1, 2");
}

# Wait until this much time has passed since a message was sent.
sub wait_until_due
{
	my ($node, $delay) = @_;
	$node->poll_query_until('postgres', "SELECT bool_and(deliver_at < clock_timestamp()) FROM once.q_delayed WHERE headers->>'delay' = '$delay'")
	  or die 'time stands still';
}

my $send = "SELECT count(once.send('delayed', to_jsonb(i), headers => jsonb_build_object('delay', d), delay => d::interval)) "
  . 'FROM generate_series(1, %d) i, unnest(ARRAY[%s]) d';

step('create_queue', map { "SELECT once.create_queue('$_', retry_delay => '0 s')" } @queues);
step('delays from milliseconds to years', sprintf($send, 3, "'1 ms', '40 ms', '10 min', '3 h', '2 days', '40 days', '3 years', '90 years'"));
step('many for one time', sprintf($send, 1200, "'1 h'"));
step('many for random times', "SELECT count(once.send('delayed', '1', headers => '{\"delay\": \"random\"}', deliver_at => now() + interval '1 hour' + random() * interval '30 days')) "
	  . 'FROM generate_series(1, 1500)');
step('a plain INSERT, and one that is rolled back',
	q(INSERT INTO once.q_delayed (payload, headers, deliver_at) SELECT '1', '{"delay": "insert"}', now() + i * interval '1 min' FROM generate_series(10, 50) i),
	'BEGIN; ' . sprintf($send, 100, "'2 h'") . '; ROLLBACK');
step('receive of what is due', "SELECT pg_sleep(0.1); SELECT count(once.ack(receipt)) FROM once.receive('delayed', 100)");
is(value(q(SELECT count(*) FROM once.q_delayed WHERE headers->>'delay' LIKE '% ms')), '0', 'what was due has been delivered');
step('cancelled by DELETE, and VACUUM', q(DELETE FROM once.q_delayed WHERE headers->>'delay' = 'random' AND id % 3 = 0), 'VACUUM once.q_delayed');
step('UPDATE to another time', q(UPDATE once.q_delayed SET deliver_at = now() + interval '5 h' WHERE headers->>'delay' = '10 min'));

# Groups
step('groups', "SELECT count(*) FROM once.send_batch('grouped', ARRAY(SELECT to_jsonb(i) FROM generate_series(1, 2000) i), "
	  . "group_ids => ARRAY(SELECT 'g' || i % 300 FROM generate_series(1, 2000) i))");
step('a hot group', "SELECT count(*) FROM once.send_batch('grouped', ARRAY(SELECT to_jsonb(i) FROM generate_series(2001, 2500) i), "
	  . "group_ids => ARRAY(SELECT 'hot' FROM generate_series(2001, 2500) i))");
step('delayed in groups', "SELECT count(once.send('grouped', to_jsonb(i), group_id => 'g' || i % 10, delay => '1 ms')) FROM generate_series(2501, 2550) i");
value('CREATE TABLE held (id bigint, group_id text, receipt uuid)');
step('lease', "INSERT INTO held SELECT id, group_id, receipt FROM once.lease('grouped', '1 h', 500)");
step('maintain', 'CALL once.maintain()');
my $first = '(SELECT DISTINCT ON (group_id) id, receipt FROM held ORDER BY group_id, id) h';
step('ack of those in front', "SELECT once.ack(receipt) FROM $first WHERE id % 5 = 0");
step('nack of those in front', "SELECT once.nack(receipt, '0 s') FROM $first WHERE id % 5 = 1");
step('release of those in front', "SELECT once.release(receipt) FROM $first WHERE id % 5 = 2");
step('pop', "SELECT count(*) FROM once.pop('grouped', 200)");
step('receive, rolled back', "BEGIN; SELECT count(once.ack(receipt)) FROM once.receive('grouped', 300); ROLLBACK");
step('DELETE in the middle of groups, and VACUUM', 'DELETE FROM once.q_grouped WHERE id % 7 = 0', 'VACUUM once.q_grouped');
step('dead letters', "SELECT once.alter_queue('grouped', max_attempts => 1)", "BEGIN; SELECT count(*) FROM once.receive('grouped', 10); ROLLBACK", 'CALL once.maintain()');
cmp_ok(value('SELECT count(*) FROM once.dead_letters'), '>', 0, 'there are dead letters');
step('redrive', "SELECT once.redrive('grouped')", "SELECT once.alter_queue('grouped', max_attempts => 10)");
step('receive', "SELECT count(once.ack(receipt)) FROM once.receive('grouped', 10000)");
step('REINDEX', map { "REINDEX TABLE once.q_$_" } @queues);
step('REINDEX CONCURRENTLY', map { "REINDEX TABLE CONCURRENTLY once.q_$_" } @queues);
step('the groups used again', "SELECT count(*) FROM once.send_batch('grouped', ARRAY(SELECT to_jsonb(i) FROM generate_series(1, 1000) i), "
	  . "group_ids => ARRAY(SELECT 'g' || i % 300 FROM generate_series(1, 1000) i))");

# Both servers know what is due, also after a crash.
step('what comes soon', sprintf($send, 20, "'1500 ms', '4 s'"));
my $standing = standing($primary);
flush_wal($primary);
crash($primary);
crash($standby);
is(standing($_), $standing, 'a crash changes nothing on ' . $_->name) for $primary, $standby;
unlike($standing, qr/ready/, 'nothing of that is due');
wait_until_due($primary, '1500 ms');
same_structure($primary, $standby, $_, "after a crash: $_") for @queues;

# The standby is promoted.  Messages that became due while nobody called are delivered, and nothing else is.
$primary->stop('fast');
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'no promotion';
for my $node ($standby, $primary)
{
	$node->start if $node == $primary;
	my $who = $node == $primary ? 'restarted' : 'promoted';

	wait_until_due($node, '4 s');
	is(value("SELECT string_agg(DISTINCT headers->>'delay', ' ' ORDER BY headers->>'delay') FROM (SELECT headers, once.ack(receipt) FROM once.receive('delayed', 10000)) m",
			$node), '1500 ms 4 s', "$who: what is due is delivered");
	is(value("SELECT count(*) FROM once.q_delayed WHERE deliver_at < clock_timestamp() - interval '1 s'", $node), '0', "$who: all of it");
	is(value("SELECT bool_and(sorted) FROM (SELECT id > lag(id, 1, 0::bigint) OVER (PARTITION BY group_id ORDER BY n) AS sorted "
				. "FROM once.lease('grouped', '1 h', 10000) WITH ORDINALITY AS l (id, r, a, e, u, p, group_id, h, pl, n)) x", $node),
		't', "$who: groups in their order");
	clean($node, $_, $who) for @queues;
}
unlike(slurp_file($_->logfile), qr/PANIC|inconsistent page/, 'no inconsistency on ' . $_->name) for $primary, $standby;
done_testing();
