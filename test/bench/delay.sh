# shellcheck shell=bash disable=SC2034,SC2154
# Messages due later: what do a million of them cost the present, and what do they cost when their time has come?

bench_delay() {
	delay_future
	delay_insert
	delay_due 10
	delay_due 100
	delay_first_receive
	delay_trickle
}

# A million messages for tomorrow in one of two queues that are otherwise the same.  Slices of calls alternate between the queues.
delay_future() {
	local clients=1 future calls slices name

	future=$(size 1000000 50000)
	calls=$(size 4000 500)
	slices=$((repeats * 4))
	clear_all
	other_queue later
	sql -c "INSERT INTO once.q_later (payload, deliver_at)
		SELECT bench.payload(), now() + interval '1 day' + random() * interval '1 hour' FROM generate_series(1, $future)"
	for name in once once.later; do
		sql -c "$(insert_statement "$name" $((calls * slices)))" -c "ANALYZE $(table_of "$name")" >/dev/null
	done
	alternate delay.receive "$slices" 1 "$calls" consume_script once once.later
	has_effects $((calls * slices * 2))
	alternate delay.pop "$slices" 1 "$calls" delay_pop_script once once.later
	for name in once once.later; do
		index_is_sound "$name"
	done
	has_left once 0
	has_left once.later "$future"
	drop_queue later
	for name in receive pop; do
		show_rates "delay.$name.once" "$(delay_title "$name"), 1 client, none for later" once
		show_rates "delay.$name.once.later" "$(delay_title "$name"), 1 client, $(thousands "$future") for tomorrow" once
	done
	for name in receive pop; do
		judge "$(thousands "$future") for tomorrow: $(delay_title "$name"), µs" \
			"$(pretty "$(calc "1e6 / $(kept "delay.$name.once.later.rate")")")" \
			"$(pretty "$(calc "1e6 / $(kept "delay.$name.once.rate")")") none" \
			"$(kept "delay.$name.once.rate") / $(kept "delay.$name.once.later.rate")" "<=" 1.5
	done
}

delay_title() { if [ "$1" = receive ]; then say "receive and ack"; else say "send and pop"; fi; }

# Send to a queue that has no other message for the present, and pop from it
delay_pop_script() {
	cat >"$work/delay.pop.$1" <<-SQL
		SELECT once.send('$(queue_of "$1")', bench.payload());
		SELECT count(*) AS n FROM once.pop('$(queue_of "$1")');
	SQL
	say "$work/delay.pop.$1"
}

# Inserting: a million rows in one transaction, and a hundred per commit
delay_insert() {
	local rows calls delay repeat micros name

	rows=$(size 1000000 50000)
	calls=$(size 500 50)
	for ((repeat = 0; repeat <= repeats; repeat++)); do
		for delay in none day hour; do
			clear_all
			begin_measuring
			micros=$(sql -c "SELECT bench.timed(\$\$$(delay_statement "$delay" "$rows")\$\$) / $rows")
			end_measuring "$rows"
			[ "$repeat" -gt 0 ] || continue
			rate=$(calc "1e6 / $micros")
			keep_rates "delay.insert.$delay"
			has_left once "$rows"

			say "$(delay_statement "$delay" 100);" >"$work/delay.send"
			begin_measuring
			run_clients "$work/delay.send" "$clients" --transactions="$calls"
			end_measuring $((calls * clients * 100))
			rate=$(calc "$tps * 100")
			keep_rates "delay.send.$delay"
			index_is_sound
		done
	done
	for delay in none day hour; do
		for name in insert send; do
			show_rates "delay.$name.$delay" "$(delay_how "$name"), due $(delay_when "$delay")" once
		done
	done
	for delay in day hour; do
		for name in insert send; do
			tell "$(delay_how "$name"), due $(delay_when "$delay"), CPU per message" \
				"$(pretty "$(kept "delay.$name.$delay.cpu")") µs" "$(pretty "$(kept "delay.$name.none.cpu")") µs undelayed" \
				"$(calc "$(kept "delay.$name.$delay.cpu") / $(kept "delay.$name.none.cpu")" %.2f)"
		done
	done
}

delay_how() { if [ "$1" = insert ]; then say "insert in one transaction"; else say "insert of 100 per commit"; fi; }

delay_when() {
	case $1 in
		none) say "at once" ;;
		day) say "tomorrow" ;;
		hour) say "within the hour" ;;
	esac
}

delay_statement() {
	local at="NULL::timestamptz"

	[ "$1" != day ] || at="now() + interval '1 day' + random() * interval '1 hour'"
	[ "$1" != hour ] || at="now() + interval '1 minute' + random() * interval '1 hour'"
	say "INSERT INTO once.q_bench (payload, deliver_at) SELECT bench.payload(), $at FROM generate_series(1, $2)"
}

