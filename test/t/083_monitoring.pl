# What doc/monitoring offers: the queries run for a member of pg_monitor and have the columns that they promise; the dashboard and the
# alert rules ask for metrics that exist; and prometheus-postgres-exporter exports them, if it is installed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IO::Socket::INET;
use IPC::Run;
use JSON::PP;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = "$FindBin::RealBin/../../doc/monitoring";
my $node = once_node('main', 'fsync = off', 'shared_preload_libraries = pg_once');

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE watcher LOGIN;
GRANT pg_monitor TO watcher;
SELECT once.create_queue('orders');
SELECT once.send('orders', '1'), once.send('orders', '2'), once.send('orders', '3');
SELECT once.ack(receipt) FROM once.receive('orders');
SELECT count(*) FROM once.lease('orders', '1 h');
SQL

# ---- The queries ----

my (%query, %columns, $name);
for my $line (split(/\n/, slurp_file("$dir/queries.yaml")))
{
	if ($line =~ /^(\w+):$/) { $name = $1; $query{$name} = '' }
	elsif ($line =~ /^    - (\w+): \{usage: (\w+), description: [^{}]+\}$/) { $columns{$name}{$1} = $2 }
	elsif ($line =~ /^    ( *[A-Z].*|   .*)$/) { $query{$name} .= "$1\n" }
	elsif ($line !~ /^(#.*|  query: \||  metrics:)?$/) { die "what is this? $line" }
}
my %metric;
for $name (sort keys %query)
{
	my $result = $node->safe_psql('postgres', "SET ROLE watcher; SELECT to_jsonb(r) FROM ($query{$name}) r LIMIT 1");
	my $row = decode_json($result eq '' ? '{}' : $result);

	is(join(' ', sort keys %$row), join(' ', sort keys %{ $columns{$name} }), "$name: its columns");
	$metric{"${name}_$_"} = 1 for grep { $columns{$name}{$_} ne 'LABEL' } keys %{ $columns{$name} };
}
is($node->safe_psql('postgres', "SET ROLE watcher; SELECT has_table_privilege('once.q_orders', 'SELECT')"), 'f', 'that role sees no messages');

# ---- The dashboard and the alert rules ----

sub unknown
{
	my (@expressions) = @_;
	my %unknown;

	for my $expression (@expressions)
	{
		my @names = $expression =~ /\b(pg_once_\w+)/g;

		$unknown{$_} = 1 for grep { !$metric{$_} } @names;
		$unknown{$expression} = 1 unless @names;
	}
	return join(' ', sort keys %unknown);
}

my $dashboard = decode_json(slurp_file("$dir/grafana.json"));
my @targets = map { $_->{expr} } map { @{ $_->{targets} } } @{ $dashboard->{panels} };
cmp_ok(scalar(@targets), '>', 10, 'the dashboard asks for something');
is(unknown(@targets, grep { /pg_once/ } map { $_->{query} } @{ $dashboard->{templating}{list} }), '', 'and for nothing that does not exist');
my @rules = slurp_file("$dir/rules.yaml") =~ /^        expr: (.*)$/mg;
cmp_ok(scalar(@rules), '>', 5, 'there are alert rules');
is(unknown(@rules), '', 'they watch what exists');

# ---- The exporter ----

my ($exporter) = grep { -x } map { "$_/prometheus-postgres-exporter" } split(/:/, $ENV{PATH});
SKIP:
{
	skip('prometheus-postgres-exporter is not installed', 2) unless defined $exporter;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $host = $node->host;
	my $output = '';

	local $ENV{DATA_SOURCE_NAME} = "host=$host port=" . $node->port . ' user=watcher dbname=postgres sslmode=disable';
	my $run = IPC::Run::start([ $exporter, "--web.listen-address=127.0.0.1:$port", "--extend.query-path=$dir/queries.yaml", '--disable-default-metrics', '--disable-settings-metrics' ],
		'<', \undef, '>&', \$output);
	my $page = '';
	for (1 .. 100)
	{
		my $socket = IO::Socket::INET->new("127.0.0.1:$port");

		if (defined $socket)
		{
			print $socket "GET /metrics HTTP/1.0\r\n\r\n";
			local $/;
			$page = <$socket>;
			last if $page =~ /pg_once_/;
		}
		select(undef, undef, undef, 0.2);
	}
	$run->kill_kill;
	is(join(' ', grep { $page !~ /^\Q$_\E\{/m } sort keys %metric), '', 'the exporter exports all metrics') or diag($output);
	like($page, qr/^pg_once_messages_acked_total\{.*queue="orders".*\} 1$/m, 'and their values');
}
done_testing();
