# work() in a session: while it waits it holds no snapshot and no lock; messages that come are handled; when it is terminated in
# the middle of a message nothing is lost; and it ends with its client.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = once_node('main');

sub value { return $node->safe_psql('postgres', $_[0]) }
sub comes { my ($query, $what) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; return ok($node->poll_query_until('postgres', $query), $what) }

# A session that works until it ends
sub start_work
{
	my ($name, $output) = @_;
	local %ENV = (%ENV, PGAPPNAME => $name);
	return IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', q(CALL once.work('q', 'handle(once.message)')) ], '<', \undef, '>&', $output, IPC::Run::timeout(120));
}

value(q(
	SELECT once.create_queue('q', retry_delay => '0');
	CREATE TABLE effect (id bigint, attempt int, who text DEFAULT current_setting('application_name'));
	CREATE FUNCTION handle(m once.message) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO effect VALUES (m.id, m.attempt);
		IF m.payload = '"sleep"' AND m.attempt = 1 THEN PERFORM pg_sleep(3600); END IF;
	END $$));

my $output = '';
my $anna = start_work('anna', \$output);
my $idle = q(SELECT count(*) = 1 FROM pg_stat_activity a WHERE application_name = 'anna' AND wait_event_type = 'Extension' AND backend_xmin IS NULL AND backend_xid IS NULL
	AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'relation'));
comes($idle, 'while it waits it has no snapshot and no lock');
value(q(SELECT once.send('q', '1')));
comes('SELECT count(*) = 1 FROM effect', 'what comes is handled');
comes($idle, 'and it waits again');
value(q(ALTER TABLE once.q_q SET (fillfactor = 90); SELECT once.alter_queue('q', max_attempts => 5)));
value(q(SELECT once.send('q', '2')));
comes('SELECT count(*) = 2 FROM effect', 'the table could be altered meanwhile');

# Terminated in the middle of a message
value(q(SELECT once.send('q', '"sleep"')));
comes(q(SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'anna' AND wait_event = 'PgSleep'), 'the handler is at it');
value(q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'anna'));
IPC::Run::finish($anna);
like($output, qr/terminating connection due to administrator command/, 'terminated');
is(value('SELECT count(*) FROM effect'), '2', 'without an effect');
my $ben = start_work('ben', \my $more);
comes(q(SELECT count(*) = 1 FROM effect WHERE attempt = 2 AND who = 'ben'), 'the message comes again, to another one');
comes('SELECT count(*) = 0 FROM once.q_q', 'and is done');

# A client that goes
IPC::Run::kill_kill($ben, grace => 0);
comes(q(SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'ben'), 'who has lost his client ends');
value(q(SELECT once.send('q', '3')));
is(value('SELECT count(*) FROM once.q_q'), '1', 'and takes nothing');
clean($node, 'q', 'in the end');
done_testing();
