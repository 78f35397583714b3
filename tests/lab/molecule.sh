#!/usr/bin/env bash
# Runs Molecule on the staged tree with what the lab's playbooks expect: molecule.sh test|create|converge|... [ARGUMENT]...
# Called through tests/tools/in-stage, which puts Molecule on PATH.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
lab_environment
"$LAB/setup.sh"
cd "$REPO"
exec molecule "$@"
