# shellcheck shell=bash disable=SC2034,SC2154
# A queue that Citus has distributed: consuming it on a node with effects in a co-located table, beside a queue that is not distributed; the
# same on two and three nodes at once; and sending to it.  Messages must not cross nodes: the commands that Citus sends to other nodes
# meanwhile are counted.
#
# Each node is a server of its own on this machine.  Nothing is measured where Citus is not installed.

distributed_clients=6
distributed_batch=100
distributed_names=(coordinator one two three)

bench_distributed() {
	local home_host=$PGHOST home_port=$PGPORT repeat name

	if [ ! -e "$("$pg_config" --sharedir)/extension/citus.control" ]; then
		note "skipped: Citus is not installed"
		return
	fi
	stop_server
	distributed_start
	distributed_sets_up
	# What takes part: the local queue, one node, and two and three nodes.  Then messages are sent on node 1 of three.
	for ((repeat = 1; repeat <= repeats; repeat++)); do
		for name in local plain 1 2 3; do
			distributed_round "$name"
		done
		distributed_sending
	done
	distributed_judge
	distributed_stop
	export PGHOST=$home_host PGPORT=$home_port
	launch_server
	postmaster=$(head -n 1 "$work/data/postmaster.pid")
}

# ---- The nodes ----

# on NODE: let clients connect to a node.  The nodes are numbered, and the coordinator is node 0.
on() { export PGHOST=$work/socket PGPORT=$((distributed_port + $1)); }

distributed_start() {
	local i data

	distributed_port=$((20000 + $$ % 20000))
	for i in "${!distributed_names[@]}"; do
		data=$work/${distributed_names[i]}
		as_server "$bindir/initdb" --pgdata="$data" --username=postgres --auth=trust --encoding=UTF8 --no-locale --data-checksums \
			--no-instructions >"$work/initdb.log" 2>&1 || die "initdb failed: $(cat "$work/initdb.log")"
		printf '%s\n' "listen_addresses='127.0.0.1'" "port=$((distributed_port + i))" "unix_socket_directories='$work/socket'" \
			"shared_preload_libraries='citus, pg_once'" "citus.node_conninfo='sslmode=prefer'" "shared_buffers=256MB" \
			"max_wal_size=16GB" "checkpoint_timeout=1h" "wal_level=logical" "max_prepared_transactions=50" "jit=off" \
			"max_parallel_workers_per_gather=0" "once.maintenance_interval=0" | as_server tee -a "$data/postgresql.conf" >/dev/null
		as_server "$bindir/pg_ctl" --pgdata="$data" --log="$data.log" --wait --timeout="$start_timeout" start </dev/null >"$work/pg_ctl.log" 2>&1 ||
			die "a node did not start: $(cat "$work/pg_ctl.log" "$data.log")"
		on "$i"
		sql -c "CREATE EXTENSION citus" >/dev/null
	done
	on 0
	sql -c "SELECT citus_set_coordinator_host('127.0.0.1', $distributed_port)" >/dev/null
}

distributed_stop() {
	local name

	for name in "${distributed_names[@]}"; do
		as_server "$bindir/pg_ctl" --pgdata="$work/$name" --wait --timeout="$start_timeout" --mode=fast stop >/dev/null
	done
}

# Node 1 has the local queue, and a table of effects that is not distributed.  Queue "dist" and its table of effects are distributed
# anew when the number of nodes changes.
distributed_sets_up() {
	local i

	on 0
	for i in 1 2 3; do
		sql -c "SELECT citus_add_node('127.0.0.1', $((distributed_port + i)))" >/dev/null
	done
	sql -f - <<-'SQL' >/dev/null
		CREATE EXTENSION pg_once;
		CREATE FUNCTION payload() RETURNS jsonb LANGUAGE sql IMMUTABLE
		RETURN jsonb_build_object('customer', 4711, 'order', 1234567, 'note', repeat('x', 150));
	SQL
	on 1
	sql -f - <<-'SQL' >/dev/null
		SET citus.enable_ddl_propagation = off;
		CREATE TABLE plain_effect (id bigint NOT NULL);
		SELECT once.create_queue('local', id_index => true);
	SQL
}

