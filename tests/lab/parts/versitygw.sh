#!/usr/bin/env bash
# VersityGW, the S3 server of the lab: DIR/bin/versitygw.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=v1.8.0

case $1 in
  about) echo "compiled from source (about 75 seconds, once)" ;;
  inputs) uname -m ;;
  build)
    go=$("$here/../parts.sh" path go)/bin/go
    export GOPATH=$2/go GOCACHE=$2/gocache GOFLAGS='-modcacherw -buildvcs=false' GOBIN=$2/bin CGO_ENABLED=0
    nice "$go" install -trimpath -ldflags '-s -w' "github.com/versity/versitygw/cmd/versitygw@$version"
    rm -rf "$2/go" "$2/gocache"
    "$2/bin/versitygw" --version
    ;;
esac
