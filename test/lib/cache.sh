# shellcheck shell=bash disable=SC2034,SC2154
# Shared shell helpers: what takes minutes to make is kept outside the source tree, and used again.
#
# To be sourced after machine.sh.

# Root's lies where other accounts can read it: servers run from there.
if [ "$(id -u)" -eq 0 ]; then
	cache=${XDG_CACHE_HOME:-/var/cache}/pg_once
else
	cache=${XDG_CACHE_HOME:-$HOME/.cache}/pg_once
fi
