# Whoever waits for messages is woken when there are some: as many as there are messages, oldest first; and what a waiter does
# not take goes to the next one.  A waiter that sleeps holds no snapshot and no lock on a queue.
#
# Nobody looks by himself here, so that a wake-up that is lost is noticed, but where that is what is tested.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $debug_lock = '1869505381, 1';
my $node = once_node('main', 'shared_preload_libraries = pg_once', "once.debug_fallback = '1 h'", 'restart_after_crash = on', 'max_logical_replication_workers = 4');

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

value("SELECT once.create_queue('$_', retry_delay => '0', retry_delay_max => '0')") for 'q', 'other';

# Start a session of that name that executes statements, and wait until it sleeps.
my $asleep = "wait_event_type = 'Extension'";
my $locked = "wait_event_type = 'Lock'";
sub start_waiter
{
	my ($name, $statements, %args) = @_;
	my $waiter = { name => $name, output => '' };

	local $ENV{PGAPPNAME} = $name;
	# At its end, a wait looks once more.  So if its wake-up is lost, it must not come to its end.
	local $ENV{PGOPTIONS} = '-c statement_timeout=40s ' . ($args{options} // '');
	$waiter->{run} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-d', $node->connstr('postgres'), map { ('-c', $_) } split(/;\s*/, $statements) ],
		'<', \undef, '>&', \$waiter->{output}, IPC::Run::timeout(120));
	is_in($name, $args{state} // $asleep) or die "$name does not wait";
	return $waiter;
}

sub is_in
{
	my ($name, $state) = @_;

	return $node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = '$name' AND $state");
}

# What it has printed in the end
sub finish
{
	my ($waiter) = @_;

	IPC::Run::finish($waiter->{run});
	return $waiter->{output} =~ s/\n+\z//r;
}

sub pid_of { return value("SELECT pid FROM pg_stat_activity WHERE application_name = '$_[0]'") }

# Those that wait, in the end: nobody has an entry in the table left
sub nobody_left
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(value("SELECT count(*) FROM pg_stat_activity WHERE application_name ~ '^w[0-9]' AND $asleep"), '0', "$what: nobody waits any more");
	is(value("SELECT once.purge('q') + once.purge('other')"), '0', "$what: nothing is left");
}

# A session that holds the lock of the debug points
sub hold
{
	my $session = $node->background_psql('postgres');

	$session->query_safe("SELECT pg_advisory_lock($debug_lock)");
	return $session;
}

# Three wait, and two messages come.  The third one sleeps on: the debug point is where it would be stopped if it did not.
my $holder = hold();
my @w = map { start_waiter("w$_", "SELECT payload FROM once.pop('q', wait => '60 s')", options => $_ == 3 ? '-c once.debug_point=wait_slept' : '') } 1 .. 3;
value("SELECT count(once.send('q', i::text::jsonb)) FROM generate_series(1, 2) i");
is(join(' ', sort(finish($w[0]), finish($w[1]))), '1 2', 'two messages wake the two who have waited longest');
ok(!is_locked('w3'), 'and nobody else');
value("SELECT once.send('q', '3')");
ok(is_in('w3', $locked), 'the third one is woken by the third message');
$holder->quit;
is(finish($w[2]), '3', 'and gets it');
nobody_left('three');

sub is_locked { return value("SELECT count(*) FROM pg_stat_activity WHERE application_name = '$_[0]' AND $locked") }

# once.wake_delay: a waiter that was woken gathers as many messages as its call may take, and these wake nobody else.
my $gathers = '-c once.debug_point=wait_gathering -c once.wake_delay=50ms';
$holder = hold();
@w = (start_waiter('w1', "SELECT payload FROM once.pop('q', 2, wait => '60 s')", options => $gathers));
push @w, start_waiter('w2', "SELECT payload FROM once.pop('q', wait => '60 s')", options => '-c once.debug_point=wait_slept');
value("SELECT once.send('q', '1')");
ok(is_in('w1', $locked), 'the first message wakes a waiter, which gathers');
value("SELECT once.send('q', '2')");
ok(!is_locked('w2'), 'there is room for the second message, so it wakes nobody else');
value("SELECT once.send('q', '3')");
ok(is_in('w2', $locked), 'there is no room for the third one, so it wakes the next waiter');
$holder->quit;
is(join(' ', sort(split(/\n/, finish($w[0])), finish($w[1]))), '1 2 3', 'they take all three');
nobody_left('gathering');

