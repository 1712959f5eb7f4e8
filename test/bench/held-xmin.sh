# shellcheck shell=bash disable=SC2154
# An idle REPEATABLE READ session holds back the vacuum horizon: does consuming get slower, and does a steady load cost more?

bench_held_xmin() {
	local messages slice part repeat name

	messages=$(size 300000 30000)
	slice=$((messages / 10))
	for ((repeat = 1; repeat <= repeats; repeat++)); do
		# Load the messages first, so that the session holds back nothing but deletions.
		preload once $((messages + 1000))
		hold_horizon
		for part in 1 2 3 4 5 6 7 8 9 10; do
			drain "$(consume_script once 1)" 1 "$slice"
			keep_rates "held.$part.once"
		done
		close_session
		has_effects "$((consumed * 10))"
		has_left once $((messages + 1000 - consumed * 10))
		index_is_sound
	done
	show_rates held.1.once "first tenth, batch 1" once
	show_rates held.10.once "last tenth, batch 1" once

	# To drain nine tenths with the rival would take an hour.  So they are deleted, which leaves its table in the same state.
	preload textbook $((messages + 1000))
	hold_horizon
	sql -c "DELETE FROM bench.textbook WHERE id IN (SELECT id FROM bench.textbook ORDER BY id LIMIT $((slice * 9)))"
	begin_measuring
	run_clients "$(consume_script textbook 1)" "$clients" --time="$(size 10 3)"
	end_measuring "$transactions"
	close_session
	rate=$tps
	keep_rates held.10.textbook
	has_effects "$transactions"
	show_rates held.10.textbook "last tenth, batch 1" textbook

	judge "last tenth against the first, messages/s" "$(pretty "$(kept held.10.once.rate)")" \
		"$(pretty "$(kept held.1.once.rate)") pg_once" "$(kept held.10.once.rate) / $(kept held.1.once.rate)" ">=" 0.95
	judge "last tenth, messages/s" "$(pretty "$(kept held.10.once.rate)")" "$(pretty "$(kept held.10.textbook.rate)") textbook" \
		"$(kept held.10.once.rate) / $(kept held.10.textbook.rate)" ">=" 10

	for name in once textbook; do
		steady_load "$name" "$(size 90 5)"
	done
	judge "2,000/s offered for $(size 90 5) s: consumed of sent" "$(thousands "$steady_once_done")" "$(thousands "$steady_once_sent")" \
		"$steady_once_done / $steady_once_sent" ">=" 1
	judge "2,000/s offered for $(size 90 5) s: server cores" "$(calc "$steady_once_cores" %.2f)" \
		"$(calc "$steady_textbook_cores" %.2f) textbook" "$steady_once_cores" "<=" 0.4
	tell "of what was sent the textbook consumed" "" "$(thousands "$steady_textbook_done")" \
		"$(calc "$steady_textbook_done / $steady_textbook_sent" %.2f)"
}

hold_horizon() { open_session "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class;"; }

# steady_load CONTENDER SECONDS: run senders at a fixed rate, and consumers that sleep when there is little to do.  Consumers run two
# seconds longer than senders.  Sets steady_CONTENDER_{sent,done,cores}.
steady_load() {
	local script consumer_pid sent done_

	case $1 in
		once) say "SELECT once.send('bench', bench.payload());" ;;
		*) say "INSERT INTO bench.$1 (payload) VALUES (bench.payload());" ;;
	esac >"$work/steady.send"
	script=$(consume_script "$1" 10 " \\gset
\\if :n < 10
\\sleep 10 ms
\\endif")
	preload "$1" 0
	hold_horizon
	begin_measuring
	"${server_prefix[@]}" timeout $(($2 + 60)) "$bindir/pgbench" --no-vacuum --protocol=prepared --file="$script" \
		--client="$clients" --jobs=1 --time=$(($2 + 2)) >"$work/steady.out" 2>&1 </dev/null &
	consumer_pid=$!
	run_clients "$work/steady.send" "$clients" --time="$2" --rate=2000
	sent=$transactions
	wait "$consumer_pid" || wrong "a consumer failed: $(grep -m 1 -E 'error|ERROR' "$work/steady.out")"
	end_measuring "$sent"
	close_session
	done_=$(sql -c "SELECT count(*) FROM bench.effect")
	has_effects "$done_"
	has_left "$1" $((sent - done_))
	[ "$1" != once ] || index_is_sound
	printf -v "steady_$1_sent" %s "$sent"
	printf -v "steady_$1_done" %s "$done_"
	printf -v "steady_$1_cores" %s "$cores"
}
