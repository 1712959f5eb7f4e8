# shellcheck shell=bash disable=SC2034,SC2154
# The crash windows: if something dies at some instant of a delivery, is the message lost, done twice or delivered again?
#
# To be sourced after machine.sh and postgres.sh, by test/demo.
#
# A cell is a contract, an instant and a way to die.  For each way, all cells are tried at the same time.  Each has a message of
# its own, and a client that stops at its instant.  Then all of them are struck.  A second consumer receives what it can get, and
# then it is counted what has become of each message.

ways=(client network backend stop server)

# ---- The contracts ----

# What a client does, line by line.  Lines that begin with @, ~ or ? are instants.  @: the client has done everything before this
# line.  ~: the client is executing the next line, which waits, because there is no message yet.  ?: the line before has been
# executed, but the client does not know, because the answer is still on its way.
contracts=(receive receive-outside lease lease-apart pop pop-first)
declare -A title steps

title[receive]="\`receive\`: the effect and the ack in its transaction"
steps[receive]="@before the call
BEGIN;
~in a call that waits
SELECT receipt, attempt FROM once.receive(:'cell', wait => :'wait') \\gset
@between delivery and effect
INSERT INTO effect VALUES (:'cell', 'first', :attempt);
@between effect and ack
SELECT once.ack(:'receipt');
@between ack and commit
COMMIT;
?between commit and its answer"

title[receive-outside]="\`receive\`: the effect outside of the database"
steps[receive-outside]="@before the call
BEGIN;
~in a call that waits
SELECT receipt, attempt FROM once.receive(:'cell', wait => :'wait') \\gset
@between delivery and effect
\\setenv ATTEMPT :attempt
\\! \"\$OTHER_SYSTEM\"
@between effect and ack
SELECT once.ack(:'receipt');
@between ack and commit
COMMIT;
?between commit and its answer"

title[lease]="\`lease\`: the effect and the ack in one transaction, after that of the lease"
steps[lease]="@before the call
~in a call that waits
SELECT receipt, attempt FROM once.lease(:'cell', '1 hour', wait => :'wait') \\gset
?between delivery and its answer
@between delivery and effect
BEGIN;
INSERT INTO effect VALUES (:'cell', 'first', :attempt);
@between effect and ack
SELECT once.ack(:'receipt');
@between ack and commit
COMMIT;
?between commit and its answer"

title[lease-apart]="\`lease\`: the effect and the ack in a transaction each"
steps[lease-apart]="@before the call
~in a call that waits
SELECT receipt, attempt FROM once.lease(:'cell', '1 hour', wait => :'wait') \\gset
?between delivery and its answer
@between delivery and effect
INSERT INTO effect VALUES (:'cell', 'first', :attempt);
@between effect and ack
BEGIN;
SELECT once.ack(:'receipt');
@between ack and commit
COMMIT;
?between commit and its answer"

title[pop]="\`pop\`: the effect in its transaction"
steps[pop]="@before the call
BEGIN;
~in a call that waits
SELECT attempt FROM once.pop(:'cell', wait => :'wait') \\gset
@between delivery and effect
INSERT INTO effect VALUES (:'cell', 'first', :attempt);
@between effect and commit
COMMIT;
?between commit and its answer"

title[pop-first]="\`pop\`: the effect in another transaction, after that of the pop"
steps[pop-first]="@before the call
~in a call that waits
SELECT attempt FROM once.pop(:'cell', wait => :'wait') \\gset
?between delivery and its answer
@between delivery and effect
BEGIN;
INSERT INTO effect VALUES (:'cell', 'first', :attempt);
@between effect and commit
COMMIT;
?between commit and its answer"

# second_consumer CELL ROUND: print what the second consumer does to receive the message of a cell and to process it.
second_consumer() {
	case $1 in
		pop*) say "INSERT INTO effect SELECT '$1', 'second', attempt, '$2' FROM once.pop('$1');" ;;
		*)
			say "WITH m AS (SELECT * FROM once.${1%%-*}('$1')),"
			say "     e AS (INSERT INTO effect SELECT '$1', 'second', attempt, '$2' FROM m)"
			say "SELECT count(once.ack(receipt)) FROM m \\g /dev/null"
			;;
	esac
}

