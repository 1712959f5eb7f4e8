# The programs of one driver (see doc/pg_once-clients.md).  The effects of its workers are exactly what was sent, although they are killed
# and the server is restarted.
#
#   prove test/clients/test.pl :: PROGRAMS PROCESSES TRANSPORT END
#
# PROGRAMS is a directory with programs of one driver: "worker", and perhaps others (see below).  PROCESSES is how many workers work
# together: 1 if the worker does several messages at a time by itself.  TRANSPORT is "socket", or "tcp" if the driver knows nothing else.
# END is what the worker does when it has lost its connection: "reconnect", or "exit", and then it is started again.  The environment of
# the programs has the variables of libpq, and JDBC_URL.
#
# Two crews of workers consume from one queue: see ClientTest.pm.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use ClientTest;
use HTTP::Tiny;
use JSON::PP;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX ();
use Test::More;

my ($programs, $processes, $transport, $end) = @ARGV;
my $attempts = 5;

my $node = start_servers($transport);

# Orders that end with 7 always fail.  Those that end with 3 fail the first time.  Order 5 fails more often than a message may, but with
# errors that do not count.  While somebody holds a crew's lock, its workers stop in the middle of their work.
$node->safe_psql('postgres', <<END);
	SELECT once.create_queue('orders', max_attempts => $attempts, retry_delay => '100 ms', retry_delay_max => '200 ms');
	CREATE TABLE shipment (place serial, order_no int NOT NULL, crew name DEFAULT current_user);
	CREATE SEQUENCE clash;
	SELECT format('CREATE SEQUENCE tries_%s', n) FROM generate_series(3, 203, 10) n \\gexec
	CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS \$\$
	BEGIN
		PERFORM pg_advisory_xact_lock_shared(hashtext(session_user));
		IF NEW.order_no % 10 = 7 THEN
			RAISE EXCEPTION 'nobody can ship order %', NEW.order_no;
		ELSIF NEW.order_no % 10 = 3 AND nextval('tries_' || NEW.order_no) = 1 THEN
			RAISE EXCEPTION 'order % fails the first time', NEW.order_no;
		ELSIF NEW.order_no = 5 AND nextval('clash') <= 2 * $attempts THEN
			RAISE EXCEPTION 'a clash' USING ERRCODE = (ARRAY['40001', '40P01'])[1 + currval('clash') % 2];
		END IF;
		RETURN NEW;
	END \$\$;
	CREATE TRIGGER trouble BEFORE INSERT ON shipment FOR EACH ROW EXECUTE FUNCTION trouble();
END
for my $crew (@crews)
{
	$node->safe_psql('postgres', <<END);
		SELECT once.grant_queue('orders', '$crew', 'consume');
		GRANT INSERT ON shipment TO $crew;
		GRANT USAGE ON shipment_place_seq TO $crew;
END
}

# ---- Crews ----

my %crew;

sub start_worker { return spawn(environment($_[0]), $_[0], "$programs/worker", 'orders') }

sub start_crew { $crew{ $_[0] } = [ map { start_worker($_[0]) } 1 .. $processes ] }

# Start those workers again that have ended with an error.
sub supervise
{
	for my $crew (keys %crew)
	{
		for my $pid (@{ $crew{$crew} })
		{
			$pid = start_worker($crew) if has_ended($pid) && status_of($pid) == 1 << 8;
		}
	}
}

my $held = q(EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND NOT l.granted AND a.usename = '%s'));

# Send orders, all in one transaction.
sub send_orders
{
	my ($from, $to, $group) = @_;

	value("SELECT once.send_batch('orders', ARRAY(SELECT jsonb_build_object('order', n) FROM generate_series($from, $to) n)"
		. ($group ? ", group_ids => array_fill('$group'::text, ARRAY[$to - $from + 1])" : '') . ')');
}

sub until_done { return until_true('everything is done', sub { supervise() if $end eq 'exit'; value('SELECT count(*) FROM once.q_orders') eq '0' }, 0.1) }

sub shipped { return "EXISTS (SELECT FROM shipment WHERE crew = '$_[0]' AND order_no BETWEEN $_[1] AND $_[2])" }

# ---- What happens ----

# Both crews work.
start_crew('direct');
send_orders(1, 20);
until_query('the first orders', shipped('direct', 1, 20));
start_crew('pooled');

# Direct workers are killed in the middle of their work, and pooled workers go on.
my $holder = hold('direct');
send_orders(21, 80);
value(q(SELECT once.send_batch('orders', ARRAY['{"item": "lamp"}', '[1, 2]', '"text"', 'null', NULL]::jsonb[])));
until_query('direct workers', sprintf($held, 'direct'));
until_query('pooled workers', shipped('pooled', 21, 80));
kill('-KILL', @{ $crew{direct} });
until_true('they are killed', sub { has_ended($_) || return 0 for @{ $crew{direct} }; 1 });
$holder->quit;
start_crew('direct');

