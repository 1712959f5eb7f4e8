# shellcheck shell=bash disable=SC2034,SC2154
# How soon does a waiting consumer have a message, and what does waiting cost?  Consumers are woken through shared memory, in the
# functions or in the procedure; they poll, as where nobody can wake them; or they LISTEN, with a textbook queue that notifies.

declare -A wait_p50 wait_p99 wait_trip wait_trip99 wait_cpu

bench_wait() {
	local many rate name

	many=$(size 500 50)
	wait_begin "$many"
	for rate in 10 1000; do
		for name in once procedure poll notify; do
			wait_round "$name" 1 1 "$rate"
			wait_round "$name" 20 1 "$rate"
		done
		for name in once procedure; do
			wait_round "$name" "$many" 1 "$rate"
			wait_round "$name" "$many" "$many" "$rate"
		done
	done
	for name in once procedure; do
		wait_judge "$name" "$many"
	done
	wait_end
}

# Consumers that take up to 100 messages, 1,000/s.  With once.wake_delay, a consumer that was woken lets more of them come.
bench_wait_batch() {
	local name many

	wait_begin 1
	for many in 1 20; do
		for name in once batch batch-delay batch-poll; do
			wait_round "$name" "$many" 1 1000
		done
		judge "$many waiting, 1000/s, up to 100, once.wake_delay 5 ms: CPU, ms/message" "$(calc "${wait_cpu[batch-delay $many 1 1000]} / 1000" %.3f)" \
			"$(calc "${wait_cpu[batch-poll $many 1 1000]} / 1000" %.3f) polling" "${wait_cpu[batch-delay $many 1 1000]} / 1000" "<=" 0.12
	done
	wait_end
}

# Consumers that wait for nothing, beside the maintenance of as many queues.
bench_wait_idle() {
	local many

	many=$(size 500 50)
	wait_begin "$many"
	wait_idle "$many" "$(size 30 5)"
	wait_end
}

# wait_begin NUMBER: a server with the library preloaded, and so many queues
wait_begin() {
	wait_build
	restart_bench_server "shared_preload_libraries=pg_once
max_connections=$(($(size 500 50) + 60))"
	sql -c "SELECT count(once.create_queue('wait' || i)) FROM generate_series(0, $(($1 - 1))) i" >/dev/null
}

wait_end() {
	sql -c "SET client_min_messages = warning" -c "SELECT count(once.drop_queue(queue)) FROM once.list_queues() WHERE queue LIKE 'wait%'" >/dev/null
	restart_bench_server
}

wait_build() {
	# shellcheck disable=SC2086
	${CC:-cc} -O2 -Wall -o "$work/wait" "$top/test/bench/wait.c" -I"$("$pg_config" --includedir)" \
		-L"$("$pg_config" --libdir)" -lpq >"$work/wait.log" 2>&1 || die "wait.c does not build: $(cat "$work/wait.log")"
	chmod 755 "$work" "$work/wait"
}

# wait_round CONTENDER WAITERS QUEUES RATE
wait_round() {
	local sent taken trip trip99 late late99 seconds label="$2 waiting" key="$1 $2 $3 $4"

	[ "$3" -eq 1 ] || label="$label for $3 queues"
	label="$label, $4/s, $1"
	seconds=$(size 20 2)
	[ "$4" -gt 10 ] || seconds=$(size 40 5)
	clear_all
	sql -c "SELECT sum(once.purge(queue)) FROM once.list_queues() WHERE queue LIKE 'wait%'" >/dev/null
	begin_measuring
	read -r sent taken trip trip99 late late99 < <(as_server env LD_LIBRARY_PATH="$("$pg_config" --libdir)" "$work/wait" "$@" "$seconds")
	[ "${taken:--1}" = "${sent:-0}" ] || wrong "$label: of ${sent:-no} messages ${taken:-none} were taken"
	end_measuring "${taken:-1}"
	wait_p50[$key]=${late:-0} wait_p99[$key]=${late99:-0} wait_trip[$key]=${trip:-0} wait_trip99[$key]=${trip99:-0} wait_cpu[$key]=$cpu
	tell "$label: ms, p50 / p99" "$(calc "${late:-0} / 1000" %.2f) / $(calc "${late99:-0} / 1000" %.2f)" \
		"$(calc "${trip:-0} / 1000" %.2f) / $(calc "${trip99:-0} / 1000" %.2f) to send" ""
	tell "$label: CPU, µs/message" "$(pretty "$cpu")" "$(calc "$cores" %.3f) cores" ""
}

# wait_judge CONTENDER MANY: what must be reached.  Delivery includes the round trip of the send.
wait_judge() {
	local one="$1 1 1 10" fast="$1 1 1 1000" many

	judge "1 waiting, 10/s, $1: p50 beyond the round trip, ms" "$(calc "(${wait_p50[$one]} - ${wait_trip[$one]}) / 1000" %.3f)" "" \
		"$(calc "(${wait_p50[$one]} - ${wait_trip[$one]}) / 1000")" "<=" 0.3
	judge "1 waiting, 10/s, $1: p99 beyond the round trip, ms" "$(calc "(${wait_p99[$one]} - ${wait_trip99[$one]}) / 1000" %.3f)" "" \
		"$(calc "(${wait_p99[$one]} - ${wait_trip99[$one]}) / 1000")" "<=" 1
	for many in "$1 $2 1 10" "$1 $2 $2 10"; do
		judge "$2 waiting, 10/s, $1: p50" "$(calc "${wait_p50[$many]} / 1000" %.2f) ms" "$(calc "${wait_p50[$one]} / 1000" %.2f) ms with 1" \
			"${wait_p50[$many]} / ${wait_p50[$one]}" "<=" 2
	done
	judge "1 waiting, 1000/s, $1: CPU, ms/message" "$(calc "${wait_cpu[$fast]} / 1000" %.3f)" \
		"$(calc "${wait_cpu[poll 1 1 1000]} / 1000" %.3f) polling" "${wait_cpu[$fast]} / 1000" "<=" 0.12
}

# wait_idle NUMBER SECONDS: what it costs that so many wait for nothing.
wait_idle() {
	local i pids=() held

	for ((i = 0; i < $1; i++)); do
		sql -c "CALL once.wait(ARRAY['bench'], '1 h')" >/dev/null 2>&1 &
		pids+=($!)
	done
	wait_for 120 wait_all_asleep "$1" || wrong "$1 do not wait"
	sleep 5
	begin_measuring
	sleep "$2"
	held=$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND backend_xmin IS NOT NULL")
	end_measuring 0
	judge "$1 wait for nothing, procedure: cores" "$(calc "$cores" %.4f)" "" "$cores" "<" 0.01
	[ "$held" -eq 0 ] || wrong "$held of those that wait hold a snapshot"
	sql -c "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Extension'" >/dev/null
	wait "${pids[@]}" 2>/dev/null || true
}

wait_all_asleep() {
	[ "$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Extension'")" -ge "$1" ]
}
