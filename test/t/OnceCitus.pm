# What the tests with Citus share: nodes, and a load of producers and consumers, which an oracle judges.
#
# Producers store what they send in table intended, in the transaction of the send.  Consumers store what they do in one of three
# tables of effects, in the transaction of the ack: "near" is co-located with the queue, "far" is distributed by something else, so that
# most of it is on other nodes, and "here" is a table of its own on each node.  None has a unique key: what happens twice is there
# twice.  The effects in "near" are moved together with the messages, so that a move could hide its faults there, but not in the others.

package OnceCitus;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run;
use OnceTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(citus_required citus_cluster citus_node citus_join shards_on move_shard split_shard session load_start load_grow load_leave load_is_killed load_sent load_is_right);

# ---- Nodes ----

# Skip the whole test where Citus is not installed.
sub citus_required
{
	chomp(my $sharedir = `$ENV{PG_CONFIG} --sharedir`);
	plan skip_all => 'Citus is not installed' unless -e "$sharedir/extension/citus.control";
}

# Make a coordinator and workers of these names, all with these settings.  Returns the nodes, the coordinator first.
sub citus_cluster
{
	my ($names, @settings) = @_;
	my ($coordinator, @workers) = map { citus_node($_, @settings) } 'coordinator', @$names;

	note($coordinator->safe_psql('postgres', 'SELECT citus_version()'));
	$coordinator->safe_psql('postgres', "SELECT citus_set_coordinator_host('127.0.0.1', " . $coordinator->port . ')');
	citus_join($coordinator, $_) for @workers;
	$coordinator->safe_psql('postgres', 'CREATE EXTENSION pg_once');
	return ($coordinator, @workers);
}

# Make a server that can become a node.
sub citus_node
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
	$node->append_conf('postgresql.conf', "$_\n")
	  for "shared_preload_libraries = 'citus, pg_once'", "listen_addresses = '127.0.0.1'", 'max_prepared_transactions = 50', 'max_connections = 100',
	  'wal_level = logical', 'max_wal_senders = 10', 'max_replication_slots = 20', "citus.node_conninfo = 'sslmode=prefer'", 'once.maintenance_interval = 0',
	  'autovacuum = off', @settings;
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION citus');
	return $node;
}

# Make it a worker.
sub citus_join
{
	my ($coordinator, $node) = @_;

	$coordinator->safe_psql('postgres', "SELECT citus_add_node('127.0.0.1', " . $node->port . ')');
}

# The shards of a queue that are on a node, by the names that they have as queues of their own
sub shards_on
{
	my ($coordinator, $node, $queue) = @_;

	return split(/\n/, $coordinator->safe_psql('postgres', "SELECT '${queue}_' || shardid FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) "
		. "JOIN pg_dist_node USING (groupid) WHERE logicalrelid = 'once.q_$queue'::regclass AND nodeport = " . $node->port . ' ORDER BY shardid'));
}

# Move a shard of a queue from one node to another.
sub move_shard
{
	my ($coordinator, $shard, $from, $to, $mode) = @_;
	my ($number) = $shard =~ /_(\d+)$/;

	$coordinator->safe_psql('postgres', "SELECT citus_move_shard_placement($number, '127.0.0.1', " . $from->port . ", '127.0.0.1', " . $to->port . ", '$mode')");
}

# Split a shard of a queue in two, on these nodes.  The other modes hang under a load, whatever the table: issue 6790 of
# github.com/citusdata/citus, seen with Citus 13.0.5 on PostgreSQL 15.20.
sub split_shard
{
	my ($coordinator, $shard, @nodes) = @_;
	my ($number) = $shard =~ /_(\d+)$/;
	my $ports = join(', ', map { $_->port } @nodes);

	$coordinator->safe_psql('postgres', "SELECT citus_split_shard_by_split_points(shardid, ARRAY[((shardminvalue::bigint + shardmaxvalue::bigint) / 2)::text], "
		. "(SELECT array_agg(nodeid ORDER BY place) FROM unnest(ARRAY[$ports]) WITH ORDINALITY u (port, place) JOIN pg_dist_node ON nodeport = port), 'block_writes') FROM pg_dist_shard WHERE shardid = $number");
}

