# shellcheck shell=bash disable=SC2154
# Receive, one insert as a side effect, and ack, in one statement; against the textbook queue.

bench_effectively_once() {
	local batch repeat messages

	for batch in 1 10 100; do
		for ((repeat = 1; repeat <= repeats; repeat++)); do
			messages=$(size 200000 20000)
			for name in textbook once; do
				effectively_once_round "$name" "$batch" "$messages" "effect.$batch.$name"
			done
		done
		show_rates "effect.$batch.once" "batch $batch" once
		show_rates "effect.$batch.textbook" "batch $batch" textbook
	done
	judge_rate effect.1 "batch 1, messages/s" textbook 1.3
	judge "batch 1, CPU per message" "$(pretty "$(kept effect.1.once.cpu)") µs" \
		"$(pretty "$(kept effect.1.textbook.cpu)") µs textbook" \
		"$(kept effect.1.once.cpu) / $(kept effect.1.textbook.cpu)" "<=" 0.75
	judge_rate effect.10 "batch 10, messages/s" textbook 2
	judge_rate effect.100 "batch 100, messages/s" textbook 1.5

	# How much of the advantage is lost when commits wait for the disk?
	commit_mode on
	for name in textbook once; do
		effectively_once_round "$name" 1 "$(size 20000 2000)" "effect.sync.$name"
		show_rates "effect.sync.$name" "batch 1, synchronous_commit = on" "$name"
	done
	commit_mode off
	tell_rate effect.sync "batch 1, synchronous_commit = on, messages/s" textbook
}

# effectively_once_round CONTENDER BATCH MESSAGES NAME
effectively_once_round() {
	local spare=1000

	preload "$1" $(($3 + spare))
	drain "$(consume_script "$1" "$2")" "$2" "$3"
	keep_rates "$4"
	has_effects "$consumed"
	has_left "$1" $(($3 + spare - consumed))
	[ "$1" != once ] || index_is_sound
}

# judge_rate NAME LABEL RIVAL TARGET, tell_rate NAME LABEL RIVAL
judge_rate() {
	judge "$2" "$(pretty "$(kept "$1.once.rate")")" "$(pretty "$(kept "$1.$3.rate")") $(title_of "$3")" \
		"$(kept "$1.once.rate") / $(kept "$1.$3.rate")" ">=" "$4"
}

tell_rate() {
	tell "$2" "$(pretty "$(kept "$1.once.rate")")" "$(pretty "$(kept "$1.$3.rate")") $(title_of "$3")" \
		"$(calc "$(kept "$1.once.rate") / $(kept "$1.$3.rate")" %.2f)"
}
