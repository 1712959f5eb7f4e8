# shellcheck shell=bash disable=SC2034,SC2154
# Shared shell helpers: PostgreSQL's sources, from the distribution's source package.
#
# To be sourced after machine.sh.

# fetch_postgres_source MAJOR [RELEASE]: fetch the newest source package that is available, and unpack PostgreSQL's own part of
# it to $work/postgresql.  (The distribution's patches are left out, because they make the server load its libraries from
# /usr/lib.)  RELEASE is a release of the distribution; the default is the machine's.  Fails if there is no source package.
#
# The machine's package sources are turned into sources of source packages, in a separate configuration.  The machine's own
# configuration is not changed.  Each source keeps its options, because two entries for one archive must agree on the key.
fetch_postgres_source() {
	local major=$1 release=${2:-} apt=$work/apt file version options

	rm -rf "$apt"
	mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/archives/partial" "$apt/download"
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ ! -f "$file" ] || sed -nE "s/^[[:space:]]*deb[[:space:]]/deb-src /; T
			${release:+s/^(deb-src (\\[[^]]*\\] *)?[^ ]+) +[^ ]+/\\1 $release/}; p" "$file" >"$apt/parts/${file##*/}.list"
	done
	for file in /etc/apt/sources.list.d/*.sources; do
		[ ! -f "$file" ] || sed -E "s/^Types:.*/Types: deb-src/; ${release:+s/^Suites:.*/Suites: $release/}" "$file" >"$apt/parts/${file##*/}"
	done
	options=(-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$apt/parts" -o Dir::State::Lists="$apt/lists"
		-o Dir::Cache="$apt" -o APT::Sandbox::User="$(id -un)" -o APT::Get::List-Cleanup=false)
	# Some archives of the machine may not have the other release.
	apt-get -q "${options[@]}" update >"$apt/log" 2>&1 || [ -n "$release" ] ||
		warn "apt-get update reported errors: $(tail -n 1 "$apt/log")"
	cd "$apt/download"
	# The newest version may have been removed from the mirror.
	for version in $(apt-cache "${options[@]}" showsrc "postgresql-$major" 2>/dev/null |
		sed -n 's/^Version: //p' | sort -uVr); do
		say "    source package postgresql-$major $version"
		if apt-get -q "${options[@]}" source --download-only "postgresql-$major=$version" >>"$apt/log" 2>&1; then
			mkdir "$work/postgresql"
			tar -C "$work/postgresql" --strip-components=1 -xf "$(find . -name '*.orig.tar.*' ! -name '*.asc')"
			cd "$work"
			return 0
		fi
		say "    not available"
		rm -f ./*
	done
	cd "$work"
	return 1
}
