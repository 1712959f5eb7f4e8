# shellcheck shell=bash disable=SC2034,SC2154
# Shared shell helpers: the suites, and the count of what passed.
#
# To be sourced after machine.sh and postgres.sh.  Every suite calls "record" for each test (a regress file, an isolation spec,
# a TAP or pgTAP file, a stress run).  Every suite needs a server that start_suite_server has started.

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

# Start a server for the suites.  Autovacuum runs often, on purpose.
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
	# Read the output as it is printed, to show progress.
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
		# The suite may have failed as a whole, or had no test to run.
		[ "$failed" -gt "$failed_before" ] || record FAILED "$suite" "$(seconds_since "$started")" "$log"
		find "$work/src" -name regression.diffs -exec head -n 200 {} + | sed 's/^/           | /'
	fi
}

# suite_NAME [TEST]: all tests of a suite, or one.
#
# For the races, the library is loaded when the server starts, so that whoever waits is woken.  For all other tests it is loaded
# when it is used: there, before PostgreSQL 17, whoever waits polls.  No pass of the launcher comes in between.
suite_regress() { run_pg_regress regress ISOLATION= ${1:+"REGRESS=$1"}; }
suite_isolation() {
	restart_server "shared_preload_libraries=pg_once" "once.maintenance_interval=0"
	run_pg_regress isolation REGRESS= ${1:+"ISOLATION=$1"}
	restart_server "shared_preload_libraries="
}

# The build suite: run make in another directory than that of the sources, which have been built in their own directory, too.
suite_build() {
	local test

	step "build"
	as_server mkdir -p "$work/elsewhere" "$work/nowhere"
	# The other tests need the directory that this one makes.
	timed build elsewhere
	for test in ${1:-installcheck clean nowhere dist}; do
		[ "$test" = elsewhere ] || timed build "$test"
	done
}

# make_elsewhere ARGUMENT...: run make in the directory "elsewhere" beside the sources.
make_elsewhere() {
	as_server make --no-print-directory -C "$work/elsewhere" -f ../src/Makefile PG_CONFIG="$pg_config" with_llvm=no "$@" </dev/null
}

# A build elsewhere installs the same as a build among the sources.
build_elsewhere() {
	make_elsewhere -j"$(nproc)" COPT=-O0 || return
	make_elsewhere install DESTDIR="$work/installed/elsewhere" || return
	make_staged install DESTDIR="$work/installed/src" || return
	list_installed src && list_installed elsewhere && same_installed elsewhere
}

# list_installed WHERE: write down the names in the library that is installed in $work/installed/WHERE, and the sums of
# the other files.
list_installed() {
	cd "$work/installed/$1" || return
	[ -s ".$("$pg_config" --pkglibdir)/pg_once.so" ] || return
	[ -s ".$("$pg_config" --docdir)/extension/pg_once-reference.md" ] || return
	find . -name '*.so' -exec nm --dynamic --defined-only --format=posix {} + | cut -d ' ' -f 1,2 | sort >../"$1.names"
	find . ! -name '*.so' -type f -exec md5sum {} + | sort >../"$1.files"
	grep -qx 'once_send T' ../"$1.names"
}

# Are they the same as those of a build among the sources?
same_installed() {
	diff "$work/installed/src.names" "$work/installed/$1.names" && diff "$work/installed/src.files" "$work/installed/$1.files"
}

# The tests, and what they include, are taken from the sources, but their results are not put there.
build_installcheck() {
	rm -rf "$work/src/results" "$work/src/output_iso"
	make_elsewhere installcheck REGRESS="send verbs" ISOLATION=ack-ack TAP_TESTS= || return
	[ -e "$work/elsewhere/results/send.out" ] && [ ! -e "$work/src/results" ] && [ ! -e "$work/src/output_iso" ]
}

build_clean() {
	make_elsewhere clean || return
	[ -z "$(find "$work/elsewhere" -type f)" ] && [ -e "$work/src/pg_once.so" ]
}

# Without sources, or without a server, there is an error.
build_nowhere() {
	as_server cp "$work/src/Makefile" "$work/src/pg_once.control" "$work/nowhere" || return
	! as_server make -C "$work/nowhere" PG_CONFIG="$pg_config" && ! make_elsewhere PG_CONFIG="$work/no-such-program"
}

# The archive has all files of the tree except those that a build or a test has made.  What is built from it is tested by
# test/package.
build_dist() {
	local version

	version=$(default_version "$work/src")
	make_staged dist || return
	as_server unzip -q "$work"/src/pg_once-*.zip -d "$work/unpacked" || return
	diff -r -x '*.o' -x '*.so' -x "pg_once--$version.sql" -x '*.zip' -x results -x 'regression.*' -x output_iso -x tmp_check \
		"$work/src" "$work/unpacked/pg_once-$version"
}

# timed SUITE TEST: run the function SUITE_TEST and record its result.
timed() {
	local started=$EPOCHREALTIME result=ok

	(set +e; "$1_$2") >"$work/$1-$2.log" 2>&1 || result=FAILED
	record "$result" "$1/$2" "$(seconds_since "$started")" "$work/$1-$2.log"
}

# run_counted NAME COMMAND...: run a command that counts its results on its last line, and add its counts to ours.
run_counted() {
	local name=$1 started=$EPOCHREALTIME output=$work/counted.output count

	shift
	"$@" </dev/null 2>&1 | tee "$output" || true
	count=$(tail -n 1 "$output")
	if [[ $count =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
		passed=$((passed + BASH_REMATCH[1]))
		failed=$((failed + BASH_REMATCH[2]))
		[ "${BASH_REMATCH[2]}" -eq 0 ] || failures+=("${BASH_REMATCH[2]} of $name")
	else
		record FAILED "$name did not complete" "$(seconds_since "$started")"
	fi
}

# run_files SUITE JOBS COMMAND FILE...: run the command for each file, JOBS at a time, each in its own process.
run_files() {
	local suite=$1 jobs=$2 command=$3 file name running=0

	shift 3
	mkdir -p "$work/$suite"
	for file; do
		# A pattern that matches nothing stays as it is: there is no such test.
		[ -e "$file" ] || { record FAILED "$suite: no such file: $file" 0.0; return; }
		name=$(basename "$file")
		name=${name%.*}
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

# Record the tests of run_files that have ended since the last call.
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
	# Some wait more than they compute.
	run_files tap $(($(nproc) + 1)) run_tap_file "$work"/src/test/t/${1:-*}.pl
}

# run_tap_file FILE NAME [ARGUMENT...]
run_tap_file() {
	local pgxs_dir

	pgxs_dir=$(dirname "$("$pg_config" --pgxs)")/../..
	as_server mkdir -p "$work/clusters/$2" || return
	# The environment is that of prove_installcheck in PostgreSQL's Makefile.global.
	cd "$work/src" || return
	as_server env -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE \
		PATH="$bindir:$PATH" PG_CONFIG="$pg_config" PG_REGRESS="$pgxs_dir/src/test/regress/pg_regress" \
		TESTDIR="$work/clusters/$2" TESTDATADIR="$work/clusters/$2/data" TESTLOGDIR="$work/clusters/$2/log" \
		timeout "${test_timeout:-300}" prove --timer -I "$pgxs_dir/src/test/perl" -I test/t "$1" ${3:+::} "${@:3}" && return 0
	# Show what the test's own output does not tell.
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
