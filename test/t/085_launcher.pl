# The launcher: with the library preloaded, databases are maintained and schedules run without anybody's doing; over restarts,
# crashes and a promotion, with each due time once; not on a standby; and it is in nobody's way who drops or copies a database.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = once_node('main', "shared_preload_libraries = 'pg_once'", 'once.maintenance_interval = 1s', "log_min_messages = 'info'");

sub value { my ($sql, $on) = @_; return ($on // $node)->safe_psql('postgres', $sql) }
my $launchers = q(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_once launcher');

# Waits for a query to say true.
sub comes { my ($query, $what, $on, $database) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; return ok(($on // $node)->poll_query_until($database // 'postgres', $query), $what) }

sub each_once
{
	my ($what, $on) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(value(q(SELECT count(*) - count(DISTINCT headers ->> 'due_at') FROM once.q_s), $on), '0', "$what: each due time once");
}

comes("$launchers" =~ s/count\(\*\)/count(*) = 1/r, 'there is one launcher');

# Messages that are due, schedules, the dead
value("SELECT once.create_queue('s')");
value("SELECT once.create_schedule('s', 's', every => '1 s', catch_up => 'all')");
comes('SELECT count(*) >= 3 FROM once.q_s', 'a schedule runs');
each_once('running');
value("SELECT once.create_queue('later')");
value("SELECT once.send('later', '1', delay => '1 s')");
comes("SELECT NOT scheduled FROM once.slots('later')", 'what is due comes into its lane');
value("SELECT once.send('later', '2', ttl => '1 us')");
comes("SELECT count(*) = 1 FROM once.dead_letters WHERE queue = 'later'", 'what has expired is a dead letter');
is(value("SELECT count(*) FROM once.failures"), '0', 'and there was no trouble');

# 0 turns it off, for all that are to come.
$node->append_conf('postgresql.conf', 'once.maintenance_interval = 0');
$node->reload;
comes(q(SELECT next_due < now() - '3 s'::interval FROM once.list_schedules()), 'with 0 it does nothing');
my $last = value("SELECT last_due FROM once.list_schedules()");
$node->append_conf('postgresql.conf', 'once.maintenance_interval = 1s');
$node->reload;
comes("SELECT last_due > '$last'::timestamptz + '3 s'::interval FROM once.list_schedules()", 'until it is turned on again');
each_once('turned off and on');

# Settings that the owner of the database has made for it do not keep it from working.
value('ALTER DATABASE postgres SET default_transaction_read_only = on; ALTER DATABASE postgres SET search_path = nowhere; ALTER DATABASE postgres SET default_transaction_isolation = serializable');
$last = value("SELECT now()");
comes("SELECT last_due > '$last' FROM once.list_schedules()", 'settings of the database are overridden');
is(value("SELECT last_error IS NULL FROM once.list_schedules()"), 't', 'without an error');
$node->safe_psql('postgres', "SET default_transaction_read_only = off; ALTER DATABASE postgres RESET ALL");

# Restart, crash
$node->restart;
comes('SELECT next_due > now() FROM once.list_schedules()', 'after a restart, it makes up for what was missed');
each_once('restarted');
kill_server($node);
comes('SELECT next_due > now() FROM once.list_schedules()', 'and after a crash');
each_once('crashed');
my $launcher = value(q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_once launcher'));
value("SELECT pg_terminate_backend($launcher)");
comes("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_once launcher' AND pid <> $launcher", 'a launcher that is terminated comes again');

# Other databases: the extension comes and goes; databases are copied, renamed and dropped.
value('CREATE DATABASE other');
$node->safe_psql('other', "CREATE EXTENSION pg_once; SELECT once.create_queue('o'); SELECT once.create_schedule('o', 'o', every => '1 s')");
comes('SELECT count(*) >= 1 FROM once.q_o', 'another database', undef, 'other');
for my $n (1 .. 3)
{
	value("CREATE DATABASE copy TEMPLATE other");
	comes('SELECT count(*) >= 1 FROM once.q_o WHERE enqueued_at > (SELECT pg_postmaster_start_time())', "copy $n", undef, 'copy');
	value('ALTER DATABASE copy RENAME TO moved');
	value('DROP DATABASE moved');
}
is(value(q(SELECT count(*) FROM pg_database WHERE datname IN ('copy', 'moved'))), '0', 'nobody was in the way');
$node->safe_psql('other', "SET client_min_messages = error; DROP EXTENSION pg_once CASCADE; CREATE EXTENSION pg_once; SELECT once.create_queue('o'); SELECT once.create_schedule('o', 'o', every => '1 s')");
comes('SELECT count(*) >= 1 FROM once.q_o', 'the extension was made again', undef, 'other');
value('DROP DATABASE other');

# A database that is closed to all but superusers is left alone, so that a dump can be restored there.
value('CREATE DATABASE closed CONNECTION LIMIT 0');
$node->safe_psql('closed', "CREATE EXTENSION pg_once; SELECT once.create_queue('o'); SELECT once.create_schedule('o', 'o', every => '1 s')");
comes(q(SELECT next_due < now() - '3 s'::interval FROM once.list_schedules()), 'nothing is done there', undef, 'closed');
value('ALTER DATABASE closed CONNECTION LIMIT -1');
comes('SELECT count(*) >= 1 FROM once.q_o', 'until it is open', undef, 'closed');
value('DROP DATABASE closed');

# A pass that takes long is sent away by who drops the database, and only by its owner.
value('CREATE DATABASE slow');
$node->safe_psql('slow', q(
	CREATE EXTENSION pg_once;
	SELECT once.create_queue('q');
	CREATE FUNCTION sleeps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3600); RETURN NEW; END $$;
	CREATE TRIGGER sleeps BEFORE INSERT ON once.q_q FOR EACH ROW EXECUTE FUNCTION sleeps();
	SELECT once.create_schedule('q', 'q', every => '1 s')));
comes(q(SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'slow' AND wait_event = 'PgSleep'), 'a pass is at it');
value('CREATE ROLE stranger CREATEDB LOGIN');
is(sqlstate_of($node, 'SET ROLE stranger; DROP DATABASE slow'), '42501', 'a stranger cannot');
is(value(q(SELECT count(*) FROM pg_stat_activity WHERE datname = 'slow' AND wait_event = 'PgSleep')), '1', 'and disturbs nobody');
value('DROP DATABASE slow');
is(value(q(SELECT count(*) FROM pg_database WHERE datname = 'slow')), '0', 'its owner can');

# A standby does nothing; its promotion has it go on.
my $standby = once_standby($node, 'standby');
catch_up($node, $standby);
is(value($launchers, $standby), '0', 'no launcher on a standby');
$node->stop('immediate');
$standby->promote;
comes("$launchers" =~ s/count\(\*\)/count(*) = 1/r, 'promotion starts it', $standby);
comes('SELECT next_due > now() FROM once.list_schedules()', 'and it makes up for what was missed', $standby);
each_once('promoted', $standby);
clean($standby, 's', 'in the end');

unlike(slurp_file($node->logfile) . slurp_file($standby->logfile), qr/PANIC|TRAP|server process .* was terminated by signal (?!9)/, 'nothing crashed');
done_testing();
