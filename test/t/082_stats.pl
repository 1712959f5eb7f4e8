# The counters of queues, who holds messages, and what a standby knows of it.  Counters are kept over a clean restart, begin anew after a
# crash, and go with what they belong to.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = once_node('main', 'fsync = off', 'shared_preload_libraries = pg_once', 'once.stat_max_queues = 16');
my $standby = once_standby($node, 'standby');

sub value { my ($sql, $on, $db) = @_; return join(' ', split(/\n/, ($on // $node)->safe_psql($db // 'postgres', $sql) // '')) }

# The counters of a queue that are not zero
my @counters = qw(sent received redelivered acked nacked expired dead_lettered lease_lost);
sub counters
{
	my ($queue, $on, $db) = @_;
	my $list = join(', ', map { "NULLIF(format('$_ %s', $_), '$_ 0')" } @counters);

	return value("SELECT concat_ws(', ', $list) FROM once.stat_queues WHERE queue = '$queue'", $on, $db);
}

value("SELECT once.create_queue('q', retry_delay => '0', max_attempts => 2)");
is(counters('q'), '', 'nothing so far');

# ---- What is sent ----

value("SELECT once.send('q', '1'), once.send('q', '1', delay => '1 h')");
value("INSERT INTO once.q_q (payload) VALUES ('1'), ('1')");
value("COPY once.q_q (payload) FROM PROGRAM 'printf \"1\\n1\\n\"'");
is(counters('q'), 'sent 6', 'send, INSERT, COPY');
value("BEGIN; SELECT once.send('q', '1'); ROLLBACK");
value("BEGIN; SELECT once.send('q', '1'); SAVEPOINT s; SELECT once.send('q', '1'); SAVEPOINT t; SELECT once.send('q', '1'); RELEASE t; ROLLBACK TO s;
	SAVEPOINT u; SAVEPOINT v; SELECT once.send('q', '1'); RELEASE v; COMMIT");
is(counters('q'), 'sent 8', 'what rolls back is not sent, also within savepoints');
value("UPDATE once.q_q SET payload = '2' WHERE id = 1");
value("REINDEX TABLE CONCURRENTLY once.q_q");
value("VACUUM FULL once.q_q");
is(counters('q'), 'sent 8', 'an UPDATE of the payload sends nothing, nor does a rebuilt index');

# ---- What is received and acked ----

value("BEGIN; SELECT count(*) FROM once.receive('q', 3); ROLLBACK");
is(counters('q'), 'sent 8, received 3', 'deliveries count, although they are rolled back');
value("BEGIN; SAVEPOINT s; SELECT count(once.ack(receipt)) FROM once.receive('q', 1); ROLLBACK TO s; SELECT count(once.ack(receipt)) FROM once.receive('q', 2); COMMIT");
is(counters('q'), 'sent 8, received 6, redelivered 3, acked 2, dead_lettered 1', 'acks count when they are committed; what has failed twice is dead');
value("SELECT count(*) FROM once.pop('q', 1)");
is(counters('q'), 'sent 8, received 7, redelivered 3, acked 3, dead_lettered 1', 'pop');
value("SELECT count(once.nack(receipt)) FROM once.lease('q', '1 h', 1)");
value("BEGIN; SELECT count(once.nack(receipt)) FROM once.lease('q', '1 h', 1); ROLLBACK");
is(counters('q'), 'sent 8, received 9, redelivered 4, acked 3, nacked 2, dead_lettered 1', 'nack acts at once');
value("SELECT count(once.ack(receipt)) FROM once.receive('q', 5); SELECT once.send('q', '1')");
my $receipt = value("SELECT receipt FROM once.lease('q', '1 h', 1)");
value("SELECT once.ack('$receipt')");
is(value("SELECT once.try_ack('$receipt')"), 'f', 'a message that is acked');
$node->psql('postgres', "SELECT once.ack('$receipt')");
is(counters('q') =~ /lease_lost (\d+)/ ? $1 : 0, 0, 'a message that is gone is not a lost lease');
value("SELECT once.send('q', '1')");
$receipt = value("SELECT receipt FROM once.lease('q', '1 us', 1)");
value("SELECT count(*) FROM once.lease('q', '1 h', 1)");
is(value("SELECT once.try_ack('$receipt')"), 'f', 'a lease that somebody else has');
$node->psql('postgres', "SELECT once.ack('$receipt')");
is(counters('q') =~ /lease_lost (\d+)/ ? $1 : 0, 2, 'a lost lease, for try_ack and for ack, which raises an error');
value("SELECT once.create_queue('short', ttl => '1 us', ttl_action => 'drop'); SELECT once.send('short', '1')");
value("SELECT * FROM once.pop('short')");
is(counters('short'), 'sent 1, expired 1', 'a message that expires and leaves no dead letter');

# ---- Latency ----

value("SELECT once.create_queue('slow')");
value("INSERT INTO once.q_slow (payload, enqueued_at) SELECT '1', clock_timestamp() - make_interval(secs => s) FROM unnest(ARRAY[100, 100, 100, 100, 100, 100, 100, 100, 100, 10000]) s");
value("SELECT count(once.ack(receipt)) FROM once.receive('slow', 4)");
value("SELECT count(once.ack(receipt)) FROM once.lease('slow', '1 h', 4)");
value("SELECT count(*) FROM once.pop('slow', 4)");
is(value("SELECT messages || '; ' || string_agg((p BETWEEN e / 2 AND e * 2)::text, ', ') FROM once.stat_latency, (VALUES (1)) AS one, LATERAL (VALUES (p50, interval '100 s'), (p90, '100 s'), (p99, '10000 s')) AS v (p, e) WHERE queue = 'slow' GROUP BY messages"),
	'10; true, true, true', 'quantiles, within a factor of two');
is(value("SELECT string_agg(below || ': ' || messages || ' of ' || total, ', ' ORDER BY below) FROM once.stat_latency_buckets WHERE queue = 'slow' AND messages > 0"),
	'00:02:14.217728: 9 of 9, 04:46:19.869184: 1 of 10', 'the histogram');

# ---- Who holds messages ----

value("SELECT once.create_queue('held', retry_delay => '1 h', retry_delay_max => '1 h'); SELECT count(*) FROM once.send_batch('held', array_fill('1'::jsonb, ARRAY[20]))");
my %session = map { local $ENV{PGAPPNAME} = $_; ($_ => $node->background_psql('postgres')) } 'receiver', 'lessee';
$session{receiver}->query_safe("BEGIN; SELECT count(*) FROM once.receive('held', 3); SAVEPOINT s; SELECT count(*) FROM once.receive('held', 2)");
$session{lessee}->query_safe("SELECT count(*) FROM once.lease('held', '1 h', 4); SELECT once.ack(receipt) FROM once.lease('held', '1 h', 1); SELECT once.nack(receipt) FROM once.lease('held', '1 h', 1)");
value("BEGIN; SELECT count(once.ack(receipt)) FROM once.receive('held', 2); PREPARE TRANSACTION 'p'");
my $holders = "SELECT concat_ws(' ', what, COALESCE(application_name, '-'), messages, CASE WHEN since > now() - interval '1 min' THEN 'since' END, CASE WHEN until > now() THEN 'until' END, CASE WHEN xid IS NOT NULL THEN 'xid' END) FROM once.consumers WHERE queue = 'held' ORDER BY 1";
is(value($holders), 'leased lessee 4 since until received - 2 since xid received receiver 5 since xid', 'who holds what, and since when');
is(value("SELECT oldest_claim BETWEEN '0' AND '1 min' FROM once.stat_queues WHERE queue = 'held'"), 't', 'the oldest claim');
catch_up($node, $standby);
is(value($holders, $standby), 'leased - 4 until received - 2 since xid received - 3 since xid received - 2 since xid' =~ s/- 2 since xid received - 3 since xid received - 2/- 2 since xid received - 2 since xid received - 3/r,
	'a standby knows the transactions, and not the sessions');
$session{lessee}->quit;
is(value($holders), 'leased - 4 until received - 2 since xid received receiver 5 since xid', 'leases outlive their session');
value("ROLLBACK PREPARED 'p'");
$session{receiver}->quit;
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'receiver'");
is(value($holders), 'leased - 4 until', 'claims do not');

# ---- Who waits ----

value("SELECT once.create_queue('idle1'), once.create_queue('idle2')");
is(value("SELECT waiters || ' ' || workers FROM once.stat_queues WHERE queue = 'idle1'"), '0 0', 'nobody waits');
my $waiter = do { local $ENV{PGAPPNAME} = 'waiter'; $node->background_psql('postgres') };
$waiter->query_until(qr/waits/, "\\echo waits\nCALL once.wait('{idle2,idle1}', '60 s');\n");
$node->poll_query_until('postgres', "SELECT bool_and(waiters = 1) FROM once.stat_queues WHERE queue LIKE 'idle_'") or die 'nobody waits';
is(value("SELECT string_agg(concat_ws(' ', queue, what, application_name, messages, since > now() - interval '1 min', until, xid), ', ' ORDER BY queue) FROM once.consumers WHERE what = 'waiting'"),
	'idle1 waiting waiter 0 t, idle2 waiting waiter 0 t', 'a session that waits for two queues');
value("SELECT once.send('idle1', '1')");
$waiter->quit;
is(value("SELECT sum(waiters) FROM once.stat_queues"), '0', 'and when it has ended');

# ---- Progress ----

# A purge that is held still after its first round
value("SELECT once.create_queue('long'); SELECT count(*) FROM once.send_batch('long', array_fill('1'::jsonb, ARRAY[15000]))");
my $gate = $node->background_psql('postgres');
my $user = $node->background_psql('postgres');
$gate->query_safe("SELECT pg_advisory_lock(1869505381, 1)");
$user->query_safe("BEGIN; SELECT count(*) FROM once.q_long");
my $worker = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SET once.debug_point = 'purge_round'", '-c', "SELECT once.purge('long')" ], '<', \undef, '>&', \my $purged, IPC::Run::timeout(60));
$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM once.progress') or die 'no progress';
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND locktype = 'advisory'") or die 'no purge';
is(value("SELECT queue, work, done = 10000, total IS NULL, usename = current_user, since < now() FROM once.progress"), 'long|purge|t|t|t|t', 'a purge shows how far it has come');
$gate->query_safe('SELECT pg_advisory_unlock(1869505381, 1)');
IPC::Run::finish($worker);
is($purged, "15000\n", 'it goes on');
is(value('SELECT count(*) FROM once.progress'), '0', 'and is gone when it has ended');
$_->quit for $gate, $user;

# ---- What a standby knows ----

my $depths = "SELECT queue, ready, delayed, claimed, blocked, dead, depth_error, dead_letters, index_pages, problem FROM once.stat_queues ORDER BY queue COLLATE \"C\"";
catch_up($node, $standby);
is(value($depths, $standby), value($depths), 'the standby sees the same numbers of messages');
is(counters('q', $standby), '', 'and counts what happens on itself: nothing');
is(value("SELECT once.reset_stats('q'), once.reset_stats()", $standby), '|', 'its counters can be reset');

# ---- One that is locked does not hide the others ----

my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK once.q_held');
is(value("SET statement_timeout = '20 s'; SELECT queue, ready IS NULL, problem FROM once.stat_queues WHERE queue IN ('held', 'q') ORDER BY queue"),
	'held|t|locked by another transaction q|f|', 'a locked queue is told, and waited for by nobody');
is(value("SET statement_timeout = '20 s'; SELECT sent FROM once.stat_queues WHERE queue = 'held'"), '20', 'its counters are known');
$locker->query_safe('ROLLBACK; BEGIN; SELECT count(*) FROM once.stat_queues; SELECT count(*) FROM once.consumers');
value("SET lock_timeout = '10 s'; ALTER TABLE once.q_held SET (fillfactor = 90)");
pass('whoever has asked has no lock on the queues, although its transaction is open');
$locker->quit;

# ---- What is rolled back, and goes on ----

# Work that has failed is not shown, also if its error is caught; and a table that never was has no counters.
value("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_cancel_backend(pg_backend_pid()), pg_sleep(60); END'; SELECT once.create_queue('kept'); SELECT once.send('kept', '1'); CREATE TRIGGER refuse BEFORE DELETE ON once.q_kept FOR EACH ROW EXECUTE FUNCTION refuse()");
my $catcher = $node->background_psql('postgres');
$catcher->query_safe("DO \$\$ BEGIN PERFORM once.purge('kept'); RAISE 'not refused' USING ERRCODE = '22000'; EXCEPTION WHEN query_canceled THEN END \$\$");
is(value('SELECT count(*) FROM once.progress'), '0', 'a purge that has failed is not under way');
$catcher->quit;
value("BEGIN; SAVEPOINT s; SELECT once.create_queue('never'); SELECT once.send('never', '1'); ROLLBACK TO s; COMMIT") for 1 .. 20;
value("BEGIN; SELECT once.create_queue('never'); SELECT once.send('never', '1'); ROLLBACK") for 1 .. 20;
unlike(slurp_file($node->logfile), qr/statistics of some queues are not counted/, 'queues that are not created take no room');

# ---- Reset; restart; crash ----

my ($slow, $q) = map { counters($_) } 'slow', 'q';
value("CREATE ROLE owner; ALTER TABLE once.q_slow OWNER TO owner");
is(value("SET ROLE owner; SELECT once.reset_stats('slow')"), '', 'the owner resets a queue');
is(counters('slow') . '; ' . counters('q'), "; $q", 'this one and no other');
is(value("SELECT counted_since > now() - interval '1 min' FROM once.stat_queues WHERE queue = 'slow'"), 't', 'it is counted since then');
my ($code, $out, $error) = $node->psql('postgres', "SET ROLE owner; SELECT once.reset_stats('q')");
like($error, qr/must be owner of queue "q"/, 'only the owner may');
value("SET ROLE owner; SELECT once.reset_stats()");
is(counters('q'), $q, 'of all queues means of those that are one\'s own');

my $since = value("SELECT string_agg(counted_since::text, ' ' ORDER BY queue) FROM once.stat_queues");
my $latency = value("SELECT * FROM once.stat_latency ORDER BY queue");
$node->restart;
is(counters('q'), $q, 'counters outlive a restart');
is(value("SELECT string_agg(counted_since::text, ' ' ORDER BY queue) FROM once.stat_queues"), $since, 'and since when they count');
is(value("SELECT * FROM once.stat_latency ORDER BY queue"), $latency, 'and latencies');
my $file = $node->data_dir . '/pg_stat/pg_once.stat';
ok(!-e $file, 'the file is gone while the server runs');

$node->stop;
ok(-e $file, 'it is there while the server is down');
my $content = slurp_file($file);
substr($content, -20, 1) ^= "\x01";
open my $out_file, '>:raw', $file or die; print $out_file $content; close $out_file;
$node->start;
is(counters('q'), '', 'a damaged file is ignored');
like(slurp_file($node->logfile), qr/ignored the statistics of queues in file "pg_stat\/pg_once.stat"/, 'and the log tells so');

value("SELECT once.send('q', '1')");
is(counters('q'), 'sent 1', 'it goes on');
value("SELECT once.create_queue('rolled'), once.send('rolled', '1')");
kill_server($node);
is(counters('q'), '', 'after a crash they begin anew');
value("BEGIN; SELECT once.receive('rolled'); ROLLBACK");
is(counters('rolled'), 'received 1', 'also with a queue whose consumers only roll back');
value("SELECT once.drop_queue('rolled')");

# ---- What is dropped ----

sub used { return scalar(grep { value("SELECT sent FROM once.stat_queues WHERE queue = 't$_'") ne '' } 1 .. 20) }

value("SELECT count(once.create_queue('t' || i)) FROM generate_series(1, 20) i");
value("SELECT once.send('t$_', '1')") for 1 .. 20;
is(used(), 16, 'there is room for as many queues as once.stat_max_queues says, of those that are used');
like(slurp_file($node->logfile), qr/statistics of some queues are not counted.*There is room for 16 queues/s, 'the log tells, once');
value("BEGIN; SELECT once.drop_queue('t1'); ROLLBACK");
is(used(), 16, 'a drop that is rolled back');
value("SELECT once.drop_queue('t' || i) FROM generate_series(1, 16) i");
value("SELECT once.send('t$_', '1')") for 17 .. 20;
is(used(), 4, 'dropped queues leave room');
value("BEGIN; SAVEPOINT s; SELECT once.create_queue('u'), once.send('u', '1'); RELEASE s; DROP TABLE once.q_u; COMMIT");
value('CREATE DATABASE other');
value('CREATE EXTENSION pg_once', $node, 'other');
value("SELECT count(once.create_queue('o' || i)), count(once.send('o' || i, '1')) FROM generate_series(1, 12) i", $node, 'other');
is(counters('o12', $node, 'other'), 'sent 1', 'another database');
value('DROP DATABASE other');
value("SELECT count(once.create_queue('v' || i)), count(once.send('v' || i, '1')) FROM generate_series(1, 12) i");
is(counters('v12'), 'sent 1', 'a dropped database leaves room, and so does a table that was dropped where it was made');

# Nobody sees the commit of a transaction that was prepared.
value("SELECT once.create_queue('w'), once.send('w', '1')");
my $table = value("SELECT 'once.q_w'::regclass::oid");
value("BEGIN; DROP TABLE once.q_w; PREPARE TRANSACTION 'd'");
value("COMMIT PREPARED 'd'");
value("SET client_min_messages = error; CALL once.maintain()");
value("SELECT once.drop_queue('v' || i) FROM generate_series(1, 12) i");
value("SELECT count(once.create_queue('x' || i)), count(once.send('x' || i, '1')) FROM generate_series(1, 12) i");
is(counters('x12'), 'sent 1', 'maintain removes the counters of what was dropped unnoticed');
clean($node, 'held', 'in the end');
done_testing();
