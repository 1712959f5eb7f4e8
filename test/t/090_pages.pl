# The pages of the documentation, README.md and doc/*.md.  Their examples are executed, their links must lead somewhere, and the
# reference must be complete.  ONCE_PAGES="doc/pg_once.md ..." tries only these pages.
#
# The page of errors must have every SQLSTATE that the sources raise.
#
# A page is executed by one psql session in an empty database of its own, without the extension.  Its blocks are executed from top to
# bottom, and each must succeed.  Roles that the page creates are dropped at its end.  On the line before a block, a comment that readers
# do not see can say how to test it:
#
#   ```sql                               executed
#   ```sh, ```ini, ```, ...              not executed
#   <!-- test: error ON005 -->           the statements of the next block may fail; the last that does has this SQLSTATE
#   <!-- test: not run, REASON -->       the next block is not executed here
#   <!-- recipe: NAME -->                the next block is executed by 024_recipes.pl, with parameters
#
# A block without a language right after one that is executed is what psql prints.  The last lines of the output, with warnings and
# errors, must be the same.  Spaces, the length of rules, times, uuids and addresses are not compared.  "..." stands for any lines.
#
# A block can be quoted from a file of the repository.  Its lines must be there, one after the other; indentation is not compared:
#
#   <!-- from: test/clients/python/worker.py -->
#
# Statements that the examples need but the reader does not see are executed as well:
#
#   <!-- test
#   CREATE EXTENSION pg_once;
#   -->

use strict;
use warnings;

use Encode qw(decode);
use File::Basename qw(basename dirname);
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my @pages = $ENV{ONCE_PAGES} ? split(' ', $ENV{ONCE_PAGES}) : ('README.md', map { "doc/" . basename($_) } sort glob("$top/doc/*.md"));
my $node = once_node('main', "timezone = 'UTC'");

sub lines_of { return split(/\n/, slurp_file("$top/$_[0]"), -1) }

# ---- The examples ----

# Make psql's script of a page.  Its lines have the same numbers as in the page, so that psql's errors name lines of the page.  It prints
# a mark where a block begins and ends.  Returns the script, and the blocks by the number of their first line: the SQLSTATE expected, and
# the output expected.
sub script_of
{
	my ($page) = @_;
	my (@script, %block, $inside, $begun, $ended, $mark);
	my $number = 0;

	for my $line (lines_of($page))
	{
		my ($sql, $next_mark) = ('');

		$number++;
		if (defined $inside)
		{
			if ($line eq ($inside eq 'hidden' ? '-->' : '```'))
			{
				$sql = "\\echo ::end $begun :LAST_ERROR_SQLSTATE" if $inside eq 'sql';
				$ended = $inside eq 'sql' ? $begun : undef;
				$inside = undef;
			}
			elsif ($inside eq 'sql' || $inside eq 'hidden')
			{
				$sql = $line;
			}
			elsif ($inside eq 'output')
			{
				$block{$ended}{output} .= "$line\n";
			}
		}
		elsif ($line eq '<!-- test')
		{
			$inside = 'hidden';
		}
		elsif ($line =~ /^<!-- (test: error (\w{5})|test: not run, .+|recipe: .+) -->$/)
		{
			die "$page, line $number: a mark, and no block" if defined $mark;
			$next_mark = $2 // 'not run';
		}
		elsif ($line =~ /^```(\w*)$/)
		{
			$inside = $1 eq 'sql' && ($mark // '') ne 'not run' ? 'sql' : $1 eq '' && defined $ended ? 'output' : 'text';
			if ($inside eq 'sql')
			{
				$begun = $number;
				$block{$begun} = { sqlstate => $mark // '00000' };
				$sql = '\set ON_ERROR_STOP ' . (defined $mark ? 'off' : 'on') . " \\set LAST_ERROR_SQLSTATE 00000 \\echo ::begin $begun";
			}
			else
			{
				die "$page, line $number: a mark, and no SQL" if defined $mark && $1 ne 'sql';
			}
		}
		else
		{
			die "$page, line $number: what is this?" if $line =~ /^\s*<!-- *(test( |:|$)|recipe)|^\s+```/;
			die "$page, line $number: a mark, and no block" if defined $mark;
			$ended = undef if $line ne '';
		}
		$mark = $next_mark;
		push(@script, $sql);
	}
	die "$page: a block without an end" if defined $inside;
	return (join("\n", @script) . "\n", \%block);
}

