#!/usr/bin/env bash
# Garage, an S3 server for `make integration-s3`: DIR/bin/garage. It wants a Rust of the year, which Debian 12 has not.
set -euo pipefail
version=2.5.0

case $1 in
  about) echo "compiled from source (many minutes, once)" ;;
  inputs) uname -m ;;
  build)
    command -v cargo > /dev/null || { echo "Garage is compiled with cargo: install Rust 1.90 or newer" >&2; exit 1; }
    CARGO_TARGET_DIR=$2/target nice cargo install --quiet --locked --root "$2" --version "$version" garage
    rm -rf "$2/target"
    "$2/bin/garage" --version
    ;;
esac
