#!/usr/bin/perl
# Check that the files of src/ are in the order of src/README, and that each function is in the file, and has the name, that one
# would expect.
#
# floors.pl DIRECTORY: the root of a tree that has been built.  Faults are printed to standard output, one on each line.
#
# What a file needs from others is read from its #include lines and from the symbols of its object file.  A call through a
# pointer names no symbol, so it does not count.  That is how a lower file calls a function that a higher one has passed to it.
use strict;
use warnings;

use File::Find;
use List::Util qw(first max);

my $max_lines = 900;

# What the server expects in every library; and what background workers run, found by its name
my %of_the_server = map { $_ => 1 } qw(_PG_init Pg_magic_func);
my $of_background_workers = qr/_main$/;

my $root = shift // die "usage: floors.pl DIRECTORY\n";
my $faults = 0;

sub fault
{
	my ($format, @args) = @_;

	printf "$format\n", @args;
	$faults++;
}

sub contents
{
	my ($file) = @_;

	open my $in, '<', $file or die "$file: $!\n";
	local $/;
	return scalar <$in>;
}

# The files that exist, relative to src/
my @files;
find({ no_chdir => 1, wanted => sub { push @files, $1 if m{^\Q$root\E/src/(.*\.[ch])$} } }, "$root/src");
@files = sort @files;
die "$root/src has no sources\n" unless @files;
my %text = map { $_ => contents("$root/src/$_") } @files;

# Floors: the list in src/README, from top to bottom.  An entry is a line "  FILE  what it is for  [TAG, TAG]".  FILE may end in
# .[ch].  The names that the file offers to others begin with one of its tags.  Tags in a heading are for all entries up to the
# next heading.
my @entries;
my %entry_of;       # by file
my %doors;          # headers that declare what several files define

sub read_list
{
	my ($list) = contents("$root/src/README") =~ /^Floors\n-+\n(.*?)(?=^\S[^\n]*\n-+$|\z)/ms
	  or die "src/README has no section \"Floors\"\n";

	my @heading_tags;
	foreach my $line (split /\n/, $list)
	{
		my @tags = $line =~ /\s\[([^\]]+)\]$/ ? split(/,\s*/, $1) : ();

		@heading_tags = @tags if $line =~ /^\S/;
		my ($stem, $ending, $rest) = $line =~ /^\s+([\w\/]+)\.(c|h|\[ch\])\s+(\S.*)$/ or next;
		my $entry = { place => scalar @entries, name => "$stem.$ending", tags => [ @heading_tags, @tags ] };

		push @entries, $entry;
		foreach my $file (map { "$stem.$_" } $ending eq '[ch]' ? qw(c h) : $ending)
		{
			fault("%s is listed in src/README twice", $file) if $entry_of{$file};
			fault("%s is listed in src/README and does not exist", $file) unless exists $text{$file};
			$entry_of{$file} = $entry;
			$doors{$file} = 1 if $rest =~ /^the door\b/;
		}
	}
	die "the section \"Floors\" of src/README lists no file\n" unless @entries;
	foreach my $file (@files)
	{
		fault("%s is not listed in src/README", $file) unless $entry_of{$file};
	}
}

# What each file needs from which others
my %needs;          # file -> file -> names
my %goes_to;        # the same for entries, by name

sub need
{
	my ($from, $to, $name) = @_;

	$needs{$from}{$to}{$name} = 1;
	$goes_to{ $entry_of{$from}{name} }{ $entry_of{$to}{name} } = 1
	  if $entry_of{$from} && $entry_of{$to} && $entry_of{$from} != $entry_of{$to};
}

sub read_includes
{
	foreach my $file (@files)
	{
		need($file, $_, '#include') foreach grep { exists $text{$_} } $text{$file} =~ /^\s*#\s*include\s+"([^"]+)"/gm;
	}
}

my %defined_in;     # symbol -> file
my %used_by;        # symbol -> files
my %for_sql;        # symbols of SQL functions

sub read_symbols
{
	my %undefined;

	foreach my $file (grep { /\.c$/ } @files)
	{
		my $object = "$root/src/" . $file =~ s/c$/o/r;

		die "$object: there is none; build first\n" unless -e $object;
		die "$object is older than its source; build first\n" if -M $object > -M "$root/src/$file";
		open my $nm, '-|', 'nm', '--format=posix', '--extern-only', $object or die "nm: $!\n";
		while (my $line = <$nm>)
		{
			my ($name, $type) = split ' ', $line;

			# The compiler's own, on i386
			next if $name =~ /^__x86\./;
			if ($type eq 'U')
			{
				push @{ $undefined{$file} }, $name;
			}
			else
			{
				$defined_in{$name} = $file;
				$for_sql{$name} = $for_sql{$1} = 1 if $name =~ /^pg_finfo_(.*)/;
			}
		}
		close $nm or die "nm $object failed\n";
	}
	foreach my $file (keys %undefined)
	{
		foreach my $name (grep { $defined_in{$_} } @{ $undefined{$file} })
		{
			$used_by{$name}{$file} = 1;
			need($file, $defined_in{$name}, $name);
		}
	}
}

