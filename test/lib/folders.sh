# shellcheck shell=bash disable=SC2034,SC2154
# Shared shell helpers: Debian systems in folders, for other releases and other kinds of machine than this one.
#
# To be sourced after machine.sh and cache.sh, by root.

# Set mirror: $DEBIAN_MIRROR, or else the mirror of the machine's own apt configuration.
find_mirror() {
	mirror=${DEBIAN_MIRROR:-}
	[ -z "$mirror" ] || return 0
	# shellcheck disable=SC1091
	mirror=$(
		. /etc/os-release
		[ "$ID" != debian ] || apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
			sed -n "s/^${VERSION_CODENAME:-unknown} //p" | head -n 1
	)
	[ -n "$mirror" ] || die "no Debian mirror is known on this machine; set DEBIAN_MIRROR"
}

# Set machine_arch: the architecture of this machine, in Debian's words.
find_machine_arch() { machine_arch=$(dpkg --print-architecture); }

# Can programs of an architecture run here?  If they need an emulator, install it.
can_run_arch() {
	[ "$1" != "$machine_arch" ] || return 0
	case $1 in
		i386) [ "$machine_arch" = amd64 ] && setarch i686 true 2>/dev/null ;;
		arm64) grep -q 'binfmt_misc$' /proc/filesystems && install_packages qemu-user-static ;;
		*) return 1 ;;
	esac
}

# make_folder NAME ARCHITECTURE RELEASE OTHER...: make a minimal system of a release in $cache/debian-NAME, unless it exists.
# Its apt reaches the network as the machine's does.  It also knows the packages of the other releases.
make_folder() {
	local name=$1 arch=$2 release=$3 folder=$cache/debian-$1 script=/usr/share/debootstrap/scripts/$3 started=$EPOCHREALTIME
	local keyring=/usr/share/keyrings/debian-archive-keyring.gpg foreign=() other

	[ ! -d "$folder" ] || return 0
	shift 3
	install_packages debootstrap debian-archive-keyring
	[ -n "${mirror:-}" ] || find_mirror
	# debootstrap may not know a release that is newer than itself.  All recent releases are made like sid.
	[ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
	[ "$arch" != arm64 ] || [ "$arch" = "$machine_arch" ] || foreign=(--foreign)
	rm -rf "$folder.new"
	mkdir -p "$cache"
	(
		eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
		export http_proxy
		debootstrap --variant=minbase --arch="$arch" --keyring="$keyring" ${foreign[@]+"${foreign[@]}"} \
			"$release" "$folder.new" "$mirror" "$script" || exit
		[ ${#foreign[@]} -eq 0 ] || run_in_folder "$name.new" "$arch" /debootstrap/debootstrap --second-stage
	) >"$cache/debootstrap.log" 2>&1 </dev/null || { tail -n 20 "$cache/debootstrap.log" >&2; rm -rf "$folder.new"; return 1; }
	apt-config dump | grep '^Acquire::' >"$folder.new/etc/apt/apt.conf.d/90machine" || true
	for other; do
		say "deb $mirror $other main" >>"$folder.new/etc/apt/sources.list"
		# Of experimental, apt takes nothing by itself.
		[ "$other" != experimental ] || printf '%s\n' "Package: postgresql* libpq*" "Pin: release a=$other" "Pin-Priority: 500" \
			>"$folder.new/etc/apt/preferences.d/$other"
	done
	# Do not start services in the folder.
	printf '#!/bin/sh\nexit 101\n' >"$folder.new/usr/sbin/policy-rc.d"
	chmod 755 "$folder.new/usr/sbin/policy-rc.d"
	mv "$folder.new" "$folder"
	say "    made $folder in $(seconds_since "$started") s"
}

# lend_compiler NAME RELEASE: let a folder for arm64 use a compiler that need not be emulated, if there is one.  It belongs to a folder
# of the same release for this kind of machine, which run_in_folder mounts as /native.
compilers=
lend_compiler() {
	local folder=$cache/debian-$1

	[ "$machine_arch" = amd64 ] || return 0
	make_folder "$2" "$machine_arch" "$2" || return
	run_in_folder "$2" "$machine_arch" bash -c '. /src/test/lib/machine.sh; install_packages gcc-aarch64-linux-gnu' || return
	mkdir -p "$folder/native"
	ln -sfn ../../../native/usr/bin/aarch64-linux-gnu-gcc "$folder/usr/local/bin/gcc"
	# Where it looks for its own libraries
	ln -sfn native/usr/lib64 "$folder/lib64"
	ln -sfn ../../native/usr/lib/x86_64-linux-gnu "$folder/usr/lib/x86_64-linux-gnu"
	compilers=$cache/debian-$2
}

# run_in_folder NAME ARCHITECTURE COMMAND...: run a command in a folder, where the source tree is /src.  It has namespaces of its
# own.  So however it ends, nothing that it has started or mounted remains.
run_in_folder() {
	local folder=$cache/debian-$1 arch=$2

	shift 2
	[ ! -e /etc/resolv.conf ] || cp /etc/resolv.conf "$folder/etc/resolv.conf"
	mkdir -p "$folder/src"
	find "$folder/tmp" -mindepth 1 -delete
	[ "$arch" != arm64 ] || [ "$arch" = "$machine_arch" ] || start_emulator
	[ "$arch" != i386 ] || set -- setarch i686 "$@"
	folder=$folder top=$top compilers=$compilers unshare --mount --pid --fork --kill-child bash -c '
		set -e
		mount --make-rprivate /
		mount -t proc proc "$folder/proc"
		mount --rbind /dev "$folder/dev"
		mount --bind "$top" "$folder/src"
		[ -z "$compilers" ] || [ ! -d "$folder/native" ] || mount --bind "$compilers" "$folder/native"
		exec chroot "$folder" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp "$@"' bash "$@"
}

# Let the kernel run programs for arm64 with qemu, until stop_emulator.  If the machine does so anyway, nothing changes.
registry=/proc/sys/fs/binfmt_misc
registry_mounted=no
emulator_started=no
start_emulator() {
	trap 'stop_emulator; clean_up' EXIT
	if [ ! -e "$registry/register" ]; then
		mount -t binfmt_misc binfmt_misc "$registry"
		registry_mounted=yes
	fi
	[ ! -e "$registry/qemu-aarch64" ] || return 0
	emulator_started=yes
	# Its flags say that the emulator is opened now, because the folder does not have it.
	cat /usr/lib/binfmt.d/qemu-aarch64.conf >"$registry/register"
}

stop_emulator() {
	local status=$?

	[ "$emulator_started" = no ] || say -1 >"$registry/qemu-aarch64"
	[ "$registry_mounted" = no ] || umount "$registry"
	emulator_started=no registry_mounted=no
	return "$status"
}

# Is there a package in a release?  The answer comes from the mirror.
release_has() {
	local release=$1 package=$2 apt=$cache/apt-$1 options

	[ -n "${mirror:-}" ] || find_mirror
	mkdir -p "$apt/lists/partial"
	say "deb $mirror $release main" >"$apt/sources.list"
	options=(-o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$apt/lists"
		-o Dir::Cache="$apt" -o APT::Sandbox::User=root)
	apt-get -q "${options[@]}" update >"$apt/log" 2>&1 </dev/null || return 1
	apt-cache "${options[@]}" show "$package" >/dev/null 2>&1
}
