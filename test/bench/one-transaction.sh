# shellcheck shell=bash disable=SC2154
# Ten thousand single receives and acks in one transaction: do its own claims slow it down?

bench_one_transaction() {
	local repeat times

	for ((repeat = 1; repeat <= repeats + 2; repeat++)); do
		preload once 20000
		mapfile -t times < <(sql -c "SELECT bench.receive_warm()" -c "SELECT bench.receive_singly(10000, 1000)" | tail -n 10)
		[ ${#times[@]} -eq 10 ] || { wrong "the transaction failed"; return; }
		keep one.first "${times[0]}"
		keep one.last "${times[9]}"
		has_left once 10000
	done
	index_is_sound
	judge "last thousand against the first, µs each" "$(pretty "$(calc "$(kept one.last) / 1000")")" \
		"$(pretty "$(calc "$(kept one.first) / 1000")")" "$(kept one.last) / $(kept one.first)" "<=" 1.5
}