# delay_load NUMBER LEAD SPREAD: load this many messages.  They become due at random times within SPREAD seconds, LEAD seconds from
# now.
delay_load() {
	clear_all
	delay_from=$EPOCHREALTIME
	sql -c "INSERT INTO once.q_bench (payload, headers, deliver_at)
			SELECT bench.payload(), to_jsonb(extract(epoch FROM due)), due
			FROM (SELECT now() + interval '1 s' * ($2 + random() * $3) AS due FROM generate_series(1, $1)) AS m" \
		-c "ANALYZE once.q_bench" >/dev/null
	holds "${EPOCHREALTIME/,/.} < ${delay_from/,/.} + $2" || wrong "loading took longer than $2 s: some were due by then"
}

# delay_sleep_until SECONDS: sleep until this many seconds have passed since delay_load began.
delay_sleep_until() {
	local left

	left=$(calc "${delay_from/,/.} + $1 - ${EPOCHREALTIME/,/.}" %.3f)
	holds "$left <= 0" || sleep "$left"
}

# A million messages that became due while nobody called.  The figures include their way from the schedule into the lane.
delay_due() {
	local messages repeat lead spread scheduled

	messages=$(size 1000000 50000)
	lead=$(size 20 3)
	spread=$(size 113 3)
	for ((repeat = 1; repeat <= repeats; repeat++)); do
		preload once "$messages"
		drain "$(consume_script once "$1")" "$1" "$messages"
		keep_rates "delay.due.$1.none"
		has_effects "$consumed"
		has_left once $((messages - consumed))

		delay_load "$messages" "$lead" "$spread"
		delay_sleep_until $((lead + spread + 1))
		scheduled=$(delay_scheduled)
		[ "$scheduled" -eq "$messages" ] || wrong "of $messages messages $scheduled are in the schedule"
		drain "$(consume_script once "$1")" "$1" "$messages"
		keep_rates "delay.due.$1.once"
		has_effects "$consumed"
		has_left once $((messages - consumed))
		index_is_sound
	done
	show_rates "delay.due.$1.none" "$(thousands "$messages") undelayed, batch $1" once
	show_rates "delay.due.$1.once" "$(thousands "$messages") that became due, batch $1" once
	judge "$(thousands "$messages") that became due, batch $1, messages/s" "$(pretty "$(kept "delay.due.$1.once.rate")")" \
		"$(pretty "$(kept "delay.due.$1.none.rate")") undelayed" \
		"$(kept "delay.due.$1.once.rate") / $(kept "delay.due.$1.none.rate")" ">=" 0.5
}

delay_scheduled() { sql -c "SELECT coalesce(sum(slots - done), 0) FROM once.pages('bench') WHERE kind = 'bucket'"; }

# After a million messages have become due, the first calls move them, each a part of them.
delay_first_receive() {
	local messages lead spread calls=20 times

	messages=$(size 1000000 50000)
	lead=$(size 20 3)
	spread=$(size 20 3)
	delay_load "$messages" "$lead" "$spread"
	delay_sleep_until $((lead + spread + 1))
	mapfile -t times < <(sql -c "SELECT bench.receive_warm()" -c "SELECT count(*) FROM once.pages('bench')" \
		-c "SELECT bench.receive_singly($calls, 1)" | tail -n "$calls")
	tell "a receive that finds $(thousands "$messages") due, ms (median of $calls)" "$(pretty "$(calc "$(median "${times[@]}") / 1000")")" "" ""
}

# Messages become due one after the other.  Consumers take up to ten at a time, and sleep for 10 ms if they get fewer.
delay_trickle() {
	local messages lead spread script late

	spread=$(size 30 3)
	lead=$(size 15 3)
	messages=$((spread * $(size 10000 2000)))
	script=$work/delay.trickle
	cat >"$script" <<-SQL
		WITH m AS (SELECT * FROM once.receive('bench', 10)),
		     w AS (INSERT INTO bench.effect
		           SELECT id, (extract(epoch FROM clock_timestamp()) - headers::float8) * 1e6 FROM m)
		SELECT count(once.ack(receipt)) AS n FROM m \\gset
		\\if :n < 10
		\\sleep 10 ms
		\\endif
	SQL
	delay_load "$messages" "$lead" "$spread"
	delay_sleep_until "$lead"
	begin_measuring
	run_clients "$script" "$clients" --time=$((spread + 1))
	end_measuring "$messages"
	rate=$(calc "$messages / $spread")
	keep_rates delay.trickle.once
	has_effects "$messages"
	has_left once 0
	index_is_sound
	late=$(sql -c "SELECT percentile_cont(array[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY customer / 1e3) FROM bench.effect")
	read -r -a late <<<"$(tr -d '{}' <<<"$late" | tr ',' ' ')"
	show_rates delay.trickle.once "$(thousands $((messages / spread)))/s become due, $clients consumers" once
	tell "$(thousands $((messages / spread)))/s become due: server cores" "$(calc "$cores" %.2f)" "" ""
	tell "and are late by, ms: median" "$(pretty "${late[0]}")" "" ""
	tell "99 of 100 at most" "$(pretty "${late[1]}")" "" ""
	tell "all at most" "$(pretty "${late[2]}")" "" ""
}
