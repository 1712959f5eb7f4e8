# shellcheck shell=bash disable=SC2034,SC2154
# Shared shell helpers: the arguments of test/all, which other scripts pass on to it.
#
# To be sourced after machine.sh.

all_suites=(build regress isolation tap pgtap stress clients demo)

# What a usage says about them
usage_of_arguments() {
	cat <<END
Suites: ${all_suites[*]}, or one test of a suite: regress/send, tap/001_wal

  --asserts        also run on a server with assertions (test/asserts)
  --matrix         also run on other versions of PostgreSQL (test/matrix)
  --valgrind       also run the regression suite under valgrind (test/valgrind)
  --generic-wal    also run the replay tests on a library that logs through GenericXLog (test/lib/generic-wal)
  --soak SECONDS   let the stress tests run for this long instead of 30 seconds
  --seed NUMBER    replay the stress test of that seed
  --keep           keep the temporary directory with the logs
END
}

# read_arguments ARGUMENT...: set suites, others (scripts to be run as well), stress_seconds, stress_seed and keep_workdir.  Print
# "usage" and exit, if it is asked for or an argument is wrong.
read_arguments() {
	suites=()
	others=()
	stress_seconds=30
	stress_seed=
	while [ $# -gt 0 ]; do
		case $1 in
			--asserts|--matrix|--valgrind) others+=("${1#--}") ;;
			--generic-wal) others+=("lib/generic-wal") ;;
			--soak) stress_seconds=$(number_of "$@"); shift ;;
			--seed) stress_seed=$(number_of "$@"); shift ;;
			--keep) keep_workdir=yes ;;
			-h|--help) usage; exit 0 ;;
			-*) usage >&2; exit 2 ;;
			*)
				[[ " ${all_suites[*]} " == *" ${1%%/*} "* ]] || die "no such suite: $1 (there are: ${all_suites[*]})"
				suites+=("$1")
				;;
		esac
		shift
	done
}
