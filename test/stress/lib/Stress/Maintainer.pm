# A maintainer: VACUUM and the commands that rebuild the index, now and then.

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

	# Once in between is enough for what takes the table away from all others.
	$self->rest(0.2 + rand(0.6));
	my $what = $self->pick(
		"VACUUM $table" => 50,
		"VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) $table" => 15,
		"VACUUM FULL $table" => $self->{rebuild} ? 5 : 0,
		'REINDEX' => $self->{rebuild} ? 7 : 0,
		'REINDEX CONCURRENTLY' => $self->{rebuild} ? 13 : 0,
		'CHECKPOINT' => 5,
		"ANALYZE $table" => 5);
	# With an invalid index about, rebuilding the others is refused.
	$self->drop_leftovers();
	if ($what =~ /^REINDEX/)
	{
		my $how = $what =~ /CONCURRENTLY/ ? 'CONCURRENTLY ' : '';
		my ($index) = $self->indexes('indisvalid');
		$self->try_run("REINDEX INDEX $how$index");
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

# What REINDEX CONCURRENTLY leaves behind when it fails (a deadlock, or a crash)
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

# A resolver: decides prepared transactions, after a while, as long as anybody else is at work.

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

# A verifier: once.check, and the oracle, under load.

use parent -norequire, 'Stress::Worker';

use Stress::Oracle;
use Time::HiRes qw(sleep time);

sub step
{
	my ($self) = @_;
	my $oracle = Stress::Oracle->new($self->{session}, $self->{queue});

	$oracle->must_check($self->chance(10));
	$oracle->must_balance();
	$self->count('verified under load');
	my $until = time() + 0.5 + rand(1);
	sleep(0.05) while time() < $until and time() < $self->{until};
}

1;
