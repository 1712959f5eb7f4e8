# A REINDEX CONCURRENTLY that fails leaves an invalid index behind.  The queue goes on, and purge deletes the rows one by one.  Commands
# that would make that index valid beside the other one are refused, with a hint that the owner can follow.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = once_node('main', 'fsync = off');

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

# The owner has no right to create anything in the schema.
value('CREATE ROLE owner; GRANT EXECUTE ON FUNCTION once.create_queue TO owner; CREATE TABLE elsewhere ()');
sub as_owner { return (split(/\n/, $node->safe_psql('postgres', "SET ROLE owner;\n$_[0]") // '', -1))[-1] // '' }

# The error that the owner gets: SQLSTATE and hint
sub told
{
	my ($statement) = @_;
	my ($status, $out, $error) = $node->psql('postgres', $statement, extra_params => [ '-v', 'VERBOSITY=verbose', '-c', 'SET ROLE owner', '-c', $statement ]);

	my ($state) = $error =~ /ERROR:\s+(\w{5}):/;
	my ($hint) = $error =~ /^HINT:\s+(.*)$/m;
	return ($state // '00000', $hint // '');
}

# The command in a hint
sub command { return $_[0] =~ /((?:DROP|REINDEX) INDEX .*)\.$/ ? $1 : die "no command in: $_[0]" }

# Cancel a REINDEX at one of its waits: for transactions that have written to the table, for an old snapshot, or, after the swap, for
# transactions that may still use the old index.
my %wait_for = (
	'before it is built' => sub { "BEGIN; SELECT once.send('$_[0]', '0')" },
	'before the swap' => sub { 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM elsewhere' },
	'after the swap' => sub { "BEGIN; SELECT * FROM once.\"q_$_[0]\" LIMIT 0" });

sub fail_reindex
{
	my ($queue, $when) = @_;
	my $holder = $node->background_psql('postgres');
	my $reindex = $node->background_psql('postgres', on_error_stop => 0);

	$holder->query_safe($wait_for{$when}->($queue));
	$reindex->query_until(qr/begun/, "SET ROLE owner;\n\\echo begun\nREINDEX INDEX CONCURRENTLY once.\"q_${queue}_queue_idx\";\n");
	$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'REINDEX%' AND wait_event_type = 'Lock'))
	  or die 'REINDEX CONCURRENTLY does not wait';
	value(q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'REINDEX%' AND wait_event_type = 'Lock'));
	$node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE 'REINDEX%' AND state = 'active'))
	  or die 'REINDEX CONCURRENTLY was not cancelled';
	$holder->query_safe('ROLLBACK');
	$holder->quit;
	$reindex->quit;
}

sub queue_indexes
{
	return value(qq(SELECT string_agg(c.relname || ' ' || i.indisvalid || ' ' || i.indisready, ', ' ORDER BY i.indisvalid DESC, c.relname)
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE indrelid = 'once."q_$_[0]"'::regclass AND c.relam = (SELECT oid FROM pg_am WHERE amname = 'once_queue')));
}

my $long = 'a' x 47;
my @case = (
	[ 'q', 'before it is built', 'q_q_queue_idx true true, q_q_queue_idx_ccnew false false', 'once.q_q_queue_idx_ccnew' ],
	[ 'q', 'before the swap', 'q_q_queue_idx true true, q_q_queue_idx_ccnew false true', 'once.q_q_queue_idx_ccnew' ],
	[ 'q', 'after the swap', 'q_q_queue_idx true true, q_q_queue_idx_ccold false true', 'once.q_q_queue_idx_ccold' ],
	[ $long, 'before the swap', "q_${long}_queue_idx true true, " . substr("q_${long}_queue_idx", 0, 57) . '_ccnew false true', 'once.' . substr("q_${long}_queue_idx", 0, 57) . '_ccnew' ]);

for my $case (@case)
{
	my ($queue, $when, $indexes, $left) = @$case;
	my $what = "failed $when" . (length($queue) > 1 ? ', long name' : '');
	my $table = "once.\"q_$queue\"";

	as_owner("SELECT once.create_queue('$queue', if_not_exists => true)");
	fail_reindex($queue, $when);
	is(queue_indexes($queue), $indexes, "$what: an index is left behind");

	# The queue goes on
	as_owner("SELECT count(*) FROM once.send_batch('$queue', ARRAY['1', '2', '3', '4', '5']::jsonb[])");
	is(as_owner("SELECT count(once.ack(receipt)) FROM once.receive('$queue', 2)"), '2', "$what: consuming goes on");
	is(as_owner("SELECT once.purge('$queue')"), '3', "$what: purge deletes");
	is(value("SELECT count(*) FROM $table"), '0', "$what: and all is gone");
	clean($node, $queue, $what);

	# Commands that would build it
	as_owner("SELECT once.send('$queue', '6')");
	for my $statement ("TRUNCATE $table", "VACUUM FULL $table", "REINDEX TABLE $table", "REINDEX INDEX $left", "ALTER TABLE $table SET UNLOGGED")
	{
		my ($state, $hint) = told($statement);

		is("$state " . command($hint), "55000 DROP INDEX $left", "$what: $statement tells what to drop first");
	}
	is(queue_indexes($queue), $indexes, "$what: nothing has changed");

	# As a repair, it would make two valid indexes.
	my ($state, $hint) = told("REINDEX INDEX CONCURRENTLY $left");
	is($state, '55000', "$what: REINDEX CONCURRENTLY of what is left is refused");
	is(as_owner("SELECT count(once.ack(receipt)) FROM once.receive('$queue', 10)"), '1', "$what: consuming goes on then, too");
	as_owner(command($hint) . ';');
	is(queue_indexes($queue), "q_${queue}_queue_idx true true", "$what: the owner can do what the hint says");
	for my $statement ("TRUNCATE $table", "VACUUM FULL $table", "REINDEX TABLE CONCURRENTLY $table")
	{
		as_owner("SELECT once.send('$queue', '6')");
		is((told($statement))[0], '00000', "$what: then $statement works");
	}
	is(as_owner("SELECT once.purge('$queue')"), '2', "$what: and so does purge, by TRUNCATE");
	clean($node, $queue, "$what, in the end");
}

