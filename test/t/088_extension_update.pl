# ALTER EXTENSION UPDATE from the last released version, which is built from test/upgrade.  A database with live data gets the new
# library, which refuses the old objects and indexes, and is updated.  Afterwards every property of every object is as in a fresh
# database, rights of users are kept, and every message that was sent is consumed once.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(basename dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $released = '0.1.0';
my $upgrade = abs_path("$FindBin::RealBin/../upgrade");
my $scratch = PostgreSQL::Test::Utils::tempdir_short;

# An installation of our own, since the other one is used by other tests meanwhile.  PostgreSQL finds its directories from where the
# server's program is, so that must be a copy; everything else is linked.
my %real = map { chomp(my $directory = `$ENV{PG_CONFIG} --$_`); $_ => abs_path($directory) } qw(bindir pkglibdir sharedir);
my %own = map { $_ => "$scratch/$real{$_}" } keys %real;

sub link_files
{
	my ($from, $to, $left_out) = @_;

	make_path($to);
	symlink($_, "$to/" . basename($_)) or die "$to: $!" for grep { basename($_) !~ $left_out } glob("$from/*");
}

link_files($real{bindir}, $own{bindir}, qr/^(postgres|pg_ctl|initdb|pg_config)$/);
system_or_bail('cp', '-L', (map { "$real{bindir}/$_" } 'postgres', 'pg_ctl', 'initdb', 'pg_config'), $own{bindir});
link_files($real{pkglibdir}, $own{pkglibdir}, qr/^pg_once\./);
link_files($real{sharedir}, $own{sharedir}, qr/^extension$/);
link_files("$real{sharedir}/extension", "$own{sharedir}/extension", qr/^pg_once\b/);

# Put a version there.  The library is replaced under the eyes of sessions that have loaded it, as a package does it.
sub install
{
	my ($library, @data) = @_;

	copy($library, "$own{pkglibdir}/new.so") or die $!;
	rename("$own{pkglibdir}/new.so", "$own{pkglibdir}/pg_once.so") or die $!;
	copy($_, "$own{sharedir}/extension/") or die $! for @data;
}

system_or_bail('tar', '-C', $scratch, '-xzf', "$upgrade/pg_once-$released.tar.gz");
my $source = "$scratch/pg_once-$released";
delete @ENV{'MAKEFLAGS', 'MFLAGS', 'MAKELEVEL'};
my $made = system("make -j2 -C $source PG_CONFIG=$ENV{PG_CONFIG} with_llvm=no COPT='-O0 -g0 -w' >$source/log 2>&1") == 0;
plan skip_all => "$released does not build for this version of PostgreSQL" if !$made && `$ENV{PG_CONFIG} --version` =~ / (\d+)/ && $1 > 18;
ok($made, "$released builds") or BAIL_OUT(slurp_file("$source/log"));
install("$source/pg_once.so", "$source/pg_once.control", "$source/pg_once--$released.sql");

my $node = PostgreSQL::Test::Cluster->new('server', install_path => dirname($own{bindir}));
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "$_\n") for 'autovacuum = off', 'max_prepared_transactions = 10';
$node->start;
my $database = 'old';
my $owner = $node->safe_psql('postgres', 'SELECT current_user');

