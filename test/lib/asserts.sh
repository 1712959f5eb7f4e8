# shellcheck shell=bash disable=SC2034,SC2154
# Shared shell helpers: a PostgreSQL with assertions, built from the distribution's source package.
#
# To be sourced after machine.sh, postgres.sh and cache.sh.

# Set given_pg_config to that of a server with assertions, of the major version that the machine would use otherwise.
# The one server serves valgrind as well: it announces its memory contexts to it.
use_assert_server() {
	local prefix

	choose_packaged_major
	prefix=$cache/asserts-$major
	if [ ! -x "$prefix/bin/pg_config" ]; then
		step "Building PostgreSQL $major with assertions, once, in $prefix"
		install_packages gcc make libc6-dev bison flex perl valgrind xz-utils bzip2
		make_assert_server "$prefix"
	fi
	given_pg_config=$prefix/bin/pg_config
}

# Everything happens in a temporary directory; the last step moves the result to its place.
make_assert_server() {
	local prefix=$1 started=$EPOCHREALTIME

	make_workdir
	fetch_postgres_source
	mkdir "$work/build"
	(
		cd "$work/build"
		"$work/postgresql/configure" --prefix="$prefix" --enable-cassert --enable-debug --enable-tap-tests \
			--without-icu --without-readline --without-zlib \
			CFLAGS='-O1 -g -fno-omit-frame-pointer' CPPFLAGS=-DUSE_VALGRIND
		make -s -j"$(nproc)" all
		make -s -j"$(nproc)" -C contrib all
		make -s install DESTDIR="$work/install"
		make -s -C contrib install DESTDIR="$work/install"
	) >"$work/build.log" 2>&1 || { tail -n 30 "$work/build.log" >&2; die "PostgreSQL's build failed"; }
	cp "$work/postgresql/src/tools/valgrind.supp" "$work/install$prefix/"
	mkdir -p "${prefix%/*}"
	mv "$work/install$prefix" "$prefix"
	say "    took $(seconds_since "$started") s"
	discard_workdir
}

# Fetch the newest source package that can be had, and unpack what is PostgreSQL's own of it (the distribution's patches
# would have the server load its libraries from /usr/lib) to $work/postgresql.
#
# The machine's own package sources are turned into sources of source packages, in a configuration of our own: its
# configuration is not touched, and each keeps the options it has (two entries for one archive must agree on the key).
fetch_postgres_source() {
	local apt=$work/apt file version options

	mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/archives/partial" "$apt/download"
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ ! -f "$file" ] || sed -nE 's/^[[:space:]]*deb[[:space:]]/deb-src /p' "$file" >"$apt/parts/${file##*/}.list"
	done
	for file in /etc/apt/sources.list.d/*.sources; do
		[ ! -f "$file" ] || sed -E 's/^Types:.*/Types: deb-src/' "$file" >"$apt/parts/${file##*/}"
	done
	options=(-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$apt/parts" -o Dir::State::Lists="$apt/lists"
		-o Dir::Cache="$apt" -o APT::Sandbox::User="$(id -un)" -o APT::Get::List-Cleanup=false)
	apt-get -q "${options[@]}" update >"$apt/log" 2>&1 || warn "apt-get update reported errors: $(tail -n 1 "$apt/log")"
	cd "$apt/download"
	# The newest may have left the mirror already.
	for version in $(apt-cache "${options[@]}" showsrc "postgresql-$major" 2>/dev/null |
		sed -n 's/^Version: //p' | sort -uVr); do
		say "    source package postgresql-$major $version"
		if apt-get -q "${options[@]}" source --download-only "postgresql-$major=$version" >>"$apt/log" 2>&1; then
			mkdir "$work/postgresql"
			tar -C "$work/postgresql" --strip-components=1 -xf "$(find . -name '*.orig.tar.*' ! -name '*.asc')"
			cd "$work"
			return 0
		fi
		say "    cannot be had, trying an older one"
		rm -f ./*
	done
	tail -n 20 "$apt/log" >&2
	die "no source package of postgresql-$major can be had"
}