# It takes what has come when the time is over, although there is room for more.
@w = (start_waiter('w1', "SELECT payload FROM once.pop('q', 10, wait => '60 s')", options => '-c once.wake_delay=50ms'));
value("SELECT once.send('q', '1')");
is(finish($w[0]), '1', 'a waiter does not gather for longer than once.wake_delay');
nobody_left('delay');

# It is cancelled, and hands on all that it was woken for.
$holder = hold();
@w = (start_waiter('w1', "SELECT payload FROM once.pop('q', 10, wait => '60 s')", options => $gathers));
push @w, map { start_waiter("w$_", "SELECT payload FROM once.pop('q', wait => '60 s')") } 2 .. 3;
value("SELECT once.send('q', '1')");
ok(is_in('w1', $locked), 'a waiter gathers');
value("SELECT once.send('q', '2')");
value("SELECT pg_cancel_backend(" . pid_of('w1') . ')');
is(finish($w[0]), 'ERROR:  57014', 'it is cancelled');
is(join(' ', sort(finish($w[1]), finish($w[2]))), '1 2', 'and two others get both messages');
$holder->quit;
nobody_left('cancelled while gathering');

# A call that takes one message does not gather.
$holder = hold();
@w = (start_waiter('w1', "SELECT payload FROM once.pop('q', 1, wait => '60 s')", options => $gathers));
value("SELECT once.send('q', '1')");
is(finish($w[0]), '1', 'a call that takes one message takes it at once');
$holder->quit;
nobody_left('one message');

# Something has come back, and nobody has counted what: one is woken to look, and each that gets something wakes the next one.
my $claimer = $node->background_psql('postgres');
value("SELECT count(once.send('q', i::text::jsonb)) FROM generate_series(1, 3) i");
$claimer->query_safe("BEGIN; SELECT count(*) FROM once.receive('q', 3)");
@w = map { start_waiter("w$_", "SELECT payload FROM once.pop('q', wait => '60 s')") } 1 .. 3;
$claimer->query_safe('ROLLBACK');
is(join(' ', sort map { finish($_) } @w), '1 2 3', 'three messages of a transaction that has failed come to three waiters');
$claimer->quit;
nobody_left('rollback');

# A time that only one of them knows: whoever leaves hands it on.
@w = map { start_waiter("w$_", "SELECT payload FROM once.pop('q', wait => '60 s')") } 1 .. 2;
value("SELECT once.send('q', '\"late\"', delay => '2 s')");
value("SELECT once.send('q', '\"soon\"')");
is(finish($w[0]), '"soon"', 'who knows the time gets another message');
is(finish($w[1]), '"late"', 'and the next one looks at that time');
nobody_left('time');

# once.wait sleeps without a snapshot, and without a lock but that of its transaction's number.
@w = (start_waiter('w1', "CALL once.wait(ARRAY['other', 'q'], '1 h'); SELECT payload FROM once.pop('q')"));
my $pid = pid_of('w1');
is(value("SELECT concat_ws(' ', backend_xid, backend_xmin) FROM pg_stat_activity WHERE pid = $pid"), '', 'once.wait holds no snapshot');
is(value("SELECT string_agg(locktype, ' ') FROM pg_locks WHERE pid = $pid"), 'virtualxid', 'nor a lock');
value("SELECT once.send('q', '1')");
is(finish($w[0]), "q\n1", 'it tells which queue has something');
nobody_left('once.wait');

