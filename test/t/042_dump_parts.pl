# Parts of a dump: what is true after only the structure is restored, only the data, one section after the other, one queue, or all
# except something?  There are queues with archives, dedup_ids, dead letters and errors, and ledgers.

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

value('CREATE ROLE shop; GRANT EXECUTE ON FUNCTION once.create_queue, once.create_ledger TO shop');
value('CREATE ROLE clerk; CREATE ROLE shop_admin SUPERUSER');
# Ids 1 to 20; 1 is dead, 2 has failed, 3 is archived, 11 to 20 have dedup_ids
value("SET ROLE shop; SELECT once.create_queue('orders', id_index => true, max_attempts => 2, retry_delay => '0 s', archive => '2 days', dedup_window => '1 day')");
value("SET ROLE shop; SELECT once.create_queue('plain'); SELECT once.create_ledger('payments', '30 days'); SELECT once.grant_queue('orders', 'clerk', 'produce')");
value("SELECT once.send_batch('orders', array_agg(to_jsonb(i)), dedup_ids => array_agg(CASE WHEN i > 10 THEN 'd' || i END)) FROM generate_series(1, 20) i");
value("SELECT once.nack(receipt, '0 s', 'broken') FROM once.lease('orders')") for 1 .. 2;
value("SELECT once.nack(receipt, '1 h', 'not yet') FROM once.lease('orders')");
value("SELECT count(*) FROM once.pop('orders')");
value("SELECT once.send('plain', '1')");
# One id in either generation, with a result
value("SELECT once.process('payments', 'old'), once.set_result('payments', 'old', '1')");
value('CALL once.maintain()');
value("SELECT once.mark_processed('payments', 'young')");
is(value('SELECT (last_value & 3)::text || (last_value >> 2 & 1) FROM once.l_payments_state'), '21', 'the ledger has two generations that count');

# The facts to be compared: options of the queue; numbers of messages, dead letters, errors and archived messages; whether a repeated
# dedup_id is known; whether a new message has a new id; how many messages a pop gets, and how many are archived then; whether there is a
# key on the id; faults that once.check finds; whether an id of the ledger is known, its result, whether an id of the other generation is
# known, and whether a new one can be marked.  If it is an error, its SQLSTATE.
my @facts = (
	[ options => q(SELECT coalesce(max(max_attempts || ' ' || (created_at IS NOT NULL)), 'none') FROM once.list_queues() WHERE queue = 'orders') ],
	[ messages => 'SELECT count(*) FROM once.q_orders' ],
	[ dead => q(SELECT count(*) FROM once.dead_letters WHERE last_error = 'broken') ],
	[ failures => 'SELECT count(*) FROM once.failures' ],
	[ archived => 'SELECT count(*) FROM once.a_orders' ],
	[ repeat => q(SELECT duplicate FROM once.send_dedup('orders', '1', dedup_id => 'd15')) ],
	[ send => q(SELECT once.send('orders', '1') > 20) ],
	[ pop => q(SELECT count(*) FROM once.pop('orders')) ],
	[ archive => 'SELECT count(*) FROM once.a_orders' ],
	[ key => q(SELECT once.cancel('orders', 1000)) ],
	[ check => q(SELECT count(*) FROM once.check('orders')) ],
	[ ledger => q(SELECT concat_ws(',', once.is_processed('payments', 'old'), (SELECT result FROM once.get_result('payments', 'old')), once.is_processed('payments', 'young'), once.mark_processed('payments', 'new'))) ]);