# distributed_over NODES: distribute queue "dist" over nodes 1 to NODES.
distributed_over() {
	local i

	on 0
	sql -c "SET client_min_messages = warning" -c "DROP TABLE IF EXISTS effect" >/dev/null
	sql -c "SET client_min_messages = warning" -c "SELECT once.drop_queue('dist')" >/dev/null 2>&1 || true
	for i in 1 2 3; do
		sql -c "SELECT citus_set_node_property('127.0.0.1', $((distributed_port + i)), 'shouldhaveshards', $i <= $1)" >/dev/null
	done
	sql -f - <<-'SQL' >/dev/null
		SELECT once.create_queue('dist', id_index => true);
		SELECT once.distribute_queue('dist', shards => 12);
		CREATE TABLE effect (id bigint NOT NULL);
		SELECT create_distributed_table('effect', 'id', colocate_with => 'once.q_dist');
	SQL
}

# ---- Measuring ----

# distributed_script NAME QUEUE EFFECT: a consumer that goes step by step.
distributed_script() {
	cat >"$work/$1.sql" <<-SQL
		BEGIN;
		SELECT coalesce(array_agg(receipt), '{}') AS receipts, coalesce(array_agg(id), '{}') AS ids
		  FROM once.receive('$2', $distributed_batch) \\gset
		INSERT INTO $3 SELECT unnest(:ids::bigint[]);
		SELECT once.ack_all(:receipts::uuid[]);
		COMMIT;
	SQL
	say "$work/$1.sql"
}

# distributed_round local|plain|NODES: consume from the local queue, on node 1 with effects in the plain table, or on this many nodes with
# effects in the co-located table.  Stores rate, and the commands that went to other nodes.
distributed_round() {
	local nodes=1 messages calls i share queue effect=effect pids=() sent effects rates=0 transactions tps

	[[ $1 == [a-z]* ]] || nodes=$1
	[ "$1" = local ] || distributed_over "$nodes"
	[ "$1" = 1 ] || [ "$nodes" -gt 1 ] || effect=plain_effect
	messages=$(size 240000 12000)
	calls=$((messages / distributed_batch / distributed_clients))
	share=$((distributed_clients / nodes))
	on "$([ "$1" = local ] && say 1 || say 0)"
	queue=$([ "$1" = local ] && say local || say dist)
	sql -c "INSERT INTO once.q_$queue (payload) SELECT payload() FROM generate_series(1, $messages * 5 / 4)" >/dev/null
	on 1
	sql -c "TRUNCATE plain_effect" >/dev/null
	for ((i = 1; i <= nodes; i++)); do
		on "$i"
		sql -c CHECKPOINT
	done
	distributed_forget
	for ((i = 1; i <= nodes; i++)); do
		on "$i"
		as_server env PGOPTIONS="-c synchronous_commit=off -c citus.log_remote_commands=on -c log_min_messages=notice -c client_min_messages=warning" \
			timeout "${client_timeout:-400}" "$bindir/pgbench" --no-vacuum --protocol=prepared \
			--file="$(distributed_script "consume.$i" "$queue" "$effect")" --client="$share" --jobs=1 \
			--transactions="$calls" >"$work/pgbench.$i" 2>&1 </dev/null &
		pids+=($!)
	done
	for i in "${!pids[@]}"; do
		wait "${pids[i]}" || wrong "pgbench failed: $(tail -n 1 "$work/pgbench.$((i + 1))")"
		tps=$(sed -nE 's/^tps = ([0-9.]+) .*/\1/p' "$work/pgbench.$((i + 1))")
		rates=$(calc "$rates + ${tps:-0}")
	done
	sent=$(distributed_sent)
	distributed_is_right "$1" "$effect" $((messages * 5 / 4))
	transactions=$((calls * share * nodes))
	keep "distributed.$1" "$(calc "$rates * $consumed / $transactions")"
	keep "distributed.sent.$1" "$sent"
	note "$1: $(pretty "$(calc "$rates * $consumed / $transactions")") messages/s, $sent commands to other nodes"
}

