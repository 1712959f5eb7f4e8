#!/usr/bin/env perl
# A network that fails on request.  It forwards connections from one unix socket to another:
#
#   network.pl SOCKET-OF-OURS SOCKET-OF-THE-SERVER
#
# If one side closes a connection or dies, the connection of the other side is closed, too.  If a client sends something with
# the word "unheard" in it, that still arrives, but nothing is sent back to the client from then on.  While this program is
# stopped (SIGSTOP), the network is cut: neither side hears anything, not even that the other side is gone.  If it is killed
# after that, the connections are reset, as when TCP gives up.

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
		# It may just have been dropped together with its other side.
		elsif ($other{$socket}) { hand_on($socket) }
	}
}
