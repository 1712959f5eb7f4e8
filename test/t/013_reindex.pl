# All commands that rebuild the index keep the messages, in the order of their ids, and forget leases and attempts.  Receipts from
# before are refused.  Indexes that could not work are refused.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = once_node('main', 'fsync = off');

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

my $columns = '(id, priority, deliver_at, group_id)';
value("SELECT once.create_queue('q', id_index => true)");
value('CREATE TABLE held (id bigint, receipt uuid)');

sub rebuilt
{
	my ($what, @statements) = @_;

	value("TRUNCATE once.q_q; TRUNCATE held");
	value("SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[600]))");
	value("INSERT INTO held SELECT id, receipt FROM once.lease('q', '1 h', 300)");
	value("SELECT count(once.nack(receipt, '0 s')) FROM (SELECT receipt FROM held ORDER BY id LIMIT 20) h");
	value("SELECT count(*) FROM once.pop('q', 10)");
	$node->safe_psql('postgres', $_) for @statements;
	clean($node, 'q', $what);
	is(value("SELECT state || ' ' || attempt || ' ' || count(*) FROM once.peek('q', 10000) GROUP BY state, attempt"),
		'ready 0 590', "$what: messages are kept, leases and attempts forgotten");
	is(sqlstate_of($node, 'SELECT once.ack(max(receipt::text)::uuid) FROM held'), 'ON003', "$what: old receipts are refused");
	is(value('SELECT once.try_ack(max(receipt::text)::uuid) FROM held'), 'f', "$what: by try_ack too");
	is(value("SELECT count(*) || ' ' || bool_and(sorted) FROM (SELECT id > lag(id, 1, 0::bigint) OVER (ORDER BY n) AS sorted "
			. "FROM once.lease('q', '1 h', 10000) WITH ORDINALITY AS l (id, r, a, e, u, p, g, h, pl, n)) x"),
		'590 true', "$what: they are delivered in the order of their ids");
}

rebuilt('REINDEX INDEX', 'REINDEX INDEX once.q_q_queue_idx');
rebuilt('REINDEX TABLE', 'REINDEX TABLE once.q_q');
rebuilt('REINDEX INDEX CONCURRENTLY', 'REINDEX INDEX CONCURRENTLY once.q_q_queue_idx');
rebuilt('REINDEX TABLE CONCURRENTLY', 'REINDEX TABLE CONCURRENTLY once.q_q');
rebuilt('VACUUM FULL', 'VACUUM FULL once.q_q');
rebuilt('CLUSTER', 'CLUSTER once.q_q USING q_q_pkey');
rebuilt('ALTER TABLE that rewrites', 'ALTER TABLE once.q_q SET UNLOGGED', 'ALTER TABLE once.q_q SET LOGGED');
rebuilt('CREATE INDEX on a filled table', 'DROP INDEX once.q_q_queue_idx',
	"CREATE INDEX q_q_queue_idx ON once.q_q USING once_queue $columns");
rebuilt('CREATE INDEX CONCURRENTLY on a filled table', 'DROP INDEX once.q_q_queue_idx',
	"CREATE INDEX CONCURRENTLY q_q_queue_idx ON once.q_q USING once_queue $columns");

# TRUNCATE, committed and rolled back
value("SELECT count(*) FROM once.send_batch('q', array_fill('1'::jsonb, ARRAY[10]))");
my $count = value('SELECT count(*) FROM once.q_q');
value('BEGIN; TRUNCATE once.q_q; SELECT once.send($$q$$, $$2$$); ROLLBACK');
is(value("SELECT count(*) FROM once.peek('q', 10000)"), $count, 'TRUNCATE, rolled back, keeps all messages');
clean($node, 'q', 'TRUNCATE, rolled back');
is(value("BEGIN; TRUNCATE once.q_q; SELECT once.send('q', '2'); COMMIT; SELECT count(once.ack(receipt)) FROM once.receive('q', 100)"),
	'1', 'after TRUNCATE there is what came after it');
clean($node, 'q', 'TRUNCATE');

# A rebuild handles rows of open transactions, no matter how these end.
my $session = $node->background_psql('postgres');
value("SELECT count(once.send('q', '1')) FROM generate_series(1, 3)");
$session->query_safe("BEGIN; SELECT once.send('q', '2'); SELECT count(once.ack(receipt)) FROM once.receive('q', 1)");
my $other = $node->background_psql('postgres');
$other->query_until(qr/begun/, "\\echo begun\nREINDEX INDEX CONCURRENTLY once.q_q_queue_idx;\n");
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'REINDEX%' AND wait_event_type = 'Lock'))
  or die 'REINDEX CONCURRENTLY does not wait';
value("SELECT once.send('q', '3')");
$session->query_safe('COMMIT');
$session->quit;
$other->quit;
clean($node, 'q', 'REINDEX CONCURRENTLY beside an open transaction');
is(value("SELECT string_agg(payload::text, ' ' ORDER BY id) FROM (SELECT *, once.ack(receipt) FROM once.receive('q', 10)) m"), '1 1 2 3',
	'REINDEX CONCURRENTLY beside an open transaction: each message is there once');

# Indexes that cannot work are refused, and the queue stays as it is.
my %refused = (
	'another column order' => [ '42P17', 'CREATE INDEX x ON once.q_q USING once_queue (priority, id, deliver_at, group_id)' ],
	'fewer columns' => [ '42P17', 'CREATE INDEX x ON once.q_q USING once_queue (id)' ],
	'an expression' => [ '42P17', 'CREATE INDEX x ON once.q_q USING once_queue ((id + 1), priority, deliver_at, group_id)' ],
	'UNIQUE' => [ '0A000', "CREATE UNIQUE INDEX x ON once.q_q USING once_queue $columns" ],
	'INCLUDE' => [ '0A000', "CREATE INDEX x ON once.q_q USING once_queue $columns INCLUDE (payload)" ],
	'DESC' => [ '0A000', 'CREATE INDEX x ON once.q_q USING once_queue (id DESC, priority, deliver_at, group_id)' ],
	'a predicate' => [ '0A000', "CREATE INDEX x ON once.q_q USING once_queue $columns WHERE id > 0" ],
	'a second queue index' => [ '55000', "CREATE INDEX x ON once.q_q USING once_queue $columns" ]);
for my $what (sort keys %refused)
{
	my ($state, $statement) = @{ $refused{$what} };

	is(sqlstate_of($node, $statement), $state, "refused: $what");
}
is(sqlstate_of($node, "CREATE INDEX CONCURRENTLY x ON once.q_q USING once_queue $columns"), '55000', 'refused: a second one, concurrently');
value('DROP INDEX IF EXISTS once.x');
is(value("SELECT once.send('q', '4'); SELECT count(once.ack(receipt)) FROM once.receive('q', 10)"), '1', 'the queue works');
clean($node, 'q', 'in the end');
done_testing();
