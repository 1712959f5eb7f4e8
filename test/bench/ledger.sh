# shellcheck shell=bash disable=SC2034,SC2154
# Processed ids: what does it cost to mark each message, compared with the usual SQL for it, and does the cost stay the same?  The
# target is for CPU: marking in a statement must cost less of it than INSERT ... ON CONFLICT in the same statement.

bench_ledger() {
	sql -c "SELECT once.create_ledger('bench', '1 day')" >/dev/null
	ledger_consumption
	ledger_rival
	ledger_dedup
	ledger_held
}

# Consumers that mark the id of each message, in slices that alternate with consumers that do not.  For comparison: how little any
# marking could cost, and the usual SQL for it.
#
#   passed    the same statement, but the ids are only passed through a function that says that all are new
#   kept      the ids are inserted into a table without a key, and nobody asks whether they are new
#   marked    mark_processed_all
#   conflict  the ids are inserted into a table with a key, ON CONFLICT DO NOTHING RETURNING id
ledger_consumption() {
	local batch=100 slices messages total name mode

	messages=$(size 100000 20000)
	for mode in off on; do
		commit_mode "$mode"
		slices=$((repeats * 4))
		total=$((slices * messages))
		clear_all
		sql -c "TRUNCATE bench.processed, bench.kept" >/dev/null
		for name in passed kept marked conflict; do
			other_queue "$name"
		done
		for name in once once.passed once.kept once.marked once.conflict; do
			sql -c "$(insert_statement "$name" "$total")" -c "ANALYZE $(table_of "$name")" >/dev/null
		done
		alternate "ledger.consume.$mode" "$slices" "$batch" "$messages" ledger_script once once.passed once.kept once.marked once.conflict
		has_effects $((total * 5))
		for name in once once.passed once.kept once.marked once.conflict; do
			has_left "$name" 0
		done
		show_rates "ledger.consume.$mode.once" "batch $batch, synchronous_commit $mode" once
		for name in passed kept marked conflict; do
			drop_queue "$name"
			show_rates "ledger.consume.$mode.once.$name" "the same, $(ledger_way "$name")" once
		done
	done
	commit_mode off
	for mode in off on; do
		judge "marking each message, batch $batch, synchronous_commit $mode: CPU" \
			"$(pretty "$(kept "ledger.consume.$mode.once.marked.cpu")") µs" \
			"$(pretty "$(kept "ledger.consume.$mode.once.conflict.cpu")") µs ON CONFLICT" \
			"$(kept "ledger.consume.$mode.once.marked.cpu") / $(kept "ledger.consume.$mode.once.conflict.cpu")" "<" 1
		for name in passed kept marked conflict; do
			tell "the same, $(ledger_way "$name"): CPU per message" "$(pretty "$(kept "ledger.consume.$mode.once.$name.cpu")") µs" \
				"$(pretty "$(kept "ledger.consume.$mode.once.cpu")") µs unmarked" \
				"$(calc "$(kept "ledger.consume.$mode.once.$name.cpu") / $(kept "ledger.consume.$mode.once.cpu")" %.2f)"
			tell "the same, $(ledger_way "$name"): time" "$(pretty "$(kept "ledger.consume.$mode.once.$name.rate")") msg/s" \
				"$(pretty "$(kept "ledger.consume.$mode.once.rate")") unmarked" \
				"$(calc "$(kept "ledger.consume.$mode.once.rate") / $(kept "ledger.consume.$mode.once.$name.rate")" %.2f)"
		done
	done
}

ledger_way() {
	case $1 in
		passed) say "ids passed through a function that does nothing" ;;
		kept) say "ids kept without a key" ;;
		marked) say "ids marked" ;;
		conflict) say "INSERT ON CONFLICT" ;;
	esac
}

ledger_script() {
	local queue ids new

	if [ "$1" = once ]; then
		consume_script "$1" "$2"
		return
	fi
	queue=$(queue_of "$1")
	ids="(SELECT array_agg('order-$mode-' || id) FROM m)"
	case $queue in
		passed) new="SELECT id FROM unnest($ids) AS id" ;;
		kept) new="INSERT INTO bench.kept (id) SELECT 'order-$mode-' || id FROM m" ;;
		marked) new="SELECT id FROM once.mark_processed_all('bench', $ids) AS id" ;;
		conflict) new="INSERT INTO bench.processed (id) SELECT 'order-$mode-' || id FROM m ON CONFLICT DO NOTHING RETURNING id" ;;
	esac
	cat >"$work/ledger.consume" <<-SQL
		WITH m AS MATERIALIZED (SELECT * FROM once.receive('$queue', $2)),
		     n AS ($new),
		     w AS (INSERT INTO bench.effect SELECT m.id, (payload->>'customer')::int FROM m$(
			[ "$queue" = kept ] || say " JOIN n ON n.id = 'order-$mode-' || m.id"))
		SELECT count(once.ack(receipt)) AS n FROM m;
	SQL
	say "$work/ledger.consume"
}

# A thousand ids in each call, new ones and known ones, against INSERT ... ON CONFLICT DO NOTHING into a table with a key.
ledger_rival() {
	local size

	for size in $(size "100000 1000000" "20000 50000"); do
		ledger_rival_with "$size"
	done
}

