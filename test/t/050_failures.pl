# A failure belongs to a message, also if ids are used again or rows get another place: in an unlogged queue after a crash, and after a
# dump and restore.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = once_node('main');

sub value { my ($sql, $database) = @_; return (split(/\n/, $node->safe_psql($database // 'postgres', $sql) // '', -1))[-1] // '' }
sub fail_first { my ($queue, $error) = @_; return value("SELECT count(once.nack(receipt, error => '$error')) FROM once.lease('$queue')") }

# The failures are logged and the queue is not, so failures outlive the messages.
value("SELECT once.create_queue('u', unlogged => true, max_attempts => 2, retry_delay => '0 s')");
my $id = value("SELECT once.send('u', '1')");
fail_first('u', 'before the crash');
$node->stop('immediate');
$node->start;
is(value("SELECT once.send('u', '2')"), $id, 'after a crash, ids begin anew');
is(value('SELECT count(*) FROM once.failures'), '1', 'the failure of the message that was lost is there');
is(value('SELECT count(*) FROM once.failures f JOIN once.q_u m USING (id, enqueued_at)'), '0', 'but is not of the new one');
value("SELECT count(once.nack(receipt)) FROM once.lease('u')") for 1, 2;
value("SELECT count(*) FROM once.pop('u')");
is(value('SELECT last_error IS NULL FROM once.dead_letters'), 't', 'nor does that die of it');
value('CALL once.maintain()');
is(value('SELECT count(*) FROM once.failures'), '0', 'maintain sweeps it up');

# After a dump and restore, failures still belong to their messages.
value("SELECT once.create_queue('d', max_attempts => 2, retry_delay => '0 s')");
value("SELECT once.send('d', '$_')") for 1, 2;
fail_first('d', $_) for 'first of 1', 'second of 1', 'first of 2';
value('CREATE DATABASE restored');
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, 'postgres' ], 'dumped');
$node->command_ok([ 'pg_restore', '-d', 'restored', $dump ], 'restored');
is(value("SELECT last_error FROM once.dead_letters WHERE queue = 'd'", 'restored'), 'second of 1', 'the dead letter has its error');
is(value('SELECT error FROM once.failures f JOIN once.q_d m USING (id, enqueued_at)', 'restored'), 'first of 2', 'and the message its own');
$node->safe_psql('restored', "SELECT once.nack(receipt, error => 'after the restore') FROM once.lease('d'); SELECT count(once.ack(receipt)) FROM once.receive('d')");
value('CALL once.maintain()', 'restored');
is(value("SELECT string_agg(error, ', ' ORDER BY error) FROM once.failures WHERE queue = 'd'", 'restored'), 'first of 1, second of 1',
	'an ack takes those of its message, and maintain leaves those of dead letters');
done_testing();
