# A crash at every step of a ledger's turn: what was marked before is known after it, what was not is new, and the turn goes on.
#
# A session is held at the step, and the server stopped at once.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = once_node('main');
$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');

sub value { return $node->safe_psql('postgres', $_[0]) // '' }

# The phase of the ledger, and its current generation
sub state_of { return value("SELECT (ARRAY['alone', 'open', 'closed'])[(last_value & 3) + 1] || ' ' || (last_value >> 2 & 1) FROM once.l_$_[0]_state") }

# Stop the server at once while maintain() is at the point.
sub crash_at
{
	my ($point) = @_;
	my $keeper = $node->background_psql('postgres');
	my $held = $node->background_psql('postgres');

	$keeper->query_safe('SELECT pg_advisory_lock(1869505381, 1)');
	$held->query_until(qr/begun/, "SET once.debug_point = '$point';\n\\echo begun\nCALL once.maintain();\n");
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'CALL%'")
	  or die "nobody comes to $point";
	$node->stop('immediate');
	eval { $_->quit } for $keeper, $held;
	$node->start;
}

sub known { return value("SELECT string_agg(i::text, ' ' ORDER BY i) FROM generate_series(1, 9) i WHERE once.is_processed('$_[0]', 'id ' || i)") }

# What must hold after any crash; known: which of the ids 1 to 9 are.
sub good
{
	my ($ledger, $known, $what) = @_;

	is(known($ledger), $known, "$what: what was marked is known");
	is(value("SELECT count(*) FROM once.mark_processed_all('$ledger', ARRAY(SELECT 'id ' || i FROM unnest('{" . ($known =~ s/ /,/gr) . "}'::int[]) i))"),
		'0', "$what: and not new") if $known ne '';
	is(value("SELECT once.mark_processed('$ledger', 'new after $what'), once.mark_processed('$ledger', 'new after $what')"), 't|f',
		"$what: marking goes on");
	is(value("SELECT count(bt_index_check(indexrelid, true)) FROM pg_index WHERE indrelid IN ('once.l_${ledger}_0'::regclass, 'once.l_${ledger}_1'::regclass)"),
		'2', "$what: keys and tables agree");
}

# The turn: not yet published, and published.
for my $point ('ledger_before_publish', 'ledger_published')
{
	my $ledger = "turn_$point" =~ s/ledger_//r;
	value("SELECT once.create_ledger('$ledger', '1 day'); SELECT once.mark_processed('$ledger', 'id ' || i) FROM generate_series(1, 3) i");
	is(state_of($ledger), 'alone 0', "$ledger: before");
	crash_at($point);
	like(state_of($ledger), $point eq 'ledger_before_publish' ? qr/alone 0/ : qr/alone 0|open 1/, "$ledger: after the crash");
	good($ledger, '1 2 3', $ledger);
	value('CALL once.maintain()');
	is(state_of($ledger), 'closed 1', "$ledger: in the end");
	is(known($ledger), '1 2 3', "$ledger: all are known in the end");
	value("SELECT once.drop_ledger('$ledger')");
}

# The closing, when the last who has marked in the old generation has ended.
for my $point ('ledger_before_publish', 'ledger_published')
{
	my $ledger = "close_$point" =~ s/ledger_//r;
	my $marker = $node->background_psql('postgres');

	value("SELECT once.create_ledger('$ledger', '1 day')");
	$marker->query_safe("BEGIN; SELECT once.mark_processed('$ledger', 'id 4')");
	value("SELECT once.mark_processed('$ledger', 'id ' || i) FROM generate_series(1, 3) i");
	is(state_of($ledger), 'open 1', "$ledger: before");
	value("SELECT once.mark_processed('$ledger', 'id 5')");
	$marker->query_safe('COMMIT');
	$marker->quit;
	crash_at($point);
	like(state_of($ledger), $point eq 'ledger_before_publish' ? qr/open 1/ : qr/open 1|closed 1/, "$ledger: after the crash");
	good($ledger, '1 2 3 4 5', $ledger);
	value('CALL once.maintain()');
	is(state_of($ledger), 'closed 1', "$ledger: in the end");
	is(known($ledger), '1 2 3 4 5', "$ledger: all are known in the end");
	value("SELECT once.drop_ledger('$ledger')");
}

# Retirement, and the emptying: what is in the current generation is remembered, what was in the old one is forgotten now or later.
for my $point ('ledger_before_publish', 'ledger_published', 'ledger_before_truncate', 'ledger_truncated')
{
	my $ledger = "retire_$point" =~ s/ledger_//r;
	value("SELECT once.create_ledger('$ledger', '1 day'); SELECT once.mark_processed('$ledger', 'id ' || i) FROM generate_series(1, 3) i");
	value('CALL once.maintain()');
	value("SELECT once.mark_processed('$ledger', 'id ' || i) FROM generate_series(5, 7) i");
	is(state_of($ledger), 'closed 1', "$ledger: before");
	value("SELECT once.alter_ledger('$ledger', '1 ms'); SELECT pg_sleep(0.01)");
	crash_at($point);
	value("SELECT once.alter_ledger('$ledger', '1 day')");
	my $state = state_of($ledger);
	like($state, $point eq 'ledger_before_publish' ? qr/closed 1/ : qr/closed 1|alone 1/, "$ledger: after the crash");
	good($ledger, $state eq 'closed 1' ? '1 2 3 5 6 7' : '5 6 7', $ledger);
	value("SELECT once.alter_ledger('$ledger', '1 ms'); SELECT pg_sleep(0.01)") if $state eq 'closed 1';
	value('CALL once.maintain()');
	value("SELECT once.alter_ledger('$ledger', '1 day')");
	is(value("SELECT count(*) FROM once.l_${ledger}_0 WHERE id LIKE 'id _'"), '0', "$ledger: emptied in the end");
	is(value("SELECT once.mark_processed('$ledger', 'id 1'), once.mark_processed('$ledger', 'id 1')"), 't|f', "$ledger: and new again, once");
	value("SELECT once.drop_ledger('$ledger')");
}
is(value("SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_class'::regclass"), '0', 'no lock is left');
$node->stop;
done_testing();
