# An index with damaged pages.  Every verb works, or raises an error that asks for REINDEX.  Nothing runs for ever, and nothing
# crashes.  once.check finds the damage, and REINDEX repairs it without losing a message.
#
# On copies of an index that has every kind of page, each page is zeroed, and each field is set to values drawn from a seed.
#
#   ONCE_DAMAGE_SECONDS   how long it runs (20)
#   ONCE_DAMAGE_SEED      which rounds

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{ONCE_DAMAGE_SECONDS} // 20;
my $seed = $ENV{ONCE_DAMAGE_SEED} // int(rand(2**31));
my $node = once_node('main', 'shared_buffers = 32MB', 'restart_after_crash = off', "statement_timeout = '40s'", 'fsync = off');

note("ONCE_DAMAGE_SEED=$seed");
srand($seed);

# VACUUM must not make the places of deleted rows free to be used again, because slots of the image lead to them.
my $holder = $node->background_psql('postgres', timeout => $seconds + 600);
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_snapshot()');

damaged_queue($node);

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

# ---- What is on the pages ----

use constant { BEGIN_CONTENT => 24, OPAQUE => 8192 - 48, NONE => 0xFFFFFFFF };

my @header = ([ 'pd_flags', 10, 2 ], [ 'pd_lower', 12, 2 ], [ 'pd_upper', 14, 2 ], [ 'pd_special', 16, 2 ], [ 'pd_pagesize_version', 18, 2 ]);
my @opaque = (
	[ 'next.block', 0, 4 ], [ 'next.seq', 8, 8 ], [ 'seq', 16, 8 ], [ 'earliest', 24, 8 ], [ 'owner', 32, 8 ],
	[ 'first_unfinished', 40, 2 ], [ 'lane', 42, 1 ], [ 'kind', 44, 2 ], [ 'page_id', 46, 2 ]);
my @slot = (
	[ 'tid.block', 0, 4 ], [ 'tid.offset', 4, 2 ], [ 'next_slot', 6, 2 ], [ 'next_block', 8, 4 ], [ 'next_seq', 12, 4 ],
	[ 'group_hash', 16, 4 ], [ 'attempts', 20, 2 ], [ 'state', 22, 1 ], [ 'hints', 23, 1 ], [ 'ready_at', 24, 8 ], [ 'claim', 32, 8 ]);
my @group = (
	[ 'hash', 0, 4 ], [ 'head_block', 4, 4 ], [ 'head_seq', 8, 4 ], [ 'tail_block', 12, 4 ], [ 'tail_seq', 16, 4 ],
	[ 'head_slot', 20, 2 ], [ 'tail_slot', 22, 2 ]);
my @meta = (
	[ 'magic', 0, 4 ], [ 'version', 4, 4 ], [ 'nonce', 8, 8 ], [ 'group_key', 24, 8 ], [ 'next_seq', 40, 8 ],
	[ 'free.block', 48, 4 ], [ 'free.seq', 56, 8 ], [ 'directory', 64, 4 ], [ 'schedule', 68, 4 ],
	map { my $l = $_; map { [ "lane $l $_->[0]", 72 + 32 * $l + $_->[1], $_->[2] ] } [ 'head.block', 0, 4 ], [ 'head.seq', 8, 8 ], [ 'tail.block', 16, 4 ], [ 'tail.seq', 24, 8 ] } 0, 4, 7, 8, 9);
my @schedule = ([ 'cursor', 0, 8 ], [ 'near_due', 8, 8 ], [ 'near.head', 16, 4 ], [ 'near.tail', 20, 4 ], [ 'opened.head', 24, 4 ], [ 'opened.tail', 28, 4 ]);
my @kinds = (undef, 'meta', 'lane', 'free', 'directory', 'bucket', 'groups', 'schedule');
my @names = ('new', @kinds[ 1 .. 7 ]);

