# Payloads of a megabyte, stored out of line.  Every verb returns them as they were sent, and nothing of them is left over.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = once_node('main');
my $standby = once_standby($node, 'standby');

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

value("SELECT once.create_queue('big', retry_delay => '0 s')");

# A megabyte that does not compress well
value(q(CREATE FUNCTION big(n int) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT jsonb_build_object('n', n, 'text', (SELECT string_agg(md5(n || ':' || i), '') FROM generate_series(1, 32768) i)) $$));
value('CREATE TABLE effect (n int, size int, sum text)');
value('CREATE TABLE source AS SELECT n, big(n) AS b FROM generate_series(1, 12) n');
value('CREATE TABLE wanted AS SELECT n, length((b->>$$text$$)) AS size, md5(b::text) AS sum FROM source');

value("SELECT count(once.send('big', b, headers => b)) FROM source WHERE n <= 3");
value("SELECT count(*) FROM once.send_batch('big', ARRAY(SELECT b FROM source WHERE n BETWEEN 4 AND 9 ORDER BY n))");
value('INSERT INTO once.q_big (payload) SELECT b FROM source WHERE n > 9');
cmp_ok(value("SELECT pg_total_relation_size('once.q_big') - pg_relation_size('once.q_big')"), '>', 10 * 1024 * 1024, 'they are stored out of line');

my $take = "INSERT INTO effect SELECT (payload->>'n')::int, length(payload->>'text'), md5(payload::text) FROM";
my $peek = "SELECT count(*), sum(length(payload->>'text')) FROM once.peek('big', 100)";
is(value($peek), '12|12582912', 'peek');
catch_up($node, $standby);
is($standby->safe_psql('postgres', $peek), '12|12582912', 'peek on the standby');

# Claims that are rolled back do not change them.
value("BEGIN; $take once.pop('big', 100); ROLLBACK");
value("BEGIN; WITH m AS (SELECT * FROM once.receive('big', 100)) SELECT count(once.ack(receipt)), max(length(payload::text)) FROM m; ROLLBACK");
value('VACUUM once.q_big');

value("WITH m AS (SELECT * FROM once.receive('big', 4)), w AS ($take m) SELECT count(once.ack(receipt)) FROM m");
value("$take once.pop('big', 4)");
is(value("SELECT count(*) FROM once.receive('big', 1) AS m WHERE length(headers::text) > 1000000 AND once.release(m.receipt) IS NOT NULL"), '0',
	'the ones with long headers are through');
$node->stop('immediate');
$node->start;
value("CREATE TABLE held AS SELECT * FROM once.lease('big', '1 h', 4)");
value("WITH a AS (SELECT * FROM once.try_ack_all(ARRAY(SELECT receipt FROM held))) $take held JOIN a ON a.try_ack_all = held.receipt");
is(value('SELECT count(*) FROM effect'), '12', 'all of them have been taken');
is(value('SELECT count(*) FROM (TABLE wanted EXCEPT TABLE effect) x'), '0', 'and are what they were');

is(value('SELECT count(*) FROM once.q_big'), '0', 'the queue is empty');
value('VACUUM once.q_big');
my $toast = value("SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'once.q_big'::regclass");
is(value("SELECT count(*) FROM $toast"), '0', 'so is what was out of line');
clean($node, 'big', 'in the end');
done_testing();
