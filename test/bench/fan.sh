# shellcheck shell=bash disable=SC2154
# Sixteen consumers and four producers on a backlog of about fifty messages.  Does any call return nothing although messages are
# there, and how much slower is it than with four consumers?

bench_fan() {
	local repeat consumers name checked

	for ((repeat = 1; repeat <= repeats; repeat++)); do
		for consumers in 4 16; do
			for name in textbook once; do
				fan_round "$name" "$consumers" "$(size 8 3)"
			done
		done
	done
	for name in once textbook; do
		show_rates "fan.4.$name" "4 consumers, 4 producers" "$name"
		show_rates "fan.16.$name" "16 consumers, 4 producers" "$name"
	done
	judge "16 consumers: false empties" "$fan_false" "of $(thousands "$fan_calls") calls" "$fan_false" "<=" 0
	tell "16 consumers against 4, messages/s" "$(pretty "$(kept fan.16.once.rate)")" "$(pretty "$(kept fan.4.once.rate)")" \
		"$(calc "$(kept fan.16.once.rate) / $(kept fan.4.once.rate)" %.2f)"
	tell "the same for the textbook" "$(pretty "$(kept fan.16.textbook.rate)")" "$(pretty "$(kept fan.4.textbook.rate)")" \
		"$(calc "$(kept fan.16.textbook.rate) / $(kept fan.4.textbook.rate)" %.2f)"
}

fan_false=0 fan_calls=0

# fan_round CONTENDER CONSUMERS SECONDS
#
# There are three counters, which are read and changed outside the transactions of the messages.  "sent" is counted after a send
# has committed, "begun" before a take begins, and "empty" after a take has returned nothing.  For a call, read sent and empty
# before it, and begun after it.  Then sent + empty - begun is less than the number of messages that were available at any moment
# of the call.  So if it is above zero and the call has returned nothing, that was wrong.
#
# Producers send ten messages at a time while the counters say that there are at most forty.
fan_round() {
	local producer_pid sent false_empties empties begun

	clear_all
	sql >/dev/null <<-SQL
		ALTER SEQUENCE bench.sent RESTART;
		ALTER SEQUENCE bench.begun RESTART;
		ALTER SEQUENCE bench.empty RESTART;
		ALTER SEQUENCE bench.false_empty RESTART;
		SELECT nextval(s) FROM unnest('{bench.sent,bench.begun,bench.empty,bench.false_empty}'::regclass[]) AS s;
		ANALYZE $(table_of "$1");
	SQL
	{
		say "SELECT s.last_value + e.last_value - b.last_value <= 40 AS few FROM bench.sent s, bench.begun b, bench.empty e \\gset"
		say "\\if :few"
		case $1 in
			once) say "SELECT count(*) FROM once.send_batch('bench', array_fill(bench.payload(), ARRAY[10]));" ;;
			*) say "INSERT INTO bench.$1 (payload) SELECT bench.payload() FROM generate_series(1, 10);" ;;
		esac
		say "SELECT nextval('bench.sent');"
		say "\\else"
		say "\\sleep 1 ms"
		say "\\endif"
	} >"$work/fan.send"
	{
		say "SELECT s.last_value + e.last_value AS offered, nextval('bench.begun') FROM bench.sent s, bench.empty e \\gset"
		cat "$(consume_script "$1" 1 " \\gset")"
		say "\\if :n = 0"
		say "SELECT CASE WHEN :offered - last_value > 0 THEN nextval('bench.false_empty') END FROM bench.begun;"
		say "SELECT nextval('bench.empty');"
		say "\\endif"
	} >"$work/fan.consume"

	begin_measuring
	"${server_prefix[@]}" timeout $(($3 + 60)) "$bindir/pgbench" --no-vacuum --protocol=prepared --file="$work/fan.send" \
		--client=4 --jobs=1 --time="$3" >"$work/fan.out" 2>&1 </dev/null &
	producer_pid=$!
	run_clients "$work/fan.consume" "$2" --time="$3"
	wait "$producer_pid" || wrong "a producer failed: $(grep -m 1 -E 'error|ERROR' "$work/fan.out")"
	IFS='|' read -r sent begun empties false_empties < <(sql -c "SELECT s.last_value, b.last_value, e.last_value, f.last_value
		FROM bench.sent s, bench.begun b, bench.empty e, bench.false_empty f")
	consumed=$((begun - empties))
	end_measuring "$consumed"
	rate=$(calc "$tps * $consumed / $transactions")
	keep_rates "fan.$2.$1"
	has_effects "$consumed"
	has_left "$1" $((sent - consumed))
	note "$(title_of "$1"), $2 consumers: $(pretty "$rate") msg/s, $empties empty calls of $begun, $false_empties of them false"
	if [ "$1" = once ]; then
		index_is_sound
		if [ "$2" -eq 16 ]; then
			fan_false=$((fan_false + false_empties))
			fan_calls=$((fan_calls + begun))
		fi
	fi
}
