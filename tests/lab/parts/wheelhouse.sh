#!/usr/bin/env bash
# What the fleet worker's virtual environment is installed from on nodes without an index: the wheels of its pinned
# requirements, one folder for each interpreter of the lab's nodes: DIR/cp311-x86_64 (Debian 12), DIR/cp313-x86_64
# (Debian 13), DIR/cp314-x86_64 (the next Debian).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
requirements=$here/../../../roles/fleet_worker/files/requirements-encryption.txt  # the others, and those of an option
machine=$(uname -m)

case $1 in
  about) echo "the worker's wheels from PyPI" ;;
  inputs) echo "$machine"; cat "$requirements" ;;
  build)
    python3 -m venv "$2/pip"
    for minor in 11 13 14; do
      # Old and new names of the same platforms: pip takes a tag literally when it is told one.
      "$2/pip/bin/python" -m pip download -q --only-binary=:all: --no-deps --requirement "$requirements" \
        --dest "$2/cp3$minor-$machine" --implementation cp --python-version "3.$minor" \
        --abi "cp3$minor" --abi abi3 --abi none \
        --platform "manylinux_2_28_$machine" --platform "manylinux_2_17_$machine" --platform "manylinux2014_$machine" \
        --platform any
    done
    rm -rf "$2/pip"
    ;;
esac