# ---- The clients ----

# Set cells, and the kind and instant of each.  A cell has the name of its queue: contract-number.
declare -A kind instant
list_cells() {
	local contract line number

	cells=()
	for contract in "${contracts[@]}"; do
		number=0
		while IFS= read -r line; do
			[[ $line == [@~?]* ]] || continue
			number=$((number + 1))
			cells+=("$contract-$number")
			kind[$contract-$number]=${line:0:1}
			instant[$contract-$number]=${line:1}
		done <<<"${steps[$contract]}"
	done
}

# for_each KINDS COMMAND ARGUMENT...: run a command for each cell of one or more kinds.
for_each() {
	local kinds=$1 cell

	shift
	for cell in "${cells[@]}"; do
		[[ $kinds != *"${kind[$cell]}"* ]] || "$1" "$cell" "${@:2}"
	done
}

# Print what the client of a cell does up to its instant.
client_script() {
	local instants=${1##*-} line='' verb script=("\\set cell $1" "\\set wait '0 s'")

	while IFS= read -r line; do
		if [[ $line != [@~?]* ]]; then
			script+=("$line")
		elif [ $((instants -= 1)) -eq 0 ]; then
			break
		fi
	done
	case ${kind[$1]} in
		'@') script+=('\echo -- here') ;;
		'~') IFS= read -r line; script+=("\\set wait '60 s'" '\echo -- here' "$line") ;;
		'?')
			line=${script[-1]}
			verb=${line%%[ ;]*}
			script[-1]='\echo -- here'
			script+=("$verb /* unheard */${line#"$verb"}" '\echo -- told')
			;;
	esac
	printf '%s\n' "${script[@]}"
}

start_client() {
	client_script "$1" >"$work/clients/$1.sql" <<<"${steps[${1%-*}]}"
	"${server_prefix[@]}" env PGHOST="$work/network" PGAPPNAME="client $1" CELL="$1" OTHER_SYSTEM="$work/other-system" \
		"$bindir/psql" -XAtq -v ON_ERROR_STOP=1 -f "$work/clients/$1.sql" -f - \
		<"$work/nothing" >"$work/clients/$1.log" 2>&1 {nothing}>&- &
	clients+=($!)
	kill_at_exit+=($!)
	# Keep the shell from reporting its death.
	disown
}

start_network() {
	rm -f "$work/network/.s.PGSQL.5432"
	"${server_prefix[@]}" perl "$top/test/lib/network.pl" "$work/network/.s.PGSQL.5432" "$work/socket/.s.PGSQL.5432" {nothing}>&- &
	network=$!
	kill_at_exit+=("$network")
	disown
	wait_for 30 test -S "$work/network/.s.PGSQL.5432" || die "there is no network"
}

# Start all clients, and wait until they have come to their instants.
start_clients() {
	clients=()
	start_network
	for_each '@~?' start_client
	wait_for 50 clients_are_there || die "not all clients have come to their instants: $(tail -n 1 -q "$work"/clients/*.log | sort | uniq -c)"
}

