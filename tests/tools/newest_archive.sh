#!/usr/bin/env bash
# Print the path of the newest archive of the collection in build/dist.
set -euo pipefail

dist=$LEGIONIO_BUILD/dist
archive=$(find "$dist" -name '*.tar.gz' -printf '%T@ %p\n' 2> /dev/null | sort -n | tail -n 1 | cut -d' ' -f2-)
[[ -n $archive ]] || { echo "There is no archive of the collection in $dist. Make one: make build" >&2; exit 1; }
echo "$archive"
