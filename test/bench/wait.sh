# shellcheck shell=bash disable=SC2034,SC2154
# How soon does a waiting consumer have a message, and what does waiting cost?  Woken through shared memory, by the functions or
# by the procedure; polling, as where nobody can be woken; and a textbook queue with LISTEN and NOTIFY.

bench_wait() {
	local waiters rate name

	wait_build
	restart_bench_server "shared_preload_libraries=pg_once"
	for waiters in 1 20; do
		for rate in 10 1000; do
			for name in once procedure poll notify; do
				wait_round "$name" "$waiters" "$rate" "$(size 20 3)"
			done
		done
	done
	wait_idle "$(size 500 100)" "$(size 30 5)"
	restart_bench_server
}

wait_build() {
	# shellcheck disable=SC2086
	${CC:-cc} -O2 -Wall -o "$work/wait" "$top/test/bench/wait.c" -I"$("$pg_config" --includedir)" \
		-L"$("$pg_config" --libdir)" -lpq >"$work/wait.log" 2>&1 || die "wait.c does not build: $(cat "$work/wait.log")"
	chmod 755 "$work" "$work/wait"
}

# wait_round CONTENDER WAITERS RATE SECONDS
wait_round() {
	local sent taken trip trip99 late late99 label="$2 waiting, $3/s"

	clear_all
	begin_measuring
	read -r sent taken trip trip99 late late99 < <(as_server env LD_LIBRARY_PATH="$("$pg_config" --libdir)" "$work/wait" "$1" "$2" "$3" "$4")
	[ "${taken:--1}" = "${sent:-0}" ] || wrong "$1, $label: of ${sent:-no} messages ${taken:-none} were taken"
	end_measuring "${taken:-1}"
	tell "$label, $1: ms to delivery, p50 / p99" "$(calc "${late:-0} / 1000" %.2f) / $(calc "${late99:-0} / 1000" %.2f)" \
		"$(calc "${trip:-0} / 1000" %.2f) / $(calc "${trip99:-0} / 1000" %.2f) to send" ""
	tell "$label, $1: server CPU, µs/message; cores" "$(pretty "$cpu")" "$(calc "$cores" %.3f) cores" ""
}

# wait_idle NUMBER SECONDS: so many that wait for nothing.
wait_idle() {
	local i pids=() held

	restart_bench_server "shared_preload_libraries=pg_once
max_connections=$(($1 + 60))"
	for ((i = 0; i < $1; i++)); do
		sql -c "CALL once.wait(ARRAY['bench'], '$(($2 * 3 + 60)) s')" >/dev/null 2>&1 &
		pids+=($!)
	done
	wait_for 120 wait_all_asleep "$1" || wrong "$1 do not wait"
	sleep 5
	begin_measuring
	sleep "$2"
	held=$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND backend_xmin IS NOT NULL")
	end_measuring 0
	judge "$1 that wait for nothing, by the procedure: cores" "$(calc "$cores" %.4f)" "" "$cores" "<" 0.01
	[ "$held" -eq 0 ] || wrong "$held of those who wait hold a snapshot"
	sql -c "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Extension'" >/dev/null
	wait "${pids[@]}" 2>/dev/null || true
}

wait_all_asleep() {
	[ "$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Extension'")" -ge "$1" ]
}
