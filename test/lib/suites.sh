# shellcheck shell=bash disable=SC2034,SC2154
# Shared shell helpers: the suites, and the count of what passed.
#
# To be sourced after machine.sh and postgres.sh.  Every suite reports each test (a regress file, an isolation spec, a TAP or
# pgTAP file, a stress run) by record, and wants a server as start_suite_server makes it.

passed=0
failed=0
failures=()

# record ok|FAILED NAME SECONDS [LOGFILE]
record() {
	if [ "$1" = ok ]; then
		passed=$((passed + 1))
		printf '    %sok%s     %-58s %7s s\n' "$green" "$plain" "$2" "$3"
	else
		failed=$((failed + 1))
		failures+=("$2")
		printf '    %sFAILED%s %-58s %7s s\n' "$red" "$plain" "$2" "$3"
		[ -z "${4:-}" ] || [ ! -s "$4" ] || tail -n "${failure_lines:-60}" "$4" | sed 's/^/           | /'
	fi
}

# What the suites expect of a server.  Autovacuum is busy on purpose.
start_suite_server() {
	start_server "fsync=off" "max_connections=100" "max_prepared_transactions=20" \
		"max_wal_size=4GB" "autovacuum_naptime=1s" "log_line_prefix='%m [%p] %q%a '" "log_min_messages=warning" "$@"
}

# The suites of pg_regress and of isolationtester: run_pg_regress NAME MAKE-ARGUMENT...
#
# Both print a line for each test, "test send ... ok 12 ms" up to version 15, "ok 1 - send 12 ms" since 16.
run_pg_regress() {
	local suite=$1 log=$work/$1.log started=$EPOCHREALTIME status=0 failed_before=$failed line seen=0 name result millis

	shift
	step "$suite"
	# The output is read as it comes: there is no other sign of progress.
	while read -r line; do
		say "$line" >>"$log"
		if [[ $line =~ ^(test )?[[:space:]]*([^[:space:]]+)\ +\.\.\.\ +(ok|FAILED).*\ ([0-9]+)\ ms ]]; then
			name=${BASH_REMATCH[2]} result=${BASH_REMATCH[3]} millis=${BASH_REMATCH[4]}
		elif [[ $line =~ ^(ok|not\ ok)\ +[0-9]+\ +[-+]\ +([^[:space:]]+)\ +([0-9]+)\ ms ]]; then
			name=${BASH_REMATCH[2]} result=${BASH_REMATCH[1]} millis=${BASH_REMATCH[3]}
		else
			continue
		fi
		seen=$((seen + 1))
		[ "$result" = ok ] || result=FAILED
		record "$result" "$suite/$name" "$((millis / 1000)).$((millis % 1000 / 100))"
	done < <(make_staged installcheck TAP_TESTS= "$@" 2>&1; say "exit status $?")
	grep -q '^exit status 0$' "$log" || status=1
	[ "$seen" -gt 0 ] || status=1
	if [ "$status" -ne 0 ]; then
		# It may have failed as a whole, or had no test to run.
		[ "$failed" -gt "$failed_before" ] || record FAILED "$suite" "$(seconds_since "$started")" "$log"
		find "$work/src" -name regression.diffs -exec head -n 200 {} + | sed 's/^/           | /'
	fi
}

# suite_NAME [TEST]: all tests of a suite, or one.
suite_regress() { run_pg_regress regress ISOLATION= ${1:+"REGRESS=$1"}; }
suite_isolation() { run_pg_regress isolation REGRESS= ${1:+"ISOLATION=$1"}; }

# run_files SUITE JOBS COMMAND FILE...: run the command with each file, so many at a time, each in its own process.
run_files() {
	local suite=$1 jobs=$2 command=$3 file name running=0

	shift 3
	mkdir -p "$work/$suite"
	for file; do
		# A pattern without a match is a suite without a test.
		[ -e "$file" ] || { record FAILED "$suite: no such file: $file" 0.0; return; }
		name=$(basename "${file%.*}")
		if [ "$running" -ge "$jobs" ]; then
			wait -n || true
			running=$((running - 1))
			report_files "$suite"
		fi
		(
			started=$EPOCHREALTIME result=ok
			"$command" "$file" "$name" >"$work/$suite/$name.log" 2>&1 </dev/null || result=FAILED
			say "$result $suite/$name $(seconds_since "$started") $work/$suite/$name.log" >"$work/$suite/$name.part"
			mv "$work/$suite/$name.part" "$work/$suite/$name.result"
		) &
		running=$((running + 1))
	done
	wait
	report_files "$suite"
}

# Record what run_files has finished since the last call.
report_files() {
	local result fields

	for result in "$work/$1"/*.result; do
		[ -e "$result" ] || continue
		read -ra fields <"$result"
		record "${fields[@]}"
		rm "$result"
	done
}

# The TAP suite: each file starts servers of its own.
suite_tap() {
	step "TAP"
	# shellcheck disable=SC2086
	run_files tap "$(nproc)" run_tap_file "$work"/src/test/t/${1:-*}.pl
}

run_tap_file() {
	local pgxs_dir

	pgxs_dir=$(dirname "$("$pg_config" --pgxs)")/../..
	as_server mkdir -p "$work/clusters/$2" || return
	# The environment is that of prove_installcheck in PostgreSQL's Makefile.global.
	cd "$work/src" || return
	as_server env -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE \
		PATH="$bindir:$PATH" PG_CONFIG="$pg_config" PG_REGRESS="$pgxs_dir/src/test/regress/pg_regress" \
		TESTDIR="$work/clusters/$2" TESTDATADIR="$work/clusters/$2/data" TESTLOGDIR="$work/clusters/$2/log" \
		timeout "${test_timeout:-300}" prove --timer -I "$pgxs_dir/src/test/perl" -I test/t "$1" && return 0
	# What the test's own output does not say.
	say "The end of its log:"
	find "$work/clusters/$2" -name 'regress_log_*' -exec tail -n 25 {} +
	return 1
}

# The pgTAP suite: each file in a database of its own, with both extensions.
suite_pgtap() {
	step "pgTAP"
	if [ ! -e "$("$pg_config" --sharedir)/extension/pgtap.control" ]; then
		say "    skipped: this server has no pgTAP"
		return
	fi
	sql -c 'CREATE DATABASE pgtap_template' >/dev/null
	sql -d pgtap_template -c 'CREATE EXTENSION pgtap' -c 'CREATE EXTENSION pg_once' >/dev/null
	# shellcheck disable=SC2086
	run_files pgtap 1 run_pgtap_file "$work"/src/test/pgtap/${1:-*}.sql
}

run_pgtap_file() {
	sql -c "CREATE DATABASE \"pgtap_$2\" TEMPLATE pgtap_template" || return
	as_server env PGDATABASE="pgtap_$2" \
		timeout "${test_timeout:-300}" prove --timer --exec "$bindir/psql -XAtq -P pager=off -v ON_ERROR_STOP=1 -f" "$1"
}
