#!/usr/bin/env bash
# s5cmd, a fast S3 client to be compared with: DIR/bin/s5cmd. Only the benchmarks need it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=v2.3.0

case $1 in
  about) echo "compiled from source (about 40 seconds, once)" ;;
  inputs) uname -m ;;
  build)
    go=$("$here/../parts.sh" path go)/bin/go
    export GOPATH=$2/go GOCACHE=$2/gocache GOFLAGS='-modcacherw -buildvcs=false' GOBIN=$2/bin CGO_ENABLED=0
    # By way of a module of our own: `go install` also asks for the list of all versions, which not every proxy gives.
    mkdir "$2/module" && cd "$2/module"
    "$go" mod init bench
    "$go" mod edit -require "github.com/peak/s5cmd/v2@$version"
    nice "$go" build -mod=mod -trimpath -o "$2/bin/s5cmd" \
      -ldflags "-s -w -X=github.com/peak/s5cmd/v2/version.Version=$version" github.com/peak/s5cmd/v2
    cd "$2"
    rm -rf "$2/go" "$2/gocache" "$2/module"
    "$2/bin/s5cmd" version
    ;;
esac
