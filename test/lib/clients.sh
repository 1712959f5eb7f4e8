# shellcheck shell=bash disable=SC2034,SC2154
# Shared shell helpers: the suite of client programs.
#
# To be sourced after suites.sh and cache.sh.  Each directory in test/clients has the programs of one driver, which test/clients/test.pl
# runs.  Drivers come from the distribution, those for Node from the npm registry.  If one is not available, its programs are skipped.

installing=
may_install=yes

# Installing the drivers takes minutes, so test/all begins with it while other suites run.  It is not stopped when test/all is: an
# installation should not be.
begin_installing_clients() {
	installing=$work/clients-installed
	(
		inherited=$apt_log
		install_clients || true
		[ "$apt_log" = "$inherited" ] || rm -f "$apt_log"
		touch "$installing" || true
	) </dev/null >"$work/clients-packages.log" 2>&1 &
	disown
}

install_clients() {
	local directory client packages all=()

	[ -x /usr/sbin/pgbouncer ] || all+=(pgbouncer)
	for directory in "$work"/src/test/clients/*/; do
		client=$(basename "$directory")
		client=client_${client//-/_}
		if declare -F "$client" >/dev/null && ! "$client" driver; then
			read -ra packages < <("$client" packages) || true
			all+=(${packages[@]+"${packages[@]}"})
		fi
	done
	# A single package that there is not makes apt refuse all.  Then suite_clients tries again, one driver after the other.
	[ ${#all[@]} -eq 0 ] || try_install "${all[@]}"
}

# suite_clients [NAME]
suite_clients() {
	local directory here=$work/src/test/clients ready=()

	step "clients"
	if [ -n "$installing" ] && ! wait_for 240 [ -e "$installing" ]; then
		say "    The drivers are still being installed.  What is not there yet is skipped; test/all clients tries again."
		may_install=no
	fi
	[ -x /usr/sbin/pgbouncer ] || try_install pgbouncer || skip "PgBouncer; all workers connect to the server"
	if [ "${1:-pooler}" = pooler ]; then
		ready=("$here/pooler.pl")
	fi
	if [ "${1:-}" != pooler ]; then
		for directory in "$here"/${1:-*}/; do
			directory=${directory%/}
			[ "${directory##*/}" != node_modules ] || continue
			prepare_client "${directory##*/}" && ready+=("$directory")
		done
	fi
	[ ${#ready[@]} -eq 0 ] || run_files clients 4 run_client "${ready[@]}"
}

# Like install_packages, but fails if that is not possible.
try_install() {
	[ "$may_install" = yes ] || return 1
	if have_apt; then
		apt_update
	fi
	(install_packages "$@")
}

skip() { say "    skipped: $*"; }

# prepare_client NAME: put the programs of a driver into $work/programs/NAME, if need be after installing the driver.
prepare_client() {
	local client=client_${1//-/_} sources=$work/src/test/clients/$1 programs=$work/programs/$1 log=$work/clients-$1.log packages

	if ! declare -F "$client" >/dev/null; then
		record FAILED "clients/$1: no such client" 0.0
		return 1
	fi
	read -ra packages < <("$client" packages) || true
	if ! "$client" driver >"$log" 2>&1; then
		if ! try_install ${packages[@]+"${packages[@]}"} || ! "$client" driver >"$log" 2>&1; then
			skip "$1, for want of ${packages[*]:-its modules}"
			return 1
		fi
	fi
	mkdir -p "$programs"
	if ! (cd "$sources" && "$client" programs) >"$log" 2>&1; then
		record FAILED "clients/$1: build" 0.0 "$log"
		return 1
	fi
}

# run_client FILE NAME: run a test of its own, or the programs of a driver.
run_client() {
	local arguments

	if [[ $1 = *.pl ]]; then
		run_tap_file "$1" "clients-$2"
		return
	fi
	read -ra arguments < <("client_${2//-/_}" arguments)
	run_tap_file "$work/src/test/clients/test.pl" "clients-$2" "$work/programs/$2" "${arguments[@]}"
}

# program NAME COMMAND...: make a program of a driver, which starts the command.
program() {
	local name=$1

	shift
	printf '#!/bin/sh\nexec %s "$@"\n' "$*" >"$programs/$name"
	chmod 755 "$programs/$name"
}

# What is particular to each driver: client_NAME packages|driver|programs|arguments
#
#   packages   prints the packages that have it
#   driver     succeeds if it is there
#   programs   makes the programs, in the directory of their sources
#   arguments  prints arguments of test.pl: how many workers, socket or tcp, reconnect or exit
client_c() {
	case $1 in
		packages) say libpq-dev ;;
		driver) [ -e "$("$pg_config" --includedir)/libpq-fe.h" ] ;;
		programs)
			for source in *.c; do
				gcc -std=gnu99 -O -Wall -Wextra -Werror -Wno-unused-parameter -I"$("$pg_config" --includedir)" \
					-o "$programs/${source%.c}" "$source" -L"$("$pg_config" --libdir)" -lpq || return
			done
			;;
		arguments) say 4 socket reconnect ;;
	esac
}

