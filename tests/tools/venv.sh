#!/usr/bin/env bash
# Build the virtual environment of a requirements file, unless it is there already, and print its path.
#
# usage: venv REQUIREMENTS [PYTHON]
#
# Environments live in the cache under a name made of the requirements' hash and the interpreter, so that an edited file
# or another interpreter gets a new one and a finished one is never changed. PYTHON defaults to what find-python.sh finds.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
requirements=$1
python=${2:-$("$here/find-python.sh" 3.11 3.13)}
cache=${LEGIONIO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/legionio-ollama}

say() { echo "venv: $*" >&2; }

identity=$("$python" -c 'import platform, sys; print(sys.executable, platform.python_version())')
key=$({ echo "$identity"; cat "$requirements"; } | sha256sum | cut -c1-16)
venv=$cache/venvs/$key
if [[ -e $venv/.complete ]]; then
  echo "$venv"
  exit
fi

if [[ ! -d $cache ]]; then
  # The mark by which `make clean-cache` and backup programs know a cache (https://bford.info/cachedir/).
  mkdir -p "$cache"
  echo "Signature: 8a477f597d28d172789f06886806bc55" >"$cache/CACHEDIR.TAG"
fi
mkdir -p "$cache/venvs"
exec 9>"$venv.lock"
flock 9
if [[ -e $venv/.complete ]]; then # another process built it while this one waited
  echo "$venv"
  exit
fi
say "installing $(basename "$requirements") for Python ${identity##* } into $venv (about a minute)"
rm -rf "$venv"
"$python" -m venv "$venv" >&2
if ! "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --requirement "$requirements" >&2; then
  say "pip could not install what $requirements lists; its message is above. It needs PyPI, or an index set by PIP_INDEX_URL."
  exit 1
fi
touch "$venv/.complete"
echo "$venv"
