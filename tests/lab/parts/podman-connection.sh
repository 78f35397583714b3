#!/usr/bin/env bash
# Ansible's connection to podman containers, as DIR/ansible_collections/containers/podman. Galaxy is not reached from
# everywhere; the package `ansible` on PyPI carries the collection.
set -euo pipefail

case $1 in
  about) echo "one collection out of PyPI's package ansible (50 MB, once)" ;;
  inputs) ;;
  build)
    python3 -m venv "$2/pip"
    "$2/pip/bin/python" -m pip download -q --no-deps -d "$2/wheels" ansible==12.3.0
    python3 - "$2"/wheels/*.whl "$2" <<'PYTHON'
import sys, zipfile

with zipfile.ZipFile(sys.argv[1]) as wheel:
    wheel.extractall(sys.argv[2], [name for name in wheel.namelist() if name.startswith("ansible_collections/containers/podman/")])
PYTHON
    rm -rf "$2/pip" "$2/wheels"
    test -e "$2/ansible_collections/containers/podman/plugins/connection/podman.py"
    ;;
esac
