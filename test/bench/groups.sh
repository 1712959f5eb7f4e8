# shellcheck shell=bash disable=SC2034,SC2154
# Ordered groups: many groups, a large one that is blocked, and a single one; and what it costs to send to groups.

bench_groups() {
	groups_many
	groups_hot
	groups_single
	groups_send
}

# groups_id GROUPS: print an expression for the id of a random group out of this many.  With 0, the expression is NULL, but it
# costs the same.
groups_id() {
	if [ "$1" -eq 0 ]; then
		say "CASE WHEN length('g' || (random() * 99999)::int) > 9 THEN 'g' END"
	else
		say "'${2:-g}' || (random() * ($1 - 1))::int"
	fi
}

# groups_statement NUMBER GROUPS [PREFIX]
groups_statement() {
	say "INSERT INTO once.q_bench (payload, group_id) SELECT bench.payload(), $(groups_id "$2" "${3:-g}") FROM generate_series(1, $1)"
}

# A backlog of a million messages in 100,000 groups, and one without groups.  It is drained in tenths, except the last few
# messages, because some of these may be blocked.  With single messages, only the first and the last tenth are measured; the
# messages in between are drained a hundred at a time.
groups_many() {
	local messages groups consumers batch repeat kind spare=1000
	local -A number

	messages=$(size 1000000 40000)
	groups=$((messages / 10))
	number=([none]=0 [many]=$groups)
	for ((repeat = 1; repeat <= repeats; repeat++)); do
		for consumers in 2 4; do
			for batch in 1 10 100; do
				for kind in none many; do
					clear_all
					sql -c "$(groups_statement $((messages + spare)) "${number[$kind]}")" \
						-c "ANALYZE once.q_bench" >/dev/null
					groups_drain "$kind" "$consumers" "$batch" $((messages / 10))
				done
			done
		done
	done
	for consumers in 2 4; do
		for batch in 1 10 100; do
			for kind in none many; do
				show_rates "groups.$kind.$consumers.$batch" \
					"$(groups_title "$kind" "$groups"), $consumers consumers, batch $batch" once
			done
		done
	done
	for consumers in 2 4; do
		for batch in 1 10 100; do
			kind="$consumers.$batch"
			tell "$(thousands "$groups") groups, $consumers consumers, batch $batch, messages/s" \
				"$(pretty "$(kept "groups.many.$kind.rate")")" "$(pretty "$(kept "groups.none.$kind.rate")") without groups" \
				"$(calc "$(kept "groups.many.$kind.rate") / $(kept "groups.none.$kind.rate")" %.2f)"
			judge "the same, last tenth against the first: CPU" "$(pretty "$(kept "groups.many.$kind.10.cpu")") µs" \
				"$(pretty "$(kept "groups.many.$kind.1.cpu")") µs" \
				"$(kept "groups.many.$kind.10.cpu") / $(kept "groups.many.$kind.1.cpu")" "<=" 1.5
		done
	done
}

# groups_consume BATCH MESSAGES: like drain, but a call may return less than it asks for, because other consumers have claimed
# the groups that are left.
groups_consume() {
	local before asked

	before=$(sql -c "SELECT count(*) FROM bench.effect")
	drain "$(consume_script once "$1")" "$1" "$2"
	asked=$consumed
	consumed=$(($(sql -c "SELECT count(*) FROM bench.effect") - before))
	rate=$(calc "$rate * $consumed / $asked")
	cpu=$(calc "$cpu * $asked / $consumed")
	wal=$(calc "$wal * $asked / $consumed")
}

groups_title() { if [ "$1" = none ]; then say "no groups"; else say "$(thousands "$2") groups"; fi; }

