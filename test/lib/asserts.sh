# shellcheck shell=bash disable=SC2034,SC2154
# Shared shell helpers: a PostgreSQL with assertions, built from the distribution's source package.
#
# To be sourced after machine.sh, postgres.sh, cache.sh and source.sh.

# Set given_pg_config to the pg_config of a server with assertions.  Its major version is the one that the machine would use
# otherwise.  The server tells valgrind about its memory contexts, so it is used with valgrind as well.
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
	fetch_postgres_source "$major" ||
		{ tail -n 20 "$work/apt/log" >&2; die "no source package of postgresql-$major is available"; }
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
