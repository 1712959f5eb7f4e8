# shellcheck shell=bash disable=SC2154
# Does it cost more to mark an id, the more are remembered?  Random ids, and ascending ones, such as offsets and ids with the
# time in front.  The server has a quarter of the memory for its buffers here, as PostgreSQL's documentation recommends.
# LEDGER_IDS=NUMBER is how many are remembered in the end.

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
		# In bulk, into the current generation, which is to stay that: the old one counts, and is complete since now.  The
		# checkpoint comes before, so that the pages' first changes after one are not in what is measured.
		sql -c "CHECKPOINT" -c "ALTER TABLE once.l_flat_0 DROP CONSTRAINT l_flat_0_pkey" \
			-c "INSERT INTO once.l_flat_0 (id, processed_at) SELECT md5(n::text), now() FROM generate_series($((remembered + 1)), $target) AS n" \
			-c "SET maintenance_work_mem = '2GB'" -c "ALTER TABLE once.l_flat_0 ADD PRIMARY KEY (id)" \
			-c "VACUUM ANALYZE once.l_flat_0" \
			-c "SELECT setval('once.l_flat_state', ((extract(epoch FROM now()) - 946684800) * 1e6)::bigint << 3 | 2)" >/dev/null
		remembered=$target

		# One session for all, and its first calls are not counted
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
	for kind in random ascending; do
		for name in new known; do
			for target in $sizes; do
				if [ "$target" = "${sizes%% *}" ]; then
					tell "1,000 $name $kind ids, $(thousands "$target") remembered, µs" \
						"$(pretty "$(kept "flat.$target.$kind.$name")")" "" ""
				else
					judge "1,000 $name $kind ids, $(thousands "$target") remembered, µs" \
						"$(pretty "$(kept "flat.$target.$kind.$name")")" \
						"$(pretty "$(kept "flat.${sizes%% *}.$kind.$name")") with $(thousands "${sizes%% *}")" \
						"$(kept "flat.$target.$kind.$name") / $(kept "flat.${sizes%% *}.$kind.$name")" "<=" 1.1
				fi
			done
		done
	done
}
