# shellcheck shell=bash disable=SC2034,SC2154
# Shared by the benchmarks: the server, the contenders, the measurements, and the tables of results.
#
# To be sourced after machine.sh and postgres.sh.

clients=4
contenders="once textbook timeout"

# ---- The server ----

# README.md explains the settings.  synchronous_commit is set for each measurement, by commit_mode.
start_bench_server() {
	start_server "shared_buffers=512MB" "max_wal_size=64GB" "min_wal_size=8GB" "checkpoint_timeout=1h" "fsync=on" \
		"full_page_writes=on" "wal_level=replica" "autovacuum=on" "jit=off" "max_parallel_workers_per_gather=0" \
		"max_connections=60" "log_checkpoints=off"
	postmaster=$(head -n 1 "$work/data/postmaster.pid")
	commit_mode off
}

# restart_bench_server [SETTING]: restart the server with one more setting.
restart_bench_server() {
	say "${1:-}" | as_server tee "$work/data/postgresql.auto.conf" >/dev/null
	as_server "$bindir/pg_ctl" --pgdata="$work/data" --log="$work/server.log" --wait --timeout="$start_timeout" restart \
		</dev/null >"$work/pg_ctl.log" 2>&1 || die "the server did not restart: $(cat "$work/pg_ctl.log" "$work/server.log")"
	postmaster=$(head -n 1 "$work/data/postmaster.pid")
}

# commit_mode on|off: set synchronous_commit from here on.
commit_mode() { export PGOPTIONS="-c synchronous_commit=$1"; }

# open_session SQL: start a session that executes SQL and stays open.  close_session [SQL]: execute more SQL and end it.
open_session() {
	mkfifo "$work/session.in"
	: >"$work/session.out"
	exec {session_fd}<>"$work/session.in"
	"${server_prefix[@]}" "$bindir/psql" -XAtq -v ON_ERROR_STOP=1 <"$work/session.in" >"$work/session.out" 2>&1 &
	session_pid=$!
	printf '%s\n\\echo -- ready\n' "$1" >&"$session_fd"
	wait_for 300 session_is_ready || die "a session does not get ready: $(cat "$work/session.out")"
}

session_is_ready() {
	kill -0 "$session_pid" 2>/dev/null || die "a session has ended: $(cat "$work/session.out")"
	grep -qxF -e '-- ready' "$work/session.out"
}

close_session() {
	printf '%s\n\\q\n' "${1:-ROLLBACK;}" >&"$session_fd"
	wait "$session_pid" || true
	exec {session_fd}>&-
	rm "$work/session.in"
}

# ---- Arithmetic ----

# calc EXPRESSION [FORMAT]
calc() { awk "BEGIN { printf \"${2:-%.6g}\", $1 }"; }
holds() { awk "BEGIN { exit !($1) }"; }
median() { printf '%s\n' "$@" | sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# A number for people: 15,600 or 12.3 or 0.45
pretty() {
	local rounded

	if holds "$1 >= 1000"; then
		rounded=$(calc "$1" %.0f)
		thousands "$rounded"
	elif holds "$1 >= 100"; then
		calc "$1" %.0f
	elif holds "$1 >= 10"; then
		calc "$1" %.1f
	else
		calc "$1" %.2f
	fi
}

# ---- Measuring ----

# Print the CPU time that the server has used so far, in clock ticks: that of the postmaster, of its children that have ended,
# and of those that live.
ticks_per_second=$(getconf CLK_TCK)
server_ticks() {
	{ cat /proc/[0-9]*/stat 2>/dev/null || true; } | awk -v postmaster="$postmaster" '
		{ pid = $1; sub(/^.*\) /, "") }
		pid == postmaster || $2 == postmaster { ticks += $12 + $13 + $14 + $15 }
		END { print ticks + 0 }'
}

begin_measuring() {
	lsn_before=$(sql -c "SELECT pg_current_wal_insert_lsn()")
	ticks_before=$(server_ticks)
	time_before=$EPOCHREALTIME
}

# end_measuring MESSAGES: set elapsed (s), cores, and per message cpu (µs) and wal (bytes).
end_measuring() {
	local ticks

	elapsed=$(calc "${EPOCHREALTIME/,/.} - ${time_before/,/.}")
	ticks=$(($(server_ticks) - ticks_before))
	cores=$(calc "$ticks / $ticks_per_second / $elapsed")
	wal=$(sql -c "SELECT pg_current_wal_insert_lsn() - '$lsn_before'")
	if [ "$1" -gt 0 ]; then
		cpu=$(calc "$ticks / $ticks_per_second * 1e6 / $1")
		wal=$(calc "$wal / $1")
	fi
}

