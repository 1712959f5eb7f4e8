# pg_dump by a role that owns all queues of a database, by one that may read everything, and by one that owns only some queues.  In every
# format, the dump has the dead letters and errors of the queues that the role may read, and no others.  A superuser restores it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = once_node('main');
my $base = $node->basedir;

sub value { my ($sql, $database) = @_; return (split(/\n/, $node->safe_psql($database // 'postgres', $sql) // '', -1))[-1] // '' }

# dump ROLE FILE OPTION...: pg_dump of the database postgres
sub dump_as
{
	my ($role, $file, @options) = @_;

	return ('pg_dump', '--username', $role, '--file', "$base/$file", @options, $node->connstr('postgres'));
}

# A queue that has dead letters, with an error and without, and a failure of a message that is alive
sub make_queue
{
	my ($owner, $queue) = @_;

	value("SET ROLE $owner; SELECT once.create_queue('$queue', max_attempts => 1, archive => '1 day')");
	value(qq(SELECT count(once.send('$queue', to_jsonb('of $queue, ' || i), headers => '{"h": 1}')) FROM generate_series(1, 20) i));
	value("SELECT count(once.nack(receipt, error => 'broken $queue')) FROM once.lease('$queue', '1 day', 3)");
	value("SELECT count(once.nack(receipt)) FROM once.lease('$queue', '1 day', 3)");
	value("SELECT count(*) FROM once.pop('$queue')");
	value("SELECT once.alter_queue('$queue', max_attempts => 5)");
	value("SELECT once.nack(receipt, '1 h', 'not yet $queue') FROM once.lease('$queue', '1 day')");
}
value("CREATE ROLE $_ LOGIN; GRANT CREATE ON SCHEMA public TO $_; GRANT EXECUTE ON FUNCTION once.create_queue, once.create_ledger TO $_") for 'shop', 'bank';
value('CREATE ROLE backup LOGIN; GRANT pg_read_all_data TO backup');
make_queue('shop', 'orders');
value("SET ROLE shop; SELECT once.create_ledger('payments', '1 day')");
value("SELECT once.mark_processed('payments', 'a')");
value('SET ROLE shop; CREATE TABLE goods (id int)');
value('GRANT EXECUTE ON FUNCTION once.create_schedule, once.create_worker TO shop, bank');
my $work = q(SET client_min_messages = error; SET ROLE %1$s; CREATE FUNCTION handle_%1$s(m once.message) RETURNS void LANGUAGE sql AS 'SELECT'; SELECT once.create_worker('%1$s', '%2$s', 'handle_%1$s(once.message)'); ) .
  q(SELECT once.create_schedule('%1$s', '%2$s', '0 0 29 2 *', payload => '"payload for %1$s"', headers => '{"header": "for %1$s"}'));
value(sprintf($work, 'shop', 'orders'));
value("UPDATE once.schedule SET last_due = '2024-02-29', last_error = 'an error', last_error_at = '2024-02-29'");

my %content = (
	'dead letters' => 'SELECT string_agg(d::text, chr(10) ORDER BY queue, id) FROM once.dead_letter d',
	'failures' => 'SELECT string_agg(f::text, chr(10) ORDER BY queue, id, attempt) FROM once.failure f',
	'messages' => 'SELECT string_agg(q::text, chr(10) ORDER BY id) FROM once.q_orders q',
	'archive' => 'SELECT string_agg(a::text, chr(10) ORDER BY id) FROM once.a_orders a',
	'schedules' => 'SELECT string_agg(to_jsonb(s)::text, chr(10) ORDER BY name) FROM once.list_schedules() s',
	'workers' => 'SELECT string_agg(w::text, chr(10) ORDER BY name) FROM once.worker w',
	'options' => 'SELECT string_agg(l::text, chr(10) ORDER BY queue) FROM once.list_queues() l');
my %before = map { $_ => $node->safe_psql('postgres', $content{$_}) } keys %content;
like($before{'dead letters'}, qr/attempts.*broken orders/, 'there are dead letters with an error');
like($before{'failures'}, qr/not yet orders/, 'and failures');

# restore NAME COMMAND...: restore into a new database, and check that everything is as it was.
sub restored
{
	my ($name, @command) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $name");
	local $ENV{PGDATABASE} = $name;
	$node->command_ok([ @command ], "$name: restored");
	is($node->safe_psql($name, $content{$_}), $before{$_}, "$name: $_") for sort keys %content;
	is(value('SELECT count(*) FROM once.dead_letter_dump') + value('SELECT count(*) FROM once.failure_dump'), 0, "$name: nothing is left in between");
	is(value("SELECT once.redrive('orders')", $name), '6', "$name: dead letters are sent again");
	clean($node, 'orders', $name, database => $name);
}

my $superuser = value('SELECT current_user');
my @restore = ('pg_restore', '--exit-on-error', '--username', $superuser, '--host', $node->host, '--port', $node->port, '--dbname');
for my $role ('shop', 'backup', $superuser)
{
	my $who = $role eq $superuser ? 'superuser' : $role;

	$node->command_ok([ dump_as($role, "$who.dump", '--format=custom') ], "pg_dump as $who");
	restored("custom_$who", @restore, "custom_$who", "$base/$who.dump");
	$node->command_ok([ dump_as($role, "$who.dir", '--format=directory', '--jobs=2') ], "pg_dump --jobs as $who");
	restored("jobs_$who", @restore, "jobs_$who", '--jobs=2', "$base/$who.dir");
}
for my $option ('--inserts', '--column-inserts', '--rows-per-insert=4', '--enable-row-security')
{
	(my $name = $option) =~ s/\W//g;
	$node->command_ok([ dump_as('shop', "$name.sql", $option) ], "pg_dump $option as shop");
	restored($name, 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '--username', $superuser, '--dbname', $name, '--file', "$base/$name.sql");
}

# Only the data, into a database to which the rest has been restored.  A session in replica mode fires the trigger as well.  If triggers
# are disabled, so is this one, and then no row is put where it does not belong.
$node->command_ok([ dump_as('shop', 'data.dump', '--format=custom', '--data-only') ], 'pg_dump --data-only as shop');
$node->safe_psql('postgres', 'CREATE DATABASE bare');
$node->command_ok([ @restore, 'bare', '--schema-only', "$base/shop.dump" ], 'schema');
$node->safe_psql('postgres', 'CREATE DATABASE data TEMPLATE bare');
{
	local $ENV{PGOPTIONS} = '-c session_replication_role=replica';
	$node->command_ok([ @restore, 'data', "$base/data.dump" ], 'data');
}
is($node->safe_psql('data', $content{$_}), $before{$_}, "data: $_") for sort keys %content;
$node->command_fails_like([ @restore, 'bare', '--data-only', '--disable-triggers', "$base/data.dump" ],
	qr/violates check constraint "restored_without_disable_triggers"/, 'with triggers disabled, there is an error');
is(value('SELECT count(*) + (SELECT count(*) FROM once.schedule_dump) FROM once.dead_letter_dump', 'bare'), '0', 'and nothing that everybody could read');

# Another role's queue in the same database.  As with any table of another role, its table cannot be dumped.  Without the table, nothing
# of that queue is in the dump.
make_queue('bank', 'accounts');
value(sprintf($work, 'bank', 'accounts'));
$node->command_fails_like([ dump_as('shop', 'failed.sql') ], qr/permission denied for .*q_accounts/, 'a table of somebody else');
$node->command_ok([ dump_as('shop', 'partly.sql', '--exclude-table=once.*accounts*') ], 'pg_dump without it');
my $dump = slurp_file("$base/partly.sql");
like($dump, qr/of orders, 1/, 'what is its own is in the dump');
like($dump, qr/not yet orders/, 'with errors');
unlike($dump, qr/of accounts/, 'of the other there is no payload');
unlike($dump, qr/(broken|not yet) accounts/, 'nor an error');
unlike($dump, qr/for bank/, 'nor what its schedule sends');
$node->command_ok([ dump_as('backup', 'all.sql') ], 'who may read everything has all of it');
like(slurp_file("$base/all.sql"), qr/of accounts, 1.*not yet accounts/s, 'of both queues');
# What a plain DROP TABLE leaves over is shown to nobody, and dumped only by roles that may read once.dead_letter itself.
value('DROP TABLE once.q_accounts');
$node->command_ok([ dump_as('shop', 'left.sql', '--exclude-table=once.*accounts*') ], 'pg_dump as shop, of a queue that is gone');
unlike(slurp_file("$base/left.sql"), qr/of accounts/, 'nothing');
$node->command_ok([ dump_as('backup', 'left_all.sql') ], 'pg_dump as backup');
like(slurp_file("$base/left_all.sql"), qr/of accounts, 1/, 'all of it');

# Restoring requires a superuser, because creating the extension does, and making tables in its schema.
$node->safe_psql('postgres', 'CREATE DATABASE own OWNER shop');
my @as_shop = map { $_ eq $superuser ? 'shop' : $_ } @restore;
$node->command_fails_like([ @as_shop, 'own', "$base/shop.dump" ], qr/permission denied to create extension/, 'the owner cannot restore the extension');
$node->safe_psql('own', 'CREATE EXTENSION pg_once');
$node->command_fails_like([ grep({ $_ ne '--exit-on-error' } @as_shop), 'own', "$base/shop.dump" ], qr/permission denied for schema once/, 'nor tables in its schema');
done_testing();
