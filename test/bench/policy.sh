# shellcheck shell=bash disable=SC2034,SC2154
# Delivery policy: what do options cost consumers, how fast are dead messages taken away, and what does an archive cost?

bench_policy() {
	policy_options
	policy_archive
	policy_dead
	policy_mixed
}

# A queue whose messages may expire and have few attempts, against a queue without these options.  No message dies in either.
policy_options() {
	local batch

	policy_pair mortal "max_attempts => 2, ttl => '1 day', retention => '1 day'"
	for batch in 1 10 100; do
		show_rates "policy.mortal.$batch.once" "no ttl, batch $batch" once
		show_rates "policy.mortal.$batch.once.mortal" "ttl, 2 attempts, batch $batch" once
	done
	for batch in 1 10 100; do
		judge "ttl and 2 attempts, batch $batch: CPU per message" "$(pretty "$(kept "policy.mortal.$batch.once.mortal.cpu")") µs" \
			"$(pretty "$(kept "policy.mortal.$batch.once.cpu")") µs without" \
			"$(kept "policy.mortal.$batch.once.mortal.cpu") / $(kept "policy.mortal.$batch.once.cpu")" "<=" 1.1
	done
}

# Archive on, against off.
policy_archive() {
	local batch

	policy_pair kept "archive => '1 day'"
	for batch in 1 10 100; do
		show_rates "policy.kept.$batch.once" "no archive, batch $batch" once
		show_rates "policy.kept.$batch.once.kept" "archive, batch $batch" once
	done
	for batch in 1 10 100; do
		tell "archive, batch $batch: CPU per message" "$(pretty "$(kept "policy.kept.$batch.once.kept.cpu")") µs" \
			"$(pretty "$(kept "policy.kept.$batch.once.cpu")") µs without" \
			"$(calc "$(kept "policy.kept.$batch.once.kept.cpu") / $(kept "policy.kept.$batch.once.cpu")" %.2f)"
	done
}

# policy_pair NAME OPTIONS: drain the queue "bench" and a queue with options, in alternating slices.
policy_pair() {
	local batch slices messages total

	slices=$((repeats * 4))
	for batch in 1 10 100; do
		messages=$((batch == 1 ? $(size 20000 4000) : $(size 100000 20000)))
		total=$((slices * messages))
		clear_all
		other_queue "$1" "$2"
		for name in once "once.$1"; do
			sql -c "$(insert_statement "$name" "$total")" -c "ANALYZE $(table_of "$name")" >/dev/null
		done
		alternate "policy.$1.$batch" "$slices" "$batch" "$messages" consume_script once "once.$1"
		has_effects $((total * 2))
		for name in once "once.$1"; do
			has_left "$name" 0
			index_is_sound "$name"
		done
		[ "$1" != kept ] || [ "$(sql -c "SELECT count(*) FROM once.a_kept")" -eq "$total" ] ||
			wrong "not all acked messages are in the archive"
		drop_queue "$1"
	done
}

# Queues in which all messages are dead.  They are taken away by a consumer, 10,000 in a call, or by maintain(), against pop.
policy_dead() {
	local clients=1 messages calls repeat kind by

	messages=$(size 200000 20000)
	for ((repeat = 1; repeat <= repeats; repeat++)); do
		preload once "$messages"
		say "SELECT count(*) FROM once.pop('bench', 100);" >"$work/policy.take"
		drain "$work/policy.take" 100 "$messages"
		keep_rates policy.pop
		has_left once 0

		for kind in attempts expired drop; do
			for by in receive maintain; do
				policy_kill "$kind" "$messages"
				has_left once.dying "$messages"
				begin_measuring
				if [ "$by" = receive ]; then
					say "SELECT count(*) FROM once.receive('dying');" >"$work/policy.take"
					run_clients "$work/policy.take" 1 --transactions=$((messages / 10000))
				else
					sql -c "CALL once.maintain()"
				fi
				end_measuring "$messages"
				rate=$(calc "$messages / $elapsed")
				keep_rates "policy.$kind.$by"
				has_left once.dying 0
				index_is_sound once.dying
				policy_buried "$kind" "$messages"
				drop_queue dying
			done
		done
	done
	show_rates policy.pop "pop, 1 client, batch 100" once
	for kind in attempts expired drop; do
		for by in receive maintain; do
			show_rates "policy.$kind.$by" "$(policy_title "$kind"), by $by" once
		done
	done
	for kind in attempts expired drop; do
		for by in receive maintain; do
			tell "$(policy_title "$kind"), by $by, CPU per message" "$(pretty "$(kept "policy.$kind.$by.cpu")") µs" \
				"$(pretty "$(kept policy.pop.cpu)") µs pop, batch 100" \
				"$(calc "$(kept "policy.$kind.$by.cpu") / $(kept policy.pop.cpu)" %.2f)"
		done
	done
}

