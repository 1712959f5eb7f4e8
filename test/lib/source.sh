# shellcheck shell=bash disable=SC2034,SC2154
# Shared shell helpers: PostgreSQL's sources, from the distribution's source package.
#
# To be sourced after machine.sh.

# fetch_postgres_source MAJOR [RELEASE]: fetch the newest source package that can be had, of the distribution's release that the
# machine has or of another one, and unpack what is PostgreSQL's own of it (the distribution's patches would have the server load
# its libraries from /usr/lib) to $work/postgresql.  Fails if there is none.
#
# The machine's own package sources are turned into sources of source packages, in a configuration of our own: its
# configuration is not touched, and each keeps the options it has (two entries for one archive must agree on the key).
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
	# Not every archive of the machine need have another release.
	apt-get -q "${options[@]}" update >"$apt/log" 2>&1 || [ -n "$release" ] ||
		warn "apt-get update reported errors: $(tail -n 1 "$apt/log")"
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
		say "    cannot be had"
		rm -f ./*
	done
	cd "$work"
	return 1
}