clients_are_there() {
	[ "$(cat "$work"/clients/*.log | grep -cxF -e '-- here')" -eq ${#cells[@]} ] &&
		[ "$(sql -c "SELECT string_agg(n::text, ' ' ORDER BY kind) FROM (SELECT $server_sees AS kind, count(*) AS n
				FROM pg_stat_activity WHERE $is_client GROUP BY kind) AS s")" = "$expected_kinds" ]
}

is_client="application_name LIKE 'client %'"
server_sees="CASE WHEN wait_event_type = 'Extension' THEN '1 waits' WHEN state = 'active' THEN '2 works'
	WHEN query LIKE '%/* unheard */%' THEN '3 has answered' ELSE '4 hears nothing' END"
clients_are_gone() { [ "$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE $is_client" 2>/dev/null)" = 0 ]; }
nobody_waits() { [ "$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE $is_client AND state = 'active'")" = 0 ]; }

# ---- The ways to die ----

# strike WAY: make something die.  Afterwards the server runs, and has noticed that the clients are gone.  If the network is cut, it
# has not noticed.
strike() {
	local reinitialized pids

	case $1 in
		client) kill -KILL "${clients[@]}" ;;
		network)
			kill -STOP "$network"
			return
			;;
		backend)
			reinitialized=$(count_reinitializations)
			read -ra pids < <(sql -c "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE $is_client")
			kill -KILL "${pids[@]}"
			wait_for 60 has_reinitialized "$reinitialized" || die "the server does not restart"
			;;
		stop)
			as_server "$bindir/pg_ctl" --pgdata="$work/data" --wait --mode=immediate stop >/dev/null
			launch_server
			;;
		server)
			read -ra pids < <(server_processes)
			kill -KILL "${pids[@]}"
			wait_for 60 have_ended "${pids[@]}" || die "the server does not end"
			launch_server
			;;
	esac
	wait_for 60 clients_are_gone || die "the server does not notice that its clients are gone"
}

count_reinitializations() { grep -c 'all server processes terminated; reinitializing' "$work/server.log" || true; }
has_reinitialized() { [ "$(count_reinitializations)" -gt "$1" ] && sql -c "SELECT" 2>/dev/null; }

# Print the process ids of the postmaster and its children.
server_processes() {
	{ cat /proc/[0-9]*/stat 2>/dev/null || true; } | awk -v postmaster="$(head -n 1 "$work/data/postmaster.pid")" '
		{ pid = $1; sub(/^.*\) /, "") }
		pid == postmaster || $2 == postmaster { printf "%s ", pid }
		END { print "" }'
}

# have_ended PID...: have all of these processes ended?  A zombie has ended.
have_ended() {
	local pid

	for pid; do
		! grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$pid/status" || return 1
	done
}

# ---- Afterwards ----

send_message() { say "SELECT once.send('$1', '{}') \\g /dev/null"; }

# second_round ROUND: run the second consumer on all cells.
second_round() { for_each '@~?' second_consumer "$1" | sql -f -; }

# Leases last one hour.  Let two hours pass on the server's clock.
clock=0
let_leases_end() {
	clock=$((clock + 2))
	perl -e 'print pack("q", $ARGV[0] * 3600 * 1e6)' "$clock" 1<>"$work/clock"
}

count_cell() {
	say "SELECT '$1', count(*), coalesce(sum(attempt) FILTER (WHERE consumer = 'second'), 0),"
	say "       string_agg(round, ' '), (SELECT count(*) FROM once.\"q_$1\"), (SELECT count(*) FROM once.check('$1'))"
	say "  FROM effect WHERE cell = '$1';"
}

# outcome EFFECTS ATTEMPT ROUND LEFT FAULTS: print in one word what has become of a message.  ATTEMPT and ROUND are those of the
# second consumer.
outcome() {
	local later=''

	case $3 in
		lease) later=' ¹' ;;
		notice) later=' ²' ;;
	esac
	case $*$later in
		'0 0  0 0') say "lost" ;;
		# Either the first consumer had it, or the second one had it as the first delivery.
		'1 0  0 0' | '1 1 now 0 0') say "nothing" ;;
		'1 2 '*' 0 0'*) say "again$later" ;;
		'2 2 '*' 0 0'*) say "doubled$later" ;;
		*) say "unexpected: $*" ;;
	esac
}

