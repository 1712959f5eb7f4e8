# shellcheck shell=bash disable=SC2034,SC2154
# Shared shell helpers: messages, privileges, packages and a temporary directory that cleans up after itself.
#
# To be sourced by the scripts in test/.  Sets top (the root of the source tree) and, after make_workdir, work.

set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=
apt_log=

# Settings that the caller has for other servers must not have an effect on ours.
given_pg_config=${PG_CONFIG:-}
for name in $(compgen -e PG); do
	unset "$name"
done
export LC_ALL=C.UTF-8

# Root may make files for servers that run as another user.
umask 022

# Colours only on a terminal
if [ -t 1 ]; then
	bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' plain=$'\e[0m'
else
	bold='' dim='' red='' green='' yellow='' plain=''
fi

say() { printf '%s\n' "$*"; }
step() { printf '%s\n' "$bold==> $*$plain"; }
warn() { printf '%s\n' "${yellow}warning:$plain $*" >&2; }
die() { printf '%s\n' "${red}error:$plain $*" >&2; exit 1; }

# number_of OPTION VALUE: print the value of an option, which must be a positive number.
number_of() {
	[[ ${2:-} =~ ^[1-9][0-9]{0,8}$ ]] || die "$1 needs a whole number from 1 to 999999999"
	printf '%s' "$2"
}

# no_arguments ARGUMENT...: for scripts that take none.  --help prints "usage"; any other argument is an error.
no_arguments() {
	[ $# -gt 0 ] || return 0
	case $1 in
		-h|--help) usage; exit 0 ;;
		*) usage >&2; exit 2 ;;
	esac
}

# The time since $1 (a value of $EPOCHREALTIME), in seconds with one digit.
seconds_since() {
	local tenths=$(( (${EPOCHREALTIME/[.,]/} - ${1/[.,]/}) / 100000 ))
	printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# 12345 -> 12,345
thousands() {
	local n=$1 out=
	while [ ${#n} -gt 3 ]; do
		out=,${n: -3}$out
		n=${n:0:${#n}-3}
	done
	printf '%s' "$n$out"
}

# Run a command as root: directly, or through sudo.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "this needs root and there is no sudo: $*"
	fi
}

# Make the temporary directory $work, for server_user alone.
#
# PostgreSQL refuses to run as root.  Servers and their clients run as server_user.  That is the caller, unless the caller
# is root; then it is the account of the PostgreSQL packages or, if there is none, "nobody".  For a background job, write
# out "${server_prefix[@]}" instead of calling as_server, so that $! is the program's own process.
make_workdir() {
	local base=${TMPDIR:-/tmp} group

	# A socket's path has at most 107 characters.
	[ ${#base} -le 60 ] || base=/tmp
	work=$(mktemp -d "$base/pg_once.XXXXXX")
	mkdir "$work/tmp"
	if [ "$(id -u)" -ne 0 ]; then
		server_user=$(id -un)
		server_prefix=(env TMPDIR="$work/tmp")
	else
		server_user=postgres
		id postgres >/dev/null 2>&1 || server_user=nobody
		group=$(id -g "$server_user")
		chown -R "$server_user:$group" "$work"
		server_prefix=(setpriv --reuid="$server_user" --regid="$group" --clear-groups
			env HOME="$work" USER="$server_user" LOGNAME="$server_user" TMPDIR="$work/tmp")
	fi
	as_server test -w "$work/tmp" || die "user $server_user cannot use $base; set TMPDIR to another directory"
	cd "$work"
}

# Run a command as server_user.
as_server() { "${server_prefix[@]}" "$@"; }

# At every kind of exit, leave nothing behind, unless keep_workdir is set.  kill_at_exit are processes that only SIGKILL
# ends.
keep_workdir=no
kill_at_exit=()
clean_up() {
	local status=$?

	trap '' HUP INT TERM
	set +e
	[ -z "$apt_log" ] || rm -f "$apt_log"
	jobs -p | xargs -r kill 2>/dev/null
	[ ${#kill_at_exit[@]} -eq 0 ] || kill -KILL "${kill_at_exit[@]}" 2>/dev/null
	[ -z "$work" ] || [ "$keep_workdir" = yes ] || discard_workdir
	exit "$status"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Stop all servers that still run in $work, and remove the directory.
discard_workdir() {
	local pidfile pid

	cd /
	while read -r pidfile; do
		pid=$(head -n 1 "$pidfile")
		# An immediate shutdown.  The file may be a leftover of a postmaster that has ended.
		kill -QUIT "$pid" 2>/dev/null || continue
		wait_for 10 is_gone "$pid" || true
	done < <(find "$work" -name postmaster.pid 2>/dev/null || true)
	# The last children of a postmaster may still be writing.
	wait_for 5 rm -rf "$work" 2>/dev/null || true
	work=
}

is_gone() { ! kill -0 "$1" 2>/dev/null; }

# Wait until a command succeeds: wait_for SECONDS COMMAND...
wait_for() {
	local deadline=$((SECONDS + $1))

	shift
	until "$@"; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep 0.1
	done
}

# Does the machine use apt?
have_apt() { command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; }

# Is the package fully installed, or at least unpacked?  (If its post-installation step has failed, the programs may work
# all the same.)
package_present() {
	case $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) in
		installed|unpacked|half-configured|triggers-awaited|triggers-pending) return 0 ;;
		*) return 1 ;;
	esac
}

# Fetch the package lists, once in the life of the script.  The output of apt goes to a log.
apt_updated=no
apt_update() {
	[ "$apt_updated" = no ] || return 0
	apt_log=$(mktemp)
	say "    apt-get update"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update </dev/null >"$apt_log" 2>&1 ||
		warn "apt-get update reported errors: $(tail -n 1 "$apt_log")"
	apt_updated=yes
}

# Install those of the named packages that are missing.
install_packages() {
	local package missing=() broken=() no_cluster='' no_services=''

	for package; do
		package_present "$package" || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	have_apt || die "missing: ${missing[*]} (and this machine has no apt-get)"
	apt_update
	say "    apt-get install ${missing[*]}"
	# The packages would otherwise make and start a database cluster of their own.
	if ! package_present postgresql-common; then
		no_cluster=/etc/postgresql-common/createcluster.d/pg_once_tests.conf
		as_root mkdir -p "${no_cluster%/*}"
		say "create_main_cluster = false" | as_root tee "$no_cluster" >/dev/null
	fi
	# Some would start a service.  (A file of ours that is there already was left by an installation that was interrupted.)
	if [ ! -e /usr/sbin/policy-rc.d ] || grep -q '^# pg_once' /usr/sbin/policy-rc.d; then
		no_services=/usr/sbin/policy-rc.d
		printf '#!/bin/sh\n# pg_once: until packages are installed for its tests\nexit 101\n' | as_root tee "$no_services" >/dev/null
		as_root chmod 755 "$no_services"
	fi
	apt_install "${missing[@]}" ||
		# An installed package of an older version may prevent this.  Then allow apt to upgrade all of them.
		apt_install "$@" || true
	[ -z "$no_cluster" ] || as_root rm -f "$no_cluster"
	[ -z "$no_services" ] || as_root rm -f "$no_services"
	for package in "${missing[@]}"; do
		package_present "$package" || broken+=("$package")
	done
	if [ ${#broken[@]} -gt 0 ]; then
		tail -n 20 "$apt_log" >&2
		die "could not install: ${broken[*]}"
	fi
}

apt_install() {
	as_root env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 \
		apt-get -qy -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" </dev/null >>"$apt_log" 2>&1
}