# The part of an output that is compared
sub essence
{
	my ($text) = @_;

	$text =~ s/^psql:[^ ]*:\d+: //mg;
	$text =~ s/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+\d\d/(time)/g;
	$text =~ s/[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}/(uuid)/g;
	$text =~ s/[ \t]+/ /g;
	$text =~ s/-{2,}/--/g;
	return join('', map { "$_\n" } grep { $_ ne '' } map { s/^ | $//gr } split(/\n/, $text));
}

sub ends_with
{
	my ($output, $expected) = map { essence($_) } @_;
	my $pattern = join('(?:.*\n)*', map { quotemeta($_) } split(/^\.\.\.\n/m, $expected, -1));

	return $output =~ /(?:^|\n)$pattern\z/;
}

sub roles { return split(/\n/, $node->safe_psql('postgres', 'SELECT rolname FROM pg_roles')) }

sub execute
{
	my ($page) = @_;
	my $database = basename($page, '.md');
	my ($script, $blocks) = script_of($page);
	my $file = $node->basedir . "/$database.sql";
	my %role = map { $_ => 1 } roles();
	my ($output, %output);

	append_to_file($file, $script);
	$node->safe_psql('postgres', qq(CREATE DATABASE "$database" TEMPLATE template0));
	IPC::Run::run([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-P', 'pager=off', '-P', 'footer=off', '-d', $node->connstr($database), '-f', $file ],
		'<', \undef, '>&', \$output);
	my $status = $? >> 8;

	while ($output =~ /^::begin (\d+)\n(.*?)^::end \1 (\w+)\n/msg)
	{
		$output{$1} = { output => $2, sqlstate => $3 };
	}
	for my $line (sort { $a <=> $b } keys %$blocks)
	{
		my $expected = $blocks->{$line};

		next if !$output{$line};
		is($output{$line}{sqlstate}, $expected->{sqlstate}, "$page, line $line: sqlstate") or diag($output{$line}{output});
		ok(ends_with($output{$line}{output}, $expected->{output}), "$page, line $line: output") or diag("is:\n$output{$line}{output}shall be:\n$expected->{output}")
		  if defined $expected->{output};
	}
	is($status, 0, "$page: to its end") or diag(substr($output, -2000));

	$node->safe_psql('postgres', qq(DROP DATABASE "$database" WITH (FORCE)));
	$node->safe_psql('postgres', qq(DROP ROLE "$_")) for grep { !$role{$_} } roles();
}

# ---- The text ----

# Return the text of a page outside of its blocks, each line with its number.
sub prose
{
	my ($block, $hidden) = (0, 0);
	my $number = 0;
	my @prose;

	for my $line (lines_of($_[0]))
	{
		$number++;
		$hidden = 1 if $line eq '<!-- test';
		$block = !$block if $line =~ /^```/;
		push(@prose, [ $number, $line ]) unless $block || $hidden || $line =~ /^```/;
		$hidden = 0 if $line eq '-->';
	}
	return @prose;
}

# Return the anchors of a page, as GitHub makes them from its headings.
sub anchors
{
	my (%anchor, %seen);

	for (map { $_->[1] } prose($_[0]))
	{
		$anchor{$1} = 1 while /<a (?:name|id)="([^"]+)">/g;
		next unless /^#+ +(.*)/;
		my $slug = lc($1) =~ s/<[^>]*>//gr =~ s/\[([^]]*)\]\([^)]*\)/$1/gr =~ s/[^\w\- ]//gr =~ s/ /-/gr;
		$anchor{ $seen{$slug} ? "$slug-$seen{$slug}" : $slug } = 1;
		$seen{$slug}++;
	}
	return \%anchor;
}

my %anchors;

sub broken_links
{
	my ($page) = @_;
	my @broken;

	for (prose($page))
	{
		my ($number, $line) = @$_;

		while ($line =~ s/\]\(([^) ]+)\)//)
		{
			my ($file, $anchor) = split(/#/, $1, 2);
			next if $file =~ /^https?:/;
			my $target = $file eq '' ? $page : dirname($page) . "/$file";
			push(@broken, "line $number: $1"), next unless -e "$top/$target";
			push(@broken, "line $number: $1") if defined $anchor && !($anchors{$target} //= anchors($target))->{$anchor};
		}
	}
	return @broken;
}

# The blocks that are not in the file from which they are quoted
sub wrong_quotes
{
	my ($page) = @_;
	my $text = join("\n", lines_of($page));
	my @wrong;

	while ($text =~ /^<!-- from: (\S+) -->\n```\w+\n(.*?)^```$/msg)
	{
		my ($file, $quote) = ($1, $2);
		my $source = -e "$top/$file" ? join("\n", lines_of($file)) : '';

		push(@wrong, "$file: " . substr($quote, 0, 60)) if index(without_indentation($source), without_indentation($quote)) < 0;
	}
	return @wrong;
}

sub without_indentation { return $_[0] =~ s/^[ \t]+//mgr }

# Rows of tables, comments and single words cannot be wrapped.
sub long_lines
{
	my ($page) = @_;

	return map { "line $_->[0]" } grep { $_->[1] !~ /^(\||<!--|\s*\S+$)/ && length(decode('UTF-8', $_->[1])) > 100 } prose($page);
}

# ---- The reference ----

# Return the text below each heading.
sub sections
{
	my (%section, $heading);

	for (lines_of($_[0]))
	{
		$heading = $1, next if /^###? (.*)/;
		$section{$heading} .= "$_\n" if defined $heading;
	}
	return \%section;
}

sub query { return split(/\n/, $node->safe_psql('postgres', $_[0])) }

sub missing_in_reference
{
	my ($page) = @_;
	my $section = sections($page);
	my $text = slurp_file("$top/$page");
	my @missing;

	for (query(q(SELECT proname, array_to_string(proargnames, ' ') FROM pg_proc WHERE pronamespace = 'once'::regnamespace)))
	{
		my ($function, $arguments) = split(/\|/, $_, -1);
		my $description = $section->{$function} // ($section->{'Internal routines'} =~ /`$function`/ ? next : '');

		push(@missing, "function $function"), next if $description eq '';
		push(@missing, map { "argument $_ of $function" } grep { $description !~ /\b$_\b/ } split(' ', $arguments));
	}
	for (query(q(SELECT relname, string_agg(attname, ' ') FROM pg_class c JOIN pg_attribute ON attrelid = c.oid
				 WHERE relnamespace = 'once'::regnamespace AND relkind IN ('r', 'v', 'c') AND attnum > 0 GROUP BY relname)))
	{
		my ($relation, $columns) = split(/\|/);
		my $description = $section->{"once.$relation"} // ($section->{'Internal tables'} =~ /`once\.$relation`/ ? next : '');

		push(@missing, "relation $relation"), next if $description eq '';
		push(@missing, map { "column $_ of $relation" } grep { $description !~ /\b$_\b/ } split(' ', $columns));
	}
	push(@missing, map { "setting $_" } grep { !$section->{$_} } query(q(LOAD 'pg_once'; SELECT name FROM pg_settings WHERE name LIKE 'once.%')));
	push(@missing, map { "SQLSTATE $_" } grep { $text !~ /`$_`/ }
		  map { tr/', //dr } slurp_file("$top/src/once_error.h") =~ /MAKE_SQLSTATE\((.*)\)/g);
	return @missing;
}

# ---- The errors ----

# The SQLSTATEs that the sources raise by name, as they are in PostgreSQL's header and in ours
sub sqlstates_raised
{
	chomp(my $include = `$ENV{PG_CONFIG} --includedir-server`);
	my %code = join('', map { slurp_file($_) } "$include/utils/errcodes.h", "$top/src/once_error.h") =~ /^#define\s+(ERRCODE_\w+)\s+MAKE_SQLSTATE\((.*?)\)/mg;
	my %raised = map { $_ => 1 } map { slurp_file($_) =~ /errcode\((ERRCODE_\w+)\)/g } glob("$top/src/*.c $top/src/*/*.c");

	# These are raised by handlers, not by us.
	$raised{$_} = 1 for grep { /^ERRCODE_ONCE_/ } keys %code;
	return sort map { $code{$_} =~ tr/', //dr } keys %raised;
}

sub missing_errors
{
	my $text = slurp_file("$top/$_[0]");

	return grep { $text !~ /\b$_\b/ } sqlstates_raised();
}

for my $page (@pages)
{
	execute($page);
	is(join("\n", broken_links($page)), '', "$page: links");
	is(join(', ', long_lines($page)), '', "$page: wrapped at 100 columns");
	is(join("\n", wrong_quotes($page)), '', "$page: quotes");
	is(join("\n", missing_in_reference($page)), '', "$page: has everything") if $page =~ /-reference/;
	is(join("\n", missing_errors($page)), '', "$page: has every SQLSTATE") if $page =~ /-errors/;
}
done_testing();
