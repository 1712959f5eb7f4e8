# A thousand queues in one database, with all kinds of names that are allowed, used by one session and by several at once.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $queues = 1000;
my $node = once_node('main', 'fsync = off', 'max_locks_per_transaction = 256');

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

# Names: capitals, hyphens, underscores, the longest ones
value(q(CREATE FUNCTION name_of(i int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE i % 4 WHEN 0 THEN 'queue_' || i WHEN 1 THEN 'Queue-' || i WHEN 2 THEN '_QUEUE_' || i
	ELSE rpad('long' || i || '_', 47, 'x') END $$));
value('CREATE TABLE effect (queue text, n int)');
$node->safe_psql('postgres', qq(
	DO \$\$ BEGIN
		FOR i IN 1..$queues LOOP
			PERFORM once.create_queue(name_of(i), retry_delay => '0 s');
			IF i % 25 = 0 THEN COMMIT; END IF;
		END LOOP;
	END \$\$));
is(value('SELECT count(*), count(DISTINCT queue) FROM once.list_queues()'), "$queues|$queues", 'they are listed');

# One session, with a transaction for each queue
$node->safe_psql('postgres', qq(
	DO \$\$ DECLARE m once.message; BEGIN
		FOR i IN 1..$queues LOOP
			PERFORM once.send(name_of(i), to_jsonb(n)) FROM generate_series(1, 5) n;
			COMMIT;
			FOR m IN SELECT * FROM once.receive(name_of(i), 2) LOOP
				INSERT INTO effect VALUES (name_of(i), (m.payload)::int);
				PERFORM once.ack(m.receipt);
			END LOOP;
			COMMIT;
		END LOOP;
	END \$\$));
is(value('SELECT count(*), count(DISTINCT queue) FROM effect WHERE n <= 2'), 2 * $queues . "|$queues", 'one session has used them all');

# Four sessions, each of which uses all queues, in another order
my @runs = map {
	my $step = $_;
	IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-v', 'ON_ERROR_STOP=1' ],
		'<', \"DO \$\$ BEGIN
			FOR i IN 1..$queues LOOP
				INSERT INTO effect SELECT name_of(i * $step % $queues + 1), payload::int FROM once.pop(name_of(i * $step % $queues + 1));
				COMMIT;
			END LOOP;
		END \$\$;", '>&', \my $out, IPC::Run::timeout(180));
} 1, 3, 7, 11;
is(scalar(grep { IPC::Run::finish($_) } @runs), 4, 'four sessions have used them all');
is(value('SELECT count(*), count(DISTINCT (queue, n)) FROM effect'), 5 * $queues . '|' . 5 * $queues, 'every message has had its effect once');
is(value('SELECT count(*) FROM once.list_queues() q, once.check(q.queue, strict => false)'), '0', 'once.check finds nothing');
value("SELECT once.drop_queue(name_of(i)) FROM generate_series(1, 100) i");
is(value('SELECT count(*) FROM once.list_queues()'), $queues - 100, 'some are dropped');
done_testing();
