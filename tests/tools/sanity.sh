#!/usr/bin/env bash
# Run ansible-test sanity over the staged tree, without ignores.
#
# 2.19 runs every test. 2.21 runs those whose outcome depends on ansible-core, and every test with TEST_DEPTH=deep: the
# others read the same source with the same linters.
#
# usage: sanity 2.19|2.21 [ARGUMENT OF ansible-test sanity...]
#
# 2.21 needs a Python from 3.12 on; where none is found, that is said and the exit code is 0.
set -euo pipefail

core=$1
shift
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$(dirname "$here")")
build=${LEGIONIO_BUILD:-$root/build}
cache=${LEGIONIO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/legionio-ollama}

case $core in
  2.19) venv=$("$here/venv.sh" "$root/tests/requirements.txt") ;;
  2.21)
    python=$("$here/find-python.sh" 3.12 3.13 --optional)
    if [[ -z $python ]]; then
      echo "NOT RUN: sanity on ansible-core 2.21 needs Python 3.12 or newer, and this machine has none."
      echo "Install python3.12 or python3.13 (a distribution's, pyenv's or uv's are found) to run it."
      exit 0
    fi
    venv=$("$here/venv.sh" "$root/tests/requirements-core-next.txt" "$python")
    ;;
  *)
    echo "usage: sanity 2.19|2.21 [ARGUMENT...]" >&2
    exit 2
    ;;
esac

ignores=$(find "$root/tests" -path '*/sanity/ignore-*.txt')
if [[ -n $ignores ]]; then
  echo "Sanity runs without ignores; remove $ignores" >&2
  exit 1
fi

# ansible-test keeps its environments in the home folder: this gives it one of its own, so the user's stays as it is.
home=$cache/ansible-test
# It also downloads get-pip.py from a site of its own, which is not a package index and often out of reach. Python brings pip
# along; a script that installs that one takes the download's place.
pip_version=$("$venv/bin/python" - <<'PYTHON'
from ansible_test._internal.constants import SUPPORTED_PYTHON_VERSIONS
from ansible_test._internal.host_configs import NativePythonConfig
from ansible_test._internal.python_requirements import get_venv_packages

pythons = [NativePythonConfig(version=version, path="") for version in SUPPORTED_PYTHON_VERSIONS]
print("\n".join(sorted({get_venv_packages(python)["pip"] for python in pythons})))
PYTHON
)
mkdir -p "$home/.ansible/test/cache"
for version in $pip_version; do
  printf 'import ensurepip\nensurepip.bootstrap(upgrade=True)\n' >"$home/.ansible/test/cache/get_pip_${version//./_}.py"
done

# pip runs there without this environment's settings, so they go into a file: the user's own, or what the environment says.
mkdir -p "$home/.config/pip"
(
  umask 077
  rm -f "$home/.config/pip/pip.conf"
  settings=
  for option in index_url extra_index_url find_links cert trusted_host; do
    name=PIP_${option^^}
    [[ -z ${!name:-} ]] || settings+="${option//_/-} = ${!name}"$'\n'
  done
  if [[ -n $settings ]]; then
    printf '[global]\n%s' "$settings" >"$home/.config/pip/pip.conf"
  else
    for own in "${PIP_CONFIG_FILE:-}" "${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf" "$HOME/.pip/pip.conf"; do
      if [[ -f $own ]]; then
        ln -s "$own" "$home/.config/pip/pip.conf"
        break
      fi
    done
  fi
)

# The compile and import tests run on every Python they find on PATH, by name.
pythons=$home/pythons
mkdir -p "$pythons"
for minor in 9 10 11 12 13 14; do
  found=$("$here/find-python.sh" "3.$minor" "3.$minor" --optional 2>/dev/null)
  if [[ -n $found ]]; then ln -sfn "$found" "$pythons/python3.$minor"; else rm -f "$pythons/python3.$minor"; fi
done

cd "$build/ansible_collections/legionio/ollama"
export HOME=$home PATH=$venv/bin:$pythons:$PATH
export ANSIBLE_COLLECTIONS_PATH=$build
unset ANSIBLE_HOME PYTHONPATH
if [[ $core == 2.21 && $# -eq 0 && ${TEST_DEPTH:-quick} != deep ]]; then
  for test in validate-modules ansible-doc import compile runtime-metadata action-plugin-docs; do set -- "$@" --test "$test"; done
fi
exec ansible-test sanity --local --color no "$@"
