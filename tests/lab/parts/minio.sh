#!/usr/bin/env bash
# MinIO, an S3 server for `make integration-s3`: DIR/bin/minio. Its last release in the open, by the commit of that tag.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=v0.0.0-20250907161309-07c3a429bfed

case $1 in
  about) echo "compiled from source (some minutes, once)" ;;
  inputs) uname -m ;;
  build)
    go=$("$here/../parts.sh" path go)/bin/go
    export GOPATH=$2/go GOCACHE=$2/gocache GOFLAGS='-modcacherw -buildvcs=false' GOBIN=$2/bin CGO_ENABLED=0
    nice "$go" install -trimpath -ldflags '-s -w' "github.com/minio/minio@$version"
    rm -rf "$2/go" "$2/gocache"
    "$2/bin/minio" --version
    ;;
esac
