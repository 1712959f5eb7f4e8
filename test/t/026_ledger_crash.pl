# The server is killed at every step of a ledger's turn, and in the middle of marking.  Afterwards, ids of transactions that have
# committed are known, ids of others are not, and the ledger goes on from the state before the step or after it.  The same is true
# for a standby that is promoted.
#
# Each case has a ledger of its own.  A session advances it and marks ids, and is stopped at a debug point.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Nothing is written to disk without a request.
my $node = once_node('main', 'wal_writer_delay = 10s', 'checkpoint_timeout = 1h');
my $standby;
$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');

sub rows { my ($sql, $on) = @_; return split(/\n/, ($on // $node)->safe_psql('postgres', $sql) // '', -1) }
sub value { return (rows(@_))[-1] // '' }

# Mark ids, each in a session of its own, which tries at once to advance the ledger.
sub mark { my ($ledger, @ids) = @_; return value(join("\n\\c -\n", map { "SELECT once.mark_processed('$ledger', '$_');" } @ids)) }

# The state of each ledger, and which of the ids are known
sub look
{
	my ($on, @ledgers) = @_;
	my %found;

	my $sql = join(' UNION ALL ', map { <<END } @ledgers);
		SELECT '$_', (ARRAY['ALONE', 'OPEN', 'CLOSED'])[1 + (last_value & 3)] || ' ' || (last_value >> 2 & 1),
			(SELECT string_agg(id, ' ' ORDER BY id) FROM unnest('{x,y,z}'::text[]) id WHERE once.is_processed('$_', id)) FROM once."l_${_}_state"
END
	for (rows($sql, $on))
	{
		my ($ledger, $state, $known) = split(/\|/, $_, -1);
		$found{$ledger} = { state => $state, known => $known };
	}
	return %found;
}

# Mark the ids of each ledger, and mark them again.  Which of them are new?
sub mark_all
{
	my ($on, @ledgers) = @_;

	return map { split(/\|/, $_, -1) } rows(join(' UNION ALL ', map { <<END } @ledgers), $on);
		SELECT '$_', string_agg(id, ' ' ORDER BY n) FROM (
			SELECT id, n, once.mark_processed('$_', id) AS new FROM unnest('{x,y,z,x,y,z}'::text[]) WITH ORDINALITY AS u (id, n) ORDER BY n) AS m WHERE new
END
}

sub retention { my ($time, $on, @ledgers) = @_; value(join(';', map { "SELECT once.alter_ledger('$_', '$time')" } @ledgers), $on) }

sub session
{
	my ($sql) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe($sql);
	return $session;
}

# Statements that bring a new ledger, which has id x in generation 0, to where the step is due
my %due = (
	turn => sub { mark($_[0], 'x') },
	close => sub {
		my $session = session("BEGIN; SELECT once.mark_processed('$_[0]', 'x')");
		mark($_[0], 'y');
		$session->query_safe('COMMIT');
		$session->quit;
	},
	retire => sub { mark($_[0], 'x', 'y'); retention('1 us', $node, $_[0]) },
	mark => sub { mark($_[0], 'x', 'y') });

# The steps: the states before and after, and which ids are known then.
my %step = (
	turn => [ 'ALONE 0' => 'x', 'OPEN 1' => 'x' ],
	close => [ 'OPEN 1' => 'x y', 'CLOSED 1' => 'x y' ],
	retire => [ 'CLOSED 1' => 'x y', 'ALONE 1' => 'y' ],
	mark => [ 'CLOSED 1' => 'x y' ]);

# Where the session is stopped, in which step, and whether the step has been taken
my @cases;
for my $step ('turn', 'close', 'retire')
{
	push @cases, [ $step, "ledger_$_->[0]", $_->[1] ] for [ 'before_step', 0 ], [ 'before_publish', 0 ], [ 'published', 1 ];
}
push @cases, map { [ 'retire', "ledger_$_", 1 ] } 'before_truncate', 'truncated';
push @cases, map { [ 'mark', "ledger_$_", 0 ] } 'before_open', 'before_gate', 'before_insert', 'before_index';

# One session at each of these points, and others whose statement has ended and whose transaction has not
my $number = 0;
my (@held, %case, @sessions);
sub hold_all
{
	my $holder = session('SELECT pg_advisory_lock(1869505381, 1)');

	@held = ();
	%case = ();
	@sessions = ($holder);
	for my $case (@cases)
	{
		my ($step, $point) = @$case;
		my $ledger = 'l' . ++$number;

		value("SELECT once.create_ledger('$ledger', '1 day')");
		$due{$step}->($ledger);
		$case{$ledger} = $case;
		push @held, $ledger;
	}
	# A turn and an emptying by open transactions, and by a prepared one
	value("SELECT once.create_ledger('$_$number', '1 day')") for 'turned', 'emptied', 'prepared';
	mark("turned$number", 'x');
	push @sessions, session("BEGIN; SELECT once.mark_processed('turned$number', 'z')");
	is(mark("turned$number", 'y'), 't', 'turned: others mark, as of the turn');
	mark("emptied$number", 'x', 'y');
	retention('1 us', $node, "emptied$number");
	push @sessions, session("BEGIN; SELECT once.mark_processed('emptied$number', 'z')");
	is(value("SELECT pg_relation_size('once.l_prepared${number}_0')"), 0, 'emptied');
	value("BEGIN; SELECT once.mark_processed('prepared$number', 'x'); PREPARE TRANSACTION 'prepared$number'");
	mark("prepared$number", 'y');

	# Nothing that comes after them flushes what they have written.
	my @stopped = map { session("SET once.debug_point = '$case{$_}[1]'") } @held;
	push @sessions, @stopped;
	$stopped[$_]->query_until(qr/begun/, "\\echo begun\nSELECT once.mark_processed('$held[$_]', 'z');\n") for 0 .. $#held;
	my $stopped = 0;
	for (my $tries = 0; $stopped < @held and $tries < 600; $tries++)
	{
		select(undef, undef, undef, 0.05);
		$stopped = $holder->query_safe("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
	}
	is($stopped, scalar @held, 'all of them are stopped');
}

# Check what must be true afterwards.  written: everything that happened before was on disk.
sub verify
{
	my ($what, $on, $written) = @_;
	my %found = look($on, @held);

	for my $ledger (@held)
	{
		my ($step, $point, $taken) = @{ $case{$ledger} };
		my %good = @{ $step{$step} };
		my $name = "$what: $step, $point";
		my $state = $found{$ledger}{state};

		ok(exists $good{$state}, "$name: a state that may be") or diag("it is $state");
		note("$name: $state") if $taken;
		is($state, $step{$step}[$taken ? 2 : 0], "$name: the right one") if $written or !$taken;
		is($found{$ledger}{known}, $good{$state}, "$name: what was marked is known");
	}
	return if value('SELECT pg_is_in_recovery()', $on) eq 't';
	is(value('SELECT count(bt_index_check(indexrelid, true)) FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE relname ~ \'^l_.*_[01]$\'', $on),
		2 * (@held + 3), "$what: keys and tables agree");
	retention('1 day', $on, @held);
	my %new = mark_all($on, @held);
	for my $ledger (@held)
	{
		my ($step, $point) = @{ $case{$ledger} };
		my %known = map { $_ => 1 } split(/ /, $found{$ledger}{known});

		is($new{$ledger}, join(' ', grep { !$known{$_} } 'x', 'y', 'z'), "$what: $step, $point: the others are new, once");
	}
}

sub verify_others
{
	my ($what, $on) = @_;
	my ($turned, $emptied, $prepared) = map { "$_$number" } 'turned', 'emptied', 'prepared';
	my %found = look($on, $turned, $emptied, $prepared);

	is($found{$turned}{known}, 'x y', "$what: what was marked after a turn that was never committed");
	is($found{$emptied}{known}, 'y', "$what: what is retired stays retired");
	retention('1 day', $on, $emptied);
	is({ mark_all($on, $emptied) }->{$emptied}, 'x z', "$what: and is new");

	# A prepared transaction keeps what it has marked, and keeps the ledger from going on.
	is($found{$prepared}{known}, 'y', "$what: of a prepared transaction");
	retention('1 us', $on, $prepared);
	value('CALL once.maintain()', $on) for 1 .. 2;
	is({ look($on, $prepared) }->{$prepared}{state}, 'OPEN 1', "$what: it keeps the old generation open");
	is(sqlstate_of($on, "SET lock_timeout = '10ms'; SELECT once.mark_processed('$prepared', 'x')"), '55P03', "$what: it is waited for");
	retention('1 day', $on, $prepared);
	value("COMMIT PREPARED '$prepared'", $on);
	is({ mark_all($on, $prepared) }->{$prepared}, 'z', "$what: until it is committed");
}

# In the end everything retires, and nothing is left.
sub verify_end
{
	my ($what, $on) = @_;
	my @ledgers = (@held, map { "$_$number" } 'turned', 'emptied', 'prepared');

	retention('1 us', $on, @ledgers);
	value('CALL once.maintain()', $on) for 1 .. 3;
	my %found = look($on, @ledgers);
	is(join('', map { $_->{known} } values %found), '', "$what: what has had its time is forgotten");
	is(value("SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_class'::regclass", $on), '0', "$what: no lock is left");
	is(value('SELECT sum(pg_relation_size(oid)) FROM pg_class WHERE relname ~ \'^l_.*_[01]$\'', $on), '0', "$what: and nothing is left of it");
	value(join(';', map { "SELECT once.drop_ledger('$_')" } @ledgers), $on);
}

hold_all();
kill_server($node);
eval { $_->quit } for @sessions;
verify('killed', $node, 0);
verify_others('killed', $node);
verify_end('killed', $node);

# The same, if all of it is on disk and on a standby
$standby = once_standby($node, 'standby');
hold_all();
catch_up($node, $standby);
verify('standby', $standby, 1);
kill_server($node);
eval { $_->quit } for @sessions;
$standby->promote;
for my $on ($node, $standby)
{
	my $what = $on == $node ? 'killed when it was written' : 'promoted';

	verify($what, $on, 1);
	verify_others($what, $on);
	verify_end($what, $on);
}
done_testing();
