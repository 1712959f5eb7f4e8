# A call that hands out many large messages keeps none of them in memory, except what work_mem allows for its result.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use Test::More;

plan skip_all => 'the system does not tell how much memory a process has used' if !-r '/proc/self/status';

my $node = once_node('main', 'shared_buffers = 16MB', 'work_mem = 1MB');
my $megabytes = 100;

for my $queue ('plain', 'slow', 'archived')
{
	$node->safe_psql('postgres', "SELECT once.create_queue('$queue', retry_delay => '0'" . ($queue eq 'archived' ? ", archive => '36500 days')" : ')'));
	# 8 kB that look random, repeated: the compression does not search that far back
	$node->safe_psql('postgres', "INSERT INTO once.q_$queue (payload) SELECT to_jsonb(repeat(block, 128)) FROM (SELECT string_agg(md5(i::text), '') AS block FROM generate_series(1, 256) i) b, generate_series(1, $megabytes)");
}
$node->safe_psql('postgres', 'CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$;'
	. 'CREATE TRIGGER pass BEFORE DELETE ON once.q_slow FOR EACH ROW EXECUTE FUNCTION pass()');

for my $queue ('plain', 'slow', 'archived')
{
	for my $verb ('receive', 'lease', 'pop')
	{
		my $arguments = $verb eq 'lease' ? "'$queue', '1 us', $megabytes" : "'$queue', $megabytes";
		my ($handed_out, $most) = split(/\n/, $node->safe_psql('postgres', "BEGIN; SELECT count(*) FROM once.$verb($arguments);"
			. q{SELECT (regexp_match(pg_read_file('/proc/self/status'), 'VmHWM:\s+(\d+) kB'))[1]; ROLLBACK}));

		is($handed_out, $megabytes, "$verb from $queue: all messages");
		cmp_ok($most / 1024, '<', 0.7 * $megabytes, "$verb from $queue: not all at once");
	}
}
done_testing();