# groups_drain KIND CONSUMERS BATCH TENTH
groups_drain() {
	local clients=$2 part total=0 measured=0 seconds=0 ticks=0 bytes=0 batch

	for ((part = 1; part <= 10; part++)); do
		batch=$3
		[ "$batch" -gt 1 ] || [ "$part" -eq 1 ] || [ "$part" -eq 10 ] || batch=100
		groups_consume "$batch" "$4"
		total=$((total + consumed))
		[ "$batch" -eq "$3" ] || continue
		keep_rates "groups.$1.$2.$3.$part"
		measured=$((measured + consumed))
		seconds=$(calc "$seconds + $consumed / $rate")
		ticks=$(calc "$ticks + $consumed * $cpu")
		bytes=$(calc "$bytes + $consumed * $wal" %.0f)
	done
	rate=$(calc "$measured / $seconds") cpu=$(calc "$ticks / $measured") wal=$(calc "$bytes / $measured")
	keep_rates "groups.$1.$2.$3"
	has_effects "$total"
	has_left once $(($4 * 10 + spare - total))
	index_is_sound
}

# Half a million messages of one group whose first message is leased, and behind them as many messages of 10,000 other groups.
groups_hot() {
	local messages groups batch repeat kind name title
	local -A blocked first=([first]="memory mapped" [raw]="as it comes")

	messages=$(size 500000 20000)
	groups=$((messages / 50))
	blocked=([free]=0 [hot]=$messages)
	for ((repeat = 1; repeat <= repeats; repeat++)); do
		for kind in free hot; do
			for batch in 1 10 100; do
				clear_all
				if [ "${blocked[$kind]}" -gt 0 ]; then
					sql -c "$(groups_statement "${blocked[$kind]}" 1 hot)" \
						-c "SELECT count(*) FROM once.lease('bench', '1 day')" >/dev/null
				fi
				sql -c "$(groups_statement "$messages" "$groups")" -c "ANALYZE once.q_bench" >/dev/null
				received=0
				[ "$batch" -ne 1 ] || groups_first "$kind"
				groups_consume "$batch" $((batch == 1 ? messages / 10 : messages - messages / 10))
				keep_rates "groups.$kind.$batch"
				has_effects "$consumed"
				has_left once $((blocked[$kind] + messages - received - consumed))
				index_is_sound
			done
		done
	done
	title="behind $(thousands "$messages") of a blocked group"
	for batch in 1 10 100; do
		show_rates "groups.free.$batch" "$(thousands "$groups") groups, batch $batch" once
		show_rates "groups.hot.$batch" "$title, batch $batch" once
	done
	for batch in 1 10 100; do
		tell "$title, batch $batch, messages/s" "$(pretty "$(kept "groups.hot.$batch.rate")")" \
			"$(pretty "$(kept "groups.free.$batch.rate")") without it" \
			"$(calc "$(kept "groups.hot.$batch.rate") / $(kept "groups.free.$batch.rate")" %.2f)"
		tell "the same, CPU per message" "$(pretty "$(kept "groups.hot.$batch.cpu")") µs" \
			"$(pretty "$(kept "groups.free.$batch.cpu")") µs without it" \
			"$(calc "$(kept "groups.hot.$batch.cpu") / $(kept "groups.free.$batch.cpu")" %.2f)"
	done
	for name in first raw; do
		tell "a session's first receive, ${first[$name]}, µs" \
			"$(pretty "$(kept "groups.hot.$name")")" "$(pretty "$(kept "groups.free.$name")") without it" \
			"$(calc "$(kept "groups.hot.$name") / $(kept "groups.free.$name")" %.2f)"
	done
}

# groups_first KIND: measure how long the first receive of a session takes, as in leased-head.  Adds to "received".
groups_first() {
	local i

	sql -c "SELECT count(*) FROM once.send_batch('warm', array_fill(bench.payload(), ARRAY[50]))" >/dev/null
	for ((i = 1; i <= 5; i++)); do
		keep "groups.$1.raw" "$(sql -c "SELECT bench.receive_warm()" -c "SELECT bench.receive_singly(1, 1)" | tail -n 1)"
		keep "groups.$1.first" "$(sql -c "SELECT bench.receive_warm()" -c "SELECT count(*) FROM once.pages('bench')" \
			-c "SELECT bench.receive_singly(1, 1)" | tail -n 1)"
		received=$((received + 2))
	done
}

