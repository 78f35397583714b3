#!/usr/bin/env bash
# What the virtual environments of worker and gateway are installed from on hosts without an index: the wheels of their pinned
# requirements, one folder for each interpreter of the lab's nodes: DIR/cp311-x86_64 (Debian 12), DIR/cp313-x86_64
# (Debian 13), DIR/cp314-x86_64 (the next Debian).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
roles=$here/../../../roles
# The worker's with those of an option, and the gateway's.
requirements=("$roles/fleet_worker/files/requirements-encryption.txt" "$roles/fleet_gateway/files/requirements.txt")
machine=$(uname -m)

case $1 in
  about) echo "the wheels of worker and gateway from PyPI" ;;
  inputs) echo "$machine"; cat "${requirements[@]}" ;;
  build)
    python3 -m venv "$2/pip"
    for minor in 11 13 14; do
      for file in "${requirements[@]}"; do
        # Old and new names of the same platforms: pip takes a tag literally when it is told one.
        "$2/pip/bin/python" -m pip download -q --only-binary=:all: --no-deps --requirement "$file" \
          --dest "$2/cp3$minor-$machine" --implementation cp --python-version "3.$minor" \
          --abi "cp3$minor" --abi abi3 --abi none \
          --platform "manylinux_2_28_$machine" --platform "manylinux_2_17_$machine" --platform "manylinux2014_$machine" \
          --platform any
      done
    done
    rm -rf "$2/pip"
    ;;
esac
