# shellcheck shell=bash disable=SC2154
# An idle REPEATABLE READ session holds back the vacuum horizon, and consumers take one message after the other as fast as they
# can.  How fast is that, second by second?

bench_over_time() {
	local name

	for name in once textbook timeout; do
		consume_over_time "$name" "$(size 30 5)"
	done
	for name in textbook timeout; do
		tell "in the last second, messages/s" "$(pretty "$last_rate_once")" \
			"$(declare -n last=last_rate_$name; pretty "$last") $(title_of "$name")" \
			"$(declare -n last=last_rate_$name; calc "$last_rate_once / $last" %.2f)"
	done
}

# consume_over_time CONTENDER SECONDS: measure, and set last_rate_CONTENDER.
consume_over_time() {
	local script messages second tps_then rate_then left

	case $1 in
		once) script=$(consume_script once 1) messages=$(size 3000000 500000) ;;
		textbook) script=$(consume_script textbook 1) messages=$(size 1000000 100000) ;;
		timeout) script=$(lease_script timeout 1) messages=$(size 1000000 100000) ;;
	esac
	preload "$1" "$messages"
	hold_horizon
	run_clients "$script" "$clients" --time="$2" --progress=1
	close_session
	[ "$1" = timeout ] || has_effects "$transactions"
	left=$((messages - transactions))
	has_left "$1" "$left"
	[ "$left" -gt 0 ] || wrong "$(title_of "$1") ran out of messages"
	[ "$1" != once ] || index_is_sound
	while read -r second tps_then; do
		keep_row "one at a time" "$1" "$second" "$tps_then"
		rate_then=$tps_then
	done < <(sed -nE 's/^progress: ([0-9.]+) s, ([0-9.]+) tps.*/\1 \2/p' "$work/pgbench.out")
	printf -v "last_rate_$1" '%s' "$rate_then"
	note "$(title_of "$1"): $(thousands "$transactions") in $2 s, $(pretty "$rate_then")/s at last"
}