# The server is restarted in the middle of everybody's work.
$holder = hold(@crews);
send_orders(81, 140);
until_query("$_ workers", sprintf($held, $_)) for @crews;
$node->restart;
eval { $holder->quit };
until_done();

# One call receives a whole group.  When one of its messages fails, the later ones are given back, and one of those would fail, too.
send_orders(201, 210, 'group');
until_done();

# One worker is stopped in the middle of its work, all others while they wait.
$holder = hold(@crews);
send_orders(211, 211);
until_query('one works', join(' OR ', map { sprintf($held, $_) } @crews));
my @all = map { @{ $crew{$_} } } @crews;
my $busy = value('SELECT ' . sprintf($held, 'direct')) eq 't' ? 'direct' : 'pooled';
kill('TERM', @all);
my $took = until_true('they stop', sub { my $left = grep { !has_ended($_) } @all; $left <= 1 });
cmp_ok($took, '<', 10, sprintf('workers that wait stop at once (%.2f s)', $took));
is(scalar(grep { !has_ended($_) } @{ $crew{$busy} }), 1, 'one that works goes on');
$holder->quit;
$took = until_true('it stops', sub { !grep { !has_ended($_) } @all });
cmp_ok($took, '<', 10, sprintf('and stops after that (%.2f s)', $took));
is(join(' ', grep { $_ != 0 && $_ != 143 << 8 } map { status_of($_) } @all), '', 'they have stopped by themselves');

# ---- The oracle ----

my @shipped = grep { $_ % 10 != 7 } 1 .. 140, 201 .. 211;
is(value("SELECT string_agg(order_no::text, ' ' ORDER BY order_no) FROM shipment"), "@shipped", 'each order is shipped once');
is(value("SELECT count(*) FROM shipment WHERE crew = '$_'") > 0, 1, "$_ workers have shipped some") for @crews;
is(value("SELECT string_agg(order_no::text, ' ' ORDER BY place) FROM shipment WHERE order_no BETWEEN 201 AND 210"),
	join(' ', grep { $_ % 10 != 7 } 201 .. 210), 'those of a group in their order');
is(value(qq(SELECT string_agg(payload->>'order', ' ' ORDER BY id) FROM once.dead_letters
			WHERE reason = 'attempts' AND attempts = $attempts AND last_error ~ ('nobody can ship order ' || (payload->>'order')))),
	join(' ', grep { $_ % 10 == 7 } 1 .. 140, 201 .. 210), 'those that nobody can ship are dead letters, with the error');
is(value(q(SELECT string_agg(coalesce(payload::text, 'NULL'), ', ' ORDER BY id) FROM once.dead_letters WHERE payload->'order' IS NULL AND last_error <> '')),
	'{"item": "lamp"}, [1, 2], "text", null, NULL', 'so are payloads that are no orders');
is(value('SELECT count(*) FROM once.q_orders'), '0', 'the queue is empty');
clean($node, 'orders', 'in the end');
for my $crew (@crews)
{
	my $output = slurp_file($node->basedir . "/$crew.output");

	unlike($output, qr/prepared/, "$crew: no trouble with prepared statements");
	unlike($output, qr/is lost/, "$crew: nor with messages that were given back");
}

# What may explain a failure
note($node->safe_psql('postgres', 'SELECT id, payload, attempts, last_error FROM once.dead_letters ORDER BY id'));
note(map { "---- $_:\n" . slurp_file($_) } glob($node->basedir . '/*.output'));

# ---- The other programs ----

# Run a program to its end.  Returns its status.
sub run
{
	my ($crew, $name, @arguments) = @_;
	my $pid = spawn(environment($crew), $name, "$programs/$name", @arguments);

	until_true("$name ends", sub { has_ended($pid) });
	return status_of($pid);
}

# What values of other types become: the program asserts what the page says.
for my $name (grep { -x "$programs/$_" } 'values', 'values_psycopg2')
{
	for my $crew (@crews)
	{
		value("SELECT once.create_queue('values', if_not_exists => true), once.purge('values')");
		value("SELECT once.grant_queue('values', '$crew', 'consume'), once.grant_queue('values', '$crew', 'produce')");
		is(run($crew, $name), 0, "$name, $crew") or diag(slurp_file($node->basedir . "/$name.output"));
	}
}

# A handler of HTTP requests with an idempotency key, which is connected through PgBouncer
my $http = HTTP::Tiny->new(timeout => 60, keep_alive => 0);
my $json = JSON::PP->new->canonical;
my $http_port = PostgreSQL::Test::Cluster::get_free_port();
my $handler;

