#!/usr/bin/env bash
# Remove the cache: environments, host images, builds, models.
#
# usage: clean_cache.sh
set -euo pipefail

cache=${LEGIONIO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/legionio-ollama}
[[ -d $cache ]] || exit 0
# A mistyped LEGIONIO_CACHE must not cost anyone a home folder.
if [[ ${cache##*/} != legionio-ollama && ! -e $cache/CACHEDIR.TAG ]]; then
  echo "$cache does not look like this project's cache (it has no CACHEDIR.TAG): nothing is removed." >&2
  exit 1
fi
# Go makes its module archives read-only, and files of the host images may belong to root.
chmod -R u+w "$cache" 2>/dev/null || true
rm -rf "$cache" 2>/dev/null || sudo -n rm -rf "$cache"
