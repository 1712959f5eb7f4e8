# shellcheck shell=bash disable=SC2154
# Many rows in one transaction, and a hundred at a time: how much does the index add to the cost of the heap, and is that less than
# a btree adds?

bench_insert() {
	local rows calls name repeat bare micros

	rows=$(size 1000000 50000)
	calls=$(size 500 50)
	sql >/dev/null <<-SQL
		SET client_min_messages = warning;
		DROP TABLE IF EXISTS bench.bare, bench.keyed;
		CREATE TABLE bench.bare (LIKE once.q_bench INCLUDING DEFAULTS INCLUDING IDENTITY INCLUDING STORAGE);
		CREATE TABLE bench.keyed (LIKE bench.bare INCLUDING ALL, PRIMARY KEY (id));
	SQL
	# The first round fills the server's memory and makes WAL files, so it does not count.
	for ((repeat = 0; repeat <= repeats; repeat++)); do
		for name in bare keyed once; do
			sql -c "TRUNCATE bench.bare, bench.keyed, once.q_bench" -c "CHECKPOINT" >/dev/null
			begin_measuring
			micros=$(sql -c "SELECT bench.timed(\$\$$(insert_statement "$name" "$rows")\$\$) / $rows")
			end_measuring "$rows"
			[ "$repeat" -gt 0 ] || continue
			keep "insert.$name" "$micros"
			rate=$(calc "1e6 / $micros")
			keep_rates "insert.$name"
			has_left "$name" "$rows"
		done
	done
	index_is_sound
	sql -c "DROP TABLE bench.bare, bench.keyed"
	show_insert once pg_once
	show_insert bare "no index"
	show_insert keyed "btree key"
	bare=$(kept insert.bare)
	judge "one transaction, time against no index" "$(pretty "$(kept insert.once)") µs/row" "$(pretty "$bare") µs/row" \
		"$(kept insert.once) / $bare" "<=" 1.45
	judge "one transaction, time against a btree key" "$(pretty "$(kept insert.once)") µs/row" \
		"$(pretty "$(kept insert.keyed)") µs/row" "$(kept insert.once) / $(kept insert.keyed)" "<=" 1.0

	# The same array of payloads for both.
	say "SELECT count(*) FROM once.send_batch('bench', array_fill(bench.payload(), ARRAY[100]));" >"$work/send.once"
	say "INSERT INTO bench.textbook (payload) SELECT unnest(array_fill(bench.payload(), ARRAY[100]));" >"$work/send.textbook"
	for ((repeat = 1; repeat <= repeats; repeat++)); do
		for name in textbook once; do
			preload "$name" 100
			begin_measuring
			run_clients "$work/send.$name" "$clients" --transactions="$calls"
			end_measuring $((calls * clients * 100))
			rate=$(calc "$tps * 100")
			keep_rates "insert.batch.$name"
			has_left "$name" $((calls * clients * 100 + 100))
		done
	done
	index_is_sound
	show_rates insert.batch.once "100 per commit" once
	show_rates insert.batch.textbook "100 per commit" textbook
	judge "send_batch of 100, messages/s" "$(pretty "$(kept insert.batch.once.rate)")" \
		"$(pretty "$(kept insert.batch.textbook.rate)") textbook" \
		"$(kept insert.batch.once.rate) / $(kept insert.batch.textbook.rate)" ">=" 1.2
}

show_insert() { show_rates "insert.$1" "one transaction, one session" "$2"; }
