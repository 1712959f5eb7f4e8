# The file of an index has lost pages, or is too short.  Every verb works or raises an error, the server can be shut down, and REINDEX
# repairs the index.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = once_node('main', "statement_timeout = '60s'", 'fsync = off');

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

# The second ack of a message is recognized also if the table has become so short that the place of its row does not exist any more.
value("SELECT once.create_queue('short')");
value("SELECT count(*) FROM once.send_batch('short', array_fill('1'::jsonb, ARRAY[1000]))");
value("CREATE TABLE acked AS SELECT receipt FROM once.lease('short', '1 day', 1000)");
value('SELECT count(once.ack(receipt)) FROM acked');
is(value("SELECT count(*) FROM once.receive('short')"), '0', 'a consumer sees that the rows are gone');
$node->safe_psql('postgres', 'VACUUM (TRUNCATE) once.q_short');
is(value("SELECT pg_relation_size('once.q_short')"), '0', 'the table is empty');
is(sqlstate_of($node, 'SELECT once.ack((SELECT receipt FROM acked LIMIT 1))'), 'ON004', 'a second ack is told that it is one');
is(sqlstate_of($node, 'SELECT once.nack((SELECT receipt FROM acked LIMIT 1))'), 'ON004', 'a late nack too');
is(value('SELECT count(*) FROM once.try_ack_all((SELECT array_agg(receipt) FROM acked))'), '0', 'and try_ack_all');
clean($node, 'short', 'short table');

damaged_queue($node);

# The same if the table has become shorter since the session last read its length, and a slot leads to a place that existed then.
value("SELECT once.create_queue('cut')");
value("SELECT count(*) FROM once.send_batch('cut', array_fill('1'::jsonb, ARRAY[1000]))");
$node->safe_psql('postgres', 'DELETE FROM once.q_cut WHERE id > 1; VACUUM (TRUNCATE off) once.q_cut');
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query("SELECT damage_write('once.q_cut_queue_idx', 1, 24, '\\x00000500')");
my $faults = "SELECT string_agg(rule || ': ' || detail, ', ') FROM once.check('cut')";
my $no_row = 'slot: row pointer (5,1) is not in use, missing slot: row (0,1) has no slot';
is($session->query($faults), $no_row, 'a slot leads to a row that is gone');
$node->safe_psql('postgres', 'VACUUM (TRUNCATE) once.q_cut');
is(value("SELECT pg_relation_size('once.q_cut')"), '8192', 'the table is shorter');
is($session->query($faults), $no_row, 'and then to a block that is gone');
is($session->query('SELECT FROM once.receive($$cut$$)'), '', 'which no verb reads');
like($session->{stderr}, qr/is broken.*leads to block 5 of table "q_cut".*REINDEX/s, 'but says what to do');
$session->quit;
$node->safe_psql('postgres', "SELECT once.drop_queue('cut')");

my %blocks = map { split(/\|/, $_) } split(/\n/, $node->safe_psql('postgres', "SELECT kind, max(block) FROM once.pages('q') GROUP BY kind"));
my $nblocks = value("SELECT count(*) FROM once.pages('q')");
is(join(' ', sort keys %blocks), 'bucket directory free groups lane meta schedule', 'pages of all kinds');

# Change the index's file while the server is down, and check what happens then.
sub damage_file
{
	my ($what, $how) = @_;
	value("CALL damage('plain', '{}', '{}', '{}')");
	my $path = $node->data_dir . '/' . value("SELECT pg_relation_filepath('once.q_q_queue_idx')");
	$node->stop;
	open(my $file, '+<:raw', $path) or die $!;
	$how->($file);
	close($file);
	$node->start;

	my @errors = split(/\n/, $node->safe_psql('postgres', "SET client_min_messages = error; SELECT state || ' ' || name || ' ' || message FROM try_verbs()"));
	cmp_ok(scalar(@errors), '>', 0, "$what: something is raised");
	is(join("\n", grep { !/^(XX002 |XX001 .*could not read block|ON00[34])/ } @errors), '', "$what: and says what it is");
	my ($status, $faults, $error) = $node->psql('postgres', "SELECT count(*) FROM once.check('q', strict => true)");
	ok($status != 0 ? $error =~ /could not read block/ : $faults > 0, "$what: once.check names it");

	# Functions that show messages must not show only a part of them.
	for my $look ("peek('q', 10000)", "slots('q')")
	{
		like(sqlstate_of($node, "SELECT count(*) FROM once.$look"), qr/^XX00[12]$/, "$what: $look raises an error") if $what =~ /^(meta|lane|bucket|schedule|\d) /;
	}

	# A backend in an endless loop would prevent this.
	$node->restart;
	is(value('SELECT mend()'), '{"kept": true, "after": []}', "$what: REINDEX mends it");
}

for my $kind (sort keys %blocks)
{
	damage_file("$kind page lost", sub { my ($file) = @_; seek($file, 8192 * $blocks{$kind}, 0); print $file "\0" x 8192 });
}
for my $length (0, 1, 2, int($nblocks / 2), $nblocks - 1)
{
	damage_file("$length of $nblocks pages left", sub { my ($file) = @_; truncate($file, 8192 * $length) });
}
done_testing();