my $fact_function = q(CREATE FUNCTION pg_temp.fact(q text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE result text; BEGIN EXECUTE q INTO result; RETURN result; EXCEPTION WHEN OTHERS THEN RETURN sqlstate; END $$);

sub facts_of
{
	my ($database, @some) = @_;
	my $values = join(', ', map { my $n = $_; "($n, \$q\$$some[$n][0]\$q\$, \$q\$$some[$n][1]\$q\$)" } 0 .. $#some);

	return value("SET client_min_messages = error; $fact_function; SELECT string_agg(name || '=' || pg_temp.fact(sql), ' ' ORDER BY n) FROM (VALUES $values) AS f (n, name, sql)", $database);
}

# The facts after the whole dump was restored, and after only the structure was.  Tests name what is different.
my %all = (options => '2 true', messages => 18, dead => 1, failures => 3, archived => 1, repeat => 'true', send => 'true', pop => 1, archive => 2, key => 'false', check => 0, ledger => 't,1,t,t');
my %bare = (%all, options => '10 false', messages => 0, dead => 0, failures => 0, archived => 0, repeat => 'false', send => 'false', archive => 0, ledger => 'ON011');

sub holds
{
	my ($what, $database, %expected) = @_;

	# Other statements see a message only after it is committed.
	is(facts_of($database, @facts[0 .. 6]) . ' ' . facts_of($database, @facts[7 .. $#facts]), join(' ', map { "$_->[0]=$expected{$_->[0]}" } @facts), $what);
}

# Give the queue and the ledger, which have no options there, the options that they have in the dump.
sub adopt
{
	my ($database) = @_;

	value("SET ROLE shop; SET client_min_messages = warning; SELECT once.create_queue('orders', id_index => true, max_attempts => 2, retry_delay => '0 s', archive => '2 days', dedup_window => '1 day', if_not_exists => true)", $database);
	value("SET ROLE shop; SET client_min_messages = warning; SELECT once.create_ledger('payments', '30 days', if_not_exists => true)", $database);
	return $database;
}

sub dump_to
{
	my ($file, @options) = @_;

	$node->command_ok([ 'pg_dump', '--file', "$base/$file", @options, $node->connstr('postgres') ], "pg_dump @options");
}

# Make a new database; restore into it or another one.
my $databases = 0;
sub database
{
	my ($template) = @_;
	my $name = 'r' . ++$databases;

	$node->safe_psql('postgres', "CREATE DATABASE $name" . ($template ? " TEMPLATE $template" : ''));
	return $name;
}

sub restore
{
	my ($database, $file, @options) = @_;

	$node->command_ok([ $file =~ /sql$/ ? ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=' . (@options ? 0 : 1), '-d', $node->connstr($database), '-f', "$base/$file")
		: ('pg_restore', '--exit-on-error', '--dbname', $node->connstr($database), @options, "$base/$file") ], "restore $file @options");
	return $database;
}

# The list of a dump without some of its entries
sub list_without
{
	my ($file, $pattern) = @_;
	my ($list, $error) = run_command([ 'pg_restore', '--list', "$base/$file" ]);
	my @kept = grep { !/$pattern/ } split(/\n/, $list);

	cmp_ok(scalar(@kept), '<', scalar(split(/\n/, $list)), "left out: $pattern");
	unlink "$base/list";
	append_to_file("$base/list", join("\n", @kept) . "\n");
	return ('--use-list', "$base/list");
}
dump_to('all.dump', '--format=custom');
dump_to('dir', '--format=directory', '--jobs=2');
dump_to('structure.sql', '--schema-only', '--no-owner', '--no-privileges');
dump_to('data.dump', '--format=custom', '--data-only');
dump_to('disabled.sql', '--data-only', '--disable-triggers');

# The whole dump, in several ways
holds('everything', restore(database(), 'all.dump'), %all);
holds('everything, in parallel', restore(database(), 'dir', '--jobs=2'), %all);
my $restored = restore(database(), 'all.dump', '--no-owner', '--role=shop_admin');
holds('everything, of another owner', $restored, %all);
is(value("SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ' ') FROM pg_class WHERE relname ~ '^[adql]_'", $restored), 'shop_admin', 'who has all of it');

# The structure: the queue works, with default options.  There is no ledger.
my $structure = restore(database(), 'all.dump', '--schema-only');
holds('structure', database($structure), %bare);
holds('structure.sql', restore(database(), 'structure.sql'), %bare);
my %adopted = (options => '2 true', archive => 1, ledger => 'f,f,t');
holds('structure, adopted', adopt(database($structure)), %bare, %adopted);
# Then there are options, and the data of the dump cannot be added.
$node->command_fails_like([ 'pg_restore', '--exit-on-error', '--dbname', $node->connstr(adopt(database($structure))), "$base/data.dump" ],
	qr/duplicate key value violates unique constraint "(queue|ledger)_pkey"/, 'adopted, and then data');

# Then the data
holds('structure, and then data', restore(database($structure), 'data.dump'), %all);
$restored = database($structure);
restore($restored, 'disabled.sql', 'without ON_ERROR_STOP');
holds('structure, and then data with triggers disabled', $restored, %all, dead => 0, failures => 0);

# Section by section.  Before the last one there are no indexes and keys, and nothing can be consumed or remembered.
my $pre = restore(database(), 'all.dump', '--section=pre-data');
my %unindexed = (repeat => 'ON013', pop => 'ON009', archive => 1, key => 'ON009', check => 'ON009');
holds('before the data', database($pre), %bare, %unindexed, archive => 0);
my $data = restore(database($pre), 'all.dump', '--section=data');
holds('data without indexes', database($data), %all, %unindexed, ledger => 'ON013');
# The index of the queue can be made.  The keys of other tables come only with the last section.
$restored = database($data);
value("DELETE FROM once.queue WHERE queue = 'orders'", $restored);
value("SET ROLE shop; SET client_min_messages = error; SELECT once.create_queue('orders', max_attempts => 2, archive => '1 day', if_not_exists => true)", $restored);
holds('data without indexes, adopted', $restored, %all, repeat => 'ON013', key => '55000', ledger => 'ON013');
like(($node->psql($pre, "SELECT once.create_ledger('payments', '1 day', if_not_exists => true)"))[2], qr/cannot be used.*no valid key on id.*ADD PRIMARY KEY/s, 'a ledger without keys is not adopted');
holds('indexes without data', restore(database($pre), 'all.dump', '--section=post-data'), %bare);
holds('all sections', restore(database($data), 'all.dump', '--section=post-data'), %all);

# All except something
my @options = list_without('all.dump', qr/TABLE DATA once (queue|ledger) /);
holds('all but options', restore(database(), 'all.dump', @options), %all, options => '10 false', archive => 1, ledger => 'ON011');
holds('all but options, adopted', adopt(restore(database(), 'all.dump', @options)), %all);
holds('all but sequences', restore(database(), 'all.dump', list_without('all.dump', qr/SEQUENCE SET /)), %all, send => '23505', ledger => 't,1,f,t');
@options = list_without('all.dump', qr/SEQUENCE SET |TABLE DATA once (queue|ledger) /);
holds('all but sequences and options, adopted', adopt(restore(database(), 'all.dump', @options)), %all, send => '23505');
holds('all but the queue\'s index', restore(database(), 'all.dump', list_without('all.dump', qr/INDEX once q_orders_queue_idx/)), %all, pop => 'ON009', archive => 1, key => 'ON009', check => 'ON009');
holds('all but the archive', restore(database(), 'all.dump', list_without('all.dump', qr/ a_orders\S* |ATTACH a_orders/)), %all, archived => '42P01', archive => '42P01');
holds('all but what is archived', restore(database(), 'all.dump', list_without('all.dump', qr/TABLE DATA once a_/)), %all, archived => 0, archive => 1);
holds('all but dedup_ids', restore(database(), 'all.dump', list_without('all.dump', qr/ d_orders_/)), %all, repeat => 'false');
holds('all but a generation', restore(database(), 'all.dump', list_without('all.dump', qr/ (d_orders|l_payments)_1/)), %all, repeat => 'ON013', ledger => 'ON013');

# One queue: its table; with all that is its own; and with the options of all queues
my $empty = database();
$node->safe_psql($empty, 'CREATE EXTENSION pg_once; GRANT EXECUTE ON FUNCTION once.create_queue, once.create_ledger TO shop');
dump_to('table.dump', '--format=custom', '--table=once.q_orders');
holds('the table of a queue', restore(database($empty), 'table.dump'), %bare, messages => 18, archived => '42P01', archive => '42P01', send => 'true');
$restored = restore(database($empty), 'table.dump');
value("SET ROLE shop; SET client_min_messages = error; SELECT once.create_queue('orders', max_attempts => 2, archive => '1 day', if_not_exists => true)", $restored);
holds('the table of a queue, adopted', $restored, %bare, messages => 18, options => '2 true', archive => 1, send => 'true');
dump_to('queue.dump', '--format=custom', '--table=once.*_orders*');
holds('all tables of a queue', restore(database($empty), 'queue.dump'), %all, options => '10 false', dead => 0, failures => 0, archive => 1, ledger => 'ON011');
dump_to('options.dump', '--format=custom', '--table=once.*_orders*', '--table=once.queue');
holds('all tables of a queue, and options', restore(database($empty), 'options.dump'), %all, dead => 0, failures => 0, ledger => 'ON011');
$node->command_fails_like([ 'pg_restore', '--exit-on-error', '--dbname', $node->connstr(database()), "$base/table.dump" ], qr/schema "once" does not exist/, 'without the extension');

# A dump of the schema.  pg_dump leaves out the extension, and with it the options, dead letters and failures.  It does not say so, but
# the functions show what is missing.
dump_to('schema.dump', '--format=custom', '--schema=once');
$restored = restore(database($empty), 'schema.dump');
holds('the schema', database($restored), %all, options => '10 false', dead => 0, failures => 0, archive => 1, ledger => 'ON011');
is(value("SELECT string_agg(queue, ' ' ORDER BY queue) FROM once.list_queues() WHERE created_at IS NULL", $restored), 'orders plain', 'they are listed as queues without options');
like(($node->psql($restored, "SELECT once.mark_processed('payments', 'new')"))[2], qr/without a retention.*HINT:.*once.create_ledger with if_not_exists/s, 'and the error of a ledger says what to do');
holds('the schema, adopted', adopt($restored), %all, dead => 0, failures => 0);
$node->command_fails_like([ 'pg_restore', '--exit-on-error', '--dbname', $node->connstr(database()), "$base/schema.dump" ], qr/schema "once" does not exist/, 'without the extension');
# With the extension, or with all tables by name, the dump has everything.
dump_to('with_extension.dump', '--format=custom', '--schema=once', '--extension=pg_once');
holds('the schema and the extension', restore(database(), 'with_extension.dump'), %all);
$restored = database($empty);
holds('the schema and the extension, where that is', restore($restored, 'with_extension.dump'), %all);
dump_to('tables.dump', '--format=custom', '--table=once.*');
holds('all tables of the schema', restore(database($empty), 'tables.dump'), %all);
dump_to('tables.sql', '--table=once.*');
holds('all tables of the schema, as SQL', restore(database($empty), 'tables.sql'), %all);
done_testing();
