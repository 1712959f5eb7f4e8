# The hash of groups.  It is the published one.  Its key is as old as the index, and the same on a standby.  An index that was made
# before there was a key is refused, and REINDEX repairs it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = once_node('main');
my $standby = once_standby($node, 'standby');

sub value { my ($sql, $on) = @_; return (split(/\n/, ($on // $node)->safe_psql('postgres', $sql) // '', -1))[-1] // '' }

# The values that the authors of the paper have published, for 0, 1, .. 15 bytes 00 01 02 .. with the key 00 01 .. 0f
# (SipHash-2-4; https://github.com/veorq/SipHash, vectors.h; the last one is that of the paper's appendix A).
{
	my @published = qw(310e0edd47db6f72 fd67dc93c539f874 5a4fa9d909806c0d 2d7efbd796666785 b7877127e09427cf 8da699cd64557618
	  cee3fe586e46c9cb 37d1018bf50002ab 6224939a79f5f593 b0e4a90bdf82009e f3b9dd94c5bb5d7a a7ad6b22462fb3f4 fbe50e86bc8f1e75
	  903d84c02756ea14 eef27a8e90ca23f7 e545be4961ca29a1);
	my $dir = PostgreSQL::Test::Utils::tempdir;
	append_to_file("$dir/vectors.c", <<'END');
#include "postgres.h"
#include "qam/qam_siphash.h"
#include <unistd.h>
int
main(void)
{
	uint64		key[2] = {UINT64CONST(0x0706050403020100), UINT64CONST(0x0f0e0d0c0b0a0908)};
	unsigned char in[16];

	for (int i = 0; i < 16; i++)
	{
		uint64		hash = qam_siphash(key, in, i);
		unsigned char out[8];

		for (int j = 0; j < 8; j++)
			out[j] = hash >> (8 * j);
		if (write(1, out, 8) != 8)
			return 1;
		in[i] = i;
	}
	return 0;
}
END
	my $src = "$FindBin::RealBin/../../src";
	my ($cc) = split ' ', `$ENV{PG_CONFIG} --cc`;
	chomp(my $include = `$ENV{PG_CONFIG} --includedir-server`);
	command_ok([ $cc, '-O2', "-I$src", "-I$include", '-o', "$dir/vectors", "$dir/vectors.c", "$src/qam/qam_siphash.c" ],
		'the hash compiles alone');
	is(unpack('H*', scalar(`$dir/vectors`)), join('', @published), 'it gives the published values');
}

# Groups go on as before: after a restart, after a crash, and on a standby that is promoted.
value("SELECT once.create_queue('g', retry_delay => '0 s'), once.create_queue('u', unlogged => true)");
my $send = q(SELECT count(*) FROM once.send_batch('%s', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 2000) i), group_ids => (SELECT array_agg('g' || i) FROM generate_series(1, 2000) i)));
my $groups = q(SELECT count(DISTINCT group_hash) FROM once.slots('%s') WHERE state <> 'done');
my $first = q(SELECT count(*) FILTER (WHERE NOT blocked) FROM once.slots('%s') WHERE state <> 'done');
value(sprintf($send, $_)) for 'g', 'u';
$node->restart;
value(sprintf($send, $_)) for 'g', 'u';
is(value(sprintf($groups, $_)), value(sprintf($first, $_)), "$_: after a restart, a group is one chain") for 'g', 'u';
for my $round (1, 2)
{
	flush_wal($node);
	$node->stop('immediate');
	$node->start;
	value(sprintf($send, $_)) for 'g', 'u', 'u';
	is(value(sprintf($groups, $_)), value(sprintf($first, $_)), "$_: after crash $round") for 'g', 'u';
}
clean($node, $_, "$_ after a crash") for 'g', 'u';
my $shown = "SELECT string_agg(group_hash::text, ',' ORDER BY block, slot) FROM once.slots('g')";
catch_up($node, $standby);
is(value($shown, $standby), value($shown), 'a standby shows the same groups');

# An index of version 2
sub set_version
{
	my ($version) = @_;
	my $path = value("SELECT pg_relation_filepath('once.q_g_queue_idx')");
	$node->stop;
	open(my $file, '+<:raw', $node->data_dir . "/$path") or die $!;
	seek($file, 24 + 4, 0);
	read($file, my $was, 4);
	seek($file, 24 + 4, 0);
	print $file pack('L', $version);
	close($file);
	$node->start;
	return unpack('L', $was);
}
$node->append_conf('postgresql.conf', 'ignore_checksum_failure = on');
is(set_version(2), 3, 'format version');
for my $statement ("SELECT once.send('g', '1')", "SELECT once.send('g', '1', group_id => 'g1')", "SELECT * FROM once.pop('g')",
	"SELECT * FROM once.check('g')", "SELECT * FROM once.peek('g')", "SELECT * FROM once.slots('g')", 'VACUUM once.q_g')
{
	my ($status, undef, $error) = $node->psql('postgres', $statement);
	like($error, qr/ERROR:  index "q_g_queue_idx" has an unsupported format\n.*version 2, this library reads version 3.*\n.*REINDEX/,
		"version 2: $statement");
}
$node->safe_psql('postgres', 'REINDEX INDEX once.q_g_queue_idx');
clean($node, 'g', 'REINDEX');
# Two groups may have the same hash.
cmp_ok(value(sprintf($groups, 'g')), '>', 1990, 'with all its groups');
is(value('SELECT count(*) FROM once.q_g'), '8000', 'and all its messages');

catch_up($node, $standby);
$standby->promote;
is(value(sprintf($send, 'g'), $standby), '2000', 'a promoted standby takes messages');
is(value(sprintf($groups, 'g'), $standby), value(sprintf($first, 'g'), $standby), 'into the same groups');
clean($standby, 'g', 'promoted');
is(value("SELECT count(*) FROM (SELECT id, lag(id) OVER (PARTITION BY group_id ORDER BY n) AS before FROM (SELECT id, group_id, row_number() OVER () AS n FROM once.pop('g', 10000)) AS p) AS p WHERE before > id", $standby),
	'0', 'and hands them out in order');
done_testing();
