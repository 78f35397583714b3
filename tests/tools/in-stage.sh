#!/usr/bin/env bash
# Run a command in the staged tree, with the test environment's tools first on PATH.
#
# usage: in-stage COMMAND [ARGUMENT...]
#
# TESTS_VENV names another environment than that of tests/requirements.txt.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${LEGIONIO_BUILD:-$(dirname "$(dirname "$here")")/build}
venv=${TESTS_VENV:-$("$here/venv.sh" "$here/../requirements.txt")}

export PATH=$venv/bin:$PATH
# The staged tree alone: neither collections installed in the home folder nor its settings may answer for ours.
export ANSIBLE_COLLECTIONS_PATH=$build ANSIBLE_HOME=$build/ansible-home
export PYTHONPATH=$build
export PYTHONDONTWRITEBYTECODE=1 # byte code in the staged tree would land in the archive
cd "$build/ansible_collections/legionio/ollama"
exec "$@"
