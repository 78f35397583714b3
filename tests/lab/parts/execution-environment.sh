#!/usr/bin/env bash
# What an execution environment is built from without a registry and without an index: a small Debian 13 with Python and
# pip, DIR/image.tar, and the wheels of tests/requirements-execution-environment.txt, DIR/wheels.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../common.sh
. "$here/../common.sh"
requirements=$here/../../requirements-execution-environment.txt
mirror=${LEGIONIO_DEBIAN_MIRROR:-http://deb.debian.org}
machine=$(uname -m)

case $1 in
  about) echo "a Debian 13 with Python and pip, and wheels from PyPI (about a minute, once)" ;;
  # The date: packages are refreshed once a month.
  inputs) echo "$machine $mirror $(date +%Y-%m)"; cat "$requirements" ;;
  build)
    as_root mmdebstrap --format=tar --mode=root --variant=minbase --components=main \
      --include=ca-certificates,openssh-client,python3,python3-pip \
      --aptopt='APT::Install-Recommends "false"' \
      --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
      --dpkgopt='path-exclude=/usr/share/locale/*' \
      trixie "$2/image.tar" \
      "deb $mirror/debian trixie main" "deb $mirror/debian trixie-updates main" \
      "deb $mirror/debian-security trixie-security main"
    python3 -m venv "$2/pip"
    # Old and new names of the same platforms: pip takes a tag literally when it is told one.
    "$2/pip/bin/python" -m pip download -q --only-binary=:all: --requirement "$requirements" --dest "$2/wheels" \
      --implementation cp --python-version 3.13 --abi cp313 --abi abi3 --abi none \
      --platform "manylinux_2_28_$machine" --platform "manylinux_2_17_$machine" --platform "manylinux2014_$machine" \
      --platform "manylinux_2_5_$machine" --platform "manylinux1_$machine" --platform any
    rm -rf "$2/pip"
    ;;
esac
