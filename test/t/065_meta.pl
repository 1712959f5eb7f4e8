# META.json complies with the PGXN Meta Spec 1.0.0 (https://rfcs.pgxn.org/0001-meta-spec-v1.html), and agrees with other files.

use strict;
use warnings;

use FindBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";

# ---- The specification ----

# Each kind of value is a function that returns the faults of a value: texts that begin with its path.
sub text { return !defined $_[1] || ref $_[1] || $_[1] eq '' ? "$_[0]: no text" : () }

sub matching
{
	my ($what, $pattern) = @_;

	return sub { return text(@_) || ($_[1] =~ $pattern ? () : "$_[0]: $what: $_[1]") };
}

sub one_of
{
	my %known = map { $_ => 1 } @_;

	return sub { return text(@_) || ($known{ $_[1] } ? () : "$_[0]: unknown: $_[1]") };
}

my $number = qr/(?:0|[1-9][0-9]*)/;
my $semver = qr/$number\.$number\.$number(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?/;
my $clause = qr/(?:(?:[<>]=?|[!=]=)\s*)?$semver/;
my $version = matching('no version', qr/\A$semver\z/);
my $range = matching('no range of versions', qr/\A(?:0|$clause(?:,\s*$clause)*)\z/);
my $term = matching('no term', qr/\A[^\/\\[:cntrl:]\s]{2,}\z/);
my $tag = matching('no tag', qr/\A[^\/\\[:cntrl:]]{1,255}\z/);
my $uri = matching('no URI', qr/\A[A-Za-z][A-Za-z0-9+.-]*:\S+\z/);
my $path = matching('no relative path of unix', qr/\A(?!\/)(?!.*\\)(?!.*(?:\A|\/)\.\.(?:\/|\z)).+\z/);
my $lower = matching('not in lower case', qr/\A[[:lower:]]+\z/);

# A single value stands for a list of one.
sub list_of
{
	my ($item, $least) = @_;

	return sub {
		my ($where, $value) = @_;
		my @items = ref $value eq 'ARRAY' ? @$value : ($value);

		return "$where: too few" if @items < $least;
		return map { $item->("$where\[$_]", $items[$_]) } 0 .. $#items;
	};
}

sub map_of
{
	my ($key, $item) = @_;

	return sub {
		my ($where, $value) = @_;

		return "$where: no map" if ref $value ne 'HASH';
		return "$where: empty" if !%$value;
		return map { ($key->("$where: key", $_), $item->("$where.$_", $value->{$_})) } sort keys %$value;
	};
}

# A map with these keys.  Keys with an exclamation mark are required.  All other keys begin with x_.
sub structure
{
	my %fields = @_;
	my %kind = map { s/!\z//r => $fields{$_} } keys %fields;

	return sub {
		my ($where, $value) = @_;

		return "$where: no map" if ref $value ne 'HASH';
		return (
			(map { "$where.$_: missing" } grep { !exists $value->{$_} } sort map { /(.*)!\z/ ? $1 : () } keys %fields),
			(map { exists $kind{$_} ? $kind{$_}->("$where.$_", $value->{$_}) : /\Ax_/i ? () : "$where.$_: unknown" } sort keys %$value));
	};
}

my $license = one_of(qw(agpl_3 apache_1_1 apache_2_0 artistic_1 artistic_2 bsd freebsd gfdl_1_2 gfdl_1_3 gpl_1 gpl_2 gpl_3 lgpl_2_1 lgpl_3_0 mit
	  mozilla_1_0 mozilla_1_1 openssl perl_5 postgresql qpl_1_0 ssleay sun zlib open_source restricted unrestricted unknown));
my $specified = structure(
	'abstract!' => \&text,
	'maintainer!' => list_of(\&text, 1),
	'license!' => sub { return ref $_[1] eq 'HASH' ? map_of(\&text, $uri)->(@_) : list_of($license, 1)->(@_) },
	'provides!' => map_of($term, structure('file!' => $path, 'version!' => $version, 'abstract' => \&text, 'docfile' => $path)),
	'meta-spec!' => structure('version!' => matching('not 1.0.x', qr/\A1\.0\.[0-9]+\z/), 'url' => $uri),
	'name!' => $term,
	'version!' => $version,
	'description' => \&text,
	'generated_by' => \&text,
	'tags' => list_of($tag, 1),
	'no_index' => structure('file' => list_of($path, 1), 'directory' => list_of($path, 1)),
	'prereqs' => map_of(
		one_of(qw(configure build test runtime develop)),
		map_of(one_of(qw(requires recommends suggests conflicts)), map_of($term, $range))),
	'release_status' => one_of(qw(stable testing unstable)),
	'resources' => structure(
		'homepage' => $uri,
		'bugtracker' => structure('web' => $uri, 'mailto' => matching('no address', qr/\A[^@\s]+@[^@\s]+\z/)),
		'repository' => structure('url' => $uri, 'web' => $uri, 'type' => $lower)));

sub problems { return join("\n", $specified->('META', $_[0])) }

# ---- Our file ----

my $json = PostgreSQL::Test::Utils::slurp_file("$top/META.json");
sub meta { return decode_json($json) }

is(problems(meta()), '', 'META.json is as specified');

# Whoever says nothing of this has not looked.
sub refused
{
	my ($change, $problem) = @_;
	my $meta = meta();

	$change->($meta);
	like(problems($meta), qr/^META\Q$problem\E/m, "refused: $problem");
}

for my $field (qw(abstract maintainer license provides meta-spec name version))
{
	refused(sub { delete $_[0]{$field} }, ".$field: missing");
}
refused(sub { $_[0]{version} = '0.1' }, '.version: no version');
refused(sub { $_[0]{version} = '01.0.0' }, '.version: no version');
refused(sub { $_[0]{maintainer} = [] }, '.maintainer: too few');
refused(sub { $_[0]{maintainer} = [''] }, '.maintainer[0]: no text');
refused(sub { $_[0]{license} = 'PostgreSQL' }, '.license[0]: unknown');
refused(sub { $_[0]{license} = { PostgreSQL => 'LICENSE' } }, '.license.PostgreSQL: no URI');
refused(sub { $_[0]{name} = 'pg once' }, '.name: no term');
refused(sub { $_[0]{provides} = {} }, '.provides: empty');
refused(sub { delete $_[0]{provides}{pg_once}{file} }, '.provides.pg_once.file: missing');
refused(sub { $_[0]{provides}{pg_once}{file} = '/pg_once.control' }, '.provides.pg_once.file: no relative path');
refused(sub { $_[0]{provides}{pg_once}{version} = undef }, '.provides.pg_once.version: no text');
refused(sub { $_[0]{prereqs}{runtime}{requires}{PostgreSQL} = '15' }, '.prereqs.runtime.requires.PostgreSQL: no range');
refused(sub { $_[0]{prereqs}{run} = {} }, '.prereqs: key: unknown');
refused(sub { $_[0]{release_status} = 'ready' }, '.release_status: unknown');
refused(sub { $_[0]{tags} = ['a/b'] }, '.tags[0]: no tag');
refused(sub { $_[0]{'meta-spec'}{version} = '2.0.0' }, '.meta-spec.version: not 1.0.x');
refused(sub { $_[0]{resources} = { repository => { type => 'Git' } } }, '.resources.repository.type: not in lower case');
refused(sub { $_[0]{licence} = 'postgresql' }, '.licence: unknown');
{
	my $meta = meta();

	$meta->{license} = { PostgreSQL => 'https://www.postgresql.org/about/licence' };
	$meta->{x_more} = [];
	$meta->{prereqs}{runtime}{requires}{PostgreSQL} = '>= 15.0.0, < 19.0.0-beta1';
	is(problems($meta), '', 'what else the specification has is not refused');
}

# ---- Agreement with other files ----

my $meta = meta();
my $control = PostgreSQL::Test::Utils::slurp_file("$top/pg_once.control");
my ($default_version) = $control =~ /^default_version = '(.*)'$/m;
my ($comment) = $control =~ /^comment = '(.*)'$/m;
my $provided = $meta->{provides}{pg_once};

is($meta->{name}, 'pg_once', 'the name');
is(join(' ', keys %{ $meta->{provides} }), 'pg_once', 'what is provided');
is($meta->{version}, $default_version, 'the version is that of pg_once.control');
is($provided->{version}, $default_version, 'and so is that of the extension');
is($meta->{abstract}, $comment, 'the abstract is the comment there');
is($provided->{abstract}, $comment, 'and so is that of the extension');
like(PostgreSQL::Test::Utils::slurp_file("$top/CHANGELOG.md"), qr/^## \Q$meta->{version}\E\b/m, 'there is something about it in CHANGELOG.md');
like(
	PostgreSQL::Test::Utils::slurp_file("$top/packaging/debian/changelog"),
	qr/\A\S+ \(\Q$meta->{version}\E-/,
	'and so there is in the changelog of the Debian package');
like(PostgreSQL::Test::Utils::slurp_file("$top/packaging/rpm/pg_once.spec"), qr/^Version: +\Q$meta->{version}\E$/m, 'the RPM has this version, too');
like(PostgreSQL::Test::Utils::slurp_file("$top/packaging/rpm/pg_once.spec"), qr/^\* .* - \Q$meta->{version}\E-/m, 'and tells of it');
is($meta->{license}, 'postgresql', 'the licence');
like(PostgreSQL::Test::Utils::slurp_file("$top/LICENSE"), qr/^Permission to use, copy, modify, and distribute this software and its\n/m, 'which is that of LICENSE');
ok(-e "$top/$_", "$_ exists") for @$provided{qw(file docfile)}, @{ $meta->{no_index}{directory} };

my ($oldest_major) = PostgreSQL::Test::Utils::slurp_file("$top/test/lib/postgres.sh") =~ /^oldest_major=(.*)$/m;
is($meta->{prereqs}{runtime}{requires}{PostgreSQL}, "$oldest_major.0.0", 'the oldest PostgreSQL is the one that the tests know');

done_testing();