declare -A outcomes
try_way() {
	local cell effects attempt round left faults

	sql -c "TRUNCATE effect"
	for_each '@?' send_message | sql -f -
	start_clients
	strike "$1"
	for_each '~' send_message | sql -f -
	wait_for 50 nobody_waits || die "a client that waits for a message does not get it"
	second_round now
	let_leases_end
	second_round lease
	if [ "$1" = network ]; then
		kill -KILL "$network"
		wait_for 60 clients_are_gone || die "the server does not notice that its clients are gone"
		second_round notice
	fi
	kill -KILL "${kill_at_exit[@]}" 2>/dev/null || true
	kill_at_exit=()
	! grep -lxF -e '-- told' "$work"/clients/*.log || die "a client got an answer that it should not get"
	while IFS='|' read -r cell effects attempt round left faults; do
		outcomes[$1:$cell]=$(outcome "$effects" "$attempt" "$round" "$left" "$faults")
	done < <(for_each '@~?' count_cell | sql -f -)
}

# columns TEXT...: print a row of a table.
columns() {
	local line="| $1" text

	printf -v line '%s%*s' "$line" $((33 - ${#1})) ''
	for text in "${@:2}"; do
		printf -v line '%s | %s%*s' "$line" "$text" $((text_width - ${#text})) ''
	done
	say "$line |"
}
text_width=9

print_windows() {
	local contract cell way row

	for contract in "${contracts[@]}"; do
		say "**${title[$contract]}**"
		say
		columns "" "${ways[@]}"
		say "|---$(printf '|---%.0s' "${ways[@]}")|"
		for cell in "${cells[@]}"; do
			[ "${cell%-*}" = "$contract" ] || continue
			row=("${instant[$cell]}")
			for way in "${ways[@]}"; do
				row+=("${outcomes[$way:$cell]}")
			done
			columns "${row[@]}"
		done
		say
	done
}

# Print the tables of the documentation, which are between two marks there.  They must be the same as those printed here.
documented_windows() { sed -n '/^<!-- test\/demo --windows -->$/,/^<!-- end -->$/{ /^<!--/d; p }' "$top"/doc/*.md; }

start_windows_server() {
	local cc

	cc=$("$pg_config" --cc)
	perl -e 'print pack("q", 0)' >"$work/clock"
	${cc%% *} -shared -fPIC -O2 -o "$work/clock.so" "$top/test/lib/clock.c"
	printf '%s\n' '#!/bin/sh' "exec env LD_PRELOAD='$work/clock.so' ONCE_TEST_CLOCK='$work/clock' '$bindir/postgres' \"\$@\"" >"$work/postgres"
	printf '%s\n' '#!/bin/sh' "PGHOST='$work/socket' exec '$bindir/psql' -XAtq -c \"INSERT INTO effect VALUES ('\$CELL', 'first', \$ATTEMPT)\"" \
		>"$work/other-system"
	chmod 755 "$work/postgres" "$work/other-system"
	server_program=$work/postgres
	start_server "max_connections=100" "fsync=off" "session_preload_libraries=pg_once" "once.flush_claims=on" "shared_buffers=16MB"
}

show_windows() {
	local way cell started sent=0

	start_windows_server
	list_cells
	as_server mkdir "$work/network" "$work/clients"
	mkfifo "$work/nothing"
	chmod 644 "$work/nothing"
	exec {nothing}<>"$work/nothing"
	{
		say "CREATE EXTENSION pg_once;"
		say "CREATE TABLE effect (cell text NOT NULL, consumer text NOT NULL, attempt int NOT NULL, round text);"
		for cell in "${cells[@]}"; do
			say "SELECT once.create_queue('$cell', retry_delay => '0 s') \\g /dev/null"
		done
	} | sql -f -
	expected_kinds="$(for_each '~' say | wc -l) $(for_each '?' say | wc -l) $(for_each '@' say | wc -l)"
	for way in "${ways[@]}"; do
		started=$EPOCHREALTIME
		step "${#cells[@]} clients, each with a message of its own; what dies: $way"
		try_way "$way"
		say "    took $(seconds_since "$started") s"
	done
	stop_server
	say
	print_windows | tee "$work/windows"
	diff -u <(documented_windows) <(sed '$d' "$work/windows") || die "the tables in doc/ are different"
	say "The tables in doc/ are the same."
}
