# alter_queue and alter_ledger have an effect on other sessions at once: the next statement uses the new options, also in an open
# transaction and in prepared statements.  If the change is rolled back, it has no effect.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = once_node('main');
my $worker = $node->background_psql('postgres');

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

# The last value that statements return in the session that stays open
sub worker { return (split(/\n/, $worker->query_safe($_[0]) // '', -1))[-1] // '' }

sub alter { return value("SELECT once.alter_queue('q', $_[0])") }

value("SELECT once.create_queue('q', retry_delay => '0 s')");
value(q(CREATE FUNCTION state_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN EXECUTE statement; RETURN '00000'; EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END $$));
worker(q(PREPARE send(text) AS SELECT once.send('q', to_jsonb($1))));
worker(q(PREPARE finish AS SELECT coalesce(string_agg(payload #>> '{}' || ':' || attempt, ' '), 'nothing')
	FROM (SELECT payload, attempt, once.ack(receipt) FROM once.receive('q', 10)) m));
worker(q(PREPARE fail AS SELECT count(once.nack(receipt)) FROM (SELECT receipt FROM once.lease('q', '1 h', 10)) l));
worker(q(PREPARE fail_now AS SELECT count(once.nack(receipt, '0 s')) FROM (SELECT receipt FROM once.lease('q', '1 h', 10)) l));
worker(q(PREPARE pop AS SELECT count(*) FROM once.pop('q', 10)));
# Often enough for a generic plan, which is kept
for my $i (1 .. 7)
{
	worker("EXECUTE send('warm'); EXECUTE fail; EXECUTE finish; EXECUTE send('warm'); EXECUTE pop");
}
is(value('SELECT count(*) FROM once.q_q'), '0', 'the session is at work');

my $dead = q(SELECT coalesce(string_agg(reason || ' ' || attempts || ' ' || (payload #>> '{}'), ', ' ORDER BY id), 'none') FROM once.dead_letters);

# Test everything twice: with single statements, and inside a transaction that was begun before.
for my $inside (0, 1)
{
	my $where = $inside ? 'inside a transaction' : 'between transactions';
	my $begin = sub { worker("BEGIN; SELECT count(*) FROM once.peek('q')") if $inside };
	my $end = sub { worker('COMMIT') if $inside };

	# retry_delay, retry_delay_max
	worker("EXECUTE send('a')");
	$begin->();
	alter("retry_delay => '1 h'");
	is(worker('EXECUTE fail; EXECUTE finish'), 'nothing', "$where: retry_delay");
	$end->();
	is(value("SELECT state, ready_at > now() + interval '45 min' FROM once.peek('q')"), 'delayed|t', "$where: retry_delay is in the slot");
	value('TRUNCATE once.q_q');
	worker("EXECUTE send('b'); EXECUTE fail_now; EXECUTE fail_now; EXECUTE fail_now");
	$begin->();
	alter("retry_delay_max => '2 h'");
	worker('EXECUTE fail');
	$end->();
	is(value("SELECT attempt, ready_at BETWEEN now() + interval '90 min' AND now() + interval '2 h' FROM once.peek('q')"), '4|t', "$where: retry_delay_max");
	value('TRUNCATE once.q_q');
	alter("retry_delay => '0 s'");

	# max_attempts
	worker("EXECUTE send('c'); EXECUTE fail; EXECUTE fail; EXECUTE fail");
	$begin->();
	alter('max_attempts => 3');
	is(worker('EXECUTE finish'), 'nothing', "$where: max_attempts, lowered");
	$end->();
	is(value($dead), 'attempts 3 c', "$where: max_attempts, lowered: dead");
	value("SELECT once.redrive('q')");
	worker('EXECUTE fail; EXECUTE fail; EXECUTE fail');
	$begin->();
	alter('max_attempts => 5');
	is(worker('EXECUTE finish'), 'c:4', "$where: max_attempts, raised");
	$end->();

	# ttl, ttl_action
	worker("EXECUTE send('d')");
	$begin->();
	alter("ttl => '1 us'");
	is(worker('EXECUTE finish'), 'nothing', "$where: ttl");
	$end->();
	is(value($dead), 'expired 0 d', "$where: ttl: dead");
	alter("reset => '{ttl}'");
	value("SELECT once.redrive('q')");
	is(worker('EXECUTE finish'), 'd:1', "$where: ttl, reset");
	alter("ttl => '1 us'");
	worker("EXECUTE send('e')");
	$begin->();
	alter("ttl_action => 'drop'");
	is(worker('EXECUTE finish'), 'nothing', "$where: ttl_action");
	$end->();
	is(value($dead), 'none', "$where: ttl_action: dropped");
	is(value('SELECT count(*) FROM once.q_q'), '0', "$where: ttl_action: gone");
	alter("reset => '{ttl,ttl_action,max_attempts,retry_delay_max}'");

	# archive
	worker("EXECUTE send('f'); EXECUTE finish");
	worker("EXECUTE send('g'); EXECUTE send('h')");
	$begin->();
	alter("archive => '1 day'");
	is(worker('EXECUTE finish'), 'g:1 h:1', "$where: archive");
	$end->();
	is(value(q(SELECT string_agg(payload #>> '{}', ' ' ORDER BY id) FROM once.a_q)), 'g h', "$where: archive: kept from then on");
	worker("EXECUTE send('i')");
	$begin->();
	alter("reset => '{archive}'");
	is(worker('EXECUTE pop'), '1', "$where: archive, reset");
	$end->();
	is(value('SELECT count(*) FROM once.a_q'), '2', "$where: archive, reset: nothing is kept any more");
	value('TRUNCATE once.a_q');

	# pause
	worker("EXECUTE send('j')");
	$begin->();
	value("SELECT once.pause('q', 'consume')");
	is(worker("SELECT state_of('EXECUTE finish')"), 'ON008', "$where: pause");
	value("SELECT once.resume('q', 'consume')");
	is(worker('EXECUTE finish'), 'j:1', "$where: resume");
	$end->();
}

# Rolled back
worker("EXECUTE send('k')");
my $other = $node->background_psql('postgres');
$other->query_safe("BEGIN; SELECT once.alter_queue('q', max_attempts => 1, retry_delay => '1 h')");
is((split(/\n/, $other->query_safe("SELECT max_attempts FROM once.list_queues() WHERE queue = 'q'")))[-1], '1', 'its own change is seen');
is(worker('EXECUTE fail'), '1', 'others do not wait for it');
$other->query_safe('ROLLBACK');
is((split(/\n/, $other->query_safe("SELECT count(once.nack(receipt)) FROM (SELECT receipt FROM once.lease('q')) l")))[-1], '1', 'rolled back: options are as before');
is(worker('EXECUTE finish'), 'k:3', 'rolled back: for all');
$other->query_safe("BEGIN; SAVEPOINT s; SELECT once.alter_queue('q', max_attempts => 1); ROLLBACK TO s");
worker("EXECUTE send('l'); EXECUTE fail");
is((split(/\n/, $other->query_safe("SELECT count(once.ack(receipt)) FROM once.receive('q')")))[-1], '1', 'rolled back to a savepoint');
$other->query_safe('COMMIT');
$other->quit;

# Another queue of the same name
worker("EXECUTE send('m')");
value("SELECT once.drop_queue('q')");
value("SELECT once.create_queue('q', retry_delay => '1 h', archive => '1 day')");
is(worker("EXECUTE finish"), 'nothing', 'dropped and created: it is empty');
is(worker("EXECUTE send('n'); EXECUTE finish"), 'n:1', 'dropped and created: it works');
is(worker("EXECUTE send('o'); EXECUTE fail; EXECUTE finish"), 'nothing', 'dropped and created: its own options');
is(value('SELECT count(*) FROM once.a_q'), '1', 'dropped and created: its own archive');
clean($node, 'q', 'in the end');

# A ledger's retention.  The session tries to advance the ledger at least once a second.
value(q(CREATE PROCEDURE mark_for(span interval, ledger text, id text) LANGUAGE plpgsql AS $$
	DECLARE
		enough timestamptz := clock_timestamp() + span;
	BEGIN
		WHILE once.is_processed(ledger, id) AND clock_timestamp() < enough LOOP
			PERFORM once.mark_processed(ledger, 'other');
			COMMIT;
			PERFORM pg_sleep(0.01);
		END LOOP;
	END $$));
value("SELECT once.create_ledger('l', '100 days'), once.create_ledger('m', '1 us')");
worker("SELECT once.mark_processed('l', 'a'), once.mark_processed('m', 'a')");
worker("CALL mark_for('60 s', 'm', 'a')");
is(worker("SELECT once.is_processed('l', 'a') AND NOT once.is_processed('m', 'a')"), 't', 'two ledgers, each with its retention');
my $altering = $node->background_psql('postgres');
$altering->query_safe("BEGIN; SELECT once.alter_ledger('l', '1 us')");
worker("CALL mark_for('1.5 s', 'l', 'a')");
is(worker("SELECT once.is_processed('l', 'a')"), 't', 'retention: not before it is committed');
$altering->query_safe('COMMIT');
$altering->quit;
worker("CALL mark_for('60 s', 'l', 'a')");
is(worker("SELECT once.is_processed('l', 'a')"), 'f', 'retention: shorter');
value("SELECT once.alter_ledger('m', '100 days')");
worker("SELECT once.mark_processed('m', 'b'); CALL mark_for('1.5 s', 'm', 'b')");
is(worker("SELECT once.is_processed('m', 'b')"), 't', 'retention: longer');
value("SELECT once.drop_ledger('m')");
is(worker("SELECT state_of('SELECT once.is_processed(''m'', ''b'')')"), 'ON011', 'dropped');
value("SELECT once.create_ledger('m', '1 day')");
is(worker("SELECT once.mark_processed('m', 'b')"), 't', 'another ledger of the same name is empty');
$worker->quit;
done_testing();
