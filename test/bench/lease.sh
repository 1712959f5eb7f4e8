# shellcheck shell=bash disable=SC2154
# Lease, and ack in a second transaction; against the visibility-timeout queue.

bench_lease() {
	local batch repeat

	for batch in 1 10 100; do
		for ((repeat = 1; repeat <= repeats; repeat++)); do
			for name in timeout once; do
				lease_round "$name" "$batch" "$(size 100000 20000)" "lease.$batch.$name"
			done
		done
		show_rates "lease.$batch.once" "batch $batch" once
		show_rates "lease.$batch.timeout" "batch $batch" timeout
	done
	judge_rate lease.1 "batch 1, messages/s" timeout 2.3
	judge_rate lease.10 "batch 10, messages/s" timeout 3
	judge_rate lease.100 "batch 100, messages/s" timeout 3

	commit_mode on
	for name in timeout once; do
		lease_round "$name" 1 "$(size 20000 2000)" "lease.sync.$name"
		show_rates "lease.sync.$name" "batch 1, synchronous_commit = on" "$name"
	done
	commit_mode off
	tell_rate lease.sync "batch 1, synchronous_commit = on, messages/s" timeout
}

# lease_round CONTENDER BATCH MESSAGES NAME: a message that was leased twice, or acked in vain, would be left over.
lease_round() {
	local spare=1000

	preload "$1" $(($3 + spare))
	drain "$(lease_script "$1" "$2")" "$2" "$3"
	keep_rates "$4"
	has_left "$1" $(($3 + spare - consumed))
	[ "$1" != once ] || index_is_sound
}
