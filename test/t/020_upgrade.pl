# pg_upgrade keeps the files of tables and indexes.  So the new cluster has everything that OnceLive makes.
#
# By default, a cluster is upgraded to the same version, with --link.  Or ONCE_UPGRADE_PATH names installations of several versions by
# the directories that have bin/ in them, the oldest first, separated by spaces.  Then a cluster is upgraded from each to the next, and
# the new clusters are used when all of them have been made.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceLive;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @path = map { [ install_path => $_ ] } split(' ', $ENV{ONCE_UPGRADE_PATH} // '');
my @mode = @path ? () : '--link';
@path = ([], []) unless @path;

# Upgrade a stopped cluster to an installation.  Returns the new cluster, started.
sub upgrade
{
	my ($old, $name, @installation) = @_;
	my $new = PostgreSQL::Test::Cluster->new($name, @installation);

	$new->init(extra => [ '--data-checksums', '--encoding=UTF8', '--locale=C' ]);
	$new->append_conf('postgresql.conf', "autovacuum = off\nmax_connections = 60\nmax_prepared_transactions = 50\nwal_level = logical\n");
	chdir ${PostgreSQL::Test::Utils::tmp_check};
	$new->command_ok(
		[
			$new->installed_command('pg_upgrade'), '--no-sync', @mode, '--old-datadir', $old->data_dir, '--new-datadir', $new->data_dir,
			'--old-bindir', $old->config_data('--bindir'), '--new-bindir', $new->config_data('--bindir'), '--socketdir', $new->host,
			'--old-port', $old->port, '--new-port', $new->port
		],
		"pg_upgrade @mode to $name");
	$new->start;
	return $new;
}

sub version { return (split(' ', (shift)->config_data('--version')))[1] =~ s/\W.*//r }

my $node = once_node([ 'old', @{ shift @path } ]);
my $holder = live_make($node);
my $live = live_read($node);
clean($node, $_, "old, $_") for 'orders', 'u';

my @new;
for my $installation (@path)
{
	$node->stop;
	$node = upgrade($node, 'new' . @new, @$installation);
	push @new, $node;
	live_same($node, $live, $node->name);
}
$node->stop;

for my $new (@new)
{
	my $what = 'PostgreSQL ' . version($new);

	$new->start;
	live_use($new, $what);
	$new->stop('immediate');
	my $set_clock = start_with_clock($new);
	clean($new, 'orders', "$what, after a crash");
	$set_clock->(3 * 86400);
	live_drain($new, $what);
	run_stress($new, "$what: stress test on the new cluster", '--policy', '--seconds', 3);
	$new->stop;
}
done_testing();
