#!/usr/bin/env bash
# Build actionlint in the cache, unless it is there already, and print its path.
set -euo pipefail

version=v1.7.12
cache=${LEGIONIO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/legionio-ollama}
folder=$cache/bin/actionlint-$version
if [[ ! -x $folder/actionlint ]]; then
  GOBIN=$folder go install "github.com/rhysd/actionlint/cmd/actionlint@$version" >&2
fi
echo "$folder/actionlint"
