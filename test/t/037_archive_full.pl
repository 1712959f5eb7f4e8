# If the archive cannot grow, acks fail with their transactions, as any INSERT into it would.  Nothing is lost, and the deliveries count.
# Acks succeed again as soon as there is space, or no archive.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'files are limited in the way of Linux' if $^O ne 'linux';

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => ['--wal-segsize=1']);
$node->append_conf('postgresql.conf', "$_\n") for 'autovacuum = off', 'max_wal_size = 200MB';
$node->start;

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

# Limit the size of files for sessions that begin from now on.  To their backends, this looks like a full disk.
sub limit
{
	my ($size) = @_;
	my ($server) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;

	system('prlimit', "--pid=$server", "--fsize=$size:") == 0 or die 'no limit can be set';
}

sub fails
{
	my ($statement, $what) = @_;
	my ($status, $out, $error) = $node->psql('postgres', $statement);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($error, qr/ERROR:  could not (extend|write)/, $what);
}

value('CREATE EXTENSION pg_once; CREATE TABLE effect (payload jsonb)');
for my $queue ('archived', 'plain')
{
	value("SELECT once.create_queue('$queue', max_attempts => 3, retry_delay => '0', retry_delay_max => '0'" . ($queue eq 'archived' ? ", archive => '36500 days')" : ')'));
	value("SELECT count(once.send('$queue', i::text::jsonb)) FROM generate_series(1, 10) i");
}
is(value("SELECT payload FROM once.pop('archived')"), '1', 'one message is archived');

# Fill the partition with copies of that row, until there is no space for one more.
limit(2 * 1024 * 1024);
my $copies = 'INSERT INTO once.a_archived SELECT (a).* FROM (SELECT a FROM once.a_archived a LIMIT 1) s, generate_series(1, %d)';
for my $n (4096, 512, 64, 8, 1)
{
	1 while ($node->psql('postgres', sprintf($copies, $n)))[0] == 0;
}
fails(sprintf($copies, 1), 'the archive is full');

my $step = 'WITH m AS (SELECT * FROM once.%s), e AS (INSERT INTO effect SELECT payload FROM m) SELECT count(once.ack(receipt)) FROM m';
fails(sprintf($step, "receive('archived')"), 'an ack of what was received fails');
is(value("SELECT concat_ws(' ', payload, state, attempt) FROM once.peek('archived', 1)"), '2 ready 1', 'the message is still there, and the delivery counts');
is(value('SELECT count(*) FROM effect'), '0', 'its effect is not');
my $receipt = value("SELECT receipt FROM once.lease('archived', '1 h')");
fails("SELECT once.ack('$receipt')", 'an ack of what was leased fails');
is(value("SELECT concat_ws(' ', payload, state, attempt) FROM once.peek('archived', 1)"), '2 claimed 2', 'the lease holds');
fails("SELECT * FROM once.pop('archived')", 'so does a pop');
is(value("SELECT string_agg(concat_ws(' ', payload, state, attempt), ', ') FROM once.peek('archived', 2)"), '2 claimed 2, 3 stuck 0', 'the message stays');
is(value("SELECT count(once.ack(receipt)) FROM once.receive('plain', 9)"), '9', 'a queue without an archive is consumed');
is(value("SELECT count(*) FROM once.pop('plain')"), '1', 'to its end');

# Without an archive, or with space for it, the same claim can be acked.
$node->poll_query_until('postgres', "SELECT ready_at IS NULL FROM once.peek('archived', 2) WHERE payload = '3'")
  or die 'its turn does not come again';
value("SELECT once.alter_queue('archived', reset => ARRAY['archive'])");
is(value("SELECT payload FROM once.receive('archived') m, once.ack(m.receipt)"), '3', 'without an archive, acks go on');
value("SELECT once.alter_queue('archived', archive => '36500 days')");
fails("SELECT once.ack('$receipt')", 'with it, they do not');
limit('unlimited');
value("SELECT once.ack('$receipt')");
is(value("SELECT count(once.ack(receipt)) FROM once.receive('archived', 10)"), '7', 'nor is anything lost when there is room again');
is(value("SELECT string_agg(DISTINCT payload::text, ' ') FROM once.a_archived WHERE payload NOT IN ('1')"), '10 2 4 5 6 7 8 9', 'what is acked is archived again');
clean($node, $_, $_) for 'archived', 'plain';
done_testing();