# A single group and a single consumer
groups_single() {
	local clients=1 messages batch repeat kind

	messages=$(size 100000 10000)
	for ((repeat = 1; repeat <= repeats; repeat++)); do
		for batch in 1 10 100; do
			for kind in 0 1; do
				clear_all
				sql -c "$(groups_statement "$messages" "$kind")" -c "ANALYZE once.q_bench" >/dev/null
				drain "$(consume_script once "$batch")" "$batch" "$messages"
				keep_rates "groups.single.$kind.$batch"
				has_effects "$consumed"
				has_left once 0
				index_is_sound
			done
		done
	done
	for batch in 1 10 100; do
		show_rates "groups.single.0.$batch" "no groups, 1 consumer, batch $batch" once
		show_rates "groups.single.1.$batch" "a single group, 1 consumer, batch $batch" once
	done
	for batch in 1 10 100; do
		tell "a single group of $(thousands "$messages"), 1 consumer, batch $batch, messages/s" \
			"$(pretty "$(kept "groups.single.1.$batch.rate")")" \
			"$(pretty "$(kept "groups.single.0.$batch.rate")") without groups" \
			"$(calc "$(kept "groups.single.1.$batch.rate") / $(kept "groups.single.0.$batch.rate")" %.2f)"
	done
}

# Sending: a million rows in one transaction, and send_batch of a hundred per commit
groups_send() {
	local rows calls groups repeat kind micros ids name

	rows=$(size 1000000 50000)
	groups=$((rows / 10))
	calls=$(size 500 50)
	for ((repeat = 0; repeat <= repeats; repeat++)); do
		for kind in 0 "$groups" 1; do
			clear_all
			begin_measuring
			micros=$(sql -c "SELECT bench.timed(\$\$$(groups_statement "$rows" "$kind")\$\$) / $rows")
			end_measuring "$rows"
			[ "$repeat" -gt 0 ] || continue
			rate=$(calc "1e6 / $micros")
			keep_rates "groups.insert.$kind"
			has_left once "$rows"

			ids="ARRAY(SELECT $(groups_id "$kind") FROM generate_series(1, 100))"
			say "SELECT count(*) FROM once.send_batch('bench', array_fill(bench.payload(), ARRAY[100]), group_ids => $ids);" \
				>"$work/groups.send"
			begin_measuring
			run_clients "$work/groups.send" "$clients" --transactions="$calls"
			end_measuring $((calls * clients * 100))
			rate=$(calc "$tps * 100")
			keep_rates "groups.send.$kind"
			has_left once $((rows + calls * clients * 100))
			index_is_sound
		done
	done
	for kind in 0 "$groups" 1; do
		for name in insert send; do
			show_rates "groups.$name.$kind" "$(groups_how "$name"), $(groups_kind "$kind")" once
		done
	done
	for kind in "$groups" 1; do
		for name in insert send; do
			tell "$(groups_how "$name"), $(groups_kind "$kind"), CPU per message" \
				"$(pretty "$(kept "groups.$name.$kind.cpu")") µs" "$(pretty "$(kept "groups.$name.0.cpu")") µs without groups" \
				"$(calc "$(kept "groups.$name.$kind.cpu") / $(kept "groups.$name.0.cpu")" %.2f)"
		done
	done
}

groups_how() { if [ "$1" = insert ]; then say "insert in one transaction"; else say "send_batch of 100"; fi; }

groups_kind() {
	case $1 in
		0) say "no groups" ;;
		1) say "a single group" ;;
		*) say "$(thousands "$1") groups" ;;
	esac
}