# If there are two valid indexes nevertheless, the error says what to do.
fail_reindex('q', 'before the swap');
value("UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'once.q_q_queue_idx_ccnew'::regclass; ALTER TABLE once.q_q ALTER payload SET STATISTICS -1");
for my $call ("once.receive('q')", "once.peek('q')", "once.slots('q')")
{
	my ($state, $hint) = told("SELECT * FROM $call");

	is("$state " . command($hint), 'ON009 DROP INDEX once.q_q_queue_idx_ccnew', "two valid indexes: $call tells which one to drop");
}
as_owner(command((told("SELECT * FROM once.pop('q')"))[1]));
is(as_owner("SELECT once.send('q', '1'); SELECT count(*) FROM once.pop('q')"), '1', 'two valid indexes: the owner can do what the hint says');

# Without a valid index, but with an invalid one: DROP INDEX CONCURRENTLY was cancelled.
my $holder = $node->background_psql('postgres');
my $drop = $node->background_psql('postgres', on_error_stop => 0);
$holder->query_safe('BEGIN; SELECT * FROM once.q_q LIMIT 0');
$drop->query_until(qr/begun/, "\\echo begun\nDROP INDEX CONCURRENTLY once.q_q_queue_idx;\n");
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'DROP INDEX%' AND wait_event_type = 'Lock'))
  or die 'DROP INDEX CONCURRENTLY does not wait';
value(q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'DROP INDEX%' AND wait_event_type = 'Lock'));
$holder->query_safe('ROLLBACK');
$holder->quit;
$drop->quit;
is(queue_indexes('q'), 'q_q_queue_idx false true', 'no valid index: it is there');
my ($state, $hint) = told("SELECT * FROM once.receive('q')");
is("$state " . command($hint), 'ON009 REINDEX INDEX once.q_q_queue_idx', 'no valid index: the error names it');
as_owner("SELECT once.send('q', '1')");
as_owner(command($hint));
is(as_owner("SELECT count(*) FROM once.pop('q')"), '1', 'no valid index: the owner can do what the hint says');

# Without any index: the owner cannot make one, and the hint says so.
as_owner('DROP INDEX once.q_q_queue_idx');
($state, $hint) = told("SELECT * FROM once.receive('q')");
is($state, 'ON009', 'no index: the error');
like($hint, qr/^Use CREATE INDEX ON once\.q_q USING once_queue \(id, priority, deliver_at, group_id\), as a role that may create in the schema\.$/, 'no index: the hint');
value($hint =~ /(CREATE INDEX .*\))/);
is(as_owner("SELECT once.send('q', '1'); SELECT count(*) FROM once.pop('q')"), '1', 'no index: made by a superuser');

# On a standby, nothing waits for sessions that read, so an index that they have just seen may be gone.  Then they read the list of
# indexes again.  (Feedback keeps the primary from removing what their snapshots see, which would cancel their queries.)
my $standby = once_standby($node, 'standby', 'hot_standby_feedback = on', 'wal_receiver_status_interval = 1');
$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM pg_stat_replication WHERE backend_xmin IS NOT NULL') or die 'no feedback';
value("SELECT once.create_queue('s'); SELECT once.create_ledger('l', '1 day'); SELECT once.mark_processed('l', 'a')");
value("SELECT count(*) FROM once.send_batch('s', ARRAY['1', '2', '3']::jsonb[])");
catch_up($node, $standby);
for my $case ([ "SELECT count(*) FROM once.peek('s')", '3', 's' ], [ "SELECT count(*) FROM once.slots('s')", '3', 's' ], [ "SELECT once.is_processed('l', 'a')", 't', 'l' ])
{
	my ($query, $answer, $which) = @$case;
	my $keeper = $standby->background_psql('postgres');
	my $looker = $standby->background_psql('postgres');

	$keeper->query_safe('SELECT pg_advisory_lock(1869505381, 1)');
	$looker->query_safe(q(SET once.debug_point = 'index_list_read'));
	$looker->query_until(qr/begun/, "\\echo begun\n$query;\n");
	$standby->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted))
	  or die 'the debug point is not reached';
	$node->safe_psql('postgres', $which eq 's' ? 'REINDEX TABLE CONCURRENTLY once.q_s' : 'REINDEX TABLE CONCURRENTLY once.l_l_0');
	catch_up($node, $standby);
	$keeper->query_safe('SELECT pg_advisory_unlock(1869505381, 1)');
	like($looker->query('RESET once.debug_point'), qr/^$answer$/m, "on a standby, swapped and dropped meanwhile: $query");
	$keeper->quit;
	$looker->quit;
}
done_testing();
