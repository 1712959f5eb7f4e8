# Background workers consume as the role that has created them: they are started, stopped, and started again after errors,
# restarts, crashes and a promotion; what a handler does to them costs its message attempts, and no other message anything.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = once_node('main', "shared_preload_libraries = 'pg_once'", 'once.maintenance_interval = 1s', 'max_worker_processes = 12', 'restart_after_crash = on');

sub value { my ($sql, $on) = @_; return ($on // $node)->safe_psql('postgres', $sql) }

# Waits for a query to say true.
sub comes { my ($query, $what, $on, $database) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; return ok(($on // $node)->poll_query_until($database // 'postgres', $query), $what) }

sub state_comes { my ($name, $state, $what) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; return comes("SELECT state = '$state' FROM once.workers WHERE name = '$name'", $what) }

sub done { my ($what, $on) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; return comes('SELECT count(*) = 0 FROM once.q_q', $what, $on) }

value(q(
	CREATE ROLE worker LOGIN;
	SELECT once.create_queue('q', retry_delay => '0', retry_delay_max => '0', max_attempts => 3);
	SELECT once.grant_queue('q', 'worker', 'consume');
	GRANT EXECUTE ON FUNCTION once.create_worker TO worker;
	CREATE TABLE effect (id bigint, attempt int, who name DEFAULT current_user, logged_in name DEFAULT session_user, pid int DEFAULT pg_backend_pid(), late bool);
	GRANT ALL ON effect TO worker;
	CREATE FUNCTION handle(m once.message) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO effect (id, attempt, late) VALUES (m.id, m.attempt, now() >= m.enqueued_at AND statement_timestamp() >= m.enqueued_at);
		CASE m.payload ->> 'do'
			WHEN 'fail' THEN RAISE 'no such order';
			WHEN 'sleep' THEN PERFORM pg_sleep(CASE m.attempt WHEN 1 THEN 3600 ELSE 0.01 END);
			WHEN 'nap' THEN PERFORM pg_sleep(0.1);
			WHEN 'end' THEN PERFORM pg_terminate_backend(pg_backend_pid());
			WHEN 'kill' THEN EXECUTE format('COPY (SELECT 1) TO PROGRAM ''kill -9 %s''', pg_backend_pid()); PERFORM pg_sleep(3600);
			ELSE NULL;
		END CASE;
	END $$));

# They run, as the role that has created them, and count.
value(q(SET ROLE worker; SELECT once.create_worker('w', 'q', 'handle(once.message)', concurrency => 2)));
state_comes('w', 'running', 'running');
is(value('SELECT cardinality(pids) FROM once.workers'), '2', 'two processes');
value(q(SELECT once.send_batch('q', array_fill('{"do": "nap"}'::jsonb, ARRAY[20]))));
done('all is done');
is(value('SELECT count(*), count(DISTINCT id), count(DISTINCT pid), min(who), max(logged_in) FROM effect'), '20|20|2|worker|worker', 'each message once, by both, as the role');
comes('SELECT processed = 20 AND failed = 0 FROM once.workers', 'and is counted');
is(value(q(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_once worker' AND application_name = 'w' AND usename = 'worker')), '2', 'pg_stat_activity shows them');
comes(q(SELECT n_dead_tup + n_tup_del >= 20 FROM pg_stat_user_tables WHERE relname = 'q_q'), 'autovacuum hears of what they delete');

# They wait as other consumers do, so the sender wakes them.
comes(q(SELECT waiters = 2 AND workers = 2 FROM once.stat_queues WHERE queue = 'q'), 'idle, both wait, and statistics tell');
is(value(q(SELECT count(*), count(DISTINCT c.pid) FROM once.consumers c JOIN once.workers w ON c.pid = ANY (w.pids) WHERE c.queue = 'q' AND what = 'waiting' AND messages = 0)),
	'2|2', 'each by its process');
value(q(SELECT once.send('q', '{}')));
done('it is done');
is(value('SELECT count(*) FROM effect WHERE late IS NOT TRUE'), '0', 'no message is younger than the transaction that handles it');

# Errors
value(q(SELECT once.send('q', '{"do": "fail"}')));
comes(q(SELECT failed = 3 AND last_error = 'P0001: no such order' AND last_error_at > now() - '1 min'::interval FROM once.workers), 'what fails is counted and told');
is(value('SELECT attempts, last_error FROM once.dead_letters'), '3|P0001: no such order', 'and a dead letter');
is(value(q(CREATE ROLE other; SET ROLE other; SELECT processed > 0, last_error IS NULL FROM once.workers)), 't|t', 'others see figures, and no errors');
value(q(SELECT once.revoke_queue('q', 'worker', 'consume')));
state_comes('w', 'waiting after an error', 'without the right it ends, and waits');
like(value('SELECT last_error FROM once.workers'), qr/permission denied for queue "q"/, 'and says why');
value(q(SELECT once.grant_queue('q', 'worker', 'consume')));
state_comes('w', 'running', 'and is started again');

# A handler that ends its process: as any poison.
value(q(SELECT once.purge_dead_letters('q'), once.send('q', '{"do": "end"}'), once.send('q', '{}')));
comes(q(SELECT count(*) = 1 FROM once.dead_letters WHERE attempts = 3), 'a handler that ends its process ends in the dead letters');
done('and others go on');

# Pause, resume
value(q(SELECT once.pause_worker('w')));
state_comes('w', 'paused', 'paused');
value(q(SELECT once.send('q', '{}')));
is(value(q(SELECT count(*) FROM pg_stat_activity WHERE application_name = 'w')), '0', 'there is nobody to consume');
value(q(SELECT once.resume_worker('w')));
done('until it is resumed');

# A handler is in the middle of a message: a pause waits for its end; a fast shutdown does not, and the message comes again.
state_comes('w', 'running', 'running again');
value(q(SELECT once.send('q', '{"do": "sleep"}')));
comes(q(SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'w' AND wait_event = 'PgSleep'), 'one sleeps');
value(q(SELECT once.pause_worker('w')));
comes(q(SELECT state = 'stopping' AND cardinality(pids) = 1 FROM once.workers), 'the other one stops');
value(q(SELECT once.resume_worker('w')));
my $stopped_at = time();
$node->stop('fast');
ok(time() - $stopped_at < 30, 'a fast shutdown ends them');
$node->start;
done('after the restart the message comes again');

# Crash of the server, by a handler: it is counted.
value(q(SELECT once.create_queue('k', retry_delay => '0', retry_delay_max => '0', max_attempts => 2), once.create_worker('killer', 'k', 'handle(once.message)')));
value(q(SELECT once.send('k', '{"do": "kill"}')));
comes(q(SELECT count(*) = 1 FROM once.dead_letters WHERE queue = 'k' AND attempts = 2), 'a handler that crashes the server ends in the dead letters');
comes(q(SELECT count(*) = 2 FROM once.workers WHERE state = 'running'), 'workers run again');
value(q(SELECT once.drop_worker('killer')));
comes(q(SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'killer'), 'a worker that is dropped ends');

# Its handler is dropped and comes again.
value(q(CREATE FUNCTION come_and_go(m once.message) RETURNS void LANGUAGE sql AS 'SELECT'; SELECT once.create_worker('c', 'k', 'come_and_go(once.message)')));
state_comes('c', 'running', 'another one');
value('DROP FUNCTION come_and_go');
state_comes('c', 'stopped', 'stopped without its handler');
is(value(q(SELECT last_error FROM once.workers WHERE name = 'c')), 'handler public.come_and_go(once.message) does not exist', 'and says so');
value(q(CREATE FUNCTION come_and_go(m once.message) RETURNS void LANGUAGE sql AS 'SELECT'));
state_comes('c', 'running', 'and started again with it');
value(q(SELECT once.drop_worker('c')));

# Its role may not log in, or not connect, and may again.
for my $case ([ 'ALTER ROLE worker NOLOGIN', 'ALTER ROLE worker LOGIN', 'role "worker" is not permitted to log in' ],
	[ 'REVOKE CONNECT ON DATABASE postgres FROM PUBLIC', 'GRANT CONNECT ON DATABASE postgres TO PUBLIC', 'role "worker" has no CONNECT privilege on the database' ])
{
	my ($forbid, $permit, $error) = @$case;
	value($forbid);
	state_comes('w', 'stopped', "stopped after $forbid");
	is(value(q(SELECT last_error FROM once.workers WHERE name = 'w')), $error, 'and says so');
	value($permit);
	state_comes('w', 'running', "and started again after $permit");
}

# Not more than there is room for
is(sqlstate_of($node, q(SELECT once.create_worker('x', 'k', 'handle(once.message)', concurrency => 9))), '53400', 'too many are refused');
value(q(SELECT once.create_worker('x', 'k', 'handle(once.message)', concurrency => 8)));
comes(q(SELECT last_error LIKE '%max_worker_processes%' FROM once.workers WHERE name = 'x'), 'and if others have taken the places, that is told');
value(q(SELECT once.drop_worker('x')));

# Databases with workers
value('CREATE DATABASE other');
$node->safe_psql('other', q(CREATE EXTENSION pg_once; SELECT once.create_queue('q'); CREATE FUNCTION handle(m once.message) RETURNS void LANGUAGE sql AS 'SELECT'; SELECT once.create_worker('o', 'q', 'handle(once.message)')));
comes(q(SELECT state = 'running' FROM once.workers), 'a worker in another database', undef, 'other');
value('CREATE DATABASE copy TEMPLATE other');
value('DROP DATABASE copy');
comes(q(SELECT state = 'running' FROM once.workers), 'it runs after a copy was made', undef, 'other');
is($node->safe_psql('other', 'SELECT last_error FROM once.workers'), '', 'and that was no error');
$node->safe_psql('other', 'ALTER EXTENSION pg_once UPDATE; SELECT once.send($$q$$, $$1$$)');
comes(q(SELECT count(*) = 0 FROM once.q_q), 'it goes on after ALTER EXTENSION UPDATE', undef, 'other');
value('ALTER DATABASE other CONNECTION LIMIT 0');
comes(q(SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'o'), 'it leaves a database that is closed');
value('ALTER DATABASE other CONNECTION LIMIT -1');
comes(q(SELECT state = 'running' FROM once.workers), 'until that is opened', undef, 'other');
$node->safe_psql('other', q(CREATE OR REPLACE FUNCTION handle(m once.message) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3600); END'; SELECT once.send('q', '1')));
comes(q(SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'o' AND wait_event = 'PgSleep'), 'a handler takes its time', undef, 'other');
my $pids = value(q(SELECT pids FROM once.workers WHERE name = 'w'));
is(sqlstate_of($node, 'SET ROLE worker; DROP EXTENSION pg_once CASCADE'), '42501', 'a stranger cannot drop the extension');
is(value(q(SELECT pids FROM once.workers WHERE name = 'w')), $pids, 'and disturbs nobody');
$node->safe_psql('other', 'SET client_min_messages = error; SET lock_timeout = $$60 s$$; DROP EXTENSION pg_once CASCADE');
comes(q(SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'o'), 'its owner does, and no worker is left', undef, 'other');
value('DROP DATABASE other');
is(value(q(SELECT count(*) FROM pg_database WHERE datname = 'other')), '0', 'the database is dropped');

# A standby has none; its promotion has them.
my $standby = once_standby($node, 'standby');
catch_up($node, $standby);
is(value(q(SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pg_once%'), $standby), '0', 'nothing runs on a standby');
is(value('SELECT state FROM once.workers', $standby), 'not started', 'and the view says so');
$node->stop('immediate');
$standby->promote;
value(q(SELECT once.send('q', '{}')), $standby);
done('after a promotion they run', $standby);

# The role is dropped.
value('DROP OWNED BY worker; DROP ROLE worker', $standby);
comes(q(SELECT state = 'stopped' FROM once.workers), 'without its role it is stopped', $standby);
is(value('SELECT last_error FROM once.workers', $standby), 'role "worker", which created the worker, does not exist', 'and says so');
is(value('SELECT count(*) FROM (SELECT id FROM effect GROUP BY id HAVING count(*) > 1) t', $standby), '0', 'no message was handled twice');
clean($standby, 'q', 'in the end');
done_testing();