# A session on a node.  Returns a function that executes statements in it, and returns the SQLSTATE of the last one and what all of them
# have printed.
sub session
{
	my ($node) = @_;
	my ($in, $out) = ('', '');
	my $run = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-d', $node->connstr('postgres') ], '<', \$in, '>&', \$out, IPC::Run::timeout(300));

	return sub
	{
		my ($statements) = @_;

		$out = '';
		# Unlike \echo, \warn is not buffered.
		$in .= "$statements;\n\\warn :SQLSTATE is the state\n";
		$run->pump until $out =~ s/^(\w{5}) is the state\n//m;
		my $state = $1;
		return ($state, $out =~ s/\n$//r);
	};
}

# ---- The load ----

# A queue whose messages are in ordered groups is distributed by group_id, any other by id.
my %column = (grouped => 'group_id', plain => 'id');

# What consumers and producers do.  A message's number is the time when it was sent.  Each producer has groups of its own, so it sends
# the messages of a group in the order of their numbers; and all nodes are on one machine, so that their clocks agree.
my $procedures = <<'SQL';
CREATE PROCEDURE produce(queue text, groups text, pause float) LANGUAGE plpgsql AS $$
DECLARE
	k text;
	n bigint;
	grp text;
	sent jsonb[];
	grps text[];
BEGIN
	FOR i IN 1..100 LOOP
		sent := '{}';
		grps := '{}';
		FOR j IN 1..1 + (random() * 4)::int LOOP
			k := gen_random_uuid();
			n := extract(epoch FROM clock_timestamp()) * 1000000;
			grp := CASE WHEN groups <> '' THEN groups || ' ' || (random() * 20)::int END;
			INSERT INTO intended VALUES (k, grp, n);
			sent := array_append(sent, jsonb_build_object('k', k, 'n', n));
			grps := array_append(grps, grp);
		END LOOP;
		IF random() < 0.3 THEN
			PERFORM once.send_batch(queue, sent, group_ids => grps);
		ELSE
			FOR j IN 1..cardinality(sent) LOOP
				PERFORM once.send(queue, sent[j], group_id => grps[j]);
			END LOOP;
		END IF;
		IF random() < 0.03 THEN ROLLBACK; ELSE COMMIT; END IF;
		PERFORM pg_sleep(pause);
	END LOOP;
END $$;

-- Store the effect of a message.
CREATE PROCEDURE process(place text, how text, m once.message) LANGUAGE plpgsql AS $$
BEGIN
	CASE place
		WHEN 'near' THEN INSERT INTO near VALUES (m.id, m.group_id, m.payload->>'k', (m.payload->>'n')::bigint, how);
		WHEN 'far' THEN INSERT INTO far VALUES (m.id, m.group_id, m.payload->>'k', (m.payload->>'n')::bigint, how);
		WHEN 'here' THEN INSERT INTO here VALUES (m.id, m.group_id, m.payload->>'k', (m.payload->>'n')::bigint, how);
	END CASE;
END $$;

-- The messages are those of the shards that are on this node.
CREATE PROCEDURE consume(queue text, places text[], seconds float) LANGUAGE plpgsql AS $$
DECLARE
	place text;
	way float;
	patience interval;
	m once.message;
	leased once.message[];
	started timestamptz := clock_timestamp();
	busy bool;
BEGIN
	WHILE clock_timestamp() < started + seconds * interval '1 s' LOOP
		busy := false;
		place := places[1 + floor(random() * cardinality(places))];
		way := random();
		patience := CASE WHEN random() < 0.3 THEN '200 ms' END;
		leased := '{}';
		IF way < 0.5 THEN
			FOR m IN SELECT * FROM once.receive(queue, 1 + (random() * 20)::int, wait => patience) LOOP
				CALL process(place, 'receive', m);
				PERFORM once.ack(m.receipt);
				busy := true;
			END LOOP;
		ELSIF way < 0.7 THEN
			FOR m IN SELECT * FROM once.pop(queue, 1 + (random() * 20)::int, wait => patience) LOOP
				CALL process(place, 'pop', m);
				busy := true;
			END LOOP;
		ELSE
			leased := ARRAY(SELECT l FROM once.lease(queue, '20 s', 1 + (random() * 10)::int, wait => patience) l);
		END IF;
		-- Moves find messages in the hands of consumers.
		PERFORM pg_sleep(random() * 0.02);
		IF random() < 0.03 THEN ROLLBACK; ELSE COMMIT; END IF;
		FOREACH m IN ARRAY leased LOOP
			IF random() < 0.05 THEN
				BEGIN
					PERFORM once.release(m.receipt);
				EXCEPTION WHEN SQLSTATE 'ON003' THEN
					-- The shard has moved away.
				END;
			ELSIF once.try_ack(m.receipt) THEN
				CALL process(place, 'lease', m);
			END IF;
			busy := true;
		END LOOP;
		COMMIT;
		IF NOT busy AND patience IS NULL THEN PERFORM pg_sleep(0.02); END IF;
	END LOOP;
END $$;
SQL

# What may happen to a session of the load: a node is killed or starts, or Citus ends one of several transactions that wait for each
# other.
my $expected = '08\w{3}|57P0[123]|40P01|XX000: (?:server closed the connection unexpectedly|postmaster was shut down, exiting)';

# Start a load.  nodes: where consumers run, so many (consumers) on each.  from: where a producer runs.  places: where the effects go.
# kind: plain or grouped.  Returns a reference for the other functions.
my @loads;
sub load_start
{
	my ($coordinator, %args) = @_;
	my $load = {
		queue => 'orders', kind => 'plain', shards => 6, places => [ 'near', 'here', 'far' ], consumers => 1, pause => 0.01, from => [$coordinator],
		%args, coordinator => $coordinator, word => PostgreSQL::Test::Utils::tempdir, run => [], all => {}, expected => $expected };
	my ($queue, $column) = ($load->{queue}, $column{ $load->{kind} });
	my $columns = 'id bigint, group_id text, k text, n bigint, how text, at timestamptz DEFAULT clock_timestamp()';

	$load->{here} = "SET citus.enable_ddl_propagation = off; CREATE TABLE here ($columns)";
	push @loads, $load;
	$coordinator->safe_psql('postgres', $_)
	  for "SELECT once.create_queue('$queue', id_index => " . ($column eq 'id' ? 'true' : 'false') . ')',
	  "SELECT once.distribute_queue('$queue', by => '$column', shards => $load->{shards})",
	  "CREATE TABLE near ($columns); ALTER TABLE near REPLICA IDENTITY FULL; SELECT create_distributed_table('near', '$column', colocate_with => 'once.q_$queue')",
	  "CREATE TABLE intended (k text, grp text, n bigint); ALTER TABLE intended REPLICA IDENTITY FULL; SELECT create_distributed_table('intended', 'k', shard_count => 6, colocate_with => 'none')",
	  "CREATE TABLE far ($columns); ALTER TABLE far REPLICA IDENTITY FULL; SELECT create_distributed_table('far', 'k', colocate_with => 'intended')",
	  $procedures;
	load_grow($load, $_) for @{ $load->{nodes} };
	start_loop($load, $_, 'produce', "CALL produce('$queue', '" . ($load->{kind} eq 'grouped' ? $_->name : '') . "', $load->{pause})") for @{ $load->{from} };
	return $load;
}

# Let a node's consumers take part.
sub load_grow
{
	my ($load, $node) = @_;
	my $places = join(', ', map { "'$_'" } @{ $load->{places} });

	$load->{all}{ $node->name } = $node;
	$node->safe_psql('postgres', $load->{here});
	start_loop($load, $node, 'consume-' . $node->name, "CALL consume('$load->{queue}', ARRAY[$places], 2)") for 1 .. $load->{consumers};
}

# Let the consumers stop of a node that has no shards any more.  They have been told that there is nothing for them.
sub load_leave
{
	my ($load, $node) = @_;

	stop($load, 'consume-' . $node->name);
	$load->{expected} .= '|0A000: queue "\w+" has no shards on this node';
}

# Servers will be killed during the load.  Citus then fails at whatever it was doing with them.  It also raises an error when its own
# postmaster dies, even if it waits for other nodes after the commit, which the server does not survive.
sub load_is_killed
{
	my ($load) = @_;

	$load->{expected} .= '|58030: failed to (?:complete )?COPY|XX000: failure on connection marked as essential'
	  . q(|XX000: failed to prepare transaction '|XX000: cannot abort transaction \d+, it was already committed);
}

# Execute a statement on a node, again and again, until somebody says that all of this role should stop.
sub start_loop
{
	my ($load, $node, $role, $statement) = @_;

	push @{ $load->{run} }, IPC::Run::start([ 'sh', '-c', 'while [ ! -e "$1/stop-$2" ]; do psql -Xq -v VERBOSITY=verbose -d "$3" -c "$4" 2>>"$1/errors" || sleep 0.1; done',
		'sh', $load->{word}, $role, $node->connstr('postgres'), $statement ], '<', \undef, '>', '/dev/null', IPC::Run::timeout(600));
}

sub stop
{
	my ($load, $role) = @_;
	append_to_file("$load->{word}/stop-$role", '');
}

# The roles of all consumers
sub consumers
{
	my ($load) = @_;
	return map { "consume-$_" } keys %{ $load->{all} };
}

# Nothing of a load outlives the test.
END
{
	for my $load (@loads) { stop($load, $_) for 'produce', consumers($load) }
}

# How many messages were sent so far
sub load_sent
{
	my ($load) = @_;
	return $load->{coordinator}->safe_psql('postgres', 'SELECT count(*) FROM intended');
}

# Stop sending, wait until all messages are consumed, stop consuming, and check that each message that was sent has had its effect
# exactly once, that those of a group were in order, that nothing is damaged or left over, and that no call failed that should not.
sub load_is_right
{
	my ($load, $what) = @_;
	my $coordinator = $load->{coordinator};
	my $table = "once.q_$load->{queue}";

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	stop($load, 'produce');
	ok($coordinator->poll_query_until('postgres', "SELECT count(*) = 0 FROM $table"), "$what: all messages are consumed");
	stop($load, $_) for consumers($load);
	$_->finish for @{ $load->{run} };

	my %sent = map { $_ => 0 } split(/\n/, $coordinator->safe_psql('postgres', 'SELECT k FROM intended'));
	my @effects = effects($load);
	my %count = (sent => scalar(keys %sent), map { ($_->{place} => 0) } @effects);
	$sent{ $_->{k} }++ for @effects;
	$count{$_}++ for map { ($_->{place}, "by $_->{how}") } @effects;
	is(scalar(keys %sent), $count{sent}, "$what: no message came from nowhere");
	is(scalar(grep { $_ == 0 } values %sent), 0, "$what: none was lost");
	is(scalar(grep { $_ > 1 } values %sent), 0, "$what: none was processed twice");
	$count{'judged by order'} = groups_in_order($what, @effects) if $load->{kind} eq 'grouped';
	for my $node (values %{ $load->{all} })
	{
		clean($node, $load->{queue}, "$what: " . $node->name) if shards_on($coordinator, $node, $load->{queue});
	}
	for my $node ($coordinator, values %{ $load->{all} })
	{
		$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_prepared_xacts') or fail("$what: a prepared transaction is left on " . $node->name);
	}
	my %errors;
	$errors{$_}++ for slurp_errors($load);
	is(join("\n", grep { !/^(?:$load->{expected})/ } sort keys %errors), '', "$what: errors");
	note("$what: " . join(', ', map { "$count{$_} $_" } sort keys %count));
	note("$what: $errors{$_} times $_") for sort keys %errors;
}

# All effects, in the order of their times
sub effects
{
	my ($load) = @_;
	my @effects;
	my $query = "SELECT k, group_id, n, how, extract(epoch FROM at) FROM %1\$s ORDER BY at";
	my $read = sub
	{
		my ($node, $place, $name) = @_;
		for (split(/\n/, $node->safe_psql('postgres', sprintf($query, $place))))
		{
			my %effect = (place => $name);
			@effect{qw(k group_id n how at)} = split(/\|/);
			push @effects, \%effect;
		}
	};

	$read->($load->{coordinator}, $_, $_) for 'near', 'far';
	$read->($_, 'here', 'here on ' . $_->name) for values %{ $load->{all} };
	return sort { $a->{at} <=> $b->{at} } @effects;
}

# Check the order of the effects of each group.  Returns how many were judged.
sub groups_in_order
{
	my ($what, @effects) = @_;
	my (%last, @wrong);

	for my $effect (@effects)
	{
		my $before = $last{ $effect->{group_id} };
		push @wrong, "$effect->{group_id}: $effect->{n} after $before" if $before and $before > $effect->{n};
		$last{ $effect->{group_id} } = $effect->{n};
	}
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(join("\n", @wrong), '', "$what: the order of each group");
	return @effects - keys %last;
}

# The errors of all sessions: SQLSTATE and message
sub slurp_errors
{
	my ($load) = @_;

	return () unless -e "$load->{word}/errors";
	# A server that is killed says nothing with a SQLSTATE.
	return slurp_file("$load->{word}/errors") =~ /^(?:ERROR|FATAL|PANIC):  (\w{5}: .*)$/mg;
}

1;
