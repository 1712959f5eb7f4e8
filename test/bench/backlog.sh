# shellcheck shell=bash disable=SC2154
# Ten million messages of backlog: the cost of receiving must not depend on it.

bench_backlog() {
	local small large batch

	large=$(size 10000000 300000)
	small=$((repeats * $(size 60000 12000) + 20000))
	backlog_rounds "$small"
	backlog_rounds "$large"
	for batch in 1 10; do
		judge "$(thousands "$large") against $(thousands "$small"), batch $batch: CPU per message" \
			"$(pretty "$(kept "backlog.$large.$batch.cpu")") µs" "$(pretty "$(kept "backlog.$small.$batch.cpu")") µs" \
			"$(kept "backlog.$large.$batch.cpu") / $(kept "backlog.$small.$batch.cpu")" "<=" 1.1
	done
}

# backlog_rounds NUMBER: measure with a backlog of this many messages.  With the small backlog as with the large one, everything
# is on disk and in a checkpoint before the measurement begins.
backlog_rounds() {
	local left=$1 batch repeat messages total=0

	clear_all
	while [ "$left" -gt 0 ]; do
		sql -c "$(insert_statement once $((left < 1000000 ? left : 1000000)))"
		left=$((left - 1000000))
	done
	sql -c "VACUUM ANALYZE once.q_bench" -c "CHECKPOINT" >/dev/null
	for batch in 1 10; do
		for ((repeat = 1; repeat <= repeats; repeat++)); do
			messages=$((batch == 1 ? $(size 20000 4000) : $(size 40000 8000)))
			drain "$(consume_script once "$batch")" "$batch" "$messages"
			keep_rates "backlog.$1.$batch"
			total=$((total + consumed))
		done
		show_rates "backlog.$1.$batch" "$(thousands "$1") waiting, batch $batch" once
	done
	has_effects "$total"
	has_left once $(($1 - total))
	index_is_sound
}
