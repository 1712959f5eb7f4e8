# pg_dump and pg_restore keep ledgers, in every phase.  Where they are restored, the same ids are remembered, with their results, for as
# long as they would have been here, and marking goes on.  A slow dump does not keep anybody from marking.  What would be emptied
# meanwhile is left until the dump is complete, and the dump has all ids that were remembered when it began.  A standby remembers what
# the primary remembers.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = once_node('main');
my $other = once_node('other');

sub value { my ($sql, $on, $database) = @_; return (split(/\n/, ($on // $node)->safe_psql($database // 'postgres', $sql) // '', -1))[-1] // '' }

# Mark ids "CALL 1" to "CALL 30", and give every third one a result, in a session and a transaction of their own.
sub mark
{
	my ($ledger, $call, $on, $database) = @_;

	return value("SET lock_timeout = '60 s'; SELECT count(CASE WHEN id LIKE '%3' THEN once.set_result('$ledger', id, to_jsonb(id)) END) || ' of ' || count(*) "
		  . "FROM once.mark_processed_all('$ledger', ARRAY(SELECT '$call ' || i FROM generate_series(1, 30) i)) AS id", $on, $database);
}

# The state: its phase and the current generation
sub state
{
	my ($ledger, $on, $database) = @_;

	return value(qq(SELECT (ARRAY['ALONE', 'OPEN', 'CLOSED'])[1 + (last_value & 3)] || ' ' || (last_value >> 2 & 1) FROM once."l_${ledger}_state"), $on, $database);
}

sub pages { my ($table, $on, $database) = @_; return value(qq(SELECT pg_relation_size('once."$table"') / 8192), $on, $database) }

# The calls whose ids are known.  Either all ids of a call must be known, or none.
sub known
{
	my ($ledger, $on, $database) = @_;

	return value("SELECT coalesce(string_agg(call || CASE WHEN known < 30 THEN ' in part' ELSE '' END, ', ' ORDER BY call), 'nothing') FROM ("
		  . "SELECT call, count(*) FILTER (WHERE once.is_processed('$ledger', call || ' ' || i)) AS known "
		  . "FROM unnest(ARRAY['first', 'held', 'second', 'third', 'later']) call, generate_series(1, 30) i GROUP BY call) k WHERE known > 0", $on, $database);
}

# A ledger in each phase.  Each call is made by a session of its own, which tries at once to advance the ledger.
sub make
{
	my ($ledger, $options) = @_;

	value("SELECT once.create_ledger('$ledger', retention => '30 days'" . ($options // '') . ')');
	mark($ledger, 'first');
}
make('alone');
make('Closed-1');
mark('Closed-1', 'second');
make('fast', ', unlogged => true');
mark('fast', 'second');
make('closed_0');
value("SELECT once.alter_ledger('closed_0', '1 us')");
mark('closed_0', 'second');
value("SELECT once.alter_ledger('closed_0', '30 days')");
mark('closed_0', 'third');
value("SELECT once.create_ledger('open', '30 days')");
my $holder = $node->background_psql('postgres');
$holder->query_safe("BEGIN; SELECT count(*) FROM once.mark_processed_all('open', ARRAY(SELECT 'held ' || i FROM generate_series(1, 30) i))");
mark('open', 'first');
mark('open', 'second');
# The old generation has been retired, and has not been emptied yet
make('retired');
mark('retired', 'second');
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE once.l_retired_0, once.l_retired_1 IN ACCESS SHARE MODE');
value("SELECT once.alter_ledger('retired', '1 us')");
mark('retired', 'third');
value("SELECT once.alter_ledger('retired', '40 days')");
make('empty');
value('TRUNCATE once.l_empty_0');

my %phase = (alone => 'ALONE 0', 'Closed-1' => 'CLOSED 1', fast => 'CLOSED 1', closed_0 => 'CLOSED 0', open => 'OPEN 1', retired => 'ALONE 1', empty => 'ALONE 0');
my %knows = (alone => 'first', 'Closed-1' => 'first, second', fast => 'first, second', closed_0 => 'second, third', open => 'first, second', retired => 'second, third', empty => 'nothing');
for my $ledger (sort keys %phase)
{
	is(state($ledger), $phase{$ledger}, "$ledger: its phase");
	is(known($ledger), $knows{$ledger}, "$ledger: what is known");
}
cmp_ok(pages('l_retired_0'), '>', 0, 'what is retired is still there');

# Rights and a queue that remembers dedup_ids
value('CREATE ROLE clerk');
$other->safe_psql('postgres', 'CREATE ROLE clerk');
value("SELECT once.grant_ledger('alone', 'clerk')");
value("SELECT once.create_queue('orders', dedup_window => '30 days')");
my $first_id = value(q(SELECT once.send('orders', '1', dedup_id => 'first')));
my $second_id = value(q(SELECT once.send('orders', '1', dedup_id => 'second')));
is(value('SELECT last_value & 3 FROM once.d_orders_state'), '2', 'dedup: both generations count');

my %content = (
	options => 'SELECT string_agg(l::text, chr(10) ORDER BY ledger) FROM once.list_ledgers() l',
	map {
		("state of $_" => qq(SELECT last_value FROM once."l_${_}_state"),
		 "rows of $_" => qq(SELECT count(*), md5(string_agg(l::text, chr(10) ORDER BY g, id)) FROM (SELECT 0 AS g, * FROM once."l_${_}_0" UNION ALL SELECT 1, * FROM once."l_${_}_1") l))
	} keys %phase);

# restore DATABASE OPTION...: dump with these options, and restore into a database on the other server.
sub restore
{
	my ($database, @options) = @_;
	my $dump = $node->basedir . "/$database.dump";

	$node->command_ok([ 'pg_dump', '--format=custom', '--file', $dump, @options, $node->connstr('postgres') ], "$database: pg_dump");
	$other->safe_psql('postgres', "CREATE DATABASE $database");
	$other->command_ok([ 'pg_restore', '--exit-on-error', '--dbname', $other->connstr($database), $dump ], "$database: pg_restore");
}

sub there { return value($_[0], $other, 'restored') }

my %before = map { $_ => $node->safe_psql('postgres', $content{$_}) } keys %content;
restore('restored');
is($other->safe_psql('restored', $content{$_}), $before{$_}, "$_: the same") for sort keys %content;
is(known($_, $other, 'restored'), $knows{$_}, "$_: the same is known") for sort keys %phase;
$holder->query_safe('COMMIT');
$holder->quit;
is(known('open'), 'first, held, second', 'open: what was open is committed here');
for my $ledger (sort keys %phase)
{
	my ($known) = $knows{$ledger} =~ /(\w+)$/;

	is(there("SELECT coalesce(max(p.result #>> '{}'), 'none') || ' ' || bool_or(p.first_time) FROM once.process('$ledger', '$known 23') p"), "$known 23 false", "$ledger: with its result")
	  if $known ne 'nothing';
	is(mark($ledger, 'later', $other, 'restored'), '3 of 30', "$ledger: marking goes on");
	is(mark($ledger, 'later', $other, 'restored'), '0 of 0', "$ledger: and repeats are repeats");
	is(known($ledger, $other, 'restored'), $known eq 'nothing' ? 'later' : join(', ', sort split(/, /, $knows{$ledger}), 'later'), "$ledger: what was known is known");
}
# There, ids are forgotten after the retention, too, and the same rights are needed.
for my $ledger (sort keys %phase)
{
	there("SELECT once.alter_ledger('$ledger', '1 us')");
	mark($ledger, 'third', $other, 'restored') for 1 .. 2;
	mark($ledger, 'later', $other, 'restored') for 1 .. 3;
	unlike(known($ledger, $other, 'restored'), qr/first|second/, "$ledger: and forgotten in the end");
	is(value("SET ROLE clerk; SELECT has_table_privilege('once.\"l_${ledger}_0\"', 'INSERT')", $other, 'restored'), $ledger eq 'alone' ? 't' : 'f', "$ledger: rights");
}
is(there("SELECT count(*) FROM once.list_ledgers() WHERE unlogged"), '1', 'unlogged stays unlogged');
is(there("SELECT s.id || ' ' || s.duplicate FROM once.send_dedup('orders', '1', dedup_id => 'first') s"), "$first_id true", 'dedup: the older generation');
is(there("SELECT s.id || ' ' || s.duplicate FROM once.send_dedup('orders', '1', dedup_id => 'second') s"), "$second_id true", 'dedup: the younger one');
is(there("SELECT s.duplicate FROM once.send_dedup('orders', '1', dedup_id => 'third') s"), 'f', 'dedup: a new one');
there('SELECT once.drop_ledger(ledger) FROM once.list_ledgers()');
is(there(q(SELECT count(*) FROM pg_class WHERE relnamespace = 'once'::regnamespace AND relname LIKE 'l\_%')), '0', 'they can be dropped');

# A generation that somebody has locked is emptied after the lock is released.
mark('retired', 'later');
is(state('retired'), 'ALONE 1', 'a lock puts off emptying, and so the turn');
$locker->query_safe('ROLLBACK');
# Markers leave that to maintain() for a quarter of the retention.
value("SELECT once.alter_ledger('retired', '1 s')");
for (1 .. 100)
{
	mark('retired', 'later');
	last if pages('l_retired_0') eq '0';
	select(undef, undef, undef, 0.1);
}
is(pages('l_retired_0'), '0', 'it is emptied when that is gone');
value("SELECT once.alter_ledger('retired', '1 day')");
mark('retired', 'later');
is(state('retired'), 'CLOSED 0', 'and then it turns');

# A slow dump.  A session holds its snapshot, and also its locks, if the dump has come that far.  Later it reads the tables as of the
# snapshot, but the state as of that later time.  What may happen in between?
sub begin_dump
{
	my ($locked, @ledgers) = @_;
	my $tables = join(', ', map { ("once.l_${_}_0", "once.l_${_}_1") } @ledgers);
	my $snapshot = (split(/\n/, $locker->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_export_snapshot()')))[-1];

	$locker->query_safe("LOCK TABLE $tables IN ACCESS SHARE MODE") if $locked;
	return $snapshot;
}

# With the locks: one ledger turns, one closes, one retires, and none is emptied.
value("SELECT once.drop_ledger(ledger) FROM once.list_ledgers()");
make('turning');
value("SELECT once.create_ledger('closing', '30 days')");
$holder = $node->background_psql('postgres');
$holder->query_safe("BEGIN; SELECT once.mark_processed('closing', 'held')");
mark('closing', $_) for 'first', 'second';
is(state('closing'), 'OPEN 1', 'slow dump: a generation to be closed');
make('retiring');
mark('retiring', 'second');
my $snapshot = begin_dump(1, 'turning', 'closing', 'retiring');
is(mark('turning', 'third'), '3 of 30', 'slow dump: marking goes on');
is(state('turning'), 'CLOSED 1', 'slow dump: it turns');
$holder->query_safe('COMMIT');
$holder->quit;
is(mark('closing', 'third'), '3 of 30', 'slow dump: marking goes on');
is(state('closing'), 'CLOSED 1', 'slow dump: it closes');
value("SELECT once.alter_ledger('retiring', '1 us')");
is(mark('retiring', $_), '3 of 30', 'slow dump: marking goes on') for 'third', 'later';
is(state('retiring'), 'ALONE 1', 'slow dump: it retires, and does not turn');
cmp_ok(pages('l_retiring_0'), '>', 0, 'slow dump: what is retired is not emptied');
is(known('retiring'), 'later, second, third', 'slow dump: but forgotten');
restore('slow', '--snapshot', $snapshot);
$locker->query_safe('COMMIT');
is(known('turning', $other, 'slow'), 'first', 'slow dump: what was known when it began');
is(known('closing', $other, 'slow'), 'first, second', 'slow dump: what was known when it began');
is(known('retiring', $other, 'slow'), 'second', 'slow dump: what was known, and is not retired');
is(mark($_, 'first', $other, 'slow'), '0 of 0', "slow dump: a repeat in $_") for 'turning', 'closing';
is(mark($_, 'third', $other, 'slow'), '3 of 30', "slow dump: a new one in $_") for 'turning', 'closing', 'retiring';
is(mark($_, 'third', $other, 'slow'), '0 of 0', "slow dump: once in $_") for 'turning', 'closing';
mark('retiring', 'later') for 1 .. 2;
is(state('retiring'), 'ALONE 0', 'slow dump: it turns when that is done');

# Without the locks, which pg_dump takes after its snapshot: tables that are emptied in between are empty in the dump.  An id that is
# in the dump is known there if it would be known here, and no other id is.
make('quick');
mark('quick', 'second');
$snapshot = begin_dump(0);
value("SELECT once.alter_ledger('quick', '1 us')");
mark('quick', 'third');
value("SELECT once.alter_ledger('quick', '30 days')");
mark('quick', 'later');
is(state('quick'), 'CLOSED 0', 'dump without locks: emptied, and turned');
is(known('quick'), 'later, second, third', 'dump without locks: the first is forgotten');
restore('quick', '--snapshot', $snapshot);
$locker->query_safe('COMMIT');
is(known('quick', $other, 'quick'), 'second', 'dump without locks: what was known when it began, and still is');
is(mark('quick', 'second', $other, 'quick'), '0 of 0', 'dump without locks: a repeat');
is(mark('quick', $_, $other, 'quick'), '3 of 30', 'dump without locks: a new one') for 'third', 'later', 'first';
is(mark('quick', $_, $other, 'quick'), '0 of 0', 'dump without locks: once') for 'third', 'later', 'first';
$locker->quit;

# A dump of the schema alone has no options.  So there are no ledgers where it is restored, and drop_ledger removes their tables.
restore('bare', '--schema-only');
is(sqlstate_of($other, "SELECT once.mark_processed('quick', 'first 1')", 'bare'), 'ON011', 'schema only: no ledger');
is(value("SELECT once.drop_ledger('quick'), once.create_ledger('quick', '1 day')", $other, 'bare'), '|', 'schema only: dropped and made');
is(mark('quick', 'first', $other, 'bare'), '3 of 30', 'schema only: a ledger');

# A standby
value("SELECT once.create_ledger('fast', '1 day', unlogged => true)");
my $standby = once_standby($node, 'standby');
make('streamed');
mark('streamed', 'second');
catch_up($node, $standby);
is(known('streamed', $standby), 'first, second', 'standby: the same is known');
is(state('streamed', $standby), 'CLOSED 1', 'standby: in the same phase');
is(sqlstate_of($standby, "SELECT once.$_"), '25006', "standby: no $_")
  for "mark_processed('streamed', 'a')", "mark_processed_all('streamed', '{a}')", "process('streamed', 'a')", "forget_processed('streamed', 'first 1')", "set_result('streamed', 'first 1', '1')";
is(value("SELECT processed_at IS NOT NULL FROM once.get_result('streamed', 'first 1')", $standby), 't', 'standby: what is kept with an id');
is(value("SELECT count(*) FROM once.get_result('streamed', 'third 1')", $standby), '0', 'standby: or not');
is(sqlstate_of($standby, "SELECT once.$_('fast', 'a')"), '0A000', "standby: unlogged ones are not there for $_") for 'is_processed', 'get_result';
like(($standby->psql('postgres', "SELECT once.is_processed('fast', 'a')"))[2], qr/ledger "fast" during recovery/, 'standby: which is named');
value("SELECT once.alter_ledger('streamed', '1 us')");
mark('streamed', 'third');
catch_up($node, $standby);
is(known('streamed', $standby), known('streamed'), 'standby: what is forgotten is forgotten there');
value("SELECT once.alter_ledger('streamed', '1 day')");
mark('streamed', 'later');
catch_up($node, $standby);
$node->stop;
$standby->promote;
is(mark('streamed', 'later', $standby), '0 of 0', 'promoted: a repeat is one');
is(mark('streamed', 'first', $standby), '3 of 30', 'promoted: marking goes on');
is(mark('fast', 'first', $standby), '3 of 30', 'promoted: unlogged ones begin anew');
done_testing();