# distributed_sending: send messages one by one to the local queue, to the distributed queue, which puts them into shards of node 1, and by
# INSERT, which Citus sends to all nodes.
distributed_sending() {
	local how statement calls

	calls=$(($(size 40000 4000) / distributed_clients))
	distributed_over 3
	on 1
	for how in local dist insert; do
		case $how in
			insert) statement="INSERT INTO once.q_dist (payload) VALUES (payload())" ;;
			*) statement="SELECT once.send('$how', payload())" ;;
		esac
		printf '%s;\n' "$statement" >"$work/send.sql"
		distributed_forget
		as_server env PGOPTIONS="-c synchronous_commit=off -c citus.log_remote_commands=on -c log_min_messages=notice -c client_min_messages=warning" \
			timeout "${client_timeout:-400}" "$bindir/pgbench" --no-vacuum --protocol=prepared --file="$work/send.sql" --client="$distributed_clients" \
			--jobs=1 --transactions="$calls" >"$work/pgbench.send" 2>&1 </dev/null || wrong "pgbench failed: $(tail -n 1 "$work/pgbench.send")"
		keep "distributed.send.$how" "$(sed -nE 's/^tps = ([0-9.]+) .*/\1/p' "$work/pgbench.send")"
		[ "$how" = insert ] || keep "distributed.sent.$how" "$(distributed_sent)"
		note "sending, $how: $(pretty "$(sed -nE 's/^tps = ([0-9.]+) .*/\1/p' "$work/pgbench.send")") messages/s, $(distributed_sent) commands to other nodes"
	done
	[ "$(sql -c "SELECT count(*) FROM once.q_dist")" -eq $((calls * distributed_clients * 2)) ] || wrong "messages were lost or doubled when they were sent"
	sql -c "TRUNCATE once.q_local" >/dev/null
}

# Count the commands that consumers have had Citus send to other nodes since distributed_forget.
distributed_log() { cat "$work"/one.log "$work"/two.log "$work"/three.log | grep -c 'NOTICE:  issuing' || true; }
distributed_forget() { distributed_before=$(distributed_log); }
distributed_sent() { say $(($(distributed_log) - distributed_before)); }

# distributed_is_right NAME EFFECT MESSAGES: each message is in the queue or has had one effect.  Sets consumed.
distributed_is_right() {
	local left=0 different queue table=once.q_dist faults i

	on "$([[ $2 == plain* ]] && say 1 || say 0)"
	IFS='|' read -r consumed different < <(sql -c "SELECT count(*), count(DISTINCT id) FROM $2")
	on 0
	if [ "$1" = local ]; then
		on 1
		table=once.q_local
	fi
	left=$(sql -c "SELECT count(*) FROM $table")
	[ "$consumed" -eq "$different" ] || wrong "$1: $consumed effects of $different messages"
	[ $((consumed + left)) -eq "$3" ] || wrong "$1: $consumed effects and $left messages left, of $3"
	for i in 1 2 3; do
		on "$i"
		queue=$([ "$1" = local ] && say local || say dist)
		[ "$i" -eq 1 ] || [[ $1 == [$i-3] ]] || continue
		faults=$(sql -c "SELECT count(*) FROM once.check('$queue')")
		[ "$faults" -eq 0 ] || wrong "once.check finds $faults faults in $queue"
	done
	if [ "$1" = local ]; then
		on 1
		sql -c "TRUNCATE once.q_local" >/dev/null
	fi
}

distributed_judge() {
	local n all=0

	judge "one node, batch $distributed_batch, messages/s" "$(pretty "$(kept distributed.1)")" "$(pretty "$(kept distributed.local)") local queue" \
		"$(kept distributed.1) / $(kept distributed.local)" ">=" 0.8
	tell "the same, effects in a plain table" "$(pretty "$(kept distributed.plain)")" "$(pretty "$(kept distributed.local)") local queue" \
		"$(calc "$(kept distributed.plain) / $(kept distributed.local)" %.2f)"
	for n in 2 3; do
		tell "$n nodes on this machine, messages/s" "$(pretty "$(kept "distributed.$n")")" "$(pretty "$(kept distributed.1)") one node" \
			"$(calc "$(kept "distributed.$n") / $(kept distributed.1)" %.2f)"
	done
	for n in 1 2 3 local dist; do
		# shellcheck disable=SC2086
		all=$(calc "$all + $(printf '%s\n' ${figures[distributed.sent.$n]} | awk '{ n += $1 } END { print n }')")
	done
	tell "sending one by one, messages/s" "$(pretty "$(kept distributed.send.dist)")" "$(pretty "$(kept distributed.send.local)") local queue" \
		"$(calc "$(kept distributed.send.dist) / $(kept distributed.send.local)" %.2f)"
	tell "the same beside INSERT" "$(pretty "$(kept distributed.send.dist)")" "$(pretty "$(kept distributed.send.insert)") INSERT" \
		"$(calc "$(kept distributed.send.dist) / $(kept distributed.send.insert)" %.2f)"
	judge "commands that went to other nodes" "$all" "0" "$all" "<=" 0
}
