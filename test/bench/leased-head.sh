# shellcheck shell=bash disable=SC2154
# Many leased messages at the head of the queue: what does it cost to reach the ready messages behind them?

bench_leased_head() {
	local leased

	for leased in 0 "$(size 100000 10000)" "$(size 1000000 50000)"; do
		leased_head_round "$leased"
	done
	judge_leased "$(size 100000 10000)" 2
	judge_leased "$(size 1000000 50000)" 10
}

# leased_head_round NUMBER
leased_head_round() {
	local repeat calls fresh

	calls=$(size 5000 1000)
	fresh=$((calls * repeats + 1000))

	clear_all
	if [ "$1" -gt 0 ]; then
		sql -c "$(insert_statement once "$1")"
		sql <<-SQL
			DO \$\$
			DECLARE
			    rest integer := $1;
			    got integer;
			BEGIN
			    WHILE rest > 0 LOOP
			        SELECT count(*) INTO got FROM once.lease('bench', '1 day', least(rest, 10000));
			        IF got = 0 THEN
			            RAISE EXCEPTION 'nothing to lease, though % should be there', rest;
			        END IF;
			        rest := rest - got;
			        COMMIT;
			    END LOOP;
			END \$\$;
		SQL
	fi
	sql -c "$(insert_statement once "$fresh")" -c "ANALYZE once.q_bench" >/dev/null

	# The first receive of a session, in a fresh process and in one that has read the index in shared memory before.  Mapping
	# that memory costs a process more than walking through it.
	sql -c "SELECT count(*) FROM once.send_batch('warm', array_fill(bench.payload(), ARRAY[50]))" >/dev/null
	for ((repeat = 1; repeat <= 5; repeat++)); do
		keep "leased.$1.raw" "$(sql -c "SELECT bench.receive_warm()" -c "SELECT bench.receive_singly(1, 1)" | tail -n 1)"
		keep "leased.$1.first" "$(sql -c "SELECT bench.receive_warm()" -c "SELECT count(*) FROM once.pages('bench')" \
			-c "SELECT bench.receive_singly(1, 1)" | tail -n 1)"
	done

	# Later receives of a session
	for ((repeat = 1; repeat <= repeats; repeat++)); do
		as_server rm -f "$work"/tmp/leased.*
		begin_measuring
		run_clients "$(consume_script once 1)" 1 --transactions="$calls" --log --log-prefix="$work/tmp/leased"
		end_measuring "$calls"
		rate=$tps
		keep_rates "leased.$1.once"
		keep "leased.$1.mean" "$(calc "1e6 / $tps")"
		# shellcheck disable=SC2046
		keep "leased.$1.later" "$(median $(cat "$work"/tmp/leased.* | cut -d ' ' -f 3))"
	done
	has_effects $((calls * repeats))
	has_left once $(($1 + fresh - 10 - calls * repeats))
	index_is_sound
	show_rates "leased.$1.once" "$(thousands "$1") leased, 1 client, batch 1" once
}

# judge_leased NUMBER TARGET
judge_leased() {
	local title

	title="$(thousands "$1") leased:"
	judge "$title a receive, µs (mean)" "$(pretty "$(kept "leased.$1.mean")")" \
		"$(pretty "$(kept leased.0.mean)") none leased" "$(kept "leased.$1.mean") / $(kept leased.0.mean)" "<=" "$2"
	judge "$title a receive, µs (median)" "$(pretty "$(kept "leased.$1.later")")" \
		"$(pretty "$(kept leased.0.later)") none leased" "$(kept "leased.$1.later") / $(kept leased.0.later)" "<=" "$2"
	judge "$title a session's first, memory mapped, µs" "$(pretty "$(kept "leased.$1.first")")" \
		"$(pretty "$(kept leased.0.first)") none leased" "$(kept "leased.$1.first") / $(kept leased.0.first)" "<=" "$2"
	tell "$title a session's first, as it comes, µs" "$(pretty "$(kept "leased.$1.raw")")" \
		"$(pretty "$(kept leased.0.raw)") none leased" "$(calc "$(kept "leased.$1.raw") / $(kept leased.0.raw)" %.2f)"
}
