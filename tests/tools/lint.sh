#!/usr/bin/env bash
# Run every linter over the staged tree; tell of each what it found, and fail at the end when one failed.
#
# usage: in-stage.sh tests/tools/lint.sh [NAME...]     (a NAME is a word of the list that `lint.sh --list` prints)
set -uo pipefail

checks=(yamllint ansible-lint ruff format mypy mypy-daemon mypy-tools shellcheck changelog docs monitoring workflows house)

check() {
  case $1 in
    yamllint) yamllint --strict . ;;
    ansible-lint) ansible-lint --strict --offline --nocolor -q ;;
    ruff) ruff check --output-format concise --quiet --no-cache . ;;
    format) ruff format --check --output-format concise --quiet --no-cache . ;;
    # From the folder of ansible_collections, so that modules have the names that Ansible gives them.
    mypy)
      (cd ../../.. && typed --package ansible_collections.legionio.ollama.plugins) || return 1
      (cd extensions/eda/plugins/event_source && MYPYPATH=${root%/ansible_collections/*} typed .)
      ;;
    mypy-daemon)
      for daemon in fleet_worker fleet_gateway; do
        (cd "roles/$daemon/files" && typed --package "$daemon") || return 1
      done
      ;;
    mypy-tools)
      for folder in tests/tools tests/lint tests/unit/lint tests/unit/tools tests/unit/architecture; do
        (cd "$folder" && MYPYPATH=$root/tests/lint:$root/tests/tools:${root%/ansible_collections/*} typed .) || return 1
      done
      ;;
    shellcheck) git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck --external-sources --source-path=SCRIPTDIR ;;
    changelog) antsibull-changelog lint ;;
    docs) docs ;;
    # promtool comes with Debian's package prometheus. Without it, tests/unit still holds the names against the worker's.
    monitoring) ! command -v promtool > /dev/null || { promtool check rules docs/monitoring/*.rules.yml && promtool test rules tests/monitoring/*.test.yml; } ;;
    # actionlint is a program in Go, and CI has Go. It runs shellcheck over the commands in the workflows.
    workflows) ! command -v go > /dev/null || "$(tests/tools/actionlint.sh)" -color .github/workflows/*.yml ;;
    house) python tests/lint/house.py ;;
    *)
      echo "lint: no check is called $1; there are: ${checks[*]}"
      return 2
      ;;
  esac
}

# The checker puts the name of a temporary folder into the pages that it checks, where a name that ends with "_", as one
# of 37 does, is a reference to nothing. Then, and only then, it is asked again.
docs() {
  local found status
  for _try in 1 2 3; do
    status=0
    found=$(antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs self . 2>&1) || status=$?
    [[ $found == *'Unknown target name: "antsibull-docs-'* ]] || break
  done
  printf '%s' "$found"
  return "$status"
}

root=$PWD
typed() { mypy --config-file "$root/pyproject.toml" --cache-dir "$root/../../../mypy-cache" "$@"; }

if [[ ${1:-} == --list ]]; then
  printf '%s\n' "${checks[@]}"
  exit
fi
[[ $# -eq 0 ]] || checks=("$@")
failed=()
for name in "${checks[@]}"; do
  started=$SECONDS
  if output=$(check "$name" 2>&1); then
    printf 'ok      %-12s %4d s\n' "$name" $((SECONDS - started))
  else
    printf 'FAILED  %-12s %4d s\n%s\n\n' "$name" $((SECONDS - started)) "$output"
    failed+=("$name")
  fi
done
if [[ ${#failed[@]} -gt 0 ]]; then
  echo "lint: failed: ${failed[*]}. One alone: make lint CHECKS='${failed[0]}'"
  exit 1
fi
