#!/usr/bin/perl
# Print the names of the types that C files declare by typedef, sorted.  pgindent needs them to tell types from variables.
#
# PostgreSQL takes its own list from debug information.  That lacks enumerations of which only the constants are used.  The
# declarations have all of them.
use strict;
use warnings;

my %names;
for my $file (@ARGV)
{
	local $/;
	open my $in, '<', $file or die "$file: $!\n";
	my $text = <$in>;
	$text =~ s{/\*.*?\*/}{}gs;
	while ($text =~ /^typedef\b/gm)
	{
		my ($at, $depth, $outside) = (pos $text, 0, '');

		# up to the semicolon, without what is in braces
		while ($at < length $text)
		{
			my $char = substr $text, $at++, 1;
			last if $char eq ';' && $depth == 0;
			$depth++ if $char eq '{';
			$outside .= $char if $depth == 0;
			$depth-- if $char eq '}';
		}
		# a pointer to a function, or anything else
		$outside =~ /\(\s*\*\s*(\w+)\s*\)/ or $outside =~ /(\w+)\s*(?:\[.*\]\s*)?$/
		  or die "$file: cannot make out what is declared by: typedef$outside\n";
		$names{$1} = 1;
	}
}
print "$_\n" for sort keys %names;