# run_clients SCRIPT CLIENTS PGBENCH-OPTION...: run pgbench, and set transactions and tps.
run_clients() {
	local script=$1 count=$2

	shift 2
	as_server timeout "${client_timeout:-400}" "$bindir/pgbench" --no-vacuum --protocol=prepared --file="$script" \
		--client="$count" --jobs=2 "$@" >"$work/pgbench.out" 2>&1 </dev/null || {
		wrong "pgbench failed: $(grep -m 1 -E 'error|aborted|ERROR' "$work/pgbench.out" || tail -n 1 "$work/pgbench.out")"
	}
	transactions=$(sed -nE 's/^number of transactions actually processed: ([0-9]+).*/\1/p' "$work/pgbench.out")
	tps=$(sed -nE 's/^tps = ([0-9.]+) .*/\1/p' "$work/pgbench.out")
	transactions=${transactions:-0} tps=${tps:-0}
}

# drain SCRIPT BATCH MESSAGES: let all clients together consume this many messages, in calls of BATCH.  Sets rate, cpu and wal.
drain() {
	local calls=$(($3 / $2 / clients))

	begin_measuring
	run_clients "$1" "$clients" --transactions="$calls"
	end_measuring $((calls * clients * $2))
	consumed=$((calls * clients * $2))
	rate=$(calc "$tps * $2")
}

# Figures of several repeats.  keep NAME VALUE... stores them, kept NAME prints their median.
declare -A figures
keep() { figures[$1]="${figures[$1]:-} $2"; }
kept() {
	# shellcheck disable=SC2086
	median ${figures[$1]:?no figure $1}
}

# keep_rates NAME: store what drain has set.
keep_rates() {
	keep "$1.rate" "$rate"
	keep "$1.cpu" "$cpu"
	keep "$1.wal" "$wal"
}

# alternate FIGURE SLICES BATCH MESSAGES SCRIPT-FUNCTION CONTENDER...: let each contender in turn drain a slice of this many
# messages.  This is for contenders that are so close that two runs, one after the other, would tell more about the machine.
# The function is called with contender and batch, and prints the name of a script.
alternate() {
	local figure=$1 slices=$2 batch=$3 messages=$4 script=$5 slice name

	shift 5
	for ((slice = 1; slice <= slices; slice++)); do
		for name; do
			drain "$("$script" "$name" "$batch")" "$batch" "$messages"
			keep_rates "$figure.$name"
		done
	done
}

# ---- Results ----

results=()
measurements=()
rows=()
wrongs=()
missed=0

# Note a fault: a wrong result must not look fast.
wrong() {
	wrongs+=("$section: $*")
	printf '  %s\n' "${red}WRONG: $*$plain"
}

note() { printf '  %s\n' "$dim$*$plain"; }

# judge LABEL OURS THEIRS RATIO '<|<=|>=' TARGET: note a result that has a target.
judge() {
	local outcome colour=$green

	if holds "$4 $5 $6"; then
		outcome=yes
	else
		missed=$((missed + 1))
		outcome="no$(holds "$6 == 0" || calc "100 * ($4 / $6 - 1)" ", by %+.0f %%")"
		colour=$red
	fi
	results+=("$section|$1|$2|$3|$(calc "$4" %.2f)|${5/<=/at most} $6|$outcome")
	printf '  %-46s %18s %24s  %s%7s%s  %s %s\n' "$1" "$2" "$3" "$colour" "$(calc "$4" %.2f)" "$plain" "${5}" "$6"
}

# tell LABEL OURS THEIRS RATIO: note a result that has no target.
tell() {
	results+=("$section|$1|$2|$3|$4||")
	printf '  %-46s %18s %24s  %7s\n' "$1" "$2" "$3" "$4"
}

# keep_row LABEL CONTENDER SECOND RATE [CPU WAL]: add a row to the file that charts are drawn from; "-" is a figure that does not
# exist.
keep_row() {
	local row

	printf -v row '%s\t' "$section" "$1" "$(title_of "$2")" "$3" "$4" "${5:--}" "${6:--}"
	rows+=("${row%?}")
}

# show_rates NAME LABEL CONTENDER: add a line to the table of measurements.
show_rates() {
	local r c w

	r=$(pretty "$(kept "$1.rate")") c=$(pretty "$(kept "$1.cpu")") w=$(calc "$(kept "$1.wal")" %.0f)
	measurements+=("$section|$2|$(title_of "$3")|$r|$c|$w")
	keep_row "$2" "$3" - "$(kept "$1.rate")" "$(kept "$1.cpu")" "$(kept "$1.wal")"
	printf '  %s%-46s %-18s %10s msg/s %8s µs CPU %6s B WAL%s\n' "$dim" "$2" "$(title_of "$3")" "$r" "$c" "$w" "$plain"
}

# ---- The contenders ----

# Contender "once" is the queue "bench", and "once.NAME" is another queue.
queue_of() { if [ "$1" = once ]; then say bench; else say "${1#once.}"; fi; }

table_of() {
	case $1 in
		once | once.*) say "once.q_$(queue_of "$1")" ;;
		*) say "bench.$1" ;;
	esac
}

title_of() {
	case $1 in
		once | once.*) say "pg_once" ;;
		timeout) say "visibility timeout" ;;
		*) say "$1" ;;
	esac
}

