# Messages that cannot be taken away: what one session cannot show.  The state of a stuck message survives a crash, and is the same on a
# standby.  The pauses grow.  If a payload is lost, only its own message is stuck.  With consumers, obstacles that come and go, and calls
# that fail, no message is delivered twice or lost, and no attempt counts that was not delivered.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = once_node('main', 'wal_writer_delay = 10s', 'once.log_hints = on');
my $standby = once_standby($node, 'standby');

sub value { my ($sql, $on) = @_; return (split(/\n/, ($on // $node)->safe_psql('postgres', $sql) // '', -1))[-1] // '' }

# Wait until the stuck messages of a queue are due.
sub sit_out { return value("SELECT pg_sleep(greatest(0, extract(epoch FROM max(ready_at) - clock_timestamp()) + 0.01)) FROM once.peek('$_[0]', 1000)") }

# The pauses
value("SELECT once.create_queue('q', id_index => true, max_attempts => 1, retry_delay => '0 s')");
value('CREATE TABLE progress (message bigint REFERENCES once.q_q (id))');
my $id = value("SELECT once.send('q', '1')");
value("INSERT INTO progress VALUES ($id)");
value("SELECT count(*) FROM once.lease('q', '1 ms')");
for my $try ([ 1, 0, 1 ], [ 2, 2, 4 ])
{
	my ($n, $least, $most) = @$try;
	sit_out('q');
	value("SELECT count(*) FROM once.receive('q')");
	is(value("SELECT stuck FROM once.slots('q')"), $n, "stuck $n times");
	is(value("SELECT extract(epoch FROM ready_at - clock_timestamp()) BETWEEN $least AND $most FROM once.peek('q')"), 't', "a pause of $most s");
}

# Replay
same_structure($node, $standby, 'q', 'stuck');
is(value("SELECT state || ': ' || (error LIKE '%progress%') FROM once.peek('q')", $standby), 'stuck: true', 'peek tells on a standby');
my $before = value("SELECT stuck, ready_at FROM once.slots('q')");
flush_wal($node);
kill_server($node);
is(value("SELECT stuck, ready_at FROM once.slots('q')"), $before, 'a crash changes nothing');
value('DELETE FROM progress');
sit_out('q');
value('CALL once.maintain()');
is(value("SELECT count(*) FROM once.dead_letters WHERE queue = 'q'"), '1', 'without the obstacle it goes');
same_structure($node, $standby, 'q', 'gone');

# Values that cannot be read: TOAST chunks of two messages are lost.  One of the messages is dead.
SKIP:
{
	skip 'pg_surgery is not installed', 20
	  unless value("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_surgery'");
	value('CREATE EXTENSION pg_surgery');
	for my $verb ('receive', 'lease', 'pop')
	{
		value("SELECT once.create_queue('t', max_attempts => 2, retry_delay => '0 s')");
		value(q(ALTER TABLE once.q_t ALTER payload SET STORAGE EXTERNAL));
		value(q(SELECT count(*) FROM once.send_batch('t', ARRAY['1', to_jsonb(repeat('dead', 5000)), to_jsonb(repeat('lost', 5000)), '4']::jsonb[])));
		value(q(UPDATE once.q_t SET expires_at = now() WHERE id = 2));
		my $toast = value(q(SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'once.q_t'::regclass));
		value("SELECT heap_force_kill('$toast'::regclass, array_agg(ctid)) FROM $toast");

		my ($stdout, $stderr);
		$node->psql('postgres', q(SELECT string_agg(concat_ws(' ', id, left(payload #>> '{}', 1), state, left(error, 20)), ', ' ORDER BY id) FROM once.peek('t')), stdout => \$stdout, stderr => \$stderr);
		is($stdout, '1 1 ready, 2 dead missing chunk number, 3 ready missing chunk number, 4 4 ready', "$verb: peek shows what it can");
		like($stderr, qr/message 2 of queue "t" was not shown in full: missing chunk .*message 3 of queue "t" was not shown in full/s, "$verb: and says so");
		catch_up($node, $standby);
		is(value("SELECT count(*) FILTER (WHERE payload IS NULL) FROM once.peek('t')", $standby), '2', "$verb: also on a standby");

		my $call = sub { return sqlstate_of($node, "SELECT payload FROM once.$verb('t', max_messages => 10)") };
		is($call->(), 'XX001', "$verb: the lost value is an error");
		is(value("SELECT string_agg(attempts || CASE WHEN stuck > 0 THEN ' stuck' ELSE '' END, ', ' ORDER BY block, slot) FROM once.slots('t') WHERE state <> 'done'"),
			'0, 0 stuck, 0 stuck, 0', "$verb: what it was at is stuck, nothing is counted");
		is(value("SELECT count(*) FROM (SELECT once.ack(receipt) FROM once.receive('t', 10)) m"), '2', "$verb: the rest is delivered by the next call");
		value("SELECT once.purge('t'), once.drop_queue('t')");
	}
	ok(1, 'purge reads no values');
	value("SELECT once.create_queue('t', ttl_action => 'drop')");
	value(q(ALTER TABLE once.q_t ALTER payload SET STORAGE EXTERNAL));
	value(q(INSERT INTO once.q_t (payload, expires_at) VALUES (to_jsonb(repeat('dead', 5000)), now())));
	my $toast = value(q(SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'once.q_t'::regclass));
	value("SELECT heap_force_kill('$toast'::regclass, array_agg(ctid)) FROM $toast");
	value('CALL once.maintain()');
	is(value("SELECT count(*) FROM once.q_t"), '0', 'nor does who drops what has expired');
}

# Under load: consumers use every verb, and some of their calls fail.  For a while, rows of another table refer to a third of the
# messages.
value("SELECT once.create_queue('load', id_index => true, max_attempts => 3, retry_delay => '0 s', retry_delay_max => '0 s')");
value('CREATE TABLE refers (message bigint REFERENCES once.q_load (id) DEFERRABLE INITIALLY DEFERRED)');
value('CREATE TABLE effect (id bigint, attempt int, how text)');
value(q(CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF random() < 0.03 THEN RAISE 'no room' USING ERRCODE = '53100'; END IF;
		RETURN OLD;
	END $$));
value('CREATE TRIGGER fails BEFORE DELETE ON once.q_load FOR EACH ROW EXECUTE FUNCTION fails()');
sub may_fail { return "DO \$\$ BEGIN $_[0]; SET CONSTRAINTS ALL IMMEDIATE; EXCEPTION WHEN OTHERS THEN NULL; END \$\$;" }
my %script = (
	send => [ 3, "SELECT count(*) FROM once.send_batch('load', array_fill('1'::jsonb, ARRAY[20]), group_ids => ARRAY(SELECT CASE WHEN g % 2 = 0 THEN 'g' || g % 8 END FROM generate_series(1, 20) g));" ],
	refer => [ 2, "INSERT INTO refers SELECT id FROM (SELECT id FROM once.q_load ORDER BY random() LIMIT 3 FOR KEY SHARE SKIP LOCKED) m;" ],
	unrefer => [ 1, 'DELETE FROM refers WHERE ctid = ANY (ARRAY(SELECT ctid FROM refers LIMIT 20 FOR UPDATE SKIP LOCKED));' ],
	receive => [ 4, may_fail("INSERT INTO effect SELECT id, attempt, 'receive' FROM once.receive('load', 7) m, LATERAL once.ack(receipt)") ],
	lose => [ 2, may_fail("INSERT INTO effect SELECT id, attempt, 'never' FROM once.receive('load', 5); RAISE 'lost'") ],
	pop => [ 3, may_fail("INSERT INTO effect SELECT id, attempt, 'pop' FROM once.pop('load', 5)") ],
	lease => [ 1, may_fail("INSERT INTO effect SELECT id, attempt, 'lease' FROM once.lease('load', '10 s', 5), LATERAL once.ack(receipt)") ],
	maintain => [ 1, 'CALL once.maintain();' ],
);
my $output = '';
my $pgbench = start_pgbench($node, \$output, 6, '-c', 5, pgbench_scripts(PostgreSQL::Test::Utils::tempdir, %script));
$pgbench->finish;
unlike($output, qr/PANIC|TRAP|crash|terminated/, 'no server process was lost');
unlike($output, qr/aborted/, 'nor did an error come through');
note($output);
clean($node, 'load', 'after the load');
value('TRUNCATE refers');
value('DROP TRIGGER fails ON once.q_load');
value("SELECT once.alter_queue('load', max_attempts => 1000)");
sit_out('load') if value("SELECT count(*) FROM once.peek('load', 10000) WHERE state = 'stuck'");
for (1 .. 60)
{
	value("INSERT INTO effect SELECT id, attempt, 'rest' FROM once.receive('load', 10000) m, LATERAL once.ack(receipt)");
	last if value('SELECT count(*) FROM once.q_load') == 0;
	sit_out('load');
}
is(value('SELECT count(*) FROM once.q_load'), '0', 'all has gone');
is(value('SELECT count(*) FROM (SELECT id FROM (SELECT id FROM effect UNION ALL SELECT id FROM once.dead_letters WHERE queue = $$load$$) e GROUP BY id HAVING count(*) > 1) t'),
	'0', 'nothing twice');
is(value(q(SELECT count(*) = (SELECT last_value FROM once.q_load_id_seq) FROM (SELECT id FROM effect UNION ALL SELECT id FROM once.dead_letters WHERE queue = 'load') e)),
	't', 'and nothing is lost');
clean($node, 'load', 'in the end');
done_testing();
