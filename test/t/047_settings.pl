# The setting once.unacked in a session that has not loaded the library yet: a bad value never has an effect.  And who may set it for a
# role or a database?

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = once_node('main', 'fsync = off');

# Run statements in one session, as a role.  Returns its output and its messages.
sub session
{
	my ($role, $sql, $database) = @_;
	my ($status, $out, $told) = $node->psql($database // 'postgres', $sql, on_error_stop => 0,
		extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ]);

	return ($out, $told);
}

# SQLSTATEs of errors and warnings, in order
sub codes { return join(' ', map { /^(?:psql:\S+\s+)?(ERROR|WARNING):\s+(\w{5}):/ ? "$1 $2" : () } split(/\n/, $_[0])) }

my ($out, $told);
my $root = $node->safe_psql('postgres', 'SELECT current_user');
$node->safe_psql('postgres', q(CREATE ROLE plain LOGIN; CREATE DATABASE other; GRANT EXECUTE ON FUNCTION once.create_queue TO plain));
$node->safe_psql('postgres', q(SELECT once.create_queue('q', retry_delay => '0'); SELECT once.grant_queue('q', 'plain', 'consume'), once.grant_queue('q', 'plain', 'produce')));

# A transaction that does not ack.  With "error", it fails.
my $load = "SELECT once.send('q', '1') > 0;";
my $forget = "SELECT count(*) FROM once.receive('q');";
my $show = 'SHOW once.unacked;';

# ---- SET in a session that has not loaded the library ----

($out, $told) = session('plain', $show);
is(codes($told), 'ERROR 42704', 'not loaded: SHOW knows nothing of it');
($out, $told) = session('plain', "SET once.unacked = 'redliver'; $show");
is("$out " . codes($told), 'redliver ', 'not loaded: a bad value is taken without a word');
($out, $told) = session('plain', "SET once.unacked = 'redliver'; $load $show $forget");
is(codes($told), 'WARNING 22023 ERROR ON005', 'loaded then: a warning, and the transaction that does not ack fails');
is($out, "t\nerror", 'loaded then: the default holds');
like($told, qr/WARNING:\s+22023: invalid value for parameter "once\.unacked": "redliver"/, 'loaded then: the warning says so');
($out, $told) = session('plain', "SET once.unacked = 'redeliver'; $load $show $forget");
is("$out " . codes($told), "t\nredeliver\n1 ", 'loaded then: a good value holds');
($out, $told) = session('plain', "SET once.unaked = 'redeliver'; $load SHOW once.unaked; SET once.unaked = 'redeliver'");
is(codes($told), 'WARNING 42602 ERROR 42704 ERROR 42602', 'a misspelt name is removed with a warning, and refused from then on');
($out, $told) = session('plain', "SET once.log_hints = on; $load SHOW once.log_hints");
is("$out " . codes($told), "t\noff WARNING 42501", 'what is not for everybody does not become so by coming first');

# ---- Loaded from the start ----

$node->append_conf('postgresql.conf', "session_preload_libraries = 'pg_once'");
$node->reload;
for my $statement ("SET once.unacked = 'redliver'", "SET once.unaked = 'redeliver'", "ALTER ROLE plain SET once.unacked = 'redliver'")
{
	($out, $told) = session('plain', $statement);
	is(codes($told), 'ERROR ' . ($statement =~ /unaked/ ? '42602' : '22023'), "session_preload_libraries: $statement is refused");
}
($out, $told) = session('plain', "SHOW once.unacked; SET once.unacked = 'redeliver'; SHOW once.unacked");
is("$out " . codes($told), "error\nredeliver ", 'session_preload_libraries: it is known at once');

# ---- SET and SET LOCAL ----

($out, $told) = session('plain', "BEGIN; SET LOCAL once.unacked = 'redeliver'; $load COMMIT; $show BEGIN; SET once.unacked = 'redeliver'; COMMIT; $show DISCARD ALL; $show");
is($out, "t\nerror\nredeliver\nerror", 'SET outlives its transaction, so the next client of the connection has it; SET LOCAL does not');

# ---- For a role, for a database ----

# Set it for a role or a database.  Returns the error, if that is refused.
sub try_alter
{
	my ($role, $what, $before) = @_;

	($out, $told) = session($role, ($before // '') . "ALTER $what SET once.unacked = 'redeliver'");
	return codes($told);
}

for my $preload (0, 1)
{
	my $when = $preload ? 'preloaded' : 'not loaded';

	$node->adjust_conf('postgresql.conf', 'session_preload_libraries', $preload ? "'pg_once'" : "''");
	$node->reload;
	$node->poll_query_until('postgres', 'SHOW session_preload_libraries', $preload ? 'pg_once' : '') or die;

	is(try_alter('plain', 'ROLE plain'), $preload ? '' : 'ERROR 42501', "$when: a plain role, for itself");
	is(try_alter('plain', 'DATABASE postgres'), 'ERROR 42501', "$when: a plain role, for a database of somebody else's");
	is(try_alter('plain', "ROLE $root"), 'ERROR 42501', "$when: a plain role, for another");
	$node->safe_psql('postgres', 'ALTER DATABASE other OWNER TO plain');
	is(try_alter('plain', 'DATABASE other'), $preload ? '' : 'ERROR 42501', "$when: a plain role, for its own database");
	is(try_alter($root, "ROLE plain"), '', "$when: a superuser, for a role");
	is(try_alter($root, "DATABASE other"), '', "$when: a superuser, for a database");

	($out, $told) = session('plain', "$load $show $forget");
	is("$out " . codes($told), "t\nredeliver\n1 ", "$when: it holds for the role from its next login on");
	($out, $told) = session($root, "$load $show");
	is($out, "t\nerror", "$when: and for nobody else");
	$node->safe_psql('postgres', 'ALTER ROLE plain RESET ALL; ALTER DATABASE other RESET ALL; ALTER DATABASE other OWNER TO ' . $root);
}

# A plain role may do that, too, after a call has loaded the library, or before that if the right was granted to it.
$node->adjust_conf('postgresql.conf', 'session_preload_libraries', "''");
$node->reload;
$node->poll_query_until('postgres', 'SHOW session_preload_libraries', '') or die;
is(try_alter('plain', 'ROLE plain', $load), '', 'loaded by a call: a plain role, for itself');
$node->safe_psql('postgres', 'GRANT SET ON PARAMETER once.unacked TO plain');
is(try_alter('plain', 'ROLE plain'), '', 'not loaded, but granted SET ON PARAMETER: a plain role, for itself');

# A bad value, which a superuser can set if the library is not loaded
($out, $told) = session($root, "ALTER ROLE plain SET once.unacked = 'redliver'");
is(codes($told), '', 'not loaded: a superuser can set a bad value for a role');
($out, $told) = session('plain', "$load $show $forget");
is("$out " . codes($told), "t\nerror WARNING 22023 ERROR ON005", 'a bad value of a role: a warning when it is loaded, and the default holds');
$node->append_conf('postgresql.conf', "session_preload_libraries = 'pg_once'");
$node->reload;
$node->poll_query_until('postgres', 'SHOW session_preload_libraries', 'pg_once') or die;
($out, $told) = session('plain', "$show $load $forget");
is($out, "error\nt", 'a bad value of a role, preloaded: the default holds');
like($told, qr/ON005/, 'a bad value of a role, preloaded: the transaction that does not ack fails');
like($told, qr/WARNING:\s+(?:22023: )?invalid value for parameter "once\.unacked": "redliver"/, 'a bad value of a role, preloaded: a warning at login');
done_testing();