sub value { my ($sql, $on) = @_; return (split(/\n/, $node->safe_psql($on // $database, $sql) // '', -1))[-1] // '' }
sub lines { my ($sql, $on) = @_; return join(', ', split(/\n/, $node->safe_psql($on // $database, $sql))) }

# Fail with an SQLSTATE, and a message, detail or hint that matches.
sub fails
{
	my ($sql, $state, $text, $what) = @_;
	my ($status, $out, $error) = $node->psql($database, $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($error, qr/ERROR:  $state: .*$text/s, $what);
}

is($node->safe_psql('postgres', "SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'"), abs_path($own{pkglibdir}), 'the server uses its own library');


# What there is: the same is made in a fresh database of the new version.

$node->safe_psql('postgres', <<'END');
CREATE ROLE shop; CREATE ROLE producer; CREATE ROLE worker; CREATE ROLE observer; CREATE ROLE clerk; CREATE ROLE reporter; CREATE ROLE auditor;
CREATE DATABASE old; CREATE DATABASE fresh; CREATE DATABASE second;
END

my $create = <<'END';
CREATE EXTENSION pg_once;
GRANT EXECUTE ON FUNCTION once.create_queue TO shop; GRANT EXECUTE ON FUNCTION once.create_ledger TO shop;
SET ROLE shop;
SELECT once.create_queue('orders', id_index => true, max_attempts => 2, retry_delay => '0', archive => '2 days', ttl => '30 days', dedup_window => '30 days');
SELECT once.create_queue('plain', retry_delay => '0');
SELECT once.create_queue('fast', unlogged => true, retry_delay => '0');
SELECT once.create_queue('Mixed-Case', max_attempts => 1);
SELECT once.create_ledger('alone', '30 days'); SELECT once.create_ledger('closed', '30 days'); SELECT once.create_ledger('open', '30 days');
SELECT once.grant_queue('orders', 'worker', 'consume'), once.grant_queue('orders', 'observer', 'observe'), once.grant_queue('plain', 'producer', 'produce');
SELECT once.grant_queue('plain', 'public', 'consume'), once.grant_ledger('closed', 'worker');
RESET ROLE;
GRANT SELECT ON once.dead_letters, once.dead_letter TO auditor WITH GRANT OPTION; GRANT EXECUTE ON FUNCTION once.purge(text) TO auditor;
REVOKE EXECUTE ON FUNCTION once.extend(uuid, interval) FROM PUBLIC;
CREATE VIEW trouble AS SELECT queue, count(*) FROM once.dead_letters JOIN once.failures USING (queue, id) GROUP BY queue;
END
$node->safe_psql('old', $create);
# Default privileges of the extension's owner are not meant for the extension, but reach its tables in 0.1.0.
$node->safe_psql('second', <<'END');
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reporter;
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO reporter;
CREATE EXTENSION pg_once;
SELECT once.create_queue('q'); SELECT once.send('q', '1');
END
# Rights on a function that is replaced are lost, with a warning.
value('GRANT EXECUTE ON FUNCTION once.slots(text) TO auditor; REVOKE EXECUTE ON FUNCTION once.slots(text) FROM PUBLIC');
is(value("SELECT extversion FROM pg_extension WHERE extname = 'pg_once'"), $released, "a database with $released");


# Live data.

value(<<'END');
CREATE TABLE effects (queue text, id bigint, PRIMARY KEY (queue, id)); GRANT ALL ON effects TO PUBLIC;
CREATE TABLE sent AS
SELECT 'orders' AS queue, once.send('orders', to_jsonb(i), priority => i % 10) AS id FROM generate_series(1, 200) i
UNION ALL SELECT 'orders', once.send('orders', to_jsonb(i), group_id => 'g' || i % 10) FROM generate_series(1, 200) i
UNION ALL SELECT 'orders', once.send('orders', to_jsonb(i), delay => '1 s') FROM generate_series(1, 50) i
UNION ALL SELECT 'orders', once.send('orders', '"later"', delay => '3 days')
UNION ALL SELECT 'plain', once.send('plain', to_jsonb(i)) FROM generate_series(1, 100) i
UNION ALL SELECT 'fast', once.send('fast', to_jsonb(i), headers => '{"a": 1}') FROM generate_series(1, 20) i
UNION ALL SELECT 'Mixed-Case', once.send('Mixed-Case', to_jsonb(i)) FROM generate_series(1, 20) i;
INSERT INTO sent SELECT 'orders', once.send('orders', '"first"', dedup_id => 'd1');
INSERT INTO sent SELECT 'orders', once.send('orders', '"second"', dedup_id => 'd2');
END
value(q(DO $$ DECLARE m once.message; BEGIN FOR m IN SELECT * FROM once.receive('orders', 60) LOOP INSERT INTO effects VALUES ('orders', m.id); PERFORM once.ack(m.receipt); END LOOP; END $$));
# Leases; failures of messages that are still there, and of dead ones
value("CREATE TABLE held AS SELECT 'orders' AS queue, id, receipt FROM once.lease('orders', '1 day', 40)");
value(q(SELECT count(once.nack(receipt, '0 s', 'no ' || id)) FROM once.lease('plain', '1 day', 10)));
value(q(SELECT count(once.nack(receipt, '0 s', 'never ' || id)) FROM once.lease('Mixed-Case', '1 day', 5)));
value('CALL once.maintain()');
is(value('SELECT count(*) FROM once.dead_letters'), 5, 'dead letters');

# Ledgers: one with one generation, one with two, and one whose old generation is still open
my $mark = q(SELECT count(once.set_result('%1$s', id, to_jsonb(id))) FROM once.mark_processed_all('%1$s', ARRAY(SELECT '%2$s ' || i FROM generate_series(1, 20) i)) AS id);
value(sprintf($mark, $_, 'first')) for 'alone', 'closed';
value(sprintf($mark, 'closed', 'second'));
my $holder = $node->background_psql($database);
$holder->query_safe("BEGIN; SELECT once.mark_processed('open', 'held')");
value(sprintf($mark, 'open', $_)) for 'first', 'second';
my $phases = join(' UNION ALL ', map { "SELECT '$_ ' || (last_value & 3) FROM once.l_${_}_state" } 'alone', 'closed', 'open');
is(lines($phases), 'alone 0, closed 2, open 1', 'ledgers in each phase');
$holder->quit;

# Prepared transactions: one acks what it has received, one sends
value("BEGIN; INSERT INTO effects SELECT 'plain', id FROM (SELECT id, once.ack(receipt) FROM once.receive('plain', 3)) r; PREPARE TRANSACTION 'acked'");
value(q(BEGIN; INSERT INTO sent SELECT 'fast', once.send('fast', '"prepared"'); PREPARE TRANSACTION 'sent'));

my $dump = "$scratch/dump.sql";
$node->command_ok([ 'pg_dump', '-d', $node->connstr($database), '-f', $dump ], "pg_dump of $released");
my $letters = "SELECT string_agg(concat_ws(' ', queue, id, reason, attempts, last_error, payload), ',' ORDER BY queue, id) FROM once.dead_letters";
my @dumped = ($letters, map { "SELECT string_agg(q::text, ',' ORDER BY id) FROM once.$_ q" } 'q_orders', 'q_plain', 'q_fast', 'a_orders', 'l_closed_0');
my %dumped = map { $_ => value($_) } @dumped;

# Two queues that were altered.  The owner of one would like to have the superuser run a function: it is called when
# ids are compared with other ids.
value(<<'END');
GRANT CREATE ON SCHEMA public TO shop;
CREATE TABLE stolen (who name); GRANT INSERT ON stolen TO PUBLIC;
SET ROLE shop;
SELECT once.create_queue('odd');
SELECT once.send('odd', '1');
SELECT once.nack(receipt, '0 s', 'no') FROM once.lease('odd');
CREATE TYPE steal AS ENUM ('1');
CREATE FUNCTION steal(s steal) RETURNS bigint LANGUAGE sql VOLATILE AS 'INSERT INTO public.stolen VALUES (current_user); SELECT 1::bigint';
CREATE CAST (steal AS bigint) WITH FUNCTION steal(steal) AS IMPLICIT;
DROP INDEX once.q_odd_queue_idx;
ALTER TABLE once.q_odd ALTER COLUMN id DROP IDENTITY;
ALTER TABLE once.q_odd ALTER COLUMN id TYPE steal USING id::text::steal;
SELECT once.create_queue('half');
SELECT once.send('half', '1', dedup_id => '1');
DROP TABLE once.d_half_1;
END


# The new version is installed: the library comes first, and the objects are still old.

my $session = $node->background_psql($database, on_error_stop => 0);
$session->query_safe("SELECT count(*) FROM once.peek('orders')");
install("$real{pkglibdir}/pg_once.so", glob("$real{sharedir}/extension/pg_once*"));

# Call each function of 0.1.0.
my $calls = <<'END';
DO $$
DECLARE
	f record;
BEGIN
	CREATE TEMP TABLE called (name text, state text);
	FOR f IN SELECT p.proname, format('%s once.%I(%s)', CASE p.prokind WHEN 'p' THEN 'CALL' ELSE 'SELECT * FROM' END, p.proname,
	                (SELECT string_agg(quote_literal(CASE format_type(t, NULL)
	                                   WHEN 'text' THEN CASE WHEN i = 1 THEN CASE p.proargnames[1] WHEN 'ledger' THEN 'alone' ELSE 'orders' END WHEN i = 2 THEN 'public' ELSE 'consume' END
	                                   WHEN 'interval' THEN '1 s' WHEN 'timestamp with time zone' THEN '2026-01-01' WHEN 'jsonb[]' THEN '{1}' WHEN 'text[]' THEN '{1}'
	                                   WHEN 'uuid' THEN (SELECT receipt::text FROM held LIMIT 1) WHEN 'uuid[]' THEN (SELECT array_agg(receipt)::text FROM held) ELSE '1' END)
	                                   || '::' || format_type(t, NULL), ', ' ORDER BY i)
	                   FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, i) WHERE i <= pronargs - pronargdefaults)) AS call
	           FROM pg_proc p WHERE pronamespace = 'once'::regnamespace AND proname <> 'once_queue_handler'
	LOOP
		BEGIN
			EXECUTE f.call;
			RAISE 'worked' USING ERRCODE = '00001';
		EXCEPTION WHEN OTHERS THEN
			INSERT INTO called VALUES (f.proname, SQLSTATE);
		END;
	END LOOP;
END $$;
END
is(lines("$calls SELECT name || ' ' || state FROM called WHERE state <> '55000' ORDER BY name"),
	'alter_ledger 00001, create_ledger 42P07, drop_ledger 00001, forget_processed 00001, grant_ledger 00001, is_processed 00001, list_ledgers 00001, list_queues 00001, '
	  . 'mark_processed 00001, mark_processed_all 00001, process 00001, revoke_ledger 00001, set_result ON012',
	'with the new library, functions refuse the old objects, except those of ledgers, which have not changed');
fails("INSERT INTO once.q_plain (payload) VALUES ('1')", '55000', 'has an unsupported format.*version 2, this library reads version 3.*REINDEX the index', 'the new library refuses an old index');
fails("SELECT once.send('orders', '1')", '55000', 'another version than its objects.*ALTER EXTENSION pg_once UPDATE', 'the hint tells of the update');

my $update = 'ALTER EXTENSION pg_once UPDATE';
fails($update, '55006', 'older than the new library: \d+', 'the old library may be in use');
like($session->query($update), qr/^$/, 'a session with the old library cannot update');
like($session->{stderr}, qr/could not find function "once_execute_support"/, 'it is told so');
$session->quit;
fails($update, '55006', "Prepared transactions: 'acked', 'sent'", 'prepared transactions hold locks');
value("COMMIT PREPARED 'acked'");
value("COMMIT PREPARED 'sent'");
value('CREATE VIEW mine AS SELECT id FROM once.peek($$orders$$)');
fails($update, '2BP01', 'view .*mine depends on function once.peek', 'a view depends on a function that is replaced');
value('DROP VIEW mine');

# The library is preloaded from now on.  The launcher comes to the databases before they are updated.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_once'\nonce.maintenance_interval = 1s\n");
$node->restart;
ok($node->wait_for_log(qr/ERROR:  the library of extension pg_once has another version/), 'the launcher tells of it, too');

# Nothing of users runs in the script, whatever the caller's search_path.
my @hostile = map { "CREATE FUNCTION public.$_->[0] RETURNS $_->[1] LANGUAGE plpgsql AS \$\$ BEGIN RAISE 'hostile $_->[0]'; END \$\$" }
  [ 'format(text, text)', 'text' ], [ 'format(text, text, text)', 'text' ], [ 'format(text, regclass)', 'text' ], [ 'substr(text, integer, integer)', 'text' ],
  [ 'quote_literal(text)', 'text' ], [ 'quote_ident(name)', 'text' ], [ 'quote_ident(text)', 'text' ], [ 'current_database()', 'name' ], [ 'pg_backend_pid()', 'integer' ],
  [ 'pg_get_userbyid(oid)', 'name' ], [ 'concat_ws(text, text, text)', 'text' ], [ 'starts_with(text, text)', 'boolean' ], [ 'aclexplode(aclitem[])', 'SETOF record' ],
  [ 'pg_extension_config_dump(regclass, text)', 'void' ], [ 'eq(oid, oid)', 'boolean' ], [ 'eq(text, text)', 'boolean' ], [ 'eq(name, text)', 'boolean' ],
  [ 'eq(bigint, bigint)', 'boolean' ], [ 'cat(text, text)', 'text' ], [ 'cat(text, name)', 'text' ];
push @hostile, "CREATE OPERATOR public.= (LEFTARG = $_->[0], RIGHTARG = $_->[1], FUNCTION = public.eq)" for [ 'oid', 'oid' ], [ 'text', 'text' ], [ 'name', 'text' ], [ 'bigint', 'bigint' ];
push @hostile, "CREATE OPERATOR public.|| (LEFTARG = text, RIGHTARG = $_, FUNCTION = public.cat)" for 'text', 'name';
push @hostile, 'CREATE TABLE public.pg_class (oid oid)', 'CREATE TABLE public.pg_index (indexrelid oid)', 'CREATE TABLE public.queue (queue text)';
value(join('; ', @hostile));

my $failures = "SELECT string_agg(concat_ws(' ', queue, id, attempt, error), ',' ORDER BY queue, id) FROM once.failures WHERE queue NOT IN ('odd', 'half')";
my %kept = map { $_ => value($_) } $failures,
  $letters, "SELECT string_agg(l::text, ',' ORDER BY queue) FROM once.list_queues() l WHERE queue NOT IN ('odd', 'half')", "SELECT string_agg(l::text, ',' ORDER BY ledger) FROM once.list_ledgers() l",
  "SELECT string_agg(a::text, ',' ORDER BY id) FROM once.a_orders a", "SELECT string_agg(d::text, ',' ORDER BY id) FROM (SELECT * FROM once.d_orders_0 UNION ALL SELECT * FROM once.d_orders_1) d";
like($kept{$failures}, qr/Mixed-Case .* never .*plain .* no /, 'failures of dead letters, and of messages that are still in a queue');

my ($status, $out, $messages) = $node->psql($database, "SET search_path = public, pg_catalog; $update TO '0.2.0'");
is($status, 0, 'the update');
$messages =~ s/^psql:<stdin>:\d+: //mg;
$messages =~ s/\Q$owner\E(?=[=\/,}])/OWNER/g;
is("$messages\n", <<'END', 'it warns of what it does not keep');
WARNING:  function once.slots(text) is replaced, and anybody may execute it again
DETAIL:  Its privileges were {OWNER=X/OWNER,auditor=X/OWNER}.
HINT:  Use GRANT and REVOKE to change them again.
WARNING:  queue "half" could not be brought up to date: deduplication of queue "half" cannot be set up: Relation once.d_half_0 exists, but other parts are missing.
HINT:  When the cause is removed, call once.alter_queue for this queue.
END
is(value('SELECT count(*) FROM stolen'), 0, 'nobody has stolen the rights of the superuser');
value('SELECT once.drop_queue($$odd$$), once.drop_queue($$half$$); DROP TYPE steal CASCADE');


# The catalogs.

$node->safe_psql('fresh', $create);

sub catalog
{
	my ($database) = @_;
	my ($status, $out, $error) = $node->psql($database, slurp_file("$upgrade/catalog.sql"));

	is($status, 0, "catalogs of $database") or diag($error);
	# The default of queues that 0.1.0 made
	$out =~ s/\Qdefault = statement_timestamp()\E/default = GREATEST(statement_timestamp(), now())/g;
	return { map { $_ => 1 } split(/\n/, $out) };
}

my ($here, $there) = map { catalog($_) } $database, 'fresh';
my @differences = ((map { "updated: $_" } grep { !$there->{$_} } keys %$here), map { "fresh:   $_" } grep { !$here->{$_} } keys %$there);
cmp_ok(scalar(keys %$there), '>', 5000, 'there is something to compare');
is(join("\n", sort { substr($a, 9) cmp substr($b, 9) } @differences), '', 'the updated database is like the fresh one');


# Rights.

sub may { my ($role, $kind, $object, $right) = @_; return value("SELECT has_${kind}_privilege('$role', '$object', '$right')") }
is(may('auditor', 'table', 'once.dead_letters', 'SELECT WITH GRANT OPTION') . may('auditor', 'table', 'once.dead_letter', 'SELECT') . may('auditor', 'function', 'once.purge(text)', 'EXECUTE'),
	'ttt', 'rights that a user has granted are there');
is(value(q(SELECT count(*) FROM pg_init_privs WHERE initprivs::text ~ 'auditor|shop')), 0, 'and are no part of the extension, so they are dumped');
is(may('clerk', 'function', 'once.extend(uuid, interval)', 'EXECUTE'), 'f', 'what was revoked stays revoked');
is(may('clerk', 'function', 'once.slots(text)', 'EXECUTE'), 't', 'a function that was replaced has its default rights');
value("$update", 'second');
is(value(q(SELECT count(*) FROM pg_class WHERE relnamespace = 'once'::regnamespace AND relacl::text ~ 'reporter' AND relname !~ '^._'), 'second')
	  + value(q(SELECT count(*) FROM pg_proc WHERE pronamespace = 'once'::regnamespace AND proacl::text ~ 'reporter' AND proname <> 'maintain'), 'second'),
	0, 'what default privileges have granted is revoked');


# The data.

is(value($_), $kept{$_}, 'kept: ' . substr($_, 0, 60)) for sort keys %kept;
clean($node, $_, $_, database => $database) for 'orders', 'plain', 'fast', 'Mixed-Case';
fails('SELECT once.ack(receipt) FROM held', 'ON003', '', 'leases are forgotten, and receipts are lost');
is(value('SELECT count(*) FROM once.slots($$orders$$) WHERE attempts > 0 OR claim IS NOT NULL'), 0, 'so are attempts');
value('CALL once.maintain()');
is(value($failures), $kept{$failures}, 'failures belong to their messages');
is(value(q(SELECT once.send('orders', '"again"', dedup_id => 'd1') = max(id) - 1 FROM sent WHERE queue = 'orders')), 't', 'dedup_ids are known');
value(q(SET ROLE producer; SELECT once.send('plain', '1', dedup_id => 'new')));
value(q(INSERT INTO sent SELECT 'plain', max(id) FROM once.q_plain));
is(value('SELECT count(*) FROM once.queue WHERE table_id IS NULL'), 0, 'options say for which table they were written');

for my $ledger ('alone', 'closed', 'open')
{
	is(value("SELECT result FROM once.process('$ledger', 'first 17')"), '"first 17"', "$ledger: what was processed is known, with its result");
	is(join(' ', map { value(sprintf($mark, $ledger, $_)) } 'first', 'second', 'third', 'third'), $ledger eq 'alone' ? '0 20 20 0' : '0 0 20 0', "$ledger: marking goes on");
}

# Consume everything.  Handlers reject some messages.
for my $queue ('orders', 'plain', 'fast', 'Mixed-Case')
{
	value(qq(CREATE FUNCTION "handle_$queue"(m once.message) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN
		IF m.payload::text IN ('13', '77') THEN RAISE 'no'; END IF; INSERT INTO public.effects VALUES ('$queue', m.id); END \$\$));
}
my $work = q(CALL once.work('%1$s', '"handle_%1$s"(once.message)', 50, '0'));
value('SET ROLE worker; ' . sprintf($work, $_)) for 'orders', 'plain';
value(sprintf($work, $_)) for 'fast', 'Mixed-Case';
is(lines('SELECT queue, count(*) FROM once.dead_letters GROUP BY queue ORDER BY queue'), 'Mixed-Case|6, fast|1, orders|4, plain|2', 'dead letters');
value('CREATE VIEW ended AS SELECT queue, id FROM effects UNION ALL SELECT queue, id FROM once.dead_letters');
is(lines('SELECT queue, count(*) FROM (SELECT queue, id FROM sent EXCEPT ALL SELECT * FROM ended) AS e GROUP BY queue'), 'orders|1', 'every message had its effect, or is a dead letter; one is not due yet');
is(lines('SELECT queue, id FROM ended EXCEPT ALL SELECT queue, id FROM sent'), '', 'and none twice');
is(value('SELECT count(*) FROM once.q_orders'), 1, 'nothing else is left');
clean($node, $_, $_, database => $database) for 'orders', 'plain', 'fast', 'Mixed-Case';
is(value("SELECT once.redrive('Mixed-Case')"), 6, 'dead letters can be sent again');
is(value('SELECT sum(count) > 0 FROM trouble'), 't', 'a view that uses ours works');


# A dump of the old version can be restored in the new one.

$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-Xq', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'restore');
is(value($_, 'restored'), $dumped{$_}, 'restored: ' . substr($_, 0, 60)) for @dumped;
clean($node, $_, "restored, $_", database => 'restored') for 'orders', 'plain', 'fast';
done_testing();
