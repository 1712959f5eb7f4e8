# shellcheck shell=bash disable=SC2034,SC2154
# Shared shell helpers: find or install PostgreSQL, build and install the extension, run a throw-away server.
#
# To be sourced after machine.sh.

oldest_major=15

# Set pg_config, bindir and major.  pg_config is that of a server, with the files for building extensions: $PG_CONFIG, or
# else that of the newest packaged server on this machine, or else that of the distribution's package.
find_postgres() {
	local extras=("$@")

	if [ -n "$given_pg_config" ]; then
		command -v "$given_pg_config" >/dev/null || die "PG_CONFIG=$given_pg_config: no such program"
		pg_config=$(command -v "$given_pg_config")
		install_packages_if_apt gcc make "${extras[@]}"
	else
		choose_packaged_major
		drop_missing_extras
		install_packages "postgresql-$major" "postgresql-server-dev-$major" gcc make libc6-dev "${extras[@]}"
		pg_config=/usr/lib/postgresql/$major/bin/pg_config
	fi
	bindir=$("$pg_config" --bindir)
	major=$("$pg_config" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
	[ -x "$bindir/postgres" ] || die "$bindir has no postgres: is PG_CONFIG a server's?"
	[ -f "$("$pg_config" --pgxs)" ] || die "$pg_config is not accompanied by the files for building extensions (PGXS)"
	[ "$major" -ge "$oldest_major" ] || die "PostgreSQL $oldest_major or later is needed, $pg_config is of version $major"
}

# Set major to the version of the newest packaged server on this machine, preferring those with the files for building
# extensions.  If there is none, set it to the version that the distribution has.
choose_packaged_major() {
	local with_pgxs candidate

	for with_pgxs in /lib/pgxs/src/makefiles/pgxs.mk ''; do
		while read -r major; do
			[ "$major" -lt "$oldest_major" ] || [ ! -e "/usr/lib/postgresql/$major$with_pgxs" ] || return 0
		done < <(find /usr/lib/postgresql/*/bin/postgres 2>/dev/null | sed -nE 's,^/usr/lib/postgresql/([0-9]+)/.*,\1,p' | sort -rn)
	done
	have_apt || die "no PostgreSQL server found; set PG_CONFIG"
	apt_update
	candidate=$(apt-cache depends postgresql 2>/dev/null | sed -nE 's/^ *Depends: postgresql-([0-9]+)$/\1/p' | head -n 1)
	[ -n "$candidate" ] || die "this distribution has no package postgresql"
	[ "$candidate" -ge "$oldest_major" ] ||
		die "PostgreSQL $oldest_major or later is needed and this distribution has $candidate; install a newer one and set PG_CONFIG"
	major=$candidate
}

# Put the version into those of find_postgres's extras that have NN, and leave out those that are not packaged for it (yet).  The
# suites that need them are skipped.
drop_missing_extras() {
	local package found=()

	for package in ${extras[@]+"${extras[@]}"}; do
		if [[ $package == *NN* ]]; then
			package=${package//NN/$major}
			if ! package_present "$package"; then
				apt_update
				apt-cache show "$package" >/dev/null 2>&1 || continue
			fi
		fi
		found+=("$package")
	done
	extras=("${found[@]}")
}

# If the caller has chosen a PostgreSQL, only other tools can be missing.
install_packages_if_apt() {
	local package wanted=()

	have_apt || return 0
	for package; do
		case $package in
			*NN*) ;;
			*) wanted+=("$package") ;;
		esac
	done
	install_packages "${wanted[@]}"
}

# Copy the source tree, without the results of a build, to $work/src, because server_user may not be able to read the
# original.
stage_sources() {
	mkdir "$work/src"
	tar -C "$top" --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' --exclude=./results \
		--exclude=./output_iso --exclude=./tmp_check --exclude=./log -cf - . | tar -C "$work/src" --no-same-owner -xf -
	[ "$(id -u)" -ne 0 ] || chown -R "$server_user:$(id -g "$server_user")" "$work/src"
}

# Run make in the staged tree.
make_staged() {
	as_server make --no-print-directory -C "$work/src" PG_CONFIG="$pg_config" with_llvm=no "$@" </dev/null
}

# Build the staged tree and install it.  The arguments are passed to make, whose output goes to $work/build.log.
build_and_install() {
	local target

	make_staged -j"$(nproc)" "$@" >"$work/build.log" 2>&1 || return 1
	target=$("$pg_config" --pkglibdir)
	if [ -w "$target" ] && [ -w "$("$pg_config" --sharedir)/extension" ]; then
		set -- env
	else
		set -- as_root env
	fi
	"$@" make --no-print-directory -C "$work/src" PG_CONFIG="$pg_config" with_llvm=no install </dev/null >>"$work/build.log" 2>&1
}

# start_server [SETTING...]: make a cluster in $work/data, start it with the settings (name=value), and set the environment of
# clients so that they connect to it.  Its superuser is "postgres".  Only server_user and root can reach its socket.
#
# server_program may name a program to run instead of the server's executable.  start_timeout is how many seconds the start may
# take.
server_program=
start_timeout=60
start_server() {
	local setting

	as_server mkdir "$work/socket"
	as_server chmod 700 "$work/socket"
	as_server "$bindir/initdb" --pgdata="$work/data" --username=postgres --auth=trust --encoding=UTF8 --no-locale \
		--data-checksums --no-instructions >"$work/initdb.log" 2>&1 || die "initdb failed: $(cat "$work/initdb.log")"
	for setting in "listen_addresses=''" "unix_socket_directories='$work/socket'" "$@"; do
		say "$setting" | as_server tee -a "$work/data/postgresql.conf" >/dev/null
	done
	launch_server
	export PGHOST=$work/socket PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
}

# Start the server of $work/data, for the first time or once more.
launch_server() {
	as_server "$bindir/pg_ctl" --pgdata="$work/data" --log="$work/server.log" --wait --timeout="$start_timeout" \
		${server_program:+-p "$server_program"} start </dev/null >"$work/pg_ctl.log" 2>&1 ||
		die "the server did not start: $(cat "$work/pg_ctl.log" "$work/server.log")"
}

# restart_server SETTING...: stop it, and start it with these settings as well.
restart_server() {
	local setting

	stop_server
	for setting; do
		say "${setting%%=*}='${setting#*=}'" | as_server tee -a "$work/data/postgresql.conf" >/dev/null
	done
	launch_server
}

stop_server() {
	as_server "$bindir/pg_ctl" --pgdata="$work/data" --wait --timeout="$start_timeout" --mode=fast stop >/dev/null
}

# psql for scripts: it reads no start-up file, prints only rows, and ends at an error.
sql() { as_server "$bindir/psql" -XAtq -v ON_ERROR_STOP=1 "$@"; }
