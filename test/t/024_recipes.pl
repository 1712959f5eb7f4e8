# The recipes of the documentation for messages that come from other systems are executed.  If such a message is sent again, at the
# same time, after a rollback or after a crash, it has one effect.  (All other examples are executed by 090_pages.pl.)

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $pages = join("\n", map { slurp_file($_) } "$top/README.md", glob("$top/doc/*.md"));
my $node = once_node('main');

sub value { return (split(/\n/, $node->safe_psql('postgres', $_[0]) // '', -1))[-1] // '' }

# Each recipe is the SQL after a comment with its name.  Parameters are $1, $2, ...
my %recipe;
while ($pages =~ /^<!-- recipe: (.+?) -->\n```sql\n(.*?)^```$/msg)
{
	is($recipe{$1}, undef, "recipe: $1");
	$recipe{$1} = $2;
}
is(join(', ', sort keys %recipe), 'http, http setup, inbox, inbox setup, kafka, kafka setup, ledger, webhook, webhook setup', 'all recipes are known');

$node->safe_psql('postgres', $recipe{$_}) for grep { /setup$/ } sort keys %recipe;

# A statement that executes a recipe
sub call
{
	my ($name, @values) = @_;

	return "PREPARE recipe AS $recipe{$name}; EXECUTE recipe(" . join(', ', map { "\$v\$$_\$v\$" } @values) . '); DEALLOCATE recipe;';
}

sub run { return value(call(@_)) }

# A session that executes a recipe in a transaction that stays open
sub hold
{
	my $session = $node->background_psql('postgres');

	$session->query_safe('BEGIN');
	my $result = (split(/\n/, $session->query_safe(call(@_)) // '', -1))[-1] // '';
	return ($session, $result);
}

# Start a session that executes a script.  "finish" returns what it has printed.
my $scripts = 0;
sub start
{
	my ($script) = @_;
	my $file = $node->basedir . '/script' . $scripts++;
	my $output = '';

	append_to_file($file, $script);
	return {
		output => \$output,
		run => IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file ], '<', \undef, '>', \$output, IPC::Run::timeout(180))
	};
}

# The same, for a session that has to wait for another one
sub start_waiting
{
	my $started = start(@_);

	$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_locks WHERE NOT granted)) or die 'nobody waits';
	return $started;
}

sub finish
{
	my ($started) = @_;

	IPC::Run::finish($started->{run}) or die 'psql failed';
	return ${ $started->{output} } =~ s/\n\z//r;
}

# Terminate a session's backend, as after a crash of its client.
sub crash
{
	my ($session) = @_;
	my $pid = (split(/\n/, $session->query_safe('SELECT pg_backend_pid()')))[-1];

	value("SELECT pg_terminate_backend($pid, 60000)");
	eval { $session->quit };
}

# What the text says about the first block
is($node->safe_psql('postgres', $recipe{ledger}) =~ s/^\n+//r, "t\nf", 'ledger: new once');

# The HTTP handler: a repeated request gets the response of the first one.
my @lamp = ('ada', 'k1', '{"article": "lamp", "quantity": 2}');
my $response = run('http', @lamp);
is($response, '{"order": 1, "status": 201}', 'http: a request');
is(run('http', @lamp), $response, 'http: repeated') for 1 .. 2;
is(value('SELECT count(*), min(customer), min(article), min(quantity) FROM orders'), '1|ada|lamp|2', 'http: one order');
is(run('http', 'ada', 'k1', '{"article": "sofa", "quantity": 2}'), '{"error": "this key was used for another request", "status": 422}', 'http: the key of another request');
like(run('http', 'ben', 'k1', '{"article": "lamp", "quantity": 2}'), qr/201/, 'http: the same key of another client');
is(value('SELECT count(*) FROM orders'), '2', 'http: two orders');

# At the same time: the second request waits, and gets that response, too, or becomes the first one if that is rolled back.
my ($first, $first_response) = hold('http', 'ada', 'k2', '{"article": "lamp", "quantity": 3}');
my $second = start_waiting(call('http', 'ada', 'k2', '{"article": "lamp", "quantity": 3}'));
$first->query_safe('COMMIT');
is(finish($second), $first_response, 'http: a repeat at the same time');
$first->quit;
($first, $first_response) = hold('http', 'ada', 'k3', '{"article": "lamp", "quantity": 4}');
$second = start_waiting(call('http', 'ada', 'k3', '{"article": "lamp", "quantity": 4}'));
$first->query_safe('ROLLBACK');
my $second_response = finish($second);
like($second_response, qr/201/, 'http: a repeat of what is rolled back');
isnt($second_response, $first_response, 'http: has a response of its own');
$first->quit;
($first, $first_response) = hold('http', 'ada', 'k4', '{"article": "lamp", "quantity": 5}');
crash($first);
$second_response = run('http', 'ada', 'k4', '{"article": "lamp", "quantity": 5}');
is(run('http', 'ada', 'k4', '{"article": "lamp", "quantity": 5}'), $second_response, 'http: after a crash');
is(value(q(SELECT string_agg(quantity::text, ' ' ORDER BY quantity) FROM orders WHERE customer = 'ada')), '2 3 4 5', 'http: one order for each request');

# After an error, the key is still new.
isnt(sqlstate_of($node, call('http', 'ada', 'k5', '{"article": "lamp", "quantity": "many"}')), '00000', 'http: an error');
like(run('http', 'ada', 'k5', '{"article": "lamp", "quantity": 6}'), qr/201/, 'http: the next try');

# The webhook, with its effect at once, and through a queue.  Each event comes three times, from three senders at once, and some fail.
my $events = 150;
for my $name ('webhook', 'inbox')
{
	my ($open) = hold($name, '{"id": "evt_0", "order": 0, "amount": 1.00}');
	my $waiting = start_waiting(call($name, '{"id": "evt_0", "order": 0, "amount": 1.00}'));
	crash($open);
	finish($waiting);
	run($name, '{"id": "evt_0", "order": 0, "amount": 1.00}');

	my @senders;
	for my $sender (1 .. 3)
	{
		# Each sender has an order of its own.  Every fifth delivery is rolled back, and repeated at the end.
		my @order = sort { $a * $sender * 7 % 151 <=> $b * $sender * 7 % 151 } 1 .. $events;
		my %rolled_back;
		my $script = "PREPARE recipe AS $recipe{$name};\n";

		for my $i (@order, grep { $_ % 5 == 0 } @order)
		{
			my $execute = qq(EXECUTE recipe('{"id": "evt_$i", "order": $i, "amount": $i.50}'););
			$script .= $i % 5 == 0 && !$rolled_back{$i}++ ? "BEGIN; $execute ROLLBACK;\n" : "$execute\n";
		}
		push(@senders, start($script));
	}
	finish($_) for @senders;
}
is(value('SELECT count(*), count(DISTINCT order_no), min(order_no), max(order_no) FROM payment'), $events + 1 . '|' . ($events + 1) . "|0|$events", 'webhook: one payment for each event');
is(value('SELECT count(*) FROM payment WHERE order_no > 0 AND amount <> order_no + 0.5'), '0', 'webhook: the right one');
is(value(q(SELECT count(*), count(DISTINCT payload->>'id') FROM (SELECT payload, once.ack(receipt) FROM once.receive('events', 10000)) m)),
	$events + 1 . '|' . ($events + 1), 'inbox: one message for each event');
is(value('SELECT count(*) FROM once.q_events'), '0', 'inbox: which are done then');

# A topic, and a consumer that dies before its commit here, or before its commit there, or commits an old offset.
my %topic = map { my $partition = $_; ($partition => [ map { qq({"topic": "t", "partition": $partition, "offset": $_, "value": {"sensor": "s$partition", "degrees": $_.5}}) } 0 .. 199 ]) } 0 .. 2;
my %committed = map { $_ => 0 } keys %topic;
my ($polls, $repeated) = (0, 0);
my %seen;
srand(24);
while (grep { $committed{$_} < @{ $topic{$_} } } keys %topic)
{
	my @unfinished = grep { $committed{$_} < @{ $topic{$_} } } sort keys %topic;
	my $partition = $unfinished[ rand @unfinished ];
	my $from = $committed{$partition};
	my $to = $from + int(rand(40));
	$to = $#{ $topic{$partition} } if $to > $#{ $topic{$partition} };
	my $batch = '[' . join(', ', @{ $topic{$partition} }[$from .. $to]) . ']';
	my $fate = int(rand(5));

	if ($fate == 0)
	{
		my ($consumer) = hold('kafka', $batch);
		crash($consumer);
	}
	else
	{
		$repeated++ if grep { $seen{"$partition/$_"}++ } $from .. $to;
		run('kafka', $batch);
		$committed{$partition} = $to + 1 if $fate > 1;
		$committed{$partition} = $from > 10 ? $from - 10 : 0 if $fate == 2 && rand() < 0.5;
	}
	die 'the topic does not end' if ++$polls > 1000;
}
cmp_ok($repeated, '>', 3, 'kafka: there were repeats');
is(value('SELECT count(*), count(DISTINCT (sensor, degrees)) FROM reading'), '600|600', 'kafka: one reading for each record');
run('kafka', "[$topic{0}[7], $topic{0}[7]]");
is(value('SELECT count(*) FROM reading'), '600', 'kafka: a batch of what is known');
run('kafka', ('[' . join(', ', ('{"topic": "u", "partition": 0, "offset": 0, "value": {"sensor": "u", "degrees": 1}}') x 3) . ']'));
is(value(q(SELECT count(*) FROM reading WHERE sensor = 'u')), '1', 'kafka: a record that is in its batch three times');
run('kafka', '[]');
is(value('SELECT count(*) FROM reading'), '601', 'kafka: an empty batch');
clean($node, 'events', 'in the end');
done_testing();