insert_statement() { say "INSERT INTO $(table_of "$1") (payload) SELECT bench.payload() FROM generate_series(1, $2)"; }

# Empty all tables, so that nothing is left over, not even work for autovacuum.  Then make a checkpoint, before messages are
# loaded.  So the first changes of pages after a checkpoint are not measured.
clear_all() { sql -c "TRUNCATE once.q_bench, once.q_warm, bench.textbook, bench.timeout, bench.effect" -c "CHECKPOINT" >/dev/null; }

# other_queue NAME [OPTION => VALUE, ...]: make another queue beside "bench", to compare the two slice by slice.  No other queue
# has the same ids.  drop_queue drops it.
others=0
other_queue() {
	others=$((others + 1))
	sql -c "SELECT once.create_queue('$1'${2:+, $2})" \
		-c "ALTER TABLE once.q_$1 ALTER COLUMN id RESTART WITH ${others}000000000" -c "CHECKPOINT" >/dev/null
}
drop_queue() { sql -c "SET client_min_messages = warning" -c "SELECT once.drop_queue('$1')" >/dev/null; }

# preload CONTENDER NUMBER: load this many messages, and nothing else.
preload() {
	clear_all
	sql -c "$(insert_statement "$1" "$2")" -c "ANALYZE $(table_of "$1")" >/dev/null
}

# has_left CONTENDER NUMBER: check that this many messages are in the queue.
has_left() {
	local left

	left=$(sql -c "SELECT count(*) FROM $(table_of "$1")")
	[ "$left" -eq "$2" ] || wrong "$(title_of "$1"): $left messages left, not $2"
}

# has_effects NUMBER: check that there is exactly one effect of each of this many messages.
has_effects() {
	local all different

	IFS='|' read -r all different < <(sql -c "SELECT count(*), count(DISTINCT message) FROM bench.effect")
	[ "$all" -eq "$1" ] && [ "$different" -eq "$1" ] || wrong "$all effects of $different messages, not of $1"
}

# index_is_sound [CONTENDER]: check that once.check finds nothing in the queue's index.
index_is_sound() {
	local faults

	faults=$(sql -c "SELECT count(*) FROM once.check('$(queue_of "${1:-once}")')")
	[ "$faults" -eq 0 ] || wrong "once.check finds $faults faults"
}

# consume_script CONTENDER BATCH [MORE]: write a script that takes messages, has an effect in the database and acks, in one
# statement.  Prints the name of the script.  MORE is appended to it.
consume_script() {
	local script=$work/consume.$1.$2

	case $1 in
		once | once.*)
			cat <<-SQL
				WITH m AS (SELECT * FROM once.receive('$(queue_of "$1")', $2)),
				     w AS (INSERT INTO bench.effect SELECT id, (payload->>'customer')::int FROM m)
				SELECT count(once.ack(receipt)) AS n FROM m
			SQL
			;;
		textbook)
			cat <<-SQL
				WITH m AS (DELETE FROM bench.textbook WHERE ctid = ANY (ARRAY(
				               SELECT ctid FROM bench.textbook ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED))
				           RETURNING id, payload),
				     w AS (INSERT INTO bench.effect SELECT id, (payload->>'customer')::int FROM m)
				SELECT count(*) AS n FROM m
			SQL
			;;
	esac >"$script"
	say "${3:-;}" >>"$script"
	say "$script"
}

# lease_script CONTENDER BATCH: write a script that takes messages for a time, and acks them in a second transaction.
lease_script() {
	local script=$work/lease.$1.$2

	case $1 in
		once)
			if [ "$2" -eq 1 ]; then
				cat <<-SQL
					SELECT receipt, payload AS p FROM once.lease('bench', '30 s') \\gset
					SELECT once.ack(:receipt);
				SQL
			else
				cat <<-SQL
					SELECT array_agg(receipt) AS receipts, count(payload) FROM once.lease('bench', '30 s', $2) \\gset
					SELECT once.ack_all(:receipts);
				SQL
			fi
			;;
		timeout)
			if [ "$2" -eq 1 ]; then
				cat <<-SQL
					UPDATE bench.timeout SET vt = clock_timestamp() + interval '30 s', read_ct = read_ct + 1
					WHERE id IN (SELECT id FROM bench.timeout WHERE vt <= clock_timestamp() ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
					RETURNING id, payload AS p \\gset
					DELETE FROM bench.timeout WHERE id = :id;
				SQL
			else
				cat <<-SQL
					WITH m AS (UPDATE bench.timeout SET vt = clock_timestamp() + interval '30 s', read_ct = read_ct + 1
					           WHERE id IN (SELECT id FROM bench.timeout WHERE vt <= clock_timestamp() ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)
					           RETURNING id, payload)
					SELECT array_agg(id) AS ids, count(payload) FROM m \\gset
					DELETE FROM bench.timeout WHERE id = ANY (:ids);
				SQL
			fi
			;;
	esac >"$script"
	say "$script"
}
