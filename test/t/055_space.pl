# What gives back the space of a drained backlog, and what does that cost?  This checks each statement of doc/pg_once-operations.md.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = once_node('main');

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }
sub table_pages { return value(q(SELECT pg_relation_size('once.q_q') / 8192)) }
sub toast_pages { return value(q(SELECT pg_relation_size(reltoastrelid) / 8192 FROM pg_class WHERE oid = 'once.q_q'::regclass)) }
sub index_pages { return value(q(SELECT pg_relation_size('once.q_q_queue_idx') / 8192)) }

# Make a backlog and drain it.  Two messages at its beginning stay: one is leased, and one has failed once and waits.  On request, the
# last one stays, too.  All others are acked or deleted, and the receipt of one is kept.
sub drain
{
	my ($last) = @_;

	value("SELECT once.create_queue('q', retry_delay => '1 h')");
	value("SELECT once.send('q', '1'), once.send('q', '2')");
	value("CREATE TABLE leased AS SELECT receipt FROM once.lease('q', '1 h')");
	value("SELECT once.nack(receipt) FROM once.lease('q')");
	value("SELECT count(*) FROM once.send_batch('q', array_fill(to_jsonb(repeat('m', 200)), ARRAY[30000]))");
	value("SELECT once.send('q', (SELECT to_jsonb(string_agg(md5(g::text || i), '')) FROM generate_series(1, 300) g)) FROM generate_series(1, 100) i");
	value("CREATE TABLE acked AS SELECT receipt FROM once.lease('q')");
	value('SELECT once.ack(receipt) FROM acked');
	# A walk sees that it was acked, before its row is vacuumed.
	value("SELECT once.release(receipt) FROM once.lease('q')");
	value('DELETE FROM once.q_q WHERE id > 2 AND ctid <> (SELECT max(ctid) FROM once.q_q)') if $last;
	value("SELECT count(once.ack(receipt)) FROM once.receive('q', 10000)") for $last ? () : 1 .. 4;
}

sub keeps
{
	my ($what) = @_;

	is(value("SELECT string_agg(id || ' ' || state || ' ' || attempt, ', ' ORDER BY id) FROM once.peek('q') WHERE id < 3"), '1 claimed 1, 2 delayed 1', "$what: leases, attempts and pauses are kept");
	is(sqlstate_of($node, 'SELECT once.ack(receipt) FROM acked'), 'ON004', "$what: a second ack is told that it is one");
	is(sqlstate_of($node, 'BEGIN; SELECT once.ack(receipt) FROM leased; ROLLBACK'), '00000', "$what: receipts are good");
	clean($node, 'q', $what);
}

sub forgets
{
	my ($what) = @_;

	is(sqlstate_of($node, 'SELECT once.ack(receipt) FROM acked'), 'ON003', "$what: a second ack is not known any more");
	clean($node, 'q', $what);
	value("SELECT once.drop_queue('q')");
	value('DROP TABLE leased, acked');
}

# VACUUM makes the space free to be used again, but gives none back.
drain(1);
my ($table, $toast, $index) = (table_pages(), toast_pages(), index_pages());
cmp_ok($table, '>', 500, 'a large table');
cmp_ok($toast, '>', 50, 'and its values');
value('VACUUM once.q_q');
is(join(' ', table_pages(), toast_pages(), index_pages()), "$table $toast $index", 'VACUUM gives nothing back');

# VACUUM (TRUNCATE) gives back the space behind the last message.
my $end = value('SELECT max((ctid::text::point)[0]) + 1 FROM once.q_q');
cmp_ok($end, '>', $table / 2, 'a message is left near the end of the table');
value('VACUUM (TRUNCATE, INDEX_CLEANUP ON) once.q_q');
is(table_pages(), $end, 'what is before it is not given back');
value('DELETE FROM once.q_q WHERE id > 2');

# It waits for transactions that use the table, but for 5 seconds at most.
my $user = $node->background_psql('postgres');
$user->query_safe("BEGIN; SELECT once.send('q', '4')");
value('VACUUM (TRUNCATE, INDEX_CLEANUP ON) once.q_q');
is(table_pages(), $end, 'nor is anything while somebody uses the table');
$user->query_safe('ROLLBACK');
$user->quit;
value('VACUUM (TRUNCATE, INDEX_CLEANUP ON) once.q_q');
cmp_ok(table_pages(), '<', 10, 'VACUUM (TRUNCATE) gives it back');
cmp_ok(toast_pages(), '<', 10, 'and that of the values');
is(index_pages(), $index, 'the index keeps its size');
cmp_ok(value("SELECT count(*) FROM once.pages('q') WHERE kind = 'free'"), '>', $index / 2, 'for what is sent next');
keeps('VACUUM (TRUNCATE)');

# REINDEX makes the index small.
value('REINDEX INDEX once.q_q_queue_idx');
cmp_ok(index_pages(), '<', 10, 'REINDEX makes a small index');
forgets('REINDEX');

# With the option set, VACUUM does it by itself.
drain(0);
value('ALTER TABLE once.q_q SET (vacuum_truncate = on, toast.vacuum_truncate = on)');
value('VACUUM once.q_q');
cmp_ok(table_pages(), '<', 10, 'with vacuum_truncate = on, VACUUM gives it back');
cmp_ok(toast_pages(), '<', 10, 'and that of the values');
keeps('vacuum_truncate = on');

# VACUUM FULL gives back everything.
value('VACUUM FULL once.q_q');
is(join(' ', map { $_ < 10 ? 'small' : $_ } table_pages(), toast_pages(), index_pages()), 'small small small', 'VACUUM FULL makes all of it small');
is(sqlstate_of($node, 'SELECT once.ack(receipt) FROM leased'), 'ON003', 'and receipts are lost');
forgets('VACUUM FULL');

# So does purge of a queue that is empty, if nobody uses it.
drain(0);
value('DELETE FROM once.q_q');
is(value("SELECT once.purge('q')"), '0', 'there was nothing to purge');
is(join(' ', map { $_ < 10 ? 'small' : $_ } table_pages(), toast_pages(), index_pages()), 'small small small', 'purge makes all of it small');
forgets('purge');
done_testing();
