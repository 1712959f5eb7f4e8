# shellcheck shell=bash disable=SC2034,SC2154
# Shared shell helpers: a directory outside of the source tree, to keep and reuse what takes minutes to make.
#
# To be sourced after machine.sh.

# Root's directory must be readable by other accounts, because servers run from there.
if [ "$(id -u)" -eq 0 ]; then
	cache=${XDG_CACHE_HOME:-/var/cache}/pg_once
else
	cache=${XDG_CACHE_HOME:-$HOME/.cache}/pg_once
fi