# ledger_rival_with NUMBER: measure with this many ids remembered, which were marked a thousand at a time.
ledger_rival_with() {
	local known=$1 calls slices slice name first statements=() times

	calls=$(size 100 10)
	slices=$((repeats * 4))
	sql -c "SELECT once.drop_ledger('bench')" -c "SELECT once.create_ledger('bench', '1 day')" -c "TRUNCATE bench.processed" \
		-c "SELECT bench.mark_ledger(0, $((known / 1000)), 1), bench.mark_rival(0, $((known / 1000)), 1)" -c "CHECKPOINT" >/dev/null

	# One session makes all calls, because a new session would first have to map the pages that it touches.  Its first slice is
	# not counted.  Known ids are spread evenly over all ids, and begin at another id in each slice.
	first=$known
	for ((slice = 0; slice <= slices; slice++)); do
		for name in ledger rival; do
			statements+=(-c "SELECT bench.mark_$name($((slice % (known / calls / 1000))), $calls, $((known / calls / 1000)))")
		done
	done
	for ((slice = 0; slice <= slices; slice++)); do
		for name in ledger rival; do
			statements+=(-c "SELECT bench.mark_$name($first, $calls, 1)")
		done
		first=$((first + calls * 1000))
	done
	mapfile -t times < <(sql "${statements[@]}")
	[ "${#times[@]}" -eq $((4 * slices + 4)) ] || wrong "${#times[@]} slices of ids were marked"
	for ((slice = 1; slice <= slices; slice++)); do
		keep "ledger.known.$known.ledger" "${times[2 * slice]}"
		keep "ledger.known.$known.rival" "${times[2 * slice + 1]}"
		keep "ledger.new.$known.ledger" "${times[2 * (slices + 1 + slice)]}"
		keep "ledger.new.$known.rival" "${times[2 * (slices + 1 + slice) + 1]}"
	done
	for name in new known; do
		judge "1,000 $name ids, $(thousands "$known") remembered, µs" "$(pretty "$(kept "ledger.$name.$known.ledger")")" \
			"$(pretty "$(kept "ledger.$name.$known.rival")") ON CONFLICT" \
			"$(kept "ledger.$name.$known.rival") / $(kept "ledger.$name.$known.ledger")" ">=" "$([ "$name" = new ] && say 1.0 || say 1.5)"
	done
}

# The cost of a dedup_id, for single messages and a hundred at a time.
ledger_dedup() {
	local slices messages name

	slices=$((repeats * 4))
	for name in plain dedup; do
		say "SELECT once.send('bench', bench.payload()$([ "$name" = plain ] || say ", dedup_id => gen_random_uuid()::text"));" >"$work/ledger.send.$name.1"
		say "SELECT count(*) FROM once.send_batch('bench', array_fill(bench.payload(), ARRAY[100])$([ "$name" = plain ] ||
			say ", dedup_ids => ARRAY(SELECT gen_random_uuid()::text FROM generate_series(1, 100))"));" >"$work/ledger.send.$name.100"
	done
	for batch in 1 100; do
		clear_all
		messages=$((batch == 1 ? $(size 20000 2000) : $(size 100000 10000)))
		alternate "ledger.send.$batch" "$slices" "$batch" "$messages" ledger_send_script plain dedup
		has_left once $((messages * slices * 2))
		index_is_sound
		show_rates "ledger.send.$batch.plain" "sending, batch $batch" once
		show_rates "ledger.send.$batch.dedup" "sending with a new dedup_id, batch $batch" once
		tell "sending with a new dedup_id, batch $batch: CPU per message" "$(pretty "$(kept "ledger.send.$batch.dedup.cpu")") µs" \
			"$(pretty "$(kept "ledger.send.$batch.plain.cpu")") µs without" \
			"$(calc "$(kept "ledger.send.$batch.dedup.cpu") / $(kept "ledger.send.$batch.plain.cpu")" %.2f)"
	done
}

ledger_send_script() { say "$work/ledger.send.$1.$2"; }

# An idle session holds back the vacuum horizon, while generations are filled, retired and emptied every few seconds.
ledger_held() {
	local part seconds size

	seconds=$(size 8 1)
	sql -c "SELECT once.create_ledger('held', '2 s')" >/dev/null
	cat >"$work/ledger.held" <<-SQL
		SELECT count(*) FROM once.mark_processed_all('held', ARRAY(SELECT gen_random_uuid()::text FROM generate_series(1, 100)));
	SQL
	hold_horizon
	for part in 1 2 3 4 5 6 7 8 9 10; do
		begin_measuring
		run_clients "$work/ledger.held" "$clients" --time="$seconds"
		end_measuring $((transactions * 100))
		rate=$(calc "$tps * 100")
		keep_rates "ledger.held.$part"
		keep ledger.held.all $((transactions * 100))
	done
	close_session
	size=$(sql -c "SELECT pg_size_pretty(pg_total_relation_size('once.l_held_0') + pg_total_relation_size('once.l_held_1'))")
	show_rates ledger.held.1 "held horizon, retention 2 s: first tenth" once
	show_rates ledger.held.10 "held horizon, retention 2 s: last tenth" once
	judge "held horizon, last tenth against the first, ids/s" "$(pretty "$(kept ledger.held.10.rate)")" \
		"$(pretty "$(kept ledger.held.1.rate)")" "$(kept ledger.held.10.rate) / $(kept ledger.held.1.rate)" ">=" 0.9
	tell "the same: size after $((seconds * 10)) s, $(thousands $(($(calc "$(printf '%s + ' ${figures[ledger.held.all]})0" %.0f)))) ids" "$size" "" ""
	sql -c "SELECT once.drop_ledger('held')" >/dev/null
}