client_go() {
	case $1 in
		packages) say golang-go golang-github-lib-pq-dev ;;
		driver) command -v go && [ -d /usr/share/gocode/src/github.com/lib/pq ] ;;
		programs)
			for source in *.go; do
				GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$work/go-cache go build -o "$programs/${source%.go}" "$source" || return
			done
			;;
		arguments) say 1 socket reconnect ;;
	esac
}

client_java() {
	case $1 in
		packages) say libpostgresql-jdbc-java "$(command -v javac >/dev/null || say default-jdk-headless)" ;;
		driver) command -v javac && [ -e /usr/share/java/postgresql.jar ] ;;
		programs)
			javac -Xlint:all -Werror -d "$programs" -cp /usr/share/java/postgresql.jar ./*.java || return
			program worker java -XX:TieredStopAtLevel=1 -cp "$programs:/usr/share/java/postgresql.jar" Worker
			program values java -XX:TieredStopAtLevel=1 -cp "$programs:/usr/share/java/postgresql.jar" Values
			;;
		arguments) say 1 tcp reconnect ;;
	esac
}

client_php() {
	case $1 in
		packages) say php-cli php-pgsql ;;
		driver) php -r 'exit(extension_loaded("pdo_pgsql") && extension_loaded("pcntl") ? 0 : 1);' ;;
		programs) for source in *.php; do program "${source%.php}" php "$PWD/$source"; done ;;
		arguments) say 1 socket reconnect ;;
	esac
}

client_psql() {
	case $1 in
		driver) true ;;
		programs) program worker bash "$PWD/worker.sh" ;;
		arguments) say 4 socket reconnect ;;
	esac
}

# (The distribution's modules are for its own interpreter.)
client_python() {
	case $1 in
		packages) say python3-psycopg python3-psycopg2 python3-sqlalchemy ;;
		driver) /usr/bin/python3 -c 'import psycopg, psycopg2, sqlalchemy' ;;
		programs) for source in *.py; do program "${source%.py}" /usr/bin/python3 "$PWD/$source"; done ;;
		arguments) say 1 socket reconnect ;;
	esac
}

client_ruby() {
	case $1 in
		packages) say ruby ruby-pg ;;
		driver) ruby -e 'require "pg"' ;;
		programs) for source in *.rb; do program "${source%.rb}" ruby "$PWD/$source"; done ;;
		arguments) say 1 socket reconnect ;;
	esac
}

client_node_pg() {
	case $1 in
		arguments) say 1 socket reconnect ;;
		*) client_node "$1" ;;
	esac
}

client_node_postgres() {
	case $1 in
		arguments) say 1 socket exit ;;
		*) client_node "$1" ;;
	esac
}

client_node() {
	case $1 in
		packages) command -v npm >/dev/null || say nodejs npm ;;
		driver) command -v npm && node_modules ;;
		programs) for source in *.mjs; do program "${source%.mjs}" node "$PWD/$source"; done ;;
	esac
}

# The modules of test/clients/package.json, which are kept until it changes.  They are put in their place when they are complete.
node_modules() {
	local modules=$cache/node wanted=$work/src/test/clients/package.json new

	if ! cmp -s "$wanted" "$modules/package.json"; then
		[ "$may_install" = yes ] || return
		mkdir -p "$cache" && new=$(mktemp -d "$cache/node.XXXXXX") && cp "$wanted" "$new" || return
		npm install --prefix "$new" --ignore-scripts --no-audit --no-fund --no-package-lock </dev/null ||
			{ rm -rf "$new"; return 1; }
		rm -rf "$modules"
		chmod 755 "$new" && mv -T "$new" "$modules" || return
	fi
	ln -sfn "$modules/node_modules" "$work/src/test/clients/node_modules"
}
