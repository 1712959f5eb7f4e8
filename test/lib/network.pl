#!/usr/bin/env perl
# A network that fails when it is told to.  It hands connections on from one unix socket to another:
#
#   network.pl SOCKET-OF-OURS SOCKET-OF-THE-SERVER
#
# If either side closes a connection, or dies, so does the other side of it.  When a client sends something with the word "unheard"
# in it, that still arrives, and nothing comes back any more.  Stopped (SIGSTOP), it is a network that is cut: neither side
# hears anything, not even that the other one is gone.  Killed after that, the connections are reset, as when TCP gives up.

use strict;
use warnings;

use IO::Select;
use IO::Socket::UNIX;

my ($ours, $server) = @ARGV;
my $listener = IO::Socket::UNIX->new(Local => $ours, Listen => SOMAXCONN) or die "$ours: $!\n";
my $open = IO::Select->new($listener);
my (%other, %is_client, %is_silent);

$SIG{PIPE} = 'IGNORE';

sub take_connection
{
	my $here = $listener->accept or return;
	my $there = IO::Socket::UNIX->new(Peer => $server) or return;

	$other{$here} = $there;
	$other{$there} = $here;
	$is_client{$here} = 1;
	$open->add($here, $there);
}

sub drop_connection
{
	my ($end) = @_;

	for my $socket ($other{$end}, $end)
	{
		$open->remove($socket);
		delete $_->{$socket} for \%other, \%is_client, \%is_silent;
		close($socket);
	}
}

sub hand_on
{
	my ($from) = @_;
	my $to = $other{$from};

	sysread($from, my $data, 65536) or return drop_connection($from);
	$is_silent{$to} = 1 if $is_client{$from} && $data =~ /\bunheard\b/;
	return if $is_silent{$from};
	while (length $data)
	{
		my $written = syswrite($to, $data) or return drop_connection($from);
		substr($data, 0, $written, '');
	}
}

while (my @ready = $open->can_read)
{
	for my $socket (@ready)
	{
		if ($socket == $listener) { take_connection() }
		# It may have been dropped with its other side just now.
		elsif ($other{$socket}) { hand_on($socket) }
	}
}
