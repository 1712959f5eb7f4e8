# A maintainer.  Now and then, it runs VACUUM and the commands that rebuild the index.  With --policy it also calls once.maintain,
# and changes the queue's options.

package Stress::Maintainer;

use strict;
use warnings;
use parent -norequire, 'Stress::Worker';

use Stress::Worker;
use Time::HiRes qw(sleep time);

sub step
{
	my ($self) = @_;
	my $table = $self->table();

	# Rest in between, because some of these commands lock out all others.
	$self->rest(0.2 + rand(0.6));
	my $what = $self->pick(
		"VACUUM $table" => 50,
		"VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) $table" => 15,
		"VACUUM FULL $table" => $self->{rebuild} ? 5 : 0,
		'REINDEX' => $self->{rebuild} ? 7 : 0,
		'REINDEX CONCURRENTLY' => $self->{rebuild} ? 13 : 0,
		'CHECKPOINT' => 5,
		"ANALYZE $table" => 5,
		'CALL once.maintain()' => $self->{policy} ? 20 : 0,
		'alter_queue' => $self->{policy} ? 20 : 0);
	# While there is an invalid index, rebuilding the others is refused.
	$self->drop_leftovers();
	$self->order_holds();
	if ($what =~ /^REINDEX/)
	{
		my $how = $what =~ /CONCURRENTLY/ ? 'CONCURRENTLY ' : '';
		my ($index) = $self->indexes('indisvalid');
		# Messages that are alive during a concurrent build may lose their order.
		$self->{session}->rows("INSERT INTO stress.unordered VALUES (nextval('stress.moment'), NULL)") if $how;
		$self->try_run("REINDEX INDEX $how$index");
		$self->order_holds();
	}
	elsif ($what eq 'alter_queue')
	{
		my $option = $self->pick(
			"ttl_action => '" . $self->pick('drop', 1, 'dead_letter', 1) . "'" => 2,
			"retry_delay => '" . (5 + $self->roll(50)) . " ms'" => 1);
		$self->try_run("SELECT once.alter_queue('$self->{queue}', $option)");
	}
	else
	{
		$self->try_run($what);
	}
	$self->count($what =~ s/ once\."q_.*"//r);
}

sub rest
{
	my ($self, $seconds) = @_;
	my $until = time() + $seconds;
	sleep(0.05) while time() < $until and time() < $self->{until};
}

sub indexes
{
	my ($self, $condition) = @_;
	return map { $_->[0] } $self->{session}->rows(<<END =~ s/\s+/ /gr);
		SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		JOIN pg_am a ON a.oid = c.relam AND a.amname = 'once_queue'
		WHERE i.indrelid = '${\ $self->table()}'::regclass AND $condition
END
}

# Note that no concurrent build is running any more.
sub order_holds
{
	my ($self) = @_;
	$self->{session}->rows("UPDATE stress.unordered SET upto = nextval('stress.moment') WHERE upto IS NULL");
}

# Drop what REINDEX CONCURRENTLY leaves behind when it fails (by a deadlock or a crash).
sub drop_leftovers
{
	my ($self) = @_;
	for my $index ($self->indexes('NOT indisvalid'))
	{
		$self->try_run("DROP INDEX $index");
		$self->count('leftovers of REINDEX CONCURRENTLY dropped');
	}
}

package Stress::Resolver;

# A resolver.  It commits or rolls back prepared transactions, after a while, as long as other workers run.

use parent -norequire, 'Stress::Worker';

use Time::HiRes qw(sleep time);

sub over { return -e "$_[0]->{dir}/alone" }

sub step
{
	my ($self) = @_;
	my $now = time();

	for my $row ($self->{session}->rows("SELECT gid FROM pg_prepared_xacts WHERE gid LIKE 'stress %'"))
	{
		my ($gid) = @$row;
		$self->{due}{$gid} //= $now + rand(0.5);
		next if $self->{due}{$gid} > $now;
		my $how = $self->chance(60) ? 'COMMIT' : 'ROLLBACK';
		$self->try_run("$how PREPARED '$gid'");
		$self->count(lc($how) . ' prepared');
	}
	sleep(0.05);
}

package Stress::Verifier;

# A verifier.  It runs once.check and the oracle under load.

use parent -norequire, 'Stress::Worker';

use Stress::Oracle;
use Time::HiRes qw(sleep time);

sub step
{
	my ($self) = @_;
	my $oracle = Stress::Oracle->new($self->{session}, $self->{queue});

	$oracle->must_check($self->chance(10));
	$oracle->must_balance();
	$oracle->must_keep_order();
	$oracle->must_keep_policy();
	$self->count('verified under load');
	my $until = time() + 0.5 + rand(1);
	sleep(0.05) while time() < $until and time() < $self->{until};
}

package Stress::Killer;

# A killer.  It terminates the backend of one of the workers, no matter what that is doing.

use parent -norequire, 'Stress::Worker';

use Time::HiRes qw(sleep time);

sub step
{
	my ($self) = @_;
	my $until = time() + 0.2 + rand(0.8);

	sleep(0.05) while time() < $until and time() < $self->{until};
	my $n = $self->{session}->value(<<END =~ s/\s+/ /gr);
		SELECT count(pg_terminate_backend(pid)) FROM (
			SELECT pid FROM pg_stat_activity
			WHERE application_name LIKE 'stress %' AND application_name <> 'stress main' AND pid <> pg_backend_pid()
				AND backend_type = 'client backend'
			ORDER BY state = 'active' AND random() < 0.7 DESC, random() LIMIT 1) AS a
END
	$self->count('backends killed', $n);
}

1;
