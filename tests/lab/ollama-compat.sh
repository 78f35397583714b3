#!/usr/bin/env bash
# Recipe of the Ollama versions that only serve their API, for tests of compatibility; called by parts/ollama-*.sh:
#   ollama-compat.sh about|inputs VERSION
#   ollama-compat.sh build VERSION DIR     leaves DIR/bin/ollama
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

case $1 in
  about) echo "Ollama $2 compiled from source, without inference (1 to 2 minutes, once)" ;;
  inputs) echo "$2 $(uname -m)"; cat "$0" ;;
  build)
    go=$("$here/parts.sh" path go)/bin/go
    export GOPATH=$3/go GOCACHE=$3/gocache GOFLAGS='-modcacherw -buildvcs=false' GOBIN=$3/bin CGO_ENABLED=1
    # A build from source calls itself 0.0.0, which would hide what the version decides.
    nice "$go" install -trimpath -ldflags "-s -w -X=github.com/ollama/ollama/version.Version=$2" "github.com/ollama/ollama@v$2"
    rm -rf "$3/go" "$3/gocache"
    "$3/bin/ollama" --version
    ;;
esac
