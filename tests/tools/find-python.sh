#!/usr/bin/env bash
# Print the path of a Python interpreter between two versions (both included) that can make virtual environments.
#
# usage: find-python LOWEST HIGHEST [--optional]
#
# Installs python3-venv by apt where the interpreter is a distribution's and lacks it. With --optional, finding none is
# no error: nothing is printed.
set -euo pipefail

lowest=$1 highest=$2 optional=${3:-}

say() { echo "find-python: $*" >&2; }

fits() { # a candidate's real path, if it runs and its version is in range
  "$1" - "$lowest" "$highest" 2>/dev/null <<'PYTHON'
import sys
low, high = (tuple(int(part) for part in text.split(".")) for text in sys.argv[1:])
if low <= sys.version_info[:2] <= high:
    print(sys.executable)
PYTHON
}

candidates() {
  echo python3
  local minor
  for ((minor = ${highest#*.}; minor >= ${lowest#*.}; minor--)); do echo "python3.$minor"; done
  # pyenv and python-build-standalone keep interpreters that are not on PATH.
  for ((minor = ${highest#*.}; minor >= ${lowest#*.}; minor--)); do
    compgen -G "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$minor.*/bin/python3" || true
    compgen -G "${XDG_DATA_HOME:-$HOME/.local/share}/uv/python/cpython-3.$minor.*/bin/python3" || true
  done
}

as_root() {
  if [[ $(id -u) == 0 ]]; then "$@"; else sudo -n "$@"; fi
}

python=
while read -r candidate; do
  python=$(fits "$candidate" || true)
  [[ -z $python ]] || break
done < <(candidates)

if [[ -z $python ]]; then
  [[ $optional != --optional ]] || exit 0
  say "no Python from $lowest to $highest was found. Install one (Debian 12: apt-get install python3 python3-venv) and try again."
  exit 1
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  package=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
  if ! command -v apt-get >/dev/null; then
    [[ $optional != --optional ]] || exit 0
    say "$python cannot make virtual environments, and there is no apt to install $package with. Install it and try again."
    exit 1
  fi
  say "installing $package"
  { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -yq -o DPkg::Lock::Timeout=300 --no-install-recommends "$package"; } >&2
fi
echo "$python"