sub check_order
{
	foreach my $from (sort keys %needs)
	{
		foreach my $to (sort keys %{ $needs{$from} })
		{
			my ($above, $below) = ($entry_of{$to}, $entry_of{$from});

			next unless $above && $below && $above->{place} < $below->{place};
			my @names = sort keys %{ $needs{$from}{$to} };

			fault("%s goes up to %s: %s", $from, $to, join(', ', @names));
		}
	}
}

# Find entries that need each other, directly or through others.
sub check_circles
{
	my (%index, %low, @stack, %on_stack, $visit);

	$visit = sub {
		my ($at) = @_;

		$index{$at} = $low{$at} = keys %index;
		push @stack, $at;
		$on_stack{$at} = 1;
		foreach my $next (sort keys %{ $goes_to{$at} // {} })
		{
			$visit->($next) unless defined $index{$next};
			$low{$at} = $low{$next} if $on_stack{$next} && $low{$next} < $low{$at};
		}
		if ($low{$at} == $index{$at})
		{
			my @circle;

			do
			{
				push @circle, pop @stack;
				delete $on_stack{ $circle[-1] };
			} until $circle[-1] eq $at;
			fault("circle: %s", join(', ', sort @circle)) if @circle > 1;
		}
	};
	foreach my $name (sort keys %goes_to)
	{
		$visit->($name) unless defined $index{$name};
	}
}

sub check_sizes
{
	foreach my $file (@files)
	{
		my $lines = $text{$file} =~ tr/\n//;

		fault("%s has %d lines, more than %d", $file, $lines, $max_lines) if $lines > $max_lines;
	}
}

# Is everything that is not static used by another file?  SQL functions need not be, nor what the server calls in every library.
sub check_reach
{
	foreach my $name (sort keys %defined_in)
	{
		fault("%s: %s is used nowhere else, and is not static", $defined_in{$name}, $name)
		  unless $used_by{$name} || $for_sql{$name} || $of_the_server{$name} || $name =~ $of_background_workers;
	}
}

# Does each name tell where it is from?  The longest tag that it begins with must be a tag of its own file.  Two directories
# must not have the same tag.  Callbacks of the access method are named as PostgreSQL names its own ("btinsert").
sub check_names
{
	my %tags;       # tag -> directory -> 1

	foreach my $entry (@entries)
	{
		$tags{$_}{ $entry->{name} =~ s{[^/]*$}{}r } = 1 foreach @{ $entry->{tags} };
	}
	foreach my $tag (sort keys %tags)
	{
		fault("names that begin with %s are of several directories", $tag) if keys %{ $tags{$tag} } > 1;
	}
	foreach my $name (sort keys %defined_in)
	{
		my $entry = $entry_of{ $defined_in{$name} };
		my $tag = first { index("${name}_", $_) == 0 } sort { length $b <=> length $a } keys %tags;

		next if !$entry || $for_sql{$name} || $of_the_server{$name} || $name =~ /^qam[a-z]+$/;
		fault("%s: the name of %s does not tell that it is from there", $defined_in{$name}, $name)
		  unless defined $tag && grep { $_ eq $tag } @{ $entry->{tags} };
	}
}

# What a file offers must be declared in its own header, or in the door of its directory.
sub check_declarations
{
	foreach my $header (grep { /\.h$/ } @files)
	{
		my $plain = $text{$header} =~ s{/\*.*?\*/}{}gsr;

		while ($plain =~ /^extern\b([^;]*);/gm)
		{
			my $name = $1 =~ s/\bpg_attribute_\w+(?:\(\d+, *\d+\))?(?:\(\))?//gr;

			$name = $name =~ /(\w+)\s*\(/ || $name =~ /(\w+)\s*(?:\[.*\])?\s*$/ ? $1 : next;
			my $file = $defined_in{$name};

			if (!defined $file)
			{
				# Functions of the server may be declared in compat/.
				fault("%s declares %s, which is defined nowhere", $header, $name)
				  unless $header =~ m{^compat/};
			}
			elsif ($entry_of{$header} && $entry_of{$file} && $entry_of{$header} != $entry_of{$file} && !$doors{$header})
			{
				fault("%s declares %s, which is from %s", $header, $name, $file);
			}
		}
	}
}

read_list();
read_includes();
read_symbols();
check_order();
check_circles();
check_sizes();
check_reach();
check_names();
check_declarations();
exit($faults > 0);