# Every second message has expired, or none has: what do dead messages cost consumers of the others?
policy_mixed() {
	local messages repeat kind batch
	local -A first=([alive]=2 [mixed]=1)

	for batch in 1 10 100; do
		messages=$((batch == 1 ? $(size 40000 8000) : $(size 200000 20000)))
		for ((repeat = 1; repeat <= repeats; repeat++)); do
			for kind in alive mixed; do
				clear_all
				sql -c "INSERT INTO once.q_bench (payload, expires_at)
						SELECT bench.payload(), CASE WHEN part = 1 THEN now() END
						FROM generate_series(1, $messages), generate_series(${first[$kind]}, 2) AS part" \
					-c "ANALYZE once.q_bench" >/dev/null
				drain "$(consume_script once "$batch")" "$batch" "$messages"
				keep_rates "policy.$kind.$batch"
				has_effects "$consumed"
				sql -c "CALL once.maintain()"
				has_left once $((messages - consumed))
				index_is_sound
				policy_buried expired $((messages * (2 - first[$kind]))) bench
			done
		done
		show_rates "policy.alive.$batch" "all alive, batch $batch" once
		show_rates "policy.mixed.$batch" "every second one expired, batch $batch" once
	done
	for batch in 1 10 100; do
		tell "every second one expired, batch $batch: CPU per message" "$(pretty "$(kept "policy.mixed.$batch.cpu")") µs" \
			"$(pretty "$(kept "policy.alive.$batch.cpu")") µs all alive" \
			"$(calc "$(kept "policy.mixed.$batch.cpu") / $(kept "policy.alive.$batch.cpu")" %.2f)"
	done
}

policy_title() {
	case $1 in
		attempts) say "attempts used up, to dead letters" ;;
		expired) say "expired, to dead letters" ;;
		drop) say "expired, dropped" ;;
	esac
}

# policy_kill KIND NUMBER: make a queue with this many messages, all of them dead.  For messages that die of their attempts, the
# last leases end only after all messages have been leased.
policy_kill() {
	local lease

	lease=$(size 10 3)
	clear_all
	case $1 in
		attempts) other_queue dying "max_attempts => 1, retry_delay => '0', retry_delay_max => '0'" ;;
		expired) other_queue dying "ttl => '1 ms'" ;;
		drop) other_queue dying "ttl => '1 ms', ttl_action => 'drop'" ;;
	esac
	sql -c "$(insert_statement once.dying "$2")" -c "ANALYZE once.q_dying" >/dev/null
	[ "$1" = attempts ] || return 0
	sql <<-SQL
		DO \$\$
		DECLARE
		    rest integer := $2;
		    got integer;
		BEGIN
		    WHILE rest > 0 LOOP
		        SELECT count(*) INTO got FROM once.lease('dying', '$lease s', least(rest, 10000));
		        IF got = 0 THEN
		            RAISE EXCEPTION 'nothing to lease, though % should be there', rest;
		        END IF;
		        rest := rest - got;
		        COMMIT;
		    END LOOP;
		END \$\$;
	SQL
	sleep "$lease"
}

# policy_buried KIND NUMBER [QUEUE]: check that the dead messages are where they should be.
policy_buried() {
	local found wanted=$2 queue=${3:-dying}

	[ "$1" != drop ] || wanted=0
	found=$(sql -c "SELECT count(DISTINCT id) FROM once.dead_letters WHERE queue = '$queue' AND reason = '$1'")
	[ "$found" -eq "$wanted" ] || wrong "$found dead letters, not $wanted"
	sql -c "SELECT once.purge_dead_letters('$queue')" >/dev/null
}