# A session that has been told of a message ends without having asked for it: the next one gets it.
@w = (start_waiter('w2', "CALL once.wait(ARRAY['q'], '1 h'); SELECT pg_sleep(1000)"));
push @w, start_waiter('w3', "SELECT payload FROM once.pop('q', wait => '60 s')");
value("SELECT once.send('q', '1')");
ok(is_in('w2', "query ~ 'pg_sleep'"), 'who has waited longest is told of a message');
is(value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'w3' AND $asleep"), '1', 'the other one sleeps');
value("SELECT pg_terminate_backend(" . pid_of('w2') . ')');
is(finish($w[1]), '1', 'and is told when the first one has ended without taking it');
finish($w[0]);
nobody_left('debt');

# The same if the session waits for another queue, and finds something there at once.
@w = (start_waiter('w2', "CALL once.wait(ARRAY['q'], '1 h'); SELECT pg_advisory_lock_shared($debug_lock); CALL once.wait(ARRAY['other'], '1 h'); SELECT pg_sleep(1000)"));
push @w, start_waiter('w3', "SELECT payload FROM once.pop('q', wait => '60 s')");
$holder = hold();
value("SELECT once.send('q', '1')");
ok(is_in('w2', $locked), 'a session is told of a message');
value("SELECT once.send('other', '2')");
$holder->quit;
is(finish($w[1]), '1', 'and another one gets it when the first one waits for another queue');
value("SELECT pg_terminate_backend(" . pid_of('w2') . ')');
finish($w[0]);
value("SELECT once.purge('other')");
nobody_left('another queue');

# The client of a waiter has gone; its wake-up goes to the next one.
@w = map { start_waiter("w$_", "SELECT payload FROM once.lease('q', '1 h', wait => '60 s')") } 1 .. 2;
$pid = pid_of('w1');
kill 'STOP', $pid;
$w[0]{run}->signal('KILL');
eval { IPC::Run::finish($w[0]{run}) };
value("SELECT once.send('q', '1')");
kill 'CONT', $pid;
is(finish($w[1]), '1', 'what a waiter without a client was woken for goes to the next one');
value("SELECT once.purge('q')");
nobody_left('client');

# Its time is up when it has been woken.
@w = (start_waiter('w1', "SELECT payload FROM once.pop('q', wait => '2 s')", options => '-c once.debug_point=wait_slept'));
push @w, start_waiter('w2', "SELECT payload FROM once.pop('q', wait => '60 s')");
$holder = hold();
value("SELECT once.send('q', '1')");
ok(is_in('w1', $locked), 'the first one is woken');
value("SELECT payload FROM once.pop('q')");
value('SELECT pg_sleep(2)');
$holder->quit;
is(finish($w[0]), '', 'has its time up, and gets nothing');
value("SELECT once.send('q', '2')");
is(finish($w[1]), '2', 'the second one gets the next message');
nobody_left('time up');

# COPY, a trigger, and what is replicated
value('CREATE TABLE source (payload jsonb)');
value("CREATE FUNCTION forward() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO once.q_q (payload) VALUES (NEW.payload); RETURN NEW; END'");
value('CREATE TRIGGER forward AFTER INSERT ON source FOR EACH ROW EXECUTE FUNCTION forward(); ALTER TABLE source ENABLE ALWAYS TRIGGER forward');
my %way = (
	'COPY' => sub { $node->safe_psql('postgres', "COPY once.q_q (payload) FROM stdin;\n1\n\\.\n") },
	'a trigger' => sub { value("INSERT INTO source VALUES ('1')") });
for my $way (sort keys %way)
{
	@w = (start_waiter('w1', "SELECT payload FROM once.pop('q', wait => '60 s')"));
	$way{$way}->();
	is(finish($w[0]), '1', "$way wakes");
}
$node->safe_psql('postgres', 'CREATE DATABASE publisher');
$node->safe_psql('publisher', "CREATE TABLE source (payload jsonb); CREATE PUBLICATION p FOR TABLE source; SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
my $connection = $node->connstr('publisher') =~ s/'/''/gr;
value("CREATE SUBSCRIPTION s CONNECTION '$connection' PUBLICATION p WITH (create_slot = false, slot_name = s, copy_data = false)");
@w = (start_waiter('w1', "SELECT payload FROM once.pop('q', wait => '60 s')"));
$node->safe_psql('publisher', "INSERT INTO source VALUES ('1')");
is(finish($w[0]), '1', 'what is replicated wakes');
value('DROP SUBSCRIPTION s');
nobody_left('ways');

# Somebody in another database, where a queue has whatever oid, is not concerned; nor who waits for another queue.
$node->safe_psql('publisher', "CREATE EXTENSION pg_once; SELECT once.create_queue('q')");
$holder = hold();
@w = (start_waiter('w1', "SELECT payload FROM once.pop('q', wait => '60 s')", options => '-c once.debug_point=wait_slept'));
$node->safe_psql('publisher', "SELECT once.send('q', '1')");
value("SELECT once.send('other', '1')");
value("SELECT once.pop('other')");
ok(!is_locked('w1'), 'other queues wake others');
$holder->quit;
value("SELECT once.send('q', '1')");
is(finish($w[0]), '1', 'its own wakes it');
nobody_left('others');

# More queues than a transaction has notes for
value("SELECT once.create_queue('m' || i) FROM generate_series(1, 70) i");
@w = map { start_waiter("w$_", "SELECT payload FROM once.pop('m$_', wait => '60 s')") } 1, 70;
value("SELECT count(once.send('m' || i, '1')) FROM generate_series(1, 70) i");
is(join(' ', map { finish($_) } @w), '1 1', 'a transaction that has sent to 70 queues wakes those who wait');
value("SELECT once.drop_queue('m' || i) FROM generate_series(1, 70) i");

# Many waiters, and a message for each, sent at once
@w = map { start_waiter("w$_", "SELECT payload FROM once.pop('q', wait => '60 s')") } 1 .. 40;
value("SELECT count(once.send('q', i::text::jsonb)) FROM generate_series(1, 40) i");
is(join(' ', sort { $a <=> $b } map { finish($_) } @w), join(' ', 1 .. 40), 'forty messages wake forty');
nobody_left('forty');

# A table that is full, and who does not want to be woken: these poll.
for my $options ('-c once.debug_point=wake_full', '-c once.wake=off')
{
	@w = (start_waiter('w1', "SELECT payload FROM once.pop('q', wait => '60 s')", options => $options));
	value("SELECT once.send('q', '1')");
	is(finish($w[0]), '1', "$options: polls");
	@w = (start_waiter('w1', "CALL once.wait(ARRAY['q', 'other'], '60 s')", options => $options));
	value("SELECT once.send('q', '1')");
	is(finish($w[0]), 'q', "$options: so does once.wait");
	value("SELECT once.purge('q')");
}
nobody_left('poll');

# A transaction prepared before a restart: nobody is woken, and who waits looks by himself.
$node->append_conf('postgresql.conf', "once.debug_fallback = '1 s'");
value("BEGIN; SELECT once.send('q', '1'); PREPARE TRANSACTION 'before'");
$node->restart;
@w = (start_waiter('w1', "SELECT payload FROM once.pop('q', wait => '60 s')"));
value("COMMIT PREPARED 'before'");
is(finish($w[0]), '1', 'who has not been woken looks by himself');

# Who is killed leaves nothing behind that others would trip over: the server starts anew.
@w = (start_waiter('w1', "CALL once.wait(ARRAY['q'], '1 h')"));
kill 'KILL', pid_of('w1');
finish($w[0]);
for (1 .. 600)
{
	last if eval { value('SELECT pg_is_in_recovery()') eq 'f' };
	select(undef, undef, undef, 0.1);
}
@w = (start_waiter('w1', "SELECT payload FROM once.pop('q', wait => '60 s')"));
value("SELECT once.send('q', '1')");
is(finish($w[0]), '1', 'after a crash, waiters are woken as before');
clean($node, 'q', 'in the end');

# The extension is dropped.
@w = (start_waiter('w1', "CALL once.wait(ARRAY['q'], '1 h')"), start_waiter('w2', "SELECT payload FROM once.pop('other', wait => '60 s')"));
$node->safe_psql('postgres', 'DROP EXTENSION pg_once CASCADE');
is(finish($w[0]), 'ERROR:  ON001', 'once.wait ends when the extension is dropped');
is(finish($w[1]), 'ERROR:  ON001', 'so does a function');
done_testing();
