# shellcheck shell=bash disable=SC2154
# Does marking an id cost more, the more ids are remembered?  For ascending ids, such as offsets and ids that begin with the time,
# it must not, up to 100 million ids.  For random ids it does, and the benchmark shows how much.  Here the server has a quarter of
# the machine's memory for its buffers, as PostgreSQL's documentation recommends.  LEDGER_IDS=NUMBER is how many ids are remembered in
# the end.  With the number of the target, 100 million, it takes much longer, and 15 GB of disk.

bench_ledger_flat() {
	local sizes remembered=0 target calls part parts name kind statements times shared_buffers

	sizes=$(size "1000000 10000000 ${LEDGER_IDS:-30000000}" "10000 50000")
	calls=$(size 200 20)
	parts=$((repeats + 1))
	shared_buffers=$(awk '/^MemTotal:/ { printf "%dMB", $2 / 4 / 1024 }' /proc/meminfo)
	restart_bench_server "shared_buffers = '$shared_buffers'"
	note "shared_buffers = $shared_buffers"
	sql -c "SELECT once.create_ledger('flat', '1 day')" >/dev/null
	for target in $sizes; do
		# Load ids in bulk into the current generation.  It must stay the current one, so set the state: the old generation
		# counts, and was complete just now.  Make a checkpoint before, so that the first changes of pages after a checkpoint
		# are not measured.
		sql -c "CHECKPOINT" -c "ALTER TABLE once.l_flat_0 DROP CONSTRAINT l_flat_0_pkey" \
			-c "INSERT INTO once.l_flat_0 (id, processed_at) SELECT md5(n::text), now() FROM generate_series($((remembered + 1)), $target) AS n" \
			-c "SET maintenance_work_mem = '2GB'" -c "ALTER TABLE once.l_flat_0 ADD PRIMARY KEY (id)" \
			-c "VACUUM ANALYZE once.l_flat_0" \
			-c "SELECT setval('once.l_flat_state', ((extract(epoch FROM now()) - 946684800) * 1e6)::bigint << 3 | 2)" >/dev/null
		remembered=$target

		# One session makes all calls, and its first calls are not counted
		statements=()
		for ((part = 0; part < parts; part++)); do
			for kind in random ascending; do
				statements+=(-c "SELECT bench.mark_more('$kind', $calls, true)" -c "SELECT bench.mark_more('$kind', $calls, false)")
			done
		done
		mapfile -t times < <(sql "${statements[@]}")
		[ "${#times[@]}" -eq $((4 * parts)) ] || wrong "${#times[@]} slices of ids were marked"
		for ((part = 1; part < parts; part++)); do
			keep "flat.$target.random.new" "${times[4 * part]}"
			keep "flat.$target.random.known" "${times[4 * part + 1]}"
			keep "flat.$target.ascending.new" "${times[4 * part + 2]}"
			keep "flat.$target.ascending.known" "${times[4 * part + 3]}"
		done
	done
	sql -c "SELECT once.drop_ledger('flat')" >/dev/null
	restart_bench_server
	[ "${sizes##* }" -ge 100000000 ] || note "ascending ids: the target goes to 100 million, LEDGER_IDS=100000000"
	for kind in ascending random; do
		for name in new known; do
			for target in $sizes; do
				ledger_flat_result "1,000 $name $kind ids, $(thousands "$target") remembered, µs" \
					"flat.$target.$kind.$name" "flat.${sizes%% *}.$kind.$name" "$(thousands "${sizes%% *}")"
			done
		done
	done
}

# ledger_flat_result LABEL NAME FIRST NUMBER: compare what was kept as NAME, with this many ids remembered, against FIRST.
ledger_flat_result() {
	local label=$1 ours theirs ratio

	ours=$(pretty "$(kept "$2")")
	theirs="$(pretty "$(kept "$3")") with $4"
	ratio="$(kept "$2") / $(kept "$3")"
	case $2 in
		"$3") tell "$label" "$ours" "" "" ;;
		*.ascending.*) judge "$label" "$ours" "$theirs" "$ratio" "<=" 1.1 ;;
		*) tell "$label" "$ours" "$theirs" "$(calc "$ratio" %.2f)" ;;
	esac
}
