#!/usr/bin/env bash
# Runs Molecule on the staged tree with what the lab's playbooks expect: molecule.sh test|create|converge|... [ARGUMENT]...
# Called through tests/tools/in-stage, which puts Molecule on PATH.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
lab_environment
"$LAB/setup.sh"
cd "$REPO"
# The hosts of a whole test are gone with it, however it ends. Those of a single command are a person's, who looks at them.
if [ "${1:-}" = test ]; then
  python3 "$LAB/abandoned.py"
  LAB_OWNER=$(python3 -c 'import sys; sys.path.insert(0, sys.argv[1]); import abandoned; print(abandoned.owner(int(sys.argv[2])))' "$LAB" $$)
  export LAB_OWNER
fi
exec molecule --base-config extensions/molecule/base.yml "$@"