# Read an image: its pages by block, their kinds, and the blocks of each kind.
sub image_of
{
	my ($name) = @_;
	my @pages = map { pack('H*', $_) } split(/\n/, $node->safe_psql('postgres', "SELECT encode(page, 'hex') FROM image, unnest(pages) WITH ORDINALITY AS p (page, n) WHERE name = '$name' ORDER BY n"));
	my (@kind, %blocks);
	for my $block (0 .. $#pages)
	{
		$kind[$block] = $names[ unpack('v', substr($pages[$block], OPAQUE + 44, 2)) ];
		push @{ $blocks{ $kind[$block] } }, $block;
	}
	return { name => $name, pages => \@pages, kind => \@kind, blocks => \%blocks };
}

# All fields of a page, as [name, place, size].  Of slots, groups and links of the directory, only some.
sub fields_of
{
	my ($image, $block) = @_;
	my $page = $image->{pages}[$block];
	my $kind = $image->{kind}[$block];
	my $used = unpack('v', substr($page, 12, 2)) - BEGIN_CONTENT;
	my @fields = (@header, map { [ $_->[0], OPAQUE + $_->[1], $_->[2] ] } @opaque);
	my $part = sub {
		my ($name, $size, $n, @parts) = @_;
		return if $n <= 0;
		for my $i (0, $n - 1, map { int(rand($n)) } 1 .. 3)
		{
			push @fields, map { [ "$name $i $_->[0]", BEGIN_CONTENT + $size * $i + $_->[1], $_->[2] ] } @parts;
		}
	};

	$part->('slot', 40, int($used / 40), @slot) if $kind =~ /^(lane|bucket|free)$/;
	$part->('group', 24, int($used / 24), @group) if $kind eq 'groups';
	$part->('', 0, 1, @meta) if $kind eq 'meta';
	if ($kind eq 'directory')
	{
		$part->('', 0, 1, [ 'depth', 0, 4 ]);
		$part->('part', 4, $used / 4 - 1, [ 'page', 4, 4 ]);
	}
	if ($kind eq 'schedule')
	{
		my @used = grep { unpack('V', substr($page, BEGIN_CONTENT + 32 + 8 * $_, 4)) } 0 .. 319;
		$part->('', 0, 1, @schedule,
			map { my $b = $_; ([ "bucket $b head", 32 + 8 * $b, 4 ], [ "bucket $b tail", 36 + 8 * $b, 4 ]) } @used, int(rand(320)));
	}
	return @fields;
}

# Draw a value for a field: an extreme one, one near the old value, one that is found elsewhere, or any value.
sub damaged_value
{
	my ($image, $was, $size) = @_;
	my $format = { 1 => 'C', 2 => 'v', 4 => 'V', 8 => 'Q<' }->{$size};
	my $max = $size == 8 ? ~0 : 2**(8 * $size) - 1;
	my $old = unpack($format, $was);
	my $nblocks = @{ $image->{pages} };
	my $seq = sub { unpack('Q<', substr($image->{pages}[ rand($nblocks) ], OPAQUE + 16, 8)) };
	my $any = 0;
	$any = ($any << 8 | int(rand(256))) for 1 .. $size;
	my @values = (0, 1, 2, $max, $max - 1, $max >> 1, ($max >> 1) + 1, ($old + 1) & $max, ($old - 1) & $max, $old ^ 1 << int(rand(8 * $size)), $any, $any, int(rand(16)));
	push @values, map { int(rand($nblocks)) } 1 .. 5 if $size == 4;
	push @values, $nblocks, $nblocks + 1000 if $size == 4;
	push @values, map { $seq->() & $max } 1 .. 3 if $size >= 4;
	my $value = $values[ rand(@values) ];
	return undef if $value == $old;
	return pack($format, $value);
}

# ---- Rounds ----

my $session = $node->background_psql('postgres', on_error_stop => 0, timeout => 80);
$session->set_query_timer_restart;
my $round = 0;
# Errors that may be raised: the index is broken, the server itself refuses to read a page, or a receipt is stale
my $broken = qr/^(XX002|55000 .*unsupported format|XX001 .*invalid page)/;
my $expected = qr/$broken|^ON(003|004|010) /;
my %count = (rounds => 0, named => 0, raised => 0, harmless => 0);

sub bytea_array { return 'ARRAY[' . join(',', map { "'\\x" . unpack('H*', $_) . "'" } @_) . ']::bytea[]' }

# Make the arguments of damage() and round() from an image and [block, place, bytes], ...
sub arguments
{
	my ($image, @damage) = @_;

	return sprintf("'%s', ARRAY[%s]::int[], ARRAY[%s]::int[], %s", $image->{name},
		join(',', map { $_->[0] } @damage), join(',', map { $_->[1] } @damage), bytea_array(map { $_->[2] } @damage));
}

# Try one damage.
sub try_round
{
	my ($image, $what, @damage) = @_;
	my $arguments = arguments($image, @damage);
	my @wrong;

	# If a call does not return, this line in the log tells which one it was.
	note("round " . ++$round . ": $image->{name}: $what") if $ENV{ONCE_DAMAGE_VERBOSE};
	if ($round % 4 == 0)
	{
		$session->query("CALL damage($arguments)");
		$session->query("\\set VERBOSITY sqlstate\nVACUUM once.q_q;\n\\set VERBOSITY default");
		push @wrong, "VACUUM: $session->{stderr}" if ($session->{stderr} // '') =~ /ERROR:  (?!XX00[12]|55000)/;
		$session->{stderr} = '';
	}
	my $answer = $session->query("SELECT round($arguments)");
	my $error = $session->{stderr} // '';
	$session->{stderr} = '';
	unless ($answer =~ /^\{/)
	{
		# The call ran for ever or has crashed, and would do so again.
		die "$image->{name}: $what: no answer: $answer\n$error";
	}
	my $result = decode_json($answer);
	my $faults = @{ $result->{faults} };
	my $drain = $result->{drain};
	my @errors = @{ $result->{errors} };
	my $raised = (grep { /^XX/ } @errors) || $drain->{state} ne '00000';

	push @wrong, map { "verb: $_" } grep { !/$expected/ } @errors;
	push @wrong, "drain: $drain->{state} $drain->{message}" unless "$drain->{state} " . ($drain->{message} // '') =~ /$broken|^00000/;
	push @wrong, map { "check: $_" } grep { /^error / && !/unsupported format|invalid page/ } @{ $result->{faults} };
	push @wrong, map { "after REINDEX: $_" } @{ $result->{after} };
	push @wrong, 'after REINDEX, messages are missing' unless $result->{kept};
	unless ($faults)
	{
		push @wrong, map { "not named: $_" } grep { /^XX/ } @errors;
		push @wrong, "not named: $drain->{message}" if $drain->{state} ne '00000';
		push @wrong, map { "not named, and messages $_: " . join(' ', @{ $drain->{$_} }) } grep { $drain->{$_} } qw(missing twice misplaced);
	}
	$count{rounds}++;
	$count{ $faults ? 'named' : 'harmless' }++;
	$count{raised}++ if $raised;
	if (@wrong)
	{
		fail("$image->{name}: $what");
		diag(join("\n", grep { defined } @wrong, 'faults:', @{ $result->{faults} }[ 0 .. 9 ], 'errors:', @errors[ 0 .. 9 ]));
	}
	return !@wrong;
}

# Images: the index as it was made, with a page of zeros at its end; and the index after the bucket that is due was opened
value("UPDATE image SET pages = pages || decode(repeat('00', 8192), 'hex') WHERE name = 'plain'");
sleep(1);
my $older = image_of('older');
my $plain = image_of('plain');
{
	my ($root) = @{ $plain->{blocks}{schedule} };
	my $content = substr($plain->{pages}[$root], BEGIN_CONTENT);
	my $cursor = unpack('Q<', $content);
	my $done = 0;
	for my $bucket (grep { unpack('V', substr($content, 32 + 8 * $_, 4)) } 0 .. 319)
	{
		my ($digit, $value) = (int($bucket / 32), $bucket % 32);
		substr($content, 0, 8) = pack('Q<', ((($cursor >> (5 * $digit + 5)) << 5) | $value) << (5 * $digit));
		substr($content, 24, 8) = substr($content, 32 + 8 * $bucket, 8);
		substr($content, 32 + 8 * $bucket, 8) = "\0" x 8;
		$done = 1;
		last;
	}
	ok($done, 'there is a bucket to be opened');
	my $page = $plain->{pages}[$root];
	substr($page, BEGIN_CONTENT) = $content;
	value("INSERT INTO image SELECT 'opened', pages[1:$root] || '\\x" . unpack('H*', $page) . "'::bytea || pages[$root + 2:] FROM image WHERE name = 'plain'");
}
my $opened = image_of('opened');
is(join(' ', map { $_ . ' ' . @{ $plain->{blocks}{$_} // [] } } @names), join(' ', map { $_ . ' ' . @{ $opened->{blocks}{$_} // [] } } @names), 'images have the same pages');
for (@names) { cmp_ok(scalar(@{ $plain->{blocks}{$_} // [] }), '>=', /groups|free|bucket|lane/ ? 2 : 1, "pages of kind $_") }

# Without damage, nothing is found and no error is raised.  This also shows which messages are offered.
for my $image ($plain, $opened)
{
	value("CALL damage('$image->{name}', '{}', '{}', '{}')");
	my $n = value("WITH had AS (INSERT INTO available SELECT '$image->{name}', unnest(missing) FROM drain('$image->{name}') RETURNING 1) SELECT count(*) FROM had");
	cmp_ok($n, '>', 1000, "$image->{name}: messages can be had");
	ok(try_round($image, 'no damage'), "$image->{name}: no damage");
	is($count{named} + $count{raised}, 0, "$image->{name}: nothing found, nothing raised");
}

# Each page is lost, or replaced by an old version of it.
my $good = 1;
for my $block (0 .. $#{ $plain->{pages} } - 1)
{
	$good &= try_round($plain, "block $block ($plain->{kind}[$block]) zeroed", [ $block, 0, "\0" x 8192 ]);
	$good &= try_round($opened, "block $block ($opened->{kind}[$block]) is an old version", [ $block, 0, $older->{pages}[$block] ])
	  if $block < @{ $older->{pages} };
}
ok($good, 'pages zeroed, and old ones');

# Damage that has been seen before: a lane out of range in a bucket, and lists that share their pages
$good = 1;
for my $block (@{ $plain->{blocks}{bucket} })
{
	my ($root) = @{ $opened->{blocks}{schedule} };
	$good &= try_round($plain, "block $block (bucket) slot 0 next_slot: 65535", [ $block, BEGIN_CONTENT + 6, "\xff\xff" ]);
	$good &= try_round($opened, "block $root (schedule) opened.head: $block", [ $root, BEGIN_CONTENT + 24, pack('V', $block) ]);
	$good &= try_round($opened, "block $root (schedule) opened: $block", [ $root, BEGIN_CONTENT + 24, pack('VV', $block, $block) ]);
	$good &= try_round($plain, "block $root (schedule) near: $block", [ $root, BEGIN_CONTENT + 16, pack('VV', $block, $block) ]);
}
ok($good, 'lanes out of range, and lists that share pages');

# A release by ids does not pass by a page that it cannot read.
for my $block (@{ $plain->{blocks}{lane} })
{
	value('CALL damage(' . arguments($plain, [ $block, 12, "\xff\xff" ]) . ')');
	my $state = sqlstate_of($node, "SELECT once.release('q', ARRAY[1])");
	$good &= $state eq 'XX002' || diag("block $block: $state") && 0;
}
ok($good, 'release by ids names an unsound page');

# A hint that has a page passed by while a transaction is open
{
	my $owner = $node->background_psql('postgres', timeout => $seconds + 600);
	my $xid = $owner->query_safe('BEGIN; SELECT pg_current_xact_id()');
	my $tomorrow = value("SELECT (1000000 * (extract(epoch FROM now()) - 946684800 + 86400))::bigint");
	$good = 1;
	for my $block (@{ $plain->{blocks}{lane} })
	{
		$good &= try_round($plain, "block $block (lane) earliest: $tomorrow, owner: $xid", [ $block, OPAQUE + 24, pack('Q<Q<', $tomorrow, $xid) ]);
	}
	ok($good, 'hints with an owner');
	$owner->quit;
}

# Draw a damage: of a field or of some bytes, on a page of any kind, sometimes on several
sub draw_damage
{
	my ($image) = @_;
	my @drawn = grep { $image->{blocks}{$_} } qw(meta lane lane free directory bucket bucket groups schedule);
	my (@damage, @what);

	for (1 .. (rand() < 0.7 ? 1 : 1 + int(rand(3))))
	{
		my $kind = $drawn[ rand(@drawn) ];
		my $block = $image->{blocks}{$kind}[ rand(@{ $image->{blocks}{$kind} }) ];
		my $page = $image->{pages}[$block];
		my $way = rand();
		if ($way < 0.03)
		{
			my $other = int(rand(@{ $image->{pages} }));
			push @damage, [ $block, 0, $image->{pages}[$other] ];
			push @what, "block $block ($kind) is a copy of $other ($image->{kind}[$other])";
		}
		elsif ($way < 0.06)
		{
			my $at = int(rand(8192));
			my $n = 1 + int(rand(8192 - $at));
			push @damage, [ $block, $at, pack('C*', map { int(rand(256)) } 1 .. $n) ];
			push @what, "block $block ($kind): $n random bytes at $at";
		}
		elsif ($way < 0.08)
		{
			my $at = 512 * int(rand(16));
			push @damage, [ $block, $at, "\0" x 512 ];
			push @what, "block $block ($kind): sector at $at is zero";
		}
		else
		{
			my @fields = fields_of($image, $block);
			my ($name, $at, $size) = @{ $fields[ rand(@fields) ] };
			my $was = substr($page, $at, $size);
			my $value = damaged_value($image, $was, $size) // next;
			push @damage, [ $block, $at, $value ];
			push @what, "block $block ($kind) $name: " . unpack('H*', $was) . ' -> ' . unpack('H*', $value);
		}
	}
	return @damage ? (join('; ', @what), @damage) : draw_damage($image);
}

# Try random damage until the time is up.
my $end = time() + $seconds;
$good = 1;
while (time() < $end)
{
	my $image = rand() < 0.5 ? $plain : $opened;
	$good &= try_round($image, draw_damage($image));
}
ok($good, "$count{rounds} rounds: $count{named} named by once.check, $count{harmless} harmless, $count{raised} raised");
note("$count{rounds} rounds: $count{named} named by once.check, $count{harmless} harmless, $count{raised} raised");

# Several sessions use a broken index at once.  None waits for ever for a page that another one has locked.
my $several = 0;
$end = time() + $seconds / 4;
while (time() < $end)
{
	my $image = rand() < 0.5 ? $plain : $opened;
	my ($what, @damage) = draw_damage($image);
	note("several sessions: $image->{name}: $what") if $ENV{ONCE_DAMAGE_VERBOSE};
	$session->query('CALL damage(' . arguments($image, @damage) . ')');
	my $output = '';
	my @runs = map {
		IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SET lock_timeout = '300ms'; SET client_min_messages = error",
				'-c', 'SELECT count(*) FROM try_verbs()' ], '<', \undef, '>&', \$output, IPC::Run::timeout(80))
	} 1 .. 3;
	IPC::Run::finish($_) for @runs;
	die "several sessions: $image->{name}: $what: $output" if $output !~ /^(\d+\n){3}\z/;
	$several++;
}
$session->query('SELECT mend()');
cmp_ok($several, '>', 0, "$several rounds with several sessions");
clean($node, 'q', 'the end');
$session->quit;
$holder->quit;
done_testing();
