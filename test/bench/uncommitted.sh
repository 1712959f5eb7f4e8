# shellcheck shell=bash disable=SC2154
# An open transaction has inserted a million messages: how fast are messages consumed that were sent after them?

bench_uncommitted() {
	local open messages batch name

	open=$(size 1000000 50000)
	for batch in 1 10; do
		messages=$((batch == 1 ? $(size 60000 10000) : $(size 400000 20000)))
		for ((repeat = 1; repeat <= repeats; repeat++)); do
			uncommitted_round once 0 "$batch" "$messages" "uncommitted.free.$batch.once"
			uncommitted_round once "$open" "$batch" "$messages" "uncommitted.open.$batch.once"
		done
		show_rates "uncommitted.free.$batch.once" "no open transaction, batch $batch" once
		show_rates "uncommitted.open.$batch.once" "$(thousands "$open") uncommitted, batch $batch" once
		judge "batch $batch, messages/s against no open transaction" "$(pretty "$(kept "uncommitted.open.$batch.once.rate")")" \
			"$(pretty "$(kept "uncommitted.free.$batch.once.rate")")" \
			"$(kept "uncommitted.open.$batch.once.rate") / $(kept "uncommitted.free.$batch.once.rate")" ">=" 0.5
	done
	uncommitted_round textbook 0 1 "$(size 60000 10000)" "uncommitted.free.1.textbook"
	uncommitted_round textbook "$open" 1 0 "uncommitted.open.1.textbook"
	show_rates uncommitted.open.1.textbook "$(thousands "$open") uncommitted, batch 1" textbook
	tell "the same for the textbook, batch 1" "$(pretty "$(kept uncommitted.open.1.textbook.rate)")" \
		"$(pretty "$(kept uncommitted.free.1.textbook.rate)")" \
		"$(calc "$(kept uncommitted.open.1.textbook.rate) / $(kept uncommitted.free.1.textbook.rate)" %.3f)"
}

# uncommitted_round CONTENDER OPEN BATCH MESSAGES NAME: MESSAGES = 0 means as many as there is time for.
uncommitted_round() {
	clear_all
	if [ "$2" -gt 0 ]; then
		open_session "BEGIN; $(insert_statement "$1" "$2");"
	fi
	sql -c "$(insert_statement "$1" $(($4 + 5000)))" -c "ANALYZE $(table_of "$1")" >/dev/null
	if [ "$4" -gt 0 ]; then
		drain "$(consume_script "$1" "$3")" "$3" "$4"
	else
		begin_measuring
		run_clients "$(consume_script "$1" "$3")" "$clients" --time="$(size 10 2)"
		consumed=$((transactions * $3))
		end_measuring "$consumed"
		rate=$(calc "$tps * $3")
	fi
	keep_rates "$5"
	has_effects "$consumed"
	has_left "$1" $(($4 + 5000 - consumed))
	[ "$1" != once ] || index_is_sound
	[ "$2" -eq 0 ] || close_session
}