sub start_handler
{
	$handler = spawn(environment('pooled'), 'handler', "$programs/handler", $http_port);
	until_true('the handler listens', sub { request('nobody', 'none', '{}') =~ /^\d{3} / });
}

# Place an order.  Returns the status and the body of the response.
sub request
{
	my ($customer, $key, $body) = @_;
	my $response = $http->post("http://127.0.0.1:$http_port/orders",
		{ headers => { 'Authorization' => $customer, 'Idempotency-Key' => $key, 'Content-Type' => 'application/json' }, content => $body });

	return $response->{status} == 599 ? $response->{content} : "$response->{status} " . $json->encode($json->decode($response->{content}));
}

# Place an order in the background.  Its response is the output.
sub start_request { my ($name, @request) = @_; return spawn({}, $name, sub { request(@request) }) }

sub response_of { return slurp_file($node->basedir . "/$_[0].output") }

sub waiting { return "(SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.usename = 'pooled')" }

if (-x "$programs/handler")
{
	my $lamp = '{"article": "lamp", "quantity": 2}';

	$node->safe_psql('postgres', <<END);
		CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text, article text, quantity int);
		CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS \$\$
		BEGIN
			PERFORM pg_advisory_xact_lock_shared(hashtext(session_user));
			RETURN NEW;
		END \$\$;
		CREATE TRIGGER hold BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION hold();
		SELECT once.create_ledger('requests', retention => '1 day'), once.grant_ledger('requests', 'pooled');
		GRANT SELECT, INSERT ON orders TO pooled;
END
	start_handler();
	my $first = request('ada', 'k1', $lamp);
	like($first, qr/^201 .*"order":\d+/, 'handler: an order');
	is(request('ada', 'k1', $lamp), $first, 'handler: a repeat gets the same response');
	like(request('ada', 'k1', '{"article": "sofa", "quantity": 2}'), qr/^422/, 'handler: the key of another request');
	like(request('ben', 'k1', $lamp), qr/^201/, 'handler: the key of another customer');

	# Two at the same time
	$holder = hold('pooled');
	my @requests = map { start_request("request$_", 'ada', 'k2', $lamp) } 1 .. 2;
	until_query('one places the order, and the other waits for it', waiting() . ' = 2');
	$holder->quit;
	until_true('both have a response', sub { !grep { !has_ended($_) } @requests });
	like(response_of('request1'), qr/^201/, 'handler: one of two at the same time');
	is(response_of('request2'), response_of('request1'), 'handler: the other one');

	# The server is restarted in the middle.
	$holder = hold('pooled');
	my $request = start_request('request3', 'ada', 'k3', $lamp);
	until_query('the order is placed', waiting() . ' = 1');
	$node->restart;
	eval { $holder->quit };
	until_true('there is a response', sub { has_ended($request) });
	like(response_of('request3'), qr/^503/, 'handler: the server is restarted');
	until_true('a repeat succeeds', sub { request('ada', 'k3', $lamp) =~ /^201/ });

	# The handler is killed in the middle.
	$holder = hold('pooled');
	$request = start_request('request4', 'ada', 'k4', $lamp);
	until_query('the order is placed', waiting() . ' = 1');
	kill('-KILL', $handler);
	until_true('it is killed', sub { has_ended($handler) && has_ended($request) });
	$holder->quit;
	start_handler();
	like(request('ada', 'k4', $lamp), qr/^201/, 'handler: it is killed, and started again');

	is(value('SELECT count(*) FROM orders'), '5', 'handler: one order for each request');
	kill('TERM', $handler);
	until_true('the handler ends', sub { has_ended($handler) });
}

# An order and its message commit together.
if (-x "$programs/outbox")
{
	$node->safe_psql('postgres', <<END);
		SELECT once.create_queue('outbox'), once.grant_queue('outbox', 'direct', 'produce'), once.grant_queue('outbox', 'pooled', 'produce');
		GRANT SELECT, INSERT ON orders TO direct;
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''too many''; END';
		CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.quantity > 100) EXECUTE FUNCTION refuse();
END
	is(run($_, 'outbox', $_, 'chair', 4), 0, "outbox, $_: an order") or diag(slurp_file($node->basedir . '/outbox.output')) for @crews;
	isnt(run($_, 'outbox', $_, 'chair', 400), 0, "outbox, $_: an order that does not commit") for @crews;
	is(value(q(SELECT string_agg(customer || ' ' || (payload->>'article') || ' ' || (payload->>'quantity'), ', ' ORDER BY q.id) FROM once.q_outbox q JOIN orders o ON o.id = (payload->>'order')::bigint)),
		'direct chair 4, pooled chair 4', 'outbox: each order has its message');
	is(value('SELECT count(*) FROM once.q_outbox'), '2', 'outbox: and there is no other');
}

stop_pooler();
done_testing();
